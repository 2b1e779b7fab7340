//! Lines of a log query, page by page and in order of time, however many there are.
//!
//! A page begins at the time at which the one before ended; what was there already is left out, so no
//! line of a time that stands at the border is lost or comes twice. One page is in memory at a time.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::rc::Rc;

use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use xxhash_rust::xxh3::xxh3_128;

use crate::client::Client;
use crate::error::{Error, Result};

/// Lines of a page: what an aggregator gives at most, unless it is told otherwise.
const PAGE_LINES: usize = 5000;
/// Pages of fewer lines are not asked for.
const PAGE_LINES_MIN: usize = 10;

/// Names and values of labels.
pub type Labels = BTreeMap<String, String>;

/// One line with its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub time_ns: i64,
    pub line: String,
    /// Those of its stream.
    pub labels: Rc<Labels>,
    /// Structured metadata, and what the query's parsers found.
    pub metadata: Labels,
}

impl Entry {
    /// A label of its stream, empty when it has none.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// What tells an entry from others: stream, time and line.
    #[must_use]
    pub fn hash(&self) -> u128 {
        let mut key = self.time_ns.to_le_bytes().to_vec();
        for (name, value) in self.labels.iter().chain(&self.metadata) {
            for text in [name, value] {
                key.extend_from_slice(&(text.len() as u64).to_le_bytes());
                key.extend_from_slice(text.as_bytes());
            }
        }
        key.extend_from_slice(self.line.as_bytes());
        xxh3_128(&key)
    }
}

/// A stream of an answer.
#[derive(Debug, Deserialize)]
pub struct Stream {
    stream: Labels,
    values: Vec<RawEntry>,
}

/// `["TIME", "LINE", {"structuredMetadata": …, "parsed": …}]`, the last where a server sends it.
#[derive(Debug)]
struct RawEntry {
    time_ns: i64,
    line: String,
    groups: Groups,
}

#[derive(Debug, Default, Deserialize)]
struct Groups {
    #[serde(rename = "structuredMetadata", default)]
    metadata: Labels,
    #[serde(default)]
    parsed: Labels,
}

impl<'de> Deserialize<'de> for RawEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Parts;
        impl<'de> Visitor<'de> for Parts {
            type Value = RawEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of time and line")
            }

            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> std::result::Result<RawEntry, A::Error> {
                let time: String = seq
                    .next_element()?
                    .ok_or_else(|| de::Error::missing_field("time"))?;
                let line = seq
                    .next_element()?
                    .ok_or_else(|| de::Error::missing_field("line"))?;
                let groups = seq.next_element()?.unwrap_or_default();
                let time_ns = time
                    .parse()
                    .map_err(|_| de::Error::custom(format!("\"{time}\" is no time")))?;
                Ok(RawEntry {
                    time_ns,
                    line,
                    groups,
                })
            }
        }
        deserializer.deserialize_seq(Parts)
    }
}

#[derive(Debug, Deserialize)]
struct Found {
    #[serde(rename = "resultType")]
    result_type: String,
    /// Streams, or what only a query of metrics gives.
    result: Box<serde_json::value::RawValue>,
}

impl Found {
    fn streams(&self) -> Result<Vec<Stream>> {
        if self.result_type != "streams" {
            return Err(Error::Usage(
                "the query computes a metric; expected one that selects lines, such as '{namespace=\"shop\"} |= \"error\"'".into(),
            ));
        }
        serde_json::from_str(self.result.get())
            .map_err(|e| Error::failed(format!("the server's lines cannot be read: {e}")))
    }
}

/// Entries of streams in order of time; those of one time in the order in which they came.
#[must_use]
pub fn entries(streams: Vec<Stream>) -> Vec<Entry> {
    let mut all = Vec::new();
    for Stream { stream, mut values } in streams {
        let labels = Rc::new(stream);
        // Backward answers have the newest first, and so the last of one time.
        if values.first().map(|v| v.time_ns) > values.last().map(|v| v.time_ns) {
            values.reverse();
        }
        all.extend(values.into_iter().map(|raw| {
            let mut metadata = raw.groups.metadata;
            metadata.extend(raw.groups.parsed);
            Entry {
                time_ns: raw.time_ns,
                line: raw.line,
                labels: Rc::clone(&labels),
                metadata,
            }
        }));
    }
    all.sort_by_key(|entry| entry.time_ns);
    all
}

/// Which way pages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Forward,
    Backward,
}

/// Pages of the lines that a query selects within a span of time.
pub struct Pages<'a> {
    client: &'a Client,
    query: String,
    /// The first time that is wanted.
    start_ns: i64,
    /// The first time that is not.
    end_ns: i64,
    direction: Direction,
    page_lines: usize,
    /// How many entries of the border's time were given, by hash.
    at_border: HashMap<u128, usize>,
    is_done: bool,
}

