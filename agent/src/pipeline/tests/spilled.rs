//! Inputs that cannot read again, with `storage.type filesystem`.

use super::*;

fn spec(dir: &std::path::Path, output: &Arc<Picky>) -> PipelineSpec {
    let mut spec = OutputSpec::new("o".into(), TagMatch::wildcard("*"), output.clone());
    spec.retry = quick();
    let mut inputs = scripted();
    inputs[0].filesystem = true;
    PipelineSpec {
        inputs,
        outputs: vec![spec],
        storage_path: Some(dir.to_owned()),
        grace: Duration::ZERO,
        mem_limit_bytes: 4000,
        ..PipelineSpec::default()
    }
}

fn lines(range: std::ops::Range<u64>) -> (Vec<String>, Vec<RecordBatch>) {
    let texts: Vec<String> = range.clone().map(|n| n.to_string()).collect();
    let batches = range.zip(&texts).map(|(n, t)| batch("t", n, &[t]));
    let batches = batches.collect();
    (texts, batches)
}

#[test]
fn what_an_outage_left_in_the_spill_comes_in_order_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let away = Arc::new(Picky::default());
    away.failures.store(u64::MAX, Ordering::SeqCst);
    let (texts, batches) = lines(0..50);
    let (sender, receiver) = crossbeam_channel::unbounded();
    let (acknowledged, acks) = crossbeam_channel::unbounded();
    let mut first = spec(dir.path(), &away);
    first.inputs[0].input = Box::new(Scripted {
        batches: receiver,
        acknowledged,
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let running = start(first, runtime.handle()).unwrap();
    let stopper = running.stopper();
    batches.into_iter().for_each(|b| sender.send(b).unwrap());
    drop(sender);
    // Acknowledged when they are written, though more than memory holds and nothing is delivered.
    let told: Vec<u64> = acks.iter().take(50).collect();
    assert_eq!(told, (1..=50).collect::<Vec<u64>>());
    stopper.stop();
    running.wait().unwrap();
    assert!(away.delivered.lock().unwrap().is_empty());

    let back = Arc::new(Picky::default());
    back.failures.store(3, Ordering::SeqCst);
    let (more, batches) = lines(50..60);
    let (told, metrics) = run_spec(spec(dir.path(), &back), batches);
    assert_eq!(told, (51..=60).collect::<Vec<u64>>());
    assert_eq!(*back.delivered.lock().unwrap(), [texts, more].concat());
    assert_eq!(metrics.outputs[0].retries.get(), 3);

    let (_, metrics) = run_spec(spec(dir.path(), &back), Vec::new());
    assert_eq!(
        metrics.outputs[0].proc_records.get(),
        0,
        "nothing comes twice"
    );
    let left = std::fs::read_dir(dir.path().join("spill/o")).unwrap();
    assert_eq!(left.count(), 0);
}

#[test]
fn what_is_delivered_at_once_leaves_one_segment_at_the_most() {
    let dir = tempfile::tempdir().unwrap();
    let output = Arc::new(Picky::default());
    let (_, batches) = lines(0..3);
    let (told, _) = run_spec(spec(dir.path(), &output), batches);
    assert_eq!(told, [1, 2, 3]);
    assert_eq!(output.delivered.lock().unwrap().len(), 3);
    let left = std::fs::read_dir(dir.path().join("spill/o")).unwrap();
    assert!((1..=2).contains(&left.count()), "a segment with its notes");
}
