//! The Forward protocol's messages (Fluentd's v1, Fluent Bit's metadata): events become log records.
//!
//! All modes: Message, Forward, PackedForward and CompressedPackedForward (gzip, zstd). Not here: the
//! socket, the handshake and the answers. The rule: a message is taken whole or refused whole.

use kansoku_model::Value;

use super::WireError;
use super::compressed::unpack;
use super::msgpack::{Extent, Item, Reader, Stop, time_ns};
use super::records::Records;

/// What a message asks for besides its events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// The client waits for this id to be acknowledged.
    pub chunk: Option<Vec<u8>>,
    compressed: Compression,
    /// `fluent_signal`: 0 logs, 1 metrics, 2 traces.
    signal: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Compression {
    #[default]
    None,
    Gzip,
    Zstd,
}

/// Reads one whole message. `tag_of` gives the tag that its records get.
///
/// # Errors
/// When it is no message of this protocol; some of its records may be in `records` then.
pub fn decode(
    message: &[u8],
    now_ns: i64,
    max_plain_bytes: usize,
    tag_of: impl Fn(&str) -> String,
    records: &mut Records<'_>,
) -> Result<Options, WireError> {
    let mut reader = Reader::new(message);
    let n_items = match reader.next()? {
        Item::Array(n) => n,
        // A nil is a heartbeat of old clients.
        Item::Nil => return Ok(Options::default()),
        _ => return Err(WireError::new(0, "forward: a message must be an array")),
    };
    if n_items < 2 {
        return Err(WireError::new(
            0,
            "forward: a message of less than two items",
        ));
    }
    let tag = match reader.next()? {
        Item::Str(tag) | Item::Bin(tag) => tag_of(&String::from_utf8_lossy(tag)),
        _ => return Err(WireError::new(1, "forward: the tag must be text")),
    };
    records.set_tag(&tag);
    let at = reader.offset();
    let mut entries = reader.clone();
    match reader.next()? {
        Item::Array(n_events) => {
            entries.next()?;
            for _ in 0..n_events {
                reader.skip()?;
            }
            let options = options(&mut reader, n_items, 3)?;
            for _ in 0..n_events {
                event(&mut entries, now_ns, records)?;
            }
            Ok(options)
        }
        Item::Str(packed) | Item::Bin(packed) => {
            let options = options(&mut reader, n_items, 3)?;
            let plain;
            let mut events = Reader::new(match options.compressed {
                Compression::None => packed,
                Compression::Gzip => {
                    plain = unpacked("gzip", packed, max_plain_bytes)?;
                    &plain
                }
                Compression::Zstd => {
                    plain = unpacked("zstd", packed, max_plain_bytes)?;
                    &plain
                }
            });
            while !events.is_at_end() {
                event(&mut events, now_ns, records)?;
            }
            Ok(options)
        }
        Item::Int(_) | Item::Uint(_) | Item::Float(_) | Item::Ext(..) if n_items >= 3 => {
            let time = entry_time(&mut entries, now_ns)?;
            reader.skip()?;
            let options = options(&mut reader, n_items, 4)?;
            records.begin(time);
            fields(&mut entries, records)?;
            Ok(options)
        }
        _ => Err(WireError::new(
            at,
            "forward: entries or a time must follow the tag",
        )),
    }
}

/// Reads the options when the message has `index` items or more.
fn options(reader: &mut Reader<'_>, n_items: u32, index: u32) -> Result<Options, WireError> {
    let mut options = Options::default();
    if n_items < index {
        return Ok(options);
    }
    let at = reader.offset();
    let n = match reader.next()? {
        Item::Map(n) => n,
        Item::Nil => return Ok(options),
        _ => return Err(WireError::new(at, "forward: the options must be a map")),
    };
    for _ in 0..n {
        let key = reader.next()?;
        let at = reader.offset();
        let mut value = Reader::new(reader.skip()?);
        match (key, value.next()?) {
            (Item::Str(b"chunk"), Item::Str(id) | Item::Bin(id)) => {
                options.chunk = Some(id.to_vec());
            }
            (Item::Str(b"compressed"), Item::Str(name)) => {
                options.compressed = match name {
                    b"gzip" => Compression::Gzip,
                    b"zstd" => Compression::Zstd,
                    b"text" => Compression::None,
                    _ => {
                        let what = "forward: unknown compression, not gzip or zstd";
                        return Err(WireError::new(at, what));
                    }
                };
            }
            (Item::Str(b"fluent_signal"), Item::Int(signal)) => options.signal = signal,
            (Item::Str(_), _) => {}
            _ => {
                return Err(WireError::new(
                    at,
                    "forward: a name in the options must be text",
                ));
            }
        }
    }
    if options.signal != 0 {
        let what = "forward: metrics and traces of Fluent Bit are not taken over forward; send them with remote write or OTLP";
        return Err(WireError::new(at, what));
    }
    Ok(options)
}

