//! OTLP requests as JSON, and the series that come of them.

use std::collections::BTreeMap;

use kansoku_model::Labels as Set;
use kansoku_model::metric::STALE_BITS;

use super::super::super::Window;
use super::super::json;
use super::*;

const LIMITS: Limits = Limits {
    max_labels: 12,
    window: Window::ANY,
};

fn translated(body: &str, rules: &Rules) -> Translated {
    let body = json::metrics(body.as_bytes()).unwrap();
    translate(&body, rules, &LIMITS).unwrap()
}

fn series(batch: &MetricBatch, point: &Point) -> Set {
    batch.series_of(point)
}

/// Samples as `type series value @time`, in order.
fn shown(batch: &MetricBatch) -> Vec<String> {
    let floats = batch.points().iter().enumerate().map(|(row, p)| {
        let value = match p.value.to_bits() == STALE_BITS {
            true => "stale".to_owned(),
            false => p.value.to_string(),
        };
        let start = match batch.start_of(row) {
            0 => String::new(),
            start => format!(" from {start}"),
        };
        let kind = batch.family_of(p).kind.as_str();
        format!(
            "{kind} {} {value} @{}{start}",
            series(batch, p),
            batch.time_of(p)
        )
    });
    let histograms = batch.histograms().iter().map(|h| {
        let p = &h.point;
        format!(
            "histogram {} schema {} count {} sum {} @{}",
            series(batch, p),
            h.histogram.schema,
            p.value,
            h.histogram.sum,
            batch.time_of(p)
        )
    });
    floats.chain(histograms).collect()
}

fn body(resource: &str, metrics: &str) -> String {
    format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{resource}]}},"scopeMetrics":[{{"schemaUrl":"http://s",
        "scope":{{"name":"lib","version":"2","attributes":[{{"key":"sa","value":{{"stringValue":"x"}}}}]}},
        "metrics":[{metrics}]}}]}}]}}"#
    )
}

