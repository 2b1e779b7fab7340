//! Values between records and Lua tables, both ways.
//!
//! The way back is deterministic: keys keep the order that they had in the record, new ones follow
//! sorted by name. A field that comes back unchanged keeps its bytes.

use std::collections::HashMap;

use kansoku_model::{LogBatch, Value};
use mlua::{Lua, Table};

use super::record::Tree;

/// How deep tables may nest: a table that holds itself has no end.
const MAX_DEPTH: usize = 64;
/// The longest list: one entry with a large index makes as many.
const MAX_LIST: i64 = 100_000;
/// Fluent Bit's numbers for the entry `type` of a table's metatable.
const ARRAY: i64 = 1;
const MAP: i64 = 2;

/// A field on its way back.
pub enum Field {
    /// The script left it as it was.
    Same(Value),
    New(Tree),
}

impl Field {
    /// The value in the arena of `batch`.
    pub fn store(&self, batch: &mut LogBatch) -> Value {
        match self {
            Self::Same(value) => *value,
            Self::New(tree) => tree.store(batch),
        }
    }
}

/// The fields of one record.
pub type Fields = Vec<(String, Field)>;

/// What values need to pass.
pub struct Bridge {
    flb_null: bool,
    keeps_numbers: bool,
    int_keys: Vec<String>,
    array_keys: Vec<String>,
    /// Metatables that tell lists from maps when they are empty.
    array: Table,
    map: Table,
    /// The last nested value of each column: often the same for all records of a batch.
    parsed: HashMap<usize, (Vec<u8>, Tree)>,
}

impl Bridge {
    pub fn new(
        lua: &Lua,
        (flb_null, keeps_numbers): (bool, bool),
        int_keys: Vec<String>,
        array_keys: Vec<String>,
    ) -> mlua::Result<Self> {
        let typed = |number: i64| -> mlua::Result<Table> {
            let table = lua.create_table()?;
            table.raw_set("type", number)?;
            Ok(table)
        };
        Ok(Self {
            flb_null,
            keeps_numbers,
            int_keys,
            array_keys,
            array: typed(ARRAY)?,
            map: typed(MAP)?,
            parsed: HashMap::new(),
        })
    }

    /// Record `row` as a table.
    pub fn record(&mut self, lua: &Lua, batch: &LogBatch, row: usize) -> mlua::Result<Table> {
        let table = lua.create_table_with_capacity(0, batch.columns().len())?;
        for (at, column) in batch.columns().iter().enumerate() {
            let value = match column.values[row] {
                Value::Absent => continue,
                Value::Null => self.null(),
                Value::Bool(b) => mlua::Value::Boolean(b),
                Value::Int(n) => mlua::Value::Number(n as f64),
                Value::Float(n) => mlua::Value::Number(n),
                Value::Text(slice) => mlua::Value::String(lua.create_string(batch.bytes(slice))?),
                Value::Json(slice) => {
                    let json = batch.bytes(slice);
                    self.parse(at, json);
                    match self.parsed.get(&at) {
                        Some((_, tree)) => self.to_lua(lua, tree)?,
                        None => mlua::Value::String(lua.create_string(json)?),
                    }
                }
            };
            table.raw_set(&*column.name, value)?;
        }
        table.set_metatable(Some(self.map.clone()))?;
        Ok(table)
    }

    /// The metadata of record `row` as a table.
    pub fn metadata(&self, lua: &Lua, batch: &LogBatch, row: usize) -> mlua::Result<mlua::Value> {
        match batch.metadata(row).and_then(Tree::read) {
            Some(tree) => self.to_lua(lua, &tree),
            None => Ok(mlua::Value::Table(lua.create_table()?)),
        }
    }

    /// What all records of the batch have in common: Fluent Bit's group attributes, as its inputs for
    /// OpenTelemetry make them. Scope attributes stand among the resource's.
    pub fn group(&self, lua: &Lua, batch: &LogBatch) -> mlua::Result<Table> {
        let attributes = lua.create_table()?;
        for (name, value) in &batch.resource.attributes {
            attributes.raw_set(name.as_str(), value.as_str())?;
        }
        let resource = lua.create_table()?;
        resource.raw_set("attributes", attributes)?;
        let group = lua.create_table()?;
        group.raw_set("resource", resource)?;
        Ok(group)
    }

    fn parse(&mut self, column: usize, json: &[u8]) {
        let known = self.parsed.get(&column);
        if known.is_some_and(|(bytes, _)| bytes == json) {
            return;
        }
        match Tree::read(json) {
            Some(tree) => drop(self.parsed.insert(column, (json.to_vec(), tree))),
            None => drop(self.parsed.remove(&column)),
        }
    }

    fn null(&self) -> mlua::Value {
        if self.flb_null {
            mlua::Value::NULL
        } else {
            mlua::Value::Nil
        }
    }

