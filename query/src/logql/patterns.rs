//! The patterns of lines and how often each comes: what Loki's `patterns` tells.
//!
//! A line is cut at blanks and punctuation. Lines with the same cuts that agree in most of the words
//! between them are of one pattern; words that differ, and those with digits, become `<_>`, so that a
//! pattern can be given to `|>`. Of more lines than `LINES_MAX` every n-th is looked at and counts for n.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use kansoku_model::LogSource;
use kansoku_model::select::{Direction, LogBlock, LogSelect};

use super::ast::LogExpr;
use super::engine::{Context, Watch};
use super::error::QueryError;
use super::pipeline::{Pipeline, load_record};
use super::record::Record;

/// Lines that are looked at.
const LINES_MAX: u64 = 200_000;
/// Patterns that are told apart: Loki's number.
const PATTERNS_MAX: usize = 300;
/// Words of a line; what stands behind them is not looked at.
const WORDS_MAX: usize = 120;
/// The part of the words that must agree, in tenths.
const ALIKE_TENTHS: usize = 6;
/// Labels and words in a line that say how bad it is.
const LEVEL_NAMES: &[&str] = &["detected_level", "level", "lvl", "severity"];

/// Lines that are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// As `|>` reads it.
    pub text: String,
    /// `unknown` when no label and no word of the lines tells.
    pub level: String,
    /// Start of each step in which there are some, Unix nanoseconds, and their number.
    pub points: Vec<(i64, u64)>,
}

impl Pattern {
    /// The number of lines.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.points.iter().map(|(_, n)| n).sum()
    }
}

