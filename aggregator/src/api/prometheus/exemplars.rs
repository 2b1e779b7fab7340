//! `/api/v1/query_exemplars`: the exemplars of the series that a query's selectors name.

use std::sync::Arc;

use hyper::StatusCode;
use kansoku_model::Matcher;
use kansoku_query::number::format_f;
use kansoku_query::promql::{self, json};
use kansoku_store::SeriesExemplars;

use super::envelope::{self, ApiError};
use super::params;
use crate::api::gate;
use crate::app::App;
use crate::http::{Call, Form, Reply};
use crate::telemetry::QueryKind;

/// Answers the call.
pub async fn query(app: Arc<App>, call: Call) -> Reply {
    let (any_of, from_ms, to_ms) = match wanted(&call.form) {
        Ok(wanted) => wanted,
        Err(error) => return error.reply(),
    };
    // Of a query without selectors there is nothing to tell, and Prometheus says so.
    if any_of.is_empty() {
        return Reply::empty(StatusCode::NO_CONTENT);
    }
    let timeout = app.query_timeout(&call.tenant);
    let own = call.tenant.clone();
    let done = gate::run(
        &app,
        &call.tenant,
        QueryKind::PromqlLabels,
        timeout,
        move |app, _| {
            let snapshot = own.snapshot(&app.tenants.opener)?;
            let found = snapshot.exemplars(&any_of, from_ms, to_ms);
            Ok::<_, ApiError>(envelope::success(&write(&found)))
        },
    );
    match done.await.map_err(ApiError::from) {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) | Err(error) => error.reply(),
    }
}

type Wanted = (Vec<Vec<Matcher>>, i64, i64);

fn wanted(form: &Form) -> Result<Wanted, ApiError> {
    let from_ms = params::time_ms(form, "start", Some(params::TIME_MIN_MS))?;
    let to_ms = params::time_ms(form, "end", Some(params::TIME_MAX_MS))?;
    if to_ms < from_ms {
        return Err(ApiError::bad_data(
            "end timestamp must not be before start timestamp",
        ));
    }
    let query = promql::parse(form.get("query")).map_err(|e| ApiError::bad_data(e.to_string()))?;
    let selectors = query.expr.selectors();
    let any_of = selectors.iter().map(|s| s.matchers.clone()).collect();
    Ok((any_of, from_ms, to_ms))
}

fn write(found: &[SeriesExemplars]) -> Vec<u8> {
    let mut out = vec![b'['];
    for (i, one) in found.iter().enumerate() {
        out.extend_from_slice(if i > 0 { b"," } else { b"" });
        out.extend_from_slice(br#"{"seriesLabels":"#);
        json::write_labels(&mut out, &one.series);
        out.extend_from_slice(br#","exemplars":["#);
        for (j, exemplar) in one.exemplars.iter().enumerate() {
            out.extend_from_slice(if j > 0 { b"," } else { b"" });
            out.extend_from_slice(br#"{"labels":"#);
            json::write_labels(&mut out, &exemplar.labels);
            let value = format_f(exemplar.value);
            out.extend_from_slice(format!(r#","value":"{value}","timestamp":"#).as_bytes());
            json::write_time(&mut out, exemplar.time_ms);
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
    }
    out.push(b']');
    out
}

#[cfg(test)]
mod tests {
    use kansoku_model::Labels;
    use kansoku_store::Exemplar;

    use super::*;

    #[test]
    fn exemplars_are_written_as_prometheus_writes_them() {
        let found = [SeriesExemplars {
            series: Labels::from_pairs([("__name__", "h_bucket")]),
            exemplars: vec![Exemplar {
                labels: Labels::from_pairs([("trace_id", "a\"b")]),
                value: 0.5,
                time_ms: 1_600_096_945_479,
            }],
        }];
        let json = String::from_utf8(write(&found)).unwrap();
        let expected = r#"[{"seriesLabels":{"__name__":"h_bucket"},"exemplars":[{"labels":{"trace_id":"a\"b"},"value":"0.5","timestamp":1600096945.479}]}]"#;
        assert_eq!(json, expected);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("query=up%5B", "1:4: parse error"),
            ("query=up&start=2&end=1", "end timestamp"),
        ] {
            let mut form = Form::default();
            form.read(text).unwrap();
            let message = wanted(&form).err().unwrap().message;
            assert!(message.contains(expected), "{message}");
        }
    }
}
