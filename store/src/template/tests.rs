//! Lines in, the same lines out; damaged bytes end in an error.

use std::sync::Arc;

use kansoku_model::{AnyOf, LineAutomaton, Needle, Slice};

use super::{Encoder, Parts, Search, Streams, decode, decode_some, encode};
use crate::bytes::Malformed;
use crate::column::Effort;
use crate::testing::Random;

const ENTRY: i64 = 1_795_132_892_730_624_238;

fn encoded(lines: &[Vec<u8>], times: &[i64], effort: Effort) -> (Streams, usize) {
    let (mut text, mut slices) = (b"before".to_vec(), Vec::new());
    for line in lines {
        slices.push(Slice {
            start: text.len() as u32,
            len: line.len() as u32,
        });
        text.extend_from_slice(line);
    }
    let mut encoder = Encoder::new(effort).unwrap();
    let streams = encode(&mut encoder, &text, &slices, times);
    (streams, text.len() - b"before".len())
}

fn decoded(parts: Parts<'_>, times: &[i64], n: usize) -> Result<Vec<Vec<u8>>, Malformed> {
    let (mut text, mut ends) = (Vec::new(), Vec::new());
    decode(parts, times, n, &mut text, &mut ends)?;
    let mut start = 0;
    Ok(ends
        .iter()
        .map(|end| text[std::mem::replace(&mut start, *end as usize)..*end as usize].to_vec())
        .collect())
}

/// Encodes, decodes, compares; returns the streams.
fn round_trip(lines: &[Vec<u8>]) -> Streams {
    let times: Vec<i64> = (0..lines.len() as i64)
        .map(|i| ENTRY + i * 1_234_567)
        .collect();
    let (flushed, n) = encoded(lines, &times, Effort::Flush);
    assert!(decoded(flushed.parts(), &times, n).unwrap() == lines);
    let (merged, n) = encoded(lines, &times, Effort::Merge);
    assert!(decoded(merged.parts(), &times, n).unwrap() == lines);
    merged
}

fn len(streams: &Streams) -> usize {
    let Streams {
        structure,
        numbers,
        texts,
        packed,
    } = streams;
    structure.len() + numbers.len() + texts.len() + packed.len()
}

/// Lines of many shapes, by number.
fn line(random: &mut Random, i: u64) -> Vec<u8> {
    let (a, b) = (random.next(), random.next());
    let words = [
        "alpha", "beta", "", "観測", "a\"b", "x\\", "null", "-0", "007",
    ];
    let word = |n: u64| words[n as usize % words.len()];
    let text = match random.below(9) {
        0 => format!(
            r#"{{"ts":"2026-11-20T00:01:32.{:06}Z","id":"{a:016x}{b:016x}","n":{},"w":"{}","ok":{}}}"#,
            a % 1_000_000,
            a as i64 >> (b % 60),
            word(b),
            b % 2 == 0
        ),
        1 => format!(
            "I1120 00:04:44.{:06} {} f.go:{}] \"{}\" v=\"{}\"",
            a % 1_000_000,
            a % 99,
            b % 900,
            word(a),
            word(b)
        ),
        2 => format!(
            "level={} dur={}.{:03}s n={:04} x={}",
            word(a),
            a % 50,
            b % 1000,
            b % 20_000,
            word(b)
        ),
        3 => format!(
            "10.0.{}.{} \"GET /a/{}/b?c={:x} HTTP/1.1\" {} {}e-0{}",
            a % 9,
            b % 256,
            a % 5000,
            b >> 40,
            a % 600,
            b % 9,
            a % 9
        ),
        4 => format!("{}.{} -{}.{} +{}", a % 100, b % 1000, a % 7, b % 100, a % 3),
        5 => word(a).repeat(b as usize % 4),
        6 => format!("{{\"a\":{},\"a\":{}}}", a % 10, b % 10),
        7 => format!("free text {} and {i}", word(a)),
        _ => format!(
            "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
            a as u32,
            a >> 48,
            b & 0xfff,
            b >> 52,
            b & 0xffff_ffff_ffff
        ),
    };
    let mut line = text.into_bytes();
    if random.below(20) == 0 && !line.is_empty() {
        let at = random.below(line.len() as u64) as usize;
        line[at] = [0, 0xff, b'\n', b'"', b'9'][random.below(5) as usize];
    }
    line
}

