//! Several readers of one generation: outputs that have fallen behind, and going back to an earlier
//! place.
//!
//! It reads no lines and gives no batches. The rule: a reader that begins at a place where a batch
//! began makes the same records as the one before it.

use std::io;
use std::time::Instant;

use kansoku_model::Position;

use super::{Before, Generation, Lag, Start, bytes_before, keep_cuts};
use crate::inputs::tail::lines::{LineRules, LineScratch, Lines};
use crate::offsets::{Cut, Print};
use crate::pipeline::OutputSet;

impl Generation {
    /// A reader for one output, which begins where the batch of the newest flight begins.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(in crate::inputs::tail) fn lagging(&self, main: u64, output: usize) -> io::Result<Self> {
        let start = self.flights.back().map_or(self.start, |f| f.from);
        self.lagging_from(main, output, start)
    }

    /// The same from another place.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(in crate::inputs::tail) fn lagging_from(
        &self,
        main: u64,
        output: usize,
        start: Start,
    ) -> io::Result<Self> {
        let mut checkpoint = self.checkpoint.clone();
        checkpoint.offset = start.offset;
        checkpoint.sent = start.sent;
        checkpoint.marker = start.before.print();
        keep_cuts(&mut checkpoint.cuts, start.offset);
        let (tag, resource) = (self.tag.clone(), self.resource.clone());
        let (file, real) = (self.file.again()?, self.real.clone());
        let only = OutputSet::one(output);
        let mut reader = Self::new(checkpoint, file, real, tag, resource, only)?;
        reader.start = start;
        reader.before = start.before.as_slice().to_vec();
        reader.lag = Some(Lag {
            main,
            output,
            merged: false,
        });
        reader.ends = self.ends.clone();
        reader.ranges = self.ranges.clone();
        reader.begun = self.begun;
        if let Some(inherited) = self.inherited.clone() {
            reader.inherit(inherited);
        }
        reader.must_save = false;
        reader.dirty = false;
        Ok(reader)
    }

    /// The place that a stored cursor speaks of.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(in crate::inputs::tail) fn place_of(
        &self,
        offset: u64,
        sent: Position,
    ) -> io::Result<Start> {
        let before = Before::of(&bytes_before(&self.file, offset)?);
        Ok(Start {
            offset,
            sent,
            before,
        })
    }

    /// Where nothing has been read yet in this life.
    pub(in crate::inputs::tail) fn start(&self) -> Start {
        self.start
    }

    /// Nobody took the newest batch: it is read again.
    pub(in crate::inputs::tail) fn rewind(&mut self) {
        let Some(flight) = self.flights.pop_back() else {
            return;
        };
        self.start = flight.from;
        self.offset = self.start.offset;
        self.before = self.start.before.as_slice().to_vec();
        let mut cuts = self.checkpoint.cuts.clone();
        keep_cuts(&mut cuts, self.offset);
        self.lines = self.lines_from(self.start, cuts);
        self.boundary = (self.offset, None, self.lines.mark());
        self.knows_encoding = false;
        self.long_line = None;
        self.searched = 0;
        self.open = None;
        self.full = false;
        self.hot = true;
        self.quiet_turns = 0;
    }

    /// Reads on from a place further ahead, for these outputs.
    pub(in crate::inputs::tail) fn jump_to(&mut self, start: Start, outputs: OutputSet) {
        let offset = start.offset;
        self.before = start.before.as_slice().to_vec();
        self.checkpoint.offset = offset;
        self.checkpoint.sent = start.sent;
        self.checkpoint.marker = start.before.print();
        keep_cuts(&mut self.checkpoint.cuts, offset);
        self.start = start;
        self.lines = self.lines_from(start, self.checkpoint.cuts.clone());
        self.boundary = (offset, None, self.lines.mark());
        self.offset = offset;
        self.outputs = outputs;
    }

    /// The state of reading at a place where a batch began.
    fn lines_from(&self, start: Start, cuts: Vec<Cut>) -> Lines {
        let mut lines = Lines::new(start.offset, start.sent, cuts);
        if let Some(inherited) = self.inherited.as_ref().filter(|_| start.offset == 0) {
            lines.inherit(inherited);
        }
        lines
    }

    /// These outputs did not take the newest batch, and get it from a reader of their own.
    pub(in crate::inputs::tail) fn leave_behind(&mut self, outputs: OutputSet) {
        self.outputs = self.outputs.without(outputs);
        if let Some(flight) = self.flights.back_mut() {
            flight.pending = flight.pending.without(outputs);
        }
        self.land();
    }

    /// How far the outputs have been served that are not left behind: where the batch under
    /// construction begins.
    pub(in crate::inputs::tail) fn boundary_offset(&self) -> u64 {
        self.boundary.0
    }

    /// Whether this reader stands where `main` is about to give its next batch, in the same state.
    pub(in crate::inputs::tail) fn has_reached(&self, main: &Self) -> bool {
        self.open.is_none() && (self.offset, self.long_line, self.lines.mark()) == main.boundary
    }

    /// Another reader of this generation, which was further or at the same place, cut what it joins:
    /// so does this one.
    pub(in crate::inputs::tail) fn expect_cuts(
        &mut self,
        cuts: &[Cut],
        rules: &LineRules,
        scratch: &mut LineScratch,
        now: (Instant, i64),
    ) {
        for cut in cuts {
            self.lines.expect_cut(*cut);
            self.checkpoint.cuts.push(*cut);
        }
        if cuts.iter().any(|cut| cut.offset <= self.offset) {
            let offset = self.offset;
            self.with_lines(rules, scratch, now, |lines, open, feed| {
                lines.replay_cuts(open, feed, offset);
            });
        }
    }

    /// Whether an output is not done with a batch of this reader.
    pub(in crate::inputs::tail) fn is_pending_for(&self, output: usize) -> bool {
        self.flights.iter().any(|f| f.pending.contains(output))
    }

    /// How far one of its outputs has got: offset, marker and last position.
    pub(in crate::inputs::tail) fn cursor_of(&self, output: usize) -> (u64, Print, Position) {
        let done = self
            .flights
            .iter()
            .take_while(|f| !f.pending.contains(output));
        match done.last() {
            Some(flight) => (flight.offset, flight.marker, flight.sent),
            None => {
                let c = &self.checkpoint;
                (c.offset, c.marker, c.sent)
            }
        }
    }
}
