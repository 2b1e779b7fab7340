//! `/api/v1/dashboards` and `/api/v1/slos`: what is kept, as JSON, over HTTP.
//!
//! A version is an entity tag: `If-Match` on `PUT` and `DELETE` names the one that the change was made
//! from, `If-None-Match: *` says that there is none yet. The one rule: without either nothing is replaced.

use std::sync::{Arc, PoisonError};

use hyper::header::{self, HeaderValue};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::shelf::{self, Condition, Refusal, Saving, Version};
use super::{BYTES_MAX, Kind, provisioned, title_of};
use crate::api::prometheus::envelope;
use crate::app::App;
use crate::clock;
use crate::http::body::Coding;
use crate::http::{Call, Reply};
use crate::rules::objectives;

/// The largest body of a request.
#[must_use]
pub fn max_bytes(_: &App) -> usize {
    BYTES_MAX
}

/// `GET /api/v1/<kind>s`: all documents, without their text.
pub async fn list(app: Arc<App>, call: Call, kind: Kind) -> Reply {
    blocking(move || {
        let (mut found, mut warnings) = (Vec::new(), Vec::new());
        if kind == Kind::Dashboard {
            let provisioned = &app.documents.provisioned;
            found.extend(provisioned.list().iter().map(file_json));
            let maps = provisioned.config_maps();
            warnings = maps.map(|maps| maps.warnings()).unwrap_or_default();
        }
        let folder = call.tenant.folder().join(kind.folder());
        match shelf::list(&folder) {
            Ok(all) => found.extend(all.into_iter().map(|version| match version {
                Ok(version) => version_json(&version),
                Err(problem) => json!({"problem": problem}),
            })),
            Err(refusal) => return refused(kind, "", refusal),
        }
        let found = Value::Array(found).to_string();
        envelope::success_with(found.as_bytes(), &warnings, &[])
    })
    .await
}

/// `GET /api/v1/<kind>s/<id>/versions`: the past of a document, oldest first.
pub async fn versions(app: Arc<App>, call: Call, kind: Kind) -> Reply {
    blocking(move || {
        let id = &call.path_value;
        if id.starts_with(provisioned::PREFIX) {
            let found = app
                .documents
                .provisioned
                .list()
                .into_iter()
                .find(|file| file.id == *id);
            return match found {
                Some(file) => {
                    envelope::success(Value::Array(vec![file_json(&file)]).to_string().as_bytes())
                }
                None => refused(kind, id, Refusal::Missing),
            };
        }
        match shelf::versions(&call.tenant.folder().join(kind.folder()), id) {
            Ok(all) if all.is_empty() => refused(kind, id, Refusal::Missing),
            Ok(all) => {
                let all: Vec<_> = all.iter().map(version_json).collect();
                envelope::success(Value::Array(all).to_string().as_bytes())
            }
            Err(refusal) => refused(kind, id, refusal),
        }
    })
    .await
}

/// `GET`, `PUT` and `DELETE /api/v1/<kind>s/<id>`.
pub async fn one(app: Arc<App>, call: Call, kind: Kind) -> Reply {
    let changes_rules = kind == Kind::Slo && matches!(call.method, Method::PUT | Method::DELETE);
    let shared = Arc::clone(&app);
    let reply = blocking(move || match call.method {
        Method::PUT => put(&app, &call, kind),
        Method::DELETE => delete(&app, &call, kind),
        _ => get(&app, &call, kind),
    })
    .await;
    if changes_rules && reply.status.is_success() {
        shared.rules.set_objectives(&shared).await;
    }
    reply
}

/// Why an objective that asks for its rules to be evaluated cannot have that.
fn unfit_rules(call: &Call, id: &str, text: &[u8]) -> Option<Reply> {
    let document: Value = serde_json::from_slice(text).ok()?;
    if !objectives::is_evaluated(&document) {
        return None;
    }
    let wrong = objectives::groups(call.tenant.name(), id, &document).err()?;
    let text = format!("the rules of the SLO cannot be evaluated: {wrong}");
    Some(envelope::error(StatusCode::BAD_REQUEST, "bad_data", &text))
}

