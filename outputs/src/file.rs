//! `file`: appends records to a file, one per tag unless a name is given.
//!
//! A write either lands whole or is taken back: after a failure (a full disk, say) the file is cut
//! to its former length and the batch is tried again, so no record is torn and none stands twice.

mod rotate;

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;

use kansoku_model::{
    ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, RecordBatch, Settings, Value,
};

use crate::accessor::{Template, TemplateReading};
use crate::render::{kubernetes_json, split_seconds, write_object, write_text_value};
use crate::{
    Outcome, Output, OutputEnvironment, OutputPlugin, RecordRef, Request, SendFuture, Unicode,
    metric_text, msgpack,
};
use rotate::Rotation;

/// The plugin.
pub const PLUGIN: OutputPlugin = Plugin {
    name: "file",
    about: "Appends records to files.",
    options: &[
        OptionSpec::new(
            "path",
            OptionKind::Text,
            "",
            "folder to write to, with record accessors; the working folder when not set",
        ),
        OptionSpec::new(
            "file",
            OptionKind::Text,
            "",
            "file name, with record accessors; the tag when not set",
        ),
        OptionSpec::new(
            "format",
            OptionKind::Choice(&["out_file", "plain", "csv", "ltsv", "template", "msgpack"]),
            "out_file",
            "out_file writes `tag: [time, {record}]`, plain only the record as JSON",
        ),
        OptionSpec::new(
            "template",
            OptionKind::Text,
            "{time} {message}",
            "line of the template format",
        ),
        OptionSpec::new(
            "delimiter",
            OptionKind::Text,
            "",
            "between fields of csv (default ,) and ltsv (default tab); also \\t, tab, space, comma",
        ),
        OptionSpec::new(
            "label_delimiter",
            OptionKind::Text,
            ":",
            "between label and value of ltsv",
        ),
        OptionSpec::new(
            "csv_column_names",
            OptionKind::Bool,
            "off",
            "write the column names first",
        ),
        OptionSpec::new(
            "mkdir",
            OptionKind::Bool,
            "off",
            "make the folder when it is missing",
        ),
        OptionSpec::new(
            "enable_strftime",
            OptionKind::Bool,
            "off",
            "fill the record's time into path and file: %Y-%m-%d",
        ),
        OptionSpec::new(
            "max_dynamic_files",
            OptionKind::Int,
            "1024",
            "files that records may name",
        ),
        OptionSpec::new(
            "on_missing_field",
            OptionKind::Choice(ACTIONS),
            "error",
            "what becomes of a record that lacks a field of path or file",
        ),
        OptionSpec::new(
            "on_limit_reached",
            OptionKind::Choice(ACTIONS),
            "error",
            "what becomes of a record that names one file too many",
        ),
        OptionSpec::new(
            "fallback_path",
            OptionKind::Text,
            "",
            "folder of the fallback file",
        ),
        OptionSpec::new(
            "fallback_file",
            OptionKind::Text,
            "",
            "file for records without a place, for the action fallback",
        ),
        OptionSpec::new(
            "rotate",
            OptionKind::Bool,
            "off",
            "begin a new file when one has grown",
        ),
        OptionSpec::new(
            "rotate_max_size",
            OptionKind::Size,
            "100M",
            "size at which a file is rotated",
        ),
        OptionSpec::new(
            "rotate_max_files",
            OptionKind::Int,
            "7",
            "rotated files to keep",
        ),
        OptionSpec::new(
            "rotate_gzip",
            OptionKind::Bool,
            "on",
            "compress rotated files",
        ),
    ],
    example: "[OUTPUT]\n    Name    file\n    Match   *\n    Path    /var/log/kansoku\n    Mkdir   on\n",
    build,
};

const ACTIONS: &[&str] = &["error", "drop", "fallback"];

/// What becomes of a record without a place.
#[derive(Clone, PartialEq, Eq)]
enum Action {
    Reject,
    Drop,
    Fallback(PathBuf),
}

