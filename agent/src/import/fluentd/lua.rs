//! Templates of `record_transformer` as Lua expressions.
//!
//! Ruby is not read in general: fields, tags, the host, the time, texts, `||` and a few methods are what
//! such templates are made of.

/// A Lua string.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0' => out.push_str("\\0"),
            // `${` begins a variable of the configuration.
            '$' => out.push_str("\\036"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The expression for a template; a single placeholder keeps its type.
///
/// # Errors
/// The code that is not understood.
pub(super) fn template(text: &str, keeps_type: bool) -> Result<String, String> {
    template_on(text, keeps_type, "o")
}

/// As [`template`], of the record in that variable.
///
/// # Errors
/// The code that is not understood.
pub(super) fn template_on(
    text: &str,
    keeps_type: bool,
    record: &'static str,
) -> Result<String, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if at > 0 {
            parts.push(quote(&rest[..at]));
        }
        let code_at = &rest[at + 2..];
        let end = closing(code_at).ok_or_else(|| rest.to_owned())?;
        let code = code_at[..end].trim();
        let expression = expression(code, record).ok_or_else(|| code.to_owned())?;
        let is_whole = parts.is_empty() && at == 0 && end + 1 == code_at.len();
        if is_whole && keeps_type {
            return Ok(format!("X({expression})"));
        }
        parts.push(format!("S({expression})"));
        rest = &code_at[end + 1..];
    }
    if !rest.is_empty() || parts.is_empty() {
        parts.push(quote(rest));
    }
    Ok(parts.join(".."))
}

