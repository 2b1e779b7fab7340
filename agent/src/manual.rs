//! Help texts and the option page, made from the plugin constants.
//!
//! Nothing is written by hand here, so no option can be missing from the documentation.

use kansoku_model::{OptionKind, OptionSpec, Plugin};
use kansoku_parsers::config::SectionKind;
use kansoku_parsers::line;

use crate::config::{instance, service, without_effect};
use crate::{command_line, filters, inputs};

/// A plugin of any kind as its documentation sees it.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) options: &'static [OptionSpec],
    example: &'static str,
}

pub(crate) fn entries(kind: SectionKind) -> Vec<Entry> {
    match kind {
        SectionKind::Input => of(inputs::ALL),
        SectionKind::Filter => of(filters::ALL),
        _ => of(kansoku_outputs::ALL),
    }
}

pub(crate) fn of<T: ?Sized, E>(all: &'static [&'static Plugin<T, E>]) -> Vec<Entry> {
    let entry = |p: &&'static Plugin<T, E>| Entry {
        name: p.name,
        about: p.about,
        options: p.options,
        example: p.example,
    };
    all.iter().map(entry).collect()
}

pub(crate) const KINDS: [(SectionKind, &str, &[OptionSpec]); 3] = [
    (SectionKind::Input, "input", instance::INPUT_OPTIONS),
    (SectionKind::Filter, "filter", instance::FILTER_OPTIONS),
    (SectionKind::Output, "output", instance::OUTPUT_OPTIONS),
];

fn kind_name(kind: OptionKind) -> String {
    match kind {
        OptionKind::Bool => "on/off".into(),
        OptionKind::Int => "integer".into(),
        OptionKind::Float => "number".into(),
        OptionKind::Size => "size".into(),
        OptionKind::Time => "time".into(),
        OptionKind::Text => "text".into(),
        OptionKind::List => "list".into(),
        OptionKind::Pair => "key and value".into(),
        OptionKind::Choice(words) => words.join(", "),
    }
}

/// `kansoku-agent --help`.
#[must_use]
pub fn program_help() -> String {
    let mut out = String::from("Usage: kansoku-agent [OPTION]...\n\nOptions\n");
    for (spelling, about) in command_line::supported() {
        out += &format!("  {spelling:<28} {about}\n");
    }
    for (kind, name, _) in KINDS {
        out += &format!("\n{}s\n", capitalised(name));
        for entry in entries(kind) {
            out += &format!("  {:<28} {}\n", entry.name, entry.about);
        }
    }
    out += "\nExample\n  kansoku-agent -i tail -p path=/var/log/*.log -o stdout -m '*' -f 1\n";
    out
}

/// `kansoku-agent -i NAME -h`.
#[must_use]
pub fn plugin_help(kind: SectionKind, name: &str) -> String {
    let Some((_, kind_text, core)) = KINDS.iter().find(|(k, ..)| *k == kind) else {
        return program_help();
    };
    let Some(entry) = entries(kind).into_iter().find(|e| e.name == name) else {
        return program_help();
    };
    help_text(kind_text, &entry, core)
}

fn help_text(kind: &str, entry: &Entry, core: &[OptionSpec]) -> String {
    let mut out = format!("{kind} {}: {}\n\nOptions\n", entry.name, entry.about);
    for o in entry.options.iter().chain(core) {
        out += &format!("  {:<28} {}", o.name, o.about);
        let mut notes = vec![kind_name(o.kind)];
        if !o.default.is_empty() {
            notes.push(format!("default {}", o.default));
        }
        if o.repeats {
            notes.push("may be given again".into());
        }
        out += &format!(" [{}]\n", notes.join("; "));
    }
    out += &format!("\nExample\n{}", indent(entry.example));
    out
}

/// `kansoku-agent -r NAME -h`: a filter has the same options as a processor.
#[must_use]
pub fn processor_help(name: &str) -> String {
    let own = of(instance::PROCESSORS);
    let Some(entry) = own.into_iter().find(|e| e.name == name) else {
        return plugin_help(SectionKind::Filter, name);
    };
    help_text("processor", &entry, instance::FILTER_OPTIONS)
}