/// Path and file that differ from record to record.
struct Places {
    path: Template,
    file: Option<Template>,
    strftime: bool,
    max_files: usize,
    on_missing: Action,
    on_limit: Action,
    /// Every file so far. Held while one name is looked up.
    known: Mutex<HashSet<PathBuf>>,
}

/// Where one record goes.
enum Place {
    File(PathBuf),
    Dropped,
    Rejected(String),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Msgpack,
    OutFile,
    Plain,
    Csv,
    Ltsv,
    Template,
}

#[derive(Clone)]
struct Files {
    folder: PathBuf,
    name: Option<String>,
    form: Form,
    template: String,
    delimiter: String,
    label_delimiter: String,
    csv_column_names: bool,
    unicode: Unicode,
    mkdir: bool,
    rotation: Option<Rotation>,
    places: Option<Arc<Places>>,
}

fn build(
    settings: &Settings,
    environment: &OutputEnvironment,
) -> Result<Box<dyn Output>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let form = match settings
        .text("format", "out_file")
        .to_ascii_lowercase()
        .as_str()
    {
        "plain" => Form::Plain,
        "csv" => Form::Csv,
        "ltsv" => Form::Ltsv,
        "template" => Form::Template,
        "msgpack" => Form::Msgpack,
        _ => Form::OutFile,
    };
    let folder = PathBuf::from(settings.text("path", "."));
    let mkdir = settings.bool("mkdir", false)?;
    let places = places(settings)?;
    if mkdir && places.is_none() {
        std::fs::create_dir_all(&folder).map_err(|e| {
            ConfigError::new(
                &settings.place,
                format!("cannot make folder {}: {e}", folder.display()),
            )
        })?;
    }
    if places.is_none() && !folder.is_dir() {
        let message = format!(
            "no such folder: {}: records wait until it is there (make it, or set 'mkdir on')",
            folder.display()
        );
        environment.warn(&settings.place, message);
    }
    let default_delimiter = if form == Form::Ltsv { "\t" } else { "," };
    let delimiter = match settings.text("delimiter", default_delimiter) {
        "\\t" | "tab" => "\t",
        "space" => " ",
        "comma" => ",",
        other => other,
    };
    Ok(Box::new(Files {
        folder,
        name: settings.get("file").map(|s| s.value.clone()),
        form,
        template: settings.text("template", "{time} {message}").to_owned(),
        delimiter: delimiter.to_owned(),
        label_delimiter: settings.text("label_delimiter", ":").to_owned(),
        csv_column_names: settings.bool("csv_column_names", false)?,
        unicode: environment.unicode,
        mkdir,
        rotation: rotation(settings)?,
        places: places.map(Arc::new),
    }))
}

fn rotation(settings: &Settings) -> Result<Option<Rotation>, ConfigError> {
    if !settings.bool("rotate", false)? {
        return Ok(None);
    }
    let at_least_one = |key: &str, value: i64| {
        usize::try_from(value)
            .ok()
            .filter(|&n| n > 0)
            .ok_or_else(|| {
                let place = settings.get(key).map_or(&settings.place, |s| &s.place);
                ConfigError::new(place, format!("'{key}' is {value}, but must be at least 1"))
            })
    };
    let size = settings.size("rotate_max_size", 100_000_000)?;
    Ok(Some(Rotation {
        max_bytes: at_least_one("rotate_max_size", size as i64)? as u64,
        max_files: at_least_one("rotate_max_files", settings.int("rotate_max_files", 7)?)?,
        gzip: settings.bool("rotate_gzip", true)?,
    }))
}

