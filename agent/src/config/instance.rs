//! One section as a part of the pipeline: name, core options, and the built plugin.
//!
//! Core options are those that the pipeline and not the plugin reads. They are taken out of the
//! section first; what is left is the plugin's own and is checked against its table.

use std::sync::Arc;
use std::time::Duration;

use kansoku_model::plugin::{Setting, did_you_mean, parse_bool};
use kansoku_model::{ConfigError, OptionKind, OptionSpec, Place, Plugin, Settings};
use kansoku_outputs::{Output, OutputEnvironment, OutputPlugin, RetryPolicy};
use kansoku_parsers::config::{SectionKind, Signal};

use super::routing::Router;
use super::{conditional, foreign, voice, without_effect};
use crate::log::{Level, Voice};
use crate::pipeline::{FilterSpec, InputSpec, OutputSet, ProcessorSpec, RateGate, TagMatch};
use crate::plugin::{Environment, FilterPlugin, InputPlugin};
use crate::{filters, inputs};

/// A mistake and who found it.
#[derive(Debug)]
pub struct Mistake {
    pub error: ConfigError,
    /// The plugin itself refused to start, as opposed to the reader.
    pub in_plugin: bool,
}

impl Mistake {
    /// Found while reading.
    #[must_use]
    pub fn read(error: ConfigError) -> Self {
        Self {
            error,
            in_plugin: false,
        }
    }

    /// Found by the plugin.
    #[must_use]
    pub fn plugin(error: ConfigError) -> Self {
        Self {
            error,
            in_plugin: true,
        }
    }
}

/// An output that may still lack its `match`.
pub struct UnroutedOutput {
    pub name: String,
    pub matches: Option<TagMatch>,
    pub output: Arc<dyn Output>,
    pub retry: RetryPolicy,
    pub workers: usize,
    pub total_limit_bytes: Option<u64>,
}

const ALIAS: OptionSpec = OptionSpec::new(
    "alias",
    OptionKind::Text,
    "NAME.N",
    "name in metrics and logs",
);
const MATCH: OptionSpec = OptionSpec::new(
    "match",
    OptionKind::Text,
    "",
    "tags to take; * stands for any characters",
);
const MATCH_REGEX: OptionSpec = OptionSpec::new(
    "match_regex",
    OptionKind::Text,
    "",
    "tags to take, as a pattern that matches from their start; beside match one of the two is enough",
);

const LOG_LEVEL: OptionSpec = OptionSpec::new(
    "log_level",
    OptionKind::Choice(Level::WORDS),
    "that of SERVICE",
    "how much this plugin logs",
);
const LOG_SUPPRESS_INTERVAL: OptionSpec = OptionSpec::new(
    "log_suppress_interval",
    OptionKind::Time,
    "10",
    "a message that repeats within this time is counted instead of written again",
);
const ACTIVE: OptionSpec = OptionSpec::new(
    "active",
    OptionKind::Text,
    "true",
    "false or 0 leaves the section out",
);

