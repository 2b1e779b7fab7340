//! Dashboards that somebody else keeps: a folder of JSON, as Grafana is provisioned from one, and
//! ConfigMaps of a cluster ([`super::config_maps`]).
//!
//! Files are looked for anew whenever the list is asked for, and read when they changed, so a ConfigMap that
//! was mounted anew or a sidecar's file is there at once. The one rule: these files are read, never written.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::{fmt, fs};

use tokio::task::JoinHandle;
use xxhash_rust::xxh3::xxh3_128;

use super::config_maps::{ConfigMaps, ConfigMapsConfig};
use super::{BYTES_MAX, slug, title_of};
use crate::journal;

/// What ids of provisioned dashboards begin with; those of saved ones cannot.
pub const PREFIX: &str = "provisioned.";
/// Files that are looked at, and folders that lie in each other.
const FILES_MAX: usize = 2000;
const DEPTH_MAX: usize = 8;

/// Where a dashboard is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Path(PathBuf),
    /// A key of a ConfigMap.
    Key {
        namespace: String,
        name: String,
        key: String,
    },
}

impl Source {
    /// What has to be changed for the dashboard to change.
    #[must_use]
    pub const fn noun(&self) -> &'static str {
        match self {
            Self::Path(_) => "file",
            Self::Key { .. } => "ConfigMap",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Key {
                namespace,
                name,
                key,
            } => {
                write!(f, "ConfigMap {namespace}/{name}")?;
                match key.is_empty() {
                    true => Ok(()),
                    false => write!(f, "/{key}"),
                }
            }
        }
    }
}

/// A dashboard in a file or a ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub id: String,
    pub source: Source,
    /// The folder that it lies in, as Grafana's `foldersFromFilesStructure` names it; empty at the top.
    pub folder: String,
    pub title: String,
    /// When it was changed, as far as that is known, Unix milliseconds.
    pub changed_ms: i64,
    pub bytes: u64,
    pub tag: String,
    /// Why it is no dashboard.
    pub problem: Option<String>,
}

/// What tells that a file is the one that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    changed_ns: (i64, i64),
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            changed_ns: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// The files as they were read last.
#[derive(Debug)]
pub struct Provisioned {
    folder: Option<PathBuf>,
    /// By path; locked while the folder is looked through.
    read: Mutex<BTreeMap<PathBuf, (Stamp, File)>>,
    /// Locked while the watch of ConfigMaps begins, ends, or is asked how it is.
    watching: Mutex<Option<Watching>>,
}

/// The ConfigMaps of a cluster and the task that watches them.
#[derive(Debug)]
struct Watching {
    maps: Arc<ConfigMaps>,
    task: JoinHandle<()>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Provisioned {
    /// Of a folder, which may come to be later.
    #[must_use]
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self {
            folder,
            read: Mutex::default(),
            watching: Mutex::default(),
        }
    }

    /// Watches what the configuration says from here on.
    pub fn watch(&self, wanted: Option<ConfigMapsConfig>) {
        let mut watching = self.watching.lock().unwrap_or_else(PoisonError::into_inner);
        if watching.as_ref().map(|w| &w.maps.config) != wanted.as_ref() {
            *watching = wanted.map(|config| {
                let maps = Arc::new(ConfigMaps::new(config));
                let task = tokio::spawn(Arc::clone(&maps).run());
                Watching { maps, task }
            });
        }
    }

    /// The ConfigMaps that dashboards are read from.
    #[must_use]
    pub fn config_maps(&self) -> Option<Arc<ConfigMaps>> {
        let watching = self.watching.lock().unwrap_or_else(PoisonError::into_inner);
        watching.as_ref().map(|w| Arc::clone(&w.maps))
    }

    /// All dashboards as they are now: files in order of their paths, then ConfigMaps. May block.
    #[must_use]
    pub fn list(&self) -> Vec<File> {
        let mut all = self.files();
        all.extend(self.config_maps().iter().flat_map(|maps| maps.list()));
        let mut ids: BTreeMap<String, u32> = BTreeMap::new();
        for file in &mut all {
            let count = ids.entry(file.id.clone()).or_default();
            *count += 1;
            if *count > 1 {
                file.id = format!("{}.{count}", file.id);
            }
        }
        all
    }

    fn files(&self) -> Vec<File> {
        let Some(folder) = &self.folder else {
            return Vec::new();
        };
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        walk(folder, DEPTH_MAX, &mut found);
        found.sort();
        found.truncate(FILES_MAX);
        let mut now = BTreeMap::new();
        let mut listed = Vec::new();
        for path in found {
            let Ok(metadata) = fs::metadata(&path) else {
                continue;
            };
            let stamp = Stamp::of(&metadata);
            let known = read.remove(&path).filter(|(before, _)| *before == stamp);
            let file = known.map_or_else(|| open(folder, &path, &metadata), |(_, file)| file);
            now.insert(path, (stamp, file.clone()));
            listed.push(file);
        }
        *read = now;
        listed
    }

