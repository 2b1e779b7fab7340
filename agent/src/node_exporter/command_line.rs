//! node_exporter's own command line: its flags, read as its library (kingpin) reads them.
//!
//! A flag is long and has its value behind `=` or in the next argument; a switch has none and is
//! turned off as `--no-NAME`; `@FILE` stands for the lines of a file.

use std::collections::BTreeMap;

use kansoku_model::plugin::did_you_mean;

use super::manual;
use crate::collectors::flags::{Flag, FlagKind, Flags};
use crate::collectors::{COLLECTORS, NodeSpec};

pub(super) const PROCFS: Flag = Flag::text("path.procfs", "/proc", "procfs mountpoint.");
pub(super) const SYSFS: Flag = Flag::text("path.sysfs", "/sys", "sysfs mountpoint.");
pub(super) const ROOTFS: Flag = Flag::text("path.rootfs", "/", "rootfs mountpoint.");
pub(super) const UDEV_DATA: Flag =
    Flag::text("path.udev.data", "/run/udev/data", "udev data path.");
pub(super) const TELEMETRY_PATH: Flag = Flag::text(
    "web.telemetry-path",
    "/metrics",
    "Path under which to expose metrics.",
);
pub(super) const DISABLE_EXPORTER_METRICS: Flag = Flag::switch(
    "web.disable-exporter-metrics",
    false,
    "Exclude metrics about the exporter itself (promhttp_*, process_*).",
);
pub(super) const MAX_REQUESTS: Flag = Flag::text(
    "web.max-requests",
    "40",
    "Maximum number of parallel scrape requests. Use 0 to disable.",
);
const DISABLE_DEFAULTS: Flag = Flag::switch(
    "collector.disable-defaults",
    false,
    "Set all collectors to disabled by default.",
);
const GOMAXPROCS: Flag = Flag::text(
    "runtime.gomaxprocs",
    "1",
    "Accepted: collecting uses one thread whatever it is.",
);
pub(super) const SYSTEMD_SOCKET: Flag = Flag::switch(
    "web.systemd-socket",
    false,
    "Use systemd socket activation listeners instead of port listeners (Linux only).",
);
pub(super) const LISTEN: Flag = Flag {
    default: ":9100",
    ..Flag::list(
        "web.listen-address",
        "Addresses on which to expose metrics and web interface. Repeatable for multiple addresses. Examples: `:9100` or `[::1]:9100`",
    )
};
pub(super) const CONFIG_FILE: Flag = Flag::text(
    "web.config.file",
    "",
    "Path to configuration file that can enable TLS or authentication. See: https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md",
);
pub(super) const LOG_LEVEL: Flag = Flag::text(
    "log.level",
    "info",
    "Only log messages with the given severity or above. One of: [debug, info, warn, error]",
);
pub(super) const LOG_FORMAT: Flag = Flag::text(
    "log.format",
    "logfmt",
    "Output format of log messages. One of: [logfmt, json]",
);

/// The flags that belong to no collector.
pub(super) const FLAGS: [&Flag; 15] = [
    &PROCFS,
    &SYSFS,
    &ROOTFS,
    &UDEV_DATA,
    &TELEMETRY_PATH,
    &DISABLE_EXPORTER_METRICS,
    &MAX_REQUESTS,
    &DISABLE_DEFAULTS,
    &GOMAXPROCS,
    &SYSTEMD_SOCKET,
    &LISTEN,
    &CONFIG_FILE,
    &LOG_LEVEL,
    &LOG_FORMAT,
    // Taken out of every list of arguments before it is read; here for the help.
    &Flag::switch("version", false, "Show application version."),
];

/// What the command line asks for.
#[derive(Debug)]
pub enum CommandLine {
    /// Print this and leave.
    Print(String),
    Run(Box<Invocation>),
}

/// How to run.
#[derive(Debug)]
pub struct Invocation {
    pub spec: NodeSpec,
    /// The collectors that run.
    pub collectors: Vec<&'static str>,
    /// Deprecated flags that were given, and what they stand for.
    pub deprecated: Vec<(&'static str, &'static str)>,
    pub(super) max_requests: usize,
}

