//! Any bytes as an event of the Kubernetes API: it is left out, or becomes a record with all its members.
#![no_main]

use kansoku_agent::fuzzing::kubernetes_event;
use kansoku_fuzz::{check, fields};

libfuzzer_sys::fuzz_target!(|event: &[u8]| {
    let Some(batch) = kubernetes_event(event) else {
        return;
    };
    let given: serde_json::Value = serde_json::from_slice(event).expect("it was read");
    let record: serde_json::Value = serde_json::from_str(&fields(&batch)[0]).unwrap_or_default();
    for (name, value) in given.as_object().into_iter().flatten() {
        // The metadata is read into its known members.
        if value.is_string() && name != "kind" && name != "apiVersion" {
            assert_eq!(record[name], *value);
        }
    }
    check(&[batch]);
});
