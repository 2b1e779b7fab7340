//! The server's side of a WebSocket (RFC 6455), as far as one that only sends needs it: the handshake,
//! frames out, and what a client may say meanwhile.
//!
//! Knows no socket. What a client sends is bounded; data of it is passed over. Our own few lines,
//! because the crates for it bring hashes and random numbers in versions that stand beside ours.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use ring::digest;

use super::Reply;

/// What the key of a handshake is hashed with.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The largest frame of a client: who only listens sends control frames of 125 bytes at most.
const FRAME_MAX: usize = 64 << 10;

/// Kinds of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Close,
    Ping,
    Pong,
}

/// Whether the request asks for a WebSocket, and the answer that opens it.
///
/// # Errors
/// What is missing, in the words that Loki's server has.
pub fn accept(headers: &HeaderMap) -> Result<Reply, String> {
    let has = |name: header::HeaderName, token: &str| {
        let tokens = super::header(headers, name).split(',');
        tokens.map(str::trim).any(|t| t.eq_ignore_ascii_case(token))
    };
    const NOT: &str = "websocket: the client is not using the websocket protocol:";
    if !has(header::CONNECTION, "upgrade") {
        return Err(format!(
            "{NOT} 'upgrade' token not found in 'Connection' header"
        ));
    }
    if !has(header::UPGRADE, "websocket") {
        return Err(format!(
            "{NOT} 'websocket' token not found in 'Upgrade' header"
        ));
    }
    if !has(header::SEC_WEBSOCKET_VERSION, "13") {
        return Err(
            "websocket: unsupported version: 13 not found in 'Sec-Websocket-Version' header".into(),
        );
    }
    let key = super::header(headers, header::SEC_WEBSOCKET_KEY);
    if STANDARD.decode(key).map_or(true, |key| key.len() != 16) {
        return Err("websocket: not a websocket handshake: 'Sec-WebSocket-Key' header must be Base64 encoded value of 16-byte in length".into());
    }
    let accepted = HeaderValue::from_str(&answer_to(key)).expect("base64 is ASCII");
    Ok(Reply::empty(StatusCode::SWITCHING_PROTOCOLS)
        .with(header::CONNECTION, HeaderValue::from_static("Upgrade"))
        .with(header::UPGRADE, HeaderValue::from_static("websocket"))
        .with(header::SEC_WEBSOCKET_ACCEPT, accepted))
}

fn answer_to(key: &str) -> String {
    let text = format!("{key}{GUID}");
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    STANDARD.encode(hash)
}

/// A whole message as one frame.
#[must_use]
pub fn frame(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let opcode = match kind {
        Kind::Text => 1,
        Kind::Close => 8,
        Kind::Ping => 9,
        Kind::Pong => 10,
    };
    let mut out = Vec::with_capacity(payload.len() + 10);
    out.push(0x80 | opcode);
    match payload.len() {
        n @ 0..126 => out.push(n as u8),
        n @ 126..65536 => {
            out.push(126);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            out.push(127);
            out.extend_from_slice(&(n as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    out
}

/// The frame that ends a connection, with a code and as much of the reason as may stand in it.
#[must_use]
pub fn close(code: u16, reason: &str) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    frame(Kind::Close, &payload)
}

/// What a client has sent and nobody has looked at.
#[derive(Debug, Default)]
pub struct Incoming {
    bytes: Vec<u8>,
}

impl Incoming {
    /// Takes what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next control frame; data is passed over. None while there is no whole one.
    ///
    /// # Errors
    /// When the client does not keep to the protocol: the connection must be closed.
    pub fn take(&mut self) -> Result<Option<(Kind, Vec<u8>)>, &'static str> {
        loop {
            let Some((first, mask, start, len)) = self.head()? else {
                return Ok(None);
            };
            let Some(payload) = self.bytes.get(start..start + len) else {
                return Ok(None);
            };
            let unmasked = payload.iter().zip(mask.iter().cycle());
            let payload: Vec<u8> = unmasked.map(|(byte, mask)| byte ^ mask).collect();
            self.bytes.drain(..start + len);
            let kind = match first & 15 {
                0..=2 => continue,
                8 => Kind::Close,
                9 => Kind::Ping,
                10 => Kind::Pong,
                _ => return Err("unknown opcode"),
            };
            if len > 125 {
                return Err("control frame of more than 125 bytes");
            }
            return Ok(Some((kind, payload)));
        }
    }

    /// First byte, mask, where the payload starts, its length.
    fn head(&self) -> Result<Option<(u8, [u8; 4], usize, usize)>, &'static str> {
        let [first, second, rest @ ..] = &self.bytes[..] else {
            return Ok(None);
        };
        if second & 0x80 == 0 {
            return Err("frame of a client without a mask");
        }
        let n_len = match second & 127 {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let (Some(len), Some(mask)) = (rest.get(..n_len), rest.get(n_len..n_len + 4)) else {
            return Ok(None);
        };
        let len = match len {
            [] => usize::from(second & 127),
            len => len
                .iter()
                .fold(0usize, |n, b| n.saturating_mul(256) + usize::from(*b)),
        };
        if len > FRAME_MAX {
            return Err("frame of a client is too large");
        }
        let mask = [mask[0], mask[1], mask[2], mask[3]];
        Ok(Some((*first, mask, 2 + n_len + 4, len)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_client(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut out = vec![0x80 | opcode];
        match payload.len() {
            n @ 0..126 => out.push(0x80 | n as u8),
            n => {
                out.push(0x80 | 126);
                out.extend_from_slice(&(n as u16).to_be_bytes());
            }
        }
        out.extend_from_slice(&mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
        out
    }

    #[test]
    fn the_handshake_of_the_rfc() {
        assert_eq!(
            answer_to("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        let mut headers = HeaderMap::new();
        assert!(
            accept(&headers)
                .unwrap_err()
                .contains("'upgrade' token not found")
        );
        for (name, value) in [
            (header::CONNECTION, "keep-alive, Upgrade"),
            (header::UPGRADE, "websocket"),
            (header::SEC_WEBSOCKET_VERSION, "13"),
            (header::SEC_WEBSOCKET_KEY, "short"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        assert!(accept(&headers).unwrap_err().contains("16-byte"));
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        headers.insert(header::SEC_WEBSOCKET_KEY, key);
        assert_eq!(accept(&headers).unwrap().status, 101);
    }

    #[test]
    fn frames_come_in_pieces() {
        let mut incoming = Incoming::default();
        let mut bytes = from_client(1, &[7; 300]);
        bytes.extend(from_client(9, b"hello"));
        bytes.extend(from_client(8, &[3, 232]));
        let mut seen = Vec::new();
        for byte in bytes {
            incoming.push(&[byte]);
            seen.extend(incoming.take().unwrap());
        }
        assert_eq!(
            seen,
            [(Kind::Ping, b"hello".to_vec()), (Kind::Close, vec![3, 232])]
        );
        for bad in [
            &[0x81, 0x05][..],
            &[0x83, 0x80, 0, 0, 0, 0],
            &[0x82, 0xff, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        ] {
            let mut incoming = Incoming::default();
            incoming.push(bad);
            assert!(incoming.take().is_err(), "{bad:?}");
        }
        for n in [5usize, 300, 70_000] {
            let out = frame(Kind::Text, &vec![b'x'; n]);
            assert_eq!(
                out.len(),
                n + [2, 4, 10][usize::from(n > 125) + usize::from(n > 65535)]
            );
        }
        assert!(close(1011, &"é".repeat(100)).len() <= 127);
    }
}
