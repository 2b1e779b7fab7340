//! Lines that are only counted are told by automata, and the counts are those of reading them.

use std::ops::ControlFlow;
use std::sync::Arc;

use kansoku_model::select::{Direction, LogBlock, LogSelect};
use kansoku_model::{AnyOf, LineAutomaton, LogSource};

use super::{entries, open, wanted};
use crate::Store;
use crate::testing::{T0_MS, T0_NS, log_in, logs};

/// How many entries are given, and how many of them without their lines.
fn counts(store: &Store, pattern: &str, keeps_matches: bool) -> (usize, usize) {
    let automaton = LineAutomaton::new(&[pattern], keeps_matches).unwrap();
    let regex = regex::bytes::Regex::new(pattern).unwrap();
    let wanted = LogSelect {
        automata: vec![Arc::new(automaton)],
        counts_only: true,
        needles: match (pattern, keeps_matches) {
            ("rare", true) => vec![AnyOf::text(b"rare")],
            _ => Vec::new(),
        },
        ..wanted(Direction::Forward)
    };
    let (mut n, mut n_told, mut block) = (0, 0, LogBlock::default());
    LogSource::select(&store.snapshot(), &wanted, &mut |b| {
        b.load(&mut block)?;
        assert_eq!(block.times.len(), block.lines.len());
        let passes = |line: &[u8]| {
            let readable = String::from_utf8_lossy(line);
            (regex.is_match(line) || regex.is_match(readable.as_bytes())) == keeps_matches
        };
        if block.are_told {
            n_told += block.times.len();
            n += block.times.len();
        } else {
            let lines = block.lines.iter();
            n += lines.filter(|line| passes(block.bytes(**line))).count();
        }
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    (n, n_told)
}

#[test]
fn told_lines_count_as_read_ones() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    for round in 0..3 {
        for (source, app) in [(1, "a"), (2, "b")] {
            let at = |i: i64| T0_NS + round * 9000 + i;
            let text = |i: i64| {
                let (status, id) = (200 + i % 7 * 50, i * 7919 % 10_007);
                let odd = if i == 1234 { " rare" } else { "" };
                let pad = "-".repeat(90);
                format!("GET /{app}/{} {status} {id}{odd} {pad}", i % 91)
            };
            let lines: Vec<(i64, String)> = (0..3000).map(|i| (at(i), text(i))).collect();
            let rows: Vec<(i64, &str)> = lines.iter().map(|(t, l)| (*t, l.as_str())).collect();
            let mut batch = logs(source, app, round as u64 * 10_000, &rows);
            if app == "b" {
                // One line that no automaton tells.
                batch.source.to.offset += 1;
                let row = batch.push(at(5000), batch.source.to);
                batch.set_text("log", row, b"GET \xff 200 1");
            }
            store.append(log_in(batch)).unwrap();
        }
        store.flush().unwrap();
    }
    let all = entries(&store.snapshot());
    assert_eq!(all.len(), 18_003);
    let check = || {
        for text in [" 200 ", "GET", "rare", "none"] {
            let n = all.iter().filter(|line| line.contains(text)).count();
            let (found, n_told) = counts(&store, text, true);
            assert_eq!(found, n, "{text}");
            // Where few lines hold a text, they are rebuilt.
            assert_eq!(n_told > 0, n > 1000, "{text}");
            assert_eq!(counts(&store, text, false).0, all.len() - n, "{text}");
        }
    };
    check();
    while !store.maintain(T0_MS).unwrap().is_idle() {}
    check();
}
