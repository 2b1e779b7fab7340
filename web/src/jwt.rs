//! JSON Web Tokens (RFC 7519) in their signed, compact form, and the keys (RFC 7517) that they are checked with.
//!
//! Bytes in, a verdict out; where keys come from and when is not known here. The one rule: claims are to be had
//! only of a token whose signature was found right ([`Token::verify`]), and only signatures that need the
//! issuer's private key are known: neither `none` nor one by a shared secret can be named.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

/// A token is a few kilobytes at the most.
const TOKEN_MAX_BYTES: usize = 16 << 10;
/// More keys than any issuer has.
const KEYS_MAX: usize = 256;

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
}

impl Algorithm {
    /// All, with their names.
    const NAMED: [(&str, Self); 8] = [
        ("RS256", Self::Rs256),
        ("RS384", Self::Rs384),
        ("RS512", Self::Rs512),
        ("PS256", Self::Ps256),
        ("PS384", Self::Ps384),
        ("PS512", Self::Ps512),
        ("ES256", Self::Es256),
        ("ES384", Self::Es384),
    ];
    /// All.
    pub const ALL: [Self; 8] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
    ];

    fn of(name: &str) -> Option<Self> {
        let mut all = Self::NAMED.iter();
        all.find(|(known, _)| *known == name).map(|(_, a)| *a)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMED[self as usize].0
    }

    /// What an RSA key does; `None` where it takes another kind of key.
    fn rsa(self) -> Option<&'static RsaParameters> {
        match self {
            Self::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
            Self::Es256 | Self::Es384 => None,
        }
    }

    /// The hash in it, which OpenID Connect's `at_hash` uses as well.
    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Rs256 | Self::Ps256 | Self::Es256 => &digest::SHA256,
            Self::Rs384 | Self::Ps384 | Self::Es384 => &digest::SHA384,
            Self::Rs512 | Self::Ps512 => &digest::SHA512,
        }
    }
}

/// What a key is made of.
#[derive(Debug, Clone)]
enum Material {
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
    /// Points on a curve, each good for one algorithm.
    Curve(Algorithm, Vec<u8>),
}

/// A public key.
#[derive(Debug, Clone)]
pub struct Key {
    id: Option<String>,
    /// The only algorithm that it is for, where it says so.
    algorithm: Option<String>,
    material: Material,
}

impl Key {
    /// Reads a member of a key set; `None` when it is for something else.
    fn of(json: &Value) -> Option<Self> {
        let text = |name: &str| json[name].as_str();
        let is_for_signatures = text("use").is_none_or(|u| u == "sig");
        if !is_for_signatures {
            return None;
        }
        let number = |name: &str| decoded(text(name)?).ok().filter(|n| !n.is_empty());
        let material = match (text("kty")?, text("crv")) {
            ("RSA", _) => Material::Rsa(RsaPublicKeyComponents {
                n: number("n")?,
                e: number("e")?,
            }),
            ("EC", Some("P-256")) => Material::Curve(Algorithm::Es256, point(32, json)?),
            ("EC", Some("P-384")) => Material::Curve(Algorithm::Es384, point(48, json)?),
            _ => return None,
        };
        Some(Self {
            id: text("kid").map(str::to_owned),
            algorithm: text("alg").map(str::to_owned),
            material,
        })
    }

    /// Whether it checks what is signed so.
    fn fits(&self, algorithm: Algorithm) -> bool {
        let is_kind = match &self.material {
            Material::Rsa(_) => algorithm.rsa().is_some(),
            Material::Curve(only, _) => *only == algorithm,
        };
        let own = self.algorithm.as_deref();
        is_kind && own.is_none_or(|name| name == algorithm.name())
    }

    fn verifies(&self, algorithm: Algorithm, signed: &[u8], given: &[u8]) -> bool {
        match (&self.material, algorithm.rsa()) {
            (Material::Rsa(key), Some(parameters)) => key.verify(parameters, signed, given).is_ok(),
            (Material::Curve(Algorithm::Es256, point), None) => {
                let key = UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point);
                key.verify(signed, given).is_ok()
            }
            (Material::Curve(Algorithm::Es384, point), None) => {
                let key = UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point);
                key.verify(signed, given).is_ok()
            }
            (Material::Rsa(_) | Material::Curve(..), _) => false,
        }
    }
}

/// A point in the form that is not compressed: a four and two coordinates.
fn point(len: usize, json: &Value) -> Option<Vec<u8>> {
    let mut point = vec![4];
    for name in ["x", "y"] {
        let coordinate = decoded(json[name].as_str()?).ok()?;
        if coordinate.len() != len {
            return None;
        }
        point.extend(coordinate);
    }
    Some(point)
}

/// The keys of an issuer.
#[derive(Debug, Clone, Default)]
pub struct KeySet(Vec<Key>);

