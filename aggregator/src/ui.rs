//! The web page, embedded in the binary. It knows paths and bytes, not HTTP: the server decides
//! status and headers. The one rule: what is immutable carries the hash of its content in its name.

use std::borrow::Cow;
use std::io::Read;

/// Files of `ui/dist`: path without a leading slash, and gzipped bytes. Written by `build.rs`.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/ui_files.rs"));

/// One file of the page.
#[derive(Debug, Clone, Copy)]
pub struct Asset {
    /// The body; gzipped when `gzipped` says so.
    pub bytes: &'static [u8],
    /// Value of `Content-Type`.
    pub content_type: &'static str,
    /// Whether `bytes` need `Content-Encoding: gzip`.
    pub gzipped: bool,
    /// Whether it may be cached for ever; else send `Cache-Control: no-cache`.
    pub immutable: bool,
}

impl Asset {
    /// The body for a client that does not accept gzip.
    #[must_use]
    pub fn plain(&self) -> Cow<'static, [u8]> {
        if !self.gzipped {
            return Cow::Borrowed(self.bytes);
        }
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(self.bytes)
            .read_to_end(&mut plain)
            .expect("the page was gzipped when it was built");
        Cow::Owned(plain)
    }

    /// Value of `Cache-Control`.
    #[must_use]
    pub fn cache_control(&self) -> &'static str {
        if self.immutable {
            "public, max-age=31536000, immutable"
        } else {
            "no-cache"
        }
    }
}

/// The file at a URL path; `/` is the page itself. The path is only compared, never opened.
#[must_use]
pub fn asset(path: &str) -> Option<Asset> {
    let name = match path.strip_prefix('/')? {
        "" => "index.html",
        name => name,
    };
    let (name, bytes) = FILES.iter().find(|(file, _)| *file == name)?;
    Some(Asset {
        bytes,
        content_type: content_type(name),
        gzipped: true,
        immutable: name.starts_with("assets/"),
    })
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "md" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_only_files_that_are_embedded() {
        let page = asset("/").expect("index.html");
        assert_eq!(page.content_type, "text/html; charset=utf-8");
        assert_eq!(page.cache_control(), "no-cache");
        let html = String::from_utf8(page.plain().into_owned()).expect("text");
        let named: Vec<&str> = html
            .split(['"', '\''])
            .filter(|word| word.starts_with("./assets/"))
            .collect();
        assert!(named.len() >= 2, "script and style: {named:?}");
        for word in named {
            let file = asset(&word[1..]).unwrap_or_else(|| panic!("{word} is not embedded"));
            assert!(file.immutable, "{word}");
            assert_ne!(file.content_type, "application/octet-stream", "{word}");
            assert!(!file.plain().is_empty(), "{word}");
        }
    }

    #[test]
    fn licences_of_what_is_bundled_are_served() {
        let file = asset("/licenses.md").expect("licenses.md");
        assert!(!file.immutable);
        assert!(String::from_utf8_lossy(&file.plain()).contains("uplot"));
    }

    #[test]
    fn other_paths_are_not_served() {
        for path in [
            "",
            "index.html",
            "/nope",
            "/../Cargo.toml",
            "//",
            "/assets",
            "/index.html.gz",
        ] {
            assert!(asset(path).is_none(), "{path}");
        }
    }
}
