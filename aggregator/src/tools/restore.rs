//! `restore`: writes a backup into an empty folder, verifying every byte, and checks what came out.
//!
//! The manifest is written last: a folder in which restoring was broken off is no store.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use super::backup::{LIST_ENDING, LISTS};
use super::destination::Destination;
use super::listing::{self, Listed};

/// Prints the names of the backups, oldest first.
///
/// # Errors
/// When the destination cannot be read.
pub async fn list(from: &str) -> Result<(), String> {
    let names = names(&Destination::of(from)?).await?;
    names.iter().for_each(|name| println!("{name}"));
    Ok(())
}

async fn names(from: &Destination) -> Result<Vec<String>, String> {
    let all = from.list(LISTS).await?;
    let names = all.iter().filter_map(|n| n.strip_suffix(LIST_ENDING));
    Ok(names.map(str::to_owned).collect())
}

/// Restores and checks; false when the store that came out is damaged.
///
/// # Errors
/// When there is no such backup, the folder is not empty, or a file is not what it was.
pub async fn run(from: &str, name: Option<&str>, to: &Path) -> Result<bool, String> {
    let source = Destination::of(from)?;
    let all = names(&source).await?;
    let name = match name {
        Some(name) => all.iter().find(|n| *n == name),
        None => all.last(),
    };
    let name = name.ok_or_else(|| match all.last() {
        None => format!("there is no backup in {from}"),
        Some(newest) => {
            format!("there is no backup of that name in {from}; the newest is {newest}")
        }
    })?;
    let mut text = Vec::new();
    let key = format!("{LISTS}/{name}{LIST_ENDING}");
    source.get(&key, |piece| text.write_all(piece)).await?;
    let mut files = listing::decode(&String::from_utf8_lossy(&text))
        .map_err(|e| format!("backup {name}: {e}"))?;
    let is_empty = match fs::read_dir(to) {
        Ok(mut entries) => entries.next().is_none(),
        Err(e) => e.kind() == std::io::ErrorKind::NotFound,
    };
    if !is_empty {
        return Err(format!(
            "{} is not empty; give the path of a new folder (--storage.path)",
            to.display()
        ));
    }
    // A folder without a manifest is no store.
    files.sort_by_key(|f| f.name == "MANIFEST");
    for folder in ["parts", "wal"] {
        let made = fs::create_dir_all(to.join(folder));
        made.map_err(|e| format!("failed to make {}: {e}", to.display()))?;
    }
    for file in &files {
        fetch(&source, file, to).await?;
    }
    for folder in ["parts", "wal", ""] {
        let synced = File::open(to.join(folder)).and_then(|f| f.sync_all());
        synced.map_err(|e| format!("failed to sync {}: {e}", to.display()))?;
    }
    let bytes: u64 = files.iter().map(|f| f.bytes).sum();
    println!(
        "backup {name}: {} files of {bytes} bytes restored and verified",
        files.len()
    );
    super::check::run(to)
}

async fn fetch(source: &Destination, file: &Listed, to: &Path) -> Result<(), String> {
    let path = to.join(&file.name);
    let written = |e: std::io::Error| format!("failed to write {}: {e}", path.display());
    let mut out = File::create(&path).map_err(written)?;
    let (mut hash, mut bytes) = (Xxh3::new(), 0);
    let take = |piece: &[u8]| {
        hash.update(piece);
        bytes += piece.len() as u64;
        out.write_all(piece)
    };
    source.get(&file.key(), take).await?;
    if bytes != file.bytes || format!("{:032x}", hash.digest128()) != file.hash {
        return Err(format!(
            "{} of the backup is damaged: it is not what {} was; restore another backup",
            file.key(),
            file.name
        ));
    }
    out.sync_all().map_err(written)
}
