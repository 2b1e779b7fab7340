//! JSON values as YAML in block style. Texts that another reading could take for something else are
//! written as JSON strings, which YAML reads as they are.

use serde_json::Value;

/// A document.
#[must_use]
pub fn text(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => block(&mut out, value, 0),
        Value::Array(items) if !items.is_empty() => block(&mut out, value, 0),
        scalar => {
            flow(&mut out, scalar);
            out.push('\n');
        }
    }
    out
}

/// A filled map or list, every line behind `indent` blanks; the first line's are there already when it
/// stands behind a dash.
fn block(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) => {
            for (n, (key, value)) in map.iter().enumerate() {
                if n > 0 {
                    fill(out, indent);
                }
                scalar(out, key);
                out.push(':');
                child(out, value, indent);
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    fill(out, indent);
                }
                out.push('-');
                if is_filled(item) {
                    out.push(' ');
                    block(out, item, indent + 2);
                } else {
                    out.push(' ');
                    flow(out, item);
                    out.push('\n');
                }
            }
        }
        _ => unreachable!("only filled maps and lists are blocks"),
    }
}

/// What stands behind a key.
fn child(out: &mut String, value: &Value, indent: usize) {
    if is_filled(value) {
        // A list stands as deep as its key, as kubectl writes it.
        let deeper = indent + if value.is_array() { 0 } else { 2 };
        out.push('\n');
        fill(out, deeper);
        block(out, value, deeper);
    } else {
        out.push(' ');
        flow(out, value);
        out.push('\n');
    }
}

fn is_filled(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

fn fill(out: &mut String, n: usize) {
    out.extend(std::iter::repeat_n(' ', n));
}

fn flow(out: &mut String, value: &Value) {
    match value {
        Value::String(text) => scalar(out, text),
        other => out.push_str(&other.to_string()),
    }
}

fn scalar(out: &mut String, text: &str) {
    if is_plain(text) {
        out.push_str(text);
    } else {
        for c in Value::from(text).to_string().chars() {
            // JSON may hold them as they are, YAML may not.
            if matches!(
                c,
                '\u{7f}'..='\u{9f}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
            ) {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            } else {
                out.push(c);
            }
        }
    }
}

/// Whether the text reads as itself without quotes, in YAML 1.1 and 1.2.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 11] = [
        "true", "false", "yes", "no", "on", "off", "null", "y", "n", ".nan", ".inf",
    ];
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '/'));
    let is_safe = |c: char| {
        c.is_ascii_alphanumeric()
            || matches!(c, '_' | '-' | '.' | '/' | '=' | '@' | '+' | '(' | ')')
    };
    starts_well && text.chars().all(is_safe) && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn is_read_back_as_it_was() {
        let value = json!({
            "a": {"b": [1, "x", {"c": [], "d": {}}], "0": null},
            "list": [[1, 2], {"k": "v", "l": [true]}],
            "texts": ["true", "1e5", "", " x", "a: b", "#", "- a", "日本", "\u{1}\n", "No", "a b", "/p",
                "a\u{7f}b\u{80}\u{85}\u{9f}\u{feff}\u{fffe}\u{ffff}"],
            "n": [1.5, -2]
        });
        let text = text(&value);
        let back: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(back, value, "{text}");
        assert_eq!(
            super::text(&json!({"a": [1, {"b": "c", "d": {"e": "f"}}]})),
            "a:\n- 1\n- b: c\n  d:\n    e: f\n"
        );
        assert_eq!(super::text(&json!([])), "[]\n");
    }
}
