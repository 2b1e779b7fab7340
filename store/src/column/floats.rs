//! Sample values: 64-bit floats, kept bit for bit (NaN payloads, minus zero, subnormals).
//!
//! ```text
//! byte 0  layout
//!   0  constant: 8 bytes
//!   1  decimal:  exponent e (1 byte), integers m as in `ints`; value = m / 10^e
//!   2  xor:      first 8 bytes, length (varint), bits: 0 same as before | 10 reuse window, bits |
//!                11 leading zeros (5 bits), length-1 (6 bits), bits
//!   3  pco:      length (varint), a pco file of n f64
//!   4  plain:    n x 8 bytes
//! ```

use std::ops::Range;

use kansoku_model::Floats;
use pco::standalone::{simple_compress, simple_decompress_into};

use super::bits::{BitReader, BitWriter};
use super::{Effort, ROWS_MAX, ints};
use crate::bytes::{Malformed, Reader, put_text, put_u64};

const CONSTANT: u8 = 0;
const DECIMAL: u8 = 1;
const XOR: u8 = 2;
const PCO: u8 = 3;
const PLAIN: u8 = 4;

/// Below this many values pco's own header costs more than it saves.
const PCO_FROM_ROWS: usize = 256;
/// Powers of ten up to this one are exact, so the lossless check can succeed.
const EXPONENT_MAX: usize = 15;
/// Integers beyond this are not all floats.
const MANTISSA_MAX: f64 = 9_007_199_254_740_992.0;

const POWERS: [f64; EXPONENT_MAX + 1] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

/// Appends the smallest layout of `values`.
pub fn encode(values: &[f64], effort: Effort, out: &mut Vec<u8>) {
    debug_assert!(values.len() <= ROWS_MAX);
    let first = values.first().map_or(0, |v| v.to_bits());
    if values.iter().all(|v| v.to_bits() == first) {
        out.push(CONSTANT);
        put_u64(out, first);
        return;
    }
    if let Some((exponent, integers)) = decimal(values) {
        out.push(DECIMAL);
        out.push(exponent as u8);
        ints::encode(&integers, effort, out);
        return;
    }
    let start = out.len();
    put_xor(values, out);
    if values.len() >= PCO_FROM_ROWS {
        let packed = simple_compress(values, &ints::config(effort)).expect("pco takes any floats");
        if packed.len() < out.len() - start && gives_back(&packed, values) {
            out.truncate(start);
            out.push(PCO);
            put_text(out, &packed);
        }
    }
    if out.len() - start > values.len() * 8 {
        out.truncate(start);
        out.push(PLAIN);
        for v in values {
            put_u64(out, v.to_bits());
        }
    }
}

/// Reads `n` values into `out`, which is cleared first.
pub fn decode(r: &mut Reader<'_>, n: usize, out: &mut Vec<f64>) -> Result<(), Malformed> {
    out.clear();
    if n > ROWS_MAX {
        return Err(Malformed("more rows than a column may have"));
    }
    match r.byte()? {
        CONSTANT => out.resize(n, f64::from_bits(r.u64()?)),
        DECIMAL => {
            let power = power(r.byte()?)?;
            let mut integers = Vec::new();
            ints::decode(r, n, &mut integers)?;
            match power {
                1.0 => out.extend(integers.iter().map(|&m| m as f64)),
                _ => out.extend(integers.iter().map(|&m| m as f64 / power)),
            }
        }
        XOR => take_xor(r, n, out)?,
        PCO => {
            let packed = r.text()?;
            out.resize(n, 0.0);
            let progress = simple_decompress_into(packed, out)
                .map_err(|_| Malformed("values do not decompress"))?;
            if progress.n_processed != n || !progress.finished {
                return Err(Malformed("values of another count"));
            }
        }
        PLAIN => {
            let bytes = r.take(n * 8)?;
            let word = |c: &[u8]| u64::from_le_bytes(c.try_into().expect("eight bytes"));
            out.extend(bytes.chunks_exact(8).map(|c| f64::from_bits(word(c))));
        }
        _ => return Err(Malformed("unknown layout of values")),
    }
    Ok(())
}

/// Adds those of the `n` values that `bytes` hold which lie in `rows` to `out`; integers stay what they are. What lies behind
/// the rows may stay unread, and unverified.
pub fn decode_rows(
    bytes: &[u8],
    n: usize,
    rows: Range<usize>,
    out: &mut Floats,
) -> Result<(), Malformed> {
    if n > ROWS_MAX || rows.end > n {
        return Err(Malformed("more rows than a column may have"));
    }
    let mut r = Reader::new(bytes);
    match r.byte()? {
        CONSTANT => {
            out.push_repeated(f64::from_bits(r.u64()?), rows.len());
            r.end()
        }
        DECIMAL => {
            let power = power(r.byte()?)?;
            let packed = r.rest();
            let fill =
                |slots: &mut [i64]| ints::decode_first_to(packed, rows.end, slots).map(|_| ());
            if out.fill_scaled(power, n, rows.clone(), fill)? {
                return Ok(());
            }
            let mut integers = Vec::new();
            ints::decode_first(packed, n, rows.end, &mut integers)?;
            let plain = out.plain();
            plain.extend(integers[rows].iter().map(|m| *m as f64 / power));
            Ok(())
        }
        _ => {
            let mut values = Vec::new();
            let mut r = Reader::new(bytes);
            decode(&mut r, n, &mut values)?;
            out.plain().extend_from_slice(&values[rows]);
            r.end()
        }
    }
}

