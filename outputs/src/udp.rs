//! `udp`: sends records as datagrams.
//!
//! Datagrams give no answer and may be lost on the way: this output is for those who ask for it. A
//! record never is cut: with lines, a datagram holds as many whole lines as fit; Fluent Bit sends a
//! chunk as one datagram and fails when that is too large.

use kansoku_model::{ConfigError, OptionSpec, Plugin, RecordBatch, Settings, joined};

use crate::net::{self, Net};
use crate::tcp::{Payload, logs, payload_options};
use crate::{Outcome, Output, OutputEnvironment, OutputPlugin, Request, SendFuture};

/// What IPv4 can carry in one datagram.
pub(crate) const DATAGRAM_MAX_BYTES: usize = 65_507;

const OWN: &[OptionSpec] = &payload_options("json_lines");
const OPTIONS: &[OptionSpec] = &joined::<{ OWN.len() + net::OPTIONS.len() }>(OWN, net::OPTIONS);

/// The plugin.
pub const PLUGIN: OutputPlugin = Plugin {
    name: "udp",
    about: "Sends records as UDP datagrams, without any answer.",
    options: OPTIONS,
    example: "[OUTPUT]\n    Name   udp\n    Match  *\n    Host   logs.example.org\n    Port   5170\n",
    build,
};

struct Udp {
    net: Net,
    payload: Payload,
}

fn build(
    settings: &Settings,
    environment: &OutputEnvironment,
) -> Result<Box<dyn Output>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let net = Net::build(settings, environment, 5170, &[])?;
    if net.is_tls() {
        return Err(ConfigError::new(
            &settings.place,
            "datagrams go unencrypted; remove 'tls', or use the output tcp",
        ));
    }
    Ok(Box::new(Udp {
        net,
        payload: Payload::of(settings, environment, "json_lines")?,
    }))
}

/// Cuts lines into datagrams; one line that is too large for any is an error.
fn datagrams(lines: &[u8]) -> Result<Vec<&[u8]>, usize> {
    let mut found = Vec::new();
    let (mut start, mut end) = (0, 0);
    for line in lines.split_inclusive(|&b| b == b'\n') {
        if line.len() > DATAGRAM_MAX_BYTES {
            return Err(line.len());
        }
        if end - start + line.len() > DATAGRAM_MAX_BYTES {
            found.push(&lines[start..end]);
            start = end;
        }
        end += line.len();
    }
    if end > start {
        found.push(&lines[start..end]);
    }
    Ok(found)
}

impl Udp {
    async fn deliver(&self, request: Request<'_>) -> Outcome {
        let mut bytes = Vec::new();
        logs(&request).for_each(|batch| self.payload.write(&mut bytes, batch));
        let pieces = if self.payload.is_lines() {
            datagrams(&bytes)
        } else if bytes.len() > DATAGRAM_MAX_BYTES {
            Err(bytes.len())
        } else {
            Ok(vec![bytes.as_slice()])
        };
        // Halved until it fits; a single record that does not fit is undeliverable.
        let Ok(pieces) = pieces else {
            return Outcome::TooLarge;
        };
        send_all(&self.net, pieces).await
    }
}

/// Sends datagrams in order.
pub(crate) async fn send_all<'a>(net: &Net, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let sent = async {
        let socket = net.datagrams().await?;
        for piece in pieces {
            socket.send(piece).await.map_err(|e| e.to_string())?;
        }
        Ok::<(), String>(())
    };
    match sent.await {
        Ok(()) => Outcome::Delivered,
        Err(e) => Outcome::Retry {
            reason: format!("{}: {e}", net::authority(&net.host, net.port)),
            after: None,
        },
    }
}

impl Output for Udp {
    fn send<'a>(&'a self, request: Request<'a>) -> SendFuture<'a> {
        Box::pin(self.deliver(request))
    }

    fn max_request_bytes(&self) -> usize {
        DATAGRAM_MAX_BYTES
    }

    fn takes(&self, batch: &RecordBatch) -> bool {
        matches!(batch, RecordBatch::Logs(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_never_cut() {
        let line = [&[b'x'; 40_000][..], b"\n"].concat();
        let two = [line.as_slice(), &line, b"short\n"].concat();
        let sizes: Vec<usize> = datagrams(&two)
            .expect("fits")
            .iter()
            .map(|d| d.len())
            .collect();
        assert_eq!(sizes, [40_001, 40_007]);
        assert_eq!(datagrams(&[b'x'; 70_000]), Err(70_000));
        assert!(datagrams(b"").expect("fits").is_empty());
    }
}
