//! Numbers as the decimal digits they were written with.

use crate::append::extend;

/// The most digits of a number, so that it fits an i64.
pub const DIGITS_MAX: usize = 18;

/// The numbers below 100 as two digits.
pub const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut n = 0;
    while n < 100 {
        pairs[n] = [b'0' + (n / 10) as u8, b'0' + (n % 10) as u8];
        n += 1;
    }
    pairs
};

/// Prints an integer, filled with zeros in front up to `width` digits.
pub fn put_integer(out: &mut Vec<u8>, value: i64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    while rest >= 100 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[(rest % 100) as usize]);
        rest /= 100;
    }
    if rest > 0 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[rest as usize]);
        at += usize::from(rest < 10);
    }
    let at = at.min(digits.len() - width.clamp(1, DIGITS_MAX));
    if value < 0 {
        out.push(b'-');
    }
    extend(out, &digits[at..]);
}

/// Prints a decimal. False when no decimal has such a scale.
#[must_use]
pub fn put_decimal(out: &mut Vec<u8>, mantissa: i64, scale: i64, width: usize) -> bool {
    let Some(power) = u32::try_from(scale)
        .ok()
        .filter(|s| *s > 0)
        .and_then(|s| 10i64.checked_pow(s))
    else {
        return false;
    };
    if mantissa < 0 {
        out.push(b'-');
    }
    let magnitude = mantissa.unsigned_abs();
    put_integer(out, (magnitude / power as u64) as i64, width);
    out.push(b'.');
    put_integer(out, (magnitude % power as u64) as i64, scale as usize);
    true
}
