//! `/loki/api/v1/index/volume`: bytes of lines by stream, by some of their labels, or by label name.
//!
//! Parameters and answer are Loki's; what is counted are the bytes of the lines within the range, exactly.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use kansoku_model::select::{Direction, LogSelect};
use kansoku_model::{Labels, LogSource, Matcher};
use kansoku_query::logql::QueryError;
use kansoku_store::Snapshot;
use serde_json::{Map, Value, json};

use super::errors::ApiError;
use super::labels::{Wanted, run};
use super::{params, query};
use crate::api::gate::Interrupt;
use crate::app::App;
use crate::http::{Call, Form, Reply};

/// Entries of the answer at most, as of a log query.
const MAX_LIMIT: usize = 5000;

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
        let listed = form.get("targetLabels").split(',').map(str::trim);
        let mut names: Vec<String> = listed.filter(|n| !n.is_empty()).map(Into::into).collect();
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

/// `/loki/api/v1/index/volume`
pub async fn volume(app: Arc<App>, call: Call) -> Reply {
    let wanted = Wanted::of(&call.form, &["query"]).and_then(|wanted| match wanted.any_of.len() {
        0 | 1 => Ok(wanted),
        _ => Err(ApiError::bad_request(
            "parameter 'query' must be one stream selector",
        )),
    });
    run(app, wanted, move |snapshot, wanted, interrupt| {
        let matchers = wanted.any_of.first().cloned().unwrap_or_default();
        let by = By::of(&call.form, &matchers)?;
        let limit = params::limit(&call.form, MAX_LIMIT)?;
        let select = LogSelect {
            matchers,
            from_ns: wanted.from_ns,
            to_ns: wanted.to_ns,
            direction: Direction::Forward,
            needles: Vec::new(),
            automata: Vec::new(),
            counts_only: false,
        };
        let volumes = add_up(snapshot, &select, &by, interrupt)?;
        let mut volumes: Vec<(Labels, u64)> = volumes.into_iter().collect();
        volumes.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        volumes.truncate(limit);
        let time_s = wanted.to_ns.div_euclid(1_000_000_000);
        let result: Value = volumes.iter().map(|one| show(one, time_s)).collect();
        let data = json!({"resultType": "vector", "result": result});
        Ok(query::envelope(
            data.to_string().as_bytes(),
            &snapshot.warnings(),
        ))
    })
    .await
}

fn add_up(
    snapshot: &Snapshot,
    select: &LogSelect,
    by: &By,
    interrupt: &Interrupt,
) -> Result<HashMap<Labels, u64>, ApiError> {
    let mut volumes: HashMap<Labels, u64> = HashMap::new();
    let (mut times, mut lens) = (Vec::new(), Vec::new());
    let mut stopped = None;
    snapshot.select(select, &mut |block| {
        if let Err(why) = interrupt.check() {
            stopped = Some(why);
            return Ok(ControlFlow::Break(()));
        }
        let bytes = match block.totals() {
            Some((_, bytes)) => bytes,
            None => {
                times.clear();
                lens.clear();
                block.load_times(&mut times, &mut lens)?;
                lens.iter().map(|len| u64::from(*len)).sum()
            }
        };
        if bytes > 0 {
            for group in by.groups(block.labels()) {
                *volumes.entry(group).or_default() += bytes;
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    match stopped {
        Some(why) => Err(QueryError::Cancelled(why.message().into()).into()),
        None => Ok(volumes),
    }
}

fn show((labels, bytes): &(Labels, u64), time_s: i64) -> Value {
    let pair = |(name, value): (&str, &str)| match name {
        "" => (value.to_owned(), json!("")),
        _ => (name.to_owned(), json!(value)),
    };
    let metric: Map<String, Value> = labels.iter().map(pair).collect();
    json!({"metric": metric, "value": [time_s, bytes.to_string()]})
}

#[cfg(test)]
mod tests {
    use super::*;

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
                    .map(|l| show(&(l.clone(), 1), 2)["metric"].to_string())
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
