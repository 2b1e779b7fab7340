//! Template functions on texts.

use kansoku_model::json::lossy;
use regex::{Captures, Regex};

use super::value::Value;
use super::{OUTPUT_MAX_BYTES, Scope};

type Result<T = Value> = std::result::Result<T, String>;

fn text(text: impl Into<String>) -> Result {
    Ok(Value::Text(text.into()))
}

pub fn lower(a: &[Value], _: Scope<'_>) -> Result {
    text(a[0].as_text()?.to_lowercase())
}

pub fn upper(a: &[Value], _: Scope<'_>) -> Result {
    text(a[0].as_text()?.to_uppercase())
}

/// The first letter of each word in upper case.
pub fn title(a: &[Value], _: Scope<'_>) -> Result {
    let mut out = String::new();
    let mut before = ' ';
    for c in a[0].as_text()?.chars() {
        if before.is_alphanumeric() || before == '_' || before == '\'' {
            out.push(c);
        } else {
            out.extend(c.to_uppercase());
        }
        before = c;
    }
    text(out)
}

pub fn trim(a: &[Value], _: Scope<'_>) -> Result {
    text(a[0].as_text()?.trim())
}

pub fn trim_all(a: &[Value], _: Scope<'_>) -> Result {
    let set = a[0].as_text()?;
    text(a[1].as_text()?.trim_matches(|c| set.contains(c)))
}

pub fn trim_left(a: &[Value], _: Scope<'_>) -> Result {
    let set = a[1].as_text()?;
    text(a[0].as_text()?.trim_start_matches(|c| set.contains(c)))
}

pub fn trim_right(a: &[Value], _: Scope<'_>) -> Result {
    let set = a[1].as_text()?;
    text(a[0].as_text()?.trim_end_matches(|c| set.contains(c)))
}

pub fn trim_prefix(a: &[Value], _: Scope<'_>) -> Result {
    let from = a[1].as_text()?;
    text(from.strip_prefix(a[0].as_text()?).unwrap_or(from))
}

pub fn trim_suffix(a: &[Value], _: Scope<'_>) -> Result {
    let from = a[1].as_text()?;
    text(from.strip_suffix(a[0].as_text()?).unwrap_or(from))
}

/// The first `n` characters, or the last when `n` is negative.
pub fn trunc(a: &[Value], _: Scope<'_>) -> Result {
    let (n, from) = (a[0].as_int()?, a[1].as_text()?);
    // Bytes, as in sprig: what is left of a character is no text.
    let count = usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX);
    let bytes = from.as_bytes();
    let count = count.min(bytes.len());
    let kept = match n >= 0 {
        true => &bytes[..count],
        false => &bytes[bytes.len() - count..],
    };
    text(lossy(kept))
}

/// Bytes from `start` up to `end`; a negative end, or one behind the text, means its end.
pub fn substr(a: &[Value], _: Scope<'_>) -> Result {
    let (start, end, from) = (a[0].as_int()?, a[1].as_int()?, a[2].as_text()?);
    let len = i64::try_from(from.len()).unwrap_or(i64::MAX);
    let outside = |bounds: String| format!("runtime error: slice bounds out of range {bounds}");
    let (start, end) = match (start, end) {
        (..0, ..0) => return Err(outside(format!("[:{end}]"))),
        (..0, _) if end > len => {
            return Err(outside(format!("[:{end}] with length {len}")));
        }
        (..0, _) => (0, end),
        (_, ..0) => (start, len),
        _ => (start, end.min(len)),
    };
    if start > end {
        return Err(outside(format!("[{start}:{end}]")));
    }
    let at = |n: i64| usize::try_from(n).unwrap_or(from.len());
    text(lossy(&from.as_bytes()[at(start)..at(end)]))
}

fn aligned(a: &[Value], left: bool) -> Result {
    let (count, from) = (a[0].as_int()?, a[1].as_text()?);
    let Ok(count) = usize::try_from(count) else {
        return text(from);
    };
    let len = from.chars().count();
    if len >= count {
        let skipped = if left { 0 } else { len - count };
        return text(from.chars().skip(skipped).take(count).collect::<String>());
    }
    bounded(count)?;
    let padding = " ".repeat(count - len);
    text(if left {
        format!("{from}{padding}")
    } else {
        format!("{padding}{from}")
    })
}

