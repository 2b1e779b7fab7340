//! `file`: appends records to a file, one per tag unless a name is given.
//!
//! A write either lands whole or is taken back: after a failure (a full disk, say) the file is cut
//! to its former length and the batch is tried again, so no record is torn and none stands twice.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kansoku_model::{
    ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, RecordBatch, Settings, Value,
};

use crate::render::{kubernetes_json, split_seconds, write_object, write_text_value};
use crate::{Outcome, Output, OutputEnvironment, OutputPlugin, Request, SendFuture, metric_text};

/// The plugin.
pub const PLUGIN: OutputPlugin = Plugin {
    name: "file",
    about: "Appends records to files.",
    options: &[
        OptionSpec::new(
            "path",
            OptionKind::Text,
            "",
            "folder to write to; the working folder when not set",
        ),
        OptionSpec::new(
            "file",
            OptionKind::Text,
            "",
            "file name; the tag when not set",
        ),
        OptionSpec::new(
            "format",
            OptionKind::Choice(&["out_file", "plain", "csv", "ltsv", "template"]),
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
    ],
    example: "[OUTPUT]\n    Name    file\n    Match   *\n    Path    /var/log/kansoku\n    Mkdir   on\n",
    build,
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
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
}

fn build(settings: &Settings, _: &OutputEnvironment) -> Result<Box<dyn Output>, ConfigError> {
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
        _ => Form::OutFile,
    };
    let folder = PathBuf::from(settings.text("path", "."));
    if settings.bool("mkdir", false)? {
        std::fs::create_dir_all(&folder).map_err(|e| {
            ConfigError::new(
                &settings.place,
                format!("cannot make folder {}: {e}", folder.display()),
            )
        })?;
    }
    if !folder.is_dir() {
        let message = format!(
            "no such folder: {} (make it, or set 'mkdir on')",
            folder.display()
        );
        return Err(ConfigError::new(&settings.place, message));
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
    }))
}

impl Files {
    /// The tag as a file name cannot leave the folder: separators become underscores.
    fn path(&self, tag: &str) -> PathBuf {
        let name = self.name.as_deref().unwrap_or(tag);
        let name = name.replace(['/', '\0'], "_");
        match name.as_str() {
            "" | "." | ".." => self.folder.join("kansoku"),
            name => self.folder.join(name),
        }
    }

    fn render(&self, out: &mut Vec<u8>, batch: &RecordBatch, new_file: bool) {
        match batch {
            RecordBatch::Metrics(batch) => metric_text::write(out, batch),
            RecordBatch::Logs(batch) => {
                if self.form == Form::Csv && self.csv_column_names && new_file {
                    self.write_csv_names(out, batch);
                }
                let kubernetes = kubernetes_json(batch);
                for row in 0..batch.len() {
                    self.write_record(out, batch, row, &kubernetes);
                }
            }
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

    fn write_record(&self, out: &mut Vec<u8>, batch: &LogBatch, row: usize, kubernetes: &[u8]) {
        let (seconds, nanos) = split_seconds(batch.times()[row]);
        let present = || {
            batch
                .columns()
                .iter()
                .filter(|c| c.values[row] != Value::Absent)
        };
        match self.form {
            Form::OutFile => {
                out.extend_from_slice(format!("{}: [{seconds}.{nanos:09}, ", batch.tag).as_bytes());
                write_object(out, batch, row, kubernetes);
                out.extend_from_slice(b"]\n");
            }
            Form::Plain => {
                write_object(out, batch, row, kubernetes);
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

    fn write_all(&self, batches: &[Arc<RecordBatch>]) -> Outcome {
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
        let mut file: File = OpenOptions::new().create(true).append(true).open(path)?;
        let former_len = file.metadata()?.len();
        let mut text = Vec::new();
        for batch in batches {
            let at_start = former_len == 0 && text.is_empty();
            self.render(&mut text, batch, at_start);
        }
        if let Err(e) = file.write_all(&text) {
            file.set_len(former_len)?;
            return Err(e);
        }
        Ok(())
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
            folder: "/out".into(),
            name: None,
            form: Form::Plain,
            template: String::new(),
            delimiter: String::new(),
            label_delimiter: String::new(),
            csv_column_names: false,
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
        let error = build(&settings, &OutputEnvironment::default())
            .err()
            .expect("refused");
        assert_eq!(
            error.to_string(),
            "command line: no such folder: /no/such/folder (make it, or set 'mkdir on')"
        );
    }
}
