//! Runs of samples of one series: ordering them and laying a newer run over an older one.
//!
//! Plain vectors. The rule: each time is there once, and of two values of one time the one that
//! was appended later counts.

/// Sorts by time and keeps the last value of each time.
pub fn tidy(times: &mut Vec<i64>, values: &mut Vec<f64>) {
    if times.windows(2).all(|w| w[0] < w[1]) {
        return;
    }
    let mut rows: Vec<u32> = (0..times.len() as u32).collect();
    rows.sort_by_key(|&row| times[row as usize]);
    let (old_times, old_values) = (std::mem::take(times), std::mem::take(values));
    for row in rows {
        let (time, value) = (old_times[row as usize], old_values[row as usize]);
        if times.last() == Some(&time) {
            *values.last_mut().expect("as many values as times") = value;
        } else {
            times.push(time);
            values.push(value);
        }
    }
}

/// Adds a tidy newer run to a tidy older one.
pub fn lay_over(times: &mut Vec<i64>, values: &mut Vec<f64>, newer: (&[i64], &[f64])) {
    let Some(&first) = newer.0.first() else {
        return;
    };
    let overlaps = times.last().is_some_and(|&last| last >= first);
    times.extend_from_slice(newer.0);
    values.extend_from_slice(newer.1);
    if overlaps {
        tidy(times, values);
    }
}

/// The run of samples with `from_ms <= time <= to_ms` in tidy times.
pub fn range(times: &[i64], from_ms: i64, to_ms: i64) -> std::ops::Range<usize> {
    let start = times.partition_point(|&t| t < from_ms);
    let end = times.partition_point(|&t| t <= to_ms);
    start..end.max(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_value_of_a_time_counts() {
        let (mut t, mut v) = (vec![3, 1, 3, 2, 1], vec![3.0, 1.0, 3.5, 2.0, 1.5]);
        tidy(&mut t, &mut v);
        assert_eq!((&t[..], &v[..]), (&[1, 2, 3][..], &[1.5, 2.0, 3.5][..]));
        lay_over(&mut t, &mut v, (&[0, 2, 9], &[0.0, 2.5, 9.0]));
        assert_eq!(
            (&t[..], &v[..]),
            (&[0, 1, 2, 3, 9][..], &[0.0, 1.5, 2.5, 3.5, 9.0][..])
        );
        lay_over(&mut t, &mut v, (&[10], &[10.0]));
        assert_eq!(t, [0, 1, 2, 3, 9, 10]);
        assert_eq!(range(&t, 1, 9), 1..5);
        assert_eq!(range(&t, 4, 8), 4..4);
        assert_eq!(range(&t, 8, 4), 4..4);
    }
}
