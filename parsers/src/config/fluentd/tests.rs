//! Texts of configurations, and what is read in them or told of them.

use super::*;
use crate::config::Loaded;

fn show_element(element: &Element, indent: usize, out: &mut String) {
    use std::fmt::Write;
    let pad = "  ".repeat(indent);
    let argument = element.argument.to_string();
    let line = element.place.line;
    let _ = writeln!(out, "{pad}<{} {argument}>@{line}", element.name);
    for a in &element.attributes {
        let _ = writeln!(
            out,
            "{pad}  {}={:?}@{}",
            a.key,
            a.value.to_string(),
            a.place.line
        );
    }
    for e in &element.elements {
        show_element(e, indent + 1, out);
    }
}

fn evaluate(value: &Value) -> Option<String> {
    value.plain().map(ToOwned::to_owned)
}

fn show(sources: &[(&str, &str)]) -> String {
    let mut read = |path: &str, _: &str| {
        let pattern = path.strip_suffix('*');
        let found = sources
            .iter()
            .filter(|(name, _)| pattern.map_or(*name == path, |head| name.starts_with(head)));
        Ok(found
            .map(|(name, text)| Loaded {
                name: (*name).to_owned(),
                identity: (*name).to_owned(),
                bytes: text.as_bytes().to_vec(),
            })
            .collect())
    };
    match parse(sources[0].0, &mut read, &evaluate) {
        Err(e) => format!("error {e}"),
        Ok(found) => {
            let mut out: String = found
                .warnings
                .iter()
                .map(|w| format!("warning {w}\n"))
                .collect();
            for e in &found.elements {
                show_element(e, 0, &mut out);
            }
            out.trim_end().to_owned()
        }
    }
}

fn one(text: &str) -> String {
    show(&[("m", text)])
}

#[test]
fn sections_and_attributes() {
    let text = "# head\n<source> # why\n  @type tail # not so\n  path /var/log/a#b, /c # d\n  tag \"a.b\"\n\n  flag\n  <parse>\n    @type json\n  </parse>\n</source>\n\n<match a.** {b,c}.* >\n  @type null\n</match>";
    assert_eq!(
        one(text),
        "<source >@2\n  @type=\"tail\"@3\n  path=\"/var/log/a#b, /c\"@4\n  tag=\"a.b\"@5\n  flag=\"\"@7\n  <parse >@8\n    @type=\"json\"@9\n<match a.** {b,c}.*>@13\n  @type=\"null\"@14"
    );
}