    /// One file and its text. May block.
    ///
    /// # Errors
    /// Why it cannot be read; `None` when there is none of that id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Result<(File, Vec<u8>), String>> {
        let file = self.list().into_iter().find(|file| file.id == id)?;
        if let Some(problem) = file.problem {
            return Some(Err(format!("{}: {problem}", file.source)));
        }
        let text = match &file.source {
            Source::Path(path) => fs::read(path).map_err(|e| e.to_string()),
            Source::Key { .. } => {
                let found = self.config_maps().and_then(|maps| maps.text(&file.source));
                found.ok_or_else(|| "it was changed or deleted meanwhile".into())
            }
        };
        let text = text.map_err(|e| format!("failed to read {}: {e}", file.source));
        Some(text.map(|text| {
            // Of what is given out, whatever became of the file since it was listed.
            let tag = tag_of(&text);
            (File { tag, ..file }, text)
        }))
    }
}

/// Paths of the JSON files below a folder. Names that begin with a dot are left out: so are the
/// folders of a mounted ConfigMap to which its names are links.
fn walk(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if found.len() > FILES_MAX {
            return;
        }
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            if depth > 0 {
                walk(&path, depth - 1, found);
            }
        } else if path.extension().is_some_and(|e| e == "json") {
            found.push(path);
        }
    }
}

/// The entity tag of a text.
pub(super) fn tag_of(text: &[u8]) -> String {
    format!("\"file-{:016x}\"", (xxh3_128(text) >> 64) as u64)
}

fn open(folder: &Path, path: &Path, metadata: &fs::Metadata) -> File {
    let relative = path.strip_prefix(folder).unwrap_or(path);
    let parent = relative.parent().unwrap_or(Path::new(""));
    let name = relative.with_extension("");
    let mut file = File {
        id: format!("{PREFIX}{}", slug(&name.to_string_lossy())),
        source: Source::Path(path.to_owned()),
        folder: parent.to_string_lossy().into_owned(),
        title: name
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        changed_ms: metadata.mtime().saturating_mul(1000) + metadata.mtime_nsec() / 1_000_000,
        bytes: metadata.len(),
        tag: String::new(),
        problem: None,
    };
    match read_title(path, metadata.len()) {
        Ok((title, tag)) => {
            if !title.is_empty() {
                file.title = title;
            }
            file.tag = tag;
        }
        Err(problem) => {
            journal::warn(&format!("{} is no dashboard: {problem}", path.display()));
            file.problem = Some(problem);
        }
    }
    file
}

fn read_title(path: &Path, bytes: u64) -> Result<(String, String), String> {
    if bytes > BYTES_MAX as u64 {
        return Err(format!(
            "{bytes} bytes are more than the {BYTES_MAX} that a dashboard may have"
        ));
    }
    let text = fs::read(path).map_err(|e| format!("failed to read: {e}"))?;
    Ok((title_of(&text)?, tag_of(&text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, text: &str) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn listed(all: &Provisioned) -> Vec<(String, String, String)> {
        let files = all.list().into_iter();
        files
            .map(|f| {
                (
                    f.id,
                    f.folder,
                    f.problem.map_or(f.title, |p| format!("! {p}")),
                )
            })
            .collect()
    }

    #[test]
    fn changed_files_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        let folder = &folder.path().join("later");
        let all = Provisioned::new(Some(folder.clone()));
        assert!(all.list().is_empty());
        write(folder, "a.json", r#"{"title":"A"}"#);
        write(folder, "team one/a.json", r#"{"title":"B"}"#);
        write(folder, "team-one/a.json", "{}");
        write(folder, ".hidden/x.json", "{}");
        write(folder, "provider.yaml", "apiVersion: 1");
        write(folder, "bad.json", "{");
        let text = |t: &str| t.to_owned();
        let problem = text("! not JSON: EOF while parsing an object at line 1 column 1");
        let expected = [
            (text("provisioned.a"), text(""), text("A")),
            (text("provisioned.bad"), text(""), problem),
            (text("provisioned.team-one-a"), text("team one"), text("B")),
            (
                text("provisioned.team-one-a.2"),
                text("team-one"),
                text("a"),
            ),
        ];
        assert_eq!(listed(&all), expected);
        let (first, text_of_first) = all.get("provisioned.a").unwrap().unwrap();
        assert_eq!(text_of_first, br#"{"title":"A"}"#);
        assert!(
            all.get("provisioned.bad")
                .unwrap()
                .unwrap_err()
                .contains("bad.json")
        );
        assert!(all.get("provisioned.none").is_none());
        write(folder, "a.json", r#"{"title":"A, longer"}"#);
        fs::remove_file(folder.join("bad.json")).unwrap();
        let (second, _) = all.get("provisioned.a").unwrap().unwrap();
        assert_eq!(second.title, "A, longer");
        assert_ne!(first.tag, second.tag);
        assert_eq!(all.list().len(), 3);
    }

    #[test]
    fn a_mounted_configmap_is_followed_through_its_links() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let mount = |name: &str, title: &str| {
            write(
                folder,
                &format!("..{name}/a.json"),
                &format!(r#"{{"title":"{title}"}}"#),
            );
            let _ = fs::remove_file(folder.join("..data"));
            std::os::unix::fs::symlink(format!("..{name}"), folder.join("..data")).unwrap();
        };
        mount("2026_1", "one");
        std::os::unix::fs::symlink("..data/a.json", folder.join("a.json")).unwrap();
        let all = Provisioned::new(Some(folder.to_owned()));
        assert_eq!(all.list()[0].title, "one");
        // Of the same length, and perhaps within the same tick of the clock.
        mount("2026_2", "two");
        let titles: Vec<_> = all.list().into_iter().map(|f| f.title).collect();
        assert_eq!(titles, ["two"]);
    }
}
