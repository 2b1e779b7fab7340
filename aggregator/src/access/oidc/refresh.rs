//! Sessions that go on for as long as the provider allows: before its tokens end it is asked again with the refresh
//! token that it gave (OpenID Connect Core 1.0, 12), and what it says then is what holds.
//!
//! A session is renewed when somebody uses it, so nothing is asked for who is away. The one rule: one request asks,
//! and its answer is kept whatever becomes of the request, for a refresh token may be good once.

use std::sync::Arc;
use std::time::Duration;

use kansoku_web::jwt::Claims;
use serde_json::{Map, Value};

use super::config::OidcConfig;
use super::provider::{NoTokens, Provider, STALE_MAX, Tokens, Untrusted};
use super::{Oidc, principal};
use crate::access::config::AccessConfig;
use crate::access::session::{Hidden, Oidc as Proven, Renewal, Sessions};
use crate::access::token::Hash;
use crate::access::{Access, Denied, Principal};
use crate::{clock, journal};

/// A longer ID token is not kept for signing out, a longer refresh token is not kept at all.
const HINT_MAX_BYTES: usize = 4096;
const REFRESH_TOKEN_MAX_BYTES: usize = 8192;
/// So long before their end tokens are refreshed, at the most; short-lived ones in the last fifth of their time.
const MARGIN_MS: i64 = 60_000;
/// A provider that did not answer is asked again after so long.
const RETRY_MS: i64 = 30_000;
/// How long a request waits for the provider while what it said last still holds.
const PATIENCE: Duration = Duration::from_secs(2);
/// What tokens are good for that do not say it.
const LASTS_MS: i64 = 300_000;

/// What is kept of the tokens of a sign-in or a refresh.
pub struct Kept {
    pub access_token: Option<String>,
    id_token: Option<Hidden>,
    refresh_token: Option<Hidden>,
    nonce: Hidden,
    subject: Box<str>,
    sid: Option<Box<str>>,
    claims: Option<Arc<Map<String, Value>>>,
    /// When the first of the tokens ends.
    ends_ms: Option<i64>,
}

fn ms(seconds: f64) -> i64 {
    (seconds * 1000.0) as i64
}

impl Kept {
    /// Of tokens that were checked.
    pub fn new(config: &OidcConfig, tokens: Tokens, claims: &Claims, nonce: &str) -> Self {
        let of_access = tokens
            .lasts_s
            .map(|s| clock::now_ms().saturating_add(ms(s)));
        let of_id = claims.times_s().1.map(ms);
        let refresh_token = tokens.refresh_token;
        let refresh_token = refresh_token.filter(|token| {
            config.refreshes && !token.is_empty() && token.len() <= REFRESH_TOKEN_MAX_BYTES
        });
        let keeps_claims = refresh_token.is_some() && config.userinfo;
        let id_token = tokens
            .id_token
            .filter(|token| token.len() <= HINT_MAX_BYTES);
        Self {
            access_token: tokens.access_token,
            id_token: id_token.map(|token| Hidden(token.into())),
            refresh_token: refresh_token.map(|token| Hidden(token.into())),
            nonce: Hidden(nonce.into()),
            subject: claims.text("sub").unwrap_or_default().into(),
            sid: claims.text("sid").map(Into::into),
            claims: keeps_claims.then(|| Arc::new(claims.all().clone())),
            ends_ms: [of_access, of_id].into_iter().flatten().min(),
        }
    }

    /// The proof of a session that lasts for `session_ms` without a renewal.
    pub fn proven(
        self,
        config: &Arc<OidcConfig>,
        principal: Arc<Principal>,
        session_ms: i64,
        now_ms: i64,
    ) -> Proven {
        let renewal = self.refresh_token.map(|refresh_token| {
            let ends_ms = self.ends_ms.unwrap_or(now_ms.saturating_add(LASTS_MS));
            Renewal {
                refresh_token,
                nonce: self.nonce,
                claims: self.claims,
                due_ms: due_ms(now_ms, ends_ms, session_ms),
                ends_ms,
                turn: Arc::default(),
            }
        });
        Proven {
            principal,
            provider: config.clone(),
            id_token: self.id_token,
            subject: self.subject,
            sid: self.sid,
            renewal,
        }
    }
}

/// Whether what a provider said that is away is good for a while yet.
fn is_fresh_enough(ends_ms: i64, now_ms: i64) -> bool {
    let stale_ms = i64::try_from(STALE_MAX.as_millis()).unwrap_or(i64::MAX);
    ends_ms.saturating_add(stale_ms) > now_ms
}

/// When to ask again: somewhat before the tokens end, and well before the session would.
fn due_ms(now_ms: i64, ends_ms: i64, session_ms: i64) -> i64 {
    let left_ms = ends_ms.saturating_sub(now_ms).max(0);
    let before_end_ms = ends_ms - (left_ms / 5).min(MARGIN_MS);
    before_end_ms.min(now_ms.saturating_add(session_ms / 2))
}

/// Takes claims over that another place vouches for; what stands there stays.
pub fn add(claims: &mut Map<String, Value>, others: Map<String, Value>) {
    for (name, value) in others {
        claims.entry(name).or_insert(value);
    }
}

