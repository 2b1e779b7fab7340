//! Metrics as OTLP: gauges, cumulative sums, explicit histograms, summaries.
//!
//! Points that are parts of one histogram or summary are put together again by their labels.

use std::collections::HashMap;

use kansoku_model::metric::Point;
use kansoku_model::{Labels, MetricBatch, MetricKind, Suffix};

use super::logs::write_resource;
use super::value::write_text_pair;
use kansoku_model::protobuf as proto;

const CUMULATIVE: u64 = 2;

/// Appends a batch as one `ResourceMetrics`.
pub fn write(out: &mut Vec<u8>, batch: &MetricBatch, added: &[(String, String)]) {
    let batch = &*batch.with_classic_histograms();
    let mut by_family: Vec<Vec<&Point>> = vec![Vec::new(); batch.families().len()];
    for point in batch.points() {
        by_family[point.family.0 as usize].push(point);
    }
    proto::message(out, 1, |out| {
        proto::message(out, 1, |out| write_resource(out, &batch.resource, &[]));
        proto::message(out, 2, |out| {
            proto::message(out, 1, |_| {});
            for (family, points) in batch.families().iter().zip(&by_family) {
                if points.is_empty() {
                    continue;
                }
                proto::message(out, 2, |out| {
                    proto::bytes(out, 1, batch.text(family.name).as_bytes());
                    proto::bytes(out, 2, batch.text(family.help).as_bytes());
                    let write = Writer { batch, added };
                    match family.kind {
                        MetricKind::Counter => write.sum(out, points),
                        MetricKind::Gauge | MetricKind::Unknown => write.gauge(out, points),
                        MetricKind::Histogram => write.histogram(out, points),
                        MetricKind::Summary => write.summary(out, points),
                    }
                });
            }
        });
    });
}

struct Writer<'a> {
    batch: &'a MetricBatch,
    added: &'a [(String, String)],
}

/// The points that share all labels but the one that tells them apart.
#[derive(Default)]
struct Group<'a> {
    time_ms: i64,
    sum: f64,
    count: f64,
    /// Bound or quantile, and value.
    parts: Vec<(f64, f64)>,
    labels: Vec<(&'a str, &'a str)>,
}

impl<'a> Writer<'a> {
    fn labels(&self, out: &mut Vec<u8>, field: u32, labels: &[(&str, &str)]) {
        for (name, value) in labels {
            write_text_pair(out, field, name, value);
        }
        for (name, value) in self.added {
            if labels.iter().all(|(l, _)| l != name) {
                write_text_pair(out, field, name, value);
            }
        }
    }

    /// The labels of a point with its resource's, the point's own first.
    fn labels_of(&self, point: &'a Point) -> Vec<(&'a str, &'a str)> {
        let mut labels: Vec<(&str, &str)> = self.batch.labels_of(point).collect();
        for (name, value) in &self.batch.resource.labels {
            if labels.iter().all(|(l, _)| *l != name) {
                labels.push((name, value));
            }
        }
        labels
    }

    fn numbers(&self, out: &mut Vec<u8>, points: &[&'a Point]) {
        for point in points {
            proto::message(out, 1, |out| {
                proto::fixed64(out, 3, nanos(self.batch.time_of(point)));
                proto::double(out, 4, point.value);
                self.labels(out, 7, &self.labels_of(point));
            });
        }
    }

    fn gauge(&self, out: &mut Vec<u8>, points: &[&'a Point]) {
        proto::message(out, 5, |out| self.numbers(out, points));
    }

    fn sum(&self, out: &mut Vec<u8>, points: &[&'a Point]) {
        proto::message(out, 7, |out| {
            self.numbers(out, points);
            proto::int(out, 2, CUMULATIVE);
            proto::int(out, 3, 1);
        });
    }

    /// Groups by the labels without `apart`, in order of appearance.
    fn groups(&self, points: &[&'a Point], apart: &str) -> Vec<Group<'a>> {
        let mut index: HashMap<Labels, usize> = HashMap::new();
        let mut groups: Vec<Group<'a>> = Vec::new();
        for point in points {
            let mut labels = self.labels_of(point);
            let part = labels
                .iter()
                .position(|(name, _)| *name == apart)
                .map(|at| labels.remove(at).1);
            let key = Labels::from_pairs(labels.iter().copied());
            let at = *index.entry(key).or_insert_with(|| {
                groups.push(Group {
                    labels,
                    ..Group::default()
                });
                groups.len() - 1
            });
            let group = &mut groups[at];
            group.time_ms = self.batch.time_of(point);
            match (point.suffix, part) {
                (Suffix::Sum, _) => group.sum = point.value,
                (Suffix::Count, _) => group.count = point.value,
                (_, Some(part)) => {
                    let part = match part {
                        "+Inf" => f64::INFINITY,
                        text => text.parse().unwrap_or(f64::NAN),
                    };
                    group.parts.push((part, point.value));
                }
                (_, None) => {}
            }
        }
        groups
    }

    fn histogram(&self, out: &mut Vec<u8>, points: &[&'a Point]) {
        proto::message(out, 9, |out| {
            for mut group in self.groups(points, "le") {
                group.parts.retain(|(bound, _)| !bound.is_nan());
                group.parts.sort_by(|a, b| a.0.total_cmp(&b.0));
                let last = group.parts.last().map_or(0.0, |(_, n)| *n);
                let count = if group.count == 0.0 {
                    last
                } else {
                    group.count
                };
                if group
                    .parts
                    .last()
                    .is_none_or(|(bound, _)| bound.is_finite())
                {
                    group.parts.push((f64::INFINITY, count));
                }
                proto::message(out, 1, |out| {
                    proto::fixed64(out, 3, nanos(group.time_ms));
                    proto::fixed64(out, 4, count as u64);
                    proto::double(out, 5, group.sum);
                    proto::message(out, 6, |out| {
                        let mut below = 0.0;
                        for (_, n) in &group.parts {
                            out.extend_from_slice(&((n - below).max(0.0) as u64).to_le_bytes());
                            below = *n;
                        }
                    });
                    proto::message(out, 7, |out| {
                        for (bound, _) in group.parts.iter().filter(|(b, _)| b.is_finite()) {
                            out.extend_from_slice(&bound.to_le_bytes());
                        }
                    });
                    self.labels(out, 9, &group.labels);
                });
            }
            proto::int(out, 2, CUMULATIVE);
        });
    }

    fn summary(&self, out: &mut Vec<u8>, points: &[&'a Point]) {
        proto::message(out, 11, |out| {
            for group in self.groups(points, "quantile") {
                proto::message(out, 1, |out| {
                    proto::fixed64(out, 3, nanos(group.time_ms));
                    proto::fixed64(out, 4, group.count as u64);
                    proto::double(out, 5, group.sum);
                    for (quantile, value) in &group.parts {
                        proto::message(out, 6, |out| {
                            proto::double(out, 1, *quantile);
                            proto::double(out, 2, *value);
                        });
                    }
                    self.labels(out, 7, &group.labels);
                });
            }
        });
    }
}

fn nanos(time_ms: i64) -> u64 {
    time_ms.saturating_mul(1_000_000) as u64
}
