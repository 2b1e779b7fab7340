//! Parsers by example: a line in, the record as JSON out.

use std::sync::Arc;

use kansoku_model::{LogBatch, Position, Slice, json as write_json};

use super::*;

/// 2026-11-21T09:00:00Z.
const NOW: i64 = 1_795_251_600_000_000_000;

fn parser(pairs: &[(&str, &str)]) -> Result<Parser, ConfigError> {
    let pairs: Vec<(&str, &str)> = [("name", "p")]
        .into_iter()
        .chain(pairs.iter().copied())
        .collect();
    Parser::new(&Settings::of("PARSER", &pairs), &|_| None)
}

/// Time offset from now in milliseconds and the record.
fn run(parser: &Parser, line: &str) -> String {
    let mut batch = LogBatch::new("t".into(), Arc::default(), b"before ".to_vec());
    let slice = batch.store(line.as_bytes());
    let row = batch.push(0, Position::at(1));
    let mut parsed = Parsed::default();
    if !parser.parse(line.as_bytes(), NOW, &mut parsed) {
        return "no".into();
    }
    assert!(parsed.write(&mut batch, row, slice));
    let mut out = b"{".to_vec();
    write_json::write_fields(&mut out, &batch, row, true);
    out.push(b'}');
    let record = String::from_utf8(out).expect("json");
    let mut object = LogBatch::default();
    object.store(line.as_bytes());
    let Value::Json(whole) = parsed.write_object(
        &mut object,
        Slice {
            start: 0,
            len: slice.len,
        },
    ) else {
        panic!("an object")
    };
    assert_eq!(String::from_utf8_lossy(object.bytes(whole)), record);
    match (parsed.time_ns, parsed.time_failed) {
        (Some(t), _) => format!("{} {record}", (t - NOW) / 1_000_000),
        (None, true) => format!("bad {record}"),
        (None, false) => record,
    }
}

use kansoku_model::Value;

#[test]
fn sections_give_parsers() {
    let json: &[(&str, &str)] = &[
        ("format", "json"),
        ("time_format", "%Y-%m-%dT%H:%M:%S.%L%z"),
    ];
    let cases: &[(&[(&str, &str)], &str, &str)] = &[
        (
            json,
            r#"{"time":"2026-11-21T09:00:00.25Z","a":1,"b":{"c":[1]},"d":"x\ty"}"#,
            r#"250 {"a":1,"b":{"c":[1]},"d":"x\ty"}"#,
        ),
        (
            json,
            r#"{"time":"soon","a":null}"#,
            r#"bad {"time":"soon","a":null}"#,
        ),
        (json, "[1]", "no"),
        (
            json,
            r#"{"a":["\ud83d\ude00\\ud83d","\ud41d\ude00\uD83Dx"],"b":"\ude00"}"#,
            r#"{"a":["\ud83d\ude00\\ud83d","\ud41d\ufffd\ufffdx"],"b":"�"}"#,
        ),
        (
            &[
                ("format", "json"),
                ("time_format", "%s"),
                ("time_key", "ts"),
                ("time_keep", "on"),
            ],
            r#"{"ts":1795251601}"#,
            r#"1000 {"ts":1795251601}"#,
        ),
        (
            &[("format", "json")],
            r#"{"time":"x","\u0061\"":true}"#,
            r#"{"time":"x","a\"":true}"#,
        ),
        (
            &[
                ("format", "regex"),
                ("regex", r"^(?<time>[^ ]*) (?<n>\d*) (?<m>.*)$"),
                ("time_format", "%H:%M"),
                ("types", "n:integer"),
            ],
            "x 42 hello",
            r#"bad {"n":42,"m":"hello"}"#,
        ),
        (
            &[("format", "regex"), ("regex", r"^(?<a>\w*)-(?<b>\w*)$")],
            "x-",
            r#"{"a":"x"}"#,
        ),
        (
            &[
                ("format", "regex"),
                ("regex", r"^(?<a>\w*)-(?<b>\w*)$"),
                ("skip_empty_values", "off"),
            ],
            "x-",
            r#"{"a":"x","b":""}"#,
        ),
        (
            &[("format", "ltsv"), ("types", "n:float h:hex t:bool")],
            "n:1.5\th:0xff\tt:TRUE\ts:a:b\tjunk",
            r#"{"n":1.5,"h":255,"t":true,"s":"a:b"}"#,
        ),
        (
            &[("format", "logfmt"), ("types", "n:integer")],
            r#"n=12ab m="a \"b\"" ok e="#,
            r#"{"n":12,"m":"a \"b\"","ok":true,"e":""}"#,
        ),
        (
            &[("format", "logfmt"), ("logfmt_no_bare_keys", "on")],
            "a=1 b",
            "no",
        ),
        (
            &[("format", "cri")],
            "2026-11-21T09:00:01Z stdout F hi",
            r#"1000 {"time":"2026-11-21T09:00:01Z","stream":"stdout","logtag":"F","message":"hi"}"#,
        ),
        (
            &[("format", "docker")],
            r#"{"log":"a\n","stream":"stdout","time":"2026-11-21T09:00:00.001Z"}"#,
            r#"1 {"log":"a\n","stream":"stdout"}"#,
        ),
        (
            &[("format", "json"), ("decode_field", "json log")],
            r#"{"log":"{\"a\":\"\\u0062\",\"c\":[1]}"}"#,
            r#"{"log":"{\"a\":\"\\u0062\",\"c\":[1]}","a":"b","c":[1]}"#,
        ),
        (
            &[("format", "json"), ("decode_field_as", "json log")],
            r#"{"log":"{\"a\":1}\n","b":2}"#,
            r#"{"log":{"a":1},"b":2}"#,
        ),
        (
            &[("format", "json"), ("decode_field_as", "json log")],
            r#"{"log":"text"}"#,
            r#"{"log":"text"}"#,
        ),
        (
            &[
                ("format", "json"),
                ("decode_field_as", "escaped log do_next"),
                ("decode_field_as", "json log"),
            ],
            r#"{"log":"{\\\"a\\\":1}"}"#,
            r#"{"log":{"a":1}}"#,
        ),
    ];
    for (pairs, line, expected) in cases {
        let parser = parser(pairs).expect("a valid parser");
        assert_eq!(run(&parser, line), *expected, "{pairs:?} {line}");
    }
}