/// Reads the arguments after `node-exporter`.
///
/// # Errors
/// The first that cannot be used, with what to do.
pub fn parse(args: impl IntoIterator<Item = String>) -> Result<CommandLine, String> {
    let mut reader = Reader {
        args: expanded(args)?.into_iter(),
        flags: Flags::default(),
        switched: BTreeMap::new(),
        deprecated: Vec::new(),
    };
    while let Some(arg) = reader.args.next() {
        match arg.as_str() {
            "-h" | "--help" => return Ok(CommandLine::Print(manual::help())),
            "--version" => return Ok(CommandLine::Print(manual::version())),
            _ => reader.argument(&arg)?,
        }
    }
    reader.finish().map(|i| CommandLine::Run(Box::new(i)))
}

/// Puts the lines of FILE in the place of `@FILE`; lines that begin with `#` are left out.
fn expanded(args: impl IntoIterator<Item = String>) -> Result<Vec<String>, String> {
    let mut out = Vec::new();
    for arg in args {
        let Some(path) = arg.strip_prefix('@').filter(|path| !path.is_empty()) else {
            out.push(arg);
            continue;
        };
        let text = std::fs::read_to_string(path)
            .map_err(|e| format!("failed to read arguments from {path}: {e}"))?;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        out.extend(lines.map(str::to_owned));
    }
    Ok(out)
}

struct Reader {
    args: std::vec::IntoIter<String>,
    flags: Flags,
    /// `--collector.NAME` and `--no-collector.NAME`.
    switched: BTreeMap<&'static str, bool>,
    deprecated: Vec<(&'static str, &'static str)>,
}

impl Reader {
    fn argument(&mut self, arg: &str) -> Result<(), String> {
        let Some(long) = arg.strip_prefix("--").filter(|long| !long.is_empty()) else {
            return Err(format!(
                "unexpected '{arg}'; flags start with two dashes, see --help"
            ));
        };
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        };
        let positive = name.strip_prefix("no-");
        let is_on = positive.is_none();
        let bare = positive.unwrap_or(name);
        let collector = bare.strip_prefix("collector.");
        if let Some(entry) = COLLECTORS.iter().find(|e| Some(e.name) == collector) {
            without_value(name, value)?;
            if self.switched.insert(entry.name, is_on).is_some() {
                return Err(format!("flag '{bare}' cannot be repeated"));
            }
            return Ok(());
        }
        let Some(flag) = all_flags().find(|f| f.name == bare) else {
            return Err(unknown(name));
        };
        if flag.kind == FlagKind::Switch {
            without_value(name, value)?;
            return self.flags.set(flag, is_on.to_string());
        }
        if !is_on {
            return Err(unknown(name));
        }
        let value = match value {
            Some(value) => value.to_owned(),
            None => (self.args.next())
                .ok_or_else(|| format!("expected argument for flag '--{name}'"))?,
        };
        if let Some(newer) = flag.stands_for {
            self.deprecated.push((flag.name, newer));
        }
        self.flags.set(flag, value)
    }

    fn finish(self) -> Result<Invocation, String> {
        let flags = self.flags;
        let mistake = |error: anyhow::Error| format!("{error:#}");
        let max_requests = flags.number(&MAX_REQUESTS).map_err(mistake)?;
        flags.number(&GOMAXPROCS).map_err(mistake)?;
        one_of(&flags, &LOG_LEVEL, &["debug", "info", "warn", "error"])?;
        one_of(&flags, &LOG_FORMAT, &["logfmt", "json"])?;
        let without_defaults = flags.is_on(&DISABLE_DEFAULTS);
        let runs = |e: &&crate::collectors::Entry| {
            let switched = self.switched.get(e.name).copied();
            switched.unwrap_or(e.is_default && !without_defaults)
        };
        let collectors = COLLECTORS.iter().filter(runs).map(|e| e.name).collect();
        Ok(Invocation {
            collectors,
            deprecated: self.deprecated,
            max_requests: usize::try_from(max_requests).unwrap_or(usize::MAX),
            spec: NodeSpec {
                procfs: flags.text(&PROCFS).into(),
                sysfs: flags.text(&SYSFS).into(),
                rootfs: flags.text(&ROOTFS).into(),
                udev_data: flags.text(&UDEV_DATA).into(),
                flags,
                chosen: Vec::new(),
                findings: Default::default(),
            },
        })
    }
}

/// Every flag except those that turn collectors on and off.
fn all_flags() -> impl Iterator<Item = &'static Flag> {
    let of_collectors = COLLECTORS.iter().flat_map(|e| e.flags);
    FLAGS.into_iter().chain(of_collectors)
}

fn without_value(name: &str, value: Option<&str>) -> Result<(), String> {
    match value {
        None => Ok(()),
        Some(value) => Err(format!(
            "unexpected '{value}': '--{name}' takes no value; turn a switch off with --no-NAME"
        )),
    }
}

