//! Any tag and any lines of a container through the kubernetes filter: the pod's name is found or the
//! batch is left alone, merging loses no record, and what leaves is valid JSON.
#![no_main]

use std::sync::Arc;

use kansoku_agent::filters::kubernetes;
use kansoku_agent::fuzzing::TagReader;
use kansoku_agent::kubernetes::{Container, Pod};
use kansoku_agent::plugin::{Environment, Filter, FilterContext};
use kansoku_fuzz::{check, fields};
use kansoku_model::{LogBatch, Position, Resource, Settings, SourceId, json};
use kansoku_parsers::line::builtin;

const PREFIX: &str = "kube.var.log.containers.";

fn environment() -> Environment {
    let all = builtin::all(&|_| None).into_iter();
    let environment = Environment {
        parsers: Arc::new(all.map(|p| (p.name().to_owned(), Arc::new(p))).collect()),
        ..Environment::default()
    };
    environment.pods.apply(Pod {
        namespace: "shop".into(),
        name: "web-0".into(),
        uid: "u-1".into(),
        labels: vec![("app".into(), "web".into())],
        annotations: vec![
            ("fluentbit.io/parser_stderr".into(), "logfmt".into()),
            ("fluentbit.io/exclude_stdout-other".into(), "true".into()),
        ],
        containers: vec![Container {
            name: "app".into(),
            id: "0a".repeat(32),
            ..Container::default()
        }],
        ..Pod::default()
    });
    environment
}

fn filters() -> Vec<Box<dyn Filter>> {
    let settings: [&[(&str, &str)]; 4] = [
        &[
            ("merge_log", "on"),
            ("use_tag_for_meta", "on"),
            ("keep_log", "off"),
        ],
        &[
            ("merge_log", "on"),
            ("merge_log_key", "m"),
            ("merge_parser", "apache2"),
        ],
        &[
            ("merge_log", "on"),
            ("k8s-logging.parser", "on"),
            ("k8s-logging.exclude", "on"),
        ],
        &[
            ("regex_parser", "cri"),
            ("merge_log", "on"),
            ("merge_log_trim", "off"),
        ],
    ];
    let environment = environment();
    let build = |pairs: &&[(&str, &str)]| {
        let built = (kubernetes::PLUGIN.build)(&Settings::of("kubernetes", pairs), &environment);
        built.unwrap_or_else(|e| panic!("{e}"))
    };
    settings.iter().map(build).collect()
}

thread_local! {
    static FILTERS: Vec<Box<dyn Filter>> = filters();
}

/// Old lines, for which nobody waits.
fn batch(tag: &str, lines: &[u8]) -> LogBatch {
    let mut batch = LogBatch::new(tag.into(), Arc::new(Resource::default()), Vec::new());
    batch.source.id = SourceId(1);
    for (i, line) in lines.split(|b| *b == b'\n').take(50).enumerate() {
        let row = batch.push(i as i64, Position::at(i as u64 + 1));
        batch.set_text("log", row, line);
        let stream: &[u8] = if i % 2 == 0 { b"stdout" } else { b"stderr" };
        batch.set_text("stream", row, stream);
    }
    batch.source.to = Position::at(batch.len() as u64);
    batch
}

libfuzzer_sys::fuzz_target!(init: kansoku_fuzz::quiet(), |bytes: &[u8]| {
    let (tag, lines) = match bytes.iter().position(|b| *b == b'\n') {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (&b""[..], bytes),
    };
    let known = format!("{PREFIX}web-0_shop_app-{}.log", "0a".repeat(32));
    let tag = String::from_utf8_lossy(tag);
    let tag = if tag.is_empty() { &*known } else { &*tag };
    if let Some(meta) = TagReader::new(PREFIX, None).read(tag) {
        let end = format!(
            "{}_{}_{}-{}.log",
            meta.pod_name, meta.namespace_name, meta.container_name, meta.docker_id
        );
        assert!(tag.ends_with(&end), "{tag} {end}");
    }
    let before = batch(tag, lines);
    FILTERS.with(|filters| {
        for (i, filter) in filters.iter().enumerate() {
            let mut batch = before.clone();
            filter.apply(&mut batch, &mut FilterContext::default());
            assert!(i == 2 || batch.len() == before.len());
            check(std::slice::from_ref(&batch));
            if let Some(meta) = &batch.resource.kubernetes {
                let mut object = Vec::new();
                json::write_kubernetes(&mut object, meta);
                assert!(serde_json::from_slice::<serde_json::Value>(&object).is_ok());
            }
            let mut again = before.clone();
            filter.apply(&mut again, &mut FilterContext::default());
            assert_eq!(fields(&batch), fields(&again));
        }
    });
});
