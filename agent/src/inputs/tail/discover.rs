//! Where files may be: names that match, folders to watch, and the other generations of a log.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::identity::FileId;
use super::options::TailOptions;

/// More matching files than that are not followed: each costs a descriptor.
const MAX_FILES: usize = 100_000;

/// All names that match now.
pub(super) fn matching(options: &TailOptions) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for pattern in &options.patterns {
        // What cannot be read is left out; the next look may find it.
        let Ok(paths) = glob::glob(pattern.as_str()) else {
            continue;
        };
        let wanted = paths
            .filter_map(Result::ok)
            .filter(|p| !options.excludes(p));
        found.extend(wanted.take(MAX_FILES - found.len()));
    }
    found
}

/// The folders in which names may appear that match.
pub(super) fn folders(options: &TailOptions) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for pattern in &options.patterns {
        let mut prefix = PathBuf::new();
        let components: Vec<Component<'_>> = Path::new(pattern.as_str()).components().collect();
        for (index, component) in components.iter().enumerate() {
            let is_last = index + 1 == components.len();
            let text = component.as_os_str().to_string_lossy();
            if is_last || text.contains(['*', '?', '[']) {
                let Ok(paths) = glob::glob(&prefix.to_string_lossy()) else {
                    break;
                };
                found.extend(paths.filter_map(Result::ok).filter(|p| p.is_dir()));
            }
            prefix.push(component);
        }
    }
    found
}

/// Another file of the same log: `NAME.1`, `NAME.20261121-090000`, `NAME.1.gz`, …
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sibling {
    pub(super) path: PathBuf,
    pub(super) id: FileId,
    pub(super) size: u64,
    /// Last write, Unix nanoseconds.
    pub(super) modified_ns: i64,
    pub(super) compressed: bool,
}

/// The siblings of `real`, oldest first. `real` itself is not among them.
pub(super) fn siblings(real: &Path) -> Vec<Sibling> {
    let (Some(folder), Some(name)) = (real.parent(), real.file_name()) else {
        return Vec::new();
    };
    let mut prefix = name.as_encoded_bytes().to_vec();
    prefix.extend_from_slice(b".");
    let mut dashed = name.as_encoded_bytes().to_vec();
    dashed.extend_from_slice(b"-");
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found: Vec<Sibling> = entries
        .filter_map(Result::ok)
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.as_encoded_bytes();
            name.starts_with(&prefix) || name.starts_with(&dashed)
        })
        .filter_map(|entry| {
            let path = entry.path();
            let metadata = fs::symlink_metadata(&path)
                .ok()
                .filter(fs::Metadata::is_file)?;
            let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
            Some(Sibling {
                id: FileId::of(&metadata),
                size: metadata.len(),
                modified_ns: metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec(),
                compressed: matches!(extension, "gz" | "zst" | "xz" | "bz2" | "tmp"),
                path,
            })
        })
        .collect();
    // The time of the last write does not lie, but it is coarse.
    found.sort_by(|a, b| {
        let by_name = || age_by_name(&a.path).cmp(&age_by_name(&b.path));
        a.modified_ns.cmp(&b.modified_ns).then_with(by_name)
    });
    found
}

/// Short numbers count backwards (`.2` is older than `.1`); dates count forwards.
fn age_by_name(path: &Path) -> (std::cmp::Reverse<u32>, &Path) {
    let suffix = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    let number = if suffix.len() <= 3 && !suffix.starts_with('0') {
        suffix.parse().unwrap_or(0)
    } else {
        0
    };
    (std::cmp::Reverse(number), path)
}

#[cfg(test)]
mod tests {
    use kansoku_model::Settings;

    use super::*;
    use crate::plugin::Environment;

    #[test]
    fn names_and_folders_of_a_pods_tree() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for file in ["a/c/0.log", "a/d/1.log", "b/c/0.log", "b/c/0.txt"] {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let pattern = format!("{}/*/*/*.log", root.display());
        let excluded = format!("{}/b/*", root.display());
        let settings = Settings::of("tail", &[("path", &pattern), ("exclude_path", &excluded)]);
        let options = TailOptions::new(&settings, &Environment::default()).unwrap();
        let names = |paths: BTreeSet<PathBuf>| -> Vec<String> {
            let relative = |p: &PathBuf| p.strip_prefix(root).unwrap().display().to_string();
            paths.iter().map(relative).collect()
        };
        assert_eq!(names(matching(&options)), ["a/c/0.log", "a/d/1.log"]);
        assert_eq!(
            names(folders(&options)),
            ["", "a", "a/c", "a/d", "b", "b/c"]
        );
    }

    #[test]
    fn names_tell_the_age_where_times_are_equal() {
        for (older, newer) in [
            ("a.log.2", "a.log.1"),
            ("a.log.10", "a.log.9"),
            ("0.log.20260101-000001", "0.log.20260101-000002"),
            ("a.log.00001", "a.log.00002"),
        ] {
            let (older, newer) = (Path::new(older), Path::new(newer));
            assert!(
                age_by_name(older) < age_by_name(newer),
                "{older:?} {newer:?}"
            );
        }
    }

    #[test]
    fn siblings_come_oldest_first() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().join("0.log");
        for (name, age_s) in [
            ("0.log.b", 30),
            ("0.log.a.gz", 20),
            ("0.log", 0),
            ("0.logs", 5),
            ("0.log.c", 40),
        ] {
            let path = dir.path().join(name);
            fs::write(&path, "x").unwrap();
            let time = std::time::SystemTime::now() - std::time::Duration::from_secs(age_s);
            fs::File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_modified(time)
                .unwrap();
        }
        let found = siblings(&real);
        let names: Vec<&str> = found
            .iter()
            .map(|s| s.path.file_name().unwrap().to_str().unwrap())
            .collect();
        assert_eq!(names, ["0.log.c", "0.log.b", "0.log.a.gz"]);
        assert!(found[2].compressed && !found[0].compressed);
    }
}
