//! `/loki/api/v1/tail`: entries as they come, over a WebSocket.
//!
//! The newest entries so far come first, then the store is asked twice a second for what is new. An
//! entry that comes late by up to ten seconds still comes; none comes twice. How many tails there may
//! be, how long each lasts and what it remembers are bounded.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use kansoku_model::select::Direction;
use kansoku_query::logql::output::Streams;
use kansoku_query::logql::{self, Context, Engine, Expr, Limits, LogExpr, QueryError, json};
use kansoku_query::memory::Share;
use kansoku_store::Snapshot;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use xxhash_rust::xxh3::xxh3_128;

use super::errors::ApiError;
use super::{params, query};
use crate::api::gate::{self, Interrupt};
use crate::app::App;
use crate::clock;
use crate::http::websocket::{self, Incoming, Kind};
use crate::http::{Call, Reply};
use crate::telemetry::QueryKind;
use crate::tenants::View;

/// Tails at a time.
pub const TAILS_MAX: usize = 32;
/// How often the store is asked.
const POLL: Duration = Duration::from_millis(500);
/// How often a client that gets nothing is asked whether it is there.
const PING: Duration = Duration::from_secs(5);
/// Then the client must come again, as with Loki.
const LONGEST: Duration = Duration::from_secs(3600);
/// How late an entry may come.
const LATE_NS: i64 = 10_000_000_000;
/// Entries that are remembered so that none comes twice; 32 bytes each.
const SEEN_MAX: usize = 200_000;
/// The longest `delay_for`, in seconds: Loki's.
const DELAY_MAX_S: i64 = 5;

/// `/loki/api/v1/tail`
pub fn tail(app: &Arc<App>, mut call: Call) -> Reply {
    match open(app, &mut call) {
        Ok(reply) => reply,
        Err(error) => error.reply(),
    }
}

fn open(app: &Arc<App>, call: &mut Call) -> Result<Reply, ApiError> {
    let mut tail = Tail::of(call)?;
    tail.categorize = query::categorizes(call);
    let reply = websocket::accept(&call.headers).map_err(ApiError::bad_request)?;
    let upgrade = call.upgrade.take();
    let upgrade =
        upgrade.ok_or_else(|| ApiError::bad_request("this connection cannot be upgraded"))?;
    let slot = Arc::clone(&app.tails)
        .try_acquire_owned()
        .map_err(|_| ApiError {
            status: StatusCode::TOO_MANY_REQUESTS,
            message: format!(
                "max concurrent tail requests limit exceeded, count > limit ({} > {TAILS_MAX})",
                TAILS_MAX + 1
            ),
        })?;
    let app = Arc::clone(app);
    tokio::spawn(async move {
        serve(app, upgrade, tail).await;
        drop(slot);
    });
    Ok(reply)
}

/// Sends until the client leaves, the time is over, or a query fails.
async fn serve(app: Arc<App>, upgrade: OnUpgrade, mut tail: Tail) {
    let Ok(upgraded) = upgrade.await else {
        return;
    };
    let (mut from_client, mut to_client) = tokio::io::split(TokioIo::new(upgraded));
    let (mut incoming, mut chunk) = (Incoming::default(), [0; 4096]);
    let (mut poll, mut ping) = (interval(POLL), interval(PING));
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = sleep_until(Instant::now() + LONGEST);
    tokio::pin!(end);
    loop {
        let out = tokio::select! {
            read = from_client.read(&mut chunk) => match read {
                Ok(n) if n > 0 => {
                    incoming.push(&chunk[..n]);
                    match replies(&mut incoming) {
                        Ok(out) => out,
                        Err(last) => {
                            let _ = to_client.write_all(&last).await;
                            return;
                        }
                    }
                }
                _ => return,
            },
            _ = poll.tick() => {
                let (same, told) = ask(&app, tail).await;
                let (Some(same), Ok(told)) = (same, &told) else {
                    let reason = told.err().unwrap_or_default();
                    let _ = to_client.write_all(&websocket::close(1011, &reason)).await;
                    return;
                };
                tail = same;
                told.as_ref().map_or(Vec::new(), |text| websocket::frame(Kind::Text, text))
            },
            _ = ping.tick() => websocket::frame(Kind::Ping, b""),
            () = &mut end => {
                let over = websocket::close(1000, "reached tail max duration limit");
                let _ = to_client.write_all(&over).await;
                return;
            }
        };
        if to_client.write_all(&out).await.is_err() || to_client.flush().await.is_err() {
            return;
        }
    }
}

