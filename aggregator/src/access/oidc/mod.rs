//! Signing in at OpenID Connect providers (Core 1.0, the code flow with PKCE), and their tokens as bearers.
//!
//! [`config`] reads the section, [`provider`] asks the provider, [`pending`] keeps a sign-in that is under way in
//! the browser, [`mapping`] tells who may do what, [`refresh`] asks again while somebody stays, [`logout`] hears of
//! who left, [`api`] has the paths. The one rule: whatever is wrong, the users and tokens of the file are let in as
//! ever.

pub mod api;
pub mod client_auth;
pub mod config;
pub mod logout;
pub mod mapping;
mod pending;
pub mod provider;
mod refresh;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kansoku_web::jwt::{Algorithm, Token};
use tokio::sync::Semaphore;

use self::config::OidcConfig;
use self::pending::Seal;
use self::provider::{Provider, Untrusted};
use super::principal::Kind;
use super::token::Hash;
use super::{AccessConfig, Denied, Principal};

/// Codes that are exchanged at a time; more sign-ins are turned away. As many refresh tokens; more wait.
const EXCHANGES_MAX: usize = 16;
/// What tokens of an API say to be, besides nothing (RFC 9068).
const BEARER_KINDS: [&str; 2] = ["jwt", "at+jwt"];

/// Providers as they run, and sign-ins under way.
#[derive(Debug)]
pub struct Oidc {
    /// By name, each for the configuration that it has; held for a look-up.
    running: Mutex<HashMap<String, Arc<Provider>>>,
    exchanging: Semaphore,
    seal: Seal,
    /// Tokens that are refreshed.
    refreshing: Arc<Semaphore>,
    /// States that came back, and until when they are remembered; held for a look-up.
    used: Mutex<HashMap<Hash, i64>>,
    /// Logout tokens that came, likewise.
    logouts: Mutex<HashMap<Hash, i64>>,
}

impl Oidc {
    /// None under way.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn new() -> Result<Self, String> {
        Ok(Self {
            running: Mutex::default(),
            exchanging: Semaphore::new(EXCHANGES_MAX),
            refreshing: Arc::new(Semaphore::new(EXCHANGES_MAX)),
            logouts: Mutex::default(),
            seal: Seal::new()?,
            used: Mutex::default(),
        })
    }

    /// The provider of a configuration.
    ///
    /// # Errors
    /// When a certificate cannot be used.
    pub fn provider(&self, config: &Arc<OidcConfig>) -> Result<Arc<Provider>, String> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let known = running.get(&config.name);
        if let Some(known) = known.filter(|known| known.config == *config) {
            return Ok(known.clone());
        }
        let provider = Arc::new(Provider::new(config)?);
        running.insert(config.name.clone(), provider.clone());
        Ok(provider)
    }

    /// Who has a token of a provider; `None` when it is no such token at all.
    pub async fn bearer(
        &self,
        config: &AccessConfig,
        text: &str,
    ) -> Option<Result<Arc<Principal>, Denied>> {
        let takes_tokens = |p: &&Arc<OidcConfig>| !p.api_audiences.is_empty();
        let mut taking = config.oidc.values().filter(takes_tokens).peekable();
        // Whether it is a JWT at all, so that other wrong tokens are told from it.
        taking.peek()?;
        if text.split('.').count() != 3 {
            return None;
        }
        let issuer = match Token::read(text, &Algorithm::ALL) {
            Ok(token) => token.claimed_issuer().unwrap_or_default().to_owned(),
            Err(why) => return Some(Err(Denied::Unknown(why.into()))),
        };
        let mut denied = Denied::Unknown("the token is of an issuer that is not known".into());
        for provider in taking.filter(|p| p.issuer == issuer) {
            match self.bearer_of(provider, text).await {
                // Two may have one issuer and different audiences.
                Err(Denied::Unknown(why)) => denied = Denied::Unknown(why),
                decided => return Some(decided),
            }
        }
        Some(Err(denied))
    }

    async fn bearer_of(
        &self,
        config: &Arc<OidcConfig>,
        text: &str,
    ) -> Result<Arc<Principal>, Denied> {
        let unknown = |why: String| Denied::Unknown(why);
        let provider = self.provider(config).map_err(Denied::Unavailable)?;
        let (claims, kind) = provider.verified(text).await.map_err(|e| match e {
            Untrusted::Wrong(why) => Denied::Unknown(why),
            Untrusted::NoKeys(_) => Denied::Unavailable(format!(
                "the token cannot be checked: provider '{}' does not answer; try again later",
                config.name
            )),
        })?;
        if kind.is_some_and(|kind| !BEARER_KINDS.contains(&kind.as_str())) {
            return Err(unknown(
                "the token is of a kind that is no bearer token".into(),
            ));
        }
        provider
            .check(&claims, &config.api_audiences)
            .map_err(unknown)?;
        principal(config, claims.all()).map_err(|why| Denied::Forbidden(None, why))
    }
}

/// Who somebody is by claims that were verified.
///
/// # Errors
/// Why they are not let in.
fn principal(config: &OidcConfig, claims: &mapping::Claims) -> Result<Arc<Principal>, String> {
    let shown = config.display_name(claims);
    let grant = config.mapping.grant(claims).map_err(|why| {
        let subject = mapping::text(claims, "sub").unwrap_or_default();
        format!("oidc '{shown}' (sub '{subject}') is not let in: {}", why.0)
    })?;
    Ok(Arc::new(Principal {
        kind: Kind::Oidc,
        name: shown,
        grant,
    }))
}
