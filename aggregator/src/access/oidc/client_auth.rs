//! How the client shows who it is where tokens are given: its secret, or a token that it signs with its secret or
//! its private key (OpenID Connect Core 1.0, 9; RFC 7523).
//!
//! The one rule: secret and key lie in files or in the configuration and are read at each use; neither leaves this
//! host but to the endpoints that the provider names, and a key never does.

use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair, RsaPublicKeyComponents,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::config::OidcConfig;
use crate::access::token;
use crate::clock;
use crate::http_client::oauth2::encoded;

/// For how long a token of the client is good.
const LASTS_S: i64 = 60;
const KIND: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The private key of the client, as it was configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientKey {
    pub file: PathBuf,
    /// What the provider calls it; without it its thumbprint (RFC 7638).
    pub id: Option<String>,
    /// For an RSA key.
    pub with_pss: bool,
}

/// What is shown.
pub enum Shows {
    /// A public client.
    Nothing,
    Basic(String),
    Post(String),
    /// A token signed with the secret.
    SecretJwt(String),
    /// A token signed with the key.
    KeyJwt(Box<SigningKey>),
}

impl Shows {
    /// What the configuration has and the provider takes; `methods` are those that it names, none for all.
    ///
    /// # Errors
    /// When these have nothing in common, or a file cannot be read.
    pub fn of(config: &OidcConfig, methods: &[String], place: &str) -> Result<Self, String> {
        let speaks = |method: &str| methods.iter().any(|m| m == method);
        let wants = |spoken: &str| {
            let all = methods.join(", ");
            Err(format!(
                "{place} wants clients to show who they are by {all}; {spoken}"
            ))
        };
        if let Some(key) = &config.key {
            return match methods.is_empty() || speaks("private_key_jwt") {
                true => Ok(Self::KeyJwt(Box::new(SigningKey::read(key)?))),
                false => wants("with private_key_file that is private_key_jwt"),
            };
        }
        let Some(secret) = &config.secret else {
            return Ok(Self::Nothing);
        };
        // What is not said is the first (3 of Discovery).
        if methods.is_empty() || speaks("client_secret_basic") {
            return Ok(Self::Basic(secret.read()?));
        }
        if speaks("client_secret_post") {
            return Ok(Self::Post(secret.read()?));
        }
        if speaks("client_secret_jwt") {
            return Ok(Self::SecretJwt(secret.read()?));
        }
        wants(
            "with a client_secret that is client_secret_basic, client_secret_post or client_secret_jwt, with private_key_file private_key_jwt",
        )
    }

    /// Puts it into a form for an endpoint; gives the header `Authorization` where it belongs there. `audience` is
    /// the token endpoint.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn add(
        &self,
        client_id: &str,
        audience: &str,
        form: &mut Vec<(&'static str, String)>,
    ) -> Result<Option<String>, String> {
        if let Self::Basic(secret) = self {
            let both = format!("{}:{}", encoded(client_id), encoded(secret));
            return Ok(Some(format!("Basic {}", BASE64_STANDARD.encode(both))));
        }
        form.push(("client_id", client_id.to_owned()));
        let assertion = match self {
            Self::Nothing | Self::Basic(_) => return Ok(None),
            Self::Post(secret) => {
                form.push(("client_secret", secret.clone()));
                return Ok(None);
            }
            Self::SecretJwt(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
                let text = unsigned(&json!({"alg": "HS256", "typ": "JWT"}), client_id, audience)?;
                let tag = hmac::sign(&key, text.as_bytes());
                format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag))
            }
            Self::KeyJwt(key) => {
                let header = json!({"alg": key.algorithm(), "kid": key.id, "typ": "JWT"});
                let text = unsigned(&header, client_id, audience)?;
                let signature = key.sign(text.as_bytes())?;
                format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
            }
        };
        form.push(("client_assertion_type", KIND.to_owned()));
        form.push(("client_assertion", assertion));
        Ok(None)
    }
}

/// Header and claims of a token that the client makes of itself.
fn unsigned(header: &Value, client_id: &str, audience: &str) -> Result<String, String> {
    let now_s = clock::now_ms() / 1000;
    let claims = json!({
        "iss": client_id, "sub": client_id, "aud": audience, "jti": token::random()?,
        "iat": now_s, "exp": now_s + LASTS_S,
    });
    let part = |json: &Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
    Ok(format!("{}.{}", part(header), part(&claims)))
}

enum Material {
    Rsa(RsaKeyPair, &'static dyn RsaEncoding, &'static str),
    Curve(EcdsaKeyPair, &'static str, &'static str),
}

/// A private key that can sign.
pub struct SigningKey {
    id: String,
    material: Material,
}

impl SigningKey {
    /// Reads it from its file.
    ///
    /// # Errors
    /// When there is none of a kind that is known.
    pub fn read(key: &ClientKey) -> Result<Self, String> {
        let shown = key.file.display();
        let bytes = std::fs::read(&key.file).map_err(|e| format!("failed to read {shown}: {e}"))?;
        let material = material(&bytes, key.with_pss)
            .map_err(|why| format!("{shown} cannot be used as private key: {why}"))?;
        let mut key_of = Self {
            id: String::new(),
            material,
        };
        key_of.id = match &key.id {
            Some(id) => id.clone(),
            None => key_of.thumbprint(),
        };
        Ok(key_of)
    }

