//! The es and opensearch outputs against a bulk API as strict as the real one: through troubles and
//! kills every document is there once, and what the server refuses for ever lies in the dead letters.

use std::fs;
use std::path::Path;
use std::time::Duration;

use kansoku_tests::elasticsearch::{Elasticsearch, Troubles};
use kansoku_tests::log_writer::LogWriter;
use kansoku_tests::program::{Program, wait_for_equal};

/// An agent that tails `*.log`; `tail` and `output` are further lines of these sections.
fn agent(root: &Path, server: &Elasticsearch, tail: &str, output: &str) -> Program {
    let parsers = root.join("parsers.conf");
    fs::write(&parsers, "[PARSER]\n    Name json\n    Format json\n").expect("the folder is ours");
    let configuration = format!(
        "[SERVICE]\n    Flush 0.1\n    scheduler.base 1\n    scheduler.cap 1\n    \
         storage.path {state}\n    Parsers_File {parsers}\n\
         [INPUT]\n    Name tail\n    Tag kube.*\n    Path {path}\n    DB {db}\n    \
         Read_from_Head On\n    Refresh_Interval 1\n    Rotate_Wait 1\n{tail}\
         [OUTPUT]\n    Match *\n    Host 127.0.0.1\n    Port {port}\n{output}",
        state = root.join("state").display(),
        parsers = parsers.display(),
        path = root.join("*.log").display(),
        db = root.join("tail.db").display(),
        port = server.port,
    );
    Program::agent(root, &configuration)
}

/// Kills the agent again and again while `logs` are written and the server has its troubles.
fn survives(tail: &str, output: &str) -> Elasticsearch {
    let root = tempfile::tempdir().unwrap();
    let server = Elasticsearch::start();
    let mut agent = agent(root.path(), &server, tail, output);
    let mut logs: Vec<LogWriter> = (0..3)
        .map(|n| LogWriter::new(root.path(), &format!("file-{n}")))
        .collect();
    for troubles in [
        Troubles::default(),
        Troubles {
            busy_item_every: 7,
            ..Troubles::default()
        },
        Troubles {
            refuse_every: Some((2, 429)),
            lose_answer_every: 3,
            ..Troubles::default()
        },
        Troubles {
            max_content_length: 20_000,
            refuse_every: Some((3, 503)),
            ..Troubles::default()
        },
    ] {
        server.trouble(troubles);
        agent.start();
        for round in 0..4 {
            logs.iter_mut().for_each(|log| log.lines(300));
            std::thread::sleep(Duration::from_millis(150));
            if round % 2 == 0 {
                agent.kill();
                logs[0].rotate();
                logs.iter_mut().for_each(|log| log.lines(100));
                agent.start();
            }
        }
        server.trouble(Troubles {
            busy_item_every: troubles.busy_item_every,
            max_content_length: troubles.max_content_length,
            ..Troubles::default()
        });
        let n_written: usize = logs.iter().map(|log| log.written.len()).sum();
        wait_for_equal(&n_written, || server.seen().contents().len());
        agent.kill();
    }
    let written = logs.iter().flat_map(|log| &log.written);
    let seen = server.seen();
    assert_eq!(seen.mistakes, [] as [&str; 0]);
    assert_eq!((seen.n_clashes, &seen.refused), (0, &Vec::new()));
    assert!(seen.n_busy > 0 && seen.n_too_large > 0);
    let contents = seen.contents();
    let doubled = contents.values().filter(|n| **n > 1).count();
    assert_eq!((doubled, contents.len()), (0, written.clone().count()));
    let mut texts: Vec<String> = contents
        .keys()
        .map(|text| {
            let json: serde_json::Value = serde_json::from_str(text).expect("JSON");
            json["log"].as_str().expect("a log").to_owned()
        })
        .collect();
    texts.sort_unstable();
    let mut expected: Vec<String> = written.cloned().collect();
    expected.sort_unstable();
    assert_eq!(texts, expected);
    drop(seen);
    server
}

