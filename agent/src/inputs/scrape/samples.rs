//! From a page to a target's samples: its labels, relabelling of the metrics, and limits.
//!
//! Source: Prometheus, `scrape/scrape.go` (`mutateSampleLabels`, `verifyLabelLimits`). A page that breaks a limit gives no samples at
//! all, as there: `up` is 0, and what is told says which limit it was.

use kansoku_model::histogram::NativeHistogram;
use kansoku_model::labels::METRIC_NAME;
use kansoku_model::metric::Point;
use kansoku_model::{FamilyId, Labels, MetricBatch, MetricKind, Suffix};

use super::label_set::LabelSet;
use super::relabel::{Rule, relabel};

/// The start of a text that a message may hold.
const SHOWN_CHARS: usize = 50;

/// What becomes of the samples of an input's pages; 0 is no limit.
#[derive(Debug, Clone, Default)]
pub struct Handling {
    pub honor_labels: bool,
    pub honor_timestamps: bool,
    pub rules: Vec<Rule>,
    pub sample_limit: usize,
    pub label_limit: usize,
    pub label_name_length_limit: usize,
    pub label_value_length_limit: usize,
}

/// A page's samples.
#[derive(Debug)]
pub struct Taken {
    /// Empty when a limit was broken.
    pub batch: MetricBatch,
    pub n_scraped: usize,
    /// How many relabelling left.
    pub n_relabelled: usize,
    /// Why the page counts as failed.
    pub failure: Option<String>,
}

impl Handling {
    /// Gives the samples of a page the labels of their target, which are those of the page's resource.
    #[must_use]
    pub fn take(&self, mut page: MetricBatch) -> Taken {
        if !self.honor_timestamps {
            page.forget_times();
        }
        let resource = page.resource.clone();
        let target = &resource.labels;
        let n_scraped = page.points().len() + page.histograms().len();
        if !self.must_look_at_each(&page, target) {
            let failure = (self.sample_limit > 0 && n_scraped > self.sample_limit)
                .then(|| self.too_many(n_scraped));
            if failure.is_some() {
                page.clear();
            }
            return Taken {
                batch: page,
                n_scraped,
                n_relabelled: n_scraped,
                failure,
            };
        }
        let mut taken = Taken {
            batch: MetricBatch::new(page.tag.clone(), resource.clone(), page.time_ms),
            n_scraped,
            n_relabelled: 0,
            failure: None,
        };
        let mut labels = LabelSet::default();
        for (point, histogram) in page.samples() {
            self.label(&page, point, target, &mut labels);
            if !relabel(&self.rules, &mut labels) || labels.is_empty() {
                continue;
            }
            if let Err(why) = self.check(&labels) {
                taken.failure = Some(why);
                break;
            }
            taken.n_relabelled += 1;
            if self.sample_limit == 0 || taken.n_relabelled <= self.sample_limit {
                put(&mut taken.batch, &page, (point, histogram), target, &labels);
            }
        }
        if taken.failure.is_none()
            && self.sample_limit > 0
            && taken.n_relabelled > self.sample_limit
        {
            taken.failure = Some(self.too_many(taken.n_relabelled));
        }
        if taken.failure.is_some() {
            taken.batch.clear();
        }
        taken
    }

    /// Without rules and limits a batch's labels are added to every series anyway, except where the page
    /// has one of their names and must not have it.
    fn must_look_at_each(&self, page: &MetricBatch, target: &Labels) -> bool {
        let has_limits = self.label_limit > 0
            || self.label_name_length_limit > 0
            || self.label_value_length_limit > 0;
        let is_own = |point: &Point| {
            page.labels_of(point)
                .any(|(name, _)| target.get(name).is_some())
        };
        has_limits
            || !self.rules.is_empty()
            || (!self.honor_labels && page.samples().any(|(point, _)| is_own(point)))
    }

    /// The labels of a point with its target's, and its name.
    fn label(&self, page: &MetricBatch, point: &Point, target: &Labels, labels: &mut LabelSet) {
        labels.clear();
        for (name, value) in page.labels_of(point) {
            labels.set(name, value);
        }
        if self.honor_labels {
            for (name, value) in target {
                // Also one without a value keeps the target's away.
                if !page.labels_of(point).any(|(own, _)| own == name) {
                    labels.set(name, value);
                }
            }
        } else {
            let mut conflicts: Vec<(&str, String)> = Vec::new();
            for (name, value) in target {
                let existing = labels.get(name);
                if !existing.is_empty() {
                    conflicts.push((name, existing.to_owned()));
                }
                labels.set(name, value);
            }
            conflicts.sort_by_key(|(name, _)| name.len());
            for (name, value) in conflicts {
                let mut free = format!("exported_{name}");
                while !labels.get(&free).is_empty() {
                    free.insert_str(0, "exported_");
                }
                labels.set(&free, value);
            }
        }
        let name = page.text(page.family_of(point).name);
        labels.set(METRIC_NAME, format!("{name}{}", point.suffix.as_str()));
    }

