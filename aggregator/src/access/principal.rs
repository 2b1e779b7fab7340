//! Who asks, and what they may do: roles, the rights that routes ask for, and restrictions to tenants
//! and namespaces.
//!
//! The one rule: what is not allowed is refused; a route names one right, and there is no other check.

use kansoku_model::{MatchOp, Matcher};

/// What a route asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Nothing: anybody may, without a name.
    Public,
    /// To store data.
    Ingest,
    /// To see data, all of it through a [`View`](crate::tenants::View): a restriction to namespaces holds.
    Read,
    /// To see what cannot be told apart by namespaces; refused to whom is restricted to some.
    ReadAll,
    /// To change what others see: rules, dashboards, deletes. Refused to whom is restricted to some namespaces.
    Change,
    /// To see secrets and to do what concerns all: the configuration, the audit log, upkeep of the store.
    Admin,
}

impl Right {
    /// All that a principal may be told to have, with their names.
    pub const NAMED: [(Self, &'static str); 5] = [
        (Self::Ingest, "ingest"),
        (Self::Read, "read"),
        (Self::ReadAll, "read_all"),
        (Self::Change, "change"),
        (Self::Admin, "admin"),
    ];

    fn name(self) -> &'static str {
        let named = Self::NAMED.iter().find(|(right, _)| *right == self);
        named.map_or("public", |(_, name)| name)
    }
}

/// What somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Role {
    /// Stores data and sees none.
    Agent,
    /// Sees data.
    Viewer,
    /// Sees, stores and deletes data, changes rules and dashboards.
    Editor,
    /// Everything.
    Admin,
}

impl Role {
    /// The names of all.
    pub const NAMES: [&'static str; 4] = ["agent", "viewer", "editor", "admin"];

    /// The role of a name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let all = [Self::Agent, Self::Viewer, Self::Editor, Self::Admin];
        all.into_iter().find(|role| role.name() == name)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    fn may(self, right: Right) -> bool {
        match right {
            Right::Public => true,
            Right::Ingest => self != Self::Viewer,
            Right::Read | Right::ReadAll => self >= Self::Viewer,
            Right::Change => self >= Self::Editor,
            Right::Admin => self == Self::Admin,
        }
    }
}

/// How somebody showed who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Access control is off.
    Anybody,
    User,
    Token,
    Oidc,
}

impl Kind {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Anybody => "anybody",
            Self::User => "user",
            Self::Token => "token",
            Self::Oidc => "oidc",
        }
    }
}

/// What somebody is allowed.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    pub role: Role,
    /// The only tenants; empty is all.
    pub tenants: Vec<String>,
    /// Patterns of the only namespaces; empty is all.
    pub namespaces: Vec<String>,
    /// What series and streams of those namespaces pass.
    matcher: Option<Matcher>,
}

impl Grant {
    /// A role, restricted.
    ///
    /// # Errors
    /// When a pattern is no regular expression, or one that also takes what has no namespace; when a role
    /// cannot be restricted so.
    pub fn new(role: Role, tenants: Vec<String>, namespaces: Vec<String>) -> Result<Self, String> {
        for pattern in &namespaces {
            // By itself, so that no parenthesis of it reaches beyond it.
            let alone = regex::Regex::new(pattern);
            let matcher = alone.and_then(|_| Matcher::new(NAMESPACE, MatchOp::Regex, pattern));
            let matcher = matcher.map_err(|e| format!("namespace '{pattern}': {e}"))?;
            if matcher.matches("") {
                return Err(format!(
                    "namespace '{pattern}' also takes what has no namespace; leave namespaces out to allow everything"
                ));
            }
        }
        if role != Role::Viewer && !namespaces.is_empty() {
            return Err(format!(
                "role {} cannot be restricted to namespaces, because what it stores and changes is not told apart by them; take viewer, or restrict to tenants",
                role.name()
            ));
        }
        let matcher = match &namespaces[..] {
            [] => None,
            [one] => Some(one.clone()),
            many if many.iter().all(|p| is_plain(p)) => Some(many.join("|")),
            many => Some(
                many.iter()
                    .map(|p| format!("(?:{p})"))
                    .collect::<Vec<_>>()
                    .join("|"),
            ),
        };
        let matcher = matcher.map(|pattern| Matcher::new(NAMESPACE, MatchOp::Regex, &pattern));
        Ok(Self {
            role,
            tenants,
            namespaces,
            matcher: matcher
                .transpose()
                .map_err(|e| format!("namespaces: {e}"))?,
        })
    }

    /// A role without restrictions.
    #[must_use]
    pub fn of(role: Role) -> Self {
        Self {
            role,
            tenants: Vec::new(),
            namespaces: Vec::new(),
            matcher: None,
        }
    }
}

