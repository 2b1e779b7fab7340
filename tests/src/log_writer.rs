//! Writes log files in the CRI format as a container runtime does, and remembers what it wrote.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// One log with its generations.
pub struct LogWriter {
    path: PathBuf,
    name: String,
    file: File,
    n_lines: usize,
    n_rotations: usize,
    /// The text of every record written so far.
    pub written: Vec<String>,
}

impl LogWriter {
    /// Opens `FOLDER/NAME.log`.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn new(folder: &Path, name: &str) -> Self {
        let path = folder.join(format!("{name}.log"));
        Self {
            file: open(&path),
            path,
            name: name.to_owned(),
            n_lines: 0,
            n_rotations: 0,
            written: Vec::new(),
        }
    }

    fn next_text(&mut self) -> String {
        self.n_lines += 1;
        let text = format!(
            "{} {:07} some text to make a line of usual length",
            self.name, self.n_lines
        );
        self.written.push(text.clone());
        text
    }

    /// Appends `n` lines in one write.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn lines(&mut self, n: usize) {
        let mut bytes = Vec::new();
        for _ in 0..n {
            let text = self.next_text();
            let _ = writeln!(bytes, "2026-11-21T09:00:00.123456789Z stdout F {text}");
        }
        self.file.write_all(&bytes).expect("the log is writable");
    }

    /// Appends one record as partial lines, calling `between` after each of them.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn partial_lines(&mut self, mut between: impl FnMut(&mut Self, usize)) {
        let text = self.next_text();
        let third = text.len() / 3;
        let parts = [&text[..third], &text[third..2 * third], &text[2 * third..]];
        for (n, part) in parts.iter().enumerate() {
            let flag = if n == 2 { "F" } else { "P" };
            self.write_line(&format!("stdout {flag} {part}"));
            between(self, n);
        }
    }

    /// Appends a line of the other stream.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn error_line(&mut self) {
        let text = self.next_text();
        self.write_line(&format!("stderr F {text}"));
    }

    fn write_line(&mut self, rest: &str) {
        let line = format!("2026-11-21T09:00:00.123456789Z {rest}\n");
        let written = self.file.write_all(line.as_bytes());
        written.expect("the log is writable");
    }

    /// Renames the file and opens a new one, as kubelet does.
    ///
    /// # Panics
    /// When that fails.
    pub fn rotate(&mut self) {
        self.n_rotations += 1;
        let mut target = self.path.clone().into_os_string();
        target.push(format!(".20261121-{:06}", self.n_rotations));
        fs::rename(&self.path, target).expect("the log can be renamed");
        self.file = open(&self.path);
    }

    /// Copies the file and truncates it, as logrotate does with `copytruncate`.
    ///
    /// # Panics
    /// When that fails.
    pub fn copy_and_truncate(&mut self) {
        self.n_rotations += 1;
        let mut target = self.path.clone().into_os_string();
        target.push(format!(".20261121-{:06}", self.n_rotations));
        fs::copy(&self.path, target).expect("the log can be copied");
        self.file.set_len(0).expect("the log can be truncated");
    }
}

fn open(path: &Path) -> File {
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .expect("the folder is ours")
}
