//! Any text as a LogQL query over lines of every format: it ends in an answer or an error, and soon
//! after it was told to stop.
#![no_main]

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use kansoku_model::Labels;
use kansoku_model::log::Slice;
use kansoku_model::select::{
    Direction, LogBlock, LogBlockRef, LogSelect, LogSource, SelectError, VisitBlock,
};
use kansoku_query::logql::{Context, Engine, Expr, Limits, QueryError, json, parse};

/// One line of each format that a stage reads, and some of none.
const LINES: &[&str] = &[
    r#"{"a": {"b": [1, "two", null, {"c": 3.5e3}]}, "level": "warn", "x": "5ms"}"#,
    r#"level=info x=5 msg="two \"words\"" empty= bare took=1.5s size=3KiB"#,
    r#"{"_entry": "inner text", "pod": "web-1"}"#,
    "10.1.2.3 - - [20/Nov/2026:10:00:00 +0000] \"GET /a?b=c HTTP/1.1\" 200 512",
    "\x1b[31mred\x1b[0m text 2001:db8::1",
    "",
    "x=NaN y=-9223372036854775808 z=1e400",
];

struct OneBlock(Labels);

impl LogBlockRef for OneBlock {
    fn labels(&self) -> &Labels {
        &self.0
    }

    fn time_range_ns(&self) -> (i64, i64) {
        (0, LINES.len() as i64 * 1_000_000_000)
    }

    fn load(&self, out: &mut LogBlock) -> Result<(), SelectError> {
        out.clear();
        for (time, line) in LINES.iter().enumerate() {
            out.times.push(time as i64 * 1_000_000_000);
            out.lines.push(Slice {
                start: out.text.len() as u32,
                len: line.len() as u32,
            });
            out.text.extend_from_slice(line.as_bytes());
        }
        Ok(())
    }

    fn load_times(&self, times: &mut Vec<i64>, lens: &mut Vec<u32>) -> Result<(), SelectError> {
        *times = (0..LINES.len() as i64).map(|t| t * 1_000_000_000).collect();
        *lens = LINES.iter().map(|l| l.len() as u32).collect();
        Ok(())
    }

    fn loading_bytes(&self) -> usize {
        LINES.iter().map(|line| 64 + line.len()).sum()
    }
}

impl LogSource for OneBlock {
    fn select(&self, _: &LogSelect, visit: &mut VisitBlock<'_>) -> Result<(), SelectError> {
        let _: ControlFlow<()> = visit(self)?;
        Ok(())
    }
}

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(expr) = parse(text) else { return };
    let source = OneBlock(Labels::from_pairs([("a", "b"), ("level", "info")]));
    let engine = Engine {
        limits: Limits {
            max_points: 100_000,
            max_samples: 100_000,
            ..Limits::default()
        },
    };
    let begun = Instant::now();
    let check = || {
        if begun.elapsed() > Duration::from_secs(1) {
            return Err(QueryError::Cancelled("late".into()));
        }
        Ok(())
    };
    let ctx = Context {
        memory: None,
        check: &check,
    };
    let mut out = Vec::new();
    match &expr {
        Expr::Log(log) => {
            for direction in [Direction::Forward, Direction::Backward] {
                let answer =
                    engine.log_query(&source, log, i64::MIN, i64::MAX, direction, 100, &ctx);
                if let Ok(answer) = answer {
                    out.clear();
                    json::write_streams(&mut out, &answer, true, 1.0);
                    serde_json::from_slice::<serde_json::Value>(&out).expect("an answer is JSON");
                }
            }
        }
        Expr::Metric(metric) => {
            for (start_ns, end_ns, step_ns) in [
                (0, 7_000_000_000, 1_000_000_000),
                (i64::MIN, i64::MAX, i64::MAX / 5),
                (i64::MAX - 3_000_000_000, i64::MAX, 1_000_000_000),
            ] {
                let _ = engine.metric_range(&source, metric, start_ns, end_ns, step_ns, &ctx);
                let _ = engine.metric_instant(&source, metric, end_ns, &ctx);
                let _ = engine.metric_instant(&source, metric, start_ns, &ctx);
            }
        }
    }
});