/// Path and file when they differ from record to record.
fn places(settings: &Settings) -> Result<Option<Places>, ConfigError> {
    let template = |key: &str, default: &str| {
        let place = settings.get(key).map_or(&settings.place, |s| &s.place);
        Template::new(settings.text(key, default)).map_err(|e| ConfigError::new(place, e))
    };
    let file = match settings.get("file") {
        Some(_) => Some(template("file", "")?),
        None => None,
    };
    let strftime = settings.bool("enable_strftime", false)?;
    let has_accessor = ["path", "file"]
        .iter()
        .any(|key| settings.text(key, "").contains('$'));
    if !strftime && !has_accessor {
        return Ok(None);
    }
    Ok(Some(Places {
        path: template("path", ".")?,
        file,
        strftime,
        max_files: usize::try_from(settings.int("max_dynamic_files", 1024)?).unwrap_or(0),
        on_missing: action(settings, "on_missing_field")?,
        on_limit: action(settings, "on_limit_reached")?,
        known: Mutex::default(),
    }))
}

fn action(settings: &Settings, key: &str) -> Result<Action, ConfigError> {
    match settings.text(key, "error").to_ascii_lowercase().as_str() {
        "drop" => Ok(Action::Drop),
        "fallback" => {
            let folder = Path::new(settings.text("fallback_path", "."));
            Ok(Action::Fallback(
                folder.join(settings.required("fallback_file")?),
            ))
        }
        _ => Ok(Action::Reject),
    }
}

impl Action {
    fn place(&self, reason: &str) -> Place {
        match self {
            Self::Reject => Place::Rejected(reason.to_owned()),
            Self::Drop => Place::Dropped,
            Self::Fallback(path) => Place::File(path.clone()),
        }
    }
}

impl Places {
    fn place(
        &self,
        path: &TemplateReading<'_>,
        file: &NameReading<'_>,
        row: usize,
        time_ns: i64,
    ) -> Place {
        let mut folder = Vec::new();
        let mut complete = path.write(&mut folder, row);
        let mut name = Vec::new();
        match file {
            NameReading::Template(file) => complete &= file.write(&mut name, row),
            NameReading::Tag(tag) => name.extend_from_slice(safe_name(tag).as_bytes()),
        }
        if !complete {
            return self.on_missing.place("a field of path or file is missing");
        }
        let (Ok(mut folder), Ok(mut name)) = (String::from_utf8(folder), String::from_utf8(name))
        else {
            return self.on_missing.place("the file's name is not UTF-8");
        };
        if self.strftime {
            let time = Timestamp::from_second(split_seconds(time_ns).0).unwrap_or_default();
            folder = jiff::fmt::strtime::format(&folder, time).unwrap_or(folder);
            name = jiff::fmt::strtime::format(&name, time).unwrap_or(name);
        }
        let leaves = |part: &str| matches!(part, "." | "..");
        let bad_name = name.is_empty()
            || leaves(&name)
            || name.contains(['/', '\\', ':', '*', '?', '"', '<', '>', '|'])
            || name.chars().any(char::is_control);
        // The folder that was written into the configuration may be relative; what records add not.
        let bad_folder =
            folder.split('/').skip(1).any(leaves) || folder.chars().any(char::is_control);
        if bad_name || bad_folder {
            return self
                .on_missing
                .place("the file's name could leave its folder");
        }
        let path = Path::new(&folder).join(name);
        let mut known = self.known.lock().expect("nobody panics with the lock");
        if !known.contains(&path) {
            if known.len() >= self.max_files {
                return self.on_limit.place("max_dynamic_files is reached");
            }
            known.insert(path.clone());
        }
        Place::File(path)
    }
}