pub fn align_left(a: &[Value], _: Scope<'_>) -> Result {
    aligned(a, true)
}

pub fn align_right(a: &[Value], _: Scope<'_>) -> Result {
    aligned(a, false)
}

pub fn indent(a: &[Value], _: Scope<'_>) -> Result {
    let spaces = usize::try_from(a[0].as_int()?).unwrap_or(0);
    let from = a[1].as_text()?;
    bounded(spaces.saturating_mul(from.matches('\n').count() + 1))?;
    let padding = " ".repeat(spaces);
    text(format!(
        "{padding}{}",
        from.replace('\n', &format!("\n{padding}"))
    ))
}

pub fn nindent(a: &[Value], scope: Scope<'_>) -> Result {
    text(format!("\n{}", indent(a, scope)?))
}

pub fn repeat(a: &[Value], _: Scope<'_>) -> Result {
    let count = usize::try_from(a[0].as_int()?).unwrap_or(0);
    let from = a[1].as_text()?;
    bounded(count.saturating_mul(from.len()))?;
    text(from.repeat(count))
}

fn bounded(len: usize) -> Result<()> {
    if len > OUTPUT_MAX_BYTES {
        return Err(format!("result longer than {OUTPUT_MAX_BYTES} bytes"));
    }
    Ok(())
}

pub fn replace(a: &[Value], _: Scope<'_>) -> Result {
    let (old, new, from) = (a[0].as_text()?, a[1].as_text()?, a[2].as_text()?);
    bounded(from.len().saturating_mul(new.len().max(1)) / old.len().max(1))?;
    text(from.replace(old, new))
}

/// `Replace s old new n`; a negative `n` means all.
pub fn replace_n(a: &[Value], _: Scope<'_>) -> Result {
    let (from, old, new) = (a[0].as_text()?, a[1].as_text()?, a[2].as_text()?);
    bounded(from.len().saturating_mul(new.len().max(1)) / old.len().max(1))?;
    match usize::try_from(a[3].as_int()?) {
        Ok(n) => text(from.replacen(old, new, n)),
        Err(_) => text(from.replace(old, new)),
    }
}

pub fn regex_replace_all(a: &[Value], scope: Scope<'_>) -> Result {
    let regex = scope.regexes.get(a[0].as_text()?)?;
    let new = a[2].as_text()?;
    let n_groups = new.matches('$').count();
    replace_matches(&regex, a[1].as_text()?, |found, out| {
        // No group is longer than the match; asked before, since one expansion may be too much.
        let longest = n_groups.saturating_mul(found[0].len());
        bounded(longest.saturating_add(new.len()))?;
        found.expand(new, out);
        Ok(())
    })
}

pub fn regex_replace_all_literal(a: &[Value], scope: Scope<'_>) -> Result {
    let regex = scope.regexes.get(a[0].as_text()?)?;
    let new = a[2].as_text()?;
    replace_matches(&regex, a[1].as_text()?, |_, out| {
        out.push_str(new);
        Ok(())
    })
}

/// Puts what `put` writes in place of every match, as far as the result stays within bounds.
fn replace_matches(
    regex: &Regex,
    from: &str,
    put: impl Fn(&Captures<'_>, &mut String) -> Result<()>,
) -> Result {
    let (mut out, mut copied) = (String::new(), 0);
    for found in regex.captures_iter(from) {
        let range = found.get_match().range();
        out.push_str(&from[copied..range.start]);
        copied = range.end;
        put(&found, &mut out)?;
        bounded(out.len())?;
    }
    out.push_str(&from[copied..]);
    text(out)
}

pub fn regex_count(a: &[Value], scope: Scope<'_>) -> Result {
    let regex = scope.regexes.get(a[0].as_text()?)?;
    Ok(Value::Int(regex.find_iter(a[1].as_text()?).count() as i64))
}

pub fn contains(a: &[Value], _: Scope<'_>) -> Result {
    Ok(Value::Bool(a[1].as_text()?.contains(a[0].as_text()?)))
}

pub fn has_prefix(a: &[Value], _: Scope<'_>) -> Result {
    Ok(Value::Bool(a[1].as_text()?.starts_with(a[0].as_text()?)))
}

pub fn has_suffix(a: &[Value], _: Scope<'_>) -> Result {
    Ok(Value::Bool(a[1].as_text()?.ends_with(a[0].as_text()?)))
}

pub fn url_encode(a: &[Value], _: Scope<'_>) -> Result {
    text(query_escape(a[0].as_text()?))
}

/// Go's `url.QueryEscape`.
#[must_use]
pub fn query_escape(plain: &str) -> String {
    let mut out = String::new();
    for b in plain.bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(b));
            }
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

