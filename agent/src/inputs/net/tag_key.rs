//! `tag_key`: a record's tag from one of its fields.

use std::sync::Arc;

use kansoku_model::{ConfigError, LogBatch, Settings};

use super::clean_tag;
use crate::filters::accessor::Accessor;

/// The field that holds the tag, where one is set.
#[derive(Default)]
pub struct TagKey(Option<Accessor>);

impl TagKey {
    /// Reads `tag_key`.
    ///
    /// # Errors
    /// When it is no record accessor.
    pub fn of(s: &Settings) -> Result<Self, ConfigError> {
        let Some(key) = s.get("tag_key") else {
            return Ok(Self::default());
        };
        let accessor = Accessor::new(&key.value);
        let accessor = accessor.map_err(|message| ConfigError::new(&key.place, message))?;
        Ok(Self(Some(accessor)))
    }

    /// A key that is valid.
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn testing(key: &str) -> Self {
        Self(Some(Accessor::new(key).expect("valid")))
    }

    /// The batches by tag.
    #[must_use]
    pub fn split(&self, batches: Vec<LogBatch>) -> Vec<LogBatch> {
        match &self.0 {
            None => batches,
            Some(key) => batches.into_iter().flat_map(|b| by_tag(b, key)).collect(),
        }
    }
}

/// Splits a batch by the text of a field; records without it keep the tag. Each part is a source of its
/// own, as positions of one source may only grow.
fn by_tag(batch: LogBatch, key: &Accessor) -> Vec<LogBatch> {
    let reading = key.over(&batch);
    let mut parts: Vec<(Arc<str>, Vec<usize>)> = Vec::new();
    for row in 0..batch.len() {
        let tag = reading
            .text(row)
            .map(|text| clean_tag(&String::from_utf8_lossy(&text)));
        let tag = tag
            .filter(|t| !t.is_empty())
            .unwrap_or_else(|| batch.tag.to_string());
        match parts.iter_mut().find(|(known, _)| **known == *tag) {
            Some((_, rows)) => rows.push(row),
            None => parts.push((tag.into(), vec![row])),
        }
    }
    let part = |(tag, rows): (Arc<str>, Vec<usize>)| {
        let mut part = batch.copy_rows(&rows, tag);
        part.source = batch.source;
        part.source.id = batch.source.id.derived(&part.tag);
        part
    };
    parts.into_iter().map(part).collect()
}
