//! The section `oidc` of the access configuration: OpenID Connect providers by name.
//!
//! Reading only. The one rule: what could let in more people than was meant is a mistake with its place.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use kansoku_model::ConfigError;
use kansoku_parsers::config::yaml::tree::{Node, Value};
use kansoku_query::number::parse_duration_ms;

use super::client_auth::{ClientKey, SigningKey};
use super::mapping::{ClaimPath, Claims, Mapping, Pattern, Rule};
use crate::access::config::{NONE_LISTED, read_role};
use crate::http_client::Client;
use crate::http_client::config::{self, HttpConfig, Pem, Secret};

/// More buttons than a page has room for.
const PROVIDERS_MAX: usize = 16;
/// A clock that is further off has to be set.
const LEEWAY_MAX: Duration = Duration::from_secs(600);

/// A provider, as it was configured.
#[derive(Debug, Clone, PartialEq)]
pub struct OidcConfig {
    pub name: String,
    /// On the button.
    pub label: String,
    pub issuer: String,
    pub client_id: String,
    /// `None` for a public client, which has PKCE alone.
    pub secret: Option<Secret>,
    /// Instead of a secret.
    pub key: Option<ClientKey>,
    pub scopes: Vec<String>,
    /// What else the provider is asked with when somebody signs in.
    pub parameters: Vec<(String, String)>,
    /// Refresh tokens are used where the provider gives them.
    pub refreshes: bool,
    /// `None` is made of where people reach the aggregator.
    pub redirect_url: Option<String>,
    /// Claims are asked for at the provider's userinfo endpoint, too.
    pub userinfo: bool,
    /// What who comes from it may do.
    pub mapping: Mapping,
    /// Tokens of the provider are taken as bearers when they are for one of these.
    pub api_audiences: Vec<String>,
    /// How far its clock may be off.
    pub leeway: Duration,
    /// How it is asked.
    pub http: HttpConfig,
}

type Read<T> = Result<T, ConfigError>;

const KEYS: [&str; 28] = [
    "label",
    "issuer",
    "client_id",
    "client_secret",
    "client_secret_file",
    "private_key_file",
    "private_key_id",
    "private_key_algorithm",
    "scopes",
    "authorization_parameters",
    "refresh",
    "redirect_url",
    "userinfo",
    "name_claim",
    "groups_claim",
    "allowed_domains",
    "allowed_groups",
    "accept_unverified_email",
    "rules",
    "api_audiences",
    "leeway",
    "allow_http",
    "ca_file",
    "tls_config",
    "proxy_url",
    "no_proxy",
    "proxy_from_environment",
    "proxy_connect_header",
];

/// Reads the section.
///
/// # Errors
/// What is wrong with which line.
pub fn read(node: &Node) -> Read<BTreeMap<String, Arc<OidcConfig>>> {
    let mut providers = BTreeMap::new();
    for (key, node) in node.pairs()? {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if key.text.is_empty() || !key.text.chars().all(is_plain) {
            let message = format!(
                "'{}' is no name of a provider: it stands in addresses, so take letters, digits, '-' and '_'",
                key.text
            );
            return Err(ConfigError::new(&key.place, message));
        }
        let provider = Arc::new(OidcConfig::read(&key.text, node)?);
        if providers.insert(key.text.clone(), provider).is_some() {
            let message = format!("provider '{}' is there twice; remove one", key.text);
            return Err(ConfigError::new(&key.place, message));
        }
    }
    if providers.len() > PROVIDERS_MAX {
        return Err(node.error(format!("expected at most {PROVIDERS_MAX} providers")));
    }
    Ok(providers)
}

