//! `| label_format a=b, c="{{.d}}"`: renames labels and writes them from templates.

use std::fmt;
use std::sync::Arc;

use super::{LabelsRead, Stage, StageWord, TEMPLATE_ERROR};
use crate::logql::error::ParseError;
use crate::logql::lexer::Quoted;
use crate::logql::parser::Parser;
use crate::logql::record::{ERROR_LABEL, Record};
use crate::logql::template::Template;
use crate::relabel::check_label_len;

pub const WORD: StageWord = StageWord {
    word: "label_format",
    about: "renames labels, or writes them from templates",
    parse,
};

#[derive(Debug)]
enum Format {
    /// From this label.
    Rename(String),
    Template(String, Template),
}

#[derive(Debug)]
struct LabelFormat {
    formats: Vec<(String, Format)>,
}

fn parse(parser: &mut Parser<'_>) -> Result<Arc<dyn Stage>, ParseError> {
    let mut formats: Vec<(String, Format)> = Vec::new();
    loop {
        let name = parser.identifier()?;
        parser.expect("=")?;
        let format = if parser.at_identifier() {
            Format::Rename(parser.identifier()?)
        } else {
            let text = parser.text_expecting("IDENTIFIER or STRING")?;
            let template = Template::new("label", &text).map_err(|e| {
                ParseError::in_stage(
                    format!("| label_format {name}={text:?}"),
                    format!("invalid template for label '{name}': {e}"),
                )
            })?;
            Format::Template(text, template)
        };
        formats.push((name, format));
        if !parser.accept(",") {
            break;
        }
    }
    let stage = LabelFormat { formats };
    let wrong = |why: String| Err(ParseError::in_stage(&stage, why));
    for (at, (name, _)) in stage.formats.iter().enumerate() {
        if name == ERROR_LABEL {
            return wrong(format!("{name} cannot be formatted"));
        }
        if stage.formats[..at].iter().any(|(n, _)| n == name) {
            return wrong(format!(
                "multiple label name '{name}' not allowed in a single format operation"
            ));
        }
    }
    Ok(Arc::new(stage))
}

impl Stage for LabelFormat {
    fn process(&self, record: &mut Record<'_>) -> bool {
        // Templates of one stage all see the labels as they were at the first template.
        let mut written: Option<Vec<Result<String, String>>> = None;
        for (at, (name, format)) in self.formats.iter().enumerate() {
            match format {
                Format::Rename(from) => {
                    if let Some(value) = record.labels.get(from).map(str::to_owned) {
                        record.labels.delete(from);
                        record.labels.set(name, &value);
                    }
                }
                Format::Template(..) => {
                    let queue = written.get_or_insert_with(|| {
                        let templates = self.formats[at..].iter().rev();
                        templates
                            .filter_map(|(_, format)| match format {
                                Format::Template(_, template) => Some(
                                    template
                                        .execute(record)
                                        .and_then(|t| check_label_len(t.len()).map(|()| t)),
                                ),
                                Format::Rename(_) => None,
                            })
                            .collect()
                    });
                    match queue.pop() {
                        Some(Ok(value)) => record.labels.set(name, &value),
                        Some(Err(reason)) => record.labels.set_error(TEMPLATE_ERROR, &reason),
                        None => {}
                    }
                }
            }
        }
        true
    }

    fn labels_read(&self, read: &mut LabelsRead) {
        for (_, format) in &self.formats {
            match format {
                Format::Rename(from) => read.names.push(from.clone()),
                Format::Template(_, template) => {
                    read.all |= !template.labels_read(&mut read.names);
                }
            }
        }
    }
}

impl fmt::Display for LabelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("| label_format ")?;
        for (i, (name, format)) in self.formats.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            match format {
                Format::Rename(from) => write!(f, "{comma}{name}={from}")?,
                Format::Template(text, _) => write!(f, "{comma}{name}={}", Quoted(text))?,
            }
        }
        Ok(())
    }
}
