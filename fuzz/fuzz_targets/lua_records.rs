//! Any records through a fixed Lua script that gives each back as it came, in every way a script can:
//! the values are the same, integers stay integers, and what a script adds is there.
#![no_main]

use kansoku_agent::filters::lua;
use kansoku_agent::plugin::{Environment, Filter, FilterContext};
use kansoku_fuzz::{batch_of, check, fields};
use kansoku_model::{LogBatch, Settings};

const SCRIPT: &str = "
function same(tag, time, record) return 2, time, record end
function copy(tag, time, record)
  local out = {}
  for k, v in pairs(record) do out[k] = v end
  return 1, time, out
end
function untouched(tag, time, record) record.x = 1 return 0, time, record end
function twice(tag, time, record) return 2, time, { record, record } end
function dropped(tag, time, record) return -1, time, record end
";

fn filter(call: &str) -> Box<dyn Filter> {
    let pairs = [("code", SCRIPT), ("call", call)];
    let built = (lua::PLUGIN.build)(&Settings::of("lua", &pairs), &Environment::default());
    built.unwrap_or_else(|e| panic!("{e}"))
}

thread_local! {
    static FILTERS: [Box<dyn Filter>; 5] =
        ["same", "copy", "untouched", "twice", "dropped"].map(filter);
}

fn run(filter: &dyn Filter, batch: &LogBatch) -> LogBatch {
    let mut batch = batch.clone();
    filter.apply(&mut batch, &mut FilterContext::default());
    check(std::slice::from_ref(&batch));
    batch
}

libfuzzer_sys::fuzz_target!(init: kansoku_fuzz::quiet(), |bytes: &[u8]| {
    let Some(batch) = batch_of(bytes) else {
        return;
    };
    FILTERS.with(|[same, copy, untouched, twice, dropped]| {
        let first = run(&**same, &batch);
        assert_eq!(first.len(), batch.len());
        // What a script can see of a record does not change when it sees it again.
        let values = |batch: &LogBatch| -> Vec<serde_json::Value> {
            fields(batch).iter().map(|f| serde_json::from_str(f).unwrap_or_default()).collect()
        };
        assert_eq!(values(&first), values(&run(&**same, &first)));
        assert_eq!(values(&first), values(&run(&**copy, &batch)));
        assert_eq!(fields(&batch), fields(&run(&**untouched, &batch)));
        assert_eq!(run(&**twice, &batch).len(), 2 * batch.len());
        assert!(run(&**dropped, &batch).is_empty());
    });
});
