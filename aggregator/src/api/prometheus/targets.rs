//! `/api/v1/targets`, `/targets/metadata`, `/scrape_pools`: what is watched, as far as it is told.
//!
//! The aggregator scrapes nothing: agents and Prometheus servers scrape and push. Whoever scrapes pushes `up` as well, so a
//! target is a series `up` with a sample within the lookback: its labels are the target's, its job is the pool, its value
//! the health. What only the scraper knows (addresses before relabelling, errors, intervals) is empty, and what it
//! dropped is not known.

use std::collections::BTreeSet;
use std::sync::Arc;

use kansoku_model::labels::METRIC_NAME;
use kansoku_model::select::SeriesSource;
use kansoku_model::{Labels, MatchOp, Matcher, MetricKind};
use kansoku_query::promql;
use kansoku_store::{MetricMetadata, Snapshot};
use serde_json::{Map, Value, json};

use super::envelope::{self, ApiError};
use crate::api::gate;
use crate::app::App;
use crate::clock;
use crate::http::{Call, Form, Reply};
use crate::telemetry::QueryKind;

/// More targets than one cluster has; beyond it the rest is left out with a warning.
const TARGETS_MAX: usize = 50_000;

/// `/api/v1/targets`
pub async fn targets(app: Arc<App>, call: Call) -> Reply {
    run(app, call, |found, form| {
        let state = form.get("state").to_lowercase();
        let pool = form.get("scrapePool");
        let shows = |kind: &str| matches!(state.as_str(), "" | "any") || state == kind;
        let wanted = |t: &&Target| shows("active") && (pool.is_empty() || t.pool() == pool);
        let active: Vec<Value> = found
            .targets
            .iter()
            .filter(wanted)
            .map(Target::json)
            .collect();
        let counts = match shows("dropped") {
            true => json!({}),
            false => Value::Null,
        };
        Ok(json!({"activeTargets": active, "droppedTargets": [], "droppedTargetCounts": counts}))
    })
    .await
}

/// `/api/v1/scrape_pools`
pub async fn scrape_pools(app: Arc<App>, call: Call) -> Reply {
    run(app, call, |found, _| {
        let pools: BTreeSet<&str> = found.targets.iter().map(Target::pool).collect();
        Ok(json!({ "scrapePools": pools }))
    })
    .await
}

/// `/api/v1/targets/metadata`
pub async fn metadata(app: Arc<App>, call: Call) -> Reply {
    run(app, call, Found::metadata).await
}

/// Finds the targets and answers.
async fn run(
    app: Arc<App>,
    call: Call,
    answer: impl FnOnce(&Found, &Form) -> Result<Value, ApiError> + Send + 'static,
) -> Reply {
    let timeout = app.query_timeout(&call.tenant);
    let tenant = call.tenant.clone();
    let kind = QueryKind::PromqlLabels;
    let done = gate::run(&app, &tenant, kind, timeout, move |app, _| {
        let snapshot = call.tenant.snapshot(&app.tenants.opener)?;
        let lookback = app.settings.query_lookback.as_millis();
        let found = Found::of(snapshot, i64::try_from(lookback).unwrap_or(i64::MAX))?;
        let mut warnings = found.snapshot.warnings();
        if found.targets.len() == TARGETS_MAX {
            warnings.push(format!("there are more than {TARGETS_MAX} targets"));
        }
        let data = answer(&found, &call.form)?.to_string();
        Ok::<_, ApiError>(envelope::success_with(data.as_bytes(), &warnings, &[]))
    });
    match done.await.map_err(ApiError::from) {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) | Err(error) => error.reply(),
    }
}

/// A series `up`.
struct Target {
    /// Without the name.
    labels: Labels,
    last_scrape_ms: i64,
    is_up: bool,
    /// From `scrape_duration_seconds`, 0 without.
    duration_seconds: f64,
}

impl Target {
    fn pool(&self) -> &str {
        self.labels.get("job").unwrap_or("")
    }

    fn json(&self) -> Value {
        let error = match self.is_up {
            true => "",
            false => "up is 0; whoever scrapes it knows why",
        };
        json!({
            "discoveredLabels": {},
            "labels": labels_json(&self.labels),
            "scrapePool": self.pool(),
            "scrapeUrl": "",
            "globalUrl": "",
            "lastError": error,
            "lastScrape": clock::rfc3339_ms(self.last_scrape_ms),
            "lastScrapeDuration": self.duration_seconds,
            "health": if self.is_up { "up" } else { "down" },
            "scrapeInterval": "",
            "scrapeTimeout": "",
        })
    }
}