impl Access {
    /// How long a session lasts that is not renewed.
    pub(super) fn session_ms(&self) -> i64 {
        let config = self.config().unwrap_or_default();
        session_ms(&config)
    }

    /// Who is signed in, asked for at the provider of the session, which is due for that.
    pub(in crate::access) async fn renewed(
        &self,
        config: Arc<AccessConfig>,
        hash: Hash,
        proven: Proven,
    ) -> Result<Arc<Principal>, Denied> {
        let Some(renewal) = &proven.renewal else {
            return Ok(proven.principal);
        };
        let holds = renewal.ends_ms > clock::now_ms();
        let turn = match renewal.turn.clone().try_lock_owned() {
            Ok(turn) => turn,
            // Somebody asks already.
            Err(_) if holds => return Ok(proven.principal),
            Err(_) => renewal.turn.clone().lock_owned().await,
        };
        let work = Work {
            sessions: self.sessions.clone(),
            provider: self
                .oidc
                .provider(&proven.provider)
                .map_err(Denied::Unavailable)?,
            refreshing: self.oidc.refreshing.clone(),
            config,
            hash,
        };
        // Not part of the request: a browser that goes away must not take the answer along.
        let mut asked = tokio::spawn(async move {
            let _turn = turn;
            work.run().await
        });
        let done = match holds {
            true => match tokio::time::timeout(PATIENCE, &mut asked).await {
                Ok(done) => done,
                Err(_) => return Ok(proven.principal),
            },
            false => asked.await,
        };
        done.unwrap_or_else(|_| Err(Denied::Unavailable("the session cannot be renewed".into())))
    }
}

fn session_ms(config: &AccessConfig) -> i64 {
    i64::try_from(config.session_time.as_millis()).unwrap_or(i64::MAX)
}

/// One renewal.
struct Work {
    sessions: Arc<Sessions>,
    provider: Arc<Provider>,
    refreshing: Arc<tokio::sync::Semaphore>,
    config: Arc<AccessConfig>,
    hash: Hash,
}

/// Why a session is not renewed.
enum NotRenewed {
    /// The provider is to be asked again, with this token if it gave one.
    Later(Option<Hidden>, String),
    Over(String),
}

impl Work {
    async fn run(&self) -> Result<Arc<Principal>, Denied> {
        let over = || Denied::Unknown("the session is over; sign in again".into());
        let _turn = self.refreshing.acquire().await;
        let now_ms = clock::now_ms();
        // Whoever had the turn before may have done it, or ended it.
        let found = self.sessions.find(&self.hash, &self.config, now_ms);
        let found = found.ok_or_else(over)?;
        let Some(proven) = found.due else {
            return Ok(found.principal);
        };
        let Some(renewal) = &proven.renewal else {
            return Ok(proven.principal);
        };
        let name = &proven.provider.name;
        match self.ask(&proven, renewal).await {
            Ok(next) => {
                let principal = next.principal.clone();
                let token = next.renewal.as_ref().map(|r| r.refresh_token.clone());
                let lasts_ms = session_ms(&self.config);
                let now_ms = clock::now_ms();
                if self.sessions.renew(&self.hash, next, now_ms, lasts_ms) {
                    return Ok(principal);
                }
                // Somebody signed out meanwhile; whoever did that knew the token before only.
                if let Some(token) = token {
                    let _ = self.provider.revoke(&token.0).await;
                }
                Err(over())
            }
            Err(NotRenewed::Over(why)) => {
                self.sessions.close(&self.hash);
                journal::info(&format!(
                    "the session of {} ended at provider '{name}': {why}",
                    proven.principal.name
                ));
                Err(over())
            }
            Err(NotRenewed::Later(token, why)) => {
                journal::warn(&format!("a session cannot be renewed: {why}"));
                let token = token.as_ref().unwrap_or(&renewal.refresh_token);
                let now_ms = clock::now_ms();
                self.sessions
                    .postpone(&self.hash, token, now_ms.saturating_add(RETRY_MS));
                if is_fresh_enough(renewal.ends_ms, now_ms) {
                    return Ok(proven.principal);
                }
                Err(Denied::Unavailable(format!(
                    "the session cannot be renewed: provider '{name}' does not answer; try again later"
                )))
            }
        }
    }