/// One event: `[time, record]` or `[[time, metadata], record]`.
fn event(reader: &mut Reader<'_>, now_ns: i64, records: &mut Records<'_>) -> Result<(), WireError> {
    let at = reader.offset();
    let (Item::Array(2..), true) = (reader.next()?, true) else {
        return Err(WireError::new(
            at,
            "forward: an event must be an array of time and record",
        ));
    };
    let mut head = reader.clone();
    let Item::Array(n) = head.next()? else {
        let time = entry_time(reader, now_ns)?;
        records.begin(time);
        return fields(reader, records);
    };
    reader.skip()?;
    if n == 0 {
        return Err(WireError::new(at, "forward: an event without a time"));
    }
    let time = entry_time(&mut head, now_ns)?;
    // Groups (resource and scope of OpenTelemetry) are framed by events of the times -1 and -2, which
    // are no records.
    if time == -1_000_000_000 || time == -2_000_000_000 {
        reader.skip()?;
        return Ok(());
    }
    records.begin(time);
    if n > 1 && !matches!(head.clone().next()?, Item::Map(0)) {
        metadata(&mut head, records)?;
    }
    fields(reader, records)
}

fn metadata(reader: &mut Reader<'_>, records: &mut Records<'_>) -> Result<(), WireError> {
    let value = reader.value(records.batch())?;
    if let Value::Json(object) = value {
        records.set_metadata(object);
    }
    Ok(())
}

fn entry_time(reader: &mut Reader<'_>, now_ns: i64) -> Result<i64, WireError> {
    let at = reader.offset();
    let error = || WireError::new(at, "forward: the time must be a number or an EventTime");
    Ok(match reader.next()? {
        // Fluent Bit takes a time of 0 for "none".
        Item::Int(0) => now_ns,
        Item::Int(s) => s.checked_mul(1_000_000_000).ok_or_else(error)?,
        Item::Float(s) if s.abs() < 9e9 => (s * 1e9) as i64,
        Item::Ext(0 | -1, bytes) => {
            let ns = time_ns(bytes).ok_or_else(error)?;
            // Fluent Bit's group marks are negative seconds in 32 bits.
            let seconds = (ns / 1_000_000_000) as u32;
            match seconds.cast_signed() {
                mark @ (-1 | -2) => i64::from(mark) * 1_000_000_000,
                _ => ns,
            }
        }
        Item::Nil => now_ns,
        _ => return Err(error()),
    })
}

fn fields(reader: &mut Reader<'_>, records: &mut Records<'_>) -> Result<(), WireError> {
    let at = reader.offset();
    let Item::Map(n) = reader.next()? else {
        return Err(WireError::new(at, "forward: a record must be a map"));
    };
    for _ in 0..n {
        let at = reader.offset();
        let own;
        let name = match reader.next()? {
            Item::Str(name) | Item::Bin(name) => name,
            Item::Int(n) => {
                own = n.to_string();
                own.as_bytes()
            }
            _ => return Err(WireError::new(at, "forward: a field's name must be text")),
        };
        let value = reader.value(records.batch())?;
        records.set(name, value);
    }
    Ok(())
}

fn unpacked(name: &str, packed: &[u8], max_bytes: usize) -> Result<Vec<u8>, WireError> {
    let plain = unpack(name, packed, max_bytes);
    plain.map_err(|error| WireError::new(0, format!("forward: {error}")))
}

