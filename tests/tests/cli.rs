//! The command line with the real programs: an agent ships a node's log folders, an aggregator keeps
//! them, `kansoku` shows pods that are gone, containers before their restart, follows across a killed
//! aggregator, and exports what other programs read.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use kansoku_tests::aggregator::Aggregator;
use kansoku_tests::command_line::{command, kansoku, push, shown};
use kansoku_tests::http;
use kansoku_tests::pods::{ContainerLog, cri_time, now_ns, shipping};
use kansoku_tests::program::{Program, wait_for, wait_for_equal};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use serde_json::{Value, json};

const SECOND_NS: i64 = 1_000_000_000;

/// What one instance of a container writes into its log; line `n` comes `n` milliseconds after `time_ns`.
fn instance(root: &Path, pod: &str, n: usize, id: &str, time_ns: i64, lines: &[String]) {
    let folder = root.join(format!("pods/shop_{pod}_5d1f7c0a/app"));
    fs::create_dir_all(&folder).expect("the folder is ours");
    fs::create_dir_all(root.join("containers")).expect("the folder is ours");
    let path = folder.join(format!("{n}.log"));
    let text: String = lines
        .iter()
        .enumerate()
        .map(|(n, line)| {
            let stream = if n % 3 == 0 { "stderr" } else { "stdout" };
            format!(
                "{} {stream} F {line}\n",
                cri_time(time_ns + n as i64 * 1_000_000)
            )
        })
        .collect();
    fs::write(&path, text).expect("the folder is ours");
    let link = format!("containers/{pod}_shop_app-{}.log", id.repeat(64));
    symlink(&path, root.join(link)).expect("the folder is ours");
}

fn numbered(what: &str, n: usize) -> Vec<String> {
    (0..n).map(|n| format!("{what} {n}")).collect()
}

fn text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// An aggregator with an agent that ships `root`.
fn started(root: &Path) -> (Aggregator, Program) {
    let mut aggregator = Aggregator::new(root, &[]);
    aggregator.start();
    let service =
        "[SERVICE]\n    Flush 0.1\n    Grace 10\n    scheduler.base 1\n    scheduler.cap 1\n";
    let configuration = format!("{service}{}", shipping(root, aggregator.port, ""));
    let mut agent = Program::agent(root, &configuration);
    agent.start();
    (aggregator, agent)
}

fn lines_of(aggregator: &Aggregator, pod: &str) -> u64 {
    aggregator
        .counts(&format!("{{pod=\"{pod}\"}}"))
        .values()
        .sum()
}

