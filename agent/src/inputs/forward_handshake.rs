//! The handshake of the Forward protocol: both sides prove that they know the shared key, and a user
//! the password, without sending either.

use anyhow::{Context, bail, ensure};
use kansoku_parsers::wire::msgpack::{self, Extent, Item, Reader, Stop};
use ring::digest::{Context as Digest, SHA512};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Nonce and salt.
const SALT_BYTES: usize = 16;
/// A PING is a few hundred bytes.
const MAX_PING_BYTES: usize = 4096;

/// Someone who may send.
#[derive(Debug, Clone)]
pub struct User {
    pub name: String,
    pub password: String,
}

/// What the server knows.
#[derive(Debug, Clone)]
pub struct Handshake {
    pub shared_key: String,
    pub self_hostname: String,
    /// Empty = no user is asked for.
    pub users: Vec<User>,
}

/// What the client said.
struct Ping {
    hostname: Vec<u8>,
    salt: Vec<u8>,
    digest: Vec<u8>,
    user: Vec<u8>,
    password_digest: Vec<u8>,
}

impl Handshake {
    /// Asks and answers. Ends well only for a client that may send.
    ///
    /// # Errors
    /// When the client may not, or speaks another protocol.
    pub async fn run(&self, io: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> anyhow::Result<()> {
        let (nonce, auth) = (random()?, random()?);
        let mut helo = b"\x92\xa4HELO\x83\xa5nonce".to_vec();
        msgpack::write_str(&mut helo, &nonce);
        helo.extend_from_slice(b"\xa4auth");
        // An empty salt says that no user is asked for.
        msgpack::write_str(&mut helo, if self.users.is_empty() { b"" } else { &auth });
        helo.extend_from_slice(b"\xa9keepalive\xc3");
        io.write_all(&helo).await?;
        io.flush().await?;
        let ping = read_ping(io).await?;
        let verdict = self.judge(&ping, &nonce, &auth);
        let reason = verdict.as_ref().err().copied().unwrap_or_default();
        let mut pong = b"\x95\xa4PONG".to_vec();
        pong.push(if verdict.is_ok() { 0xc3 } else { 0xc2 });
        msgpack::write_str(&mut pong, reason.as_bytes());
        if verdict.is_ok() {
            msgpack::write_str(&mut pong, self.self_hostname.as_bytes());
            let parts = [
                &ping.salt,
                self.self_hostname.as_bytes(),
                &nonce,
                self.shared_key.as_bytes(),
            ];
            msgpack::write_str(&mut pong, &hex_digest(&parts));
        } else {
            pong.extend_from_slice(b"\xa0\xa0");
        }
        io.write_all(&pong).await?;
        io.flush().await?;
        verdict.map_err(|reason| anyhow::anyhow!(reason))
    }

    fn judge(&self, ping: &Ping, nonce: &[u8], auth: &[u8]) -> Result<(), &'static str> {
        let parts = [
            &ping.salt,
            &ping.hostname,
            nonce,
            self.shared_key.as_bytes(),
        ];
        if !is_same(&hex_digest(&parts), &ping.digest) {
            return Err("shared_key mismatch");
        }
        if self.users.is_empty() {
            return Ok(());
        }
        let knows = |user: &User| {
            let parts = [auth, user.name.as_bytes(), user.password.as_bytes()];
            user.name.as_bytes() == ping.user && is_same(&hex_digest(&parts), &ping.password_digest)
        };
        match self.users.iter().any(knows) {
            true => Ok(()),
            false => Err("username/password mismatch"),
        }
    }
}

/// Six random bits a letter. Fluent Bit sends raw bytes as text, which clients whose text is Unicode
/// (npm's @fluent-org/logger) cannot give back.
fn random() -> anyhow::Result<[u8; SALT_BYTES]> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-";
    let mut bytes = [0; SALT_BYTES];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.ok().context("the system gives no random bytes")?;
    Ok(bytes.map(|b| LETTERS[usize::from(b & 63)]))
}

async fn read_ping(io: &mut (impl AsyncRead + Unpin)) -> anyhow::Result<Ping> {
    let mut buffer = Vec::with_capacity(MAX_PING_BYTES);
    let mut extent = Extent::default();
    loop {
        match extent.find(&buffer) {
            Ok(len) => {
                // Nothing may come before our answer.
                ensure!(len == buffer.len(), "more than a PING came");
                return parse_ping(&buffer);
            }
            Err(Stop::Incomplete) => {}
            Err(Stop::Damaged(error)) => return Err(error.into()),
        }
        ensure!(buffer.len() < MAX_PING_BYTES, "the PING is too long");
        if io.read_buf(&mut buffer).await? == 0 {
            bail!("it ended before its PING");
        }
    }
}

fn parse_ping(bytes: &[u8]) -> anyhow::Result<Ping> {
    let mut reader = Reader::new(bytes);
    let mut next = || {
        reader
            .next()
            .map_err(kansoku_parsers::wire::WireError::from)
    };
    ensure!(next()? == Item::Array(6), "the PING must have six items");
    ensure!(
        next()? == Item::Str(b"PING"),
        "it sent no PING; it must know the shared_key"
    );
    let mut text = || match next()? {
        Item::Str(text) | Item::Bin(text) => Ok(text.to_vec()),
        _ => bail!("the PING must be made of texts"),
    };
    Ok(Ping {
        hostname: text()?,
        salt: text()?,
        digest: text()?,
        user: text()?,
        password_digest: text()?,
    })
}

fn hex_digest(parts: &[&[u8]]) -> Vec<u8> {
    let mut digest = Digest::new(&SHA512);
    parts.iter().for_each(|part| digest.update(part));
    let hex = digest
        .finish()
        .as_ref()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect::<String>();
    hex.into_bytes()
}

/// In a time that tells nothing about where they differ.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}