#[test]
fn lines_of_every_shape_come_back() {
    let mut random = Random(1);
    for n in [0, 1, 2, 3, 5, 40, 300, 3000] {
        let lines: Vec<Vec<u8>> = (0..n).map(|i| line(&mut random, i)).collect();
        round_trip(&lines);
    }
    round_trip(&vec![Vec::new(); 1000]);
    round_trip(&vec![b"\0\xff same".to_vec(); 1000]);
    let noise = |random: &mut Random| (0..random.below(60)).map(|_| random.next() as u8).collect();
    let noise: Vec<Vec<u8>> = (0..2000).map(|_| noise(&mut random)).collect();
    round_trip(&noise);
    let long = vec![
        b"1 ".repeat(40_000),
        b"\"".repeat(70_000),
        b"{\"".repeat(9000),
    ];
    round_trip(&long);
}

#[test]
fn each_layout_comes_back_and_is_small() {
    let mut random = Random(2);
    // (what varies, bytes per line at most); the last is text of no template, which zstd gets whole.
    let cases: [(&dyn Fn(u64, &mut Random) -> String, f64); 9] = [
        (&|_, _| "constant 5".into(), 0.1),
        (&|i, _| format!("{i}"), 0.2),
        (&|_, r| format!("{:05}", r.below(1000)), 1.5),
        (&|_, r| format!("{}.{:03}", r.below(10), r.below(1000)), 2.0),
        (
            &|i, _| {
                let ns = (ENTRY + i as i64 * 1_234_567) / 1000 % 1_000_000;
                let s = (ENTRY + i as i64 * 1_234_567) / 1_000_000_000 % 60;
                format!("2026-11-20T00:01:{s:02}.{ns:06}Z")
            },
            0.5,
        ),
        (&|_, r| format!("{:016x}{:016x}", r.next(), r.next()), 16.2),
        (
            &|_, r| ["GET", "POST", "DELETE"][r.below(3) as usize].into(),
            0.4,
        ),
        (
            &|_, r| format!("/api/v1/items/{}/sub{}", r.below(1_000_000), r.below(3)),
            3.4,
        ),
        (
            &|_, r| {
                (0..9)
                    .map(|_| ["lorem ", "ipsum ", "dolor "][r.below(3) as usize])
                    .collect()
            },
            60.5,
        ),
    ];
    for (case, (value, most)) in cases.iter().enumerate() {
        let lines: Vec<Vec<u8>> = (0..4000)
            .map(|i| format!("k={} \"{}\"", value(i, &mut random), "x").into_bytes())
            .collect();
        let size = len(&round_trip(&lines)) as f64 / 4000.0;
        assert!(size < *most, "case {case}: {size}");
    }
}

#[test]
fn damaged_bytes_are_an_error_or_other_lines_never_a_panic() {
    let mut random = Random(3);
    let lines: Vec<Vec<u8>> = (0..400).map(|i| line(&mut random, i)).collect();
    let times: Vec<i64> = (0..400).map(|i| ENTRY + i).collect();
    let (good, n) = encoded(&lines, &times, Effort::Merge);
    for _ in 0..3000 {
        let mut bad = good.clone();
        let streams = [
            &mut bad.structure,
            &mut bad.numbers,
            &mut bad.texts,
            &mut bad.packed,
        ];
        for stream in streams {
            for _ in 0..random.below(3) {
                let at = random.below(stream.len().max(1) as u64) as usize;
                match random.below(3) {
                    0 => stream.truncate(at),
                    _ => stream
                        .iter_mut()
                        .skip(at)
                        .take(1)
                        .for_each(|b| *b = random.next() as u8),
                }
            }
        }
        let _ = decoded(bad.parts(), &times, n);
    }
    assert!(decoded(good.parts(), &times, n - 1).is_err());
    assert!(decoded(good.parts(), &times, n + 1).is_err());
    assert!(decoded(good.parts(), &times[1..], n).is_err());
}

