//! JSON Web Tokens (RFC 7519) signed with RS256, and the keys (RFC 7517) that they are checked with.
//!
//! Bytes in, a verdict out; where keys come from and when is not known here.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// A token is a few kilobytes at the most.
const MAX_TOKEN_BYTES: usize = 16 << 10;
/// More keys than any issuer has.
const MAX_KEYS: usize = 256;
/// How far the clock of the issuer may be ahead.
const LEEWAY_S: f64 = 60.0;

/// A public RSA key.
pub type Key = RsaPublicKeyComponents<Vec<u8>>;

/// What a token has to say.
pub struct Wanted {
    pub issuer: String,
    /// One of the token's audiences has to be this.
    pub audience: Option<String>,
    /// The token's client has to be one of these; empty is any.
    pub clients: Vec<String>,
}

/// A token whose signature has not been checked.
pub struct Token<'a> {
    /// Which key it says to be signed with.
    pub key_id: String,
    signed: &'a [u8],
    signature: Vec<u8>,
    claims: Claims,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that a reader has to understand; this one knows none.
    crit: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims {
    exp: Option<f64>,
    nbf: Option<f64>,
    iss: Option<String>,
    aud: Option<Audiences>,
    /// The client under the names that issuers give it, the first that is there counts.
    azp: Option<String>,
    client_id: Option<String>,
    appid: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Many(Vec<String>),
}

fn decoded(part: &str) -> Result<Vec<u8>, &'static str> {
    let bytes = URL_SAFE_NO_PAD.decode(part);
    bytes.map_err(|_| "a part of the token is no base64url")
}

