//! Histograms and start times: what was acknowledged comes back bit for bit out of WAL, head, parts
//! and merges.

use std::sync::Arc;

use kansoku_model::histogram::NativeHistogram;
use kansoku_model::metric::{Exemplar, HistogramPoint, Point};
use kansoku_model::{Labels, MetricBatch, MetricKind, SeriesSource, Suffix};

use super::open;
use crate::testing::{Random, T0_MS, any_histogram, metric_in};
use crate::{
    DeleteKind, DeleteRequest, Incoming, Options, SampleWriter, Selector, Snapshot, Store,
};

/// One batch: a histogram of each of `n` series, or floats in their place now and then.
fn batch(random: &mut Random, n: usize, time_ms: i64) -> MetricBatch {
    let mut b = MetricBatch::new("m".into(), Arc::default(), time_ms);
    let family = b.family("h", MetricKind::Histogram, "help");
    for i in 0..n {
        let point = Point {
            family,
            suffix: Suffix::None,
            labels: b.label_set([("i", i.to_string().as_str())]),
            time_ms: None,
            value: f64::from_bits(random.next()),
        };
        let start_ms = time_ms - 1000 * random.below(3) as i64;
        if random.below(5) == 0 {
            b.push_started(point, start_ms);
        } else {
            b.push_histogram(HistogramPoint {
                point,
                start_ms,
                histogram: any_histogram(random),
            });
        }
    }
    b
}

/// Every sample with all its bits, as text.
fn all(snapshot: &Snapshot) -> Vec<String> {
    let found = SeriesSource::select(snapshot, &[], i64::MIN, i64::MAX, usize::MAX).unwrap();
    let mut lines = Vec::new();
    for series in &found {
        assert!(series.times.windows(2).all(|w| w[0] < w[1]));
        for (row, time_ms) in series.times.iter().enumerate() {
            let histogram = series.histograms.get(row).and_then(Option::as_ref);
            let shown = match histogram {
                None => format!("{:016x}", series.values[row].to_bits()),
                Some(histogram) => {
                    let mut bytes = Vec::new();
                    kansoku_model::frame::put_histogram(&mut bytes, histogram);
                    format!("{bytes:?}")
                }
            };
            let start_ms = series.starts.get(row).copied().unwrap_or(0);
            lines.push(format!("{} {time_ms} {start_ms} {shown}", series.labels));
        }
    }
    lines.sort();
    assert!(snapshot.warnings().is_empty());
    lines
}

/// What a batch gives, as `all` shows it; later ones of a time count.
fn expect(expected: &mut std::collections::BTreeMap<String, String>, b: &MetricBatch) {
    for (row, point) in b.points().iter().enumerate() {
        let key = format!("{} {}", b.series_of(point), b.time_of(point));
        let value = format!("{} {:016x}", b.start_of(row), point.value.to_bits());
        expected.insert(key, value);
    }
    for h in b.histograms() {
        let key = format!("{} {}", b.series_of(&h.point), b.time_of(&h.point));
        let mut bytes = Vec::new();
        kansoku_model::frame::put_histogram(&mut bytes, &h.histogram);
        expected.insert(key, format!("{} {bytes:?}", h.start_ms));
    }
}

fn lines(expected: &std::collections::BTreeMap<String, String>) -> Vec<String> {
    let mut lines: Vec<String> = expected.iter().map(|(k, v)| format!("{k} {v}")).collect();
    lines.sort();
    lines
}

#[test]
fn they_come_back_out_of_wal_head_parts_and_merges() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    let (mut random, mut expected) = (Random(21), std::collections::BTreeMap::new());
    for round in 0..24i64 {
        // Some come late, some repeat a time with other content.
        let time_ms = T0_MS + 15_000 * (round - random.below(3) as i64);
        let b = batch(&mut random, 4, time_ms);
        expect(&mut expected, &b);
        store.append(metric_in(b)).unwrap();
        match round % 6 {
            2 => drop(store.flush().unwrap()),
            4 => {
                // As after a crash: what was acknowledged lies in the WAL only.
                drop(store);
                let (opened, recovery) = open(dir.path());
                assert!(recovery.damaged.is_empty());
                store = opened;
            }
            _ => {}
        }
        assert_eq!(all(&store.snapshot()), lines(&expected), "round {round}");
    }
    store.flush().unwrap();
    assert_eq!(all(&store.snapshot()), lines(&expected));
    while !store.maintain(T0_MS).unwrap().is_idle() {}
    assert!(store.stats().merges > 0);
    assert_eq!(all(&store.snapshot()), lines(&expected));
    drop(store);
    let checked = crate::check(dir.path(), |_, _| Err("none".into())).unwrap();
    assert_eq!(checked.damaged, Vec::new());
    assert_eq!(checked.samples as usize, expected.len());
}