#[test]
fn logs_of_deleted_pods_and_previous_containers() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    let start_ns = now_ns() - 600 * SECOND_NS;
    let lives = ["a", "b", "c"].map(|id| numbered(&format!("life {id}"), 6000));
    for (n, (id, lines)) in ["a", "b", "c"].iter().zip(&lives).enumerate() {
        instance(
            root,
            "web-0",
            n,
            id,
            start_ns + n as i64 * 60 * SECOND_NS,
            lines,
        );
    }
    let gone = numbered("gone", 20);
    instance(root, "gone-0", 0, "d", start_ns, &gone);
    let (aggregator, mut agent) = started(root);
    wait_for_equal(&(18_000, 20), || {
        (
            lines_of(&aggregator, "web-0"),
            lines_of(&aggregator, "gone-0"),
        )
    });

    // Deleted: nothing of it is left on the node.
    fs::remove_dir_all(root.join("pods/shop_gone-0_5d1f7c0a")).expect("it was there");
    fs::remove_file(root.join(format!("containers/gone-0_shop_app-{}.log", "d".repeat(64))))
        .expect("it was there");
    agent.terminate();

    let logs = |arguments: &str| shown(&aggregator, root, &format!("logs -n shop {arguments}"));
    assert_eq!(logs("web-0"), text(&lives[2]));
    assert_eq!(logs("pod/web-0 -c app"), text(&lives[2]));
    assert_eq!(logs("web-0 --previous"), text(&lives[1]));
    assert_eq!(logs("gone-0"), text(&gone));
    assert_eq!(logs("gone-0 --tail=3"), text(&gone[17..]));
    assert_eq!(logs("web-0 -p --tail 5500"), text(&lives[1][500..]));
    assert_eq!(logs("web-0 --tail=0"), "");
    assert_eq!(logs("gone-0 --limit-bytes=10"), "gone 0\ngon");
    assert_eq!(logs("gone-0 --since=1s"), "");
    let since = cri_time(start_ns + 18_000_000);
    assert_eq!(
        logs(&format!("gone-0 --since-time={since}")),
        text(&gone[18..])
    );
    assert_eq!(
        logs("gone-0 --tail=1 --timestamps --prefix"),
        format!(
            "[pod/gone-0/app] {} gone 19\n",
            cri_time(start_ns + 19_000_000)
        )
    );
    // Lines that a query leaves out are told of, unless their number was chosen.
    for (limit, told) in [
        (
            "",
            "The newest 1000 lines; older ones may be left out, '--limit 0' shows all.\n",
        ),
        (" --limit 5", ""),
        (" --limit 0", ""),
    ] {
        let line = format!("range {{pod=\"web-0\"}}{limit}");
        let words: Vec<&str> = line.split(' ').collect();
        let given = kansoku(&aggregator, root, &words);
        assert_eq!((given.code, given.err.as_str()), (Some(0), told), "{line}");
    }
    // A stateful set's pods by their names.
    assert_eq!(logs("statefulset/gone --tail=1"), "gone 19\n");
    let json: Value = serde_json::from_str(&logs("gone-0 --tail=1 -o json")).expect("JSON");
    assert_eq!(
        (&json["line"], &json["labels"]["container"]),
        (&json!("gone 19"), &json!("app"))
    );

    for (arguments, code, expected) in [
        (
            "nope",
            1,
            "Error from server (NotFound): pods \"nope\" not found\n",
        ),
        (
            "deploy/nope",
            1,
            "Error from server (NotFound): deployments.apps \"nope\" not found\n",
        ),
        (
            "gone-0 -p",
            1,
            "Error from server (BadRequest): previous terminated container \"app\" in pod \"gone-0\" not found\n",
        ),
        (
            "gone-0 -c side",
            1,
            "error: container side is not valid for pod gone-0 out of: app\n",
        ),
        (
            "gone-0 --tail=-2",
            1,
            "error: --tail must be greater than or equal to -1\n",
        ),
        (
            "gone-0 --since=1m --since-time=2026-01-01T00:00:00Z",
            1,
            "error: at most one of `sinceTime` or `sinceSeconds` may be specified\n",
        ),
        (
            "gone-0 -c app --all-containers",
            1,
            "error: --all-containers=true should not be specified with container name app\n",
        ),
        ("-l app=none", 0, "No resources found in shop namespace.\n"),
    ] {
        let all: Vec<&str> = ["logs", "-n", "shop"]
            .into_iter()
            .chain(arguments.split(' '))
            .collect();
        let given = kansoku(&aggregator, root, &all);
        assert_eq!(
            (given.code, given.out.as_str(), given.err.as_str()),
            (Some(code), "", expected),
            "{arguments}"
        );
    }
    let elsewhere = kansoku(&aggregator, root, &["logs", "gone-0"]);
    assert!(
        elsewhere
            .err
            .contains("wrote in namespace shop; name it with -n"),
        "{elsewhere:?}"
    );
    let both = kansoku(&aggregator, root, &["logs", "gone-0", "-l", "a=b"]);
    assert_eq!(both.code, Some(2), "{both:?}");
}

