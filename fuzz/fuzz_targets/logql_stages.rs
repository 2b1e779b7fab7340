//! No line, whatever its bytes, panics any stage.
#![no_main]

use std::ops::ControlFlow;
use std::sync::OnceLock;

use kansoku_model::Labels;
use kansoku_model::log::Slice;
use kansoku_model::select::{
    Direction, LogBlock, LogBlockRef, LogSelect, LogSource, SelectError, VisitBlock,
};
use kansoku_query::logql::{Context, Engine, Expr, parse};
use libfuzzer_sys::fuzz_target;

const QUERIES: &[&str] = &[
    r#"{a="b"} | json"#,
    r#"{a="b"} | json x="a.b[0]", y="[1]", z="[\"k\"]""#,
    r#"{a="b"} | logfmt"#,
    r#"{a="b"} | logfmt --strict --keep-empty"#,
    r#"{a="b"} | logfmt x="a", y"#,
    r#"{a="b"} | unpack | decolorize"#,
    r#"{a="b"} | pattern "<x> <_> <y>" | x > 5 or y < 3ms or x >= 1KB"#,
    r#"{a="b"} | regexp `(?P<x>\S+) (?P<y>.*)` | line_format `{{.x | trunc 3}} {{__line__ | upper}}`"#,
    r#"{a="b"} |= "a" != "b" |~ "c.*d" !~ "e" |> "<_>x<_>" != ip("10.0.0.0/8")"#,
    r#"{a="b"} | logfmt | label_format x=`{{ .x | substr 0 2 | replace "a" "b" }}` | keep x"#,
    r#"sum(sum_over_time({a="b"} | logfmt | unwrap x | __error__="" [1m]))"#,
    r#"quantile_over_time(0.5, {a="b"} | json | unwrap bytes(x) | __error__="" [1m]) by (y)"#,
];

struct OneBlock {
    labels: Labels,
    lines: Vec<Vec<u8>>,
}

impl LogBlockRef for OneBlock {
    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn time_range_ns(&self) -> (i64, i64) {
        (0, self.lines.len() as i64)
    }

    fn load(&self, out: &mut LogBlock) -> Result<(), SelectError> {
        out.clear();
        for (time, line) in self.lines.iter().enumerate() {
            out.times.push(time as i64);
            out.lines.push(Slice {
                start: out.text.len() as u32,
                len: line.len() as u32,
            });
            out.text.extend_from_slice(line);
        }
        Ok(())
    }

    fn load_times(&self, times: &mut Vec<i64>, lens: &mut Vec<u32>) -> Result<(), SelectError> {
        *times = (0..self.lines.len() as i64).collect();
        *lens = self.lines.iter().map(|l| l.len() as u32).collect();
        Ok(())
    }

    fn loading_bytes(&self) -> usize {
        self.lines.iter().map(|line| 64 + line.len()).sum()
    }
}

impl LogSource for OneBlock {
    fn select(&self, _: &LogSelect, visit: &mut VisitBlock<'_>) -> Result<(), SelectError> {
        let _: ControlFlow<()> = visit(self)?;
        Ok(())
    }
}

fuzz_target!(|data: &[u8]| {
    static EXPRESSIONS: OnceLock<Vec<Expr>> = OnceLock::new();
    let expressions =
        EXPRESSIONS.get_or_init(|| QUERIES.iter().map(|q| parse(q).expect("a query")).collect());
    let source = OneBlock {
        labels: Labels::from_pairs([("a", "b")]),
        lines: data.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect(),
    };
    let engine = Engine::default();
    let ctx = Context::uninterrupted();
    for expression in expressions {
        match expression {
            Expr::Log(log) => {
                let answer =
                    engine.log_query(&source, log, 0, i64::MAX, Direction::Forward, 100, &ctx);
                let mut out = Vec::new();
                let answer = answer.expect("a log query fails on no line");
                kansoku_query::logql::json::write_streams(&mut out, &answer, true, 1.0);
                std::str::from_utf8(&out).expect("JSON is UTF-8");
            }
            Expr::Metric(metric) => {
                let _ = engine.metric_range(&source, metric, 0, 1000, 100, &ctx);
            }
        }
    }
});
