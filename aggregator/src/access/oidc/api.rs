//! `/api/v1/access/oidc/…`: the way to a provider and back, and which ones there are.
//!
//! A browser follows these paths, so what goes wrong is told by sending it to the page with a word that the page
//! knows; the whole story is in the log and in the audit log.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderValue, LOCATION, REFERRER_POLICY, SET_COOKIE};
use ring::digest::{SHA256, digest};
use serde_json::json;

use super::client_auth::SigningKey;
use super::pending::{self, Pending, TIME_MS};
use super::principal;
use super::provider::{Document, Provider, Untrusted};
use super::refresh::{Kept, add};
use crate::access::api::{is_secure, refused, session, success};
use crate::access::audit::Event;
use crate::access::session::Oidc as Proven;
use crate::access::{Principal, Proof, token};
use crate::app::App;
use crate::http::{Call, Reply, cookie};
use crate::http_client::oauth2::encoded;
use crate::{clock, journal};

/// The cookie of a sign-in that is under way.
const COOKIE: &str = "kansoku_oidc";
/// The page's root, from the paths of a provider: a proxy may have put something before it.
const ROOT: &str = "../../../../../";
/// Who looks at the sign-in page sees a provider as it was so long ago at most.
const SEEN_AGE: Duration = Duration::from_secs(30);
/// How long that page waits for a provider.
const SEEN_PATIENCE: Duration = Duration::from_secs(4);
/// States that are remembered; beyond it the provider alone sees that a code comes twice.
const USED_MAX: usize = 10_000;

/// What went wrong, in words that the page knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// The provider does not answer.
    Down,
    /// The browser took too long, has lost the cookie, or has come back twice.
    Stale,
    /// The provider did not let them in.
    Refused,
    /// No rule lets them in.
    NotAllowed,
    /// What the provider said is not to be trusted.
    Failed,
    Busy,
}

impl Failure {
    fn word(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Stale => "stale",
            Self::Refused => "refused",
            Self::NotAllowed => "not_allowed",
            Self::Failed => "failed",
            Self::Busy => "busy",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Down => StatusCode::SERVICE_UNAVAILABLE,
            Self::Busy => StatusCode::TOO_MANY_REQUESTS,
            Self::NotAllowed => StatusCode::FORBIDDEN,
            Self::Stale | Self::Refused | Self::Failed => StatusCode::UNAUTHORIZED,
        }
    }
}

type Failed = (Failure, String);

fn redirect(to: &str) -> Result<Reply, Failed> {
    let to = HeaderValue::from_str(to);
    let to = to.map_err(|_| {
        (
            Failure::Failed,
            "an address holds what no header takes".into(),
        )
    })?;
    Ok(Reply::empty(StatusCode::SEE_OTHER)
        .with(LOCATION, to)
        .with(CACHE_CONTROL, HeaderValue::from_static("no-store"))
        .with(REFERRER_POLICY, HeaderValue::from_static("no-referrer")))
}

/// The way back to the page after a failure.
fn back_with(failure: Failure, back: &str) -> Reply {
    let fragment = if back.is_empty() { "" } else { "#" };
    let to = format!("{ROOT}?sign_in={}{fragment}{back}", failure.word());
    redirect(&to).expect("words and a fragment that was looked at")
}

/// No script reads it; the provider's page sends the browser back with it.
fn pending_cookie(call: &Call, sealed: &str, seconds: i64) -> HeaderValue {
    let secure = if is_secure(call) { "; Secure" } else { "" };
    let text =
        format!("{COOKIE}={sealed}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::from_str(&text).expect("base64url and words")
}

/// Where people reach the aggregator, without a slash at the end.
fn reached_at(app: &App, call: &Call) -> String {
    match &app.settings.rules.external_url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => {
            let scheme = if is_secure(call) { "https" } else { "http" };
            format!("{scheme}://{}", call.header("host"))
        }
    }
}

