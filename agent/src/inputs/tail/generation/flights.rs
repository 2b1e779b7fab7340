//! Batches that have been handed on, until they are acknowledged.
//!
//! The rule: the checkpoint moves over what is acknowledged without a gap, and never beyond what is
//! still unfinished.

use std::io;

use kansoku_model::RecordBatch;

use super::{Before, Flight, Generation, Start, bytes_before, keep_cuts};
use crate::pipeline::OutputSet;

impl Generation {
    /// Takes the batch out for sending, with the number of its flight. `None` when it has no record;
    /// the way is then cleared at once.
    ///
    /// # Errors
    /// When the bytes before the offset cannot be read.
    pub(in crate::inputs::tail) fn take_batch(&mut self) -> io::Result<Option<(RecordBatch, u64)>> {
        let Some(mut open) = self.open.take() else {
            return Ok(None);
        };
        self.full = false;
        self.lines.seal(&mut open, self.checkpoint.source);
        let is_empty = open.logs.is_empty();
        let first_ns = open.logs.times().first().copied();
        let pending = if is_empty {
            OutputSet::EMPTY
        } else {
            self.outputs
        };
        let number = self.depart(pending, first_ns)?;
        if is_empty {
            self.land();
            return Ok(None);
        }
        Ok(Some((RecordBatch::Logs(open.logs), number)))
    }

    /// Everything read so far has been handed on, at last to `pending`.
    fn depart(&mut self, pending: OutputSet, first_ns: Option<i64>) -> io::Result<u64> {
        let (offset, before) = self.resume_place()?;
        let sent = self.lines.last();
        let start = Start {
            offset,
            sent,
            before,
        };
        let from = std::mem::replace(&mut self.start, start);
        self.boundary = (self.offset, self.long_line, self.lines.mark());
        self.flights.push_back(Flight {
            offset,
            marker: before.print(),
            sent,
            pending,
            from,
            first_ns,
        });
        Ok(self.first_flight + self.flights.len() as u64 - 1)
    }

    /// Where reading resumes once everything read so far is delivered, and what stands before that.
    fn resume_place(&self) -> io::Result<(u64, Before)> {
        let offset = self.resume_offset();
        if offset == self.offset {
            return Ok((offset, Before::of(&self.before)));
        }
        let before = Before::of(&bytes_before(&self.file, offset)?);
        // Something else may stand there since a truncation; an older place is as good, because what
        // has been sent is not made again.
        if bytes_before(&self.file, self.offset)? != self.before {
            return Ok((self.start.offset, self.start.before));
        }
        Ok((offset, before))
    }

    /// What was unfinished at the end has been delivered with the generation after this one.
    ///
    /// # Errors
    /// When the bytes before the offset cannot be read.
    pub(in crate::inputs::tail) fn let_handed_go(&mut self) -> io::Result<()> {
        self.lines.let_handed_go();
        self.dirty = true;
        if self.open.is_none() {
            self.depart(OutputSet::EMPTY, None)?;
            self.land();
        }
        Ok(())
    }

    /// Outputs are done with a flight.
    pub(in crate::inputs::tail) fn acknowledge(&mut self, number: u64, outputs: OutputSet) {
        let index = number.wrapping_sub(self.first_flight) as usize;
        if let Some(flight) = self.flights.get_mut(index) {
            flight.pending = flight.pending.without(outputs);
            // A cursor may have moved.
            self.dirty |= self.outputs.len() > 1;
        }
        self.land();
    }

    /// Moves the checkpoint over what is acknowledged without a gap.
    pub(super) fn land(&mut self) {
        while let Some(flight) = self.flights.front().filter(|f| f.pending.is_empty()) {
            self.checkpoint.offset = flight.offset;
            self.checkpoint.marker = flight.marker;
            self.checkpoint.sent = flight.sent;
            keep_cuts(&mut self.checkpoint.cuts, flight.offset);
            self.dirty = true;
            self.flights.pop_front();
            self.first_flight += 1;
        }
    }
}