impl OidcConfig {
    fn read(name: &str, node: &Node) -> Read<Self> {
        let mut out = Self {
            name: name.to_owned(),
            label: name.to_owned(),
            issuer: String::new(),
            client_id: String::new(),
            secret: None,
            key: None,
            parameters: Vec::new(),
            refreshes: true,
            scopes: ["openid", "profile", "email"].map(str::to_owned).into(),
            redirect_url: None,
            userinfo: false,
            mapping: Mapping::default(),
            api_audiences: Vec::new(),
            leeway: Duration::from_secs(60),
            http: HttpConfig {
                // A client's secret goes to the addresses that the provider names, and no further.
                follows_redirects: false,
                ..HttpConfig::default()
            },
        };
        let (mut allow_http, mut ca_file) = (false, None);
        let (mut key_file, mut key_id, mut algorithm) = (None, None, None);
        for (key, value) in node.checked_pairs(&KEYS)? {
            match key {
                "label" => out.label = some_text(value)?,
                "issuer" => out.issuer = some_text(value)?,
                "client_id" => out.client_id = some_text(value)?,
                "client_secret" => out.set_secret(Secret::Text(some_text(value)?), value)?,
                "client_secret_file" => out.set_secret(Secret::file(value)?, value)?,
                "private_key_file" => key_file = Some((config::path(value)?, value)),
                "private_key_id" => key_id = Some((some_text(value)?, value)),
                "private_key_algorithm" => algorithm = Some((value.text()?, value)),
                "authorization_parameters" => out.parameters = parameters(value)?,
                "refresh" => out.refreshes = config::truth(value)?,
                "scopes" => out.scopes = config::texts(value)?,
                "redirect_url" => {
                    web_url(value, "redirect_url")?;
                    out.redirect_url = Some(value.text()?.to_owned());
                }
                "userinfo" => out.userinfo = config::truth(value)?,
                "api_audiences" => out.api_audiences = some_texts(value)?,
                "leeway" => out.leeway = read_leeway(value)?,
                "allow_http" => allow_http = config::truth(value)?,
                "ca_file" => ca_file = Some((Pem::File(config::path(value)?), value)),
                "name_claim" => out.mapping.name_claim = Some(claim(value)?),
                "groups_claim" => out.mapping.groups_claim = claim(value)?,
                "allowed_domains" => out.mapping.allowed_domains = some_texts(value)?,
                "allowed_groups" => out.mapping.allowed_groups = patterns(value)?,
                "accept_unverified_email" => {
                    out.mapping.accepts_unverified_email = config::truth(value)?;
                }
                "rules" => out.mapping.rules = rules(value)?,
                key => out.http.take(key, value)?,
            }
        }
        if let Some((pem, value)) = ca_file
            && out.http.tls.ca.replace(pem).is_some()
        {
            return Err(value.error("ca_file stands in tls_config as well; remove one"));
        }
        out.set_key(key_file, key_id, algorithm)?;
        out.check(node, allow_http)?;
        Ok(out)
    }

    fn set_key(
        &mut self,
        file: Option<(PathBuf, &Node)>,
        id: Option<(String, &Node)>,
        algorithm: Option<(&str, &Node)>,
    ) -> Read<()> {
        let Some((file, node)) = file else {
            let lonely = id.map(|(_, node)| node).or(algorithm.map(|(_, node)| node));
            return lonely.map_or(Ok(()), |node| {
                Err(node.error("private_key_id and private_key_algorithm need private_key_file"))
            });
        };
        if self.secret.is_some() {
            return Err(
                node.error("at most one of client_secret and private_key_file must be configured")
            );
        }
        let with_pss = match algorithm {
            None => false,
            Some(("RS256" | "ES256" | "ES384", _)) => false,
            Some(("PS256", _)) => true,
            Some((other, node)) => {
                return Err(node.error(format!(
                    "private_key_algorithm '{other}' is not known; an RSA key signs with RS256 or PS256, P-256 with ES256, P-384 with ES384"
                )));
            }
        };
        let id = id.map(|(id, _)| id);
        let key = ClientKey { file, id, with_pss };
        let read = SigningKey::read(&key).map_err(|e| node.error(e))?;
        if let Some((wanted, node)) = algorithm
            && wanted != read.algorithm()
        {
            return Err(node.error(format!(
                "private_key_algorithm is {wanted}, but the key in {} signs with {}",
                key.file.display(),
                read.algorithm()
            )));
        }
        self.key = Some(key);
        Ok(())
    }