/// Core options of every input.
pub const INPUT_OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "tag",
        OptionKind::Text,
        "NAME.N",
        "tag of the records, for match",
    ),
    ALIAS,
    LOG_LEVEL,
    LOG_SUPPRESS_INTERVAL,
    ACTIVE,
    OptionSpec::new(
        "mem_buf_limit",
        OptionKind::Size,
        "8M",
        "bytes not yet delivered at which the input waits",
    ),
    OptionSpec::new(
        "routable",
        OptionKind::Bool,
        "on",
        "off: what the input reads passes its filters and goes to no output",
    ),
    OptionSpec::new(
        "rate_gate",
        OptionKind::Bool,
        "off",
        "the input waits when it has sent more in a rate_window than the limits allow",
    ),
    OptionSpec::new(
        "rate_gate.max_records",
        OptionKind::Int,
        "0",
        "records a second; 0 is no limit",
    ),
    OptionSpec::new(
        "rate_gate.max_bytes",
        OptionKind::Size,
        "0",
        "bytes a second; 0 is no limit",
    ),
    OptionSpec::new(
        "rate_gate.backpressure",
        OptionKind::Bool,
        "on",
        "divide the limits by the number of requests under way for the input and of their failed attempts",
    ),
    OptionSpec::new(
        "rate_gate.resume_ratio",
        OptionKind::Float,
        "0.8",
        "a closed gate opens within its window when less than this part of the limits is used up",
    ),
    OptionSpec::new(
        "rate_window",
        OptionKind::Time,
        "1s",
        "the time over which rate_gate counts",
    ),
    OptionSpec::new(
        "storage.type",
        OptionKind::Choice(&["memory", "filesystem", "memrb"]),
        "memory",
        "filesystem: records that exist nowhere else are spilled to storage.path until they are delivered; log files are their own buffer",
    ),
];

/// Core options of every filter.
pub const FILTER_OPTIONS: &[OptionSpec] = &[
    MATCH,
    MATCH_REGEX,
    ALIAS,
    LOG_LEVEL,
    LOG_SUPPRESS_INTERVAL,
    ACTIVE,
];

/// Core options of every output.
pub const OUTPUT_OPTIONS: &[OptionSpec] = &[
    MATCH,
    MATCH_REGEX,
    ALIAS,
    LOG_LEVEL,
    LOG_SUPPRESS_INTERVAL,
    ACTIVE,
    OptionSpec::new(
        "retry_limit",
        OptionKind::Text,
        "no_limits",
        "retries before records go to the dead letters: a number, no_limits, false or no_retries",
    ),
    OptionSpec::new(
        "workers",
        OptionKind::Int,
        "1",
        "requests that may be under way at once",
    ),
    OptionSpec::new(
        "storage.total_limit_size",
        OptionKind::Size,
        "",
        "bytes that may be spilled for this output; then inputs wait; what cannot wait pushes out the oldest",
    ),
];

/// The most `workers`: more connections than that to one destination harm it.
const MAX_WORKERS: i64 = 64;

/// Finds a plugin by name.
///
/// # Errors
/// When there is none of that name.
pub fn find<T: ?Sized, E>(
    kind: &str,
    name: &str,
    place: &Place,
    all: &'static [&'static Plugin<T, E>],
) -> Result<&'static Plugin<T, E>, ConfigError> {
    let found = all
        .iter()
        .copied()
        .find(|p| p.name.eq_ignore_ascii_case(name));
    found.ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|p| p.name).collect();
        if let Some(message) = foreign::of(kind, name, &names) {
            return ConfigError::new(place, message);
        }
        let mut hint = did_you_mean(name, names.iter().copied());
        if !hint.contains("known:") {
            hint += &format!(" (known: {})", names.join(", "));
        }
        ConfigError::new(place, format!("unknown {kind} '{name}'{hint}"))
    })
}

/// `name://host:port/uri` in place of a name: the name stays, the rest becomes keys of the section.
/// An input that listens gets its `listen`.
pub fn split_address(kind: SectionKind, name: &mut Setting) -> Vec<Setting> {
    let Some((plugin, address)) = name.value.split_once("://") else {
        return Vec::new();
    };
    let (authority, uri) = match address.find('/') {
        Some(at) => (&address[..at], &address[at..]),
        None => (address, ""),
    };
    // An IPv6 address stands in brackets; its colons are no port.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (authority, ""),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let listens = kind == SectionKind::Input
        && inputs::ALL.iter().any(|p| {
            p.name.eq_ignore_ascii_case(plugin) && p.options.iter().any(|o| o.name == "listen")
        });
    let host_key = if listens { "listen" } else { "host" };
    let given = [(host_key, host), ("port", port), ("uri", uri)];
    let given = given.into_iter().filter(|(_, value)| !value.is_empty());
    let settings = given.map(|(key, value)| Setting {
        key: key.to_owned(),
        value: value.to_owned(),
        place: name.place.clone(),
    });
    let settings = settings.collect();
    name.value = plugin.to_owned();
    settings
}