fn power(exponent: u8) -> Result<f64, Malformed> {
    let power = POWERS.get(usize::from(exponent));
    power.copied().ok_or(Malformed("exponent is too large"))
}

/// All values as integers over one power of ten, if that loses nothing.
fn decimal(values: &[f64]) -> Option<(usize, Vec<i64>)> {
    let mut exponent = 0;
    for &v in values {
        while scaled(v, exponent).is_none() {
            exponent += 1;
            if exponent > EXPONENT_MAX || !v.is_finite() {
                return None;
            }
        }
    }
    // A value that fitted a small exponent may not fit the final one.
    let integers = values
        .iter()
        .map(|&v| scaled(v, exponent))
        .collect::<Option<_>>()?;
    Some((exponent, integers))
}

fn scaled(v: f64, exponent: usize) -> Option<i64> {
    let m = (v * POWERS[exponent]).round();
    let fits = m.abs() < MANTISSA_MAX;
    // Through i64 and back, as the decoder does: minus zero is caught by its bits.
    (fits && (m as i64 as f64 / POWERS[exponent]).to_bits() == v.to_bits()).then_some(m as i64)
}

fn gives_back(packed: &[u8], values: &[f64]) -> bool {
    let mut back: Vec<f64> = vec![0.0; values.len()];
    simple_decompress_into(packed, &mut back).is_ok()
        && values
            .iter()
            .zip(&back)
            .all(|(a, b)| a.to_bits() == b.to_bits())
}

fn put_xor(values: &[f64], out: &mut Vec<u8>) {
    out.push(XOR);
    let mut last = values[0].to_bits();
    put_u64(out, last);
    let mut stream = Vec::with_capacity(values.len());
    let mut bits = BitWriter::new(&mut stream);
    // Leading zeros and length of the window of meaningful bits; none yet.
    let (mut window_leading, mut window_len) = (0, 0);
    for v in &values[1..] {
        let x = v.to_bits() ^ last;
        last = v.to_bits();
        if x == 0 {
            bits.put(0, 1);
            continue;
        }
        let leading = x.leading_zeros().min(31);
        let trailing = x.trailing_zeros();
        let len = 64 - leading - trailing;
        let window_trailing = 64 - window_leading - window_len;
        let reuse = window_len > 0
            && leading >= window_leading
            && trailing >= window_trailing
            && window_len <= len + 11;
        if reuse {
            bits.put(0b01, 2);
            bits.put(x >> window_trailing, window_len);
        } else {
            bits.put(0b11, 2);
            bits.put(u64::from(leading), 5);
            bits.put(u64::from(len - 1), 6);
            bits.put(x >> trailing, len);
            (window_leading, window_len) = (leading, len);
        }
    }
    bits.finish();
    put_text(out, &stream);
}

