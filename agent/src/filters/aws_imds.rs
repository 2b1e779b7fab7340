//! The EC2 instance metadata service: a few small questions over plain HTTP on a fixed address.
//!
//! Every question has a deadline and every answer a bound.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long one question may take to connect, and to wait for each piece of the answer.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The longest answer; the identity document is below a kilobyte.
const MAX_ANSWER_BYTES: u64 = 64 << 10;
const TOKEN_HEADER: &str = "X-aws-ec2-metadata-token";

/// The service.
pub struct Imds {
    address: String,
    /// Version 2 wants a token first.
    needs_token: bool,
}

impl Imds {
    pub fn new(address: String, needs_token: bool) -> Self {
        Self {
            address,
            needs_token,
        }
    }

    /// A token for the next questions; empty for version 1.
    pub fn token(&self) -> Result<String, String> {
        if !self.needs_token {
            return Ok(String::new());
        }
        let header = "X-aws-ec2-metadata-token-ttl-seconds: 21600\r\n";
        self.ask("PUT", "/latest/api/token", header)
    }

    /// What lies at `path`.
    pub fn get(&self, path: &str, token: &str) -> Result<String, String> {
        let header = match token {
            "" => String::new(),
            token => format!("{TOKEN_HEADER}: {token}\r\n"),
        };
        self.ask("GET", path, &header)
    }

    /// The id of the VPC of the first network card.
    pub fn vpc(&self, token: &str) -> Result<String, String> {
        let mac = self.get("/latest/meta-data/mac/", token)?;
        let path = format!("/latest/meta-data/network/interfaces/macs/{mac}/vpc-id/");
        self.get(&path, token)
    }

    /// The account's id.
    pub fn account(&self, token: &str) -> Result<String, String> {
        let document = self.get("/latest/dynamic/instance-identity/document/", token)?;
        let document: serde_json::Value =
            serde_json::from_str(&document).map_err(|e| format!("the document is no JSON: {e}"))?;
        let id = document["accountId"].as_str().map(str::to_owned);
        id.ok_or_else(|| "the document has no accountId".to_owned())
    }

    fn ask(&self, method: &str, path: &str, header: &str) -> Result<String, String> {
        // A name of a tag may hold anything.
        if path.bytes().any(|b| b <= b' ' || b == 0x7f) {
            return Err(format!("'{path}' cannot be asked for"));
        }
        let answer = self
            .exchange(method, path, header)
            .map_err(|e| format!("{}{path}: {e}", self.address))?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).unwrap_or_default();
        if status != "200" {
            return Err(format!("{}{path} answers {status}", self.address));
        }
        Ok(body.trim().to_owned())
    }

    fn exchange(&self, method: &str, path: &str, header: &str) -> std::io::Result<String> {
        let address = self.address.to_socket_addrs()?.next();
        let address = address.ok_or_else(|| std::io::Error::other("no address"))?;
        let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        // HTTP/1.0 has no chunks, and the end of the stream ends the answer.
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\n{header}Content-Length: 0\r\nConnection: close\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
        String::from_utf8(answer).map_err(std::io::Error::other)
    }
}
