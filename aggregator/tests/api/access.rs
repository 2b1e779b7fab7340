//! Users, tokens and roles: who is refused what on which path; namespaces; sessions; the audit log.

use std::path::{Path, PathBuf};

use hyper::Method;
use kansoku_aggregator::access::{Right, token};
use kansoku_aggregator::http::routes::{Accepts, ROUTES};
use serde_json::json;

use crate::harness::{Answer, JSON, Series, Server, WRITE, write_request};
use crate::tenants::{READS, SECRET, url};

/// Of `secret`, at a cost that a test can wait for.
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";
const FLAGS: &[&str] = &[
    "--query.test-mode",
    "--web.enable-admin-api",
    "--web.enable-lifecycle",
];

/// A file with a user of each role, and a token `t-NAME` for each line `NAME: rest`.
fn file(folder: &Path, tokens: &[&str]) -> PathBuf {
    let mut text = "users:\n".to_owned();
    for role in ["agent", "viewer", "editor", "admin"] {
        text += &format!("  {role}: {{password: {HASH}, role: {role}}}\n");
    }
    text += "tokens:\n";
    for line in tokens {
        let (name, rest) = line.split_once(": ").expect("NAME: rest");
        let hash = token::to_hex(&token::hash(&format!("t-{name}")));
        text += &format!("  {name}: {{sha256: {hash}, {rest}}}\n");
    }
    let path = folder.join("access.yaml");
    std::fs::write(&path, text).expect("written");
    path
}

const TOKENS: &[&str] = &[
    "agent: role: agent",
    "viewer: role: viewer",
    "editor: role: editor",
    "admin: role: admin",
    "expired: role: admin, expires: 2020-01-01T00:00:00Z",
    "cart: role: viewer, namespaces: [cart]",
    "shop: role: viewer, namespaces: ['sh.p', other]",
];

async fn server(folder: &Path, tokens: &[&str], more: &[&str]) -> Server {
    let flag = format!("--access.file={}", file(folder, tokens).display());
    let flags: Vec<&str> = FLAGS
        .iter()
        .chain(more)
        .copied()
        .chain([flag.as_str()])
        .collect();
    Server::start_with(&flags).await
}

fn bearer(name: &str) -> String {
    format!("Bearer t-{name}")
}

async fn ask(server: &Server, who: &str, method: Method, path: &str) -> Answer {
    let authorization = bearer(who);
    let headers = [("authorization", authorization.as_str())];
    server.send(method, path, &headers, "").await
}

/// What each path that stores nothing asks for, written down once more: a path that is not here fails the test.
const RIGHTS: &[(&str, &[&str])] = &[
    (
        "public",
        &[
            "/-/healthy",
            "/-/ready",
            "/ready",
            "/api/v1/access/me",
            "/api/v1/access/login",
            "/api/v1/access/logout",
            "/api/v1/access/oidc",
            "/api/v1/access/oidc/{}/login",
            "/api/v1/access/oidc/{}/callback",
            "/api/v1/access/oidc/{}/keys",
            "/api/v1/access/oidc/{}/backchannel_logout",
        ],
    ),
    (
        "read",
        &[
            "/api/v1/query",
            "/api/v1/query_range",
            "/api/v1/explain",
            "/api/v1/format_query",
            "/api/v1/parse_query",
            "/api/v1/series",
            "/api/v1/labels",
            "/api/v1/label/{}/values",
            "/api/v1/metadata",
            "/api/v1/read",
            "/federate",
            "/api/v1/query_exemplars",
            "/api/v1/targets",
            "/api/v1/targets/metadata",
            "/api/v1/scrape_pools",
            "/api/v1/features",
            "/api/v1/status/walreplay",
            "/api/v1/status/buildinfo",
            "/loki/api/v1/query",
            "/loki/api/v1/query_range",
            "/loki/api/v1/labels",
            "/loki/api/v1/label",
            "/loki/api/v1/label/{}/values",
            "/loki/api/v1/series",
            "/loki/api/v1/index/stats",
            "/loki/api/v1/index/shards",
            "/loki/api/v1/index/volume",
            "/loki/api/v1/index/volume_range",
            "/loki/api/v1/detected_labels",
            "/loki/api/v1/detected_fields",
            "/loki/api/v1/detected_field/{}/values",
            "/loki/api/v1/patterns",
            "/loki/api/v1/format_query",
            "/api/prom/query",
            "/api/prom/label",
            "/api/prom/label/{}/values",
            "/api/prom/series",
            "/loki/api/v1/tail",
            "/loki/api/v1/status/buildinfo",
            "/loki/api/v1/drilldown-limits",
            "/config/tenant/v1/limits",
            "/api/v1/dashboards",
            "/api/v1/dashboards/{}/versions",
            "/api/v1/slos",
            "/api/v1/slos/{}/versions",
        ],
    ),
    (
        "read_all",
        &[
            "/api/v1/scrape_pools/config",
            "/api/v1/targets/relabel_steps",
            "/api/v1/notifications",
            "/api/v1/notifications/live",
            "/api/v1/status/self_metrics",
            "/api/v1/status/tsdb",
            "/api/v1/status/tsdb/blocks",
            "/api/v1/rules",
            "/api/v1/alerts",
            "/api/v1/alertmanagers",
            "/prometheus/api/v1/rules",
            "/prometheus/api/v1/alerts",
            "/loki/api/v1/rules",
            "/api/v1/status/runtimeinfo",
            "/api/v1/status/flags",
            "/config",
            "/metrics",
        ],
    ),
    (
        "change",
        &[
            "/api/v1/admin/tsdb/delete_series",
            "/loki/api/v1/delete",
            "/-/reload",
            "/api/v1/dashboards/{}",
            "/api/v1/slos/{}",
        ],
    ),
    (
        "admin",
        &[
            "/api/v1/status/config",
            "/api/v1/admin/tsdb/clean_tombstones",
            "/api/v1/admin/tsdb/snapshot",
            "/api/v1/admin/tsdb/compact",
            "/api/v1/access/audit",
        ],
    ),
];

