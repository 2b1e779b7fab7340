//! Tests of tokens and key sets.

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RSA_PSS_SHA384, RsaKeyPair,
};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

use super::*;

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn rsa() -> RsaKeyPair {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/tls/jwt.key");
    let key = PrivateKeyDer::from_pem_file(path).expect("a key");
    RsaKeyPair::from_pkcs8(key.secret_der()).expect("an RSA key")
}

/// Signs with the key of the tests what a header names.
fn rsa_signature(algorithm: &str, text: &str) -> Vec<u8> {
    let padding: &'static dyn signature::RsaEncoding = match algorithm {
        "RS512" => &RSA_PKCS1_SHA512,
        "PS384" => &RSA_PSS_SHA384,
        _ => &RSA_PKCS1_SHA256,
    };
    let key = rsa();
    let mut out = vec![0; key.public().modulus_len()];
    let rng = SystemRandom::new();
    key.sign(padding, &rng, text.as_bytes(), &mut out)
        .expect("signed");
    out
}

fn rsa_key(more: &str) -> String {
    let key = RsaPublicKeyComponents::<Vec<u8>>::from(rsa().public_key());
    format!(
        r#"{{"kty":"RSA","kid":"k",{more}"n":"{}","e":"{}"}}"#,
        encode(&key.n),
        encode(&key.e)
    )
}

fn key_set(keys: &[&str]) -> KeySet {
    let json = format!(r#"{{"keys":[{}]}}"#, keys.join(","));
    KeySet::read(json.as_bytes()).expect("keys")
}

/// A token with these claims.
fn signed(header: &str, claims: &str) -> String {
    let text = format!("{}.{}", encode(header), encode(claims));
    let algorithm = Algorithm::NAMED
        .iter()
        .find(|(name, _)| header.contains(name));
    let signature = rsa_signature(algorithm.map_or("", |(name, _)| name), &text);
    format!("{text}.{}", encode(signature))
}

const HEADER: &str = r#"{"alg":"RS256","kid":"k","typ":"JWT"}"#;

fn verified(token: &str, keys: &KeySet) -> Result<Claims, &'static str> {
    let token = Token::read(token, &Algorithm::ALL)?;
    let key = keys.find(&token).ok_or("no key")?;
    token.verify(key)
}

fn verdict(header: &str, claims: &str) -> Result<(), &'static str> {
    let wanted = Wanted {
        issuer: "i".into(),
        audiences: vec!["a".into(), "a2".into()],
        clients: vec!["c".into(), "d".into()],
        leeway_s: 60.0,
        grace_s: 0.0,
        may_be_endless: false,
    };
    let claims = verified(&signed(header, claims), &key_set(&[&rsa_key("")]))?;
    claims.check(&wanted, 1000.0)
}

