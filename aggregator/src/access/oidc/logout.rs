//! Providers tell that somebody has signed out (OpenID Connect Back-Channel Logout 1.0): a signed token names the
//! session or the person, and what they have open here ends.
//!
//! The one rule: nothing ends unless the provider has signed it, for this client, just now, and once.

use std::sync::{Arc, PoisonError};

use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderValue};
use kansoku_web::jwt::Claims;
use serde_json::json;

use super::api::{not_there, provider};
use super::provider::{Provider, Untrusted};
use crate::access::audit::Event;
use crate::access::token;
use crate::app::App;
use crate::http::{Call, Reply};
use crate::{clock, journal};

/// The member of `events` that makes a token one for this.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// What such tokens say to be, besides nothing.
const KINDS: [&str; 2] = ["logout+jwt", "jwt"];
/// An older token is not taken, so that its number need not be remembered for longer.
const AGE_MAX_MS: i64 = 10 * 60 * 1000;
/// Numbers that are remembered; beyond it tokens are refused.
const REMEMBERED_MAX: usize = 10_000;

/// Why a token ends nothing: status, the standard's word, what happened.
type Refusal = (StatusCode, &'static str, String);

/// Who has signed out.
struct SignedOut {
    subject: Option<String>,
    sid: Option<String>,
}

/// `/api/v1/access/oidc/{}/backchannel_logout`
pub async fn hear(app: Arc<App>, call: Call) -> Reply {
    let heard = match provider(&app, &call) {
        None => return not_there(&call),
        Some(Ok(provider)) => end(&app, &call, &provider).await,
        Some(Err(why)) => Err((StatusCode::INTERNAL_SERVER_ERROR, "server_error", why)),
    };
    let (status, detail, error) = match &heard {
        Ok(detail) => (StatusCode::OK, detail.as_str(), String::new()),
        Err((status, _, why)) => (*status, "", why.clone()),
    };
    if heard.is_ok() || app.access.audit.takes_failure() {
        let name = &call.path_value;
        if !error.is_empty() {
            journal::warn(&format!(
                "provider '{name}' or somebody else told of a sign-out in vain: {error}"
            ));
        }
        let event = Event {
            action: "sign_out",
            principal: None,
            from: call.peer.address,
            forwarded_for: call.header("x-forwarded-for"),
            tenant: "",
            detail: format!("oidc={name}{detail}"),
            status: status.as_u16(),
            error,
        };
        app.access.audit.note(&app, &event).await;
    }
    let reply = match heard {
        Ok(_) => Reply::empty(StatusCode::OK),
        Err((status, word, why)) => {
            let body = json!({"error": word, "error_description": why});
            Reply::json(status, body.to_string())
        }
    };
    reply.with(CACHE_CONTROL, HeaderValue::from_static("no-store"))
}

/// Ends what is to be ended; gives words for the audit log.
async fn end(app: &App, call: &Call, provider: &Provider) -> Result<String, Refusal> {
    let text = call.form.get("logout_token");
    let signed_out = judged(app, provider, text).await?;
    let SignedOut { subject, sid } = &signed_out;
    let name = &provider.config.name;
    let ended = app.access.sessions.end(|proven| {
        if proven.provider.name != *name || proven.provider.issuer != provider.config.issuer {
            return false;
        }
        let is_subject = subject
            .as_deref()
            .is_some_and(|sub| *sub == *proven.subject);
        match (sid, &proven.sid) {
            (Some(sid), Some(own)) => **sid == **own && (subject.is_none() || is_subject),
            // Without the names of sessions it is everything of that person.
            _ => is_subject,
        }
    });
    let n_ended = ended.len();
    for proven in ended {
        app.access.oidc.revoke(proven);
    }
    let word = |key: &str, value: &Option<String>| {
        let value = value.as_ref();
        value.map_or_else(String::new, |value| format!(" {key}={value}"))
    };
    Ok(format!(
        "{}{} sessions={n_ended}",
        word("sub", subject),
        word("sid", sid)
    ))
}

/// Checks a token (2.6).
async fn judged(app: &App, provider: &Provider, text: &str) -> Result<SignedOut, Refusal> {
    let wrong = |why: &str| (StatusCode::BAD_REQUEST, "invalid_request", why.to_owned());
    if text.is_empty() {
        return Err(wrong("the form has no logout_token"));
    }
    let (claims, kind) = provider.verified(text).await.map_err(|e| match e {
        Untrusted::Wrong(why) => wrong(&why),
        Untrusted::NoKeys(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "temporarily_unavailable",
            "the token cannot be checked: the provider gives no keys".into(),
        ),
    })?;
    if kind.is_some_and(|kind| !KINDS.contains(&kind.as_str())) {
        return Err(wrong("the token is of another kind ('typ')"));
    }
    provider.check_logout(&claims).map_err(|why| wrong(&why))?;
    let now_ms = clock::now_ms();
    let leeway_ms = i64::try_from(provider.config.leeway.as_millis()).unwrap_or(i64::MAX);
    let oldest_ms = now_ms - AGE_MAX_MS - leeway_ms;
    let signed_out = read(&claims, oldest_ms).map_err(wrong)?;
    let jti = claims.text("jti").filter(|jti| !jti.is_empty());
    let jti = jti.ok_or_else(|| wrong("the token has no number of its own ('jti')"))?;
    // Last of all, so that only what was signed takes room.
    let hash = token::hash(&json!([provider.config.issuer, jti]).to_string());
    let logouts = &app.access.oidc.logouts;
    let mut logouts = logouts.lock().unwrap_or_else(PoisonError::into_inner);
    if logouts.len() >= REMEMBERED_MAX {
        logouts.retain(|_, until_ms| *until_ms > now_ms);
    }
    if logouts.contains_key(&hash) {
        return Err(wrong("the token came before ('jti')"));
    }
    if logouts.len() >= REMEMBERED_MAX {
        let why = "too many sign-outs at a time".to_owned();
        return Err((
            StatusCode::TOO_MANY_REQUESTS,
            "temporarily_unavailable",
            why,
        ));
    }
    // Longer than it would be taken: its `iat` is not after now, but for the leeway.
    logouts.insert(hash, now_ms + AGE_MAX_MS + 2 * leeway_ms + 1000);
    Ok(signed_out)
}

/// What a token says whose signature, issuer, audience and end are right.
fn read(claims: &Claims, oldest_ms: i64) -> Result<SignedOut, &'static str> {
    let all = claims.all();
    let issued_s = claims.times_s().0;
    let issued_s = issued_s.ok_or("the token does not say when it was issued ('iat')")?;
    if issued_s * 1000.0 < oldest_ms as f64 {
        return Err("the token was issued too long ago ('iat')");
    }
    let event = all.get("events").and_then(|events| events.get(EVENT));
    if !event.is_some_and(serde_json::Value::is_object) {
        return Err("the token is not about a sign-out ('events')");
    }
    // So that no ID token is taken for it.
    if all.contains_key("nonce") {
        return Err("the token has a 'nonce', which one about a sign-out has not");
    }
    let text = |name: &str| match all.get(name) {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(serde_json::Value::String(text)) if !text.is_empty() => Ok(Some(text.clone())),
        Some(_) => Err("'sub' and 'sid' must be texts"),
    };
    let signed_out = SignedOut {
        subject: text("sub")?,
        sid: text("sid")?,
    };
    if signed_out.subject.is_none() && signed_out.sid.is_none() {
        return Err("the token names neither who has signed out ('sub') nor the session ('sid')");
    }
    Ok(signed_out)
}
