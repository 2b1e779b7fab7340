//! `restore`: writes a backup into an empty folder, verifying every byte, and checks what came out.
//!
//! The manifest is written last: a folder in which restoring was broken off is no store.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use kansoku_model::tenant;
use xxhash_rust::xxh3::Xxh3;

use super::backup::{LIST_ENDING, LISTS};
use super::destination::Destination;
use super::listing::{self, Listed};
use super::{Found, StorePath};
use crate::documents::Kind;
use crate::output::line;
use crate::tenants;

/// Prints the names of the backups, oldest first.
///
/// # Errors
/// When the destination cannot be read.
pub async fn list(from: &str, wanted: &StorePath) -> Result<(), String> {
    let found = sources(&Destination::of(from)?, wanted).await?;
    for (store, source) in &found {
        super::tell(store, found.len());
        names(source)
            .await?
            .iter()
            .for_each(|name| line(format_args!("{name}")));
    }
    Ok(())
}

async fn names(from: &Destination) -> Result<Vec<String>, String> {
    let all = from.list(LISTS).await?;
    let names = all.iter().filter_map(|n| n.strip_suffix(LIST_ENDING));
    Ok(names.map(str::to_owned).collect())
}

/// The stores that may have backups, and where those lie.
async fn sources(
    from: &Destination,
    wanted: &StorePath,
) -> Result<Vec<(Found, Destination)>, String> {
    let mut stores = Vec::new();
    if let Some(tenant) = &wanted.tenant {
        stores.push(wanted.of_tenant(tenant));
    } else {
        stores.push(Found {
            tenant: None,
            path: wanted.path.clone(),
        });
        let names = from.folders(tenants::FOLDER).await?;
        let names = names.iter().filter(|name| tenant::check(name).is_ok());
        stores.extend(names.map(|name| wanted.of_tenant(name)));
    }
    let with_source = |store: Found| {
        let source = from.below(store.prefix().as_deref());
        (store, source)
    };
    Ok(stores.into_iter().map(with_source).collect())
}

/// Restores and checks; false when a store that came out is damaged.
///
/// # Errors
/// When there is no such backup, a folder is not empty, or a file is not what it was.
pub async fn run(from: &str, name: Option<&str>, wanted: &StorePath) -> Result<bool, String> {
    let mut found = Vec::new();
    for (store, source) in sources(&Destination::of(from)?, wanted).await? {
        let names = names(&source).await?;
        found.push((store, source, names));
    }
    // One run of `backup` gives all stores the same name.
    let all = found.iter().flat_map(|(.., names)| names);
    let newest = all
        .max()
        .ok_or_else(|| format!("there is no backup in {from}"))?;
    let name = name.unwrap_or(newest).to_owned();
    let newest = newest.clone();
    found.retain(|(.., names)| names.contains(&name));
    if found.is_empty() {
        return Err(format!(
            "there is no backup of that name in {from}; the newest is {newest}"
        ));
    }
    // Before anything is written: a folder that holds something is no place for any of them.
    for (store, ..) in &found {
        check_empty(&store.path)?;
    }
    if wanted.tenant.is_none() {
        check_empty(&wanted.path)?;
    }
    let mut is_sound = true;
    for (store, source, _) in &found {
        super::tell(store, found.len());
        is_sound &= restore(source, &name, &store.path).await?;
    }
    Ok(is_sound)
}

fn check_empty(folder: &Path) -> Result<(), String> {
    let is_empty = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(e) => e.kind() == std::io::ErrorKind::NotFound,
    };
    if is_empty {
        return Ok(());
    }
    Err(format!(
        "{} is not empty; give the path of a new folder (--storage.path)",
        folder.display()
    ))
}

async fn restore(source: &Destination, name: &str, to: &Path) -> Result<bool, String> {
    let mut text = Vec::new();
    let key = format!("{LISTS}/{name}{LIST_ENDING}");
    source.get(&key, |piece| text.write_all(piece)).await?;
    let mut files = listing::decode(&String::from_utf8_lossy(&text))
        .map_err(|e| format!("backup {name}: {e}"))?;
    // A folder without a manifest is no store.
    files.sort_by_key(|f| f.name == "MANIFEST");
    for folder in ["parts", "wal"] {
        let made = fs::create_dir_all(to.join(folder));
        made.map_err(|e| format!("failed to make {}: {e}", to.display()))?;
    }
    for file in &files {
        if let Some((folder, _)) = file
            .name
            .split_once('/')
            .filter(|(f, _)| is_of_documents(f))
        {
            let made = fs::create_dir_all(to.join(folder));
            made.map_err(|e| format!("failed to make {}: {e}", to.display()))?;
        }
        fetch(source, file, to).await?;
    }
    let documents = Kind::ALL.map(Kind::folder);
    let documents = documents.iter().filter(|folder| to.join(folder).is_dir());
    for folder in ["parts", "wal", ""].iter().chain(documents) {
        let synced = File::open(to.join(folder)).and_then(|f| f.sync_all());
        synced.map_err(|e| format!("failed to sync {}: {e}", to.display()))?;
    }
    let bytes: u64 = files.iter().map(|f| f.bytes).sum();
    line(format_args!(
        "backup {name}: {} files of {bytes} bytes restored and verified",
        files.len()
    ));
    super::check::run(to)
}

fn is_of_documents(folder: &str) -> bool {
    Kind::ALL.iter().any(|kind| kind.folder() == folder)
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