#[test]
fn start_times_of_samples_by_reference_survive_a_crash_and_a_flush() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let table = store.series();
    let mut writer = SampleWriter::new(&table);
    let labels = Labels::from_pairs([("__name__", "c_total")]);
    let series = writer.define(b"c", labels).unwrap();
    writer.push(series, T0_MS, 1.0);
    writer.push_started(series, T0_MS + 15_000, 2.0, T0_MS - 7);
    writer.push(series, T0_MS + 30_000, 3.0);
    store
        .append(vec![Incoming::Samples(writer.finish())])
        .unwrap();
    let starts = |store: &Store| {
        let got = SeriesSource::select(&store.snapshot(), &[], 0, i64::MAX, 9).unwrap();
        (got[0].values.clone(), got[0].starts.clone())
    };
    let expected = (vec![1.0, 2.0, 3.0], vec![0, T0_MS - 7, 0]);
    assert_eq!(starts(&store), expected);
    drop(store);
    let (store, _) = open(dir.path());
    assert_eq!(starts(&store), expected);
    store.flush().unwrap();
    assert_eq!(starts(&store), expected);
}

#[test]
fn a_delete_takes_histograms_and_a_query_counts_their_size() {
    let dir = tempfile::tempdir().unwrap();
    let parse = |_, text: &str| {
        let matchers = vec![kansoku_model::Matcher::equal("i", text)];
        Ok(Selector {
            matchers,
            lines: None,
        })
    };
    let options = Options {
        parse_selector: parse,
        ..crate::testing::options(dir.path())
    };
    let (store, _) = Store::open(options).unwrap();
    let mut random = Random(2);
    for round in 0..6 {
        let b = batch(&mut random, 2, T0_MS + round * 1000);
        store.append(metric_in(b)).unwrap();
    }
    let taken = SeriesSource::select(&store.snapshot(), &[], i64::MIN, i64::MAX, 12);
    assert!(
        taken.is_err(),
        "12 samples, but they are larger than floats"
    );
    let request = DeleteRequest {
        id: "d".into(),
        kind: DeleteKind::Samples,
        selector: "1".into(),
        from: T0_MS,
        to: T0_MS + 2000,
        now_ms: T0_MS,
        can_be_cancelled: false,
    };
    store.delete(request).unwrap();
    let left = all(&store.snapshot());
    assert_eq!(left.len(), 9);
    while !store.maintain(T0_MS).unwrap().is_idle() {}
    assert_eq!(all(&store.snapshot()), left);
}

#[test]
fn a_scraped_histogram_takes_little_room() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut counts = vec![0i64; 40];
    let mut random = Random(5);
    for round in 0..240i64 {
        for _ in 0..20 {
            counts[(random.below(20) + random.below(20)) as usize] += 1;
        }
        let mut b = MetricBatch::new("m".into(), Arc::default(), T0_MS + round * 15_000);
        let family = b.family("h", MetricKind::Histogram, "");
        let labels = b.label_set([]);
        let mut last = 0;
        let positive = counts.iter().map(|c| c - std::mem::replace(&mut last, *c));
        let histogram = NativeHistogram {
            schema: 3,
            positive_spans: vec![kansoku_model::histogram::Span {
                offset: 0,
                length: 40,
            }],
            counts: kansoku_model::histogram::Counts::Integer {
                count: counts.iter().sum::<i64>() as u64,
                zero: 0,
                negative: Vec::new(),
                positive: positive.collect(),
            },
            ..NativeHistogram::empty(round as f64 / 8.0)
        };
        let point = Point {
            family,
            suffix: Suffix::None,
            labels,
            time_ms: None,
            value: 0.0,
        };
        b.push_sample(point, Some(histogram));
        store.append(metric_in(b)).unwrap();
    }
    let in_head = store.stats().head_bytes;
    assert!(in_head < 240 * 110, "{in_head}");
    store.flush().unwrap();
    let on_disk = store.stats().disk_bytes;
    // 40 buckets, of which about 15 changed since the scrape before.
    assert!(on_disk < 240 * 20, "{on_disk}");
}

#[test]
fn exemplars_and_units_survive_a_crash_and_a_flush() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    for round in 0..3i64 {
        let mut b = MetricBatch::new("m".into(), Arc::default(), T0_MS + round);
        let family = b.family("h", MetricKind::Histogram, "");
        b.set_unit(family, "seconds");
        let point = Point {
            family,
            suffix: Suffix::Bucket,
            labels: b.label_set([("le", "1")]),
            time_ms: None,
            value: 0.5,
        };
        let labels = b.label_set([("trace_id", round.to_string().as_str())]);
        b.push_exemplar(Exemplar { point, labels });
        // The second request has an exemplar and nothing else.
        if round != 1 {
            b.push(point);
        }
        store.append(metric_in(b)).unwrap();
        if round == 0 {
            store.flush().unwrap();
        }
        drop(store);
        store = open(dir.path()).0;
    }
    let any = vec![vec![kansoku_model::Matcher::equal("__name__", "h_bucket")]];
    let found = store.snapshot().exemplars(&any, T0_MS, T0_MS + 9);
    let [one] = &found[..] else {
        panic!("exemplars of one series: {found:?}");
    };
    let ids: Vec<_> = one
        .exemplars
        .iter()
        .map(|e| e.labels.get("trace_id"))
        .collect();
    assert_eq!(ids, [Some("0"), Some("1"), Some("2")]);
    assert_eq!(
        store.snapshot().metric_metadata().expect("all")[0].unit,
        "seconds"
    );
}