#[test]
fn pods_by_labels_and_workloads() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    let mut aggregator = Aggregator::new(root, &[]);
    aggregator.start();
    let t = now_ns() - 60 * SECOND_NS;
    let labels = |pod: &str, container: &str, app: &str| json!({"namespace": "shop", "pod": pod, "container": container, "app": app, "k8s_io_tier": "front", "service_name": app});
    let many: Vec<String> = numbered("a", 12);
    let many: Vec<(i64, &str)> = many
        .iter()
        .enumerate()
        .map(|(n, l)| (t + n as i64, l.as_str()))
        .collect();
    push(
        &aggregator,
        &[
            (labels("web-6d4cf56db6-x2x4z", "app", "web"), many),
            (
                labels("web-6d4cf56db6-x2x4z", "side", "web"),
                vec![(t, "s")],
            ),
            (
                labels("web-6d4cf56db6-zzzzz", "app", "web"),
                vec![(t + 100, "b")],
            ),
            (labels("other-0", "app", "db"), vec![(t, "c"), (t, "d")]),
        ],
    );
    let logs = |arguments: &str| {
        let all: Vec<&str> = ["logs", "-n", "shop"]
            .into_iter()
            .chain(arguments.split(' '))
            .collect();
        let given = kansoku(&aggregator, root, &all);
        assert_eq!(given.code, Some(0), "{given:?}");
        (given.out, given.err)
    };
    let ten: String = (2..12).map(|n| format!("a {n}\n")).collect();
    // Ten lines of each container, as with kubectl.
    assert_eq!(logs("-l app=web -c app").0, format!("{ten}b\n"));
    assert_eq!(
        logs("-l app=web,k8s.io/tier!=back -c app --tail=-1")
            .0
            .lines()
            .count(),
        13
    );
    assert_eq!(logs("-l app!=web --all-containers").0, "c\nd\n");
    let (out, err) = logs("deploy/web -c app");
    assert_eq!(
        (out.as_str(), err.as_str()),
        ("b\n", "Found 2 pods, using pod/web-6d4cf56db6-zzzzz\n")
    );
    let (out, _) = logs("deploy/web --all-pods --all-containers --tail=1");
    assert_eq!(
        out,
        "[pod/web-6d4cf56db6-x2x4z/app] a 11\n[pod/web-6d4cf56db6-x2x4z/side] s\n[pod/web-6d4cf56db6-zzzzz/app] b\n"
    );
    let (out, err) = logs("web-6d4cf56db6-x2x4z --tail=1");
    assert_eq!(
        (out.as_str(), err.as_str()),
        ("a 11\n", "Defaulted container \"app\" out of: app, side\n")
    );
    let given = kansoku(
        &aggregator,
        root,
        &[
            "logs",
            "-n",
            "shop",
            "-l",
            "app=web",
            "--all-containers",
            "-f",
            "--max-log-requests=2",
        ],
    );
    assert_eq!(
        given.err,
        "error: you are attempting to follow 3 log streams, but maximum allowed concurrency is 2, use --max-log-requests to increase the limit\n"
    );
    queries(&aggregator, root, t);
    aggregator.end();
    let given = kansoku(&aggregator, root, &["labels"]);
    assert_eq!(given.code, Some(3), "{given:?}");
    assert!(
        given.err.starts_with("Unable to connect to the server")
            && given.err.contains("--server URL"),
        "{given:?}"
    );
}