fn one_of(flags: &Flags, flag: &Flag, words: &[&str]) -> Result<(), String> {
    let text = flags.text(flag);
    if words.contains(&text) {
        return Ok(());
    }
    let words = words.join(", ");
    Err(format!(
        "--{} is '{text}', but must be one of {words}",
        flag.name
    ))
}

fn unknown(name: &str) -> String {
    let switches: Vec<String> = COLLECTORS
        .iter()
        .map(|e| format!("collector.{}", e.name))
        .collect();
    let names = all_flags()
        .map(|f| f.name)
        .chain(switches.iter().map(String::as_str));
    // All of the names would be no help.
    let near = did_you_mean(name, names);
    let near = if near.contains("did you mean") {
        near.as_str()
    } else {
        ""
    };
    format!("unknown long flag '--{name}'{near}; see --help")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(line: &str) -> String {
        match parse(line.split_whitespace().map(str::to_owned)) {
            Err(error) => format!("error {error}"),
            Ok(CommandLine::Print(text)) => text.lines().next().unwrap_or_default().to_owned(),
            Ok(CommandLine::Run(run)) => run.collectors.join(" "),
        }
    }

    #[test]
    fn collectors_are_switched() {
        let defaults = show("");
        assert!(
            defaults.starts_with("arp ") && defaults.contains(" cpu "),
            "{defaults}"
        );
        assert_eq!(
            show("--collector.disable-defaults --collector.stat --collector.arp"),
            "arp stat"
        );
        let without = show("--no-collector.cpu");
        assert_eq!(without, defaults.replace(" cpu ", " "));
    }

    #[test]
    fn values_in_both_spellings() {
        let line = "--path.rootfs=/host --path.procfs /host/proc --web.max-requests=7 --collector.netdev.device-blacklist=^lo$ --no-collector.cpu.guest";
        let Ok(CommandLine::Run(run)) = parse(line.split(' ').map(str::to_owned)) else {
            panic!("the line is valid");
        };
        assert_eq!(run.spec.rootfs.to_str(), Some("/host"));
        assert_eq!(run.spec.procfs.to_str(), Some("/host/proc"));
        assert_eq!(run.max_requests, 7);
        let netdev = crate::collectors::netdev::EXCLUDE;
        assert_eq!(run.spec.flags.text(&netdev), "^lo$");
        assert_eq!(
            run.deprecated,
            [(
                "collector.netdev.device-blacklist",
                "collector.netdev.device-exclude"
            )]
        );
    }

    #[test]
    fn help_version_and_mistakes() {
        assert!(show("--version").starts_with("node_exporter, version "));
        for help in ["--help", "-h", "--collector.cpu --help"] {
            assert_eq!(show(help), "usage: kansoku-agent node-exporter [<flags>]");
        }
        for (line, expected) in [
            (
                "--colector.cpu",
                "unknown long flag '--colector.cpu'; did you mean 'collector.cpu'?; see --help",
            ),
            (
                "--path.procfs",
                "expected argument for flag '--path.procfs'",
            ),
            (
                "--path.procfs=/a --path.procfs=/b",
                "flag 'path.procfs' cannot be repeated",
            ),
            (
                "--collector.cpu --no-collector.cpu",
                "flag 'collector.cpu' cannot be repeated",
            ),
            ("--no-path.procfs", "unknown long flag '--no-path.procfs'"),
            (
                "--collector.cpu=false",
                "unexpected 'false': '--collector.cpu' takes no value",
            ),
            (
                "metrics",
                "unexpected 'metrics'; flags start with two dashes",
            ),
            (
                "--log.level=loud",
                "--log.level is 'loud', but must be one of debug, info, warn, error",
            ),
            (
                "--web.max-requests=x",
                "--web.max-requests is 'x', but must be a whole number",
            ),
            (
                "@/no/such/file",
                "failed to read arguments from /no/such/file",
            ),
        ] {
            let error = show(line);
            let is_expected = error.starts_with(&format!("error {expected}"));
            assert!(is_expected, "{line}: {error}");
        }
    }

    #[test]
    fn every_flag_is_in_the_help_unless_it_is_hidden() {
        let help = manual::help();
        for flag in all_flags() {
            let is_there = help.contains(&format!("{}=", flag.name))
                || help.contains(&format!("{}\n", flag.name))
                || help.contains(&format!("{} ", flag.name));
            assert_eq!(is_there, !flag.is_hidden, "{}", flag.name);
        }
    }
}
