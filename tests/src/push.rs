//! Requests as agents and Prometheus send them to the aggregator, made by hand: native frames of
//! numbered lines, and remote write. Only what tests need; the real senders are tested elsewhere.

use kansoku_model::{Labels, LogBatch, Position, RecordBatch, Resource, Source, SourceId, frame};

/// A frame with lines `seq=FROM ...` up to before `to`, of the stream `{app, sender}`; line n is at
/// `t0_ns` plus n milliseconds.
///
/// # Panics
/// Never with fewer lines than a frame takes.
#[must_use]
pub fn lines_frame(app: &str, sender: u64, t0_ns: i64, from: u64, to: u64) -> Vec<u8> {
    let sender_text = sender.to_string();
    let resource = Resource {
        labels: Labels::from_pairs([("app", app), ("sender", &sender_text)]),
        ..Resource::default()
    };
    let mut batch = LogBatch::new("t".into(), resource.into(), Vec::new());
    for n in from..to {
        let row = batch.push(t0_ns + n as i64 * 1_000_000, Position::at(n + 1));
        let line = format!(
            "seq={n} GET /api/v1/carts/{:x} took {} ms",
            n * 7919,
            n % 97
        );
        batch.set_text("log", row, line.as_bytes());
    }
    batch.source = Source {
        id: SourceId(u128::from(sender) + 1),
        from: Position::at(from),
        to: Position::at(to),
    };
    let mut bytes = Vec::new();
    frame::encode(&RecordBatch::Logs(batch), &mut bytes).expect("a small frame");
    bytes
}

/// The body of a remote-write request: a sample of `value` at `time_ms` for each of `n` series
/// `NAME{i, sender}`, in snappy's framing without compression.
#[must_use]
pub fn remote_write(name: &str, sender: u64, n: u64, time_ms: i64, value: f64) -> Vec<u8> {
    let mut body = Vec::new();
    for i in 0..n {
        let mut series = Vec::new();
        let (i, sender) = (i.to_string(), sender.to_string());
        for (name, value) in [("__name__", name), ("i", &i), ("sender", &sender)] {
            let mut label = Vec::new();
            field(&mut label, 1, name.as_bytes());
            field(&mut label, 2, value.as_bytes());
            field(&mut series, 1, &label);
        }
        let mut sample = vec![0x09];
        sample.extend_from_slice(&value.to_le_bytes());
        sample.push(0x10);
        varint(&mut sample, time_ms.cast_unsigned());
        field(&mut series, 2, &sample);
        field(&mut body, 1, &series);
    }
    snappy(&body)
}

fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn snappy(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 64);
    varint(&mut out, bytes.len() as u64);
    for literal in bytes.chunks(1 << 16) {
        // A literal whose length less one stands in the two bytes behind the tag.
        out.push(61 << 2);
        out.extend_from_slice(&((literal.len() - 1) as u16).to_le_bytes());
        out.extend_from_slice(literal);
    }
    out
}