#[derive(Deserialize)]
struct KeySetJson {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a JSON Web Key Set; keys of unknown kinds are left out.
    ///
    /// # Errors
    /// When it is none, or holds no key that can be used.
    pub fn read(json: &[u8]) -> Result<Self, String> {
        let set: KeySetJson =
            serde_json::from_slice(json).map_err(|e| format!("the answer is no key set: {e}"))?;
        let keys = set.keys.iter().filter_map(Key::of);
        let keys: Vec<Key> = keys.take(KEYS_MAX).collect();
        if keys.is_empty() {
            return Err(
                "the key set holds no key for signatures of the kinds RSA, P-256 or P-384".into(),
            );
        }
        Ok(Self(keys))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.0.iter()
    }

    /// The key that a token says to be signed with; without a name the only one that fits.
    #[must_use]
    pub fn find(&self, token: &Token<'_>) -> Option<&Key> {
        let mut fitting = self.0.iter().filter(|key| key.fits(token.algorithm));
        match &token.key_id {
            Some(id) => fitting.find(|key| key.id.as_ref() == Some(id)),
            None => fitting.next().filter(|_| fitting.next().is_none()),
        }
    }
}

/// A token whose signature has not been checked.
#[derive(Debug)]
pub struct Token<'a> {
    /// Which key it says to be signed with.
    pub key_id: Option<String>,
    /// What it says to be (`typ`), in lower case and without `application/`.
    pub kind: Option<String>,
    algorithm: Algorithm,
    signed: &'a [u8],
    signature: Vec<u8>,
    claims: Claims,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    /// Extensions that a reader has to understand; this one knows none.
    crit: Option<IgnoredAny>,
}

/// What a token whose signature is right says.
#[derive(Debug, Clone)]
pub struct Claims {
    registered: Registered,
    all: Map<String, Value>,
    algorithm: Algorithm,
}

#[derive(Debug, Clone, Deserialize)]
struct Registered {
    exp: Option<f64>,
    nbf: Option<f64>,
    iat: Option<f64>,
    iss: Option<String>,
    aud: Option<Audiences>,
    /// The client under the names that issuers give it, the first that is there counts.
    azp: Option<String>,
    client_id: Option<String>,
    appid: Option<String>,
    at_hash: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Many(Vec<String>),
}

/// What a token has to say.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    pub issuer: String,
    /// One of the token's audiences has to be one of these; empty is any.
    pub audiences: Vec<String>,
    /// The token's client has to be one of these; empty is any.
    pub clients: Vec<String>,
    /// How far the clock of the issuer may be ahead, in seconds.
    pub leeway_s: f64,
    /// How long after its end a token is still good, in seconds.
    pub grace_s: f64,
    /// It need not have an end (`exp`).
    pub may_be_endless: bool,
}

fn decoded(part: &str) -> Result<Vec<u8>, &'static str> {
    let bytes = URL_SAFE_NO_PAD.decode(part);
    bytes.map_err(|_| "a part of the token is no base64url")
}

impl<'a> Token<'a> {
    /// Reads a token in its compact form, signed in one of the ways that are `accepted`.
    ///
    /// # Errors
    /// When it is none, or signed in another way.
    pub fn read(text: &'a str, accepted: &[Algorithm]) -> Result<Self, &'static str> {
        if text.len() > TOKEN_MAX_BYTES {
            return Err("the token is longer than 16 KiB");
        }
        let parts: Vec<&str> = text.split('.').collect();
        let [header, claims, signature] = parts[..] else {
            return Err("the token is no JWT: it needs three parts");
        };
        let signed = &text.as_bytes()[..header.len() + 1 + claims.len()];
        let header: Header = serde_json::from_slice(&decoded(header)?)
            .map_err(|_| "the token's header cannot be read")?;
        let algorithm = Algorithm::of(&header.alg).filter(|a| accepted.contains(a));
        let algorithm = algorithm.ok_or("the token is not signed in a way that is accepted")?;
        if header.crit.is_some() {
            return Err("the token needs extensions ('crit') that are not known");
        }
        let claims = decoded(claims)?;
        // First by their types, which also finds those that are there twice.
        let unreadable = |_| "the token's claims cannot be read";
        let registered = serde_json::from_slice(&claims).map_err(unreadable)?;
        let all = serde_json::from_slice(&claims).map_err(unreadable)?;
        let kind = header.typ.map(|typ| typ.to_ascii_lowercase());
        Ok(Self {
            key_id: header.kid,
            kind: kind.map(|typ| typ.trim_start_matches("application/").to_owned()),
            algorithm,
            signed,
            signature: decoded(signature)?,
            claims: Claims {
                registered,
                all,
                algorithm,
            },
        })
    }

    /// Who says to have issued it: enough to choose whose keys to check it with, and for nothing else.
    #[must_use]
    pub fn claimed_issuer(&self) -> Option<&str> {
        self.claims.registered.iss.as_deref()
    }

    /// What it says, if the key has signed it.
    ///
    /// # Errors
    /// When it has not.
    pub fn verify(self, key: &Key) -> Result<Claims, &'static str> {
        let is_right =
            key.fits(self.algorithm) && key.verifies(self.algorithm, self.signed, &self.signature);
        is_right
            .then_some(self.claims)
            .ok_or("the token's signature is wrong")
    }
}