/// What is answered to a client's frames; the error is the last frame.
fn replies(incoming: &mut Incoming) -> Result<Vec<u8>, Vec<u8>> {
    let mut out = Vec::new();
    loop {
        match incoming.take() {
            Ok(Some((Kind::Ping, payload))) => out.extend(websocket::frame(Kind::Pong, &payload)),
            Ok(Some((Kind::Close, payload))) => {
                return Err(websocket::frame(Kind::Close, &payload));
            }
            Ok(Some(_)) => {}
            Ok(None) => return Ok(out),
            Err(reason) => return Err(websocket::close(1002, reason)),
        }
    }
}

/// Asks the store for what is new: the tail as it goes on, and the message if there is one.
async fn ask(app: &Arc<App>, tail: Tail) -> (Option<Tail>, Result<Option<Vec<u8>>, String>) {
    let now_ns = clock::now_ns();
    let tenant = tail.tenant.clone();
    let timeout = app.query_timeout(&tenant);
    let kind = QueryKind::LogqlRange;
    let done = gate::run(app, &tenant, kind, timeout, move |app, interrupt| {
        let mut tail = tail;
        let snapshot = tail.tenant.snapshot(&app.tenants.opener);
        let told = snapshot.map_err(ApiError::from).and_then(|snapshot| {
            let share = app.query_share(&tail.tenant);
            tail.step(&snapshot, now_ns, interrupt, &share)
        });
        told.map(|told| (tail, told)).map_err(|error| error.message)
    });
    match done.await {
        Ok(Ok((tail, told))) => (Some(tail), Ok(told)),
        Ok(Err(reason)) => (None, Err(reason)),
        Err(why) => (None, Err(why.message().into())),
    }
}

/// A query and how far its entries were sent.
struct Tail {
    tenant: View,
    log: LogExpr,
    start_ns: i64,
    limit: usize,
    delay_ns: i64,
    categorize: bool,
    /// Nothing older comes any more; `None` before the first answer.
    floor_ns: Option<i64>,
    /// Hashes of entries that were sent, with their times.
    seen: HashMap<u128, i64>,
}

impl Tail {
    fn of(call: &Call) -> Result<Self, ApiError> {
        let form = &call.form;
        let (start_ns, _) = params::bounds(form, clock::now_ns())?;
        let Expr::Log(log) = logql::parse(form.get("query"))? else {
            return Err(ApiError::bad_request("only log selector is supported"));
        };
        let delay_s: i64 = match form.get("delay_for") {
            "" => 0,
            text => text.parse().map_err(|_| {
                ApiError::bad_request(format!(
                    "could not parse 'delay_for' parameter: \"{text}\" is no number"
                ))
            })?,
        };
        if !(0..=DELAY_MAX_S).contains(&delay_s) {
            return Err(ApiError::bad_request(format!(
                "delay_for can't be greater than {DELAY_MAX_S}"
            )));
        }
        Ok(Self {
            log,
            start_ns,
            limit: params::limit(form, call.tenant.limits.query_max_entries)?,
            tenant: call.tenant.clone(),
            delay_ns: delay_s * 1_000_000_000,
            categorize: false,
            floor_ns: None,
            seen: HashMap::new(),
        })
    }

