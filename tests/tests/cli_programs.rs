//! What the command line shows and hands on that has no test beside logs and queries: patterns, the check of a
//! store, backups and their way back; every format of every list; what a terminal, a pipe and a wrong word do to it.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use kansoku_tests::aggregator::Aggregator;
use kansoku_tests::command_line::{Given, command, kansoku, push, shown};
use kansoku_tests::http;
use kansoku_tests::pods::now_ns;
use kansoku_tests::program::wait_for;
use serde_json::{Value, json};

const SECOND_NS: i64 = 1_000_000_000;

/// An aggregator with lines of three shapes, one of them wide, and a few series.
fn filled(root: &Path) -> Aggregator {
    let mut aggregator = Aggregator::new(root, &[]);
    aggregator.start();
    let t = now_ns() - 60 * SECOND_NS;
    let lines: Vec<String> = (0..300)
        .map(|n| match n % 3 {
            0 => format!("GET /carts/{} took {} ms", n * 7919, n % 97),
            1 => format!("level=error msg=\"no cart\" cart={}", n * 31),
            _ => format!("観測 {n} 回目"),
        })
        .collect();
    let timed = |part: usize| -> Vec<(i64, &str)> {
        let of_part = lines.iter().enumerate().filter(|(n, _)| n % 3 == part);
        of_part.map(|(n, l)| (t + n as i64, l.as_str())).collect()
    };
    let labels = |pod: &str| json!({"namespace": "shop", "pod": pod, "container": "app"});
    push(
        &aggregator,
        &[
            (labels("web-0"), timed(0)),
            (labels("web-1"), timed(1)),
            (labels("観-0"), timed(2)),
        ],
    );
    let text = "node_memory_MemTotal_bytes{node=\"ノード\"} 4294967296\n\
                node_memory_MemAvailable_bytes{node=\"ノード\"} 1073741824\n\
                container_memory_working_set_bytes{namespace=\"shop\",pod=\"web-0\",container=\"app\"} 5242880\n\
                kansoku_agent_build_info{node=\"n1\",version=\"0.1.0\"} 1\n";
    let reply = http::post(aggregator.port, "/metrics/job/test", &[], text.as_bytes());
    assert_eq!(reply.expect("an answer").status, 200);
    aggregator
}

/// An agent is looked for at every half minute, so one that just came shows up at the next.
fn wait_for_agents(aggregator: &Aggregator, root: &Path) {
    wait_for("an agent", || {
        let given = kansoku(aggregator, root, &["agents", "-o", "csv"]);
        given.out.contains("n1,").then_some(())
    });
}

