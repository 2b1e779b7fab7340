//! Every option of Fluent Bit's command line, also those that are refused and why.

use kansoku_model::plugin::did_you_mean;
use kansoku_parsers::config::SectionKind;

/// One option of the command line.
pub struct Flag {
    pub(super) short: Option<char>,
    pub(super) long: &'static str,
    /// The name of its value; empty when it takes none.
    pub(super) value: &'static str,
    about: &'static str,
    pub(super) does: Does,
}

/// What an option is for.
#[derive(Clone, Copy)]
pub(super) enum Does {
    Config,
    Plugin(SectionKind),
    Property,
    /// A key of the plugin named before.
    PluginKey(&'static str),
    /// A SERVICE key with the option's value.
    Service(&'static str),
    /// A SERVICE key with a fixed value.
    ServiceIs(&'static str, &'static str),
    Verbose,
    DryRun,
    Strict,
    /// Print a report and leave.
    Report,
    /// The options of all plugins, or of the one named before, as JSON.
    HelpJson,
    /// The plugin that a following help is about.
    Processor,
    Workdir,
    Version,
    Help,
    /// Refused, with the reason.
    Refused(&'static str),
}

const fn flag(
    short: char,
    long: &'static str,
    value: &'static str,
    about: &'static str,
    does: Does,
) -> Flag {
    Flag {
        short: Some(short),
        long,
        value,
        about,
        does,
    }
}

const fn long_flag(
    long: &'static str,
    value: &'static str,
    about: &'static str,
    does: Does,
) -> Flag {
    Flag {
        short: None,
        long,
        value,
        about,
        does,
    }
}

const NO_STREAMS: Does = Does::Refused("there is no stream processor");
const NO_TRACE: Does = Does::Refused("there is no chunk trace");

/// Every option of Fluent Bit's command line.
pub const FLAGS: &[Flag] = &[
    flag(
        'b',
        "storage_path",
        "DIR",
        "folder for filesystem storage and dead letters",
        Does::Service("storage.path"),
    ),
    flag('c', "config", "FILE", "configuration file", Does::Config),
    flag(
        'D',
        "dry-run",
        "",
        "check the configuration and leave",
        Does::DryRun,
    ),
    long_flag(
        "strict",
        "",
        "take every warning about the configuration for a mistake",
        Does::Strict,
    ),
    flag(
        'f',
        "flush",
        "SECONDS",
        "the longest a record waits",
        Does::Service("flush"),
    ),
    flag(
        'i',
        "input",
        "NAME",
        "add an input",
        Does::Plugin(SectionKind::Input),
    ),
    flag(
        'F',
        "filter",
        "NAME",
        "add a filter",
        Does::Plugin(SectionKind::Filter),
    ),
    flag(
        'o',
        "output",
        "NAME",
        "add an output",
        Does::Plugin(SectionKind::Output),
    ),
    flag(
        'p',
        "prop",
        "KEY=VALUE",
        "an option of the plugin named before",
        Does::Property,
    ),
    flag(
        'm',
        "match",
        "PATTERN",
        "tags that the filter or output named before takes",
        Does::PluginKey("match"),
    ),
    flag(
        't',
        "tag",
        "TAG",
        "tag of the input named before",
        Does::PluginKey("tag"),
    ),
    flag(
        'R',
        "parser",
        "FILE",
        "file with [PARSER] sections; may be given again",
        Does::Service("parsers_file"),
    ),
    flag(
        'l',
        "log_file",
        "FILE",
        "file for the agent's own log",
        Does::Service("log_file"),
    ),
    flag(
        'v',
        "verbose",
        "",
        "log more: -v debug, -vv trace",
        Does::Verbose,
    ),
    flag(
        'q',
        "quiet",
        "",
        "log nothing",
        Does::ServiceIs("log_level", "off"),
    ),
    flag('w', "workdir", "DIR", "working directory", Does::Workdir),
    flag(
        'H',
        "http",
        "",
        "serve metrics and health over HTTP",
        Does::ServiceIs("http_server", "on"),
    ),
    flag(
        'L',
        "http_listen",
        "ADDRESS",
        "address of the HTTP server",
        Does::Service("http_listen"),
    ),
    flag(
        'P',
        "http_port",
        "PORT",
        "port of the HTTP server",
        Does::Service("http_port"),
    ),
    long_flag(
        "port",
        "PORT",
        "the same as --http_port",
        Does::Service("http_port"),
    ),
    flag('V', "version", "", "print the version", Does::Version),
    flag(
        'h',
        "help",
        "",
        "print this help; after -i, -F, -o or -r NAME that plugin's options",
        Does::Help,
    ),
    flag(
        'd',
        "daemon",
        "",
        "",
        Does::Refused("the agent stays in the foreground: let a supervisor or a container run it"),
    ),
    flag(
        'C',
        "custom",
        "NAME",
        "",
        Does::Refused("there are no custom plugins"),
    ),
    flag(
        'r',
        "processor",
        "NAME",
        "with -h: print the options of a processor",
        Does::Processor,
    ),
    flag(
        'e',
        "plugin",
        "FILE",
        "",
        Does::Refused("shared objects cannot be loaded; use a built-in plugin, see --help"),
    ),
    flag('T', "sp-task", "SQL", "", NO_STREAMS),
    flag(
        's',
        "coro_stack_size",
        "BYTES",
        "has no effect: there are no coroutines",
        Does::Service("coro_stack_size"),
    ),
    flag(
        'S',
        "sosreport",
        "",
        "print program, machine and configuration, secrets hidden, and leave",
        Does::Report,
    ),
    flag(
        'Y',
        "enable-hot-reload",
        "",
        "read the configuration again on SIGHUP and on POST /api/v2/reload",
        Does::ServiceIs("hot_reload", "on"),
    ),
    flag(
        'W',
        "disable-thread-safety-on-hot-reloading",
        "",
        "has no effect: a reload is always safe",
        Does::ServiceIs("hot_reload.ensure_thread_safety", "off"),
    ),
    flag(
        'J',
        "help-json",
        "",
        "print the options of all plugins, or of the one named before, as JSON",
        Does::HelpJson,
    ),
    flag('Z', "enable-chunk-trace", "", "", NO_TRACE),
    long_flag("trace", "SPEC", "", NO_TRACE),
    long_flag("trace-input", "NAME", "", NO_TRACE),
    long_flag("trace-output", "NAME", "", NO_TRACE),
    long_flag("trace-output-property", "KEY=VALUE", "", NO_TRACE),
    long_flag(
        "supervisor",
        "",
        "",
        Does::Refused("the agent does not start itself again: let systemd or a container do it"),
    ),
    long_flag(
        "enable-fips",
        "",
        "",
        Does::Refused("there is no FIPS mode"),
    ),
];

/// The option of that name, or the only one whose name starts with it.
pub(super) fn long_named(name: &str) -> Result<&'static Flag, String> {
    if let Some(flag) = FLAGS.iter().find(|f| f.long == name) {
        return Ok(flag);
    }
    let mut begins = FLAGS
        .iter()
        .filter(|f| !name.is_empty() && f.long.starts_with(name));
    match (begins.next(), begins.next()) {
        (Some(flag), None) => Ok(flag),
        (Some(first), Some(second)) => Err(format!(
            "option '--{name}' could be --{} or --{}",
            first.long, second.long
        )),
        _ => {
            let hint = did_you_mean(name, FLAGS.iter().map(|f| f.long));
            let hint = if hint.contains("known:") {
                "; see --help".to_owned()
            } else {
                hint.replace("mean '", "mean '--")
            };
            Err(format!("unknown option '--{name}'{hint}"))
        }
    }
}

/// Short form, long form, value and what it does, of every supported option.
pub fn supported() -> impl Iterator<Item = (String, &'static str)> {
    FLAGS
        .iter()
        .filter(|f| !matches!(f.does, Does::Refused(_)))
        .map(|f| {
            let short = f
                .short
                .map_or_else(|| "    ".to_owned(), |c| format!("-{c}, "));
            (
                format!("{short}--{} {}", f.long, f.value)
                    .trim_end()
                    .to_owned(),
                f.about,
            )
        })
}