#[test]
fn days_of_elasticsearch_hold_every_line_once() {
    let server = survives(
        "    multiline.parser cri\n",
        "    Name es\n    Suppress_Type_Name On\n    Logstash_Format On\n",
    );
    let seen = server.seen();
    assert!(seen.n_repeats > 0, "kills make repeats, which the ids drop");
    let (index, id) = seen.documents.keys().next().expect("documents");
    assert_eq!((&**index, id.len()), ("logstash-2026.11.21", 22));
}

#[test]
fn a_data_stream_of_opensearch_holds_every_line_once() {
    let server = survives(
        "    multiline.parser cri\n",
        "    Name opensearch\n    Suppress_Type_Name On\n    Index logs-app-default\n    Generate_ID On\n    Compress gzip\n",
    );
    let seen = server.seen();
    let (index, id) = seen.documents.keys().next().expect("documents");
    assert_eq!((&**index, id.len()), ("logs-app-default", 36));
}

/// Every third line does not fit the mapping, every fifth names an index that cannot be, some have
/// ids that would fail the whole request; their neighbours arrive.
#[test]
fn refused_documents_are_dead_letters_and_nothing_else_is() {
    let root = tempfile::tempdir().unwrap();
    let server = Elasticsearch::start();
    let output = "    Name es\n    Suppress_Type_Name On\n    Index app-$kind\n    Id_Key id\n    Retry_Limit no_limits\n";
    let mut agent = agent(root.path(), &server, "    Parser json\n", output);
    let (mut lines, mut n_refused) = (String::new(), 0);
    for n in 0..300 {
        let code = if n % 3 == 1 {
            "\"none\"".into()
        } else {
            n.to_string()
        };
        let kind = if n % 5 == 4 { "Shop" } else { "shop" };
        let id = match n % 7 {
            0 => String::new(),
            1 => "x".repeat(600),
            2 => format!("quoted\\\"{n}"),
            _ => format!("id-{n}"),
        };
        n_refused += usize::from(n % 3 == 1 || n % 5 == 4);
        lines += &format!(
            "{{\"code\":{code},\"kind\":\"{kind}\",\"id\":\"{id}\",\"@timestamp\":\"never\",\"a.b\":{n}}}\n"
        );
    }
    fs::write(root.path().join("app.log"), lines).unwrap();
    agent.start();
    wait_for_equal(&300, || {
        let seen = server.seen();
        seen.documents.len() + seen.refused.len()
    });
    let letters = root.path().join("state/rejected/es.0.jsonl");
    let text = || fs::read_to_string(&letters).unwrap_or_default();
    wait_for_equal(&n_refused, || {
        let json = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok();
        let n_records = |line: &str| json(line).and_then(|l| l["records"].as_u64());
        text().lines().filter_map(n_records).sum::<u64>() as usize
    });
    let text = text();
    assert!(
        text.lines().count() <= 10,
        "one letter for one cause: {text}"
    );
    for reason in ["document_parsing_exception", "invalid_index_name_exception"] {
        assert!(text.contains(reason), "no {reason} in {text}");
    }
    let seen = server.seen();
    assert_eq!(seen.mistakes, [] as [&str; 0]);
    assert_eq!(seen.documents.len(), 300 - n_refused);
    assert_eq!(seen.refused.len(), n_refused, "refused once each");
}

/// Elasticsearch 8 takes no types: that is the configuration's fault, so the records wait.
#[test]
fn records_wait_when_the_server_takes_no_types() {
    let root = tempfile::tempdir().unwrap();
    let server = Elasticsearch::start();
    let typed = "    Name es\n    Suppress_Type_Name Off\n";
    let mut log = LogWriter::new(root.path(), "file");
    log.lines(50);
    let mut agent_with_types = agent(root.path(), &server, "    multiline.parser cri\n", typed);
    agent_with_types.start();
    agent_with_types.wait_to_say("set 'suppress_type_name on'");
    agent_with_types.kill();
    assert!(server.seen().documents.is_empty());
    let mut mended = agent(
        root.path(),
        &server,
        "    multiline.parser cri\n",
        "    Name es\n    Suppress_Type_Name On\n",
    );
    mended.start();
    wait_for_equal(&50, || server.seen().documents.len());
}
