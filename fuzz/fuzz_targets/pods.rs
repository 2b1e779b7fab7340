//! Any bytes as a kubelet's list of pods: every pod that was read is found by its name, and the table
//! forgets what the next list lacks.
#![no_main]

use std::time::Instant;

use kansoku_agent::fuzzing::kubelet_pods;
use kansoku_agent::kubernetes::Pods;

libfuzzer_sys::fuzz_target!(init: kansoku_fuzz::quiet(), |bytes: &[u8]| {
    let Some(list) = kubelet_pods(bytes) else {
        return;
    };
    let pods = Pods::default();
    pods.replace(list.clone(), Instant::now());
    assert!(pods.len() <= list.len());
    for pod in &list {
        let found = pods.by_name(&pod.namespace, &pod.name).expect("it was listed");
        assert!(list.contains(&found));
        for container in pod.containers.iter().filter(|c| !c.id.is_empty()) {
            let found = pods.by_container_id(&container.id).expect("it was listed");
            assert!([&found.container().id, &found.container().last_id].contains(&&container.id));
        }
    }
});