fn queries(aggregator: &Aggregator, root: &Path, t: i64) {
    let metrics = b"container_memory_working_set_bytes{namespace=\"shop\",pod=\"other-0\",container=\"app\"} 5242880\n";
    let reply = http::post(aggregator.port, "/metrics/job/test", &[], metrics).expect("an answer");
    assert_eq!(reply.status, 200, "{}", reply.text());
    let arguments = |line: &str| shown(aggregator, root, line);
    assert_eq!(
        arguments("labels pod -o csv"),
        "VALUE\nother-0\nweb-6d4cf56db6-x2x4z\nweb-6d4cf56db6-zzzzz\n"
    );
    assert_eq!(
        arguments("labels pod --match {app=\"db\"} -o json"),
        "[\n  \"other-0\"\n]\n"
    );
    assert!(arguments("labels --metrics").contains("\nnamespace\n"));
    assert_eq!(
        arguments("query sum(count_over_time({app=\"web\"}[1h])) -o yaml")
            .lines()
            .next(),
        Some("result:")
    );
    assert_eq!(
        arguments("query max(container_memory_working_set_bytes)"),
        "VALUE\n5242880\n"
    );
    let ranged = arguments("range {app=\"db\"} --limit 1 --newest-first -o json");
    let ranged: Value = serde_json::from_str(&ranged).expect("JSON");
    assert_eq!(ranged["labels"]["pod"], "other-0");
    assert_eq!(arguments("range {app=\"db\"} --limit 0").lines().count(), 2);
    assert_eq!(
        arguments("query {pod=\"web-6d4cf56db6-zzzzz\"}").trim_end().rsplit_once(' '),
        Some((
            format!("{} {{app=\"web\", container=\"app\", k8s_io_tier=\"front\", namespace=\"shop\", pod=\"web-6d4cf56db6-zzzzz\", service_name=\"web\"}}", cri_time(t + 100)).as_str(),
            "b"
        ))
    );
    assert_eq!(
        arguments("top pods -n shop"),
        "NAME      CPU(cores)   MEMORY(bytes)\nother-0   <unknown>    5Mi\n"
    );
    assert!(arguments("patterns {app=\"web\"}").starts_with("COUNT   LEVEL"));
    // What is empty says so, and what to do; what is read by programs stays what it is.
    for (line, out, err) in [
        (
            "query nothing",
            "",
            "No series found; 'kansoku labels __name__ --metrics'",
        ),
        ("query nothing -o csv", "VALUE\n", "No series found"),
        (
            "query sum(rate({app=\"none\"}[5m]))",
            "",
            "No lines found to count",
        ),
        ("query {app=\"none\"}", "", "No lines found from 20"),
        (
            "range {app=\"none\"} -o csv",
            "time,labels,line\n",
            "No lines found from 20",
        ),
        ("patterns {app=\"none\"}", "", "No lines found from 20"),
        (
            "labels none",
            "",
            "No values of label \"none\" found from 20",
        ),
        (
            "labels none --metrics -o json",
            "[]\n",
            "No values of label",
        ),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let given = kansoku(aggregator, root, &words);
        assert!(
            given.code == Some(0) && given.out == out && given.err.starts_with(err),
            "{line}: {given:?}"
        );
    }
    for (arguments, expected) in [
        (["query", "sum(("], "\n  sum((\n"),
        (["range", "{app=}"], "\n  {app=}\n"),
    ] {
        let given = kansoku(aggregator, root, &arguments);
        let caret = given.err.lines().last().map(str::trim_start);
        assert!(
            given.code == Some(1) && given.err.contains(expected) && caret == Some("^"),
            "{given:?}"
        );
    }
}

/// A `kansoku` in the background whose output goes to a file.
struct Background {
    child: Child,
    out: std::path::PathBuf,
}

impl Background {
    fn start(mut command: Command, out: &Path) -> Self {
        let file = fs::File::create(out).expect("the folder is ours");
        let child = command.stdout(file).stderr(Stdio::null()).spawn();
        Self {
            child: child.expect("the program starts"),
            out: out.to_owned(),
        }
    }

    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.out).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Pushes samples of one moment, in Prometheus' text format.
fn push_metrics(aggregator: &Aggregator, text: &str) {
    let headers = [("Content-Type", "text/plain; version=0.0.4")];
    let reply = http::post(
        aggregator.port,
        "/metrics/job/test",
        &headers,
        text.as_bytes(),
    );
    let reply = reply.expect("it answers");
    assert_eq!(reply.status / 100, 2, "{}", reply.text());
}

