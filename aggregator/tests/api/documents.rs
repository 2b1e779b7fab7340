//! Dashboards and SLOs that people keep: versions, conflicts, tenants, bounds, files that somebody else keeps.

use hyper::Method;
use serde_json::json;

use crate::harness::{Answer, Server};

const BOARD: &str = "/api/v1/dashboards/a-board";

async fn put(server: &Server, path: &str, headers: &[(&str, &str)], text: &str) -> Answer {
    server
        .send(Method::PUT, path, headers, text.to_owned())
        .await
}

#[tokio::test]
async fn a_dashboard_is_kept_and_nobody_overwrites_unseen() {
    let server = Server::start().await;
    assert_eq!(
        server.get("/api/v1/dashboards").await.json()["data"],
        json!([])
    );
    assert_eq!(server.get(BOARD).await.status, 404);
    let first = put(&server, BOARD, &[], "{\"title\": \"One\", \"n\": 1.50}").await;
    assert_eq!(
        (first.status, first.json()["data"]["version"].as_u64()),
        (200, Some(1))
    );
    let tag = first.header("etag").to_owned();
    assert_eq!(tag, first.json()["data"]["tag"]);

    // Somebody else with the same name; somebody who thinks it is not there.
    assert_eq!(put(&server, BOARD, &[], "{}").await.status, 409);
    assert_eq!(
        put(&server, BOARD, &[("if-none-match", "*")], "{}")
            .await
            .status,
        409
    );
    let second = put(&server, BOARD, &[("if-match", &tag)], "{\"title\":\"Two\"}").await;
    assert_eq!(second.status, 200);
    let late = put(
        &server,
        BOARD,
        &[("if-match", &tag)],
        "{\"title\":\"Late\"}",
    )
    .await;
    assert_eq!(late.status, 412);
    assert!(
        late.json()["error"]
            .as_str()
            .is_some_and(|e| e.contains("is at version 2"))
    );
    assert_eq!(late.header("etag"), second.header("etag"));

    let whole = server.get(BOARD).await;
    assert_eq!(whole.json()["data"]["document"], json!({"title": "Two"}));
    let unchanged = [("if-none-match", whole.header("etag"))];
    assert_eq!(
        server.send(Method::GET, BOARD, &unchanged, "").await.status,
        304
    );
    // Numbers stay as they were written.
    let past = server.get(&format!("{BOARD}?version=1")).await;
    assert!(
        past.text()
            .contains("\"document\":{\"title\": \"One\", \"n\": 1.50}"),
        "{}",
        past.text()
    );
    assert_eq!(server.get(&format!("{BOARD}?version=9")).await.status, 404);
    assert_eq!(server.get(&format!("{BOARD}?version=x")).await.status, 400);
    let versions = server.get(&format!("{BOARD}/versions")).await.json();
    let numbers: Vec<_> = versions["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v["version"].as_u64())
        .collect();
    assert_eq!(numbers, [Some(1), Some(2)]);

    let server = server.restart(&["--query.test-mode"]).await;
    let listed = server.get("/api/v1/dashboards").await.json();
    assert_eq!(listed["data"][0]["title"], "Two");
    assert_eq!(server.get("/api/v1/slos").await.json()["data"], json!([]));
    let stale = [("if-match", tag.as_str())];
    assert_eq!(
        server.send(Method::DELETE, BOARD, &stale, "").await.status,
        412
    );
    assert_eq!(
        server.send(Method::DELETE, BOARD, &[], "").await.status,
        204
    );
    assert_eq!(
        server.send(Method::DELETE, BOARD, &[], "").await.status,
        404
    );
    assert_eq!(put(&server, BOARD, &stale, "{}").await.status, 412);
}

#[tokio::test]
async fn what_is_no_document_is_refused_with_words() {
    let server = Server::start().await;
    for (path, text, status, words) in [
        (BOARD, "{", 400, "not JSON"),
        (BOARD, "[]", 400, "no object"),
        ("/api/v1/dashboards/a.b", "{}", 400, "'a.b' is no id"),
        ("/api/v1/dashboards/..%2fa", "{}", 400, "'../a' is no id"),
        (
            "/api/v1/dashboards/provisioned.a",
            "{}",
            404,
            "there is no dashboard",
        ),
        ("/api/v1/slos/provisioned.a", "{}", 400, "is no id"),
    ] {
        let answer = put(&server, path, &[], text).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.text().contains(words), "{path}: {}", answer.text());
    }
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(4 << 20));
    assert_eq!(put(&server, BOARD, &[], &large).await.status, 413);
    let deep = "[".repeat(100_000);
    assert_eq!(put(&server, BOARD, &[], &deep).await.status, 400);
    assert_eq!(
        server.get("/api/v1/dashboards").await.json()["data"],
        json!([])
    );
}

