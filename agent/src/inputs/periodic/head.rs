//! `head`: the first bytes or lines of a file, every so often.
//!
//! Where Fluent Bit leaves NUL bytes at the end of split lines there are none.

use std::io::Read;
use std::path::PathBuf;

use anyhow::Context;
use kansoku_model::{ConfigError, OptionKind, OptionSpec, Plugin, joined};

use super::{Field, INTERVAL_OPTIONS, Probe, Record, input};
use crate::plugin::InputPlugin;

/// The largest `buf_size`.
const MAX_BYTES: u64 = 16 << 20;
/// The most lines that may become fields.
const MAX_LINES: i64 = 1000;

const OWN: &[OptionSpec] = &[
    OptionSpec::new("file", OptionKind::Text, "", "path of the file"),
    OptionSpec::new("key", OptionKind::Text, "head", "key of the text"),
    OptionSpec::new(
        "buf_size",
        OptionKind::Size,
        "256",
        "how many bytes are read",
    ),
    OptionSpec::new(
        "lines",
        OptionKind::Int,
        "0",
        "how many lines are read; 0 = all of the bytes",
    ),
    OptionSpec::new(
        "split_line",
        OptionKind::Bool,
        "off",
        "a field per line: line0, line1 ...",
    ),
    OptionSpec::new(
        "add_path",
        OptionKind::Bool,
        "off",
        "add the path of the file",
    ),
];
const OPTIONS: &[OptionSpec] =
    &joined::<{ OWN.len() + INTERVAL_OPTIONS.len() }>(OWN, INTERVAL_OPTIONS);

/// The plugin.
pub const PLUGIN: InputPlugin = Plugin {
    name: "head",
    about: "Reads the beginning of a file again and again.",
    options: OPTIONS,
    example: "[INPUT]\n    Name  head\n    Tag   uptime\n    File  /proc/uptime\n    Lines 1\n",
    build: |settings, environment| {
        settings.check(OPTIONS)?;
        let wrong = |key: &str, message: &str| {
            let place = settings.get(key).map_or(&settings.place, |s| &s.place);
            ConfigError::new(place, message)
        };
        let n_bytes = settings.size("buf_size", 256)?;
        if !(1..=MAX_BYTES).contains(&n_bytes) {
            return Err(wrong("buf_size", "'buf_size' must be between 1 and 16MiB"));
        }
        let n_lines = settings.int("lines", 0)?;
        if !(0..=MAX_LINES).contains(&n_lines) {
            return Err(wrong("lines", "'lines' must be between 0 and 1000"));
        }
        let split = settings.bool("split_line", false)?;
        let probe = Head {
            path: settings.required("file")?.into(),
            key: settings.text("key", "head").to_owned(),
            n_bytes,
            n_lines: n_lines as usize,
            split,
            add_path: settings.bool("add_path", false)?,
        };
        if split && n_lines == 0 {
            return Err(wrong(
                "split_line",
                "'split_line' needs 'lines', which is not set",
            ));
        }
        input(settings, environment, probe)
    },
};

struct Head {
    path: PathBuf,
    key: String,
    n_bytes: u64,
    n_lines: usize,
    split: bool,
    add_path: bool,
}

impl Probe for Head {
    fn ask(&mut self, record: &mut Record) -> anyhow::Result<()> {
        let shown = self.path.display();
        let file =
            std::fs::File::open(&self.path).with_context(|| format!("failed to open {shown}"))?;
        let mut text = Vec::new();
        // Lines are not cut at buf_size, as long as they stay below the largest.
        let limit = if self.n_lines > 0 {
            MAX_BYTES
        } else {
            self.n_bytes
        };
        std::io::BufReader::new(file)
            .take(limit)
            .read_to_end(&mut text)
            .with_context(|| format!("failed to read {shown}"))?;
        if self.add_path {
            let path = self.path.to_string_lossy().into_owned();
            record.push(("path".into(), Field::Text(path.into_bytes())));
        }
        if self.split {
            let lines = text.split(|b| *b == b'\n').take(self.n_lines);
            for (i, line) in lines.enumerate().filter(|(_, line)| !line.is_empty()) {
                record.push((format!("line{i}"), Field::Text(line.to_vec())));
            }
            return Ok(());
        }
        if self.n_lines > 0 {
            let ends = memchr::memchr_iter(b'\n', &text);
            let end = ends
                .take(self.n_lines)
                .last()
                .map_or(text.len(), |at| at + 1);
            text.truncate(end);
        }
        record.push((self.key.clone(), Field::Text(text)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_lines_and_split_lines() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "a\nb\nc\n").unwrap();
        let mut probe = Head {
            path: file.path().to_owned(),
            key: "head".into(),
            n_bytes: 256,
            n_lines: 0,
            split: false,
            add_path: false,
        };
        assert_eq!(super::super::told(&mut probe), r#""head":"a\nb\nc\n""#);
        probe.n_bytes = 3;
        assert_eq!(super::super::told(&mut probe), r#""head":"a\nb""#);
        probe.n_lines = 2;
        assert_eq!(super::super::told(&mut probe), r#""head":"a\nb\n""#);
        probe.split = true;
        assert_eq!(super::super::told(&mut probe), r#""line0":"a","line1":"b""#);
        probe.path = "/nonexistent".into();
        assert!(probe.ask(&mut Record::new()).is_err());
    }
}