#[test]
fn top_and_agents_show_what_metrics_tell() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    let mut aggregator = Aggregator::new(root, &[]);
    aggregator.start();
    let nothing = kansoku(&aggregator, root, &["top", "nodes"]);
    assert_eq!(nothing.code, Some(1));
    assert!(
        nothing.err.contains("Metrics not available"),
        "{}",
        nothing.err
    );
    let nobody = kansoku(&aggregator, root, &["agents"]);
    assert!(nobody.err.contains("No agents found"), "{}", nobody.err);

    // Memory is a gauge; CPU needs two samples of a counter, which a push of one moment is not.
    push_metrics(
        &aggregator,
        "node_memory_MemTotal_bytes{node=\"n1\"} 4294967296\n\
         node_memory_MemAvailable_bytes{node=\"n1\"} 1073741824\n\
         node_memory_MemTotal_bytes{node=\"n2\"} 2147483648\n\
         node_memory_MemAvailable_bytes{node=\"n2\"} 1073741824\n\
         container_memory_working_set_bytes{namespace=\"shop\",pod=\"web-0\",container=\"app\"} 10485760\n\
         container_memory_working_set_bytes{namespace=\"shop\",pod=\"web-0\",container=\"side\"} 5242880\n\
         container_memory_working_set_bytes{namespace=\"shop\",pod=\"db-0\",container=\"app\"} 31457280\n\
         container_memory_working_set_bytes{namespace=\"other\",pod=\"x\",container=\"app\"} 1048576\n\
         kansoku_agent_build_info{node=\"n1\",version=\"0.1.0\"} 1\n\
         fluentbit_build_info{node=\"n1\",agent=\"kube-state\",version=\"0.1.1\"} 1\n\
         node_load1{node=\"n2\"} 0.5\n",
    );
    let words = |text: &str| -> Vec<Vec<String>> {
        let line = |l: &str| l.split_whitespace().map(str::to_owned).collect();
        text.lines().map(line).collect()
    };
    let nodes = words(&shown(&aggregator, root, "top nodes --sort-by memory"));
    assert_eq!(
        nodes[0],
        ["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"]
    );
    assert_eq!(nodes[1], ["n1", "<unknown>", "<unknown>", "3072Mi", "75%"]);
    assert_eq!(nodes[2], ["n2", "<unknown>", "<unknown>", "1024Mi", "50%"]);
    let unknown = kansoku(&aggregator, root, &["top", "nodes", "n9"]);
    assert_eq!(unknown.code, Some(1));
    assert!(
        unknown.err.contains("nodes \"n9\" not found"),
        "{}",
        unknown.err
    );

    let pods = words(&shown(
        &aggregator,
        root,
        "top pods -n shop --sort-by memory --no-headers",
    ));
    assert_eq!(
        pods,
        [
            ["db-0", "<unknown>", "30Mi"],
            ["web-0", "<unknown>", "15Mi"]
        ]
    );
    let containers = words(&shown(
        &aggregator,
        root,
        "top pods -n shop web-0 --containers --no-headers",
    ));
    assert_eq!(
        containers,
        [
            ["web-0", "app", "<unknown>", "10Mi"],
            ["web-0", "side", "<unknown>", "5Mi"]
        ]
    );
    let all: Value =
        serde_json::from_str(&shown(&aggregator, root, "top pods -A -o json")).expect("JSON");
    assert_eq!(all.as_array().map(Vec::len), Some(3), "{all}");

    // An agent is looked for at every half minute, so a new one shows up at the next.
    let agents = wait_for("all agents", || {
        let given = kansoku(&aggregator, root, &["agents", "-o", "json"]);
        let agents: Value = serde_json::from_str(&given.out).ok()?;
        (agents.as_array().map(Vec::len) == Some(3)).then_some(agents)
    });
    let one = |n: usize| ["node", "agent", "version"].map(|name| &agents[n][name]);
    assert_eq!(one(0), ["n1", "", "0.1.0"]);
    assert_eq!(one(1), ["n1", "kube-state", "0.1.1"]);
    assert_eq!(one(2), ["n2", "", ""]);
    let table = words(&shown(&aggregator, root, "agents"));
    assert_eq!(&table[0][..3], ["NODE", "STATUS", "VERSION"]);
    assert_eq!(&table[2][..2], ["n1", "(kube-state)"]);
    assert_eq!((&*table[3][0], &*table[3][2]), ("n2", "<unknown>"));
}

#[test]
fn following_goes_on_across_a_killed_aggregator() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    let (mut aggregator, _agent) = started(root);
    // Lines of now, as they are when they are followed.
    let mut log = ContainerLog::new(root, "shop", "web-0", "app", now_ns());
    let mut written = Vec::new();
    let mut write = |log: &mut ContainerLog, n: usize| {
        for _ in 0..n {
            let line = format!("line {}", written.len());
            log.line("stdout", &line);
            written.push(line);
        }
        log.flush(usize::MAX);
        written.clone()
    };
    let expected = write(&mut log, 50);
    wait_for_equal(&50, || lines_of(&aggregator, "web-0"));
    let arguments = ["logs", "-n", "shop", "-f", "web-0", "--tail=20"];
    let followed = Background::start(
        command(&aggregator, root, &arguments),
        &root.join("followed"),
    );
    let all = Background::start(
        command(
            &aggregator,
            root,
            &["tail", "{namespace=\"shop\"}", "--since", "1h"],
        ),
        &root.join("tailed"),
    );
    wait_for_equal(&expected[30..].to_vec(), || followed.lines());
    let expected = write(&mut log, 50);
    wait_for_equal(&expected[30..].to_vec(), || followed.lines());
    for _ in 0..2 {
        aggregator.program.kill();
        write(&mut log, 50);
        aggregator.start();
        let expected = write(&mut log, 50);
        let sorted = |mut lines: Vec<String>| {
            lines.sort();
            lines
        };
        // In whatever order they came meanwhile, but each once.
        wait_for_equal(&sorted(expected[30..].to_vec()), || {
            sorted(followed.lines())
        });
        wait_for_equal(&sorted(expected), || sorted(all.lines()));
    }
}