#[tokio::test]
async fn a_tenant_does_not_see_what_another_keeps() {
    let server = Server::start_with(&["--tenants.enabled"]).await;
    let (a, b) = ([("x-scope-orgid", "a")], [("x-scope-orgid", "b")]);
    assert_eq!(put(&server, "/api/v1/slos/x", &[], "{}").await.status, 401);
    assert_eq!(
        put(&server, "/api/v1/slos/x", &a, "{\"title\":\"of a\"}")
            .await
            .status,
        200
    );
    assert_eq!(
        server
            .send(Method::GET, "/api/v1/slos/x", &b, "")
            .await
            .status,
        404
    );
    assert_eq!(
        put(&server, "/api/v1/slos/x", &b, "{\"title\":\"of b\"}")
            .await
            .status,
        200
    );
    let server = server.restart(&["--tenants.enabled"]).await;
    for (tenant, title) in [(&a, "of a"), (&b, "of b")] {
        let listed = server
            .send(Method::GET, "/api/v1/slos", tenant, "")
            .await
            .json();
        assert_eq!(listed["data"].as_array().unwrap().len(), 1);
        assert_eq!(listed["data"][0]["title"], title);
    }
}

#[tokio::test]
async fn provisioned_dashboards_are_shown_and_read_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("team/board.json");
    std::fs::create_dir_all(path.parent().unwrap()).expect("a folder");
    std::fs::write(&path, "{\"title\":\"Given\"}").expect("a file");
    let flag = format!("--dashboards.path={}", folder.path().display());
    let server = Server::start_with(&[&flag]).await;
    let listed = server.get("/api/v1/dashboards").await.json();
    assert_eq!(listed["data"][0]["provisioned"], true);
    assert_eq!(listed["data"][0]["folder"], "team");
    let given = "/api/v1/dashboards/provisioned.team-board";
    assert_eq!(
        server.get(given).await.json()["data"]["document"]["title"],
        "Given"
    );
    let refused = put(&server, given, &[("if-match", "*")], "{}").await;
    assert_eq!(refused.status, 403);
    assert!(
        refused.text().contains("team/board.json"),
        "{}",
        refused.text()
    );
    assert_eq!(
        server.send(Method::DELETE, given, &[], "").await.status,
        403
    );
    std::fs::write(&path, "{\"title\":\"Changed\"}").expect("a file");
    assert_eq!(server.get(given).await.json()["data"]["title"], "Changed");
    let versions = server.get(&format!("{given}/versions")).await.json();
    assert_eq!(versions["data"][0]["title"], "Changed");
    std::fs::write(&path, "{").expect("a file");
    let broken = server.get(given).await;
    assert_eq!(broken.status, 422);
    assert!(broken.text().contains("not JSON"));
    let listed = server.get("/api/v1/dashboards").await.json();
    assert!(listed["data"][0]["problem"].is_string());
}

const SLO: &str = "/api/v1/slos/requests";

