//! Selectors of labels as Kubernetes writes them (`matchLabels`, `matchExpressions`), as the text that
//! its API takes.

use kansoku_parsers::config::yaml::tree::Node;

use crate::http_client::config::{Read, texts};

/// Reads a selector; an empty one selects everything and gives an empty text.
///
/// # Errors
/// What is wrong with it.
pub fn read(node: &Node) -> Read<String> {
    let mut terms = Vec::new();
    for (key, value) in node.checked_pairs(&["matchLabels", "matchExpressions"])? {
        match key {
            "matchLabels" => {
                for (name, value) in value.pairs()? {
                    let text = value.text()?;
                    check(&name.text, value)?;
                    check_value(text, value)?;
                    terms.push(format!("{}={text}", name.text));
                }
            }
            _ => {
                for item in value.items()? {
                    terms.push(expression(item)?);
                }
            }
        }
    }
    Ok(terms.join(","))
}

fn expression(node: &Node) -> Read<String> {
    let (mut key, mut operator, mut values) = (String::new(), String::new(), Vec::new());
    for (name, value) in node.checked_pairs(&["key", "operator", "values"])? {
        match name {
            "key" => {
                check(value.text()?, value)?;
                value.text()?.clone_into(&mut key);
            }
            "operator" => value.text()?.clone_into(&mut operator),
            _ => {
                values = texts(value)?;
                for text in &values {
                    check_value(text, value)?;
                }
            }
        }
    }
    if key.is_empty() {
        return Err(node.error("an expression of a selector needs a key"));
    }
    let list = values.join(",");
    match (operator.as_str(), values.is_empty()) {
        ("In", false) => Ok(format!("{key} in ({list})")),
        ("NotIn", false) => Ok(format!("{key} notin ({list})")),
        ("Exists", true) => Ok(key),
        ("DoesNotExist", true) => Ok(format!("!{key}")),
        ("In" | "NotIn", true) => Err(node.error(format!("operator {operator} needs values"))),
        ("Exists" | "DoesNotExist", false) => {
            Err(node.error(format!("operator {operator} takes no values")))
        }
        _ => Err(node.error(format!(
            "operator '{operator}' is none of In, NotIn, Exists and DoesNotExist"
        ))),
    }
}

/// Whether it can be a label's name; such hold nothing that could end the term of the text.
///
/// # Errors
/// When it cannot.
pub fn check(name: &str, node: &Node) -> Read<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    match !name.is_empty() && name.chars().all(fits) {
        true => Ok(()),
        false => Err(node.error(format!("'{name}' is no name of a label of Kubernetes"))),
    }
}

/// Whether a label can have the value.
///
/// # Errors
/// When it cannot.
pub fn check_value(text: &str, node: &Node) -> Read<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match text.len() <= 63 && text.chars().all(fits) {
        true => Ok(()),
        false => Err(node.error(format!("'{text}' is no value of a label of Kubernetes"))),
    }
}

#[cfg(test)]
mod tests {
    use kansoku_parsers::config::yaml::tree;

    use super::*;

    fn selector(text: &str) -> Result<String, String> {
        let roots = tree::parse("k.yml", text.as_bytes(), &mut Vec::new()).unwrap();
        read(&roots[0]).map_err(|e| e.to_string())
    }

    #[test]
    fn selectors_become_what_the_api_takes() {
        for (text, expected) in [
            ("{}", ""),
            (
                "{matchLabels: {role: alert, a.b/c: ''}}",
                "role=alert,a.b/c=",
            ),
            (
                "{matchExpressions: [{key: a, operator: In, values: [x, y]}, {key: b, operator: NotIn, values: [z]}]}",
                "a in (x,y),b notin (z)",
            ),
            (
                "{matchLabels: {a: b}, matchExpressions: [{key: c, operator: Exists}, {key: d, operator: DoesNotExist}]}",
                "a=b,c,!d",
            ),
        ] {
            assert_eq!(selector(text).as_deref(), Ok(expected), "{text}");
        }
        for (text, expected) in [
            ("{matchLabel: {}}", "did you mean 'matchLabels'"),
            ("{matchLabels: {a: 'b,c'}}", "no value of a label"),
            ("{matchLabels: {'a b': c}}", "no name of a label"),
            (
                "{matchExpressions: [{key: a, operator: In}]}",
                "needs values",
            ),
            (
                "{matchExpressions: [{key: a, operator: in, values: [b]}]}",
                "none of In",
            ),
            ("{matchExpressions: [{operator: Exists}]}", "needs a key"),
        ] {
            let error = selector(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