/// The page docs/options.md.
#[must_use]
pub fn page() -> String {
    let mut out = String::from(
        "# Options\n\nMade from the program's own tables; do not edit. `UPDATE=1 cargo nextest run -p kansoku-agent options_page` rewrites it.\n",
    );
    out += "\n## Command line\n\n| option | meaning |\n|---|---|\n";
    for (spelling, about) in command_line::supported() {
        out += &format!("| `{}` | {} |\n", spelling.trim(), cell(about));
    }
    out += "\n## SERVICE\n\n";
    out += &table(service::OPTIONS);
    out += "\n## PARSER\n\nIn a file named by `parsers_file`.\n\n";
    out += &table(line::OPTIONS);
    for (kind, name, core) in KINDS {
        out += &format!(
            "\n## {}\n\nOptions of every {name}:\n\n{}",
            name.to_uppercase(),
            table(core)
        );
        for entry in entries(kind) {
            out += &format!("\n### {}\n\n{}\n\n", entry.name, entry.about);
            if !entry.options.is_empty() {
                out += &format!("{}\n", table(entry.options));
            }
            out += &format!("```\n{}```\n", with_newline(entry.example));
        }
    }
    out += "\n## Taken without effect, or refused\n\nOptions of Fluent Bit that the tables above do not hold. One without effect is told as a warning.\n\n| plugins | options | why |\n|---|---|---|\n";
    for (plugins, options, why) in without_effect::documented() {
        out += &format!("| {plugins} | {options} | {} |\n", cell(why));
    }
    out
}

fn table(options: &[OptionSpec]) -> String {
    let mut out = String::from("| key | value | default | meaning |\n|---|---|---|---|\n");
    for o in options {
        let again = if o.repeats {
            ", may be given again"
        } else {
            ""
        };
        let default = if o.default.is_empty() {
            String::new()
        } else {
            format!("`{}`", o.default)
        };
        out += &format!(
            "| `{}` | {}{again} | {} | {} |\n",
            o.name,
            cell(&kind_name(o.kind)),
            cell(&default),
            cell(o.about)
        );
    }
    out
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn with_newline(text: &str) -> String {
    if text.ends_with('\n') {
        text.to_owned()
    } else {
        format!("{text}\n")
    }
}

fn indent(text: &str) -> String {
    text.lines().map(|l| format!("  {l}\n")).collect()
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars
        .next()
        .map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn options_page_is_checked_in() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/options.md");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("docs can be made");
            std::fs::write(&path, page()).expect("docs/options.md can be written");
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == page(),
            "docs/options.md is out of date; run this test with UPDATE=1 and look at the diff"
        );
    }

    /// Adds the names of all plugin constants below `folder`.
    fn find_plugins(folder: &Path, names: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).expect("a folder of plugins") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                find_plugins(&path, names);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            if let Some((_, body)) = text.split_once("pub const PLUGIN: ") {
                let name = body
                    .split("name: \"")
                    .nth(1)
                    .and_then(|rest| rest.split('"').next());
                names.push(name.expect("a plugin has a name").to_owned());
            }
        }
    }

    #[test]
    fn plugin_files_and_lists_agree() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let kinds = [
            (
                SectionKind::Input,
                vec![root.join("src/inputs"), root.join("src/collectors")],
            ),
            (SectionKind::Filter, vec![root.join("src/filters")]),
            (SectionKind::Output, vec![root.join("../outputs/src")]),
        ];
        for (kind, folders) in kinds {
            let mut found = Vec::new();
            folders.iter().for_each(|f| find_plugins(f, &mut found));
            found.sort();
            let mut listed: Vec<&str> = entries(kind).iter().map(|e| e.name).collect();
            listed.sort_unstable();
            assert_eq!(
                found, listed,
                "{kind:?}: the files and the hand-written list"
            );
        }
    }

    #[test]
    fn options_are_described_once_in_lower_case() {
        for (kind, _, core) in KINDS {
            for entry in entries(kind) {
                let mut names: Vec<&str> =
                    entry.options.iter().chain(core).map(|o| o.name).collect();
                assert!(
                    names.iter().all(|n| *n == n.to_lowercase()),
                    "{}",
                    entry.name
                );
                names.sort_unstable();
                let n = names.len();
                names.dedup();
                assert_eq!(
                    names.len(),
                    n,
                    "{} repeats an option or a core option",
                    entry.name
                );
                assert!(
                    entry.example.contains(entry.name),
                    "{} has an example",
                    entry.name
                );
            }
        }
    }
}
