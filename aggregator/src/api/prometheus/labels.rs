//! `/api/v1/series`, `/labels`, `/label/<name>/values`, `/metadata`: what there is to query.

use std::sync::Arc;

use kansoku_model::json::write_str;
use kansoku_model::select::SelectError;
use kansoku_model::{Matcher, MetricKind};
use kansoku_query::number::quote;
use kansoku_query::promql::{self, QueryError, json};
use kansoku_store::{MetricMetadata, Snapshot};

use super::envelope::{self, ApiError};
use super::params::{self, TIME_MAX_MS, TIME_MIN_MS};
use crate::api::{gate, listing};
use crate::app::App;
use crate::http::{Call, Form, Reply};
use crate::telemetry::QueryKind;
use crate::tenants::View;

/// Which series are asked for, and how much of the answer is wanted.
struct Wanted {
    any_of: Vec<Vec<Matcher>>,
    from_ms: i64,
    to_ms: i64,
    limit: Option<usize>,
}

impl Wanted {
    fn of(form: &Form) -> Result<Self, ApiError> {
        let limit = params::limit(form)?;
        let from_ms = params::time_ms(form, "start", Some(TIME_MIN_MS))?;
        let to_ms = params::time_ms(form, "end", Some(TIME_MAX_MS))?;
        let any_of = form.all("match[]").map(matchers);
        Ok(Self {
            any_of: any_of.collect::<Result<_, _>>()?,
            from_ms,
            to_ms,
            limit,
        })
    }
}

fn matchers(selector: &str) -> Result<Vec<Matcher>, ApiError> {
    let wrong = |what: String| ApiError::bad_data(what);
    let matchers = promql::metric_selector(selector).map_err(|e| wrong(e.to_string()))?;
    if matchers.iter().all(|m| m.matches("")) {
        return Err(wrong(
            "match[] must contain at least one non-empty matcher".into(),
        ));
    }
    Ok(matchers)
}

/// Runs a listing through the gate and writes what it gives, cut at the limit.
async fn list<T: Send + 'static>(
    app: Arc<App>,
    tenant: View,
    wanted: Result<Wanted, ApiError>,
    read: impl FnOnce(&Snapshot, &Wanted) -> Result<Vec<T>, SelectError> + Send + 'static,
    write: impl Fn(&mut Vec<u8>, &T) + Send + 'static,
) -> Reply {
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(error) => return error.reply(),
    };
    let share = app.query_share(&tenant);
    run(app, tenant, move |snapshot| {
        // As there, nothing lies between an end and a later start.
        let mut items = match wanted.from_ms <= wanted.to_ms {
            true => read(snapshot, &wanted)?,
            false => Vec::new(),
        };
        let mut warnings = snapshot.warnings();
        if let Some(limit) = wanted.limit.filter(|limit| items.len() > *limit) {
            items.truncate(limit);
            warnings.push("results truncated due to limit".into());
        }
        let data = listing::text(&items, write, &share).map_err(QueryError::from)?;
        Ok(envelope::success_with(&data, &warnings, &[]))
    })
    .await
}

/// Runs work on a snapshot through the gate.
async fn run(
    app: Arc<App>,
    tenant: View,
    work: impl FnOnce(&Snapshot) -> Result<Reply, ApiError> + Send + 'static,
) -> Reply {
    let timeout = app.query_timeout(&tenant);
    let own = tenant.clone();
    let done = gate::run(
        &app,
        &tenant,
        QueryKind::PromqlLabels,
        timeout,
        move |app, _| work(&own.snapshot(&app.tenants.opener)?),
    );
    match done.await.map_err(ApiError::from) {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) | Err(error) => error.reply(),
    }
}

fn write_name(out: &mut Vec<u8>, name: &String) {
    write_str(out, name.as_bytes());
}

/// `/api/v1/series`
pub async fn series(app: Arc<App>, call: Call) -> Reply {
    if call.form.all("match[]").next().is_none() {
        return ApiError::bad_data("no match[] parameter provided").reply();
    }
    let read = |s: &Snapshot, w: &Wanted| s.metric_series(&w.any_of, w.from_ms, w.to_ms);
    // Of the three, only this one names the parameter.
    let wanted = Wanted::of(&call.form).map_err(|error| match error.message {
        message if message.starts_with("invalid parameter") => ApiError::bad_data(message),
        message => ApiError::parameter("match[]", message),
    });
    list(app, call.tenant, wanted, read, json::write_labels).await
}

