//! Fluent Bit's classic configuration format: sections, keys and values with their places.
//!
//! Reading only: what a section or key means is not known here. The rules are those of Fluent Bit's
//! own reader, indentation included, with one difference: what it silently ignores becomes a
//! warning. No file is opened here; the caller's `read` turns the path of a file or the pattern of
//! an `@INCLUDE` into texts.

use std::collections::HashSet;

use kansoku_model::plugin::{Setting, did_you_mean};
use kansoku_model::{ConfigError, Place};

use super::{Document, Group, Loaded, MAX_FILES, Read, Section, SectionKind};

/// The longest line.
const MAX_LINE_BYTES: usize = 32 << 20;
/// Reads a configuration file and all it includes.
///
/// # Errors
/// The first line that breaks the format, with file, line and what to do.
pub fn parse(path: &str, read: Read<'_>) -> Result<Document, ConfigError> {
    let mut reader = Reader {
        read,
        seen: HashSet::new(),
        document: Document::default(),
    };
    let place = Place::new(path, 0);
    reader.file(path, "", &place)?;
    Ok(reader.document)
}

struct Reader<'a> {
    read: Read<'a>,
    seen: HashSet<String>,
    document: Document,
}

/// What one file has set so far.
#[derive(Default)]
struct FileState {
    /// The indentation of the file and the line that set it.
    indent: Option<(String, u32)>,
    /// The index of the open section in the document; `None` before the first and in one that is
    /// not known.
    section: Option<Option<usize>>,
    /// Whether a group (an indented `[name]`) is open; its keys are indented twice.
    in_group: bool,
}

impl Reader<'_> {
    fn file(&mut self, path: &str, includer: &str, from: &Place) -> Result<(), ConfigError> {
        let loaded = (self.read)(path, includer).map_err(|e| ConfigError::new(from, e))?;
        for file in loaded {
            if !self.seen.insert(file.identity.clone()) {
                let message = format!(
                    "file {} is read twice; remove one of the includes",
                    file.name
                );
                return Err(ConfigError::new(from, message));
            }
            if self.seen.len() > MAX_FILES {
                return Err(ConfigError::new(
                    from,
                    format!("more than {MAX_FILES} files are included"),
                ));
            }
            self.text(&file)?;
        }
        Ok(())
    }

    fn text(&mut self, file: &Loaded) -> Result<(), ConfigError> {
        let mut place = Place::new(&file.name, 1);
        let error = |place: &Place, message: &str| Err(ConfigError::new(place, message));
        if file.bytes.starts_with(b"\xef\xbb\xbf") {
            return error(
                &place,
                "the file starts with a byte order mark; save it as UTF-8 without BOM",
            );
        }
        let mut state = FileState::default();
        for (i, bytes) in file.bytes.split(|b| *b == b'\n').enumerate() {
            place.line = u32::try_from(i + 1).unwrap_or(u32::MAX);
            let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
            if bytes.len() > MAX_LINE_BYTES {
                return error(&place, "the line is longer than 32 MiB");
            }
            let Ok(line) = std::str::from_utf8(bytes) else {
                return error(&place, "the line is not UTF-8; save the file as UTF-8");
            };
            self.line(line, &place, &mut state)?;
        }
        Ok(())
    }

    fn line(
        &mut self,
        line: &str,
        place: &Place,
        state: &mut FileState,
    ) -> Result<(), ConfigError> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if let Some(command) = line.strip_prefix('@') {
            return self.command(command, place);
        }
        if let Some(rest) = line.strip_prefix('[') {
            let Some((name, _)) = rest.split_once(']') else {
                return Err(ConfigError::new(
                    place,
                    format!("bad header definition '{line}': a ']' is missing"),
                ));
            };
            state.section = Some(self.open(name, place)?);
            state.in_group = false;
            return Ok(());
        }
        let Some((text, is_double)) = indented(line, place, state)? else {
            return Ok(());
        };
        let Some(section) = state.section else {
            return Err(ConfigError::new(
                place,
                "a key stands before any section; put it below a line such as [SERVICE]",
            ));
        };
        let section = section.and_then(|at| self.document.sections.get_mut(at));
        if let Some(name) = text.strip_prefix('[') {
            let name = group_name(name, place)?;
            state.in_group = true;
            if let Some(section) = section {
                section.groups.push(Group {
                    name,
                    place: place.clone(),
                    settings: Vec::new(),
                });
            }
            return Ok(());
        }
        state.in_group &= is_double;
        let setting = key_value(text, place)?;
        match section {
            None => {}
            Some(section) if state.in_group => {
                if let Some(group) = section.groups.last_mut() {
                    group.settings.push(setting);
                }
            }
            Some(section) => section.settings.push(setting),
        }
        Ok(())
    }

    /// A line that starts with `@`.
    fn command(&mut self, command: &str, place: &Place) -> Result<(), ConfigError> {
        let (word, rest) = command.split_once(' ').unwrap_or((command, ""));
        match word.to_ascii_lowercase().as_str() {
            "include" => {
                if rest.is_empty() || rest != rest.trim() {
                    let message = format!(
                        "'@{command}' must be '@INCLUDE path' with one blank between and none after"
                    );
                    return Err(ConfigError::new(place, message));
                }
                let includer = place.file.clone();
                self.file(rest, &includer, place)
            }
            "set" => {
                let Some((key, value)) = rest.split_once('=') else {
                    return Err(ConfigError::new(
                        place,
                        format!("'@{command}' must be '@SET KEY=VALUE'"),
                    ));
                };
                if key.trim() != key {
                    let message = format!(
                        "'@{command}' sets '{key}' with a blank in its name; write '@SET {}={}'",
                        key.trim(),
                        value.trim()
                    );
                    self.document
                        .warnings
                        .push(ConfigError::new(place, message));
                }
                self.document.variables.retain(|(name, _)| name != key);
                self.document
                    .variables
                    .push((key.to_owned(), value.to_owned()));
                Ok(())
            }
            _ => {
                let hint = did_you_mean(word, ["INCLUDE", "SET"].into_iter());
                self.document.warnings.push(ConfigError::new(
                    place,
                    format!("'@{word}' is ignored{hint}"),
                ));
                Ok(())
            }
        }
    }

    /// Opens a section and returns its index, or `None` for one that is not known.
    fn open(&mut self, name: &str, place: &Place) -> Result<Option<usize>, ConfigError> {
        if name.is_empty() {
            return Err(ConfigError::new(
                place,
                "bad header definition '[]': the section has no name",
            ));
        }
        let Some(kind) = SectionKind::of(name) else {
            let hint = did_you_mean(name, SectionKind::HEADERS.iter().copied());
            let message = format!("unknown section [{name}] is ignored with all its keys{hint}");
            self.document
                .warnings
                .push(ConfigError::new(place, message));
            return Ok(None);
        };
        self.document
            .sections
            .push(Section::new(kind, place.clone()));
        Ok(Some(self.document.sections.len() - 1))
    }
}

