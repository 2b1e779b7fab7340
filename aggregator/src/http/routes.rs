//! All paths, in one hand-written list: what each takes, whether it needs the store, who answers.
//!
//! The one rule: a path that is not listed here does not exist.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use hyper::{Method, StatusCode};

use super::{Call, Reply, form};
use crate::access::{self, Right};
use crate::api::{loki, prometheus, status};
use crate::app::App;
use crate::documents::{self, Kind};
use crate::ingest::{self, loki::JsonForm, otlp::Signal};
use crate::ui;

/// What a handler gives.
pub type Answer = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// The answer of a handler that waits for nothing.
fn now(reply: Reply) -> Answer {
    Box::pin(std::future::ready(reply))
}

/// What a path takes beside its URL.
#[derive(Clone, Copy)]
pub enum Accepts {
    /// GET only.
    Nothing,
    /// GET, or POST with a form.
    Form,
    /// These methods, POST and PUT perhaps with a form.
    Change(&'static str),
    /// POST with a body of at most so many bytes, which is stored.
    Body(fn(&App) -> usize),
    /// POST with a body of at most so many bytes, which asks.
    Question(fn(&App) -> usize),
    /// POST, PUT or DELETE with a body of at most so many bytes, which is stored.
    Group(fn(&App) -> usize),
    /// GET, PUT with a body of at most so many bytes, which is kept, or DELETE.
    Document(fn(&App) -> usize),
}

impl Accepts {
    /// The handler reads the body itself.
    #[must_use]
    pub fn is_body(self) -> bool {
        matches!(
            self,
            Self::Body(_) | Self::Question(_) | Self::Group(_) | Self::Document(_)
        )
    }
}

/// In whose words errors are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    /// Plain text.
    Plain,
    /// Prometheus's JSON envelope.
    Prometheus,
}

/// One path.
pub struct Route {
    /// `{}` stands for one segment, which the handler gets unescaped; `{...}` at the end for all that follows, as it is.
    pub path: &'static str,
    pub accepts: Accepts,
    /// It is about data: it needs the store to be open, and where tenants are on it needs one.
    pub needs_store: bool,
    /// Who may call it.
    pub right: Right,
    pub voice: Voice,
    pub handle: fn(Arc<App>, Call) -> Answer,
}

impl Route {
    /// What a request with this method needs: where a path that changes something takes GET as well, that only
    /// shows.
    #[must_use]
    pub fn right(&self, method: &Method) -> Right {
        match (self.right, self.accepts) {
            // What people keep holds questions, not data.
            (Right::Change, Accepts::Document(_)) if access::is_safe(method) => Right::Read,
            (Right::Change, _) if access::is_safe(method) => Right::ReadAll,
            (right, _) => right,
        }
    }
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.path)
    }
}

const fn prometheus_route(
    path: &'static str,
    right: Right,
    accepts: Accepts,
    handle: fn(Arc<App>, Call) -> Answer,
) -> Route {
    Route {
        path,
        accepts,
        needs_store: true,
        right,
        voice: Voice::Prometheus,
        handle,
    }
}

/// What is not about data, and answers before the store is open.
const fn status_route(
    path: &'static str,
    right: Right,
    handle: fn(Arc<App>, Call) -> Answer,
) -> Route {
    Route {
        path,
        accepts: Accepts::Nothing,
        needs_store: false,
        right,
        voice: Voice::Prometheus,
        handle,
    }
}

const fn loki_route(
    path: &'static str,
    right: Right,
    handle: fn(Arc<App>, Call) -> Answer,
) -> Route {
    Route {
        path,
        accepts: Accepts::Form,
        needs_store: true,
        right,
        voice: Voice::Plain,
        handle,
    }
}

const fn ingest_route(
    path: &'static str,
    max_bytes: fn(&App) -> usize,
    handle: fn(Arc<App>, Call) -> Answer,
) -> Route {
    Route {
        path,
        accepts: Accepts::Body(max_bytes),
        needs_store: true,
        right: Right::Ingest,
        voice: Voice::Plain,
        handle,
    }
}

const fn otlp_route(path: &'static str, handle: fn(Arc<App>, Call) -> Answer) -> Route {
    ingest_route(path, ingest::max_bytes, handle)
}

fn otlp_logs(app: Arc<App>, call: Call) -> Answer {
    Box::pin(ingest::otlp::receive(app, call, Signal::Logs))
}