    /// The next message, if there is anything to tell.
    fn step(
        &mut self,
        snapshot: &Snapshot,
        now_ns: i64,
        interrupt: &Interrupt,
        share: &Share,
    ) -> Result<Option<Vec<u8>>, ApiError> {
        let end_ns = now_ns.saturating_sub(self.delay_ns);
        let check = || {
            let checked = interrupt.check();
            checked.map_err(|why| QueryError::Cancelled(why.message().into()))
        };
        let ask = |from_ns: i64, direction: Direction, limit: usize| {
            let context = Context {
                memory: Some(share),
                check: &check,
            };
            let limits = Limits {
                max_entries: limit,
                ..Limits::default()
            };
            let engine = Engine { limits };
            engine.log_query(
                snapshot, &self.log, from_ns, end_ns, direction, limit, &context,
            )
        };
        let streams = match self.floor_ns {
            None => {
                let mut streams = ask(self.start_ns, Direction::Backward, self.limit)?;
                streams.streams.iter_mut().for_each(|s| s.entries.reverse());
                streams.backward = false;
                self.begin(&streams, end_ns);
                streams
            }
            Some(floor_ns) => {
                let from_ns = floor_ns.max(end_ns.saturating_sub(LATE_NS));
                let limit = Limits::default().max_entries;
                let mut streams = ask(from_ns, Direction::Forward, limit)?;
                let is_full = streams.statistics.entries_returned as usize >= limit;
                let newest = streams.streams.iter().flat_map(|s| &s.entries);
                let newest_ns = newest.map(|entry| entry.time_ns).max();
                self.forget_seen(&mut streams);
                self.seen.retain(|_, time_ns| *time_ns >= from_ns);
                if let (true, Some(newest_ns)) = (is_full, newest_ns) {
                    // What comes next begins there; more entries of one time than fit are passed.
                    let next_ns = newest_ns.max(from_ns.saturating_add(1));
                    self.floor_ns = Some(next_ns);
                } else if self.seen.len() > SEEN_MAX {
                    self.seen.clear();
                    self.floor_ns = Some(end_ns);
                }
                streams
            }
        };
        if streams.streams.is_empty() {
            return Ok(None);
        }
        let mut text = Vec::new();
        json::write_tail(&mut text, &streams, self.categorize);
        Ok(Some(text))
    }

    /// After the first answer, the newest entries so far: what is on its way is older than the tail and comes late.
    fn begin(&mut self, streams: &Streams, end_ns: i64) {
        let late_ns = end_ns.saturating_sub(LATE_NS).max(self.start_ns);
        let is_full = streams.statistics.entries_returned as usize >= self.limit;
        let times = streams.streams.iter().flat_map(|s| &s.entries);
        let floor_ns = match times.map(|entry| entry.time_ns).min() {
            // Older ones were left out on purpose.
            Some(oldest_ns) if is_full => late_ns.max(oldest_ns.saturating_add(1)),
            None if is_full => end_ns,
            _ => late_ns,
        };
        self.floor_ns = Some(floor_ns);
        for stream in &streams.streams {
            let labels = xxh3_128(stream.labels.all.as_bytes());
            let entries = stream.entries.iter().filter(|e| e.time_ns >= floor_ns);
            let sent = entries.map(|e| (hash(labels, e.time_ns, &e.line), e.time_ns));
            self.seen.extend(sent);
        }
    }

    /// Leaves out what was sent and remembers the rest.
    fn forget_seen(&mut self, streams: &mut Streams) {
        for stream in &mut streams.streams {
            let labels = xxh3_128(stream.labels.all.as_bytes());
            stream.entries.retain(|entry| {
                match self.seen.entry(hash(labels, entry.time_ns, &entry.line)) {
                    Place::Occupied(_) => false,
                    Place::Vacant(place) => {
                        place.insert(entry.time_ns);
                        true
                    }
                }
            });
        }
        streams.streams.retain(|stream| !stream.entries.is_empty());
    }
}

/// An entry among those that were sent, by the hash of its stream's labels.
fn hash(labels: u128, time_ns: i64, line: &[u8]) -> u128 {
    let mut key = labels.to_le_bytes().to_vec();
    key.extend_from_slice(&time_ns.to_le_bytes());
    key.extend_from_slice(line);
    xxh3_128(&key)
}
