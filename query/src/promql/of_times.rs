//! Where steps and windows lie in lists of times, worked out once for all series that share a list.
//!
//! Series of one scrape have the same times, so that a query over thousands of them has a few lists only.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use super::error::QueryError;

/// Lists that are known at most.
const LISTS_MAX: usize = 64;
/// Steps that are known of all lists together, as long as one list has not more.
const STEPS_MAX: usize = 1 << 17;

/// What was worked out of the newest lists; of one thread.
pub(super) struct OfTimes<T> {
    known: VecDeque<(Arc<Vec<i64>>, Rc<T>)>,
    most: usize,
}

impl<T> OfTimes<T> {
    /// Of queries of so many steps.
    pub(super) fn new(n_steps: usize) -> Self {
        Self {
            known: VecDeque::new(),
            most: (STEPS_MAX / n_steps.max(1)).clamp(1, LISTS_MAX),
        }
    }

    /// What `make` makes of a list, or made of it before.
    pub(super) fn get(
        &mut self,
        times: &Arc<Vec<i64>>,
        make: impl FnOnce(&[i64]) -> Result<T, QueryError>,
    ) -> Result<Rc<T>, QueryError> {
        let mut newest_first = self.known.iter().rev();
        if let Some((_, found)) = newest_first.find(|(known, _)| Arc::ptr_eq(known, times)) {
            return Ok(Rc::clone(found));
        }
        let made = Rc::new(make(times)?);
        if self.known.len() >= self.most {
            self.known.pop_front();
        }
        self.known.push_back((Arc::clone(times), Rc::clone(&made)));
        Ok(made)
    }
}

/// Counts the times up to limits that only grow. Samples are nearly regular, so that the next limit is about as many of
/// them away as the last one was.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Advance {
    at: usize,
    jump: usize,
}

impl Advance {
    /// How many of `times` are not after `limit_ms`.
    #[inline]
    pub(super) fn to(&mut self, times: &[i64], limit_ms: i64) -> usize {
        let before = self.at;
        let (mut low, mut step) = (self.at, self.jump.max(1));
        let high = loop {
            let next = low.saturating_add(step);
            match times.get(next - 1) {
                Some(time) if *time <= limit_ms => low = next,
                Some(_) => break next - 1,
                None if step == 1 => break low,
                // Beyond the end: nearer ones are tried.
                None => {
                    step = 1;
                    continue;
                }
            }
            // The guess was right, or far from it.
            step = if low - before == self.jump {
                1
            } else {
                step * 2
            };
        };
        self.at = low + times[low..high].partition_point(|time| *time <= limit_ms);
        self.jump = self.at - before;
        self.at
    }

    /// How many it was at the last limit.
    pub(super) fn at(&self) -> usize {
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_those_of_a_search() {
        let mut state = 9u64;
        let mut random = |n: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % n
        };
        for round in 0..300 {
            let (mut times, mut time) = (Vec::new(), 0);
            for _ in 0..random(200) {
                time += match round % 3 {
                    0 => 15_000,
                    1 => 14_990 + random(20) as i64,
                    _ => {
                        let most = 1 << random(25);
                        1 + random(most) as i64
                    }
                };
                times.push(time);
            }
            let (mut limit, mut advance) = (-5, Advance::default());
            let step = 1 + random(100_000) as i64;
            while limit < time + 3 * step {
                let expected = times.partition_point(|t| *t <= limit);
                assert_eq!(advance.to(&times, limit), expected, "{limit} {times:?}");
                assert_eq!(advance.at(), expected);
                limit += if round % 2 == 0 {
                    step
                } else {
                    random(100_000) as i64
                };
            }
        }
    }

    #[test]
    fn a_list_is_looked_at_once_while_it_is_known() {
        let mut known = OfTimes::new(STEPS_MAX / 2);
        let lists: Vec<Arc<Vec<i64>>> = (0..3).map(|n| Arc::new(vec![n])).collect();
        let mut made = Vec::new();
        for at in [0, 1, 0, 1, 2, 1, 0] {
            let make = |times: &[i64]| {
                made.push(times[0]);
                Ok(times[0])
            };
            assert_eq!(*known.get(&lists[at], make).unwrap(), at as i64);
        }
        assert_eq!(made, [0, 1, 2, 0], "two fit");
    }
}
