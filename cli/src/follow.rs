//! Lines as they come, each once, across restarts of either side.
//!
//! A tail brings lines at once, but only what comes up to ten seconds late, and nothing from before it
//! was opened. So the span since `floor` is also asked for as a query, often after a connection was
//! made and seldom later, and what was given before is left out: entries are told apart by stream,
//! time and line, and counted. Without a tail (too many, a proxy without WebSockets) the queries do.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::lines::{Direction, Entry, Pages, Stream, entries};
use crate::output::say;
use crate::time::{SECOND_NS, now_ns};
use crate::websocket::WebSocket;

/// How late a line may come while the connection holds.
const LATE_NS: i64 = 60 * SECOND_NS;
/// How late after a connection was made: agents that were away try again within this.
const SETTLE: Duration = Duration::from_secs(600);
/// Queries after a connection was made, and the distance of later ones. Without a tail the first counts.
const FIRST_CHECK: Duration = Duration::from_secs(1);
const LAST_CHECK: Duration = Duration::from_secs(30);
/// How long to wait before a connection is tried again.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(5);
/// Entries that are remembered so that none is given twice; beyond, the oldest are taken for settled.
const SEEN_MAX: usize = 400_000;

/// What a tail sends.
#[derive(Deserialize)]
struct Message {
    streams: Vec<Stream>,
    #[serde(default)]
    dropped_entries: Option<Vec<serde_json::Value>>,
}

/// What was given of the span that is still watched.
struct Seen {
    /// How often each entry was given, and its time.
    given: HashMap<u128, (i64, usize)>,
    /// Nothing older is looked at.
    floor_ns: i64,
    /// The most entries that are remembered.
    max: usize,
}

impl Seen {
    /// Of `entries`, which hold all of their span or a part of it, those that were not given yet.
    fn fresh(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        let mut now: HashMap<u128, usize> = HashMap::new();
        let mut fresh = Vec::new();
        for entry in entries {
            if entry.time_ns < self.floor_ns {
                continue;
            }
            let hash = entry.hash();
            let n = now.entry(hash).or_default();
            *n += 1;
            let (_, given) = self.given.entry(hash).or_insert((entry.time_ns, 0));
            if *n > *given {
                *given = *n;
                fresh.push(entry);
            }
        }
        self.bound();
        fresh
    }

    /// Forgets what lies before `floor_ns`.
    fn raise(&mut self, floor_ns: i64) {
        if floor_ns > self.floor_ns {
            self.floor_ns = floor_ns;
            self.given.retain(|_, (time_ns, _)| *time_ns >= floor_ns);
        }
    }

    fn bound(&mut self) {
        if self.given.len() > self.max {
            let mut times: Vec<i64> = self.given.values().map(|(t, _)| *t).collect();
            let (_, middle, _) = times.select_nth_unstable(self.max / 2);
            self.raise(middle.saturating_add(1));
        }
    }
}

/// Gives every line of `query` from `start_ns` on to `give`, for ever.
///
/// # Errors
/// When the query is wrong or `give` fails; a server that is away is waited for.
pub async fn follow(
    client: &Client,
    query: &str,
    start_ns: i64,
    mut give: impl FnMut(Entry) -> Result<()>,
) -> Result<()> {
    let mut seen = Seen {
        given: HashMap::new(),
        floor_ns: start_ns,
        max: SEEN_MAX,
    };
    let mut retry = FIRST_RETRY;
    let mut is_away = false;
    // Who has just begun has missed nothing; who was away must wait for agents that were away as well.
    let mut settle = Duration::ZERO;
    loop {
        match session(client, query, &mut seen, settle, &mut give, &mut is_away).await {
            Ok(Ended::TailOver) => {
                settle = SETTLE;
                retry = FIRST_RETRY;
            }
            Err(e) if e.may_pass() => {
                if !is_away {
                    is_away = true;
                    settle = SETTLE;
                    retry = FIRST_RETRY;
                    say(&format!("waiting: {e}"));
                }
                tokio::time::sleep(retry).await;
                retry = (retry * 2).min(LAST_RETRY);
            }
            Err(e) => return Err(e),
        }
    }
}

/// How a session ended without an error.
enum Ended {
    /// The tail is over; another is opened.
    TailOver,
}