    fn set_secret(&mut self, secret: Secret, node: &Node) -> Read<()> {
        match self.secret.replace(secret) {
            Some(_) => Err(node
                .error("at most one of client_secret and client_secret_file must be configured")),
            None => Ok(()),
        }
    }

    /// What can be wrong between the keys.
    fn check(&self, node: &Node, allow_http: bool) -> Read<()> {
        let name = &self.name;
        for (key, text) in [("issuer", &self.issuer), ("client_id", &self.client_id)] {
            if text.is_empty() {
                return Err(node.error(format!("provider '{name}' needs {key}")));
            }
        }
        let uri: Option<Uri> = self.issuer.parse().ok();
        let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
        let is_plain = !self.issuer.contains(['?', '#']);
        let has_tls = uri.as_ref().and_then(Uri::scheme_str) == Some("https");
        let is_http = uri.as_ref().and_then(Uri::scheme_str) == Some("http");
        if host.is_empty() || !is_plain || !(has_tls || is_http) {
            return Err(node.error(format!(
                "issuer '{}' must be https://HOST/PATH, as the provider calls itself",
                self.issuer
            )));
        }
        let is_here = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        if !has_tls && !is_here && !allow_http {
            return Err(node.error(format!(
                "issuer '{}' is not https: whoever is on the way could sign in as anybody. Take https (with ca_file for an authority of your own), or set allow_http",
                self.issuer
            )));
        }
        if !self.scopes.iter().any(|scope| scope == "openid") {
            return Err(node.error("scopes must hold 'openid', or the provider gives no ID token"));
        }
        if self.mapping.rules.is_empty() {
            return Err(node.error(format!(
                "provider '{name}' needs rules: who may do what, such as 'rules: [{{role: viewer}}]' for everybody whom it knows"
            )));
        }
        self.http.check(node)?;
        Client::new(&self.http).map_err(|e| node.error(e))?;
        Ok(())
    }
}

fn some_text(node: &Node) -> Read<String> {
    match node.text()? {
        "" => Err(node.error("expected a text")),
        text => Ok(text.to_owned()),
    }
}

fn some_texts(node: &Node) -> Read<Vec<String>> {
    let items = node.items()?;
    if items.is_empty() {
        return Err(node.error(NONE_LISTED));
    }
    items.iter().map(some_text).collect()
}

fn patterns(node: &Node) -> Read<Vec<Pattern>> {
    let items = node.items()?;
    if items.is_empty() {
        return Err(node.error(NONE_LISTED));
    }
    let read = |item: &Node| Pattern::new(item.text()?).map_err(|e| item.error(e));
    items.iter().map(read).collect()
}

/// Parameters of ours, which a configuration must not replace.
const OURS: [&str; 11] = [
    "response_type",
    "response_mode",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "request",
    "request_uri",
];

fn parameters(node: &Node) -> Read<Vec<(String, String)>> {
    let parameters = config::parameters(node)?;
    match parameters
        .iter()
        .find(|(name, _)| OURS.contains(&name.as_str()))
    {
        Some((name, _)) => Err(node.error(format!(
            "authorization_parameters must not hold '{name}', which the sign-in sets itself"
        ))),
        None => Ok(parameters),
    }
}

fn web_url(node: &Node, key: &str) -> Read<()> {
    let text = node.text()?;
    let uri: Option<Uri> = text.parse().ok();
    let is_web = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
    });
    match is_web {
        true => Ok(()),
        false => Err(node.error(format!("{key} '{text}' must be https://HOST/PATH"))),
    }
}

fn read_leeway(node: &Node) -> Read<Duration> {
    let ms = parse_duration_ms(node.text()?).ok();
    let found = ms.and_then(|ms| u64::try_from(ms).ok());
    let found = found.map(Duration::from_millis);
    found.filter(|d| *d <= LEEWAY_MAX).ok_or_else(|| {
        node.error("leeway must be a duration of at most 10m; set the clocks of both hosts")
    })
}

/// A claim: its name, names in each other with dots between, or a list of names.
fn claim(node: &Node) -> Read<ClaimPath> {
    let path = match &node.value {
        Value::List(items) => {
            let names: Read<Vec<String>> = items.iter().map(some_text).collect();
            ClaimPath::of_names(names?)
        }
        _ => ClaimPath::of_text(&some_text(node)?),
    };
    path.map_err(|e| node.error(e))
}

