//! The folder of one kind of documents: a file per version, never changed once it is there.
//!
//! ```text
//! <id>.<version, 8 digits>.json
//!   {"title":…,"saved_ms":…,"by":…,"hash":…}     one line, about the version
//!   <the document as it was sent>
//! ```
//! The highest version is the document, the others its past. A delete takes the oldest first, so a crash in
//! the middle costs the past and not the document. The one rule: all bounds are held before anything is written.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_128;

use super::BYTES_MAX;
use crate::whole_file;

/// Documents of one kind that a tenant may have.
pub const DOCUMENTS_MAX: usize = 2000;
/// Versions of a document that are kept, the newest one included, and their bytes.
pub const VERSIONS_MAX: usize = 20;
const VERSIONS_MAX_BYTES: u64 = 16 << 20;
/// What all versions of all documents of a kind may take together.
pub const ALL_MAX_BYTES: u64 = 512 << 20;
/// The line about a version: a title and a name of 200 characters each, escaped, fit.
const HEAD_MAX_BYTES: usize = 4096;
/// Length of an id.
pub const ID_MAX_BYTES: usize = 80;
const NAME_MAX_CHARS: usize = 200;

/// One version of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub id: String,
    pub number: u32,
    pub title: String,
    /// Unix milliseconds.
    pub saved_ms: i64,
    /// Who saved it; empty when that is not known.
    pub by: String,
    /// Length of the document.
    pub bytes: u64,
    /// Of the document's text.
    pub hash: String,
}

impl Version {
    /// What tells this version from all others of this id, also from those of a document that was deleted.
    #[must_use]
    pub fn tag(&self) -> String {
        format!(
            "\"{}-{}\"",
            self.number,
            &self.hash[..self.hash.len().min(16)]
        )
    }
}

/// What must hold for a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// There is none of that id yet.
    New,
    /// The newest version has one of these tags.
    Tags(Vec<String>),
    /// There is one, whatever its version.
    Any,
}

