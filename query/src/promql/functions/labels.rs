//! Changing labels: label_replace, label_join.

use kansoku_model::Labels;
use kansoku_model::labels::METRIC_NAME;

use super::super::ast::ValueType::{self, Vector};
use super::super::error::QueryError;
use super::super::evaluate::SAME_LABELSET;
use super::super::text::Text;
use super::super::value::Value;
use super::{Call, Function};
use crate::relabel::{check_label_len, expanded};

pub(super) const LABEL_REPLACE: Function = Function::whole(
    "label_replace",
    &[
        Vector,
        ValueType::String,
        ValueType::String,
        ValueType::String,
        ValueType::String,
    ],
    Vector,
    "Sets a label to a text made from what a pattern finds in another.",
    label_replace,
);

pub(super) const LABEL_JOIN: Function = Function {
    variadic: -1,
    ..Function::whole(
        "label_join",
        &[
            Vector,
            ValueType::String,
            ValueType::String,
            ValueType::String,
        ],
        Vector,
        "Sets a label to others joined by a separator.",
        label_join,
    )
};

/// The most memory a compiled pattern may take.
const REGEX_MAX_BYTES: usize = 4 << 20;

fn label_replace(call: &Call<'_, '_>) -> Result<Value, QueryError> {
    let (target, replacement) = (call.text(1)?, call.text(2)?);
    let (source, pattern) = (call.text(3)?, call.text(4)?);
    let regex = pattern.as_str().and_then(|pattern| {
        let builder = &mut regex::RegexBuilder::new(&format!("^(?s:{pattern})$"));
        builder.size_limit(REGEX_MAX_BYTES).build().ok()
    });
    let regex = regex.ok_or_else(|| {
        let pattern = pattern.to_lossy();
        let message = format!("invalid regular expression in label_replace(): {pattern}");
        QueryError::Execution(message)
    })?;
    let target = label_name("destination", "label_replace", &target)?;
    let replacement = replacement.to_lossy();
    // No series has a label whose name is no UTF-8.
    let source = source.as_str().unwrap_or("");
    relabel(call, target, |labels| {
        let value = labels.get(source).unwrap_or("");
        // `None` when the pattern does not match.
        let found = regex.captures(value);
        found.map(|f| expanded(&f, &replacement)).transpose()
    })
}

fn label_join(call: &Call<'_, '_>) -> Result<Value, QueryError> {
    let (target, separator) = (call.text(1)?, call.text(2)?);
    let sources = (3..call.args.len())
        .map(|index| call.text(index))
        .collect::<Result<Vec<Text>, QueryError>>()?;
    let sources = sources
        .iter()
        .map(|source| label_name("source", "label_join", source))
        .collect::<Result<Vec<&str>, QueryError>>()?;
    let target = label_name("destination", "label_join", &target)?;
    let separator = separator.to_lossy();
    relabel(call, target, |labels| {
        let values: Vec<&str> = sources
            .iter()
            .map(|source| labels.get(source).unwrap_or(""))
            .collect();
        let texts_bytes: usize = values.iter().map(|v| v.len() + separator.len()).sum();
        check_label_len(texts_bytes)?;
        Ok(Some(values.join(&separator)))
    })
}

fn label_name<'t>(role: &str, function: &str, text: &'t Text) -> Result<&'t str, QueryError> {
    text.as_label_name().ok_or_else(|| {
        let text = text.to_lossy();
        let message = format!("invalid {role} label name in {function}(): {text}");
        QueryError::Execution(message)
    })
}

/// Sets `target` of every series to what `text` gives.
fn relabel(
    call: &Call<'_, '_>,
    target: &str,
    text: impl Fn(&Labels) -> Result<Option<String>, String>,
) -> Result<Value, QueryError> {
    let mut columns = call.vector(0)?;
    for column in &mut columns {
        let Some(value) = text(&column.labels).map_err(QueryError::Limit)? else {
            continue;
        };
        column.labels = column.labels.with(target, &value);
        if target == METRIC_NAME {
            // The name is now what the user wants it to be.
            column.drop_name = false;
        }
    }
    call.evaluator
        .merge(columns, SAME_LABELSET)
        .map(Value::Vector)
}
