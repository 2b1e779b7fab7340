//! Tenants: nobody sees what another sent, whatever the path; limits of each; stores that are opened when
//! they are needed.

use hyper::Method;
use kansoku_aggregator::access::Right;
use kansoku_aggregator::http::routes::{Accepts, ROUTES};
use kansoku_aggregator::settings::Settings;
use kansoku_aggregator::tools;
use serde_json::json;

use crate::harness::{Answer, JSON, Series, Server, WRITE, write_request};

const ON: &[&str] = &[
    "--query.test-mode",
    "--web.enable-admin-api",
    "--tenants.enabled",
];
/// Stands in everything that tenant `a` sends.
pub const SECRET: &str = "secret_of_a";
const SERIES: &[Series<'_>] = &[(
    &[("__name__", "secret_of_a"), ("owner", "secret_of_a")],
    &[(10_000, 1.0)],
)];

async fn send(server: &Server, tenant: &str, method: Method, path: &str) -> Answer {
    let headers = [("x-scope-orgid", tenant)];
    server.send(method, path, &headers, "").await
}

async fn get(server: &Server, tenant: &str, path: &str) -> Answer {
    send(server, tenant, Method::GET, path).await
}

async fn write(server: &Server, tenant: &str, series: &[Series<'_>]) -> Answer {
    let headers = [WRITE[0], WRITE[1], WRITE[2], ("x-scope-orgid", tenant)];
    server
        .post("/api/v1/write", &headers, write_request(series))
        .await
}

async fn push(server: &Server, tenant: &str, stream: &str, lines: &[&str]) -> Answer {
    let lines: Vec<_> = lines
        .iter()
        .map(|line| json!(["10000000000", line]))
        .collect();
    let body = json!({"streams": [{"stream": {"owner": stream}, "values": lines}]});
    let headers = [JSON[0], ("x-scope-orgid", tenant)];
    server
        .post("/loki/api/v1/push", &headers, body.to_string())
        .await
}

async fn send_frame(server: &Server, tenant: &str) -> Answer {
    let mut batch = kansoku_model::LogBatch::new("t".into(), Default::default(), Vec::new());
    let row = batch.push(10_000_000_000, kansoku_model::Position::at(1));
    batch.set_text("log", row, SECRET.as_bytes());
    let mut frame = Vec::new();
    let batch = kansoku_model::RecordBatch::Logs(batch);
    kansoku_model::frame::encode(&batch, &mut frame).expect("a frame");
    let headers = [("x-scope-orgid", tenant)];
    server.post("/api/v1/frames", &headers, frame).await
}

/// Requests that show what there is, and whether the secret stands in the answer to its owner.
pub const READS: &[(&str, &str, bool)] = &[
    ("/api/v1/query", "query={owner!=\"\"}&time=10", true),
    (
        "/api/v1/query_range",
        "query={owner!=\"\"}&start=0&end=20&step=10",
        true,
    ),
    ("/api/v1/explain", "query={owner!=\"\"}&time=10", false),
    ("/api/v1/format_query", "query=up", false),
    ("/api/v1/parse_query", "query=up", false),
    ("/federate", "match[]={owner!=\"\"}", false),
    ("/api/v1/series", "match[]={owner!=\"\"}", true),
    ("/api/v1/labels", "", false),
    ("/api/v1/label/{}/values", "", true),
    ("/api/v1/metadata", "", false),
    ("/api/v1/query_exemplars", "query=up&start=0&end=20", false),
    ("/api/v1/targets", "", false),
    ("/api/v1/targets/metadata", "", false),
    ("/api/v1/scrape_pools", "", false),
    ("/api/v1/rules", "", false),
    ("/api/v1/alerts", "", false),
    ("/api/v1/alertmanagers", "", false),
    ("/prometheus/api/v1/rules", "", false),
    ("/prometheus/api/v1/alerts", "", false),
    ("/loki/api/v1/rules", "", false),
    ("/api/v1/status/buildinfo", "", false),
    ("/api/v1/status/runtimeinfo", "", false),
    ("/api/v1/status/flags", "", false),
    ("/api/v1/status/config", "", false),
    ("/api/v1/status/tsdb", "", true),
    ("/api/v1/status/tsdb/blocks", "", false),
    (
        "/loki/api/v1/query",
        "query=sum by(owner)(count_over_time({owner!=\"\"}[1m]))&time=20",
        true,
    ),
    (
        "/loki/api/v1/query_range",
        "query={owner!=\"\"}&start=0&end=20",
        true,
    ),
    ("/loki/api/v1/labels", "start=0&end=20", false),
    ("/loki/api/v1/label", "start=0&end=20", false),
    ("/loki/api/v1/label/{}/values", "start=0&end=20", true),
    ("/loki/api/v1/series", "start=0&end=20", true),
    (
        "/loki/api/v1/index/stats",
        "query={owner!=\"\"}&start=0&end=20",
        false,
    ),
    (
        "/loki/api/v1/index/volume",
        "query={owner!=\"\"}&start=0&end=20",
        true,
    ),
    (
        "/loki/api/v1/index/volume_range",
        "query={owner!=\"\"}&start=0&end=20&step=10",
        true,
    ),
    ("/loki/api/v1/detected_labels", "start=0&end=20", false),
    (
        "/loki/api/v1/detected_fields",
        "query={owner!=\"\"}&start=0&end=20",
        false,
    ),
    (
        "/loki/api/v1/detected_field/{}/values",
        "query={owner!=\"\"}&start=0&end=20",
        false,
    ),
    (
        "/loki/api/v1/patterns",
        "query={owner!=\"\"}&start=0&end=20&step=10",
        true,
    ),
    (
        "/loki/api/v1/index/shards",
        "query={owner!=\"\"}&start=0&end=20",
        false,
    ),
    ("/loki/api/v1/drilldown-limits", "", false),
    ("/config/tenant/v1/limits", "", false),
    (
        "/api/prom/query",
        "query={owner!=\"\"}&start=0&end=20",
        true,
    ),
    ("/api/prom/label", "start=0&end=20", false),
    ("/api/prom/label/{}/values", "start=0&end=20", true),
    ("/api/prom/series", "start=0&end=20", true),
    ("/loki/api/v1/delete", "", true),
];

/// Requests that change something, with the status for a tenant that has nothing.
const CHANGES: &[(&str, &str, u16)] = &[
    (
        "/api/v1/admin/tsdb/delete_series",
        "match[]={owner!=\"\"}",
        204,
    ),
    ("/api/v1/admin/tsdb/clean_tombstones", "", 204),
    ("/api/v1/admin/tsdb/compact", "", 204),
    ("/api/v1/admin/tsdb/snapshot", "", 400),
    (
        "/loki/api/v1/delete",
        "query={owner!=\"\"}&start=0&end=20",
        204,
    ),
];

/// Asks by a body; `remote_read.rs` has a tenant ask so.
const QUESTION: &str = "/api/v1/read";
/// What people keep lies in a folder of the tenant; there is none to show here.
const DOCUMENTS: [&str; 6] = [
    "/api/v1/dashboards",
    "/api/v1/dashboards/{}",
    "/api/v1/dashboards/{}/versions",
    "/api/v1/slos",
    "/api/v1/slos/{}",
    "/api/v1/slos/{}/versions",
];
/// A WebSocket; `loki.rs` listens to it.
const TAIL: &str = "/loki/api/v1/tail";

pub fn url(path: &str, query: &str) -> String {
    let query: String = query
        .chars()
        .map(|c| match c {
            '{' => "%7B".into(),
            '}' => "%7D".into(),
            '"' => "%22".into(),
            ' ' => "%20".into(),
            c => c.to_string(),
        })
        .collect();
    format!("{}?{query}", path.replace("{}", "owner"))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_shows_a_tenant_what_another_sent() {
    let server = Server::start_with(ON).await;
    assert_eq!(write(&server, "a", SERIES).await.status, 204);
    assert_eq!(push(&server, "a", SECRET, &[SECRET]).await.status, 204);
    assert_eq!(send_frame(&server, "a").await.status, 200);
    let asked = url(
        "/loki/api/v1/delete",
        "query={owner=\"secret_of_a\"} |= \"no such line\"&start=0&end=20",
    );
    assert_eq!(send(&server, "a", Method::POST, &asked).await.status, 204);
    // Another tenant that has data, and one that has none.
    let theirs: &[Series<'_>] = &[(&[("__name__", "m"), ("owner", "b")], &[(10_000, 1.0)])];
    assert_eq!(write(&server, "b", theirs).await.status, 204);
    assert_eq!(push(&server, "b", "b", &["theirs"]).await.status, 204);
    for route in ROUTES.iter().filter(|route| route.needs_store) {
        let path = route.path;
        let reads: Vec<_> = READS.iter().filter(|(p, ..)| *p == path).collect();
        let changes: Vec<_> = CHANGES.iter().filter(|(p, ..)| *p == path).collect();
        let is_known = !reads.is_empty()
            || !changes.is_empty()
            || route.right == Right::Ingest
            || DOCUMENTS.contains(&path)
            || [TAIL, QUESTION].contains(&path);
        assert!(is_known, "{path} is in no list of this test");
        let method = match route.accepts {
            Accepts::Body(_) | Accepts::Question(_) | Accepts::Group(_) => Method::POST,
            Accepts::Change(_) => Method::POST,
            _ => Method::GET,
        };
        let asked = path.replace("{}", "x").replace("{...}", "job/x");
        let nobody = server.send(method, &asked, &[], "").await;
        assert_eq!(nobody.status, 401, "{path}");
        assert!(
            nobody.text().contains("no org id"),
            "{path}: {}",
            nobody.text()
        );
        for (path, query, is_shown) in reads {
            let url = url(path, query);
            let own = get(&server, "a", &url).await;
            assert_eq!(own.status, 200, "{url}: {}", own.text());
            assert_eq!(
                own.text().contains(SECRET),
                *is_shown,
                "{url}: {}",
                own.text()
            );
            for other in ["b", "c", "anonymous"] {
                let answer = get(&server, other, &url).await;
                assert_eq!(answer.status, 200, "{other} {url}: {}", answer.text());
                assert!(
                    !answer.text().contains(SECRET),
                    "{other} {url}: {}",
                    answer.text()
                );
            }
        }
        for (path, query, status) in changes {
            let url = url(path, query);
            for (other, expected) in [("b", None), ("c", Some(*status))] {
                let answer = send(&server, other, Method::POST, &url).await;
                let expected = expected.unwrap_or(answer.status);
                assert_eq!(answer.status, expected, "{other} {url}: {}", answer.text());
                assert!(answer.status < 400 || expected == *status, "{other} {url}");
            }
        }
    }
    // What the others deleted was theirs alone.
    let query = url(
        "/loki/api/v1/query_range",
        "query={owner!=\"\"}&start=0&end=20",
    );
    assert!(get(&server, "a", &query).await.text().contains(SECRET));
    assert!(!get(&server, "b", &query).await.text().contains("theirs"));
    let query = url("/api/v1/query", "query={owner!=\"\"}&time=10");
    assert!(get(&server, "a", &query).await.text().contains(SECRET));
    assert!(!get(&server, "b", &query).await.text().contains("\"b\""));
    // Asking does not make a tenant.
    let metrics = server.get("/metrics").await.text();
    assert!(
        metrics.lines().any(|l| l == "kansoku_tenants 3"),
        "{metrics}"
    );
    server.running.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_checked_as_dskit_does() {
    let server = Server::start_with(ON).await;
    let path = "/api/v1/query?query=up";
    for (name, status, expected) in [
        ("", 401, "no org id"),
        (
            "a|b",
            400,
            "tenant ID 'a|b' contains unsupported character '|'",
        ),
        ("a/b", 400, "unsupported character '/'"),
        ("..", 400, "tenant ID is '.' or '..'"),
        (&"x".repeat(151), 400, "tenant ID is too long"),
        ("team-a", 200, "success"),
    ] {
        let answer = get(&server, name, path).await;
        assert_eq!(answer.status, status, "{name}");
        assert!(
            answer.text().contains(expected),
            "{name}: {}",
            answer.text()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn off_the_header_means_nothing_and_the_data_becomes_that_of_the_default_tenant() {
    let server = Server::start_with(&["--query.test-mode"]).await;
    assert_eq!(write(&server, "a", SERIES).await.status, 204);
    let path = "/api/v1/query?query=secret_of_a&time=10";
    for tenant in ["b", "not/a/name"] {
        assert!(get(&server, tenant, path).await.text().contains(SECRET));
    }
    let server = server.restart(ON).await;
    assert!(
        get(&server, "anonymous", path)
            .await
            .text()
            .contains(SECRET)
    );
    assert!(!get(&server, "a", path).await.text().contains(SECRET));
    let flags = [
        "--query.test-mode",
        "--tenants.enabled",
        "--tenants.default=ops",
    ];
    let server = server.restart(&flags).await;
    assert!(get(&server, "ops", path).await.text().contains(SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_tenants_is_bounded_and_idle_ones_are_closed() {
    let flags = [ON, &["--tenants.max=3", "--tenants.idle-timeout=1ms"]].concat();
    let server = Server::start_with(&flags).await;
    for tenant in ["a", "b"] {
        assert_eq!(push(&server, tenant, "x", &["kept"]).await.status, 204);
    }
    let answer = push(&server, "c", "x", &["one too many"]).await;
    assert_eq!(answer.status, 429);
    assert!(
        answer.text().contains("raise --tenants.max"),
        "{}",
        answer.text()
    );
    let mut open = String::new();
    for _ in 0..200 {
        let metrics = server.get("/metrics").await.text();
        let line = metrics
            .lines()
            .find(|l| l.starts_with("kansoku_tenants_open "));
        open = line.expect("a metric").to_owned();
        if open == "kansoku_tenants_open 1" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(open, "kansoku_tenants_open 1", "only the default tenant's");
    let query = url(
        "/loki/api/v1/query_range",
        "query={owner=\"x\"}&start=0&end=20",
    );
    assert!(get(&server, "a", &query).await.text().contains("kept"));
    assert_eq!(push(&server, "b", "x", &["more"]).await.status, 204);
    let text = get(&server, "b", &query).await.text();
    assert!(text.contains("kept") && text.contains("more"), "{text}");
}

const LIMITED: &str = "\
tenants:
  small:
    max_series: 2
    max_streams: 1
    max_label_value_length: 20
  slow:
    ingestion_rate: 100
";

#[tokio::test(flavor = "multi_thread")]
async fn limits_keep_out_what_is_new_and_say_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("k.yaml");
    std::fs::write(&file, LIMITED).expect("written");
    let config = format!("--config.file={}", file.display());
    let flags = [ON, &[config.as_str()]].concat();
    let server = Server::start_with(&flags).await;

    let series = |names: &[&'static str]| -> Vec<[(&'static str, &'static str); 2]> {
        names
            .iter()
            .map(|n| [("__name__", "m"), ("i", *n)])
            .collect()
    };
    let all = series(&["1", "2", "3"]);
    let all: Vec<Series<'_>> = all.iter().map(|l| (&l[..], &[(10_000, 1.0)][..])).collect();
    let answer = write(&server, "small", &all).await;
    assert_eq!(answer.status, 400);
    let text = answer.text();
    assert!(
        text.contains("1 samples refused") && text.contains("per-user series limit of 2"),
        "{text}"
    );
    assert!(
        text.contains("i=\"3\"") && text.contains("max_series (tenants.small or limits)"),
        "{text}"
    );
    assert_eq!(
        answer.header("x-prometheus-remote-write-samples-written"),
        "2"
    );
    // What is known goes on, and others are not concerned.
    assert_eq!(write(&server, "small", &all[..2]).await.status, 204);
    assert_eq!(write(&server, "large", &all).await.status, 204);
    let long: &[Series<'_>] = &[(
        &[("__name__", "m"), ("i", "a value that is far too long")],
        &[(1, 1.0)],
    )];
    let text = write(&server, "small", long).await.text();
    assert!(text.contains("label value too long"), "{text}");

    assert_eq!(push(&server, "small", "x", &["1"]).await.status, 204);
    let answer = push(&server, "small", "y", &["2"]).await;
    assert_eq!(answer.status, 429, "{}", answer.text());
    assert!(
        answer
            .text()
            .contains("Maximum active stream limit exceeded"),
        "{}",
        answer.text()
    );
    assert_eq!(push(&server, "small", "x", &["3"]).await.status, 204);
    // Of a push with both, what is known is kept, and it must not come again.
    let both = json!({"streams": [
        {"stream": {"owner": "x"}, "values": [["11000000000", "kept"]]},
        {"stream": {"owner": "z"}, "values": [["11000000000", "lost"]]},
    ]});
    let headers = [JSON[0], ("x-scope-orgid", "small")];
    let answer = server
        .post("/loki/api/v1/push", &headers, both.to_string())
        .await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    let query = url(
        "/loki/api/v1/query_range",
        "query={owner!=\"\"}&start=0&end=20",
    );
    let text = get(&server, "small", &query).await.text();
    assert!(text.contains("kept") && !text.contains("lost"), "{text}");
    // A frame is answered with what was taken; its agent goes on.
    let answer = send_frame(&server, "small").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["refused"], 1, "{}", answer.text());
    assert!(
        answer.text().contains("Maximum active stream limit"),
        "{}",
        answer.text()
    );

    for (n, expected) in [(0, 204), (1, 429)] {
        let answer = push(&server, "slow", "x", &["y".repeat(500).as_str()]).await;
        assert_eq!(answer.status, expected, "{n}: {}", answer.text());
        if expected == 429 {
            assert!(
                answer
                    .text()
                    .contains("ingestion rate limit exceeded of tenant 'slow': 100 bytes/sec"),
                "{}",
                answer.text()
            );
            assert_ne!(answer.header("retry-after"), "");
        }
    }
    let metrics = server.get("/metrics").await.text();
    for line in [
        "kansoku_ingest_discarded_total{reason=\"per_user_series_limit\",tenant=\"small\"} 1",
        "kansoku_ingest_discarded_total{reason=\"stream_limit\",tenant=\"small\"} 3",
        "kansoku_ingest_discarded_total{reason=\"label_value_too_long\",tenant=\"small\"} 1",
        "kansoku_ingest_discarded_total{reason=\"rate_limited\",tenant=\"slow\"} 1",
    ] {
        let same = |l: &str| {
            let sorted = |l: &str| {
                let mut bytes = l.as_bytes().to_vec();
                bytes.sort_unstable();
                bytes
            };
            sorted(l) == sorted(line)
        };
        assert!(metrics.lines().any(same), "{line} is missing in\n{metrics}");
    }
}

async fn run_tool(arguments: &[String]) -> Result<bool, String> {
    let arguments = arguments.iter().map(String::as_str);
    let settings = Settings::from_arguments(arguments).map_err(|e| e.to_string())?;
    let code = tools::run(settings.tool.expect("a tool")).await?;
    Ok(code == 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_know_the_stores_of_all_tenants() {
    let server = Server::start_with(ON).await;
    for tenant in ["a", "b's*store", "anonymous"] {
        let line = format!("of {tenant}");
        assert_eq!(push(&server, tenant, "x", &[&line]).await.status, 204);
    }
    let folder = server.stop().await;
    let path = |folder: &std::path::Path| format!("--storage.path={}", folder.display());
    let (backups, whole, one) = (folder_of(), folder_of(), folder_of());
    let place = |flag: &str| format!("{flag}={}", backups.path().display());
    let own = path(folder.path());
    let tool = |name: &str, more: &[&str]| -> Vec<String> {
        let more = more.iter().map(|text| (*text).to_owned());
        std::iter::once(name.to_owned()).chain(more).collect()
    };
    let done = run_tool(&tool("check", &[&own])).await;
    assert_eq!(done, Ok(true));
    let done = run_tool(&tool("inspect", &[&own, "--tenant=a"])).await;
    assert_eq!(done, Ok(true));
    let refused = run_tool(&tool("check", &[&own, "--tenant=none"]))
        .await
        .unwrap_err();
    assert!(refused.contains("no store of tenant 'none'"), "{refused}");
    for _ in 0..2 {
        let done = run_tool(&tool("backup", &[&own, &place("--to"), "--keep-last=1"])).await;
        assert_eq!(done, Ok(true));
    }
    let lists = std::fs::read_dir(backups.path().join("tenants/a/backups")).expect("lists");
    assert_eq!(lists.count(), 1, "the older one is gone");

    let from = place("--from");
    let done = run_tool(&tool("restore", &[&from, &path(one.path()), "--tenant=a"])).await;
    assert_eq!(done, Ok(true));
    assert!(one.path().join("tenants/a/MANIFEST").exists());
    assert!(
        !one.path().join("MANIFEST").exists() && !one.path().join("tenants/b's*store").exists()
    );
    let done = run_tool(&tool("restore", &[&from, &path(whole.path())])).await;
    assert_eq!(done, Ok(true));
    let again = run_tool(&tool("restore", &[&from, &path(whole.path())]))
        .await
        .unwrap_err();
    assert!(again.contains("is not empty"), "{again}");
    let server = Server::start_in(whole, ON).await;
    let query = url(
        "/loki/api/v1/query_range",
        "query={owner=\"x\"}&start=0&end=20",
    );
    for tenant in ["a", "b's*store", "anonymous"] {
        let json = get(&server, tenant, &query).await.json();
        let lines = &json["data"]["result"][0]["values"];
        assert_eq!(lines[0][1], format!("of {tenant}"), "{json}");
        assert_eq!(lines.as_array().map(Vec::len), Some(1), "{json}");
    }
}

fn folder_of() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}