    fn check(&self, labels: &LabelSet) -> Result<(), String> {
        let metric = shown(labels.get(METRIC_NAME));
        if metric.is_empty() {
            return Err("metric_relabel_configs left a sample without a name".into());
        }
        let (n, limit) = (labels.len(), self.label_limit);
        if limit > 0 && n > limit {
            return Err(format!(
                "label_limit exceeded (metric: {metric}, number of labels: {n}, limit: {limit})"
            ));
        }
        for (name, value) in labels.iter() {
            let (length, limit) = (name.len(), self.label_name_length_limit);
            if limit > 0 && length > limit {
                let name = shown(name);
                return Err(format!(
                    "label_name_length_limit exceeded (metric: {metric}, label name: {name}, length: {length}, limit: {limit})"
                ));
            }
            let (length, limit) = (value.len(), self.label_value_length_limit);
            if limit > 0 && length > limit {
                let (name, value) = (shown(name), shown(value));
                return Err(format!(
                    "label_value_length_limit exceeded (metric: {metric}, label name: {name}, value: {value:?}, length: {length}, limit: {limit})"
                ));
            }
        }
        Ok(())
    }

    fn too_many(&self, n: usize) -> String {
        let limit = self.sample_limit;
        format!("sample_limit exceeded (samples: {n}, limit: {limit})")
    }
}

fn shown(text: &str) -> &str {
    let end = text.char_indices().nth(SHOWN_CHARS);
    &text[..end.map_or(text.len(), |(at, _)| at)]
}

/// Adds a point under its new labels.
fn put(
    batch: &mut MetricBatch,
    page: &MetricBatch,
    (point, histogram): (&Point, Option<&NativeHistogram>),
    target: &Labels,
    labels: &LabelSet,
) {
    let (family, suffix) = family(batch, page, point, labels.get(METRIC_NAME));
    // What the batch gives to all series anyway is left out; what this one must not have of it is emptied.
    let own = labels
        .iter()
        .filter(|(name, value)| *name != METRIC_NAME && target.get(name) != Some(value));
    let emptied = target
        .iter()
        .filter(|(name, _)| labels.get(name).is_empty())
        .map(|(name, _)| (name, ""));
    let labels = batch.label_set(own.chain(emptied));
    let point = Point {
        family,
        suffix,
        labels,
        ..*point
    };
    batch.push_sample(point, histogram.cloned());
}