/// A section split into what the pipeline reads and what the plugin reads, both checked.
struct Split {
    core: Settings,
    own: Settings,
}

fn split(
    section: Settings,
    core: &[OptionSpec],
    own: &[OptionSpec],
    warnings: &mut Vec<ConfigError>,
) -> Result<Split, Mistake> {
    let empty = || Settings {
        plugin: section.plugin.clone(),
        place: section.place.clone(),
        settings: Vec::new(),
    };
    let mut split = Split {
        core: empty(),
        own: empty(),
    };
    for s in section.settings {
        if s.key == "name" {
            continue;
        }
        let is_own = own.iter().any(|o| o.name == s.key);
        if core.iter().any(|o| o.name == s.key) {
            if let Some(first) = split.core.get(&s.key) {
                let message = format!(
                    "'{}' is given twice (first at {}); the last one counts",
                    s.key, first.place
                );
                warnings.push(ConfigError::new(&s.place, message));
            }
            split.core.settings.retain(|k| k.key != s.key);
            split.core.settings.push(s);
        } else if !is_own
            && without_effect::take(&section.plugin, &s, warnings).map_err(Mistake::read)?
        {
        } else {
            split.own.settings.push(s);
        }
    }
    split.core.check(core).map_err(Mistake::read)?;
    split.own.check(own).map_err(Mistake::read)?;
    Ok(split)
}

/// How much the plugin says, from its core options.
fn voice_of(core: &Settings) -> Result<Voice, Mistake> {
    let repeat = core
        .seconds("log_suppress_interval", 0.0)
        .map_err(Mistake::read)?;
    Ok(Voice {
        level: core.get("log_level").and_then(|s| Level::parse(&s.value)),
        repeat: (repeat > 0.0).then(|| Duration::from_secs_f64(repeat)),
    })
}

/// `active false` and `active 0` leave a section out. Fluent Bit knows it for filters only and ignores
/// it elsewhere.
fn is_active(core: &Settings) -> bool {
    let value = core.text("active", "true");
    !(value == "0" || parse_bool(value) == Some(false))
}

fn name(plugin: &str, n: usize, core: &Settings) -> String {
    core.get("alias")
        .map_or_else(|| format!("{plugin}.{n}"), |s| s.value.clone())
}

fn matches(core: &Settings) -> Result<Option<TagMatch>, Mistake> {
    let wildcard = core.get("match").map(|s| s.value.as_str());
    let Some(s) = core.get("match_regex") else {
        return Ok(wildcard.map(TagMatch::wildcard));
    };
    let matches = TagMatch::regex(&s.value)
        .map_err(|e| Mistake::read(ConfigError::new(&s.place, e.to_string())))?;
    Ok(Some(match wildcard {
        Some(wildcard) => matches.or_wildcard(wildcard),
        None => matches,
    }))
}

