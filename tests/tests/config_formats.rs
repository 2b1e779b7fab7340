//! One configuration in both of Fluent Bit's formats: what comes out is the same to the byte.

use std::path::Path;

use kansoku_tests::program::{Program, wait_for};

const CLASSIC: &str = r"
@INCLUDE parts/*.conf
[FILTER]
    Name          multiline
    Match         app
    multiline.key_content log
    multiline.parser      joined
[FILTER]
    Name          parser
    Match         app
    Key_Name      log
    Parser        line
    Reserve_Data  On
[FILTER]
    Name     grep
    Match    *
    Exclude  level ^debug$
[FILTER]
    Name    modify
    Match   app
    Add     host ${PLACE}
    Rename  msg message
    Condition Key_Exists level
[FILTER]
    Name    record_modifier
    Match   app
    Record  cluster one
    Remove_key stream
[FILTER]
    Name          nest
    Match         app
    Operation     nest
    Wildcard      n*
    Nest_under    numbers
[FILTER]
    Name    rewrite_tag
    Match   app
    Rule    $level ^(error)$ bad.$1 false
[OUTPUT]
    Name    file
    Match   app
    Path    out
    File    app.out
    Format  plain
[OUTPUT]
    Name    file
    Match   bad.*
    Path    out
    File    bad.out
";

const YAML: &str = r#"
env:
  PLACE: here-1
includes:
  - parts/*.yaml
parsers:
  - name: line
    format: regex
    regex: '^(?<time>[^ ]+) level=(?<level>\w+) msg="(?<msg>[^"]*)" n=(?<n>\d+)(?<rest>[\s\S]*)$'
    timeKey: time
    time_format: '%Y-%m-%dT%H:%M:%S.%LZ'
    types: n:integer
multiline_parsers:
  - name: joined
    type: regex
    flush_timeout: 300
    rules:
      - {state: start_state, regex: '/^\d{4}-/', next_state: more}
      - {state: more, regex: '/^\s/', next_state: more}
pipeline:
  filters:
    - name: multiline
      match: app
      multiline.key_content: log
      multiline.parser: joined
    - {name: parser, match: app, key_name: log, parser: line, reserve_data: on}
    - {name: grep, match: '*', exclude: level ^debug$}
    - name: modify
      match: app
      add: host ${PLACE}
      rename: [msg message]
      condition: Key_Exists level
    - name: record_modifier
      match: app
      record: [cluster one]
      removeKey: stream
    - {name: nest, match: app, operation: nest, wildcard: [n*], nestUnder: numbers}
    - name: rewrite_tag
      match: app
      rule: $level ^(error)$ bad.$1 false
  outputs:
    - {name: file, match: app, path: out, file: app.out, format: plain}
    - name: file
      match: bad.*
      path: out
      file: bad.out
"#;

const PARTS: &[(&str, &str)] = &[
    (
        "parts/service.conf",
        "@SET PLACE=here-1\n[SERVICE]\n    Flush 0.1\n    Grace 5\n    Parsers_File parsers.conf\n",
    ),
    (
        "parts/tail.conf",
        "[INPUT]\n\tName tail\n\tTag app\n\tPath app.log\n\tRead_from_Head On\n\tMem_Buf_Limit 5MB\n",
    ),
    ("parts/service.yaml", "service: {flush: 0.1, grace: 5}\n"),
    (
        "parts/tail.yaml",
        "pipeline:\n  inputs:\n    - {name: tail, tag: app, path: app.log, readFromHead: on, memBufLimit: 5MB}\n",
    ),
    (
        "parsers.conf",
        "[PARSER]\n    Name line\n    Format regex\n    Regex ^(?<time>[^ ]+) level=(?<level>\\w+) msg=\"(?<msg>[^\"]*)\" n=(?<n>\\d+)(?<rest>[\\s\\S]*)$\n    Time_Key time\n    Time_Format %Y-%m-%dT%H:%M:%S.%LZ\n    Types n:integer\n\
         [MULTILINE_PARSER]\n    name joined\n    type regex\n    flush_timeout 300\n    rule \"start_state\" \"/^\\d{4}-/\" \"more\"\n    rule \"more\" \"/^\\s/\" \"more\"\n",
    ),
];

/// Runs the agent on one form; what its outputs wrote.
fn run(name: &str, text: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for folder in ["parts", "out"] {
        std::fs::create_dir(at(folder)).unwrap();
    }
    for (part, text) in PARTS {
        std::fs::write(at(part), text).unwrap();
    }
    std::fs::write(at(name), text).unwrap();
    std::fs::write(at("app.log"), lines()).unwrap();
    let folder = dir.path().display().to_string();
    let mut agent = Program::new("kansoku-agent", dir.path(), &["-w", &folder, "-c", name]);
    agent.start();
    let last = |path: &Path| std::fs::read_to_string(path).is_ok_and(|t| t.contains("number 199"));
    wait_for("the last record", || {
        (last(&at("out/app.out")) && last(&at("out/bad.out"))).then_some(())
    });
    assert!(agent.terminate().success(), "{}", agent.log());
    let out = ["out/app.out", "out/bad.out"].map(|f| std::fs::read_to_string(at(f)).unwrap());
    out.to_vec()
}

/// 200 records of each level, some over several lines.
fn lines() -> String {
    let mut out = String::new();
    for i in 0..200 {
        for level in ["info", "debug", "error"] {
            let time = format!("2026-11-21T09:{:02}:{:02}.125Z", i / 60, i % 60);
            out += &format!("{time} level={level} msg=\"number {i}\" n={i}\n");
            if i % 7 == 0 {
                out += "  at one\n\tat two\n";
            }
        }
    }
    out
}

#[test]
fn both_formats_give_the_same_bytes() {
    let classic = run("main.conf", CLASSIC);
    let yaml = run("main.yaml", YAML);
    assert_eq!(classic, yaml);
    let (app, bad) = (&classic[0], &classic[1]);
    assert_eq!((app.lines().count(), bad.lines().count()), (200, 200));
    let first = app.lines().next().unwrap();
    for part in [
        "\"level\":\"info\"",
        "\"message\":\"number 0\"",
        "\"host\":\"here-1\"",
        "\"cluster\":\"one\"",
        "\"numbers\":{\"n\":0}",
        "at two",
    ] {
        assert!(first.contains(part), "{part}: {first}");
    }
    assert!(
        bad.starts_with("bad.error: ["),
        "{}",
        bad.lines().next().unwrap()
    );
    assert!(!app.contains("debug") && !bad.contains("debug"));
}