fn otlp_metrics(app: Arc<App>, call: Call) -> Answer {
    Box::pin(ingest::otlp::receive(app, call, Signal::Metrics))
}

const fn plain_route(
    path: &'static str,
    right: Right,
    handle: fn(Arc<App>, Call) -> Answer,
) -> Route {
    Route {
        path,
        accepts: Accepts::Nothing,
        needs_store: false,
        right,
        voice: Voice::Plain,
        handle,
    }
}

/// What paths of Prometheus take that change something.
const CHANGE: Accepts = Accepts::Change("POST, PUT, OPTIONS");

/// What paths of kept documents take.
const DOCUMENT: Accepts = Accepts::Document(documents::api::max_bytes);

/// All of them; the first match wins.
pub const ROUTES: &[Route] = &[
    // ingest
    ingest_route("/api/v1/frames", ingest::frames::max_bytes, |a, c| {
        Box::pin(ingest::frames::receive(a, c))
    }),
    ingest_route("/api/v1/write", ingest::max_bytes, |a, c| {
        Box::pin(ingest::remote_write::receive(a, c))
    }),
    ingest_route("/loki/api/v1/push", ingest::max_bytes, |a, c| {
        Box::pin(ingest::loki::receive(a, c, JsonForm::Today))
    }),
    ingest_route("/api/prom/push", ingest::max_bytes, |a, c| {
        Box::pin(ingest::loki::receive(a, c, JsonForm::Legacy))
    }),
    Route {
        path: "/metrics/{...}",
        accepts: Accepts::Group(ingest::max_bytes),
        needs_store: true,
        right: Right::Ingest,
        voice: Voice::Plain,
        handle: |a, c| Box::pin(ingest::pushgateway::receive(a, c)),
    },
    otlp_route("/otlp/v1/logs", otlp_logs),
    otlp_route("/v1/logs", otlp_logs),
    otlp_route("/api/v1/otlp/v1/metrics", otlp_metrics),
    otlp_route("/v1/metrics", otlp_metrics),
    // Prometheus
    prometheus_route("/api/v1/query", Right::Read, Accepts::Form, |a, c| {
        Box::pin(prometheus::query::instant(a, c))
    }),
    prometheus_route("/api/v1/query_range", Right::Read, Accepts::Form, |a, c| {
        Box::pin(prometheus::query::range(a, c))
    }),
    prometheus_route("/api/v1/explain", Right::Read, Accepts::Form, |a, c| {
        Box::pin(prometheus::query::explain(a, c))
    }),
    prometheus_route(
        "/api/v1/format_query",
        Right::Read,
        Accepts::Form,
        |a, c| now(prometheus::query::format(&a, &c)),
    ),
    prometheus_route("/api/v1/series", Right::Read, Accepts::Form, |a, c| {
        Box::pin(prometheus::labels::series(a, c))
    }),
    prometheus_route("/api/v1/labels", Right::Read, Accepts::Form, |a, c| {
        Box::pin(prometheus::labels::names(a, c))
    }),
    prometheus_route(
        "/api/v1/label/{}/values",
        Right::Read,
        Accepts::Nothing,
        |a, c| Box::pin(prometheus::labels::values(a, c)),
    ),
    prometheus_route("/api/v1/metadata", Right::Read, Accepts::Nothing, |a, c| {
        Box::pin(prometheus::labels::metadata(a, c))
    }),
    Route {
        path: "/api/v1/read",
        accepts: Accepts::Question(|_| prometheus::remote_read::REQUEST_MAX_BYTES),
        needs_store: true,
        right: Right::Read,
        voice: Voice::Plain,
        handle: |a, c| Box::pin(prometheus::remote_read::receive(a, c)),
    },
    Route {
        path: "/federate",
        accepts: Accepts::Nothing,
        needs_store: true,
        right: Right::Read,
        voice: Voice::Plain,
        handle: |a, c| Box::pin(prometheus::federate::federate(a, c)),
    },
    prometheus_route(
        "/api/v1/query_exemplars",
        Right::Read,
        Accepts::Form,
        |a, c| Box::pin(prometheus::exemplars::query(a, c)),
    ),
    prometheus_route("/api/v1/parse_query", Right::Read, Accepts::Form, |a, c| {
        now(prometheus::parse_query::answer(&a, &c))
    }),
    prometheus_route("/api/v1/targets", Right::Read, Accepts::Nothing, |a, c| {
        Box::pin(prometheus::targets::targets(a, c))
    }),
    prometheus_route(
        "/api/v1/targets/metadata",
        Right::Read,
        Accepts::Nothing,
        |a, c| Box::pin(prometheus::targets::metadata(a, c)),
    ),
    prometheus_route(
        "/api/v1/scrape_pools",
        Right::Read,
        Accepts::Nothing,
        |a, c| Box::pin(prometheus::targets::scrape_pools(a, c)),
    ),
    status_route("/api/v1/scrape_pools/config", Right::ReadAll, |a, c| {
        now(prometheus::scrape_configs::config(&a, &c))
    }),
    status_route("/api/v1/targets/relabel_steps", Right::ReadAll, |a, c| {
        now(prometheus::scrape_configs::relabel_steps(&a, &c))
    }),
    status_route("/api/v1/features", Right::Read, |a, c| {
        now(prometheus::features::features(&a, &c))
    }),
    status_route("/api/v1/notifications", Right::ReadAll, |a, c| {
        now(prometheus::notifications::list(&a, &c))
    }),
    status_route("/api/v1/notifications/live", Right::ReadAll, |a, c| {
        now(prometheus::notifications::live(&a, &c))
    }),
    status_route("/api/v1/status/self_metrics", Right::ReadAll, |a, c| {
        now(prometheus::self_metrics::answer(&a, &c))
    }),
    status_route("/api/v1/status/walreplay", Right::Read, |a, c| {
        now(prometheus::status::wal_replay(&a, &c))
    }),
    prometheus_route(
        "/api/v1/status/tsdb/blocks",
        Right::ReadAll,
        Accepts::Nothing,
        |a, c| Box::pin(prometheus::tsdb::blocks(a, c)),
    ),
    prometheus_route("/api/v1/rules", Right::ReadAll, Accepts::Nothing, |a, c| {
        now(prometheus::rules::rules(&a, &c))
    }),
    prometheus_route(
        "/api/v1/alerts",
        Right::ReadAll,
        Accepts::Nothing,
        |a, c| now(prometheus::rules::alerts(&a, &c)),
    ),
    prometheus_route(
        "/api/v1/alertmanagers",
        Right::ReadAll,
        Accepts::Nothing,
        |a, c| now(prometheus::rules::alertmanagers(&a, &c)),
    ),
    prometheus_route(
        "/prometheus/api/v1/rules",
        Right::ReadAll,
        Accepts::Nothing,
        |a, c| now(prometheus::rules::loki_rules(&a, &c)),
    ),
    prometheus_route(
        "/prometheus/api/v1/alerts",
        Right::ReadAll,
        Accepts::Nothing,
        |a, c| now(prometheus::rules::loki_alerts(&a, &c)),
    ),
    loki_route("/loki/api/v1/rules", Right::ReadAll, |a, c| {
        now(prometheus::rules::loki_groups(&a, &c))
    }),
    prometheus_route(
        "/api/v1/status/buildinfo",
        Right::Read,
        Accepts::Nothing,
        |a, c| now(prometheus::status::build_info(&a, &c)),
    ),
    prometheus_route(
        "/api/v1/status/runtimeinfo",
        Right::ReadAll,
        Accepts::Nothing,
        |a, c| now(prometheus::status::runtime_info(&a, &c)),
    ),
    prometheus_route(
        "/api/v1/status/flags",
        Right::ReadAll,
        Accepts::Nothing,
        |a, c| now(prometheus::status::flags(&a, &c)),
    ),
    prometheus_route(
        "/api/v1/status/config",
        Right::Admin,
        Accepts::Nothing,
        |a, c| now(prometheus::status::config(&a, &c)),
    ),
    prometheus_route(
        "/api/v1/status/tsdb",
        Right::ReadAll,
        Accepts::Nothing,
        |a, c| Box::pin(prometheus::tsdb::counts(a, c)),
    ),
    prometheus_route(
        "/api/v1/admin/tsdb/delete_series",
        Right::Change,
        CHANGE,
        |a, c| Box::pin(prometheus::admin::delete_series(a, c)),
    ),
    prometheus_route(
        "/api/v1/admin/tsdb/clean_tombstones",
        Right::Admin,
        CHANGE,
        |a, c| Box::pin(prometheus::admin::clean_tombstones(a, c)),
    ),
    prometheus_route(
        "/api/v1/admin/tsdb/snapshot",
        Right::Admin,
        CHANGE,
        |a, c| Box::pin(prometheus::admin::snapshot(a, c)),
    ),
    prometheus_route(
        "/api/v1/admin/tsdb/compact",
        Right::Admin,
        CHANGE,
        |a, c| Box::pin(prometheus::admin::compact(a, c)),
    ),
    // Loki
    Route {
        path: "/loki/api/v1/delete",
        accepts: Accepts::Change("GET, POST, PUT, DELETE, OPTIONS"),
        needs_store: true,
        right: Right::Change,
        voice: Voice::Plain,
        handle: |a, c| Box::pin(loki::delete::answer(a, c)),
    },
    loki_route("/loki/api/v1/query", Right::Read, |a, c| {
        Box::pin(loki::query::instant(a, c))
    }),
    loki_route("/loki/api/v1/query_range", Right::Read, |a, c| {
        Box::pin(loki::query::range(a, c))
    }),
    loki_route("/loki/api/v1/labels", Right::Read, |a, c| {
        Box::pin(loki::labels::names(a, c))
    }),
    loki_route("/loki/api/v1/label", Right::Read, |a, c| {
        Box::pin(loki::labels::names(a, c))
    }),
    loki_route("/loki/api/v1/label/{}/values", Right::Read, |a, c| {
        Box::pin(loki::labels::values(a, c))
    }),
    loki_route("/loki/api/v1/series", Right::Read, |a, c| {
        Box::pin(loki::labels::series(a, c))
    }),
    loki_route("/loki/api/v1/index/stats", Right::Read, |a, c| {
        Box::pin(loki::labels::index_stats(a, c))
    }),
    loki_route("/loki/api/v1/index/shards", Right::Read, |a, c| {
        Box::pin(loki::labels::index_shards(a, c))
    }),
    loki_route("/loki/api/v1/index/volume", Right::Read, |a, c| {
        Box::pin(loki::volume::volume(a, c))
    }),
    loki_route("/loki/api/v1/index/volume_range", Right::Read, |a, c| {
        Box::pin(loki::volume::volume_range(a, c))
    }),
    loki_route("/loki/api/v1/detected_labels", Right::Read, |a, c| {
        Box::pin(loki::detected::labels(a, c))
    }),
    loki_route("/loki/api/v1/detected_fields", Right::Read, |a, c| {
        Box::pin(loki::detected::fields(a, c))
    }),
    loki_route(
        "/loki/api/v1/detected_field/{}/values",
        Right::Read,
        |a, c| Box::pin(loki::detected::values(a, c)),
    ),
    loki_route("/loki/api/v1/patterns", Right::Read, |a, c| {
        Box::pin(loki::detected::patterns(a, c))
    }),
    Route {
        path: "/loki/api/v1/format_query",
        accepts: Accepts::Form,
        needs_store: false,
        right: Right::Read,
        voice: Voice::Plain,
        handle: |a, c| now(loki::detected::format_query(&a, &c)),
    },
    loki_route("/api/prom/query", Right::Read, |a, c| {
        Box::pin(loki::legacy::query(a, c))
    }),
    loki_route("/api/prom/label", Right::Read, |a, c| {
        Box::pin(loki::legacy::label_names(a, c))
    }),
    loki_route("/api/prom/label/{}/values", Right::Read, |a, c| {
        Box::pin(loki::legacy::label_values(a, c))
    }),
    loki_route("/api/prom/series", Right::Read, |a, c| {
        Box::pin(loki::labels::series(a, c))
    }),
    loki_route("/loki/api/v1/tail", Right::Read, |a, c| {
        now(loki::tail::tail(&a, c))
    }),
    plain_route("/loki/api/v1/status/buildinfo", Right::Read, |a, c| {
        now(loki::meta::build_info(&a, &c))
    }),
    Route {
        path: "/loki/api/v1/drilldown-limits",
        accepts: Accepts::Nothing,
        needs_store: true,
        right: Right::Read,
        voice: Voice::Plain,
        handle: |a, c| now(loki::meta::drilldown_limits(&a, &c)),
    },
    Route {
        path: "/config/tenant/v1/limits",
        accepts: Accepts::Nothing,
        needs_store: true,
        right: Right::Read,
        voice: Voice::Plain,
        handle: |a, c| now(loki::meta::tenant_limits(&a, &c)),
    },
    plain_route("/config", Right::ReadAll, |a, c| {
        now(loki::meta::config(&a, &c))
    }),
    // what people keep
    prometheus_route(
        "/api/v1/dashboards",
        Right::Read,
        Accepts::Nothing,
        |a, c| Box::pin(documents::api::list(a, c, Kind::Dashboard)),
    ),
    prometheus_route(
        "/api/v1/dashboards/{}/versions",
        Right::Read,
        Accepts::Nothing,
        |a, c| Box::pin(documents::api::versions(a, c, Kind::Dashboard)),
    ),
    prometheus_route("/api/v1/dashboards/{}", Right::Change, DOCUMENT, |a, c| {
        Box::pin(documents::api::one(a, c, Kind::Dashboard))
    }),
    prometheus_route("/api/v1/slos", Right::Read, Accepts::Nothing, |a, c| {
        Box::pin(documents::api::list(a, c, Kind::Slo))
    }),
    prometheus_route(
        "/api/v1/slos/{}/versions",
        Right::Read,
        Accepts::Nothing,
        |a, c| Box::pin(documents::api::versions(a, c, Kind::Slo)),
    ),
    prometheus_route("/api/v1/slos/{}", Right::Change, DOCUMENT, |a, c| {
        Box::pin(documents::api::one(a, c, Kind::Slo))
    }),
    // the aggregator itself
    Route {
        path: "/-/reload",
        accepts: CHANGE,
        needs_store: false,
        right: Right::Change,
        voice: Voice::Plain,
        handle: |a, _| Box::pin(status::reload(a)),
    },
    status_route("/api/v1/access/me", Right::Public, |a, c| {
        Box::pin(access::api::me(a, c))
    }),
    Route {
        path: "/api/v1/access/login",
        accepts: Accepts::Change("POST, OPTIONS"),
        needs_store: false,
        right: Right::Public,
        voice: Voice::Prometheus,
        handle: |a, c| Box::pin(access::api::login(a, c)),
    },
    Route {
        path: "/api/v1/access/logout",
        accepts: Accepts::Change("POST, OPTIONS"),
        needs_store: false,
        right: Right::Public,
        voice: Voice::Prometheus,
        handle: |a, c| Box::pin(access::api::logout(a, c)),
    },
    status_route("/api/v1/access/oidc", Right::Public, |a, _| {
        Box::pin(access::oidc::api::list(a))
    }),
    status_route("/api/v1/access/oidc/{}/login", Right::Public, |a, c| {
        Box::pin(access::oidc::api::login(a, c))
    }),
    status_route("/api/v1/access/oidc/{}/callback", Right::Public, |a, c| {
        Box::pin(access::oidc::api::callback(a, c))
    }),
    status_route("/api/v1/access/oidc/{}/keys", Right::Public, |a, c| {
        now(access::oidc::api::keys(&a, &c))
    }),
    Route {
        path: "/api/v1/access/oidc/{}/backchannel_logout",
        accepts: Accepts::Change("POST, OPTIONS"),
        needs_store: false,
        right: Right::Public,
        voice: Voice::Prometheus,
        handle: |a, c| Box::pin(access::oidc::logout::hear(a, c)),
    },
    status_route("/api/v1/access/audit", Right::Admin, |a, c| {
        Box::pin(access::api::audit(a, c))
    }),
    plain_route("/-/healthy", Right::Public, |a, c| {
        now(status::healthy(&a, &c))
    }),
    plain_route("/-/ready", Right::Public, |a, c| now(status::ready(&a, &c))),
    plain_route("/ready", Right::Public, |a, c| {
        now(status::ready_loki(&a, &c))
    }),
    plain_route("/metrics", Right::ReadAll, |a, c| {
        now(status::metrics(&a, &c))
    }),
];

