//! From claims to what somebody may do.
//!
//! The one rule: rules are looked at in order and the first that fits decides; who fits none is not let in. What
//! a claim brings into a list of tenants or namespaces is a name, never a pattern.

use kansoku_model::tenant as id;
use regex::Regex;
use serde_json::{Map, Value};

use crate::access::Role;
use crate::access::principal::Grant;

/// What a provider says of somebody.
pub type Claims = Map<String, Value>;

/// Deeper claims nobody has.
const PATH_MAX: usize = 16;
/// Values of one claim that are looked at.
const VALUES_MAX: usize = 1000;
/// A name is a word on the page and in the log.
const NAME_MAX_BYTES: usize = 200;

/// Where a claim stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPath {
    /// As it was written: a claim may have dots in its name.
    whole: Option<String>,
    names: Vec<String>,
}

impl ClaimPath {
    /// Names with dots between.
    ///
    /// # Errors
    /// When it is too deep.
    pub fn of_text(text: &str) -> Result<Self, String> {
        let mut path = Self::of_names(text.split('.').map(str::to_owned).collect())?;
        path.whole = Some(text.to_owned());
        Ok(path)
    }

    /// Names in each other.
    ///
    /// # Errors
    /// When it is empty or too deep.
    pub fn of_names(names: Vec<String>) -> Result<Self, String> {
        if names.is_empty() || names.len() > PATH_MAX {
            return Err(format!("a claim has 1 to {PATH_MAX} names"));
        }
        Ok(Self { whole: None, names })
    }

    fn is(&self, name: &str) -> bool {
        self.names.len() == 1 && self.names[0] == name
    }

    fn find<'c>(&self, claims: &'c Claims) -> Option<&'c Value> {
        let whole = self.whole.as_ref();
        if let Some(found) = whole.and_then(|name| claims.get(name)) {
            return Some(found);
        }
        let (first, rest) = self.names.split_first()?;
        let first = claims.get(first)?;
        rest.iter().try_fold(first, |at, name| at.get(name))
    }

    /// The texts that stand there: one, or those of a list.
    fn values(&self, claims: &Claims) -> Vec<String> {
        let text = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        };
        match self.find(claims) {
            None => Vec::new(),
            Some(Value::Array(all)) => all.iter().filter_map(text).take(VALUES_MAX).collect(),
            Some(one) => text(one).into_iter().collect(),
        }
    }
}

/// A claim that is a text.
#[must_use]
pub fn text<'c>(claims: &'c Claims, name: &str) -> Option<&'c str> {
    claims.get(name).and_then(Value::as_str)
}

/// A pattern that must match the whole value.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Pattern {
    /// Reads it.
    ///
    /// # Errors
    /// When it is no regular expression.
    pub fn new(text: &str) -> Result<Self, String> {
        // By itself first, so that no parenthesis of it reaches beyond it.
        let alone = Regex::new(text).and_then(|_| Regex::new(&format!("^(?s:{text})$")));
        let regex = alone.map_err(|e| format!("'{text}' is no pattern: {e}"))?;
        Ok(Self {
            text: text.to_owned(),
            regex,
        })
    }

    fn n_groups(&self) -> usize {
        self.regex.captures_len() - 1
    }

    /// What its groups caught; `None` when it does not match.
    fn catch(&self, value: &str) -> Option<Vec<String>> {
        let caught = self.regex.captures(value)?;
        let texts = caught.iter().skip(1);
        Some(
            texts
                .map(|g| g.map_or("", |g| g.as_str()).to_owned())
                .collect(),
        )
    }
}

/// Who gets what.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// `None` fits everybody.
    pub claim: Option<ClaimPath>,
    /// One of its values has to match one of these.
    pub patterns: Vec<Pattern>,
    pub role: Role,
    /// Names, in which `$1` to `$9` stand for what the groups of the patterns caught.
    pub tenants: Vec<String>,
    /// Patterns, likewise.
    pub namespaces: Vec<String>,
}

/// The numbers of the groups that a text asks for.
fn groups_in(text: &str) -> impl Iterator<Item = usize> + '_ {
    let after = text.split('$').skip(1);
    after.filter_map(|rest| {
        let digit = rest.chars().next()?.to_digit(10)?;
        usize::try_from(digit).ok().filter(|n| *n > 0)
    })
}

/// The text with `$1` to `$9` replaced; `None` when one of those is empty.
fn filled(text: &str, caught: &[String], quote: fn(&str) -> String) -> Option<String> {
    let mut pieces = text.split('$');
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let number = groups_in(&format!("${piece}")).next();
        match number.and_then(|n| caught.get(n - 1)) {
            Some(value) => {
                if value.is_empty() {
                    return None;
                }
                out += &quote(value);
                out += &piece[1..];
            }
            None => {
                out.push('$');
                out += piece;
            }
        }
    }
    Some(out)
}

fn as_it_is(text: &str) -> String {
    text.to_owned()
}

