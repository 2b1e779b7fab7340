//! Patterns by example; the program beside the regex crate.

use super::*;

fn group(pattern: &str, text: &str, name: &str) -> Option<String> {
    let pattern = Pattern::new(pattern).expect(pattern);
    let mut groups = Groups::default();
    if !pattern.find_groups(text.as_bytes(), &mut groups) {
        assert!(!pattern.is_match(text.as_bytes()));
        return None;
    }
    assert!(pattern.is_match(text.as_bytes()));
    let of_name = pattern.names().iter().filter(|(_, n)| **n == *name);
    let (start, end) = of_name.filter_map(|(i, _)| groups.get(*i)).next_back()?;
    Some(String::from_utf8_lossy(&text.as_bytes()[start..end]).into_owned())
}

/// Each checked with the parser filter of Fluent Bit 5.1.1.
#[test]
fn ruby_patterns_run() {
    let cases = [
        (r"^\<(?<a>[0-9]{1,5})\>1", "<34>1 x", "34"),
        (r"^(?<a>[^\[]*)\[", "app[12]", "app"),
        (r"(?<a>[^]]+)\]", "[x]y]", "[x"),
        (r"/^(?<a>A.B)$/im", "a\nb", "a\nb"),
        (r"^(?<a>\h+)$", "dead01", "dead01"),
        (r"(?<a>[\h-]+)", "zzde-ad", "de-ad"),
        (r"^(?<a>b)$", "a\nb\nc", "b"),
        (r#"^{"(?<a>\w+)"}"#, r#"{"k"}"#, "k"),
        (r"(?'a'x+)", "axx", "xx"),
        (r"(?m:(?<a>a.b))", "a\nb", "a\nb"),
        (r"(?<a>[[:alpha:]]+)", "12ab", "ab"),
        (r"(?<a>[^\[\]]+)", "[x]", "x"),
        (r"(?<a>.*)", "観測", "観測"),
        (r"(?<a>観.)", "x観測", "観測"),
        (r"(?<a>\/a\-b)\z", "/a-b", "/a-b"),
        (r"^(?<a>[^ ]*) {2}", "x  y", "x"),
        (r"(?<a>[a-c[xy]]+)", "1bxy", "bxy"),
        (r"(?#note)(?<a>x)", "x", "x"),
        // A point takes a character; `\w` does not know the letters beyond ASCII.
        (r"^(?<a>.).*$", "é1", "é"),
        (r"^(?<a>.{2})", "観測所", "観測"),
        (r"^(?<a>.+?)", "éa", "é"),
        (r"(?<a>\w+)", "éab", "ab"),
        (r"(?<a>[[:alpha:]]+)", "1éab", "éab"),
        (r"/(?<a>[a b]+)  # blanks in a class count/x", "a b", "a b"),
        // One name twice: the group that took part.
        (r"^(?:(?<a>\d+)|(?<a>[a-z]+))$", "abc", "abc"),
        // What needs backtracking.
        (r"^(?!.*healthz)(?<a>.*)$", "GET /x", "GET /x"),
        (r"(?<a>\w+)(?=:)", "one two: x", "two"),
        (r"(?<=id=)(?<a>\d+)", "a id=42 b", "42"),
        (r"(?<!id=)(?<a>\b\d+)", "id=42 7", "7"),
        (r"(?<q>['\x22])(?<a>.*?)\k<q>", r#"x 'a"b' y"#, "a\"b"),
        (r"^(?<a>(?>a+)b)", "aab", "aab"),
        (r"^(?<a>[^ ]++) x", "abc x", "abc"),
        (r"^(?<a>\d{1,3}+)$", "1234567", "1234567"),
    ];
    for (pattern, text, expected) in cases {
        let got = group(pattern, text, "a");
        assert_eq!(got.as_deref(), Some(expected), "{pattern}");
    }
}

#[test]
fn ruby_patterns_do_not_match_where_ruby_does_not() {
    for (pattern, text) in [
        ("^(?<a>x)?$", "y\n"),
        (r"^[\r\n]*$", "y\n"),
        ("^(?<a>a++)a", "aaa"),
        ("^(?!.*healthz)(?<a>.*)$", "GET /healthz"),
        ("^(?<a>.{3})$", "é1"),
        ("^(?<a>.)$", "a\nbc"),
    ] {
        if pattern == "^(?<a>.)$" {
            assert_eq!(group(pattern, text, "a").as_deref(), Some("a"));
            continue;
        }
        let compiled = Pattern::new(pattern).expect(pattern);
        assert!(!compiled.is_match(text.as_bytes()), "{pattern} {text:?}");
        let mut groups = Groups::default();
        assert!(!compiled.find_groups(text.as_bytes(), &mut groups));
    }
}

#[test]
fn bytes_that_are_no_utf8_match() {
    for pattern in ["^(?<a>.*)$", "^(?=x)(?<a>.*)$", "^(?<a>.+?)$"] {
        let pattern = Pattern::new(pattern).expect("valid");
        let mut groups = Groups::default();
        assert!(pattern.find_groups(b"x\xff\xfey", &mut groups));
        assert_eq!(groups.get(1), Some((0, 4)));
    }
}

/// Found by fuzzing: the engine panicked.
#[test]
fn wide_backtracking_patterns_read_bytes_that_are_no_utf8() {
    let pattern = Pattern::new(r"^.*[[:alpha:]]\d *?++é\b").expect("valid");
    let text = [120, 120, 98, 195, 191, 32, 98, 97, 32, 10, 255];
    assert!(!pattern.is_match(&text));
    assert!(!pattern.find_groups(&text, &mut Groups::default()));
}

/// Found by fuzzing: gigabytes were taken for groups that do not exist.
#[test]
fn references_to_groups_beyond_any_are_refused() {
    for pattern in [
        r"\g22222222222",
        r"(a)\k<99999999999>",
        r"(a)\33333333333",
        r"\g'-123456'",
    ] {
        assert!(Pattern::new(pattern).is_err(), "{pattern}");
    }
    assert!(Pattern::new(r"(?<a1234567>x)\k<a1234567>").is_ok());
    assert!(Pattern::new(r"(x)\1").is_ok());
}

/// Found by fuzzing: each call of itself was unfolded, nineteen deep.
#[test]
fn patterns_that_call_themselves_twice_are_refused() {
    for pattern in [
        r"a\g<0>b|c\g<0>d|e",
        r"1. |P-\g0g\d|l1. |P-\g0g\d|lll",
        r"(?<x>[a-f]\g<x>\d|\w\g<x>\s|e)",
    ] {
        let error = Pattern::new(pattern).err().map(|e| e.to_string());
        assert!(
            error.is_some_and(|e| e.contains("too complex")),
            "{pattern}"
        );
    }
    let nested = Pattern::new(r"(?<x>\((?:[^()]|\g<x>)*\))").expect("valid");
    assert!(nested.is_match(b"a(b(c)d)"));
}

#[test]
fn runaway_patterns_end() {
    let text = "x".repeat(60);
    let pattern = Pattern::new(r"^(?<x>(?:x+x+)+)\k<x>(?=y)").expect("valid");
    assert!(!pattern.is_match(text.as_bytes()));
    assert_eq!(pattern.n_given_up(), 1);
    // The same without need of backtracking is linear.
    let text = "a".repeat(20_000) + "!";
    let mut groups = Groups::default();
    for pattern in ["^(?<x>a+)+$", "^(?<x>.*?.*?.*?.*?)b", "^(?<x>.*.*.*.*)b$"] {
        let pattern = Pattern::new(pattern).expect("valid");
        assert!(!pattern.find_groups(text.as_bytes(), &mut groups));
        assert_eq!(pattern.n_given_up(), 0);
    }
}

#[test]
fn mistakes_are_named() {
    let cases = [
        ("(", "pattern '(': unclosed group"),
        ("a\\", "pattern 'a\\' ends with a single backslash"),
        (
            "(?~a)",
            "pattern '(?~a)': an absence group is not supported; rewrite it without",
        ),
        (r"(?<a>x)\k<b>", r"pattern '(?<a>x)\k<b>': "),
    ];
    for (pattern, message) in cases {
        let error = Pattern::new(pattern).expect_err(pattern).to_string();
        assert!(error.starts_with(message), "{error}");
    }
    assert!(Pattern::new("a{1000}{1000}{1000}").is_err());
}

/// The program and the regex crate find the same groups, on texts made from the pattern's own
/// characters.
#[test]
fn programs_find_what_the_regex_crate_finds() {
    let patterns = [
        r#"^(?<a>[^ ]*) (?<b>\S+)(?: +(?<c>[^"]*?)(?: +\S*)?)?" (?<d>.*)$"#,
        r"^(?<a>a+)(?<b>a*?)(?<c>b|ab|a)*(?<d>.?)$",
        r"^(?<a>(?:ab|a|b){1,3}?)(?<b>b{2,4})?(?<c>.*?) ?$",
        r"^(?:(?<a>[ab]+)|(?<b> +a)|)(?<c>b*)",
        r"^\[?(?<a>[^\]]*)\]? *(?<b>(a|b)+?)(?<c>.*)$",
        r"^(?<a>.*) (?<b>.*)a(?<c>.*)$",
        r"^(?<a>[^ ]{2,3})(?<b> {0,2}?)(?<c>[^a]+)",
        r"^(?:(?<a>[^ ]+) )*(?:(?<b>[^ab]+)|(?<c>[^ ]*))(?<d> *)$",
    ];
    let pieces = ["a", "b", " ", "\"", "[", "]", "ab", "aa", "\u{e9}"];
    let mut state = 11u64;
    let mut next = |n: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    for pattern in patterns {
        let translated = Translated::new(pattern, false).expect("valid");
        let program = Program::of(&translated).expect(pattern);
        let regex = build(&translated, false).expect("valid");
        let mut scratch = program::Scratch::default();
        let mut n_found = 0;
        for _ in 0..3000 {
            let text: String = (0..next(12)).map(|_| pieces[next(pieces.len())]).collect();
            let text = text.as_bytes();
            let outcome = program.run(text, &mut scratch);
            let expected = regex.captures(text);
            if outcome == Outcome::TooManySteps {
                continue;
            }
            assert_eq!(
                outcome == Outcome::Found,
                expected.is_some(),
                "{pattern} {text:?}"
            );
            let Some(expected) = expected else { continue };
            n_found += 1;
            for (i, name) in regex.capture_names().enumerate() {
                if name.is_none() && i > 0 {
                    continue;
                }
                let expected = expected.get(i).map(|m| (m.start(), m.end()));
                assert_eq!(scratch.group(i), expected, "{pattern} {text:?} group {i}");
            }
        }
        assert!(n_found > 20, "{pattern} matched {n_found}");
    }
}
