//! What is unfinished at the end of a generation and goes on in the next one: a log that was rotated
//! in the middle of a record.
//!
//! The older generation keeps what it handed on, so that its offset stays before it, and the younger
//! one begins with a copy. The rule: the younger one's offset stays at 0 until that copy has become
//! a record and is delivered; only then may the older one let go, and both rows are saved together.

use super::grouping::Groups;
use super::joining::Pending;
use super::{Cut, Feed, Lines, N_SLOTS, OpenBatch, oldest};

/// The unfinished records of a generation.
#[derive(Clone, Default)]
pub(in crate::inputs::tail) struct Waiting {
    pending: [Option<Box<Pending>>; 2],
    groups: Option<Box<[Groups; 2]>>,
}

impl Waiting {
    pub(super) fn oldest(&self) -> Option<u64> {
        oldest(&self.pending, self.groups.as_deref())
    }
}

impl Lines {
    /// Sets aside what waits, for the next generation. Lines that still come begin anew.
    pub(super) fn hand_on(&mut self) {
        let waiting = Waiting {
            pending: std::mem::take(&mut self.pending),
            groups: self.groups.take(),
        };
        self.handed = waiting.oldest().map(|_| Box::new(waiting));
    }

    pub(in crate::inputs::tail) fn has_handed(&self) -> bool {
        self.handed.is_some()
    }

    /// What was set aside, as it stands before the first line of the next generation.
    pub(in crate::inputs::tail) fn handed(&self) -> Option<Waiting> {
        let mut waiting = Waiting::clone(self.handed.as_ref()?);
        let pending = waiting.pending.iter_mut().flatten();
        pending.for_each(|pending| pending.start = 0);
        let groups = waiting
            .groups
            .iter_mut()
            .flat_map(|groups| groups.iter_mut());
        groups.for_each(Groups::move_to_start);
        Some(waiting)
    }

    /// Begins with what the generation before this one has set aside.
    pub(in crate::inputs::tail) fn inherit(&mut self, waiting: &Waiting) {
        let Waiting { pending, groups } = waiting.clone();
        self.pending = pending;
        self.groups = groups;
    }

    /// What was set aside is delivered.
    pub(in crate::inputs::tail) fn let_handed_go(&mut self) {
        self.handed = None;
    }

    /// What was set aside goes out as it is.
    pub(super) fn flush_handed(&mut self, out: &mut OpenBatch, feed: &mut Feed<'_>, cut: Cut) {
        let Some(handed) = self.handed.take() else {
            return;
        };
        let pending = std::mem::replace(&mut self.pending, handed.pending);
        let groups = std::mem::replace(&mut self.groups, handed.groups);
        let everything = Cut {
            streams: (1 << N_SLOTS) - 1,
            ..cut
        };
        self.flush_slots(out, feed, everything);
        self.pending = pending;
        self.groups = groups;
    }
}