/// The name of a group from what follows its bracket.
fn group_name(text: &str, place: &Place) -> Result<String, ConfigError> {
    let name = text.trim_end().strip_suffix(']').unwrap_or_default();
    if name.is_empty() {
        let message = format!("bad group '[{text}': expected a name between brackets, as [name]");
        return Err(ConfigError::new(place, message));
    }
    Ok(name.to_ascii_lowercase())
}

/// Checks a line's indentation and returns what follows it, and whether it is indented twice;
/// `None` for blanks and comments.
fn indented<'a>(
    line: &'a str,
    place: &Place,
    state: &mut FileState,
) -> Result<Option<(&'a str, bool)>, ConfigError> {
    let error = |message: String| Err(ConfigError::new(place, message));
    let blanks = line.len() - line.trim_start_matches([' ', '\t']).len();
    let (indent, set_at) = match &state.indent {
        Some((indent, set_at)) => (indent.clone(), *set_at),
        None if blanks == 0 => {
            let example = line.split(' ').next().unwrap_or_default();
            return error(format!(
                "the key '{example}' is not indented; put four blanks before it"
            ));
        }
        None => {
            let indent = line[..blanks].to_owned();
            state.indent = Some((indent.clone(), place.line));
            (indent, place.line)
        }
    };
    let cure = format!(
        "this file indents with {} since line {set_at}",
        describe(&indent)
    );
    let Some(rest) = line.strip_prefix(indent.as_str()) else {
        let wrong = line.chars().zip(indent.chars()).find(|(a, b)| a != b);
        return match wrong {
            Some((' ', '\t') | ('\t', ' ')) => {
                error(format!("inconsistent use of tab and space: {cure}"))
            }
            _ if blanks == line.len() => error(format!(
                "indentation level is too low: {cure}; empty this line of blanks"
            )),
            _ => error(format!("indentation level is too low: {cure}")),
        };
    };
    if rest.is_empty() || rest.starts_with('#') {
        return Ok(None);
    }
    if !rest.starts_with([' ', '\t']) {
        return Ok(Some((rest, false)));
    }
    // Twice the indentation is the content of a group, or an ordinary key when none is open.
    match rest.strip_prefix(indent.as_str()) {
        Some("") => Ok(None),
        Some(text) if !text.starts_with([' ', '\t']) => {
            Ok((!text.starts_with('#')).then_some((text, true)))
        }
        _ => error(format!("extra indentation level found: {cure}")),
    }
}

