//! The values of a field out of the columns of its slots.

use kansoku_model::{Field, FieldValues, Texts};

use super::{Item, Spec};
use crate::bytes::Malformed;
use crate::template::layout::{Column, Template};
use crate::template::load::Values;

/// Which lines of a template are taken.
pub struct Taken<'a> {
    /// Their numbers among the lines of the template, ascending, and the time of the entry of each; all
    /// lines when there are none, and no column needs a time.
    pub rows: Option<(&'a [u32], &'a [i64])>,
    /// How long the text of a field may become.
    pub limit: usize,
}

impl Taken<'_> {
    /// Their values of a column.
    fn of(&self, all: Vec<i64>) -> Vec<i64> {
        match self.rows {
            Some((at, _)) if at.len() < all.len() => {
                at.iter().map(|at| all[*at as usize]).collect()
            }
            _ => all,
        }
    }

    /// The fields that are wanted.
    pub fn fields(
        &self,
        specs: &[Option<Spec<'_>>],
        template: &Template<'_>,
    ) -> Result<Vec<Option<Field>>, Malformed> {
        let field = |spec: &Option<Spec<'_>>| {
            let spec = spec.as_ref();
            spec.map(|spec| self.field(spec, template)).transpose()
        };
        specs.iter().map(field).collect()
    }

    fn field(&self, spec: &Spec<'_>, template: &Template<'_>) -> Result<Field, Malformed> {
        let is_empty = |item: &&Item<'_>| matches!(item, Item::Text(text) if text.is_empty());
        let items: Vec<Item<'_>> = spec
            .items
            .iter()
            .filter(|i| !is_empty(i))
            .copied()
            .collect();
        let values = match items[..] {
            [Item::Slot(at)] => self.column(&template.columns[at])?,
            _ => self.joined(&items, template)?,
        };
        let form = spec.form;
        Ok(Field { form, values })
    }

    /// A field that is all of a slot.
    fn column(&self, column: &Column<'_>) -> Result<FieldValues, Malformed> {
        Ok(match Values::load(column)? {
            Values::Constant(value) => FieldValues::Same(value.to_vec()),
            Values::Integers { width, values } => FieldValues::Integers {
                width,
                values: self.of(values),
            },
            Values::Decimals {
                width,
                scales,
                mantissas,
            } => {
                if !scales.iter().all(|scale| (1..=18).contains(scale)) {
                    return Err(Malformed("decimal without a point"));
                }
                FieldValues::Decimals {
                    width,
                    scales: self.of(scales),
                    mantissas: self.of(mantissas),
                }
            }
            Values::Dictionary { entries, codes } => {
                let mut texts = Texts::default();
                for at in 0..entries.len() {
                    texts.bytes.extend_from_slice(entries.get(at));
                    texts.end();
                }
                let codes = self.of(codes);
                FieldValues::Coded {
                    entries: texts,
                    codes: codes.into_iter().map(|code| code as u32).collect(),
                }
            }
            values => {
                let put = |at, time, out: &mut Vec<u8>| values.put(at, time, out);
                FieldValues::Each(self.texts(column.n_rows, put)?)
            }
        })
    }

    /// A field that is pieces and slots one after the other.
    fn joined(
        &self,
        items: &[Item<'_>],
        template: &Template<'_>,
    ) -> Result<FieldValues, Malformed> {
        let mut loaded = Vec::with_capacity(items.len());
        for item in items {
            loaded.push(match item {
                Item::Text(text) => Values::Constant(text),
                Item::Slot(at) => Values::load(&template.columns[*at])?,
            });
        }
        if loaded.iter().all(|v| matches!(v, Values::Constant(_))) {
            let mut text = Vec::new();
            for values in &loaded {
                values.put(0, 0, &mut text)?;
            }
            return Ok(FieldValues::Same(text));
        }
        let put = |at: usize, time: i64, out: &mut Vec<u8>| {
            loaded
                .iter()
                .try_for_each(|values| values.put(at, time, out))
        };
        Ok(FieldValues::Each(self.texts(template.n_rows, put)?))
    }

    fn texts(
        &self,
        n_rows: usize,
        put: impl Fn(usize, i64, &mut Vec<u8>) -> Result<(), Malformed>,
    ) -> Result<Texts, Malformed> {
        let mut texts = Texts::default();
        let mut add = |at: usize, time: i64| {
            put(at, time, &mut texts.bytes)?;
            if texts.bytes.len() > self.limit {
                return Err(Malformed("lines are longer than promised"));
            }
            texts.end();
            Ok(())
        };
        match self.rows {
            Some((at, times)) => {
                let mut rows = at.iter().zip(times);
                rows.try_for_each(|(at, time)| add(*at as usize, *time))?;
            }
            None => (0..n_rows).try_for_each(|at| add(at, 0))?,
        }
        Ok(texts)
    }
}
