//! `record_modifier`: adds fields with fixed values, and removes or allows fields by name.
//!
//! A key that ends in `*` stands for all that begin so; case does not count, as in Fluent Bit.

use kansoku_model::log::KUBERNETES;
use kansoku_model::{ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, Settings, Value};

use super::words;
use crate::plugin::{Environment, Filter, FilterContext, FilterPlugin};

/// The plugin.
pub const PLUGIN: FilterPlugin = Plugin {
    name: "record_modifier",
    about: "Adds fields with fixed values and removes fields by name.",
    options: &[
        OptionSpec::new("record", OptionKind::Pair, "", "key and value to add").repeated(),
        OptionSpec::new("remove_key", OptionKind::Text, "", "key to remove").repeated(),
        OptionSpec::new(
            "allowlist_key",
            OptionKind::Text,
            "",
            "key to keep; all others go",
        )
        .repeated(),
        OptionSpec::new(
            "whitelist_key",
            OptionKind::Text,
            "",
            "old name of allowlist_key",
        )
        .repeated(),
        OptionSpec::new(
            "uuid_key",
            OptionKind::Text,
            "",
            "key of a UUID that is added to each record",
        ),
    ],
    example: "[FILTER]\n    Name       record_modifier\n    Match      *\n    Record     hostname ${HOSTNAME}\n    Remove_key stream\n",
    build,
};

struct RecordModifier {
    records: Vec<(String, String)>,
    keys: Vec<Key>,
    /// Whether `keys` are those to keep.
    allows: bool,
    uuid_key: Option<String>,
}

struct Key {
    name: String,
    is_prefix: bool,
}

impl Key {
    fn new(text: &str) -> Self {
        Self {
            name: text.trim_end_matches('*').to_owned(),
            is_prefix: text.ends_with('*'),
        }
    }

    fn fits(&self, key: &str) -> bool {
        let head = key.as_bytes().get(..self.name.len());
        let same = head.is_some_and(|head| head.eq_ignore_ascii_case(self.name.as_bytes()));
        same && (self.is_prefix || key.len() == self.name.len())
    }
}

fn build(settings: &Settings, _: &Environment) -> Result<Box<dyn Filter>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let removes: Vec<Key> = settings
        .all("remove_key")
        .map(|s| Key::new(&s.value))
        .collect();
    let allowed =
        |s: &&kansoku_model::plugin::Setting| s.key == "allowlist_key" || s.key == "whitelist_key";
    let allowed: Vec<Key> = (settings.settings.iter().filter(allowed))
        .map(|s| Key::new(&s.value))
        .collect();
    if !removes.is_empty() && !allowed.is_empty() {
        let message = "'remove_key' and 'allowlist_key' exclude each other; use two filters";
        return Err(ConfigError::new(&settings.place, message));
    }
    let record = |s: &kansoku_model::plugin::Setting| {
        let mut words = words::split(&s.value, 2).into_iter();
        let key = words.next().unwrap_or_default();
        (key, words.next().unwrap_or_default())
    };
    let allows = !allowed.is_empty();
    Ok(Box::new(RecordModifier {
        records: settings.all("record").map(record).collect(),
        keys: if allows { allowed } else { removes },
        allows,
        uuid_key: settings.get("uuid_key").map(|s| s.value.clone()),
    }))
}

impl RecordModifier {
    fn keeps(&self, key: &str) -> bool {
        self.keys.is_empty() || self.keys.iter().any(|k| k.fits(key)) == self.allows
    }
}

impl Filter for RecordModifier {
    fn apply(&self, batch: &mut LogBatch, _: &mut FilterContext) {
        let sets_kubernetes = || self.records.iter().any(|(key, _)| key == KUBERNETES);
        if !self.keeps(KUBERNETES) || sets_kubernetes() {
            batch.kubernetes_to_column();
        }
        batch.retain_columns(|key| self.keeps(key));
        for (key, text) in &self.records {
            let value = Value::Text(batch.store(text.as_bytes()));
            batch.column_mut(key).values.fill(value);
        }
        if let Some(key) = &self.uuid_key {
            for row in 0..batch.len() {
                let uuid = uuid(batch, row);
                batch.set_text(key, row, uuid.as_bytes());
            }
        }
    }
}

/// A UUID (version 8) made of the record's source and position, or of its content where there is no
/// source: the same record has the same one when it is read again after a crash.
fn uuid(batch: &LogBatch, row: usize) -> String {
    let position = batch.positions()[row];
    let mut seed = batch.source.id.0.to_le_bytes().to_vec();
    seed.extend_from_slice(&position.offset.to_le_bytes());
    seed.extend_from_slice(&position.ordinal.to_le_bytes());
    seed.extend_from_slice(&batch.times()[row].to_le_bytes());
    if !batch.source.id.is_some() {
        kansoku_model::json::write_fields(&mut seed, batch, row, true);
    }
    let hash = xxhash_rust::xxh3::xxh3_128(&seed);
    let bits = (hash & !(0xf << 76) & !(0x3 << 62)) | (8 << 76) | (2 << 62);
    let hex = format!("{bits:032x}");
    let (a, b, c, d, e) = (
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    );
    format!("{a}-{b}-{c}-{d}-{e}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kansoku_model::Position;

    use super::*;

    #[test]
    fn uuids_are_well_formed_and_differ_by_position() {
        let mut batch = LogBatch::new("t".into(), Arc::default(), Vec::new());
        for offset in [5, 6] {
            batch.push(0, Position::at(offset));
        }
        let (a, b) = (uuid(&batch, 0), uuid(&batch, 1));
        assert_eq!(a, uuid(&batch, 0));
        assert_ne!(a, b);
        let lengths: Vec<usize> = a.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(a.as_bytes()[14], b'8');
        assert!(b"89ab".contains(&a.as_bytes()[19]));
    }
}