/// Where the next message of a connection ends; see [`Extent`].
///
/// # Errors
/// `Incomplete`, or when the bytes are no message.
pub fn find_message(extent: &mut Extent, bytes: &[u8]) -> Result<usize, Stop> {
    match bytes.first() {
        Some(0x90..=0x9f | 0xdc | 0xdd | 0xc0) => extent.find(bytes),
        Some(byte) => {
            let what = format!("forward: a message cannot start with byte {byte:#04x}");
            Err(Stop::Damaged(WireError::new(0, what)))
        }
        None => Err(Stop::Incomplete),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use kansoku_model::SourceId;

    use super::super::records::{Stream, lines};
    use super::*;

    fn read(message: &[u8]) -> Result<(Vec<String>, Options), String> {
        let mut stream = Stream::new(SourceId(1));
        let mut records = Records::new(&mut stream, "".into(), Arc::default());
        let options = decode(message, 77, 100, |t| format!("p.{t}"), &mut records)
            .map_err(|e| e.to_string())?;
        Ok((lines(&records.finish()), options))
    }

    const EVENTS: &[u8] = b"\x92\x05\x81\xa1a\x01\x92\x92\xd7\x00\x00\x00\x00\x06\x00\x00\x00\x07\x81\xa1m\xa1n\x81\xa1b\x91\xc0";

    #[test]
    fn all_modes_give_the_same_records() {
        let expected = ["5000000000 p.t {\"a\":1}", "6000000007 p.t {\"b\":[null]}"];
        let forward = [b"\x93\xa1t\x92", EVENTS, b"\x81\xa5chunk\xa2id"].concat();
        let (records, options) = read(&forward).unwrap();
        assert_eq!(records, expected);
        assert_eq!(options.chunk.as_deref(), Some(&b"id"[..]));

        let packed = |bytes: &[u8], options: &[u8]| {
            let head = [&b"\x93\xa1t\xc4"[..], &[bytes.len() as u8]].concat();
            [&head, bytes, options].concat()
        };
        assert_eq!(read(&packed(EVENTS, b"\x80")).unwrap().0, expected);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(EVENTS).unwrap();
        let message = packed(&gzip.finish().unwrap(), b"\x81\xaacompressed\xa4gzip");
        assert_eq!(read(&message).unwrap().0, expected);
        let zstd = zstd::encode_all(EVENTS, 1).unwrap();
        let message = packed(&zstd, b"\x81\xaacompressed\xa4zstd");
        assert_eq!(read(&message).unwrap().0, expected);

        let message = read(b"\x93\xa1t\x05\x81\xa1a\x01").unwrap().0;
        assert_eq!(message, expected[..1]);
        assert_eq!(read(b"\xc0").unwrap().0, [""; 0]);
        assert_eq!(read(b"\x93\xa1t\x00\x80").unwrap().0, ["77 p.t {}"]);
    }

    #[test]
    fn metadata_is_kept_beside_the_fields() {
        let mut stream = Stream::new(SourceId(1));
        let mut records = Records::new(&mut stream, "".into(), Arc::default());
        let message = [b"\x92\xa1t\x92", EVENTS].concat();
        decode(&message, 0, 100, str::to_owned, &mut records).unwrap();
        let batches = records.finish();
        assert_eq!(batches[0].metadata(0), None);
        assert_eq!(batches[0].metadata(1), Some(&br#"{"m":"n"}"#[..]));
    }

    #[test]
    fn mistakes_are_named() {
        let bomb = zstd::encode_all(&[0u8; 1000][..], 1).unwrap();
        let head = [&b"\x93\xa1t\xc4"[..], &[bomb.len() as u8]].concat();
        let bomb = [&head, &bomb[..], b"\x81\xaacompressed\xa4zstd"].concat();
        let cases: &[(&[u8], &str)] = &[
            (b"\x01", "forward: a message must be an array at byte 0"),
            (
                b"\x91\xa1t",
                "forward: a message of less than two items at byte 0",
            ),
            (b"\x92\x01\x90", "forward: the tag must be text at byte 1"),
            (
                b"\x92\xa1t\x91\x05",
                "forward: an event must be an array of time and record at byte 4",
            ),
            (
                b"\x92\xa1t\x91\x92\x05\x06",
                "forward: a record must be a map at byte 6",
            ),
            (
                b"\x93\xa1t\x90\x81\xadfluent_signal\x01",
                "forward: metrics and traces of Fluent Bit are not taken over forward; send them with remote write or OTLP at byte 4",
            ),
            (
                &bomb,
                "forward: the body would decompress to more than 100 bytes at byte 0",
            ),
        ];
        for (message, expected) in cases {
            assert_eq!(read(message).unwrap_err(), *expected);
        }
    }
}
