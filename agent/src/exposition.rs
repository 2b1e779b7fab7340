//! Prometheus' text exposition format 0.0.4: what `/metrics` answers.
//!
//! Families are sorted by name, labels within a series too. A series that was already written is
//! dropped and counted: the first wins and a scrape never fails over a duplicate. Resource labels
//! are left out, because whoever scrapes adds the target's labels. Only points that have a time of
//! their own are written with one.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;

use kansoku_model::metric::{Family, Point};
use kansoku_model::{MetricBatch, MetricKind};
use xxhash_rust::xxh3::xxh3_128;

/// The answer's `Content-Type`.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const WRITES: &str = "writing to memory cannot fail";

/// Appends all batches as one exposition and returns the number of duplicate series left out.
pub fn write(out: &mut Vec<u8>, batches: &[&MetricBatch]) -> u64 {
    let mut by_name: BTreeMap<&str, Vec<(usize, u32)>> = BTreeMap::new();
    for (at, batch) in batches.iter().enumerate() {
        for (index, family) in batch.families().iter().enumerate() {
            let parts = by_name.entry(batch.text(family.name)).or_default();
            parts.push((at, index as u32));
        }
    }
    let by_family: Vec<Vec<Vec<&Point>>> = batches.iter().map(|b| points_by_family(b)).collect();
    let mut seen = HashSet::new();
    let mut n_duplicates = 0;
    for (name, parts) in by_name {
        let Some(&(at, index)) = parts
            .iter()
            .find(|(at, index)| !by_family[*at][*index as usize].is_empty())
        else {
            continue;
        };
        let batch = batches[at];
        write_header(out, name, batch, &batch.families()[index as usize]);
        seen.clear();
        for (at, index) in parts {
            for point in &by_family[at][index as usize] {
                let start = out.len();
                write_series(out, name, batches[at], point);
                if seen.insert(xxh3_128(&out[start..])) {
                    out.push(b' ');
                    write_value(out, point.value);
                    if let Some(time_ms) = point.time_ms {
                        write!(out, " {time_ms}").expect(WRITES);
                    }
                    out.push(b'\n');
                } else {
                    out.truncate(start);
                    n_duplicates += 1;
                }
            }
        }
    }
    n_duplicates
}

fn points_by_family(batch: &MetricBatch) -> Vec<Vec<&Point>> {
    let mut out = vec![Vec::new(); batch.families().len()];
    for point in batch.points() {
        out[point.family.0 as usize].push(point);
    }
    out
}

fn write_header(out: &mut Vec<u8>, name: &str, batch: &MetricBatch, family: &Family) {
    let help = batch.text(family.help);
    out.extend_from_slice(b"# HELP ");
    out.extend_from_slice(name.as_bytes());
    out.push(b' ');
    for byte in help.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            _ => out.push(byte),
        }
    }
    let kind = match family.kind {
        MetricKind::Unknown => "untyped",
        kind => kind.as_str(),
    };
    out.extend_from_slice(b"\n# TYPE ");
    out.extend_from_slice(name.as_bytes());
    out.push(b' ');
    out.extend_from_slice(kind.as_bytes());
    out.push(b'\n');
}

fn write_series(out: &mut Vec<u8>, name: &str, batch: &MetricBatch, point: &Point) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(point.suffix.as_str().as_bytes());
    let mut pairs: Vec<(&str, &str)> = batch.labels_of(point).collect();
    pairs.sort_unstable_by_key(|(name, _)| *name);
    for (i, (name, value)) in pairs.iter().enumerate() {
        out.push(if i == 0 { b'{' } else { b',' });
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"=\"");
        for byte in value.bytes() {
            match byte {
                b'\\' => out.extend_from_slice(b"\\\\"),
                b'"' => out.extend_from_slice(b"\\\""),
                b'\n' => out.extend_from_slice(b"\\n"),
                _ => out.push(byte),
            }
        }
        out.push(b'"');
    }
    if !pairs.is_empty() {
        out.push(b'}');
    }
}

/// Writes a value as Prometheus' own clients do: the shortest digits that give the number back,
/// with an exponent below 1e-4 and from 1e6 on.
pub fn write_value(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
        return;
    }
    if value.is_infinite() {
        let text: &[u8] = if value > 0.0 { b"+Inf" } else { b"-Inf" };
        out.extend_from_slice(text);
        return;
    }
    let size = value.abs();
    if size == 0.0 || (1e-4..1e6).contains(&size) {
        write!(out, "{value}").expect(WRITES);
        return;
    }
    let start = out.len();
    write!(out, "{value:e}").expect(WRITES);
    let e = start + memchr::memchr(b'e', &out[start..]).expect("exponent form has an e");
    let (sign, digits) = match out.get(e + 1) {
        Some(b'-') => (b'-', e + 2),
        _ => (b'+', e + 1),
    };
    let exponent: [u8; 3] = match out[digits..] {
        [a] => [b'0', a, 0],
        [a, b] => [a, b, 0],
        [a, b, c, ..] => [a, b, c],
        [] => [b'0', b'0', 0],
    };
    out.truncate(e + 1);
    out.push(sign);
    out.extend(exponent.iter().filter(|d| **d != 0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_prometheus_clients() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (127_203.0, "127203"),
            (1_000_000.0, "1e+06"),
            (999_999.5, "999999.5"),
            (2_088_894.0, "2.088894e+06"),
            (1_795_251_167.0, "1.795251167e+09"),
            (1.652_000_000_000_000_1, "1.6520000000000001"),
            (0.000_232_445, "0.000232445"),
            (9.5573e-05, "9.5573e-05"),
            (-2.5e-7, "-2.5e-07"),
            (1e300, "1e+300"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            let mut out = Vec::new();
            write_value(&mut out, value);
            assert_eq!(String::from_utf8(out).expect("text"), text);
        }
    }

    #[test]
    fn families_are_merged_sorted_escaped_and_freed_of_duplicates() {
        let mut a = MetricBatch::default();
        let z = a.family("z_total", MetricKind::Counter, "Last\nof \\all.");
        a.sample(z, &[("b", "q\"\\\n"), ("a", "")], 1.0);
        a.family("unused", MetricKind::Gauge, "No point.");
        let mut b = MetricBatch::default();
        let z = b.family("z_total", MetricKind::Gauge, "other");
        b.sample(z, &[("a", ""), ("b", "q\"\\\n")], 2.0);
        b.sample(z, &[], 3.0);
        let up = b.family("up", MetricKind::Unknown, "Up.");
        b.sample(up, &[], 1.0);
        let mut out = Vec::new();
        assert_eq!(write(&mut out, &[&a, &b]), 1);
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "# HELP up Up.\n# TYPE up untyped\nup 1\n\
             # HELP z_total Last\\nof \\\\all.\n# TYPE z_total counter\n\
             z_total{a=\"\",b=\"q\\\"\\\\\\n\"} 1\nz_total 3\n"
        );
    }
}
