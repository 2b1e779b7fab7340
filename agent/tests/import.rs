//! `kansoku-agent import fluentd`: what becomes of whole configurations, that the agent takes the result,
//! and that it gives the records that Fluentd would.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn agent(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kansoku-agent"));
    // No cluster, and no variables, of whoever runs the tests.
    command
        .args(args)
        .current_dir(folder)
        .env_clear()
        .env("KUBECONFIG", "/nonexistent")
        .env("HOME", "/nonexistent");
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/fluentd")
}

fn import(source: &Path, target: &Path, more: &[&str]) -> Output {
    let target = target.to_str().expect("a name");
    let args = [
        &["import", "fluentd", "fluent.conf", "--output", target],
        more,
    ]
    .concat();
    agent(source, &args).output().expect("the agent runs")
}

/// The parts of a result in one text: the report, then each file.
fn shown(target: &Path, report: &str) -> String {
    let mut files: Vec<PathBuf> = std::fs::read_dir(target)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let mut out = report.to_owned();
    for file in files {
        let name = file.file_name().expect("a name").to_string_lossy();
        let content = std::fs::read_to_string(&file).expect("a file");
        out.push_str(&format!("\n---- {name}\n{content}"));
    }
    out
}

#[test]
fn configurations_become_what_is_written_beside_them() {
    for name in ["daemonset", "helm", "gke", "efk"] {
        let source = fixtures().join(name);
        let target = tempfile::tempdir().expect("a folder");
        let out = import(&source, target.path(), &[]);
        assert!(out.status.success(), "{name}: {}", text(&out.stderr));
        let found = shown(target.path(), &text(&out.stderr));
        let golden = source.join("expected.txt");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&golden, &found).expect("written");
        }
        let expected = std::fs::read_to_string(&golden).expect("the expected result");
        assert!(
            found == expected,
            "{name}: UPDATE=1 shows the difference\n{found}"
        );

        let mut dry = agent(target.path(), &["-c", "kansoku.conf", "--dry-run"]);
        dry.env("ES_HOST", "localhost")
            .env("OPENSEARCH_PASSWORD", "x")
            .env("SHARED_KEY", "k");
        let out = dry.output().expect("the agent runs");
        assert!(
            out.status.success(),
            "{name}: {}\n{found}",
            text(&out.stderr)
        );
    }
}

#[test]
fn strict_fails_where_something_is_lost() {
    let target = tempfile::tempdir().expect("a folder");
    let gke = fixtures().join("gke");
    assert_eq!(
        import(&gke, target.path(), &["--strict"]).status.code(),
        Some(1)
    );
    let daemonset = fixtures().join("daemonset");
    let out = import(&daemonset, target.path(), &["--strict"]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
}

#[test]
fn mistakes_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("bad.conf"), "<source>\n  @type tail\n").expect("written");
    for (args, message) in [
        (
            &["import"][..],
            "expected: fluentd FILE; see kansoku-agent import --help",
        ),
        (
            &["import", "logstash", "x"],
            "cannot import from 'logstash'; known: fluentd",
        ),
        (&["import", "fluentd", "--x", "y"], "unknown option '--x'"),
        (
            &["import", "fluentd", "none.conf"],
            "none.conf: there is no such file",
        ),
        (
            &["import", "fluentd", "bad.conf"],
            "bad.conf:3: the file ends before '</source>'",
        ),
    ] {
        let out = agent(folder.path(), args).output().expect("the agent runs");
        assert_eq!(out.status.code(), Some(1), "{args:?}");
        assert!(
            text(&out.stderr).contains(message),
            "{args:?}: {}",
            text(&out.stderr)
        );
        assert!(out.stdout.is_empty());
    }
}

/// Lines of JSON, each without its time.
fn records(stdout: &[u8]) -> Vec<serde_json::Value> {
    let one = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
    let mut records: Vec<serde_json::Value> = text(stdout).lines().map(one).collect();
    records.sort_by_key(ToString::to_string);
    records
}

