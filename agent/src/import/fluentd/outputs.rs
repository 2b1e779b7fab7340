//! `<match>`: where the records go.

use std::rc::Rc;

use kansoku_parsers::config::fluentd::Element;

use super::params::Params;
use super::report::Report;
use super::routing::{self, Arrival, Routes};
use super::stores;
use super::written::Section;
use super::{Converter, origin};

/// An output that is being made.
pub(super) struct Made {
    pub output: Section,
    /// Filters for its records alone.
    pub filters: Vec<Section>,
    /// An upstream file of servers that take turns.
    pub upstream: Option<Section>,
}

impl Made {
    pub(super) fn new(name: &str, params: &Params<'_>) -> Self {
        Self {
            output: Section::plugin("OUTPUT", name, &origin(params.element)),
            filters: Vec::new(),
            upstream: None,
        }
    }
}

impl Converter {
    pub(super) fn output(&mut self, element: &Element, arrivals: &[Arrival], routes: &Routes<'_>) {
        match routing::kind(element).as_str() {
            "copy" => {
                let report = Rc::clone(&self.report);
                let params = Params::new(element, &report);
                params.ignore(&["deep_copy", "copy_mode"]);
                let stores: Vec<&Element> = params.elements("store").collect();
                params.finish();
                if stores.is_empty() {
                    params.lost("<match> of type copy has no <store>, without which Fluentd does not start");
                }
                let is_one = stores.len() == 1;
                for store in stores {
                    self.store(store, arrivals, routes, is_one);
                }
            }
            "roundrobin" => self.report.lost(
                &element.place,
                "<match> of type roundrobin: give one output an Upstream file with the servers, which take turns",
            ),
            _ => self.store(element, arrivals, routes, true),
        }
    }

    fn store(
        &mut self,
        element: &Element,
        arrivals: &[Arrival],
        routes: &Routes<'_>,
        is_only_one: bool,
    ) {
        let kind = routing::kind(element);
        // Routing has followed it.
        if kind == "relabel" {
            return;
        }
        let report = Rc::clone(&self.report);
        let made = self.make(element, &kind, &report);
        let Some(mut made) = made else { return };
        if let Some(level) = element.get("@log_level").and_then(|a| a.value.plain()) {
            made.output
                .set("Log_Level", if level == "fatal" { "error" } else { level });
        }
        if let Some(alias) = element.get("@id").and_then(|a| a.value.plain()) {
            made.output.set("Alias", alias);
        }
        if !made.filters.is_empty() && !is_only_one {
            self.report.differs(
                &element.place,
                "what this store adds to its records, the other stores' records get, too",
            );
        }
        for mut filter in made.filters {
            self.set_match(&mut filter, arrivals, routes, &element.place);
            self.filters.push(filter);
        }
        self.set_match(&mut made.output, arrivals, routes, &element.place);
        self.outputs.push(made.output);
    }

    fn make(&mut self, element: &Element, kind: &str, report: &Report) -> Option<Made> {
        let params = Params::new(element, report);
        let kind = if kind.contains("#{") {
            params.kind()
        } else {
            kind.to_owned()
        };
        let convert = stores::ALL
            .iter()
            .find(|(names, _)| names.contains(&&*kind));
        let Some((_, convert)) = convert else {
            report.lost(
                &element.place,
                format!(
                    "<{} {}> of type {kind}: {}",
                    element.name,
                    element.argument,
                    instead_of(&kind)
                ),
            );
            return None;
        };
        let mut made = convert(&params, report)?;
        self.buffer(&params, &mut made.output);
        let time_key = match kind.as_str() {
            "http" if params.elements("inject").next().is_some() => {
                params.differs("<inject>: Fluentd's http does not read it; it is left out");
                None
            }
            _ => self.inject(&params, &mut made.filters),
        };
        let own = match made.output.get("name").unwrap_or_default() {
            "http" | "s3" | "stdout" => Some("json_date_key"),
            "kafka" => Some("timestamp_key"),
            _ => None,
        };
        match (time_key, own) {
            (Some(key), Some(own)) => made.output.set(own, &key),
            (None, Some("json_date_key")) => made.output.set("json_date_key", "false"),
            (None, Some(_)) => params.differs("records carry their time in @timestamp"),
            (Some(key), None) => params.differs(format!(
                "<inject> time_key {key}: the output writes the time itself"
            )),
            (None, None) => {}
        }
        if params.element.get("include_tag_key").is_some()
            && !matches!(made.output.get("name"), Some("es" | "opensearch" | "gelf"))
            && params.switch("include_tag_key") == Some(true)
        {
            let key = params.word("tag_key").unwrap_or_else(|| "tag".to_owned());
            made.filters
                .push(super::buffer::tag_filter(&key, &mut self.n_lua));
        }
        if let Some(mut upstream) = made.upstream.take() {
            let name = format!("upstream_{}", self.upstreams.len() + 1);
            made.output.set("Upstream", &format!("{name}.conf"));
            upstream.set("file", &format!("{name}.conf"));
            upstream.set("name", &name);
            self.upstreams.push(upstream);
        }
        params.finish();
        Some(made)
    }
}

fn instead_of(kind: &str) -> &'static str {
    match kind {
        "exec" | "exec_filter" => {
            "programs are not run for records; use an output http or tcp, or a filter lua"
        }
        "secondary_file" => {
            "records that are refused for good become dead letters below storage.path"
        }
        "mongo" | "mongo_replset" | "sql" | "bigquery" | "webhdfs" | "redshift" | "dynamodb"
        | "td" | "tdlog" => {
            "there is no such output; send to kafka, s3 or http, and load from there"
        }
        "google_cloud" => {
            "there is no such output; use opentelemetry with a collector, or gcs for an archive"
        }
        "datadog" | "newrelic" | "sumologic" | "logzio_buffered" | "logzio" | "loggly"
        | "logdna" | "honeycomb" | "coralogix" | "azure-loganalytics" => {
            "use the output http (or opentelemetry) with the service's address and key"
        }
        "cloudwatch_metrics" | "statsd" | "graphite" | "influxdb" | "influxdb2" => {
            "count with a filter log_to_metrics and send with prometheus_remote_write"
        }
        "prometheus" => {
            "use a filter log_to_metrics, and an output prometheus_exporter for metrics.logs"
        }
        "slack" | "mail" | "pagerduty" => "let the aggregator's rules and an Alertmanager notify",
        "amqp" | "rabbitmq" | "mqtt" | "redis" | "nats" | "pulsar" => {
            "there is no such output; use kafka, http or forward"
        }
        "rewrite" | "route" | "forest" | "parser" | "flowcounter" | "datacounter"
        | "numeric_monitor" | "geoip" => {
            "this old plugin is no output; use filters (rewrite_tag, parser, log_to_metrics, geoip2)"
        }
        _ => {
            "there is no such output; --help lists those there are, and forward reaches a Fluentd that has it"
        }
    }
}