impl<'a> Pages<'a> {
    /// Pages of `query` from `start_ns` up to and without `end_ns`.
    #[must_use]
    pub fn new(
        client: &'a Client,
        query: &str,
        start_ns: i64,
        end_ns: i64,
        direction: Direction,
    ) -> Self {
        Self {
            client,
            query: query.to_owned(),
            start_ns,
            end_ns,
            direction,
            page_lines: PAGE_LINES,
            at_border: HashMap::new(),
            is_done: start_ns >= end_ns,
        }
    }

    /// Asks for no more lines at a time than are wanted.
    #[must_use]
    pub fn of_at_most(mut self, lines: usize) -> Self {
        self.page_lines = self.page_lines.min(lines.max(1));
        self
    }

    /// Where the next page begins (ends, when going backward).
    #[must_use]
    pub fn position_ns(&self) -> i64 {
        match self.direction {
            Direction::Forward => self.start_ns,
            Direction::Backward => self.end_ns,
        }
    }

    /// The next page in order of time, `None` behind the last.
    ///
    /// # Errors
    /// When the server gives none, or when more lines have one time than a page may hold.
    pub async fn next(&mut self) -> Result<Option<Vec<Entry>>> {
        while !self.is_done {
            let page = match self.ask().await {
                Ok(page) => page,
                Err(Error::Refused { status, message }) => {
                    self.page_lines = smaller(self.page_lines, status, &message)
                        .ok_or(Error::Refused { status, message })?;
                    continue;
                }
                Err(e) => return Err(e),
            };
            let fresh = self.step(page)?;
            if !fresh.is_empty() {
                return Ok(Some(fresh));
            }
        }
        Ok(None)
    }

    async fn ask(&self) -> Result<Vec<Entry>> {
        let parameters = [
            ("query", self.query.clone()),
            ("start", self.start_ns.to_string()),
            ("end", self.end_ns.to_string()),
            ("limit", self.page_lines.to_string()),
            (
                "direction",
                match self.direction {
                    Direction::Forward => "forward".into(),
                    Direction::Backward => "backward".into(),
                },
            ),
        ];
        let path = "/loki/api/v1/query_range";
        let found: Found = self.client.data(path, &parameters).await?;
        Ok(entries(found.streams()?))
    }

    /// Moves the border behind `page` and leaves out of it what was given before.
    fn step(&mut self, mut page: Vec<Entry>) -> Result<Vec<Entry>> {
        let n = page.len();
        // Pages of a server that gives the same again would have no end.
        let is_outside = |entry: &&Entry| !(self.start_ns..self.end_ns).contains(&entry.time_ns);
        if let Some(entry) = page.iter().find(is_outside) {
            return Err(Error::failed(format!(
                "the server gave a line of {}, which was not asked for; is this a kansoku-aggregator?",
                crate::time::rfc3339(entry.time_ns)
            )));
        }
        let border = match self.direction {
            Direction::Forward => page.last(),
            Direction::Backward => page.first(),
        };
        let Some(border_ns) = border.map(|entry| entry.time_ns) else {
            self.is_done = true;
            return Ok(page);
        };
        let mut given = std::mem::take(&mut self.at_border);
        for entry in page.iter().filter(|e| e.time_ns == border_ns) {
            *self.at_border.entry(entry.hash()).or_default() += 1;
        }
        let last_border_ns = match self.direction {
            Direction::Forward => self.start_ns,
            Direction::Backward => self.end_ns.saturating_sub(1),
        };
        page.retain(|entry| {
            if entry.time_ns != last_border_ns {
                return true;
            }
            match given.get_mut(&entry.hash()) {
                Some(n) if *n > 0 => {
                    *n -= 1;
                    false
                }
                _ => true,
            }
        });
        match self.direction {
            Direction::Forward => self.start_ns = border_ns,
            Direction::Backward => self.end_ns = border_ns.saturating_add(1),
        }
        if n < self.page_lines {
            self.is_done = true;
        } else if page.is_empty() {
            // A whole page of one time: only a larger one leads past it.
            if self.page_lines >= PAGE_LINES {
                return Err(Error::failed(format!(
                    "more than {n} lines have the time {}; a narrower query gives them all",
                    crate::time::rfc3339(border_ns)
                )));
            }
            self.page_lines = (self.page_lines * 2).min(PAGE_LINES);
        }
        Ok(page)
    }
}

/// A page size that the server may take after it refused `lines`.
fn smaller(lines: usize, status: u16, message: &str) -> Option<usize> {
    // max entries limit per query exceeded, limit > max_entries_limit_per_query (5000 > 1000)
    if message.contains("max entries limit") {
        let max = message
            .rsplit_once("> ")?
            .1
            .trim_end()
            .trim_end_matches(')');
        return max.parse().ok().filter(|max| *max > 0 && *max < lines);
    }
    (status == 413 && lines > PAGE_LINES_MIN).then_some((lines / 4).max(PAGE_LINES_MIN))
}