pub(super) fn provider(app: &App, call: &Call) -> Option<Result<Arc<Provider>, String>> {
    let config = app.access.config()?;
    let config = config.oidc.get(&call.path_value)?;
    Some(app.access.oidc.provider(config))
}

/// `/api/v1/access/oidc`: the providers, and whether they answer; whether there are passwords.
pub async fn list(app: Arc<App>) -> Reply {
    let config = app.access.config().unwrap_or_default();
    let mut asking = Vec::new();
    for config in config.oidc.values().cloned() {
        let app = app.clone();
        asking.push(tokio::spawn(async move {
            let answers = match app.access.oidc.provider(&config) {
                Ok(provider) => {
                    let asked = provider.document(SEEN_AGE);
                    let asked = tokio::time::timeout(SEEN_PATIENCE, asked).await;
                    matches!(asked, Ok(Ok(_)))
                }
                Err(_) => false,
            };
            json!({"name": config.name, "label": config.label, "ready": answers})
        }));
    }
    let mut providers = Vec::new();
    for asked in asking {
        providers.extend(asked.await);
    }
    success(&json!({
        "providers": providers,
        "passwords": !config.users.is_empty(),
    }))
}

/// `/api/v1/access/oidc/{}/login`: sends the browser to the provider.
pub async fn login(app: Arc<App>, call: Call) -> Reply {
    let back = pending::back(call.form.get("return"));
    let Some(found) = provider(&app, &call) else {
        return not_there(&call);
    };
    let begun = match found {
        Ok(provider) => begin(&app, &call, &provider, &back).await,
        Err(why) => Err((Failure::Failed, why)),
    };
    match begun {
        Ok(reply) => reply,
        Err((failure, why)) => {
            note(&app, &call, Err((failure, &why)), None).await;
            back_with(failure, &back)
        }
    }
}

pub(super) fn not_there(call: &Call) -> Reply {
    let message = format!("there is no provider '{}'", call.path_value);
    refused(StatusCode::NOT_FOUND, &message)
}