/// Why nothing was changed or found.
#[derive(Debug)]
pub enum Refusal {
    /// There is one already, and the change was to make a new one.
    Exists(Version),
    /// The newest version is another than the change was made from; none when there is no document.
    Changed(Option<Version>),
    Missing,
    /// A bound, in words.
    Full(String),
    Io(io::Error),
    /// A file that is not what was written, in words.
    Damaged(String),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Whether a text may be an id; it becomes part of a file's name.
#[must_use]
pub fn is_id(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    text.len() <= ID_MAX_BYTES
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(plain)
}

fn name_of(id: &str, number: u32) -> String {
    format!("{id}.{number:08}.json")
}

/// The id and version in the name of a file; none for other files.
fn parse_name(name: &str) -> Option<(&str, u32)> {
    let (id, number) = name.strip_suffix(".json")?.split_once('.')?;
    let number = (number.len() == 8).then(|| number.parse().ok())??;
    is_id(id).then_some((id, number))
}

/// Names and lengths of all versions' files, in order of id and version.
///
/// # Errors
/// When the folder is there and cannot be read.
pub fn files(folder: &Path) -> io::Result<Vec<(String, u64)>> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if parse_name(&name).is_none() {
            continue;
        }
        match entry.metadata() {
            Ok(metadata) => found.push((name, metadata.len())),
            // Deleted meanwhile.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    found.sort();
    Ok(found)
}

/// The versions that there are, by id, in order, with the lengths of their files.
type Numbers = BTreeMap<String, Vec<(u32, u64)>>;

fn numbers(folder: &Path) -> io::Result<Numbers> {
    let mut found = Numbers::new();
    for (name, bytes) in files(folder)? {
        if let Some((id, number)) = parse_name(&name) {
            found
                .entry(id.to_owned())
                .or_default()
                .push((number, bytes));
        }
    }
    Ok(found)
}

fn head_of(path: &Path, id: &str, number: u32) -> Result<(Version, File), Refusal> {
    let damaged = || {
        let path = path.display();
        Refusal::Damaged(format!(
            "{path} does not begin with a line about the document; remove it to go back to the version before"
        ))
    };
    let mut file = File::open(path)?;
    let mut head = Vec::with_capacity(HEAD_MAX_BYTES);
    (&mut file)
        .take(HEAD_MAX_BYTES as u64)
        .read_to_end(&mut head)?;
    let end = head.iter().position(|b| *b == b'\n').ok_or_else(damaged)?;
    let line: Value = serde_json::from_slice(&head[..end]).map_err(|_| damaged())?;
    let text = |key: &str| line.get(key).and_then(Value::as_str).map(str::to_owned);
    let whole_bytes = file.metadata()?.len();
    let version = Version {
        id: id.to_owned(),
        number,
        title: text("title").ok_or_else(damaged)?,
        saved_ms: line
            .get("saved_ms")
            .and_then(Value::as_i64)
            .ok_or_else(damaged)?,
        by: text("by").ok_or_else(damaged)?,
        bytes: whole_bytes.saturating_sub(end as u64 + 1),
        hash: text("hash").ok_or_else(damaged)?,
    };
    io::Seek::seek(&mut file, io::SeekFrom::Start(end as u64 + 1))?;
    Ok((version, file))
}

/// Runs `read` again when a file went away between the listing and the reading.
fn steady<T>(mut read: impl FnMut() -> Result<T, Refusal>) -> Result<T, Refusal> {
    let gone = |e: &Refusal| matches!(e, Refusal::Io(e) if e.kind() == io::ErrorKind::NotFound);
    match read() {
        Err(error) if gone(&error) => read(),
        done => done,
    }
}

/// All documents in their newest versions, by id.
///
/// # Errors
/// When the folder or a file cannot be read.
pub fn list(folder: &Path) -> Result<Vec<Result<Version, String>>, Refusal> {
    steady(|| {
        let mut found = Vec::new();
        for (id, versions) in numbers(folder)? {
            let Some((number, _)) = versions.last() else {
                continue;
            };
            match head_of(&folder.join(name_of(&id, *number)), &id, *number) {
                Ok((version, _)) => found.push(Ok(version)),
                Err(Refusal::Damaged(message)) => found.push(Err(message)),
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    })
}

/// The versions of a document, oldest first; none when there is no such document.
///
/// # Errors
/// When a file cannot be read.
pub fn versions(folder: &Path, id: &str) -> Result<Vec<Version>, Refusal> {
    steady(|| {
        let all = numbers(folder)?.remove(id).unwrap_or_default();
        let mut found = Vec::new();
        for (number, _) in all {
            match head_of(&folder.join(name_of(id, number)), id, number) {
                Ok((version, _)) => found.push(version),
                // The others can still be gone back to.
                Err(Refusal::Damaged(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    })
}

/// A document as it was sent; its newest version unless a number is given.
///
/// # Errors
/// When there is none, or its file is not what was written.
pub fn get(folder: &Path, id: &str, number: Option<u32>) -> Result<(Version, Vec<u8>), Refusal> {
    steady(|| {
        let all = numbers(folder)?.remove(id).unwrap_or_default();
        let wanted = match number {
            Some(number) => all.iter().find(|(n, _)| *n == number),
            None => all.last(),
        };
        let (number, _) = *wanted.ok_or(Refusal::Missing)?;
        let path = folder.join(name_of(id, number));
        let (version, file) = head_of(&path, id, number)?;
        let mut text = Vec::new();
        file.take(BYTES_MAX as u64 + 1).read_to_end(&mut text)?;
        if format!("{:032x}", xxh3_128(&text)) != version.hash {
            let path = path.display();
            return Err(Refusal::Damaged(format!(
                "{path} is not what was written; remove it to go back to the version before"
            )));
        }
        Ok((version, text))
    })
}

/// The newest version, as far as a condition needs it.
fn newest(folder: &Path, id: &str, all: &Numbers) -> Result<Option<Version>, Refusal> {
    let Some((number, _)) = all.get(id).and_then(|v| v.last()) else {
        return Ok(None);
    };
    let (version, _) = head_of(&folder.join(name_of(id, *number)), id, *number)?;
    Ok(Some(version))
}

fn check(condition: &Condition, newest: Option<&Version>) -> Result<(), Refusal> {
    match (condition, newest) {
        (Condition::New, Some(version)) => Err(Refusal::Exists(version.clone())),
        (Condition::Tags(tags), Some(version)) if !tags.contains(&version.tag()) => {
            Err(Refusal::Changed(Some(version.clone())))
        }
        (Condition::Tags(_) | Condition::Any, None) => Err(Refusal::Changed(None)),
        _ => Ok(()),
    }
}

/// What is saved.
#[derive(Debug, Clone, Copy)]
pub struct Saving<'a> {
    pub id: &'a str,
    pub title: &'a str,
    pub by: &'a str,
    pub text: &'a [u8],
    pub now_ms: i64,
}

/// Saves a version. The caller lets nobody else change the folder meanwhile.
///
/// # Errors
/// When the condition does not hold, a bound is reached, or writing failed; then all is as before.
pub fn put(folder: &Path, saving: Saving<'_>, condition: &Condition) -> Result<Version, Refusal> {
    let id = saving.id;
    remove_unfinished(folder)?;
    let all = numbers(folder)?;
    let before = newest(folder, id, &all)?;
    check(condition, before.as_ref())?;
    if before.is_none() && all.len() >= DOCUMENTS_MAX {
        let text = format!("there are {DOCUMENTS_MAX} already; delete one that nobody needs");
        return Err(Refusal::Full(text));
    }
    let taken: u64 = all.values().flatten().map(|(_, bytes)| bytes).sum();
    if taken + saving.text.len() as u64 > ALL_MAX_BYTES {
        let mib = ALL_MAX_BYTES >> 20;
        let text = format!(
            "all of them and their pasts would take more than {mib} MiB; delete some that nobody needs"
        );
        return Err(Refusal::Full(text));
    }
    let version = Version {
        id: id.to_owned(),
        number: before.map_or(1, |v| v.number.saturating_add(1)),
        title: saving.title.to_owned(),
        saved_ms: saving.now_ms,
        by: saving.by.chars().take(NAME_MAX_CHARS).collect(),
        bytes: saving.text.len() as u64,
        hash: format!("{:032x}", xxh3_128(saving.text)),
    };
    let head = json!({"title": version.title, "saved_ms": version.saved_ms, "by": version.by, "hash": version.hash});
    let mut content = head.to_string().into_bytes();
    content.push(b'\n');
    content.extend_from_slice(saving.text);
    whole_file::write(&folder.join(name_of(id, version.number)), &content)?;
    if let Some(old) = all.get(id) {
        forget_old(folder, id, old, content.len() as u64)?;
    }
    Ok(version)
}

/// Removes the oldest versions beyond the bounds.
fn forget_old(folder: &Path, id: &str, old: &[(u32, u64)], newest_bytes: u64) -> io::Result<()> {
    let (mut count, mut taken) = (1, newest_bytes);
    let mut beyond = Vec::new();
    for (number, bytes) in old.iter().rev() {
        count += 1;
        taken += bytes;
        if count > VERSIONS_MAX || taken > VERSIONS_MAX_BYTES {
            beyond.push(*number);
        }
    }
    for number in beyond.into_iter().rev() {
        remove(&folder.join(name_of(id, number)))?;
    }
    Ok(())
}

/// Removes a document with its past. The caller lets nobody else change the folder meanwhile.
///
/// # Errors
/// When there is none, the condition does not hold, or removing failed.
pub fn delete(folder: &Path, id: &str, condition: &Condition) -> Result<(), Refusal> {
    let all = numbers(folder)?;
    let versions = all.get(id).ok_or(Refusal::Missing)?;
    match newest(folder, id, &all) {
        Ok(version) => check(condition, version.as_ref())?,
        // What cannot be read can still be removed.
        Err(Refusal::Damaged(_)) => {}
        Err(error) => return Err(error),
    }
    for (number, _) in versions {
        remove(&folder.join(name_of(id, *number)))?;
    }
    File::open(folder)?.sync_all()?;
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn remove_unfinished(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let paths: Vec<PathBuf> = entries
        .map(|e| e.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    let is_unfinished = |p: &&PathBuf| p.extension().is_some_and(|e| e == whole_file::UNFINISHED);
    paths
        .iter()
        .filter(is_unfinished)
        .try_for_each(|p| remove(p))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn save(
        folder: &Path,
        id: &str,
        text: &str,
        condition: &Condition,
    ) -> Result<Version, Refusal> {
        let saving = Saving {
            id,
            title: "t",
            by: "somebody",
            text: text.as_bytes(),
            now_ms: 7,
        };
        put(folder, saving, condition)
    }

    fn names(folder: &Path) -> Vec<String> {
        files(folder).unwrap().into_iter().map(|(n, _)| n).collect()
    }

    #[test]
    fn nothing_is_overwritten_unseen() {
        let folder = tempfile::tempdir().unwrap();
        let folder = &folder.path().join("dashboards");
        assert!(list(folder).unwrap().is_empty());
        let first = save(folder, "a", "{\"x\":1}\n", &Condition::New).unwrap();
        assert_eq!((first.number, first.bytes), (1, 8));
        assert!(
            matches!(save(folder, "a", "{}", &Condition::New), Err(Refusal::Exists(v)) if v == first)
        );
        let from_first = Condition::Tags(vec![first.tag()]);
        let second = save(folder, "a", "{}", &from_first).unwrap();
        assert_eq!(second.number, 2);
        assert!(
            matches!(save(folder, "a", "{}", &from_first), Err(Refusal::Changed(Some(v))) if v == second)
        );
        assert!(matches!(
            save(folder, "b", "{}", &from_first),
            Err(Refusal::Changed(None))
        ));
        assert!(matches!(
            delete(folder, "a", &from_first),
            Err(Refusal::Changed(_))
        ));
        assert_eq!(
            get(folder, "a", Some(1)).unwrap(),
            (first.clone(), b"{\"x\":1}\n".to_vec())
        );
        assert_eq!(get(folder, "a", None).unwrap().0, second);
        assert!(matches!(get(folder, "a", Some(9)), Err(Refusal::Missing)));
        assert_eq!(versions(folder, "a").unwrap(), [first.clone(), second]);
        delete(folder, "a", &Condition::Any).unwrap();
        assert!(matches!(
            delete(folder, "a", &Condition::Any),
            Err(Refusal::Missing)
        ));
        // Of the same number, yet another one.
        let again = save(folder, "a", "{}", &Condition::New).unwrap();
        assert_eq!(again.number, 1);
        assert!(matches!(
            save(folder, "a", "{}", &from_first),
            Err(Refusal::Changed(_))
        ));
    }

    #[test]
    fn the_past_is_bounded_by_number_and_size() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        save(folder, "a", "{}", &Condition::New).unwrap();
        for _ in 0..VERSIONS_MAX + 3 {
            save(folder, "a", "{}", &Condition::Any).unwrap();
        }
        let kept = versions(folder, "a").unwrap();
        assert_eq!(kept.len(), VERSIONS_MAX);
        assert_eq!(kept.last().unwrap().number, VERSIONS_MAX as u32 + 4);
        let large = "x".repeat(BYTES_MAX);
        for _ in 0..5 {
            save(folder, "a", &large, &Condition::Any).unwrap();
        }
        assert_eq!(versions(folder, "a").unwrap().len(), 3);
    }

    #[test]
    fn damage_and_leftovers_are_told_apart_from_documents() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        save(folder, "a", "{\"x\":1}", &Condition::New).unwrap();
        save(folder, "a", "{\"x\":2}", &Condition::Any).unwrap();
        save(folder, "b", "{}", &Condition::New).unwrap();
        for other in ["b.00000002.tmp", "notes.txt", "..00000001.json", "b.1.json"] {
            fs::write(folder.join(other), "half").unwrap();
        }
        assert_eq!(
            names(folder),
            ["a.00000001.json", "a.00000002.json", "b.00000001.json"]
        );
        let path = folder.join("a.00000002.json");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("{\"x\":2}", "{\"x\":3}")).unwrap();
        assert!(
            matches!(get(folder, "a", None), Err(Refusal::Damaged(m)) if m.contains("a.00000002.json"))
        );
        fs::write(&path, "half").unwrap();
        let listed = list(folder).unwrap();
        assert!(
            listed[0]
                .as_ref()
                .is_err_and(|m| m.contains("a.00000002.json"))
        );
        assert_eq!(listed[1].as_ref().unwrap().id, "b");
        assert_eq!(versions(folder, "a").unwrap().len(), 1);
        save(folder, "b", "{}", &Condition::Any).unwrap();
        assert!(!folder.join("b.00000002.tmp").exists());
        delete(folder, "a", &Condition::Any).unwrap();
        assert_eq!(list(folder).unwrap().len(), 1);
    }

    #[test]
    fn ids_are_names_of_files_and_nothing_else() {
        for (id, good) in [
            ("a", true),
            ("9CWBz0bik-1_x", true),
            ("", false),
            ("-a", false),
            ("a.b", false),
            ("../a", false),
            ("a/b", false),
            ("é", false),
        ] {
            assert_eq!(is_id(id), good, "{id}");
        }
        assert!(!is_id(&"a".repeat(ID_MAX_BYTES + 1)));
    }
}
