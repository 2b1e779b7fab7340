//! udev's database of a device, /run/udev/data/bMAJOR:MINOR: its properties are lines `E:KEY=VALUE`.

use super::scan::{after, lines, text};

/// The value of one property.
#[must_use]
pub fn property<'a>(bytes: &'a [u8], key: &str) -> Option<&'a str> {
    lines(bytes).find_map(|line| {
        let pair = after(line, "E:")?;
        text(after(after(pair, key)?, "=")?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_keys_of_properties() {
        let sample = b"S:disk/by-id/x\nI:1\nE:ID_SERIAL_SHORT=b\nE:ID_SERIAL=a=1\nG:systemd\n";
        assert_eq!(property(sample, "ID_SERIAL"), Some("a=1"));
        assert_eq!(property(sample, "ID_SERIAL_SHORT"), Some("b"));
        assert_eq!(property(sample, "ID"), None);
        assert_eq!(property(b"E:A=\xff\n", "A"), None);
    }
}
