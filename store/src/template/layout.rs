//! The structure of encoded lines: which columns there are and where their bytes lie.
//!
//! Reading it touches none of the other streams, so that a search can ask for single columns. The
//! rule: what is promised is checked against what the decoder may take before anything is taken.

use super::packed::Plan;
use super::{DAMAGED, DEPTH_MAX, Parts, clock, tag};
use crate::bytes::{Malformed, Reader};
use crate::column::ROWS_MAX;

/// One column of `n_rows` values.
#[derive(Debug)]
pub struct Column<'a> {
    pub n_rows: usize,
    pub layout: Layout<'a>,
}

/// How its values are stored. All bytes are of the streams.
#[derive(Debug)]
pub enum Layout<'a> {
    Constant(&'a [u8]),
    Integers {
        width: usize,
        values: &'a [u8],
    },
    Decimals {
        width: usize,
        scales: &'a [u8],
        mantissas: &'a [u8],
    },
    Times {
        format: clock::Format,
        distances: &'a [u8],
    },
    Packed {
        plan: Plan,
        data: &'a [u8],
    },
    Dictionary {
        n_entries: usize,
        lens: &'a [u8],
        texts: &'a [u8],
        codes: &'a [u8],
    },
    Raw {
        lens: &'a [u8],
        texts: &'a [u8],
    },
    Templates(Templates<'a>),
}

#[derive(Debug)]
pub struct Templates<'a> {
    pub templates: Vec<Template<'a>>,
    pub ids: &'a [u8],
    /// The values that are of no template.
    pub whole: Option<Box<Column<'a>>>,
}

#[derive(Debug)]
pub struct Template<'a> {
    /// One more than columns.
    pub pieces: Vec<&'a [u8]>,
    pub columns: Vec<Column<'a>>,
    pub n_rows: usize,
}

/// Reads the structure of `n_rows` lines that take `text_bytes` together.
pub fn read<'a>(
    parts: Parts<'a>,
    n_rows: usize,
    text_bytes: usize,
) -> Result<Column<'a>, Malformed> {
    if n_rows > ROWS_MAX {
        return Err(Malformed("more rows than a column may have"));
    }
    let mut parser = Parser {
        structure: Reader::new(parts.structure),
        numbers: Reader::new(parts.numbers),
        texts: Reader::new(parts.texts),
        packed: Reader::new(parts.packed),
        // A value of a slot has a byte at least, on every level.
        cells_left: text_bytes
            .saturating_add(n_rows)
            .saturating_mul(DEPTH_MAX + 1),
    };
    let column = parser.column(n_rows, 0, 0)?;
    parser.structure.end()?;
    parser.numbers.end()?;
    parser.texts.end()?;
    parser.packed.end()?;
    Ok(column)
}

struct Parser<'a> {
    structure: Reader<'a>,
    numbers: Reader<'a>,
    texts: Reader<'a>,
    packed: Reader<'a>,
    /// Values that may still be promised.
    cells_left: usize,
}

impl<'a> Parser<'a> {
    fn len(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.structure.varint()?).map_err(|_| DAMAGED)
    }

    fn number_bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let n = self.len()?;
        self.numbers.take(n)
    }

    fn text_bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let n = self.len()?;
        self.texts.take(n)
    }

    fn width(&mut self) -> Result<usize, Malformed> {
        let width = self.len()?;
        if width > 18 {
            return Err(Malformed("number wider than 18 digits"));
        }
        Ok(width)
    }

    /// A column of values of `kind`, at `depth` columns below the lines.
    fn column(&mut self, n_rows: usize, kind: u8, depth: usize) -> Result<Column<'a>, Malformed> {
        let tag = self.structure.byte()?;
        if tag != tag::CONSTANT {
            self.cells_left = self.cells_left.checked_sub(n_rows).ok_or(DAMAGED)?;
        }
        if (tag == tag::TIMES) != (kind != 0) {
            return Err(Malformed("times in a column of texts or the reverse"));
        }
        let layout = match tag {
            tag::CONSTANT => Layout::Constant(self.structure.text()?),
            tag::INTEGERS => Layout::Integers {
                width: self.width()?,
                values: self.number_bytes()?,
            },
            tag::DECIMALS => Layout::Decimals {
                width: self.width()?,
                scales: self.number_bytes()?,
                mantissas: self.number_bytes()?,
            },
            tag::TIMES => Layout::Times {
                format: clock::Format::from_byte(kind).ok_or(DAMAGED)?,
                distances: self.number_bytes()?,
            },
            tag::PACKED => {
                let plan = Plan::read(&mut self.structure)?;
                let n = plan.data_len(n_rows).ok_or(DAMAGED)?;
                Layout::Packed {
                    data: self.packed.take(n)?,
                    plan,
                }
            }
            tag::DICTIONARY => {
                let n_entries = self.len()?;
                if n_entries > n_rows {
                    return Err(Malformed("dictionary larger than its column"));
                }
                Layout::Dictionary {
                    n_entries,
                    lens: self.number_bytes()?,
                    texts: self.text_bytes()?,
                    codes: self.number_bytes()?,
                }
            }
            tag::RAW => Layout::Raw {
                lens: self.number_bytes()?,
                texts: self.text_bytes()?,
            },
            tag::TEMPLATES if depth < DEPTH_MAX => {
                Layout::Templates(self.templates(n_rows, depth)?)
            }
            _ => return Err(Malformed("unknown layout of a column")),
        };
        Ok(Column { n_rows, layout })
    }

    fn templates(&mut self, n_rows: usize, depth: usize) -> Result<Templates<'a>, Malformed> {
        let n = self.structure.count(3)?;
        let mut templates = Vec::new();
        let mut kinds = Vec::new();
        let mut n_whole = n_rows;
        for _ in 0..n {
            let n_rows = self.len()?;
            n_whole = n_whole.checked_sub(n_rows).ok_or(DAMAGED)?;
            let n_slots = self.structure.count(1)?;
            kinds.push(self.structure.take(n_slots)?);
            let pieces = (0..=n_slots)
                .map(|_| self.structure.text())
                .collect::<Result<_, _>>()?;
            templates.push(Template {
                pieces,
                columns: Vec::new(),
                n_rows,
            });
        }
        let ids = self.number_bytes()?;
        let whole = match n_whole {
            0 => None,
            n => Some(Box::new(self.column(n, 0, depth + 1)?)),
        };
        for (template, kinds) in templates.iter_mut().zip(kinds) {
            template.columns = kinds
                .iter()
                .map(|kind| self.column(template.n_rows, *kind, depth + 1))
                .collect::<Result<_, _>>()?;
        }
        Ok(Templates {
            templates,
            ids,
            whole,
        })
    }
}
