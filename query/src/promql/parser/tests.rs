//! Texts that are no PromQL and what is said about them; places and depths in the tree.

use super::*;

#[test]
fn errors_say_where_and_what() {
    let cases = [
        ("", "1:1: parse error: no expression found in input"),
        (
            "# only a comment",
            "1:1: parse error: no expression found in input",
        ),
        ("1+", "1:3: parse error: unexpected end of input"),
        ("*1", "1:1: parse error: unexpected <op:*>"),
        (".", "1:1: parse error: unexpected character: '.'"),
        (
            r#"up{a=~"b\xc5"}"#,
            "1:4: parse error: error parsing regexp: invalid UTF-8: `b\u{fffd}`",
        ),
        (
            r#"sum by ("a\xc5z") (up)"#,
            r#"1:9: parse error: invalid label name for grouping: "a\xc5z""#,
        ),
        (
            r#"a + on ("") b"#,
            r#"1:9: parse error: invalid label name for grouping: """#,
        ),
        ("(1))", "1:5: parse error: unexpected right parenthesis ')'"),
        ("((1)", "1:5: parse error: unclosed left parenthesis"),
        (
            "0deadbeef",
            "1:1: parse error: bad number or duration syntax: \"0de\"",
        ),
        (
            "1 == 1",
            "1:3: parse error: comparisons between scalars must use BOOL modifier",
        ),
        (
            "1 and 1",
            "1:1: parse error: set operator \"and\" not allowed in binary scalar expression",
        ),
        (
            "-\"text\"",
            "1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got \"string\"",
        ),
        (
            "1 offset 1d",
            "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
        ),
        (
            "a offset 1m offset 2m",
            "1:1: parse error: offset may not be set multiple times",
        ),
        (
            "a - on(b) ignoring(c) d",
            "1:11: parse error: unexpected <ignoring>",
        ),
        (
            "a and on(b) group_left(c) d",
            "1:1: parse error: no grouping allowed for \"and\" operation",
        ),
        (
            "a + bool b",
            "1:3: parse error: bool modifier can only be used on comparison operators",
        ),
        (
            "a == on(b) 10",
            "1:1: parse error: vector matching only allowed between instant vectors",
        ),
        (
            "a + on(b) group_left(b) c",
            "1:3: parse error: label \"b\" must not occur in ON and GROUP clause at once",
        ),
        (
            "{}",
            "1:1: parse error: vector selector must contain at least one non-empty matcher",
        ),
        (
            "a{",
            "1:3: parse error: unexpected end of input inside braces",
        ),
        (
            "a{1}",
            "1:3: parse error: unexpected character inside braces: '1'",
        ),
        (
            "a{b}",
            "1:4: parse error: unexpected \"}\" in label matching, expected label matching operator",
        ),
        (
            "a{b=c}",
            "1:5: parse error: unexpected identifier \"c\" in label matching, expected string",
        ),
        (
            "a{__name__=\"b\"}",
            "1:1: parse error: metric name must not be set twice: \"a\" or \"b\"",
        ),
        (
            "a[5mm]",
            "1:3: parse error: bad number or duration syntax: \"5mm\"",
        ),
        ("a[0s]", "1:3: parse error: duration must be greater than 0"),
        (
            "a offset 1m[5m]",
            "1:12: parse error: no offset modifiers allowed before range",
        ),
        (
            "(a)[5m]",
            "1:4: parse error: ranges only allowed for vector selectors",
        ),
        (
            "a[5m][5m:1m]",
            "1:1: parse error: subquery is only allowed on instant vector, got matrix instead",
        ),
        (
            "rate(a)",
            "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector",
        ),
        (
            "floor()",
            "1:1: parse error: expected 1 argument(s) in call to \"floor\", got 0",
        ),
        (
            "round(a,1,2)",
            "1:1: parse error: expected at most 2 argument(s) in call to \"round\", got 3",
        ),
        (
            "no_such(a)",
            "1:1: parse error: unknown function with name \"no_such\"",
        ),
        (
            "sum(1)",
            "1:5: parse error: expected type instant vector in aggregation expression, got scalar",
        ),
        (
            "topk(a)",
            "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1",
        ),
        (
            "sum by (==) (a)",
            "1:9: parse error: unexpected <op:==> in grouping opts, expected label",
        ),
        (
            "sum(a,)",
            "1:6: parse error: trailing commas not allowed in function call args",
        ),
        ("\"a", "1:1: parse error: unterminated quoted string"),
        ("a\n+\n  &", "3:3: parse error: unexpected character: '&'"),
        ("é", "1:1: parse error: unexpected character: 'é'"),
        ("a b", "1:3: parse error: unexpected identifier \"b\""),
        (
            "a @ b",
            "1:5: parse error: unexpected identifier \"b\" in @, expected timestamp",
        ),
        (
            "a @ start(@)",
            "1:11: parse error: unexpected <op:@> in @, expected timestamp",
        ),
        (
            "a @ end 5",
            "1:9: parse error: unexpected number \"5\" in @, expected timestamp",
        ),
        (
            "topk(1,= a)",
            "1:7: parse error: trailing commas not allowed in function call args",
        ),
        (
            "max(floor((a 12345678901)))",
            "1:14: parse error: unexpected number \"1234567890\"... in aggregation",
        ),
        (
            "(max(a) b)",
            "1:9: parse error: unexpected identifier \"b\"",
        ),
        (
            "sum by (b) c",
            "1:12: parse error: unexpected identifier \"c\" in aggregation",
        ),
        ("a by (b)", "1:3: parse error: unexpected <by>"),
        ("a BY (b)", "1:3: parse error: unexpected <BY>"),
        ("a Sum b", "1:3: parse error: unexpected <aggr:Sum>"),
        ("a end b", "1:3: parse error: unexpected \"end\""),
        ("#x", "1:1: parse error: no expression found in input"),
        (
            "a{__name__=\"b\"} c",
            "1:17: parse error: unexpected identifier \"c\"",
        ),
        ("by (b)", "1:4: parse error: unexpected \"(\""),
        ("floor() b", "1:9: parse error: unexpected identifier \"b\""),
        (
            "time(and)",
            "1:1: parse error: expected 0 argument(s) in call to \"time\", got 1",
        ),
        (
            "a{b=by}",
            "1:5: parse error: unexpected identifier \"by\" in label matching, expected string",
        ),
        (
            "a offset 'x'",
            "1:10: parse error: unexpected string \"'x'\" in offset, expected number, duration, step(), or range()",
        ),
        (
            "a[5m < 3]",
            "1:6: parse error: unexpected <op:<> in subquery or range, expected \":\" or \"]\"",
        ),
        (
            "a[5m:b]",
            "1:6: parse error: unexpected identifier \"b\" in subquery selector, expected number, duration, step(), range(), or \"]\"",
        ),
        (
            "0x",
            "1:1: parse error: error parsing number: strconv.ParseFloat: parsing \"0x\": invalid syntax",
        ),
        (
            "a \"\\q\"",
            "1:3: parse error: unknown escape sequence U+0071 'q'",
        ),
        (
            "\"\\xg0\"",
            "1:1: parse error: illegal character U+0067 'g' in escape sequence",
        ),
        (
            "'\\ud800'",
            "1:1: parse error: escape sequence is an invalid Unicode code point",
        ),
        (
            "1r",
            "1:1: parse error: bad number or duration syntax: \"1\"",
        ),
        (
            "1.2.3",
            "1:1: parse error: bad number or duration syntax: \"1.2.\"",
        ),
    ];
    for (text, expected) in cases {
        match parse(text) {
            Ok(_) => panic!("{text:?} parses"),
            Err(error) => assert_eq!(error.to_string(), expected, "{text:?}"),
        }
    }
}

