//! The answer to a bulk request, item by item.
//!
//! A document that is there already counts as delivered: it is the repeat of an earlier try. What the
//! cluster cannot take now is repeated alone, what it will never take is refused alone.
//!
//! Elasticsearch names the document and the place in it in its reasons. Records that are refused for one
//! cause get the reason of the first of them, so that they are kept and told as one.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Outcome, RecordRef};

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(default)]
    errors: bool,
    #[serde(borrow, default)]
    items: Vec<HashMap<&'a str, Item<'a>>>,
}

#[derive(Deserialize)]
struct Item<'a> {
    status: u16,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct Error<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(borrow, default)]
    reason: std::borrow::Cow<'a, str>,
}

impl Error<'_> {
    /// The error without its document: `[3:17] failed to parse field [a] of type [long] in document
    /// with id 'x'. Preview ...` is one cause for every document.
    fn cause(&self) -> (&str, &str) {
        let reason = match self.reason.strip_prefix('[') {
            Some(rest) => rest.split_once(']').map_or(rest, |(_, rest)| rest),
            None => &self.reason,
        };
        let end = reason.find(" in document with id").unwrap_or(reason.len());
        (&self.kind, &reason[..end])
    }
}

/// The longest reason that is kept of one item.
const REASON_MAX_BYTES: usize = 512;

/// How items are judged.
#[derive(Debug, Clone, Copy)]
pub struct Judge {
    /// 409 says that the document is there, as it should be.
    pub conflict_is_done: bool,
    /// 404 says that the document to change is not there, and never will be.
    pub missing_is_final: bool,
}

impl Judge {
    /// What an answer with status 200 means for the records, which `records` lists in the
    /// order of the request when that is needed.
    ///
    /// # Errors
    /// When the answer is none that a bulk request gets.
    pub fn outcome_of(
        self,
        body: &[u8],
        records: impl FnOnce() -> Vec<RecordRef>,
    ) -> Result<Outcome, String> {
        // Nearly always all went well, and that stands near the start.
        let start = &body[..body.len().min(256)];
        if memchr::memmem::find(start, b"\"errors\":false").is_some() {
            return Ok(Outcome::Delivered);
        }
        let answer: Answer<'_> = serde_json::from_slice(body)
            .map_err(|e| format!("the answer to the bulk request cannot be read: {e}"))?;
        if !answer.errors {
            return Ok(Outcome::Delivered);
        }
        let records = records();
        if answer.items.len() != records.len() {
            return Err(format!(
                "the answer has {} items for {} records",
                answer.items.len(),
                records.len()
            ));
        }
        let (mut retry, mut rejected, mut reason) = (Vec::new(), Vec::new(), String::new());
        let mut causes: HashMap<String, String> = HashMap::new();
        for (item, record) in answer.items.iter().zip(&records) {
            // Passed over, it would move what follows to the wrong records.
            let mut actions = item.values();
            let (Some(item), None) = (actions.next(), actions.next()) else {
                return Err("an item of the answer is not about one action".into());
            };
            let status = item.status;
            let is_done = matches!(status, 200..=299) || (status == 409 && self.conflict_is_done);
            if is_done {
                continue;
            }
            let text = item.error.map_or("", |e| e.get());
            let may_be_cured = match status {
                401 | 403 | 408 | 429 | 500.. => true,
                404 => !self.missing_is_final,
                _ => false,
            };
            if may_be_cured {
                if retry.is_empty() {
                    reason = reason_of(status, text);
                }
                retry.push(*record);
            } else {
                let error: Error<'_> = serde_json::from_str(text).unwrap_or_default();
                let cause = format!("{status} {:?}", error.cause());
                let reason = causes
                    .entry(cause)
                    .or_insert_with(|| reason_of(status, text));
                rejected.push((*record, reason.clone()));
            }
        }
        if retry.is_empty() && rejected.is_empty() {
            return Ok(Outcome::Delivered);
        }
        Ok(Outcome::Partial {
            retry,
            rejected,
            reason,
            after: None,
        })
    }
}

fn reason_of(status: u16, error: &str) -> String {
    let mut end = error.len().min(REASON_MAX_BYTES);
    while !error.is_char_boundary(end) {
        end -= 1;
    }
    format!("{status}: {}", &error[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(body: &str) -> Result<Outcome, String> {
        let records: Vec<RecordRef> = (0..4).map(|row| RecordRef { batch: 0, row }).collect();
        let judge = Judge {
            conflict_is_done: true,
            missing_is_final: false,
        };
        judge.outcome_of(body.as_bytes(), || records)
    }

    #[test]
    fn items_are_judged_one_by_one() {
        let fine = r#"{"took":3,"errors":false,"items":[]}"#;
        assert_eq!(outcome(fine), Ok(Outcome::Delivered));
        let mixed = r#"{"took":30,"errors":true,"items":[
            {"create":{"_index":"x","status":201}},
            {"create":{"status":409,"error":{"type":"version_conflict_engine_exception"}}},
            {"create":{"status":400,"error":{"type":"mapper_parsing_exception"}}},
            {"create":{"status":429,"error":{"type":"es_rejected_execution_exception"}}}]}"#;
        let Ok(Outcome::Partial {
            retry,
            rejected,
            reason,
            ..
        }) = outcome(mixed)
        else {
            panic!("partial")
        };
        assert_eq!(retry, [RecordRef { batch: 0, row: 3 }]);
        assert!(reason.contains("es_rejected"), "{reason}");
        assert_eq!(rejected.len(), 1);
        assert_eq!(rejected[0].0.row, 2);
        assert!(rejected[0].1.starts_with("400: {\"type\":\"mapper"));
        assert!(outcome(r#"{"errors":true,"items":[]}"#).is_err());
        assert!(outcome("<html>").is_err());
        let refused = r#"{"index":{"status":400}}"#;
        for strange in ["{}", r#"{"index":{"status":200},"create":{"status":400}}"#] {
            let body =
                format!(r#"{{"errors":true,"items":[{strange},{refused},{refused},{refused}]}}"#);
            assert!(
                outcome(&body).is_err(),
                "{strange} has no place among the records"
            );
        }
    }

    /// Every one of them would be a dead letter of its own.
    #[test]
    fn one_cause_is_one_reason() {
        let item = |field: &str, id: &str, at: u32| {
            format!(
                r#"{{"create":{{"status":400,"error":{{"type":"document_parsing_exception","reason":"[1:{at}] failed to parse field [{field}] of type [long] in document with id '{id}'. Preview of field's value: '{id}'","caused_by":{{"type":"x"}}}}}}}}"#
            )
        };
        let items = [
            item("a", "1", 3),
            item("a", "2", 4),
            item("b", "3", 3),
            item("a", "4", 9),
        ];
        let body = format!(r#"{{"errors":true,"items":[{}]}}"#, items.join(","));
        let Ok(Outcome::Partial { rejected, .. }) = outcome(&body) else {
            panic!("partial")
        };
        let reasons: Vec<&str> = rejected.iter().map(|(_, reason)| &**reason).collect();
        assert!(reasons[0].contains("field [a]") && reasons[0].contains("id '1'"));
        assert!(reasons[2].contains("field [b]"));
        assert_eq!([reasons[1], reasons[3]], [reasons[0]; 2]);
    }
}
