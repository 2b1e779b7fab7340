//! `/loki/api/v1/index/volume` and `/volume_range`: bytes of lines by stream, by some of their labels, or by label name.
//!
//! Parameters and answer are Loki's; what is counted are the bytes of the lines within the range, exactly.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use kansoku_model::select::{Direction, LogSelect, MatchOp};
use kansoku_model::{Labels, LogSource, Matcher};
use kansoku_query::logql::QueryError;
use kansoku_query::memory::Share;
use kansoku_store::Snapshot;
use serde_json::{Map, Value, json};

use super::errors::ApiError;
use super::labels::{Wanted, run};
use super::{params, query};
use crate::api::gate::{Interrupt, Interrupted};
use crate::app::App;
use crate::http::{Call, Form, Reply};

/// What a group takes besides its labels, and a step of it, while bytes are added up.
const GROUP_BYTES: usize = 160;
const STEP_BYTES: usize = 48;
/// What a step of a group takes in the answer and its text.
const SHOWN_BYTES: usize = 320;

/// The labels that are asked for.
fn listed(form: &Form) -> impl Iterator<Item = &str> {
    let all = form.get("targetLabels").split(',').map(str::trim);
    all.filter(|name| !name.is_empty())
}

/// What bytes are added up by.
#[derive(Debug, PartialEq)]
enum By {
    /// These labels of a stream; all of them when there are none.
    Series(Vec<String>),
    /// Each label name; only these when there are some.
    Names(Vec<String>),
}

impl By {
    fn of(form: &Form, matchers: &[Matcher]) -> Result<Self, ApiError> {
        let mut names: Vec<String> = listed(form).map(Into::into).collect();
        match form.get("aggregateBy") {
            "" | "series" => {
                if names.is_empty() {
                    // As Loki: by the labels that the query names.
                    names.extend(matchers.iter().map(|m| m.name.clone()));
                }
                Ok(Self::Series(names))
            }
            "labels" => Ok(Self::Names(names)),
            other => Err(ApiError::bad_request(format!(
                "invalid aggregation option '{other}'; expected series or labels"
            ))),
        }
    }

    /// The groups that a stream belongs to.
    fn groups(&self, labels: &Labels) -> Vec<Labels> {
        let wanted =
            |names: &[String], name: &str| names.is_empty() || names.iter().any(|n| n == name);
        match self {
            Self::Series(names) => {
                let pairs = labels.iter().filter(|(name, _)| wanted(names, name));
                vec![Labels::from_pairs(pairs)]
            }
            // The name alone; its value is the empty text, which no label has.
            Self::Names(names) => {
                let all = labels.iter().filter(|(name, _)| wanted(names, name));
                all.map(|(name, _)| Labels::from_pairs([("", name)]))
                    .collect()
            }
        }
    }
}

/// `/loki/api/v1/index/volume`: of the whole range.
pub async fn volume(app: Arc<App>, call: Call) -> Reply {
    answer(app, call, |wanted, _| Ok(Steps::whole(wanted))).await
}

/// `/loki/api/v1/index/volume_range`: of each step of the range, dated by its last millisecond.
pub async fn volume_range(app: Arc<App>, call: Call) -> Reply {
    let steps = |wanted: &Wanted, form: &Form| {
        let step_ns = params::step_ns(form, wanted.from_ns, wanted.to_ns)?;
        Ok(Steps {
            is_range: true,
            step_ns,
            ..Steps::whole(wanted)
        })
    };
    answer(app, call, steps).await
}

/// The pieces of time that bytes are added up in: as with Loki they end at whole multiples of the step,
/// and the last at the end of the range.
struct Steps {
    to_ns: i64,
    step_ns: i64,
    is_range: bool,
}

impl Steps {
    fn whole(wanted: &Wanted) -> Self {
        let (from_ns, to_ns) = (wanted.from_ns, wanted.to_ns);
        Self {
            to_ns,
            step_ns: to_ns.saturating_sub(from_ns).max(1),
            is_range: false,
        }
    }

    /// The number of the piece that holds a time of the range.
    fn of(&self, time_ns: i64) -> i64 {
        if self.is_range {
            time_ns.div_euclid(self.step_ns)
        } else {
            0
        }
    }