impl Rule {
    /// Whether it can be followed.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), String> {
        let n_groups = self.patterns.iter().map(Pattern::n_groups).min();
        let n_groups = n_groups.unwrap_or(0);
        let texts = self.tenants.iter().chain(&self.namespaces);
        let largest = texts.clone().flat_map(|text| groups_in(text)).max();
        if let Some(n) = largest.filter(|n| *n > n_groups) {
            return Err(format!(
                "${n} stands for group {n} of the values, but one of them has {n_groups}; write for example values: ['team-(.*)'] and $1"
            ));
        }
        let sample = vec!["x".to_owned(); n_groups];
        self.granted(&[sample]).map(drop)
    }

    /// What the groups caught, for each value that fits; none when the rule does not.
    fn fits(&self, mapping: &Mapping, claims: &Claims) -> Vec<Vec<String>> {
        let Some(path) = &self.claim else {
            return vec![Vec::new()];
        };
        let values = if path.is("email") {
            mapping.email(claims).into_iter().collect()
        } else {
            path.values(claims)
        };
        let caught = values
            .iter()
            .filter_map(|value| self.patterns.iter().find_map(|p| p.catch(value)));
        caught.collect()
    }

    fn granted(&self, caught: &[Vec<String>]) -> Result<Grant, String> {
        let fill = |texts: &[String], quote| {
            let all = caught.iter().flat_map(|groups| {
                let filled = move |text: &String| filled(text, groups, quote);
                texts.iter().filter_map(filled)
            });
            let mut all: Vec<String> = all.collect();
            all.sort();
            all.dedup();
            all
        };
        let tenants = fill(&self.tenants, as_it_is);
        let namespaces = fill(&self.namespaces, regex::escape);
        for tenant in &tenants {
            id::check(tenant).map_err(|what| format!("tenant '{tenant}': {what}"))?;
        }
        // An empty list would be all.
        if tenants.is_empty() != self.tenants.is_empty() {
            return Err("the claim names no tenant".into());
        }
        if namespaces.is_empty() != self.namespaces.is_empty() {
            return Err("the claim names no namespace".into());
        }
        Grant::new(self.role, tenants, namespaces)
    }
}

/// What is read out of the claims of a provider.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapping {
    /// What somebody is called; `None` takes the first that is there of some.
    pub name_claim: Option<ClaimPath>,
    pub groups_claim: ClaimPath,
    /// Empty is all.
    pub allowed_domains: Vec<String>,
    /// Empty is all.
    pub allowed_groups: Vec<Pattern>,
    /// Addresses of which the provider does not say that it looked at them.
    pub accepts_unverified_email: bool,
    pub rules: Vec<Rule>,
}

impl Default for Mapping {
    fn default() -> Self {
        Self {
            name_claim: None,
            groups_claim: ClaimPath {
                whole: None,
                names: vec!["groups".into()],
            },
            allowed_domains: Vec::new(),
            allowed_groups: Vec::new(),
            accepts_unverified_email: false,
            rules: Vec::new(),
        }
    }
}

/// Why somebody whom the provider knows is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAllowed(pub String);

impl Mapping {
    /// The address that the provider vouches for.
    fn email(&self, claims: &Claims) -> Option<String> {
        let email = text(claims, "email").filter(|email| !email.is_empty())?;
        let is_verified = match claims.get("email_verified") {
            Some(Value::Bool(is)) => *is,
            Some(Value::String(text)) => text == "true",
            _ => false,
        };
        (is_verified || self.accepts_unverified_email).then(|| email.to_owned())
    }

    /// What somebody is called.
    #[must_use]
    pub fn name(&self, claims: &Claims) -> String {
        let own = self.name_claim.as_ref();
        let own = own.and_then(|path| path.values(claims).into_iter().next());
        let common = || {
            let names = ["preferred_username", "email", "upn", "sub"];
            let mut found = names.iter().filter_map(|name| text(claims, name));
            found.find(|text| !text.is_empty()).map(str::to_owned)
        };
        let name = own.filter(|name| !name.is_empty()).or_else(common);
        let mut name = name.unwrap_or_default();
        name.retain(|c| !c.is_control());
        name.truncate(name.floor_char_boundary(NAME_MAX_BYTES));
        name
    }

    /// What somebody may do.
    ///
    /// # Errors
    /// When they are not let in.
    pub fn grant(&self, claims: &Claims) -> Result<Grant, NotAllowed> {
        let no = |message: &str| Err(NotAllowed(message.to_owned()));
        if !self.allowed_domains.is_empty() {
            let Some(email) = self.email(claims) else {
                return no(match text(claims, "email") {
                    Some(_) => {
                        "the provider does not say that it has verified the email address (email_verified); allowed_domains needs that, or accept_unverified_email"
                    }
                    None => {
                        "there is no claim 'email', which allowed_domains needs; ask for it with the scope 'email', or with 'userinfo: true' where it is not in the ID token"
                    }
                });
            };
            let domain = email.rsplit_once('@').map_or("", |(_, domain)| domain);
            let mut allowed = self.allowed_domains.iter();
            if !allowed.any(|d| d.eq_ignore_ascii_case(domain)) {
                return Err(NotAllowed(format!(
                    "domain '{domain}' is not in allowed_domains"
                )));
            }
        }
        if !self.allowed_groups.is_empty() {
            let groups = self.groups_claim.values(claims);
            let is_allowed = |group: &String| {
                let mut all = self.allowed_groups.iter();
                all.any(|pattern| pattern.catch(group).is_some())
            };
            if !groups.iter().any(is_allowed) {
                return no("no group is in allowed_groups");
            }
        }
        for rule in &self.rules {
            let caught = rule.fits(self, claims);
            if !caught.is_empty() {
                return rule.granted(&caught).map_err(NotAllowed);
            }
        }
        no("no rule fits")
    }
}

#[cfg(test)]
mod tests;
