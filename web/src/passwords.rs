//! Passwords: basic authentication against bcrypt hashes.
//!
//! A hash takes a tenth of a second on purpose, so that guessing is slow. What was right or wrong
//! once is remembered, without the password, so that scrapes are not.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{SHA256, digest};

/// Combinations of user, hash and password that are remembered, right and wrong ones apart, so that guessing
/// pushes nobody out; forgotten all at once.
const MAX_REMEMBERED: usize = 1000;
/// Compared with where there is no such user, so that an answer takes as long. Of no password that
/// is used anywhere.
const NOBODY: &str = "$2b$10$qX24G8IKzbUKq2FqEU2tEuJfA02WcKUQqXiya7kaRT.9rbRHzh3Dy";

/// Judges passwords.
#[derive(Debug, Default)]
pub struct Passwords {
    /// Digests of user, hash and password: those that are right, and those that are wrong.
    right: Mutex<HashSet<[u8; 32]>>,
    wrong: Mutex<HashSet<[u8; 32]>>,
    /// Held while a hash is computed: guessing may use one core, not all.
    computing: Mutex<()>,
}

/// What a header says, to be judged.
struct Given<'a> {
    password: Vec<u8>,
    /// Of the user, if there is one.
    hash: Option<&'a str>,
    key: [u8; 32],
}

impl<'a> Given<'a> {
    fn of(users: &'a BTreeMap<String, String>, header: Option<&str>) -> Option<Self> {
        let (user, password) = header.and_then(basic_credentials)?;
        let hash = users.get(&user).map(String::as_str);
        let parts = [
            user.as_bytes(),
            hash.unwrap_or(NOBODY).as_bytes(),
            &password,
        ];
        let parts = parts.map(|part| digest(&SHA256, part).as_ref().to_vec());
        let key = digest(&SHA256, &parts.concat());
        Some(Self {
            hash,
            key: key.as_ref().try_into().expect("a digest of 32 bytes"),
            password,
        })
    }
}

impl Passwords {
    /// Whether the header `Authorization` names one of the users and the password. Blocks while a
    /// hash is computed.
    pub fn is_right(&self, users: &BTreeMap<String, String>, header: Option<&str>) -> bool {
        let Some(given) = Given::of(users, header) else {
            return false;
        };
        if let Some(known) = self.recall(&given) {
            return known;
        }
        let is_equal = {
            let _one_at_a_time = lock(&self.computing);
            bcrypt::verify(&given.password, given.hash.unwrap_or(NOBODY))
        };
        let is_right = given.hash.is_some() && is_equal.unwrap_or(false);
        let remembered = if is_right { &self.right } else { &self.wrong };
        let mut remembered = lock(remembered);
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(given.key);
        is_right
    }

    /// The same where no hash has to be computed for it; `None` where one has.
    pub fn remembered(
        &self,
        users: &BTreeMap<String, String>,
        header: Option<&str>,
    ) -> Option<bool> {
        match Given::of(users, header) {
            None => Some(false),
            Some(given) => self.recall(&given),
        }
    }

    fn recall(&self, given: &Given<'_>) -> Option<bool> {
        if lock(&self.right).contains(&given.key) {
            return Some(true);
        }
        lock(&self.wrong).contains(&given.key).then_some(false)
    }
}

/// Whether a text is a bcrypt hash.
///
/// # Errors
/// Why it is none.
pub fn check_password_hash(hash: &str) -> Result<(), bcrypt::BcryptError> {
    hash.parse::<bcrypt::HashParts>().map(drop)
}

/// The bcrypt hash of a password, at the usual cost.
///
/// # Errors
/// When the password is too long, or the system has no randomness to give.
pub fn hash_password(password: &str) -> Result<String, bcrypt::BcryptError> {
    bcrypt::non_truncating_hash(password, bcrypt::DEFAULT_COST)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// User and password of `Basic BASE64`.
#[must_use]
pub fn basic_credentials(header: &str) -> Option<(String, Vec<u8>)> {
    let (scheme, rest) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let bytes = BASE64_STANDARD.decode(rest.trim()).ok()?;
    let colon = memchr::memchr(b':', &bytes)?;
    let user = String::from_utf8(bytes[..colon].to_vec()).ok()?;
    Some((user, bytes[colon + 1..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_of_the_right_user() {
        // At a cost that a test can wait for.
        let hash = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";
        let users = BTreeMap::from([("alice".to_owned(), hash.to_owned())]);
        let passwords = Passwords::default();
        let header = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
        // Twice: the second time from memory.
        for _ in 0..2 {
            for (credentials, expected) in [
                (Some(header("alice:secret")), true),
                (Some(header("alice:wrong")), false),
                (Some(header("alice:")), false),
                (Some(header("alice")), false),
                (Some(header("bob:secret")), false),
                (Some("Bearer x".to_owned()), false),
                (Some("Basic ???".to_owned()), false),
                (None, false),
            ] {
                let is_right = passwords.is_right(&users, credentials.as_deref());
                assert_eq!(is_right, expected, "{credentials:?}");
            }
        }
    }
}
