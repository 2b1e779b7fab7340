//! A record as a line in the form `key=value`, as Fluent Bit's loki output writes it.
//!
//! Texts stand in quotes without escapes, objects as `"map[k:v]"`, arrays as `"[a b]"`.

use serde_json::value::RawValue;

use crate::rows::Object;

/// Appends the members of a JSON object as `key=value key=value`.
pub fn write_pairs(out: &mut Vec<u8>, object: &[u8]) {
    let Ok(object) = serde_json::from_slice::<Object<'_>>(object) else {
        return out.extend_from_slice(object);
    };
    for (i, (key, value)) in object.0.iter().enumerate() {
        if i > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(key.as_bytes());
        out.push(b'=');
        write_value(out, value.get());
    }
}

/// Appends one JSON value in that form.
pub fn write_value(out: &mut Vec<u8>, json: &str) {
    match json.as_bytes().first() {
        Some(b'"') => {
            out.push(b'"');
            let text: String = serde_json::from_str(json).unwrap_or_default();
            out.extend_from_slice(text.as_bytes());
            out.push(b'"');
        }
        Some(b'{') => {
            out.extend_from_slice(b"\"map[");
            let object = serde_json::from_str::<Object<'_>>(json);
            for (i, (key, value)) in object.iter().flat_map(|o| &o.0).enumerate() {
                if i > 0 {
                    out.push(b' ');
                }
                out.extend_from_slice(key.as_bytes());
                out.push(b':');
                write_value(out, value.get());
            }
            out.extend_from_slice(b"]\"");
        }
        Some(b'[') => {
            out.extend_from_slice(b"\"[");
            let items: Vec<&RawValue> = serde_json::from_str(json).unwrap_or_default();
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b' ');
                }
                write_value(out, item.get());
            }
            out.extend_from_slice(b"]\"");
        }
        _ => write_number(out, json),
    }
}

/// Exponents have a sign and two digits at least, as in C.
fn write_number(out: &mut Vec<u8>, json: &str) {
    let Some((mantissa, exponent)) = json.split_once(['e', 'E']) else {
        return out.extend_from_slice(json.as_bytes());
    };
    let Ok(exponent) = exponent.trim_start_matches('+').parse::<i32>() else {
        // `true` and `false` have an e, too.
        return out.extend_from_slice(json.as_bytes());
    };
    let sign = if exponent < 0 { '-' } else { '+' };
    out.extend_from_slice(format!("{mantissa}e{sign}{:02}", exponent.abs()).as_bytes());
}

#[cfg(test)]
mod tests {
    /// Captured from Fluent Bit 5.1.1.
    #[test]
    fn lines_are_fluent_bits() {
        for (json, line) in [
            (
                r#"{"log":"quote \" back","n":1,"f":2.5,"b":true,"x":null}"#,
                "log=\"quote \" back\" n=1 f=2.5 b=true x=null",
            ),
            (
                r#"{"nested":{"deep":{"z":[1,2,{"q.q":"r"}]}},"arr":[1,"two",3.5,null,false]}"#,
                "nested=\"map[deep:\"map[z:\"[1 2 \"map[q.q:\"r\"]\"]\"]\"]\" arr=\"[1 \"two\" 3.5 null false]\"",
            ),
            (
                r#"{"empty":{},"earr":[],"neg":-5,"small":1e-7,"huge":1.5e300,"one":1.0}"#,
                "empty=\"map[]\" earr=\"[]\" neg=-5 small=1e-07 huge=1.5e+300 one=1.0",
            ),
        ] {
            let mut out = Vec::new();
            super::write_pairs(&mut out, json.as_bytes());
            assert_eq!(String::from_utf8(out).expect("text"), line);
        }
    }
}
