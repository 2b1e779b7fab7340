//! `| keep level, app="x"`: removes every other label.

use std::fmt;
use std::sync::Arc;

use super::named_labels::{self, NamedLabel};
use super::{Stage, StageWord};
use crate::logql::record::{ERROR_DETAILS_LABEL, ERROR_LABEL, Record};

pub const WORD: StageWord = StageWord {
    word: "keep",
    about: "removes all labels but the named ones; the error labels stay",
    parse: |parser| {
        Ok(Arc::new(Keep {
            labels: named_labels::parse(parser)?,
        }))
    },
};

#[derive(Debug)]
struct Keep {
    labels: Vec<NamedLabel>,
}

impl Stage for Keep {
    fn process(&self, record: &mut Record<'_>) -> bool {
        let mut unwanted = Vec::new();
        record.labels.for_each(|name, value, _| {
            let special = matches!(name, ERROR_LABEL | ERROR_DETAILS_LABEL);
            if !special && !self.labels.iter().any(|l| l.means(name, value)) {
                unwanted.push(name.to_owned());
            }
        });
        for name in unwanted {
            record.labels.delete(&name);
        }
        true
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("| keep ")?;
        named_labels::write(f, &self.labels)
    }
}
