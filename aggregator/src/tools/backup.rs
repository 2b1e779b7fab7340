//! `backup`: carries the files of one moment of a store to a destination, only those that are not there.
//!
//! A store may be in use meanwhile: what it has acknowledged when the backup begins is in. The list of
//! files is written last, so a backup that was broken off is none, and what it has sent is found by the next.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use kansoku_store::link_files;
use xxhash_rust::xxh3::Xxh3;

use super::destination::Destination;
use super::listing::{Listed, encode};
use super::{Keep, prune};
use crate::output::line;
use crate::{clock, documents};

/// Folder and ending of lists at the destination.
pub const LISTS: &str = "backups";
pub const LIST_ENDING: &str = ".backup";

/// Makes a backup, prints its name, and removes the older ones that are not kept.
///
/// # Errors
/// When the folder is no store, or something cannot be read or written.
pub async fn run(
    path: &Path,
    destination: &Destination,
    keep: &Keep,
    now_ms: i64,
) -> Result<(), String> {
    let name = name_at(now_ms);
    let running = prune::begin(destination, &name, now_ms).await?;
    let done = copy(path, destination, &name).await;
    // What is there stays there; the next backup goes on with it.
    destination.remove(&running).await?;
    done?;
    prune::run(destination, keep, &name, now_ms).await
}

/// The name of a backup that is begun at a time; names are in the order of times.
pub fn name_at(time_ms: i64) -> String {
    clock::rfc3339_ms(time_ms).replace([':', '.'], "-")
}

async fn copy(path: &Path, destination: &Destination, name: &str) -> Result<(), String> {
    let linked = link_files(path).map_err(|e| format!("failed to back up: {e}"))?;
    let whole = path.to_owned();
    let (mut files, mut total, mut sent) = (Vec::new(), 0, 0);
    let of_store = linked.files.iter().map(|file| (&linked.folder, file));
    // Their files never change, so they need no links.
    let documents = documents::files(path)?;
    let all = of_store.chain(documents.iter().map(|file| (&whole, file)));
    for (folder, (name, bytes)) in all {
        let file = folder.join(name);
        if folder == &whole && !file.exists() {
            // An old version that was forgotten meanwhile.
            continue;
        }
        let listed = Listed {
            hash: hash_of(&file, *bytes)?,
            bytes: *bytes,
            name: name.clone(),
        };
        total += bytes;
        if !destination.has(&listed.key(), *bytes).await? {
            destination.put_file(&listed.key(), &file, *bytes).await?;
            sent += bytes;
        }
        files.push(listed);
    }
    let key = format!("{LISTS}/{name}{LIST_ENDING}");
    destination.put_text(&key, encode(&files)).await?;
    line(format_args!(
        "backup {name}: {} files of {total} bytes, of which {sent} were not there yet",
        files.len()
    ));
    Ok(())
}

/// Hash of the first `bytes` of a file, in hexadecimal digits.
fn hash_of(file: &Path, bytes: u64) -> Result<String, String> {
    let read = |e: std::io::Error| format!("failed to read {}: {e}", file.display());
    let mut input = File::open(file).map_err(read)?.take(bytes);
    let (mut hash, mut piece, mut n_read) = (Xxh3::new(), vec![0; 1 << 20], 0);
    loop {
        match input.read(&mut piece).map_err(read)? {
            0 => break,
            n => {
                hash.update(&piece[..n]);
                n_read += n as u64;
            }
        }
    }
    if n_read != bytes {
        return Err(format!("{} became shorter", file.display()));
    }
    Ok(format!("{:032x}", hash.digest128()))
}
