//! `/loki/api/v1/labels`, `/label/<name>/values`, `/series`, `/index/stats`, `/index/shards`.

use std::ops::ControlFlow;
use std::sync::Arc;

use hyper::StatusCode;
use kansoku_model::json::write_str;
use kansoku_model::select::{Direction, LogSelect};
use kansoku_model::{LogSource, Matcher};
use kansoku_query::logql::{self, QueryError, json};
use kansoku_query::memory::Share;
use kansoku_store::Snapshot;

use super::errors::ApiError;
use super::{params, query};
use crate::api::gate::{self, Interrupt};
use crate::api::listing;
use crate::app::App;
use crate::clock;
use crate::http::{Call, Form, Reply};
use crate::telemetry::QueryKind;
use crate::tenants::View;

/// Which streams are asked for.
pub(super) struct Wanted {
    pub any_of: Vec<Vec<Matcher>>,
    pub from_ns: i64,
    pub to_ns: i64,
}

impl Wanted {
    /// `selectors` are the names of the parameters that hold them, `everything` what may stand there for all streams; other selectors have a
    /// condition that not every stream fulfils.
    pub fn of(form: &Form, selectors: &[&str], everything: &[&str]) -> Result<Self, ApiError> {
        let (from_ns, to_ns) = params::label_bounds(form, clock::now_ns())?;
        let texts = selectors.iter().flat_map(|name| form.all(name));
        let any_of = texts
            .filter(|text| !everything.contains(&text.trim()))
            .map(|text| {
                logql::parse(text)?;
                logql::matchers_of_selector(text)
                    .map_err(|_| ApiError::bad_request("only label matchers are supported"))
            });
        Ok(Self {
            any_of: any_of.collect::<Result<_, _>>()?,
            from_ns,
            // The store's end is exclusive, Loki's listings include it.
            to_ns: to_ns.saturating_add(1),
        })
    }
}

/// Runs the work on a snapshot through the gate.
pub(super) async fn run(
    app: Arc<App>,
    tenant: View,
    wanted: Result<Wanted, ApiError>,
    work: impl FnOnce(&Snapshot, &Wanted, &Interrupt) -> Result<Reply, ApiError> + Send + 'static,
) -> Reply {
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(error) => return error.reply(),
    };
    let timeout = app.query_timeout(&tenant);
    let own = tenant.clone();
    let done = gate::run(
        &app,
        &tenant,
        QueryKind::LogqlLabels,
        timeout,
        move |app, interrupt| {
            let snapshot = own.snapshot(&app.tenants.opener)?;
            work(&snapshot, &wanted, interrupt)
        },
    );
    match done.await.map_err(ApiError::from) {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) | Err(error) => error.reply(),
    }
}

fn list<T>(
    items: &[T],
    write: impl Fn(&mut Vec<u8>, &T),
    share: &Share,
) -> Result<Vec<u8>, ApiError> {
    Ok(listing::text(items, write, share).map_err(QueryError::from)?)
}

fn write_name(out: &mut Vec<u8>, name: &String) {
    write_str(out, name.as_bytes());
}

/// `/loki/api/v1/labels`
pub async fn names(app: Arc<App>, call: Call) -> Reply {
    let tenant = call.tenant.clone();
    let wanted = Wanted::of(&call.form, &["query"], &[""]);
    let share = app.query_share(&tenant);
    run(app, tenant, wanted, move |s, w, _| {
        let names = s.log_label_names(&w.any_of, w.from_ns, w.to_ns)?;
        Ok(query::envelope(
            &list(&names, write_name, &share)?,
            &s.warnings(),
        ))
    })
    .await
}

/// `/loki/api/v1/label/<name>/values`
pub async fn values(app: Arc<App>, call: Call) -> Reply {
    let tenant = call.tenant.clone();
    let wanted = Wanted::of(&call.form, &["query"], &[""]);
    let share = app.query_share(&tenant);
    run(app, tenant, wanted, move |s, w, _| {
        let values = s.log_label_values(&call.path_value, &w.any_of, w.from_ns, w.to_ns)?;
        Ok(query::envelope(
            &list(&values, write_name, &share)?,
            &s.warnings(),
        ))
    })
    .await
}

/// `/loki/api/v1/series`
pub async fn series(app: Arc<App>, call: Call) -> Reply {
    let tenant = call.tenant.clone();
    let wanted = Wanted::of(&call.form, &["match[]", "match"], &["{}"]);
    let share = app.query_share(&tenant);
    run(app, tenant, wanted, move |s, w, _| {
        let series = s.log_series(&w.any_of, w.from_ns, w.to_ns)?;
        let data = list(&series, json::write_labels, &share)?;
        Ok(query::envelope(&data, &s.warnings()))
    })
    .await
}

