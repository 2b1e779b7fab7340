//! What becomes of routes, labels, options and records.

use kansoku_parsers::config::Loaded;

use super::*;

fn converted(text: &str) -> Conversion {
    let loaded = Loaded {
        name: "f".into(),
        identity: "f".into(),
        bytes: text.as_bytes().to_vec(),
    };
    let mut read = |path: &str, _: &str| {
        Ok(if path == "f" {
            vec![loaded.clone()]
        } else {
            Vec::new()
        })
    };
    let evaluate = |value: &Value| evaluate(value, &|_| None);
    let configuration = kansoku_parsers::config::fluentd::parse("f", &mut read, &evaluate);
    convert(&configuration.expect("a configuration"))
}

/// The lines of the main file that say which tags a section takes, behind its name.
fn matches(text: &str) -> Vec<String> {
    let main = converted(text).files.remove(0).1;
    let mut name = String::new();
    let mut out = Vec::new();
    for line in main.lines().map(str::trim) {
        match line.split_once(' ').map(|(k, v)| (k, v.trim())) {
            Some(("Name", value)) => value.clone_into(&mut name),
            Some(("Match" | "Match_Regex", value)) => out.push(format!("{name} {value}")),
            _ => {}
        }
    }
    out
}

fn findings(text: &str) -> Vec<String> {
    let all = converted(text).findings;
    all.iter().map(ToString::to_string).collect()
}

const TWO: &str = "<source>\n@type tail\npath /a\ntag a.x\n</source>\n<source>\n@type tail\npath /b\ntag b.y\n</source>\n";

#[test]
fn the_first_match_takes_a_record() {
    for (rest, expected) in [
        ("<match **>\n@type null\n</match>", &["null *"][..]),
        (
            "<match a.**>\n@type null\n</match>\n<match **>\n@type stdout\n</match>",
            &["null a.*", "stdout b.*"],
        ),
        // A filter behind the match sees nothing of what that took.
        (
            "<match a.**>\n@type null\n</match>\n<filter **>\n@type stdout\n</filter>\n<match **>\n@type null\n</match>",
            &["stdout b.*", "null a.*", "null b.*"],
        ),
        (
            "<filter {a,b}.*>\n@type stdout\n</filter>\n<match b.* a.x>\n@type null\n</match>",
            &["stdout *", "null *"],
        ),
        (
            "<match a.x>\n@type copy\n<store>\n@type null\n</store>\n<store>\n@type stdout\n</store>\n</match>",
            &["null a.*", "stdout a.*"],
        ),
    ] {
        assert_eq!(matches(&format!("{TWO}{rest}")), expected, "{rest}");
    }
}

#[test]
fn labels_are_ways() {
    let text = "<source>\n@type tail\npath /a\ntag a\n@label @L\n</source>\n<source>\n@type tail\npath /b\ntag b\n</source>
<label @OUT>\n<filter a>\n@type stdout\n</filter>\n<match **>\n@type null\n</match>\n</label>
<label @L>\n<match **>\n@type relabel\n@label @OUT\n</match>\n</label>
<match **>\n@type relabel\n@label @OUT\n</match>";
    assert_eq!(matches(text), ["stdout a", "null *"]);
    let text = "<source>\n@type forward\n@label @L\n</source>\n<source>\n@type tail\npath /b\ntag b.c\n</source>
<label @L>\n<match x.**>\n@type null\n</match>\n</label>\n<match **>\n@type stdout\n</match>";
    assert_eq!(matches(text), ["stdout b.c", r"null ^(?:x|x\..*)$"]);
}

#[test]
fn what_routing_cannot_say_is_told() {
    for (text, expected) in [
        (
            "<source>\n@type tail\npath /a\ntag t\n@label @L\n</source>\n<source>\n@type tail\npath /b\ntag t\n</source>\n<label @L>\n<match **>\n@type null\n</match>\n</label>\n<match **>\n@type null\n</match>",
            "f:7: not converted: the source at f:1 and the source at f:7 may give the same tags to different labels, and records are told apart by their tags here; give one of them another tag",
        ),
        (
            "<source>\n@type tail\npath /a\ntag t\n</source>\n<match **>\n@type copy\n<store>\n@type relabel\n@label @L\n</store>\n<store>\n@type null\n</store>\n</match>\n<label @L>\n<filter **>\n@type stdout\n</filter>\n<match **>\n@type null\n</match>\n</label>",
            "f:8: not converted: this copy goes through filters, which the other copies' records would pass, too: a record exists once per tag here; send the copy on under a tag of its own with a filter rewrite_tag (KEEP true)",
        ),
        (
            "<source>\n@type tail\npath /a\ntag t\n</source>\n<match **>\n@type relabel\n@label @NONE\n</match>",
            "f:6: not converted: the label @NONE does not exist; its records go nowhere",
        ),
        (
            "<source>\n@type tail\npath /a\ntag t\n</source>\n<match **>\n@type null\n</match>\n<match t>\n@type stdout\n</match>",
            "f:9: not converted: <match t> of type stdout: no record comes here: no source gives such tags, or an earlier <match> takes them all",
        ),
        (
            "<source>\n@type tail\npath /a\ntag t\n@label @A\n</source>\n<label @A>\n<match **>\n@type relabel\n@label @A\n</match>\n</label>",
            "f:8: not converted: labels send to each other in a circle",
        ),
    ] {
        let found = findings(text);
        assert!(found.iter().any(|f| f == expected), "{found:#?}");
    }
}

