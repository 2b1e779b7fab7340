//! What happens to records whose sender waits for an answer while the agent leaves.

use std::sync::atomic::AtomicBool;

use super::*;

/// A listener with one call: it is refused when the agent leaves before the delivery.
struct Listener {
    refused: Arc<AtomicBool>,
}

impl Input for Listener {
    fn run(self: Box<Self>, link: Link) -> anyhow::Result<()> {
        link.send(batch("t", 0, &["x"]), None)?;
        let _ = link.closed.recv();
        self.refused.store(true, Ordering::SeqCst);
        Ok(())
    }
}

/// A destination that takes what comes only once it is too late.
struct Late {
    begun: Sender<()>,
    refused: Arc<AtomicBool>,
    delivered: Arc<AtomicBool>,
}

impl Output for Late {
    fn send<'a>(&'a self, _: Request<'a>) -> SendFuture<'a> {
        Box::pin(async move {
            self.begun.send(()).expect("the test listens");
            while !self.refused.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            self.delivered.store(true, Ordering::SeqCst);
            Outcome::Delivered
        })
    }

    fn takes(&self, _: &RecordBatch) -> bool {
        true
    }
}

#[test]
fn what_was_refused_is_not_delivered_afterwards() {
    let (refused, delivered) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let input = Listener {
        refused: refused.clone(),
    };
    let (begun, has_begun) = crossbeam_channel::unbounded();
    let output = Late {
        begun,
        refused: refused.clone(),
        delivered: delivered.clone(),
    };
    let input = InputSpec::new("listener.0".into(), "t".into(), Box::new(input));
    let output = OutputSpec::new("o".into(), TagMatch::wildcard("*"), Arc::new(output));
    let spec = PipelineSpec {
        inputs: vec![input],
        outputs: vec![output],
        grace: Duration::ZERO,
        ..PipelineSpec::default()
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let running = start(spec, runtime.handle()).unwrap();
    has_begun.recv().unwrap();
    running.stopper().stop();
    running.wait().unwrap();
    assert!(refused.load(Ordering::SeqCst));
    assert!(!delivered.load(Ordering::SeqCst));
}