impl Claims {
    /// Checks them at a time in seconds since 1970.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, wanted: &Wanted, now_s: f64) -> Result<(), &'static str> {
        let claims = &self.registered;
        match claims.exp {
            Some(exp) if exp + wanted.grace_s <= now_s => return Err("the token has expired"),
            None if !wanted.may_be_endless => return Err("the token has no end ('exp')"),
            Some(_) | None => {}
        }
        if claims
            .nbf
            .is_some_and(|from| from > now_s + wanted.leeway_s)
        {
            return Err("the token is not valid yet");
        }
        if claims.iat.is_some_and(|at| at > now_s + wanted.leeway_s) {
            return Err("the token was issued in the future");
        }
        if claims.iss.as_ref() != Some(&wanted.issuer) {
            return Err("the token is of another issuer");
        }
        let is_meant = |audience: &String| wanted.audiences.contains(audience);
        if !wanted.audiences.is_empty() && !self.audiences().iter().any(is_meant) {
            return Err("the token is for another audience");
        }
        let client = claims.azp.as_ref().or(claims.client_id.as_ref());
        let client = client.or(claims.appid.as_ref());
        if !wanted.clients.is_empty() && !client.is_some_and(|c| wanted.clients.contains(c)) {
            return Err("the token is of a client that is not allowed");
        }
        Ok(())
    }

    /// Checks what OpenID Connect (Core 1.0, 3.1.3.7) asks of the ID token of a client beside [`Claims::check`].
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check_id_token(
        &self,
        client_id: &str,
        nonce: &str,
        access_token: Option<&str>,
    ) -> Result<(), &'static str> {
        if self.text("nonce") != Some(nonce) {
            return Err("the ID token belongs to another sign-in (its 'nonce' is another)");
        }
        self.check_parties(client_id, access_token)
    }

    /// The same of an ID token that came for a refresh token (12.2): it is about the same `subject`, and of the same
    /// sign-in where it names one.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check_refreshed(
        &self,
        client_id: &str,
        nonce: &str,
        subject: &str,
        access_token: Option<&str>,
    ) -> Result<(), &'static str> {
        if self
            .all
            .get("nonce")
            .is_some_and(|n| n.as_str() != Some(nonce))
        {
            return Err("the ID token belongs to another sign-in (its 'nonce' is another)");
        }
        if self.text("sub") != Some(subject) {
            return Err("the ID token is about somebody else ('sub')");
        }
        self.check_parties(client_id, access_token)
    }

    fn check_parties(
        &self,
        client_id: &str,
        access_token: Option<&str>,
    ) -> Result<(), &'static str> {
        let claims = &self.registered;
        if self.text("sub").is_none_or(str::is_empty) {
            return Err("the ID token does not say whom it is about ('sub')");
        }
        if claims.iat.is_none() {
            return Err("the ID token does not say when it was issued ('iat')");
        }
        match claims.azp.as_deref() {
            Some(azp) if azp != client_id => {
                return Err("the ID token was issued to another client ('azp')");
            }
            None if self.audiences().len() > 1 => {
                return Err(
                    "the ID token is for several, and does not say which client it was issued to ('azp')",
                );
            }
            Some(_) | None => {}
        }
        if let (Some(hash), Some(access_token)) = (&claims.at_hash, access_token) {
            let whole = digest::digest(self.algorithm.digest(), access_token.as_bytes());
            let half = &whole.as_ref()[..whole.as_ref().len() / 2];
            if *hash != URL_SAFE_NO_PAD.encode(half) {
                return Err("the ID token belongs to another access token ('at_hash')");
            }
        }
        Ok(())
    }

    fn audiences(&self) -> &[String] {
        match &self.registered.aud {
            None => &[],
            Some(Audiences::One(one)) => std::slice::from_ref(one),
            Some(Audiences::Many(many)) => many,
        }
    }

    /// When it was issued and when it ends, in seconds since 1970.
    #[must_use]
    pub fn times_s(&self) -> (Option<f64>, Option<f64>) {
        (self.registered.iat, self.registered.exp)
    }

    /// A claim that is a text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.all.get(name).and_then(Value::as_str)
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &Map<String, Value> {
        &self.all
    }
}

#[cfg(test)]
mod tests;
