//! node_exporter's text archives: the folders, files and links of a captured /proc or /sys.

use std::fs;
use std::path::Path;

/// Writes what is in an archive below a folder.
///
/// # Panics
/// When the archive is damaged or the folder cannot be written to.
pub fn unpack(archive: &str, folder: &Path) {
    let mut lines = archive.lines();
    let mut path = folder.to_owned();
    while let Some(line) = lines.next() {
        let Some((key, value)) = line.split_once(": ") else {
            continue;
        };
        match key {
            "Directory" => fs::create_dir_all(folder.join(value)).expect("a folder is made"),
            "Path" => {
                path = folder.join(value);
                let parent = path.parent().expect("below the folder");
                fs::create_dir_all(parent).expect("a folder is made");
            }
            "SymlinkTo" => std::os::unix::fs::symlink(value, &path).expect("a link is made"),
            "Lines" => {
                let n_lines: usize = value.parse().expect("a number of lines");
                let mut text = String::new();
                for _ in 0..n_lines {
                    text.push_str(lines.next().expect("as many lines as said"));
                    text.push('\n');
                }
                fs::write(&path, content(&text)).expect("a file is written");
            }
            _ => {}
        }
    }
}

/// `EOF` at the end stands for a missing newline, `NULLBYTE` for that byte; a backslash before
/// either makes it a word.
fn content(text: &str) -> String {
    let text = match text.strip_suffix("EOF\n") {
        Some(rest) if !rest.ends_with('\\') => rest,
        _ => text,
    };
    let escaped = "\u{1}";
    text.replace("\\NULLBYTE", escaped)
        .replace("NULLBYTE", "\0")
        .replace(escaped, "NULLBYTE")
        .replace("\\EOF", "EOF")
}

#[test]
fn escapes_are_undone() {
    assert_eq!(content("a\nEOF\n"), "a\n");
    assert_eq!(content("aNULLBYTEb\\NULLBYTE\\EOF\n"), "a\0bNULLBYTEEOF\n");
}