async fn blocking(work: impl FnOnce() -> Reply + Send + 'static) -> Reply {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| {
        let text = "the request failed by a mistake of this program";
        envelope::error(StatusCode::INTERNAL_SERVER_ERROR, "internal", text)
    })
}

fn get(app: &App, call: &Call, kind: Kind) -> Reply {
    let id = &call.path_value;
    let number = match call.form.get("version") {
        "" => None,
        text => match text.parse() {
            Ok(number) => Some(number),
            Err(_) => {
                let text = "invalid parameter \"version\": expected a number";
                return envelope::error(StatusCode::BAD_REQUEST, "bad_data", text);
            }
        },
    };
    let (about, tag, text) = if kind == Kind::Dashboard && id.starts_with(provisioned::PREFIX) {
        match app.documents.provisioned.get(id) {
            None => return refused(kind, id, Refusal::Missing),
            Some(Err(problem)) => {
                return envelope::error(StatusCode::UNPROCESSABLE_ENTITY, "bad_data", &problem);
            }
            Some(Ok((file, text))) => (file_json(&file), file.tag.clone(), text),
        }
    } else {
        match shelf::get(&call.tenant.folder().join(kind.folder()), id, number) {
            Ok((version, text)) => (version_json(&version), version.tag(), text),
            Err(refusal) => return refused(kind, id, refusal),
        }
    };
    let known = call.header(header::IF_NONE_MATCH);
    if known.split(',').any(|one| weak(one) == tag) {
        return with_tag(Reply::empty(StatusCode::NOT_MODIFIED), &tag);
    }
    // The text is put in as it is: it was JSON when it came.
    let mut data = about.to_string();
    data.pop();
    data.push_str(",\"document\":");
    let mut data = data.into_bytes();
    data.extend_from_slice(&text);
    data.push(b'}');
    with_tag(envelope::success(&data), &tag)
}

fn put(app: &App, call: &Call, kind: Kind) -> Reply {
    let id = &call.path_value;
    if let Some(reply) = read_only(app, kind, id) {
        return reply;
    }
    let bad = |text: &str| envelope::error(StatusCode::BAD_REQUEST, "bad_data", text);
    if !shelf::is_id(id) {
        return bad(&format!(
            "'{id}' is no id: expected at most {} letters, digits, dashes and underscores, the first a letter or digit",
            shelf::ID_MAX_BYTES
        ));
    }
    let text = match Coding::of(&call.headers).and_then(|c| c.decode(&call.body, BYTES_MAX)) {
        Ok(text) => text.into_owned(),
        Err(error) => return envelope::error(error.status, "bad_data", &error.message),
    };
    let title = match title_of(&text) {
        Ok(title) => title,
        Err(message) => return bad(&message),
    };
    if kind == Kind::Slo
        && let Some(reply) = unfit_rules(call, id, &text)
    {
        return reply;
    }
    // A tenant comes to be with the first thing it keeps.
    let tenant = match call.tenant.whole() {
        Ok(tenant) => tenant,
        Err(why) => return envelope::error(StatusCode::FORBIDDEN, "forbidden", why),
    };
    if let Err(error) = tenant.store(&app.tenants.opener) {
        return envelope::error(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            &error.to_string(),
        );
    }
    let condition = condition(call).unwrap_or(Condition::New);
    let saving = Saving {
        id,
        title: if title.is_empty() { id } else { &title },
        by: "",
        text: &text,
        now_ms: clock::now_ms(),
    };
    let _one = app
        .documents
        .changing
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    match shelf::put(
        &call.tenant.folder().join(kind.folder()),
        saving,
        &condition,
    ) {
        Ok(version) => {
            let data = version_json(&version).to_string();
            with_tag(envelope::success(data.as_bytes()), &version.tag())
        }
        Err(refusal) => refused(kind, id, refusal),
    }
}

fn delete(app: &App, call: &Call, kind: Kind) -> Reply {
    let id = &call.path_value;
    if let Some(reply) = read_only(app, kind, id) {
        return reply;
    }
    let condition = condition(call).unwrap_or(Condition::Any);
    let _one = app
        .documents
        .changing
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    match shelf::delete(&call.tenant.folder().join(kind.folder()), id, &condition) {
        Ok(()) => Reply::empty(StatusCode::NO_CONTENT),
        Err(refusal) => refused(kind, id, refusal),
    }
}

