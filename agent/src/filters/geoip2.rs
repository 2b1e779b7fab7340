//! `geoip2`: adds what a MaxMind database knows of an address in the record.
//!
//! As in Fluent Bit a field that cannot be told is null. The database is read into memory once.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;

use kansoku_model::plugin::Setting;
use kansoku_model::{ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, Settings, Value};
use maxminddb::Reader;

use super::accessor::Accessor;
use super::record::Tree;
use super::words;
use crate::plugin::{Environment, Filter, FilterContext, FilterPlugin};

/// The plugin.
pub const PLUGIN: FilterPlugin = Plugin {
    name: "geoip2",
    about: "Adds what a MaxMind database knows of an address.",
    options: &[
        OptionSpec::new("database", OptionKind::Text, "", "path of the .mmdb file"),
        OptionSpec::new(
            "lookup_key",
            OptionKind::Text,
            "",
            "field that holds an address",
        )
        .repeated(),
        OptionSpec::new(
            "record",
            OptionKind::Pair,
            "",
            "KEY LOOKUP_KEY %{PATH}: key to add, field of the address, and what to take from the entry, such as %{country.iso_code}",
        )
        .repeated(),
    ],
    example: "[FILTER]\n    Name       geoip2\n    Match      *\n    Database   /usr/share/GeoIP/GeoLite2-City.mmdb\n    Lookup_key remote\n    Record     country remote %{country.iso_code}\n",
    build,
};

struct Record {
    key: String,
    /// Which of the addresses; `None` when it is not a `lookup_key`.
    address: Option<usize>,
    path: Vec<String>,
}

struct Geoip2 {
    database: Reader<Vec<u8>>,
    addresses: Vec<Accessor>,
    records: Vec<Record>,
}

fn build(settings: &Settings, _: &Environment) -> Result<Box<dyn Filter>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let path = settings.required("database")?;
    let place = settings
        .get("database")
        .map_or(&settings.place, |s| &s.place);
    let database = Reader::open_readfile(path)
        .map_err(|e| ConfigError::new(place, format!("cannot open {path}: {e}")))?;
    settings.required("lookup_key")?;
    settings.required("record")?;
    let keys: Vec<&str> = settings
        .all("lookup_key")
        .map(|s| s.value.as_str())
        .collect();
    let accessor = |s: &Setting| Accessor::new(&s.value).map_err(|e| ConfigError::new(&s.place, e));
    let records = settings.all("record").map(|s| record(s, &keys));
    Ok(Box::new(Geoip2 {
        database,
        addresses: settings
            .all("lookup_key")
            .map(accessor)
            .collect::<Result<_, _>>()?,
        records: records.collect::<Result<_, _>>()?,
    }))
}

fn record(s: &Setting, keys: &[&str]) -> Result<Record, ConfigError> {
    let words = words::split(&s.value, 3);
    let path = |text: &str| {
        let inside = text.strip_prefix("%{").and_then(|t| t.strip_suffix('}'))?;
        Some(inside.split('.').map(str::to_owned).collect::<Vec<_>>())
    };
    if let [key, lookup_key, value] = words.as_slice()
        && let Some(path) = path(value)
    {
        return Ok(Record {
            key: key.clone(),
            address: keys.iter().position(|k| k == lookup_key),
            path,
        });
    }
    let message = format!(
        "'record' is '{}', but must be KEY LOOKUP_KEY %{{PATH}}",
        s.value
    );
    Err(ConfigError::new(&s.place, message))
}

impl Geoip2 {
    fn entry(&self, address: &[u8]) -> Option<Tree> {
        let address: IpAddr = std::str::from_utf8(address).ok()?.trim().parse().ok()?;
        self.database.lookup(address).ok()?.decode().ok()?
    }
}

fn below<'t>(tree: &'t Tree, path: &[String]) -> Option<&'t Tree> {
    path.iter().try_fold(tree, |tree, key| match tree {
        Tree::Map(pairs) => pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v),
        _ => None,
    })
}

