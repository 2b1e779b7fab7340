//! The kubernetes filter on batches, with a table filled by hand.

use kansoku_model::{Position, json};
use kansoku_parsers::line::builtin;

use super::*;
use crate::kubernetes::Container;

fn id() -> String {
    "0a".repeat(32)
}

fn environment() -> Environment {
    let parsers = builtin::all(&|_| None);
    Environment {
        parsers: Arc::new(
            parsers
                .into_iter()
                .map(|p| (p.name().to_owned(), Arc::new(p)))
                .collect(),
        ),
        ..Environment::default()
    }
}

fn pod(annotations: &[(&str, &str)]) -> Pod {
    Pod {
        namespace: "shop".into(),
        name: "web-0".into(),
        uid: "u-1".into(),
        node: "node-1".into(),
        ip: "10.0.0.7".into(),
        labels: vec![("app".into(), "web".into())],
        annotations: annotations
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect(),
        containers: vec![Container {
            name: "app".into(),
            id: id(),
            image: "nginx:1".into(),
            image_id: "nginx@sha256:1".into(),
            ..Container::default()
        }],
        ..Pod::default()
    }
}

/// Old lines, so that nothing waits.
fn batch(base: &Arc<Resource>, lines: &[(&str, &str)]) -> LogBatch {
    let tag = format!("kube.var.log.containers.web-0_shop_app-{}.log", id());
    let mut batch = LogBatch::new(tag.into(), base.clone(), Vec::new());
    for (i, (stream, log)) in lines.iter().enumerate() {
        let row = batch.push(i as i64, Position::at(i as u64 + 1));
        batch.set_text("log", row, log.as_bytes());
        batch.set_text("stream", row, stream.as_bytes());
    }
    batch
}

fn records(batch: &LogBatch) -> Vec<String> {
    let record = |row| {
        let mut out = Vec::new();
        json::write_fields(&mut out, batch, row, true);
        String::from_utf8(out).expect("json")
    };
    (0..batch.len()).map(record).collect()
}

fn filter(pairs: &[(&str, &str)], environment: &Environment) -> Box<dyn Filter> {
    build(&Settings::of("kubernetes", pairs), environment).expect("valid settings")
}

#[test]
fn metadata_comes_from_the_tag_and_then_from_the_table() {
    let environment = environment();
    let filter = filter(&[("annotations", "off")], &environment);
    let base = Arc::new(Resource {
        attributes: vec![("log.file.path".into(), "/x".into())],
        ..Resource::default()
    });
    let run = || {
        let mut b = batch(&base, &[("stdout", "a")]);
        filter.apply(&mut b, &mut FilterContext::default());
        assert_eq!(b.resource.attribute("log.file.path"), Some("/x"));
        b.resource
    };
    let text = |resource: &Resource| {
        let mut out = Vec::new();
        json::write_kubernetes(&mut out, resource.kubernetes.as_ref().expect("metadata"));
        String::from_utf8(out).expect("json").replace(&id(), "ID")
    };
    let first = run();
    assert_eq!(
        text(&first),
        r#"{"pod_name":"web-0","namespace_name":"shop","container_name":"app","docker_id":"ID"}"#
    );
    assert!(Arc::ptr_eq(&first, &run()), "made once per source");

    environment.pods.apply(pod(&[("a", "b")]));
    let second = run();
    assert_eq!(
        text(&second),
        r#"{"pod_name":"web-0","namespace_name":"shop","pod_id":"u-1","labels":{"app":"web"},"host":"node-1","pod_ip":"10.0.0.7","container_name":"app","docker_id":"ID","container_hash":"nginx@sha256:1","container_image":"nginx:1"}"#
    );
    environment.pods.apply(Pod {
        name: "other".into(),
        uid: "u-2".into(),
        ..Pod::default()
    });
    assert!(
        Arc::ptr_eq(&second, &run()),
        "another pod's change changes nothing here"
    );
}