#[test]
fn nothing_is_lost_silently() {
    let text = "<source>\n@type tail\npath /a\ntag t\nnew_key 1\n<parse>\n@type json\nother 2\n</parse>\n<odd>\n</odd>\n</source>\n<match **>\n@type null\n</match>\n<thing>\n</thing>";
    let found = findings(text);
    for expected in [
        "f:5: not converted: 'new_key' of <source> of type tail has no counterpart",
        "f:8: not converted: 'other' of <parse> of type json has no counterpart",
        "f:10: not converted: <odd> in <source> of type tail has no counterpart",
        "f:16: not converted: <thing> is no section that stands here",
    ] {
        assert!(found.iter().any(|f| f == expected), "{found:#?}");
    }
    let ruby = "<source>\n@type tail\npath \"#{`ls`}\"\ntag t\n</source>";
    assert!(findings(ruby)[0].starts_with(
        "f:3: not converted: 'path' is made by Ruby code, which is not run here: #{`ls`}"
    ));
}

#[test]
fn transformed_records() {
    for (body, expected) in [
        (
            "<record>\na b c\nhost \"#{Socket.gethostname}\"\n</record>\nremove_keys x,y",
            "Set a b c|Set host ${HOSTNAME}|Remove x|Remove y",
        ),
        ("<record>\nb ${record[\"a\"]}\n</record>", "Hard_copy a b"),
        (
            "<record>\na x\nb ${record[\"a\"]}\n</record>",
            "Call change_1|Enable_Flb_Null on|Keep_Numbers on|Code local function X(v) if v==nil then return flb_null end return v end local function G(v,...) for _,k in ipairs({...}) do if type(v)~=\"table\" then return nil end v=v[k] end if v==flb_null then return nil end return v end function change_1(tag,ts,o) local n={} for k,v in pairs(o) do n[k]=v end n[\"a\"]=\"x\" n[\"b\"]=X(G(o,\"a\")) return 2,ts,n end",
        ),
        (
            "renew_record true\nkeep_keys k\n<record>\nt {\"x\": \"${tag}\", \"y\": [1, null]}\n</record>",
            "Call change_1|Enable_Flb_Null on|Keep_Numbers on|Code local function X(v) if v==nil then return flb_null end return v end function change_1(tag,ts,o) local n={} n[\"k\"]=o[\"k\"] n[\"t\"]={[\"x\"]=X(tag),[\"y\"]={1,flb_null}} return 2,ts,n end",
        ),
        (
            "<record>\ne \"#{ENV['E'] || 'd'}\"\n</record>",
            "Call change_1|Enable_Flb_Null on|Keep_Numbers on|Code local function X(v) if v==nil then return flb_null end return v end local function V(v) if v==\"\" then return nil end return v end function change_1(tag,ts,o) local n={} for k,v in pairs(o) do n[k]=v end n[\"e\"]=X((V(\"${E:-}\") or \"d\")) return 2,ts,n end",
        ),
    ] {
        let text = format!(
            "<source>\n@type tail\npath /a\ntag t\n</source>\n<filter **>\n@type record_transformer\n{body}\n</filter>\n<match **>\n@type null\n</match>"
        );
        let main = converted(&text).files.remove(0).1;
        let filter = main.split("[FILTER]").nth(1).expect("a filter");
        let keys = filter
            .lines()
            .skip(1)
            .take_while(|l| !l.is_empty())
            .map(str::trim);
        let keys: Vec<String> = keys
            .filter(|l| !l.starts_with("Name") && !l.starts_with("Match"))
            .map(|l| {
                l.split_once(' ')
                    .map_or(l.to_owned(), |(k, v)| format!("{k} {}", v.trim()))
            })
            .collect();
        assert_eq!(keys.join("|"), expected, "{body}");
    }
}

