//! Who is signed in on the page: a random number in a cookie, and what it stands for in memory.
//!
//! The one rule: a session ends with what it was opened with: a user whose password has changed, a token that
//! is gone, a provider that is configured otherwise or says so, an hour that is over. A restart of the program ends
//! all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::config::AccessConfig;
use super::oidc::config::OidcConfig;
use super::oidc::mapping::Claims;
use super::principal::Principal;
use super::token::{self, Hash};

/// The cookie's name.
pub const COOKIE: &str = "kansoku_session";
/// Sessions at a time; beyond it the oldest ones end.
const SESSIONS_MAX: usize = 10_000;

/// However often a session is renewed, it ends so long after it was begun.
pub const RENEWED_MAX_MS: i64 = 30 * 24 * 3600 * 1000;

/// With what somebody signed in.
#[derive(Debug, Clone)]
pub enum Proof {
    /// A user, and the hash of the password that it had.
    User {
        name: String,
        hash: String,
    },
    Token(Hash),
    Oidc(Oidc),
}

/// A text that no log shows.
#[derive(Clone)]
pub struct Hidden(pub Box<str>);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<hidden>")
    }
}

/// Whom a provider vouched for.
#[derive(Debug, Clone)]
pub struct Oidc {
    pub principal: Arc<Principal>,
    /// The provider as it was configured then.
    pub provider: Arc<OidcConfig>,
    /// What it is shown when the session is ended there as well.
    pub id_token: Option<Hidden>,
    /// What the provider calls who signed in, and their session there.
    pub subject: Box<str>,
    pub sid: Option<Box<str>>,
    /// `None` where the provider gave no refresh token: then it vouched for the whole session.
    pub renewal: Option<Renewal>,
}

/// With what a session goes on once its tokens end.
#[derive(Debug, Clone)]
pub struct Renewal {
    pub refresh_token: Hidden,
    /// Of the sign-in.
    pub nonce: Hidden,
    /// Claims of the ID token, where those of userinfo are laid over them.
    pub claims: Option<Arc<Claims>>,
    /// When the provider has to be asked again.
    pub due_ms: i64,
    /// Until when what it said last is good.
    pub ends_ms: i64,
    /// Held by the one that asks.
    pub turn: Arc<tokio::sync::Mutex<()>>,
}

/// Who is signed in.
#[derive(Debug)]
pub struct Found {
    pub principal: Arc<Principal>,
    /// What must be renewed first.
    pub due: Option<Oidc>,
}

