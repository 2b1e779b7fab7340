//! What becomes of YAML texts; expected messages hold line and column.

use super::*;

fn show(sources: &[(&str, &str)]) -> String {
    let mut read = |path: &str, from: &str| {
        let found: Vec<Loaded> = sources
            .iter()
            .filter(|(name, _)| {
                path.strip_suffix('*')
                    .map_or(*name == path, |h| name.starts_with(h))
            })
            .map(|(name, text)| Loaded {
                name: (*name).to_owned(),
                identity: (*name).to_owned(),
                bytes: text.as_bytes().to_vec(),
            })
            .collect();
        if found.is_empty() {
            Err(format!("{path} from {from} cannot be opened"))
        } else {
            Ok(found)
        }
    };
    let document = match parse(sources[0].0, &mut read) {
        Err(e) => return format!("error {e}"),
        Ok(document) => document,
    };
    let mut out: Vec<String> = (document.warnings.iter().map(|w| format!("warning {w}"))).collect();
    out.extend(
        document
            .variables
            .iter()
            .map(|(k, v)| format!("set {k}={v}")),
    );
    let keys = |settings: &[kansoku_model::plugin::Setting]| {
        let keys = settings.iter().map(|s| format!(" {}={}", s.key, s.value));
        keys.collect::<String>()
    };
    for s in &document.sections {
        out.push(format!("{:?}@{}{}", s.kind, s.place, keys(&s.settings)));
        out.extend(
            s.groups
                .iter()
                .map(|g| format!("  {}:{}", g.name, keys(&g.settings))),
        );
        for p in &s.processors {
            let rules = p.condition.iter().flat_map(|c| &c.rules);
            let rules = rules.map(|r| format!(" if {} {:?} {:?}", r.field, r.operator, r.value));
            let rules: String = rules.collect();
            out.push(format!("  {:?}{}{rules}", p.signal, keys(&p.settings)));
        }
    }
    out.join("\n")
}

fn one(text: &str) -> String {
    show(&[("m", text)])
}

