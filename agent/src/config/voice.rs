//! `log_level` and `log_suppress_interval` of single plugins.
//!
//! A plugin logs under whatever name suits it, so its level cannot hang on names: it is set for the
//! thread while the plugin runs.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use kansoku_model::{LogBatch, MetricBatch, RecordBatch};
use kansoku_outputs::{Output, Request, SendFuture};

use crate::log::{self, Voice};
use crate::pipeline::{FilterContext, Link};
use crate::plugin::{Filter, Input};

struct OwnInput(Box<dyn Input>, Voice);

impl Input for OwnInput {
    fn run(self: Box<Self>, link: Link) -> anyhow::Result<()> {
        let _guard = log::speak_as(self.1);
        self.0.run(link)
    }

    fn can_reread(&self) -> bool {
        self.0.can_reread()
    }

    fn can_wait(&self) -> bool {
        self.0.can_wait()
    }

    fn databases(&self) -> Vec<PathBuf> {
        self.0.databases()
    }
}

struct OwnFilter(Box<dyn Filter>, Voice);

impl Filter for OwnFilter {
    fn apply(&self, batch: &mut LogBatch, context: &mut FilterContext) {
        let _guard = log::speak_as(self.1);
        self.0.apply(batch, context);
    }

    fn apply_to_metrics(&self, batch: &mut MetricBatch) {
        let _guard = log::speak_as(self.1);
        self.0.apply_to_metrics(batch);
    }

    fn flush_every(&self) -> Option<Duration> {
        self.0.flush_every()
    }

    fn flush(&self, all: bool, context: &mut FilterContext) {
        let _guard = log::speak_as(self.1);
        self.0.flush(all, context);
    }

    fn splits(&self) -> bool {
        self.0.splits()
    }
}

struct OwnOutput(Arc<dyn Output>, Voice);

impl Output for OwnOutput {
    fn send<'a>(&'a self, request: Request<'a>) -> SendFuture<'a> {
        let _guard = log::speak_as(self.1);
        Box::pin(Speaking(self.0.send(request), self.1))
    }

    fn start(&self) -> std::io::Result<()> {
        let _guard = log::speak_as(self.1);
        self.0.start()
    }

    fn max_request_bytes(&self) -> usize {
        self.0.max_request_bytes()
    }

    fn drops_repeats(&self) -> bool {
        self.0.drops_repeats()
    }

    fn takes(&self, batch: &RecordBatch) -> bool {
        self.0.takes(batch)
    }
}

/// A future that has the voice while it is polled: between polls the thread is another's.
struct Speaking<'a>(SendFuture<'a>, Voice);

impl Future for Speaking<'_> {
    type Output = kansoku_outputs::Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let _guard = log::speak_as(self.1);
        self.0.as_mut().poll(context)
    }
}

/// Gives an input its voice.
pub(super) fn input(input: Box<dyn Input>, voice: Voice) -> Box<dyn Input> {
    if voice == Voice::default() {
        input
    } else {
        Box::new(OwnInput(input, voice))
    }
}

/// Gives a filter its voice, also the common one: it runs on the thread of an input that may have
/// another.
pub(super) fn filter(filter: Box<dyn Filter>, voice: Voice) -> Box<dyn Filter> {
    Box::new(OwnFilter(filter, voice))
}

/// Gives an output its voice.
pub(super) fn output(output: Arc<dyn Output>, voice: Voice) -> Arc<dyn Output> {
    if voice == Voice::default() {
        output
    } else {
        Arc::new(OwnOutput(output, voice))
    }
}
