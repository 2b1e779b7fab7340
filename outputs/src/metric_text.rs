//! Metrics as Fluent Bit's outputs print them: `TIME NAME{labels} = VALUE`, a line a sample.

use jiff::Timestamp;
use kansoku_model::MetricBatch;

/// Appends all samples of a batch.
pub fn write(out: &mut Vec<u8>, batch: &MetricBatch) {
    let batch = &*batch.with_classic_histograms();
    for point in batch.points() {
        let time = Timestamp::from_millisecond(batch.time_of(point)).unwrap_or_default();
        let family = batch.family_of(point);
        let mut line = format!(
            "{} {}{}",
            time.strftime("%Y-%m-%dT%H:%M:%S.%9fZ"),
            batch.text(family.name),
            point.suffix.as_str()
        );
        let mut open = false;
        for (name, value) in batch.labels_of(point) {
            line.push(if open { ',' } else { '{' });
            open = true;
            line.push_str(name);
            line.push_str("=\"");
            line.push_str(
                &value
                    .replace('\\', "\\\\")
                    .replace('"', "\\\"")
                    .replace('\n', "\\n"),
            );
            line.push('"');
        }
        if open {
            line.push('}');
        }
        line.push_str(&format!(" = {}\n", general_17(point.value)));
        out.extend_from_slice(line.as_bytes());
    }
}

/// C's `%.17g`.
fn general_17(value: f64) -> String {
    if !value.is_finite() {
        return match (value.is_nan(), value > 0.0) {
            (true, _) => "nan".into(),
            (_, true) => "inf".into(),
            _ => "-inf".into(),
        };
    }
    let scientific = format!("{value:.16e}");
    let (mantissa, exponent) = scientific
        .split_once('e')
        .expect("scientific form has an e");
    let exponent: i32 = exponent.parse().expect("exponent is a number");
    let trim = |text: &str| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    if (-4..17).contains(&exponent) {
        trim(&format!("{value:.*}", (16 - exponent) as usize))
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", trim(mantissa), exponent.abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kansoku_model::MetricKind;

    #[test]
    fn numbers_look_like_printf() {
        let cases = [
            (0.0, "0"),
            (1.0, "1"),
            (0.1, "0.10000000000000001"),
            (1234567.5, "1234567.5"),
            (1e300, "1.0000000000000001e+300"),
            (1e-7, "9.9999999999999995e-08"),
            (-0.5, "-0.5"),
            (f64::NAN, "nan"),
        ];
        for (value, text) in cases {
            assert_eq!(general_17(value), text);
        }
    }

    #[test]
    fn a_line_has_time_name_labels_and_value() {
        let mut b = MetricBatch::new("m".into(), Default::default(), 1_700_000_000_123);
        let f = b.family("node_load1", MetricKind::Gauge, "1m load average.");
        b.sample(f, &[], 0.5);
        b.sample(f, &[("a", "x\"y"), ("b", "1")], 2.0);
        let mut out = Vec::new();
        write(&mut out, &b);
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "2023-11-14T22:13:20.123000000Z node_load1 = 0.5\n\
             2023-11-14T22:13:20.123000000Z node_load1{a=\"x\\\"y\",b=\"1\"} = 2\n"
        );
    }
}