#[test]
fn patterns_count_what_lines_look_like() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    let mut aggregator = filled(root);
    let all = shown(
        &aggregator,
        root,
        "patterns {namespace=\"shop\"} --limit 0 -o json",
    );
    let all: Value = serde_json::from_str(&all).expect("JSON");
    let all = all.as_array().expect("a list");
    let counts: Vec<u64> = all.iter().filter_map(|p| p["count"].as_u64()).collect();
    // Every line has one pattern, and the most frequent stand first.
    assert_eq!(counts.iter().sum::<u64>(), 300, "{all:?}");
    assert!(counts.is_sorted_by(|a, b| a >= b), "{counts:?}");
    let of_carts = all.iter().find(|p| {
        let pattern = p["pattern"].as_str().expect("a text");
        pattern.starts_with("GET") && pattern.contains("took")
    });
    assert_eq!(of_carts.expect("the pattern")["count"], 100, "{all:?}");
    let samples = of_carts.expect("the pattern")["samples"].as_array();
    let n: u64 = samples
        .expect("samples")
        .iter()
        .filter_map(|s| s[1].as_u64())
        .sum();
    assert_eq!(n, 100);

    let of_errors = shown(&aggregator, root, "patterns {pod=\"web-1\"} -o csv");
    let mut rows = of_errors.lines();
    assert_eq!(rows.next(), Some("COUNT,LEVEL,PATTERN"));
    assert!(
        rows.next().is_some_and(|r| r.starts_with("100,error,")),
        "{of_errors}"
    );
    let one = shown(&aggregator, root, "patterns {namespace=\"shop\"} --limit 1");
    assert_eq!(one.lines().count(), 2, "{one}");
    let yaml = shown(&aggregator, root, "patterns {pod=\"web-1\"} -o yaml");
    assert!(yaml.starts_with("- count: 100\n  level: error\n"), "{yaml}");
    let earlier = "patterns {namespace=\"shop\"} --start 3h --end 2h -o json";
    let words: Vec<&str> = earlier.split(' ').collect();
    let given = kansoku(&aggregator, root, &words);
    assert_eq!((given.code, given.out.as_str()), (Some(0), "[]\n"));
    assert!(given.err.starts_with("No lines found from 20"), "{given:?}");
    for (arguments, code, expected) in [
        (["patterns", "{pod=", ""], 1, "\n  {pod=\n       ^"),
        (["patterns", "up", ""], 1, "\n  up\n  ^"),
        (
            ["patterns", "{pod=\"web-1\"}", "--limit=-1"],
            2,
            "expected a number, 0 or more",
        ),
        (
            ["patterns", "{pod=\"web-1\"}", "--start=tomorrow"],
            2,
            "invalid time \"tomorrow\"",
        ),
        (
            ["patterns", "{pod=\"web-1\"}", "--end=2h"],
            2,
            "before it begins",
        ),
    ] {
        let arguments: Vec<&str> = arguments.into_iter().filter(|a| !a.is_empty()).collect();
        let given = kansoku(&aggregator, root, &arguments);
        assert_eq!(
            (given.code, given.out.as_str()),
            (Some(code), ""),
            "{given:?}"
        );
        assert!(given.err.contains(expected), "{given:?}");
    }
    aggregator.end();
}

/// Changes a byte in the middle of the largest file below a folder.
fn damage(folder: &Path) {
    let size = |p: &std::path::PathBuf| fs::metadata(p).map_or(0, |m| m.len());
    let files = fs::read_dir(folder).expect("a folder").flatten();
    let path = files.map(|f| f.path()).max_by_key(size).expect("files");
    let mut bytes = fs::read(&path).expect("the file is there");
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(path, bytes).expect("the folder is ours");
}