fn text(key: &str, value: &str) -> String {
    format!(r#"{{"key":"{key}","value":{{"stringValue":"{value}"}}}}"#)
}

/// A gauge with one point of these attributes.
fn gauge(name: &str, attributes: &str) -> String {
    format!(
        r#"{{"name":"{name}","gauge":{{"dataPoints":[{{"timeUnixNano":"2000000000","asDouble":1,"attributes":[{attributes}]}}]}}}}"#
    )
}

#[test]
fn every_form_becomes_series() {
    let resource = text("service.name", "shop");
    let metrics = r#"
        {"name":"requests","unit":"{r}","description":"Help.","sum":{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[
          {"startTimeUnixNano":"1000000000","timeUnixNano":"2000000000","asInt":"3","attributes":[{"key":"http.route","value":{"stringValue":"/"}}]},
          {"timeUnixNano":"2000000000","flags":1}]}},
        {"name":"queue","sum":{"aggregationTemporality":2,"dataPoints":[{"timeUnixNano":"2000000000","asInt":"-3"}]}},
        {"name":"latency","unit":"s","histogram":{"aggregationTemporality":2,"dataPoints":[
          {"timeUnixNano":"2000000000","count":"6","sum":4.5,"bucketCounts":["1","2","3"],"explicitBounds":[0.5,1]}]}},
        {"name":"size","unit":"By","summary":{"dataPoints":[{"timeUnixNano":"2000000000","count":"2","sum":1,"quantileValues":[{"quantile":0.5,"value":7}]}]}},
        {"name":"wait","exponentialHistogram":{"aggregationTemporality":2,"dataPoints":[
          {"timeUnixNano":"2000000000","count":"4","sum":9,"scale":-1,"zeroCount":"1","positive":{"offset":-2,"bucketCounts":["1","2"]}},
          {"timeUnixNano":"2000000000","count":"9","scale":1,"zeroCount":"1"}]}},
        {"name":"empty","gauge":{"dataPoints":[]}}"#;
    let got = translated(&body(&resource, metrics), &Rules::default());
    assert_eq!(
        shown(&got.batch),
        [
            r#"counter {__name__="requests_total", http_route="/", job="shop"} 3 @2000 from 1000"#,
            r#"counter {__name__="requests_total", job="shop"} stale @2000"#,
            r#"gauge {__name__="queue", job="shop"} -3 @2000"#,
            r#"histogram {__name__="latency_seconds_sum", job="shop"} 4.5 @2000"#,
            r#"histogram {__name__="latency_seconds_count", job="shop"} 6 @2000"#,
            r#"histogram {__name__="latency_seconds_bucket", job="shop", le="0.5"} 1 @2000"#,
            r#"histogram {__name__="latency_seconds_bucket", job="shop", le="1"} 3 @2000"#,
            r#"histogram {__name__="latency_seconds_bucket", job="shop", le="+Inf"} 6 @2000"#,
            r#"summary {__name__="size_bytes_sum", job="shop"} 1 @2000"#,
            r#"summary {__name__="size_bytes_count", job="shop"} 2 @2000"#,
            r#"summary {__name__="size_bytes", job="shop", quantile="0.5"} 7 @2000"#,
            r#"histogram {__name__="wait", job="shop"} schema -1 count 4 sum 9 @2000"#,
        ]
    );
    let units: BTreeMap<&str, &str> = got
        .batch
        .families()
        .iter()
        .map(|f| (got.batch.text(f.name), got.batch.text(f.unit)))
        .collect();
    assert_eq!(units["latency_seconds"], "seconds");
    assert_eq!(got.refused.count, 1);
    let reason = got.refused.first.unwrap();
    assert_eq!(
        reason,
        "wait: 1 observations are in buckets, but there are 9"
    );
}

#[test]
fn attributes_become_labels_by_the_rules() {
    let resource = [
        text("service.name", "shop"),
        text("service.namespace", "ns"),
        text("service.instance.id", "i1"),
        text("host.name", "h"),
        text("os", "linux"),
    ]
    .join(",");
    // Two that become one label, one that is another's name, one that a promoted one has.
    let attributes = [
        text("a.b", "1"),
        text("a_b", "2"),
        text("_x", "3"),
        text("job", "own"),
        text("os", "mine"),
        text("__name__", "n"),
        text("empty", ""),
    ]
    .join(",");
    let metrics = gauge("g", &attributes);
    let info = |labels: &str| format!("gauge {{__name__=\"target_info\", {labels}}} 1 @2000");
    let default = Rules::default();
    let promoting = Rules {
        promote: Promote::Only(["host.name", "os"].map(str::to_owned).into()),
        promotes_scope: true,
        keeps_identifying: true,
        ..Rules::default()
    };
    let as_they_are = Rules {
        strategy: Strategy::NoTranslation,
        promote: Promote::AllBut(["os", "service.namespace"].map(str::to_owned).into()),
        ..Rules::default()
    };
    let cases = [
        (
            default,
            r#"gauge {__name__="g", a_b="1;2", instance="i1", job="ns/shop", key_x="3", os="mine"} 1 @2000"#,
            info(r#"host_name="h", instance="i1", job="ns/shop", os="linux""#),
        ),
        (
            promoting,
            r#"gauge {__name__="g", a_b="1;2", host_name="h", instance="i1", job="ns/shop", key_x="3", os="mine", otel_scope_name="lib", otel_scope_sa="x", otel_scope_schema_url="http://s", otel_scope_version="2"} 1 @2000"#,
            info(
                r#"host_name="h", instance="i1", job="ns/shop", os="linux", service_instance_id="i1", service_name="shop", service_namespace="ns""#,
            ),
        ),
        (
            as_they_are,
            r#"gauge {_x="3", __name__="g", a.b="1", a_b="2", host.name="h", instance="i1", job="ns/shop", os="mine", service.instance.id="i1", service.name="shop"} 1 @2000"#,
            info(r#"host.name="h", instance="i1", job="ns/shop", os="linux""#),
        ),
    ];
    for (rules, point, info) in cases {
        let got = translated(&body(&resource, &metrics), &rules);
        let sorted = |line: &str| {
            let mut parts: Vec<String> = line
                .split([' ', '{', '}'])
                .map(|p| p.trim_end_matches(',').to_owned())
                .collect();
            parts.sort();
            parts
        };
        let lines = shown(&got.batch);
        assert_eq!(sorted(&lines[0]), sorted(point));
        assert_eq!(sorted(&lines[1]), sorted(&info));
        assert_eq!(lines.len(), 2);
        assert_eq!(got.refused.first, None);
    }
}

#[test]
fn target_info_spans_the_points_of_its_resource() {
    let resource = [text("service.name", "shop"), text("v", "1")].join(",");
    let point = |ns: i64| format!(r#"{{"timeUnixNano":"{ns}","asInt":"1"}}"#);
    let gauge = |first: i64, last: i64| {
        format!(
            r#"{{"name":"g","gauge":{{"dataPoints":[{},{}]}}}}"#,
            point(first),
            point(last)
        )
    };
    let times = |first: i64, last: i64| {
        let got = translated(&body(&resource, &gauge(first, last)), &Rules::default());
        let points = got.batch.points().iter();
        let times: Vec<i64> = points.skip(2).map(|p| got.batch.time_of(p)).collect();
        times
    };
    let minute = 60_000_000_000;
    assert_eq!(times(0, 5 * minute), [0, 150_000, 300_000]);
    assert_eq!(times(0, 4 * minute), [0, 150_000, 240_000]);
    assert_eq!(times(minute, minute), [60_000]);
    // However far apart they are, it does not fill the store.
    assert_eq!(times(0, i64::MAX).len(), 577);
    // Nothing but the identity is nothing to tell.
    let got = translated(
        &body(&text("service.name", "shop"), &gauge(0, 1)),
        &Rules::default(),
    );
    assert_eq!(got.batch.points().len(), 2);
}

#[test]
fn exemplars_go_with_the_samples_that_counted_them() {
    let exemplar = |value: f64, ns: u64, attributes: &str| {
        format!(
            r#"{{"timeUnixNano":"{ns}","asDouble":{value},"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","filteredAttributes":[{attributes}]}}"#
        )
    };
    let long = text("long", &"x".repeat(100));
    let metrics = format!(
        r#"{{"name":"h","histogram":{{"aggregationTemporality":2,"dataPoints":[{{"timeUnixNano":"2000000000","count":"3","bucketCounts":["1","2"],
        "explicitBounds":[1],"exemplars":[{},{},{}]}}]}}}},
        {{"name":"c","sum":{{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[{{"timeUnixNano":"2000000000","asInt":"1","exemplars":[{}]}}]}}}}"#,
        exemplar(5.0, 1_500_000_000, &text("user", "u")),
        exemplar(1.0, 0, ""),
        exemplar(6.0, 1_600_000_000, &long),
        exemplar(1.0, 1_000_000, "")
    );
    let got = translated(
        &body(&text("service.name", "s"), &metrics),
        &Rules::default(),
    );
    let batch = &got.batch;
    let lines: Vec<String> = batch
        .exemplars()
        .iter()
        .map(|e| {
            let labels: Vec<String> = batch
                .pairs_of(e.labels)
                .map(|(n, v)| format!("{n}={}", &v[..v.len().min(4)]))
                .collect();
            let point = &e.point;
            format!(
                "{} {} {} @{}",
                series(batch, point),
                labels.join(" "),
                point.value,
                batch.time_of(point)
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            r#"{__name__="h_bucket", job="s", le="1"} span_id=eee1 trace_id=5b8e 1 @2000"#,
            r#"{__name__="h_bucket", job="s", le="+Inf"} span_id=eee1 trace_id=5b8e user=u 5 @1500"#,
            r#"{__name__="h_bucket", job="s", le="+Inf"} span_id=eee1 trace_id=5b8e 6 @1600"#,
            r#"{__name__="c_total", job="s"} span_id=eee1 trace_id=5b8e 1 @1"#,
        ]
    );
}

