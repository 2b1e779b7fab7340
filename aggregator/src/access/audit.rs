//! The audit log: who changed what, from where, and with what result, as a line of JSON each.
//!
//! Lines are appended to a file, which becomes an older one when it is full, and stored as the stream
//! `{job="kansoku-audit"}` of the default tenant, where they can be searched like any other. The one rule: a
//! request is answered after its line was written.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kansoku_model::{Labels, LogBatch, Position, RecordBatch, Resource};
use kansoku_store::Incoming;
use kansoku_web::RateLimit;
use serde_json::{Value, json};

use super::config::AuditConfig;
use super::principal::{AUDIT_JOB, Principal};
use crate::app::App;
use crate::{clock, journal};

/// Of what a client sends no more stands in a line.
const DETAIL_MAX_BYTES: usize = 4096;
/// Lines about sign-ins that failed: so many at once and then one a second, so that guessing does not push
/// what matters out of the files.
const FAILURES_BURST: u32 = 60;
const FAILURES_EVERY: Duration = Duration::from_secs(1);

/// Something that happened.
#[derive(Debug, Clone)]
pub struct Event<'a> {
    /// What was done: `sign_in`, or method and path.
    pub action: &'a str,
    pub principal: Option<&'a Principal>,
    pub from: IpAddr,
    /// What a proxy says of where it came from; anybody can say that.
    pub forwarded_for: &'a str,
    pub tenant: &'a str,
    /// Parameters of the request.
    pub detail: String,
    /// The status of the answer.
    pub status: u16,
    /// Why it was refused or failed; empty when it was done.
    pub error: String,
}

impl Event<'_> {
    fn line(&self, now_ms: i64) -> String {
        let mut line = json!({
            "time": clock::rfc3339_ms(now_ms),
            "action": self.action,
            "result": if self.status < 400 { "done" } else { "refused" },
            "status": self.status,
            "from": self.from.to_string(),
        });
        let mut set = |key: &str, value: &str| {
            if !value.is_empty() {
                line[key] = Value::from(cut(value));
            }
        };
        if let Some(principal) = self.principal {
            set("kind", principal.kind.name());
            set("who", &principal.name);
            set("role", principal.grant.role.name());
        }
        set("forwarded_for", self.forwarded_for);
        set("tenant", self.tenant);
        set("detail", &self.detail);
        set("error", &self.error);
        line.to_string()
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(DETAIL_MAX_BYTES)]
}

/// The log.
#[derive(Debug)]
pub struct Audit {
    /// `None` while access control is off. Held while a line is written.
    files: Option<Arc<Mutex<Files>>>,
    failures: RateLimit,
}

impl Audit {
    /// No log.
    #[must_use]
    pub fn off() -> Self {
        Self {
            files: None,
            failures: RateLimit::new(FAILURES_BURST, FAILURES_EVERY, Instant::now()),
        }
    }

    /// The log that a configuration wants.
    #[must_use]
    pub fn new(config: &AuditConfig, storage_path: &Path) -> Self {
        let path = config.file.clone();
        let path = path.unwrap_or_else(|| storage_path.join("audit/audit.jsonl"));
        let files = Files {
            path,
            max_bytes: config.max_bytes,
            keep: config.keep,
            open: None,
        };
        Self {
            files: Some(Arc::new(Mutex::new(files))),
            ..Self::off()
        }
    }

    /// Whether a failed sign-in gets a line of its own.
    #[must_use]
    pub fn takes_failure(&self) -> bool {
        self.failures.is_allowed(Instant::now())
    }

    /// Writes a line, into the file and into the store.
    pub async fn note(&self, app: &Arc<App>, event: &Event<'_>) {
        let Some(files) = self.files.clone() else {
            return;
        };
        let now_ms = clock::now_ms();
        let line = event.line(now_ms);
        let app = app.clone();
        let written = tokio::task::spawn_blocking(move || {
            let written = {
                let mut files = files.lock().unwrap_or_else(PoisonError::into_inner);
                files.append(&line)
            };
            if let Err(error) = written {
                app.troubles.error(&format!(
                    "failed to write the audit log: {error}; make room or set access.audit.file. The line was: {line}"
                ));
            }
            store(&app, now_ms, &line);
        });
        if written.await.is_err() {
            journal::error("the audit log failed by a mistake of this program");
        }
    }

    /// The newest lines, newest first.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn newest(&self, limit: usize) -> Result<Vec<String>, String> {
        let Some(files) = &self.files else {
            return Ok(Vec::new());
        };
        let files = files.lock().unwrap_or_else(PoisonError::into_inner);
        files.newest(limit)
    }
}

/// Stores a line as a record of the default tenant.
fn store(app: &App, now_ms: i64, line: &str) {
    // While the WAL is read after a start there is no store yet; the file has the line.
    let Some(store) = app.tenants.default().open_store() else {
        return;
    };
    let resource = Resource {
        labels: Labels::from_pairs([("job", AUDIT_JOB)]),
        ..Resource::default()
    };
    let mut batch = LogBatch::new("audit".into(), Arc::new(resource), Vec::new());
    let row = batch.push(now_ms.saturating_mul(1_000_000), Position::default());
    batch.set_text("log", row, line.as_bytes());
    let appended = store.append(vec![Incoming::Batch(RecordBatch::Logs(batch))]);
    if let Err(error) = appended {
        let message = format!("failed to store a line of the audit log: {error}");
        app.troubles.error(&message);
    }
}

