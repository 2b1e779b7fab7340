//! The JSON of answers, whole.

use kansoku_model::Labels;
use kansoku_model::select::Direction;

use super::source::{MemorySource, TestEntry};
use crate::logql::{Context, Engine, Expr, json, parse};

const SECOND: i64 = 1_000_000_000;

fn source() -> MemorySource {
    let mut source = MemorySource::default();
    source.add_stream(Labels::from_pairs([("app", "a\"b")]));
    for (time_ns, line, trace) in [
        (SECOND, &b"level=info"[..], ""),
        (1_500_000_000, b"level=warn \xff\n", "t1"),
    ] {
        source.push(TestEntry {
            time_ns,
            line: line.to_vec(),
            metadata: Labels::from_pairs([("trace", trace)]),
        });
    }
    source
}

fn write(query: &str, categorize: bool) -> String {
    let engine = Engine::default();
    let ctx = Context::uninterrupted();
    let source = source();
    let mut out = Vec::new();
    match parse(query).unwrap() {
        Expr::Log(log) => {
            let answer = engine
                .log_query(&source, &log, 0, 10 * SECOND, Direction::Backward, 10, &ctx)
                .unwrap();
            json::write_streams(&mut out, &answer, categorize, 0.5);
        }
        Expr::Metric(metric) if categorize => {
            let answer = engine
                .metric_range(&source, &metric, SECOND, 2 * SECOND, SECOND / 2, &ctx)
                .unwrap();
            json::write_matrix(&mut out, &answer, 0.5);
        }
        Expr::Metric(metric) => {
            let answer = engine
                .metric_instant(&source, &metric, 1_500_000_000, &ctx)
                .unwrap();
            json::write_instant(&mut out, &answer, 0.5);
        }
    }
    let text = String::from_utf8(out).unwrap();
    serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let (data, statistics) = text.split_once(r#","stats":"#).unwrap();
    assert!(statistics.contains(r#""execTime":0.5"#));
    data.to_owned()
}

#[test]
fn answers_have_lokis_shape() {
    let cases = [
        (
            r#"{app=~".+"} | logfmt"#,
            false,
            r#"{"resultType":"streams","result":[{"stream":{"app":"a\"b","level":"info"},"values":[["1000000000","level=info"]]},{"stream":{"app":"a\"b","level":"warn","trace":"t1"},"values":[["1500000000","level=warn �\n"]]}]"#,
        ),
        (
            r#"{app=~".+"} | logfmt"#,
            true,
            r#"{"resultType":"streams","encodingFlags":["categorize-labels"],"result":[{"stream":{"app":"a\"b"},"values":[["1500000000","level=warn �\n",{"structuredMetadata":{"trace":"t1"},"parsed":{"level":"warn"}}],["1000000000","level=info",{"parsed":{"level":"info"}}]]}]"#,
        ),
        (
            r#"sum(count_over_time({app=~".+"}[1m])) / 3"#,
            false,
            r#"{"resultType":"vector","result":[{"metric":{},"value":[1.5,"0.6666666666666666"]}]"#,
        ),
        (
            r#"sum by (app) (count_over_time({app=~".+"}[1m]))"#,
            true,
            r#"{"resultType":"matrix","result":[{"metric":{"app":"a\"b"},"values":[[1,"1"],[1.5,"2"],[2,"2"]]}]"#,
        ),
        (
            "1 + 1",
            false,
            r#"{"resultType":"scalar","result":[1.5,"2"]"#,
        ),
        (
            "vector(1) / 0",
            false,
            r#"{"resultType":"vector","result":[{"metric":{},"value":[1.5,"NaN"]}]"#,
        ),
    ];
    for (query, flag, expected) in cases {
        assert_eq!(write(query, flag), expected, "{query}");
    }
}

#[test]
fn statistics_are_counted() {
    let engine = Engine::default();
    let Ok(Expr::Log(log)) = parse(r#"{app=~".+"} |= "warn""#) else {
        panic!("no log query");
    };
    let ctx = Context::uninterrupted();
    let answer = engine
        .log_query(
            &source().in_blocks_of(5),
            &log,
            0,
            10 * SECOND,
            Direction::Forward,
            10,
            &ctx,
        )
        .unwrap();
    let mut out = Vec::new();
    json::write_streams(&mut out, &answer, false, 2.0);
    let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let summary = &json["stats"]["summary"];
    // Ten and thirteen bytes of lines, two of metadata.
    assert_eq!(summary["totalBytesProcessed"], 25);
    assert_eq!(summary["totalLinesProcessed"], 2);
    assert_eq!(summary["totalPostFilterLines"], 1);
    assert_eq!(summary["totalEntriesReturned"], 1);
    assert_eq!(summary["totalStructuredMetadataBytesProcessed"], 2);
    assert_eq!(summary["bytesProcessedPerSecond"], 12);
}
