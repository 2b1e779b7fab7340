//! The names of groups as process-exporter's configuration writes them: Go templates, of which the fields of a process are
//! known here and no functions.

use std::collections::HashMap;

/// What a template may show of a process.
#[derive(Debug, Clone, Default)]
pub struct Fields<'a> {
    pub comm: &'a str,
    pub exe_base: &'a str,
    pub exe_full: &'a str,
    pub username: &'a str,
    pub pid: u32,
    /// As Go shows a time.
    pub start_time: &'a str,
    pub cgroups: &'a [String],
    /// Named groups of the patterns.
    pub matches: HashMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Comm,
    ExeBase,
    ExeFull,
    Username,
    Pid,
    StartTime,
    Cgroups,
    Match(String),
}

/// A template that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// What of it is not known.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find("{{") {
            parts.push(Part::Text(rest[..at].to_owned()));
            let inside = &rest[at + 2..];
            let end = inside.find("}}").ok_or("'{{' is not closed by '}}'")?;
            parts.push(part(inside[..end].trim())?);
            rest = &inside[end + 2..];
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| *part != Part::Text(String::new()));
        Ok(Self(parts))
    }

    /// The name of a process' group.
    #[must_use]
    pub fn fill(&self, fields: &Fields<'_>) -> String {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Comm => out.push_str(fields.comm),
                Part::ExeBase => out.push_str(fields.exe_base),
                Part::ExeFull => out.push_str(fields.exe_full),
                Part::Username => out.push_str(fields.username),
                Part::Pid => out.push_str(&fields.pid.to_string()),
                Part::StartTime => out.push_str(fields.start_time),
                Part::Cgroups => out.push_str(&format!("[{}]", fields.cgroups.join(" "))),
                // Go's word for what a map does not have.
                Part::Match(name) => {
                    let found = fields.matches.get(name);
                    out.push_str(found.map_or("<no value>", String::as_str));
                }
            }
        }
        out
    }
}

fn part(field: &str) -> Result<Part, String> {
    Ok(match field {
        ".Comm" => Part::Comm,
        ".ExeBase" => Part::ExeBase,
        ".ExeFull" => Part::ExeFull,
        ".Username" => Part::Username,
        ".PID" => Part::Pid,
        ".StartTime" => Part::StartTime,
        ".Cgroups" => Part::Cgroups,
        _ => match field.strip_prefix(".Matches.") {
            Some(name) if !name.is_empty() && !name.contains([' ', '.', '|']) => {
                Part::Match(name.to_owned())
            }
            _ => {
                return Err(format!(
                    "'{{{{{field}}}}}' is not known; known: .Comm, .ExeBase, .ExeFull, .Username, .PID, .StartTime, .Cgroups, .Matches.NAME"
                ));
            }
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_filled_in() {
        let cgroups = ["/a".to_owned(), "/b".to_owned()];
        let fields = Fields {
            comm: "sh",
            exe_base: "bash",
            exe_full: "/bin/bash",
            username: "root",
            pid: 7,
            start_time: "2020-01-01 00:00:00 +0000 UTC",
            cgroups: &cgroups,
            matches: [("Port".to_owned(), "80".to_owned())].into(),
        };
        for (text, expected) in [
            ("{{.Comm}}", "sh"),
            ("x-{{ .ExeBase }}-{{.ExeFull}}", "x-bash-/bin/bash"),
            ("{{.Username}}:{{.PID}}", "root:7"),
            ("{{.Matches.Port}}{{.Matches.None}}", "80<no value>"),
            (
                "{{.Cgroups}} {{.StartTime}}",
                "[/a /b] 2020-01-01 00:00:00 +0000 UTC",
            ),
            ("plain", "plain"),
        ] {
            let template = Template::parse(text).expect(text);
            assert_eq!(template.fill(&fields), expected);
        }
        for text in [
            "{{.Comm",
            "{{index .Cgroups 0}}",
            "{{.}}",
            "{{.Matches}}",
            "{{}}",
        ] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }
}
