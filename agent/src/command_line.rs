//! Fluent Bit's command line, read into the same sections as its configuration files.
//!
//! Read by hand: `-p`, `-m` and `-t` belong to the plugin named before them, and `-h` means that
//! plugin's help, which a parser of independent options such as clap cannot say. Nothing is looked
//! up or opened here except names in the plugin lists.

mod flags;

use std::path::PathBuf;

use kansoku_model::Place;
use kansoku_model::plugin::Setting;
use kansoku_parsers::config::{Section, SectionKind, Signal};

use crate::config::instance;
use crate::{filters, inputs, manual, schema};

pub use flags::supported;
use flags::{Does, FLAGS, Flag, long_named};

/// What the command line asks for.
#[derive(Debug)]
pub enum CommandLine {
    /// Print this and leave.
    Print(String),
    Run(Invocation),
}

/// How to run.
#[derive(Debug, Default)]
pub struct Invocation {
    pub config_file: Option<String>,
    /// Plugins of `-i`, `-F` and `-o`, in order.
    pub sections: Vec<Section>,
    /// SERVICE keys; they win over those of files.
    pub service: Vec<Setting>,
    /// Build everything, run nothing.
    pub dry_run: bool,
    /// A warning about the configuration is a mistake.
    pub strict: bool,
    /// Print a report and leave.
    pub report: bool,
    pub workdir: Option<PathBuf>,
}

/// The version as `-V` prints it.
#[must_use]
pub fn version() -> String {
    format!("kansoku-agent v{}\n", env!("CARGO_PKG_VERSION"))
}

/// Reads the arguments after the program's name.
///
/// # Errors
/// The first that cannot be used, with what to do.
pub fn parse(args: impl IntoIterator<Item = String>) -> Result<CommandLine, String> {
    let mut reader = Reader {
        args: args.into_iter().collect::<Vec<_>>().into_iter(),
        invocation: Invocation::default(),
        n_verbose: 0,
        processor: None,
    };
    while let Some(arg) = reader.args.next() {
        if let Some(text) = reader.argument(&arg)? {
            return Ok(CommandLine::Print(text));
        }
    }
    if let Some(name) = reader.processor {
        return Err(format!(
            "option '-r {name}' only serves its help, '-r {name} -h'; processors belong to an input or output in a YAML configuration"
        ));
    }
    Ok(CommandLine::Run(reader.invocation))
}

struct Reader {
    args: std::vec::IntoIter<String>,
    invocation: Invocation,
    n_verbose: usize,
    /// The processor that a following help is about.
    processor: Option<&'static str>,
}

