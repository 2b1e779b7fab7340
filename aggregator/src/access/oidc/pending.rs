//! A sign-in that is under way: what must be the same when the browser comes back from the provider.
//!
//! It lies sealed in a cookie of that browser, so that strangers who begin sign-ins cost no memory. The one rule:
//! who has not the cookie cannot end the sign-in, and nobody but this process can make one.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::{Value, json};

/// How long somebody may take at the provider.
pub const TIME_MS: i64 = 15 * 60 * 1000;
/// A longer place on the page is forgotten: cookies end at 4 KiB.
const BACK_MAX_BYTES: usize = 1500;
const SEALED_MAX_BYTES: usize = 4096;

/// What must be the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    pub provider: String,
    pub state: String,
    pub nonce: String,
    /// Of PKCE.
    pub verifier: String,
    pub redirect_url: String,
    /// The place on the page, a fragment.
    pub back: String,
    pub expires_ms: i64,
}

impl Pending {
    fn to_json(&self) -> String {
        json!([
            self.provider,
            self.state,
            self.nonce,
            self.verifier,
            self.redirect_url,
            self.back,
            self.expires_ms
        ])
        .to_string()
    }

    fn of_json(bytes: &[u8]) -> Option<Self> {
        let json: Value = serde_json::from_slice(bytes).ok()?;
        let text = |at: usize| json[at].as_str().map(str::to_owned);
        Some(Self {
            provider: text(0)?,
            state: text(1)?,
            nonce: text(2)?,
            verifier: text(3)?,
            redirect_url: text(4)?,
            back: text(5)?,
            expires_ms: json[6].as_i64()?,
        })
    }
}

/// A fragment that can stand in a header as it is; anything else becomes none.
#[must_use]
pub fn back(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '<' | '>' | '\\' | '#');
    let is_good = text.len() <= BACK_MAX_BYTES && text.chars().all(is_plain);
    if is_good { text } else { "" }.to_owned()
}

/// The key of this process.
pub struct Seal(LessSafeKey);

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal")
    }
}

fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| "the system gives no random numbers".to_owned())?;
    Ok(bytes)
}

impl Seal {
    /// A key that there was not before.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn new() -> Result<Self, String> {
        let key = UnboundKey::new(&AES_256_GCM, &random::<32>()?).expect("a key of 32 bytes");
        Ok(Self(LessSafeKey::new(key)))
    }

    /// What belongs into the cookie.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn close(&self, pending: &Pending) -> Result<String, String> {
        let nonce = random::<NONCE_LEN>()?;
        let mut sealed = pending.to_json().into_bytes();
        let nonce_of = Nonce::assume_unique_for_key(nonce);
        let done = self
            .0
            .seal_in_place_append_tag(nonce_of, Aad::empty(), &mut sealed);
        done.map_err(|_| "a sign-in is too long to be sealed".to_owned())?;
        Ok(BASE64_URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat()))
    }

    /// What was in it; `None` when it was not sealed here.
    #[must_use]
    pub fn open(&self, text: &str) -> Option<Pending> {
        if text.len() > SEALED_MAX_BYTES {
            return None;
        }
        let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let nonce = bytes.get(..NONCE_LEN)?.try_into().ok()?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = &mut bytes[NONCE_LEN..];
        let plain = self.0.open_in_place(nonce, Aad::empty(), sealed).ok()?;
        Pending::of_json(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sealed_here_opens() {
        let pending = Pending {
            provider: "p".into(),
            state: "s".into(),
            nonce: "n".into(),
            verifier: "v".into(),
            redirect_url: "https://k/cb".into(),
            back: "/logs?q=x".into(),
            expires_ms: 7,
        };
        let (here, there) = (Seal::new().unwrap(), Seal::new().unwrap());
        let sealed = here.close(&pending).unwrap();
        assert_eq!(here.open(&sealed), Some(pending));
        assert_eq!(there.open(&sealed), None);
        let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(&sealed).unwrap();
        bytes[NONCE_LEN + 3] ^= 1;
        for wrong in ["", "x", "AAAA", &sealed[..20], &"A".repeat(5000)] {
            assert_eq!(here.open(wrong), None, "{wrong}");
        }
        assert_eq!(here.open(&BASE64_URL_SAFE_NO_PAD.encode(bytes)), None);
    }

    #[test]
    fn a_place_on_the_page_is_a_fragment_and_nothing_else() {
        for (text, expected) in [
            ("/logs?q=%7B%7D&range=1h", "/logs?q=%7B%7D&range=1h"),
            ("", ""),
            ("a\r\nSet-Cookie: x=y", ""),
            ("a b", ""),
            ("ä", ""),
            ("#x", ""),
            (&"x".repeat(BACK_MAX_BYTES + 1), ""),
        ] {
            assert_eq!(back(text), expected, "{text}");
        }
    }
}
