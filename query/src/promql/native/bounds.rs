//! Bounds of exponential buckets, to the last bit those of Prometheus, so that they print alike.
//!
//! Its table of powers is not the correctly rounded one; it is what multiplying by roots gives.

use std::f64::consts::SQRT_2;
use std::sync::OnceLock;

/// The finest schema.
const SCHEMA_MAX: u32 = 8;

/// 2^(i/256 - 1) for i in 0..256.
fn table() -> &'static [f64; 256] {
    static TABLE: OnceLock<[f64; 256]> = OnceLock::new();
    TABLE.get_or_init(|| {
        // 2^(1/4), 2^(1/8), ..., 2^(1/256).
        let mut roots = [0.0; 7];
        let mut last = SQRT_2;
        for root in &mut roots {
            last = f64::sqrt(last);
            *root = last;
        }
        std::array::from_fn(|i| {
            let half = if i < 128 { 0.5 } else { 1.0 / SQRT_2 };
            let roots = roots.iter().enumerate();
            let chosen = roots.filter(|(bit, _)| i >> (6 - bit) & 1 == 1);
            chosen.fold(half, |product, (_, root)| product * root)
        })
    })
}

/// The upper bound of a bucket: 2^(index * 2^-schema).
pub(super) fn exponential(index: i32, schema: i32) -> f64 {
    let (fraction, exponent) = if schema < 0 {
        (0.5, (i64::from(index) << schema.unsigned_abs().min(32)) + 1)
    } else {
        let schema = schema.cast_unsigned().min(SCHEMA_MAX);
        let within = (index & ((1 << schema) - 1)) << (SCHEMA_MAX - schema);
        (table()[within as usize], i64::from(index >> schema) + 1)
    };
    // A bound of 2^1024 is no number: observations beyond the largest one have the bucket behind.
    if exponent == 1025 && fraction == 0.5 {
        return f64::MAX;
    }
    scaled(fraction, exponent)
}

/// `fraction` times 2^`exponent`, with one rounding.
fn scaled(fraction: f64, exponent: i64) -> f64 {
    let power = |exponent: i64| f64::from_bits(((exponent + 1023) as u64) << 52);
    match exponent {
        1025.. => f64::INFINITY,
        1024 => fraction * 2.0 * power(1023),
        -1021..=1023 => fraction * power(exponent),
        -1080..=-1022 => fraction * power(exponent + 600) * power(-600),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_prometheus() {
        let cases = [
            (0, 0, 1.0),
            (1, 0, 2.0),
            (-1, 0, 0.5),
            (5, 1, 5.656_854_249_492_38),
            (3, 2, 1.681_792_830_507_428_8),
            (1, 8, 1.002_711_275_050_202_5),
            (6, 8, 1.016_378_314_910_952_9),
            (255, 8, 1.994_592_112_170_939_6),
            (1, -4, 65_536.0),
            (64, -4, f64::MAX),
            (65, -4, f64::INFINITY),
            (1024, 0, f64::MAX),
            (1025, 0, f64::INFINITY),
            (2048, 1, f64::MAX),
            (-1074, 0, 5e-324),
            (i32::MIN, 0, 0.0),
            (i32::MAX, 8, f64::INFINITY),
        ];
        for (index, schema, expected) in cases {
            assert_eq!(exponential(index, schema), expected, "{index} {schema}");
        }
    }
}
