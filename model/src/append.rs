//! Appending short runs of bytes, of which lines and numbers are put together.

/// Appends a few bytes. Copies of a known length need no call, and most values are as short as that.
#[inline]
pub fn extend(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        0 => {}
        1..=3 => bytes.iter().for_each(|b| out.push(*b)),
        4..=7 => extend_overlapping::<4>(out, bytes),
        8..=16 => extend_overlapping::<8>(out, bytes),
        17..=32 => extend_overlapping::<16>(out, bytes),
        _ => out.extend_from_slice(bytes),
    }
}

/// Appends N to 2N bytes as the first N and the last N.
#[inline]
fn extend_overlapping<const N: usize>(out: &mut Vec<u8>, bytes: &[u8]) {
    let (Some(first), Some(last)) = (bytes.first_chunk::<N>(), bytes.last_chunk::<N>()) else {
        return out.extend_from_slice(bytes);
    };
    let end = out.len() + bytes.len();
    out.extend_from_slice(first);
    out.truncate(end - N);
    out.extend_from_slice(last);
}