#[test]
fn deltas_and_custom_buckets_are_choices() {
    let metrics = r#"
        {"name":"d","sum":{"aggregationTemporality":1,"isMonotonic":true,"dataPoints":[{"timeUnixNano":"2000000000","asInt":"1"}]}},
        {"name":"h","histogram":{"aggregationTemporality":1,"dataPoints":[{"timeUnixNano":"2000000000","count":"3","sum":2,"bucketCounts":["0","3"],"explicitBounds":[1]}]}},
        {"name":"u","sum":{"dataPoints":[{"timeUnixNano":"2000000000","asInt":"1"}]}}"#;
    let body = body(&text("service.name", "s"), metrics);
    let got = translated(&body, &Rules::default());
    assert_eq!((got.batch.n_samples(), got.refused.count), (0, 3));
    let reason = got.refused.first.unwrap();
    assert!(
        reason.starts_with(r#"invalid temporality and type combination for metric "d""#),
        "{reason}"
    );
    let rules = Rules {
        keeps_deltas: true,
        has_custom_buckets: true,
        ..Rules::default()
    };
    let got = translated(&body, &rules);
    assert_eq!(
        shown(&got.batch),
        [
            r#"untyped {__name__="d_total", job="s"} 1 @2000"#,
            r#"histogram {__name__="h", job="s"} schema -53 count 3 sum 2 @2000"#,
        ]
    );
    assert_eq!(got.refused.count, 1);
}

#[test]
fn what_is_bad_takes_nothing_else_along() {
    let many: Vec<String> = (0..12).map(|i| text(&format!("l{i}"), "x")).collect();
    let metrics = [
        gauge("good", ""),
        gauge("", ""),
        gauge("°", ""),
        gauge("many", &many.join(",")),
        gauge("bad", &text("__", "x")),
        r#"{"name":"h","histogram":{"aggregationTemporality":2,"dataPoints":[{"count":"3","bucketCounts":["1","2"]}]}}"#.to_owned(),
    ]
    .join(",");
    let got = translated(&body("", &metrics), &Rules::default());
    assert_eq!(shown(&got.batch), [r#"gauge {__name__="good"} 1 @2000"#]);
    assert_eq!(got.refused.count, 5);
    let limits = Limits {
        window: Window {
            oldest_ms: 3000,
            newest_ms: 4000,
        },
        ..LIMITS
    };
    let request = json::metrics(body("", &gauge("old", "")).as_bytes()).unwrap();
    let got = translate(&request, &Rules::default(), &limits).unwrap();
    let expected = "old: out of bounds: time 2000 is not within 3000 and 4000";
    assert_eq!(got.refused.first.as_deref(), Some(expected));
}

#[test]
fn cuts_and_flips_never_panic() {
    let exponential = r#"{"name":"wait","exponentialHistogram":{"aggregationTemporality":2,"dataPoints":[
          {"timeUnixNano":"2000000000","count":"4","scale":-1,"zeroCount":"1","positive":{"offset":-2,"bucketCounts":["1","2"]}}]}}"#;
    let request = body(
        &text("service.name", "s"),
        &format!("{},{exponential}", gauge("g", "")),
    );
    let request = json::metrics(request.as_bytes()).unwrap();
    let rules = Rules {
        has_custom_buckets: true,
        promotes_scope: true,
        ..Rules::default()
    };
    for at in 0..request.len() {
        let _ = translate(&request[..at], &rules, &LIMITS);
        for mask in [0x01, 0x08, 0x80, 0xff] {
            let mut bad = request.clone();
            bad[at] ^= mask;
            let _ = translate(&bad, &rules, &LIMITS);
        }
    }
}