    /// What its bytes are dated by, in seconds.
    fn date_s(&self, step: i64) -> f64 {
        let next_ns = step.saturating_add(1).saturating_mul(self.step_ns);
        // The range is asked for with its end, so that it goes on for a nanosecond behind it.
        let ms = if self.is_range && next_ns < self.to_ns.saturating_sub(1) {
            next_ns.div_euclid(1_000_000) - 1
        } else {
            self.to_ns.div_euclid(1_000_000)
        };
        ms as f64 / 1e3
    }
}

/// Bytes by group and step.
type Volumes = HashMap<Labels, BTreeMap<i64, u64>>;

async fn answer(
    app: Arc<App>,
    call: Call,
    steps: impl FnOnce(&Wanted, &Form) -> Result<Steps, ApiError> + Send + 'static,
) -> Reply {
    let tenant = call.tenant.clone();
    let wanted = Wanted::of(&call.form, &["query"], &["", "{}"]).and_then(|wanted| {
        match wanted.any_of.len() {
            0 | 1 => Ok(wanted),
            _ => Err(ApiError::bad_request(
                "parameter 'query' must be one stream selector",
            )),
        }
    });
    let share = app.query_share(&tenant);
    run(app, tenant, wanted, move |snapshot, wanted, interrupt| {
        let mut matchers = wanted.any_of.first().cloned().unwrap_or_default();
        let by = By::of(&call.form, &matchers)?;
        // As Loki: streams without one of the labels that are asked for are left out.
        for name in listed(&call.form) {
            if !matchers.iter().any(|m| m.name == name) {
                let is_there = Matcher::new(name, MatchOp::NotEqual, "");
                matchers.push(is_there.map_err(|e| ApiError::bad_request(e.to_string()))?);
            }
        }
        let limit = params::limit_of_volumes(&call.form)?;
        let steps = steps(wanted, &call.form)?;
        let select = LogSelect {
            matchers,
            from_ns: wanted.from_ns,
            to_ns: wanted.to_ns,
            direction: Direction::Forward,
            needles: Vec::new(),
            automata: Vec::new(),
            counts_only: false,
        };
        let mut held = Held {
            share: &share,
            n_bytes: 0,
        };
        let volumes = add_up(snapshot, &select, &by, &steps, interrupt, &mut held)?;
        let total = |bytes: &BTreeMap<i64, u64>| bytes.values().sum::<u64>();
        let mut volumes: Vec<_> = volumes.into_iter().collect();
        volumes.sort_by(|a, b| total(&b.1).cmp(&total(&a.1)).then_with(|| a.0.cmp(&b.0)));
        volumes.truncate(limit);
        let n_shown: usize = volumes.iter().map(|(_, bytes)| bytes.len()).sum();
        held.fits(n_shown.saturating_mul(SHOWN_BYTES))?;
        // As Loki: a matrix only where a series has more than one value.
        let is_matrix = volumes.iter().any(|(_, bytes)| bytes.len() > 1);
        let kind = if is_matrix { "matrix" } else { "vector" };
        let shown = volumes
            .iter()
            .map(|(labels, bytes)| show(labels, bytes, &steps, is_matrix));
        let data = json!({"resultType": kind, "result": shown.collect::<Value>()});
        Ok(query::envelope(
            data.to_string().as_bytes(),
            &snapshot.warnings(),
        ))
    })
    .await
}

/// The memory of what is added up.
struct Held<'a> {
    share: &'a Share,
    n_bytes: usize,
}

impl Held<'_> {
    /// Whether so many bytes fit beside it.
    fn fits(&self, n_bytes: usize) -> Result<(), QueryError> {
        Ok(self.share.grow_to(self.n_bytes.saturating_add(n_bytes))?)
    }
}

