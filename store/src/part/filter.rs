//! The filter of a page's lines, which says "surely not in here" for most literals of a line filter.
//!
//! Two filters share the lines: three-byte pieces (`trigrams.rs`) of everything but the inside of ids,
//! and pieces of ids (`ids.rs`, `fuse.rs`). A text that is looked for is cut in the same way; where it
//! begins or ends within what may be an id it is looked for in both. The rule: false positives are
//! allowed, false negatives never.

use kansoku_model::Needle;

use super::fuse::{self, Fuse};
use super::{ids, trigrams};

/// Collects the pieces of lines.
struct Builder {
    trigrams: trigrams::Builder,
    ids: Vec<u64>,
}

/// The filters of a page, where they are worth having.
#[derive(Debug, Default)]
pub struct Filters {
    pub trigrams: Option<Vec<u8>>,
    /// When this is there, the trigrams lack what lies within ids.
    pub ids: Option<Vec<u8>>,
}

impl Filters {
    /// Of lines, each a text of its own.
    pub fn of<'a>(lines: impl Iterator<Item = &'a [u8]> + Clone) -> Self {
        let mut builder = Builder {
            trigrams: trigrams::Builder::new(),
            ids: Vec::new(),
        };
        lines.clone().for_each(|line| builder.add(line));
        let ids = fuse::build(&mut builder.ids);
        if ids.is_none() && !builder.ids.is_empty() {
            // Ids that could not be laid out are texts as all others.
            lines.for_each(|line| builder.trigrams.add(line));
        }
        Self {
            trigrams: builder.trigrams.finish(),
            ids,
        }
    }

    /// Whether the filtered lines may contain `needle`. A filter that cannot be read denies nothing.
    pub fn may_contain(&self, needle: &Needle) -> bool {
        let Ok(ids) = self.ids.as_deref().map(Fuse::read).transpose() else {
            return true;
        };
        may_contain(self.trigrams.as_deref(), ids.as_ref(), needle)
    }
}

impl Builder {
    fn add(&mut self, line: &[u8]) {
        let mut from = 0;
        for id in ids::ids_of(line) {
            self.ids.extend(ids::pieces(&line[id.clone()]));
            // What reaches over the border of an id is a piece as any other.
            self.trigrams.add(&line[from..line.len().min(id.start + 2)]);
            from = id.end - 2;
        }
        self.trigrams.add(&line[from..]);
    }
}

/// Whether the filtered lines may contain `needle`.
pub fn may_contain(trigrams: Option<&[u8]>, ids: Option<&Fuse<'_>>, needle: &Needle) -> bool {
    let piece_at = |at: usize| trigrams.is_none_or(|t| trigrams::may_have(t, needle, at));
    let Some(ids) = ids else {
        return trigrams.is_none_or(|t| trigrams::may_contain(t, needle));
    };
    let text = needle.text();
    let n_pieces = text.len().saturating_sub(2);
    let mut from = 0;
    for run in ids::runs_of(text) {
        let inner = run.start..run.end.saturating_sub(2).max(run.start);
        if !(from..inner.start.min(n_pieces)).all(piece_at) {
            return false;
        }
        from = inner.end;
        let shown = ids::Run {
            bytes: &text[run.clone()],
            is_open: [run.start == 0, run.end == text.len()],
        };
        let as_id = shown.is_id() != Some(false) && shown.may_be_in(ids);
        let as_text = shown.is_id() != Some(true) && inner.into_iter().all(piece_at);
        if !as_id && !as_text {
            return false;
        }
    }
    (from..n_pieces).all(piece_at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    fn lines() -> Vec<String> {
        let mut random = Random(4);
        let mut hex = |n: usize| {
            let digits = (0..n).map(|_| b"0123456789abcdef"[random.below(16) as usize] as char);
            digits.collect::<String>()
        };
        let mut lines: Vec<String> = (0..300)
            .map(|i| {
                let (trace, span) = (hex(32), hex(16).to_uppercase());
                let uuid = [hex(8), hex(4), hex(4), hex(4), hex(12)].join("-");
                let pod = format!("feed-{}-{}", hex(9), hex(5));
                format!("{{\"trace_id\":\"{trace}\",\"span\":\"{span}\",\"n\":{i}}} {uuid} refused{pod} sha256:{}", hex(64))
            })
            .collect();
        lines.extend(["", "-", "ab", "0123456789abcdef", "deadbeef, face"].map(str::to_owned));
        lines
    }

    #[test]
    fn never_denies_what_is_there() {
        let lines = lines();
        let filters = Filters::of(lines.iter().map(String::as_bytes));
        assert!(filters.ids.is_some() && filters.trigrams.is_some());
        let mut random = Random(8);
        for line in &lines {
            for _ in 0..200 {
                let start = random.below(line.len() as u64 + 1) as usize;
                let len = random.below((line.len() - start) as u64 + 1) as usize;
                let text = &line.as_bytes()[start..start + len];
                assert!(
                    filters.may_contain(&Needle::new(text)),
                    "{line} {start} {len}"
                );
                let shout = text.to_ascii_uppercase();
                assert!(
                    filters.may_contain(&Needle::ignoring_case(&shout)),
                    "{line}"
                );
            }
        }
    }

    #[test]
    fn mostly_denies_ids_that_are_not_there_and_parts_of_them() {
        let lines = lines();
        let filters = Filters::of(lines.iter().map(String::as_bytes));
        let mut random = Random(77);
        // (how it is cut out of an id, how many of a thousand may pass)
        for (before, after, len, most) in [
            ("", "", 32, 15),
            ("\"", "\"", 32, 2),
            ("", "", 64, 2),
            ("\"", "", 16, 15),
            ("trace_id\":\"", "", 24, 5),
            ("", "\"", 28, 15),
        ] {
            let passed = (0..1000).filter(|_| {
                let id: String = (0..len)
                    .map(|_| format!("{:x}", random.below(16)))
                    .collect();
                filters.may_contain(&Needle::new(format!("{before}{id}{after}").as_bytes()))
            });
            assert!(passed.count() <= most, "{before} {len} {after}");
        }
        for absent in ["kernel panic", "status 503", "zookeeper", "traceparent: 00"] {
            assert!(
                !filters.may_contain(&Needle::new(absent.as_bytes())),
                "{absent}"
            );
        }
    }

    #[test]
    fn no_ids_no_filter_of_them() {
        let filters = Filters::of([&b"GET /index.html 200"[..]].into_iter());
        assert_eq!(filters.ids, None);
        assert!(filters.may_contain(&Needle::new(b"html 200")));
        assert!(!filters.may_contain(&Needle::new(b"html 404")));
    }
}
