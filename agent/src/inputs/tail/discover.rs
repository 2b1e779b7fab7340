//! Where files may be: names that match, folders to watch, and the other generations of a log.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

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
    pub(super) packing: Packing,
}

impl Sibling {
    /// A file that was found under this name.
    pub(super) fn of(path: PathBuf, metadata: &fs::Metadata) -> Self {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
        Self {
            id: FileId::of(metadata),
            size: metadata.len(),
            // A file may claim any time of change.
            modified_ns: (metadata.mtime().saturating_mul(1_000_000_000))
                .saturating_add(metadata.mtime_nsec()),
            packing: match extension {
                "gz" => Packing::Gzip,
                "zst" | "xz" | "bz2" | "Z" | "tmp" => Packing::Unreadable,
                _ => Packing::None,
            },
            path,
        }
    }
}

/// How a sibling is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    None,
    Gzip,
    /// In a way that is not read, or not complete yet.
    Unreadable,
}

/// A folder with fewer files is read anew each time.
const LISTED_FILES: usize = 64;
/// More large folders than that are not remembered.
const MAX_LISTED: usize = 64;
/// A folder that was changed this shortly before it was read may have changed once more within the
/// same tick of its clock.
const CHANGE_SLACK: Duration = Duration::from_millis(50);

/// What large folders hold: looking for the siblings of each of thousands of files must not read
/// their folder thousands of times.
#[derive(Default)]
pub(super) struct Listings {
    folders: HashMap<PathBuf, Listing>,
}

struct Listing {
    /// Sorted.
    names: Vec<OsString>,
    /// The folder's last change, before it was read; `None` when that cannot be relied on.
    changed: Option<SystemTime>,
}

impl Listing {
    fn read(folder: &Path) -> io::Result<Self> {
        let changed = fs::metadata(folder)?.modified()?;
        let settled = changed + CHANGE_SLACK < SystemTime::now();
        let entries = fs::read_dir(folder)?.filter_map(Result::ok);
        let mut names: Vec<OsString> = entries.map(|e| e.file_name()).collect();
        names.sort_unstable();
        Ok(Self {
            names,
            changed: settled.then_some(changed),
        })
    }

    fn holds(&self, folder: &Path) -> bool {
        let changed = fs::metadata(folder).and_then(|m| m.modified()).ok();
        changed.is_some() && changed == self.changed
    }

    /// The names that begin like this.
    fn beginning(&self, with: &str) -> impl Iterator<Item = &OsString> {
        let bytes = with.as_bytes();
        let first = (self.names).partition_point(|n| n.as_encoded_bytes() < bytes);
        let names = self.names[first..].iter();
        names.take_while(move |n| n.as_encoded_bytes().starts_with(bytes))
    }
}

impl Listings {
    /// The siblings of `real`, oldest first. `real` itself is not among them.
    pub(super) fn siblings(&mut self, real: &Path) -> Vec<Sibling> {
        let Some(folder) = real.parent() else {
            return Vec::new();
        };
        if let Some(listing) = self.folders.get(folder)
            && listing.holds(folder)
        {
            return siblings(listing, folder, real);
        }
        let Ok(listing) = Listing::read(folder) else {
            self.folders.remove(folder);
            return Vec::new();
        };
        let found = siblings(&listing, folder, real);
        if listing.names.len() >= LISTED_FILES && listing.changed.is_some() {
            if self.folders.len() >= MAX_LISTED {
                self.folders.clear();
            }
            self.folders.insert(folder.to_owned(), listing);
        } else {
            self.folders.remove(folder);
        }
        found
    }
}

fn siblings(listing: &Listing, folder: &Path, real: &Path) -> Vec<Sibling> {
    let Some(name) = real.file_name() else {
        return Vec::new();
    };
    let log = name.to_string_lossy();
    // Both forms of rotated names begin with it.
    let stem = split_extension(&log).0;
    let mut found: Vec<Sibling> = listing
        .beginning(stem)
        .filter(|name| is_rotated(&name.to_string_lossy(), &log))
        .filter_map(|name| {
            let path = folder.join(name);
            let metadata = fs::symlink_metadata(&path)
                .ok()
                .filter(fs::Metadata::is_file)?;
            Some(Sibling::of(path, &metadata))
        })
        .collect();
    let by_number = found.iter().all(|s| number_of(&s.path, real).is_some());
    let by_date = found.iter().all(|s| is_date(suffix_of(&s.path, real)));
    found.sort_by(|a, b| {
        if by_number {
            // Numbers count backwards: `.2` is older than `.1`.
            return number_of(&b.path, real).cmp(&number_of(&a.path, real));
        }
        let by_name = || suffix_of(&a.path, real).cmp(suffix_of(&b.path, real));
        if by_date {
            return by_name();
        }
        // The time of the last write does not lie, but it is coarse, and compressing changes it.
        a.modified_ns.cmp(&b.modified_ns).then_with(by_name)
    });
    found
}

/// What a rotated file's name has more than the log's, without the ending of compressed files.
fn suffix_of<'a>(path: &'a Path, real: &Path) -> &'a str {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
    let log = real.file_name().and_then(|n| n.to_str()).unwrap_or("");
    let name = ["gz", "zst", "xz", "bz2", "Z", "tmp"]
        .iter()
        .find_map(|e| name.strip_suffix(e)?.strip_suffix('.'))
        .unwrap_or(name);
    if let Some(suffix) = name.strip_prefix(log) {
        return suffix.get(1..).unwrap_or("");
    }
    // logrotate with `extension`: the suffix stands before it.
    let (stem, extension) = split_extension(log);
    let suffix = name
        .strip_prefix(stem)
        .and_then(|s| s.strip_suffix(extension));
    suffix.and_then(|s| s.get(1..)).unwrap_or("")
}

