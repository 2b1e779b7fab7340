//! `sql`: selects fields of log records, renames them, and drops records by a condition.
//!
//! The grammar is that of Fluent Bit 5.1.1, `SELECT a, b AS c FROM STREAM WHERE ...;`, also in how a
//! condition groups: AND, OR and NOT reach to its end or to the next closing bracket. Where 5.1.1 goes
//! wrong we do not follow: there WHERE sees only the selected fields, and no text equals another.

use kansoku_model::{ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, Settings, Value};

use crate::plugin::{Environment, Filter, FilterContext, FilterPlugin};

mod query;

use query::{Compare, Condition, Literal, Query};

/// The plugin.
pub const PLUGIN: FilterPlugin = Plugin {
    name: "sql",
    about: "Selects and renames fields of log records, and drops records by a condition.",
    options: &[OptionSpec::new(
        "query",
        OptionKind::Text,
        "",
        "SELECT * or KEY [AS NAME], ... FROM STREAM [WHERE CONDITION]; the condition compares keys with =, !=, <>, <, <=, > and >=, asks IS [NOT] NULL or @record.contains(KEY), and joins by AND, OR, NOT and brackets",
    )],
    example: "pipeline:\n  inputs:\n    - name: tail\n      path: /var/log/*.log\n      processors:\n        logs:\n          - name: sql\n            query: SELECT log AS message, level FROM STREAM WHERE level != 'debug';\n",
    build,
};

struct Sql(Query);

fn build(settings: &Settings, _: &Environment) -> Result<Box<dyn Filter>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let text = settings.required("query")?;
    let place = settings.get("query").map_or(&settings.place, |s| &s.place);
    let query = Query::read(text);
    let query = query.map_err(|e| ConfigError::new(place, format!("'query' is '{text}': {e}")))?;
    Ok(Box::new(Sql(query)))
}

impl Filter for Sql {
    fn apply(&self, batch: &mut LogBatch, _: &mut FilterContext) {
        if self.0.concerns(kansoku_model::log::KUBERNETES) {
            batch.kubernetes_to_column();
        }
        if let Some(condition) = &self.0.condition {
            let kept: Vec<bool> = (0..batch.len())
                .map(|row| holds(condition, batch, row))
                .collect();
            batch.retain(|row| kept[row]);
        }
        if let Some(keys) = &self.0.keys {
            select(batch, keys);
        }
    }
}

/// Keeps the fields that are named, under their new names; of one named twice the first counts.
fn select(batch: &mut LogBatch, keys: &[(String, String)]) {
    let names: Vec<Option<&String>> = (batch.columns().iter())
        .map(|column| {
            let found = keys.iter().find(|(from, _)| **from == *column.name);
            found.map(|(_, to)| to)
        })
        .collect();
    let columns = batch.take_columns().into_iter().zip(names);
    for (column, name) in columns {
        let Some(name) = name else { continue };
        let renamed = kansoku_model::Column {
            name: name.as_str().into(),
            values: column.values,
        };
        batch.put_column(renamed);
    }
}

fn holds(condition: &Condition, batch: &LogBatch, row: usize) -> bool {
    match condition {
        Condition::And(a, b) => holds(a, batch, row) && holds(b, batch, row),
        Condition::Or(a, b) => holds(a, batch, row) || holds(b, batch, row),
        Condition::Not(inner) => !holds(inner, batch, row),
        Condition::Constant(literal) => literal.is_true(),
        Condition::Contains(key) => value(batch, key, row) != Value::Absent,
        Condition::IsNull(key) => value(batch, key, row) == Value::Null,
        Condition::IsTrue(key) => value(batch, key, row) == Value::Bool(true),
        Condition::Compare(key, compare, literal) => {
            compares(batch, value(batch, key, row), *compare, literal)
        }
    }
}

fn value(batch: &LogBatch, key: &str, row: usize) -> Value {
    batch.column(key).map_or(Value::Absent, |c| c.values[row])
}

