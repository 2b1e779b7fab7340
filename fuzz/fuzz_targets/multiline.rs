//! Any rules and any lines: the section is refused, or every line has a place that a caller can
//! follow: a slot is joined only while it is pending, and flushed only then.
#![no_main]

use std::sync::Arc;

use kansoku_model::Settings;
use kansoku_parsers::line::multiline::{
    Content, Flush, Joiner, Multiline, Place, Stream, builtin, rule_text,
};

const STATES: [&str; 4] = ["start_state", "a", "b", "a, b"];

thread_local! {
    static BUILT_IN: Vec<Arc<Multiline>> = builtin::all().into_iter().map(Arc::new).collect();
}

libfuzzer_sys::fuzz_target!(|input: (Vec<(u8, String, u8)>, u8, Vec<(u8, Vec<u8>)>)| {
    let (rules, limit, lines) = input;
    let rules: Vec<String> = (rules.iter().take(8))
        .map(|(from, regex, to)| {
            let state = |n: &u8| STATES[usize::from(*n) % STATES.len()];
            rule_text(state(from), regex, state(to))
        })
        .collect();
    let mut pairs = vec![("name", "m"), ("type", "regex")];
    pairs.extend(rules.iter().map(|rule| ("rule", rule.as_str())));
    let own = Multiline::new(&Settings::of("multiline parser", &pairs), &|_| None);
    let own = own.into_iter().map(Arc::new);
    let parsers = BUILT_IN.with(|all| own.chain(all.iter().cloned()).collect());
    let joiner = Joiner::new(parsers, usize::from(limit));
    let mut stream = Stream::default();
    let mut pending: Vec<bool> = Vec::new();
    for (group, line) in &lines {
        let group = [*group];
        let content = Content {
            text: line,
            pattern: None,
            group: &group,
        };
        let step = (joiner.order(&stream))
            .find_map(|parser| joiner.offer(&mut stream, parser, content))
            .unwrap_or_else(|| joiner.alone(&mut stream));
        pending.resize(pending.len().max(step.slot + 1), false);
        match step.flush {
            Flush::Nothing => {}
            Flush::Slot => assert!(std::mem::take(&mut pending[step.slot])),
            Flush::All => pending.fill(false),
        }
        match step.place {
            Place::Alone => assert!(!pending.contains(&true)),
            Place::Start => assert!(!std::mem::replace(&mut pending[step.slot], true)),
            Place::Join { .. } => assert!(pending[step.slot]),
        }
        if step.complete {
            pending[step.slot] = false;
        }
        assert_eq!(stream.is_pending(), pending.contains(&true));
    }
});