/// One connection: tail and queries until either breaks.
async fn session(
    client: &Client,
    query: &str,
    seen: &mut Seen,
    settle: Duration,
    give: &mut impl FnMut(Entry) -> Result<()>,
    is_away: &mut bool,
) -> Result<Ended> {
    // Opened first: what comes while the query runs is then in the tail.
    let opened = open(client, query).await;
    let mut tail = match opened {
        Ok(tail) => Some(tail),
        Err(e @ Error::Unreachable(_)) => return Err(e),
        Err(Error::Refused {
            status: 400,
            message,
        }) => {
            return Err(Error::Refused {
                status: 400,
                message,
            });
        }
        // Too many tails, or something between that knows no WebSockets.
        Err(_) => None,
    };
    let begun = Instant::now();
    let mut distance = FIRST_CHECK;
    let mut next_check = begun;
    let mut retry_tail = begun + LAST_CHECK;
    loop {
        tokio::select! {
            () = sleep_until(next_check) => {
                check(client, query, seen, give).await?;
                *is_away = false;
                if begun.elapsed() >= settle {
                    seen.raise(now_ns().saturating_sub(LATE_NS));
                }
                if tail.is_some() {
                    distance = (distance * 2).min(LAST_CHECK);
                } else if Instant::now() > retry_tail {
                    tail = open(client, query).await.ok();
                    retry_tail = Instant::now() + LAST_CHECK;
                }
                next_check = Instant::now() + distance;
            }
            message = next(&mut tail) => match message {
                Ok(entries) => for entry in seen.fresh(entries) {
                    give(entry)?;
                },
                Err(Error::Unreachable(_)) => return Ok(Ended::TailOver),
                Err(e) => return Err(e),
            },
        }
    }
}

async fn open(client: &Client, query: &str) -> Result<WebSocket> {
    let parameters = [
        ("query", query.to_owned()),
        ("start", now_ns().saturating_sub(10 * SECOND_NS).to_string()),
        ("limit", "1000".to_owned()),
    ];
    client.websocket("/loki/api/v1/tail", &parameters).await
}

/// The entries of the tail's next message; never, when there is no tail.
async fn next(tail: &mut Option<WebSocket>) -> Result<Vec<Entry>> {
    let Some(tail) = tail else {
        return std::future::pending().await;
    };
    let message = tail.next().await?;
    let message: Message = serde_json::from_slice(&message)
        .map_err(|e| Error::failed(format!("the tail's message cannot be read: {e}")))?;
    // Entries that the server leaves out come with the next query.
    drop(message.dropped_entries);
    Ok(entries(message.streams))
}

/// Asks for all since the floor and gives what is new.
async fn check(
    client: &Client,
    query: &str,
    seen: &mut Seen,
    give: &mut impl FnMut(Entry) -> Result<()>,
) -> Result<()> {
    // A clock that is ahead on a node makes lines of the future.
    let end_ns = now_ns().saturating_add(3600 * SECOND_NS);
    let mut pages = Pages::new(client, query, seen.floor_ns, end_ns, Direction::Forward);
    // Counted over all pages: equal lines of one time can lie in two of them.
    let mut now: HashMap<u128, usize> = HashMap::new();
    while let Some(page) = pages.next().await? {
        for entry in page {
            let hash = entry.hash();
            let n = now.entry(hash).or_default();
            *n += 1;
            let (_, given) = seen.given.entry(hash).or_insert((entry.time_ns, 0));
            if *n > *given {
                *given = *n;
                give(entry)?;
            }
        }
        seen.bound();
        now.retain(|hash, _| seen.given.contains_key(hash));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    fn entry(time_ns: i64, line: &str) -> Entry {
        Entry {
            time_ns,
            line: line.into(),
            labels: Rc::default(),
            metadata: std::collections::BTreeMap::new(),
        }
    }

    #[test]
    fn an_entry_is_given_as_often_as_it_is_there() {
        let mut seen = Seen {
            given: HashMap::new(),
            floor_ns: 5,
            max: 100,
        };
        let mut fresh = |entries: &[(i64, &str)]| -> Vec<String> {
            let entries = entries.iter().map(|(t, l)| entry(*t, l)).collect();
            seen.fresh(entries).into_iter().map(|e| e.line).collect()
        };
        assert_eq!(fresh(&[(4, "old"), (5, "a"), (6, "b")]), ["a", "b"]);
        // The same again, by tail or query.
        assert_eq!(fresh(&[(5, "a"), (6, "b")]), [] as [&str; 0]);
        // A line that came late, and a second of the same time and text.
        assert_eq!(fresh(&[(5, "late"), (6, "b"), (6, "b")]), ["late", "b"]);
        assert_eq!(fresh(&[(6, "b")]), [] as [&str; 0]);
        seen.raise(6);
        assert_eq!(seen.given.len(), 1);
    }

    #[test]
    fn memory_is_bounded() {
        let mut seen = Seen {
            given: HashMap::new(),
            floor_ns: 0,
            max: 100,
        };
        for n in 0..50 {
            let from = n * 10;
            let entries = (from..from + 10).map(|t| entry(t, "x")).collect();
            assert_eq!(seen.fresh(entries).len(), 10);
        }
        assert!(seen.given.len() <= 100 && seen.floor_ns > 0);
    }
}
