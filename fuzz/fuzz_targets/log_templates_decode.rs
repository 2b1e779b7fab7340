//! Arbitrary bytes as the streams of encoded lines: an error or lines, never a panic, and no more
//! memory than the promised lines justify.
#![no_main]

use kansoku_store::template::{Parts, decode};
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
});
