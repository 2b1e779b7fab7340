//! Tokens: how they are made, and the form in which they are kept.
//!
//! The one rule: a token itself is told once, to whom asked for it; what is kept is its SHA-256.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

/// What all begin with, so that one that lies where it should not is found.
const PREFIX: &str = "kansoku_";

/// The SHA-256 of a token.
pub type Hash = [u8; 32];

/// Random text that nobody guesses: 256 bits in base64url.
///
/// # Errors
/// When the system has no randomness to give.
pub fn random() -> Result<String, String> {
    let mut bytes = [0u8; 32];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| "the system gives no random numbers".to_owned())?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// A token that there was not before.
///
/// # Errors
/// When the system has no randomness to give.
pub fn new() -> Result<String, String> {
    Ok(format!("{PREFIX}{}", random()?))
}

/// The form in which it is kept.
#[must_use]
pub fn hash(token: &str) -> Hash {
    let digest = digest(&SHA256, token.as_bytes());
    digest.as_ref().try_into().expect("a digest of 32 bytes")
}

/// The hash as the configuration has it.
#[must_use]
pub fn to_hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads that; `None` when it is none.
#[must_use]
pub fn from_hex(text: &str) -> Option<Hash> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut hash = [0; 32];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_what_sha256sum_says() {
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(to_hex(&hash("abc")), known);
        assert_eq!(from_hex(known), Some(hash("abc")));
        for wrong in ["", "ba78", &known[1..], &known.replace('b', "x")] {
            assert_eq!(from_hex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn no_two_tokens_are_equal() {
        let (a, b) = (new().unwrap(), new().unwrap());
        assert_ne!(a, b);
        assert!(a.starts_with(PREFIX) && a.len() == PREFIX.len() + 43, "{a}");
    }
}
