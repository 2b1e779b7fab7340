//! A table as CSV (RFC 4180): headings, then rows, quoted where it must be.

use super::table::Table;

/// The whole table.
#[must_use]
pub fn text(table: &Table) -> String {
    let mut out = String::new();
    if !table.is_bare {
        row(&mut out, &table.headings);
    }
    for cells in &table.rows {
        row(&mut out, cells);
    }
    out
}

/// One row with its line end.
pub fn row(out: &mut String, cells: &[String]) {
    for (n, cell) in cells.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        let must_quote =
            cell.contains([',', '"', '\n', '\r']) || (cells.len() == 1 && cell.is_empty());
        if must_quote {
            out.push('"');
            out.push_str(&cell.replace('"', "\"\""));
            out.push('"');
        } else {
            out.push_str(cell);
        }
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_where_it_must() {
        let mut table = Table::new(["a", "b"]);
        table.push(["1,5", "say \"x\""]);
        table.push(["", "two\nlines"]);
        assert_eq!(
            text(&table),
            "a,b\n\"1,5\",\"say \"\"x\"\"\"\n,\"two\nlines\"\n"
        );
    }
}