#[test]
fn stores_are_checked_backed_up_and_restored() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    let mut aggregator = filled(root);
    let path = |name: &str| root.join(name).display().to_string();
    let (store, copies, restored) = (path("store"), path("copies"), path("restored/store"));
    // It is the first run that makes the part which the rest is about.
    aggregator.end();
    aggregator.start();
    let run = |arguments: &[&str]| kansoku(&aggregator, root, arguments);
    let lines = |aggregator: &Aggregator| {
        shown(
            aggregator,
            root,
            "range {namespace=\"shop\"} --limit 0 -o csv",
        )
    };
    let expected = lines(&aggregator);
    assert_eq!(expected.lines().count(), 301);
    // While it is in use it is backed up, and not checked.
    let made = run(&["backup", "--storage.path", &store, "--to", &copies]);
    assert!(
        made.code == Some(0) && made.out.starts_with("backup 20"),
        "{made:?}"
    );
    let in_use = run(&["check", "storage", &store]);
    assert!(
        in_use.code == Some(1) && in_use.err.contains("in use"),
        "{in_use:?}"
    );
    let listed = run(&["restore", "--list", "--from", &copies]);
    assert!(
        listed.code == Some(0) && listed.out.lines().count() == 1,
        "{listed:?}"
    );
    let back = run(&["restore", "--from", &copies, "--storage.path", &restored]);
    assert!(
        back.code == Some(0) && back.out.contains("restored and verified"),
        "{back:?}"
    );
    let again = run(&["restore", "--from", &copies, "--storage.path", &restored]);
    assert!(
        again.code == Some(1) && again.err.contains("is not empty"),
        "{again:?}"
    );
    for arguments in [
        &["check", "storage", restored.as_str()][..],
        &["check", "storage", "--storage.path", &restored],
    ] {
        let checked = run(arguments);
        assert!(
            checked.code == Some(0) && checked.out.contains("all is well"),
            "{checked:?}"
        );
    }
    // What was restored says what the store said.
    let mut copy = Aggregator::new(&root.join("restored"), &[]);
    copy.start();
    assert_eq!(lines(&copy), expected);
    copy.end();
    damage(&root.join("restored/store/parts"));
    let checked = run(&["check", "storage", &restored]);
    assert!(checked.code == Some(1), "{checked:?}");
    assert!(
        format!("{}{}", checked.out, checked.err).contains("damaged: "),
        "{checked:?}"
    );
    // Mistakes are told in the words of the program that looks, with its codes.
    let nowhere = path("nowhere");
    for (arguments, code, expected) in [
        (
            &["check", "storage", &nowhere][..],
            1,
            "the folder is no store",
        ),
        (
            &["check", "storage", &restored, "--tial"],
            2,
            "unexpected argument '--tial'",
        ),
        (&["backup"], 2, "--to <DESTINATION>"),
        (
            &["backup", "--to", &copies, "--storage.path", &nowhere],
            1,
            "the folder is no store",
        ),
        (&["restore"], 2, "--from <DESTINATION>"),
        (
            &["restore", "--from", &nowhere, "--storage.path", &path("x")],
            1,
            &nowhere,
        ),
        (&["check", "config"], 2, "Usage: kansoku check config FILE"),
    ] {
        let given = run(arguments);
        assert_eq!(
            (given.code, given.out.as_str()),
            (Some(code), ""),
            "{given:?}"
        );
        assert!(given.err.contains(expected), "{given:?}");
    }
    for name in ["backup", "restore"] {
        let help = run(&[name, "--help"]);
        let usage = format!("Usage: kansoku-aggregator {name}");
        assert!(
            help.code == Some(0) && help.out.contains(&usage),
            "{help:?}"
        );
    }
    // Beside no aggregator, and with none in PATH, there is nothing that could look.
    let alone = root.join("alone");
    fs::create_dir(&alone).expect("the folder is ours");
    fs::copy(kansoku_tests::binary("kansoku"), alone.join("kansoku")).expect("copied");
    let given = Given::of(
        Command::new(alone.join("kansoku"))
            .args(["backup", "--to", "x"])
            .env("PATH", &alone)
            .stdin(Stdio::null()),
    );
    assert_eq!(given.code, Some(1));
    assert!(
        given
            .err
            .contains("kansoku-aggregator is neither beside this program nor in PATH"),
        "{given:?}"
    );
    aggregator.end();
}

/// Every command that makes a list or a value, once.
const LISTS: [&str; 10] = [
    "patterns {namespace=\"shop\"}",
    "labels",
    "labels pod --match {namespace=\"shop\"}",
    "labels --metrics",
    "query container_memory_working_set_bytes",
    "range container_memory_working_set_bytes --start 5m --step 1s",
    "top nodes",
    "top pods -n shop",
    "agents",
    "config get-contexts",
];