/// The patterns of the entries in `start_ns..end_ns`, the most frequent first.
///
/// # Errors
/// When the caller interrupts or the source fails.
pub fn mine(
    source: &dyn LogSource,
    log: &LogExpr,
    (start_ns, end_ns): (i64, i64),
    step_ns: i64,
    ctx: &Context<'_>,
) -> Result<Vec<Pattern>, QueryError> {
    let pipeline = Pipeline::new(log);
    let wanted = LogSelect {
        matchers: log.matchers.clone(),
        from_ns: start_ns,
        to_ns: end_ns,
        direction: Direction::Backward,
        needles: pipeline.needles(),
        automata: pipeline.automata(),
        counts_only: false,
    };
    let mut watch = Watch::new(ctx);
    let mut n_entries = 0;
    watch.select(source, &wanted, &mut |block, _| {
        // Of blocks at the ends of the range no more is known than that they are few.
        n_entries += block.totals().map_or(0, |(entries, _)| entries);
        Ok(ControlFlow::Continue(()))
    })?;
    let stride = n_entries.div_ceil(LINES_MAX).max(1);
    let mut miner = Miner::default();
    let (mut block, mut rows, mut n_passed) = (LogBlock::default(), Vec::new(), 0u64);
    watch.select(source, &wanted, &mut |block_ref, watch| {
        watch.hold_loading(block_ref, block.held_bytes())?;
        block_ref.load(&mut block)?;
        watch.hold_block(block.held_bytes())?;
        pipeline.surviving_rows(&block, &mut rows);
        let mut record = Record::new(block_ref.labels());
        for row in &rows {
            watch.tick()?;
            n_passed += 1;
            if !n_passed.is_multiple_of(stride) {
                continue;
            }
            load_record(&mut record, &block, *row as usize);
            if pipeline.process(&mut record) {
                let step = record.time_ns.div_euclid(step_ns.max(1)) * step_ns.max(1);
                miner.add(&record, step, stride);
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(miner.finish())
}

/// Lines of one pattern so far.
struct Cluster {
    /// Words and what stands between them; `None` for a word that differs.
    parts: Vec<Option<Box<str>>>,
    level: Box<str>,
    points: BTreeMap<i64, u64>,
}

#[derive(Default)]
struct Miner {
    clusters: Vec<Cluster>,
    /// Clusters by level and by what stands between words.
    by_cuts: HashMap<String, Vec<usize>>,
}

impl Miner {
    fn add(&mut self, record: &Record<'_>, step: i64, n: u64) {
        let line = String::from_utf8_lossy(&record.line);
        let parts = parts(&line);
        let level = level_of(record, &parts);
        let mut cuts = format!("{level}\n");
        for part in &parts {
            cuts.push_str(if is_word(part) { "\u{1}" } else { part });
        }
        let of_cuts = self.by_cuts.entry(cuts).or_default();
        let words = || parts.iter().filter(|part| is_word(part));
        let n_words = words().count();
        let agreeing = |cluster: &Cluster| {
            let pairs = cluster.parts.iter().zip(&parts);
            let same = pairs.filter(|(known, part)| is_word(part) && is_same(known, part));
            same.count()
        };
        let best = of_cuts
            .iter()
            .map(|at| (agreeing(&self.clusters[*at]), *at));
        let best = best.max_by_key(|(same, at)| (*same, std::cmp::Reverse(*at)));
        let at = match best {
            Some((same, at)) if same * 10 >= n_words * ALIKE_TENTHS => at,
            _ if self.clusters.len() >= PATTERNS_MAX => return,
            _ => {
                let known = |part: &&str| (!is_variable(part)).then(|| Box::from(*part));
                self.clusters.push(Cluster {
                    parts: parts.iter().map(known).collect(),
                    level: level.into(),
                    points: BTreeMap::new(),
                });
                of_cuts.push(self.clusters.len() - 1);
                self.clusters.len() - 1
            }
        };
        let cluster = &mut self.clusters[at];
        for (known, part) in cluster.parts.iter_mut().zip(&parts) {
            if known.as_deref().is_some_and(|known| known != *part) {
                *known = None;
            }
        }
        *cluster.points.entry(step).or_default() += n;
    }

    fn finish(self) -> Vec<Pattern> {
        let patterns = self.clusters.into_iter().map(|cluster| {
            let mut text = String::new();
            for (at, part) in cluster.parts.iter().enumerate() {
                let next = cluster.parts.get(at + 1).and_then(Option::as_deref);
                match part {
                    // The name of a capture, were it to stand there.
                    Some(part)
                        if text.ends_with('<')
                            && next.is_some_and(|n| n.starts_with('>'))
                            && is_word(part) =>
                    {
                        text.push_str("<_>");
                    }
                    Some(part) => text.push_str(part),
                    // Two captures never follow each other.
                    None if !text.ends_with("<_>") => text.push_str("<_>"),
                    None => {}
                }
            }
            Pattern {
                text,
                level: cluster.level.into(),
                points: cluster.points.into_iter().collect(),
            }
        });
        let mut patterns: Vec<Pattern> = patterns.collect();
        patterns.sort_by(|a, b| b.total().cmp(&a.total()).then_with(|| a.text.cmp(&b.text)));
        patterns
    }
}

/// Whether a word is what the cluster has there.
fn is_same(known: &Option<Box<str>>, part: &str) -> bool {
    match known {
        Some(known) => **known == *part,
        None => is_variable(part),
    }
}

fn is_cut(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '=' | '"' | ',' | '(' | ')' | '[' | ']' | '{' | '}' | ';' | '|' | '\'' | '<' | '>'
        )
}

fn is_word(part: &str) -> bool {
    !part.starts_with(is_cut)
}

/// Whether other lines of the pattern surely have another word there.
fn is_variable(part: &str) -> bool {
    is_word(part) && part.bytes().any(|b| b.is_ascii_digit())
}

/// Words, and runs of what is between them; the rest of a very long line is one word.
fn parts(line: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        if parts.len() + 1 >= WORDS_MAX {
            parts.push(rest);
            break;
        }
        let is_cut_run = is_cut(first);
        let len = rest.find(|c| is_cut(c) != is_cut_run).unwrap_or(rest.len());
        parts.push(&rest[..len]);
        rest = &rest[len..];
    }
    parts
}

/// How bad the line is, by its labels or by what stands behind one of the names.
fn level_of<'a>(record: &'a Record<'_>, parts: &[&'a str]) -> &'a str {
    let of_labels = LEVEL_NAMES.iter().find_map(|name| record.labels.get(name));
    let of_line = || {
        // The colon of JSON stands between the name and the level.
        let named = |part: &&str| is_word(part) && part.contains(char::is_alphanumeric);
        let words: Vec<&str> = parts.iter().copied().filter(named).collect();
        let pair = words.windows(2).find(|pair| LEVEL_NAMES.contains(&pair[0]));
        pair.map(|pair| pair[1])
    };
    let level = of_labels.or_else(of_line);
    level.filter(|level| level.len() <= 16).unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logql::stages::LinePattern;
    use kansoku_model::Labels;

    fn mined(lines: &[&str]) -> Vec<String> {
        let stream = Labels::default();
        let mut record = Record::new(&stream);
        let mut miner = Miner::default();
        for (at, line) in lines.iter().enumerate() {
            record.reset(at as i64, line.as_bytes());
            miner.add(&record, at as i64 / 2 * 2, 1);
        }
        let patterns = miner.finish();
        // Each line is of a pattern as `|>` sees it.
        for line in lines {
            let fits = |p: &Pattern| LinePattern::new(&p.text).unwrap().matches(line.as_bytes());
            assert!(patterns.iter().any(fits), "{line}");
        }
        let shown = patterns
            .iter()
            .map(|p| format!("{} {} {}", p.total(), p.level, p.text));
        shown.collect()
    }

    #[test]
    fn lines_that_are_alike_are_one_pattern() {
        assert_eq!(
            mined(&[
                r#"level=info msg="request done" path=/a/1 took=5ms"#,
                r#"level=info msg="request done" path=/b took=17ms"#,
                r#"level=error msg="request done" path=/a/2 took=5ms"#,
                "connection from 10.0.0.1 closed by peer",
                "connection from 10.0.0.7 closed by peer",
                "connection from 10.0.0.9 opened for user bob",
            ]),
            [
                "2 unknown connection from <_> closed by peer",
                r#"2 info level=info msg="request done" path=<_> took=<_>"#,
                "1 unknown connection from <_> opened for user bob",
                r#"1 error level=error msg="request done" path=<_> took=<_>"#,
            ]
        );
    }

    #[test]
    fn json_lines_have_their_level() {
        assert_eq!(
            mined(&[
                r#"{"level":"info","msg":"order placed","status":200}"#,
                r#"{"level":"info","msg":"order placed","status":201}"#,
                r#"{"level": "warn", "msg": "slow query", "status": 200}"#,
            ])
            .iter()
            .map(|pattern| pattern.split(' ').take(2).collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>(),
            ["2 info", "1 warn"]
        );
    }

    #[test]
    fn odd_lines_are_patterns_too() {
        let long = "word ".repeat(300);
        let found = mined(&["a", "   ", "<x> 5", &long, "日本 7"]);
        assert_eq!(found.len(), 5, "{found:?}");
        let mut miner = Miner::default();
        let stream = Labels::default();
        let mut record = Record::new(&stream);
        let lines: Vec<String> = (0..400).map(|n| "x ".repeat(n % 350) + "y").collect();
        for line in &lines {
            record.reset(0, line.as_bytes());
            miner.add(&record, 0, 1);
        }
        assert!(miner.finish().len() <= PATTERNS_MAX);
    }
}