async fn begin(app: &App, call: &Call, provider: &Provider, back: &str) -> Result<Reply, Failed> {
    let failed = |why: String| (Failure::Failed, why);
    let config = &provider.config;
    let document = provider.fresh_document().await;
    let document = document.map_err(|why| (Failure::Down, why))?;
    let redirect_url = config.redirect_url.clone().unwrap_or_else(|| {
        let name = &config.name;
        format!(
            "{}/api/v1/access/oidc/{name}/callback",
            reached_at(app, call)
        )
    });
    let pending = Pending {
        provider: config.name.clone(),
        state: token::random().map_err(failed)?,
        nonce: token::random().map_err(failed)?,
        verifier: token::random().map_err(failed)?,
        redirect_url,
        back: back.to_owned(),
        expires_ms: clock::now_ms() + TIME_MS,
    };
    let challenge = digest(&SHA256, pending.verifier.as_bytes());
    let scopes = config.scopes.join(" ");
    let challenge = BASE64_URL_SAFE_NO_PAD.encode(challenge);
    let own = [
        ("response_type", "code"),
        ("client_id", &config.client_id),
        ("redirect_uri", &pending.redirect_url),
        ("scope", &scopes),
        ("state", &pending.state),
        ("nonce", &pending.nonce),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    let more = config.parameters.iter();
    let more = more.map(|(name, value)| (name.as_str(), value.as_str()));
    let parameters: Vec<(&str, &str)> = own.into_iter().chain(more).collect();
    let to = with_parameters(&document.authorization_endpoint, &parameters);
    let sealed = app.access.oidc.seal.close(&pending).map_err(failed)?;
    let cookie = pending_cookie(call, &sealed, TIME_MS / 1000);
    Ok(redirect(&to)?.with(SET_COOKIE, cookie))
}

fn with_parameters(url: &str, parameters: &[(&str, &str)]) -> String {
    let mut out = url.to_owned();
    let mut between = if url.contains('?') { '&' } else { '?' };
    for (name, value) in parameters {
        out.push(between);
        out += &format!("{name}={}", encoded(value));
        between = '&';
    }
    out
}

/// `/api/v1/access/oidc/{}/callback`: where the provider sends the browser back to.
pub async fn callback(app: Arc<App>, call: Call) -> Reply {
    let Some(found) = provider(&app, &call) else {
        return not_there(&call);
    };
    let given = cookie(&call.headers, COOKIE);
    let pending = given.and_then(|text| app.access.oidc.seal.open(text));
    let ended = match found {
        Ok(provider) => end(&app, &call, &provider, pending.as_ref()).await,
        Err(why) => Err((Failure::Failed, why)),
    };
    let forget = pending_cookie(&call, "", 0);
    let back = pending.map(|p| p.back).unwrap_or_default();
    match ended {
        Ok((principal, subject, cookie)) => {
            note(&app, &call, Ok(&principal), Some(&subject)).await;
            let to = format!("{ROOT}#{back}");
            let reply = redirect(&to).expect("a fragment that was looked at");
            reply.with(SET_COOKIE, cookie).with(SET_COOKIE, forget)
        }
        Err((failure, why)) => {
            note(&app, &call, Err((failure, &why)), None).await;
            back_with(failure, &back).with(SET_COOKIE, forget)
        }
    }
}

/// Who has come back, what the provider calls them, and the cookie of the session.
async fn end(
    app: &App,
    call: &Call,
    provider: &Provider,
    pending: Option<&Pending>,
) -> Result<(Arc<Principal>, String, HeaderValue), Failed> {
    let form = &call.form;
    let stale = |why: &str| Err((Failure::Stale, why.to_owned()));
    let failed = |why: String| (Failure::Failed, why);
    let config = &provider.config;
    let now_ms = clock::now_ms();
    let Some(pending) = pending else {
        return stale(
            "this browser has no sign-in under way (no cookie, or one of before a restart)",
        );
    };
    if pending.provider != config.name || pending.state != form.get("state") {
        return stale("the browser came back from another sign-in ('state' is another)");
    }
    if pending.expires_ms <= now_ms {
        return stale("the sign-in took too long");
    }
    let issuer = form.get("iss");
    if !issuer.is_empty() && issuer != config.issuer {
        return Err(failed(format!(
            "the answer is of another issuer, '{issuer}'"
        )));
    }
    if !form.get("error").is_empty() {
        let why = format!("{} {}", form.get("error"), form.get("error_description"));
        return Err((
            Failure::Refused,
            format!("the provider answered: {}", why.trim()),
        ));
    }
    if !first_use(app, &pending.state, now_ms) {
        return stale("the browser came back twice from one sign-in");
    }
    let Ok(_turn) = app.access.oidc.exchanging.try_acquire() else {
        return Err((Failure::Busy, "too many sign in at a time".into()));
    };
    let document = provider.fresh_document().await;
    let document = document.map_err(|why| (Failure::Down, why))?;
    if document.names_itself && issuer.is_empty() {
        return Err(failed("the answer does not name the issuer ('iss')".into()));
    }
    let proven = exchanged(app, provider, &document, form.get("code"), pending).await?;
    let (principal, subject) = (proven.principal.clone(), proven.subject.to_string());
    let proof = Proof::Oidc(proven);
    let cookie = session(app, call, proof).map_err(failed)?;
    Ok((principal, subject, cookie))
}

/// What a code is worth: whom the provider vouches for, by claims that were verified.
async fn exchanged(
    app: &App,
    provider: &Provider,
    document: &Document,
    code: &str,
    pending: &Pending,
) -> Result<Proven, Failed> {
    let failed = |why: String| (Failure::Failed, why);
    let config = &provider.config;
    let redirect_url = &pending.redirect_url;
    let tokens = provider.exchange(document, code, &pending.verifier, redirect_url);
    let tokens = tokens.await.map_err(|e| failed(e.why()))?;
    let id_token = tokens.id_token.as_ref().ok_or_else(|| {
        failed(format!(
            "{} gave no ID token; scopes must hold 'openid', and the client must be one of OpenID Connect",
            document.token_endpoint
        ))
    })?;
    let claims = provider.id_token(id_token).await.map_err(|e| match e {
        Untrusted::Wrong(why) => failed(why),
        Untrusted::NoKeys(why) => (Failure::Down, why),
    })?;
    claims
        .check_id_token(
            &config.client_id,
            &pending.nonce,
            tokens.access_token.as_deref(),
        )
        .map_err(|why| failed(why.to_owned()))?;
    let kept = Kept::new(config, tokens, &claims, &pending.nonce);
    let subject = claims.text("sub").unwrap_or_default().to_owned();
    let mut all = claims.all().clone();
    if config.userinfo {
        let token = kept.access_token.as_deref();
        let more = provider.userinfo(document, token, &subject).await;
        add(&mut all, more.map_err(failed)?);
    }
    let principal = principal(config, &all).map_err(|why| (Failure::NotAllowed, why))?;
    Ok(kept.proven(config, principal, app.access.session_ms(), clock::now_ms()))
}

/// Whether a state comes back for the first time.
fn first_use(app: &App, state: &str, now_ms: i64) -> bool {
    let used = &app.access.oidc.used;
    let mut used = used.lock().unwrap_or_else(PoisonError::into_inner);
    if used.len() >= USED_MAX {
        used.retain(|_, until| *until > now_ms);
    }
    if used.len() >= USED_MAX {
        used.clear();
    }
    used.insert(token::hash(state), now_ms + TIME_MS).is_none()
}

/// Writes what happened into both logs.
async fn note(
    app: &Arc<App>,
    call: &Call,
    ended: Result<&Arc<Principal>, (Failure, &str)>,
    subject: Option<&str>,
) {
    let name = &call.path_value;
    if ended.is_err() && !app.access.audit.takes_failure() {
        return;
    }
    let (status, error) = match ended {
        Ok(_) => (StatusCode::OK, String::new()),
        Err((failure, why)) => {
            journal::warn(&format!("sign-in at provider '{name}' failed: {why}"));
            (failure.status(), why.to_owned())
        }
    };
    let subject = subject.map_or_else(String::new, |subject| format!(" sub={subject}"));
    let event = Event {
        action: "sign_in",
        principal: ended.ok().map(|principal| &**principal),
        from: call.peer.address,
        forwarded_for: call.header("x-forwarded-for"),
        tenant: "",
        detail: format!("oidc={name}{subject}"),
        status: status.as_u16(),
        error,
    };
    app.access.audit.note(app, &event).await;
}

/// `/api/v1/access/oidc/{}/keys`: the public half of the client's key, for the provider to check its tokens with.
pub fn keys(app: &App, call: &Call) -> Reply {
    let config = app.access.config().unwrap_or_default();
    let Some(config) = config.oidc.get(&call.path_value) else {
        return not_there(call);
    };
    let read = config.key.as_ref().map(SigningKey::read).transpose();
    match read {
        Ok(key) => {
            let keys: Vec<_> = key.iter().map(SigningKey::public).collect();
            Reply::json(StatusCode::OK, json!({ "keys": keys }).to_string())
        }
        Err(why) => refused(StatusCode::INTERNAL_SERVER_ERROR, &why),
    }
}

/// Where the browser has to go to sign out at the provider as well.
pub async fn sign_out_url(app: &App, call: &Call, proven: &Proven) -> Option<String> {
    let provider = app.access.oidc.provider(&proven.provider).ok()?;
    let asked = tokio::time::timeout(SEEN_PATIENCE, provider.fresh_document()).await;
    let document = asked.ok()?.ok()?;
    let url = document.end_session_endpoint.as_deref()?;
    let home = format!("{}/", reached_at(app, call));
    let mut parameters = vec![
        ("client_id", proven.provider.client_id.as_str()),
        ("post_logout_redirect_uri", &home),
    ];
    if let Some(id_token) = &proven.id_token {
        parameters.push(("id_token_hint", &id_token.0));
    }
    Some(with_parameters(url, &parameters))
}