/// Builds instance number `n` of an input; also returns the plugin's own settings. `None` when it is not
/// active.
///
/// # Errors
/// The first mistake in its section.
pub fn input(
    plugin: &'static InputPlugin,
    n: usize,
    section: Settings,
    environment: &Environment,
    has_storage_path: bool,
    warnings: &mut Vec<ConfigError>,
) -> Result<(Option<InputSpec>, Settings), Mistake> {
    let Split { core, own } = split(section, INPUT_OPTIONS, plugin.options, warnings)?;
    if !is_active(&core) {
        return Ok((None, own));
    }
    let storage = core.get("storage.type");
    let filesystem = storage.is_some_and(|s| s.value.eq_ignore_ascii_case("filesystem"));
    if let Some(s) = storage.filter(|_| filesystem && !has_storage_path) {
        let message = "storage.type filesystem needs 'storage.path' in [SERVICE]";
        return Err(Mistake::plugin(ConfigError::new(&s.place, message)));
    }
    if let Some(s) = storage.filter(|s| s.value.eq_ignore_ascii_case("memrb")) {
        let message = "'storage.type memrb' is taken for memory: a full buffer makes the input wait, where memrb drops the oldest records";
        warnings.push(ConfigError::new(&s.place, message));
    }
    let limit = core.size("mem_buf_limit", 0).map_err(Mistake::read)?;
    let spec = InputSpec {
        name: name(plugin.name, n, &core),
        tag: core.text("tag", &format!("{}.{n}", plugin.name)).to_owned(),
        tag_is_set: core.get("tag").is_some(),
        mem_buf_limit: (limit > 0).then_some(limit),
        input: voice::input(
            (plugin.build)(&own, environment).map_err(Mistake::plugin)?,
            voice_of(&core)?,
        ),
        processors: routable(&core)?,
        filesystem,
        routed_to: OutputSet::EMPTY,
        rate_gate: rate_gate(&core)?,
    };
    Ok((Some(spec), own))
}

/// `routable off`: a stage that marks all records as nobody's.
fn routable(core: &Settings) -> Result<Vec<ProcessorSpec>, Mistake> {
    if core.bool("routable", true).map_err(Mistake::read)? {
        return Ok(Vec::new());
    }
    Ok(vec![ProcessorSpec {
        name: "routable".to_owned(),
        filter: Box::new(Router::nowhere()),
    }])
}

/// The limits of `rate_gate`, when it is on.
fn rate_gate(core: &Settings) -> Result<Option<RateGate>, Mistake> {
    let count = |key: &str| {
        let found = core.int(key, 0)?;
        u64::try_from(found).map_err(|_| {
            let place = core.get(key).map_or(&core.place, |s| &s.place);
            ConfigError::new(place, format!("'{key}' must not be negative"))
        })
    };
    let records = count("rate_gate.max_records").map_err(Mistake::read)?;
    let bytes = core.size("rate_gate.max_bytes", 0).map_err(Mistake::read)?;
    let window = core.seconds("rate_window", 1.0).map_err(Mistake::read)?;
    // 0 is a second, as in Fluent Bit.
    let window = if window > 0.0 { window } else { 1.0 };
    if !core.bool("rate_gate", false).map_err(Mistake::read)? {
        return Ok(None);
    }
    let ratio = core.float("rate_gate.resume_ratio", 0.8);
    let ratio = ratio.map_err(Mistake::read)?;
    if !(ratio > 0.0 && ratio < 1.0) {
        let place = core
            .get("rate_gate.resume_ratio")
            .map_or(&core.place, |s| &s.place);
        let message = format!("'rate_gate.resume_ratio' is {ratio}, but must be between 0 and 1");
        return Err(Mistake::read(ConfigError::new(place, message)));
    }
    let backpressure = core.bool("rate_gate.backpressure", true);
    let backpressure = backpressure.map_err(Mistake::read)?;
    let window = Duration::from_secs_f64(window);
    let limits = (records, bytes);
    Ok(Some(RateGate::new(limits, window, backpressure, ratio)))
}

/// Builds instance number `n` of a filter; `None` when it is not active.
///
/// # Errors
/// The first mistake in its section, also a missing `match`.
pub fn filter(
    plugin: &'static FilterPlugin,
    n: usize,
    section: Settings,
    environment: &Environment,
    warnings: &mut Vec<ConfigError>,
) -> Result<Option<FilterSpec>, Mistake> {
    let Split { core, own } = split(section, FILTER_OPTIONS, plugin.options, warnings)?;
    if !is_active(&core) {
        return Ok(None);
    }
    let Some(matches) = matches(&core)? else {
        let message = format!(
            "filter {} needs 'match' or 'match_regex'; 'match *' takes every record",
            plugin.name
        );
        return Err(Mistake::plugin(ConfigError::new(&core.place, message)));
    };
    let built = (plugin.build)(&own, environment).map_err(Mistake::plugin)?;
    Ok(Some(FilterSpec {
        name: name(plugin.name, n, &core),
        matches,
        filter: voice::filter(built, voice_of(&core)?),
    }))
}