fn add_up(
    snapshot: &Snapshot,
    select: &LogSelect,
    by: &By,
    steps: &Steps,
    interrupt: &Interrupt,
    held: &mut Held<'_>,
) -> Result<Volumes, ApiError> {
    let mut volumes = Volumes::new();
    let (mut times, mut lens) = (Vec::new(), Vec::new());
    let mut stopped = None;
    snapshot.select(select, &mut |block| {
        let cancelled = |why: Interrupted| QueryError::Cancelled(why.message().into());
        let may_go_on = interrupt.check().map_err(cancelled);
        if let Err(why) = may_go_on.and_then(|()| held.fits(block.loading_bytes())) {
            stopped = Some(why);
            return Ok(ControlFlow::Break(()));
        }
        let groups = by.groups(block.labels());
        let mut add = |step: i64, bytes: u64| {
            for group in groups.iter().filter(|_| bytes > 0) {
                if !volumes.contains_key(group) {
                    held.n_bytes += GROUP_BYTES + group.as_bytes().len();
                }
                let group = volumes.entry(group.clone()).or_default();
                *group.entry(step).or_insert_with(|| {
                    held.n_bytes += STEP_BYTES;
                    0
                }) += bytes;
            }
        };
        let (min_ns, max_ns) = block.time_range_ns();
        match block.totals() {
            Some((_, bytes)) if steps.of(min_ns) == steps.of(max_ns) => {
                add(steps.of(min_ns), bytes);
            }
            _ => {
                times.clear();
                lens.clear();
                block.load_times(&mut times, &mut lens)?;
                let (mut step, mut bytes) = (0, 0);
                for (time_ns, len) in times.iter().zip(&lens) {
                    let own = steps.of(*time_ns);
                    if own != step {
                        add(step, std::mem::take(&mut bytes));
                        step = own;
                    }
                    bytes += u64::from(*len);
                }
                add(step, bytes);
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    match stopped {
        Some(why) => Err(why.into()),
        None => Ok(volumes),
    }
}

fn show(labels: &Labels, bytes: &BTreeMap<i64, u64>, steps: &Steps, is_matrix: bool) -> Value {
    let mut values = bytes.iter().map(|(step, bytes)| {
        let date = steps.date_s(*step);
        // Whole seconds without a fraction, as Loki writes them.
        let date = if date.fract() == 0.0 {
            json!(date as i64)
        } else {
            json!(date)
        };
        json!([date, bytes.to_string()])
    });
    let metric = metric(labels);
    if is_matrix {
        json!({"metric": metric, "values": values.collect::<Value>()})
    } else {
        json!({"metric": metric, "value": values.next()})
    }
}

fn metric(labels: &Labels) -> Map<String, Value> {
    let pair = |(name, value): (&str, &str)| match name {
        "" => (value.to_owned(), json!("")),
        _ => (name.to_owned(), json!(value)),
    };
    labels.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_end_where_lokis_do() {
        const S: i64 = 1_000_000_000;
        let steps = Steps {
            to_ns: 630 * S,
            step_ns: 200 * S,
            is_range: true,
        };
        for (time_ns, date_s) in [(17, 199.999), (200, 399.999), (599, 599.999), (601, 630.0)] {
            assert_eq!(steps.date_s(steps.of(time_ns * S)), date_s, "{time_ns}");
        }
    }

    #[test]
    fn streams_are_grouped_as_loki_groups_them() {
        let labels = Labels::from_pairs([("app", "a"), ("pod", "p"), ("zone", "z")]);
        let by = |text: &str, matchers: &[Matcher]| {
            let mut form = Form::default();
            form.read(text).expect("a form");
            let by = By::of(&form, matchers).map_err(|e| e.message);
            by.map(|by| {
                by.groups(&labels)
                    .iter()
                    .map(|l| Value::Object(metric(l)).to_string())
                    .collect::<Vec<_>>()
            })
        };
        let app = [Matcher::equal("app", "a")];
        assert_eq!(by("", &app).unwrap(), [r#"{"app":"a"}"#]);
        assert_eq!(
            by("", &[]).unwrap(),
            [r#"{"app":"a","pod":"p","zone":"z"}"#]
        );
        assert_eq!(
            by("targetLabels=pod,zone", &app).unwrap(),
            [r#"{"pod":"p","zone":"z"}"#]
        );
        assert_eq!(
            by("aggregateBy=labels&targetLabels=pod", &app).unwrap(),
            [r#"{"pod":""}"#]
        );
        assert_eq!(by("aggregateBy=labels", &app).unwrap().len(), 3);
        assert!(
            by("aggregateBy=pods", &app)
                .unwrap_err()
                .contains("expected series or labels")
        );
    }
}
