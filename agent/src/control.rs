//! What signals and the HTTP server ask of the running agent: stop, reload, dump.
//!
//! Requests wait in one short queue that the main thread empties between two looks at the pipeline. At
//! most one reload waits or runs; another one is refused instead of queued.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use tokio::sync::oneshot;

/// Requests that may wait: one stop, one reload, and a few dumps.
const MAX_WAITING: usize = 8;

/// One request.
#[derive(Debug)]
pub enum Event {
    /// Let the inputs end and the outputs drain.
    Stop,
    /// Read the configuration again. Who asks hears whether it could be used.
    Reload(oneshot::Sender<ReloadAnswer>),
    /// Write the state to standard error.
    Dump,
}

/// What became of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReloadAnswer {
    /// The new configuration takes over.
    Done,
    /// It has these mistakes; the old one goes on.
    Refused(Vec<String>),
}

/// Why a reload does not even begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoReload {
    /// Neither `hot_reload on` nor `-Y`.
    NotEnabled,
    InProgress,
    /// The agent is leaving.
    Stopping,
}

impl NoReload {
    /// Fluent Bit's words.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::NotEnabled => "not enabled; set hot_reload on in [SERVICE], or start with -Y",
            Self::InProgress => "in progress",
            Self::Stopping => "the agent is stopping",
        }
    }
}

/// The asking end, shared by all who ask.
#[derive(Debug)]
pub struct Control {
    events: Sender<Event>,
    /// Set while a reload waits or runs.
    reloading: AtomicBool,
    enabled: AtomicBool,
    n_reloads: AtomicU64,
}

impl Control {
    /// A control and the end at which the main thread hears.
    #[must_use]
    pub fn new(hot_reload: bool) -> (Self, Receiver<Event>) {
        let (events, receiver) = crossbeam_channel::bounded(MAX_WAITING);
        let control = Self {
            events,
            reloading: AtomicBool::new(false),
            enabled: AtomicBool::new(hot_reload),
            n_reloads: AtomicU64::new(0),
        };
        (control, receiver)
    }

    /// Asks for the end. `false` when the queue is full: ask again.
    pub fn stop(&self) -> bool {
        !matches!(
            self.events.try_send(Event::Stop),
            Err(TrySendError::Full(_))
        )
    }

    /// Asks for a dump; dropped when others wait.
    pub fn dump(&self) {
        if self.events.len() < MAX_WAITING / 2 {
            // The main thread is leaving, or busy: the next one will be written.
            let _ = self.events.try_send(Event::Dump);
        }
    }

    /// Asks for a reload.
    ///
    /// # Errors
    /// Why it does not begin.
    pub fn reload(&self) -> Result<oneshot::Receiver<ReloadAnswer>, NoReload> {
        if !self.enabled.load(Ordering::Acquire) {
            return Err(NoReload::NotEnabled);
        }
        if self.reloading.swap(true, Ordering::AcqRel) {
            return Err(NoReload::InProgress);
        }
        let (answer, receiver) = oneshot::channel();
        match self.events.try_send(Event::Reload(answer)) {
            Ok(()) => Ok(receiver),
            Err(_) => {
                self.reloading.store(false, Ordering::Release);
                Err(NoReload::Stopping)
            }
        }
    }

    /// The reload at hand has come to its end; `hot_reload` is what the configuration in force says.
    pub fn reloaded(&self, done: bool, hot_reload: bool) {
        self.n_reloads.fetch_add(u64::from(done), Ordering::AcqRel);
        self.enabled.store(hot_reload, Ordering::Release);
        self.reloading.store(false, Ordering::Release);
    }

    /// How many reloads were done.
    #[must_use]
    pub fn n_reloads(&self) -> u64 {
        self.n_reloads.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reload_at_a_time_and_only_when_enabled() {
        let (control, events) = Control::new(false);
        assert_eq!(control.reload().err(), Some(NoReload::NotEnabled));
        control.reloaded(false, true);
        let mut answer = control.reload().expect("accepted");
        assert_eq!(control.reload().err(), Some(NoReload::InProgress));
        let Ok(Event::Reload(sender)) = events.try_recv() else {
            panic!("a reload waits")
        };
        sender.send(ReloadAnswer::Done).expect("somebody listens");
        control.reloaded(true, true);
        assert_eq!(answer.try_recv(), Ok(ReloadAnswer::Done));
        assert_eq!(control.n_reloads(), 1);
        for _ in 0..100 {
            control.dump();
        }
        assert!(control.stop() && control.reload().is_ok());
        assert!(events.len() < MAX_WAITING);
        drop(events);
        assert!(control.stop(), "nobody is there to be stopped");
    }
}