/// Imports a configuration, lets its inputs end at the end of their files, and gives what it printed.
fn run(folder: &Path, configuration: &str, parsed: &str) -> Vec<serde_json::Value> {
    std::fs::write(folder.join("fluent.conf"), configuration).expect("written");
    let target = folder.join("ours");
    let out = import(folder, &target, &[]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let main = target.join("kansoku.conf");
    let ours = std::fs::read_to_string(&main).expect("the result");
    let state = folder.to_str().expect("a name");
    let ours = ours.replace("/var/lib/kansoku", state);
    let ours = ours.replace("    Path ", "    Exit_on_Eof on\n    Path ");
    std::fs::write(&main, &ours).expect("written");
    let out = agent(&target, &["-c", "kansoku.conf"])
        .output()
        .expect("the agent runs");
    assert!(out.status.success(), "{}\n{ours}", text(&out.stderr));
    let found = records(&out.stdout);
    assert!(!found.is_empty(), "{parsed}: {}\n{ours}", text(&out.stderr));
    found
}

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn a_daemonsets_configuration_gives_the_records_of_containers() {
    let folder = tempfile::tempdir().expect("a folder");
    let logs = folder.path().join("var/log/containers");
    std::fs::create_dir_all(&logs).expect("a folder");
    let write = |pod: &str, lines: &str| {
        let name = format!("{pod}_shop_web-{ID}.log");
        std::fs::write(logs.join(name), lines).expect("written");
    };
    write(
        "web-1",
        "{\"log\":\"first\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-02T03:04:05.678901234Z\"}\n",
    );
    write(
        "noisy-1",
        "{\"log\":\"never\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-02T03:04:05.1Z\"}\n",
    );
    let configuration = format!(
        r#"
<source>
  @type tail
  path {logs}/*.log
  pos_file /var/log/containers.pos
  tag kubernetes.*
  read_from_head true
  <parse>
    @type json
    time_format %Y-%m-%dT%H:%M:%S.%NZ
  </parse>
</source>
<match kubernetes.**.noisy-**>
  @type null
</match>
<filter kubernetes.**>
  @type record_transformer
  <record>
    cluster prod
    part ${{tag_parts[0]}}
    from ${{record["stream"]}}
  </record>
</filter>
<filter kubernetes.**>
  @type grep
  <regexp>
    key log
    pattern /^FIRST/i
  </regexp>
</filter>
<match **>
  @type stdout
  <inject>
    time_key at
  </inject>
</match>
<filter **>
  @type record_transformer
  <record>
    never "behind the match"
  </record>
</filter>
"#,
        logs = logs.display()
    );
    let found = run(folder.path(), &configuration, "json");
    assert_eq!(
        found,
        [serde_json::json!({
            "at": 1_767_323_045.678_901, "log": "first\n", "stream": "stdout",
            "cluster": "prod", "part": "kubernetes", "from": "stdout"
        })]
    );
}

#[test]
fn partial_lines_of_containers_are_joined_and_parsed() {
    let folder = tempfile::tempdir().expect("a folder");
    let logs = folder.path().join("var/log/containers");
    std::fs::create_dir_all(&logs).expect("a folder");
    std::fs::write(
        logs.join(format!("web-1_shop_web-{ID}.log")),
        "2026-01-02T03:04:05.1Z stdout P {\"level\":\"in\n2026-01-02T03:04:05.2Z stdout F fo\",\"n\":7}\n2026-01-02T03:04:06Z stderr F plain\n",
    )
    .expect("written");
    let configuration = format!(
        r#"
<source>
  @type tail
  @label @KUBERNETES
  path {logs}/*.log
  tag raw.kubernetes.*
  read_from_head true
  <parse>
    @type cri
  </parse>
</source>
<label @KUBERNETES>
  <filter raw.**>
    @type concat
    key message
    use_partial_cri_logtag true
    partial_cri_logtag_key logtag
    partial_cri_stream_key stream
  </filter>
  <filter raw.kubernetes.**>
    @type parser
    key_name message
    reserve_data true
    remove_key_name_field true
    <parse>
      @type json
    </parse>
  </filter>
  <filter **>
    @type record_transformer
    remove_keys logtag
  </filter>
  <match **>
    @type relabel
    @label @OUTPUT
  </match>
</label>
<label @OUTPUT>
  <match **>
    @type stdout
  </match>
</label>
"#,
        logs = logs.display()
    );
    let found = run(folder.path(), &configuration, "cri");
    assert_eq!(
        found,
        [
            serde_json::json!({"level": "info", "n": 7, "time": "2026-01-02T03:04:05.1Z"}),
            serde_json::json!({"message": "plain", "time": "2026-01-02T03:04:06Z"}),
        ]
    );
}
