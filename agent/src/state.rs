//! The agent's state as text for people: the dump of SIGCONT, the report of `-S`.
//!
//! The rule: what may be secret is never printed; a key whose name sounds like it is hidden.

use kansoku_model::plugin::Setting;
use kansoku_parsers::config::SectionKind;

use crate::config::Configuration;
use crate::pipeline::Metrics;
use crate::{command_line, filters, inputs};

/// Parts of key names whose values are hidden.
const SECRET: &[&str] = &[
    "passw",
    "secret",
    "token",
    "_key",
    "credential",
    "authorization",
    "header",
    "cookie",
];

/// What `SIGCONT` prints: every part with its counters, and what waits where.
#[must_use]
pub fn dump(metrics: &Metrics) -> String {
    let now = jiff::Zoned::now().strftime("%Y/%m/%d %H:%M:%S").to_string();
    let mut out = format!("[{now}] kansoku-agent dump\n\n===== Input =====\n");
    let mut line = |text: String| {
        out += &text;
        out.push('\n');
    };
    for c in &metrics.inputs {
        line(c.name.clone());
        let paused = if c.ingestion_paused.get() == 0 {
            "no"
        } else {
            "yes"
        };
        line(format!("├─ overlimit    : {paused}"));
        line(format!("├─ mem size     : {} bytes", c.memory_bytes.get()));
        line(format!("├─ records      : {}", c.records.get()));
        line(format!("├─ bytes        : {}", c.bytes.get()));
        let open = c.files_opened.get().saturating_sub(c.files_closed.get());
        line(format!("└─ open files   : {open}"));
    }
    line("\n===== Filter =====".into());
    for c in metrics.filters.iter().chain(&metrics.processors) {
        line(c.name.clone());
        line(format!("├─ records      : {}", c.records.get()));
        line(format!("├─ added        : {}", c.add_records.get()));
        line(format!("└─ dropped      : {}", c.drop_records.get()));
    }
    line("\n===== Output =====".into());
    for c in &metrics.outputs {
        line(c.name.clone());
        line(format!("├─ records      : {}", c.proc_records.get()));
        line(format!("├─ bytes        : {}", c.proc_bytes.get()));
        line(format!("├─ errors       : {}", c.errors.get()));
        line(format!("├─ retries      : {}", c.retries.get()));
        line(format!("├─ given up     : {}", c.retries_failed.get()));
        line(format!("└─ dropped      : {}", c.dropped_records.get()));
    }
    out
}

/// What `-S` prints: program, machine, plugins, and the configuration as it was understood.
#[must_use]
pub fn report(configuration: &Configuration) -> String {
    let mut out = String::from("kansoku-agent report\n====================\n");
    let mut line = |text: String| {
        out += &text;
        out.push('\n');
    };
    let system = nix::sys::utsname::uname().ok();
    let of_system = |get: fn(&nix::sys::utsname::UtsName) -> &std::ffi::OsStr| {
        let found = system
            .as_ref()
            .map(|s| get(s).to_string_lossy().into_owned());
        found.unwrap_or_default()
    };
    line(format!(
        "\n[Agent]\n    Version       {}",
        command_line::version().trim()
    ));
    line(format!(
        "    Host          {}",
        configuration.environment.host_name
    ));
    line("\n[Operating System]".into());
    line(format!("    Name          {}", of_system(|s| s.sysname())));
    line(format!("    Release       {}", of_system(|s| s.release())));
    line(format!("    Version       {}", of_system(|s| s.version())));
    line("\n[Hardware]".into());
    line(format!("    Architecture  {}", of_system(|s| s.machine())));
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    line(format!("    Processors    {processors}"));
    line("\n[Built Plugins]".into());
    let names = |all: Vec<&str>| all.join(" ");
    line(format!(
        "    Inputs        {}",
        names(inputs::ALL.iter().map(|p| p.name).collect())
    ));
    line(format!(
        "    Filters       {}",
        names(filters::ALL.iter().map(|p| p.name).collect())
    ));
    let outputs = kansoku_outputs::ALL.iter().map(|p| p.name).collect();
    line(format!("    Outputs       {}", names(outputs)));
    for (kind, settings) in &configuration.sections {
        let header = match kind {
            SectionKind::Service => "SERVICE",
            SectionKind::Input => "INPUT",
            SectionKind::Filter => "FILTER",
            _ => "OUTPUT",
        };
        line(format!("\n[{header}]"));
        for setting in settings {
            line(format!("    {:<28} {}", setting.key, shown(setting)));
        }
    }
    out
}

fn shown(setting: &Setting) -> &str {
    if SECRET.iter().any(|part| setting.key.contains(part)) {
        "(hidden)"
    } else {
        &setting.value
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kansoku_model::Place;

    use super::*;
    use crate::pipeline::{InputCounters, OutputCounters};

    #[test]
    fn a_dump_shows_every_part() {
        let input = InputCounters {
            name: "tail.0".into(),
            ..InputCounters::default()
        };
        input.memory_bytes.set(28);
        let output = OutputCounters {
            name: "es.0".into(),
            ..OutputCounters::default()
        };
        output.retries.add(7);
        let dump = dump(&Metrics {
            inputs: vec![Arc::new(input)],
            outputs: vec![Arc::new(output)],
            ..Metrics::default()
        });
        for part in [
            "tail.0\n",
            "mem size     : 28 bytes",
            "es.0\n",
            "retries      : 7",
        ] {
            assert!(dump.contains(part), "{part}: {dump}");
        }
    }

    #[test]
    fn secrets_are_hidden() {
        for (key, hidden) in [
            ("http_passwd", true),
            ("aws_secret_access_key", true),
            ("bearer_token", true),
            ("header", true),
            ("path", false),
        ] {
            let setting = Setting {
                key: key.into(),
                value: "x".into(),
                place: Place::default(),
            };
            assert_eq!(shown(&setting) == "(hidden)", hidden, "{key}");
        }
    }
}