#[test]
fn every_list_is_written_in_every_format() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    let mut aggregator = filled(root);
    wait_for_agents(&aggregator, root);
    let made = kansoku(
        &aggregator,
        root,
        &["config", "set-context", "観", "--server", "http://h:1"],
    );
    assert_eq!(made.code, Some(0), "{made:?}");
    for list in LISTS {
        let of = |format: &str| shown(&aggregator, root, &format!("{list} -o {format}"));
        let json: Value = serde_json::from_str(&of("json")).expect(list);
        let yaml: Value = serde_saphyr::from_str(&of("yaml")).expect(list);
        // The clock goes on between two answers.
        let has_clock = list.starts_with("query") || list.starts_with("range") || list == "agents";
        assert!(has_clock || json == yaml, "{list}: {json} {yaml}");
        let (table, csv) = (of("table"), of("csv"));
        let first = |text: &str| text.lines().next().unwrap_or_default().to_owned();
        let headings: Vec<String> = first(&csv).split(',').map(str::to_owned).collect();
        assert!(headings.len() > 1 || !csv.contains(','), "{csv}");
        if !list.starts_with("range") {
            assert_eq!(
                table.lines().count(),
                csv.lines().count(),
                "{list}: {table}{csv}"
            );
        }
        // Columns stand below their headings, by what is shown and not by bytes.
        let starts: Vec<usize> = headings
            .iter()
            .filter_map(|h| {
                Some(shown_width(
                    &first(&table)[..first(&table).find(h.as_str())?],
                ))
            })
            .collect();
        for line in table.lines().skip(1) {
            for start in &starts {
                let before = cell_before(line, *start);
                assert!(before.is_none_or(|c| c == ' '), "{list}:\n{table}");
            }
        }
    }
    aggregator.end();
}

/// How many columns of a terminal a text takes: two for what stands in East Asian full width.
fn shown_width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

fn char_width(c: char) -> usize {
    if ('\u{3000}'..='\u{ff60}').contains(&c) {
        2
    } else {
        1
    }
}

/// The character that ends where a column begins.
fn cell_before(line: &str, start: usize) -> Option<char> {
    let mut width = 0;
    for c in line.chars() {
        width += char_width(c);
        if width == start {
            return Some(c);
        }
    }
    None
}

#[test]
fn nobody_who_reads_is_no_failure() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    let mut aggregator = filled(root);
    wait_for_agents(&aggregator, root);
    let lists = LISTS.iter().copied();
    let others = [
        "logs -n shop web-0",
        "logs -n shop web-0 -o json",
        "range {namespace=\"shop\"} --limit 0",
        "export logs {namespace=\"shop\"}",
        "export metrics node_memory_MemTotal_bytes",
        "completion bash",
        "help logs",
        "__complete l",
        "logs -n none -l app=x",
        "--help",
    ];
    for list in lists.chain(others) {
        let arguments: Vec<&str> = list.split(' ').collect();
        for set in [Command::stdout::<Stdio>, Command::stderr] {
            // The reading end is gone before anything is written.
            let (reader, writer) = std::io::pipe().expect("a pipe");
            drop(reader);
            let mut command = command(&aggregator, root, &arguments);
            set(&mut command, writer.into());
            let given = Given::of(&mut command);
            let is_quiet = given.err.is_empty() || given.err.starts_with("No resources found");
            assert!(given.code == Some(0) && is_quiet, "{list}: {given:?}");
        }
    }
    // An error is told by its code even where nobody reads it.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut failing = command(&aggregator, root, &["query", "sum(("]);
    assert_eq!(Given::of(failing.stderr(writer)).code, Some(1));
    // A full disk is one.
    let full = fs::File::options()
        .write(true)
        .open("/dev/full")
        .expect("a device");
    let mut failing = command(&aggregator, root, &["labels"]);
    let given = Given::of(failing.stdout(full));
    assert!(
        given.code == Some(1) && given.err.contains("No space left"),
        "{given:?}"
    );
    aggregator.end();
}

