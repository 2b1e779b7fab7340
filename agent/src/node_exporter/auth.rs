//! Passwords of the web configuration: basic authentication against bcrypt hashes.
//!
//! A hash takes a tenth of a second on purpose, so that guessing is slow. What was right or wrong
//! once is remembered, without the password, so that scrapes are not.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{SHA256, digest};

/// Combinations of user, hash and password that are remembered; forgotten all at once.
const MAX_REMEMBERED: usize = 100;
/// Compared with where there is no such user, so that an answer takes as long. Of no password that
/// is used anywhere.
const NOBODY: &str = "$2b$10$qX24G8IKzbUKq2FqEU2tEuJfA02WcKUQqXiya7kaRT.9rbRHzh3Dy";

/// Judges passwords.
#[derive(Default)]
pub(super) struct Passwords {
    /// By the digest of user, hash and password.
    remembered: Mutex<HashMap<[u8; 32], bool>>,
    /// Held while a hash is computed: guessing may use one core, not all.
    computing: Mutex<()>,
}

impl Passwords {
    /// Whether the header `Authorization` names one of the users and the password. Blocks while a
    /// hash is computed.
    pub fn is_right(&self, users: &BTreeMap<String, String>, header: Option<&str>) -> bool {
        let Some((user, password)) = header.and_then(credentials) else {
            return false;
        };
        let hash = users.get(&user);
        let key = [
            user.as_bytes(),
            hash.map_or(NOBODY, String::as_str).as_bytes(),
            &password,
        ];
        let key = digest(
            &SHA256,
            &key.map(|part| digest(&SHA256, part).as_ref().to_vec())
                .concat(),
        );
        let key: [u8; 32] = key.as_ref().try_into().expect("a digest of 32 bytes");
        let known = lock(&self.remembered).get(&key).copied();
        known.unwrap_or_else(|| {
            let is_equal = {
                let _one_at_a_time = lock(&self.computing);
                bcrypt::verify(&password, hash.map_or(NOBODY, String::as_str))
            };
            let is_right = hash.is_some() && is_equal.unwrap_or(false);
            let mut remembered = lock(&self.remembered);
            if remembered.len() >= MAX_REMEMBERED {
                remembered.clear();
            }
            remembered.insert(key, is_right);
            is_right
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// User and password of `Basic BASE64`.
fn credentials(header: &str) -> Option<(String, Vec<u8>)> {
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