#[test]
fn mistakes_in_sections_are_named() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[], "PARSER needs 'format', which is not set"),
        (
            &[("format", "regex")],
            "PARSER needs 'regex', which is not set",
        ),
        (
            &[("format", "xml")],
            "'format' is 'xml', but must be one of json, regex, ltsv, logfmt, cri, docker",
        ),
        (
            &[("format", "regex"), ("regex", "a")],
            "'regex' has no named group such as (?<message>.*), so it gives no field",
        ),
        (
            &[("format", "json"), ("types", "a")],
            "'types' holds 'a', but must be KEY:TYPE with integer, float, bool, hex or string",
        ),
        (
            &[
                ("format", "json"),
                ("time_format", "%s"),
                ("time_offset", "2"),
            ],
            "'time_offset' is '2', but must be such as +0200",
        ),
        (
            &[
                ("format", "json"),
                ("time_format", "%s"),
                ("time_zone", "Mars"),
            ],
            "'time_zone' is 'Mars', which this system's zone database lacks",
        ),
        (
            &[("format", "json"), ("decode_field_as", "yaml log")],
            "unknown decoder 'yaml'; use json, escaped, escaped_utf8 or mysql_quoted",
        ),
        (
            &[("format", "json"), ("decode_field_as", "json")],
            "'decode_field_as' is 'json', but must be a key and a value",
        ),
        (
            &[("format", "json"), ("time_frmat", "%s")],
            "unknown key 'time_frmat' for PARSER; did you mean 'time_format'?",
        ),
    ];
    for (pairs, message) in cases {
        let error = parser(pairs).expect_err("a mistake").to_string();
        assert_eq!(error, format!("command line: {message}"));
    }
}

#[test]
fn built_in_parsers_read_their_lines() {
    let all = builtin::all(&|_| None);
    let cases = [
        (
            "nginx",
            r#"10.0.0.1 - bob [21/Nov/2026:10:00:01 +0100] "GET /a?b=c HTTP/1.1" 200 612 "-" "curl/8.5""#,
            r#"1000 {"remote":"10.0.0.1","host":"-","user":"bob","method":"GET","path":"/a?b=c","code":"200","size":"612","referer":"-","agent":"curl/8.5"}"#,
        ),
        (
            "apache2",
            r#"10.0.0.1 - - [21/Nov/2026:09:00:00 +0000] "POST / HTTP/1.0" 404 - "http://x/" "a "b" c""#,
            r#"0 {"host":"10.0.0.1","user":"-","method":"POST","path":"/","code":"404","size":"-","referer":"http://x/","agent":"a \"b\" c"}"#,
        ),
        (
            "apache",
            r#"h - - [21/Nov/2026:09:00:00 +0000] "GET" 400 0"#,
            r#"0 {"host":"h","user":"-","method":"GET","code":"400","size":"0"}"#,
        ),
        (
            "syslog-rfc3164",
            "<34>Nov 21 09:00:02 node-1 sshd[42]: Accepted publickey",
            r#"2000 {"pri":"34","time":"Nov 21 09:00:02","host":"node-1","ident":"sshd","pid":"42","message":"Accepted publickey"}"#,
        ),
        (
            "syslog-rfc5424",
            r#"<165>1 2026-11-21T09:00:00.003Z host app 111 ID47 [a@1 b="c"] An event"#,
            r#"3 {"pri":"165","time":"2026-11-21T09:00:00.003Z","host":"host","ident":"app","pid":"111","msgid":"ID47","extradata":"[a@1 b=\"c\"]","message":"An event"}"#,
        ),
    ];
    for (name, line, expected) in cases {
        let parser = all.iter().find(|p| p.name() == name).expect(name);
        assert_eq!(run(parser, line), expected, "{name}");
    }
}