impl Reader {
    /// Reads one argument, which may hold several short options; text means: print it and leave.
    fn argument(&mut self, arg: &str) -> Result<Option<String>, String> {
        if let Some(long) = arg.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            let flag = long_named(name)?;
            if flag.value.is_empty() && value.is_some() {
                return Err(format!("option '--{}' takes no value", flag.long));
            }
            return self.apply(flag, &format!("--{}", flag.long), value);
        }
        let Some(mut letters) = arg.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
            return Err(format!(
                "unexpected argument '{arg}'; options start with a dash, see --help"
            ));
        };
        while let Some(letter) = letters.chars().next() {
            letters = &letters[letter.len_utf8()..];
            let Some(flag) = FLAGS.iter().find(|f| f.short == Some(letter)) else {
                return Err(format!("unknown option '-{letter}'; see --help"));
            };
            // `-istdin` is `-i stdin`.
            let attached = (!flag.value.is_empty() && !letters.is_empty())
                .then(|| std::mem::take(&mut letters).to_owned());
            if let Some(text) = self.apply(flag, &format!("-{letter}"), attached)? {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    fn apply(
        &mut self,
        flag: &Flag,
        written: &str,
        value: Option<String>,
    ) -> Result<Option<String>, String> {
        if let Does::Refused(why) = flag.does {
            return Err(format!("option '{written}' is not supported: {why}"));
        }
        let value = match value {
            Some(value) => value,
            None if flag.value.is_empty() => String::new(),
            None => self
                .args
                .next()
                .ok_or_else(|| format!("option '{written}' needs a value: {}", flag.value))?,
        };
        match flag.does {
            Does::Config => self.invocation.config_file = Some(value),
            Does::Plugin(kind) => self.open(kind, &value)?,
            Does::Property => {
                let Some((key, text)) = value.split_once('=') else {
                    return Err(format!("'{written} {value}' must be '{written} KEY=VALUE'"));
                };
                self.plugin_key(written, key.trim(), text.trim())?;
            }
            Does::PluginKey(key) => self.plugin_key(written, key, &value)?,
            Does::Service(key) => self.invocation.service.push(setting(key, &value)),
            Does::ServiceIs(key, value) => self.invocation.service.push(setting(key, value)),
            Does::Verbose => {
                self.n_verbose += 1;
                let level = if self.n_verbose == 1 {
                    "debug"
                } else {
                    "trace"
                };
                self.invocation.service.push(setting("log_level", level));
            }
            Does::Strict => self.invocation.strict = true,
            Does::Report => self.invocation.report = true,
            Does::HelpJson => return Ok(Some(self.help_json())),
            Does::Processor => self.processor = Some(processor_named(&value)?),
            Does::DryRun => self.invocation.dry_run = true,
            Does::Workdir => self.invocation.workdir = Some(value.into()),
            Does::Version => return Ok(Some(version())),
            Does::Help => return Ok(Some(self.help())),
            Does::Refused(_) => {}
        }
        Ok(None)
    }

    /// Starts the section of a plugin; its name must be known, so that a following `-h` has a table.
    fn open(&mut self, kind: SectionKind, name: &str) -> Result<(), String> {
        let place = place();
        let mut named = setting("name", name);
        let address = instance::split_address(kind, &mut named);
        let name = named.value.as_str();
        let found = match kind {
            SectionKind::Input => {
                instance::find("input", name, &place, inputs::ALL).map(|p| p.name)
            }
            SectionKind::Filter => {
                instance::find("filter", name, &place, filters::ALL).map(|p| p.name)
            }
            _ => instance::find("output", name, &place, kansoku_outputs::ALL).map(|p| p.name),
        };
        let name = found.map_err(|e| e.message)?;
        let mut section = Section::new(kind, place);
        section.settings.push(setting("name", name));
        section.settings.extend(address);
        self.invocation.sections.push(section);
        Ok(())
    }

    fn plugin_key(&mut self, written: &str, key: &str, value: &str) -> Result<(), String> {
        let Some(section) = self.invocation.sections.last_mut() else {
            return Err(format!(
                "option '{written}' must stand after the plugin it belongs to: -i, -F or -o NAME"
            ));
        };
        if value.is_empty() {
            return Err(format!("option '{written}': '{key}' has no value"));
        }
        section.settings.push(setting(key, value));
        Ok(())
    }

    fn help_json(&self) -> String {
        match self.invocation.sections.last() {
            None => schema::all(),
            Some(s) => schema::of(s.kind, s.settings.first().map_or("", |n| &n.value)),
        }
    }

    fn help(&self) -> String {
        if let Some(name) = self.processor {
            return manual::processor_help(name);
        }
        let name = |s: &Section| {
            s.settings
                .first()
                .map(|n| n.value.clone())
                .unwrap_or_default()
        };
        match self.invocation.sections.last() {
            None => manual::program_help(),
            Some(s) => manual::plugin_help(s.kind, &name(s)),
        }
    }
}

fn processor_named(name: &str) -> Result<&'static str, String> {
    let found = instance::processor_plugin(name, &place(), Signal::Logs);
    found.map(|plugin| plugin.name).map_err(|e| e.message)
}

fn place() -> Place {
    Place::new("command line", 0)
}