#[test]
fn other_tags_are_left_alone() {
    let filter = filter(&[("merge_log", "on")], &environment());
    let mut b = batch(&Arc::default(), &[("stdout", r#"{"a":1}"#)]);
    b.tag = "app.log".into();
    filter.apply(&mut b, &mut FilterContext::default());
    assert!(b.resource.kubernetes.is_none());
    assert_eq!(records(&b), [r#""log":"{\"a\":1}","stream":"stdout""#]);
}

#[test]
fn json_logs_are_merged() {
    let lines = [
        ("stdout", "{\"a\":1,\"m\":\"x\\n\"}\n"),
        ("stdout", "text"),
        ("stdout", "[1]"),
        ("stdout", "{\"a\":1} {}"),
    ];
    let cases: &[(&[(&str, &str)], [&str; 2])] = &[
        (
            &[],
            [
                r#""log":"{\"a\":1,\"m\":\"x\\n\"}\n","stream":"stdout","a":1,"m":"x""#,
                r#""log":"text","stream":"stdout""#,
            ],
        ),
        (
            &[("keep_log", "off")],
            [
                r#""stream":"stdout","a":1,"m":"x""#,
                r#""log":"text","stream":"stdout""#,
            ],
        ),
        (
            &[
                ("keep_log", "off"),
                ("merge_log_key", "body"),
                ("merge_log_trim", "off"),
            ],
            [
                r#""stream":"stdout","body":{"a":1,"m":"x\n"}"#,
                r#""log":"text","stream":"stdout""#,
            ],
        ),
    ];
    for (pairs, expected) in cases {
        let pairs = [&[("merge_log", "on")], *pairs].concat();
        let filter = filter(&pairs, &environment());
        let mut b = batch(&Arc::default(), &lines);
        filter.apply(&mut b, &mut FilterContext::default());
        let got = records(&b);
        assert_eq!(got[..2], *expected, "{pairs:?}");
        assert_eq!(got[2], r#""log":"[1]","stream":"stdout""#);
        assert_eq!(got[3], r#""log":"{\"a\":1} {}","stream":"stdout""#);
    }
}

#[test]
fn annotations_choose_parsers_and_exclude() {
    let environment = environment();
    let pairs = [
        ("merge_log", "on"),
        ("keep_log", "off"),
        ("k8s-logging.parser", "on"),
        ("k8s-logging.exclude", "on"),
    ];
    let filter = filter(&pairs, &environment);
    let run = |annotations: &[(&str, &str)]| {
        environment.pods.apply(pod(annotations));
        let mut b = batch(
            &Arc::default(),
            &[("stdout", "a=1"), ("stderr", r#"{"b":2}"#)],
        );
        filter.apply(&mut b, &mut FilterContext::default());
        records(&b).join(" | ")
    };
    for (annotations, expected) in [
        (
            &[][..],
            r#""log":"a=1","stream":"stdout" | "stream":"stderr","b":2"#,
        ),
        (
            &[("fluentbit.io/parser_stdout", "logfmt")],
            r#""stream":"stdout","a":"1" | "stream":"stderr","b":2"#,
        ),
        (
            &[
                ("fluentbit.io/parser-app", "logfmt"),
                ("fluentbit.io/parser", "json"),
            ],
            r#""stream":"stdout","a":"1" | "stream":"stderr","{":true,"b":true,":2}":true"#,
        ),
        (
            &[("fluentbit.io/parser", "nosuch")],
            r#""log":"a=1","stream":"stdout" | "stream":"stderr","b":2"#,
        ),
        (&[("fluentbit.io/exclude", "true")], ""),
        (
            &[("fluentbit.io/exclude_stderr", "true")],
            r#""log":"a=1","stream":"stdout""#,
        ),
        (
            &[
                ("fluentbit.io/exclude", "true"),
                ("fluentbit.io/exclude-app", "false"),
            ],
            r#""log":"a=1","stream":"stdout" | "stream":"stderr","b":2"#,
        ),
    ] {
        assert_eq!(run(annotations), expected, "{annotations:?}");
    }
}

#[test]
fn what_cannot_be_honoured_is_refused() {
    let error = |pairs: &[(&str, &str)]| {
        build(&Settings::of("kubernetes", pairs), &environment())
            .err()
            .map(|e| e.message)
    };
    assert_eq!(
        error(&[("aws_use_pod_association", "on")]).as_deref(),
        Some(
            "'aws_use_pod_association' is not supported: it serves CloudWatch's own agent; remove it or set it to off"
        )
    );
    assert_eq!(
        error(&[
            ("use_pod_association", "off"),
            ("buffer_size", "0"),
            ("use_kubelet", "on")
        ]),
        None
    );
    assert!(error(&[("merge_parser", "nosuch")]).is_some());
    let url = |pairs: &[(&str, &str)]| {
        access(&Settings::of("kubernetes", pairs))
            .expect("valid")
            .url
    };
    assert_eq!(
        url(&[
            ("kube_url", "https://kubernetes.default.svc:443"),
            ("kube_token_file", "/t")
        ]),
        None
    );
    assert_eq!(
        url(&[("kube_url", "https://10.0.0.1:6443/")]).as_deref(),
        Some("https://10.0.0.1:6443")
    );
}

#[test]
fn owners_and_namespaces_come_from_files_or_the_cluster() {
    let folder = tempfile::tempdir().expect("folder");
    let meta = include_str!("../../../../fixtures/kubernetes/pod.json")
        .replace("web-7d4b9c-x2x7k", "web-0");
    std::fs::write(folder.path().join("shop_web-0.meta"), meta).expect("file");
    let namespace = r#"{"kind":"Namespace","metadata":{"name":"shop","labels":{"team":"a"},"annotations":{"n":"1"}}}"#;
    std::fs::write(folder.path().join("shop.namespace_meta"), namespace).expect("file");
    let run = |pairs: &[(&str, &str)]| {
        let environment = environment();
        let kept = crate::kubernetes::Namespace {
            labels: vec![("from".into(), "cluster".into())],
            ..Default::default()
        };
        environment.pods.namespaces.put("shop".into(), kept);
        let filter = build(&Settings::of("kubernetes", pairs), &environment).expect("settings");
        let mut batch = batch(&Arc::default(), &[("stdout", "x"), ("stdout", "y")]);
        filter.apply(&mut batch, &mut FilterContext::default());
        let mut out = Vec::new();
        json::write_fields(&mut out, &batch, 1, true);
        let shown = batch.kubernetes().is_some();
        assert!(
            batch.resource.kubernetes.is_some(),
            "the source stays named"
        );
        (shown, String::from_utf8(out).expect("UTF-8"))
    };
    let path = folder.path().to_str().expect("path");
    let preload = ("kube_meta_preload_cache_dir", path);
    let (shown, text) = run(&[preload, ("owner_references", "on")]);
    assert!(
        !shown && text.contains(r#""ownerReferences":[{"apiVersion":"apps/v1""#),
        "{text}"
    );
    assert!(
        text.contains(r#""pod_name":"web-0""#) && text.contains(r#""app":"web""#),
        "{text}"
    );
    let (shown, text) = run(&[
        preload,
        ("namespace_labels", "on"),
        ("namespace_annotations", "on"),
    ]);
    let expected =
        r#""kubernetes_namespace":{"name":"shop","labels":{"team":"a"},"annotations":{"n":"1"}}"#;
    assert!(shown && text.ends_with(expected), "{text}");
    let (shown, text) = run(&[
        ("namespace_labels", "on"),
        ("namespace_metadata_only", "on"),
    ]);
    let expected = r#""kubernetes_namespace":{"name":"shop","labels":{"from":"cluster"}}"#;
    assert!(
        !shown && text.ends_with(expected) && !text.contains("pod_name"),
        "{text}"
    );
}

#[test]
fn the_journal_names_containers_record_by_record() {
    let environment = environment();
    environment.pods.apply(pod(&[]));
    let settings = Settings::of("kubernetes", &[("use_journal", "on")]);
    let filter = build(&settings, &environment).expect("settings");
    let mut batch = LogBatch::new("host.docker".into(), Arc::default(), Vec::new());
    for (i, name) in ["k8s_app.1f_web-0_shop_u-1_0", "k8s_x_y_other_u_1", "sshd"]
        .iter()
        .enumerate()
    {
        let row = batch.push(0, Position::at(i as u64));
        batch.set_text("CONTAINER_NAME", row, name.as_bytes());
    }
    filter.apply(&mut batch, &mut FilterContext::default());
    let line = |row| {
        let mut out = Vec::new();
        json::write_fields(&mut out, &batch, row, true);
        String::from_utf8(out).expect("UTF-8")
    };
    assert!(
        line(0).contains(r#""pod_id":"u-1","labels":{"app":"web"}"#),
        "{}",
        line(0)
    );
    assert!(
        line(1).contains(r#""pod_name":"y","namespace_name":"other","container_name":"x""#),
        "{}",
        line(1)
    );
    assert!(!line(2).contains("kubernetes"));
}

/// Fluent Bit packs its metadata behind the merged fields, and the last of two equal keys counts.
#[test]
fn a_line_that_names_kubernetes_itself_does_not_hide_where_it_comes_from() {
    let line = r#"{"kubernetes":"clash","kubernetes_namespace":1,"a":2}"#;
    for owners in ["off", "on"] {
        let environment = environment();
        environment.pods.apply(Pod {
            owners: r#"[{"kind":"ReplicaSet"}]"#.into(),
            ..pod(&[])
        });
        environment
            .pods
            .namespaces
            .put("shop".into(), crate::kubernetes::Namespace::default());
        let pairs = [
            ("merge_log", "on"),
            ("keep_log", "off"),
            ("owner_references", owners),
            ("namespace_labels", "on"),
        ];
        let filter = filter(&pairs, &environment);
        let mut b = batch(&Arc::default(), &[("stdout", line)]);
        filter.apply(&mut b, &mut FilterContext::default());
        b.kubernetes_to_column();
        let record = format!("{{{}}}", records(&b)[0]);
        let object: serde_json::Value = serde_json::from_str(&record).expect("one of each key");
        assert_eq!(object["kubernetes"]["pod_name"], "web-0", "{record}");
        assert_eq!(object["kubernetes_namespace"]["name"], "shop", "{record}");
        assert_eq!(object["a"], 2);
        assert!(!record.contains("clash"), "{record}");
    }
}
