//! Cases for templates: text, labels, expected output.

use kansoku_model::Labels;

use super::Template;
use crate::logql::record::Record;

fn run(text: &str) -> Result<String, String> {
    let stream = Labels::from_pairs([
        ("app", "Api"),
        ("path", "/a/b/c"),
        ("ms", "1500"),
        ("json", r#"{"a":{"b":[1,"x"]}}"#),
    ]);
    let mut record = Record::new(&stream);
    record.reset(1_690_000_001_020_000_000, b"the line");
    Template::new("", text)?.execute(&record)
}

#[test]
fn outputs() {
    let cases = [
        ("plain", "plain"),
        ("{{.app}} {{ .missing }}|", "Api |"),
        ("{{ .app | ToLower | upper }}", "API"),
        (
            "{{ printf `%-5s|%5.5s` .app (ToUpper .app) }}",
            "Api  |  API",
        ),
        (
            "{{ Replace .path \"/\" \"-\" 1 }} {{ .path | replace \"/\" \"\" }}",
            "-a/b/c abc",
        ),
        (
            "{{ .path | trimPrefix \"/\" | trunc 3 }}{{ trunc -1 .path }}",
            "a/bc",
        ),
        ("{{ substr 1 3 .path }} {{ .path | substr 3 -1 }}", "a/ b/c"),
        ("{{ regexReplaceAll `/(\\w)` .path `[$1]` }}", "[a][b][c]"),
        ("{{ regexReplaceAllLiteral `/` .path `$1` }}", "$1a$1b$1c"),
        (
            "{{ .missing | default \"none\" }} {{ default \"none\" .app }}",
            "none Api",
        ),
        (
            "{{ if .missing }}a{{ else if eq .app \"Api\" }}b{{ else }}c{{ end }}",
            "b",
        ),
        (
            "{{ if and (eq .app \"x\") true }}a{{ else }}c{{ end }}",
            "c",
        ),
        ("{{ with .app }}<{{ . }}>{{ else }}none{{ end }}", "<Api>"),
        ("{{ $x := .app }}{{ $x = upper $x }}{{ $x }}", "API"),
        ("a {{- \" b \" -}} c", "a b c"),
        ("{{/* note */}}x", "x"),
        (
            "{{ __line__ | len }} {{ __timestamp__ | date \"2006-01-02\" }}",
            "8 2023-07-22",
        ),
        ("{{ __timestamp__ }}", "2023-07-22 04:26:41.02 +0000 UTC"),
        (
            "{{ add 1 .ms }} {{ div .ms 1000 }} {{ divf .ms 1000 }}",
            "1501 1 1.5",
        ),
        (
            "{{ round 3.14159 2 }} {{ mulf 1.5 2 }} {{ 1e21 }}",
            "3.14 3 1e+21",
        ),
        (
            "{{ (fromJson .json).a.b }} {{ index (fromJson .json).a.b 1 }}",
            "[1 x] x",
        ),
        (
            "{{ b64enc .app }} {{ b64dec \"QXBp\" }} {{ urlencode .path }}",
            "QXBp Api %2Fa%2Fb%2Fc",
        ),
        ("{{ urldecode \"a%20b+c\" }}", "a b c"),
        (
            "{{ gt (int .ms) 1000 }} {{ lt 1.5 (float64 .ms) }} {{ not .app }}",
            "true true false",
        ),
        (
            "{{ contains \"b\" .path }} {{ hasPrefix \"/a\" .path }} {{ count \"/\" .path }}",
            "true true 3",
        ),
        (
            "{{ alignLeft 5 .app }}|{{ alignRight 2 .app }}|",
            "Api  |pi|",
        ),
        ("{{ bytes \"1KiB\" }} {{ duration \"1m30s\" }}", "1024 90"),
        (
            "{{ unixEpochMillis (unixToTime \"1690000001\") }}",
            "1690000001000",
        ),
        (
            "{{ range $i, $x := (fromJson .json).a.b }}{{ $i }}={{ $x }} {{ end }}{{ $.app }}",
            "0=1 1=x Api",
        ),
        ("{{ print 1 2 \"a\" \"b\" 3 4 }}", "1 2ab3 4"),
        // Bytes are cut, as in Go.
        (
            "{{ trunc 2 \"aé\" }}|{{ trunc -1 \"é\" }}|{{ substr 1 3 \"aéb\" }}|{{ substr -1 2 \"abc\" }}|{{ substr 1 -1 \"abc\" }}",
            "a\u{fffd}|\u{fffd}|é|ab|bc",
        ),
        // What is not run may be wrong.
        ("{{ if false }}{{ ToLower }}{{ end }}-", "-"),
        ("{{ js \"a'<\\n\" }}", "a\\'\\u003C\\u000A"),
        ("{{ (fromJson \"x\").a }}", "<no value>"),
        (
            "{{ fromJson `{\"a\":\"\\ud83d\\u0041\",\"b\":\"\\ud83d\\ude00\"}` }}",
            "map[a:\u{fffd}A b:😀]",
        ),
        ("{{ title \"hello wörld\" }}", "Hello Wörld"),
    ];
    for (text, expected) in cases {
        assert_eq!(run(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn faults() {
    let cases = [
        (
            "{{ nope .x }}",
            "template: :1: function \"nope\" not defined",
        ),
        ("{{ .x", "template: :1: unclosed action"),
        ("\n{{ if .x }}", "template: :2: unexpected EOF"),
        ("{{ end }}", "template: :1: unexpected {{end}}"),
        ("{{ range .app }}{{ end }}", "range can't iterate over Api"),
        (
            "{{ ToLower }}",
            "wrong number of args for ToLower: want 1 got 0",
        ),
        (
            "{{ add 1 trunc .ms }}",
            "wrong number of args for trunc: want 2 got 0",
        ),
        (
            "{{ \"a\" .b }}",
            "template: :1: can't give argument to non-function",
        ),
        ("{{ .a .b }}", "a is not a method but has arguments"),
        ("{{ (.a }}", "template: :1: unclosed left paren"),
        ("{{ $x }}", "template: :1: undefined variable \"$x\""),
        ("{{ }}", "template: :1: missing value for command"),
        ("{{ \"a }}", "template: :1: unclosed action"),
        ("{{ ToLower 1 }}", "expected string; found 1"),
        (
            "{{ ToLower (add 1 2) }}",
            "wrong type for value; expected string; got int",
        ),
        (
            "{{ ToLower (fromJson \"x\") }}",
            "invalid value; expected string",
        ),
        ("{{ trunc \"a\" .app }}", "expected integer; found \"a\""),
        (
            "{{ index (fromJson \"x\") \"a\" }}",
            "error calling index: index of untyped nil",
        ),
        (
            "{{ slice 1 1 }}",
            "error calling slice: can't slice item of type int",
        ),
        (
            "{{ (fromJson \"{}\").a.b }}",
            "nil pointer evaluating interface {}.b",
        ),
        ("{{ div 1 0 }}", "error calling div: integer divide by zero"),
        (
            "{{ repeat 9999999 .path }}",
            "error calling repeat: result longer than 1048576 bytes",
        ),
        (
            "{{ eq 1 \"1\" }}",
            "error calling eq: incompatible types for comparison",
        ),
        ("{{ .app.x }}", "can't evaluate field x in type string"),
    ];
    for (text, message) in cases {
        assert_eq!(run(text), Err(message.to_owned()), "{text}");
    }
    let deep = format!("{{{{ {} 1 }}}}", "(".repeat(10_000));
    assert!(run(&deep).unwrap_err().contains("nested deeper"));
    let deep = "{{if 1}}".repeat(10_000);
    assert!(run(&deep).unwrap_err().contains("nested deeper"));
}

#[test]
fn labels_behind_a_dollar_are_read() {
    let read = |text: &str| {
        let mut names = Vec::new();
        let all_named = Template::new("", text).unwrap().labels_read(&mut names);
        (all_named, names.join(","))
    };
    assert_eq!(read("{{ .a }}{{ $.b }}"), (true, "a,b".into()));
    assert_eq!(read("{{ $ }}"), (false, String::new()));
    assert!(!read("{{ range fromJson .a }}{{ . }}{{ end }}").0);
}

#[test]
fn small_templates_do_not_make_huge_texts() {
    let large = "{{ $x := repeat 1000000 `a` }}";
    let too_long = "result longer than 1048576 bytes";
    for (text, message) in [
        ("{{ regexReplaceAll `` $x $x }}".to_owned(), too_long),
        ("{{ regexReplaceAllLiteral `` $x $x }}".to_owned(), too_long),
        (
            "{{ regexReplaceAll `.+` $x `$0$0$0` }}".to_owned(),
            too_long,
        ),
        (
            format!("{{{{ print {} }}}}", "$x ".repeat(20)),
            "works on more than",
        ),
        ("{{ $y := print $x }}".repeat(20), "works on more than"),
        (
            "{{ $y := print (index (fromJson (print `[\"` $x `\"]`)) 0) }}".repeat(9),
            "works on more than",
        ),
    ] {
        let error = run(&format!("{large}{text}")).unwrap_err();
        assert!(error.contains(message), "{text}: {error}");
    }
    let once = run(&format!(
        "{large}{{{{ regexReplaceAll `^a` $x `$0$0` | len }}}}"
    ));
    assert_eq!(once.as_deref(), Ok("1000001"));
}