/// What takes a body to store it asks for `ingest`; all else stands in the list.
fn expected_right(path: &str) -> &'static str {
    let route = ROUTES.iter().find(|route| route.path == path);
    let route = route.unwrap_or_else(|| panic!("there is no route {path}"));
    let stores = matches!(route.accepts, Accepts::Body(_) | Accepts::Group(_));
    assert_eq!(stores, route.right == Right::Ingest, "{path}");
    if stores {
        return "ingest";
    }
    let found = RIGHTS.iter().find(|(_, paths)| paths.contains(&path));
    found
        .unwrap_or_else(|| panic!("{path} is in no list of this test"))
        .0
}

/// The right that a request needs.
fn right_of(path: &str, is_safe: bool) -> &'static str {
    match expected_right(path) {
        "change" if is_safe && (path.contains("dashboards") || path.contains("slos")) => "read",
        "change" if is_safe => "read_all",
        right => right,
    }
}

/// The methods that a route takes, one of a kind.
fn methods(accepts: Accepts) -> Vec<Method> {
    match accepts {
        Accepts::Nothing => vec![Method::GET],
        Accepts::Form => vec![Method::GET, Method::POST],
        Accepts::Body(_) | Accepts::Question(_) => vec![Method::POST],
        Accepts::Document(_) => vec![Method::GET, Method::PUT, Method::DELETE],
        Accepts::Group(_) => vec![Method::POST, Method::PUT, Method::DELETE],
        Accepts::Change(methods) => {
            let all = methods.split(", ").filter(|m| *m != "OPTIONS");
            all.map(|m| m.parse().expect("a method")).collect()
        }
    }
}

