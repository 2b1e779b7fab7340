//! The section `access`: users, tokens, OpenID Connect providers, the audit log.
//!
//! It stands in the configuration file, or alone in the file of `--access.file`. The one rule: what cannot be
//! understood refuses the whole section, so that nobody has more or less than what was meant.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kansoku_model::plugin::{did_you_mean, parse_size};
use kansoku_model::{ConfigError, tenant as id};
use kansoku_parsers::config::yaml::tree::{self, Node};
use kansoku_query::number::parse_duration_ms;
use kansoku_web::check_password_hash;

use super::oidc::{self, config::OidcConfig};
use super::principal::{Grant, Kind, Principal, Role};
use super::token::{self, Hash};
use crate::clock;

/// The section's name in the configuration file.
pub const SECTION: &str = "access";
/// More is no configuration.
pub const FILE_MAX_BYTES: u64 = 4 << 20;

/// What the section says.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessConfig {
    /// By name.
    pub users: BTreeMap<String, Arc<Principal>>,
    /// bcrypt hashes of their passwords.
    pub passwords: Arc<BTreeMap<String, String>>,
    /// By the hash of the token.
    pub tokens: HashMap<Hash, Token>,
    /// Providers at which people sign in, by name.
    pub oidc: BTreeMap<String, Arc<OidcConfig>>,
    pub audit: AuditConfig,
    /// How long somebody stays signed in.
    pub session_time: Duration,
}

/// A token that was given to somebody.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    pub principal: Arc<Principal>,
    /// Unix milliseconds.
    pub expires_ms: Option<i64>,
}

/// Where changes are noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditConfig {
    /// Without one `audit/audit.jsonl` below the storage path.
    pub file: Option<PathBuf>,
    /// A file that has more becomes an older one.
    pub max_bytes: u64,
    /// How many older files stay.
    pub keep: u32,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            file: None,
            max_bytes: 64 << 20,
            keep: 4,
        }
    }
}

impl Default for AccessConfig {
    fn default() -> Self {
        Self {
            users: BTreeMap::new(),
            passwords: Arc::default(),
            tokens: HashMap::new(),
            oidc: BTreeMap::new(),
            audit: AuditConfig::default(),
            session_time: Duration::from_secs(12 * 3600),
        }
    }
}

type Read<T> = Result<T, ConfigError>;

impl AccessConfig {
    /// Reads the text of a file that holds nothing else.
    ///
    /// # Errors
    /// What is wrong with which line.
    pub fn parse(name: &str, text: &str) -> Read<Self> {
        let roots = tree::parse(name, text.as_bytes(), &mut Vec::new())?;
        if let Some(second) = roots.get(1) {
            return Err(second.error("a second document; write all into one"));
        }
        match roots.first().filter(|root| !root.is_null()) {
            Some(root) => Self::read(root),
            None => Ok(Self::default()),
        }
    }

    /// Reads the section.
    ///
    /// # Errors
    /// What is wrong with which line.
    pub fn read(node: &Node) -> Read<Self> {
        let mut config = Self::default();
        let keys = ["users", "tokens", "oidc", "audit", "session_time"];
        for (key, node) in node.checked_pairs(&keys)? {
            match key {
                "oidc" => config.oidc = oidc::config::read(node)?,
                "users" => config.read_users(node)?,
                "tokens" => config.read_tokens(node)?,
                "audit" => config.audit = read_audit(node)?,
                _ => config.session_time = read_duration(node)?,
            }
        }
        Ok(config)
    }

    fn read_users(&mut self, node: &Node) -> Read<()> {
        let mut passwords = BTreeMap::new();
        for (key, node) in node.pairs()? {
            let name = &key.text;
            let mut hash = None;
            let mut grant = Granting::default();
            for (key, value) in
                node.checked_pairs(&["password", "role", "tenants", "namespaces"])?
            {
                match key {
                    "password" => {
                        let text = value.text()?;
                        check_password_hash(text).map_err(|_| {
                            value.error(format!(
                                "the password of '{name}' is no bcrypt hash; make one with 'kansoku-aggregator access password'"
                            ))
                        })?;
                        hash = Some(text.to_owned());
                    }
                    key => grant.read(key, value)?,
                }
            }
            let is_name =
                !name.is_empty() && !name.contains(':') && !name.contains(char::is_control);
            if !is_name {
                return Err(ConfigError::new(
                    &key.place,
                    format!("'{name}' is no name of a user: it must not be empty or hold a colon"),
                ));
            }
            let hash = hash.ok_or_else(|| node.error(format!("user '{name}' needs a password")))?;
            let principal = grant.principal(Kind::User, name, node)?;
            if passwords.insert(name.clone(), hash).is_some() {
                return Err(twice(key, "user"));
            }
            self.users.insert(name.clone(), Arc::new(principal));
        }
        self.passwords = Arc::new(passwords);
        Ok(())
    }

