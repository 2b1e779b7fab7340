//! Kubernetes quantities: `100m`, `1.5Gi`, `2e3`.
//!
//! Source: apimachinery, `pkg/api/resource/quantity.go`. Its whole values and its thousandths are
//! rounded away from zero, and kube-state-metrics shows thousandths unless the value is too large for them.

/// The largest value that Go counts in thousandths.
const MAX_MILLI: f64 = 9_223_372_036_854_775.0;
/// Digits that are counted exactly; the API keeps 18.
const MAX_DIGITS: usize = 27;
/// Exponents beyond these are zero or too large for a number anyway.
const MAX_EXPONENT: i32 = 400;

/// A decimal number times a power of two.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantity {
    digits: i128,
    /// Power of ten.
    exponent: i32,
    /// 1 or a power of 1024.
    unit: i128,
}

impl Quantity {
    /// Reads a quantity as the API writes it; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '+' | '-'));
        let (number, suffix) = text.split_at(end.unwrap_or(text.len()));
        let (exponent, unit) = suffix_value(suffix)?;
        let (digits, n_fraction) = decimal(number)?;
        Some(Self {
            digits,
            exponent: exponent - n_fraction,
            unit,
        })
    }

    /// The nearest number.
    #[must_use]
    pub fn nearest(self) -> f64 {
        let scaled = self.digits.saturating_mul(self.unit);
        if let Some(power) = power_of_ten(-self.exponent) {
            // Divided once, so that 100m is 0.1 and not its neighbour.
            return scaled as f64 / power as f64;
        }
        scaled as f64 * 10f64.powi(self.exponent)
    }

    /// Bytes, or whatever is counted in whole numbers.
    #[must_use]
    pub fn whole(self) -> f64 {
        self.rounded(0)
    }

    /// With three decimals, as cores are.
    #[must_use]
    pub fn milli(self) -> f64 {
        let whole = self.whole();
        if whole > MAX_MILLI {
            whole
        } else {
            self.rounded(3) / 1000.0
        }
    }

    /// The value times ten to the power of `decimals`, rounded away from zero.
    fn rounded(self, decimals: i32) -> f64 {
        let exponent = self.exponent + decimals;
        let scaled = self.digits.saturating_mul(self.unit);
        match (power_of_ten(exponent), power_of_ten(-exponent)) {
            (Some(power), _) => scaled.saturating_mul(power) as f64,
            (None, Some(power)) => {
                let rest = (scaled % power).signum();
                (scaled / power + rest) as f64
            }
            _ if exponent < 0 => scaled.signum() as f64,
            _ => scaled as f64 * 10f64.powi(exponent),
        }
    }
}

fn power_of_ten(exponent: i32) -> Option<i128> {
    10i128.checked_pow(u32::try_from(exponent).ok()?)
}

/// Digits without the point, and how many stood behind it.
fn decimal(text: &str) -> Option<(i128, i32)> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(text) => (-1, text),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let n_digits = whole.len() + fraction.len();
    if n_digits == 0 || n_digits > MAX_DIGITS {
        return None;
    }
    let mut digits = 0i128;
    for digit in whole.bytes().chain(fraction.bytes()) {
        let digit = digit.is_ascii_digit().then(|| i128::from(digit - b'0'))?;
        digits = digits * 10 + digit;
    }
    Some((sign * digits, fraction.len() as i32))
}

/// Power of ten and unit.
fn suffix_value(suffix: &str) -> Option<(i32, i128)> {
    Some(match suffix {
        "n" => (-9, 1),
        "u" => (-6, 1),
        "m" => (-3, 1),
        "" => (0, 1),
        "k" => (3, 1),
        "M" => (6, 1),
        "G" => (9, 1),
        "T" => (12, 1),
        "P" => (15, 1),
        "E" => (18, 1),
        "Ki" => (0, 1 << 10),
        "Mi" => (0, 1 << 20),
        "Gi" => (0, 1 << 30),
        "Ti" => (0, 1 << 40),
        "Pi" => (0, 1 << 50),
        "Ei" => (0, 1 << 60),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            (-MAX_EXPONENT..=MAX_EXPONENT)
                .contains(&exponent)
                .then_some((exponent, 1))?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_the_api_writes_them() {
        for (text, milli, whole) in [
            ("0", 0.0, 0.0),
            ("100m", 0.1, 1.0),
            ("1500m", 1.5, 2.0),
            ("2", 2.0, 2.0),
            ("1.5Gi", 1_610_612_736.0, 1_610_612_736.0),
            ("250u", 0.001, 1.0),
            ("-1500m", -1.5, -2.0),
            ("1e3", 1000.0, 1000.0),
            ("12E2", 1200.0, 1200.0),
            ("1E", 1e18, 1e18),
            ("128974848", 128_974_848.0, 128_974_848.0),
            ("129M", 129e6, 129e6),
            (
                "8Ei",
                9_223_372_036_854_775_808.0,
                9_223_372_036_854_775_808.0,
            ),
            ("1e-300", 0.001, 1.0),
        ] {
            let quantity = Quantity::parse(text).expect(text);
            assert_eq!(
                (quantity.milli(), quantity.whole()),
                (milli, whole),
                "{text}"
            );
        }
        assert_eq!(Quantity::parse("0.05").map(Quantity::nearest), Some(0.05));
        for bad in [
            "", "m", "1x", "1.2.3", "--1", "1e", "1e9999", "+", ".", "1 Gi",
        ] {
            assert_eq!(Quantity::parse(bad), None, "{bad}");
        }
    }
}
