//! `prometheus_exporter`: serves the latest metrics for Prometheus to scrape, on a port of its own.
//!
//! The last value of each series is kept; a series that gets no value for a while is forgotten. It
//! listens from the first metrics on, so that checking a configuration takes no port.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use kansoku_model::{
    ConfigError, Labels, MetricBatch, OptionKind, OptionSpec, Plugin, RecordBatch, Settings,
};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::prometheus_remote_write::{added_labels, metrics, with_added};
use crate::{Outcome, Output, OutputEnvironment, OutputPlugin, Request, SendFuture};

/// The plugin.
pub const PLUGIN: OutputPlugin = Plugin {
    name: "prometheus_exporter",
    about: "Serves the latest metrics for Prometheus to scrape.",
    options: &[
        OptionSpec::new("host", OptionKind::Text, "0.0.0.0", "address to listen on"),
        OptionSpec::new("port", OptionKind::Int, "2021", "port to listen on"),
        OptionSpec::new(
            "add_label",
            OptionKind::Pair,
            "",
            "a label for every series: NAME VALUE",
        )
        .repeated(),
        OptionSpec::new(
            "add_timestamp",
            OptionKind::Bool,
            "off",
            "write the time of each sample",
        ),
    ],
    example: "[OUTPUT]\n    Name   prometheus_exporter\n    Match  metrics\n    Port   2021\n",
    build,
};

/// The most series that are kept; new ones are refused then.
const SERIES_MAX: usize = 500_000;
/// A series without a new value is forgotten after this.
const EXPIRY: Duration = Duration::from_secs(600);
/// Scrapes at a time.
const CONNECTIONS_MAX: usize = 32;
/// The longest that a scrape may take to send its headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

struct Series {
    value: f64,
    time_ms: i64,
    seen: Instant,
}

#[derive(Default)]
struct Family {
    kind: &'static str,
    help: String,
    /// With `__name__`, which has the suffix; in order of arrival.
    series: Vec<(Labels, Series)>,
    index: HashMap<Labels, usize>,
}

#[derive(Default)]
struct Table {
    families: std::collections::BTreeMap<String, Family>,
    n_series: usize,
}

struct Exporter {
    address: SocketAddr,
    labels: Vec<(String, String)>,
    with_time: bool,
    /// Held while a batch is taken in or a scrape is written.
    table: Arc<Mutex<Table>>,
    /// The server once it listens.
    server: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

fn build(settings: &Settings, _: &OutputEnvironment) -> Result<Box<dyn Output>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let host = settings.text("host", "0.0.0.0").trim_matches(['[', ']']);
    let port = settings.int("port", 2021)?;
    let fail = |key: &str, message: String| {
        let place = settings.get(key).map_or(&settings.place, |s| &s.place);
        ConfigError::new(place, message)
    };
    let ip = match host {
        "localhost" => "127.0.0.1",
        host => host,
    };
    let ip = ip.parse().map_err(|_| {
        fail(
            "host",
            format!("'host' is '{host}', but must be an address of this machine"),
        )
    })?;
    let port = u16::try_from(port)
        .map_err(|_| fail("port", format!("'port' is {port}, but must be 1 to 65535")))?;
    Ok(Box::new(Exporter {
        address: SocketAddr::new(ip, port),
        labels: added_labels(settings),
        with_time: settings.bool("add_timestamp", false)?,
        table: Arc::default(),
        server: tokio::sync::Mutex::new(None),
    }))
}

impl Table {
    /// Takes in a batch; how many series found no room.
    fn take(&mut self, batch: &MetricBatch, added: &[(String, String)], now: Instant) -> usize {
        let mut refused = 0;
        let batch = &*batch.with_classic_histograms();
        for point in batch.points() {
            let of = batch.family_of(point);
            let name = batch.text(of.name);
            if !self.families.contains_key(name) {
                self.families.insert(name.to_owned(), Family::default());
            }
            let family = self.families.get_mut(name).expect("just made");
            family.kind = of.kind.as_str();
            if family.help != batch.text(of.help) {
                batch.text(of.help).clone_into(&mut family.help);
            }
            let labels = with_added(batch.series_of(point), added);
            let series = Series {
                value: point.value,
                time_ms: batch.time_of(point),
                seen: now,
            };
            if let Some(&at) = family.index.get(&labels) {
                family.series[at].1 = series;
            } else if self.n_series < SERIES_MAX {
                self.n_series += 1;
                family.index.insert(labels.clone(), family.series.len());
                family.series.push((labels, series));
            } else {
                refused += 1;
            }
        }
        refused
    }

    fn expire(&mut self, now: Instant) {
        let is_fresh = |s: &Series| now.saturating_duration_since(s.seen) < EXPIRY;
        for family in self.families.values_mut() {
            if family.series.iter().all(|(_, s)| is_fresh(s)) {
                continue;
            }
            family.series.retain(|(_, s)| is_fresh(s));
            let places = family.series.iter().enumerate();
            family.index = places
                .map(|(at, (labels, _))| (labels.clone(), at))
                .collect();
        }
        self.families.retain(|_, family| !family.series.is_empty());
        self.n_series = self.families.values().map(|f| f.series.len()).sum();
    }