/// The family of a point; one that got another name stands for itself.
fn family(
    batch: &mut MetricBatch,
    page: &MetricBatch,
    point: &Point,
    full_name: &str,
) -> (FamilyId, Suffix) {
    let family = page.family_of(point);
    let (name, help) = (page.text(family.name), page.text(family.help));
    if full_name.strip_suffix(point.suffix.as_str()) == Some(name) {
        return (batch.family(name, family.kind, help), point.suffix);
    }
    let kind = match family.kind {
        // A native histogram stays one.
        MetricKind::Histogram if point.suffix == Suffix::None => MetricKind::Histogram,
        MetricKind::Histogram | MetricKind::Summary => MetricKind::Unknown,
        kind => kind,
    };
    (batch.family(full_name, kind, help), Suffix::None)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kansoku_model::{Resource, Settings};
    use kansoku_parsers::wire::prometheus_text;

    use super::super::relabel::rules;
    use super::*;

    const PAGE: &str = "# TYPE a_total counter\na_total{job=\"own\",x=\"1\"} 1 5\na_total{exported_job=\"e\",job=\"own\"} 2\n# TYPE h histogram\nh_bucket{le=\"+Inf\",job=\"\"} 3\nh_count 3\n";

    fn taken(handling: &Handling, page: &str) -> (Vec<String>, Taken) {
        let resource = Resource {
            labels: Labels::from_pairs([("instance", "i"), ("job", "j")]),
            ..Resource::default()
        };
        let page = prometheus_text::parse(page, false, "t".into(), Arc::new(resource), 7).batch;
        let taken = handling.take(page);
        let b = &taken.batch;
        let line = |p: &Point| {
            let kind = b.family_of(p).kind.as_str();
            format!("{kind} {} {}@{}", b.series_of(p), p.value, b.time_of(p))
        };
        (b.points().iter().map(line).collect(), taken)
    }

    fn with_rules(texts: &[&str]) -> Handling {
        let pairs: Vec<(&str, &str)> = texts
            .iter()
            .map(|t| ("metric_relabel_configs", *t))
            .collect();
        let settings = Settings::of("x", &pairs);
        Handling {
            rules: rules(&settings, "metric_relabel_configs").expect("rules"),
            ..Handling::default()
        }
    }

    #[test]
    fn the_targets_labels_win_unless_the_pages_are_honored() {
        let (lines, taken_) = taken(&Handling::default(), PAGE);
        assert_eq!((taken_.n_scraped, taken_.n_relabelled), (4, 4));
        assert_eq!(
            lines,
            [
                r#"counter {__name__="a_total", exported_job="own", instance="i", job="j", x="1"} 1@7"#,
                r#"counter {__name__="a_total", exported_exported_job="own", exported_job="e", instance="i", job="j"} 2@7"#,
                r#"histogram {__name__="h_bucket", instance="i", job="j", le="+Inf"} 3@7"#,
                r#"histogram {__name__="h_count", instance="i", job="j"} 3@7"#,
            ]
        );
        let honored = Handling {
            honor_labels: true,
            honor_timestamps: true,
            ..Handling::default()
        };
        let (lines, _) = taken(&honored, PAGE);
        assert_eq!(
            lines,
            [
                r#"counter {__name__="a_total", instance="i", job="own", x="1"} 1@5"#,
                r#"counter {__name__="a_total", exported_job="e", instance="i", job="own"} 2@7"#,
                r#"histogram {__name__="h_bucket", instance="i", le="+Inf"} 3@7"#,
                r#"histogram {__name__="h_count", instance="i", job="j"} 3@7"#,
            ]
        );
        // The slow way says the same.
        let limited = Handling {
            label_limit: 100,
            ..honored
        };
        assert_eq!(taken(&limited, PAGE).0, lines);
    }

    #[test]
    fn metrics_are_relabelled() {
        let handling = with_rules(&[
            "{source_labels: [__name__], action: drop, regex: h_count}",
            "{source_labels: [__name__], regex: 'h_(.*)', target_label: __name__, replacement: 'g_$1'}",
            "{action: labeldrop, regex: 'job|exported_.*'}",
        ]);
        let (lines, taken) = taken(&handling, PAGE);
        assert_eq!((taken.n_scraped, taken.n_relabelled), (4, 3));
        assert_eq!(
            lines,
            [
                r#"counter {__name__="a_total", instance="i", x="1"} 1@7"#,
                r#"counter {__name__="a_total", instance="i"} 2@7"#,
                r#"untyped {__name__="g_bucket", instance="i", le="+Inf"} 3@7"#,
            ]
        );
    }

    #[test]
    fn a_broken_limit_fails_the_page() {
        let limit = |change: fn(&mut Handling)| {
            let mut handling = Handling::default();
            change(&mut handling);
            let (lines, taken) = taken(&handling, PAGE);
            assert_eq!(lines.is_empty(), taken.failure.is_some());
            taken.failure.unwrap_or_default()
        };
        assert_eq!(
            limit(|h| h.sample_limit = 3),
            "sample_limit exceeded (samples: 4, limit: 3)"
        );
        assert_eq!(limit(|h| h.sample_limit = 4), "");
        assert_eq!(
            limit(|h| h.label_limit = 4),
            "label_limit exceeded (metric: a_total, number of labels: 5, limit: 4)"
        );
        assert_eq!(limit(|h| h.label_limit = 5), "");
        assert_eq!(
            limit(|h| h.label_name_length_limit = 12),
            "label_name_length_limit exceeded (metric: a_total, label name: exported_exported_job, length: 21, limit: 12)"
        );
        assert_eq!(
            limit(|h| h.label_value_length_limit = 7),
            "label_value_length_limit exceeded (metric: h_bucket, label name: __name__, value: \"h_bucket\", length: 8, limit: 7)"
        );
        let handling = Handling {
            sample_limit: 3,
            ..with_rules(&["{source_labels: [__name__], action: keep, regex: a_total}"])
        };
        assert!(
            taken(&handling, PAGE).1.failure.is_none(),
            "what relabelling drops does not count"
        );
        let nameless = with_rules(&["{action: labeldrop, regex: __name__}"]);
        assert_eq!(
            taken(&nameless, PAGE).1.failure.as_deref(),
            Some("metric_relabel_configs left a sample without a name")
        );
    }
}
