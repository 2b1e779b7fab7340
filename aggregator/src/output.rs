//! What the tools of the command line say on the standard output, a line at a time.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

/// Writes a line. Whoever read them may have gone, as `head` does: the work goes on without them.
/// Where a line cannot be written for another reason the program ends with 1 and says why.
pub(crate) fn line(text: Arguments<'_>) {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            eprintln!("kansoku-aggregator: failed to write to the standard output: {error}");
            std::process::exit(1);
        }
        _ => {}
    }
}
