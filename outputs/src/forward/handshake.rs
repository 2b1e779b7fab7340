//! The forward protocol's log-in: HELO, PING, PONG, with digests of a shared key on both sides.
//!
//! The server has to prove the key too: data never goes to one that does not know it.

use ring::digest::{Context, SHA512};
use ring::rand::SecureRandom;

use super::answer::Item;
use crate::aws_sign::hex;
use crate::msgpack::{write_array_header, write_text};

/// What a node asks for.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) shared_key: String,
    pub(crate) self_hostname: String,
    pub(crate) username: String,
    pub(crate) password: String,
}

/// One log-in under way.
pub(crate) struct Handshake<'a> {
    login: &'a Login,
    salt: [u8; 16],
    nonce: Vec<u8>,
}

fn digest(parts: &[&[u8]]) -> String {
    let mut context = Context::new(&SHA512);
    parts.iter().for_each(|part| context.update(part));
    hex(context.finish().as_ref())
}

fn named<'i, 'a>(item: &'i Item<'a>, name: &str) -> Result<&'i [Item<'a>], String> {
    match item {
        Item::Array(items) if items.first().map(Item::bytes) == Some(name.as_bytes()) => Ok(items),
        _ => Err(format!("the server does not say {name}")),
    }
}

impl<'a> Handshake<'a> {
    /// Answers HELO with the PING to send.
    pub(crate) fn begin(login: &'a Login, helo: &Item<'_>) -> Result<(Self, Vec<u8>), String> {
        let mut salt = [0; 16];
        ring::rand::SystemRandom::new()
            .fill(&mut salt)
            .map_err(|_| "no random numbers".to_owned())?;
        Self::begin_with(login, helo, salt)
    }

    fn begin_with(
        login: &'a Login,
        helo: &Item<'_>,
        salt: [u8; 16],
    ) -> Result<(Self, Vec<u8>), String> {
        let options = named(helo, "HELO")?.get(1).unwrap_or(&Item::Nil);
        let nonce = options
            .get("nonce")
            .map(Item::bytes)
            .ok_or("HELO has no nonce")?;
        let auth = options.get("auth").map_or(&[][..], Item::bytes);
        let this = Self {
            login,
            salt,
            nonce: nonce.to_vec(),
        };
        let mut ping = Vec::new();
        write_array_header(&mut ping, 6);
        write_text(&mut ping, b"PING");
        write_text(&mut ping, login.self_hostname.as_bytes());
        write_text(&mut ping, &salt);
        write_text(
            &mut ping,
            this.key_digest(login.self_hostname.as_bytes()).as_bytes(),
        );
        // A server that asks for no user sends no salt for the password.
        let (user, password) = if auth.is_empty() {
            ("", String::new())
        } else {
            let parts = [auth, login.username.as_bytes(), login.password.as_bytes()];
            (login.username.as_str(), digest(&parts))
        };
        write_text(&mut ping, user.as_bytes());
        write_text(&mut ping, password.as_bytes());
        Ok((this, ping))
    }

    /// Checks PONG.
    pub(crate) fn finish(&self, pong: &Item<'_>) -> Result<(), String> {
        let [_, accepted, reason, host, proof] = named(pong, "PONG")? else {
            return Err("PONG has not five parts".into());
        };
        if *accepted != Item::Bool(true) {
            let reason = String::from_utf8_lossy(reason.bytes());
            return Err(format!("the server refuses the log-in: {reason}"));
        }
        if proof.bytes() != self.key_digest(host.bytes()).as_bytes() {
            return Err("the server does not know the shared key".into());
        }
        Ok(())
    }

    fn key_digest(&self, host: &[u8]) -> String {
        let key = self.login.shared_key.as_bytes();
        digest(&[&self.salt, host, &self.nonce, key])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login() -> Login {
        Login {
            shared_key: "key".into(),
            self_hostname: "me".into(),
            username: "u".into(),
            password: "p".into(),
        }
    }

    fn text(t: &str) -> Item<'_> {
        Item::Bytes(t.as_bytes())
    }

    fn helo(auth: &'static str) -> Item<'static> {
        let options = Item::Map(vec![
            (text("nonce"), text("nnn")),
            (text("auth"), text(auth)),
        ]);
        Item::Array(vec![text("HELO"), options])
    }

    #[test]
    fn ping_proves_key_and_password() {
        let login = login();
        let (_, ping) =
            Handshake::begin_with(&login, &helo("salt"), *b"0123456789abcdef").expect("HELO");
        let (Item::Array(parts), _) = Item::read(&ping).expect("msgpack") else {
            panic!("array")
        };
        let of = |parts: &[&str]| digest(&parts.iter().map(|p| p.as_bytes()).collect::<Vec<_>>());
        assert_eq!(
            parts[3].bytes(),
            of(&["0123456789abcdef", "me", "nnn", "key"]).as_bytes()
        );
        assert_eq!(parts[4].bytes(), b"u");
        assert_eq!(parts[5].bytes(), of(&["salt", "u", "p"]).as_bytes());
        let (_, ping) = Handshake::begin(&login, &helo("")).expect("HELO");
        assert!(ping.ends_with(&[0xa0, 0xa0]), "no user without a salt");
    }

    #[test]
    fn a_server_must_accept_and_prove_itself() {
        let login = login();
        let (shake, _) = Handshake::begin_with(&login, &helo(""), [7; 16]).expect("HELO");
        let good = shake.key_digest(b"them");
        let pong = |ok: bool, proof: &str| {
            let parts = vec![
                text("PONG"),
                Item::Bool(ok),
                text("why"),
                text("them"),
                Item::Bytes(proof.as_bytes()),
            ];
            shake.finish(&Item::Array(parts))
        };
        assert_eq!(pong(true, &good), Ok(()));
        assert_eq!(
            pong(true, "00").expect_err("no proof"),
            "the server does not know the shared key"
        );
        assert!(
            pong(false, &good)
                .expect_err("refused")
                .ends_with("log-in: why")
        );
        assert!(Handshake::begin(&login, &Item::Nil).is_err());
    }
}
