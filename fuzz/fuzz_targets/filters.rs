//! Any records through any filter or processor with any of its settings: the settings are refused, or
//! what leaves are valid records whose positions grow, and no record is lost unless the filter drops.
#![no_main]

use std::sync::Arc;

use kansoku_agent::plugin::{Environment, FilterContext, FilterPlugin};
use kansoku_agent::{filters, processors};
use kansoku_fuzz::{batch_of, check, fields};
use kansoku_model::{RecordBatch, Settings, SourceId};
use kansoku_parsers::line::{builtin, multiline};

/// Those that read the network, other files, the clock or a script, or write to standard output.
const LEFT_OUT: [&str; 7] = [
    "lua",
    "kubernetes",
    "aws",
    "geoip2",
    "stdout",
    "sysinfo",
    "throttle",
];

const MAX_SETTINGS: usize = 20;

thread_local! {
    static PLUGINS: Vec<&'static FilterPlugin> = (filters::ALL.iter())
        .chain(processors::ALL)
        .copied()
        .filter(|p| !LEFT_OUT.contains(&p.name))
        .collect();
    static ENVIRONMENT: Environment = environment();
}

fn environment() -> Environment {
    let named = |p: kansoku_parsers::line::Parser| (p.name().to_owned(), Arc::new(p));
    let multilines = multiline::builtin::all().into_iter();
    Environment {
        parsers: Arc::new(builtin::all(&|_| None).into_iter().map(named).collect()),
        multilines: Arc::new(
            multilines
                .map(|p| (p.name().to_ascii_lowercase(), Arc::new(p)))
                .collect(),
        ),
        ..Environment::default()
    }
}

/// The plugin's name and its settings, a line each.
fn section(text: &str) -> Option<(&'static FilterPlugin, Vec<(String, String)>)> {
    let mut plugin = None;
    let mut pairs: Vec<(String, String)> = Vec::new();
    for line in text.lines().map(str::trim) {
        let (key, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let (key, value) = (key.to_ascii_lowercase(), value.trim());
        match key.as_str() {
            "name" => plugin = PLUGINS.with(|all| all.iter().copied().find(|p| p.name == value)),
            "match" => {}
            // It ends the process, as it should.
            "action" if value.eq_ignore_ascii_case("exit") => {}
            _ if pairs.len() < MAX_SETTINGS => pairs.push((key, value.to_owned())),
            _ => {}
        }
    }
    Some((plugin?, pairs))
}

libfuzzer_sys::fuzz_target!(init: kansoku_fuzz::quiet(), |bytes: &[u8]| {
    // Settings, an empty line, records.
    let at = bytes.windows(2).position(|w| w == b"\n\n").unwrap_or(bytes.len());
    let Some((plugin, settings)) = section(&String::from_utf8_lossy(&bytes[..at])) else {
        return;
    };
    let Some(mut batch) = batch_of(&bytes[at..]) else {
        return;
    };
    let pairs: Vec<(&str, &str)> = settings.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let built = ENVIRONMENT.with(|e| (plugin.build)(&Settings::of(plugin.name, &pairs), e));
    let filter = match built {
        Ok(filter) => filter,
        Err(error) => {
            assert!(!error.message.is_empty());
            return;
        }
    };
    let before = batch.clone();
    let mut context = FilterContext::default();
    filter.apply(&mut batch, &mut context);
    assert!(filter.splits() || batch.len() <= before.len());
    check(std::slice::from_ref(&batch));
    // The same again gives the same: a repeat after a crash has to.
    let is_stateless = filter.flush_every().is_none() && plugin.name != "alter_size";
    if is_stateless {
        let mut again = before;
        filter.apply(&mut again, &mut FilterContext::default());
        assert_eq!(fields(&batch), fields(&again));
    }
    filter.flush(true, &mut context);
    for emitted in context.take_emitted() {
        match emitted.batch {
            RecordBatch::Logs(logs) => {
                assert!(logs.source.id != SourceId(1));
                let _ = fields(&logs);
            }
            RecordBatch::Metrics(mut metrics) => {
                for point in metrics.points() {
                    assert!(!metrics.series_of(point).metric_name().is_empty());
                }
                filter.apply_to_metrics(&mut metrics);
            }
        }
    }
});
