//! Who may do what: users, tokens and sessions, and the log of what they changed.
//!
//! Off without a configuration: then everybody who reaches the listener may do everything. The one rule: a
//! request is judged once, before its handler ([`Access::admit`]), by the right that its route names
//! ([`principal::Right`]); restrictions to tenants and namespaces travel with it as a
//! [`View`](crate::tenants::View).

pub mod api;
pub mod audit;
pub mod config;
pub mod oidc;
pub mod principal;
pub mod session;
pub mod token;
mod warning;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use hyper::{HeaderMap, Method, StatusCode};
use kansoku_web::{Passwords, WatchedFiles, basic_credentials};
use tokio::sync::Semaphore;

use crate::config_file::ConfigFile;
use crate::http::{Reply, cookie, header};
use crate::settings::Settings;
use crate::{clock, journal};

pub use config::AccessConfig;
pub use principal::{Principal, Right, Role};
pub use session::{Proof, Sessions};
pub use warning::warning;

/// Passwords that wait to be judged, which takes a tenth of a second each; more requests are turned away.
const JUDGED_MAX: usize = 16;
/// What the page sends with each request: a form of another origin cannot.
pub const PAGE_HEADER: &str = "x-requested-with";

/// Where the configuration comes from.
#[derive(Debug)]
enum Source {
    /// A file of its own.
    File(PathBuf),
    /// A section of the configuration file, and whether that may hold what is not acted on.
    Section(PathBuf, bool),
}

/// The configuration, watched.
#[derive(Debug)]
struct Watched {
    source: Source,
    files: WatchedFiles,
    current: Arc<AccessConfig>,
}

/// Access control.
#[derive(Debug)]
pub struct Access {
    /// `None` while it is off. Held for the moment in which the file is looked at.
    watched: Option<Mutex<Watched>>,
    has_tenants: bool,
    pub sessions: Arc<Sessions>,
    passwords: Arc<Passwords>,
    judging: Semaphore,
    pub audit: audit::Audit,
    pub oidc: oidc::Oidc,
    anybody: Arc<Principal>,
}

/// Why somebody is not let in.
#[derive(Debug)]
pub enum Denied {
    /// It is not known who asks.
    Unknown(String),
    /// It may not, whoever it is; who, where that is known.
    Forbidden(Option<Arc<Principal>>, String),
    /// Too many ask at a time.
    Busy,
    /// Nobody can say now.
    Unavailable(String),
}

impl Denied {
    /// Status and message.
    #[must_use]
    pub fn parts(&self) -> (StatusCode, &str) {
        match self {
            Self::Unknown(message) => (StatusCode::UNAUTHORIZED, message),
            Self::Forbidden(_, message) => (StatusCode::FORBIDDEN, message),
            Self::Busy => (
                StatusCode::TOO_MANY_REQUESTS,
                "too many passwords are being checked; try again later",
            ),
            Self::Unavailable(message) => (StatusCode::SERVICE_UNAVAILABLE, message),
        }
    }

    /// What belongs to the answer besides status and message. Only bearers are asked for: for `Basic` a browser
    /// would open a window of its own.
    #[must_use]
    pub fn dress(&self, reply: Reply) -> Reply {
        match self {
            Self::Unknown(_) => reply.with(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"kansoku\""),
            ),
            Self::Busy | Self::Unavailable(_) => reply.retry_after(1),
            Self::Forbidden(..) => reply,
        }
    }
}

impl Watched {
    fn read(&self, has_tenants: bool) -> Result<AccessConfig, String> {
        let config = match &self.source {
            Source::Section(path, accepts_unused) => {
                let config = ConfigFile::read(path, *accepts_unused)?;
                config.access.unwrap_or_default()
            }
            Source::File(path) => {
                let shown = path.display();
                let fail =
                    |e: std::io::Error| format!("failed to read {shown}: {e} (--access.file)");
                let len = std::fs::metadata(path).map_err(fail)?.len();
                if len > config::FILE_MAX_BYTES {
                    return Err(format!(
                        "{shown} has {len} bytes; expected at most {} (--access.file)",
                        config::FILE_MAX_BYTES
                    ));
                }
                let text = std::fs::read_to_string(path).map_err(fail)?;
                AccessConfig::parse(&shown.to_string(), &text).map_err(|e| e.to_string())?
            }
        };
        config.check(has_tenants)?;
        Ok(config)
    }
}