impl Filter for Geoip2 {
    fn apply(&self, batch: &mut LogBatch, _: &mut FilterContext) {
        let mut known: HashMap<Vec<u8>, Option<Tree>> = HashMap::new();
        let n = batch.len();
        let of_rows = |accessor: &Accessor| {
            let reading = accessor.over(batch);
            let text = |row| reading.text_only(row).map(Cow::into_owned);
            (0..n).map(text).collect()
        };
        let addresses: Vec<Vec<Option<Vec<u8>>>> = self.addresses.iter().map(of_rows).collect();
        for record in &self.records {
            let column = batch.column_index_or_insert(&record.key);
            let of_record = record.address.map(|at| &addresses[at]);
            for row in 0..n {
                let address = of_record.and_then(|rows| rows.get(row)?.as_ref());
                let entry = address.and_then(|address| {
                    let entry = known.entry(address.clone());
                    entry.or_insert_with(|| self.entry(address)).as_ref()
                });
                let found = entry.and_then(|entry| below(entry, &record.path));
                let value = match found {
                    None | Some(Tree::Map(_) | Tree::List(_)) => Value::Null,
                    Some(tree) => tree.store(batch),
                };
                batch.set(column, row, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kansoku_model::{Position, json};

    use super::*;

    /// Writes a database of one network: 1.0.0.0/8 is in `XX`, all else is unknown.
    fn database() -> Vec<u8> {
        let text = |s: &str| [&[0x40 | s.len() as u8][..], s.as_bytes()].concat();
        let map = |n: u8| vec![0xe0 | n];
        let uint = |kind: u8, n: u8| match kind {
            5 | 6 => vec![kind << 5 | 1, n],
            _ => vec![1, kind - 7, n],
        };
        let entry = [
            map(2),
            text("country"),
            map(1),
            text("iso_code"),
            text("XX"),
            text("asn"),
            uint(6, 7),
        ]
        .concat();
        let n_nodes = 8u32;
        let mut out = Vec::new();
        for depth in 0..n_nodes {
            // The address 1.x begins with seven zeros and a one.
            let next = if depth == 7 { n_nodes + 16 } else { depth + 1 };
            let (left, right) = if depth == 7 {
                (n_nodes, next)
            } else {
                (next, n_nodes)
            };
            out.extend_from_slice(&left.to_be_bytes()[1..]);
            out.extend_from_slice(&right.to_be_bytes()[1..]);
        }
        out.extend_from_slice(&[0; 16]);
        out.extend_from_slice(&entry);
        out.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
        for part in [
            map(9),
            text("node_count"),
            uint(6, n_nodes as u8),
            text("record_size"),
            uint(5, 24),
            text("ip_version"),
            uint(5, 4),
            text("binary_format_major_version"),
            uint(5, 2),
            text("binary_format_minor_version"),
            uint(5, 0),
            text("database_type"),
            text("Test"),
            text("build_epoch"),
            uint(9, 1),
            text("languages"),
            vec![0, 4],
            text("description"),
            map(0),
        ] {
            out.extend_from_slice(&part);
        }
        out
    }

    #[test]
    fn entries_are_found_and_what_is_unknown_is_null() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("test.mmdb");
        std::fs::write(&file, database()).expect("file");
        let pairs = [
            ("database", file.to_str().expect("path")),
            ("lookup_key", "ip"),
            ("record", "country ip %{country.iso_code}"),
            ("record", "asn ip %{asn}"),
            ("record", "whole ip %{country}"),
        ];
        let filter = build(&Settings::of("geoip2", &pairs), &Environment::default());
        let filter = filter.unwrap_or_else(|e| panic!("{e}"));
        let mut batch = LogBatch::new("t".into(), Arc::default(), Vec::new());
        for (row, ip) in ["1.2.3.4", "9.9.9.9", "no address"].iter().enumerate() {
            batch.push(0, Position::at(row as u64));
            batch.set_text("ip", row, ip.as_bytes());
        }
        filter.apply(&mut batch, &mut FilterContext::default());
        let line = |row| {
            let mut out = Vec::new();
            json::write_fields(&mut out, &batch, row, true);
            String::from_utf8(out).expect("UTF-8")
        };
        let known = r#""ip":"1.2.3.4","country":"XX","asn":7,"whole":null"#;
        assert_eq!(line(0), known);
        let unknown = r#""ip":"9.9.9.9","country":null,"asn":null,"whole":null"#;
        assert_eq!(line(1), unknown);
        assert!(line(2).ends_with(r#""country":null,"asn":null,"whole":null"#));
    }
}