    fn read_tokens(&mut self, node: &Node) -> Read<()> {
        let mut names = std::collections::BTreeSet::new();
        for (key, node) in node.pairs()? {
            let name = &key.text;
            let (mut hash, mut expires_ms) = (None, None);
            let mut grant = Granting::default();
            for (key, value) in
                node.checked_pairs(&["sha256", "expires", "role", "tenants", "namespaces"])?
            {
                match key {
                    "sha256" => {
                        let read = token::from_hex(value.text()?);
                        hash = Some(read.ok_or_else(|| {
                            value.error(format!(
                                "sha256 of '{name}' must be 64 hexadecimal digits; make a token with 'kansoku-aggregator token create'"
                            ))
                        })?);
                    }
                    "expires" => {
                        let ns = clock::parse_rfc3339_ns(value.text()?);
                        let ms = ns.and_then(|ns| i64::try_from(ns / 1_000_000).ok());
                        expires_ms = Some(ms.ok_or_else(|| {
                            value.error("expires must be a time such as 2027-01-31T00:00:00Z")
                        })?);
                    }
                    key => grant.read(key, value)?,
                }
            }
            let hash = hash.ok_or_else(|| node.error(format!("token '{name}' needs sha256")))?;
            let principal = Arc::new(grant.principal(Kind::Token, name, node)?);
            if !names.insert(name) {
                return Err(twice(key, "token"));
            }
            let token = Token {
                principal,
                expires_ms,
            };
            if let Some(other) = self.tokens.insert(hash, token) {
                return Err(ConfigError::new(
                    &key.place,
                    format!(
                        "tokens '{name}' and '{}' are the same",
                        other.principal.name
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Whether it has a token, be it too old or not.
    #[must_use]
    pub fn has_token(&self, token: &str) -> bool {
        self.tokens.contains_key(&token::hash(token))
    }

    /// Everybody whom it knows.
    pub fn principals(&self) -> impl Iterator<Item = &Arc<Principal>> {
        let tokens = self.tokens.values().map(|token| &token.principal);
        self.users.values().chain(tokens)
    }

    /// Whether what it says has an effect.
    ///
    /// # Errors
    /// Who is restricted to tenants that are not there.
    pub fn check(&self, has_tenants: bool) -> Result<(), String> {
        let provider = self.oidc.values().find(|p| p.names_tenants());
        if let Some(provider) = provider.filter(|_| !has_tenants) {
            return Err(format!(
                "a rule of provider '{}' names tenants, which has no effect without --tenants.enabled; give that flag, or leave tenants out",
                provider.name
            ));
        }
        let restricted = self.principals().find(|p| !p.grant.tenants.is_empty());
        match restricted {
            Some(principal) if !has_tenants => Err(format!(
                "{} '{}' is restricted to tenants, which has no effect without --tenants.enabled; give that flag, or leave tenants out",
                principal.kind.name(),
                principal.name
            )),
            _ => Ok(()),
        }
    }
}

fn twice(key: &tree::Key, what: &str) -> ConfigError {
    let message = format!("{what} '{}' is there twice; remove one", key.text);
    ConfigError::new(&key.place, message)
}

/// What stands of a role so far.
#[derive(Default)]
pub(super) struct Granting {
    role: Option<Role>,
    tenants: Vec<String>,
    namespaces: Vec<String>,
}

impl Granting {
    /// Reads `role`, `tenants` or `namespaces`.
    pub fn read(&mut self, key: &str, value: &Node) -> Read<()> {
        match key {
            "role" => self.role = Some(read_role(value)?),
            "tenants" => {
                for item in value.items()? {
                    let name = item.text()?;
                    id::check(name).map_err(|what| item.error(what))?;
                    self.tenants.push(name.to_owned());
                }
                if self.tenants.is_empty() {
                    return Err(value.error(NONE_LISTED));
                }
            }
            _ => {
                for item in value.items()? {
                    self.namespaces.push(item.text()?.to_owned());
                }
                if self.namespaces.is_empty() {
                    return Err(value.error(NONE_LISTED));
                }
            }
        }
        Ok(())
    }

    /// The grant, once all of `node` is read.
    pub fn finish(self, node: &Node) -> Read<Grant> {
        let role = self.role.ok_or_else(|| node.error("role is missing"))?;
        let grant = Grant::new(role, self.tenants, self.namespaces);
        grant.map_err(|message| node.error(message))
    }

    fn principal(self, kind: Kind, name: &str, node: &Node) -> Read<Principal> {
        Ok(Principal {
            kind,
            name: name.to_owned(),
            grant: self.finish(node)?,
        })
    }
}

/// Reads the name of a role.
pub(super) fn read_role(value: &Node) -> Read<Role> {
    let name = value.text()?;
    Role::of(name).ok_or_else(|| {
        let hint = did_you_mean(name, Role::NAMES.into_iter());
        let all = Role::NAMES.join(", ");
        value.error(format!("there is no role '{name}'{hint}; there are {all}"))
    })
}

/// An empty list could mean none or all.
pub(super) const NONE_LISTED: &str =
    "an empty list allows nothing; name some, or leave the key out to allow all";

fn read_audit(node: &Node) -> Read<AuditConfig> {
    let mut audit = AuditConfig::default();
    for (key, value) in node.checked_pairs(&["file", "max_size", "keep"])? {
        match key {
            "file" => audit.file = Some(PathBuf::from(value.text()?)),
            "max_size" => {
                let bytes = parse_size(value.text()?).filter(|n| *n >= 64 << 10);
                audit.max_bytes = bytes
                    .ok_or_else(|| value.error("max_size must be a size of at least 64KiB"))?;
            }
            _ => {
                let number = value.text()?.parse().ok().filter(|n| *n <= 1000);
                audit.keep =
                    number.ok_or_else(|| value.error("keep must be a number of 0 to 1000"))?;
            }
        }
    }
    Ok(audit)
}

fn read_duration(node: &Node) -> Read<Duration> {
    let ms = parse_duration_ms(node.text()?).ok();
    let ms = ms
        .and_then(|ms| u64::try_from(ms).ok())
        .filter(|ms| *ms >= 60_000);
    let ms = ms.ok_or_else(|| node.error("expected a duration of at least 1m, such as 12h"))?;
    Ok(Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";

    #[test]
    fn a_section_with_everything_is_read() {
        let text = format!(
            "users:\n  alice:\n    password: {HASH}\n    role: admin\n  bob: {{password: {HASH}, role: viewer, tenants: [a], namespaces: [shop, 'cart-.*']}}\ntokens:\n  agents:\n    sha256: {}\n    role: agent\n    expires: 2027-01-31T00:00:00Z\naudit: {{file: /var/log/a.jsonl, max_size: 1MiB, keep: 2}}\nsession_time: 1h\n",
            "ab".repeat(32)
        );
        let config = AccessConfig::parse("a.yaml", &text).unwrap();
        assert_eq!(config.users["alice"].grant, Grant::of(Role::Admin));
        assert_eq!(config.users["bob"].grant.namespaces, ["shop", "cart-.*"]);
        assert_eq!(config.passwords.len(), 2);
        let token = &config.tokens[&[0xab; 32]];
        assert_eq!(token.principal.grant.role, Role::Agent);
        assert_eq!(token.expires_ms, Some(1_801_353_600_000));
        assert_eq!((config.audit.max_bytes, config.audit.keep), (1 << 20, 2));
        assert_eq!(config.session_time, Duration::from_secs(3600));
        assert!(config.check(true).is_ok());
        let error = config.check(false).unwrap_err();
        assert!(
            error.contains("user 'bob' is restricted to tenants"),
            "{error}"
        );
        assert_eq!(
            AccessConfig::parse("a.yaml", "").unwrap(),
            AccessConfig::default()
        );
    }

    #[test]
    fn mistakes_name_line_and_cure() {
        let sha = "ab".repeat(32);
        for (text, expected) in [
            (
                "user: {}",
                "a.yaml:1:1: unknown key 'user'; did you mean 'users'?",
            ),
            (
                "users:\n  a: {role: admin}",
                "a.yaml:2:6: user 'a' needs a password",
            ),
            (
                "users:\n  a: {password: secret, role: admin}",
                "a.yaml:2:17: the password of 'a' is no bcrypt hash",
            ),
            (
                &format!("users:\n  a: {{password: {HASH}}}"),
                "a.yaml:2:6: role is missing",
            ),
            (
                &format!("users:\n  a: {{password: {HASH}, role: amin}}"),
                "there is no role 'amin'; did you mean 'admin'?",
            ),
            (
                &format!("users:\n  'a:b': {{password: {HASH}, role: admin}}"),
                "no name of a user",
            ),
            (
                &format!("users:\n  a: {{password: {HASH}, role: viewer, namespaces: []}}"),
                "an empty list",
            ),
            (
                &format!("users:\n  a: {{password: {HASH}, role: viewer, tenants: [a/b]}}"),
                "unsupported character '/'",
            ),
            (
                &format!("users:\n  a: {{password: {HASH}, role: editor, namespaces: [b]}}"),
                "role editor cannot be restricted to namespaces",
            ),
            (
                "tokens:\n  a: {role: agent}",
                "a.yaml:2:6: token 'a' needs sha256",
            ),
            (
                "tokens:\n  a: {role: agent, sha256: 12}",
                "sha256 of 'a' must be 64 hexadecimal digits",
            ),
            (
                &format!(
                    "tokens:\n  a: {{role: agent, sha256: {sha}}}\n  b: {{role: agent, sha256: {sha}}}"
                ),
                "tokens 'b' and 'a' are the same",
            ),
            (
                &format!("tokens:\n  a: {{role: agent, sha256: {sha}, expires: soon}}"),
                "expires must be a time",
            ),
            ("audit: {keep: many}", "keep must be a number"),
            (
                "audit: {max_size: 1}",
                "max_size must be a size of at least 64KiB",
            ),
            ("session_time: 1s", "expected a duration of at least 1m"),
            ("a: b\n---\nc: d", "a second document"),
        ] {
            let error = AccessConfig::parse("a.yaml", text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
