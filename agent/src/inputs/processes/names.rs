//! process-exporter's configuration: which processes form which group.
//!
//! Source: ncabatoff/process-exporter, `config/config.go`. A group wants all of `comm`, `exe` and `cmdline` that it names; the first group
//! that wants a process has it. Unknown keys, which process-exporter drops in silence, are errors with their place.

use std::collections::HashMap;

use kansoku_model::ConfigError;
use kansoku_parsers::config::yaml::tree::{Node, parse};
use regex::Regex;

use super::template::{Fields, Template};

/// Rules in their order.
#[derive(Debug, Default)]
pub struct Names(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    name: Template,
    comm: Option<Vec<String>>,
    /// Base names, or whole paths.
    exe: Option<Vec<String>>,
    cmdline: Option<Vec<Regex>>,
}

/// What a process is called.
#[derive(Debug, Default)]
pub struct Attributes {
    pub comm: String,
    pub command_line: Vec<String>,
    pub cgroups: Vec<String>,
    pub username: String,
    pub pid: u32,
    pub start_time: String,
}

impl Names {
    /// Reads a configuration file's text.
    ///
    /// # Errors
    /// The first mistake with its place.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, ConfigError> {
        let mut rules = Vec::new();
        for root in parse(file, bytes, &mut Vec::new())? {
            if root.is_null() {
                continue;
            }
            for (_, list) in root.checked_pairs(&["process_names"])? {
                for item in list.items()? {
                    rules.push(rule(item)?);
                }
            }
        }
        Ok(Self(rules))
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The group of a process, if one wants it.
    #[must_use]
    pub fn group(&self, process: &Attributes) -> Option<String> {
        self.0.iter().find_map(|rule| rule.group(process))
    }
}

fn rule(node: &Node) -> Result<Rule, ConfigError> {
    let pairs = node.checked_pairs(&["name", "comm", "exe", "cmdline"])?;
    let find = |key: &str| pairs.iter().find(|(name, _)| *name == key).map(|(_, n)| *n);
    let list = |key: &str| -> Result<Option<Vec<String>>, ConfigError> {
        let Some(node) = find(key) else {
            return Ok(None);
        };
        let texts = node
            .items()?
            .iter()
            .map(|item| item.text().map(str::to_owned));
        texts.collect::<Result<_, _>>().map(Some)
    };
    let mut cmdline = None;
    if let Some(node) = find("cmdline") {
        let patterns = node.items()?.iter().map(|item| {
            let text = item.text()?;
            Regex::new(text).map_err(|e| {
                let why = e.to_string();
                let why = why.lines().last().unwrap_or_default().trim();
                item.error(format!("'{text}' is no regular expression: {why}"))
            })
        });
        cmdline = Some(patterns.collect::<Result<_, _>>()?);
    }
    let (text, place) = match find("name") {
        Some(name) => (name.text()?, name),
        None => ("{{.ExeBase}}", node),
    };
    let rule = Rule {
        name: Template::parse(text).map_err(|why| place.error(format!("name: {why}")))?,
        comm: list("comm")?,
        exe: list("exe")?,
        cmdline,
    };
    if rule.comm.is_none() && rule.exe.is_none() && rule.cmdline.is_none() {
        return Err(node.error("a group needs 'comm', 'exe' or 'cmdline'"));
    }
    Ok(rule)
}

impl Rule {
    fn group(&self, process: &Attributes) -> Option<String> {
        let first = process.command_line.first().map(String::as_str);
        if let Some(comm) = &self.comm
            && !comm.contains(&process.comm)
        {
            return None;
        }
        if let Some(exe) = &self.exe {
            let full = first?;
            let is_it = |name: &String| match name.contains('/') {
                true => name == full,
                false => name == base(full),
            };
            if !exe.iter().any(is_it) {
                return None;
            }
        }
        let mut matches = HashMap::new();
        let whole = process.command_line.join(" ");
        for pattern in self.cmdline.iter().flatten() {
            let groups = pattern.captures(&whole)?;
            for name in pattern.capture_names().flatten() {
                let text = groups.name(name).map_or("", |m| m.as_str());
                matches.insert(name.to_owned(), text.to_owned());
            }
        }
        let full = first.unwrap_or(&process.comm);
        Some(self.name.fill(&Fields {
            comm: &process.comm,
            exe_base: first.map_or(full, base),
            exe_full: full,
            username: &process.username,
            pid: process.pid,
            start_time: &process.start_time,
            cgroups: &process.cgroups,
            matches,
        }))
    }
}

/// The last element of a path, as Go's `filepath.Base`.
fn base(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match (path.is_empty(), trimmed.is_empty()) {
        (true, _) => ".",
        (false, true) => "/",
        (false, false) => trimmed.rsplit('/').next().unwrap_or(trimmed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "process_names:\n  - comm: [bash, sh]\n    name: shells\n  - exe:\n    - postgres\n    - /usr/local/bin/x\n    cmdline:\n    - -D\\s+(?P<Path>\\S+)\n    - (-p (?P<Port>\\d+))?\n    name: '{{.ExeBase}}:{{.Matches.Path}}:{{.Matches.Port}}'\n  - cmdline: ['.+']\n";

    #[test]
    fn the_first_group_that_wants_a_process_has_it() {
        let names = Names::parse("f", CONFIG.as_bytes()).expect("a configuration");
        let group = |comm: &str, line: &str| {
            names.group(&Attributes {
                comm: comm.into(),
                command_line: line.split_ascii_whitespace().map(str::to_owned).collect(),
                ..Attributes::default()
            })
        };
        for (comm, line, expected) in [
            ("bash", "-bash", Some("shells")),
            (
                "postgres",
                "/bin/postgres -D /data -p 5",
                Some("postgres:/data:"),
            ),
            ("postgres", "/bin/postgres -p 5", Some("postgres")),
            ("x", "/usr/local/bin/x -D /d", Some("x:/d:")),
            ("x", "/usr/bin/x -D /d", Some("x")),
            ("kworker", "", None),
        ] {
            assert_eq!(group(comm, line).as_deref(), expected, "{comm} {line}");
        }
        assert_eq!(base(""), ".");
        assert_eq!(base("//"), "/");
        assert_eq!(base("/a/b/"), "b");
    }

    #[test]
    fn mistakes_have_a_place() {
        for (text, expected) in [
            (
                "process_names:\n- name: x\n",
                "f:2:3: a group needs 'comm', 'exe' or 'cmdline'",
            ),
            (
                "process_names:\n- com: [x]\n",
                "f:2:3: unknown key 'com'; did you mean 'comm'?",
            ),
            (
                "names: []\n",
                "f:1:1: unknown key 'names'; known: process_names",
            ),
            (
                "process_names:\n- cmdline: ['(']\n",
                "f:2:13: '(' is no regular expression: error: unclosed group",
            ),
            (
                "process_names:\n- comm: [a]\n  name: '{{.X}}'\n",
                "f:3:9: name: '{{.X}}' is not known; known: .Comm, .ExeBase, .ExeFull, .Username, .PID, .StartTime, .Cgroups, .Matches.NAME",
            ),
            (
                "process_names:\n- comm: a\n",
                "f:2:9: expected a list, found a value",
            ),
        ] {
            let error = Names::parse("f", text.as_bytes()).expect_err(text);
            assert_eq!(error.to_string(), expected);
        }
        assert_eq!(Names::parse("f", b"").expect("nothing").len(), 0);
    }
}