#[test]
fn columns_are_bounded_and_the_record_stays_whole() {
    let parser = parser(&[("format", "json")]).expect("valid");
    let mut batch = LogBatch::new("t".into(), Arc::default(), Vec::new());
    let mut parsed = Parsed::default();
    for i in 0..MAX_COLUMNS / 2 + 1 {
        let line = format!("{{\"a{i}\":1,\"b{i}\":2}}");
        let slice = batch.store(line.as_bytes());
        let row = batch.push(0, Position::at(i as u64));
        assert!(parser.parse(line.as_bytes(), NOW, &mut parsed));
        assert_eq!(parsed.write(&mut batch, row, slice), i < MAX_COLUMNS / 2);
    }
    assert_eq!(batch.columns().len(), MAX_COLUMNS);
}

#[test]
fn no_bytes_panic() {
    let regex = parser(&[
        ("format", "regex"),
        ("regex", r"^(?<time>[^ ]*) (?<m>.*)$"),
        ("time_format", "%b %d %H:%M:%S.%L %z"),
        ("types", "m:integer"),
    ]);
    let decode = parser(&[
        ("format", "json"),
        ("decode_field", "json a"),
        ("decode_field_as", "escaped b"),
        ("time_key", "a"),
        ("time_format", "%s.%L"),
    ]);
    let mut all = builtin::all(&|_| None);
    all.extend([
        regex.expect("valid"),
        decode.expect("valid"),
        parser(&[("format", "ltsv")]).expect("valid"),
    ]);
    let pieces: &[&[u8]] = &[
        b"{",
        b"}",
        b"\"a\":",
        b"\"b\":\"\\u",
        b"\"",
        b"\\",
        b"d83d",
        b"[",
        b"]",
        b",",
        b"1",
        b"-",
        b".",
        b"e",
        b" ",
        b"\t",
        b":",
        b"=",
        b"Nov 21 ",
        b"\xff",
        "観".as_bytes(),
        b"<34>",
        b"2026-11-21T",
        b"09:00:00",
        b"Z",
        b"stdout F ",
        b"null",
        b"\"{\\\"c\\\":1}\"",
    ];
    let mut state = 7u64;
    let mut parsed = Parsed::default();
    for _ in 0..4000 {
        let mut line = Vec::new();
        for _ in 0..12 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            line.extend_from_slice(pieces[(state >> 33) as usize % pieces.len()]);
        }
        for parser in &all {
            let mut batch = LogBatch::new("t".into(), Arc::default(), line.clone());
            let row = batch.push(0, Position::at(1));
            let slice = Slice {
                start: 0,
                len: line.len() as u32,
            };
            if parser.parse(&line, NOW, &mut parsed) {
                parsed.trim_texts(&line);
                assert!(parsed.write(&mut batch, row, slice));
                let mut out = b"{".to_vec();
                write_json::write_fields(&mut out, &batch, row, true);
                out.push(b'}');
                serde_json::from_slice::<serde_json::Value>(&out).expect("valid json");
            }
        }
    }
}

#[test]
fn what_the_stock_cri_pattern_cuts_is_what_it_finds() {
    let stock = "^(?<time>[^ ]+) (?<stream>stdout|stderr) (?<logtag>[^ ]*) (?<message>.*)$";
    let texts = ["", " ", "x", "two words ", "\u{e9} \t\"\\", "F more"];
    let times = [
        "2026-11-21T09:00:00.123456789Z",
        "2026-11-21T09:00:00Z",
        "2026-11-21T09:00:00.5+02:00",
        "2026-11-21 09:00:00",
        "now",
        "",
    ];
    let flags = ["F", "P", "F:x", "", "X"];
    let streams = ["stdout", "stderr", "stdin"];
    let mut n_cut = 0;
    for (keep, skip) in [("on", "on"), ("off", "on"), ("on", "off")] {
        let parser = parser(&[
            ("format", "regex"),
            ("regex", stock),
            ("time_key", "time"),
            ("time_format", "%Y-%m-%dT%H:%M:%S.%L%z"),
            ("time_keep", keep),
            ("skip_empty_values", skip),
        ])
        .expect("parser");
        let cri = parser.cri().expect("the stock pattern");
        let mut parsed = Parsed::default();
        let mut lines = Vec::new();
        for (time, flag) in times.iter().flat_map(|t| flags.map(|f| (t, f))) {
            lines.push(format!("{time} stdout {flag}"));
            for (stream, text) in streams.iter().flat_map(|s| texts.map(|t| (s, t))) {
                lines.push(format!("{time} {stream} {flag} {text}"));
            }
        }
        for line in lines {
            let Some((cut, time_ns)) = cri.cut(line.as_bytes()) else {
                continue;
            };
            n_cut += 1;
            assert!(parser.parse(line.as_bytes(), NOW, &mut parsed), "{line}");
            assert_eq!(parsed.time_ns, Some(time_ns), "{line}");
            let by_pattern = cri
                .names
                .each_ref()
                .map(|name| parsed.text(line.as_bytes(), name));
            let by_cut = cut.map(|range| range.map(|r| &line.as_bytes()[r]));
            assert_eq!(by_cut, by_pattern, "{line}");
        }
    }
    assert_eq!(n_cut, 3 * 3 * 2 * 2 * 6);
}
