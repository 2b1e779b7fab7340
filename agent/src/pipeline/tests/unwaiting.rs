//! Sources that do not wait.

use super::*;

/// Sends all it has at once, and then lets the output take what comes.
struct Hasty {
    batches: Vec<RecordBatch>,
    output: Arc<Picky>,
    /// Told how many records the spill has dropped by then.
    dropped: Sender<u64>,
}

impl Input for Hasty {
    fn can_wait(&self) -> bool {
        false
    }

    fn run(self: Box<Self>, link: Link) -> anyhow::Result<()> {
        for batch in self.batches {
            link.send(batch, None)?;
        }
        let outputs = link.core.status().outputs;
        self.dropped.send(outputs[0].spill_dropped_records)?;
        self.output.failures.store(0, Ordering::SeqCst);
        Ok(())
    }
}

/// The records that were delivered, what was counted, and what the spill dropped.
fn run_hasty(
    storage_path: Option<PathBuf>,
    limit: Option<u64>,
) -> (Vec<String>, Arc<Metrics>, u64) {
    let (dropped, told) = crossbeam_channel::unbounded();
    let output = Arc::new(Picky::default());
    output.failures.store(u64::MAX, Ordering::SeqCst);
    let texts: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let batches = (0..).zip(&texts).map(|(n, t)| batch("t", n, &[t]));
    let input = Hasty {
        batches: batches.collect(),
        output: output.clone(),
        dropped,
    };
    let mut input = InputSpec::new("hasty.0".into(), "t".into(), Box::new(input));
    input.mem_buf_limit = Some(3000);
    input.filesystem = storage_path.is_some();
    let mut to = OutputSpec::new("o".into(), TagMatch::wildcard("*"), output.clone());
    to.retry = quick();
    to.total_limit_bytes = limit;
    let spec = PipelineSpec {
        inputs: vec![input],
        outputs: vec![to],
        storage_path,
        mem_limit_bytes: 4000,
        ..PipelineSpec::default()
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let running = start(spec, runtime.handle()).unwrap();
    let metrics = running.metrics();
    running.wait().unwrap();
    let delivered = output.delivered.lock().unwrap().clone();
    (delivered, metrics, told.recv().unwrap())
}

#[test]
fn what_finds_no_room_is_dropped_and_counted() {
    let (delivered, metrics, _) = run_hasty(None, None);
    assert!(!delivered.is_empty());
    let dropped = metrics.inputs[0].dropped_records.get();
    assert_eq!(dropped, 100 - delivered.len() as u64);
    // The first had room, all after the first without had none.
    let first: Vec<String> = (0..delivered.len()).map(|n| n.to_string()).collect();
    assert_eq!(delivered, first);
}

#[test]
fn the_oldest_that_is_not_under_way_gives_way_in_a_spill_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (delivered, metrics, dropped) = run_hasty(Some(dir.path().to_owned()), Some(4000));
    assert!(dropped > 0);
    assert_eq!(dropped, 100 - delivered.len() as u64);
    let numbers: Vec<u64> = delivered.iter().map(|t| t.parse().unwrap()).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    assert_eq!(numbers[0], 0, "it was under way");
    assert_eq!(metrics.inputs[0].dropped_records.get(), 0);
}
