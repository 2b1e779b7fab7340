//! The `condition` of a processor or a route: which records it gets.
//!
//! Only the shape is read here; what a field gives for a record is the agent's business. The rules are
//! Fluent Bit's: `op` and or or (default and) over `rules`, each a field, an operator and a value.

use kansoku_model::plugin::{did_you_mean, parse_bool};
use kansoku_model::{ConfigError, Place};

use super::yaml::tree::{Node, Value};

/// Rules and how they are joined.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    pub place: Place,
    /// `default: true` of a route: what no other route wants; rules narrow it.
    pub is_default: bool,
    /// One rule is enough (`op: or`), instead of all.
    pub any: bool,
    pub rules: Vec<Rule>,
}

/// One comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub place: Place,
    /// A record accessor such as `$level`.
    pub field: String,
    pub operator: Operator,
    pub value: Operand,
    pub context: Context,
}

/// Where the field of a rule is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Context {
    #[default]
    Body,
    /// What came with the record besides its fields.
    Metadata,
    /// The attributes of an OpenTelemetry resource.
    Resource,
    /// The attributes of an OpenTelemetry scope.
    ScopeAttributes,
    /// Name and version of an OpenTelemetry scope.
    Scope,
    /// Resource and scope as one object.
    Group,
    /// What is known of such a group besides.
    GroupMetadata,
}

impl Context {
    /// Fluent Bit's words.
    const WORDS: &'static [(&'static str, Self)] = &[
        ("body", Self::Body),
        ("record", Self::Body),
        ("message", Self::Body),
        ("record_body", Self::Body),
        ("metadata", Self::Metadata),
        ("record_metadata", Self::Metadata),
        ("attributes", Self::Metadata),
        ("otel_resource_attributes", Self::Resource),
        ("otel_scope_attributes", Self::ScopeAttributes),
        ("otel_scope_name", Self::Scope),
        ("otel_scope_version", Self::Scope),
        ("otel_scope_metadata", Self::Scope),
        ("group_attributes", Self::Group),
        ("group_body", Self::Group),
        ("group_metadata", Self::GroupMetadata),
    ];

    fn read(node: &Node) -> Result<Self, ConfigError> {
        let word = text(node)?;
        let found = Self::WORDS
            .iter()
            .find(|(w, _)| w.eq_ignore_ascii_case(word));
        found.map(|(_, context)| *context).ok_or_else(|| {
            let words: Vec<&str> = Self::WORDS.iter().map(|(w, _)| *w).collect();
            let words = words.join(", ");
            node.error(format!("'context' is '{word}', but must be one of {words}"))
        })
    }
}

/// How a field's value and the rule's are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    Matches,
    MatchesNot,
    In,
    NotIn,
}

/// What a rule compares with.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    Text(String),
    List(Vec<String>),
}

impl Operator {
    /// Fluent Bit's words.
    pub const WORDS: &'static [(&'static str, Self)] = &[
        ("eq", Self::Equal),
        ("neq", Self::NotEqual),
        ("gt", Self::Greater),
        ("lt", Self::Less),
        ("gte", Self::GreaterOrEqual),
        ("lte", Self::LessOrEqual),
        ("regex", Self::Matches),
        ("not_regex", Self::MatchesNot),
        ("in", Self::In),
        ("not_in", Self::NotIn),
    ];

    /// Whether the value must be a number.
    #[must_use]
    pub fn is_numeric(self) -> bool {
        use Operator::{Greater, GreaterOrEqual, Less, LessOrEqual};
        matches!(self, Greater | Less | GreaterOrEqual | LessOrEqual)
    }
}

/// Reads `condition: {op, rules: [{field, op, value, context}]}`.
pub(super) fn read(node: &Node) -> Result<Condition, ConfigError> {
    let condition = read_of_route(node)?;
    if condition.is_default {
        return Err(node.error("only the condition of a route can be the 'default'"));
    }
    Ok(condition)
}

