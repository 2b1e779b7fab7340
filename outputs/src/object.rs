//! What `s3`, `azure_blob` and `gcs` share: records are gathered on disk and uploaded as objects.
//!
//! A request is acknowledged when its records are fsynced in the store folder, from where they go on
//! after a crash; with what the agent repeats they are in an object once (see [`spool`]). While
//! uploads fail, new records are not taken: the log files keep them, and the failure is seen.

pub mod http;
pub mod key;
pub mod spool;

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use kansoku_model::{ConfigError, LogBatch, RecordBatch, Settings};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, MultipartUpload, ObjectStore, PutMultipartOptions, PutOptions,
    PutPayload, RetryConfig,
};

use crate::accessor::Accessor;
use crate::counter::now_seconds;
use crate::render::{Format, Layout};
use crate::tcp::logs;
use crate::{Outcome, Output, Request, SendFuture};
use key::KeyFormat;
use spool::{Head, Mark, Spool};

/// How often files are looked at.
const TICK: Duration = Duration::from_millis(500);
/// The longest wait between two attempts of an upload.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// The most marks of one frame; a request with more batches becomes several.
const FRAME_MAX_BATCHES: usize = 10_000;

/// How records are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// How objects are made; from the settings of an output.
pub struct Plan {
    pub format: Format,
    /// A field that is written alone, a line a record.
    pub log_key: Option<Accessor>,
    pub packing: Packing,
    pub key: KeyFormat,
    pub node: String,
    pub folder: PathBuf,
    /// A file of this size is uploaded.
    pub max_bytes: u64,
    /// A file of this age is uploaded.
    pub max_age_s: i64,
    /// Bytes in the folder at which records have to wait.
    pub folder_max_bytes: u64,
    /// Bytes of a part; larger objects are uploaded in parts.
    pub part_bytes: usize,
    pub attributes: Attributes,
}

/// Few retries in the client: the uploader repeats by itself, and says so.
#[must_use]
pub fn retries() -> RetryConfig {
    RetryConfig {
        max_retries: 2,
        retry_timeout: Duration::from_secs(30),
        ..RetryConfig::default()
    }
}

/// The accessor of `log_key`.
///
/// # Errors
/// When it is none.
pub fn log_key(settings: &Settings) -> Result<Option<Accessor>, ConfigError> {
    settings
        .get("log_key")
        .map(|s| Accessor::new(&s.value).map_err(|e| ConfigError::new(&s.place, e)))
        .transpose()
}

/// The packing of `compression`.
///
/// # Errors
/// When it is one that this output does not write.
pub fn packing(settings: &Settings, key: &str) -> Result<Packing, ConfigError> {
    let Some(s) = settings.get(key) else {
        return Ok(Packing::Plain);
    };
    match s.value.to_ascii_lowercase().as_str() {
        "none" | "off" | "false" => Ok(Packing::Plain),
        "gzip" | "on" | "true" => Ok(Packing::Gzip),
        "zstd" => Ok(Packing::Zstd),
        other => Err(ConfigError::new(
            &s.place,
            format!("'{key}' is '{other}', but must be gzip, zstd or none"),
        )),
    }
}

/// Packs data; packed pieces that follow each other are one file to every reader.
#[must_use]
pub fn pack(packing: Packing, data: Vec<u8>) -> Vec<u8> {
    match packing {
        Packing::Plain => data,
        Packing::Gzip => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(&data).expect("writing to memory succeeds");
            gzip.finish().expect("writing to memory succeeds")
        }
        Packing::Zstd => zstd::bulk::compress(&data, 1).expect("zstd compresses any bytes"),
    }
}

/// The attributes that go with a packing and a content type.
#[must_use]
pub fn attributes(packing: Packing, content_type: Option<&str>) -> Attributes {
    let mut attributes = Attributes::new();
    if let Some(text) = content_type {
        attributes.insert(Attribute::ContentType, text.to_owned().into());
    }
    let encoding = match packing {
        Packing::Plain => None,
        Packing::Gzip => Some("gzip"),
        Packing::Zstd => Some("zstd"),
    };
    if let Some(encoding) = encoding {
        attributes.insert(Attribute::ContentEncoding, encoding.into());
    }
    attributes
}

