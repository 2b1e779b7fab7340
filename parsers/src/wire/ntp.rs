//! NTP as a client of RFC 5905's simple kind speaks it: 48 bytes out, 48 bytes in.

use std::time::Duration;

use super::WireError;

const PACKET_BYTES: usize = 48;
const CLIENT: u8 = 3;
/// Seconds from 1900 to 1970.
const UNIX_S: u64 = 2_208_988_800;
const FRACTION: f64 = 4_294_967_296.0;
/// Of delays and dispersions: 16 bits of seconds, 16 of fractions.
const SHORT_FRACTION: f64 = 65_536.0;
/// The highest stratum of a server that is synchronized.
const MAX_STRATUM: u8 = 15;
const NOT_SYNCHRONIZED: u8 = 3;
/// A server that was synchronized longer ago is not believed; RFC 5905 lets polls be 36 hours apart.
const MAX_AGE_S: f64 = 129_600.0;
/// RFC 5905's MAXDISP.
const MAX_DISTANCE_S: f64 = 16.0;

/// Seconds since 1900 and 2^32ths of a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Of a time since 1970.
    #[must_use]
    pub fn of(since_1970: Duration) -> Self {
        let fraction = (u64::from(since_1970.subsec_nanos()) << 32) / 1_000_000_000;
        // The era that began in 2036 starts at 0 again.
        Self(((since_1970.as_secs() + UNIX_S) << 32) | fraction)
    }

    /// Seconds from `earlier` to this time, right as long as they are less than 68 years apart.
    #[must_use]
    pub fn seconds_since(self, earlier: Self) -> f64 {
        self.0.wrapping_sub(earlier.0).cast_signed() as f64 / FRACTION
    }

    /// Seconds since 1970, in the era before 2036 or, for small numbers, in the one after.
    #[must_use]
    pub fn unix_s(self) -> f64 {
        if self.0 == 0 {
            return 0.0;
        }
        let era = if self.0 >> 63 == 0 { FRACTION } else { 0.0 };
        self.0 as f64 / FRACTION + era - UNIX_S as f64
    }
}

/// A server's answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    /// 1 and 2 announce a leap second, 3 says that the clock is not synchronized.
    pub leap: u8,
    pub stratum: u8,
    pub root_delay_s: f64,
    pub root_dispersion_s: f64,
    /// When the server's clock was last set.
    pub reference: Timestamp,
    /// The time that the question gave.
    pub origin: Timestamp,
    pub receive: Timestamp,
    pub transmit: Timestamp,
}

impl Answer {
    /// Whether the server is synchronized, recently and near enough to the root.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let age_s = self.transmit.seconds_since(self.reference);
        (1..=MAX_STRATUM).contains(&self.stratum)
            && self.leap != NOT_SYNCHRONIZED
            && (0.0..=MAX_AGE_S).contains(&age_s)
            && self.root_delay_s / 2.0 + self.root_dispersion_s <= MAX_DISTANCE_S
    }
}

/// A question of a client of this protocol version.
#[must_use]
pub fn request(version: u8, now: Timestamp) -> [u8; PACKET_BYTES] {
    let mut bytes = [0; PACKET_BYTES];
    bytes[0] = (version << 3) | CLIENT;
    bytes[40..].copy_from_slice(&now.0.to_be_bytes());
    bytes
}

/// Reads an answer.
///
/// # Errors
/// When it is too short, no server's, or a refusal (stratum 0).
pub fn parse(bytes: &[u8]) -> Result<Answer, WireError> {
    const SERVER: u8 = 4;
    let error = |offset, what: &str| WireError {
        offset,
        what: what.to_owned(),
    };
    let bytes: &[u8; PACKET_BYTES] = bytes
        .first_chunk()
        .ok_or_else(|| error(bytes.len(), "an NTP packet that is cut"))?;
    if bytes[0] & 7 != SERVER {
        return Err(error(0, "an NTP packet that is no server's"));
    }
    if bytes[1] == 0 {
        let code = String::from_utf8_lossy(&bytes[12..16]);
        return Err(error(12, &format!("a refusal: {code}")));
    }
    let short = |at: usize| {
        let part = bytes[at..at + 4].try_into().unwrap_or_default();
        f64::from(u32::from_be_bytes(part)) / SHORT_FRACTION
    };
    let timestamp = |at: usize| {
        let part = bytes[at..at + 8].try_into().unwrap_or_default();
        Timestamp(u64::from_be_bytes(part))
    };
    Ok(Answer {
        leap: bytes[0] >> 6,
        stratum: bytes[1],
        root_delay_s: short(4),
        root_dispersion_s: short(8),
        reference: timestamp(16),
        origin: timestamp(24),
        receive: timestamp(32),
        transmit: timestamp(40),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers() {
        let now = Timestamp::of(Duration::from_millis(1_700_000_000_500));
        assert_eq!(now.unix_s(), 1_700_000_000.5);
        let mut bytes = request(4, now).to_vec();
        assert_eq!(bytes[0], 0x23);
        assert!(parse(&bytes).is_err(), "a question is no answer");
        bytes[0] = 0x24;
        assert!(parse(&bytes).is_err(), "a refusal");
        bytes[1] = 2;
        bytes[4..8].copy_from_slice(&[0, 1, 0x80, 0]);
        bytes[24..32].copy_from_slice(&now.0.to_be_bytes());
        let answer = parse(&bytes).expect("an answer");
        assert_eq!(
            (answer.stratum, answer.leap, answer.root_delay_s),
            (2, 0, 1.5)
        );
        assert_eq!(answer.origin, now);
        assert!(!answer.is_valid(), "never set");
        let recently = Answer {
            reference: answer.transmit,
            ..answer
        };
        assert!(recently.is_valid());
        assert_eq!(parse(&bytes[..47]).map_err(|e| e.offset), Err(47));
    }

    #[test]
    fn times_wrap_with_the_era() {
        let before = Timestamp(u64::MAX);
        let after = Timestamp(1 << 32);
        assert!((after.seconds_since(before) - 1.0).abs() < 1e-6);
        assert!(after.unix_s() > 2e9);
        assert_eq!(Timestamp(0).unix_s(), 0.0);
    }
}