fn closing(code: &str) -> Option<usize> {
    let mut quote = None;
    let mut depth = 0usize;
    for (at, c) in code.char_indices() {
        match (quote, c) {
            (Some(q), c) if q == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') if depth == 0 => return Some(at),
            (None, '}') => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Whether Fluentd understands the placeholders without `enable_ruby`.
pub(super) fn is_simple(text: &str) -> bool {
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let code_at = &rest[at + 2..];
        let Some(end) = closing(code_at) else {
            return true;
        };
        let code = code_at[..end].trim();
        let name = code.split('[').next().unwrap_or_default();
        let known = match name {
            "tag" | "time" | "hostname" => code == name,
            "record" => {
                let key = code[name.len()..].trim_start_matches(['[', '\\']);
                key.starts_with('"') && code.matches('[').count() == 1 && code.ends_with(']')
            }
            "tag_parts" | "tag_prefix" | "tag_suffix" => {
                code.matches('[').count() == 1 && code.ends_with(']')
            }
            _ => code.starts_with("ENV["),
        };
        if !known {
            return false;
        }
        rest = &code_at[end + 1..];
    }
    true
}

fn expression(code: &str, record: &'static str) -> Option<String> {
    let mut reader = Reader {
        rest: code.trim(),
        record,
    };
    let found = reader.either()?;
    reader.rest.is_empty().then_some(found)
}

struct Reader<'a> {
    rest: &'a str,
    /// The variable with the record that fields are read of.
    record: &'static str,
}

impl Reader<'_> {
    fn skip(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn either(&mut self) -> Option<String> {
        let mut found = self.value()?;
        loop {
            self.rest = self.rest.trim_start();
            if !self.skip("||") {
                return Some(found);
            }
            self.rest = self.rest.trim_start();
            found = format!("({found} or {})", self.value()?);
        }
    }

    fn value(&mut self) -> Option<String> {
        let mut found = self.primary()?;
        loop {
            let method = |m: &str| self.rest.starts_with(m);
            found = if method(".to_s") {
                self.skip(".to_s");
                format!("S({found})")
            } else if method(".to_i") {
                self.skip(".to_i");
                format!("math.floor(tonumber({found}) or 0)")
            } else if method(".to_f") {
                self.skip(".to_f");
                format!("(tonumber({found}) or 0)")
            } else if method(".downcase") {
                self.skip(".downcase");
                format!("string.lower(S({found}))")
            } else if method(".upcase") {
                self.skip(".upcase");
                format!("string.upper(S({found}))")
            } else if method(".strip") {
                self.skip(".strip");
                format!("(string.match(S({found}),\"^%s*(.-)%s*$\"))")
            } else {
                return Some(found);
            };
        }
    }

    fn primary(&mut self) -> Option<String> {
        if self.skip("record") {
            return self.record();
        }
        for (name, lua) in [
            ("tag_parts", "P"),
            ("tag_prefix", "PRE"),
            ("tag_suffix", "SUF"),
        ] {
            if self.skip(name) {
                let index = self.index()?;
                return Some(format!("{lua}(tag,{index})"));
            }
        }
        if self.skip("tag") {
            return Some("tag".to_owned());
        }
        if self.skip("hostname") || self.skip("Socket.gethostname") {
            return Some("\"${HOSTNAME}\"".to_owned());
        }
        if self.skip("time.to_i") {
            return Some("math.floor(ts)".to_owned());
        }
        if self.skip("time.to_f") {
            return Some("ts".to_owned());
        }
        if self.skip("time.strftime(") {
            let format = self.text()?;
            // Ruby writes the machine's zone; parts of a second and widths are beyond os.date.
            let is_plain =
                !format.contains("%L") && !format.contains("%N") && !format.contains("%:");
            return (is_plain && self.skip(")"))
                .then(|| format!("os.date({},math.floor(ts))", quote(&format)));
        }
        if self.skip("time") && !self.rest.starts_with('.') {
            return Some("os.date(\"%Y-%m-%d %H:%M:%S %z\",math.floor(ts))".to_owned());
        }
        if self.skip("ENV[") {
            let name = self.text()?;
            let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            return (is_name && self.skip("]")).then(|| format!("V(\"${{{name}:-}}\")"));
        }
        if self.rest.starts_with(['"', '\'']) {
            return self.text().map(|t| quote(&t));
        }
        for (word, lua) in [("nil", "nil"), ("true", "true"), ("false", "false")] {
            if self.skip(word) {
                return Some(lua.to_owned());
            }
        }
        let n = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = self.rest.split_at(n);
        self.rest = rest;
        (n > 0 && n < 16).then(|| number.to_owned())
    }

    /// Keys behind `record`: `["a"]["b"]` or `.dig("a", "b")`.
    fn record(&mut self) -> Option<String> {
        let mut keys = Vec::new();
        if self.skip(".dig(") {
            loop {
                self.rest = self.rest.trim_start();
                keys.push(self.text()?);
                self.rest = self.rest.trim_start();
                if !self.skip(",") {
                    break;
                }
            }
            if !self.skip(")") {
                return None;
            }
        }
        while self.skip("[") {
            keys.push(self.text()?);
            if !self.skip("]") {
                return None;
            }
        }
        let keys: Vec<String> = keys.iter().map(|k| quote(k)).collect();
        (!keys.is_empty()).then(|| format!("G({},{})", self.record, keys.join(",")))
    }

    /// `[2]` or `[-1]`.
    fn index(&mut self) -> Option<i32> {
        let inside = self.rest.strip_prefix('[')?;
        let end = inside.find(']')?;
        self.rest = &inside[end + 1..];
        inside[..end].trim().parse().ok()
    }

    fn text(&mut self) -> Option<String> {
        let quote = self
            .rest
            .chars()
            .next()
            .filter(|c| matches!(c, '"' | '\''))?;
        let end = self.rest[1..].find(quote)? + 1;
        let text = &self.rest[1..end];
        self.rest = &self.rest[end + 1..];
        (!text.contains(['\\', '#'])).then(|| text.to_owned())
    }
}

/// What the expressions call, and only that.
pub(super) fn helpers(body: &str) -> String {
    let mut out = String::new();
    for (call, code) in [
        (
            "S(",
            "local function S(v) if v==nil or type(v)==\"table\" then return \"\" end return tostring(v) end",
        ),
        (
            "X(",
            "local function X(v) if v==nil then return flb_null end return v end",
        ),
        (
            "V(",
            "local function V(v) if v==\"\" then return nil end return v end",
        ),
        (
            "G(",
            "local function G(v,...) for _,k in ipairs({...}) do if type(v)~=\"table\" then return nil end v=v[k] end if v==flb_null then return nil end return v end",
        ),
        ("PARTS", ""),
        (
            "PRE(",
            "local function PRE(tag,i) local p=T(tag) if i<0 then i=#p+i end return table.concat(p,\".\",1,math.min(i+1,#p)) end",
        ),
        (
            "SUF(",
            "local function SUF(tag,i) local p=T(tag) if i<0 then i=#p+i end return table.concat(p,\".\",i+1) end",
        ),
        (
            "P(",
            "local function P(tag,i) local p=T(tag) if i<0 then i=#p+i end return p[i+1] end",
        ),
        (
            "D(",
            "local function D(v,k,...) if type(v)~=\"table\" then return end if ...==nil then v[k]=nil else D(v[k],...) end end",
        ),
    ] {
        if code.is_empty() || !body.contains(call) {
            continue;
        }
        if code.contains("T(tag)") && !out.contains("function T(") {
            out.push_str("local function T(tag) local p={} for w in string.gmatch(tag,\"[^.]+\") do p[#p+1]=w end return p end ");
        }
        out.push_str(code);
        out.push(' ');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates() {
        for (text, expected) in [
            ("plain", Ok(r#""plain""#)),
            ("${tag}", Ok("X(tag)")),
            ("${record[\"a\"]}", Ok(r#"X(G(o,"a"))"#)),
            ("${record['a']['b'].to_s}", Ok(r#"X(S(G(o,"a","b")))"#)),
            (
                "${record.dig(\"a\", \"b\") || 'x'}",
                Ok(r#"X((G(o,"a","b") or "x"))"#),
            ),
            ("x-${tag_parts[-1]}.y", Ok(r#""x-"..S(P(tag,-1))..".y""#)),
            ("${hostname}", Ok("X(\"${HOSTNAME}\")")),
            ("a\"\\b$", Ok(r#""a\"\\b\036""#)),
            (
                "${time.strftime('%Y')}",
                Ok(r#"X(os.date("%Y",math.floor(ts)))"#),
            ),
            (
                "${record['a'].gsub(/x/, '')}",
                Err("record['a'].gsub(/x/, '')"),
            ),
            ("${x", Err("${x")),
        ] {
            let found = template(text, true);
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{text}");
        }
    }
}
