//! `PUT`, `POST` and `DELETE /metrics/job/<job>{/<label>/<value>}`: what clients push to a Pushgateway.
//!
//! A Pushgateway keeps the last push of a group and is scraped for ever; here a push is stored once, at the time when it
//! comes, as the samples of any other series. So there is nothing to delete: `DELETE` is answered as there, and the
//! series end by themselves. Queries after a batch job has ended reach back with `last_over_time`.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::{Method, StatusCode, header};
use kansoku_model::metric::Point;
use kansoku_model::{Labels, MetricBatch, MetricKind, RecordBatch, Resource};
use kansoku_parsers::wire::prometheus_protobuf::{self, Histograms};
use kansoku_parsers::wire::prometheus_text;
use kansoku_store::Incoming;

use super::{Ingest, IngestError, Outcome};
use crate::app::App;
use crate::clock;
use crate::http::body::Coding;
use crate::http::{Call, Reply, form};
use crate::telemetry::Protocol;

/// A histogram that is native and classic is stored as both, as it was sent.
const HISTOGRAMS: Histograms = Histograms {
    native: true,
    always_classic: true,
};

/// The form of a page, as the content type tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    OpenMetrics,
    Protobuf,
}

/// Takes a push.
pub async fn receive(app: Arc<App>, call: Call) -> Reply {
    let group = match group_of(&call.path_value) {
        Ok(group) => group,
        Err(message) => return Reply::text(StatusCode::BAD_REQUEST, message),
    };
    if call.method == Method::DELETE {
        return Reply::empty(StatusCode::ACCEPTED);
    }
    let content_type = call.header(header::CONTENT_TYPE).to_ascii_lowercase();
    let form = match content_type.split(';').next().unwrap_or("").trim() {
        "application/vnd.google.protobuf" => Form::Protobuf,
        "application/openmetrics-text" => Form::OpenMetrics,
        _ => Form::Text,
    };
    let coding = match Coding::of(&call.headers) {
        Ok(coding) => coding,
        Err(error) => return error.reply(),
    };
    let max_bytes = super::max_bytes(&app);
    let work = move |ingest: &Ingest<'_>, body: &[u8]| take(ingest, body, form, group);
    match super::run(&app, Protocol::Push, call, coding, max_bytes, work).await {
        Ok(None) => Reply::empty(StatusCode::OK),
        Ok(Some(reason)) => Reply::text(StatusCode::BAD_REQUEST, reason),
        Err(reply) => reply,
    }
}

/// Stores a page; what a limit kept out is told.
fn take(
    ingest: &Ingest<'_>,
    body: &[u8],
    form: Form,
    group: Labels,
) -> Result<(Outcome, Option<String>), IngestError> {
    let bad = |what: String| IngestError::Bad(StatusCode::BAD_REQUEST, what);
    let now_ms = clock::now_ms();
    let (tag, resource) = (Arc::from("push"), Arc::default());
    let page = match form {
        Form::Protobuf => prometheus_protobuf::parse(body, HISTOGRAMS, tag, resource, now_ms)
            .map_err(|e| bad(e.to_string()))?,
        Form::Text | Form::OpenMetrics => {
            let text = std::str::from_utf8(body)
                .map_err(|e| bad(format!("the page is not UTF-8 at byte {}", e.valid_up_to())))?;
            prometheus_text::parse(text, form == Form::OpenMetrics, tag, resource, now_ms)
        }
    };
    // One bad line is a bad page, as there.
    if let Some(what) = page.refused.first {
        return Err(bad(what));
    }
    let has_times = page.batch.samples().any(|(p, _)| p.time_ms.is_some());
    if has_times {
        return Err(bad("pushed metrics must not have timestamps".into()));
    }
    let mut batch = grouped(&page.batch, group);
    let family = batch.family(
        "push_time_seconds",
        MetricKind::Gauge,
        "Last Unix time when changing this group in the Pushgateway succeeded.",
    );
    batch.sample(family, &[], now_ms as f64 / 1e3);
    let mut outcome = Outcome::default();
    let incoming = vec![Incoming::Batch(RecordBatch::Metrics(batch))];
    outcome.add(ingest.store.append(incoming)?);
    let limited = outcome.limit_text(ingest.tenant);
    Ok((outcome, limited))
}

/// The page with the labels of the group, which stand in for labels of these names in the page.
fn grouped(page: &MetricBatch, group: Labels) -> MetricBatch {
    let is_own = |name: &str| group.get(name).is_none();
    let resource = Resource {
        labels: group.clone(),
        ..Resource::default()
    };
    let mut batch = MetricBatch::new(page.tag.clone(), Arc::new(resource), page.time_ms);
    for family in page.families() {
        // In the same order, so under the same number.
        batch.new_family(page.text(family.name), family.kind, page.text(family.help));
    }
    for (point, histogram) in page.samples() {
        let own = page.pairs_of(point.labels).filter(|(name, _)| is_own(name));
        let labels = batch.label_set(own);
        batch.push_sample(Point { labels, ..*point }, histogram.cloned());
    }
    batch
}

/// The labels in a path behind `/metrics/`; a name with `@base64` has its value in base64.
fn group_of(path: &str) -> Result<Labels, String> {
    let mut pairs: Vec<(Cow<'_, str>, String)> = Vec::new();
    let mut segments = path.split('/');
    while let Some(name) = segments.next() {
        let value = segments
            .next()
            .ok_or_else(|| format!("the label {name:?} in the path has no value"))?;
        let (name, is_base64) = match name.strip_suffix("@base64") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let name = form::unescape(name, false)?;
        let value = match is_base64 {
            true => from_base64(value).ok_or_else(|| format!("{value:?} is no text in base64"))?,
            false => form::unescape(value, false)?,
        };
        if name.is_empty() || name.starts_with("__") {
            return Err(format!("{name:?} is no name of a label for a group"));
        }
        if pairs.iter().any(|(known, _)| *known == name) {
            return Err(format!("the label {name:?} stands twice in the path"));
        }
        pairs.push((name.into(), value));
    }
    match pairs.first() {
        Some((name, job)) if name == "job" && !job.is_empty() => {}
        Some((name, _)) if name == "job" => return Err("job name is required".into()),
        _ => return Err("the path must begin with /metrics/job/".into()),
    }
    let pairs = pairs.iter().filter(|(_, value)| !value.is_empty());
    Ok(Labels::from_pairs(pairs.map(|(n, v)| (&**n, v.as_str()))))
}

/// Padded or not; `=` alone is the empty text, which no path could hold.
fn from_base64(text: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_read_from_the_path() {
        let text = |path: &str| match group_of(path) {
            Ok(labels) => labels.to_string(),
            Err(message) => message,
        };
        for (path, expected) in [
            ("job/a", r#"{job="a"}"#),
            ("job/a%2Fb/instance/x", r#"{instance="x", job="a/b"}"#),
            ("job@base64/YS9i", r#"{job="a/b"}"#),
            ("job@base64/YQ==/e@base64/=", r#"{job="a"}"#),
            ("job/", "job name is required"),
            ("job", r#"the label "job" in the path has no value"#),
            ("job/a/b", r#"the label "b" in the path has no value"#),
            ("x/a", "the path must begin with /metrics/job/"),
            ("job/a/job/b", r#"the label "job" stands twice in the path"#),
            ("job@base64/%", r#""%" is no text in base64"#),
            ("job/a/__n/x", r#""__n" is no name of a label for a group"#),
        ] {
            assert_eq!(text(path), expected, "{path}");
        }
    }
}