fn objective(evaluate: bool, target: f64) -> String {
    json!({
        "title": "Requests succeed", "language": "promql", "counts": "bad", "evaluate": evaluate,
        "events": "sum(rate(errors_total[$window]))", "total": "sum(rate(all_total[$window]))",
        "target": target, "window_days": 30,
    })
    .to_string()
}

/// File, name and number of rules of each group, as somebody with these headers sees them.
async fn groups(server: &Server, headers: &[(&str, &str)]) -> Vec<(String, String, usize)> {
    let answer = server.send(Method::GET, "/api/v1/rules", headers, "").await;
    let answer = answer.json();
    let all = answer["data"]["groups"].as_array().cloned();
    let one = |group: serde_json::Value| {
        let text = |key: &str| group[key].as_str().unwrap_or_default().to_owned();
        let n = group["rules"].as_array().map_or(0, Vec::len);
        (text("file"), text("name"), n)
    };
    all.unwrap_or_default().into_iter().map(one).collect()
}

#[tokio::test]
async fn the_rules_of_an_objective_come_and_go_with_it() {
    let expected = |file: &str| {
        let group = |name: &str, n| (file.to_owned(), name.to_owned(), n);
        vec![
            group("slo-requests-alerts", 2),
            group("slo-requests-errors", 7),
        ]
    };
    let any = ("if-match", "*");
    let server = Server::start().await;
    assert_eq!(
        put(&server, SLO, &[], &objective(false, 99.9)).await.status,
        200
    );
    assert_eq!(groups(&server, &[]).await, []);
    assert_eq!(
        put(&server, SLO, &[any], &objective(true, 99.9))
            .await
            .status,
        200
    );
    assert_eq!(groups(&server, &[]).await, expected("slos/requests.yaml"));
    let rules = server.get("/api/v1/rules?type=alert").await.text();
    assert!(rules.contains("> (14.4 * 0.001)"), "{rules}");

    // A change is in force when it is answered; one that is wrong is refused and changes nothing.
    assert_eq!(
        put(&server, SLO, &[any], &objective(true, 99.0))
            .await
            .status,
        200
    );
    let wrong = put(&server, SLO, &[any], &objective(true, 100.0)).await;
    assert_eq!(wrong.status, 400);
    assert!(
        wrong.text().contains("'target' must lie between"),
        "{}",
        wrong.text()
    );
    let server = server.restart(&["--query.test-mode"]).await;
    assert_eq!(groups(&server, &[]).await, expected("slos/requests.yaml"));
    let rules = server.get("/api/v1/rules?type=alert").await.text();
    assert!(rules.contains("> (14.4 * 0.01)"), "{rules}");

    assert_eq!(
        put(&server, SLO, &[any], &objective(false, 99.0))
            .await
            .status,
        200
    );
    assert_eq!(groups(&server, &[]).await, []);
    assert_eq!(
        put(&server, SLO, &[any], &objective(true, 99.0))
            .await
            .status,
        200
    );
    assert_eq!(groups(&server, &[]).await.len(), 2);
    assert_eq!(server.send(Method::DELETE, SLO, &[], "").await.status, 204);
    assert_eq!(groups(&server, &[]).await, []);
}

#[tokio::test]
async fn objectives_of_tenants_have_rules_of_their_own() {
    let server = Server::start_with(&["--query.test-mode", "--tenants.enabled"]).await;
    let (one, two) = (("x-scope-orgid", "one"), ("x-scope-orgid", "two"));
    for tenant in [one, two] {
        assert_eq!(
            put(&server, SLO, &[tenant], &objective(true, 99.9))
                .await
                .status,
            200
        );
    }
    assert_eq!(
        server.send(Method::DELETE, SLO, &[two], "").await.status,
        204
    );
    let files: Vec<String> = groups(&server, &[one])
        .await
        .into_iter()
        .map(|g| g.0)
        .collect();
    assert_eq!(files, ["slos/one/requests.yaml"; 2]);
    assert_eq!(groups(&server, &[two]).await, []);
}
