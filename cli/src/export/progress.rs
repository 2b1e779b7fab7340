//! How far an export is, on one line of a terminal that is gone at the end.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::output::say;

/// The line is written anew no more often than this.
const EVERY: Duration = Duration::from_millis(200);

/// Counts, and shows it when the standard error is a terminal.
pub struct Progress {
    what: &'static str,
    n: u64,
    is_shown: bool,
    is_quiet: bool,
    last: Instant,
}

impl Progress {
    /// Of lines or samples.
    #[must_use]
    pub fn new(what: &'static str, is_quiet: bool) -> Self {
        Self {
            what,
            n: 0,
            is_shown: !is_quiet && std::io::stderr().is_terminal(),
            is_quiet,
            last: Instant::now(),
        }
    }

    /// So many more; `part` of the work, from 0 to 1, is done.
    pub fn add(&mut self, n: usize, part: f64) {
        self.n += n as u64;
        if self.is_shown && self.last.elapsed() >= EVERY {
            self.last = Instant::now();
            let percent = (part.clamp(0.0, 1.0) * 100.0).floor();
            let mut err = std::io::stderr();
            let _ = write!(err, "\r\x1b[K{percent:3} %  {} {}", self.n, self.what);
            let _ = err.flush();
        }
    }

    /// All is done.
    pub fn end(&mut self, file: &Path) {
        if self.is_shown {
            clear();
        }
        if !self.is_quiet && file != Path::new("-") {
            say(&format!(
                "{} {} written to {}",
                self.n,
                self.what,
                file.display()
            ));
        }
        self.is_shown = false;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            clear();
        }
    }
}

/// Takes the line away.
fn clear() {
    let mut err = std::io::stderr();
    let _ = err.write_all(b"\r\x1b[K").and_then(|()| err.flush());
}