fn labels_json(labels: &Labels) -> Value {
    let pairs = labels.iter().map(|(n, v)| (n.to_owned(), json!(v)));
    Value::Object(pairs.collect::<Map<_, _>>())
}

/// The targets, sorted by labels.
struct Found {
    snapshot: Snapshot,
    from_ms: i64,
    to_ms: i64,
    targets: Vec<Target>,
}

impl Found {
    fn of(snapshot: Snapshot, lookback_ms: i64) -> Result<Self, ApiError> {
        let to_ms = clock::now_ms();
        let from_ms = to_ms.saturating_sub(lookback_ms);
        let newest = |name: &str| -> Result<Vec<(Labels, i64, f64)>, ApiError> {
            let matchers = [Matcher::equal(METRIC_NAME, name)];
            let found = snapshot.select(&matchers, from_ms, to_ms, usize::MAX)?;
            let last = found.into_iter().filter_map(|s| {
                let (time_ms, value) = (*s.times.last()?, *s.values.last()?);
                let ended = value.to_bits() == kansoku_model::metric::STALE_BITS;
                (!ended).then(|| (s.labels.without_name(), time_ms, value))
            });
            let mut last: Vec<_> = last.collect();
            last.sort_by(|a, b| a.0.cmp(&b.0));
            Ok(last)
        };
        let durations = newest("scrape_duration_seconds")?;
        let targets = newest("up")?
            .into_iter()
            .take(TARGETS_MAX)
            .map(|(labels, last_scrape_ms, value)| {
                let known = durations.binary_search_by(|(l, ..)| l.cmp(&labels));
                Target {
                    duration_seconds: known.map_or(0.0, |at| durations[at].2),
                    is_up: value != 0.0,
                    labels,
                    last_scrape_ms,
                }
            })
            .collect();
        Ok(Self {
            snapshot,
            from_ms,
            to_ms,
            targets,
        })
    }

    /// What is known of the metrics of each target.
    fn metadata(&self, form: &Form) -> Result<Value, ApiError> {
        let limit = match form.get("limit") {
            "" => usize::MAX,
            text => {
                let limit: i64 = text
                    .parse()
                    .map_err(|_| ApiError::bad_data("limit must be a number"))?;
                usize::try_from(limit).unwrap_or(usize::MAX)
            }
        };
        let matchers = match form.get("match_target") {
            "" => Vec::new(),
            text => {
                promql::metric_selector(text).map_err(|e| ApiError::parameter("match_target", e))?
            }
        };
        let metric = form.get("metric");
        let known = self.snapshot.metric_metadata()?;
        let mut out = Vec::new();
        for target in &self.targets {
            if out.len() >= limit {
                break;
            }
            if !matchers.iter().all(|m| m.matches_labels(&target.labels)) {
                continue;
            }
            for name in self.families(target, metric, &known)? {
                let described = &known[name];
                let mut one = json!({
                    "target": labels_json(&target.labels),
                    "type": kind_name(described.kind),
                    "help": described.help,
                    "unit": described.unit,
                });
                if metric.is_empty() {
                    one["metric"] = json!(described.name);
                }
                out.push(one);
            }
        }
        Ok(Value::Array(out))
    }

    /// Where in `known` the families are that a target has series of; all, or the one that is asked for.
    fn families(
        &self,
        target: &Target,
        metric: &str,
        known: &[MetricMetadata],
    ) -> Result<BTreeSet<usize>, ApiError> {
        let own = target.labels.iter().map(|(n, v)| Matcher::equal(n, v));
        let mut matchers: Vec<Matcher> = own.collect();
        if !metric.is_empty() {
            // Series of histograms and summaries are named for parts of the family.
            let names = format!("{}(_bucket|_sum|_count)?", regex::escape(metric));
            let names = Matcher::new(METRIC_NAME, MatchOp::Regex, &names);
            matchers.push(names.map_err(|e| ApiError::parameter("metric", e))?);
        }
        let names = self.snapshot.metric_label_values(
            METRIC_NAME,
            &[matchers],
            self.from_ms,
            self.to_ms,
        )?;
        let family = |name: &String| {
            let place = |name: &str| known.binary_search_by(|m| m.name.as_str().cmp(name)).ok();
            place(name).or_else(|| {
                let parts = ["_bucket", "_sum", "_count"];
                parts.iter().find_map(|p| place(name.strip_suffix(p)?))
            })
        };
        let families = names.iter().filter_map(family);
        Ok(families
            .filter(|at| metric.is_empty() || known[*at].name == metric)
            .collect())
    }
}

/// Prometheus's word for a kind.
fn kind_name(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Unknown => "unknown",
        kind => kind.as_str(),
    }
}
