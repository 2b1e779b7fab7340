//! What the deletes of both APIs share: how the store reads their selectors, and the thread they run on.
//!
//! A delete writes to the disk, so it never runs on a thread that serves sockets.

use std::sync::Arc;
use std::time::Instant;

use hyper::StatusCode;
use kansoku_query::{logql, promql};
use kansoku_store::{DeleteKind, Selector, Store, StoreError};

use crate::app::App;
use crate::journal;
use crate::tenants::{NoStore, View};

/// Reads the selector of a delete: PromQL's of samples, LogQL's with line filters of logs.
///
/// # Errors
/// What is wrong with it.
pub fn parse_selector(kind: DeleteKind, text: &str) -> Result<Selector, String> {
    match kind {
        DeleteKind::Samples => Ok(Selector {
            matchers: promql::matchers_of_selector(text).map_err(|e| e.to_string())?,
            lines: None,
        }),
        DeleteKind::Logs => {
            let (matchers, lines) = logql::selector_with_lines(text)?;
            Ok(Selector {
                matchers,
                lines: lines.map(Arc::from),
            })
        }
    }
}

/// An identifier that no other delete or snapshot has.
pub fn new_id() -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

/// Runs `work` on a tenant's store, on a thread that may block, and tells how long it took. A tenant without
/// data has the default answer.
///
/// # Errors
/// The store's, or 500 for a mistake of this program.
pub async fn run<T: Default + Send + 'static>(
    app: &Arc<App>,
    tenant: &View,
    what: String,
    work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, (StatusCode, String)> {
    let begun = Instant::now();
    let shown = format!("{what}{}", tenant.shown());
    let done = run_quietly(app, tenant, what, work).await?;
    journal::info(&format!("{shown}: done in {:?}", begun.elapsed()));
    Ok(done)
}

/// The same without a word of what went well: for what changes nothing.
///
/// # Errors
/// As for `run`.
pub async fn run_quietly<T: Default + Send + 'static>(
    app: &Arc<App>,
    tenant: &View,
    what: String,
    work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, (StatusCode, String)> {
    let what = format!("{what}{}", tenant.shown());
    let whole = tenant.whole();
    let tenant = whole.map_err(|why| (StatusCode::FORBIDDEN, why.to_owned()))?;
    let (worker, tenant) = (app.clone(), tenant.clone());
    let done = tokio::task::spawn_blocking(move || {
        // Where there is nothing, nothing is to be done.
        match tenant.existing_store(&worker.tenants.opener) {
            Ok(store) => Ok(store.map_or_else(|| Ok(T::default()), |store| work(&store))),
            Err(why) => Err(why),
        }
    });
    let error = match done.await {
        Ok(Ok(Ok(value))) => return Ok(value),
        Ok(Ok(Err(error)) | Err(NoStore::Failed(error))) => error,
        Ok(Err(why @ NoStore::Recovering)) => {
            return Err((StatusCode::SERVICE_UNAVAILABLE, why.to_string()));
        }
        Err(panic) => {
            journal::error(&format!("{what}: a mistake of this program: {panic}"));
            let text = "failed by a mistake of this program; see its log";
            return Err((StatusCode::INTERNAL_SERVER_ERROR, text.into()));
        }
    };
    let status = match error {
        StoreError::Invalid(_) => StatusCode::BAD_REQUEST,
        StoreError::Full { .. } => StatusCode::INSUFFICIENT_STORAGE,
        StoreError::Busy { .. } | StoreError::Poisoned(_) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    if status != StatusCode::BAD_REQUEST {
        journal::error(&format!("{what}: {error}"));
    }
    Err((status, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_of_logs_take_line_filters_and_nothing_else() {
        let takes = |text: &str, line: &[u8]| {
            let selector = parse_selector(DeleteKind::Logs, text).expect(text);
            assert_eq!(selector.matchers.len(), 1);
            selector.lines.is_none_or(|test| test(line))
        };
        assert!(takes(r#"{app="a"}"#, b"any"));
        assert!(takes(r#"{app="a"} |= "pass" != "fail""#, b"a password"));
        assert!(!takes(r#"{app="a"} |= "pass" != "fail""#, b"pass or fail"));
        assert!(takes(r#"{app="a"} |~ "user=\\d+""#, b"user=17"));
        for (text, expected) in [
            (r#"{app="a"} | json"#, "looks at more than the line"),
            (r#"rate({app="a"}[5m])"#, "not a metric query"),
            ("{}", "queries require at least one"),
        ] {
            let error = parse_selector(DeleteKind::Logs, text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let selector = parse_selector(DeleteKind::Samples, "up{job=~\"a|b\"}").unwrap();
        assert_eq!(selector.matchers.len(), 2);
        assert!(parse_selector(DeleteKind::Samples, "rate(up[5m])").is_err());
    }
}