#[test]
fn values() {
    for (written, expected) in [
        (r"a b  c", "a b  c"),
        (r"a #b", "a"),
        (r"a#b", "a#b"),
        ("#b", "#b"),
        (r##""a # b\t\"c\" \\ \/""##, "a # b\t\"c\" \\ /"),
        ("\"two\nlines\"", "twolines"),
        ("\"two\\\n lines\"", "two lines"),
        (r"'a\nb \'c\' \\'", r"a\nb 'c' \"),
        (
            r##""x#{ENV['A'] || "}#{1}"}y""##,
            r##"x#{ENV['A'] || "}#{1}"}y"##,
        ),
        (r##""#{h = {a: 1}; h[:a]}""##, "#{h = {a: 1}; h[:a]}"),
        ("[1, # one\n 2]", "[1, \n 2]"),
        (
            r##"{"a": "b # c", "d": [1]}"##,
            r##"{"a": "b # c", "d": [1]}"##,
        ),
        (r##"["#{ENV['A']}"]"##, r##"["#{ENV['A']}"]"##),
        ("/^(?<a>[^ ]*) #(?<b>.*)$/", "/^(?<a>[^ ]*)"),
        ("/^(?<a>[^ ]*)#(?<b>.*)$/ # c", "/^(?<a>[^ ]*)#(?<b>.*)$/"),
    ] {
        let shown = one(&format!("<a>\n  k {written}\n</a>\n"));
        assert_eq!(shown, format!("<a >@1\n  k={expected:?}@2"), "{written}");
    }
}

#[test]
fn the_last_value_of_a_key_counts() {
    assert_eq!(
        one("<a>\n k 1\n j 2\n k 3\n</a>"),
        "<a >@1\n  k=\"3\"@4\n  j=\"2\"@3"
    );
}

#[test]
fn includes_stand_anywhere() {
    let shown = show(&[
        (
            "m",
            "@include in/*\n<source>\n  @include p\n  a 1\n</source>\n@include none\ninclude q\n",
        ),
        ("in/1", "<match 1>\n</match>"),
        ("in/2", "<match 2>\n</match>"),
        ("p", "<parse>\n  @type json\n</parse>\nb 2"),
        ("q", "<label @X>\n</label>"),
    ]);
    assert_eq!(
        shown,
        "warning m:6: '@include none' finds no file; Fluentd says nothing of it\nwarning m:7: 'include' is an old spelling; write '@include'\n<match 1>@1\n<match 2>@1\n<source >@2\n  b=\"2\"@4\n  a=\"1\"@4\n  <parse >@1\n    @type=\"json\"@2\n<label @X>@1"
    );
}

#[test]
fn mistakes_say_where_and_what() {
    for (text, expected) in [
        ("<a>\n", "m:2: the file ends before '</a>'"),
        ("<a>\n</b>", "m:2: '</b>' stands where '</a>' is expected"),
        ("</b>", "m:1: '</b>' closes nothing"),
        (
            "<a> b 1\n</a>",
            "m:1: something follows '<a …>' on its line; begin a line for it",
        ),
        (
            "<a>\n k \"b\" c\n</a>",
            "m:2: something follows the value of 'k' on its line; quote the value or begin a line",
        ),
        (
            "<a>\n k \"b\n\n</a>",
            "m:4: 'k': the double quoted string has no end",
        ),
        (
            "<a>\n k 'b\n</a>",
            "m:3: 'k': the single quoted string has no end on its line",
        ),
        (
            "<a>\n k \"\\d\"\n</a>",
            "m:2: 'k': '\\d' is no escape in a double quoted string; write '\\\\d'",
        ),
        (
            "<a>\n k [1,]\n</a>",
            "m:2: 'k': the value begins as JSON and is none: expected value at line 1 column 4; put a text that begins with a bracket in quotes",
        ),
        (
            "<a>\n k [1\n</a>",
            "m:3: 'k': the JSON value has no end; is a bracket missing?",
        ),
        (
            "<match>\n @x 1\n</match>",
            "m:2: '@x' is none of Fluentd's own keys: those begin with '@'",
        ),
        (
            "@include m",
            "m:1: files include each other more than 32 deep; does one include itself?",
        ),
        (
            "@include http://h/f",
            "m:1: '@include http://h/f' reads over the network; save the file and include that",
        ),
        (
            "@include \"#{x}\"",
            "m:1: the path of '@include #{x}' is made by Ruby code, which is not run here; write the path itself",
        ),
        ("<", "m:1: '<' is not followed by the name of a section"),
        ("<a", "m:1: '<a' has no closing '>'"),
        (
            "<a>\n k \"#{ENV['A'\"\n</a>",
            "m:3: 'k': the embedded code '#{' has no closing '}'",
        ),
    ] {
        assert_eq!(one(text), format!("error {expected}"), "{text}");
    }
}

#[test]
fn no_bytes_panic() {
    let alphabet = "<>/@#{}[]\"'\\ \n\tkinclude,:1é";
    let alphabet: Vec<char> = alphabet.chars().collect();
    let mut state = 7u64;
    for _ in 0..5000 {
        let mut text = String::new();
        for _ in 0..40 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            text.push(alphabet[(state >> 33) as usize % alphabet.len()]);
        }
        let _ = one(&text);
    }
}
