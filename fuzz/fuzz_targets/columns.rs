//! Lists of integers as the store keeps them: what is encoded comes back, whole and from its beginning, and arbitrary
//! bytes are refused or a list, never a panic.
#![no_main]

use kansoku_store::{Effort, decode_ints, encode_ints};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(([kind, n, first], rest)) = data.split_first_chunk::<3>() else {
        return;
    };
    if kind % 4 == 0 {
        let n = usize::from(*n) * 5;
        let first = usize::from(*first).min(n);
        // The layout that is read most, or any.
        let bytes = if kind % 8 == 0 { [&[5], rest].concat() } else { rest.to_vec() };
        if let Some(values) = decode_ints(&bytes, n, first) {
            assert!((first..=n).contains(&values.len()));
        }
        return;
    }
    // Numbers of one, two, four or eight bytes, as they are or summed up, and over again for several blocks.
    let width = 1 << (kind >> 2 & 3);
    let number = |bytes: &[u8]| {
        let mut whole = [0; 8];
        whole[..bytes.len()].copy_from_slice(bytes);
        i64::from_le_bytes(whole)
    };
    let mut values: Vec<i64> = rest.chunks(width).map(number).collect();
    values = values.repeat(1 + usize::from(n % 8));
    if kind & 16 != 0 {
        let (mut sum, scale) = (0_i64, i64::from(*first) + 1);
        for value in &mut values {
            sum = sum.wrapping_add(value.wrapping_mul(scale));
            *value = sum;
        }
    }
    let effort = if kind & 32 != 0 { Effort::Merge } else { Effort::Flush };
    let bytes = encode_ints(&values, effort, kind & 64 != 0);
    assert_eq!(decode_ints(&bytes, values.len(), values.len()).as_ref(), Some(&values));
    let first = usize::from(*first).min(values.len());
    let beginning = decode_ints(&bytes, values.len(), first).expect("what was encoded");
    assert_eq!(beginning[..first], values[..first]);
});