/// An output that gathers and uploads.
pub struct Objects {
    shared: Arc<Shared>,
    plugin: String,
}

struct Shared {
    plan: Plan,
    store: Arc<dyn ObjectStore>,
    /// Opened by the uploader. Held while a request is written or a file is read.
    spool: Mutex<Option<Spool>>,
    /// Why the last upload failed, or the folder cannot be opened; empty when all is well.
    trouble: Mutex<String>,
    stopped: AtomicBool,
}

impl Drop for Objects {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
    }
}

impl Objects {
    /// The output of `plugin`; it uploads once it is started.
    #[must_use]
    pub fn new(plan: Plan, store: Arc<dyn ObjectStore>, plugin: &str) -> Self {
        let shared = Arc::new(Shared {
            plan,
            store,
            spool: Mutex::default(),
            trouble: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        Self {
            shared,
            plugin: plugin.to_owned(),
        }
    }
}

/// Uploads what is due until the output is gone.
fn run(weak: &Weak<Shared>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime for one thread can be made");
    let mut wait = TICK;
    loop {
        std::thread::sleep(TICK.min(wait));
        let Some(shared) = weak
            .upgrade()
            .filter(|s| !s.stopped.load(Ordering::Relaxed))
        else {
            return;
        };
        let done = runtime.block_on(shared.upload_due());
        let trouble = done.err().unwrap_or_default();
        if trouble.is_empty() {
            wait = TICK;
        } else {
            wait = (wait * 2).min(RETRY_MAX);
        }
        let failed = !trouble.is_empty();
        *shared.trouble.lock().expect("nobody panics with the lock") = trouble;
        drop(shared);
        if failed {
            std::thread::sleep(wait);
        }
    }
}

impl Shared {
    fn with_spool<T>(
        &self,
        work: impl FnOnce(&mut Spool) -> std::io::Result<T>,
    ) -> Result<T, String> {
        let mut spool = self.spool.lock().expect("nobody panics with the lock");
        let failed = |e| format!("store folder {}: {e}", self.plan.folder.display());
        if spool.is_none() {
            *spool = Some(Spool::open(&self.plan.folder).map_err(failed)?);
        }
        work(spool.as_mut().expect("it was just opened")).map_err(failed)
    }

    async fn upload_due(&self) -> Result<(), String> {
        let now = now_seconds() as i64;
        let (max_bytes, max_age) = (self.plan.max_bytes, self.plan.max_age_s);
        self.with_spool(|spool| spool.close_due(now, max_bytes, max_age))?;
        while let Some((number, head, data)) = self.with_spool(|spool| spool.oldest())? {
            if self.stopped.load(Ordering::Relaxed) {
                return Ok(());
            }
            let name = head.key.clone();
            self.upload(&head.key, data)
                .await
                .map_err(|e| format!("upload of {name} failed: {e}"))?;
            self.with_spool(|spool| spool.uploaded(number))?;
        }
        Ok(())
    }

    async fn upload(&self, key: &str, data: Vec<u8>) -> object_store::Result<()> {
        let path = Path::parse(key).unwrap_or_else(|_| Path::from(key));
        let attributes = self.plan.attributes.clone();
        if data.len() <= self.plan.part_bytes {
            let options = PutOptions {
                attributes,
                ..PutOptions::default()
            };
            self.store.put_opts(&path, data.into(), options).await?;
            return Ok(());
        }
        let options = PutMultipartOptions {
            attributes,
            ..PutMultipartOptions::default()
        };
        let mut upload = self.store.put_multipart_opts(&path, options).await?;
        let sent = send_parts(upload.as_mut(), data, self.plan.part_bytes).await;
        if sent.is_err() {
            // Best effort: parts that stay are removed by the bucket's life cycle.
            let _ = upload.abort().await;
        }
        sent
    }

    /// Writes the records that are not here yet.
    fn keep(&self, batches: &[Arc<RecordBatch>]) -> Result<(), String> {
        self.with_spool(|spool| {
            if spool.n_bytes() >= self.plan.folder_max_bytes {
                return Err(std::io::Error::other("it is full, and waits for uploads"));
            }
            let request = Request { batches, id: "" };
            let batches: Vec<&LogBatch> = logs(&request).collect();
            for group in batches.chunk_by(|a, b| a.tag == b.tag) {
                for group in group.chunks(FRAME_MAX_BATCHES) {
                    self.keep_group(spool, group)?;
                }
            }
            Ok(())
        })
    }

    fn keep_group(&self, spool: &mut Spool, group: &[&LogBatch]) -> std::io::Result<()> {
        let mut data = Vec::new();
        let mut marks: Vec<Mark> = Vec::new();
        for batch in group {
            let source = batch.source.id;
            let known = match marks.iter().rev().find(|m| m.source == source.0) {
                Some(mark) => Some(mark.position),
                None => spool.mark(source.0),
            };
            match known.filter(|_| source.is_some()) {
                Some(mark) if batch.positions().iter().any(|p| *p <= mark) => {
                    let mut news = (*batch).clone();
                    news.retain(|row| batch.positions()[row] > mark);
                    self.plan.write(&mut data, &news);
                }
                _ => self.plan.write(&mut data, batch),
            }
            if let (true, Some(&position)) = (source.is_some(), batch.positions().iter().max()) {
                let source = source.0;
                marks.push(Mark { source, position });
            }
        }
        if data.is_empty() {
            return Ok(());
        }
        let tag = &*group[0].tag;
        let begin = now_seconds() as i64;
        spool.append(tag, &marks, &pack(self.plan.packing, data), |number| Head {
            tag: tag.to_owned(),
            key: self.plan.key.key(tag, begin, number, &self.plan.node),
            begin,
        })
    }
}

pub(crate) async fn send_parts(
    upload: &mut dyn MultipartUpload,
    data: Vec<u8>,
    part_bytes: usize,
) -> object_store::Result<()> {
    let data = bytes::Bytes::from(data);
    let mut from = 0;
    while from < data.len() {
        let to = (from + part_bytes).min(data.len());
        upload
            .put_part(PutPayload::from_bytes(data.slice(from..to)))
            .await?;
        from = to;
    }
    upload.complete().await?;
    Ok(())
}

impl Plan {
    fn write(&self, out: &mut Vec<u8>, batch: &LogBatch) {
        let Some(key) = &self.log_key else {
            return self.format.write_batches(out, [batch]);
        };
        let reading = key.over(batch);
        for row in 0..batch.len() {
            if let Some(text) = reading.text(row) {
                out.extend_from_slice(&text);
                out.push(b'\n');
            }
        }
    }

    /// Lines of JSON.
    ///
    /// # Errors
    /// When a date option cannot be read.
    pub fn lines(settings: &Settings) -> Result<Format, ConfigError> {
        Format::of(settings, Layout::Lines)
    }
}

impl Output for Objects {
    fn start(&self) -> std::io::Result<()> {
        let weak = Arc::downgrade(&self.shared);
        let thread = std::thread::Builder::new().name(format!("upload:{}", self.plugin));
        thread.spawn(move || run(&weak)).map(drop)
    }

    fn send<'a>(&'a self, request: Request<'a>) -> SendFuture<'a> {
        let shared = self.shared.clone();
        let batches = request.batches.to_vec();
        Box::pin(async move {
            let trouble = shared
                .trouble
                .lock()
                .expect("nobody panics with the lock")
                .clone();
            if !trouble.is_empty() {
                return Outcome::Retry {
                    reason: trouble,
                    after: None,
                };
            }
            // A disk can stall: keep that off the threads that serve sockets.
            let kept = tokio::task::spawn_blocking(move || shared.keep(&batches)).await;
            match kept {
                Ok(Ok(())) => Outcome::Delivered,
                Ok(Err(reason)) => Outcome::Retry {
                    reason,
                    after: None,
                },
                Err(e) => Outcome::Retry {
                    reason: format!("a write was cut short: {e}"),
                    after: None,
                },
            }
        })
    }

    fn takes(&self, batch: &RecordBatch) -> bool {
        matches!(batch, RecordBatch::Logs(_))
    }
}

#[cfg(test)]
mod tests {
    use kansoku_model::{Position, SourceId};
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    fn shared(folder: &std::path::Path, store: Arc<InMemory>, packing: Packing) -> Shared {
        let settings = Settings::of("s3", &[("json_date_key", "false")]);
        Shared {
            plan: Plan {
                format: Plan::lines(&settings).expect("valid"),
                log_key: None,
                packing,
                key: KeyFormat {
                    format: "logs/$TAG/$INDEX".into(),
                    delimiters: ".".into(),
                    is_static: false,
                    suffix: "",
                },
                node: "n".into(),
                folder: folder.to_owned(),
                max_bytes: 1,
                max_age_s: 600,
                folder_max_bytes: 10_000,
                part_bytes: 16,
                attributes: attributes(packing, None),
            },
            store,
            spool: Mutex::default(),
            trouble: Mutex::default(),
            stopped: AtomicBool::new(false),
        }
    }

    fn batch(from: u64, to: u64) -> Arc<RecordBatch> {
        let mut batch = LogBatch::new("a.b".into(), Arc::default(), Vec::new());
        batch.source.id = SourceId(7);
        for offset in from..to {
            let row = batch.push(0, Position::at(offset));
            batch.set_text("log", row, offset.to_string().as_bytes());
        }
        Arc::new(RecordBatch::Logs(batch))
    }

    async fn text(store: &InMemory, key: &str) -> String {
        let found = store.get(&Path::from(key)).await.expect("is there");
        let bytes = found.bytes().await.expect("reads");
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let mut text = String::new();
            let mut gzip = flate2::read::MultiGzDecoder::new(&bytes[..]);
            std::io::Read::read_to_string(&mut gzip, &mut text).expect("gzip");
            return text;
        }
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    #[tokio::test]
    async fn repeats_after_a_crash_are_in_an_object_once() {
        let folder = tempfile::tempdir().expect("temp dir");
        let store = Arc::new(InMemory::new());
        let first = shared(folder.path(), store.clone(), Packing::Plain);
        first.keep(&[batch(0, 3)]).expect("keeps");
        drop(first);
        // The acknowledgement was lost, and the agent cuts its requests in another way.
        let second = shared(folder.path(), store.clone(), Packing::Plain);
        second.keep(&[batch(1, 5), batch(5, 6)]).expect("keeps");
        second.upload_due().await.expect("uploads");
        let expected: String = (0..6).map(|n| format!("{{\"log\":\"{n}\"}}\n")).collect();
        assert_eq!(text(&store, "logs/a.b/0").await, expected);
        drop(second);
        let third = shared(folder.path(), store.clone(), Packing::Gzip);
        third.keep(&[batch(0, 6)]).expect("keeps");
        third.keep(&[batch(6, 7)]).expect("keeps");
        third.keep(&[batch(7, 8)]).expect("keeps");
        third.upload_due().await.expect("uploads");
        assert_eq!(
            text(&store, "logs/a.b/1").await,
            "{\"log\":\"6\"}\n{\"log\":\"7\"}\n"
        );
    }

    #[test]
    fn nothing_is_touched_before_the_start() {
        let folder = tempfile::tempdir().expect("temp dir");
        let store = Arc::new(InMemory::new());
        shared(folder.path(), store.clone(), Packing::Plain)
            .keep(&[batch(0, 3)])
            .expect("keeps");
        let plan = || shared(folder.path(), store.clone(), Packing::Plain).plan;
        let built = Objects::new(plan(), store.clone(), "s3");
        // Whoever only builds a configuration leaves the folder to the agent that runs.
        std::thread::sleep(2 * TICK);
        drop(Spool::open(folder.path()).expect("nobody has locked it"));
        built.start().expect("starts");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let is_there = || {
            let found = runtime.block_on(store.get(&Path::from("logs/a.b/0")));
            found.is_ok()
        };
        assert!((0..100).any(|_| {
            std::thread::sleep(TICK / 5);
            is_there()
        }));
    }

    #[tokio::test]
    async fn a_full_folder_makes_records_wait() {
        let folder = tempfile::tempdir().expect("temp dir");
        let mut shared = shared(folder.path(), Arc::new(InMemory::new()), Packing::Plain);
        shared.plan.folder_max_bytes = 100;
        shared.keep(&[batch(0, 10)]).expect("keeps");
        let error = shared.keep(&[batch(10, 11)]).expect_err("is full");
        assert!(error.contains("it is full"), "{error}");
        shared.upload_due().await.expect("uploads");
        shared.keep(&[batch(10, 11)]).expect("there is room again");
    }
}