#[test]
fn words_that_are_wrong_are_told_with_their_cure() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    let mut aggregator = filled(root);
    let port = aggregator.port;
    let secured = format!("https://127.0.0.1:{port}");
    for (line, code, expected) in [
        ("log", 2, "a similar subcommand exists: 'logs'"),
        ("query up --time 25:00", 2, "invalid time \"25:00\""),
        ("range up --step 0", 2, "--step must be greater than 0"),
        ("range up --start 1h --end 2h", 2, "before it begins"),
        (
            "range {app=\"x\"} --limit -3",
            2,
            "expected a number, 0 or more",
        ),
        ("top nodes --window abc", 2, "invalid duration \"abc\""),
        ("top pods -A web-0", 2, "by name across all namespaces"),
        ("tail up", 1, "\n  up\n  ^"),
        ("tail {app=", 1, "\n  {app=\n       ^"),
        ("help nope", 2, "has no command 'nope'"),
        (
            "config set-context x --server ftp://h",
            2,
            "neither http nor https",
        ),
        (
            "config set-context x --kube-service h",
            2,
            "expected NAMESPACE/NAME:PORT",
        ),
        (
            "labels --server http://127.0.0.1:1",
            3,
            "Unable to connect to the server",
        ),
        (
            &format!("labels --server {secured}"),
            3,
            &format!("--server http://127.0.0.1:{port}"),
        ),
        ("top nodes nope", 1, "nodes \"nope\" not found"),
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        let given = kansoku(&aggregator, root, &arguments);
        assert_eq!(
            (given.code, given.out.as_str()),
            (Some(code), ""),
            "{line}: {given:?}"
        );
        assert!(given.err.contains(expected), "{line}: {given:?}");
    }
    // A time before now may have a sign, as in other programs.
    assert_eq!(
        shown(&aggregator, root, "query vector(1) --time -5m"),
        "VALUE\n1\n"
    );
    // A context that is refused is not written.
    assert_eq!(
        shown(&aggregator, root, "config get-contexts -o json"),
        "[]\n"
    );
    // Help goes where results go, and is the same by both ways.
    assert_eq!(
        shown(&aggregator, root, "help top pods"),
        shown(&aggregator, root, "top pods --help")
    );
    assert!(shown(&aggregator, root, "check config --help").starts_with("Usage: "));
    aggregator.end();
    // An empty result is an empty list for whom JSON is asked for.
    let empty = root.join("empty");
    fs::create_dir(&empty).expect("the folder is ours");
    let mut aggregator = Aggregator::new(&empty, &[]);
    aggregator.start();
    for list in ["top pods -n none", "agents"] {
        let arguments: Vec<&str> = list.split(' ').chain(["-o", "json"]).collect();
        let given = kansoku(&aggregator, root, &arguments);
        assert_eq!(
            (given.code, given.out.as_str()),
            (Some(0), "[]\n"),
            "{list}: {given:?}"
        );
        assert!(given.err.starts_with("No "), "{list}: {given:?}");
    }
    aggregator.end();
}

#[test]
fn a_wrong_token_and_a_missing_one_are_told_apart() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    let file = root.join("access.yaml");
    let made = Command::new(kansoku_tests::binary("kansoku-aggregator"))
        .args([
            "token",
            "create",
            "--role",
            "viewer",
            "--name",
            "me",
            "--access.file",
        ])
        .arg(&file)
        .output()
        .expect("the program runs");
    let token = String::from_utf8(made.stdout).expect("a text");
    let flag = format!("--access.file={}", file.display());
    let mut aggregator = Aggregator::new(root, &[&flag]);
    aggregator.start();
    for (arguments, code, expected) in [
        (&["labels"][..], 1, "give a token: --token, KANSOKU_TOKEN"),
        (
            &["labels", "--token", "x"],
            1,
            "the token comes from --token",
        ),
        (&["labels", "--token", "a\nb"], 1, "no header may have"),
        (&["labels", "--token", token.trim()], 0, ""),
        (&["tail", "{app=\"x\"}"], 1, "give a token"),
    ] {
        let given = kansoku(&aggregator, root, arguments);
        assert_eq!(given.code, Some(code), "{given:?}");
        assert!(given.err.contains(expected), "{given:?}");
        assert!(!given.err.contains(token.trim()), "{given:?}");
    }
    aggregator.end();
}

