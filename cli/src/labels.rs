//! `kansoku labels`: names of labels, or values of one, of logs or of metrics.

use serde_json::json;

use crate::args::{self, Global, Output};
use crate::client::{Client, escape};
use crate::error::Result;
use crate::output::{self, color::Palette, table::Table};
use crate::query::{bounds, pointed};
use crate::time;

/// Runs the command.
///
/// # Errors
/// When the selector is wrong or the server gives no answer.
pub async fn run(client: &Client, global: &Global, args: &args::Labels) -> Result<()> {
    let (start_ns, end_ns) = bounds(&args.span)?;
    let mut parameters = if args.metrics {
        let seconds = |ns: i64| time::seconds(ns.div_euclid(1_000_000));
        vec![("start", seconds(start_ns)), ("end", seconds(end_ns))]
    } else {
        vec![("start", start_ns.to_string()), ("end", end_ns.to_string())]
    };
    if let Some(selector) = &args.selector {
        parameters.push((
            if args.metrics { "match[]" } else { "query" },
            selector.clone(),
        ));
    }
    let root = if args.metrics {
        "/api/v1"
    } else {
        "/loki/api/v1"
    };
    let path = match &args.name {
        None => format!("{root}/labels"),
        Some(name) => format!("{root}/label/{}/values", escape(name)),
    };
    // Loki leaves the list out when it is empty.
    let found = client.data::<Option<Vec<String>>>(&path, &parameters).await;
    let found = found
        .map_err(|e| pointed(args.selector.as_deref().unwrap_or_default(), e))?
        .unwrap_or_default();
    let heading = if args.name.is_some() {
        "VALUE"
    } else {
        "LABEL"
    };
    if found.is_empty() {
        let what = args.name.as_ref().map_or_else(
            || "labels".to_owned(),
            |name| format!("values of label \"{name}\""),
        );
        output::say(&format!(
            "No {what} found from {} to {}{}.",
            time::rfc3339(start_ns),
            time::rfc3339(end_ns),
            if args.metrics {
                ""
            } else {
                "; '--metrics' asks for those of metrics"
            }
        ));
        if global.output == Output::Table {
            return Ok(());
        }
    }
    let mut table = Table::new([heading]);
    for text in &found {
        table.push([text.as_str()]);
    }
    let mut out = std::io::stdout().lock();
    output::write(
        &mut out,
        global.output,
        Palette::of(global.color),
        &table,
        &json!(found),
    )
}
