//! Deletes of the real program: what was deleted stays deleted and what came later stays, through kill -9
//! at once after the answer, restarts, merges and the carrying out on the disk.

use kansoku_tests::aggregator::Aggregator;
use kansoku_tests::http;
use kansoku_tests::pods::now_ns;
use kansoku_tests::program::wait_for_equal;

fn push(port: u16, lines: &[(i64, String)]) {
    let values: Vec<_> = lines
        .iter()
        .map(|(time, line)| serde_json::json!([time.to_string(), line]))
        .collect();
    let body = serde_json::json!({"streams": [{"stream": {"app": "a"}, "values": values}]});
    let headers = [("Content-Type", "application/json")];
    let reply = http::post(
        port,
        "/loki/api/v1/push",
        &headers,
        body.to_string().as_bytes(),
    );
    let reply = reply.expect("the aggregator answers");
    assert_eq!(reply.status, 204, "{}", reply.text());
}

fn n_lines(aggregator: &Aggregator, filter: &str) -> u64 {
    let query = format!("sum(count_over_time({{app=\"a\"}} {filter} [1h]))");
    let reply = aggregator.get("/loki/api/v1/query", &[("query", &query)]);
    let json = reply.json();
    let value = json["data"]["result"][0]["value"][1].as_str();
    value.map_or(0, |n| n.parse().expect("a count"))
}

#[test]
fn deletes_survive_kill_9_and_spare_what_comes_later() {
    let folder = tempfile::tempdir().expect("a folder");
    let flags = ["--web.enable-admin-api", "--storage.delete-cancel-period=0"];
    let mut aggregator = Aggregator::new(folder.path(), &flags);
    aggregator.start();
    let begin_ns = now_ns() - 600_000_000_000;
    let mut n_kept = 0;
    for round in 0..6 {
        let lines = |word: &str| -> Vec<(i64, String)> {
            (0..20)
                .map(|n| (begin_ns + n, format!("{word} {round} zqxjkvbpwy{n}")))
                .collect()
        };
        push(aggregator.port, &lines("secret"));
        push(aggregator.port, &lines("plain"));
        n_kept += 20;
        let path = http::url(
            "/loki/api/v1/delete",
            &[
                ("query", "{app=\"a\"} |= \"secret\""),
                ("start", &begin_ns.to_string()),
            ],
        );
        let reply = http::post(aggregator.port, &path, &[], b"").expect("the aggregator answers");
        assert_eq!(reply.status, 204, "{}", reply.text());
        aggregator.program.kill();
        aggregator.start();
        assert_eq!(n_lines(&aggregator, ""), n_kept, "round {round}");
        // The same time, after the delete.
        push(aggregator.port, &[(begin_ns, format!("later {round}"))]);
        n_kept += 1;
        assert_eq!(n_lines(&aggregator, "|= \"secret\""), 0);
    }
    let done = || {
        let reply = aggregator.get("/loki/api/v1/delete", &[]);
        let json = reply.json();
        let all = json.as_array().expect("a list");
        all.iter().filter(|d| d["status"] == "processed").count()
    };
    wait_for_equal(&6, done);
    assert_eq!(n_lines(&aggregator, ""), n_kept);
    aggregator.program.kill();
    aggregator.start();
    assert_eq!(n_lines(&aggregator, ""), n_kept);
}
