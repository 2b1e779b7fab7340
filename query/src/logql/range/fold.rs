//! Functions that take one value after the other and keep a few numbers.

/// What is kept for one series at one step.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cell {
    /// Values taken; zero means that there is nothing here.
    pub count: u64,
    a: f64,
    b: f64,
}

/// How values enter a cell and what comes out.
#[derive(Debug, Clone, Copy)]
pub struct Fold {
    /// Takes a value and its time; `count` has already been raised.
    add: fn(&mut Cell, i64, f64),
    /// The result; the range in seconds is given.
    finish: fn(&Cell, f64) -> f64,
}

impl Fold {
    /// Takes a value.
    pub fn add(&self, cell: &mut Cell, time_ns: i64, value: f64) {
        cell.count += 1;
        (self.add)(cell, time_ns, value);
    }

    /// The result of a cell that has taken at least one value.
    pub fn finish(&self, cell: &Cell, range_seconds: f64) -> f64 {
        (self.finish)(cell, range_seconds)
    }
}

pub const SUM: Fold = Fold {
    add: |cell, _, value| cell.a += value,
    finish: |cell, _| cell.a,
};

pub const RATE: Fold = Fold {
    add: |cell, _, value| cell.a += value,
    finish: |cell, seconds| cell.a / seconds,
};

pub const AVG: Fold = Fold {
    add: |cell, _, value| cell.a = running_mean(cell.a, cell.count, value),
    finish: |cell, _| cell.a,
};

pub const MIN: Fold = Fold {
    add: |cell, _, value| {
        if cell.count == 1 || value < cell.a || cell.a.is_nan() {
            cell.a = value;
        }
    },
    finish: |cell, _| cell.a,
};

pub const MAX: Fold = Fold {
    add: |cell, _, value| {
        if cell.count == 1 || value > cell.a || cell.a.is_nan() {
            cell.a = value;
        }
    },
    finish: |cell, _| cell.a,
};

pub const FIRST: Fold = Fold {
    add: |cell, time, value| {
        if cell.count == 1 || time < bits_time(cell.b) {
            (cell.a, cell.b) = (value, time_bits(time));
        }
    },
    finish: |cell, _| cell.a,
};

pub const LAST: Fold = Fold {
    add: |cell, time, value| {
        if cell.count == 1 || time >= bits_time(cell.b) {
            (cell.a, cell.b) = (value, time_bits(time));
        }
    },
    finish: |cell, _| cell.a,
};

pub const STDVAR: Fold = Fold {
    add: welford,
    finish: |cell, _| cell.b / cell.count as f64,
};

pub const STDDEV: Fold = Fold {
    add: welford,
    finish: |cell, _| (cell.b / cell.count as f64).sqrt(),
};

/// The mean after `value` as number `count`. An infinite mean stays what it is unless the other
/// infinity or NaN comes, which the plain formula would get wrong.
pub fn running_mean(mean: f64, count: u64, value: f64) -> f64 {
    if mean.is_infinite() && !value.is_nan() && (value.is_finite() || (value > 0.0) == (mean > 0.0))
    {
        return mean;
    }
    let count = count as f64;
    mean + (value / count - mean / count)
}

/// Welford's method: `a` is the mean, `b` the sum of squared differences.
fn welford(cell: &mut Cell, _: i64, value: f64) {
    let delta = value - cell.a;
    cell.a += delta / cell.count as f64;
    cell.b += delta * (value - cell.a);
}

/// A time does not fit the digits of a float, but it fits its bits.
fn time_bits(time_ns: i64) -> f64 {
    f64::from_bits(time_ns.cast_unsigned())
}

fn bits_time(bits: f64) -> i64 {
    bits.to_bits().cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(fold: Fold, values: &[(i64, f64)]) -> f64 {
        let mut cell = Cell::default();
        for (time, value) in values {
            fold.add(&mut cell, *time, *value);
        }
        fold.finish(&cell, 10.0)
    }

    #[test]
    fn results() {
        let inf = f64::INFINITY;
        let values = [(3, 4.0), (1, 2.0), (2, 6.0)];
        let cases = [
            (SUM, 12.0),
            (RATE, 1.2),
            (AVG, 4.0),
            (MIN, 2.0),
            (MAX, 6.0),
            (FIRST, 2.0),
            (LAST, 4.0),
            (STDVAR, 8.0 / 3.0),
            (STDDEV, (8.0f64 / 3.0).sqrt()),
        ];
        for (fold, expected) in cases {
            assert!((run(fold, &values) - expected).abs() < 1e-12);
        }
        assert_eq!(run(AVG, &[(1, inf), (2, 1.0), (3, inf)]), inf);
        assert!(run(AVG, &[(1, inf), (2, -inf)]).is_nan());
        assert_eq!(run(MAX, &[(1, f64::NAN), (2, -1.0)]), -1.0);
        assert_eq!(run(FIRST, &[(-5, 1.0), (-9, 2.0)]), 2.0);
    }
}
