//! Who asks: a token, or a user with a password. What is given first counts: flags, the environment, the
//! context. Neither stands in a list of processes when it comes from a file or the environment.

use std::io::Read;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;

use crate::args::Global;
use crate::config::Context;
use crate::error::{Error, Result};

/// A file of a token or password larger than this is none.
const SECRET_MAX: u64 = 64 << 10;

/// What the header `Authorization` says.
#[derive(Debug, PartialEq, Eq)]
pub enum Login {
    Bearer(String),
    Basic { user: String, password: String },
}

/// Lays the login of flags and environment over that of the context: as a whole, so that no password is
/// sent for a user whom it does not belong to.
pub(crate) fn lay_over(context: &mut Context, global: &Global) {
    if global.token.is_some() || global.username.is_some() {
        context.token_file = None;
        context.token.clone_from(&global.token);
        if context.username != global.username {
            (context.password, context.password_file) = (None, None);
        }
        context.username.clone_from(&global.username);
    }
    if global.password.is_some() {
        context.password.clone_from(&global.password);
        context.password_file = None;
    }
}

/// The login of a context.
///
/// # Errors
/// When it is half a login, or a file of it cannot be read.
pub(crate) fn of(context: &Context) -> Result<Option<Login>> {
    let token = secret(
        context.token.as_ref(),
        context.token_file.as_deref(),
        "token",
    )?;
    let Some(user) = &context.username else {
        return Ok(token.map(Login::Bearer));
    };
    if token.is_some() {
        return Err(Error::failed(
            "a token and a user are given; remove one of them from the context",
        ));
    }
    if user.contains(':') {
        return Err(Error::failed(format!(
            "\"{user}\" cannot be the name of a user: it has a colon"
        )));
    }
    let file = context.password_file.as_deref();
    let password = secret(context.password.as_ref(), file, "password")?;
    let Some(password) = password else {
        return Err(Error::failed(format!(
            "user \"{user}\" has no password: give KANSOKU_PASSWORD, --password, or 'password_file' of the context"
        )));
    };
    let user = user.clone();
    Ok(Some(Login::Basic { user, password }))
}

fn secret(text: Option<&String>, path: Option<&Path>, what: &str) -> Result<Option<String>> {
    let Some(path) = path else {
        return Ok(text.cloned());
    };
    let bad =
        |why: String| Error::failed(format!("cannot read the {what}: {}: {why}", path.display()));
    let file = std::fs::File::open(path).map_err(|e| bad(e.to_string()))?;
    let mut text = String::new();
    let read = file.take(SECRET_MAX).read_to_string(&mut text);
    read.map_err(|e| bad(e.to_string()))?;
    // A password may begin with a space; the end of the line is the editor's.
    let text = match what {
        "token" => text.trim(),
        _ => text.trim_end_matches(['\r', '\n']),
    };
    if text.is_empty() {
        return Err(bad("it is empty".into()));
    }
    Ok(Some(text.to_owned()))
}

impl Login {
    /// The value of the header.
    ///
    /// # Errors
    /// When a token holds what no header may have.
    pub(crate) fn header(&self) -> Result<HeaderValue> {
        let text = match self {
            Self::Bearer(token) => format!("Bearer {token}"),
            Self::Basic { user, password } => {
                format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
            }
        };
        let mut value = HeaderValue::from_str(&text)
            .map_err(|_| Error::failed("the token holds characters that no header may have"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(fields: &[(&str, &str)]) -> Context {
        let mut context = Context::default();
        for (name, value) in fields {
            let value = Some((*value).to_owned());
            match *name {
                "token" => context.token = value,
                "token_file" => context.token_file = value.map(Into::into),
                "username" => context.username = value,
                "password" => context.password = value,
                _ => context.password_file = value.map(Into::into),
            }
        }
        context
    }

    #[test]
    fn headers() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, " a b\n").unwrap();
        let path = file.to_str().unwrap();
        for (fields, expected) in [
            (&[][..], Ok(None)),
            (&[("token", "t")], Ok(Some("Bearer t"))),
            (&[("token_file", path)], Ok(Some("Bearer a b"))),
            (
                &[("username", "Aladdin"), ("password", "open sesame")],
                Ok(Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")),
            ),
            (
                &[("username", "é"), ("password_file", path)],
                Ok(Some("Basic w6k6IGEgYg==")),
            ),
            (
                &[("username", "a")],
                Err("user \"a\" has no password: give KANSOKU_PASSWORD"),
            ),
            (
                &[("username", "a:b"), ("password", "c")],
                Err("it has a colon"),
            ),
            (
                &[("username", "a"), ("token", "c")],
                Err("a token and a user"),
            ),
            (
                &[("token_file", "/nonexistent")],
                Err("cannot read the token: /nonexistent"),
            ),
            (&[("token", "a\nb")], Err("no header may have")),
        ] {
            let login = of(&context(fields));
            let got = login.and_then(|login| login.map(|l| l.header()).transpose());
            match (got, expected) {
                (Ok(got), Ok(expected)) => {
                    let got = got.as_ref().map(|value| value.to_str().unwrap());
                    assert_eq!(got, expected, "{fields:?}");
                }
                (Err(got), Err(expected)) => assert!(got.to_string().contains(expected), "{got}"),
                (got, _) => panic!("{fields:?}: {got:?}"),
            }
        }
    }

    #[test]
    fn flags_come_before_the_context() {
        let kept = [("username", "a"), ("password", "1")];
        for (flags, fields, expected) in [
            (["t", "", ""], &kept[..], Some(Login::Bearer("t".into()))),
            (["", "b", "2"], &kept, Some(basic("b", "2"))),
            (["", "a", ""], &kept, Some(basic("a", "1"))),
            (["", "", "3"], &kept, Some(basic("a", "3"))),
            (["", "b", "2"], &[("token", "t")], Some(basic("b", "2"))),
            (
                ["", "", ""],
                &[("token", "t")],
                Some(Login::Bearer("t".into())),
            ),
            // The password of another user is not sent.
            (["", "b", ""], &kept, None),
        ] {
            let [token, username, password] =
                flags.map(|text| Some(text.to_owned()).filter(|t| !t.is_empty()));
            let global = Global {
                token,
                username,
                password,
                ..global()
            };
            let mut context = context(fields);
            lay_over(&mut context, &global);
            assert_eq!(of(&context).ok().flatten(), expected, "{flags:?}");
        }
    }

    fn basic(user: &str, password: &str) -> Login {
        let (user, password) = (user.to_owned(), password.to_owned());
        Login::Basic { user, password }
    }

    fn global() -> Global {
        use clap::Parser;
        let given = crate::args::Cli::try_parse_from(["kansoku", "agents"]);
        given.expect("a command line").global
    }
}
