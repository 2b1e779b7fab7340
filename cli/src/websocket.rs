//! A WebSocket that only listens: the handshake's key, and messages as they come.
//!
//! Frames are tungstenite's; the handshake goes through the HTTP client, so that TLS, headers and
//! proxies are those of every other request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::error::{Error, Result};

/// What the key of a handshake is hashed with.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The largest message that is taken.
const MESSAGE_MAX: usize = 256 << 20;

/// An open WebSocket.
pub struct WebSocket {
    stream: WebSocketStream<TokioIo<Upgraded>>,
}

/// A key for a handshake.
#[must_use]
pub fn key() -> String {
    let mut bytes = [0; 16];
    // Without random numbers a key of zeros is as good: it only tells caches apart.
    let _ = SystemRandom::new().fill(&mut bytes);
    STANDARD.encode(bytes)
}

/// What the server must answer to a key.
#[must_use]
pub fn answer_to(key: &str) -> String {
    let text = format!("{key}{GUID}");
    STANDARD.encode(digest::digest(
        &digest::SHA1_FOR_LEGACY_USE_ONLY,
        text.as_bytes(),
    ))
}

/// Speaks WebSocket on a connection that was upgraded.
pub async fn open(upgraded: Upgraded) -> WebSocket {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_MAX))
        .max_frame_size(Some(MESSAGE_MAX));
    let io = TokioIo::new(upgraded);
    let stream = WebSocketStream::from_raw_socket(io, Role::Client, Some(config)).await;
    WebSocket { stream }
}

impl WebSocket {
    /// The next message; pings are answered on the way.
    ///
    /// # Errors
    /// When the connection is over, with the server's reason.
    pub async fn next(&mut self) -> Result<Vec<u8>> {
        loop {
            let over = |why: String| Error::Unreachable(why);
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => return Ok(text.as_bytes().to_vec()),
                Some(Ok(Message::Binary(bytes))) => return Ok(bytes.to_vec()),
                Some(Ok(Message::Close(frame))) => {
                    let reason = frame.map(|f| f.reason.to_string()).unwrap_or_default();
                    return Err(over(format!("the server ended the tail: {reason}")));
                }
                Some(Ok(_)) => {}
                Some(Err(e)) => return Err(over(format!("the tail broke: {e}"))),
                None => return Err(over("the tail broke".into())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handshake_of_the_rfc() {
        assert_eq!(
            answer_to("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        assert_eq!(STANDARD.decode(key()).unwrap().len(), 16);
        assert_ne!(key(), key());
    }
}
