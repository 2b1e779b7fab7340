//! How results are written: aligned tables, CSV, JSON or YAML, with colours or without.

pub mod color;
pub mod csv;
pub mod table;
pub mod yaml;

use std::io::Write;

use serde_json::Value;

use crate::args::Output;
use crate::error::Result;
use color::Palette;
use table::Table;

/// Tells the person at the terminal something; texts of others cannot move its cursor.
pub fn say(text: &str) {
    let lines: Vec<String> = text.lines().map(table::printable).collect();
    // Nobody may read it: that is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{}", lines.join("\n"));
}

/// Writes `table`, or `data` for who asks for JSON or YAML.
///
/// # Errors
/// When nobody takes the output.
pub fn write(
    out: &mut impl Write,
    format: Output,
    palette: Palette,
    table: &Table,
    data: &Value,
) -> Result<()> {
    match format {
        Output::Table => out.write_all(table.text(palette).as_bytes())?,
        Output::Csv => out.write_all(csv::text(table).as_bytes())?,
        Output::Json => {
            serde_json::to_writer_pretty(&mut *out, data).map_err(std::io::Error::from)?;
            out.write_all(b"\n")?;
        }
        Output::Yaml => out.write_all(yaml::text(data).as_bytes())?,
    }
    out.flush()?;
    Ok(())
}
