//! A batch of metric samples: families with their metadata, points with their labels.
//!
//! A collector appends to it without allocating per sample: all text lies in one arena.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::histogram::NativeHistogram;
use crate::prehashed::Prehashed;
use crate::{Resource, Slice, Source};

/// Prometheus' staleness marker, the value that ends a series.
pub const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The type of a metric family, as Prometheus' exposition names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MetricKind {
    /// Not known; exposition writes `untyped`.
    #[default]
    Unknown,
    Counter,
    Gauge,
    Histogram,
    Summary,
}

impl MetricKind {
    /// The word of the text exposition format.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "untyped",
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

/// What a point's series is called after its family's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Suffix {
    #[default]
    None,
    Bucket,
    Sum,
    Count,
}

impl Suffix {
    /// The text appended to the family name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Bucket => "_bucket",
            Self::Sum => "_sum",
            Self::Count => "_count",
        }
    }
}

/// Index of a family in its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FamilyId(pub u32);

/// Name and metadata that several points share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Family {
    pub name: Slice,
    pub help: Slice,
    /// As OpenMetrics names it; empty when not told.
    pub unit: Slice,
    pub kind: MetricKind,
}

/// One sample of one series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    pub family: FamilyId,
    pub suffix: Suffix,
    /// First label pair and number of pairs in the batch's pair list.
    pub labels: (u32, u32),
    /// Unix milliseconds; `None` means the batch's time.
    pub time_ms: Option<i64>,
    pub value: f64,
}

/// One native histogram of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramPoint {
    /// Where it belongs; its suffix is none and its value the number of observations.
    pub point: Point,
    /// When what it counts began, in Unix milliseconds; 0 when not known.
    pub start_ms: i64,
    pub histogram: NativeHistogram,
}

/// One observation out of those that a series counts, with the labels that lead to it (a trace id).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exemplar {
    /// The series, the time and the value observed.
    pub point: Point,
    /// Label set of its own, in the batch's pair list.
    pub labels: (u32, u32),
}

/// Samples of one source taken together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MetricBatch {
    pub source: Source,
    /// Fluent Bit's routing tag.
    pub tag: Arc<str>,
    /// `resource.labels` are added to every series; a point's own label wins.
    pub resource: Arc<Resource>,
    /// Unix milliseconds of every point that has no time of its own.
    pub time_ms: i64,
    /// As for log records.
    pub wanted_by: Option<u64>,
    text: String,
    families: Vec<Family>,
    /// The newest family by the hash of its name.
    by_name: HashMap<u64, u32, Prehashed>,
    pairs: Vec<(Slice, Slice)>,
    pub(crate) points: Vec<Point>,
    /// When what each point counts began; empty when that is known of none.
    starts: Vec<i64>,
    /// Apart from the points: they are rare, and a point stays small.
    pub(crate) histograms: Vec<HistogramPoint>,
    exemplars: Vec<Exemplar>,
}

/// A vector that was made as large as the last one doubles at the first item more.
fn with_slack(n: usize) -> usize {
    n + n / 32 + 16
}

impl MetricBatch {
    /// An empty batch.
    #[must_use]
    pub fn new(tag: Arc<str>, resource: Arc<Resource>, time_ms: i64) -> Self {
        Self {
            tag,
            resource,
            time_ms,
            ..Self::default()
        }
    }

