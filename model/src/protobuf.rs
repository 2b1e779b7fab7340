//! Writing protobuf by hand: a few field kinds into one buffer, without a message tree.
//!
//! Nested messages are written in place; their length is put before them once it is known.

/// Appends a varint.
pub fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Appends bytes or text; nothing when there are none, as proto3 has it.
pub fn bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    if !value.is_empty() {
        bytes_always(out, field, value);
    }
}

/// Appends bytes or text, also when there are none (in a `oneof`).
pub fn bytes_always(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    varint(out, u64::from(field << 3 | 2));
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Appends an integer, boolean or enumeration.
pub fn int(out: &mut Vec<u8>, field: u32, value: u64) {
    varint(out, u64::from(field << 3));
    varint(out, value);
}

/// Appends eight bytes.
pub fn fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    varint(out, u64::from(field << 3 | 1));
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a double.
pub fn double(out: &mut Vec<u8>, field: u32, value: f64) {
    fixed64(out, field, value.to_bits());
}

/// Appends four bytes.
pub fn fixed32(out: &mut Vec<u8>, field: u32, value: u32) {
    varint(out, u64::from(field << 3 | 5));
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a signed integer in zigzag form (`sint32`, `sint64`).
pub fn sint(out: &mut Vec<u8>, field: u32, value: i64) {
    int(out, field, zigzag(value));
}

/// Appends a packed field of doubles; nothing when there are none.
pub fn doubles(out: &mut Vec<u8>, field: u32, values: &[f64]) {
    if !values.is_empty() {
        varint(out, u64::from(field << 3 | 2));
        varint(out, values.len() as u64 * 8);
        out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    }
}

/// Appends a packed field of signed integers in zigzag form; nothing when there are none.
pub fn sints(out: &mut Vec<u8>, field: u32, values: &[i64]) {
    if !values.is_empty() {
        message(out, field, |out| {
            values.iter().for_each(|v| varint(out, zigzag(*v)));
        });
    }
}

fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)).cast_unsigned()
}

/// Appends a message that `write` writes.
pub fn message<T>(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    varint(out, u64::from(field << 3 | 2));
    let start = out.len();
    // Most messages are short: room for one byte of length, more is made when needed.
    out.push(0);
    let result = write(out);
    let len = out.len() - start - 1;
    if len < 0x80 {
        out[start] = len as u8;
    } else {
        let mut header = Vec::with_capacity(5);
        varint(&mut header, len as u64);
        out.splice(start..=start, header);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_carry_their_length() {
        let mut out = Vec::new();
        message(&mut out, 1, |out| {
            bytes(out, 2, b"ab");
            bytes(out, 3, b"");
            int(out, 4, 300);
        });
        assert_eq!(out, b"\x0a\x07\x12\x02ab\x20\xac\x02");
        out.clear();
        sints(&mut out, 12, &[-1, 1, 64]);
        doubles(&mut out, 13, &[1.0]);
        sints(&mut out, 14, &[]);
        assert_eq!(out, b"\x62\x04\x01\x02\x80\x01\x6a\x08\0\0\0\0\0\0\xf0\x3f");
        out.clear();
        message(&mut out, 2, |out| bytes(out, 1, &[b'x'; 200]));
        assert_eq!(out[..6], [0x12, 0xcb, 0x01, 0x0a, 0xc8, 0x01]);
        assert_eq!(out.len(), 3 + 203);
    }
}
