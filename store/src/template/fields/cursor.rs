//! A place in a template: the next byte of a piece, the next slot, or the end.

use crate::template::layout::{Column, Template};

/// What comes next in a template.
#[derive(Debug, Clone, Copy)]
pub enum Next<'a> {
    Byte(u8),
    Slot(usize, &'a Column<'a>),
    End,
}

#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a> {
    template: &'a Template<'a>,
    /// The piece and the place in it that come next.
    pub piece: usize,
    pub at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(template: &'a Template<'a>) -> Self {
        Self {
            template,
            piece: 0,
            at: 0,
        }
    }

    pub fn next(&self) -> Next<'a> {
        match self.template.pieces[self.piece].get(self.at) {
            Some(byte) => Next::Byte(*byte),
            None => match self.template.columns.get(self.piece) {
                Some(column) => Next::Slot(self.piece, column),
                None => Next::End,
            },
        }
    }

    /// What is left of the piece.
    pub fn rest(&self) -> &'a [u8] {
        &self.template.pieces[self.piece][self.at..]
    }

    /// Goes on behind the slot that comes next.
    pub fn pass_slot(&mut self) {
        (self.piece, self.at) = (self.piece + 1, 0);
    }

    /// Passes what JSON takes for blanks.
    pub fn skip_blanks(&mut self) {
        while matches!(self.next(), Next::Byte(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Takes a byte, and blanks before it.
    pub fn accept(&mut self, byte: u8) -> bool {
        self.skip_blanks();
        let is_next = matches!(self.next(), Next::Byte(b) if b == byte);
        self.at += usize::from(is_next);
        is_next
    }
}