/// The files: `path`, and older ones with a number behind, which grows with age.
#[derive(Debug)]
struct Files {
    path: PathBuf,
    max_bytes: u64,
    keep: u32,
    /// The newest, and how many bytes it has.
    open: Option<(File, u64)>,
}

impl Files {
    fn append(&mut self, line: &str) -> std::io::Result<()> {
        let len = line.len() as u64 + 1;
        // A failure leaves none open: the next line begins with a look at what is there.
        let (mut file, mut n_bytes) = match self.open.take() {
            Some(open) => open,
            None => self.open()?,
        };
        if n_bytes > 0 && n_bytes + len > self.max_bytes {
            self.shift()?;
            (file, n_bytes) = self.open()?;
        }
        file.write_all(format!("{line}\n").as_bytes())?;
        self.open = Some((file, n_bytes + len));
        Ok(())
    }

    fn open(&self) -> std::io::Result<(File, u64)> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.path)?;
        let mut n_bytes = file.metadata()?.len();
        if n_bytes > 0 && !ends_with_newline(&self.path)? {
            // The line that was cut off stays by itself.
            (&file).write_all(b"\n")?;
            n_bytes += 1;
        }
        Ok((file, n_bytes))
    }

    fn older(&self, age: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{age}"));
        name.into()
    }

    /// Makes room for a new file.
    fn shift(&self) -> std::io::Result<()> {
        if self.keep == 0 {
            return std::fs::remove_file(&self.path);
        }
        for age in (1..self.keep).rev() {
            let from = self.older(age);
            if from.exists() {
                std::fs::rename(from, self.older(age + 1))?;
            }
        }
        std::fs::rename(&self.path, self.older(1))
    }

    fn newest(&self, limit: usize) -> Result<Vec<String>, String> {
        let mut found = Vec::new();
        let older = (1..=self.keep).map(|age| self.older(age));
        for path in std::iter::once(self.path.clone()).chain(older) {
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => break,
                Err(e) => return Err(format!("failed to read {}: {e}", path.display())),
            };
            // The last ones of a file of bounded size.
            let mut last = VecDeque::new();
            for line in BufReader::new(file).lines() {
                let line = line.map_err(|e| format!("failed to read {}: {e}", path.display()))?;
                if last.len() == limit - found.len() {
                    last.pop_front();
                }
                last.push_back(line);
            }
            found.extend(last.into_iter().rev());
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }
}

fn ends_with_newline(path: &Path) -> std::io::Result<bool> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = File::open(path)?;
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path, max_bytes: u64, keep: u32) -> Files {
        Files {
            path: folder.join("deep/audit.jsonl"),
            max_bytes,
            keep,
            open: None,
        }
    }

    #[test]
    fn files_are_bounded_and_the_newest_lines_come_first() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = files(folder.path(), 30, 2);
        for at in 0..10 {
            log.append(&format!("line {at:04}")).unwrap();
        }
        // Three lines fit a file; the tenth opened a fourth one, and one is gone.
        let all = log.newest(100).unwrap();
        let expected: Vec<String> = (3..10).rev().map(|at| format!("line {at:04}")).collect();
        assert_eq!(all, expected);
        assert_eq!(log.newest(2).unwrap(), expected[..2]);
        assert!(!log.older(3).exists());
        let mut none = files(folder.path(), 30, 0);
        none.append(&"x".repeat(30)).unwrap();
        assert_eq!(none.newest(9).unwrap().len(), 1);
    }

    #[test]
    fn a_line_that_was_cut_off_takes_no_other_along() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = files(folder.path(), 1000, 1);
        log.append("one").unwrap();
        drop(log);
        let path = folder.path().join("deep/audit.jsonl");
        std::fs::write(&path, "one\ntw").unwrap();
        let mut log = files(folder.path(), 1000, 1);
        log.append("three").unwrap();
        assert_eq!(log.newest(9).unwrap(), ["three", "tw", "one"]);
    }

    #[test]
    fn a_line_says_who_what_and_with_what_result() {
        let principal = Principal::anybody();
        let event = Event {
            action: "POST /-/reload",
            principal: Some(&principal),
            from: "10.0.0.1".parse().unwrap(),
            forwarded_for: "",
            tenant: "",
            detail: "é".repeat(DETAIL_MAX_BYTES),
            status: 403,
            error: "no\n\"".into(),
        };
        let line = event.line(0);
        assert!(!line.contains('\n'));
        let read: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["result"], "refused");
        assert_eq!(read["error"], "no\n\"");
        assert_eq!(read["from"], "10.0.0.1");
        assert_eq!(read["detail"].as_str().unwrap().len(), DETAIL_MAX_BYTES);
        assert_eq!(read["tenant"], Value::Null);
    }
}
