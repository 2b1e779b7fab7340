//! What the fuzz targets reach of this crate that nobody else needs: readers of answers and files.

use std::path::Path;

use kansoku_model::{ConfigError, LogBatch, Settings};
use object_store::aws::AmazonS3Builder;
use object_store::{ObjectStoreExt as _, RetryConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::forward::answer::Item;
use crate::forward::handshake::{Handshake, Login};
use crate::forward::message::Style;
use crate::net::{Io, tunnel};
use crate::object::http::Carrier;
use crate::object::{send_parts, spool};
use crate::proxy::Proxy;
use crate::{OutputEnvironment, aws, oauth2, tls};

/// A batch as one message of the forward protocol, with all that a record holds.
#[must_use]
pub fn forward_message(batch: &LogBatch) -> Vec<u8> {
    let style = Style {
        tag: None,
        time_as_integer: false,
        retain_metadata: true,
        gzip: false,
        with_options: true,
        with_chunk: true,
        extra: Vec::new(),
    };
    let messages = style.messages(&[batch], "id");
    messages.into_iter().flat_map(|m| m.bytes).collect()
}

/// What a client knows in the handshake of the forward protocol.
pub struct ForwardClient(Login);

impl ForwardClient {
    /// A client with a key and a password.
    #[must_use]
    pub fn new(shared_key: &str, username: &str, password: &str) -> Self {
        Self(Login {
            shared_key: shared_key.to_owned(),
            self_hostname: "client".to_owned(),
            username: username.to_owned(),
            password: password.to_owned(),
        })
    }

    /// A handshake under way, and the PING that answers `helo`.
    ///
    /// # Errors
    /// When the server speaks another protocol.
    pub fn ping(&self, helo: &[u8]) -> Result<(ForwardHandshake<'_>, Vec<u8>), String> {
        let (helo, _) = Item::read(helo).map_err(|_| "no HELO")?;
        let (handshake, ping) = Handshake::begin(&self.0, &helo)?;
        Ok((ForwardHandshake(handshake), ping))
    }
}

/// See [`ForwardClient::ping`].
pub struct ForwardHandshake<'a>(Handshake<'a>);

impl ForwardHandshake<'_> {
    /// Checks the PONG.
    ///
    /// # Errors
    /// Why the server is none to send to.
    pub fn finish(&self, pong: &[u8]) -> Result<(), String> {
        let (pong, _) = Item::read(pong).map_err(|_| "no PONG")?;
        self.0.finish(&pong)
    }
}

/// Whether an answer of each kind gives credentials or a token.
#[must_use]
pub fn credentials(answer: &str) -> [bool; 4] {
    [
        aws::from_json(answer).is_some(),
        aws::from_xml(answer).is_some(),
        aws::profile(answer, "default").is_some(),
        oauth2::read_token(answer.as_bytes()).is_some(),
    ]
}

/// What follows a proxy's answer to CONNECT.
///
/// # Errors
/// When the proxy gives no tunnel.
pub async fn behind_proxy(answer: &[u8]) -> Result<Vec<u8>, String> {
    let (mut far, near) = tokio::io::duplex(answer.len() + 4096);
    let proxy = Proxy {
        host: "p".to_owned(),
        port: 1,
        login: None,
        tls: None,
    };
    far.write_all(answer).await.map_err(|e| e.to_string())?;
    far.shutdown().await.map_err(|e| e.to_string())?;
    let mut io: Box<dyn Io> = Box::new(near);
    tunnel(&mut io, &proxy, "h", 1).await?;
    let mut rest = Vec::new();
    let read = io.read_to_end(&mut rest).await;
    read.map_err(|e| e.to_string())?;
    Ok(rest)
}

/// Reads the certificates and the key that an output is told to use.
///
/// # Errors
/// Why they are refused.
pub fn client_tls(settings: &Settings) -> Result<(), ConfigError> {
    tls::client_config(settings, &OutputEnvironment::default(), &[]).map(|_| ())
}

/// Uploads an object in two parts, without repeating what failed.
///
/// # Errors
/// What the store says.
pub async fn s3_upload(endpoint: &str) -> Result<(), String> {
    let settings = Settings::of("s3", &[]);
    let carrier = Carrier::new(&settings, &OutputEnvironment::default(), None, Vec::new());
    let store = AmazonS3Builder::new()
        .with_bucket_name("b")
        .with_region("r")
        .with_skip_signature(true)
        .with_retry(RetryConfig {
            max_retries: 0,
            ..RetryConfig::default()
        })
        .with_http_connector(carrier)
        .with_allow_http(true)
        .with_endpoint(endpoint)
        .build()
        .map_err(|e| e.to_string())?;
    let path = object_store::path::Path::from("k");
    let mut upload = store
        .put_multipart(&path)
        .await
        .map_err(|e| e.to_string())?;
    let sent = send_parts(upload.as_mut(), b"12".to_vec(), 1).await;
    sent.map_err(|e| e.to_string())
}

/// Opens an object store's folder of waiting records, and uploads all that is whole: what it holds, by
/// tag and key.
///
/// # Errors
/// When the folder cannot be used.
pub fn drain_spool(folder: &Path) -> std::io::Result<Vec<(spool::Head, Vec<u8>)>> {
    let mut spool = spool::Spool::open(folder)?;
    spool.close_due(i64::MAX, 0, 0)?;
    let mut all = Vec::new();
    while let Some((number, head, data)) = spool.oldest()? {
        spool.uploaded(number)?;
        all.push((head, data));
    }
    Ok(all)
}