#[test]
fn exports_are_what_other_programs_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    let mut aggregator = Aggregator::new(root, &[]);
    aggregator.start();
    let t = now_ns() - 600 * SECOND_NS;
    let lines: Vec<String> = numbered("line \"x\"", 4000);
    let lines: Vec<(i64, &str)> = lines
        .iter()
        .enumerate()
        .map(|(n, l)| (t + n as i64 / 3, l.as_str()))
        .collect();
    push(
        &aggregator,
        &[
            (
                json!({"app": "a", "line": "l", "service_name": "s"}),
                lines.clone(),
            ),
            (json!({"app": "b", "service_name": "s"}), lines),
        ],
    );
    let file = |name: &str| root.join(name).display().to_string();
    let export = |arguments: &[&str]| {
        let given = kansoku(
            &aggregator,
            root,
            &[&["export"], arguments, &["--start", "1h", "-q"]].concat(),
        );
        assert_eq!((given.code, given.err.as_str()), (Some(0), ""), "{given:?}");
        given.out
    };
    let selector = "{app=~\".+\"}";
    let json = export(&["logs", selector]);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for line in json.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let key = format!("{} {}", line["labels"]["app"], line["line"]);
        *counts.entry(key).or_default() += 1;
    }
    assert_eq!((counts.len(), counts.values().max()), (8000, Some(&1)));

    export(&["logs", selector, "-f", &file("lines.parquet")]);
    let reader =
        SerializedFileReader::new(fs::File::open(root.join("lines.parquet")).expect("the file"));
    let reader = reader.expect("a Parquet file");
    let schema: Vec<String> = reader
        .metadata()
        .file_metadata()
        .schema_descr()
        .columns()
        .iter()
        .map(|c| c.name().to_owned())
        .collect();
    assert_eq!(
        schema,
        [
            "timestamp",
            "app",
            "label_line",
            "service_name",
            "line",
            "metadata"
        ]
    );
    let rows: Vec<_> = reader
        .get_row_iter(None)
        .expect("rows")
        .map(|row| row.expect("a row"))
        .collect();
    assert_eq!(rows.len(), 8000);
    assert_eq!(
        (
            rows[0].get_long(0).ok(),
            rows[0].get_string(4).ok().map(String::as_str)
        ),
        (Some(t), Some("line \"x\" 0"))
    );

    // Samples: of two pushes, so that each series has two.
    for n in 0..2 {
        let text = format!(
            "a_total{{x=\"q\\\"\\\\\"}} {n}\nb 0.1{n}\nb{{x=\"y\"}} NaN\nc{{x=\"z\"}} +Inf\n"
        );
        let reply = http::post(aggregator.port, "/metrics/job/test", &[], text.as_bytes())
            .expect("an answer");
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let samples = "{job=\"test\",__name__=~\"a_total|b|c\"}";
    wait_for("all samples", || {
        let n = aggregator.promql_value(&format!("sum(count_over_time({samples}[1h]))"));
        (n == Some(8.0)).then_some(())
    });
    export(&["metrics", samples, "-f", &file("samples.parquet")]);
    let reader =
        SerializedFileReader::new(fs::File::open(root.join("samples.parquet")).expect("the file"));
    let rows: Vec<_> = reader
        .expect("a Parquet file")
        .get_row_iter(None)
        .expect("rows")
        .map(|row| row.expect("a row"))
        .collect();
    assert_eq!(rows.len(), 8);
    assert_eq!(
        rows[0].get_string(1).ok().map(String::as_str),
        Some("a_total")
    );
    let json = export(&["metrics", samples]);
    let n: usize = json
        .lines()
        .map(|l| {
            serde_json::from_str::<Value>(l).expect("JSON")["values"]
                .as_array()
                .map_or(0, Vec::len)
        })
        .sum();
    assert_eq!(n, 8, "{json}");

    export(&["metrics", samples, "-f", &file("samples.om")]);
    let blocks = file("blocks");
    let made = Command::new("promtool")
        .args([
            "tsdb",
            "create-blocks-from",
            "openmetrics",
            &file("samples.om"),
            &blocks,
        ])
        .output();
    let made = made.expect("promtool is installed by 'make setup-test'");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    // It opens what looks like a database only.
    fs::create_dir(root.join("blocks/wal")).expect("the folder is ours");
    let dumped = Command::new("promtool")
        .args(["tsdb", "dump", &blocks])
        .output()
        .expect("promtool");
    let dumped = String::from_utf8_lossy(&dumped.stdout);
    assert_eq!(dumped.lines().count(), 8, "{dumped}");
    assert!(
        dumped.contains("{__name__=\"a_total\"") && dumped.contains(" +Inf "),
        "{dumped}"
    );
    // Nothing unfinished is left, and a failure leaves nothing.
    let given = kansoku(
        &aggregator,
        root,
        &["export", "logs", "{app=", "-f", &file("bad.jsonl")],
    );
    assert_eq!(given.code, Some(1), "{given:?}");
    let names: Vec<String> = fs::read_dir(root)
        .expect("the folder")
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    assert!(
        !names
            .iter()
            .any(|n| n.contains("bad") || n.contains("partial")),
        "{names:?}"
    );
    aggregator.end();
}