#[test]
fn keywords_are_names_where_nothing_else_fits() {
    for text in [
        "sum",
        "by",
        "offset",
        "start",
        "end",
        "step + range",
        "fill",
        "sum{on=\"x\", bool=\"y\"}",
        "sum by (on, bool, and, offset, sum) (x)",
        "a + fill",
        "and and or unless unless",
        "SUM(x) BY (y)",
        "x OFFSET 5m",
    ] {
        assert!(parse(text).is_ok(), "{text}: {:?}", parse(text).err());
    }
}

#[test]
fn nesting_is_bounded() {
    let n = 5_000;
    let deep = [
        "(".repeat(n) + "1" + &")".repeat(n),
        "-".repeat(n) + "a",
        "1+".repeat(n) + "1",
        "a ^ ".repeat(n) + "a",
        "abs(".repeat(n) + "a" + &")".repeat(n),
        "a[".to_owned() + &"-".repeat(n) + "5m]",
        "a[".to_owned() + &"(".repeat(n) + "5m",
        "a[5m".to_owned() + &"+5m".repeat(n) + "]",
        "a".to_owned() + &"[5m:]".repeat(n),
    ];
    for text in deep {
        assert!(parse(&text).is_err(), "{}", &text[..20]);
    }
    // A long chain that people do write still fits.
    assert!(parse(&("a or ".repeat(150) + "a")).is_ok());
}

