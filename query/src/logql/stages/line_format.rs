//! `| line_format "{{.status}} {{.path}}"`: writes a new line from a template.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::{LabelsRead, Stage, StageWord, TEMPLATE_ERROR};
use crate::logql::error::ParseError;
use crate::logql::lexer::Quoted;
use crate::logql::record::Record;
use crate::logql::template::Template;

pub const WORD: StageWord = StageWord {
    word: "line_format",
    about: "writes the line anew from a template",
    parse: |parser| {
        let text = parser.text()?;
        let template = Template::new("line", &text).map_err(|e| {
            ParseError::in_stage(
                format!("| line_format {text:?}"),
                format!("invalid line template: {e}"),
            )
        })?;
        Ok(Arc::new(LineFormat { text, template }))
    },
};

#[derive(Debug)]
struct LineFormat {
    text: String,
    template: Template,
}

impl Stage for LineFormat {
    fn process(&self, record: &mut Record<'_>) -> bool {
        if let Some(name) = self.template.single_label() {
            let value = record.labels.get(name).unwrap_or("").as_bytes().to_vec();
            record.line = Cow::Owned(value);
            return true;
        }
        match self.template.execute(record) {
            Ok(line) => record.line = Cow::Owned(line.into_bytes()),
            Err(reason) => record.labels.set_error(TEMPLATE_ERROR, &reason),
        }
        true
    }

    fn labels_read(&self, read: &mut LabelsRead) {
        read.all |= !self.template.labels_read(&mut read.names);
    }

    fn changes_line(&self) -> bool {
        true
    }
}

impl fmt::Display for LineFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| line_format {}", Quoted(&self.text))
    }
}