#[test]
fn programs_beside_it_check() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    let aggregator = Aggregator::new(root, &[]);
    for (arguments, text, code) in [
        (
            ["check", "config"],
            "[INPUT]\n    Name dummy\n[OUTPUT]\n    Name null\n    Match *\n",
            0,
        ),
        (["check", "config"], "[INPUT]\n    Name no_such_input\n", 1),
        (["check", "rules"], "groups: []\n", 0),
        (["check", "rules"], "groups: 5\n", 1),
    ] {
        let path = root.join("file.conf");
        fs::write(&path, text).expect("the folder is ours");
        for program in ["kansoku-agent", "kansoku-aggregator"] {
            assert!(kansoku_tests::binary(program).exists());
        }
        let given = kansoku(
            &aggregator,
            root,
            &[&arguments[..], &[&path.display().to_string()]].concat(),
        );
        assert_eq!(given.code == Some(0), code == 0, "{given:?}");
    }
}

#[test]
fn contexts_are_kept() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    let mut aggregator = Aggregator::new(root, &["--tenants.enabled"]);
    aggregator.start();
    let server = format!("http://127.0.0.1:{}", aggregator.port);
    let run = |arguments: &[&str]| {
        let output = command(&aggregator, root, arguments)
            .env_remove("KANSOKU_SERVER")
            .output()
            .expect("it starts");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let made = run(&["config", "set-context", "home", "--server", &server]);
    assert_eq!(
        (made.0, made.1.as_str()),
        (Some(0), "Context \"home\" created.\n")
    );
    let (code, _, err) = run(&["labels"]);
    assert!(
        code == Some(1) && err.contains("no org id") && err.contains("--tenant"),
        "{err}"
    );
    let made = run(&["config", "set-context", "home", "--tenant", "team-a"]);
    assert_eq!(made.1, "Context \"home\" modified.\n");
    let (code, out, err) = run(&["labels"]);
    assert_eq!((code, out.as_str()), (Some(0), ""), "{err}");
    assert!(err.contains("No labels found from 20"), "{err}");
    let (_, out, _) = run(&["config", "get-contexts", "-o", "json"]);
    let contexts: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (
            &contexts[0]["name"],
            &contexts[0]["current"],
            &contexts[0]["tenant"]
        ),
        (&json!("home"), &json!(true), &json!("team-a"))
    );
    let (code, _, err) = run(&["labels", "--context", "nope"]);
    assert!(code == Some(1) && err.contains("known: home"), "{err}");
}
