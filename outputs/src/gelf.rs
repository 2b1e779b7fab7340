//! `gelf`: sends records to Graylog over UDP, TCP or TLS.
//!
//! Datagrams are compressed and cut into chunks; a chunk group's id is made of the request and the
//! row, so a repeat has the same. Records that are no GELF message (no short message) are reported
//! as rejected; Fluent Bit only logs them.

use std::io::Write;

use kansoku_model::{ConfigError, OptionKind, OptionSpec, Plugin, RecordBatch, Settings, joined};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::net::{self, Net};
use crate::render::kubernetes_json;
use crate::socket::Dialer;
use crate::tcp::write_once;
use crate::udp::send_all;
use crate::{Outcome, Output, OutputEnvironment, OutputPlugin, RecordRef, Request, SendFuture};

pub mod message;

use message::Gelf;

const OWN: &[OptionSpec] = &[
    OptionSpec::new(
        "mode",
        OptionKind::Choice(&["udp", "tcp", "tls"]),
        "udp",
        "how to send",
    ),
    OptionSpec::new(
        "gelf_tag_key",
        OptionKind::Text,
        "",
        "name of the field that gets the tag",
    ),
    OptionSpec::new(
        "packet_size",
        OptionKind::Int,
        "1420",
        "bytes of a message in one datagram; larger messages are cut into chunks",
    ),
    OptionSpec::new(
        "compress",
        OptionKind::Bool,
        "on",
        "compress datagrams; those that must be cut always are",
    ),
];
const NAMED: &[OptionSpec] =
    &joined::<{ OWN.len() + message::OPTIONS.len() }>(OWN, message::OPTIONS);
const OPTIONS: &[OptionSpec] = &joined::<{ NAMED.len() + net::OPTIONS.len() }>(NAMED, net::OPTIONS);

/// The plugin.
pub const PLUGIN: OutputPlugin = Plugin {
    name: "gelf",
    about: "Sends records to Graylog.",
    options: OPTIONS,
    example: "[OUTPUT]\n    Name                    gelf\n    Match                   *\n    Host                    graylog.example.org\n    Port                    12201\n    Mode                    tcp\n    Gelf_Short_Message_Key  log\n",
    build,
};

/// What GELF allows.
const MAX_CHUNKS: usize = 128;

enum Transport {
    Stream(Dialer),
    Datagrams {
        net: Net,
        packet_size: usize,
        compress: bool,
    },
}

struct Graylog {
    gelf: Gelf,
    transport: Transport,
}

fn build(
    settings: &Settings,
    environment: &OutputEnvironment,
) -> Result<Box<dyn Output>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let mode = settings.text("mode", "udp").to_ascii_lowercase();
    let packet_size = settings.int("packet_size", 1420)?;
    let transport = if mode == "udp" {
        Transport::Datagrams {
            net: Net::build(settings, environment, 12201, &[])?,
            packet_size: match usize::try_from(packet_size) {
                Ok(n @ 100..=65_495) => n,
                _ => {
                    let place = settings
                        .get("packet_size")
                        .map_or(&settings.place, |s| &s.place);
                    let message =
                        format!("'packet_size' is {packet_size}, but must be 100 to 65495");
                    return Err(ConfigError::new(place, message));
                }
            },
            compress: settings.bool("compress", true)?,
        }
    } else {
        Transport::Stream(match mode.as_str() {
            "tls" => Dialer::build_tls(settings, environment, 12201)?,
            _ => Dialer::build(settings, environment, 12201)?,
        })
    };
    Ok(Box::new(Graylog {
        gelf: Gelf::of(settings)?,
        transport,
    }))
}

