//! io.stat of version 2: a line per device, `MAJOR:MINOR rbytes=1 wbytes=2 rios=3 ...`.

use super::blkio::device;
use crate::kernel::scan::{lines, number, words};

/// One device's counters; those that are not written are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Device {
    pub major: u32,
    pub minor: u32,
    pub read_bytes: u64,
    pub write_bytes: u64,
    pub reads: u64,
    pub writes: u64,
    /// Only where the controller iocost is on.
    pub cost: Option<Cost>,
}

/// What iocost charged, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    pub usage_us: u64,
    pub wait_us: u64,
    pub indebt_us: u64,
    pub indelay_us: u64,
}

/// The devices of the file. A device without counters (the kernel writes its number alone) and
/// lines of another shape are skipped.
pub fn devices(bytes: &[u8]) -> impl Iterator<Item = Device> {
    lines(bytes).filter_map(|line| {
        let mut words = words(line);
        let (major, minor) = device(words.next()?)?;
        let mut out = Device {
            major,
            minor,
            ..Device::default()
        };
        let mut any = false;
        for word in words {
            let Some(equals) = memchr::memchr(b'=', word) else {
                continue;
            };
            let Some(value) = number(&word[equals + 1..]) else {
                continue;
            };
            let mut cost = out.cost.unwrap_or_default();
            let is_cost = word.starts_with(b"cost.");
            let slot = match &word[..equals] {
                b"rbytes" => &mut out.read_bytes,
                b"wbytes" => &mut out.write_bytes,
                b"rios" => &mut out.reads,
                b"wios" => &mut out.writes,
                b"cost.usage" => &mut cost.usage_us,
                b"cost.wait" => &mut cost.wait_us,
                b"cost.indebt" => &mut cost.indebt_us,
                b"cost.indelay" => &mut cost.indelay_us,
                _ => continue,
            };
            *slot = value;
            any = true;
            if is_cost {
                out.cost = Some(cost);
            }
        }
        any.then_some(out)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_by_name() {
        let sample = b"8:0 rbytes=90112 wbytes=0 rios=3 wios=0 dbytes=0 dios=0 cost.usage=9\n7:0 \n254:0 wios=4\n";
        let all: Vec<_> = devices(sample).collect();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].read_bytes, all[0].reads), (90_112, 3));
        let cost = all[0].cost.expect("iocost is on");
        assert_eq!((cost.usage_us, cost.wait_us), (9, 0));
        assert_eq!(all[1].cost, None);
        assert_eq!((all[1].major, all[1].writes), (254, 4));
    }
}