impl<'a> Token<'a> {
    /// Reads a token in its compact form.
    ///
    /// # Errors
    /// When it is none, or signed in a way that is not supported.
    pub fn read(text: &'a str) -> Result<Self, &'static str> {
        if text.len() > MAX_TOKEN_BYTES {
            return Err("the token is longer than 16 KiB");
        }
        let parts: Vec<&str> = text.split('.').collect();
        let [header, claims, signature] = parts[..] else {
            return Err("the token is no JWT: it needs three parts");
        };
        let signed = &text.as_bytes()[..header.len() + 1 + claims.len()];
        let header: Header = serde_json::from_slice(&decoded(header)?)
            .map_err(|_| "the token's header cannot be read")?;
        if header.alg != "RS256" || header.crit.is_some() {
            return Err("the token is not signed with RS256");
        }
        Ok(Self {
            key_id: header.kid.ok_or("the token names no key ('kid')")?,
            signed,
            signature: decoded(signature)?,
            claims: serde_json::from_slice(&decoded(claims)?)
                .map_err(|_| "the token's claims cannot be read")?,
        })
    }

    /// Checks signature and claims at a time in seconds since 1970.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, key: &Key, wanted: &Wanted, now_s: f64) -> Result<(), &'static str> {
        let claims = &self.claims;
        key.verify(&RSA_PKCS1_2048_8192_SHA256, self.signed, &self.signature)
            .map_err(|_| "the token's signature is wrong")?;
        if claims.exp.ok_or("the token has no end ('exp')")? <= now_s {
            return Err("the token has expired");
        }
        if claims.nbf.is_some_and(|from| from > now_s + LEEWAY_S) {
            return Err("the token is not valid yet");
        }
        if claims.iss.as_ref() != Some(&wanted.issuer) {
            return Err("the token is of another issuer");
        }
        if let Some(audience) = &wanted.audience {
            let is_meant = match &claims.aud {
                None => false,
                Some(Audiences::One(one)) => one == audience,
                Some(Audiences::Many(many)) => many.contains(audience),
            };
            if !is_meant {
                return Err("the token is for another audience");
            }
        }
        let client = claims.azp.as_ref().or(claims.client_id.as_ref());
        let client = client.or(claims.appid.as_ref());
        if !wanted.clients.is_empty() && !client.is_some_and(|c| wanted.clients.contains(c)) {
            return Err("the token is of a client that is not allowed");
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<serde_json::Value>,
}

/// The RSA keys of a JSON Web Key Set by their ids; keys of other kinds are left out.
///
/// # Errors
/// When it is no key set, or holds no key that can be used.
pub fn read_keys(json: &[u8]) -> Result<HashMap<String, Key>, String> {
    let set: KeySet =
        serde_json::from_slice(json).map_err(|e| format!("the answer is no key set: {e}"))?;
    let keys = set.keys.iter().filter_map(|key| {
        let text = |name: &str| key[name].as_str();
        let is_for_signatures = text("use").is_none_or(|u| u == "sig");
        if text("kty") != Some("RSA") || !is_for_signatures {
            return None;
        }
        let number = |name: &str| decoded(text(name)?).ok().filter(|n| !n.is_empty());
        let (n, e) = (number("n")?, number("e")?);
        Some((text("kid")?.to_owned(), Key { n, e }))
    });
    let keys: HashMap<String, Key> = keys.take(MAX_KEYS).collect();
    if keys.is_empty() {
        return Err("the key set holds no RSA key for signatures".to_owned());
    }
    Ok(keys)
}

#[cfg(test)]
pub(super) mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
    use rustls_pki_types::PrivateKeyDer;
    use rustls_pki_types::pem::PemObject;

    use super::*;

    fn pair() -> RsaKeyPair {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/tls/jwt.key");
        let key = PrivateKeyDer::from_pem_file(path).expect("a key");
        RsaKeyPair::from_pkcs8(key.secret_der()).expect("an RSA key")
    }

    /// The set of the one key of the tests, `k`.
    pub(in crate::inputs::net) fn key_set() -> String {
        let public = pair().public_key().clone();
        let key = Key::from(&public);
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        format!(
            r#"{{"keys":[{{"kty":"EC","kid":"other"}},{{"kty":"RSA","use":"sig","kid":"k","n":"{}","e":"{}"}}]}}"#,
            encode(&key.n),
            encode(&key.e)
        )
    }

    /// A token with these claims.
    pub(in crate::inputs::net) fn signed(header: &str, claims: &str) -> String {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let text = format!("{}.{}", encode(header), encode(claims));
        let key = pair();
        let mut signature = vec![0; key.public().modulus_len()];
        let rng = SystemRandom::new();
        key.sign(&RSA_PKCS1_SHA256, &rng, text.as_bytes(), &mut signature)
            .expect("signed");
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    const HEADER: &str = r#"{"alg":"RS256","kid":"k","typ":"JWT"}"#;

    fn verdict(header: &str, claims: &str) -> Result<(), &'static str> {
        let keys = read_keys(key_set().as_bytes()).expect("keys");
        let wanted = Wanted {
            issuer: "i".into(),
            audience: Some("a".into()),
            clients: vec!["c".into(), "d".into()],
        };
        let token = signed(header, claims);
        let token = Token::read(&token)?;
        token.check(&keys[&token.key_id], &wanted, 1000.0)
    }

    #[test]
    fn claims_are_held_to_what_is_wanted() {
        for (claims, expected) in [
            (r#"{"exp":1001,"iss":"i","aud":"a","azp":"c"}"#, ""),
            (
                r#"{"exp":1e9,"nbf":1050,"iss":"i","aud":["x","a"],"client_id":"d"}"#,
                "",
            ),
            (r#"{"exp":1001.5,"iss":"i","aud":"a","appid":"d"}"#, ""),
            (r#"{"exp":1000,"iss":"i","aud":"a","azp":"c"}"#, "expired"),
            (
                r#"{"exp":1001,"nbf":1061,"iss":"i","aud":"a","azp":"c"}"#,
                "not valid yet",
            ),
            (r#"{"iss":"i","aud":"a","azp":"c"}"#, "no end"),
            (r#"{"exp":1001,"aud":"a","azp":"c"}"#, "another issuer"),
            (
                r#"{"exp":1001,"iss":"I","aud":"a","azp":"c"}"#,
                "another issuer",
            ),
            (r#"{"exp":1001,"iss":"i","azp":"c"}"#, "another audience"),
            (
                r#"{"exp":1001,"iss":"i","aud":["b"],"azp":"c"}"#,
                "another audience",
            ),
            (r#"{"exp":1001,"iss":"i","aud":"a"}"#, "not allowed"),
            (
                r#"{"exp":1001,"iss":"i","aud":"a","azp":"x","client_id":"c"}"#,
                "not allowed",
            ),
            (
                r#"{"exp":"1001","iss":"i","aud":"a","azp":"c"}"#,
                "cannot be read",
            ),
            ("[]", "cannot be read"),
        ] {
            match verdict(HEADER, claims) {
                Ok(()) => assert_eq!(expected, "", "{claims}"),
                Err(why) => assert!(
                    !expected.is_empty() && why.contains(expected),
                    "{claims} {why}"
                ),
            }
        }
    }

    #[test]
    fn only_what_the_key_has_signed_counts() {
        let good = r#"{"exp":1001,"iss":"i","aud":"a","azp":"c"}"#;
        for (header, expected) in [
            (r#"{"alg":"none","kid":"k"}"#, "RS256"),
            (r#"{"alg":"HS256","kid":"k"}"#, "RS256"),
            (r#"{"alg":"RS256","kid":"k","crit":["b64"]}"#, "RS256"),
            (r#"{"alg":"RS256"}"#, "names no key"),
            ("{}", "header"),
        ] {
            assert!(
                verdict(header, good).unwrap_err().contains(expected),
                "{header}"
            );
        }
        let keys = read_keys(key_set().as_bytes()).expect("keys");
        let wanted = Wanted {
            issuer: "i".into(),
            audience: None,
            clients: Vec::new(),
        };
        let token = signed(HEADER, good);
        let (text, signature) = token.rsplit_once('.').expect("parts");
        let (header, _) = text.split_once('.').expect("parts");
        let other = URL_SAFE_NO_PAD.encode(good.replace("1001", "9999"));
        let check = |text: &str| {
            let token = Token::read(text)?;
            token.check(&keys["k"], &wanted, 1000.0)
        };
        assert_eq!(check(&token), Ok(()));
        for bad in [
            format!("{header}.{other}.{signature}"),
            format!("{text}."),
            format!("{text}.{}", &signature[4..]),
        ] {
            assert_eq!(check(&bad), Err("the token's signature is wrong"));
        }
        for bad in ["", "a.b", "a.b.c.d", "!.!.!", &"x".repeat(20_000)] {
            assert!(check(bad).is_err(), "{bad}");
        }
        for bad in [
            "",
            "{}",
            r#"{"keys":[]}"#,
            r#"{"keys":[{"kty":"RSA","kid":"k","n":"","e":"AQAB"}]}"#,
        ] {
            assert!(read_keys(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
