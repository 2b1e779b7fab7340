//! Go's `fmt` verbs, as far as `printf` in a query uses them.

use super::value::Value;

/// The widest field and the most decimals a verb may ask for: enough for any table.
const WIDTH_MAX: usize = 1000;

/// A float as `%v` prints it: shortest digits, an exponent below 1e-4 and from 1e6 on.
pub fn float_general(n: f64) -> String {
    crate::number::format_g(n)
}

/// `%.4g` with any number of digits: as many significant ones, none of them a zero at the end.
#[must_use]
pub fn general_rounded(n: f64, digits: usize) -> String {
    let digits = digits.max(1);
    if !n.is_finite() {
        return float_general(n);
    }
    let text = format!("{n:.*e}", digits - 1);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    let limit = i32::try_from(digits).unwrap_or(i32::MAX);
    if exponent < -4 || exponent >= limit {
        return go_exponent(&format!("{}e{exponent}", trimmed(mantissa)));
    }
    let decimals = usize::try_from(limit - 1 - exponent).unwrap_or(0);
    trimmed(&format!("{n:.decimals$}"))
}

/// Nanoseconds as Go's `time.Duration` prints them: `1h0m30s`, `1.5s`, `250ms`.
#[must_use]
pub fn go_duration(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let ns = ns.unsigned_abs();
    let decimal = |unit: u64| {
        let (whole, rest) = (ns / unit, ns % unit);
        let width = unit.ilog10() as usize;
        let fraction = format!("{rest:0width$}");
        let fraction = fraction.trim_end_matches('0');
        match fraction {
            "" => whole.to_string(),
            fraction => format!("{whole}.{fraction}"),
        }
    };
    match ns {
        0 => "0s".into(),
        1..1_000 => format!("{sign}{ns}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", decimal(1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", decimal(1_000_000)),
        _ => {
            let minutes = ns / 60_000_000_000;
            let seconds = decimal(1_000_000_000);
            if minutes == 0 {
                return format!("{sign}{seconds}s");
            }
            let (whole, fraction) = seconds
                .split_once('.')
                .map_or((seconds.as_str(), ""), |p| p);
            let rest = whole.parse::<u64>().unwrap_or(0) % 60;
            let dot = if fraction.is_empty() { "" } else { "." };
            match minutes / 60 {
                0 => format!("{sign}{minutes}m{rest}{dot}{fraction}s"),
                hours => format!("{sign}{hours}h{}m{rest}{dot}{fraction}s", minutes % 60),
            }
        }
    }
}

/// Rust's `1e5` as Go's `1e+05`.
fn go_exponent(text: &str) -> String {
    let Some((mantissa, exponent)) = text.split_once('e') else {
        return text.to_owned();
    };
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

#[derive(Debug, Default)]
struct Flags {
    minus: bool,
    plus: bool,
    zero: bool,
    sharp: bool,
    space: bool,
    width: usize,
    precision: Option<usize>,
}

/// `fmt.Sprintf`.
pub fn printf(format: &str, args: &[Value]) -> String {
    let mut out = String::with_capacity(format.len());
    let mut args = args.iter();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let (flags, after) = read_flags(&rest[at + 1..]);
        let Some(verb) = after.chars().next() else {
            out.push_str("%!(NOVERB)");
            return out;
        };
        rest = &after[verb.len_utf8()..];
        if verb == '%' {
            out.push('%');
            continue;
        }
        match args.next() {
            Some(arg) => pad(&mut out, &verb_text(verb, &flags, arg), &flags),
            None => out.push_str(&format!("%!{verb}(MISSING)")),
        }
    }
    out.push_str(rest);
    let extra: Vec<String> = args.map(|a| format!("{}={a}", a.type_name())).collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

fn read_flags(text: &str) -> (Flags, &str) {
    let mut flags = Flags::default();
    let mut rest = text;
    loop {
        match rest.as_bytes().first() {
            Some(b'-') => flags.minus = true,
            Some(b'+') => flags.plus = true,
            Some(b'0') => flags.zero = true,
            Some(b'#') => flags.sharp = true,
            Some(b' ') => flags.space = true,
            _ => break,
        }
        rest = &rest[1..];
    }
    let (width, after) = read_number(rest);
    flags.width = width.unwrap_or(0);
    rest = after;
    if let Some(after) = rest.strip_prefix('.') {
        let (precision, after) = read_number(after);
        flags.precision = Some(precision.unwrap_or(0));
        rest = after;
    }
    (flags, rest)
}

fn read_number(text: &str) -> (Option<usize>, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number = text[..digits]
        .parse::<usize>()
        .ok()
        .map(|n| n.min(WIDTH_MAX));
    (number, &text[digits..])
}

fn verb_text(verb: char, flags: &Flags, arg: &Value) -> String {
    let signed = |text: String| {
        if flags.plus && !text.starts_with('-') {
            format!("+{text}")
        } else if flags.space && !text.starts_with('-') {
            format!(" {text}")
        } else {
            text
        }
    };
    let cut = |text: &str| match flags.precision {
        Some(n) => text.chars().take(n).collect(),
        None => text.to_owned(),
    };
    match (verb, arg) {
        ('v', _) => arg.to_string(),
        ('s', Value::Text(t)) => cut(t),
        ('s', Value::Time(_) | Value::Json(_)) => arg.to_string(),
        ('q', Value::Text(t)) if flags.sharp => format!("`{t}`"),
        ('q', Value::Text(t)) => format!("{t:?}"),
        ('x', Value::Text(t)) => t.bytes().map(|b| format!("{b:02x}")).collect(),
        ('X', Value::Text(t)) => t.bytes().map(|b| format!("{b:02X}")).collect(),
        ('d', Value::Int(n)) => signed(n.to_string()),
        ('x', Value::Int(n)) => signed_radix(*n, |n| format!("{n:x}")),
        ('X', Value::Int(n)) => signed_radix(*n, |n| format!("{n:X}")),
        ('o', Value::Int(n)) => signed_radix(*n, |n| format!("{n:o}")),
        ('b', Value::Int(n)) => signed_radix(*n, |n| format!("{n:b}")),
        ('c', Value::Int(n)) => u32::try_from(*n)
            .ok()
            .and_then(char::from_u32)
            .unwrap_or('\u{fffd}')
            .to_string(),
        ('f' | 'F', Value::Float(n)) => signed(fixed(*n, flags.precision.unwrap_or(6))),
        ('e', Value::Float(n)) => {
            let precision = flags.precision.unwrap_or(6);
            signed(go_exponent(&format!("{n:.precision$e}")))
        }
        ('g', Value::Float(n)) => signed(match flags.precision {
            Some(digits) => general_rounded(*n, digits),
            None => float_general(*n),
        }),
        ('t', Value::Bool(b)) => b.to_string(),
        ('T', _) => arg.type_name().to_owned(),
        _ => format!("%!{verb}({}={arg})", arg.type_name()),
    }
}

fn signed_radix(n: i64, write: impl Fn(u64) -> String) -> String {
    let sign = if n < 0 { "-" } else { "" };
    format!("{sign}{}", write(n.unsigned_abs()))
}

fn fixed(n: f64, precision: usize) -> String {
    if n.is_finite() {
        format!("{n:.precision$}")
    } else {
        float_general(n)
    }
}

fn pad(out: &mut String, text: &str, flags: &Flags) {
    let missing = flags.width.saturating_sub(text.chars().count());
    if flags.minus {
        out.push_str(text);
        out.extend(std::iter::repeat_n(' ', missing));
    } else if flags.zero {
        let sign_len = usize::from(text.starts_with(['-', '+']));
        out.push_str(&text[..sign_len]);
        out.extend(std::iter::repeat_n('0', missing));
        out.push_str(&text[sign_len..]);
    } else {
        out.extend(std::iter::repeat_n(' ', missing));
        out.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs() {
        let cases: &[(&str, &[Value], &str)] = &[
            ("%s=%d", &["a".into(), Value::Int(3)], "a=3"),
            (
                "%5d|%-5s|%05d",
                &[Value::Int(-7), "x".into(), Value::Int(-7)],
                "   -7|x    |-0007",
            ),
            (
                "%.2f %f",
                &[Value::Float(1.005), Value::Float(2.5)],
                "1.00 2.500000",
            ),
            (
                "%q %x %.2s",
                &["a\"".into(), "hi".into(), "long".into()],
                "\"a\\\"\" 6869 lo",
            ),
            (
                "%v %v",
                &[Value::Float(1e21), Value::Float(0.5)],
                "1e+21 0.5",
            ),
            ("%d%%", &["x".into()], "%!d(string=x)%"),
            ("%d", &[], "%!d(MISSING)"),
            ("x", &[Value::Int(1)], "x%!(EXTRA int=1)"),
            ("%", &[], "%!(NOVERB)"),
        ];
        for (format, args, expected) in cases {
            assert_eq!(printf(format, args), *expected, "{format}");
        }
    }
}