/// The same for a route, which may be the `default`.
pub(super) fn read_of_route(node: &Node) -> Result<Condition, ConfigError> {
    let Value::Map(pairs) = &node.value else {
        return Err(node.error(format!("'condition' must be a map, not {}", node.kind())));
    };
    let (mut any, mut rules, mut is_default) = (false, None, false);
    for (key, value) in pairs {
        match key.text.to_ascii_lowercase().as_str() {
            "op" => {
                any = match text(value)?.to_ascii_lowercase().as_str() {
                    "and" => false,
                    "or" => true,
                    other => {
                        let message = format!("'op' is '{other}', but must be and or or");
                        return Err(value.error(message));
                    }
                }
            }
            "default" => {
                is_default = parse_bool(text(value)?)
                    .ok_or_else(|| value.error("'default' must be true or false"))?;
            }
            "rules" => match &value.value {
                Value::List(items) if !items.is_empty() => {
                    rules = Some(items.iter().map(rule).collect::<Result<Vec<_>, _>>()?);
                }
                _ => return Err(value.error("'rules' must be a list of rules")),
            },
            other => {
                let hint = did_you_mean(other, ["op", "rules", "default"].into_iter());
                let message = format!("unknown key '{other}' in a condition{hint}");
                return Err(ConfigError::new(&key.place, message));
            }
        }
    }
    let rules = match rules {
        None if is_default => Vec::new(),
        rules => rules.ok_or_else(|| node.error("the condition has no 'rules'"))?,
    };
    Ok(Condition {
        place: node.place.clone(),
        is_default,
        any,
        rules,
    })
}

fn rule(node: &Node) -> Result<Rule, ConfigError> {
    let Value::Map(pairs) = &node.value else {
        return Err(node.error(format!("a rule must be a map, not {}", node.kind())));
    };
    let (mut field, mut operator, mut operand) = (None, None, None);
    let mut context = Context::default();
    for (key, value) in pairs {
        match key.text.to_ascii_lowercase().as_str() {
            "field" => field = Some(text(value)?.to_owned()),
            "op" => operator = Some(operator_of(value)?),
            "value" => operand = Some((value, operand_of(value)?)),
            "context" => context = Context::read(value)?,
            other => {
                let known = ["field", "op", "value", "context"];
                let hint = did_you_mean(other, known.into_iter());
                let message = format!("unknown key '{other}' in a rule{hint}");
                return Err(ConfigError::new(&key.place, message));
            }
        }
    }
    let missing = |what: &str| node.error(format!("the rule has no '{what}'"));
    let operator = operator.ok_or_else(|| missing("op"))?;
    let (at, value) = operand.ok_or_else(|| missing("value"))?;
    let wants_list = matches!(operator, Operator::In | Operator::NotIn);
    match &value {
        Operand::Text(_) if wants_list => {
            return Err(at.error("'in' and 'not_in' need a list of values"));
        }
        Operand::List(_) if !wants_list => {
            return Err(at.error("only 'in' and 'not_in' take a list of values"));
        }
        Operand::Text(t) if operator.is_numeric() && t.trim().parse::<f64>().is_err() => {
            return Err(at.error(format!("'value' is '{t}', but must be a number here")));
        }
        _ => {}
    }
    Ok(Rule {
        place: node.place.clone(),
        field: field.ok_or_else(|| missing("field"))?,
        operator,
        value,
        context,
    })
}

fn operator_of(node: &Node) -> Result<Operator, ConfigError> {
    let word = text(node)?;
    let found = (Operator::WORDS.iter()).find(|(name, _)| name.eq_ignore_ascii_case(word));
    found.map(|(_, operator)| *operator).ok_or_else(|| {
        let names: Vec<&str> = Operator::WORDS.iter().map(|(name, _)| *name).collect();
        let names = names.join(", ");
        node.error(format!("'op' is '{word}', but must be one of {names}"))
    })
}

fn operand_of(node: &Node) -> Result<Operand, ConfigError> {
    match &node.value {
        Value::List(items) => {
            let words = items.iter().map(|item| text(item).map(str::to_owned));
            Ok(Operand::List(words.collect::<Result<_, _>>()?))
        }
        _ => Ok(Operand::Text(text(node)?.to_owned())),
    }
}

fn text(node: &Node) -> Result<&str, ConfigError> {
    match &node.value {
        Value::Scalar { text, .. } => Ok(text),
        _ => Err(node.error(format!("expected a value, found {}", node.kind()))),
    }
}