    fn to_lua(&self, lua: &Lua, tree: &Tree) -> mlua::Result<mlua::Value> {
        Ok(match tree {
            Tree::Null => self.null(),
            Tree::Bool(b) => mlua::Value::Boolean(*b),
            Tree::Int(n) => mlua::Value::Number(*n as f64),
            Tree::Large(n) => mlua::Value::Number(*n as f64),
            Tree::Float(n) => mlua::Value::Number(*n),
            Tree::Text(text) => mlua::Value::String(lua.create_string(text)?),
            Tree::List(items) => {
                let table = lua.create_table_with_capacity(items.len(), 0)?;
                for (i, item) in items.iter().enumerate() {
                    table.raw_set(i + 1, self.to_lua(lua, item)?)?;
                }
                table.set_metatable(Some(self.array.clone()))?;
                mlua::Value::Table(table)
            }
            Tree::Map(pairs) => {
                let table = lua.create_table_with_capacity(0, pairs.len())?;
                for (key, value) in pairs {
                    table.raw_set(key.as_str(), self.to_lua(lua, value)?)?;
                }
                table.set_metatable(Some(self.map.clone()))?;
                mlua::Value::Table(table)
            }
        })
    }

    /// The records that a script returned for record `row`: one, or a list of them.
    pub fn records(
        &self,
        value: &mlua::Value,
        batch: &LogBatch,
        row: usize,
    ) -> mlua::Result<Vec<Fields>> {
        let wrong = || mlua::Error::runtime("the script returned no table for the record");
        let mlua::Value::Table(table) = value else {
            return Err(wrong());
        };
        let Some(n) = list_len(table)? else {
            return Ok(vec![self.fields(table, batch, row)?]);
        };
        (1..=n)
            .map(|i| match table.raw_get(i)? {
                mlua::Value::Table(one) if list_len(&one)?.is_none() => {
                    self.fields(&one, batch, row)
                }
                _ => Err(wrong()),
            })
            .collect()
    }

    fn fields(&self, table: &Table, batch: &LogBatch, row: usize) -> mlua::Result<Fields> {
        let mut left = pairs(table)?;
        let mut fields = Vec::with_capacity(left.len());
        for (at, column) in batch.columns().iter().enumerate() {
            let Some(found) = left.iter().position(|(key, _)| **key == *column.name) else {
                continue;
            };
            let (key, value) = left.swap_remove(found);
            let before = column.values[row];
            let field = match (&value, before) {
                (mlua::Value::String(text), Value::Text(slice))
                    if *text.as_bytes() == *batch.bytes(slice) =>
                {
                    Field::Same(before)
                }
                // A whole number that has passed as a double and is the same still.
                (mlua::Value::Number(n), Value::Int(i)) if *n == i as f64 => Field::Same(before),
                (mlua::Value::Integer(n), Value::Int(i)) if *n as f64 == i as f64 => {
                    Field::Same(before)
                }
                (mlua::Value::Number(n), Value::Float(f)) if self.keeps_numbers && *n == f => {
                    Field::Same(before)
                }
                (mlua::Value::Integer(n), Value::Float(f))
                    if self.keeps_numbers && *n as f64 == f =>
                {
                    Field::Same(before)
                }
                (mlua::Value::Table(_), Value::Json(_)) => {
                    let original = self.parsed.get(&at).map(|(_, tree)| tree);
                    let tree = self.field(&key, &value, original)?;
                    match original {
                        Some(original) if *original == tree => Field::Same(before),
                        _ => Field::New(tree),
                    }
                }
                _ => Field::New(self.field(&key, &value, None)?),
            };
            fields.push((key, field));
        }
        left.sort_by(|a, b| a.0.cmp(&b.0));
        for (key, value) in left {
            let field = Field::New(self.field(&key, &value, None)?);
            fields.push((key, field));
        }
        Ok(fields)
    }

    /// The value under `key`, whose type the user may have said.
    fn field(&self, key: &str, value: &mlua::Value, original: Option<&Tree>) -> mlua::Result<Tree> {
        self.typed(key, value, original, 0)
    }

    fn typed(
        &self,
        key: &str,
        value: &mlua::Value,
        original: Option<&Tree>,
        depth: usize,
    ) -> mlua::Result<Tree> {
        match value {
            mlua::Value::Number(n) if self.int_keys.iter().any(|k| k == key) => {
                Ok(Tree::Int(*n as i64))
            }
            mlua::Value::Table(table) if self.array_keys.iter().any(|k| k == key) => {
                self.list(table, table.raw_len(), original, depth)
            }
            _ => self.at_depth(value, original, depth),
        }
    }

    /// A value as a tree. Keys that `original` has come first, in its order.
    pub fn tree(&self, value: &mlua::Value, original: Option<&Tree>) -> mlua::Result<Tree> {
        self.at_depth(value, original, 0)
    }

