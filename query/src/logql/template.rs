//! Templates of `line_format` and `label_format`: Loki's functions over a record.
//!
//! Names, order of arguments and results are those of Loki, which takes them from sprig and from
//! itself. The engine is [`crate::template`].

use kansoku_model::json::lossy;

use crate::template::functions::{Function, at_least, exactly};
use crate::template::{Data, Language, Value, math, texts, times};

use super::record::Record;

/// A template over records.
#[derive(Debug)]
pub struct Template(crate::template::Template);

impl Template {
    /// Reads a template; errors call it by its name.
    ///
    /// # Errors
    /// When it is malformed or uses a function that does not exist here.
    pub fn new(name: &str, text: &str) -> Result<Self, String> {
        let language = Language {
            functions: FUNCTIONS,
        };
        crate::template::Template::new(name, text, language).map(Self)
    }

    /// The label that is the whole template, as in `{{.message}}`.
    pub fn single_label(&self) -> Option<&str> {
        self.0.single_field()
    }

    /// Writes the template for a record.
    ///
    /// # Errors
    /// When a function is given what it cannot use.
    pub fn execute(&self, record: &Record<'_>) -> Result<String, String> {
        self.0.execute(record)
    }

    /// Adds the names of the labels that are read; false when it may be any.
    pub fn labels_read(&self, names: &mut Vec<String>) -> bool {
        self.0.fields_read(names)
    }
}

impl Data for Record<'_> {
    /// A label that is missing is the empty text.
    fn field(&self, name: &str) -> Result<Value, String> {
        Ok(Value::from(self.labels.get(name).unwrap_or("")))
    }

    fn all(&self) -> Value {
        let mut map = serde_json::Map::new();
        self.labels.for_each(|name, value, _| {
            map.insert(name.to_owned(), value.into());
        });
        Value::Json(map.into())
    }

    fn time_ns(&self) -> i64 {
        self.time_ns
    }

    fn line(&self) -> &[u8] {
        &self.line
    }
}

/// Every function.
const FUNCTIONS: &[Function] = &[
    // The record.
    exactly("__line__", 0, |_, scope| {
        Ok(Value::Text(lossy(scope.data.line()).into_owned()))
    }),
    exactly("__timestamp__", 0, |_, scope| {
        times::from_ns(scope.data.time_ns()).map(Value::Time)
    }),
    // Case, trimming, cutting.
    exactly("ToLower", 1, texts::lower),
    exactly("ToUpper", 1, texts::upper),
    exactly("lower", 1, texts::lower),
    exactly("upper", 1, texts::upper),
    exactly("title", 1, texts::title),
    exactly("Trim", 2, |a, s| {
        texts::trim_all(&[a[1].clone(), a[0].clone()], s)
    }),
    exactly("TrimLeft", 2, texts::trim_left),
    exactly("TrimRight", 2, texts::trim_right),
    exactly("TrimPrefix", 2, |a, s| {
        texts::trim_prefix(&[a[1].clone(), a[0].clone()], s)
    }),
    exactly("TrimSuffix", 2, |a, s| {
        texts::trim_suffix(&[a[1].clone(), a[0].clone()], s)
    }),
    exactly("TrimSpace", 1, texts::trim),
    exactly("trim", 1, texts::trim),
    exactly("trimAll", 2, texts::trim_all),
    exactly("trimPrefix", 2, texts::trim_prefix),
    exactly("trimSuffix", 2, texts::trim_suffix),
    exactly("trunc", 2, texts::trunc),
    exactly("substr", 3, texts::substr),
    exactly("alignLeft", 2, texts::align_left),
    exactly("alignRight", 2, texts::align_right),
    exactly("indent", 2, texts::indent),
    exactly("nindent", 2, texts::nindent),
    exactly("repeat", 2, texts::repeat),
    // Searching and replacing.
    exactly("Replace", 4, texts::replace_n),
    exactly("replace", 3, texts::replace),
    exactly("regexReplaceAll", 3, texts::regex_replace_all),
    exactly(
        "regexReplaceAllLiteral",
        3,
        texts::regex_replace_all_literal,
    ),
    exactly("count", 2, texts::regex_count),
    exactly("contains", 2, texts::contains),
    exactly("hasPrefix", 2, texts::has_prefix),
    exactly("hasSuffix", 2, texts::has_suffix),
    // Encodings.
    exactly("urlencode", 1, texts::url_encode),
    exactly("urldecode", 1, texts::url_decode),
    exactly("b64enc", 1, texts::base64_encode),
    exactly("b64dec", 1, texts::base64_decode),
    exactly("fromJson", 1, texts::from_json),
    // Numbers.
    exactly("int", 1, |a, _| Ok(Value::Int(a[0].to_int()))),
    exactly("float64", 1, |a, _| Ok(Value::Float(a[0].to_float()))),
    at_least("add", 1, math::add),
    exactly("sub", 2, math::sub),
    at_least("mul", 1, math::mul),
    exactly("div", 2, math::div),
    exactly("mod", 2, math::modulo),
    at_least("addf", 1, math::addf),
    at_least("subf", 1, math::subf),
    at_least("mulf", 1, math::mulf),
    at_least("divf", 1, math::divf),
    at_least("max", 1, math::max),
    at_least("min", 1, math::min),
    at_least("maxf", 1, math::maxf),
    at_least("minf", 1, math::minf),
    exactly("ceil", 1, |a, _| Ok(Value::Float(a[0].to_float().ceil()))),
    exactly("floor", 1, |a, _| Ok(Value::Float(a[0].to_float().floor()))),
    at_least("round", 1, math::round),
    exactly("bytes", 1, math::bytes),
    exactly("duration", 1, math::duration),
    exactly("duration_seconds", 1, math::duration),
    // Times.
    exactly("date", 2, times::date),
    exactly("toDate", 2, times::to_date),
    exactly("toDateInZone", 3, times::to_date_in_zone),
    exactly("unixToTime", 1, times::unix_to_time),
    exactly("unixEpoch", 1, times::unix_epoch),
    exactly("unixEpochMillis", 1, times::unix_epoch_millis),
    exactly("unixEpochNanos", 1, times::unix_epoch_nanos),
    // Choosing.
    exactly("default", 2, |a, _| {
        let chosen = if a[1].is_true() { &a[1] } else { &a[0] };
        Ok(chosen.clone())
    }),
];

#[cfg(test)]
mod tests;