    fn text(&self, with_time: bool) -> String {
        use std::fmt::Write;
        let mut out = String::new();
        for (name, family) in &self.families {
            let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {}", family.kind);
            for (labels, series) in &family.series {
                out.push_str(labels.metric_name());
                let mut separator = '{';
                for (label, value) in labels.iter().filter(|(l, _)| *l != "__name__") {
                    let _ = write!(out, "{separator}{label}=");
                    let _ = kansoku_model::labels::write_quoted(&mut out, value);
                    separator = ',';
                }
                if separator == ',' {
                    out.push('}');
                }
                out.push(' ');
                write_number(&mut out, series.value);
                if with_time {
                    let _ = write!(out, " {}", series.time_ms);
                }
                out.push('\n');
            }
        }
        out
    }
}

fn write_number(out: &mut String, value: f64) {
    use std::fmt::Write;
    let _ = if value.is_nan() {
        write!(out, "NaN")
    } else if value.is_infinite() {
        write!(out, "{}Inf", if value > 0.0 { '+' } else { '-' })
    } else if value.abs() < 1e-5 && value != 0.0 || value.abs() >= 1e21 {
        write!(out, "{value:e}")
    } else {
        write!(out, "{value}")
    };
}

impl Exporter {
    async fn listen(&self) -> Result<(), String> {
        let mut server = self.server.lock().await;
        if server.is_some() {
            return Ok(());
        }
        let listener = TcpListener::bind(self.address)
            .await
            .map_err(|e| format!("cannot listen on {}: {e}", self.address))?;
        let (table, with_time) = (self.table.clone(), self.with_time);
        *server = Some(tokio::spawn(serve(listener, table, with_time)));
        Ok(())
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Some(server) = self.server.get_mut() {
            server.abort();
        }
    }
}

async fn serve(listener: TcpListener, table: Arc<Mutex<Table>>, with_time: bool) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: nothing to do but to wait for some.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let table = table.clone();
        tokio::spawn(async move {
            let answer = service_fn(move |request: hyper::Request<Incoming>| {
                std::future::ready(Ok::<_, Infallible>(answer(
                    request.uri().path(),
                    &table,
                    with_time,
                )))
            });
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), answer)
                .await;
            drop(permit);
        });
    }
}

fn answer(path: &str, table: &Mutex<Table>, with_time: bool) -> Response<Full<Bytes>> {
    let (status, kind, text) = match path {
        "/metrics" => {
            let mut table = table.lock().expect("nobody panics with the lock");
            table.expire(Instant::now());
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            (StatusCode::OK, kind, table.text(with_time))
        }
        "/" => (
            StatusCode::OK,
            "text/plain",
            "metrics are at /metrics\n".to_owned(),
        ),
        _ => (StatusCode::NOT_FOUND, "text/plain", String::new()),
    };
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, kind)
        .body(Full::from(text))
        .expect("a valid answer")
}

impl Output for Exporter {
    fn send<'a>(&'a self, request: Request<'a>) -> SendFuture<'a> {
        Box::pin(async move {
            if let Err(reason) = self.listen().await {
                return Outcome::Retry {
                    reason,
                    after: None,
                };
            }
            let now = Instant::now();
            let mut table = self.table.lock().expect("nobody panics with the lock");
            let take = |b| table.take(b, &self.labels, now);
            let refused: usize = metrics(request.batches).map(take).sum();
            if refused > 0 {
                table.expire(now);
                return Outcome::Rejected {
                    reason: format!("{refused} series found no room: {SERIES_MAX} are kept"),
                };
            }
            Outcome::Delivered
        })
    }

    fn takes(&self, batch: &RecordBatch) -> bool {
        matches!(batch, RecordBatch::Metrics(_))
    }
}

#[cfg(test)]
mod tests {
    use kansoku_model::MetricKind;

    use super::*;

    #[test]
    fn the_last_value_of_each_series_is_shown_until_it_expires() {
        let mut b = MetricBatch::new("m".into(), Arc::default(), 1000);
        let load = b.family("load", MetricKind::Gauge, "a\nb");
        b.sample(load, &[("cpu", "\"0\"")], 0.5);
        let n = b.family("n_total", MetricKind::Counter, "count");
        b.sample(n, &[], 1e21);
        let added = [("zone".to_owned(), "a".to_owned())];
        let mut table = Table::default();
        let now = Instant::now();
        assert_eq!(table.take(&b, &added, now), 0);
        let later = now + EXPIRY / 2;
        let mut again = MetricBatch::new("m".into(), Arc::default(), 2000);
        let load = again.family("load", MetricKind::Gauge, "a\nb");
        again.sample(load, &[("cpu", "\"0\"")], 2.0);
        table.take(&again, &added, later);
        assert_eq!(
            table.text(false),
            "# HELP load a\\nb\n# TYPE load gauge\nload{cpu=\"\\\"0\\\"\",zone=\"a\"} 2\n\
             # HELP n_total count\n# TYPE n_total counter\nn_total{zone=\"a\"} 1e21\n"
        );
        table.expire(now + EXPIRY);
        let text = table.text(true);
        assert!(
            text.ends_with("} 2 2000\n") && !text.contains("n_total"),
            "{text}"
        );
        assert_eq!(table.n_series, 1);
        table.expire(later + EXPIRY);
        assert_eq!((table.text(false).as_str(), table.n_series), ("", 0));
    }
}
