//! The watch behind a table: list, watch from there, and list again when the API has forgotten where.
//!
//! It never ends by itself. While the API is away the table keeps what it had.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{Request, Response};
use kube::Client;
use kube::client::Body;

use super::api::{self, Ask, Event, Page};
use super::table::Table;
use crate::log;

const COMPONENT: &str = "kube_state_metrics";
/// The largest answer to a list; a page is about a megabyte.
const MAX_PAGE_BYTES: usize = 256 << 20;
/// The largest event: etcd keeps objects of 1.5 MB, which JSON makes longer.
const MAX_EVENT_BYTES: usize = 16 << 20;
/// How much of a refusal is read.
const MAX_REFUSAL_BYTES: usize = 64 << 10;
/// What the line buffer of a quiet watch may keep.
const KEPT_BYTES: usize = 64 << 10;
/// A list that sends nothing for so long is given up.
const LIST_PATIENCE: Duration = Duration::from_secs(60);
/// Below the API client's own limit of 295 s for a silent connection.
const WATCH: Duration = Duration::from_secs(240);
/// A watch that the API server should have ended is ended here.
const WATCH_GRACE: Duration = Duration::from_secs(20);
/// Bookmarks come every minute. When nothing came for so long, over several watches, they are not trusted.
const SILENCE: Duration = Duration::from_secs(900);
/// After the first failure; then twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 800 });
const LONGEST_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 2 } else { 30_000 });

/// The version, or the place in a list, is too old.
#[derive(Debug, thiserror::Error)]
#[error("the API has forgotten the version to go on from")]
struct Gone;

/// An older API, or one without this group.
#[derive(Debug, thiserror::Error)]
#[error("the API does not have it ({0})")]
struct Absent(String);

/// Fills a table for as long as the task lives.
pub async fn follow(client: Client, table: Arc<Table>) {
    let mut follower = Follower {
        client,
        table,
        pause: FIRST_PAUSE,
        has_listed: false,
        failing: false,
    };
    loop {
        if let Some(version) = follower.list().await {
            follower.watch(version).await;
        }
    }
}

struct Follower {
    client: Client,
    table: Arc<Table>,
    /// Before the next request after a failure; grows with each.
    pause: Duration,
    has_listed: bool,
    /// Whether the last request failed: the same failure is told once.
    failing: bool,
}

impl Follower {
    /// The version of a complete list; `None` when there is none this time.
    async fn list(&mut self) -> Option<String> {
        match self.pages().await {
            Ok(version) => {
                self.table.status.n_lists.fetch_add(1, Ordering::Relaxed);
                self.table.status.heard(&version);
                self.has_listed = true;
                self.good();
                Some(version)
            }
            Err(failure) => {
                // What is not there is no failure: kube-state-metrics' own alert would fire for ever.
                if failure.is::<Absent>() {
                    self.pause = LONGEST_PAUSE;
                } else {
                    let failed = &self.table.status.n_failed_lists;
                    failed.fetch_add(1, Ordering::Relaxed);
                }
                self.bad("list", &failure).await;
                None
            }
        }
    }

    async fn pages(&self) -> anyhow::Result<String> {
        let mut next = String::new();
        self.table.begin_list();
        loop {
            let ask = Ask::List {
                next: &next,
                is_first: !self.has_listed,
            };
            let response = self.ask(ask).await?;
            let body = collect(response.into_body(), MAX_PAGE_BYTES).await?;
            let page = Page::parse(&body)?;
            for object in page.objects() {
                match object {
                    Ok(object) => self.table.apply(&object),
                    Err(error) => self.left_out(&error),
                }
            }
            if page.metadata.next.is_empty() {
                self.table.end_list();
                return Ok(page.metadata.resource_version);
            }
            next = page.metadata.next;
        }
    }

    /// Follows changes until the list has to be made again.
    async fn watch(&mut self, mut version: String) {
        let mut heard = Instant::now();
        loop {
            let before = version.clone();
            let ended = self.events(&mut version).await;
            if version != before {
                heard = Instant::now();
            }
            let counts = &self.table.status;
            match ended {
                Ok(()) => {
                    counts.n_watches.fetch_add(1, Ordering::Relaxed);
                    self.good();
                }
                Err(error) if error.is::<Gone>() => {
                    counts.n_failed_watches.fetch_add(1, Ordering::Relaxed);
                    // Not at once: an API server that has just started forgets everything.
                    tokio::time::sleep(self.pause).await;
                    return;
                }
                Err(failure) => {
                    counts.n_failed_watches.fetch_add(1, Ordering::Relaxed);
                    self.bad("watch", &failure).await;
                }
            }
            if heard.elapsed() > SILENCE {
                return;
            }
        }
    }

