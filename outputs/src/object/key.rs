//! Names of objects: Fluent Bit's key formats with `$TAG`, `$TAG[n]`, `$INDEX`, `$UUID` and strftime.
//!
//! A name is made once, when the first record for it arrives, and kept with the data: a repeated
//! upload overwrites its own object and nothing else.

use jiff::Timestamp;
use xxhash_rust::xxh3::xxh3_64;

/// How to name objects.
#[derive(Debug, Clone)]
pub struct KeyFormat {
    pub format: String,
    /// Characters between the parts of a tag.
    pub delimiters: String,
    /// Use the format as it is, even if objects overwrite each other.
    pub is_static: bool,
    /// What compressed files are called, such as `.gz`; only some outputs append it.
    pub suffix: &'static str,
}

/// What S3 allows.
const KEY_MAX_BYTES: usize = 1024;

impl KeyFormat {
    /// The name of object `index`, which was begun at `seconds`. `node` tells the agents of a
    /// cluster apart.
    #[must_use]
    pub fn key(&self, tag: &str, seconds: i64, index: u64, node: &str) -> String {
        let unique = xxh3_64(format!("{node}\0{tag}\0{seconds}\0{index}").as_bytes());
        let unique = format!("{:08x}", unique >> 32);
        let mut key = self.format.clone();
        let parts = tag
            .split(|c| self.delimiters.contains(c))
            .filter(|p| !p.is_empty());
        for (n, part) in parts.enumerate() {
            key = key.replace(&format!("$TAG[{n}]"), &literal(part));
        }
        let has_unique = key.contains("$UUID") || key.contains("$INDEX");
        key = key
            .replace("$TAG", &literal(tag))
            .replace("$INDEX", &index.to_string())
            .replace("$UUID", &unique);
        let time = Timestamp::from_second(seconds).unwrap_or_default();
        // A format that strftime does not know stands as it was written.
        let mut named = jiff::fmt::strtime::format(&key, time).unwrap_or(key);
        if !has_unique && !self.is_static {
            named.push_str("-object");
            named.push_str(&unique);
        }
        named.push_str(self.suffix);
        let mut end = named.len().min(KEY_MAX_BYTES);
        while !named.is_char_boundary(end) {
            end -= 1;
        }
        named.truncate(end);
        named.trim_start_matches('/').to_owned()
    }
}

/// Text that strftime leaves alone.
fn literal(text: &str) -> String {
    text.replace('%', "%%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_filled_in() {
        let key = |format: &str, is_static| {
            KeyFormat {
                format: format.into(),
                delimiters: ".-".into(),
                is_static,
                suffix: "",
            }
            .key("kube.web-1", 1_700_000_000, 7, "n1")
        };
        let named = key("/logs/$TAG/%Y/%m/%d/%H/%M/%S", false);
        let start = "logs/kube.web-1/2023/11/14/22/13/20-object";
        assert!(
            named.starts_with(start) && named.len() == start.len() + 8,
            "{named}"
        );
        assert_eq!(key("/a/$TAG[1]/$TAG[2]", true), "a/web/1");
        assert_eq!(key("$INDEX.log", false), "7.log");
        assert_eq!(key("%J/x", true), "%J/x");
        assert_eq!(key("$UUID", false).len(), 8);
    }
}