#[test]
fn a_search_lacks_no_line_and_rebuilds_few() {
    let mut random = Random(4);
    let lines: Vec<Vec<u8>> = (0..2000).map(|i| line(&mut random, i)).collect();
    let times: Vec<i64> = (0..2000).map(|i| ENTRY + i * 99).collect();
    let (streams, n) = encoded(&lines, &times, Effort::Merge);
    let search = |needles: &[AnyOf]| {
        let (mut text, mut ends) = (Vec::new(), Vec::new());
        let (parts, text, ends) = (streams.parts(), &mut text, &mut ends);
        let needles: Vec<&AnyOf> = needles.iter().collect();
        let search = Search {
            rows: 0..2000,
            needles: &needles,
            automata: &[],
        };
        let rows = decode_some(parts, &times, n, &search, text, ends).unwrap();
        let mut start = 0;
        for (row, end) in rows.iter().zip(&*ends) {
            let end = *end as usize;
            assert_eq!(text[start..end], lines[*row as usize]);
            start = end;
        }
        rows
    };
    let (mut n_found, mut n_rebuilt) = (0, 0);
    for round in 0..1500 {
        let mut cut = |longest: u64| {
            let from = &lines[random.below(2000) as usize];
            let start = random.below(from.len() as u64 + 1) as usize;
            let end = (start + 1 + random.below(longest) as usize).min(from.len());
            from[start.min(end)..end].to_vec()
        };
        let any_case = |text: &[u8]| Needle::ignoring_case(&text.to_ascii_uppercase());
        let needles = match round % 5 {
            0 => vec![AnyOf::text(&cut(40))],
            1 => vec![AnyOf::text(&cut(12)), AnyOf::text(&cut(3))],
            2 => vec![AnyOf::text(&[cut(5), cut(5)].concat())],
            3 => vec![AnyOf {
                needles: vec![any_case(&cut(20))],
                field: None,
            }],
            _ => vec![AnyOf {
                needles: vec![Needle::new(&cut(30)), any_case(&cut(30))],
                field: None,
            }],
        };
        let rows = search(&needles);
        let wanted =
            (0..2000u32).filter(|row| needles.iter().all(|n| n.is_in(&lines[*row as usize])));
        for row in wanted {
            assert!(
                rows.binary_search(&row).is_ok(),
                "{needles:?} in line {row}"
            );
            n_found += 1;
        }
        n_rebuilt += rows.len();
    }
    assert!(
        n_rebuilt < n_found * 3 + 30_000,
        "{n_rebuilt} lines rebuilt to find {n_found}"
    );
    assert!(search(&[AnyOf::text(b"nowhere at all")]).is_empty());
    assert_eq!(search(&[AnyOf::text(b"")]).len(), 2000);
}

#[test]
fn an_automaton_loses_no_line_and_tells_most() {
    let mut random = Random(6);
    let mut lines: Vec<Vec<u8>> = (0..2000).map(|i| line(&mut random, i)).collect();
    // Empty lines, cut characters and bad bytes between the others.
    for (at, odd) in [
        &b""[..],
        "é観".as_bytes(),
        b"\xe8\xa6 GET",
        b"GET \xff 500 ERROR 7",
        b" ",
    ]
    .iter()
    .enumerate()
    {
        lines[at * 300 + 7] = odd.to_vec();
    }
    let times: Vec<i64> = (0..2000).map(|i| ENTRY + i * 99).collect();
    let (streams, n) = encoded(&lines, &times, Effort::Merge);
    let patterns = [
        "[A-Z]{3,} [0-9]+",
        "GET",
        " 200 ",
        "^$",
        "",
        "[0-9a-f]{16}",
        ":[0-5][0-9]",
        "é|観",
        "(?i)error$",
        "^[0-9]{4}-",
        "a.*b.*c",
        "[^ -~]",
        "x{9}",
        "\\.[0-9]{3}",
        "^.{20,40}$",
        "=[0-9]+( |$)",
        "-07-|Nov",
    ];
    let (mut n_wrong, mut n_lines) = (0, 0);
    for pattern in patterns {
        let regex = regex::bytes::Regex::new(pattern).unwrap();
        for keeps_matches in [true, false] {
            let automata = [Arc::new(
                LineAutomaton::new(&[pattern], keeps_matches).unwrap(),
            )];
            let search = Search {
                rows: 0..2000,
                needles: &[],
                automata: &automata,
            };
            let (mut text, mut ends) = (Vec::new(), Vec::new());
            // Twice: with the states that are made already.
            decode_some(streams.parts(), &times, n, &search, &mut text, &mut ends).unwrap();
            text.clear();
            let rows =
                decode_some(streams.parts(), &times, n, &search, &mut text, &mut ends).unwrap();
            for (row, line) in lines.iter().enumerate() {
                let readable = String::from_utf8_lossy(line);
                let passes =
                    (regex.is_match(line) || regex.is_match(readable.as_bytes())) == keeps_matches;
                let is_kept = rows.binary_search(&(row as u32)).is_ok();
                assert!(is_kept || !passes, "{pattern} {readable}");
                n_wrong += u32::from(is_kept && !passes);
                n_lines += 1;
            }
        }
    }
    // Only what is no UTF-8 is not told.
    assert!(n_wrong < n_lines / 100, "{n_wrong} of {n_lines}");
}
