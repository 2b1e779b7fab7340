//! Unit tests that pass and that fail, and what is told of them.

use super::*;

const RULES: &str = r#"
groups:
- name: first
  labels: {team: infra}
  rules:
  - record: job:up:sum
    expr: sum by (job) (up)
  - alert: Down
    expr: up == 0
    for: 5m
    keep_firing_for: 2m
    labels: {severity: page}
    annotations:
      summary: '{{ $labels.instance }} of {{ $externalLabels.cluster }} at {{ $value }}'
      link: '{{ $externalURL }}{{ with query "up" }}/{{ len . }}{{ end }}'
- name: second
  rules:
  - record: job:up:twice
    expr: job:up:sum * 2
  - record: job:latency
    expr: histogram_count(latency)
"#;

const TESTS: &str = r#"
rule_files: [rules.y*]
evaluation_interval: 1m
group_eval_order: [first, second]
tests:
- name: passes
  interval: 1m
  external_labels: {cluster: c1}
  external_url: http://k
  input_series:
  - series: up{job="a", instance="x"}
    values: '1 0x20 1x10'
  - series: latency{job="a"}
    values: '{{schema:0 count:4 sum:5 buckets:[1 2 1]}}x30'
  alert_rule_test:
  - eval_time: 5m
    alertname: Down
  - eval_time: 6m
    alertname: Down
    exp_alerts:
    - exp_labels: {severity: page, team: infra, instance: x, job: a}
      exp_annotations: {summary: x of c1 at 0, link: http://k/1}
  - eval_time: 23m
    alertname: Down
    exp_alerts:
    - exp_labels: {severity: page, team: infra, instance: x, job: a}
      exp_annotations: {summary: x of c1 at 0, link: http://k/1}
  - eval_time: 25m
    alertname: Down
  promql_expr_test:
  - expr: job:up:twice
    eval_time: 25m
    exp_samples:
    - labels: job:up:twice{job="a", team="infra"}
      value: 2
  - expr: latency
    eval_time: 3m
    exp_samples:
    - labels: latency{job="a"}
      histogram: '{{schema:0 count:4 sum:5 buckets:[1 2 1]}}'
  - expr: ALERTS_FOR_STATE
    eval_time: 3m
    exp_samples:
    - labels: ALERTS_FOR_STATE{alertname="Down", instance="x", job="a", severity="page", team="infra"}
      value: 60
"#;

fn run(rules: &str, tests: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rules.yml"), rules).unwrap();
    let path = folder.path().join("tests.yml");
    std::fs::write(&path, tests).unwrap();
    match input::read(&path, false) {
        Ok(file) => run_file(&file, None, &TestOptions::default(), &mut Suite::default()),
        Err(error) => vec![error],
    }
}

#[test]
fn a_right_test_passes() {
    assert_eq!(run(RULES, TESTS), Vec::<String>::new());
}

#[test]
fn what_is_wrong_is_shown_as_promtool_shows_it() {
    let cases = [
        (
            TESTS.replace("value: 2\n", "value: 3\n"),
            "expr: \"job:up:twice\", time: 25m,\n        exp: {__name__=\"job:up:twice\", job=\"a\", team=\"infra\"} 3E+00\n        got: {__name__=\"job:up:twice\", job=\"a\", team=\"infra\"} 2E+00",
        ),
        (
            TESTS.replace("eval_time: 5m", "eval_time: 7m"),
            "name: passes,\n    alertname: Down, time: 7m, \n        exp:[], \n        got:[\n            0:\n              Labels:{alertname=\"Down\"",
        ),
        (
            TESTS.replace("expr: latency", "expr: latency +"),
            "expr: \"latency +\", time: 3m, err: 1:10: parse error",
        ),
        (
            TESTS.replace(
                "alertname: Down\n  - eval_time: 6m",
                "x: 1\n  - eval_time: 6m",
            ),
            "unknown key 'x'",
        ),
        (
            TESTS.replace("values: '1 0x20 1x10'", "values: 'one'"),
            "values of a series expected",
        ),
        (
            TESTS.replace("[first, second]", "[first, first]"),
            "group name repeated in evaluation order: first",
        ),
    ];
    for (tests, expected) in cases {
        let errors = run(RULES, &tests).join("\n");
        assert!(errors.contains(expected), "{errors}");
    }
    let wrong = RULES.replace("up == 0", "up ==");
    let errors = run(&wrong, TESTS).join("\n");
    assert!(errors.contains("could not parse expression"), "{errors}");
    let failing = RULES.replace(
        "job:up:sum * 2",
        "label_replace(job:up:sum, \"bad\", \"$1\", \"job\", \"(\")",
    );
    let errors = run(&failing, TESTS).join("\n");
    assert!(
        errors.contains("rule: job:up:twice, time: 0s, err: "),
        "{errors}"
    );
}

#[test]
fn unknown_fields_are_ignored_if_that_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let rules = RULES.replace(
        "  - record: job:up:sum\n",
        "  - record: job:up:sum\n    owner: me\n",
    );
    std::fs::write(folder.path().join("rules.yml"), rules).unwrap();
    let path = folder.path().join("tests.yml");
    std::fs::write(
        &path,
        TESTS.replace("- name: passes", "- owner: me\n  name: passes"),
    )
    .unwrap();
    assert!(input::read(&path, false).is_err());
    let file = input::read(&path, true).unwrap();
    let run = |ignore_unknown_fields| {
        let options = TestOptions {
            ignore_unknown_fields,
            ..TestOptions::default()
        };
        run_file(&file, None, &options, &mut Suite::default())
    };
    assert_eq!(run(true), Vec::<String>::new());
    assert!(run(false).join("").contains("field owner not found"));
}

#[test]
fn the_store_is_shown_as_promtool_shows_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rules.yml"), RULES).unwrap();
    let text = "rule_files: []\ntests:\n- interval: 1m\n  input_series: [{series: 'a{b=\"c\"}', values: '1 _ 2 stale 3x100'}, {series: h, values: '{{count:1 sum:2}}'}]\n";
    let file = input::parse("t.yml", text.as_bytes(), folder.path().into(), false).unwrap();
    let store = memory::TestStore::new(&file.tests[0], 60_000, 60_000);
    assert_eq!(
        store.dump(240_000),
        "{__name__=\"a\", b=\"c\"} =>\n1 @[0]\n2 @[120000]\n3 @[240000]\n{__name__=\"h\"} =>\n{{count:1 sum:2}} @[0]"
    );
}