    async fn ask(&self, proven: &Proven, renewal: &Renewal) -> Result<Proven, NotRenewed> {
        let config = &proven.provider;
        let later = |why: String| NotRenewed::Later(None, why);
        let document = self.provider.fresh_document().await.map_err(later)?;
        let asked = self
            .provider
            .refresh(&document, &renewal.refresh_token.0)
            .await;
        let mut tokens = asked.map_err(|e| match e {
            NoTokens::Refused(why) => NotRenewed::Over(why),
            NoTokens::Failed(why) => later(why),
        })?;
        // It may be good once: from here on the next one counts, whatever else goes wrong.
        let given = tokens
            .refresh_token
            .clone()
            .filter(|token| !token.is_empty());
        let next = given.map_or_else(|| renewal.refresh_token.clone(), |t| Hidden(t.into()));
        tokens.refresh_token = Some(next.0.to_string());
        let later = |why: String| NotRenewed::Later(Some(next.clone()), why);
        let now_ms = clock::now_ms();
        let Some(id_token) = tokens.id_token.clone() else {
            return self
                .without_id_token(proven, renewal, &document, tokens, later)
                .await;
        };
        let claims = self
            .provider
            .id_token(&id_token)
            .await
            .map_err(|e| match e {
                Untrusted::Wrong(why) => NotRenewed::Over(why),
                Untrusted::NoKeys(why) => later(why),
            })?;
        let access_token = tokens.access_token.as_deref();
        claims
            .check_refreshed(
                &config.client_id,
                &renewal.nonce.0,
                &proven.subject,
                access_token,
            )
            .map_err(|why| NotRenewed::Over(why.to_owned()))?;
        let mut kept = Kept::new(config, tokens, &claims, &renewal.nonce.0);
        kept.sid = kept.sid.or_else(|| proven.sid.clone());
        let mut all = claims.all().clone();
        if config.userinfo {
            let token = kept.access_token.as_deref();
            let more = self
                .provider
                .userinfo(&document, token, &proven.subject)
                .await;
            add(&mut all, more.map_err(later)?);
        }
        let principal = principal(config, &all).map_err(NotRenewed::Over)?;
        let mut renewed = kept.proven(config, principal, session_ms(&self.config), now_ms);
        keep_turn(&mut renewed, renewal);
        Ok(renewed)
    }

    /// The provider said only that it goes on: claims are those of userinfo where that is asked, or stay.
    async fn without_id_token(
        &self,
        proven: &Proven,
        renewal: &Renewal,
        document: &super::provider::Document,
        tokens: Tokens,
        later: impl Fn(String) -> NotRenewed,
    ) -> Result<Proven, NotRenewed> {
        let config = &proven.provider;
        let now_ms = clock::now_ms();
        let mut renewed = proven.clone();
        if let (true, Some(claims)) = (config.userinfo, &renewal.claims) {
            let token = tokens.access_token.as_deref();
            let more = self
                .provider
                .userinfo(document, token, &proven.subject)
                .await;
            let mut all = (**claims).clone();
            add(&mut all, more.map_err(later)?);
            renewed.principal = principal(config, &all).map_err(NotRenewed::Over)?;
        }
        let lasts_ms = tokens.lasts_s.map_or(LASTS_MS, ms);
        let ends_ms = now_ms.saturating_add(lasts_ms);
        renewed.renewal = Some(Renewal {
            refresh_token: Hidden(tokens.refresh_token.unwrap_or_default().into()),
            due_ms: due_ms(now_ms, ends_ms, session_ms(&self.config)),
            ends_ms,
            ..renewal.clone()
        });
        Ok(renewed)
    }
}

/// Who waits for the turn waits for that of the renewed session.
fn keep_turn(renewed: &mut Proven, renewal: &Renewal) {
    if let Some(next) = &mut renewed.renewal {
        next.turn = renewal.turn.clone();
    }
}

impl Oidc {
    /// Tells a provider that the refresh token of a session that has ended is not needed any more. Nobody waits for
    /// it: without it the token ends at the provider by itself.
    pub fn revoke(&self, proven: Proven) {
        let Some(renewal) = proven.renewal else {
            return;
        };
        let Ok(provider) = self.provider(&proven.provider) else {
            return;
        };
        let refreshing = self.refreshing.clone();
        tokio::spawn(async move {
            let _turn = refreshing.acquire().await;
            if let Err(why) = provider.revoke(&renewal.refresh_token.0).await {
                journal::warn(&format!(
                    "provider '{}' did not take back a refresh token: {why}",
                    provider.config.name
                ));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_another_place_says_changes_nothing_of_the_token() {
        let mut claims = json!({"sub": "s"}).as_object().unwrap().clone();
        add(
            &mut claims,
            json!({"sub": "x", "email": "e"})
                .as_object()
                .unwrap()
                .clone(),
        );
        assert_eq!(json!(claims), json!({"sub": "s", "email": "e"}));
    }

    #[test]
    fn a_provider_may_be_away_for_an_hour() {
        for (ends_ms, now_ms, expected) in [
            (0, 3_599_999, true),
            (0, 3_600_000, false),
            (i64::MAX, i64::MAX - 1, true),
        ] {
            assert_eq!(
                is_fresh_enough(ends_ms, now_ms),
                expected,
                "{ends_ms} {now_ms}"
            );
        }
    }

    #[test]
    fn tokens_are_refreshed_before_their_end() {
        for (ends_ms, session_ms, expected) in [
            (3_600_000, 43_200_000, 3_540_000),
            (300_000, 43_200_000, 240_000),
            (60_000, 43_200_000, 48_000),
            (1_000, 43_200_000, 800),
            (-5_000, 43_200_000, -5_000),
            (86_400_000, 43_200_000, 21_600_000),
        ] {
            let now_ms = 1_000_000;
            let due = due_ms(now_ms, now_ms + ends_ms, session_ms);
            assert_eq!(due - now_ms, expected, "{ends_ms}");
        }
    }
}