fn rules(node: &Node) -> Read<Vec<Rule>> {
    let mut rules: Vec<Rule> = Vec::new();
    for item in node.items()? {
        if rules.last().is_some_and(|rule| rule.claim.is_none()) {
            return Err(item.error(
                "this rule is never reached: the one before it has no claim, so it takes everybody",
            ));
        }
        let (mut path, mut values, mut role) = (None, None, None);
        let (mut tenants, mut namespaces) = (Vec::new(), Vec::new());
        for (key, value) in
            item.checked_pairs(&["claim", "values", "role", "tenants", "namespaces"])?
        {
            match key {
                "claim" => path = Some(claim(value)?),
                "values" => values = Some(patterns(value)?),
                "role" => role = Some(read_role(value)?),
                "tenants" => tenants = some_texts(value)?,
                _ => namespaces = some_texts(value)?,
            }
        }
        let role = role.ok_or_else(|| item.error("role is missing"))?;
        let patterns = match (&path, values) {
            (Some(_), Some(values)) => values,
            (None, None) => Vec::new(),
            (Some(_), None) => return Err(item.error("a claim needs values, such as ['.*']")),
            (None, Some(_)) => return Err(item.error("values need a claim, such as groups")),
        };
        let rule = Rule {
            claim: path,
            patterns,
            role,
            tenants,
            namespaces,
        };
        rule.check().map_err(|e| item.error(e))?;
        rules.push(rule);
    }
    Ok(rules)
}

impl OidcConfig {
    /// Whether a rule of it restricts to tenants.
    #[must_use]
    pub fn names_tenants(&self) -> bool {
        self.mapping.rules.iter().any(|r| !r.tenants.is_empty())
    }

    /// What to call somebody: the provider's name first, so that nobody is taken for a user of the file.
    #[must_use]
    pub fn display_name(&self, claims: &Claims) -> String {
        format!("{}/{}", self.name, self.mapping.name(claims))
    }
}

#[cfg(test)]
mod tests {
    use crate::access::AccessConfig;

    /// What is said of a provider `p` with these lines.
    fn said(lines: &str) -> String {
        let text = format!("oidc:\n  p:\n{}", lines.replace('\n', "\n    "));
        let text = text.replacen("  p:\n", "  p:\n    ", 1);
        match AccessConfig::parse("a.yaml", &text) {
            Ok(config) => format!("{:?}", config.oidc["p"]),
            Err(error) => error.to_string(),
        }
    }

    const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/tls/jwt.key");
    const GOOD: &str = "issuer: https://i.test\nclient_id: k\nrules: [{role: viewer}]";

    #[test]
    fn a_provider_with_everything_is_read_and_keeps_its_secret() {
        let found = said(&format!(
            "{GOOD}\nlabel: In\nclient_secret: hidden\nscopes: [openid, groups]\nredirect_url: https://k/cb\nuserinfo: true\nname_claim: [a, b]\ngroups_claim: realm.groups\nallowed_domains: [x.test]\nallowed_groups: ['a.*']\naccept_unverified_email: true\napi_audiences: [api]\nleeway: 2m\nproxy_url: http://proxy:3128\ntls_config: {{server_name: x}}"
        ));
        for part in [
            "https://k/cb",
            "realm",
            "120s",
            "proxy:3128",
            "follows_redirects: false",
        ] {
            assert!(found.contains(part), "{part}: {found}");
        }
        assert!(!found.contains("hidden"), "{found}");
    }

