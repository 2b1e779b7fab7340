//! Lines as templates and columns: any lines come back byte for byte, and damaged bytes end in an
//! error or in other lines of the promised length, never in a panic or in much memory. A search for a
//! part of a line lacks no line that has it.
#![no_main]

use std::sync::Arc;

use kansoku_model::{AnyOf, LineAutomaton, Needle, Slice};
use kansoku_store::template::{Effort, Encoder, Search, Streams, decode, decode_some, encode};
use libfuzzer_sys::fuzz_target;

const ENTRY_NS: i64 = 1_795_132_892_730_624_238;

fuzz_target!(|data: &[u8]| {
    let Some((seed, text)) = data.split_first_chunk::<4>() else {
        return;
    };
    let seed = u32::from_le_bytes(*seed);
    // Few different lines many times over: otherwise nothing becomes a column.
    let parts: Vec<&[u8]> = text.split(|b| *b == b'\n').take(64).collect();
    let repeats = 1 + (seed % 40) as usize;
    let (mut text, mut lines, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for at in 0..parts.len() * repeats {
        let start = text.len() as u32;
        text.extend_from_slice(parts[at * 7 % parts.len()]);
        if seed & 0x100 != 0 {
            text.extend_from_slice(format!(" {} x{:08x}", at * 3, at * 0x9e37_79b9).as_bytes());
        }
        let len = text.len() as u32 - start;
        lines.push(Slice { start, len });
        times.push(ENTRY_NS + at as i64 * i64::from(seed >> 9));
    }
    let effort = if seed & 0x80 == 0 {
        Effort::Flush
    } else {
        Effort::Merge
    };
    let mut encoder = Encoder::new(effort).expect("memory for a context");
    let mut streams = encode(&mut encoder, &text, &lines, &times);
    let (mut back, mut ends) = (Vec::new(), Vec::new());
    decode(streams.parts(), &times, text.len(), &mut back, &mut ends).expect("our own bytes");
    assert!(back == text);
    let expected = lines.iter().map(|l| l.start + l.len);
    assert!(ends.iter().copied().eq(expected));

    if !text.is_empty() {
        let start = seed as usize % text.len();
        let needle = &text[start..text.len().min(start + 1 + (seed >> 24) as usize % 24)];
        let any = AnyOf {
            needles: vec![match seed & 0x40 {
                0 => Needle::new(needle),
                _ => Needle::ignoring_case(needle),
            }],
            field: None,
        };
        let search = Search {
            rows: 0..lines.len(),
            needles: &[&any],
            automata: &[],
        };
        back.clear();
        let parts = streams.parts();
        let rows = decode_some(parts, &times, text.len(), &search, &mut back, &mut ends)
            .expect("our own bytes");
        let line = |l: &Slice| &text[l.start as usize..][..l.len as usize];
        for (row, l) in lines.iter().enumerate() {
            let found = rows.binary_search(&(row as u32));
            assert!(found.is_ok() || !any.is_in(line(l)));
            if let Ok(at) = found {
                let start = at.checked_sub(1).map_or(0, |before| ends[before]);
                assert!(&back[start as usize..ends[at] as usize] == line(l));
            }
        }
        back.clear();

        // No line is lost to the automaton of the same text.
        let pattern: String = needle.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        let keeps_matches = seed & 0x80 == 0;
        let automaton = LineAutomaton::new(&[&format!("(?-u:{pattern})")], keeps_matches);
        let automata: Vec<Arc<LineAutomaton>> = automaton.into_iter().map(Arc::new).collect();
        let search = Search {
            rows: 0..lines.len(),
            needles: &[],
            automata: &automata,
        };
        let rows = decode_some(parts, &times, text.len(), &search, &mut back, &mut ends)
            .expect("our own bytes");
        let contained = Needle::new(needle);
        for (row, l) in lines.iter().enumerate() {
            let passes = contained.is_in(line(l)) == keeps_matches;
            assert!(!passes || rows.binary_search(&(row as u32)).is_ok());
        }
        back.clear();
    }

    // The same bytes with some changed.
    let mut next = seed;
    for _ in 0..1 + seed % 3 {
        next = next.wrapping_mul(0x9e37_79b9).wrapping_add(0x7f4a_7c15);
        let Streams {
            structure,
            numbers,
            texts,
            packed,
        } = &mut streams;
        let stream = match next >> 30 {
            0 => numbers,
            1 => texts,
            2 => packed,
            _ => structure,
        };
        if !stream.is_empty() {
            let at = (next >> 8) as usize % stream.len();
            stream[at] = next as u8;
        }
    }
    back.clear();
    if decode(streams.parts(), &times, text.len(), &mut back, &mut ends).is_ok() {
        assert_eq!(back.len(), text.len());
    }
});
