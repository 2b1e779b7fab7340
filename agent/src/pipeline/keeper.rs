//! The pipeline's own thread: it calls filters that keep records when their time has come.
//!
//! It holds the gates of the inputs concerned while it does, and waits for no room: what filters
//! kept has been paid for before.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::core::{Core, Whose};

/// Filters are not asked more often than this, whatever they wish.
const MIN_FLUSH_EVERY: Duration = Duration::from_millis(10);
/// After the agent was told to stop, inputs wait for what filters still keep.
const FLUSH_WHILE_STOPPING_EVERY: Duration = Duration::from_millis(50);

/// A filter that wants to be called from time to time.
struct Chore {
    whose: Whose,
    number: usize,
    every: Duration,
    next: Instant,
}

pub(super) struct Keeper {
    core: Arc<Core>,
    chores: Vec<Chore>,
    stop: Receiver<()>,
    /// Ends the thread.
    end: Receiver<()>,
}

impl Keeper {
    pub(super) fn new(core: Arc<Core>, stop: Receiver<()>, end: Receiver<()>) -> Self {
        let now = Instant::now();
        let mut chores = Vec::new();
        for whose in core.everybody() {
            for (number, stage) in core.stages(whose).iter().enumerate() {
                if let Some(every) = stage.filter.flush_every() {
                    let every = every.max(MIN_FLUSH_EVERY);
                    chores.push(Chore {
                        whose,
                        number,
                        every,
                        next: now + every,
                    });
                }
            }
        }
        Self {
            core,
            chores,
            stop,
            end,
        }
    }

    /// Whether there is anything to do.
    pub(super) fn is_needed(&self) -> bool {
        !self.chores.is_empty()
    }

    pub(super) fn run(mut self) {
        let mut stopping = false;
        loop {
            let next = self.chores.iter().map(|c| c.next).min();
            let mut wake = next.map_or_else(crossbeam_channel::never, crossbeam_channel::at);
            if stopping {
                wake = crossbeam_channel::after(FLUSH_WHILE_STOPPING_EVERY);
            }
            let stop = if stopping {
                crossbeam_channel::never()
            } else {
                self.stop.clone()
            };
            crossbeam_channel::select! {
                recv(self.end) -> _ => return,
                recv(stop) -> _ => stopping = true,
                recv(wake) -> _ => {}
            }
            if stopping {
                self.core.flush_all();
            } else {
                self.do_chores();
            }
        }
    }

    fn do_chores(&mut self) {
        let now = Instant::now();
        for chore in self.chores.iter_mut().filter(|c| c.next <= now) {
            self.core.flush(chore.whose, chore.number, false);
            chore.next = now + chore.every;
        }
    }
}