#[derive(Debug)]
struct Session {
    proof: Proof,
    begun_ms: i64,
    expires_ms: i64,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Sessions {
    /// By the hash of what is in the cookie. Held for a look-up.
    open: Mutex<HashMap<Hash, Session>>,
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<Hash, Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins one and gives what belongs into the cookie.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn open(&self, proof: Proof, now_ms: i64, expires_ms: i64) -> Result<String, String> {
        let secret = token::random()?;
        let mut open = self.lock();
        if open.len() >= SESSIONS_MAX {
            open.retain(|_, session| session.expires_ms > now_ms);
        }
        if open.len() >= SESSIONS_MAX {
            let oldest = open.iter().min_by_key(|(_, s)| s.expires_ms);
            if let Some(hash) = oldest.map(|(hash, _)| *hash) {
                open.remove(&hash);
            }
        }
        let session = Session {
            proof,
            begun_ms: now_ms,
            expires_ms,
        };
        open.insert(token::hash(&secret), session);
        Ok(secret)
    }

    /// Who is signed in.
    pub fn find(&self, hash: &Hash, config: &AccessConfig, now_ms: i64) -> Option<Found> {
        let mut open = self.lock();
        let session = open.get(hash)?;
        let found = (session.expires_ms > now_ms)
            .then(|| principal(&session.proof, config, now_ms))
            .flatten();
        let Some(principal) = found else {
            open.remove(hash);
            return None;
        };
        let due = match &session.proof {
            Proof::Oidc(proven) => {
                let renewal = proven.renewal.as_ref();
                let is_due = renewal.is_some_and(|r| r.due_ms <= now_ms);
                is_due.then(|| proven.clone())
            }
            Proof::User { .. } | Proof::Token(_) => None,
        };
        Some(Found { principal, due })
    }

    /// What a provider says by now of who opened a session; it lasts for `lasts_ms` from now. `false` where it has ended
    /// meanwhile.
    #[must_use]
    pub fn renew(&self, hash: &Hash, proven: Oidc, now_ms: i64, lasts_ms: i64) -> bool {
        let mut open = self.lock();
        let Some(session) = open.get_mut(hash) else {
            return false;
        };
        let latest_ms = session.begun_ms.saturating_add(RENEWED_MAX_MS);
        session.expires_ms = now_ms.saturating_add(lasts_ms).min(latest_ms);
        session.proof = Proof::Oidc(proven);
        true
    }

    /// The provider could not be asked: it is again at `due_ms`, with this token.
    pub fn postpone(&self, hash: &Hash, refresh_token: &Hidden, due_ms: i64) {
        if let Some(session) = self.lock().get_mut(hash)
            && let Proof::Oidc(proven) = &mut session.proof
            && let Some(renewal) = &mut proven.renewal
        {
            renewal.due_ms = due_ms;
            renewal.refresh_token = refresh_token.clone();
        }
    }

    /// Ends those that a provider says to be over; gives them.
    pub fn end(&self, is_over: impl Fn(&Oidc) -> bool) -> Vec<Oidc> {
        let mut ended = Vec::new();
        self.lock().retain(|_, session| match &session.proof {
            Proof::Oidc(proven) if is_over(proven) => {
                ended.push(proven.clone());
                false
            }
            Proof::Oidc(_) | Proof::User { .. } | Proof::Token(_) => true,
        });
        ended
    }

    /// Ends one; gives with what it was begun.
    pub fn close(&self, hash: &Hash) -> Option<Proof> {
        let ended = self.lock().remove(hash);
        ended.map(|session| session.proof)
    }
}

/// Whom a proof stands for by what holds now.
fn principal(proof: &Proof, config: &AccessConfig, now_ms: i64) -> Option<Arc<Principal>> {
    match proof {
        Proof::User { name, hash } => {
            let is_same = config.passwords.get(name) == Some(hash);
            config.users.get(name).filter(|_| is_same).cloned()
        }
        Proof::Token(hash) => {
            let token = config.tokens.get(hash)?;
            let is_valid = token.expires_ms.is_none_or(|expires| now_ms < expires);
            is_valid.then(|| token.principal.clone())
        }
        Proof::Oidc(proven) => {
            let provider = config.oidc.get(&proven.provider.name);
            let is_same = provider == Some(&proven.provider);
            is_same.then(|| proven.principal.clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";

    #[test]
    fn a_session_ends_with_its_time_its_user_and_its_password() {
        let read = |text: &str| AccessConfig::parse("a.yaml", text).unwrap();
        let config = read(&format!("users: {{a: {{password: {HASH}, role: viewer}}}}"));
        let other = HASH.replace("abcdef", "bbcdef");
        let changed = read(&format!(
            "users: {{a: {{password: {other}, role: viewer}}}}"
        ));
        let raised = read(&format!("users: {{a: {{password: {HASH}, role: admin}}}}"));
        let sessions = Sessions::default();
        let begin = || {
            let proof = Proof::User {
                name: "a".into(),
                hash: HASH.into(),
            };
            sessions.open(proof, 0, 1000).unwrap()
        };
        let secret = begin();
        let role = |config: &AccessConfig, secret: &str, now_ms| {
            let found = sessions.find(&token::hash(secret), config, now_ms);
            found.map(|found| found.principal.grant.role.name())
        };
        assert_eq!(role(&config, &secret, 999), Some("viewer"));
        assert_eq!(role(&raised, &secret, 999), Some("admin"));
        assert_eq!(role(&config, "x", 999), None);
        for (config, now_ms) in [(&config, 1000), (&changed, 1), (&read(""), 1)] {
            let secret = begin();
            assert_eq!(role(config, &secret, now_ms), None);
            // It does not come back.
            assert_eq!(role(&raised, &secret, 1), None);
        }
        sessions.close(&token::hash(&secret));
        assert_eq!(role(&config, &secret, 1), None);
    }

    #[test]
    fn the_number_of_sessions_is_bounded() {
        let sessions = Sessions::default();
        for at in 0..SESSIONS_MAX + 2 {
            let proof = Proof::Token([0; 32]);
            sessions.open(proof, 0, 1000 + at as i64).unwrap();
        }
        assert_eq!(sessions.lock().len(), SESSIONS_MAX);
    }
}
