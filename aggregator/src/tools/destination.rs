//! Where backups lie: a folder, or a bucket of an S3 server. Small texts and large files by key.
//!
//! The one rule: a key that is there is whole. A file comes under its name by a rename, an object by
//! the end of its upload.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Key;
use object_store::{Error, ObjectStoreExt, WriteMultipart};

use super::s3_http::Carrier;
use crate::http::form::unescape;

/// What is read and sent at a time; S3 wants parts of at least 5 MiB.
const PIECE_BYTES: usize = 8 << 20;
/// Pieces under way at a time.
const PIECES_MAX: usize = 4;

/// A folder or a bucket.
#[derive(Debug)]
pub enum Destination {
    Folder(PathBuf),
    Bucket(Box<AmazonS3>, String),
}

impl Destination {
    /// Reads `s3://BUCKET/PREFIX`, or the path of a folder.
    ///
    /// # Errors
    /// What is wrong with it, or with what the environment says of the server.
    pub fn of(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix("s3://") else {
            return match text.split_once("://") {
                Some((scheme, _)) => Err(format!(
                    "{text}: {scheme} is no kind of destination; expected a folder or s3://BUCKET/PREFIX"
                )),
                None => Ok(Self::Folder(text.into())),
            };
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let has_plain_endpoint = ["AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3"]
            .iter()
            .any(|name| std::env::var(name).is_ok_and(|url| url.starts_with("http://")));
        let store = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_allow_http(has_plain_endpoint)
            .with_http_connector(Carrier::new()?)
            .build()
            .map_err(|e| format!("{text}: {e}"))?;
        let prefix = prefix.trim_end_matches('/').to_owned();
        Ok(Self::Bucket(Box::new(store), prefix))
    }

    /// A folder below it, or the same.
    #[must_use]
    pub fn below(&self, folder: Option<&str>) -> Self {
        match (self, folder) {
            (Self::Folder(root), None) => Self::Folder(root.clone()),
            (Self::Folder(root), Some(folder)) => Self::Folder(root.join(folder)),
            (Self::Bucket(store, prefix), None) => Self::Bucket(store.clone(), prefix.clone()),
            (Self::Bucket(store, prefix), Some(folder)) => {
                let key = Self::key(prefix, folder);
                Self::Bucket(store.clone(), key.to_string())
            }
        }
    }

    /// Removes a key; one that is gone already is fine.
    ///
    /// # Errors
    /// When it stays.
    pub async fn remove(&self, name: &str) -> Result<(), String> {
        match self {
            Self::Folder(root) => match fs::remove_file(root.join(name)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    Err(failed("remove", name, &e))
                }
                _ => Ok(()),
            },
            Self::Bucket(store, prefix) => match store.delete(&Self::key(prefix, name)).await {
                Err(e) if !matches!(e, Error::NotFound { .. }) => Err(failed("remove", name, &e)),
                _ => Ok(()),
            },
        }
    }

    fn key(prefix: &str, name: &str) -> Key {
        if prefix.is_empty() {
            Key::from(name)
        } else {
            Key::from(format!("{prefix}/{name}"))
        }
    }

    /// Whether there is something of this name and size.
    ///
    /// # Errors
    /// When it cannot be told.
    pub async fn has(&self, name: &str, bytes: u64) -> Result<bool, String> {
        match self {
            Self::Folder(root) => Ok(fs::metadata(root.join(name)).is_ok_and(|m| m.len() == bytes)),
            Self::Bucket(store, prefix) => match store.head(&Self::key(prefix, name)).await {
                Ok(meta) => Ok(meta.size == bytes),
                Err(Error::NotFound { .. }) => Ok(false),
                Err(e) => Err(failed("look for", name, &e)),
            },
        }
    }

    /// Stores a text.
    ///
    /// # Errors
    /// When it could not be stored whole.
    pub async fn put_text(&self, name: &str, text: String) -> Result<(), String> {
        match self {
            Self::Folder(root) => put_file(root, name, |out| out.write_all(text.as_bytes())),
            Self::Bucket(store, prefix) => {
                let key = Self::key(prefix, name);
                let put = store.put(&key, text.into_bytes().into());
                put.await.map(drop).map_err(|e| failed("write", name, &e))
            }
        }
    }

