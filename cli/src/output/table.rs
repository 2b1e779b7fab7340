//! A table: headings, rows, and its text with aligned columns.

use unicode_width::UnicodeWidthStr;

use super::color::Palette;

/// Between columns, as kubectl does it.
const GAP: usize = 3;
/// A cell is filled up to this width at most; a longer one pushes its row aside and not all others.
const FILL_MAX: usize = 80;

/// Headings and rows; every row has as many cells as there are headings.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Table {
    pub headings: Vec<String>,
    pub rows: Vec<Vec<String>>,
    /// Whether the headings are left out.
    pub is_bare: bool,
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new<S: Into<String>>(headings: impl IntoIterator<Item = S>) -> Self {
        Self {
            headings: headings.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// Adds a row.
    pub fn push<S: Into<String>>(&mut self, row: impl IntoIterator<Item = S>) {
        let row: Vec<String> = row.into_iter().map(Into::into).collect();
        debug_assert_eq!(row.len(), self.headings.len());
        self.rows.push(row);
    }

    /// Lines with aligned columns, in upper-case headings.
    #[must_use]
    pub fn text(&self, palette: Palette) -> String {
        let headings: Vec<String> = self.headings.iter().map(|h| printable(h)).collect();
        let rows: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|r| r.iter().map(|c| printable(c)).collect())
            .collect();
        let mut widths = vec![0; headings.len()];
        let heads = (!self.is_bare).then_some(&headings);
        for row in heads.into_iter().chain(&rows) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width()).min(FILL_MAX);
            }
        }
        let mut out = String::new();
        if let Some(headings) = heads {
            let line = aligned(headings, &widths);
            out.push_str(&palette.heading(&line));
            out.push('\n');
        }
        for row in &rows {
            out.push_str(&aligned(row, &widths));
            out.push('\n');
        }
        out
    }
}

fn aligned(cells: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        line.push_str(cell);
        let fill = width.saturating_sub(cell.width()) + GAP;
        line.extend(std::iter::repeat_n(' ', fill));
    }
    line.truncate(line.trim_end().len());
    line
}

/// Hostile text must not move the cursor or turn a line around: such characters are written out.
#[must_use]
pub fn printable(text: &str) -> String {
    let is_bad = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(is_bad) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if is_bad(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_is_shown() {
        let mut table = Table::new(["NAME", "CPU(cores)"]);
        table.push(["観測", "1m"]);
        table.push(["a\u{1b}[31m\n", "2m"]);
        assert_eq!(
            table.text(Palette::plain()),
            "NAME            CPU(cores)\n観測            1m\na\\u{1b}[31m\\n   2m\n"
        );
        table.is_bare = true;
        table.rows.truncate(1);
        assert_eq!(table.text(Palette::plain()), "観測   1m\n");
        let mut wide = Table::new(["A", "B"]);
        wide.push(["x".repeat(100), "1".into()]);
        wide.push(["y".to_owned(), "2".into()]);
        let text = wide.text(Palette::plain());
        assert!(text.lines().nth(2).unwrap().len() < 90, "{text}");
    }
}