#[test]
fn spans_cover_the_text_of_a_node() {
    let text = "sum by (a) (rate(x{b=\"c\"}[5m] offset 1m)) / 2";
    let query = parse(text).unwrap();
    let mut found = Vec::new();
    query
        .expr
        .walk(&mut |node| found.push(&text[node.span.start..node.span.end]));
    assert_eq!(
        found,
        [
            text,
            "sum by (a) (rate(x{b=\"c\"}[5m] offset 1m))",
            "rate(x{b=\"c\"}[5m] offset 1m)",
            "x{b=\"c\"}[5m] offset 1m",
            "2",
        ]
    );
}

#[test]
fn precedence_is_prometheus() {
    let cases = [
        ("1 + 2 * 3 ^ 2 ^ 0", 7.0),
        ("-2 ^ 2", -4.0),
        ("2 ^ -1", 0.5),
        ("10 - 2 - 3", 5.0),
        ("7 % 4 * 2", 6.0),
        ("1 + 1 == bool 2", 1.0),
    ];
    for (text, expected) in cases {
        let value = crate::promql::tests::scalar(text);
        assert_eq!(value, expected, "{text}");
    }
}

#[test]
fn selectors_for_match_parameters() {
    let matchers = matchers_of_selector("{\"my.metric\", job=~\"a|b\"}").unwrap();
    let shown: Vec<String> = matchers
        .iter()
        .map(|m| format!("{}{}{}", m.name, m.op.as_str(), m.value))
        .collect();
    assert_eq!(shown, ["job=~a|b", "__name__=my.metric"]);
    for bad in ["up[5m]", "up offset 1m", "up + 1", "sum(up)", "{}", "1"] {
        assert!(matchers_of_selector(bad).is_err(), "{bad}");
    }
}

#[test]
fn metric_selectors_have_nothing_behind_them() {
    let parsed = |text| metric_selector(text).map_err(|e| e.to_string());
    assert_eq!(parsed("sum{a=\"b\"}").unwrap().len(), 2);
    assert_eq!(parsed("{}").unwrap().len(), 0, "everything");
    assert_eq!(parsed("{a=\"\"}").unwrap().len(), 1);
    for (text, expected) in [
        ("", "1:1: parse error: unexpected end of input"),
        ("up offset 5m", "1:4: parse error: unexpected <offset>"),
        (
            "up{",
            "1:4: parse error: unexpected end of input inside braces",
        ),
        ("1", "1:1: parse error: unexpected number \"1\""),
    ] {
        assert_eq!(parsed(text).unwrap_err(), expected, "{text}");
    }
}

#[test]
fn bytes_that_are_no_utf8_are_printed_as_they_were_written() {
    let texts = [
        r#"up{job="a\xc5z\n"}"#,
        r#"up{"j\xff"!~".+"}"#,
        r#"label_replace(up, "a", "\xf0\x9f", "b", "")"#,
    ];
    for text in texts {
        let printed = parse(text).unwrap().to_string();
        assert_eq!(printed, text);
        let with = parse_with_matcher(text, &Matcher::equal("n", "a")).unwrap();
        assert!(with.to_string().contains("\\x"), "{with}");
    }
}

#[test]
fn bare_selectors_are_not_checked() {
    for text in ["a{__name__=\"a\"}", "{}", "{a=~\".*\"}"] {
        assert!(metric_selector(text).is_ok(), "{text}");
    }
    for text in ["a[5m]", "(a)", "a{__name__=\"b\"} c"] {
        assert!(metric_selector(text).is_err(), "{text}");
    }
}
