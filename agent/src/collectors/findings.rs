//! What one collector has asked the kernel and another one of the same scrape needs too.
//!
//! Collectors of a scrape run one after the other on one thread, so what was left a moment ago is of
//! this scrape. The rule: whoever takes serves itself when nothing was left, so that each collector
//! works alone.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kansoku_parsers::kernel::link::Link;
use kansoku_parsers::kernel::stat::Stat;

/// Collectors of one scrape that follow each other are no further apart.
const LASTS: Duration = Duration::from_millis(50);

/// The places where collectors leave things for each other.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// The interfaces of our own network: the answer for a node of a hundred pods costs the kernel
    /// half a millisecond.
    pub(super) links: Left<Vec<Link>>,
    /// /proc/stat without its CPUs.
    pub(super) stat: Left<Stat>,
    /// UDP sockets of the node's network, IPv4 and IPv6.
    pub(super) udp_sockets: Left<[u64; 2]>,
    /// Bytes received and sent by our own network.
    pub(crate) octets: Left<[f64; 2]>,
}

/// One such place.
#[derive(Debug)]
pub(crate) struct Left<T> {
    /// When it was asked for; taken by who uses it, so that it serves once. Held for moments.
    last: Arc<Mutex<Option<(Instant, T)>>>,
}

impl<T> Left<T> {
    /// Leaves what was asked for at that time.
    pub(super) fn leave(&self, asked: Instant, what: T) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((asked, what));
    }

    /// What was left a moment ago.
    pub(crate) fn take(&self) -> Option<T> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (asked, what) = last.take()?;
        (asked.elapsed() <= LASTS).then_some(what)
    }
}

impl<T> Clone for Left<T> {
    fn clone(&self) -> Self {
        Self {
            last: self.last.clone(),
        }
    }
}

impl<T> Default for Left<T> {
    fn default() -> Self {
        Self {
            last: Arc::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_serves_once_and_for_a_moment() {
        let left = Left::default();
        assert_eq!(left.take(), None);
        left.leave(Instant::now() + LASTS, 1);
        assert_eq!((left.clone().take(), left.take()), (Some(1), None));
        let long_ago = Instant::now().checked_sub(2 * LASTS);
        left.leave(long_ago.expect("the machine runs for longer"), 2);
        assert_eq!(left.take(), None);
    }
}
