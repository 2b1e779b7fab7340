//! Parsers that are there without a parsers file, under the names and with the keys of the
//! `parsers.conf` that comes with Fluent Bit. A file may define them anew.

use kansoku_model::Settings;

use super::{Parser, Zones};

const ACCESS_TIME: (&str, &str) = ("time_format", "%d/%b/%Y:%H:%M:%S %z");
const RFC3339: (&str, &str) = ("time_format", "%Y-%m-%dT%H:%M:%S.%L%z");
const SYSLOG_TIME: (&str, &str) = ("time_format", "%b %d %H:%M:%S");
const KEEP: (&str, &str) = ("time_keep", "on");

/// Name and keys of each.
const PARSERS: &[(&str, &[(&str, &str)])] = &[
    (
        "json",
        &[("format", "json"), ("time_format", "%d/%b/%Y:%H:%M:%S %z")],
    ),
    ("docker", &[("format", "docker"), KEEP]),
    ("cri", &[("format", "cri")]),
    ("logfmt", &[("format", "logfmt")]),
    (
        "nginx",
        &[
            ("format", "regex"),
            (
                "regex",
                r#"^(?<remote>\S*) (?<host>\S*) (?<user>\S*) \[(?<time>[^\]]*)\] "(?<method>\S+)(?: +(?<path>[^"]*?)(?: +\S*)?)?" (?<code>\S*) (?<size>\S*)(?: "(?<referer>[^"]*)" "(?<agent>[^"]*)")"#,
            ),
            ACCESS_TIME,
        ],
    ),
    (
        "apache2",
        &[
            ("format", "regex"),
            (
                "regex",
                r#"^(?<host>\S*) \S* (?<user>\S*) \[(?<time>[^\]]*)\] "(?<method>\S+)(?: +(?<path>[^ ]*) +\S*)?" (?<code>\S*) (?<size>\S*)(?: "(?<referer>[^"]*)" "(?<agent>.*)")?$"#,
            ),
            ACCESS_TIME,
        ],
    ),
    (
        "apache",
        &[
            ("format", "regex"),
            (
                "regex",
                r#"^(?<host>\S*) \S* (?<user>\S*) \[(?<time>[^\]]*)\] "(?<method>\S+)(?: +(?<path>[^"]*?)(?: +\S*)?)?" (?<code>\S*) (?<size>\S*)(?: "(?<referer>[^"]*)" "(?<agent>[^"]*)")?$"#,
            ),
            ACCESS_TIME,
        ],
    ),
    (
        "syslog-rfc5424",
        &[
            ("format", "regex"),
            (
                "regex",
                r"^<(?<pri>\d{1,5})>1 (?<time>\S+) (?<host>\S+) (?<ident>\S+) (?<pid>[-0-9]+) (?<msgid>\S+) (?<extradata>(?:\[.*?\])+|-) (?<message>.+)$",
            ),
            RFC3339,
            KEEP,
        ],
    ),
    (
        "syslog-rfc3164",
        &[
            ("format", "regex"),
            (
                "regex",
                r"^<(?<pri>\d{1,5})>(?<time>\S+ +\S+ \S+) (?<host>\S*) (?<ident>[\w/.-]*)(?:\[(?<pid>\d+)\])?[^:]*:? *(?<message>.*)$",
            ),
            SYSLOG_TIME,
            KEEP,
        ],
    ),
    (
        "syslog-rfc3164-local",
        &[
            ("format", "regex"),
            (
                "regex",
                r"^<(?<pri>\d{1,5})>(?<time>\S+ +\S+ \S+) (?<ident>[\w/.-]*)(?:\[(?<pid>\d+)\])?[^:]*:? *(?<message>.*)$",
            ),
            SYSLOG_TIME,
            KEEP,
        ],
    ),
];

/// All built-in parsers.
#[must_use]
pub fn all(zones: Zones<'_>) -> Vec<Parser> {
    let build = |(name, pairs): &(&str, &[(&str, &str)])| {
        let pairs: Vec<(&str, &str)> = [("name", *name)]
            .into_iter()
            .chain(pairs.iter().copied())
            .collect();
        Parser::new(&Settings::of("parser", &pairs), zones).expect("built-in parsers are valid")
    };
    PARSERS.iter().map(build).collect()
}