    /// What it signs with.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match &self.material {
            Material::Rsa(_, _, name) | Material::Curve(_, name, _) => name,
        }
    }

    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, String> {
        let rng = SystemRandom::new();
        let failed = |_| "the client's token cannot be signed".to_owned();
        match &self.material {
            Material::Rsa(key, encoding, _) => {
                let mut out = vec![0; key.public().modulus_len()];
                key.sign(*encoding, &rng, text, &mut out).map_err(failed)?;
                Ok(out)
            }
            Material::Curve(key, ..) => {
                let signed = key.sign(&rng, text).map_err(failed)?;
                Ok(signed.as_ref().to_vec())
            }
        }
    }

    /// The public half: what makes it this key (RFC 7638), in the order in which it is hashed.
    fn members(&self) -> Value {
        let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        match &self.material {
            Material::Rsa(key, ..) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(key.public());
                json!({"e": text(&public.e), "kty": "RSA", "n": text(&public.n)})
            }
            Material::Curve(key, _, curve) => {
                // A four, then both coordinates.
                let point = &key.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({"crv": curve, "kty": "EC", "x": text(x), "y": text(y)})
            }
        }
    }

    fn thumbprint(&self) -> String {
        let members = self.members().to_string();
        BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, members.as_bytes()))
    }

    /// The public half, as the provider wants to have it (RFC 7517).
    #[must_use]
    pub fn public(&self) -> Value {
        let mut key = self.members();
        key["kid"] = json!(self.id);
        key["alg"] = json!(self.algorithm());
        key["use"] = json!("sig");
        key
    }
}

fn material(pem: &[u8], with_pss: bool) -> Result<Material, String> {
    let key = PrivateKeyDer::from_pem_slice(pem)
        .map_err(|e| format!("it holds no private key in PEM: {e}"))?;
    let rsa = |key: RsaKeyPair| match with_pss {
        true => Material::Rsa(key, &RSA_PSS_SHA256, "PS256"),
        false => Material::Rsa(key, &RSA_PKCS1_SHA256, "RS256"),
    };
    let der = match &key {
        PrivateKeyDer::Pkcs1(der) => {
            let read = RsaKeyPair::from_der(der.secret_pkcs1_der());
            return read.map(rsa).map_err(|e| e.to_string());
        }
        PrivateKeyDer::Pkcs8(der) => der.secret_pkcs8_der(),
        _ => {
            return Err(
                "it is not in PKCS#8: convert it with 'openssl pkcs8 -topk8 -nocrypt'".into(),
            );
        }
    };
    let rng = SystemRandom::new();
    let of_rsa = match RsaKeyPair::from_pkcs8(der) {
        Ok(key) => return Ok(rsa(key)),
        Err(e) => e,
    };
    for (signing, name, curve) in [
        (&ECDSA_P256_SHA256_FIXED_SIGNING, "ES256", "P-256"),
        (&ECDSA_P384_SHA384_FIXED_SIGNING, "ES384", "P-384"),
    ] {
        if let Ok(key) = EcdsaKeyPair::from_pkcs8(signing, der, &rng) {
            return match with_pss {
                true => Err("private_key_algorithm PS256 is for RSA keys".into()),
                false => Ok(Material::Curve(key, name, curve)),
            };
        }
    }
    Err(format!(
        "expected RSA of 2048 to 8192 bits, P-256 or P-384 ({of_rsa})"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/tls/jwt.key");

    fn key(file: &str) -> ClientKey {
        ClientKey {
            file: file.into(),
            id: None,
            with_pss: false,
        }
    }

    #[test]
    fn thumbprints_are_those_of_the_standard() {
        // RFC 7638, 3.1.
        let members = r#"{"e":"AQAB","kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"}"#;
        let json: Value = serde_json::from_str(members).unwrap();
        assert_eq!(json.to_string(), members, "the order is that of the names");
        let hash = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, json.to_string().as_bytes()));
        assert_eq!(hash, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        let read = SigningKey::read(&key(KEY)).unwrap();
        assert_eq!(read.public()["kid"], json!(read.thumbprint()));
        assert_eq!(read.public()["alg"], "RS256");
    }

    #[test]
    fn keys_that_cannot_sign_are_told_with_a_cure() {
        let folder = tempfile::tempdir().unwrap();
        let sec1 = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIA==\n-----END EC PRIVATE KEY-----\n";
        let broken = "-----BEGIN PRIVATE KEY-----\nMHcCAQEEIA==\n-----END PRIVATE KEY-----\n";
        for (text, expected) in [
            ("", "no private key in PEM"),
            (sec1, "openssl pkcs8 -topk8 -nocrypt"),
            (broken, "expected RSA of 2048 to 8192 bits, P-256 or P-384"),
        ] {
            let path = folder.path().join("key.pem");
            std::fs::write(&path, text).unwrap();
            let error = SigningKey::read(&key(path.to_str().unwrap()))
                .err()
                .unwrap();
            assert!(error.contains(expected), "{error}");
        }
        let error = SigningKey::read(&key("/no/such.pem")).err().unwrap();
        assert!(error.contains("failed to read /no/such.pem"), "{error}");
    }
}
