//! The filters of a page of log lines: whatever part of a line is looked for, in any case, is not denied;
//! arbitrary bytes as filters deny or not, and never panic.
#![no_main]

use kansoku_model::Needle;
use kansoku_store::PageFilters;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((seed, text)) = data.split_first_chunk::<4>() else {
        return;
    };
    let mut seed = u32::from_le_bytes(*seed);
    let lines: Vec<&[u8]> = text.split(|b| *b == b'\n').collect();
    let mut filters = PageFilters::of(lines.iter().copied());
    for line in &lines {
        for _ in 0..4 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let start = (seed >> 8) as usize % (line.len() + 1);
            let len = (seed >> 20) as usize % (line.len() - start + 1);
            let part = &line[start..start + len];
            assert!(filters.may_contain(&Needle::new(part)));
            let shout = part.to_ascii_uppercase();
            assert!(filters.may_contain(&Needle::ignoring_case(&shout)));
        }
    }

    // The same bytes with some changed, and bytes that are no filter.
    let needles = [&text[..text.len().min(40)], b"0123456789abcdef", b"GET /"];
    if let Some(ids) = &mut filters.ids {
        let at = seed as usize % ids.len();
        ids[at] ^= (seed >> 24) as u8 | 1;
    }
    let _ = needles.map(|needle| filters.may_contain(&Needle::new(needle)));
    filters.ids = Some(text.to_vec());
    filters.trigrams = Some(text.to_vec());
    let _ = needles.map(|needle| filters.may_contain(&Needle::new(needle)));
});