#[test]
fn no_section_has_an_empty_pattern() {
    let parse = "<parse>\n@type multi_format\n<pattern>\nformat json\n</pattern>\n<pattern>\nformat none\n</pattern>\n</parse>";
    let rest = "<match **>\n@type stdout\n</match>";
    for (source, expected) in [
        (
            "@type tail\npath /a",
            "f:1: not converted: <source> of type tail has no 'tag', without which Fluentd does not start; name one; the source is left out",
        ),
        (
            "@type tcp\ntag \"\"",
            "f:1: not converted: <source> of type tcp has an empty 'tag', or one that only a variable gives, and records are told apart by their tags here; name one; the source is left out",
        ),
        (
            "@type tail\npath /a\ntag \"#{ENV['T']}\"",
            "f:1: not converted: <source> of type tail has an empty 'tag', or one that only a variable gives, and records are told apart by their tags here; name one; the source is left out",
        ),
        (
            "@type exec\ncommand ls\n<extract>\ntag_key k\n</extract>",
            "f:1: not converted: <source> of type exec takes its tag from a field by <extract>, and here it is the input's own; name one in 'tag' and change it with a filter rewrite_tag; the source is left out",
        ),
        (
            "@type udp\ntag \"a\\nb\"",
            "f:1: not converted: <source> of type udp has line ends, or blanks at the ends, in its 'tag' \"a\\nb\", which the format cannot hold; name another; the source is left out",
        ),
        (
            "@type tail\npath /\ntag *",
            "f:1: not converted: <source>: its files give no tag, or an empty one, and records are told apart by their tags here; write the tag without a star; the source is left out",
        ),
    ] {
        let source = format!("<source>\n{source}\n{parse}\n</source>\n{rest}");
        let found = findings(&source);
        assert!(found.iter().any(|f| f == expected), "{found:#?}");
        assert!(matches(&source).is_empty(), "{source}");
    }
    // A tag that is nothing but the prefix to strip stays.
    let text = format!(
        "<source>\n@type tail\npath /a\ntag raw.\n{parse}\n</source>\n<match raw.**>\n@type detect_exceptions\nremove_tag_prefix raw\n</match>\n{rest}"
    );
    assert_eq!(matches(&text), ["parser raw.", "multiline *", "stdout *"]);
}

#[test]
fn filters_of_one_source_follow_its_tag_without_a_prefix() {
    let text = "<source>\n@type tail\npath /a/*.log,/b/*.log\ntag raw.*\n<parse>\n@type multi_format\n<pattern>\nformat json\n</pattern>\n</parse>\n</source>\n<match raw.**>\n@type detect_exceptions\nremove_tag_prefix raw\n</match>\n<match **>\n@type stdout\n</match>";
    assert_eq!(
        matches(text),
        [
            r"parser ^(?:a\..*\.log|b\..*\.log)$",
            "multiline *",
            "stdout *"
        ]
    );
}

/// What Fluentd refuses to start with.
#[test]
fn what_lacks_its_essentials_is_told() {
    let source = |parse: &str| {
        format!(
            "<source>\n@type tail\npath /a\ntag t\n{parse}</source>\n<match **>\n@type null\n</match>"
        )
    };
    let behind = |section: &str| {
        format!(
            "<source>\n@type tail\npath /a\ntag t\n<parse>\n@type none\n</parse>\n</source>\n{section}"
        )
    };
    for (text, expected) in [
        (
            source(""),
            "f:1: not converted: no parser is named, without which Fluentd does not start; texts stay whole",
        ),
        (
            source("<parse>\n@type regexp\nexpression /a/\n</parse>\n"),
            "f:5: not converted: 'expression' has no group (?<name>…), so that it gives no fields; texts stay whole",
        ),
        (
            source("<parse>\n@type multiline\nformat_firstline /a/\n</parse>\n"),
            "f:5: not converted: <parse> of type multiline has no 'format1', without which Fluentd does not start; records stay whole",
        ),
        (
            source("<parse>\n@type json\ntime_type day\n</parse>\n"),
            "f:5: not converted: 'time_type' is 'day', but must be string, unixtime, float or mixed",
        ),
        (
            behind("<match **>\n@type copy\n</match>"),
            "f:9: not converted: <match> of type copy has no <store>, without which Fluentd does not start",
        ),
        (
            behind("<match **>\n@type file\n</match>"),
            "f:9: not converted: <match> of type file has no 'path' that can be used; it is left out",
        ),
        (
            behind("<match **>\n@type forward\n<server>\nport 1\n</server>\n</match>"),
            "f:11: not converted: <server> has no 'host', without which Fluentd does not start; it is left out",
        ),
        (
            behind("<match **>\n@type file\npath /b\n<buffer>\n@type odd\n</buffer>\n</match>"),
            "f:12: not converted: a <buffer> of type odd is not known; inputs wait for their outputs",
        ),
        (
            behind("<match **>\n@type rewrite_tag_filter\n</match>"),
            "f:9: not converted: there is no <rule> that can be used; records keep their tags",
        ),
        (
            behind(
                "<filter **>\n@type grep\n<regexp>\nkey a\n</regexp>\n</filter>\n<match **>\n@type null\n</match>",
            ),
            "f:11: not converted: the rule needs 'key' and 'pattern'",
        ),
    ] {
        let found = findings(&text);
        assert!(
            found.iter().any(|f| f == expected),
            "{expected}: {found:#?}"
        );
    }
}
