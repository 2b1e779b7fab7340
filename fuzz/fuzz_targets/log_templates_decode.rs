//! Arbitrary bytes as the streams of encoded lines: an error or lines, never a panic, and no more
//! memory than the promised lines justify.
#![no_main]

use std::sync::Arc;

use kansoku_model::{AnyOf, Extraction, FieldBlock, FieldsWanted, LineAutomaton, Needle, PatternPiece};
use kansoku_store::template::{
    Parts, Search, decode, decode_fields, decode_fields_unordered, decode_some,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(([n_lines, n_text, a, b, c], rest)) = data.split_first_chunk::<5>() else {
        return;
    };
    let times = vec![1_795_132_892_730_624_238; usize::from(*n_lines) * 4];
    let text_bytes = usize::from(*n_text) * 16;
    let mut rest = rest;
    let mut cut = |share: &u8| {
        let (head, tail) = rest.split_at(rest.len() * usize::from(*share) / 256);
        rest = tail;
        head
    };
    let (structure, numbers, texts) = (cut(a), cut(b), cut(c));
    let parts = Parts {
        structure,
        numbers,
        texts,
        packed: rest,
    };
    let (mut text, mut ends) = (Vec::new(), Vec::new());
    if decode(parts, &times, text_bytes, &mut text, &mut ends).is_ok() {
        assert_eq!((text.len(), ends.len()), (text_bytes, times.len()));
    }
    let any = AnyOf {
        needles: vec![Needle::new(b"a1"), Needle::ignoring_case(b"b")],
        field: None,
    };
    let automaton = LineAutomaton::new(&["a+[0-9]", "^b"], n_lines % 4 < 2).expect("small patterns");
    let automata = [Arc::new(automaton)];
    let search = Search {
        rows: 0..times.len(),
        needles: if n_lines % 2 == 0 { &[] } else { &[&any] },
        automata: if n_text % 3 == 0 { &automata } else { &[] },
    };
    text.clear();
    if let Ok(rows) = decode_some(parts, &times, text_bytes, &search, &mut text, &mut ends) {
        assert_eq!(rows.len(), ends.len());
    }
    let of = match n_text % 3 {
        0 => Extraction::Json,
        1 => Extraction::Logfmt,
        _ => Extraction::Pattern(vec![
            PatternPiece::Capture("a".into()),
            PatternPiece::Literal(b" 1".to_vec()),
            PatternPiece::Capture("b".into()),
        ]),
    };
    let names = vec!["a".into(), "b".into()];
    let wanted = FieldsWanted { of, names };
    let mut block = FieldBlock::default();
    if decode_fields(parts, &times, text_bytes, &search, &wanted, &mut block) == Ok(true) {
        let in_groups: usize = block.groups.iter().map(|g| g.rows.len()).sum();
        assert_eq!(in_groups + block.line_rows.len(), block.times.len());
        for group in &block.groups {
            for field in group.fields.iter().flatten() {
                text.clear();
                (0..group.rows.len()).for_each(|at| field.values.put(at, &mut text));
            }
        }
    }
    block.clear();
    let unordered = decode_fields_unordered(parts, times.len(), text_bytes, &wanted, &mut block);
    if unordered == Ok(true) {
        assert_eq!(block.groups.iter().map(|g| g.n_rows).sum::<usize>(), times.len());
        for group in &block.groups {
            for field in group.fields.iter().flatten() {
                text.clear();
                (0..group.n_rows).for_each(|at| field.values.put(at, &mut text));
            }
        }
    }
});
