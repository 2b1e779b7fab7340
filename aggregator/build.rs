//! Embeds the built web page (`ui/dist`) into the binary. It does not build the page: that is
//! `make ui`, and a missing page fails the build with that advice instead of serving nothing.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let dist = root.join("ui/dist");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={}", dist.display());
    let mut files = Vec::new();
    if let Err(error) = list(&dist, &mut files) {
        advise(&format!("failed to read {}: {error}", dist.display()));
    }
    files.retain(|path| path.extension().is_some_and(|e| e == "gz"));
    files.sort();
    if !files.contains(&dist.join("index.html.gz")) {
        advise(&format!("{} holds no index.html.gz", dist.display()));
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo")).join("ui_files.rs");
    if let Err(error) = fs::write(&out, table(&dist, &files)) {
        advise(&format!("failed to write {}: {error}", out.display()));
    }
}

/// One `(path, gzipped bytes)` pair a file, sorted by path.
fn table(dist: &Path, files: &[PathBuf]) -> String {
    let mut code = String::from("&[\n");
    for file in files {
        let name = file.strip_prefix(dist).unwrap_or(file).with_extension("");
        let name = name.to_string_lossy().replace('\\', "/");
        let _ = writeln!(code, "    ({name:?}, include_bytes!({file:?})),");
    }
    code.push(']');
    code
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    println!("cargo:rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            list(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn advise(problem: &str) -> ! {
    eprintln!("the web page is not built: {problem}");
    eprintln!("run `make ui` (cd aggregator/ui && npm ci && npm run build) and build again");
    std::process::exit(1);
}