/// What stands at a path.
pub enum Found {
    /// A route, and what stood where its path has `{}`.
    Route(&'static Route, String),
    /// A file of the web page.
    Page(ui::Asset),
    /// A CORS preflight of a known path.
    Options,
    /// A known path; the methods it takes.
    WrongMethod(&'static str),
    Nothing,
}

/// Looks a path up.
#[must_use]
pub fn find(method: &Method, path: &str) -> Found {
    for route in ROUTES {
        let Some(value) = matches(route.path, path) else {
            continue;
        };
        let allowed = match route.accepts {
            Accepts::Nothing => "GET, HEAD, OPTIONS",
            Accepts::Form => "GET, HEAD, POST, OPTIONS",
            Accepts::Body(_) | Accepts::Question(_) => "POST, OPTIONS",
            Accepts::Group(_) => "POST, PUT, DELETE, OPTIONS",
            Accepts::Document(_) => "GET, HEAD, PUT, DELETE, OPTIONS",
            Accepts::Change(methods) => methods,
        };
        if method == Method::OPTIONS {
            return Found::Options;
        }
        let fits = allowed.split(", ").any(|m| m == method.as_str());
        return if fits {
            Found::Route(route, value)
        } else {
            Found::WrongMethod(allowed)
        };
    }
    match ui::asset(path) {
        Some(asset) if method == Method::GET || method == Method::HEAD => Found::Page(asset),
        Some(_) => Found::WrongMethod("GET, HEAD"),
        None => Found::Nothing,
    }
}

/// The segment at `{}`, or the empty text when the pattern has none; `None` when it does not match.
fn matches(pattern: &str, path: &str) -> Option<String> {
    if let Some(before) = pattern.strip_suffix("{...}") {
        let rest = path.strip_prefix(before)?;
        return (!rest.is_empty()).then(|| rest.to_owned());
    }
    let Some((before, after)) = pattern.split_once("{}") else {
        return (pattern == path).then(String::new);
    };
    let segment = path.strip_prefix(before)?.strip_suffix(after)?;
    if segment.is_empty() || segment.contains('/') {
        return None;
    }
    form::unescape(segment, false).ok()
}

/// The answer of a route that needs the store before it is open.
#[must_use]
pub fn not_ready(route: &Route) -> Reply {
    match route.voice {
        Voice::Prometheus => prometheus::envelope::error(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "the store is being recovered; try again later",
        ),
        Voice::Plain => Reply::text(
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready: the store is being recovered; try again later",
        ),
    }
}

/// The answer to a request that could not be read, or is nobody's.
#[must_use]
pub fn refused(route: &Route, status: StatusCode, message: &str) -> Reply {
    match route.voice {
        Voice::Prometheus => prometheus::envelope::error(status, kind_of(status), message),
        Voice::Plain => Reply::text(status, message),
    }
}

/// The word of Prometheus' envelope for a request that is refused.
#[must_use]
pub fn kind_of(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "unauthorized",
        StatusCode::FORBIDDEN => "forbidden",
        _ => "bad_data",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_with_their_methods() {
        let cases = [
            ("GET", "/api/v1/query", "route "),
            ("POST", "/api/v1/query", "route "),
            ("PUT", "/api/v1/query", "GET, HEAD, POST, OPTIONS"),
            ("OPTIONS", "/api/v1/query", "options"),
            ("HEAD", "/-/ready", "route "),
            ("POST", "/-/ready", "GET, HEAD, OPTIONS"),
            ("GET", "/api/v1/write", "POST, OPTIONS"),
            ("GET", "/api/v1/label/job/values", "route job"),
            ("GET", "/api/v1/label/U__a%2Eb/values", "route U__a.b"),
            ("GET", "/api/v1/label//values", "nothing"),
            ("GET", "/api/v1/label/a/b/values", "nothing"),
            ("GET", "/api/v1/label/values", "nothing"),
            ("GET", "/loki/api/v1/label/%zz/values", "nothing"),
            ("PUT", "/api/v1/admin/tsdb/snapshot", "route "),
            ("GET", "/api/v1/admin/tsdb/snapshot", "POST, PUT, OPTIONS"),
            ("DELETE", "/loki/api/v1/delete", "route "),
            ("PUT", "/metrics/job/a%2Fb/x/y", "route job/a%2Fb/x/y"),
            ("GET", "/metrics/job/a", "POST, PUT, DELETE, OPTIONS"),
            ("GET", "/metrics", "route "),
            ("PUT", "/api/v1/dashboards/a", "route a"),
            ("GET", "/api/v1/dashboards/a/versions", "route a"),
            ("PUT", "/api/v1/dashboards", "GET, HEAD, OPTIONS"),
            ("GET", "/", "page"),
            ("DELETE", "/", "GET, HEAD"),
            ("GET", "/../etc/passwd", "nothing"),
        ];
        for (method, path, expected) in cases {
            let got = match find(&method.parse().unwrap(), path) {
                Found::Route(_, value) => format!("route {value}"),
                Found::Page(_) => "page".into(),
                Found::Options => "options".into(),
                Found::WrongMethod(allowed) => allowed.to_owned(),
                Found::Nothing => "nothing".into(),
            };
            assert_eq!(got, expected, "{method} {path}");
        }
    }
}