    fn at_depth(
        &self,
        value: &mlua::Value,
        original: Option<&Tree>,
        depth: usize,
    ) -> mlua::Result<Tree> {
        if depth > MAX_DEPTH {
            let message = format!("a returned table is nested deeper than {MAX_DEPTH}");
            return Err(mlua::Error::runtime(message));
        }
        Ok(match value {
            mlua::Value::Boolean(b) => Tree::Bool(*b),
            mlua::Value::Integer(n) => self.number(*n as f64, original),
            mlua::Value::Number(n) => self.number(*n, original),
            mlua::Value::String(text) => Tree::Text(text.as_bytes().to_vec()),
            mlua::Value::Table(table) => match list_len(table)? {
                Some(n) => self.list(table, n, original, depth)?,
                None => self.map(table, original, depth)?,
            },
            // Fluent Bit cannot pack functions and the like, and damages the record.
            _ => Tree::Null,
        })
    }

    /// Whole numbers come back as such, as in Fluent Bit; what a double cannot hold exactly but was not
    /// changed stays what it was.
    fn number(&self, n: f64, original: Option<&Tree>) -> Tree {
        let keeps_all = self.keeps_numbers;
        match original {
            Some(Tree::Int(i)) if *i as f64 == n => Tree::Int(*i),
            Some(Tree::Large(i)) if *i as f64 == n => Tree::Large(*i),
            Some(Tree::Float(f)) if *f == n && (keeps_all || f.fract() != 0.0) => Tree::Float(*f),
            _ if n.fract() == 0.0 && n.abs() < 9.2e18 => Tree::Int(n as i64),
            _ => Tree::Float(n),
        }
    }

    fn list(
        &self,
        table: &Table,
        n: usize,
        original: Option<&Tree>,
        depth: usize,
    ) -> mlua::Result<Tree> {
        let items = match original {
            Some(Tree::List(items)) => items.as_slice(),
            _ => &[],
        };
        let item = |i: usize| {
            let value: mlua::Value = table.raw_get(i + 1)?;
            self.at_depth(&value, items.get(i), depth + 1)
        };
        Ok(Tree::List((0..n).map(item).collect::<mlua::Result<_>>()?))
    }

    fn map(&self, table: &Table, original: Option<&Tree>, depth: usize) -> mlua::Result<Tree> {
        let known = match original {
            Some(Tree::Map(pairs)) => pairs.as_slice(),
            _ => &[],
        };
        let mut left = pairs(table)?;
        let place = |key: &str| known.iter().position(|(k, _)| k == key);
        left.sort_by(|(a, _), (b, _)| {
            let of = |key: &str| place(key).unwrap_or(known.len());
            of(a).cmp(&of(b)).then_with(|| a.cmp(b))
        });
        let pair = |(key, value): (String, mlua::Value)| {
            let original = place(&key).map(|at| &known[at].1);
            let tree = self.typed(&key, &value, original, depth + 1)?;
            Ok((key, tree))
        };
        let pairs = left.into_iter().map(pair);
        Ok(Tree::Map(pairs.collect::<mlua::Result<_>>()?))
    }
}

/// How long the list is that a table stands for; `None` when it is a map.
fn list_len(table: &Table) -> mlua::Result<Option<usize>> {
    if let Some(meta) = table.metatable() {
        match meta.raw_get::<mlua::Value>("type")? {
            mlua::Value::Integer(ARRAY) => return Ok(Some(table.raw_len())),
            mlua::Value::Number(n) if n == ARRAY as f64 => return Ok(Some(table.raw_len())),
            mlua::Value::Integer(_) | mlua::Value::Number(_) => return Ok(None),
            _ => {}
        }
    }
    // As in Fluent Bit a table with any entry 1, 2, ... is a list, whatever else it holds; entries
    // between that are missing are null.
    let mut longest = 0;
    table.for_each(|key: mlua::Value, _: mlua::Value| {
        let at = match key {
            mlua::Value::Integer(n) => n,
            mlua::Value::Number(n) => n as i64,
            _ => 0,
        };
        longest = longest.max(at);
        Ok(())
    })?;
    if longest > MAX_LIST {
        let message = format!("a returned list is longer than {MAX_LIST}");
        return Err(mlua::Error::runtime(message));
    }
    Ok((longest > 0).then_some(longest as usize))
}

fn pairs(table: &Table) -> mlua::Result<Vec<(String, mlua::Value)>> {
    let mut pairs = Vec::new();
    table.for_each(|key: mlua::Value, value: mlua::Value| {
        let key = match key {
            mlua::Value::String(text) => text.to_string_lossy(),
            mlua::Value::Integer(n) => n.to_string(),
            mlua::Value::Number(n) => n.to_string(),
            mlua::Value::Boolean(b) => b.to_string(),
            _ => return Err(mlua::Error::runtime("a key of the record is no text")),
        };
        pairs.push((key, value));
        Ok(())
    })?;
    Ok(pairs)
}