fn setting(key: &str, value: &str) -> Setting {
    Setting {
        key: key.to_ascii_lowercase(),
        value: value.to_owned(),
        place: place(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(line: &str) -> String {
        match parse(line.split_whitespace().map(str::to_owned)) {
            Err(e) => format!("error {e}"),
            Ok(CommandLine::Print(text)) => {
                format!("print {}", text.lines().next().unwrap_or_default())
            }
            Ok(CommandLine::Run(run)) => {
                let keys = |list: &[Setting]| {
                    list.iter()
                        .map(|s| format!("{}={}", s.key, s.value))
                        .collect::<Vec<_>>()
                        .join(",")
                };
                let mut out: Vec<String> = run
                    .config_file
                    .map(|c| format!("config={c}"))
                    .into_iter()
                    .collect();
                out.extend(
                    (!run.service.is_empty()).then(|| format!("service({})", keys(&run.service))),
                );
                out.extend(
                    run.sections
                        .iter()
                        .map(|s| format!("{:?}({})", s.kind, keys(&s.settings))),
                );
                out.extend(run.dry_run.then(|| "dry".to_owned()));
                out.join(" ")
            }
        }
    }

    #[test]
    fn options_in_every_spelling() {
        for (line, expected) in [
            ("", ""),
            ("-c a.conf --dry-run", "config=a.conf dry"),
            ("--config=a.conf -D", "config=a.conf dry"),
            (
                "-i dummy -t x -p Rate=2 -o stdout -m * -p format=json_lines",
                "Input(name=dummy,tag=x,rate=2) Output(name=stdout,match=*,format=json_lines)",
            ),
            (
                "-idummy -pdummy={\"a\":\"b=c\"} -onull",
                "Input(name=dummy,dummy={\"a\":\"b=c\"}) Output(name=null)",
            ),
            (
                "-F grep -m a -p regex=log",
                "Filter(name=grep,match=a,regex=log)",
            ),
            (
                "-vvf 0.5 -R a -R b",
                "service(log_level=debug,log_level=trace,flush=0.5,parsers_file=a,parsers_file=b)",
            ),
            (
                "-q -H -P 0 -L 127.0.0.1",
                "service(log_level=off,http_server=on,http_port=0,http_listen=127.0.0.1)",
            ),
            ("--verb --port=1", "service(log_level=debug,http_port=1)"),
            ("-b /s -l /l", "service(storage.path=/s,log_file=/l)"),
        ] {
            assert_eq!(show(line), expected, "{line}");
        }
        assert_eq!(
            show("-V"),
            format!("print kansoku-agent v{}", env!("CARGO_PKG_VERSION"))
        );
        assert!(show("-i dummy -h").starts_with("print input dummy: "));
        assert!(show("-h").starts_with("print Usage: kansoku-agent"));
    }

    #[test]
    fn mistakes_say_what_to_do() {
        for (line, expected) in [
            ("-i", "option '-i' needs a value: NAME"),
            (
                "-p a=b",
                "option '-p' must stand after the plugin it belongs to: -i, -F or -o NAME",
            ),
            ("-i dummy -p rate", "'-p rate' must be '-p KEY=VALUE'"),
            ("-i dummy -p rate=", "option '-p': 'rate' has no value"),
            (
                "-d",
                "option '-d' is not supported: the agent stays in the foreground: let a supervisor or a container run it",
            ),
            ("-x", "unknown option '-x'; see --help"),
            (
                "--confg a",
                "unknown option '--confg'; did you mean '--config'?",
            ),
            (
                "--trace-o x",
                "option '--trace-o' could be --trace-output or --trace-output-property",
            ),
            ("--dry-run=1", "option '--dry-run' takes no value"),
            (
                "a.conf",
                "unexpected argument 'a.conf'; options start with a dash, see --help",
            ),
        ] {
            assert_eq!(show(line), format!("error {expected}"), "{line}");
        }
        let unknown = show("-o stdot");
        assert!(
            unknown.starts_with(
                "error unknown output 'stdot'; did you mean 'stdout'? (known: kansoku, "
            ),
            "{unknown}"
        );
    }
}