/// `/loki/api/v1/index/stats`: counts of what a selector would read.
pub async fn index_stats(app: Arc<App>, call: Call) -> Reply {
    let tenant = call.tenant.clone();
    let wanted =
        Wanted::of(&call.form, &["query"], &[]).and_then(|wanted| match wanted.any_of.len() {
            1 => Ok(wanted),
            // Told as an empty one.
            0 => logql::parse("").map_or_else(|error| Err(error.into()), |_| Ok(wanted)),
            _ => Err(ApiError::bad_request(
                "parameter 'query' must be one stream selector, for example {job=\"x\"}",
            )),
        });
    run(app, tenant, wanted, |s, w, interrupt| {
        let n_streams = s.log_series(&w.any_of, w.from_ns, w.to_ns)?.len();
        let select = LogSelect {
            matchers: w.any_of.first().cloned().unwrap_or_default(),
            from_ns: w.from_ns,
            to_ns: w.to_ns,
            direction: Direction::Forward,
            needles: Vec::new(),
            automata: Vec::new(),
            counts_only: false,
        };
        let (mut n_blocks, mut n_entries, mut n_bytes) = (0u64, 0u64, 0u64);
        let (mut times, mut lens) = (Vec::new(), Vec::new());
        let mut stopped = None;
        s.select(&select, &mut |block| {
            if let Err(why) = interrupt.check() {
                stopped = Some(why);
                return Ok(ControlFlow::Break(()));
            }
            n_blocks += 1;
            if let Some((entries, bytes)) = block.totals() {
                n_entries += entries;
                n_bytes += bytes;
                return Ok(ControlFlow::Continue(()));
            }
            times.clear();
            lens.clear();
            block.load_times(&mut times, &mut lens)?;
            n_entries += times.len() as u64;
            n_bytes += lens.iter().map(|len| u64::from(*len)).sum::<u64>();
            Ok(ControlFlow::Continue(()))
        })?;
        if let Some(why) = stopped {
            return Err(QueryError::Cancelled(why.message().into()).into());
        }
        let body = format!(
            r#"{{"streams":{n_streams},"chunks":{n_blocks},"entries":{n_entries},"bytes":{n_bytes}}}"#
        );
        Ok(Reply::json(StatusCode::OK, body))
    })
    .await
}

/// `/loki/api/v1/index/shards`: into how many pieces a query should be cut. One, since the engine here reads a
/// query's blocks by itself, however large it is.
pub async fn index_shards(app: Arc<App>, call: Call) -> Reply {
    let stats = index_stats(app, call).await;
    if stats.status != StatusCode::OK {
        return stats;
    }
    let stats = String::from_utf8_lossy(&stats.body);
    let body = format!(
        r#"{{"shards":[{{"bounds":{{"min":0,"max":{}}},"stats":{stats}}}],"chunkGroups":[]}}"#,
        u64::MAX
    );
    Reply::json(StatusCode::OK, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(text: &str, everything: &[&str]) -> Result<usize, String> {
        let mut form = Form::default();
        form.read(text).unwrap();
        let wanted = Wanted::of(&form, &["query"], everything);
        wanted.map(|w| w.any_of.len()).map_err(|e| e.message)
    }

    #[test]
    fn everything_is_selected_only_in_the_words_for_it() {
        for (text, everything, expected) in [
            ("", &[][..], Ok(0)),
            ("query=%7B%7D", &["{}"], Ok(0)),
            ("query=", &[""], Ok(0)),
            (r#"query={a="b"}"#, &[], Ok(1)),
            (
                "query=",
                &["{}"],
                Err("parse error : syntax error: unexpected $end"),
            ),
            ("query={}", &[""], Err("queries require at least one")),
            (
                r#"query={a=~".*"}"#,
                &["", "{}"],
                Err("queries require at least one"),
            ),
            (
                r#"query={a=""}"#,
                &["", "{}"],
                Err("queries require at least one"),
            ),
            (
                r#"query={a="b"}|="c""#,
                &[],
                Err("only label matchers are supported"),
            ),
            (
                r#"query=rate({a="b"}[1m])"#,
                &[],
                Err("only label matchers are supported"),
            ),
        ] {
            match (wanted(text, everything), expected) {
                (Ok(n), Ok(expected)) => assert_eq!(n, expected, "{text}"),
                (Err(error), Err(part)) => assert!(error.contains(part), "{text}: {error}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
    }
}