    /// Stores the first `bytes` of a file.
    ///
    /// # Errors
    /// When it could not be stored whole.
    pub async fn put_file(&self, name: &str, file: &Path, bytes: u64) -> Result<(), String> {
        let unread = |e: std::io::Error| format!("failed to read {}: {e}", file.display());
        let mut input = File::open(file).map_err(unread)?.take(bytes);
        match self {
            Self::Folder(root) => {
                put_file(root, name, |out| std::io::copy(&mut input, out).map(drop))
            }
            Self::Bucket(store, prefix) => {
                let key = Self::key(prefix, name);
                let wrong = |e: Error| failed("write", name, &e);
                if bytes <= PIECE_BYTES as u64 {
                    let mut all = Vec::new();
                    input.read_to_end(&mut all).map_err(unread)?;
                    return store.put(&key, all.into()).await.map(drop).map_err(wrong);
                }
                let upload = store.put_multipart(&key).await.map_err(wrong)?;
                let mut upload = WriteMultipart::new_with_chunk_size(upload, PIECE_BYTES);
                let mut piece = vec![0; PIECE_BYTES];
                loop {
                    let n = input.read(&mut piece).map_err(unread)?;
                    if n == 0 {
                        return upload.finish().await.map(drop).map_err(wrong);
                    }
                    upload.wait_for_capacity(PIECES_MAX).await.map_err(wrong)?;
                    upload.write(&piece[..n]);
                }
            }
        }
    }

    /// Gives the content of a key to `take`, piece by piece.
    ///
    /// # Errors
    /// When there is none, it breaks off, or `take` fails.
    pub async fn get(
        &self,
        name: &str,
        mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), String> {
        let read = |e: &dyn std::fmt::Display| failed("read", name, e);
        match self {
            Self::Folder(root) => {
                let mut input = File::open(root.join(name)).map_err(|e| read(&e))?;
                let mut piece = vec![0; PIECE_BYTES];
                loop {
                    match input.read(&mut piece).map_err(|e| read(&e))? {
                        0 => return Ok(()),
                        n => take(&piece[..n]).map_err(|e| read(&e))?,
                    }
                }
            }
            Self::Bucket(store, prefix) => {
                let key = Self::key(prefix, name);
                let meta = store.head(&key).await.map_err(|e| read(&e))?;
                let mut at = 0;
                while at < meta.size {
                    let end = meta.size.min(at + PIECE_BYTES as u64);
                    let piece = store.get_range(&key, at..end).await.map_err(|e| read(&e))?;
                    take(&piece).map_err(|e| read(&e))?;
                    at = end;
                }
                Ok(())
            }
        }
    }

    /// The names of the folders below a folder, sorted.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn folders(&self, folder: &str) -> Result<Vec<String>, String> {
        match self {
            // A file between them has no backups.
            Self::Folder(_) => self.list(folder).await,
            Self::Bucket(store, prefix) => {
                use object_store::ObjectStore;
                let key = Self::key(prefix, folder);
                let listed = store.list_with_delimiter(Some(&key)).await;
                let listed = listed.map_err(|e| failed("list", folder, &e))?;
                let names = listed.common_prefixes.iter().filter_map(Key::filename);
                // Keys hold some characters as %XX.
                let mut names: Vec<String> =
                    names.filter_map(|n| unescape(n, false).ok()).collect();
                names.sort();
                Ok(names)
            }
        }
    }

    /// The names below a folder, sorted.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn list(&self, folder: &str) -> Result<Vec<String>, String> {
        let mut names = Vec::new();
        match self {
            Self::Folder(root) => {
                let entries = match fs::read_dir(root.join(folder)) {
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(names),
                    entries => entries.map_err(|e| failed("list", folder, &e))?,
                };
                for entry in entries {
                    let entry = entry.map_err(|e| failed("list", folder, &e))?;
                    names.extend(entry.file_name().into_string());
                }
            }
            Self::Bucket(store, prefix) => {
                use object_store::ObjectStore;
                let key = Self::key(prefix, folder);
                let listed = store.list_with_delimiter(Some(&key)).await;
                let listed = listed.map_err(|e| failed("list", folder, &e))?;
                let all = listed.objects.iter();
                names.extend(all.filter_map(|o| o.location.filename().map(str::to_owned)));
            }
        }
        names.sort();
        Ok(names)
    }
}

fn failed(action: &str, name: &str, error: &dyn std::fmt::Display) -> String {
    format!("failed to {action} {name} of the backup: {error}")
}

/// Writes a file under a temporary name, makes it durable and puts it in place.
fn put_file(
    root: &Path,
    name: &str,
    fill: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> Result<(), String> {
    let path = root.join(name);
    let temporary = path.with_extension("tmp");
    let write = || {
        let folder = path.parent().unwrap_or(root);
        fs::create_dir_all(folder)?;
        let mut out = File::create(&temporary)?;
        fill(&mut out)?;
        out.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|e| format!("failed to write {}: {e}", path.display()))
}