pub fn url_decode(a: &[Value], _: Scope<'_>) -> Result {
    let mut out = Vec::new();
    let mut rest = a[0].as_text()?.as_bytes();
    while let Some((&b, after)) = rest.split_first() {
        rest = after;
        match b {
            b'+' => out.push(b' '),
            b'%' => {
                let digits = after.get(..2).and_then(|d| std::str::from_utf8(d).ok());
                let byte = digits.and_then(|d| u8::from_str_radix(d, 16).ok());
                let shown = String::from_utf8_lossy(&after[..after.len().min(2)]);
                out.push(byte.ok_or_else(|| format!("invalid URL escape \"%{shown}\""))?);
                rest = &after[2..];
            }
            _ => out.push(b),
        }
    }
    text(String::from_utf8_lossy(&out))
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub fn base64_encode(a: &[Value], _: Scope<'_>) -> Result {
    let mut out = String::new();
    for chunk in a[0].as_text()?.as_bytes().chunks(3) {
        let group = chunk
            .iter()
            .enumerate()
            .fold(0u32, |n, (i, b)| n | u32::from(*b) << (16 - 8 * i));
        for i in 0..4 {
            let sextet = (group >> (18 - 6 * i)) as usize & 63;
            out.push(if i <= chunk.len() {
                char::from(BASE64[sextet])
            } else {
                '='
            });
        }
    }
    text(out)
}

pub fn base64_decode(a: &[Value], _: Scope<'_>) -> Result {
    let from = a[0].as_text()?.trim_end_matches('=');
    let mut out = Vec::new();
    let (mut group, mut bits) = (0u32, 0);
    for (i, b) in from.bytes().enumerate() {
        let Some(sextet) = BASE64.iter().position(|x| *x == b) else {
            // Loki gives the error's text as the result.
            return text(format!("illegal base64 data at input byte {i}"));
        };
        group = (group << 6) | sextet as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((group >> bits) as u8);
            group &= (1 << bits) - 1;
        }
    }
    text(String::from_utf8_lossy(&out))
}

pub fn from_json(a: &[Value], _: Scope<'_>) -> Result {
    let text = a[0].as_text()?;
    let parsed = serde_json::from_str(text)
        .or_else(|_| serde_json::from_str(&without_lone_surrogates(text)));
    // What is no JSON is nothing, as in sprig.
    Ok(parsed.map_or(Value::Nil, Value::from_json))
}

/// JSON in which an escape of half a character is one of U+FFFD, which is what Go makes of it.
fn without_lone_surrogates(json: &str) -> String {
    let code = |at: usize| {
        let digits = json.get(at..at + 6)?.strip_prefix("\\u")?;
        u32::from_str_radix(digits, 16).ok()
    };
    let mut out = String::with_capacity(json.len());
    let mut at = 0;
    while let Some(found) = json[at..].find('\\') {
        out.push_str(&json[at..at + found]);
        at += found;
        let len = match (code(at), code(at + 6)) {
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => 12,
            (Some(0xd800..0xe000), _) => {
                out.push_str("\\ufffd");
                at += 6;
                continue;
            }
            (Some(_), _) => 6,
            (None, _) => 1 + json[at + 1..].chars().next().map_or(0, char::len_utf8),
        };
        out.push_str(&json[at..at + len]);
        at += len;
    }
    out.push_str(&json[at..]);
    out
}