enum NameReading<'a> {
    Template(TemplateReading<'a>),
    Tag(&'a str),
}

/// The tag as a file name cannot leave the folder: separators become underscores.
fn safe_name(tag: &str) -> String {
    match tag.replace(['/', '\0'], "_").as_str() {
        "" | "." | ".." => "kansoku".to_owned(),
        name => name.to_owned(),
    }
}

impl Files {
    fn path(&self, tag: &str) -> PathBuf {
        self.folder
            .join(safe_name(self.name.as_deref().unwrap_or(tag)))
    }

    fn render(&self, out: &mut Vec<u8>, batch: &RecordBatch, new_file: bool) {
        match batch {
            RecordBatch::Metrics(batch) => metric_text::write(out, batch),
            RecordBatch::Logs(batch) => {
                if self.form == Form::Csv && self.csv_column_names && new_file {
                    self.write_csv_names(out, batch);
                }
                self.render_rows(out, batch, 0..batch.len());
            }
        }
    }

    fn render_rows(&self, out: &mut Vec<u8>, batch: &LogBatch, rows: impl Iterator<Item = usize>) {
        let mut kubernetes = kubernetes_json(batch);
        if self.form == Form::Msgpack {
            kubernetes = msgpack::from_json(&kubernetes);
        }
        for row in rows {
            self.write_record(out, batch, row, &kubernetes);
        }
    }

    fn write_csv_names(&self, out: &mut Vec<u8>, batch: &LogBatch) {
        out.extend_from_slice(b"timestamp");
        for column in batch.columns() {
            out.extend_from_slice(self.delimiter.as_bytes());
            out.extend_from_slice(column.name.as_bytes());
        }
        out.push(b'\n');
    }

    fn write_json(&self, out: &mut Vec<u8>, batch: &LogBatch, row: usize, kubernetes: &[u8]) {
        let start = out.len();
        write_object(out, batch, row, kubernetes);
        self.unicode.apply(out, start);
    }

    fn write_record(&self, out: &mut Vec<u8>, batch: &LogBatch, row: usize, kubernetes: &[u8]) {
        let (seconds, nanos) = split_seconds(batch.times()[row]);
        let present = || {
            batch
                .columns()
                .iter()
                .filter(|c| c.values[row] != Value::Absent)
        };
        match self.form {
            Form::Msgpack => msgpack::write_event(out, batch, row, kubernetes),
            Form::OutFile => {
                out.extend_from_slice(format!("{}: [{seconds}.{nanos:09}, ", batch.tag).as_bytes());
                self.write_json(out, batch, row, kubernetes);
                out.extend_from_slice(b"]\n");
            }
            Form::Plain => {
                self.write_json(out, batch, row, kubernetes);
                out.push(b'\n');
            }
            Form::Csv => {
                out.extend_from_slice(format!("{seconds}.{nanos:09}").as_bytes());
                for column in present() {
                    out.extend_from_slice(self.delimiter.as_bytes());
                    write_text_value(out, batch, column.values[row]);
                }
                out.push(b'\n');
            }
            Form::Ltsv => {
                let label = &self.label_delimiter;
                out.extend_from_slice(
                    format!("\"time\"{label}{seconds}.{:06}", nanos / 1000).as_bytes(),
                );
                for column in present() {
                    out.extend_from_slice(
                        format!("{}\"{}\"{label}", self.delimiter, column.name).as_bytes(),
                    );
                    write_text_value(out, batch, column.values[row]);
                }
                out.push(b'\n');
            }
            Form::Template => self.write_template(out, batch, row),
        }
    }

    fn write_template(&self, out: &mut Vec<u8>, batch: &LogBatch, row: usize) {
        let mut rest = self.template.as_str();
        let mut buf = Vec::new();
        while let Some((before, after)) = rest.split_once('{') {
            out.extend_from_slice(before.as_bytes());
            let Some((key, tail)) = after.split_once('}') else {
                out.push(b'{');
                rest = after;
                continue;
            };
            rest = tail;
            let field = batch
                .column(key)
                .and_then(|c| batch.display(c.values[row], &mut buf));
            match field {
                Some(text) => out.extend_from_slice(text),
                None if key == "time" => {
                    let (seconds, nanos) = split_seconds(batch.times()[row]);
                    out.extend_from_slice(format!("{seconds}.{:06}", nanos / 1000).as_bytes());
                }
                None => out.extend_from_slice(format!("{{{key}}}").as_bytes()),
            }
        }
        out.extend_from_slice(rest.as_bytes());
        out.push(b'\n');
    }

    /// Writes each record to the file it names, in order; those that no file took are told.
    fn write_to_places(&self, places: &Places, batches: &[Arc<RecordBatch>]) -> Outcome {
        let mut files: Vec<(PathBuf, Vec<u8>, Vec<RecordRef>)> = Vec::new();
        let mut rejected = Vec::new();
        for (index, batch) in batches.iter().enumerate() {
            let RecordBatch::Logs(batch) = &**batch else {
                continue;
            };
            let path = places.path.over(batch);
            let file = match &places.file {
                Some(template) => NameReading::Template(template.over(batch)),
                None => NameReading::Tag(&batch.tag),
            };
            let mut rows: Vec<(PathBuf, Vec<usize>)> = Vec::new();
            for row in 0..batch.len() {
                match places.place(&path, &file, row, batch.times()[row]) {
                    Place::File(path) => match rows.iter_mut().find(|(p, _)| *p == path) {
                        Some((_, rows)) => rows.push(row),
                        None => rows.push((path, vec![row])),
                    },
                    Place::Dropped => {}
                    Place::Rejected(reason) => rejected.push((record(index, row), reason)),
                }
            }
            for (path, rows) in rows {
                let at = files.iter().position(|(p, ..)| *p == path);
                let at = at.unwrap_or_else(|| {
                    files.push((path, Vec::new(), Vec::new()));
                    files.len() - 1
                });
                let (_, text, refs) = &mut files[at];
                refs.extend(rows.iter().map(|&row| record(index, row)));
                self.render_rows(text, batch, rows.into_iter());
            }
        }
        let (mut retry, mut reason) = (Vec::new(), String::new());
        for (path, text, refs) in files {
            if let Err(e) = self.append_text(&path, |_| text) {
                reason = format!("failed to write {}: {e}", path.display());
                retry.extend(refs);
            }
        }
        if retry.is_empty() && rejected.is_empty() {
            return Outcome::Delivered;
        }
        retry.sort_unstable();
        Outcome::Partial {
            retry,
            rejected,
            reason,
            after: None,
        }
    }

    fn write_all(&self, batches: &[Arc<RecordBatch>]) -> Outcome {
        if let Some(places) = &self.places {
            return self.write_to_places(places, batches);
        }
        let mut rest = batches;
        // Batches of one file are written together, and each file's part stands or falls alone;
        // a failure after the first file would repeat it, so only one file is written per send.
        while let Some(first) = rest.first() {
            let path = self.path(first.tag());
            let same = rest
                .iter()
                .take_while(|b| self.path(b.tag()) == path)
                .count();
            if same < rest.len() {
                return Outcome::TooLarge;
            }
            if let Err(e) = self.append(&path, &rest[..same]) {
                return Outcome::Retry {
                    reason: format!("failed to write {}: {e}", path.display()),
                    after: None,
                };
            }
            rest = &rest[same..];
        }
        Outcome::Delivered
    }

    fn append(&self, path: &Path, batches: &[Arc<RecordBatch>]) -> std::io::Result<()> {
        self.append_text(path, |is_new| {
            let mut text = Vec::new();
            for batch in batches {
                let at_start = is_new && text.is_empty();
                self.render(&mut text, batch, at_start);
            }
            text
        })
    }

    /// Appends what `render` makes; it is told whether the file is empty.
    fn append_text(
        &self,
        path: &Path,
        render: impl FnOnce(bool) -> Vec<u8>,
    ) -> std::io::Result<()> {
        if let (true, Some(folder)) = (self.mkdir, path.parent()) {
            std::fs::create_dir_all(folder)?;
        }
        if let Some(rotation) = self.rotation
            && path.metadata().is_ok_and(|m| m.len() >= rotation.max_bytes)
        {
            rotation.rotate(path, Timestamp::now())?;
        }
        let mut file: File = OpenOptions::new().create(true).append(true).open(path)?;
        let former_len = file.metadata()?.len();
        if let Err(e) = file.write_all(&render(former_len == 0)) {
            file.set_len(former_len)?;
            return Err(e);
        }
        Ok(())
    }
}

fn record(batch: usize, row: usize) -> RecordRef {
    RecordRef {
        batch: batch as u32,
        row: row as u32,
    }
}

impl Output for Files {
    fn send<'a>(&'a self, request: Request<'a>) -> SendFuture<'a> {
        let batches = request.batches;
        Box::pin(async move {
            // Disks can stall: keep that off the threads that serve sockets.
            let (files, batches) = (self.clone(), batches.to_vec());
            tokio::task::spawn_blocking(move || files.write_all(&batches))
                .await
                .unwrap_or_else(|e| Outcome::Retry {
                    reason: format!("write was cut short: {e}"),
                    after: None,
                })
        })
    }

    fn takes(&self, _: &RecordBatch) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(folder: &Path, pairs: &[(&str, &str)]) -> Vec<String> {
        let mut all = vec![("path", folder.to_str().expect("UTF-8 path"))];
        all.extend_from_slice(pairs);
        let settings = Settings::of("file", &all);
        let output = build(&settings, &OutputEnvironment::default()).expect("valid settings");
        let batch = Arc::new(RecordBatch::Logs(crate::render::tests::batch()));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("runtime");
        assert_eq!(
            runtime.block_on(output.send(Request {
                batches: &[batch.clone(), batch],
                id: "1"
            })),
            Outcome::Delivered
        );
        let name = pairs
            .iter()
            .find(|p| p.0 == "file")
            .map_or("kube.web", |p| p.1);
        let text = std::fs::read_to_string(folder.join(name)).expect("file is there");
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn every_format_writes_its_lines() {
        let folder = tempfile::tempdir().expect("temp dir");
        let cases: &[(&[(&str, &str)], usize, &str)] = &[
            (
                &[],
                4,
                r#"kube.web: [1700000000.123456789, {"log":"a \"quoted\" line","kubernetes":{"pod_name":"web-1","labels":{"app":"web"}}}]"#,
            ),
            (
                &[("file", "plain"), ("format", "plain")],
                4,
                r#"{"log":"a \"quoted\" line","kubernetes":{"pod_name":"web-1","labels":{"app":"web"}}}"#,
            ),
            (
                &[
                    ("file", "csv"),
                    ("format", "csv"),
                    ("csv_column_names", "on"),
                ],
                5,
                "timestamp,log,nested",
            ),
            (
                &[("file", "ltsv"), ("format", "ltsv"), ("delimiter", "\\t")],
                4,
                "\"time\":1700000000.123456\t\"log\":\"a \"quoted\" line\"",
            ),
            (
                &[
                    ("file", "tpl"),
                    ("format", "template"),
                    ("template", "{time} <{log}> {no} {"),
                ],
                4,
                "1700000000.123456 <a \"quoted\" line> {no} {",
            ),
        ];
        for (pairs, count, first) in cases {
            let got = lines(folder.path(), pairs);
            assert_eq!((got.len(), got[0].as_str()), (*count, *first));
        }
    }

    #[test]
    fn a_tag_cannot_leave_the_folder() {
        let folder = tempfile::tempdir().expect("temp dir");
        let settings = Settings::of("file", &[("path", folder.path().to_str().expect("UTF-8"))]);
        build(&settings, &OutputEnvironment::default()).expect("valid");
        let files = Files {
            unicode: Unicode::default(),
            folder: "/out".into(),
            name: None,
            form: Form::Plain,
            template: String::new(),
            delimiter: String::new(),
            label_delimiter: String::new(),
            csv_column_names: false,
            mkdir: false,
            rotation: None,
            places: None,
        };
        assert_eq!(
            files.path("../../etc/passwd"),
            Path::new("/out/.._.._etc_passwd")
        );
        assert_eq!(files.path(".."), Path::new("/out/kansoku"));
    }

    #[test]
    fn a_full_disk_keeps_whole_records_and_retries() {
        let folder = tempfile::tempdir().expect("temp dir");
        std::os::unix::fs::symlink("/dev/full", folder.path().join("kube.web")).expect("symlink");
        let settings = Settings::of("file", &[("path", folder.path().to_str().expect("UTF-8"))]);
        let output = build(&settings, &OutputEnvironment::default()).expect("valid");
        let batch = Arc::new(RecordBatch::Logs(crate::render::tests::batch()));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("runtime");
        let outcome = runtime.block_on(output.send(Request {
            batches: &[batch],
            id: "1",
        }));
        assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
    }

    #[test]
    fn a_missing_folder_is_named_with_its_cure() {
        let settings = Settings::of("file", &[("path", "/no/such/folder")]);
        let environment = OutputEnvironment::default();
        build(&settings, &environment).expect("records wait for it");
        let said = environment.warnings.take();
        assert_eq!(
            said[0].to_string(),
            "command line: no such folder: /no/such/folder: records wait until it is there (make it, or set 'mkdir on')"
        );
    }

    #[test]
    fn records_name_their_files() {
        let folder = tempfile::tempdir().expect("temp dir");
        let path = format!("{}/$TAG[1]/%Y", folder.path().display());
        let fallback = folder.path().to_str().expect("UTF-8");
        let settings = Settings::of(
            "file",
            &[
                ("path", path.as_str()),
                ("file", "$nested['a'][0].log"),
                ("enable_strftime", "on"),
                ("mkdir", "on"),
                ("format", "plain"),
                ("on_missing_field", "fallback"),
                ("fallback_path", fallback),
                ("fallback_file", "rest"),
            ],
        );
        let output = build(&settings, &OutputEnvironment::default()).expect("valid");
        let batch = Arc::new(RecordBatch::Logs(crate::render::tests::batch()));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("runtime");
        let batches = [batch.clone(), batch];
        let request = Request {
            batches: &batches,
            id: "1",
        };
        assert_eq!(runtime.block_on(output.send(request)), Outcome::Delivered);
        for (name, start) in [
            ("web/2023/1.log", r#"{"log":"観測"#),
            ("rest", r#"{"log":"a "#),
        ] {
            let text = std::fs::read_to_string(folder.path().join(name)).expect(name);
            assert!(
                text.lines().count() == 2 && text.starts_with(start),
                "{text}"
            );
        }
    }

    #[test]
    fn records_without_a_place_are_told_and_files_rotate() {
        let folder = tempfile::tempdir().expect("temp dir");
        let path = folder.path().to_str().expect("UTF-8");
        let settings = Settings::of("file", &[("path", path), ("file", "$nope")]);
        let output = build(&settings, &OutputEnvironment::default()).expect("valid");
        let batch = Arc::new(RecordBatch::Logs(crate::render::tests::batch()));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("runtime");
        let batches = [batch];
        let request = Request {
            batches: &batches,
            id: "1",
        };
        let Outcome::Partial {
            rejected, retry, ..
        } = runtime.block_on(output.send(request))
        else {
            panic!("both records lack the field")
        };
        assert_eq!((rejected.len(), retry.len()), (2, 0));
        let settings = Settings::of(
            "file",
            &[
                ("path", path),
                ("file", "f"),
                ("rotate", "on"),
                ("rotate_max_size", "1"),
            ],
        );
        let output = build(&settings, &OutputEnvironment::default()).expect("valid");
        for _ in 0..3 {
            assert_eq!(runtime.block_on(output.send(request)), Outcome::Delivered);
        }
        let names = std::fs::read_dir(path).expect("reads").flatten();
        let gzipped = names.filter(|e| e.file_name().to_string_lossy().ends_with(".gz"));
        assert_eq!(gzipped.count(), 2);
    }
}