fn take_xor(r: &mut Reader<'_>, n: usize, out: &mut Vec<f64>) -> Result<(), Malformed> {
    if n == 0 {
        return Err(Malformed("xor of no rows"));
    }
    let mut last = r.u64()?;
    let mut bits = BitReader::new(r.text()?);
    let (mut leading, mut len) = (0u32, 0u32);
    out.reserve(n);
    out.push(f64::from_bits(last));
    for _ in 1..n {
        if bits.take(1)? == 1 {
            if bits.take(1)? == 1 {
                leading = bits.take(5)? as u32;
                len = bits.take(6)? as u32 + 1;
            }
            if len == 0 || leading + len > 64 {
                return Err(Malformed("xor window out of range"));
            }
            last ^= bits.take(len)? << (64 - leading - len);
        }
        out.push(f64::from_bits(last));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    /// Prometheus' staleness marker and the ordinary NaN, and other bits that are easily lost.
    const SPECIAL: [u64; 10] = [
        0x7ff0_0000_0000_0002,
        0x7ff8_0000_0000_0001,
        0x8000_0000_0000_0000,
        0x7ff0_0000_0000_0000,
        0xfff0_0000_0000_0000,
        0x0000_0000_0000_0001,
        0x800f_ffff_ffff_ffff,
        0x7fef_ffff_ffff_ffff,
        0x0010_0000_0000_0000,
        0xfff8_dead_beef_0001,
    ];

    fn decode_some_rows(packed: &[u8], values: &[f64]) {
        let n = values.len();
        let mut some = Floats::default();
        for rows in [
            0..n,
            n / 3..n,
            0..n / 2,
            n / 3..n / 2,
            n / 4..(n / 4 + 5).min(n),
        ] {
            let before = some.len();
            decode_rows(packed, n, rows.clone(), &mut some).unwrap();
            assert_eq!(some.len(), before + rows.len());
            for (at, value) in values[rows].iter().enumerate() {
                assert_eq!(some.at(before + at).to_bits(), value.to_bits());
            }
        }
        assert!(decode_rows(packed, n, 0..n + 1, &mut some).is_err());
    }

    fn round_trip(values: &[f64]) -> (u8, usize) {
        let mut chosen = (0, 0);
        for effort in [Effort::Flush, Effort::Merge] {
            let mut out = Vec::new();
            encode(values, effort, &mut out);
            chosen = (out[0], out.len());
            out.push(99);
            let (mut r, mut back) = (Reader::new(&out), vec![7.0]);
            decode(&mut r, values.len(), &mut back).unwrap();
            decode_some_rows(&out[..out.len() - 1], values);
            let bits = |v: &[f64]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&back), bits(values));
            assert_eq!(r.rest(), [99], "reads exactly its own bytes");
        }
        chosen
    }

    #[test]
    fn each_shape_gets_its_layout() {
        let counter: Vec<f64> = (0..200).map(|i| f64::from(i * 37)).collect();
        assert_eq!(round_trip(&counter), (DECIMAL, 5));
        let cents: Vec<f64> = (0..200).map(|i| f64::from(i * i % 991) / 100.0).collect();
        assert_eq!(round_trip(&cents).0, DECIMAL);
        assert_eq!(round_trip(&[0.5; 1000]), (CONSTANT, 9));
        let thirds: Vec<f64> = (0..100).map(|i| 1e6 + f64::from(i) / 3.0).collect();
        assert_eq!(round_trip(&thirds).0, XOR);
        let thirds: Vec<f64> = (0..4000).map(|i| f64::from(i) / 3.0).collect();
        assert_eq!(round_trip(&thirds).0, PCO);
        let mut random = Random(9);
        let noise: Vec<f64> = (0..100).map(|_| f64::from_bits(random.next())).collect();
        assert_eq!(round_trip(&noise).0, PLAIN);
    }

    #[test]
    fn special_values_alone_and_among_others() {
        round_trip(&[]);
        for bits in SPECIAL {
            round_trip(&[f64::from_bits(bits)]);
            for n in [3, 40, 600] {
                let mut values: Vec<f64> = (0..n).map(f64::from).collect();
                values[n as usize / 2] = f64::from_bits(bits);
                round_trip(&values);
                let thirds: Vec<f64> = values.iter().map(|v| v / 3.0).collect();
                round_trip(&thirds);
            }
        }
        round_trip(&SPECIAL.map(f64::from_bits));
        round_trip(&[9_007_199_254_740_993.0, 1.5, -1e300, 0.1]);
    }

    #[test]
    fn random_lists() {
        let mut random = Random(3);
        for round in 0..300 {
            let n = 1 + random.below(700) as usize;
            let mut value = random.below(1_000_000) as f64;
            let values: Vec<f64> = (0..n)
                .map(|_| {
                    if random.below(50) == 0 {
                        return f64::from_bits(SPECIAL[random.below(10) as usize]);
                    }
                    match round % 4 {
                        0 => f64::from_bits(random.next()),
                        1 => random.below(100_000) as f64 / 1000.0,
                        2 => {
                            value += random.below(1000) as f64;
                            value
                        }
                        _ => (random.next() as f64).sqrt(),
                    }
                })
                .collect();
            round_trip(&values);
        }
    }

    #[test]
    fn cut_or_wrong_bytes_are_an_error() {
        let values: Vec<f64> = (0..300).map(|i| f64::from(i).sqrt()).collect();
        for n in [100, 300] {
            let mut good = Vec::new();
            encode(&values[..n], Effort::Merge, &mut good);
            let mut back = Vec::new();
            for cut in 0..good.len() {
                assert!(decode(&mut Reader::new(&good[..cut]), n, &mut back).is_err());
            }
        }
        let mut back = Vec::new();
        assert!(decode(&mut Reader::new(&[DECIMAL, 16, 0, 0, 0]), 1, &mut back).is_err());
        assert!(decode(&mut Reader::new(&[7]), 1, &mut back).is_err());
        let mut bad_window = vec![XOR; 1];
        bad_window.extend([0; 8]);
        put_text(&mut bad_window, &[0xff, 0xff, 0xff]);
        assert!(decode(&mut Reader::new(&bad_window), 2, &mut back).is_err());
    }
}
