//! `kansoku patterns`: what lines look like without what differs between them, with their number.

use serde::Deserialize;
use serde_json::json;

use crate::args::{self, Global, Output};
use crate::client::Client;
use crate::error::Result;
use crate::output::{self, color::Palette, table::Table};
use crate::query::{bound, bounds, pointed};
use crate::time::{self, SECOND_NS};

#[derive(Deserialize)]
struct Pattern {
    pattern: String,
    #[serde(default)]
    level: String,
    samples: Vec<(i64, u64)>,
}

/// Runs the command.
///
/// # Errors
/// When the selector is wrong or the server gives no answer.
pub async fn run(client: &Client, global: &Global, args: &args::Patterns) -> Result<()> {
    let (start_ns, end_ns) = bounds(&args.span)?;
    // Two columns of numbers are wanted, not a curve.
    let step_s = ((end_ns - start_ns) / 50 / SECOND_NS).max(1);
    let parameters = [
        ("query", args.selector.clone()),
        ("start", start_ns.to_string()),
        ("end", end_ns.to_string()),
        ("step", step_s.to_string()),
    ];
    let found = client
        .data::<Option<Vec<Pattern>>>("/loki/api/v1/patterns", &parameters)
        .await;
    let found = found
        .map_err(|e| pointed(&args.selector, e))?
        .unwrap_or_default();
    if found.is_empty() {
        output::say(&format!(
            "No lines found from {} to {}; 'kansoku labels' lists what can be selected.",
            time::rfc3339(start_ns),
            time::rfc3339(end_ns)
        ));
        if global.output == Output::Table {
            return Ok(());
        }
    }
    let count = |pattern: &Pattern| {
        let counts = pattern.samples.iter().map(|(_, n)| *n);
        counts.fold(0, u64::saturating_add)
    };
    let mut rows: Vec<(u64, &Pattern)> = found.iter().map(|p| (count(p), p)).collect();
    rows.sort_by_key(|(n, _)| std::cmp::Reverse(*n));
    rows.truncate(bound(args.limit));
    let mut table = Table::new(["COUNT", "LEVEL", "PATTERN"]);
    let mut data = Vec::new();
    for (n, pattern) in rows {
        table.push([
            n.to_string(),
            pattern.level.clone(),
            pattern.pattern.clone(),
        ]);
        data.push(json!({"count": n, "level": pattern.level, "pattern": pattern.pattern, "samples": pattern.samples}));
    }
    let mut out = std::io::stdout().lock();
    output::write(
        &mut out,
        global.output,
        Palette::of(global.color),
        &table,
        &json!(data),
    )
}