/// What a command writes to a terminal of 40 columns.
fn on_a_terminal(aggregator: &Aggregator, root: &Path, line: &str, variables: &str) -> String {
    let shell = format!(
        "stty cols 40; {variables} '{}' {line}",
        kansoku_tests::binary("kansoku").display()
    );
    let template = command(aggregator, root, &[]);
    let mut script = Command::new("script");
    script
        .args(["-qec", &shell, "/dev/null"])
        .stdin(Stdio::null());
    for (name, value) in template.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    script.env_remove("NO_COLOR").env("TERM", "xterm");
    let given = Given::of(&mut script);
    assert_eq!(given.code, Some(0), "{line}: {given:?}");
    given.out.replace('\r', "")
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    let mut aggregator = filled(root);
    for (line, variables, is_coloured) in [
        ("labels", "", true),
        ("labels", "NO_COLOR=1", false),
        ("labels", "NO_COLOR=", true),
        ("labels", "TERM=dumb", false),
        ("labels --color never", "", false),
        ("labels --color always", "NO_COLOR=1", true),
        ("labels -o json", "", false),
        ("labels -o csv", "", false),
    ] {
        let text = on_a_terminal(&aggregator, root, line, variables);
        assert_eq!(
            text.contains("\x1b["),
            is_coloured,
            "{line} {variables}: {text:?}"
        );
        assert!(text.contains("namespace"), "{text:?}");
    }
    // A narrow terminal breaks no row: each is one line, as kubectl writes it.
    let rows = on_a_terminal(&aggregator, root, "top nodes", "NO_COLOR=1");
    let piped = shown(&aggregator, root, "top nodes");
    assert_eq!(rows, piped);
    assert!(!shown(&aggregator, root, "labels").contains('\x1b'));
    let names: HashSet<&str> = piped
        .lines()
        .skip(1)
        .filter_map(|l| l.split(' ').next())
        .collect();
    assert_eq!(names, HashSet::from(["ノード"]));
    aggregator.end();
}

#[test]
fn users_give_their_passwords() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    // Of `secret`, at a cost that a test can wait for.
    let hash = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";
    let access = format!("users:\n  bob: {{password: {hash}, role: viewer}}\n");
    fs::write(root.join("access.yaml"), access).expect("the folder is ours");
    fs::write(root.join("password"), "secret\n").expect("the folder is ours");
    let flag = format!("--access.file={}", root.join("access.yaml").display());
    let mut aggregator = Aggregator::new(root, &[&flag]);
    aggregator.start();
    let file = root.join("password").display().to_string();
    let url = format!("http://127.0.0.1:{}", aggregator.port);
    let ask = |arguments: &str, password: &str| {
        let words: Vec<&str> = arguments.split(' ').collect();
        let mut command = command(&aggregator, root, &words);
        if !password.is_empty() {
            command.env("KANSOKU_PASSWORD", password);
        }
        Given::of(&mut command)
    };
    for (arguments, password, code, told) in [
        (
            "labels",
            "",
            1,
            "or a user: --username and KANSOKU_PASSWORD",
        ),
        (
            "labels --username bob",
            "",
            1,
            "user \"bob\" has no password: give KANSOKU_PASSWORD",
        ),
        (
            "labels --username bob",
            "wrong",
            1,
            "user or password are wrong",
        ),
        ("labels --username bob", "secret", 0, "No labels found"),
        (
            "labels --username bob --password secret",
            "wrong",
            0,
            "No labels found",
        ),
        (
            "labels --username bob --token a",
            "secret",
            2,
            "cannot be used with",
        ),
        (
            "config set-context home --password-file FILE",
            "",
            2,
            "give --username NAME",
        ),
        (
            "config set-context home --server URL --username bob --password-file FILE",
            "",
            0,
            "",
        ),
        ("labels --context home", "", 0, "No labels found"),
        (
            "labels --context home --token a",
            "",
            1,
            "there is no such token",
        ),
    ] {
        let given = ask(
            &arguments.replace("FILE", &file).replace("URL", &url),
            password,
        );
        assert!(
            given.code == Some(code) && given.err.contains(told),
            "{arguments}: {given:?}"
        );
    }
    let given = ask("config view", "");
    assert!(
        given.out.contains("username: bob") && given.out.contains("password_file: "),
        "{given:?}"
    );
    aggregator.end();
}
