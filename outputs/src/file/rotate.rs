//! Rotation of a file that has grown: a dated name beside it, gzip, and at most so many of them.
//!
//! A crash between the steps leaves whole files only: the compressed one gets its name when it is
//! complete, and the plain one goes after that.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// When and how to rotate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rotation {
    pub(super) max_bytes: u64,
    pub(super) max_files: usize,
    pub(super) gzip: bool,
}

impl Rotation {
    /// Moves `path` away; the next write begins a new file.
    pub(super) fn rotate(&self, path: &Path, now: Timestamp) -> io::Result<()> {
        // Fluent Bit's suffix: YYYYMMDD_HHMMSS_ and eight hexadecimal digits.
        let nanos = now.as_nanosecond() as u64;
        let suffix = format!(".{}_{:08x}", now.strftime("%Y%m%d_%H%M%S"), nanos as u32);
        let rotated = with_suffix(path, &suffix);
        fs::rename(path, &rotated)?;
        if self.gzip {
            compress(&rotated)?;
        }
        self.remove_oldest(path)
    }

    fn remove_oldest(&self, path: &Path) -> io::Result<()> {
        let mut old = rotated_files(path)?;
        old.sort();
        let surplus = old.len().saturating_sub(self.max_files);
        old[..surplus].iter().try_for_each(fs::remove_file)
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn compress(path: &Path) -> io::Result<()> {
    let target = with_suffix(path, ".gz");
    let partial = with_suffix(path, ".gz.new");
    let mut gzip =
        flate2::write::GzEncoder::new(File::create(&partial)?, flate2::Compression::fast());
    io::copy(&mut File::open(path)?, &mut gzip)?;
    gzip.finish()?.sync_all()?;
    fs::rename(partial, target)?;
    fs::remove_file(path)
}

/// The files that were rotated from `path`; their names sort by age.
fn rotated_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let base = path
        .file_name()
        .and_then(|n| n.to_str())
        .unwrap_or_default();
    let is_rotated = |name: &str| {
        let Some(suffix) = name.strip_prefix(base).and_then(|s| s.strip_prefix('.')) else {
            return false;
        };
        let suffix = suffix.strip_suffix(".gz").unwrap_or(suffix);
        suffix.len() == 24 && suffix.bytes().all(|b| b.is_ascii_hexdigit() || b == b'_')
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(is_rotated) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_newest_files_stay_and_are_whole() {
        let folder = tempfile::tempdir().expect("temp dir");
        let path = folder.path().join("a.log");
        fs::write(folder.path().join("a.log.other"), "x").expect("writes");
        let rotation = Rotation {
            max_bytes: 1,
            max_files: 2,
            gzip: true,
        };
        for second in 0..4 {
            fs::write(&path, format!("file {second}")).expect("writes");
            let now = Timestamp::from_second(1_700_000_000 + second).expect("time");
            rotation.rotate(&path, now).expect("rotates");
        }
        let mut names: Vec<_> = rotated_files(&path).expect("reads");
        names.sort();
        assert_eq!(names.len(), 2);
        assert!(
            names[0]
                .to_str()
                .expect("UTF-8")
                .contains("a.log.20231114_221322_")
        );
        let mut text = String::new();
        flate2::read::GzDecoder::new(File::open(&names[1]).expect("opens"))
            .read_to_string(&mut text)
            .expect("gzip");
        assert_eq!(text, "file 3");
        assert!(folder.path().join("a.log.other").exists() && !path.exists());
    }
}