fn describe(indent: &str) -> String {
    let (blanks, tabs) = (indent.matches(' ').count(), indent.matches('\t').count());
    match (blanks, tabs) {
        (0, 1) => "one tab".into(),
        (0, n) => format!("{n} tabs"),
        (1, 0) => "one blank".into(),
        (n, 0) => format!("{n} blanks"),
        _ => "a mix of blanks and tabs".into(),
    }
}

fn key_value(text: &str, place: &Place) -> Result<Setting, ConfigError> {
    // Only a blank ends a key: a tab would become part of it.
    let Some((key, value)) = text.split_once(' ') else {
        let key = text.split('\t').next().unwrap_or_default();
        let message = if text.contains('\t') {
            format!(
                "undefined value: '{key}' is followed by a tab; only blanks may stand between key and value"
            )
        } else {
            format!("undefined value: '{key}' has no value")
        };
        return Err(ConfigError::new(place, message));
    };
    let value = value.trim();
    if value.is_empty() {
        return Err(ConfigError::new(
            place,
            format!("undefined value: '{key}' has no value"),
        ));
    }
    Ok(Setting {
        key: key.to_ascii_lowercase(),
        value: value.to_owned(),
        place: place.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files<'a>(
        files: &'a [(&'a str, &'a str)],
    ) -> impl FnMut(&str, &str) -> Result<Vec<Loaded>, String> + 'a {
        move |path, _| {
            let pattern = path.strip_suffix('*');
            let found: Vec<Loaded> = files
                .iter()
                .filter(|(name, _)| pattern.map_or(*name == path, |head| name.starts_with(head)))
                .map(|(name, text)| Loaded {
                    name: (*name).to_owned(),
                    identity: (*name).to_owned(),
                    bytes: text.as_bytes().to_vec(),
                })
                .collect();
            if found.is_empty() {
                Err(format!("{path} cannot be opened"))
            } else {
                Ok(found)
            }
        }
    }

    fn show(sources: &[(&str, &str)]) -> String {
        match parse(sources[0].0, &mut files(sources)) {
            Err(e) => format!("error {e}"),
            Ok(document) => {
                let mut out: Vec<String> = document
                    .warnings
                    .iter()
                    .map(|w| format!("warning {w}"))
                    .collect();
                out.extend(
                    document
                        .variables
                        .iter()
                        .map(|(k, v)| format!("set {k}={v}")),
                );
                for s in &document.sections {
                    let keys: Vec<String> = s
                        .settings
                        .iter()
                        .map(|k| format!("{}={}@{}", k.key, k.value, k.place.line))
                        .collect();
                    out.push(
                        format!("{:?}@{} {}", s.kind, s.place, keys.join(" "))
                            .trim_end()
                            .to_owned(),
                    );
                }
                out.join("\n")
            }
        }
    }

    #[test]
    fn includes_and_variables() {
        let main = "@INCLUDE in.conf\n@include out/*\n@SET a=b=c\n@foo bar\n";
        let shown = show(&[
            ("m", main),
            ("in.conf", "[input]\n  Name x\n@SET a=1"),
            ("out/1", "[OUTPUT]\n\tName y"),
            ("out/2", "[OUTPUT]\n Name z"),
        ]);
        assert_eq!(
            shown,
            "warning m:4: '@foo' is ignored; known: INCLUDE, SET\nset a=b=c\nInput@in.conf:1 name=x@2\nOutput@out/1:1 name=y@2\nOutput@out/2:1 name=z@2"
        );
        let twice = [("m", "@INCLUDE a\n@INCLUDE a\n"), ("a", "")];
        assert_eq!(
            show(&twice),
            "error m:2: file a is read twice; remove one of the includes"
        );
        assert_eq!(
            show(&[("m", "\n@INCLUDE b")]),
            "error m:2: b cannot be opened"
        );
        assert_eq!(
            show(&[("m", "@INCLUDE a ")]),
            "error m:1: '@INCLUDE a ' must be '@INCLUDE path' with one blank between and none after"
        );
    }

    #[test]
    fn no_bytes_panic() {
        // A small deterministic generator of texts from the characters that mean something.
        let alphabet = b"[]@#\n\r\t  aI$={}\xc3\xa9\xff";
        let mut state = 1u64;
        for _ in 0..5000 {
            let mut bytes = Vec::new();
            for _ in 0..40 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                bytes.push(alphabet[(state >> 33) as usize % alphabet.len()]);
            }
            let loaded = Loaded {
                name: "m".into(),
                identity: "m".into(),
                bytes,
            };
            let _ = parse("m", &mut |path, _| {
                if path == "m" {
                    Ok(vec![loaded.clone()])
                } else {
                    Err("none".into())
                }
            });
        }
    }
}
