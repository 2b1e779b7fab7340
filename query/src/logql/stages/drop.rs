//! `| drop level, app="x"`: removes labels.

use std::fmt;
use std::sync::Arc;

use super::named_labels::{self, NamedLabel};
use super::{Stage, StageWord};
use crate::logql::record::{ERROR_DETAILS_LABEL, ERROR_LABEL, Record};

pub const WORD: StageWord = StageWord {
    word: "drop",
    about: "removes labels by name, or by name and value",
    parse: |parser| {
        Ok(Arc::new(Drop {
            labels: named_labels::parse(parser)?,
        }))
    },
};

#[derive(Debug)]
struct Drop {
    labels: Vec<NamedLabel>,
}

impl Stage for Drop {
    fn process(&self, record: &mut Record<'_>) -> bool {
        for label in &self.labels {
            let name = match label {
                NamedLabel::Name(name) => name,
                NamedLabel::Matcher(m) => &m.name,
            };
            let value = record.labels.get(name).unwrap_or("");
            if !label.means(name, value) {
                continue;
            }
            match name.as_str() {
                ERROR_LABEL => record.labels.clear_error(),
                ERROR_DETAILS_LABEL => record.labels.clear_error_details(),
                _ => record.labels.delete(name),
            }
        }
        true
    }
}

impl fmt::Display for Drop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("| drop ")?;
        named_labels::write(f, &self.labels)
    }
}