    #[test]
    fn mistakes_name_line_and_cure() {
        for (lines, expected) in [
            ("client_id: k", "a.yaml:3:5: provider 'p' needs issuer"),
            ("issuer: https://i", "provider 'p' needs client_id"),
            (
                "isuer: x",
                "a.yaml:3:5: unknown key 'isuer'; did you mean 'issuer'?",
            ),
            (
                "issuer: https://i\nclient_id: k",
                "provider 'p' needs rules",
            ),
            (
                "issuer: http://i.test\nclient_id: k\nrules: [{role: viewer}]",
                "is not https",
            ),
            (
                "issuer: http://i.test\nallow_http: true\nclient_id: k\nrules: [{role: viewer}]",
                "OidcConfig",
            ),
            (
                "issuer: http://127.0.0.1:5556/dex\nclient_id: k\nrules: [{role: viewer}]",
                "OidcConfig",
            ),
            ("issuer: i.test\nclient_id: k", "must be https://HOST/PATH"),
            (
                "issuer: https://i/?x=1\nclient_id: k",
                "must be https://HOST/PATH",
            ),
            ("client_secret: ''", "a.yaml:3:20: expected a text"),
            (
                "client_secret: a\nclient_secret_file: /dev/null",
                "at most one of client_secret and client_secret_file",
            ),
            (
                "client_secret_file: /no/such/file",
                "failed to read /no/such/file",
            ),
            (
                "redirect_url: /callback",
                "redirect_url '/callback' must be https",
            ),
            (
                "client_secret: a\nprivate_key_file: /dev/null",
                "at most one of client_secret and private_key_file",
            ),
            (
                "private_key_id: x",
                "a.yaml:3:21: private_key_id and private_key_algorithm need private_key_file",
            ),
            (
                "private_key_file: /no/such.pem",
                "failed to read /no/such.pem",
            ),
            (
                "private_key_file: /dev/null",
                "/dev/null cannot be used as private key",
            ),
            (
                &format!("private_key_file: {KEY}\nprivate_key_algorithm: HS256"),
                "'HS256' is not known",
            ),
            (
                &format!("private_key_file: {KEY}\nprivate_key_algorithm: ES256"),
                "private_key_algorithm is ES256, but the key in",
            ),
            (
                "authorization_parameters: {state: x}",
                "authorization_parameters must not hold 'state'",
            ),
            ("refresh: maybe", "expected true or false"),
            ("leeway: 1h", "at most 10m"),
            ("leeway: soon", "leeway must be a duration"),
            ("userinfo: maybe", "expected true or false"),
            ("allowed_groups: []", "an empty list allows nothing"),
            ("allowed_groups: ['(']", "'(' is no pattern"),
            ("allowed_domains: x.test", "a.yaml:3:22"),
            (
                "rules: [{claim: groups, values: [a]}]",
                "a.yaml:3:13: role is missing",
            ),
            ("rules: [{role: amin}]", "did you mean 'admin'?"),
            (
                "rules: [{claim: groups, role: viewer}]",
                "a claim needs values",
            ),
            (
                "rules: [{values: [a], role: viewer}]",
                "values need a claim",
            ),
            (
                "rules: [{role: viewer}, {claim: groups, values: [a], role: admin}]",
                "this rule is never reached",
            ),
            (
                "rules: [{claim: g, values: [a], role: viewer, namespaces: [$1]}]",
                "$1 stands for group 1",
            ),
            (
                "rules: [{role: editor, namespaces: [a]}]",
                "role editor cannot be restricted to namespaces",
            ),
            (
                &format!("{GOOD}\nscopes: [email]"),
                "scopes must hold 'openid'",
            ),
            (&format!("{GOOD}\nca_file: /no/such.pem"), "/no/such.pem"),
            (
                &format!("{GOOD}\nca_file: /a\ntls_config: {{ca_file: /b}}"),
                "ca_file stands in tls_config as well",
            ),
        ] {
            let found = said(lines);
            assert!(found.contains(expected), "{lines}: {found}");
        }
        let named = AccessConfig::parse("a.yaml", "oidc: {a/b: {}}").unwrap_err();
        assert!(named.to_string().contains("'a/b' is no name"), "{named}");
    }

    #[test]
    fn tenants_of_rules_need_tenants() {
        let text =
            "oidc: {p: {issuer: 'https://i', client_id: k, rules: [{role: viewer, tenants: [a]}]}}";
        let config = AccessConfig::parse("a.yaml", text).unwrap();
        assert!(config.check(true).is_ok());
        let error = config.check(false).unwrap_err();
        assert!(error.contains("--tenants.enabled"), "{error}");
    }
}