/// `/api/v1/labels`
pub async fn names(app: Arc<App>, call: Call) -> Reply {
    let read = |s: &Snapshot, w: &Wanted| s.metric_label_names(&w.any_of, w.from_ms, w.to_ms);
    let wanted = Wanted::of(&call.form);
    list(app, call.tenant, wanted, read, write_name).await
}

/// `/api/v1/label/<name>/values`
pub async fn values(app: Arc<App>, call: Call) -> Reply {
    let name = params::unescape_name(&call.path_value);
    if name.is_empty() || name.contains('\u{fffd}') {
        return ApiError::bad_data(format!("invalid label name: {}", quote(&name))).reply();
    }
    let read =
        move |s: &Snapshot, w: &Wanted| s.metric_label_values(&name, &w.any_of, w.from_ms, w.to_ms);
    let wanted = Wanted::of(&call.form);
    list(app, call.tenant, wanted, read, write_name).await
}

/// `/api/v1/metadata`
pub async fn metadata(app: Arc<App>, call: Call) -> Reply {
    let limit = match metadata_limit(&call.form) {
        Ok(limit) => limit,
        Err(error) => return error.reply(),
    };
    let metric = call.form.get("metric").to_owned();
    run(app, call.tenant, move |snapshot| {
        let known = snapshot.metric_metadata()?;
        let chosen = known
            .iter()
            .filter(|m| metric.is_empty() || m.name == metric)
            .take(limit);
        Ok(envelope::success(&write_metadata(chosen)))
    })
    .await
}

/// Here 0 means nothing and a negative number everything, unlike elsewhere.
fn metadata_limit(form: &Form) -> Result<usize, ApiError> {
    for name in ["limit", "limit_per_metric"] {
        let text = form.get(name);
        if !text.is_empty() && text.parse::<i64>().is_err() {
            let message = format!("{name} must be a number");
            return Err(ApiError::bad_data(message));
        }
    }
    let limit = form.get("limit").parse::<i64>().unwrap_or(-1);
    Ok(usize::try_from(limit).unwrap_or(usize::MAX))
}

fn write_metadata<'a>(known: impl Iterator<Item = &'a MetricMetadata>) -> Vec<u8> {
    let mut out = vec![b'{'];
    for (i, metric) in known.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_str(&mut out, metric.name.as_bytes());
        let kind = match metric.kind {
            MetricKind::Unknown => "unknown",
            kind => kind.as_str(),
        };
        out.extend_from_slice(format!(r#":[{{"type":"{kind}","help":"#).as_bytes());
        write_str(&mut out, metric.help.as_bytes());
        out.extend_from_slice(br#","unit":"#);
        write_str(&mut out, metric.unit.as_bytes());
        out.extend_from_slice(b"}]");
    }
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(text: &str) -> Result<Wanted, ApiError> {
        let mut form = Form::default();
        form.read(text).unwrap();
        Wanted::of(&form)
    }

    #[test]
    fn selectors_must_select_something() {
        assert_eq!(
            wanted("match[]=up&match[]={a=\"b\"}").unwrap().any_of.len(),
            2
        );
        for (text, expected) in [
            (
                "match[]={a=\"\"}",
                "match[] must contain at least one non-empty matcher",
            ),
            (
                "start=x",
                r#"invalid parameter "start": invalid time value for 'start': cannot parse "x" to a valid timestamp"#,
            ),
        ] {
            assert_eq!(wanted(text).err().unwrap().message, expected);
        }
        let error = wanted("match[]=up[").err().unwrap().message;
        assert!(error.starts_with("1:"), "{error}");
    }

    #[test]
    fn metadata_is_grouped_by_name() {
        let known = [MetricMetadata {
            name: "a_total".into(),
            kind: MetricKind::Counter,
            help: "x\"".into(),
            unit: "bytes".into(),
        }];
        let json = String::from_utf8(write_metadata(known.iter())).unwrap();
        let expected = r#"{"a_total":[{"type":"counter","help":"x\"","unit":"bytes"}]}"#;
        assert_eq!(json, expected);
    }
}