pub fn len(a: &[Value], _: Scope<'_>) -> Result {
    let len = match &a[0] {
        Value::Text(t) => t.len(),
        Value::Json(serde_json::Value::Array(items)) => items.len(),
        Value::Json(serde_json::Value::Object(map)) => map.len(),
        Value::Labels(labels) => labels.len(),
        Value::Vector(samples) => samples.len(),
        Value::Map(map) => map.len(),
        Value::Nil => return Err("reflect: call of reflect.Value.Type on zero Value".into()),
        other => return Err(format!("len of type {}", other.type_name())),
    };
    Ok(Value::Int(len as i64))
}

/// `index x 0 "a"`: steps into decoded JSON.
pub fn index(a: &[Value], _: Scope<'_>) -> Result {
    if a[0] == Value::Nil {
        return Err("index of untyped nil".into());
    }
    a[1..]
        .iter()
        .try_fold(a[0].clone(), |value, key| match (&value, key) {
            (Value::Json(serde_json::Value::Object(map)), Value::Text(name)) => {
                Ok(map.get(name).cloned().map_or(Value::Nil, Value::from_json))
            }
            (Value::Json(serde_json::Value::Array(items)), Value::Int(n)) => {
                let found = usize::try_from(*n).ok().and_then(|n| items.get(n));
                found
                    .cloned()
                    .map(Value::from_json)
                    .ok_or_else(|| format!("index out of range: {n}"))
            }
            (Value::Vector(samples), Value::Int(n)) => {
                let found = usize::try_from(*n).ok().and_then(|n| samples.get(n));
                found
                    .cloned()
                    .map(Value::Sample)
                    .ok_or_else(|| format!("index out of range: {n}"))
            }
            (Value::Labels(_) | Value::Map(_), Value::Text(name)) => value.field(name),
            (Value::Text(t), Value::Int(n)) => {
                let found = usize::try_from(*n).ok().and_then(|n| t.as_bytes().get(n));
                found
                    .map(|b| Value::Int(i64::from(*b)))
                    .ok_or_else(|| format!("index out of range: {n}"))
            }
            (Value::Json(serde_json::Value::Array(_)) | Value::Text(_) | Value::Vector(_), key) => {
                Err(format!(
                    "cannot index slice/array with type {}",
                    key.type_name()
                ))
            }
            _ => Err(format!("can't index item of type {}", value.type_name())),
        })
}

/// Blanks stand between two values when neither is a text.
/// `slice x 1 3` of a text, in bytes.
pub fn slice(a: &[Value], _: Scope<'_>) -> Result {
    let whole = match &a[0] {
        Value::Text(whole) => whole,
        Value::Nil => return Err("slice of untyped nil".into()),
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    let bound = |at: usize, default: usize| match a.get(at) {
        None => Ok(default),
        Some(n) => usize::try_from(n.as_int()?).map_err(|_| "slice index out of range".to_owned()),
    };
    let (from, to) = (bound(1, 0)?, bound(2, whole.len())?);
    let found = whole.get(from..to.max(from));
    text(found.ok_or_else(|| format!("index out of range: {to}"))?)
}

/// Escapes what HTML would read.
pub fn html(a: &[Value], scope: Scope<'_>) -> Result {
    let plain = print(a, scope)?;
    let plain = plain.as_text()?;
    let mut out = String::with_capacity(plain.len());
    for c in plain.chars() {
        match c {
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
    text(out)
}

/// Escapes what would end a text of JavaScript.
pub fn js(a: &[Value], scope: Scope<'_>) -> Result {
    let plain = print(a, scope)?;
    let plain = plain.as_text()?;
    let mut out = String::with_capacity(plain.len());
    for c in plain.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c if c < ' ' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c if !c.is_control() => out.push(c),
            c => out.push_str(&format!("\\u{:04X}", u32::from(c))),
        }
    }
    text(out)
}

pub fn print(a: &[Value], _: Scope<'_>) -> Result {
    let mut out = String::new();
    for (i, value) in a.iter().enumerate() {
        let texts = matches!(value, Value::Text(_)) || i > 0 && matches!(a[i - 1], Value::Text(_));
        if i > 0 && !texts {
            out.push(' ');
        }
        out.push_str(&value.to_string());
    }
    text(out)
}

pub fn println(a: &[Value], _: Scope<'_>) -> Result {
    let parts: Vec<String> = a.iter().map(ToString::to_string).collect();
    text(format!("{}\n", parts.join(" ")))
}