    /// Forgets the content and keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.families.clear();
        self.by_name.clear();
        self.pairs.clear();
        self.points.clear();
        self.starts.clear();
        self.histograms.clear();
        self.exemplars.clear();
    }

    /// Starts a family, or finds the one that has this name already.
    pub fn family(&mut self, name: &str, kind: MetricKind, help: &str) -> FamilyId {
        if let Some(at) = self.by_name.get(&xxh3_64(name.as_bytes()))
            && self.text(self.families[*at as usize].name) == name
        {
            return FamilyId(*at);
        }
        self.new_family(name, kind, help)
    }

    /// Starts a family that the caller knows to be new in this batch.
    pub fn new_family(&mut self, name: &str, kind: MetricKind, help: &str) -> FamilyId {
        let family = Family {
            name: self.store(name),
            help: self.store(help),
            unit: Slice::default(),
            kind,
        };
        let id = self.families.len() as u32;
        // Two names of one hash would only make a family appear twice, which readers bear.
        self.by_name.insert(xxh3_64(name.as_bytes()), id);
        self.families.push(family);
        FamilyId(id)
    }

    /// Says in what the samples of a family are measured.
    ///
    /// # Panics
    /// When the family is not of this batch.
    pub fn set_unit(&mut self, family: FamilyId, unit: &str) {
        self.families[family.0 as usize].unit = self.store(unit);
    }

    /// Adds a sample of the batch's time. Labels need not be sorted.
    pub fn sample(&mut self, family: FamilyId, labels: &[(&str, &str)], value: f64) {
        let labels = self.label_set(labels.iter().copied());
        self.push(Point {
            family,
            suffix: Suffix::None,
            labels,
            time_ms: None,
            value,
        });
    }

    /// Stores a label set that several points may share.
    pub fn label_set<'a>(
        &mut self,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> (u32, u32) {
        let start = self.pairs.len();
        for (name, value) in labels {
            let pair = (self.store(name), self.store(value));
            self.pairs.push(pair);
        }
        (start as u32, (self.pairs.len() - start) as u32)
    }

    /// Stores a label set that begins with another of this batch: the same pairs, and further ones.
    ///
    /// # Panics
    /// When `base` is not of this batch.
    pub fn longer_label_set<'a>(
        &mut self,
        base: (u32, u32),
        further: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> (u32, u32) {
        let start = self.pairs.len() as u32;
        let (from, to) = (base.0 as usize, base.0 as usize + base.1 as usize);
        self.pairs.extend_from_within(from..to);
        let (_, n_further) = self.label_set(further);
        (start, base.1 + n_further)
    }

    /// The pairs of a label set of this batch, as they were given.
    pub fn pairs_of(&self, labels: (u32, u32)) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.pairs[labels.0 as usize..][..labels.1 as usize]
            .iter()
            .map(|&(n, v)| (self.text(n), self.text(v)))
    }

    /// Makes room for as much as another batch holds, and a little more.
    pub fn reserve_like(&mut self, other: &Self) {
        self.text.reserve(with_slack(other.text.len()));
        self.families.reserve(with_slack(other.families.len()));
        self.pairs.reserve(with_slack(other.pairs.len()));
        self.points.reserve(with_slack(other.points.len()));
    }

    /// Makes room for so many more points, and a little more.
    pub fn reserve_points(&mut self, n: usize) {
        self.points.reserve(with_slack(n));
    }

    /// A copy of the families and label sets alone, in no more memory than they need.
    #[must_use]
    pub fn without_points(&self) -> Self {
        Self {
            text: self.text.clone(),
            families: self.families.clone(),
            by_name: self.by_name.clone(),
            pairs: self.pairs.clone(),
            ..Self::default()
        }
    }

    /// Adds a point whose label set is in this batch already.
    ///
    /// # Panics
    /// When the family or the labels are not of this batch.
    pub fn push(&mut self, point: Point) {
        assert!((point.family.0 as usize) < self.families.len(), "family");
        let end = point.labels.0 as usize + point.labels.1 as usize;
        assert!(end <= self.pairs.len(), "labels");
        self.points.push(point);
        if !self.starts.is_empty() {
            self.starts.push(0);
        }
    }

    /// Adds a point with the time at which what it counts began, in Unix milliseconds; 0 when not known.
    ///
    /// # Panics
    /// When the family or the labels are not of this batch.
    pub fn push_started(&mut self, point: Point, start_ms: i64) {
        self.push(point);
        if start_ms != 0 {
            self.starts.resize(self.points.len(), 0);
        }
        if let Some(start) = self.starts.last_mut() {
            *start = start_ms;
        }
    }

    /// When what a point counts began, by the point's index; 0 when not known.
    #[must_use]
    pub fn start_of(&self, row: usize) -> i64 {
        self.starts.get(row).copied().unwrap_or(0)
    }

    /// The times at which what the points count began, in their order; empty when none is known.
    #[must_use]
    pub fn starts(&self) -> &[i64] {
        &self.starts
    }

    /// Adds an exemplar whose label sets are in this batch already.
    ///
    /// # Panics
    /// When the family or the labels are not of this batch.
    pub fn push_exemplar(&mut self, exemplar: Exemplar) {
        let family = exemplar.point.family.0 as usize;
        assert!(family < self.families.len(), "family");
        for (start, n) in [exemplar.point.labels, exemplar.labels] {
            assert!(start as usize + n as usize <= self.pairs.len(), "labels");
        }
        self.exemplars.push(exemplar);
    }

    /// All exemplars in order of arrival.
    #[must_use]
    pub fn exemplars(&self) -> &[Exemplar] {
        &self.exemplars
    }

    /// Samples of both kinds.
    #[must_use]
    pub fn n_samples(&self) -> usize {
        self.points.len() + self.histograms.len()
    }

    /// Adds a native histogram whose label set is in this batch already.
    ///
    /// # Panics
    /// When the family or the labels are not of this batch.
    pub fn push_histogram(&mut self, histogram: HistogramPoint) {
        let point = &histogram.point;
        assert!((point.family.0 as usize) < self.families.len(), "family");
        let end = point.labels.0 as usize + point.labels.1 as usize;
        assert!(end <= self.pairs.len(), "labels");
        self.histograms.push(histogram);
    }

    /// All native histograms in order of arrival.
    #[must_use]
    pub fn histograms(&self) -> &[HistogramPoint] {
        &self.histograms
    }

    /// All points, and then all native histograms with theirs.
    pub fn samples(&self) -> impl Iterator<Item = (&Point, Option<&NativeHistogram>)> {
        let histograms = self.histograms.iter();
        let histograms = histograms.map(|h| (&h.point, Some(&h.histogram)));
        self.points.iter().map(|p| (p, None)).chain(histograms)
    }

    /// Adds a point, or a native histogram.
    ///
    /// # Panics
    /// When the family or the labels are not of this batch.
    pub fn push_sample(&mut self, point: Point, histogram: Option<NativeHistogram>) {
        match histogram {
            None => self.push(point),
            Some(histogram) => self.push_histogram(HistogramPoint {
                point,
                start_ms: 0,
                histogram,
            }),
        }
    }

    /// The batch with classic histograms (`_bucket`, `_sum`, `_count`) in place of native ones, for readers that know
    /// no others.
    #[must_use]
    pub fn with_classic_histograms(&self) -> Cow<'_, Self> {
        if self.histograms.is_empty() {
            return Cow::Borrowed(self);
        }
        let mut batch = self.clone();
        for one in std::mem::take(&mut batch.histograms) {
            let (point, histogram) = (one.point, one.histogram);
            let is_end = histogram.sum.to_bits() == STALE_BITS;
            let shown = |value: f64| if is_end { histogram.sum } else { value };
            let put = |batch: &mut Self, suffix, labels, value: f64| {
                batch.push(Point {
                    suffix,
                    labels,
                    value: shown(value),
                    ..point
                });
            };
            let total = (f64::INFINITY, histogram.count());
            for (bound, count) in histogram.classic_buckets().into_iter().chain([total]) {
                let bound = match bound.is_infinite() {
                    true => "+Inf".to_owned(),
                    false => bound.to_string(),
                };
                let own = self.labels_of(&point);
                let labels = batch.label_set(own.chain([("le", bound.as_str())]));
                put(&mut batch, Suffix::Bucket, labels, count);
            }
            put(&mut batch, Suffix::Sum, point.labels, histogram.sum);
            put(&mut batch, Suffix::Count, point.labels, histogram.count());
        }
        Cow::Owned(batch)
    }

    fn store(&mut self, text: &str) -> Slice {
        let start = u32::try_from(self.text.len()).expect("metric text stays below 4 GiB");
        self.text.push_str(text);
        Slice {
            start,
            len: text.len() as u32,
        }
    }

    /// The text of a slice.
    #[must_use]
    pub fn text(&self, slice: Slice) -> &str {
        &self.text[slice.start as usize..][..slice.len as usize]
    }

    /// All families in order of first appearance.
    #[must_use]
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// The family of a point.
    #[must_use]
    pub fn family_of(&self, point: &Point) -> &Family {
        &self.families[point.family.0 as usize]
    }

    /// Keeps the points for which `keep` is true.
    pub fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        let mut row = 0;
        let starts = std::mem::take(&mut self.starts);
        let mut kept_starts = Vec::with_capacity(starts.len());
        self.points.retain(|_| {
            row += 1;
            let is_kept = keep(row - 1);
            if is_kept {
                kept_starts.extend(starts.get(row - 1));
            }
            is_kept
        });
        self.starts = kept_starts;
    }

    /// Keeps the native histograms for which `keep` is true.
    pub fn retain_histograms(&mut self, mut keep: impl FnMut(usize) -> bool) {
        let mut row = 0;
        self.histograms.retain(|_| {
            row += 1;
            keep(row - 1)
        });
    }

    /// All label pairs, of whatever label set.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.pairs.iter();
        pairs.map(|&(name, value)| (self.text(name), self.text(value)))
    }

    /// Whether another batch has the same families and label sets in the same places.
    #[must_use]
    pub fn has_names_of(&self, other: &Self) -> bool {
        self.text == other.text && self.families == other.families && self.pairs == other.pairs
    }

    /// Whether another batch has the same families and series in the same places, so that they differ in
    /// values only. Native histograms are not looked at.
    #[must_use]
    pub fn has_series_of(&self, other: &Self) -> bool {
        let place = |p: &Point| (p.family, p.suffix, p.labels, p.time_ms);
        self.points.len() == other.points.len()
            && self.has_names_of(other)
            && (self.points.iter().map(place)).eq(other.points.iter().map(place))
    }

    /// Takes the times of their own from all points.
    pub fn forget_times(&mut self) {
        let of_histograms = self.histograms.iter_mut().map(|h| &mut h.point);
        let all = self.points.iter_mut().chain(of_histograms);
        all.for_each(|p| p.time_ms = None);
    }

    /// All points in order of arrival.
    #[must_use]
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// The label pairs of a point, as given (not sorted, without the metric name).
    pub fn labels_of(&self, point: &Point) -> impl Iterator<Item = (&str, &str)> {
        self.pairs_of(point.labels)
    }

    /// The time of a point in Unix milliseconds.
    #[must_use]
    pub fn time_of(&self, point: &Point) -> i64 {
        point.time_ms.unwrap_or(self.time_ms)
    }

    /// Whole series labels of a point: resource labels, its own, and `__name__` with the suffix.
    #[must_use]
    pub fn series_of(&self, point: &Point) -> crate::Labels {
        let name = self.text(self.family_of(point).name);
        let full_name;
        let name = if point.suffix == Suffix::None {
            name
        } else {
            full_name = format!("{name}{}", point.suffix.as_str());
            &full_name
        };
        // `from_pairs` keeps the last of a repeated name, so the weaker labels come first.
        crate::Labels::from_pairs(
            self.resource
                .labels
                .iter()
                .chain(self.labels_of(point))
                .chain([(crate::labels::METRIC_NAME, name)]),
        )
    }

    /// Bytes of memory held, roughly.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.text.len()
            + self.pairs.len() * 16
            + self.points.len() * 48
            + self.starts.len() * 8
            + self.exemplars.len() * 64
            + self.families.len() * 24
            + self
                .histograms
                .iter()
                .map(|h| h.histogram.size_bytes())
                .sum::<usize>()
    }

    /// Appends all families and points of `other` (its resource labels are not carried over).
    pub fn extend(&mut self, other: &Self) {
        for (index, family) in other.families.iter().enumerate() {
            let id = self.family(
                other.text(family.name),
                family.kind,
                other.text(family.help),
            );
            for (row, point) in other.points.iter().enumerate() {
                if point.family.0 as usize != index {
                    continue;
                }
                let point = Point {
                    family: id,
                    labels: self.label_set(other.labels_of(point)),
                    ..*point
                };
                self.push_started(point, other.start_of(row));
            }
            if other.text(family.unit) != self.text(self.families[id.0 as usize].unit) {
                self.set_unit(id, other.text(family.unit));
            }
            let own = other.histograms.iter();
            for one in own.filter(|h| h.point.family.0 as usize == index) {
                let labels = self.label_set(other.labels_of(&one.point));
                let point = Point {
                    family: id,
                    labels,
                    ..one.point
                };
                self.push_histogram(HistogramPoint {
                    point,
                    ..one.clone()
                });
            }
            let own = other.exemplars.iter();
            for one in own.filter(|e| e.point.family.0 as usize == index) {
                let point = Point {
                    family: id,
                    labels: self.label_set(other.labels_of(&one.point)),
                    ..one.point
                };
                let labels = self.label_set(other.pairs_of(one.labels));
                self.push_exemplar(Exemplar { point, labels });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Labels;

    #[test]
    fn a_series_has_resource_labels_its_own_and_a_name() {
        let resource = Resource {
            labels: Labels::from_pairs([("node", "n1"), ("mode", "weak")]),
            ..Default::default()
        };
        let mut b = MetricBatch::new("m".into(), Arc::new(resource), 7);
        let f = b.family("cpu_seconds_total", MetricKind::Counter, "help");
        b.sample(f, &[("mode", "idle")], 1.5);
        assert_eq!(b.family("cpu_seconds_total", MetricKind::Counter, ""), f);
        let p = b.points()[0];
        assert_eq!(
            b.series_of(&p),
            Labels::from_pairs([
                ("__name__", "cpu_seconds_total"),
                ("mode", "idle"),
                ("node", "n1")
            ])
        );
        assert_eq!((b.time_of(&p), p.value), (7, 1.5));
    }

    #[test]
    fn native_histograms_can_be_shown_as_classic_ones() {
        use crate::histogram::{Counts, Span};
        let mut b = MetricBatch::new("m".into(), Arc::default(), 7);
        let family = b.family("h", MetricKind::Histogram, "");
        let labels = b.label_set([("a", "1")]);
        let mut histogram = NativeHistogram {
            positive_spans: vec![Span {
                offset: 1,
                length: 2,
            }],
            counts: Counts::Integer {
                count: 5,
                zero: 0,
                negative: Vec::new(),
                positive: vec![2, 1],
            },
            ..NativeHistogram::empty(9.0)
        };
        let point = Point {
            family,
            suffix: Suffix::None,
            labels,
            time_ms: None,
            value: 5.0,
        };
        let lines = |b: &MetricBatch| -> Vec<String> {
            let shown = b.with_classic_histograms();
            let line = |p: &Point| format!("{} {}", shown.series_of(p), p.value);
            shown.points().iter().map(line).collect()
        };
        b.push_histogram(HistogramPoint {
            point,
            start_ms: 0,
            histogram: histogram.clone(),
        });
        let expected = [
            r#"{__name__="h_bucket", a="1", le="2"} 2"#,
            r#"{__name__="h_bucket", a="1", le="4"} 5"#,
            r#"{__name__="h_bucket", a="1", le="+Inf"} 5"#,
            r#"{__name__="h_sum", a="1"} 9"#,
            r#"{__name__="h_count", a="1"} 5"#,
        ];
        assert_eq!(lines(&b), expected);
        let mut copy = MetricBatch::default();
        copy.extend(&b);
        assert_eq!(lines(&copy), expected);
        b.clear();
        assert!(lines(&b).is_empty());
        histogram.sum = f64::from_bits(STALE_BITS);
        let family = b.family("h", MetricKind::Histogram, "");
        let labels = b.label_set([]);
        let point = Point {
            family,
            labels,
            ..point
        };
        b.push_sample(point, Some(histogram));
        let shown = b.with_classic_histograms();
        assert_eq!(shown.points().len(), 5);
        assert!(
            shown
                .points()
                .iter()
                .all(|p| p.value.to_bits() == STALE_BITS)
        );
    }
}