    /// One watch, until the API server or the time ends it.
    async fn events(&self, version: &mut String) -> anyhow::Result<()> {
        let started = Instant::now();
        let ask = Ask::Watch {
            version: &version.clone(),
            seconds: WATCH.as_secs(),
        };
        let mut body = self.ask(ask).await?.into_body();
        let mut lines = Lines::default();
        loop {
            let left = (WATCH + WATCH_GRACE).saturating_sub(started.elapsed());
            let Ok(frame) = tokio::time::timeout(left, body.frame()).await else {
                return Ok(());
            };
            let Some(frame) = frame else {
                // An API server that hangs up at once must not be asked again at once.
                let least = FIRST_PAUSE.saturating_sub(started.elapsed());
                tokio::time::sleep(least).await;
                return Ok(());
            };
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            lines.push(&data, |line| self.event(line, version))?;
        }
    }

    fn event(&self, line: &[u8], version: &mut String) -> anyhow::Result<()> {
        let event = match Event::parse(line, self.table.plan.kind.form) {
            Ok(event) => event,
            Err(error) => {
                self.left_out(&error);
                return Ok(());
            }
        };
        let newer = match event {
            Event::Applied(object) => {
                self.table.apply(&object);
                object.metadata.resource_version
            }
            Event::Deleted(object) => {
                self.table.delete(&object);
                object.metadata.resource_version
            }
            Event::Bookmark(newer) => newer,
            Event::Failed { code: 410, .. } => return Err(Gone.into()),
            Event::Failed { code, message } => {
                anyhow::bail!("{message} ({code})");
            }
        };
        if !newer.is_empty() {
            self.table.status.heard(&newer);
            *version = newer;
        }
        Ok(())
    }

    async fn ask(&self, ask: Ask<'_>) -> anyhow::Result<Response<Body>> {
        let is_watch = matches!(ask, Ask::Watch { .. });
        let request = Request::get(api::uri(&self.table, ask))
            .header("Accept", api::accept(self.table.plan.kind, is_watch))
            .body(Body::empty())?;
        let sent = self.client.send(request);
        let response = tokio::time::timeout(LIST_PATIENCE, sent).await??;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status == hyper::StatusCode::GONE {
            return Err(Gone.into());
        }
        let refusal = collect(response.into_body(), MAX_REFUSAL_BYTES).await?;
        let refusal: serde_json::Value = serde_json::from_slice(&refusal).unwrap_or_default();
        let message = refusal["message"].as_str().unwrap_or("no reason given");
        if status == hyper::StatusCode::NOT_FOUND {
            return Err(Absent(message.to_owned()).into());
        }
        Err(anyhow::anyhow!("{status}: {message}"))
    }

    fn good(&mut self) {
        self.pause = FIRST_PAUSE;
        if std::mem::take(&mut self.failing) {
            log::info(COMPONENT, format_args!("watching {} again", self.name()));
        }
    }

    async fn bad(&mut self, what: &str, failure: &anyhow::Error) {
        let message = format!("cannot {what} {}, trying again: {failure:#}", self.name());
        if std::mem::replace(&mut self.failing, true) {
            log::debug(COMPONENT, message);
        } else {
            log::warn(COMPONENT, message);
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn left_out(&self, error: &serde_json::Error) {
        let n = self.table.status.n_left_out.fetch_add(1, Ordering::Relaxed);
        if n == 0 {
            let name = self.name();
            log::warn(
                COMPONENT,
                format_args!("left out one of {name} that could not be read: {error}"),
            );
        }
    }

    fn name(&self) -> String {
        let (resource, namespace) = (self.table.plan.kind.resource, &self.table.namespace);
        if namespace.is_empty() {
            resource.to_owned()
        } else {
            format!("{resource} of namespace {namespace}")
        }
    }
}

/// A whole body.
async fn collect(mut body: Body, limit_bytes: usize) -> anyhow::Result<Vec<u8>> {
    let mut out = Vec::new();
    while let Some(frame) = tokio::time::timeout(LIST_PATIENCE, body.frame()).await? {
        if let Ok(data) = frame?.into_data() {
            let fits = out.len() + data.len() <= limit_bytes;
            anyhow::ensure!(fits, "an answer of more than {limit_bytes} bytes");
            out.extend_from_slice(&data);
        }
    }
    Ok(out)
}

/// Cuts a stream into lines.
#[derive(Default)]
struct Lines {
    /// A line's beginning.
    rest: Vec<u8>,
}

impl Lines {
    fn push(
        &mut self,
        data: &Bytes,
        mut each: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut data = &data[..];
        while let Some(end) = memchr::memchr(b'\n', data) {
            let (line, after) = data.split_at(end);
            data = &after[1..];
            if self.rest.is_empty() {
                each(line)?;
                continue;
            }
            self.rest.extend_from_slice(line);
            each(&self.rest)?;
            self.rest.clear();
            self.rest.shrink_to(KEPT_BYTES);
        }
        let fits = self.rest.len() + data.len() <= MAX_EVENT_BYTES;
        anyhow::ensure!(fits, "an event of more than {MAX_EVENT_BYTES} bytes");
        self.rest.extend_from_slice(data);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