#[test]
fn claims_are_held_to_what_is_wanted() {
    for (claims, expected) in [
        (r#"{"exp":1001,"iss":"i","aud":"a","azp":"c"}"#, ""),
        (
            r#"{"exp":1e9,"nbf":1050,"iss":"i","aud":["x","a2"],"client_id":"d"}"#,
            "",
        ),
        (r#"{"exp":1001.5,"iss":"i","aud":"a","appid":"d"}"#, ""),
        (r#"{"exp":1000,"iss":"i","aud":"a","azp":"c"}"#, "expired"),
        (
            r#"{"exp":1001,"nbf":1061,"iss":"i","aud":"a","azp":"c"}"#,
            "not valid yet",
        ),
        (
            r#"{"exp":1001,"iat":1060,"iss":"i","aud":"a","azp":"c"}"#,
            "",
        ),
        (
            r#"{"exp":1001,"iat":1061,"iss":"i","aud":"a","azp":"c"}"#,
            "issued in the future",
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
        (
            r#"{"exp":1,"exp":1001,"iss":"i","aud":"a","azp":"c"}"#,
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
        (r#"{"alg":"RS512","kid":"k"}"#, ""),
        (r#"{"alg":"PS384","kid":"k"}"#, ""),
        (r#"{"alg":"RS256"}"#, ""),
        (r#"{"alg":"none","kid":"k"}"#, "accepted"),
        (r#"{"alg":"None","kid":"k"}"#, "accepted"),
        (r#"{"alg":"","kid":"k"}"#, "accepted"),
        (r#"{"alg":"HS256","kid":"k"}"#, "accepted"),
        (r#"{"alg":"rs256","kid":"k"}"#, "accepted"),
        (r#"{"alg":"RS256","kid":"k","crit":["b64"]}"#, "crit"),
        (r#"{"alg":"RS256","kid":"x"}"#, "no key"),
        (r#"{"alg":"ES256","kid":"k"}"#, "no key"),
        ("{}", "header"),
    ] {
        match verdict(header, good) {
            Ok(()) => assert_eq!(expected, "", "{header}"),
            Err(why) => assert!(
                !expected.is_empty() && why.contains(expected),
                "{header}: {why}"
            ),
        }
    }
    let keys = key_set(&[&rsa_key("")]);
    let token = signed(HEADER, good);
    let (text, signature) = token.rsplit_once('.').expect("parts");
    let (header, _) = text.split_once('.').expect("parts");
    let other = encode(good.replace("1001", "9999"));
    assert!(verified(&token, &keys).is_ok());
    for bad in [
        format!("{header}.{other}.{signature}"),
        format!("{text}."),
        format!("{text}.{}", &signature[4..]),
    ] {
        assert_eq!(
            verified(&bad, &keys).unwrap_err(),
            "the token's signature is wrong"
        );
    }
    for bad in ["", "a.b", "a.b.c.d", "!.!.!", &"x".repeat(20_000)] {
        assert!(verified(bad, &keys).is_err(), "{bad}");
    }
    // The public key as the secret of an HMAC, the oldest trick.
    let text = format!(
        "{}.{}",
        encode(r#"{"alg":"HS256","kid":"k"}"#),
        encode(good)
    );
    let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, rsa_key("").as_bytes());
    let tag = ring::hmac::sign(&secret, text.as_bytes());
    assert!(verified(&format!("{text}.{}", encode(tag)), &keys).is_err());
    // What is accepted may be less than what is known.
    assert!(Token::read(&token, &[Algorithm::Es256]).is_err());
}

#[test]
fn keys_of_curves_check_what_they_are_for() {
    let rng = SystemRandom::new();
    let text = format!(
        "{}.{}",
        encode(r#"{"alg":"ES256","kid":"e"}"#),
        encode("{}")
    );
    for (algorithm, curve, signing, half) in [
        ("ES256", "P-256", &ECDSA_P256_SHA256_FIXED_SIGNING, 32),
        ("ES384", "P-384", &ECDSA_P384_SHA384_FIXED_SIGNING, 48),
    ] {
        let text = text.replace(&encode(r#"{"alg":"ES256","kid":"e"}"#), &{
            encode(format!(r#"{{"alg":"{algorithm}","kid":"e"}}"#))
        });
        let pair = EcdsaKeyPair::generate_pkcs8(signing, &rng).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(signing, pair.as_ref(), &rng).expect("a key");
        let public = pair.public_key().as_ref();
        let (x, y) = (encode(&public[1..=half]), encode(&public[1 + half..]));
        let key = format!(r#"{{"kty":"EC","kid":"e","crv":"{curve}","x":"{x}","y":"{y}"}}"#);
        let signature = pair.sign(&rng, text.as_bytes()).expect("signed");
        let token = format!("{text}.{}", encode(signature));
        assert!(verified(&token, &key_set(&[&rsa_key(""), &key])).is_ok());
        let short = key.replace(&x, &x[4..]);
        assert_eq!(
            verified(&token, &key_set(&[&rsa_key(""), &short])).unwrap_err(),
            "no key"
        );
        let swapped = key.replace(&format!("\"x\":\"{x}\",\"y\":\"{y}\""), &{
            format!("\"x\":\"{y}\",\"y\":\"{x}\"")
        });
        assert!(verified(&token, &key_set(&[&swapped])).is_err());
    }
}

#[test]
fn keys_are_chosen_by_name_and_use() {
    let token = signed(HEADER, "{}");
    let nameless = signed(r#"{"alg":"RS256"}"#, "{}");
    let (plain, other) = (rsa_key(""), rsa_key("").replace("\"k\"", "\"o\""));
    for (keys, with_name, without) in [
        (&[plain.as_str()][..], true, true),
        (&[&plain, &other], true, false),
        (&[&other], false, true),
        (&[&rsa_key(r#""alg":"RS256","use":"sig","#)], true, true),
        (&[&rsa_key(r#""alg":"PS256","#), &other], false, true),
    ] {
        let keys = key_set(keys);
        assert_eq!(verified(&token, &keys).is_ok(), with_name);
        assert_eq!(verified(&nameless, &keys).is_ok(), without);
    }
    for bad in [
        "",
        "{}",
        r#"{"keys":[]}"#,
        r#"{"keys":[{"kty":"RSA","kid":"k","n":"","e":"AQAB"}]}"#,
        r#"{"keys":[{"kty":"oct","kid":"k","k":"c2VjcmV0"}]}"#,
        r#"{"keys":[{"kty":"EC","kid":"k","crv":"P-521","x":"AA","y":"AA"}]}"#,
        &format!(r#"{{"keys":[{}]}}"#, rsa_key(r#""use":"enc","#)),
    ] {
        assert!(KeySet::read(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn an_id_token_belongs_to_one_sign_in() {
    // The example of OpenID Connect Core 1.0, A.3: the hash of this access token.
    let access = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
    for (claims, expected) in [
        (r#"{"sub":"s","iat":1,"nonce":"n","aud":"c"}"#, ""),
        (
            r#"{"sub":"s","iat":1,"nonce":"n","aud":["c","d"],"azp":"c"}"#,
            "",
        ),
        (
            r#"{"sub":"s","iat":1,"nonce":"n","aud":"c","at_hash":"77QmUPtjPfzWtF2AnpK9RQ"}"#,
            "",
        ),
        (
            r#"{"sub":"s","iat":1,"nonce":"n","aud":"c","at_hash":"77QmUPtjPfzWtF2AnpK9RR"}"#,
            "at_hash",
        ),
        (r#"{"sub":"s","iat":1,"nonce":"m","aud":"c"}"#, "nonce"),
        (r#"{"sub":"s","iat":1,"aud":"c"}"#, "nonce"),
        (r#"{"sub":"","iat":1,"nonce":"n","aud":"c"}"#, "sub"),
        (r#"{"iat":1,"nonce":"n","aud":"c"}"#, "sub"),
        (r#"{"sub":"s","nonce":"n","aud":"c"}"#, "iat"),
        (r#"{"sub":"s","iat":1,"nonce":"n","aud":["c","d"]}"#, "azp"),
        (
            r#"{"sub":"s","iat":1,"nonce":"n","aud":"c","azp":"d"}"#,
            "another client",
        ),
    ] {
        let keys = key_set(&[&rsa_key("")]);
        let token = verified(&signed(HEADER, claims), &keys).expect("signed");
        match token.check_id_token("c", "n", Some(access)) {
            Ok(()) => assert_eq!(expected, "", "{claims}"),
            Err(why) => assert!(
                !expected.is_empty() && why.contains(expected),
                "{claims}: {why}"
            ),
        }
    }
}

#[test]
fn what_need_not_end_may_not_have_ended() {
    let wanted = Wanted {
        issuer: "i".into(),
        may_be_endless: true,
        ..Wanted::default()
    };
    for (claims, expected) in [
        (r#"{"iss":"i"}"#, Ok(())),
        (r#"{"iss":"i","exp":1001}"#, Ok(())),
        (r#"{"iss":"i","exp":1000}"#, Err("the token has expired")),
    ] {
        let claims = verified(&signed(HEADER, claims), &key_set(&[&rsa_key("")]));
        assert_eq!(claims.expect("signed").check(&wanted, 1000.0), expected);
    }
}

#[test]
fn an_id_token_of_a_refresh_is_about_the_same_sign_in() {
    for (claims, expected) in [
        (r#"{"sub":"s","iat":1,"aud":"c"}"#, ""),
        (r#"{"sub":"s","iat":1,"aud":"c","nonce":"n"}"#, ""),
        (r#"{"sub":"s","iat":1,"aud":"c","nonce":"m"}"#, "nonce"),
        (r#"{"sub":"s","iat":1,"aud":"c","nonce":1}"#, "nonce"),
        (r#"{"sub":"t","iat":1,"aud":"c"}"#, "somebody else"),
        (r#"{"iat":1,"aud":"c"}"#, "somebody else"),
        (r#"{"sub":"s","aud":"c"}"#, "iat"),
        (
            r#"{"sub":"s","iat":1,"aud":"c","azp":"d"}"#,
            "another client",
        ),
        (r#"{"sub":"s","iat":1,"aud":["c","d"]}"#, "azp"),
        (r#"{"sub":"s","iat":1,"aud":"c","at_hash":"x"}"#, "at_hash"),
    ] {
        let keys = key_set(&[&rsa_key("")]);
        let token = verified(&signed(HEADER, claims), &keys).expect("signed");
        match token.check_refreshed("c", "n", "s", Some("a")) {
            Ok(()) => assert_eq!(expected, "", "{claims}"),
            Err(why) => assert!(
                !expected.is_empty() && why.contains(expected),
                "{claims}: {why}"
            ),
        }
    }
}
