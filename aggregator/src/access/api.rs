//! `/api/v1/access/…`: signing in and out on the page, who one is, the audit log.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::StatusCode;
use hyper::header::{HeaderValue, SET_COOKIE};
use serde_json::{Value, json};

use super::audit::Event;
use super::session::RENEWED_MAX_MS;
use super::{Access, Denied, PAGE_HEADER, Principal, Proof, oidc, session_cookie, token};
use crate::api::prometheus::envelope;
use crate::app::App;
use crate::clock;
use crate::http::{Call, Reply, routes};

/// Lines of the audit log that one answer holds.
const LINES_MAX: usize = 10_000;
const LINES_DEFAULT: usize = 500;

/// The answer to whom something is not given.
pub(super) fn refused(status: StatusCode, message: &str) -> Reply {
    envelope::error(status, routes::kind_of(status), message)
}

/// The answer with data.
pub(super) fn success(data: &Value) -> Reply {
    envelope::success(data.to_string().as_bytes())
}

/// `/api/v1/access/me`: who asks and what they may do, also when that is nobody and nothing.
pub async fn me(app: Arc<App>, call: Call) -> Reply {
    let access = &app.access;
    match access.who(&call.headers, &call.method).await {
        Ok(principal) => success(&shown(&app, &principal)),
        Err(Denied::Unknown(_)) => success(&json!({
            "enabled": true,
            "signedIn": false,
            "rights": [],
        })),
        Err(denied) => {
            let (status, message) = denied.parts();
            denied.dress(refused(status, message))
        }
    }
}

fn shown(app: &App, principal: &Principal) -> Value {
    let tenants = match app.tenants.is_on() {
        true => {
            let all = app.tenants.all();
            let names = all.iter().map(|t| t.name().to_owned());
            let mut names: Vec<String> = names.filter(|n| principal.may_use(n)).collect();
            // Those that have no data yet may be chosen as well.
            names.extend(principal.grant.tenants.iter().cloned());
            names.sort();
            names.dedup();
            json!(names)
        }
        false => Value::Null,
    };
    json!({
        "enabled": app.access.is_on(),
        "signedIn": true,
        "kind": principal.kind.name(),
        "name": principal.name,
        "role": principal.grant.role.name(),
        "rights": principal.rights(),
        "namespaces": principal.grant.namespaces,
        "tenants": tenants,
    })
}

/// `/api/v1/access/login`: a user and a password, or a token, for a cookie.
pub async fn login(app: Arc<App>, call: Call) -> Reply {
    let form = &call.form;
    let access = &app.access;
    if call.header(PAGE_HEADER) != "kansoku" {
        let text = "this needs the header 'X-Requested-With: kansoku'";
        return refused(StatusCode::FORBIDDEN, text);
    }
    if !access.is_on() {
        return refused(
            StatusCode::BAD_REQUEST,
            "access control is off, nobody has to sign in",
        );
    }
    let name = match form.get("token") {
        "" => form.get("user").to_owned(),
        _ => "token".to_owned(),
    };
    let found = proven(
        access,
        form.get("user"),
        form.get("password"),
        form.get("token"),
    )
    .await;
    let (reply, principal, error) = match found {
        Ok((principal, proof)) => match session(&app, &call, proof) {
            Ok(cookie) => {
                let reply = success(&shown(&app, &principal)).with(SET_COOKIE, cookie);
                (reply, Some(principal), String::new())
            }
            Err(message) => {
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                (refused(status, &message), Some(principal), message)
            }
        },
        Err(denied) => {
            let (status, message) = denied.parts();
            (refused(status, message), None, message.to_owned())
        }
    };
    if principal.is_some() || access.audit.takes_failure() {
        let event = Event {
            action: "sign_in",
            principal: principal.as_deref(),
            from: call.peer.address,
            forwarded_for: call.header("x-forwarded-for"),
            tenant: "",
            detail: name,
            status: reply.status.as_u16(),
            error,
        };
        access.audit.note(&app, &event).await;
    }
    reply
}

