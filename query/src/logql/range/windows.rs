//! Which steps an entry counts for.
//!
//! The range of the step at `t` holds the entries after `t - range` and up to `t`. All arithmetic
//! saturates or is done in 128 bits: times come from outside.

/// The moments a query is evaluated at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    pub start_ns: i64,
    /// At least one.
    pub step_ns: i64,
    /// At least one.
    pub n: usize,
}

impl Steps {
    /// One moment.
    #[must_use]
    pub fn instant(time_ns: i64) -> Self {
        Self {
            start_ns: time_ns,
            step_ns: 1,
            n: 1,
        }
    }

    /// The time of step number `k`.
    #[must_use]
    pub fn time_ns(&self, k: usize) -> i64 {
        let offset = i64::try_from(k).unwrap_or(i64::MAX);
        self.start_ns
            .saturating_add(self.step_ns.saturating_mul(offset))
    }

    /// The time of the last step.
    #[must_use]
    pub fn last_ns(&self) -> i64 {
        self.time_ns(self.n - 1)
    }

    /// The same steps earlier by an offset.
    #[must_use]
    pub fn earlier(&self, offset_ns: i64) -> Self {
        Self {
            start_ns: self.start_ns.saturating_sub(offset_ns),
            ..*self
        }
    }
}

/// Finds the steps for one time after the other; neighbours in time cost no division.
#[derive(Debug)]
pub struct WindowCursor {
    steps: Steps,
    range_ns: i64,
    /// Times in `from..=to` all have the answer `found`.
    from: i64,
    to: i64,
    found: Option<(usize, usize)>,
}

impl WindowCursor {
    /// A cursor for ranges that end at `steps`.
    #[must_use]
    pub fn new(steps: Steps, range_ns: i64) -> Self {
        Self {
            steps,
            range_ns,
            from: 1,
            to: 0,
            found: None,
        }
    }

    /// The first and the last step whose range holds `time_ns`.
    pub fn steps_of(&mut self, time_ns: i64) -> Option<(usize, usize)> {
        if time_ns < self.from || time_ns > self.to {
            self.locate(time_ns);
        }
        self.found
    }

    fn locate(&mut self, time_ns: i64) {
        if self.steps.n == 1 {
            return self.locate_in_one(time_ns);
        }
        let (start, step) = (
            i128::from(self.steps.start_ns),
            i128::from(self.steps.step_ns),
        );
        let (time, range) = (i128::from(time_ns), i128::from(self.range_ns));
        // The first step at or after the time, and the last whose range reaches back to it.
        let low = (time - start + step - 1).div_euclid(step);
        let high = (time + range - 1 - start).div_euclid(step);
        // Both stay the same from after the step before `low` (and from where `high` was reached)
        // to `low` itself (and to where `high` ends).
        let from = (start + (low - 1) * step + 1).max(start + high * step - range + 1);
        let to = (start + low * step).min(start + (high + 1) * step - range);
        let clamp = |n: i128| n.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
        (self.from, self.to) = (clamp(from), clamp(to));
        let n = self.steps.n as i128;
        let (low, high) = (low.max(0), high.min(n - 1));
        self.found = (low <= high).then_some((low as usize, high as usize));
    }

    /// Of a single step, whose length says nothing: before its range, in it, or after it.
    fn locate_in_one(&mut self, time_ns: i64) {
        let end = self.steps.start_ns;
        let start = end.saturating_sub(self.range_ns);
        let is_after_start = i128::from(time_ns) > i128::from(end) - i128::from(self.range_ns);
        (self.from, self.to, self.found) = match (is_after_start, time_ns <= end) {
            (false, _) => (i64::MIN, start, None),
            (true, true) => (start.saturating_add(1).min(time_ns), end, Some((0, 0))),
            (true, false) => (end.saturating_add(1), i64::MAX, None),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_has_the_steps_that_the_definition_gives() {
        let shapes = [(10, 10), (10, 25), (10, 3), (7, 20), (1, 1), (5, 100)];
        for (n, (step, range)) in [1, 6].into_iter().flat_map(|n| shapes.map(|s| (n, s))) {
            let steps = Steps {
                start_ns: 100,
                step_ns: step,
                n,
            };
            let mut cursor = WindowCursor::new(steps, range);
            for time in (50..200).chain((50..200).rev()).chain([120, 90, 121]) {
                let holding: Vec<usize> = (0..steps.n)
                    .filter(|k| {
                        let end = steps.time_ns(*k);
                        end - range < time && time <= end
                    })
                    .collect();
                let expected = holding
                    .first()
                    .map(|first| (*first, holding[holding.len() - 1]));
                assert_eq!(
                    cursor.steps_of(time),
                    expected,
                    "time {time} step {step} range {range}"
                );
            }
        }
    }

    #[test]
    fn extreme_times_do_not_overflow() {
        let steps = Steps {
            start_ns: i64::MIN,
            step_ns: i64::MAX,
            n: 3,
        };
        let mut cursor = WindowCursor::new(steps, i64::MAX);
        for time in [i64::MIN, -1, 0, i64::MAX] {
            cursor.steps_of(time);
        }
        assert_eq!(steps.earlier(1).start_ns, i64::MIN);
    }
}
