//! One section as a part of the pipeline: name, core options, and the built plugin.
//!
//! Core options are those that the pipeline and not the plugin reads. They are taken out of the
//! section first; what is left is the plugin's own and is checked against its table.

use std::sync::Arc;

use kansoku_model::plugin::did_you_mean;
use kansoku_model::{ConfigError, OptionKind, OptionSpec, Place, Plugin, Settings};
use kansoku_outputs::{Output, OutputEnvironment, OutputPlugin, RetryPolicy};
use kansoku_parsers::line::pattern;

use crate::pipeline::{FilterSpec, InputSpec, TagMatch};
use crate::plugin::{Environment, FilterPlugin, InputPlugin};

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
    "tags to take, as a pattern",
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
    OptionSpec::new(
        "mem_buf_limit",
        OptionKind::Size,
        "8M",
        "bytes not yet delivered at which the input waits",
    ),
    OptionSpec::new(
        "storage.type",
        OptionKind::Choice(&["memory", "filesystem"]),
        "memory",
        "filesystem: records that exist nowhere else are spilled to storage.path until they are delivered; log files are their own buffer",
    ),
];

/// Core options of every filter.
pub const FILTER_OPTIONS: &[OptionSpec] = &[MATCH, MATCH_REGEX, ALIAS];

/// Core options of every output.
pub const OUTPUT_OPTIONS: &[OptionSpec] = &[
    MATCH,
    MATCH_REGEX,
    ALIAS,
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

/// Core options of Fluent Bit that change nothing here, and why.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("log_level", "the level of SERVICE log_level holds for all"),
    (
        "log_suppress_interval",
        "repeated messages are always suppressed for ten seconds",
    ),
    (
        "storage.pause_on_chunks_overlimit",
        "an input always waits at mem_buf_limit",
    ),
    ("threaded", "every input has a thread of its own"),
    ("thread.ring_buffer.", "every input has a thread of its own"),
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
        let mut hint = did_you_mean(name, names.iter().copied());
        if !hint.contains("known:") {
            hint += &format!(" (known: {})", names.join(", "));
        }
        ConfigError::new(place, format!("unknown {kind} '{name}'{hint}"))
    })
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
        } else if let Some((_, why)) = WITHOUT_EFFECT
            .iter()
            .find(|(key, _)| !is_own && s.key.starts_with(key))
        {
            warnings.push(ConfigError::new(
                &s.place,
                format!("'{}' has no effect: {why}", s.key),
            ));
        } else {
            split.own.settings.push(s);
        }
    }
    split.core.check(core).map_err(Mistake::read)?;
    split.own.check(own).map_err(Mistake::read)?;
    Ok(split)
}

fn name(plugin: &str, n: usize, core: &Settings) -> String {
    core.get("alias")
        .map_or_else(|| format!("{plugin}.{n}"), |s| s.value.clone())
}

fn matches(core: &Settings) -> Result<Option<TagMatch>, Mistake> {
    if let Some(s) = core.get("match") {
        return Ok(Some(TagMatch::wildcard(&s.value)));
    }
    let Some(s) = core.get("match_regex") else {
        return Ok(None);
    };
    let regex = pattern::compile(&s.value)
        .map_err(|e| Mistake::read(ConfigError::new(&s.place, e.to_string())))?;
    Ok(Some(TagMatch::Regex(regex)))
}

/// Builds instance number `n` of an input; also returns the plugin's own settings.
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
) -> Result<(InputSpec, Settings), Mistake> {
    let Split { core, own } = split(section, INPUT_OPTIONS, plugin.options, warnings)?;
    let storage = core.get("storage.type");
    let filesystem = storage.is_some_and(|s| s.value.eq_ignore_ascii_case("filesystem"));
    if let Some(s) = storage.filter(|_| filesystem && !has_storage_path) {
        let message = "storage.type filesystem needs 'storage.path' in [SERVICE]";
        return Err(Mistake::plugin(ConfigError::new(&s.place, message)));
    }
    let limit = core.size("mem_buf_limit", 0).map_err(Mistake::read)?;
    let spec = InputSpec {
        name: name(plugin.name, n, &core),
        tag: core.text("tag", &format!("{}.{n}", plugin.name)).to_owned(),
        mem_buf_limit: (limit > 0).then_some(limit),
        input: (plugin.build)(&own, environment).map_err(Mistake::plugin)?,
        processors: Vec::new(),
        filesystem,
    };
    Ok((spec, own))
}

/// Builds instance number `n` of a filter.
///
/// # Errors
/// The first mistake in its section, also a missing `match`.
pub fn filter(
    plugin: &'static FilterPlugin,
    n: usize,
    section: Settings,
    environment: &Environment,
    warnings: &mut Vec<ConfigError>,
) -> Result<FilterSpec, Mistake> {
    let Split { core, own } = split(section, FILTER_OPTIONS, plugin.options, warnings)?;
    let Some(matches) = matches(&core)? else {
        let message = format!(
            "filter {} needs 'match' or 'match_regex'; 'match *' takes every record",
            plugin.name
        );
        return Err(Mistake::plugin(ConfigError::new(&core.place, message)));
    };
    Ok(FilterSpec {
        name: name(plugin.name, n, &core),
        matches,
        filter: (plugin.build)(&own, environment).map_err(Mistake::plugin)?,
    })
}

/// Builds instance number `n` of an output.
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
) -> Result<UnroutedOutput, Mistake> {
    let Split { core, own } = split(section, OUTPUT_OPTIONS, plugin.options, warnings)?;
    let workers = core.int("workers", 1).map_err(Mistake::read)?;
    if !(0..=MAX_WORKERS).contains(&workers) {
        let place = core.get("workers").map_or(&core.place, |s| &s.place);
        let message = format!("'workers' must be between 0 and {MAX_WORKERS}");
        return Err(Mistake::read(ConfigError::new(place, message)));
    }
    let total_limit = core
        .size("storage.total_limit_size", 0)
        .map_err(Mistake::read)?;
    Ok(UnroutedOutput {
        total_limit_bytes: (total_limit > 0).then_some(total_limit),
        name: name(plugin.name, n, &core),
        matches: matches(&core)?,
        retry: retry.with_limit_of(&core).map_err(Mistake::read)?,
        workers: workers.max(1) as usize,
        output: (plugin.build)(&own, environment)
            .map_err(Mistake::plugin)?
            .into(),
    })
}
