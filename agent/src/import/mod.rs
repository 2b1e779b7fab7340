//! `kansoku-agent import`: configurations of other agents as ours.

pub mod fluentd;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use kansoku_parsers::config::Loaded;

use fluentd::{Conversion, Grade};

const HELP: &str = "\
Usage: kansoku-agent import fluentd [--output DIR] [--strict] FILE

Turns a Fluentd configuration (v1 format, with all it includes) into one of the agent's, and says what could
not be converted, where and why. Without --output the files are printed one after another, each below a
line with its name.

  -o, --output DIR   write kansoku.conf, and the files that it names, into this folder
      --strict       leave with status 1 when something was not converted
  -h, --help         print this
";
/// A configuration file larger than this is something else.
const MAX_FILE_BYTES: u64 = 4 << 20;

struct Arguments {
    file: String,
    output: Option<PathBuf>,
    strict: bool,
}

/// Runs the command with the arguments behind `import`.
#[must_use]
pub fn main(args: impl Iterator<Item = String>) -> ExitCode {
    match arguments(args) {
        Ok(None) => {
            let _ = std::io::stdout().write_all(HELP.as_bytes());
            ExitCode::SUCCESS
        }
        Ok(Some(arguments)) => run(&arguments).unwrap_or_else(|message| {
            eprintln!("kansoku-agent import: {message}");
            ExitCode::FAILURE
        }),
        Err(message) => {
            eprintln!("kansoku-agent import: {message}; see kansoku-agent import --help");
            ExitCode::FAILURE
        }
    }
}

/// `None` asks for the help.
fn arguments(mut args: impl Iterator<Item = String>) -> Result<Option<Arguments>, String> {
    let mut words = Vec::new();
    let mut found = Arguments {
        file: String::new(),
        output: None,
        strict: false,
    };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-h" | "--help" => return Ok(None),
            "--strict" => found.strict = true,
            "-o" | "--output" => {
                let folder = args.next().ok_or("option '--output' needs a folder")?;
                found.output = Some(folder.into());
            }
            other => match other.strip_prefix("--output=") {
                Some(folder) => found.output = Some(folder.into()),
                None if other.starts_with('-') && other.len() > 1 => {
                    return Err(format!("unknown option '{other}'"));
                }
                None => words.push(arg),
            },
        }
    }
    match words.as_slice() {
        [kind, file] if kind == "fluentd" => {
            found.file.clone_from(file);
            Ok(Some(found))
        }
        [kind, _] => Err(format!("cannot import from '{kind}'; known: fluentd")),
        [kind] if kind == "fluentd" => Err("the configuration's file is missing".to_owned()),
        _ => Err("expected: fluentd FILE".to_owned()),
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let variable = |name: &str| std::env::var(name).ok();
    let conversion = convert(&arguments.file, &variable)?;
    match &arguments.output {
        Some(folder) => write(folder, &conversion)?,
        None => print(&conversion),
    }
    let mut n_lost = 0;
    for finding in &conversion.findings {
        n_lost += usize::from(finding.grade == Grade::NotConverted);
        eprintln!("{finding}");
    }
    let n_differs = conversion.findings.len() - n_lost;
    eprintln!(
        "{} sections written, {n_lost} not converted, {n_differs} that differ",
        conversion.n_sections
    );
    Ok(match arguments.strict && n_lost > 0 {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

/// Reads and converts a configuration.
///
/// # Errors
/// Where the configuration breaks its format, or what cannot be read.
pub fn convert(
    file: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Conversion, String> {
    let evaluate = |value: &_| fluentd::evaluate(value, variable);
    let configuration = kansoku_parsers::config::fluentd::parse(file, &mut read, &evaluate);
    Ok(fluentd::convert(&configuration.map_err(|e| e.to_string())?))
}

fn write(folder: &Path, conversion: &Conversion) -> Result<(), String> {
    let error = |path: &Path, e: std::io::Error| format!("cannot write {}: {e}", path.display());
    std::fs::create_dir_all(folder).map_err(|e| error(folder, e))?;
    for (name, text) in &conversion.files {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|e| error(&path, e))?;
    }
    Ok(())
}

fn print(conversion: &Conversion) {
    let mut out = String::new();
    for (at, (name, text)) in conversion.files.iter().enumerate() {
        // The first file can be used as it is when it is the only one.
        if at > 0 {
            out.push_str(&format!(
                "\n# ---- {name}: a file of its own beside the first; --output writes both ----\n"
            ));
        }
        out.push_str(text);
    }
    // Whoever reads may stop early.
    let _ = std::io::stdout().write_all(out.as_bytes());
}

/// What an include stands for, relative to the file that names it; braces are alternatives, as in Ruby.
fn read(path: &str, includer: &str) -> Result<Vec<Loaded>, String> {
    let folder = Path::new(includer).parent().unwrap_or(Path::new(""));
    let mut found = Vec::new();
    for pattern in braces(path)? {
        let full = folder.join(&pattern);
        let full = full.to_string_lossy();
        let paths = glob::glob(&full).map_err(|e| format!("'{path}' is no valid pattern: {e}"))?;
        for path in paths {
            found.push(path.map_err(|e| format!("cannot list '{pattern}': {e}"))?);
        }
    }
    found.sort();
    found.dedup();
    found.iter().map(|p| read_one(p)).collect()
}

fn read_one(path: &Path) -> Result<Loaded, String> {
    use std::io::Read;
    let error = |e: std::io::Error| format!("cannot read {}: {e}", path.display());
    let file = std::fs::File::open(path).map_err(error)?;
    let mut bytes = Vec::new();
    let mut bounded = file.take(MAX_FILE_BYTES + 1);
    bounded.read_to_end(&mut bytes).map_err(error)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("{} is larger than 4 MiB", path.display()));
    }
    let name = path.to_string_lossy().into_owned();
    Ok(Loaded {
        identity: OsString::from(path).to_string_lossy().into_owned(),
        name,
        bytes,
    })
}

/// The most patterns that the braces of one stand for.
const MAX_ALTERNATIVES: usize = 100;

fn braces(pattern: &str) -> Result<Vec<String>, String> {
    let Some((before, rest)) = pattern.split_once('{') else {
        return Ok(vec![pattern.to_owned()]);
    };
    let Some((inside, after)) = rest.split_once('}') else {
        return Ok(vec![pattern.to_owned()]);
    };
    let mut all = Vec::new();
    for word in inside.split(',') {
        all.extend(braces(&format!("{before}{word}{after}"))?);
        if all.len() > MAX_ALTERNATIVES {
            return Err(format!(
                "'{pattern}' stands for more than {MAX_ALTERNATIVES} patterns"
            ));
        }
    }
    Ok(all)
}
