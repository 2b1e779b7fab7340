//! OTLP in JSON, rewritten as protobuf: one table per message names its fields.
//!
//! The rules of OTLP/JSON: names in lowerCamelCase (the snake_case of the definition is taken, too), ids in
//! hexadecimal, bytes in base64, 64-bit numbers as text or numbers, unknown names passed over.

use serde_json::Value;

use super::super::WireError;
use super::write_varint;

#[derive(Clone, Copy)]
enum Kind {
    Text,
    /// Ids, in hexadecimal.
    Hex,
    /// In base64.
    Bytes,
    Bool,
    /// Whole numbers and enumerations, as varints.
    Int,
    /// Whole numbers with a sign, as zigzag varints.
    Signed,
    Fixed64,
    Double,
    Message(&'static [Entry]),
    /// [`ANY`], which nests itself.
    Any,
    /// Enumeration by word or number; the word's last part is looked up.
    Severity,
}

/// Name, number and kind of a field; a JSON array gives one field per item.
type Entry = (&'static str, u64, Kind);

const ANY: &[Entry] = &[
    ("stringValue", 1, Kind::Text),
    ("boolValue", 2, Kind::Bool),
    ("intValue", 3, Kind::Int),
    ("doubleValue", 4, Kind::Double),
    ("arrayValue", 5, Kind::Message(&[("values", 1, Kind::Any)])),
    (
        "kvlistValue",
        6,
        Kind::Message(&[("values", 1, Kind::Message(PAIR))]),
    ),
    ("bytesValue", 7, Kind::Bytes),
];
const PAIR: &[Entry] = &[("key", 1, Kind::Text), ("value", 2, Kind::Any)];
const RESOURCE: &[Entry] = &[("attributes", 1, Kind::Message(PAIR))];
const SCOPE: &[Entry] = &[
    ("name", 1, Kind::Text),
    ("version", 2, Kind::Text),
    ("attributes", 3, Kind::Message(PAIR)),
    ("droppedAttributesCount", 4, Kind::Int),
];
const LOG: &[Entry] = &[
    ("timeUnixNano", 1, Kind::Fixed64),
    ("severityNumber", 2, Kind::Severity),
    ("severityText", 3, Kind::Text),
    ("body", 5, Kind::Any),
    ("attributes", 6, Kind::Message(PAIR)),
    ("droppedAttributesCount", 7, Kind::Int),
    ("flags", 8, Kind::Int),
    ("traceId", 9, Kind::Hex),
    ("spanId", 10, Kind::Hex),
    ("observedTimeUnixNano", 11, Kind::Fixed64),
    ("eventName", 12, Kind::Text),
];
/// `ExportLogsServiceRequest`.
const LOGS: &[Entry] = &[(
    "resourceLogs",
    1,
    Kind::Message(&[
        ("resource", 1, Kind::Message(RESOURCE)),
        (
            "scopeLogs",
            2,
            Kind::Message(&[
                ("scope", 1, Kind::Message(SCOPE)),
                ("logRecords", 2, Kind::Message(LOG)),
            ]),
        ),
    ]),
)];
const EXEMPLAR: &[Entry] = &[
    ("timeUnixNano", 2, Kind::Fixed64),
    ("asDouble", 3, Kind::Double),
    ("spanId", 4, Kind::Hex),
    ("traceId", 5, Kind::Hex),
    ("asInt", 6, Kind::Fixed64),
    ("filteredAttributes", 7, Kind::Message(PAIR)),
];
const NUMBER: &[Entry] = &[
    ("attributes", 7, Kind::Message(PAIR)),
    ("startTimeUnixNano", 2, Kind::Fixed64),
    ("timeUnixNano", 3, Kind::Fixed64),
    ("asDouble", 4, Kind::Double),
    ("exemplars", 5, Kind::Message(EXEMPLAR)),
    ("asInt", 6, Kind::Fixed64),
    ("flags", 8, Kind::Int),
];
const HISTOGRAM: &[Entry] = &[
    ("attributes", 9, Kind::Message(PAIR)),
    ("startTimeUnixNano", 2, Kind::Fixed64),
    ("timeUnixNano", 3, Kind::Fixed64),
    ("count", 4, Kind::Fixed64),
    ("sum", 5, Kind::Double),
    ("bucketCounts", 6, Kind::Fixed64),
    ("explicitBounds", 7, Kind::Double),
    ("exemplars", 8, Kind::Message(EXEMPLAR)),
    ("flags", 10, Kind::Int),
];
const BUCKETS: &[Entry] = &[("offset", 1, Kind::Signed), ("bucketCounts", 2, Kind::Int)];
const EXPONENTIAL: &[Entry] = &[
    ("attributes", 1, Kind::Message(PAIR)),
    ("startTimeUnixNano", 2, Kind::Fixed64),
    ("timeUnixNano", 3, Kind::Fixed64),
    ("count", 4, Kind::Fixed64),
    ("sum", 5, Kind::Double),
    ("scale", 6, Kind::Signed),
    ("zeroCount", 7, Kind::Fixed64),
    ("positive", 8, Kind::Message(BUCKETS)),
    ("negative", 9, Kind::Message(BUCKETS)),
    ("flags", 10, Kind::Int),
    ("exemplars", 11, Kind::Message(EXEMPLAR)),
];
const SUMMARY: &[Entry] = &[
    ("attributes", 7, Kind::Message(PAIR)),
    ("startTimeUnixNano", 2, Kind::Fixed64),
    ("timeUnixNano", 3, Kind::Fixed64),
    ("count", 4, Kind::Fixed64),
    ("sum", 5, Kind::Double),
    (
        "quantileValues",
        6,
        Kind::Message(&[("quantile", 1, Kind::Double), ("value", 2, Kind::Double)]),
    ),
    ("flags", 8, Kind::Int),
];
const METRIC: &[Entry] = &[
    ("name", 1, Kind::Text),
    ("description", 2, Kind::Text),
    ("unit", 3, Kind::Text),
    (
        "gauge",
        5,
        Kind::Message(&[("dataPoints", 1, Kind::Message(NUMBER))]),
    ),
    (
        "sum",
        7,
        Kind::Message(&[
            ("dataPoints", 1, Kind::Message(NUMBER)),
            ("aggregationTemporality", 2, Kind::Severity),
            ("isMonotonic", 3, Kind::Bool),
        ]),
    ),
    (
        "histogram",
        9,
        Kind::Message(&[
            ("dataPoints", 1, Kind::Message(HISTOGRAM)),
            ("aggregationTemporality", 2, Kind::Severity),
        ]),
    ),
    (
        "exponentialHistogram",
        10,
        Kind::Message(&[
            ("dataPoints", 1, Kind::Message(EXPONENTIAL)),
            ("aggregationTemporality", 2, Kind::Severity),
        ]),
    ),
    (
        "summary",
        11,
        Kind::Message(&[("dataPoints", 1, Kind::Message(SUMMARY))]),
    ),
];
/// `ExportMetricsServiceRequest`.
const METRICS: &[Entry] = &[(
    "resourceMetrics",
    1,
    Kind::Message(&[
        ("resource", 1, Kind::Message(RESOURCE)),
        (
            "scopeMetrics",
            2,
            Kind::Message(&[
                ("scope", 1, Kind::Message(SCOPE)),
                ("metrics", 2, Kind::Message(METRIC)),
                ("schemaUrl", 3, Kind::Text),
            ]),
        ),
    ]),
)];

/// Rewrites a logs request.
///
/// # Errors
/// When it is no JSON of this shape.
pub fn logs(body: &[u8]) -> Result<Vec<u8>, WireError> {
    rewrite(body, LOGS)
}

/// Rewrites a metrics request.
///
/// # Errors
/// When it is no JSON of this shape.
pub fn metrics(body: &[u8]) -> Result<Vec<u8>, WireError> {
    rewrite(body, METRICS)
}

fn rewrite(body: &[u8], entries: &[Entry]) -> Result<Vec<u8>, WireError> {
    // serde_json itself stops at 128 nested levels.
    let value: Value = serde_json::from_slice(body)
        .map_err(|e| WireError::new(e.column(), format!("otlp: not JSON: {e}")))?;
    let mut out = Vec::with_capacity(body.len());
    write_message(&mut out, &value, entries)?;
    Ok(out)
}

fn write_message(out: &mut Vec<u8>, value: &Value, entries: &[Entry]) -> Result<(), WireError> {
    let Value::Object(map) = value else {
        return Err(WireError::new(0, "otlp: an object must stand in the JSON"));
    };
    for (name, value) in map {
        let Some((_, number, kind)) = entries.iter().find(|(known, ..)| is_name(name, known))
        else {
            continue;
        };
        match value {
            Value::Null => {}
            Value::Array(items) => {
                for item in items {
                    write_field(out, name, item, *number, *kind)?;
                }
            }
            one => write_field(out, name, one, *number, *kind)?,
        }
    }
    Ok(())
}

/// In camelCase, or in the definition's snake_case.
fn is_name(name: &str, known: &str) -> bool {
    name == known || (name.contains('_') && name.replace('_', "").eq_ignore_ascii_case(known))
}

fn write_field(
    out: &mut Vec<u8>,
    name: &str,
    value: &Value,
    number: u64,
    kind: Kind,
) -> Result<(), WireError> {
    let wrong = || {
        WireError::new(
            0,
            format!("otlp: '{name}' has a value of the wrong type in the JSON"),
        )
    };
    let varint = |out: &mut Vec<u8>, n: u64| {
        write_varint(out, number << 3);
        write_varint(out, n);
    };
    let bytes = |out: &mut Vec<u8>, bytes: &[u8]| {
        write_varint(out, number << 3 | 2);
        write_varint(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    };
    match kind {
        Kind::Text => bytes(out, value.as_str().ok_or_else(wrong)?.as_bytes()),
        Kind::Hex => bytes(
            out,
            &unhex(value.as_str().ok_or_else(wrong)?).ok_or_else(wrong)?,
        ),
        Kind::Bytes => bytes(
            out,
            &unbase64(value.as_str().ok_or_else(wrong)?).ok_or_else(wrong)?,
        ),
        Kind::Bool => varint(out, u64::from(value.as_bool().ok_or_else(wrong)?)),
        Kind::Int => varint(out, whole(value).ok_or_else(wrong)?),
        Kind::Signed => {
            let n = whole(value).ok_or_else(wrong)?.cast_signed();
            varint(out, (n << 1 ^ n >> 63).cast_unsigned());
        }
        Kind::Severity => varint(out, enumerated(value).ok_or_else(wrong)?),
        Kind::Fixed64 => {
            write_varint(out, number << 3 | 1);
            out.extend_from_slice(&whole(value).ok_or_else(wrong)?.to_le_bytes());
        }
        Kind::Double => {
            write_varint(out, number << 3 | 1);
            let n = decimal(value).ok_or_else(wrong)?;
            out.extend_from_slice(&n.to_bits().to_le_bytes());
        }
        Kind::Message(_) | Kind::Any => {
            let entries = if let Kind::Message(entries) = kind {
                entries
            } else {
                ANY
            };
            let mut inner = Vec::new();
            write_message(&mut inner, value, entries)?;
            bytes(out, &inner);
        }
    }
    Ok(())
}

fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::Number(n) => n.as_u64().or_else(|| n.as_i64().map(i64::cast_unsigned)),
        Value::String(text) => {
            let signed = || text.parse().ok().map(i64::cast_unsigned);
            text.parse().ok().or_else(signed)
        }
        _ => None,
    }
}

fn decimal(value: &Value) -> Option<f64> {
    match value {
        Value::Number(n) => n.as_f64(),
        // "NaN", "Infinity" and "-Infinity" are read, too.
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// Numbers of severities (`SEVERITY_NUMBER_WARN2`) and temporalities.
fn enumerated(value: &Value) -> Option<u64> {
    let Value::String(word) = value else {
        return whole(value);
    };
    if let Some(word) = word.strip_prefix("AGGREGATION_TEMPORALITY_") {
        return ["UNSPECIFIED", "DELTA", "CUMULATIVE"]
            .iter()
            .position(|w| *w == word)
            .map(|n| n as u64);
    }
    let word = word.strip_prefix("SEVERITY_NUMBER_")?;
    let levels = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
    let (level, step) = match word.chars().last() {
        Some(digit @ '2'..='4') => (&word[..word.len() - 1], u64::from(digit) - u64::from('1')),
        _ => (word, 0),
    };
    if level == "UNSPECIFIED" {
        return Some(0);
    }
    let at = levels.iter().position(|l| *l == level)?;
    Some(at as u64 * 4 + 1 + step)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|c| c.to_digit(16).map(|d| d as u8))
        .collect();
    let digits = digits.filter(|d| d.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|d| d[0] << 4 | d[1]).collect())
}

/// The standard alphabet or the one for URLs, with or without padding.
fn unbase64(text: &str) -> Option<Vec<u8>> {
    let (mut out, mut bits, mut n_bits) = (Vec::new(), 0u32, 0);
    for c in text.trim_end_matches('=').bytes() {
        let six = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        n_bits += 6;
        if n_bits >= 8 {
            n_bits -= 8;
            out.push((bits >> n_bits) as u8);
            bits &= (1 << n_bits) - 1;
        }
    }
    Some(out)
}