/// As in Fluent Bit a text is compared with a number as the number it holds; else kinds must agree.
fn compares(batch: &LogBatch, value: Value, compare: Compare, literal: &Literal) -> bool {
    let order = match (value, literal) {
        (Value::Bool(a), Literal::Bool(b)) => {
            return compare == Compare::Equal && a == *b;
        }
        (Value::Text(text), Literal::Text(b)) => Some(batch.bytes(text).cmp(b.as_bytes())),
        (Value::Int(a), Literal::Int(b)) => Some(a.cmp(b)),
        (value, Literal::Int(_) | Literal::Float(_)) => {
            let number = match value {
                Value::Int(n) => Some(n as f64),
                Value::Float(n) => Some(n),
                Value::Text(slice) | Value::Json(slice) => std::str::from_utf8(batch.bytes(slice))
                    .ok()
                    .and_then(|t| t.parse().ok()),
                _ => None,
            };
            number.and_then(|n: f64| n.partial_cmp(&literal.number()))
        }
        _ => None,
    };
    order.is_some_and(|order| match compare {
        Compare::Equal => order.is_eq(),
        Compare::Less => order.is_lt(),
        Compare::LessOrEqual => order.is_le(),
        Compare::Greater => order.is_gt(),
        Compare::GreaterOrEqual => order.is_ge(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kansoku_model::{Position, json};

    use super::*;

    /// The records that come out, as JSON.
    fn run(query: &str) -> Result<Vec<String>, String> {
        let settings = Settings::of("sql", &[("query", query)]);
        let filter = build(&settings, &Environment::default()).map_err(|e| e.message)?;
        let mut batch = LogBatch::new("t".into(), Arc::default(), Vec::new());
        let text = |t: &str| Literal::Text(t.to_owned());
        let records: Vec<Vec<(&str, Literal)>> = vec![
            vec![
                ("a", text("x")),
                ("b", Literal::Int(5)),
                ("c", Literal::Float(1.5)),
                ("d", Literal::Bool(true)),
                ("e", Literal::Text("NULL".to_owned())),
            ],
            vec![("a", text("y")), ("b", Literal::Int(7))],
            vec![("a", text("5")), ("b", text("7"))],
            vec![("b", Literal::Int(-2)), ("c", Literal::Int(5))],
            vec![("a", text("X")), ("d", Literal::Bool(false))],
        ];
        for (i, record) in records.into_iter().enumerate() {
            let row = batch.push(0, Position::at(i as u64 + 1));
            batch.column_mut("i").values[row] = Value::Int(i as i64);
            for (key, literal) in record {
                let value = match literal {
                    Literal::Text(t) if t == "NULL" => Value::Null,
                    Literal::Text(t) => Value::Text(batch.store(t.as_bytes())),
                    Literal::Int(n) => Value::Int(n),
                    Literal::Float(n) => Value::Float(n),
                    Literal::Bool(b) => Value::Bool(b),
                };
                batch.column_mut(key).values[row] = value;
            }
        }
        filter.apply(&mut batch, &mut FilterContext::default());
        let record = |row| {
            let mut out = Vec::new();
            json::write_fields(&mut out, &batch, row, true);
            String::from_utf8(out).expect("text")
        };
        Ok((0..batch.len()).map(record).collect())
    }

    /// Each as Fluent Bit 5.1.1 gave it.
    #[test]
    fn fields_are_selected() {
        for (query, expected) in [
            (
                "SELECT a, b FROM STREAM;",
                [
                    r#""a":"x","b":5"#,
                    r#""a":"y","b":7"#,
                    r#""a":"5","b":"7""#,
                    r#""b":-2"#,
                    r#""a":"X""#,
                ],
            ),
            (
                "SELECT b AS n, a, i FROM STREAM;",
                [
                    r#""i":0,"a":"x","n":5"#,
                    r#""i":1,"a":"y","n":7"#,
                    r#""i":2,"a":"5","n":"7""#,
                    r#""i":3,"n":-2"#,
                    r#""i":4,"a":"X""#,
                ],
            ),
            (
                "select zz as q, i from stream;",
                [r#""i":0"#, r#""i":1"#, r#""i":2"#, r#""i":3"#, r#""i":4"#],
            ),
            (
                "SELECT a AS b, b AS a FROM STREAM ; ",
                [
                    r#""b":"x","a":5"#,
                    r#""b":"y","a":7"#,
                    r#""b":"5","a":"7""#,
                    r#""a":-2"#,
                    r#""b":"X""#,
                ],
            ),
            (
                "SELECT a, a AS z FROM STREAM;",
                [r#""a":"x""#, r#""a":"y""#, r#""a":"5""#, "", r#""a":"X""#],
            ),
            ("SELECT zz FROM STREAM;", [""; 5]),
        ] {
            assert_eq!(
                run(query).as_deref(),
                Ok(&expected.map(str::to_owned)[..]),
                "{query}"
            );
        }
    }

    /// Each as Fluent Bit 5.1.1 gave it for `SELECT *`, but for texts, which never match there.
    #[test]
    fn records_are_chosen() {
        for (condition, expected) in [
            ("b > 5", "12"),
            ("b >= 5", "012"),
            ("b < 6", "03"),
            ("b <= 5", "03"),
            ("b != 5", "1234"),
            ("b <> 5", "1234"),
            ("b = 7.0", "12"),
            ("b=7", "12"),
            ("b > 4.5", "012"),
            ("b = -2", "3"),
            ("c = 5.0", "3"),
            ("a > 3", "2"),
            ("a = 5", "2"),
            ("d = true", "0"),
            ("d = FALSE", "4"),
            ("d", "0"),
            ("NOT d = true", "1234"),
            ("e IS NULL", "0"),
            ("a IS NULL", ""),
            ("a IS NOT NULL", "01234"),
            ("1", "01234"),
            ("zz = 'x'", ""),
            ("zz != 'x'", "01234"),
            ("a > 'w'", "01"),
            // NOT reaches to the end.
            ("NOT a = 'x' AND b = 7", "01234"),
            // Texts: not as in Fluent Bit.
            ("a = 'x'", "0"),
            ("a = 'x' OR b = 7", "012"),
            ("a = 'x' AND b = 5", "0"),
            ("a = 'x' OR a = 'y' AND b = 5", "0"),
            ("(a = 'x' OR a = 'y') AND b > 5", "1"),
            ("@record.contains(c)", "03"),
            ("NOT @record.contains(c)", "124"),
            ("a = 'it''s'", ""),
        ] {
            let rows = run(&format!("SELECT i FROM STREAM WHERE {condition};"));
            let rows: String = rows.expect(condition).iter().map(|r| &r[4..]).collect();
            assert_eq!(rows, expected, "{condition}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (query, message) in [
            ("SELECT a FROM STREAM", "expected ';' at the end"),
            (
                "DELETE FROM STREAM;",
                "expected SELECT at 'DELETE FROM STREAM;'",
            ),
            ("SELECT FROM STREAM;", "expected a key at 'FROM STREAM;'"),
            (
                "SELECT COUNT(*) FROM STREAM;",
                "expected FROM at '(*) FROM STREAM;'",
            ),
            ("SELECT a FROM TAG:'t';", "expected STREAM at 'TAG:'t';'"),
            (
                "SELECT a FROM STREAM WHERE 5 = b;",
                "expected ';' at '= b;'",
            ),
            (
                "SELECT a FROM STREAM WHERE a = 'x;",
                "a text without its closing quote at ''x;'",
            ),
            ("SELECT a FROM STREAM WHERE (a = 1;", "expected ')' at ';'"),
            (
                "SELECT a FROM STREAM; x",
                "nothing may follow the ';' at 'x'",
            ),
        ] {
            let error = run(query).unwrap_err();
            assert_eq!(error, format!("'query' is '{query}': {message}"));
        }
        let deep = format!("SELECT a FROM STREAM WHERE {}a = 1;", "(".repeat(10_000));
        assert!(
            run(&deep)
                .unwrap_err()
                .ends_with("brackets are nested too deeply")
        );
    }
}
