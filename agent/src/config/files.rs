//! The part of configuration that touches the machine: files, the environment, the host's name.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use kansoku_parsers::config::Loaded;

use crate::plugin::OwnPod;

/// A configuration file larger than this is something else.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// Reads what a path or an include pattern stands for: relative to the working directory, else to
/// the folder of the main file; a pattern with `*` only to the latter.
///
/// # Errors
/// When a file cannot be read, or a pattern matches none.
pub fn read(path: &str, main: &str) -> Result<Vec<Loaded>, String> {
    let folder = Path::new(main).parent().unwrap_or(Path::new(""));
    if path.contains('*') {
        return read_all(path, folder);
    }
    let given = PathBuf::from(path);
    let file = if given.exists() || given.is_absolute() {
        given
    } else {
        folder.join(path)
    };
    // The message names the path as it was written, which is where it is mended.
    read_one(&file)
        .map(|loaded| vec![loaded])
        .map_err(|e| format!("cannot read {path}: {e}"))
}

/// Reads what an include of a YAML file stands for, relative to the folder of the file that names it.
///
/// # Errors
/// When a file cannot be read, or a pattern matches none.
pub fn read_beside(path: &str, from: &str) -> Result<Vec<Loaded>, String> {
    let folder = Path::new(from).parent().unwrap_or(Path::new(""));
    if path.contains('*') {
        return read_all(path, folder);
    }
    let loaded = read_one(&folder.join(path)).map(|loaded| vec![loaded]);
    loaded.map_err(|e| format!("cannot read {path}: {e}"))
}

fn read_all(pattern: &str, folder: &Path) -> Result<Vec<Loaded>, String> {
    let full = folder.join(pattern);
    let full = full.to_string_lossy();
    let paths = glob::glob(&full).map_err(|e| format!("'{pattern}' is no valid pattern: {e}"))?;
    let mut loaded = Vec::new();
    for path in paths {
        let path = path.map_err(|e| format!("cannot list '{pattern}': {e}"))?;
        loaded.push(read_one(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?);
    }
    if loaded.is_empty() {
        return Err(format!("'{pattern}' matches no file in {}", full));
    }
    Ok(loaded)
}

fn read_one(path: &Path) -> Result<Loaded, String> {
    let meta = std::fs::metadata(path).map_err(|e| e.to_string())?;
    if meta.is_dir() {
        return Err("it is a folder, not a file".into());
    }
    Ok(Loaded {
        name: path.to_string_lossy().into_owned(),
        identity: format!("{}:{}", meta.dev(), meta.ino()),
        bytes: read_bounded(path)?,
    })
}

/// All of a file. Its size is not asked for: pipes and devices say nothing of it.
fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let mut bytes = Vec::new();
    let read = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes);
    match read.map_err(|e| e.to_string())? as u64 {
        0..=MAX_FILE_BYTES => Ok(bytes),
        _ => Err("it is larger than 64 MiB".into()),
    }
}

/// A file's text without its line end, for `@SET KEY=file:///path`.
///
/// # Errors
/// When it cannot be read.
pub fn text(path: &str) -> Result<String, String> {
    let bytes = read_bounded(path.as_ref()).map_err(|e| format!("cannot read {path}: {e}"))?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{path} is not UTF-8"))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// A variable of the environment; `HOSTNAME` is always there.
#[must_use]
pub fn variable(name: &str) -> Option<String> {
    match std::env::var(name) {
        Ok(value) => Some(value),
        Err(_) if name == "HOSTNAME" => Some(system_host_name()),
        Err(_) => None,
    }
}

/// The node's name: `NODE_NAME` from the downward API, else the host's.
#[must_use]
pub fn host_name() -> String {
    match std::env::var("NODE_NAME") {
        Ok(name) if !name.is_empty() => name,
        _ => system_host_name(),
    }
}

/// The agent's pod, as the downward API tells it.
#[must_use]
pub fn own_pod() -> OwnPod {
    let text = |name| std::env::var(name).unwrap_or_default().into();
    OwnPod {
        namespace: text("POD_NAMESPACE"),
        name: text("POD_NAME"),
    }
}

fn system_host_name() -> String {
    nix::unistd::gethostname().map_or_else(
        |_| "localhost".into(),
        |name| name.to_string_lossy().into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_end_is_refused() {
        for error in [
            read("/dev/zero", "main.conf").expect_err("endless"),
            text("/dev/zero").expect_err("endless"),
        ] {
            assert_eq!(error, "cannot read /dev/zero: it is larger than 64 MiB");
        }
    }
}