#[test]
fn the_whole_format() {
    let main = r#"
env:
  LEVEL: info
  EMPTY:
includes: [in*]
service:
  flush: 0.5
  logLevel: ${LEVEL}
  http_server: on
  telemetry: {metrics: {logs: {rate: 1}, x: []}}
"#;
    assert_eq!(one(main), "error m:5:12: in* from m cannot be opened");
    let main = main.replace(", x: []", "");
    let include = r#"
parsers:
  - {name: p, format: regex, regex: '^(?<a>.*)$'}
multiline_parsers:
  - name: m
    type: regex
    rules:
      - {state: start_state, regex: '/^"a/', nextState: cont}
upstream_servers:
  - name: u
    nodes: [{name: n1, host: h, port: 1}, {name: n2, host: h, port: 2}]
pipeline:
  inputs:
    - Name: tail
      memBufLimit: 5M
      storage.type: filesystem
      processors:
        logs:
          - name: content_modifier
            action: upsert
            rates: {a: [1, "2", x]}
            condition:
              op: or
              rules:
                - {field: $level, op: in, value: [a, b]}
                - {field: $n, op: gt, value: 1}
  filters:
    - name: modify
      match: "*"
      add: [a b, c d]
  outputs:
    - name: stdout
      tls.verify: off
"#;
    assert_eq!(
        show(&[("m", &main), ("in1", include), ("in2", "---\n---\nservices: 1\n...\n")]),
        "warning in2:3:1: 'services' at the top of the file is ignored; did you mean 'service'?
set LEVEL=info
set EMPTY=
Parser@in1:3:5 name=p format=regex regex=^(?<a>.*)$
MultilineParser@in1:5:5 name=m type=regex rule=\"start_state\" \"/^\\\"a/\" \"cont\"
Upstream@in1:10:5 name=u
Node@in1:11:13 name=n1 host=h port=1
Node@in1:11:43 name=n2 host=h port=2
Input@in1:14:7 name=tail mem_buf_limit=5M storage.type=filesystem
  Logs name=content_modifier action=upsert rates={\"a\":[1,\"2\",\"x\"]} if $level In List([\"a\", \"b\"]) if $n Greater Text(\"1\")
Filter@in1:28:7 name=modify match=* add=a b add=c d
Output@in1:32:7 name=stdout tls.verify=off
Service@m:6:1 flush=0.5 log_level=${LEVEL} http_server=on
  telemetry: metrics.logs.rate=1"
    );
}

#[test]
fn aliases_are_resolved_and_told() {
    let text = "x-all: &all {match: '*', tls: on}\npipeline:\n  outputs:\n    - <<: *all\n      name: a\n    - {name: b, <<: *all, tls: off}\n";
    assert_eq!(
        one(text),
        format!(
            "warning m:4:11: {}\nOutput@m:4:7 match=* tls=on name=a\nOutput@m:6:7 name=b match=* tls=off",
            "anchors and aliases are resolved here, but Fluent Bit refuses a file that has them"
        )
    );
    // Each level doubles: the bound, not the memory, ends it.
    let mut bomb = String::from("x-0: &a0 [1, 2]\n");
    for i in 1..40 {
        bomb += &format!("x-{i}: &a{i} [*a{0}, *a{0}]\n", i - 1);
    }
    assert!(one(&bomb).contains("more than 1048576 values"));
}

#[test]
fn mistakes_have_line_and_column() {
    let mut wrong = Vec::new();
    for (text, message) in [
        (
            "pipeline:\n  inputs:\n",
            "2:9: 'inputs' is empty; write its entries below, each after a dash",
        ),
        (
            "pipeline:\n  inputs:\n    - tail\n",
            "3:7: expected a map, found a value",
        ),
        (
            "pipeline:\n  input:\n    - name: a\n",
            "2:3: unknown key 'input' in pipeline; did you mean 'inputs'?",
        ),
        (
            "inputs:\n - name: a\n",
            "1:1: 'inputs' belongs below 'pipeline:'; indent it",
        ),
        (
            "service: {a: 1}\n---\nservice: {}\n",
            "3:1: 'service' is there twice (first at m:1:1); join them",
        ),
        (
            "- a\n",
            "1:1: the file must be a map with names such as service and pipeline, not a list",
        ),
        (
            "a: [b\n",
            "2:1: not valid YAML: while parsing a flow sequence, expected ',' or ']'",
        ),
        ("env:\n - value: x\n", "2:4: the variable has no 'name'"),
        (
            "pipeline:\n  filters:\n  - name: x\n    processors: {}\n",
            "4:5: filters have no processors; set them on an input or output",
        ),
        (
            "pipeline:\n  inputs:\n  - name: x\n    processors:\n      log: []\n",
            "5:7: unknown key 'log' in processors; did you mean 'logs'?",
        ),
        (
            "pipeline:\n  inputs:\n  - name: x\n    processors:\n      logs:\n      - name: y\n        condition: {rules: [{field: $a, op: gt, value: b}]}\n",
            "7:56: 'value' is 'b', but must be a number here",
        ),
        (
            "multiline_parsers:\n - name: m\n   rules: [{state: a, regex: b}]\n",
            "3:12: the rule has no 'next_state'",
        ),
    ] {
        let shown = one(text);
        if !shown.starts_with(&format!("error m:{message}")) {
            wrong.push(format!("{text}gives {shown}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let deep = "[".repeat(100);
    assert!(
        one(&deep).contains("nested deeper than 64 levels"),
        "{}",
        one(&deep)
    );
}

#[test]
fn keys_are_spelt_as_fluent_bit_reads_them() {
    for (key, expected) in [
        ("memBufLimit", "mem_buf_limit"),
        ("Mem_Buf_Limit", "mem_buf_limit"),
        ("mem_Buf_Limit", "mem_buf_limit"),
        ("MemBufLimit", "membuflimit"),
        ("tls.verifyHostname", "tls.verify_hostname"),
        ("", ""),
    ] {
        assert_eq!(snake_case(key), expected, "{key}");
    }
}

#[test]
fn no_bytes_panic() {
    // A small deterministic generator of texts from the pieces that mean something.
    let pieces = [
        "pipeline:",
        "inputs:",
        " ",
        "  ",
        "\n",
        "- ",
        "name: a",
        "{",
        "}",
        "[",
        "]",
        ",",
        "&a ",
        "*a",
        "<<: ",
        "? ",
        "|\n",
        ">-\n",
        "\"",
        "'",
        "#",
        "---\n",
        "...\n",
        "%YAML 1.1\n",
        "!!str ",
        "\t",
        "\u{feff}",
        "x:",
        "processors:",
        "logs:",
        "condition:",
        "env:",
        "includes:",
        "\r\n",
        "${A}",
        "null",
    ];
    let mut state = 1u64;
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..30 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            text += pieces[(state >> 33) as usize % pieces.len()];
        }
        let _ = one(&text);
    }
}