fn concrete(path: &str) -> String {
    path.replace("{}", "x").replace("{...}", "job/x")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_refuses_who_may_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(folder.path(), TOKENS, &[]).await;
    let roles = [
        ("agent", &["ingest"][..]),
        ("viewer", &["read", "read_all"]),
        ("cart", &["read"]),
        ("editor", &["ingest", "read", "read_all", "change"]),
        ("admin", &["ingest", "read", "read_all", "change", "admin"]),
    ];
    // viewer:wrong, nobody:secret
    let strangers = [
        ("", ""),
        ("authorization", "Bearer t-nobody"),
        ("authorization", "Bearer t-expired"),
        ("authorization", "Bearer"),
        ("authorization", "Basic dmlld2VyOndyb25n"),
        ("authorization", "Basic bm9ib2R5OnNlY3JldA=="),
        ("authorization", "t-admin"),
        ("cookie", "kansoku_session=t-admin"),
    ];
    for route in ROUTES {
        let path = concrete(route.path);
        for method in methods(route.accepts) {
            let is_safe = method == Method::GET;
            let right = right_of(route.path, is_safe);
            let what = format!("{method} {path}");
            for (name, value) in strangers {
                let headers: &[_] = if name.is_empty() {
                    &[]
                } else {
                    &[(name, value)]
                };
                let answer = server.send(method.clone(), &path, headers, "").await;
                // A cookie without the page's header is refused before anybody looks at it.
                let wanted = if name == "cookie" && !is_safe {
                    403
                } else {
                    401
                };
                match right {
                    "public" => assert_ne!(answer.status, 401, "{what} {value}"),
                    _ => assert_eq!(answer.status, wanted, "{what} {value}: {}", answer.text()),
                }
                assert_eq!(
                    answer.status == 401 && right != "public",
                    answer.header("www-authenticate").starts_with("Bearer"),
                    "{what} {value}"
                );
            }
            for (role, rights) in roles {
                let answer = ask(&server, role, method.clone(), &path).await;
                let is_let_in = right == "public" || rights.contains(&right);
                // Login and logout ask for the page's header.
                let is_refused =
                    answer.status == 403 && !answer.text().contains("X-Requested-With");
                assert_eq!(
                    !is_let_in,
                    is_refused,
                    "{role} {what}: {} {}",
                    answer.status,
                    answer.text()
                );
                assert_ne!(answer.status, 401, "{role} {what}");
            }
        }
    }
    // A password is as good as a token: viewer:secret
    let headers = [("authorization", "Basic dmlld2VyOnNlY3JldA==")];
    let answer = server
        .send(Method::GET, "/api/v1/labels", &headers, "")
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = server.send(Method::POST, "/-/reload", &headers, "").await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    // The page itself is for everybody, for it has the form to sign in.
    assert_eq!(server.get("/").await.status, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_another_s_on_every_route() {
    let folder = tempfile::tempdir().expect("a folder");
    let tokens = [
        "b: role: admin, tenants: [b]",
        "two: role: admin, tenants: [b, c]",
        "all: role: admin",
    ];
    let server = server(folder.path(), &tokens, &["--tenants.enabled"]).await;
    let send = async |who: &str, tenant: &str, method: &Method, path: &str| {
        let authorization = bearer(who);
        let headers = [
            ("authorization", authorization.as_str()),
            ("x-scope-orgid", tenant),
        ];
        let headers = if tenant.is_empty() {
            &headers[..1]
        } else {
            &headers[..]
        };
        server.send(method.clone(), path, headers, "").await
    };
    for route in ROUTES.iter().filter(|route| route.needs_store) {
        let path = concrete(route.path);
        for method in methods(route.accepts) {
            let what = format!("{method} {path}");
            for (who, tenant, is_let_in) in [
                ("b", "a", false),
                ("b", "b", true),
                ("b", "", true),
                ("two", "a", false),
                ("two", "c", true),
                ("all", "a", true),
            ] {
                let answer = send(who, tenant, &method, &path).await;
                assert_eq!(
                    answer.status != 403,
                    is_let_in,
                    "{who} {tenant} {what}: {}",
                    answer.text()
                );
            }
            // Who may use several has to say which.
            let answer = send("two", "", &method, &path).await;
            assert_eq!(answer.status, 401, "{what}: {}", answer.text());
        }
    }
    let me = send("two", "", &Method::GET, "/api/v1/access/me")
        .await
        .json();
    assert_eq!(me["data"]["tenants"], json!(["b", "c"]));
    server.stop().await;
}

async fn write(server: &Server, series: &[Series<'_>]) {
    let authorization = bearer("agent");
    let headers = [
        WRITE[0],
        WRITE[1],
        WRITE[2],
        ("authorization", authorization.as_str()),
    ];
    let answer = server
        .post("/api/v1/write", &headers, write_request(series))
        .await;
    assert_eq!(answer.status, 204, "{}", answer.text());
}

async fn push(server: &Server, namespace: &str, owner: &str) {
    let authorization = bearer("agent");
    let headers = [JSON[0], ("authorization", authorization.as_str())];
    let stream = json!({"namespace": namespace, "owner": owner});
    let body = json!({"streams": [{"stream": stream, "values": [["10000000000", owner]]}]});
    let answer = server
        .post("/loki/api/v1/push", &headers, body.to_string())
        .await;
    assert_eq!(answer.status, 204, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_shows_another_namespace() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(folder.path(), TOKENS, &[]).await;
    write(
        &server,
        &[
            (
                &[
                    ("__name__", SECRET),
                    ("namespace", "shop"),
                    ("owner", SECRET),
                ],
                &[(10_000, 1.0)],
            ),
            (
                &[("__name__", "m"), ("namespace", "cart"), ("owner", "cart")],
                &[(10_000, 1.0)],
            ),
            (&[("__name__", "m"), ("owner", "node")], &[(10_000, 1.0)]),
        ],
    )
    .await;
    push(&server, "shop", SECRET).await;
    push(&server, "cart", "cart").await;
    let mut n_asked = 0;
    for (path, query, is_shown) in READS {
        let url = url(path, query);
        if right_of(path, true) != "read" {
            let answer = ask(&server, "cart", Method::GET, &url).await;
            assert_eq!(answer.status, 403, "{url}: {}", answer.text());
            continue;
        }
        n_asked += 1;
        for (who, is_theirs) in [("viewer", true), ("shop", true), ("cart", false)] {
            let answer = ask(&server, who, Method::GET, &url).await;
            assert_eq!(answer.status, 200, "{who} {url}: {}", answer.text());
            let shows = answer.text().contains(SECRET);
            assert_eq!(
                shows,
                *is_shown && is_theirs,
                "{who} {url}: {}",
                answer.text()
            );
        }
    }
    assert!(n_asked > 20, "{n_asked}");
    // No query reaches over: neither by naming the namespace, nor by naming none.
    for query in [
        "query={namespace=\"shop\"}&time=10",
        "query={namespace=~\"shop|cart\"}&time=10",
        "query={namespace!=\"cart\",owner!=\"\"}&time=10",
        "query={namespace=\"\",owner!=\"\"}&time=10",
        "query=sum by(owner)({owner!=\"\"})&time=10",
    ] {
        let answer = ask(&server, "cart", Method::GET, &url("/api/v1/query", query))
            .await
            .json();
        let found = answer["data"]["result"].to_string();
        assert!(
            found == "[]" || (found.contains("cart") && !found.contains(SECRET)),
            "{query}: {found}"
        );
    }
    let names = ask(
        &server,
        "cart",
        Method::GET,
        "/api/v1/label/__name__/values",
    )
    .await
    .json();
    assert_eq!(names["data"], json!(["m"]));
    let me = ask(&server, "cart", Method::GET, "/api/v1/access/me")
        .await
        .json();
    assert_eq!(me["data"]["rights"], json!(["read"]));
    assert_eq!(me["data"]["namespaces"], json!(["cart"]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_begins_and_ends_on_the_page_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(folder.path(), TOKENS, &[]).await;
    let page = ("x-requested-with", "kansoku");
    let form = ("content-type", "application/x-www-form-urlencoded");
    let login = async |headers: &[(&str, &str)], body: &'static str| {
        server.post("/api/v1/access/login", headers, body).await
    };
    let me = server.get("/api/v1/access/me").await.json();
    assert_eq!(
        me["data"],
        json!({"enabled": true, "signedIn": false, "rights": []})
    );
    for (headers, body, status) in [
        (&[form][..], "user=viewer&password=secret", 403),
        (&[form, page], "user=viewer&password=wrong", 401),
        (&[form, page], "user=nobody&password=secret", 401),
        (&[form, page], "user=viewer:secret&password=", 401),
        (&[form, page], "token=t-nobody", 401),
        (&[form, page], "token=t-expired", 401),
        (&[form, page], "", 401),
    ] {
        let answer = login(headers, body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        assert_eq!(answer.header("set-cookie"), "", "{body}");
    }
    for (body, role) in [
        ("user=editor&password=secret", "editor"),
        ("token=t-viewer", "viewer"),
    ] {
        let answer = login(&[form, page], body).await;
        assert_eq!(answer.json()["data"]["role"], role);
        let cookie = answer.header("set-cookie");
        assert!(
            cookie.ends_with("; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"),
            "{cookie}"
        );
        let cookie = ("cookie", cookie.split(';').next().expect("a pair"));
        for (method, headers, status) in [
            (Method::GET, &[cookie][..], 200),
            (Method::POST, &[cookie], 403),
            (Method::POST, &[cookie, page], 200),
        ] {
            let answer = server.send(method, "/api/v1/labels", headers, "").await;
            assert_eq!(answer.status, status, "{}", answer.text());
        }
        let answer = server
            .post("/api/v1/access/logout", &[cookie, page], "")
            .await;
        assert!(answer.header("set-cookie").contains("Max-Age=0"));
        let answer = server
            .send(Method::GET, "/api/v1/labels", &[cookie], "")
            .await;
        assert_eq!(answer.status, 401, "{}", answer.text());
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_holds_at_once_and_a_mistake_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(folder.path(), &["a: role: viewer"], &[]).await;
    let status = async |who: &str| {
        ask(&server, who, Method::GET, "/api/v1/labels")
            .await
            .status
    };
    assert_eq!((status("a").await, status("b").await), (200, 401));
    file(folder.path(), &["b: role: viewer"]);
    assert_eq!((status("a").await, status("b").await), (401, 200));
    std::fs::write(folder.path().join("access.yaml"), "tokens: {a: 1}").expect("written");
    assert_eq!((status("a").await, status("b").await), (401, 200));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_noted_in_the_file_and_in_the_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(folder.path(), TOKENS, &[]).await;
    let delete = url("/api/v1/admin/tsdb/delete_series", "match[]={owner=\"x\"}");
    for (who, status) in [("viewer", 403), ("editor", 204), ("nobody", 401)] {
        let answer = ask(&server, who, Method::POST, &delete).await;
        assert_eq!(answer.status, status, "{who}: {}", answer.text());
    }
    assert_eq!(
        ask(&server, "viewer", Method::GET, "/api/v1/labels")
            .await
            .status,
        200
    );
    let form = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("x-requested-with", "kansoku"),
    ];
    let body = "user=admin&password=mistaken";
    assert_eq!(
        server
            .post("/api/v1/access/login", &form, body)
            .await
            .status,
        401
    );
    let noted = ask(&server, "admin", Method::GET, "/api/v1/access/audit")
        .await
        .json();
    let lines = noted["data"].as_array().expect("lines").clone();
    let shown: Vec<String> = lines
        .iter()
        .map(|l| {
            format!(
                "{} {} {} {}",
                l["who"], l["action"], l["result"], l["detail"]
            )
            .replace('"', "")
        })
        .collect();
    assert_eq!(
        shown,
        [
            "null sign_in refused admin",
            "null POST /api/v1/admin/tsdb/delete_series refused null",
            "editor POST /api/v1/admin/tsdb/delete_series done match[]={owner=\\x\\}",
            "viewer POST /api/v1/admin/tsdb/delete_series refused null",
        ]
    );
    assert_eq!(lines[2]["from"], "127.0.0.1");
    assert!(
        lines[3]["error"]
            .as_str()
            .expect("text")
            .contains("role viewer")
    );
    let one = ask(
        &server,
        "admin",
        Method::GET,
        "/api/v1/access/audit?limit=1",
    )
    .await
    .json();
    assert_eq!(one["data"].as_array().map(Vec::len), Some(1));
    let query = url(
        "/loki/api/v1/query_range",
        "query={job=\"kansoku-audit\"} | json | who=\"editor\"",
    );
    for (who, n_streams) in [("admin", 1), ("editor", 0), ("viewer", 0)] {
        let stored = ask(&server, who, Method::GET, &query).await;
        let found = stored.json()["data"]["result"].as_array().map(Vec::len);
        assert_eq!(found, Some(n_streams), "{who}: {}", stored.text());
        let jobs = ask(&server, who, Method::GET, "/loki/api/v1/label/job/values").await;
        assert_eq!(
            jobs.text().contains("kansoku-audit"),
            n_streams == 1,
            "{who}"
        );
    }
    let text = serde_json::to_string(&lines).expect("json");
    assert!(
        !text.contains("mistaken") && !text.contains("t-editor"),
        "{text}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn off_nobody_is_asked() {
    let server = Server::start_with(FLAGS).await;
    assert_eq!(server.get("/api/v1/labels").await.status, 200);
    let me = server.get("/api/v1/access/me").await.json();
    assert_eq!(me["data"]["enabled"], false);
    assert_eq!(
        me["data"]["rights"].as_array().map(Vec::len),
        Some(Right::NAMED.len())
    );
    assert_eq!(server.post("/-/reload", &[], "").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn rules_of_objectives_are_for_editors() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(folder.path(), TOKENS, &[]).await;
    let body = json!({
        "title": "t", "events": "a{x=\"$window\"}", "total": "b{x=\"$window\"}", "evaluate": true,
    });
    for (who, status) in [("viewer", 403), ("cart", 403), ("editor", 200)] {
        let authorization = bearer(who);
        let headers = [("authorization", authorization.as_str())];
        let path = "/api/v1/slos/a";
        let answer = server
            .send(Method::PUT, path, &headers, body.to_string())
            .await;
        assert_eq!(answer.status, status, "{who}");
    }
}