/// The label that holds the namespace, of series and of streams.
const NAMESPACE: &str = "namespace";

/// The `job` of the audit log's stream.
pub const AUDIT_JOB: &str = "kansoku-audit";

/// A name without anything that a regular expression reads otherwise.
fn is_plain(pattern: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    pattern.chars().all(is_plain)
}

/// Somebody who asks.
#[derive(Debug, Clone, PartialEq)]
pub struct Principal {
    pub kind: Kind,
    /// Of the user or the token; empty for anybody.
    pub name: String,
    pub grant: Grant,
}

impl Principal {
    /// Who asks while access control is off.
    #[must_use]
    pub fn anybody() -> Self {
        Self {
            kind: Kind::Anybody,
            name: String::new(),
            grant: Grant::of(Role::Admin),
        }
    }

    /// Whether it has a right; the error says why not.
    ///
    /// # Errors
    /// What to tell the client.
    pub fn check(&self, right: Right) -> Result<(), String> {
        let role = self.grant.role;
        if !role.may(right) {
            return Err(format!(
                "{} '{}' has the role {}, which does not have the right '{}'",
                self.kind.name(),
                self.name,
                role.name(),
                right.name()
            ));
        }
        let is_divisible = matches!(right, Right::Public | Right::Read);
        if self.grant.matcher.is_some() && !is_divisible {
            return Err(format!(
                "{} '{}' is restricted to namespaces, by which this path cannot be divided",
                self.kind.name(),
                self.name
            ));
        }
        Ok(())
    }

    /// Whether it may ask for a tenant.
    #[must_use]
    pub fn may_use(&self, tenant: &str) -> bool {
        let tenants = &self.grant.tenants;
        tenants.is_empty() || tenants.iter().any(|t| t == tenant)
    }

    /// What series and streams must pass that it is shown; `None` shows all.
    #[must_use]
    pub fn namespaces(&self) -> Option<&Matcher> {
        self.grant.matcher.as_ref()
    }

    /// What streams must pass that it is shown: the audit log is for admins.
    #[must_use]
    pub fn streams(&self) -> Option<Matcher> {
        let matcher = Matcher::new("job", MatchOp::NotEqual, AUDIT_JOB);
        let matcher = matcher.expect("no pattern to compile");
        self.check(Right::Admin).is_err().then_some(matcher)
    }

    /// The names of its rights.
    #[must_use]
    pub fn rights(&self) -> Vec<&'static str> {
        let all = Right::NAMED.iter();
        let has = all.filter(|(right, _)| self.check(*right).is_ok());
        has.map(|(_, name)| *name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(role: Role, namespaces: &[&str]) -> Principal {
        let namespaces = namespaces.iter().map(|n| (*n).to_owned()).collect();
        Principal {
            kind: Kind::User,
            name: "x".into(),
            grant: Grant::new(role, Vec::new(), namespaces).unwrap(),
        }
    }

    #[test]
    fn roles_have_the_rights_of_the_documentation() {
        for (role, namespaces, expected) in [
            (Role::Agent, &[][..], "ingest"),
            (Role::Viewer, &[], "read,read_all"),
            (Role::Viewer, &["shop"], "read"),
            (Role::Editor, &[], "ingest,read,read_all,change"),
            (Role::Admin, &[], "ingest,read,read_all,change,admin"),
        ] {
            let principal = principal(role, namespaces);
            assert_eq!(principal.rights().join(","), expected, "{role:?}");
            assert!(principal.check(Right::Public).is_ok());
        }
    }

    #[test]
    fn namespaces_are_anchored_patterns() {
        for (patterns, passes, fails) in [
            (&["shop"][..], &["shop"][..], &["", "shop2", "a"][..]),
            (&["shop", "cart"], &["shop", "cart"], &["", "shopcart"]),
            (&["a-.*", "b"], &["a-1", "b"], &["", "ab", "b1", "xa-1"]),
        ] {
            let principal = principal(Role::Viewer, patterns);
            let matcher = principal.namespaces().unwrap();
            for name in passes {
                assert!(matcher.matches(name), "{patterns:?} {name}");
            }
            for name in fails {
                assert!(!matcher.matches(name), "{patterns:?} {name}");
            }
        }
        for (role, pattern, expected) in [
            (Role::Viewer, ".*", "also takes what has no namespace"),
            (Role::Viewer, "", "also takes what has no namespace"),
            (Role::Viewer, "a)|(.*", "namespace 'a)|(.*'"),
            (
                Role::Agent,
                "a",
                "role agent cannot be restricted to namespaces",
            ),
        ] {
            let error = Grant::new(role, Vec::new(), vec![pattern.to_owned()]).unwrap_err();
            assert!(error.contains(expected), "{pattern}: {error}");
        }
    }
}
