//! What `node-exporter --help` and `--version` print.

use std::fmt::Write;

use super::command_line::FLAGS;
use crate::collectors::COLLECTORS;
use crate::collectors::flags::{Flag, FlagKind};

const WRITES: &str = "writing to memory cannot fail";
/// Where the text of a flag begins.
const TEXT_COLUMN: usize = 33;

/// The version in the form that node_exporter prints.
#[must_use]
pub(super) fn version() -> String {
    format!(
        "node_exporter, version {} (branch: kansoku, revision: )\n  platform:         {}/{}\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        super::machine(),
    )
}

/// All flags with their defaults.
#[must_use]
pub(super) fn help() -> String {
    let mut out = "usage: kansoku-agent node-exporter [<flags>]\n\n\
        The node's metrics under node_exporter's names, with node_exporter's flags.\n\n\nFlags:\n"
        .to_owned();
    entry(&mut out, "-h, --help", "Show context-sensitive help.");
    let of_collectors = COLLECTORS.iter().flat_map(|e| e.flags);
    for flag in FLAGS
        .into_iter()
        .chain(of_collectors)
        .filter(|f| !f.is_hidden)
    {
        entry(&mut out, &form(flag), flag.help);
    }
    for e in COLLECTORS {
        let state = if e.is_default { "enabled" } else { "disabled" };
        let text = format!(
            "Enable the {} collector: {} (default: {state}).",
            e.name, e.about
        );
        entry(&mut out, &format!("    --[no-]collector.{}", e.name), &text);
    }
    out
}

fn form(flag: &Flag) -> String {
    match flag.kind {
        FlagKind::Switch if flag.name == "version" => "    --version".to_owned(),
        FlagKind::Switch => format!("    --[no-]{}", flag.name),
        FlagKind::Text => format!("    --{}={:?}", flag.name, flag.default),
        FlagKind::List if !flag.default.is_empty() => {
            format!("    --{}={} ...", flag.name, flag.default)
        }
        FlagKind::List => {
            let value = flag.name.rsplit(['.', '-']).next().unwrap_or("value");
            format!("    --{}={} ...", flag.name, value.to_uppercase())
        }
    }
}

fn entry(out: &mut String, form: &str, text: &str) {
    if form.len() + 4 > TEXT_COLUMN {
        writeln!(out, "  {form}\n{:TEXT_COLUMN$}{text}", "").expect(WRITES);
    } else {
        writeln!(out, "  {form:width$}{text}", width = TEXT_COLUMN - 2).expect(WRITES);
    }
}