async fn proven(
    access: &Access,
    user: &str,
    password: &str,
    given: &str,
) -> Result<(Arc<Principal>, Proof), Denied> {
    let config = access.config();
    let config = config.ok_or_else(|| Denied::Unknown("access control is off".into()))?;
    if !given.is_empty() {
        let principal = access.bearer(&config, given)?;
        return Ok((principal, Proof::Token(token::hash(given))));
    }
    if user.contains(':') {
        return Err(Denied::Unknown("user or password are wrong".into()));
    }
    let pair = BASE64_STANDARD.encode(format!("{user}:{password}"));
    let principal = access.basic(&config, &format!("Basic {pair}")).await?;
    let hash = config.passwords.get(user).cloned().unwrap_or_default();
    let proof = Proof::User {
        name: user.to_owned(),
        hash,
    };
    Ok((principal, proof))
}

/// Begins a session and gives its cookie.
pub(super) fn session(app: &App, call: &Call, proof: Proof) -> Result<HeaderValue, String> {
    let config = app.access.config().unwrap_or_default();
    let now_ms = clock::now_ms();
    let lasts = i64::try_from(config.session_time.as_millis()).unwrap_or(i64::MAX);
    let expires_ms = now_ms.saturating_add(lasts);
    // The browser keeps the cookie for as long as the session may be renewed.
    let is_renewed = matches!(&proof, Proof::Oidc(proven) if proven.renewal.is_some());
    let seconds = match is_renewed {
        true => RENEWED_MAX_MS.unsigned_abs() / 1000,
        false => config.session_time.as_secs(),
    };
    let secret = app.access.sessions.open(proof, now_ms, expires_ms)?;
    Ok(cookie(call, &secret, seconds))
}

/// Whether the browser speaks TLS, be it with a proxy.
pub(super) fn is_secure(call: &Call) -> bool {
    call.peer.is_tls || call.header("x-forwarded-proto") == "https"
}

/// No script reads it, no other site's page sends it.
fn cookie(call: &Call, secret: &str, seconds: u64) -> HeaderValue {
    let secure = if is_secure(call) { "; Secure" } else { "" };
    let text = format!(
        "{}={secret}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}",
        super::session::COOKIE
    );
    HeaderValue::from_str(&text).expect("base64url and words")
}

/// `/api/v1/access/logout`: ends the session, and tells where the one at the provider is ended.
pub async fn logout(app: Arc<App>, call: Call) -> Reply {
    if call.header(PAGE_HEADER) != "kansoku" {
        let text = "this needs the header 'X-Requested-With: kansoku'";
        return refused(StatusCode::FORBIDDEN, text);
    }
    let secret = session_cookie(&call.headers);
    let ended = secret.and_then(|secret| app.access.sessions.close(&token::hash(secret)));
    let mut data = json!({});
    if let Some(Proof::Oidc(proven)) = ended {
        if let Some(url) = oidc::api::sign_out_url(&app, &call, &proven).await {
            data["redirect"] = url.into();
        }
        app.access.oidc.revoke(proven);
    }
    success(&data).with(SET_COOKIE, cookie(&call, "", 0))
}

/// `/api/v1/access/audit`: the newest lines, newest first.
pub async fn audit(app: Arc<App>, call: Call) -> Reply {
    let limit = match call.form.get("limit") {
        "" => Some(LINES_DEFAULT),
        text => text.parse().ok().filter(|n| (1..=LINES_MAX).contains(n)),
    };
    let Some(limit) = limit else {
        let text = format!("limit must be a number of 1 to {LINES_MAX}");
        return refused(StatusCode::BAD_REQUEST, &text);
    };
    let worker = app.clone();
    let read = tokio::task::spawn_blocking(move || worker.access.audit.newest(limit)).await;
    let read = read.unwrap_or_else(|_| Err("failed by a mistake of this program".into()));
    match read {
        Ok(lines) => {
            let read = |line: &String| serde_json::from_str(line).ok();
            let lines: Vec<Value> = lines.iter().filter_map(read).collect();
            success(&json!(lines))
        }
        Err(message) => envelope::error(StatusCode::INTERNAL_SERVER_ERROR, "internal", &message),
    }
}
