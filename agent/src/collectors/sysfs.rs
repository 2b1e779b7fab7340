//! The small files of sysfs: one value each, in folders of devices that come and go.
//!
//! Reads by path, without keeping descriptors: what is read here is hardware that few nodes have,
//! and files that a driver answers. What every node has a lot of goes through
//! [`KernelFile`](super::kernel_file::KernelFile).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::Context;
use kansoku_parsers::kernel::scan::decimal;
use nix::errno::Errno;

/// An attribute has at most one page; the largest page is that of arm64 and ppc64.
const MAX_BYTES: u64 = 64 << 10;

/// The value of an attribute, without the blanks around it.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn read(path: &Path) -> anyhow::Result<String> {
    let text = try_read(path).with_context(|| format!("failed to read {}", path.display()))?;
    Ok(text.trim().to_owned())
}

/// Like [`read`]; `None` where the device has no such attribute or will not say.
///
/// # Errors
/// When the file cannot be read for another reason, such as a device that fails.
pub(crate) fn read_optional(path: &Path) -> anyhow::Result<Option<String>> {
    match read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if is_silent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A number.
///
/// # Errors
/// When the file cannot be read or holds something else.
pub(crate) fn number(path: &Path) -> anyhow::Result<f64> {
    let text = read(path)?;
    let number = parse_number(&text);
    number.with_context(|| format!("{} is '{text}', not a number", path.display()))
}

/// Like [`number`]; `None` where the device has no such attribute or will not say.
///
/// # Errors
/// When the file cannot be read for another reason or holds something else.
pub(crate) fn number_optional(path: &Path) -> anyhow::Result<Option<f64>> {
    match number(path) {
        Ok(number) => Ok(Some(number)),
        Err(error) if is_silent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A decimal number, or a hexadecimal one after `0x`.
pub(crate) fn parse_number(text: &str) -> Option<f64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok().map(|n| n as f64),
        None => decimal(text.as_bytes()),
    }
}

/// What a folder holds, in order of name.
///
/// # Errors
/// When the folder cannot be listed.
pub(crate) fn names(folder: &Path) -> anyhow::Result<Vec<String>> {
    try_names(folder).with_context(|| format!("failed to list {}", folder.display()))
}

/// What a folder holds under names that begin so and go on with a digit; nothing when there is no
/// such folder.
pub(crate) fn numbered(folder: &Path, prefix: &str) -> Vec<String> {
    let mut names = try_names(folder).unwrap_or_default();
    names.retain(|name| number_of(name, prefix).is_some());
    names
}

/// The rest of a name that begins so and goes on with a digit.
pub(crate) fn number_of<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = name.strip_prefix(prefix)?;
    rest.starts_with(|c: char| c.is_ascii_digit())
        .then_some(rest)
}

/// What lies behind an attribute that is there in name only, or that is not for us.
fn is_silent(error: &anyhow::Error) -> bool {
    let Some(error) = error.downcast_ref::<io::Error>() else {
        return false;
    };
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(
            Errno::ENOENT
                | Errno::EACCES
                | Errno::EPERM
                | Errno::EINVAL
                | Errno::EOPNOTSUPP
                | Errno::ENODEV
                | Errno::ENODATA
        )
    )
}

fn try_read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::with_capacity(256);
    File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

fn try_names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        // A name that is no text is none that a kernel gives.
        names.extend(entry?.file_name().into_string());
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_trimmed_and_may_be_absent() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| dir.path().join(name);
        for (name, content) in [("a", &b" 12 \n"[..]), ("b", b"0x1f\n"), ("c", b"x\xff\n")] {
            std::fs::write(at(name), content).expect("written");
        }
        assert_eq!(number(&at("a")).expect("a number"), 12.0);
        assert_eq!(number(&at("b")).expect("a number"), 31.0);
        assert_eq!(read(&at("c")).expect("text"), "x\u{fffd}");
        assert!(number_optional(&at("c")).is_err(), "text is no number");
        assert_eq!(number_optional(&at("d")).expect("absent"), None);
        assert!(read(&at("d")).is_err());
        assert_eq!(names(dir.path()).expect("listed"), ["a", "b", "c"]);
    }

    #[test]
    fn numbered_names_go_on_with_a_digit() {
        assert_eq!(number_of("mc0", "mc"), Some("0"));
        assert_eq!(number_of("mc", "mc"), None);
        assert_eq!(number_of("mcx", "mc"), None);
        assert!(numbered(Path::new("/no/such/folder"), "mc").is_empty());
    }
}
