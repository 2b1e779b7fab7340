//! The list of the files of one backup: which content each has, and how the content is found.
//!
//! ```text
//! kansoku-backup 1
//! file <hash, 32 hex digits> <bytes> <name>
//! ...
//! crc <CRC32C of all bytes before this line, 8 hex digits>
//! ```
//! Content lies under its hash, so what two backups share is there once, and a file of another store that
//! happens to have the same name is another file.

use std::fmt::Write;

const TITLE: &str = "kansoku-backup 1";

/// One file of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// XXH3-128 of the content, 32 hex digits.
    pub hash: String,
    pub bytes: u64,
    /// Its name in the store's folder.
    pub name: String,
}

impl Listed {
    /// Where the content lies.
    #[must_use]
    pub fn key(&self) -> String {
        format!("data/{}-{}", self.hash, self.bytes)
    }
}

/// The list as it is stored.
#[must_use]
pub fn encode(files: &[Listed]) -> String {
    let mut out = format!("{TITLE}\n");
    for Listed { hash, bytes, name } in files {
        writeln!(out, "file {hash} {bytes} {name}").expect("text grows");
    }
    let crc = crc32c::crc32c(out.as_bytes());
    writeln!(out, "crc {crc:08x}").expect("text grows");
    out
}

/// Reads a list.
///
/// # Errors
/// When it is not whole, or names files that no store has.
pub fn decode(text: &str) -> Result<Vec<Listed>, String> {
    let end = text.len().checked_sub("crc 00000000\n".len());
    let (body, crc) = end
        .and_then(|end| text.split_at_checked(end))
        .ok_or("the list is too short")?;
    if crc != format!("crc {:08x}\n", crc32c::crc32c(body.as_bytes())) {
        return Err("the list is damaged: its checksum does not match".into());
    }
    let mut lines = body.lines();
    if lines.next() != Some(TITLE) {
        return Err("no list of a backup, or one of a newer kansoku".into());
    }
    lines.map(listed).collect()
}

fn listed(line: &str) -> Result<Listed, String> {
    let wrong = || format!("the list has a line that is none: {line}");
    let mut words = line.splitn(4, ' ');
    if words.next() != Some("file") {
        return Err(wrong());
    }
    let hash = words.next().ok_or_else(wrong)?.to_owned();
    let bytes = words
        .next()
        .and_then(|n| n.parse().ok())
        .ok_or_else(wrong)?;
    let name = words.next().ok_or_else(wrong)?.to_owned();
    let is_hash = hash.len() == 32 && hash.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_hash || !is_name(&name) {
        return Err(wrong());
    }
    Ok(Listed { hash, bytes, name })
}

/// Whether a store has files of that name: nothing is written outside of its folder.
fn is_name(name: &str) -> bool {
    let (folder, file) = name.split_once('/').unwrap_or(("", name));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    matches!(folder, "" | "parts" | "wal" | "dashboards" | "slos")
        && file.starts_with(char::is_alphanumeric)
        && file.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_back_and_damage_or_strange_names_are_refused() {
        let file = |name: &str| Listed {
            hash: "0123456789abcdef0123456789abcdef".into(),
            bytes: 7,
            name: name.into(),
        };
        let files = [
            file("parts/000000000003.logs"),
            file("dashboards/a_b.00000001.json"),
            file("MANIFEST"),
        ];
        let text = encode(&files);
        assert_eq!(decode(&text).unwrap(), files);
        assert_eq!(files[2].key(), "data/0123456789abcdef0123456789abcdef-7");
        for at in 0..text.len() {
            let mut bad = text.clone().into_bytes();
            bad[at] ^= 1;
            assert!(
                decode(&String::from_utf8(bad).unwrap()).is_err(),
                "byte {at}"
            );
            assert!(decode(&text[..at]).is_err(), "{at} bytes");
        }
        for name in [
            "../x",
            "/etc/passwd",
            "wal/../x",
            "parts/a/b",
            "",
            "..",
            "other/x",
        ] {
            assert!(decode(&encode(&[file(name)])).is_err(), "{name}");
        }
    }
}
