//! Any bytes as a list or an event of the API, read as objects of every kind: a push has what a scrape
//! has, every series of it is ended once its object is gone, and every name is one of Prometheus'. The
//! same bytes as a quantity, a schedule and a list of keys.
#![no_main]

use std::collections::BTreeSet;

use kansoku_agent::kube_state::fuzzing::{Quantity, key_lists, kube_state, next_time};
use kansoku_model::{Labels, MetricBatch};

const STALE: f64 = -1.5;
/// Before a night in which clocks are put forward.
const NOW_S: i64 = 1_774_738_770;

fn series(batch: &MetricBatch) -> BTreeSet<Labels> {
    let of_point = |point| {
        for (name, _) in batch.labels_of(point) {
            let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_';
            assert!(name.starts_with(is_letter), "{name}");
            assert!(
                name.chars().all(|c| is_letter(c) || c.is_ascii_digit()),
                "{name}"
            );
        }
        batch.series_of(point)
    };
    batch.points().iter().map(of_point).collect()
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for [all, pushed, gone] in kube_state(bytes, STALE) {
        assert_eq!(series(&all), series(&pushed));
        assert_eq!(series(&all), series(&gone));
        assert!(gone.points().iter().all(|p| p.value == STALE));
        assert!(all.points().iter().all(|p| !p.value.is_nan()));
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Some(quantity) = Quantity::parse(text) {
        let (whole, milli) = (quantity.whole().abs(), quantity.milli().abs());
        assert!(
            milli <= whole && whole < milli + 1.0 || whole > 1e15,
            "{milli} {whole}"
        );
    }
    for zone in [None, Some("Europe/Berlin")] {
        assert!(next_time(text, zone, NOW_S).is_none_or(|next_s| next_s > NOW_S));
    }
    let _ = key_lists(text);
});
