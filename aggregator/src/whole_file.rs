//! Small files beside the store, each there whole or not at all, whenever the program or the machine dies.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// Ending of a file that is being written; one that a crash left behind is nobody's.
pub const UNFINISHED: &str = "tmp";

/// Writes a file in the place of what was there before; it is on the disk when this returns.
///
/// # Errors
/// When that failed; then what was there before is still there.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    if !folder.is_dir() {
        fs::create_dir_all(folder)?;
        // The folder's own name is on the disk once the folder above is.
        if let Some(above) = folder.parent().filter(|p| !p.as_os_str().is_empty()) {
            File::open(above)?.sync_all()?;
        }
    }
    let unfinished = path.with_extension(UNFINISHED);
    let mut file = File::create(&unfinished)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/one.json");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert!(write(&path.join("below-a-file.json"), b"").is_err());
    }
}