/// The plugins that can be processors only; every filter can be one, too.
pub const PROCESSORS: &[&FilterPlugin] = crate::processors::ALL;

/// Finds the plugin of a processor.
///
/// # Errors
/// When there is none of that name, or it does nothing for such records.
pub fn processor_plugin(
    name: &str,
    place: &Place,
    signal: Signal,
) -> Result<&'static FilterPlugin, ConfigError> {
    if signal == Signal::Traces {
        let message = "there are no traces in the agent; remove the processors for them";
        return Err(ConfigError::new(place, message));
    }
    let mut all = PROCESSORS.iter().chain(filters::ALL).copied();
    if let Some(plugin) = all.find(|p| p.name.eq_ignore_ascii_case(name)) {
        return Ok(plugin);
    }
    let names: Vec<&str> = (PROCESSORS.iter().chain(filters::ALL))
        .map(|p| p.name)
        .collect();
    let message = foreign::of("processor", name, &names)
        .or_else(|| foreign::of("filter", name, &names))
        .unwrap_or_else(|| {
            format!(
                "unknown processor '{name}'{}",
                did_you_mean(name, names.iter().copied())
            )
        });
    Err(ConfigError::new(place, message))
}

/// Builds instance number `n` of a processor.
///
/// # Errors
/// The first mistake in its section.
pub fn processor(
    plugin: &'static FilterPlugin,
    n: usize,
    section: Settings,
    environment: &Environment,
    warnings: &mut Vec<ConfigError>,
) -> Result<ProcessorSpec, Mistake> {
    let Split { core, own } = split(section, FILTER_OPTIONS, plugin.options, warnings)?;
    let built = (plugin.build)(&own, environment).map_err(Mistake::plugin)?;
    let matches = matches(&core)?;
    let built = match matches {
        Some(matches) => conditional::tagged(built, matches),
        None => built,
    };
    Ok(ProcessorSpec {
        name: name(plugin.name, n, &core),
        filter: voice::filter(built, voice_of(&core)?),
    })
}

/// Builds instance number `n` of an output; `None` when it is not active.
///
/// # Errors
/// The first mistake in its section.
pub fn output(
    plugin: &'static OutputPlugin,
    n: usize,
    section: Settings,
    environment: &OutputEnvironment,
    retry: RetryPolicy,
    warnings: &mut Vec<ConfigError>,
) -> Result<Option<UnroutedOutput>, Mistake> {
    let Split { core, own } = split(section, OUTPUT_OPTIONS, plugin.options, warnings)?;
    if !is_active(&core) {
        return Ok(None);
    }
    let workers = core.int("workers", 1).map_err(Mistake::read)?;
    if !(0..=MAX_WORKERS).contains(&workers) {
        let place = core.get("workers").map_or(&core.place, |s| &s.place);
        let message = format!("'workers' must be between 0 and {MAX_WORKERS}");
        return Err(Mistake::read(ConfigError::new(place, message)));
    }
    let total_limit = core
        .size("storage.total_limit_size", 0)
        .map_err(Mistake::read)?;
    let built = (plugin.build)(&own, environment).map_err(Mistake::plugin)?;
    Ok(Some(UnroutedOutput {
        total_limit_bytes: (total_limit > 0).then_some(total_limit),
        name: name(plugin.name, n, &core),
        matches: matches(&core)?,
        retry: retry.with_limit_of(&core).map_err(Mistake::read)?,
        workers: workers.max(1) as usize,
        output: voice::output(built.into(), voice_of(&core)?),
    }))
}