impl Access {
    /// What the settings say.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        let section = settings.config.access.is_some();
        let source = match (&settings.access_path, &settings.config_path) {
            (Some(path), _) if section => {
                return Err(format!(
                    "access is configured in --access.file {} and in the section 'access' of --config.file; remove one",
                    path.display()
                ));
            }
            (Some(path), _) => Some(Source::File(path.clone())),
            (None, Some(path)) if section => {
                Some(Source::Section(path.clone(), settings.prometheus_compat))
            }
            (None, _) => None,
        };
        let watched = source.map(|source| {
            let (Source::File(path) | Source::Section(path, _)) = &source;
            // The stamp first: what changes while it is read is read again.
            let files = WatchedFiles::of([path.clone()]);
            let mut watched = Watched {
                source,
                files,
                current: Arc::default(),
            };
            watched.current = Arc::new(watched.read(settings.tenants)?);
            Ok::<_, String>(watched)
        });
        let watched = watched.transpose()?;
        let audit = match &watched {
            Some(watched) => audit::Audit::new(&watched.current.audit, &settings.storage_path),
            None => audit::Audit::off(),
        };
        Ok(Self {
            watched: watched.map(Mutex::new),
            has_tenants: settings.tenants,
            sessions: Arc::default(),
            passwords: Arc::default(),
            judging: Semaphore::new(JUDGED_MAX),
            audit,
            oidc: oidc::Oidc::new()?,
            anybody: Arc::new(Principal::anybody()),
        })
    }

    /// Whether anybody has to say who they are.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.watched.is_some()
    }

    /// What holds now; nothing while access control is off.
    #[must_use]
    pub fn config(&self) -> Option<Arc<AccessConfig>> {
        let watched = self.watched.as_ref()?;
        let mut watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
        if watched.files.changed() {
            match watched.read(self.has_tenants) {
                Ok(config) => {
                    journal::info("users and tokens were read again");
                    watched.current = Arc::new(config);
                }
                // Told once per change.
                Err(error) => journal::error(&format!(
                    "users and tokens were not taken, all stays as it was: {error}"
                )),
            }
        }
        Some(watched.current.clone())
    }

    /// Who asks, if they have the right.
    ///
    /// # Errors
    /// Why they are not let in.
    pub async fn admit(
        &self,
        headers: &HeaderMap,
        method: &Method,
        right: Right,
    ) -> Result<Arc<Principal>, Denied> {
        if right == Right::Public {
            return Ok(self.anybody.clone());
        }
        let principal = self.who(headers, method).await?;
        match principal.check(right) {
            Ok(()) => Ok(principal),
            Err(message) => Err(Denied::Forbidden(Some(principal), message)),
        }
    }

    /// Who asks.
    ///
    /// # Errors
    /// When that is not told, or not true.
    pub async fn who(
        &self,
        headers: &HeaderMap,
        method: &Method,
    ) -> Result<Arc<Principal>, Denied> {
        let Some(config) = self.config() else {
            return Ok(self.anybody.clone());
        };
        let given = header(headers, AUTHORIZATION);
        let (scheme, rest) = given.split_once(' ').unwrap_or((given, ""));
        if scheme.eq_ignore_ascii_case("bearer") {
            let token = rest.trim();
            let known = self.bearer(&config, token);
            // A token of the file is never looked at by a provider.
            return match known {
                Err(Denied::Unknown(_)) if !config.has_token(token) => {
                    let of_provider = self.oidc.bearer(&config, token).await;
                    of_provider.unwrap_or(known)
                }
                known => known,
            };
        }
        if scheme.eq_ignore_ascii_case("basic") {
            return self.basic(&config, given).await;
        }
        if !given.is_empty() {
            let message = "the header Authorization must begin with Bearer or Basic";
            return Err(Denied::Unknown(message.into()));
        }
        let Some(secret) = session_cookie(headers) else {
            let message = "this needs a user or a token: send the header 'Authorization: Bearer TOKEN', or a user and a password";
            return Err(Denied::Unknown(message.into()));
        };
        if !is_safe(method) && header(headers, PAGE_HEADER) != "kansoku" {
            let message =
                "a request with a session's cookie needs the header 'X-Requested-With: kansoku'";
            return Err(Denied::Forbidden(None, message.into()));
        }
        let hash = token::hash(secret);
        let found = self.sessions.find(&hash, &config, clock::now_ms());
        let found =
            found.ok_or_else(|| Denied::Unknown("the session is over; sign in again".into()))?;
        match found.due {
            None => Ok(found.principal),
            Some(proven) => self.renewed(config, hash, proven).await,
        }
    }

    /// Who has a token of the file.
    ///
    /// # Errors
    /// When nobody has it, or no more.
    pub fn bearer(&self, config: &AccessConfig, token: &str) -> Result<Arc<Principal>, Denied> {
        let wrong = |message: &str| Err(Denied::Unknown(message.into()));
        let Some(known) = config.tokens.get(&token::hash(token)) else {
            return wrong("there is no such token");
        };
        let now_ms = clock::now_ms();
        if known.expires_ms.is_some_and(|expires| expires <= now_ms) {
            return wrong("the token has expired");
        }
        Ok(known.principal.clone())
    }

    /// Who has a password; `given` is the header's text.
    ///
    /// # Errors
    /// When user or password are wrong.
    pub async fn basic(
        &self,
        config: &AccessConfig,
        given: &str,
    ) -> Result<Arc<Principal>, Denied> {
        let users = &config.passwords;
        let is_right = match self.passwords.remembered(users, Some(given)) {
            Some(known) => known,
            None => {
                let Ok(_turn) = self.judging.try_acquire() else {
                    return Err(Denied::Busy);
                };
                let (passwords, users) = (self.passwords.clone(), users.clone());
                let given = given.to_owned();
                let judged =
                    tokio::task::spawn_blocking(move || passwords.is_right(&users, Some(&given)));
                judged.await.unwrap_or(false)
            }
        };
        let name = basic_credentials(given).map(|(name, _)| name);
        let user = name.and_then(|name| config.users.get(&name));
        let user = user.filter(|_| is_right).cloned();
        user.ok_or_else(|| Denied::Unknown("user or password are wrong".into()))
    }
}

/// Whether a method changes nothing.
#[must_use]
pub fn is_safe(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

/// What the page's cookie holds.
#[must_use]
pub fn session_cookie(headers: &HeaderMap) -> Option<&str> {
    cookie(headers, session::COOKIE)
}