/// One message as the datagrams to send; `None` when it needs too many.
fn datagrams(message: &[u8], id: u64, packet_size: usize, compress: bool) -> Option<Vec<Vec<u8>>> {
    let packed;
    let body = if compress || message.len() > packet_size {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(message).expect("writing to memory succeeds");
        packed = gzip.finish().expect("writing to memory succeeds");
        &packed
    } else {
        message
    };
    if body.len() <= packet_size {
        return Some(vec![body.to_vec()]);
    }
    let n = body.len().div_ceil(packet_size);
    if n > MAX_CHUNKS {
        return None;
    }
    let chunks = body.chunks(packet_size).enumerate().map(|(i, chunk)| {
        let mut datagram = vec![0x1e, 0x0f];
        datagram.extend_from_slice(&id.to_be_bytes());
        datagram.extend_from_slice(&[i as u8, n as u8]);
        datagram.extend_from_slice(chunk);
        datagram
    });
    Some(chunks.collect())
}

impl Graylog {
    async fn deliver(&self, request: Request<'_>) -> Outcome {
        let mut rejected = Vec::new();
        let mut stream = Vec::new();
        let mut pieces = Vec::new();
        let mut message = Vec::new();
        for (at, batch) in request.batches.iter().enumerate() {
            let RecordBatch::Logs(batch) = &**batch else {
                continue;
            };
            let kubernetes = kubernetes_json(batch);
            for row in 0..batch.len() {
                let record = RecordRef {
                    batch: at as u32,
                    row: row as u32,
                };
                message.clear();
                if !self.gelf.write(&mut message, batch, row, &kubernetes) {
                    rejected.push((
                        record,
                        "no short message, or a level that is none".to_owned(),
                    ));
                    continue;
                }
                match &self.transport {
                    Transport::Stream(_) => {
                        stream.extend_from_slice(&message);
                        stream.push(0);
                    }
                    Transport::Datagrams {
                        packet_size,
                        compress,
                        ..
                    } => {
                        let seed = (at as u64) << 32 | row as u64;
                        let id = xxh3_64_with_seed(request.id.as_bytes(), seed);
                        match datagrams(&message, id, *packet_size, *compress) {
                            Some(found) => pieces.extend(found),
                            None => rejected.push((
                                record,
                                format!("more than {MAX_CHUNKS} chunks; raise 'packet_size'"),
                            )),
                        }
                    }
                }
            }
        }
        let sent = match &self.transport {
            Transport::Stream(dialer) if !stream.is_empty() => write_once(dialer, &stream).await,
            Transport::Stream(_) => Outcome::Delivered,
            Transport::Datagrams { net, .. } => {
                send_all(net, pieces.iter().map(Vec::as_slice)).await
            }
        };
        match sent {
            Outcome::Delivered if !rejected.is_empty() => Outcome::Partial {
                retry: Vec::new(),
                rejected,
                reason: "records that are no GELF message".to_owned(),
                after: None,
            },
            sent => sent,
        }
    }
}

impl Output for Graylog {
    fn send<'a>(&'a self, request: Request<'a>) -> SendFuture<'a> {
        Box::pin(self.deliver(request))
    }

    fn takes(&self, batch: &RecordBatch) -> bool {
        matches!(batch, RecordBatch::Logs(_))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn large_messages_are_cut_and_come_together_again() {
        let message: Vec<u8> = (0..20_000u32)
            .flat_map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes())
            .collect();
        let parts = datagrams(&message, 7, 1420, false).expect("fits");
        let mut body = Vec::new();
        for (i, part) in parts.iter().enumerate() {
            assert_eq!(part[..10], [0x1e, 0x0f, 0, 0, 0, 0, 0, 0, 0, 7]);
            assert_eq!(part[10..12], [i as u8, parts.len() as u8]);
            assert!(part.len() <= 1432);
            body.extend_from_slice(&part[12..]);
        }
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&body[..])
            .read_to_end(&mut plain)
            .expect("gzip");
        assert_eq!(plain, message);
        assert_eq!(datagrams(&message, 7, 100, false), None);
        assert_eq!(datagrams(b"{}", 7, 100, false), Some(vec![b"{}".to_vec()]));
    }
}