fn read_only(app: &App, kind: Kind, id: &str) -> Option<Reply> {
    if kind != Kind::Dashboard || !id.starts_with(provisioned::PREFIX) {
        return None;
    }
    let files = app.documents.provisioned.list();
    Some(match files.into_iter().find(|file| file.id == id) {
        None => refused(kind, id, Refusal::Missing),
        Some(file) => {
            let text = format!(
                "the dashboard is provisioned from {}; change the {}, or save under another name",
                file.source,
                file.source.noun()
            );
            envelope::error(StatusCode::FORBIDDEN, "forbidden", &text)
        }
    })
}

/// What the headers demand; `None` when they demand nothing.
fn condition(call: &Call) -> Option<Condition> {
    let of = call.header(header::IF_MATCH).trim();
    match of {
        "" if call.header(header::IF_NONE_MATCH).trim() == "*" => Some(Condition::New),
        "" => None,
        "*" => Some(Condition::Any),
        tags => Some(Condition::Tags(
            tags.split(',').map(|t| t.trim().to_owned()).collect(),
        )),
    }
}

/// A tag without the mark that its text may be packed in another way.
fn weak(tag: &str) -> &str {
    let tag = tag.trim();
    tag.strip_prefix("W/").unwrap_or(tag)
}

fn with_tag(reply: Reply, tag: &str) -> Reply {
    let reply = reply.with(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    match HeaderValue::from_str(tag) {
        Ok(tag) => reply.with(header::ETAG, tag),
        Err(_) => reply,
    }
}

fn version_json(version: &Version) -> Value {
    json!({
        "id": version.id,
        "title": version.title,
        "version": version.number,
        "tag": version.tag(),
        "saved_ms": version.saved_ms,
        "by": version.by,
        "bytes": version.bytes,
        "provisioned": false,
    })
}

fn file_json(file: &provisioned::File) -> Value {
    json!({
        "id": file.id,
        "title": file.title,
        "version": 0,
        "tag": file.tag,
        "saved_ms": file.changed_ms,
        "by": "",
        "bytes": file.bytes,
        "provisioned": true,
        "source": file.source.to_string(),
        "folder": file.folder,
        "problem": file.problem,
    })
}

fn refused(kind: Kind, id: &str, refusal: Refusal) -> Reply {
    let noun = kind.noun();
    let (status, name, text, current) = match refusal {
        Refusal::Missing => {
            let text = format!("there is no {noun} '{id}'");
            (StatusCode::NOT_FOUND, "not_found", text, None)
        }
        Refusal::Exists(version) => {
            let text = format!(
                "there is a {noun} '{id}' already; choose another name, or send the tag of its version in If-Match to replace it"
            );
            (StatusCode::CONFLICT, "conflict", text, Some(version))
        }
        Refusal::Changed(None) => {
            let text = format!("there is no {noun} '{id}' any more; it was deleted meanwhile");
            (StatusCode::PRECONDITION_FAILED, "conflict", text, None)
        }
        Refusal::Changed(Some(version)) => {
            let text = format!(
                "the {noun} '{id}' was saved meanwhile and is at version {}; load it again, or save under another name",
                version.number
            );
            (
                StatusCode::PRECONDITION_FAILED,
                "conflict",
                text,
                Some(version),
            )
        }
        Refusal::Full(text) => (StatusCode::INSUFFICIENT_STORAGE, "full", text, None),
        Refusal::Damaged(text) => (StatusCode::INTERNAL_SERVER_ERROR, "internal", text, None),
        Refusal::Io(error) => {
            let is_full = error.kind() == std::io::ErrorKind::StorageFull;
            let status = match is_full {
                true => StatusCode::INSUFFICIENT_STORAGE,
                false => StatusCode::INTERNAL_SERVER_ERROR,
            };
            (
                status,
                "internal",
                format!("the disk answered: {error}; nothing was changed"),
                None,
            )
        }
    };
    let reply = envelope::error(status, name, &text);
    match current {
        Some(version) => with_tag(reply, &version.tag()),
        None => reply,
    }
}