/// The newest line that a query selects before `end_ns`.
///
/// # Errors
/// When the server gives no answer.
pub async fn newest(client: &Client, query: &str, end_ns: i64) -> Result<Option<Entry>> {
    let mut pages = Pages::new(client, query, 1, end_ns, Direction::Backward).of_at_most(1);
    let page = pages.next().await?;
    Ok(page.and_then(|mut page| page.pop()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Context;

    fn entry(time_ns: i64, line: &str) -> Entry {
        Entry {
            time_ns,
            line: line.into(),
            labels: Rc::default(),
            metadata: Labels::new(),
        }
    }

    /// What a server with these lines answers to the pages' next question.
    fn answer(pages: &Pages<'_>, lines: &[Entry]) -> Vec<Entry> {
        let within = lines
            .iter()
            .filter(|e| (pages.start_ns..pages.end_ns).contains(&e.time_ns));
        let mut found: Vec<Entry> = within.cloned().collect();
        let n = pages.page_lines.min(found.len());
        match pages.direction {
            Direction::Forward => found.truncate(n),
            Direction::Backward => drop(found.drain(..found.len() - n)),
        }
        found
    }

    #[test]
    fn pages_meet_without_gap_or_overlap() {
        let client = Client::new("a:1", &Context::default(), None, None, false).unwrap();
        // Equal times across borders, equal lines of one time among them.
        let times = [1, 1, 2, 3, 3, 3, 3, 4, 5, 5, 9];
        let lines: Vec<Entry> = times
            .iter()
            .enumerate()
            .map(|(n, t)| entry(*t, ["x", "y", "x"][n % 3]))
            .collect();
        for direction in [Direction::Forward, Direction::Backward] {
            for size in 1..=12 {
                let mut pages = Pages::new(&client, "{}", 0, 100, direction).of_at_most(size);
                let mut got = Vec::new();
                while !pages.is_done {
                    let page = answer(&pages, &lines);
                    let page = pages.step(page).unwrap();
                    match direction {
                        Direction::Forward => got.extend(page),
                        Direction::Backward => drop(got.splice(0..0, page)),
                    }
                }
                let key = |e: &Entry| (e.time_ns, e.line.clone());
                let (mut got, mut expected): (Vec<_>, Vec<_>) = (
                    got.iter().map(key).collect(),
                    lines.iter().map(key).collect(),
                );
                got.sort();
                expected.sort();
                assert_eq!(got, expected, "{direction:?} {size}");
            }
        }
    }

    #[test]
    fn too_many_lines_of_one_time_are_an_error_and_not_a_loss() {
        let client = Client::new("a:1", &Context::default(), None, None, false).unwrap();
        let lines = vec![entry(5, "x"); PAGE_LINES + 1];
        let mut pages = Pages::new(&client, "{}", 0, 100, Direction::Forward);
        let page = answer(&pages, &lines);
        assert_eq!(pages.step(page).unwrap().len(), PAGE_LINES);
        let page = answer(&pages, &lines);
        assert!(
            pages
                .step(page)
                .unwrap_err()
                .to_string()
                .contains("narrower query")
        );
    }

    #[test]
    fn answers_with_and_without_metadata() {
        let text = r#"{"resultType":"streams","result":[
            {"stream":{"a":"b"},"values":[["5","new",{"structuredMetadata":{"m":"1"},"parsed":{"p":"2"}}],["3","old"]]},
            {"stream":{"a":"c"},"values":[["4","mid",{}]]}],"stats":{}}"#;
        let found: Found = serde_json::from_str(text).unwrap();
        let got = entries(found.streams().unwrap());
        let lines: Vec<&str> = got.iter().map(|e| e.line.as_str()).collect();
        assert_eq!(lines, ["old", "mid", "new"]);
        assert_eq!(
            got[2].metadata,
            Labels::from([("m".into(), "1".into()), ("p".into(), "2".into())])
        );
        assert_eq!(got[1].label("a"), "c");
        assert_ne!(got[0].hash(), got[1].hash());
    }

    #[test]
    fn a_server_that_gives_less_at_a_time() {
        let text = "max entries limit per query exceeded, limit > max_entries_limit_per_query (5000 > 1000)";
        assert_eq!(smaller(5000, 400, text), Some(1000));
        assert_eq!(smaller(1000, 400, text), None);
        assert_eq!(smaller(5000, 413, "x"), Some(1250));
        assert_eq!(smaller(10, 413, "x"), None);
        assert_eq!(smaller(5000, 400, "parse error"), None);
    }
}
