//! What waits for lines to come and is not to wait any longer.
//!
//! It does not decide when that is. The rule: every cut is noted in the row before what was cut is
//! sent, so that a second reading cuts alike.

use std::sync::Arc;
use std::time::Instant;

use super::Generation;
use crate::inputs::tail::lines::{Feed, LineRules, LineScratch, Lines, OpenBatch, Waiting};

impl Generation {
    /// What has waited too long goes out as it is; the cut is noted so that a second reading after a
    /// crash cuts alike.
    pub(in crate::inputs::tail) fn cut_due(
        &mut self,
        rules: &LineRules,
        scratch: &mut LineScratch,
        now: (Instant, i64),
    ) {
        let slots = self.lines.due(rules, now.0);
        self.cut(rules, scratch, now, slots);
    }

    /// Nothing more will come: everything that waits goes out as it is.
    pub(in crate::inputs::tail) fn cut_all(
        &mut self,
        rules: &LineRules,
        scratch: &mut LineScratch,
        now: (Instant, i64),
    ) {
        // A partial line that is cut may join a group, which then has to go, too.
        for _ in 0..2 {
            let slots = self.lines.waiting();
            self.cut(rules, scratch, now, slots);
        }
    }

    pub(in crate::inputs::tail) fn cut(
        &mut self,
        rules: &LineRules,
        scratch: &mut LineScratch,
        now: (Instant, i64),
        slots: u8,
    ) {
        if slots == 0 {
            return;
        }
        let offset = self.offset;
        let cut = self.with_lines(rules, scratch, now, |lines, open, feed| {
            lines.cut(open, feed, offset, slots)
        });
        self.checkpoint.cuts.push(cut);
        self.must_save = true;
    }

    /// Works on what waits, with the batch under construction.
    pub(super) fn with_lines<T>(
        &mut self,
        rules: &LineRules,
        scratch: &mut LineScratch,
        now: (Instant, i64),
        work: impl FnOnce(&mut Lines, &mut OpenBatch, &mut Feed<'_>) -> T,
    ) -> T {
        let from = self.lines.last();
        let open = self.open.get_or_insert_with(|| {
            OpenBatch::new(self.tag.clone(), self.resource.clone(), 0, from)
        });
        let mut feed = Feed {
            rules,
            path: &self.checkpoint.path,
            now: now.0,
            now_ns: now.1,
            scratch,
        };
        work(&mut self.lines, open, &mut feed)
    }

    /// What waits here, that the next generation may bring the rest of.
    pub(in crate::inputs::tail) fn handed(&self) -> Option<Waiting> {
        self.lines.handed()
    }

    /// Whether the next generation has, or is to get, what was unfinished at the end of this one.
    pub(in crate::inputs::tail) fn has_handed(&self) -> bool {
        self.lines.has_handed()
    }

    /// Takes over what the generation before this one left unfinished. Until it has been delivered
    /// the offset stays at 0.
    pub(in crate::inputs::tail) fn inherit(&mut self, unfinished: Arc<Waiting>) {
        self.begun = true;
        if self.offset == 0 {
            self.lines.inherit(&unfinished);
        }
        self.inherited = Some(unfinished);
    }
}
