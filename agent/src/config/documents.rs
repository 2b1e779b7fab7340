//! Which texts make up the configuration: the main file with its includes, the command line, and the
//! files that they name (parsers, plugins, streams, upstream servers).

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use kansoku_model::plugin::Setting;
use kansoku_model::{ConfigError, Place, Settings};
use kansoku_outputs::Upstream;
use kansoku_parsers::config::{self, Document, Section, SectionKind};
use ring::digest::{Context, SHA256};

use super::files;
use crate::command_line::Invocation;
use crate::pipeline::ConfigFile;

/// The sections of file and command line, with variables replaced, and the file; the command line wins.
pub(super) fn of_invocation(
    invocation: &Invocation,
    warnings: &mut Vec<ConfigError>,
) -> Result<(Vec<Section>, Option<ConfigFile>), ConfigError> {
    let mut digest = Context::new(&SHA256);
    let mut document = match &invocation.config_file {
        Some(path) => read(path, path, &mut |bytes| digest.update(bytes))?,
        None => Document::default(),
    };
    let digest = digest.finish();
    let file = invocation.config_file.as_ref().map(|path| ConfigFile {
        path: path.clone(),
        sha256: digest.as_ref()[..6]
            .iter()
            .fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            }),
    });
    let given = invocation.sections.iter().cloned();
    document.sections.extend(given);
    if let Some(first) = invocation.service.first() {
        let mut section = Section::new(SectionKind::Service, first.place.clone());
        section.settings.clone_from(&invocation.service);
        document.sections.push(section);
    }
    document.expand(&files::variable);
    warnings.append(&mut document.warnings);
    Ok((document.sections, file))
}

/// Reads one file and its includes, and shows `seen` each; relative paths are also looked for beside `main`. Values of
/// variables that are `file:///path` are read.
fn read(path: &str, main: &str, seen: &mut dyn FnMut(&[u8])) -> Result<Document, ConfigError> {
    let is_yaml = config::is_yaml(path);
    let load = |wanted: &str, from: &str| match from {
        "" => files::read(wanted, main),
        _ if is_yaml && wanted.ends_with(".conf") => Err(format!(
            "{wanted} is a classic configuration; YAML can include YAML only"
        )),
        _ if !is_yaml && config::is_yaml(wanted) => Err(format!(
            "{wanted} is YAML; a classic configuration can include classic files only"
        )),
        // YAML names files relative to the one that includes them.
        _ if is_yaml => files::read_beside(wanted, from),
        _ => files::read(wanted, main),
    };
    let mut document = config::parse(path, &mut |wanted, from| {
        let loaded = load(wanted, from)?;
        loaded.iter().for_each(|file| seen(&file.bytes));
        Ok(loaded)
    })?;
    for (_, value) in &mut document.variables {
        if let Some(file) = value.strip_prefix("file://") {
            *value = files::text(file).map_err(|e| ConfigError::new(&Place::new(path, 0), e))?;
        }
    }
    Ok(document)
}

/// Reads a file that a setting names, with variables replaced.
pub(super) fn named_by(
    setting: &Setting,
    main: &str,
    warnings: &mut Vec<ConfigError>,
) -> Result<Vec<Section>, ConfigError> {
    let beside = if main.is_empty() {
        &setting.place.file
    } else {
        main
    };
    let mut document = read(&setting.value, beside, &mut |_| {}).map_err(|mut e| {
        // The file itself is missing: the place to mend is where it is named.
        if e.place.line == 0 {
            e.place = setting.place.clone();
        }
        e
    })?;
    document.expand(&files::variable);
    warnings.append(&mut document.warnings);
    Ok(document.sections)
}

/// The upstream servers that outputs name with `upstream`: a file, or one of the sections of the main
/// configuration by its name.
pub(super) fn upstreams(
    sections: &[Section],
    main: &str,
    warnings: &mut Vec<ConfigError>,
) -> Result<HashMap<String, Arc<Upstream>>, ConfigError> {
    let mut all: HashMap<String, Arc<Upstream>> = HashMap::new();
    for upstream in of_sections(sections)? {
        all.insert(upstream.name.clone(), Arc::new(upstream));
    }
    let outputs = sections.iter().filter(|s| s.kind == SectionKind::Output);
    let named = outputs.flat_map(|s| s.settings.iter().filter(|s| s.key == "upstream"));
    for setting in named {
        if all.contains_key(&setting.value) {
            continue;
        }
        let sections = named_by(setting, main, warnings)?;
        let Some(upstream) = of_sections(&sections)?.into_iter().next() else {
            let message = format!(
                "{} has no [UPSTREAM] section (upstream_servers in YAML)",
                setting.value
            );
            return Err(ConfigError::new(&setting.place, message));
        };
        all.insert(setting.value.clone(), Arc::new(upstream));
    }
    Ok(all)
}

/// Each `[UPSTREAM]` with the `[NODE]`s that follow it.
fn of_sections(sections: &[Section]) -> Result<Vec<Upstream>, ConfigError> {
    let mut all: Vec<(Upstream, &Place)> = Vec::new();
    for section in sections {
        let settings = |plugin: &str| Settings {
            plugin: plugin.to_owned(),
            place: section.place.clone(),
            settings: section.settings.clone(),
        };
        match section.kind {
            SectionKind::Upstream => {
                let name = settings("UPSTREAM").required("name")?.to_owned();
                let nodes = Vec::new();
                all.push((Upstream { name, nodes }, &section.place));
            }
            SectionKind::Node => {
                let node = settings("NODE");
                for key in ["name", "host", "port"] {
                    node.required(key)?;
                }
                let Some((upstream, _)) = all.last_mut() else {
                    let message = "a [NODE] stands before any [UPSTREAM]";
                    return Err(ConfigError::new(&section.place, message));
                };
                upstream.nodes.push(node);
            }
            _ => {}
        }
    }
    if let Some((upstream, place)) = all.iter().find(|(u, _)| u.nodes.is_empty()) {
        let message = format!("upstream '{}' has no [NODE] section", upstream.name);
        return Err(ConfigError::new(place, message));
    }
    Ok(all.into_iter().map(|(upstream, _)| upstream).collect())
}