/// A short number, as logrotate counts generations.
fn number_of(path: &Path, real: &Path) -> Option<u32> {
    let suffix = suffix_of(path, real);
    let plain = suffix.len() <= 3 && !suffix.starts_with('0');
    suffix.parse().ok().filter(|_| plain)
}

/// Digits with `-`, `_`, `.`, `T` or `:` between them, at least five: they grow with time.
fn is_date(suffix: &str) -> bool {
    let digits = suffix.bytes().filter(u8::is_ascii_digit).count();
    digits >= 5
        && suffix
            .bytes()
            .all(|b| b.is_ascii_digit() || b"-_.T:Z".contains(&b))
}

/// `app.log` is `app` and `.log`.
fn split_extension(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(dot) if dot > 0 => name.split_at(dot),
        _ => (name, ""),
    }
}

/// Whether `name` is that of a rotated generation of `log`: `LOG.1`, `LOG-20261121`, and with
/// logrotate's `extension` `APP-20261121.log`, `APP.1.log`.
fn is_rotated(name: &str, log: &str) -> bool {
    if let Some(rest) = name.strip_prefix(log) {
        return rest.starts_with(['.', '-', '_']) && rest.len() > 1;
    }
    let (stem, extension) = split_extension(log);
    let name = name.strip_suffix(".gz").unwrap_or(name);
    let suffix = name
        .strip_prefix(stem)
        .and_then(|s| s.strip_suffix(extension));
    !extension.is_empty()
        && suffix.is_some_and(|s| {
            let middle = s.strip_prefix(['-', '.', '_']).unwrap_or("");
            // `app-1.log` may well be another log than `app.log`.
            let digits = middle.len() <= 3 && middle.bytes().all(|b| b.is_ascii_digit());
            let number = s.starts_with('.') && digits;
            !middle.is_empty() && (number || (is_date(middle) && middle.len() >= 8))
        })
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
    fn names_tell_the_age_where_they_count_or_hold_dates() {
        for (real, names) in [
            ("a.log", ["a.log.10.gz", "a.log.2.gz", "a.log.1"]),
            (
                "0.log",
                [
                    "0.log.20260101-000001.gz",
                    "0.log.20260101-000002",
                    "0.log.20260102-000000",
                ],
            ),
            ("a.log", ["a.log.00001", "a.log.00002.gz", "a.log.00003"]),
            (
                "messages",
                [
                    "messages-20261119.gz",
                    "messages-20261120",
                    "messages-20261121",
                ],
            ),
            (
                "app.log",
                [
                    "app-20261119.log.gz",
                    "app-20261120.log",
                    "app-20261121.log",
                ],
            ),
            ("app.log", ["app.3.log", "app.2.log", "app.1.log"]),
        ] {
            let dir = tempfile::tempdir().unwrap();
            // Written newest first: times tell nothing.
            for name in names.iter().rev() {
                fs::write(dir.path().join(name), "x").unwrap();
            }
            for other in [
                "app-2.logs",
                "app-other.log",
                "apple.1.log",
                "messagesx",
                "0.logs",
            ] {
                fs::write(dir.path().join(other), "x").unwrap();
            }
            let found = Listings::default().siblings(&dir.path().join(real));
            let found: Vec<&str> = found
                .iter()
                .map(|s| s.path.file_name().unwrap().to_str().unwrap())
                .collect();
            assert_eq!(found, names);
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
            let time = SystemTime::now() - Duration::from_secs(age_s);
            fs::File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_modified(time)
                .unwrap();
        }
        let found = Listings::default().siblings(&real);
        let names: Vec<&str> = found
            .iter()
            .map(|s| s.path.file_name().unwrap().to_str().unwrap())
            .collect();
        assert_eq!(names, ["0.log.c", "0.log.b", "0.log.a.gz"]);
        assert_eq!(
            (found[2].packing, found[0].packing),
            (Packing::Gzip, Packing::None)
        );
    }

    #[test]
    fn a_large_folder_is_read_again_only_when_it_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for n in 0..LISTED_FILES {
            fs::write(path(&format!("{n}.log")), "x").unwrap();
        }
        let folder = fs::File::open(dir.path()).unwrap();
        let age = |age_s: u64| {
            let time = SystemTime::now() - Duration::from_secs(age_s);
            folder.set_modified(time).unwrap();
        };
        let mut listings = Listings::default();
        assert!(listings.siblings(&path("1.log")).is_empty());
        assert!(listings.folders.is_empty(), "it has just changed");
        age(10);
        assert!(listings.siblings(&path("1.log")).is_empty());
        assert_eq!(listings.folders.len(), 1);
        fs::write(path("1.log.1"), "x").unwrap();
        for age_s in [0, 5] {
            age(age_s);
            assert_eq!(listings.siblings(&path("1.log")).len(), 1);
            assert_eq!(listings.siblings(&path("2.log")).len(), 0);
        }
        fs::remove_file(path("1.log.1")).unwrap();
        assert!(listings.siblings(&path("1.log")).is_empty());
    }
}
