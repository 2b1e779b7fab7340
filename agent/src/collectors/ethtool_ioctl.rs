//! Questions to network drivers with the ioctl of ethtool(8). The netlink form of it has only the
//! statistics that are standardized, not those that drivers name themselves.

use std::os::fd::{AsRawFd, OwnedFd};

use kansoku_parsers::kernel::netlink::{c_text, u32_at, u64_at};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

const SIOCETHTOOL: u64 = 0x8946;
const GET_SETTINGS: u32 = 0x1;
const GET_DRIVER: u32 = 0x3;
const GET_STRINGS: u32 = 0x1b;
const GET_STATS: u32 = 0x1d;
const GET_SET_INFO: u32 = 0x37;
/// The set of strings that names the statistics.
const SET_STATS: u32 = 1;

/// `ethtool_cmd`, `ethtool_drvinfo` and `ethtool_sset_info` with one count.
const SETTINGS_BYTES: usize = 44;
const DRIVER_BYTES: usize = 196;
const SET_INFO_BYTES: usize = 20;
const AUTONEGOTIATE_AT: usize = 18;
const STRING_BYTES: usize = 32;
/// Statistics of one device at the most; drivers of 100 queues have some thousands.
const MAX_STATISTICS: usize = 1 << 16;
/// Room for statistics that a device gets between the question how many and the next.
const SPARE_STATISTICS: usize = 4096;

/// Where questions go.
pub(super) struct Ethtool {
    socket: OwnedFd,
}

/// What a port can do, as bits of the first 32 link modes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub supported: u32,
    pub advertised: u32,
    pub autonegotiate: u8,
}

/// What a driver says of itself.
#[derive(Debug)]
pub(super) struct Driver {
    pub name: String,
    pub version: String,
    pub firmware_version: String,
    pub bus_info: String,
    pub expansion_rom_version: String,
}

impl Ethtool {
    pub(super) fn new() -> nix::Result<Self> {
        let socket = socket(
            AddressFamily::Inet,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        Ok(Self { socket })
    }

    pub(super) fn settings(&self, device: &str) -> nix::Result<Settings> {
        let bytes = self.ask(device, GET_SETTINGS, &[], SETTINGS_BYTES)?;
        Ok(Settings {
            supported: u32_at(&bytes, 4).unwrap_or(0),
            advertised: u32_at(&bytes, 8).unwrap_or(0),
            autonegotiate: bytes[AUTONEGOTIATE_AT],
        })
    }

    pub(super) fn driver(&self, device: &str) -> nix::Result<Driver> {
        let bytes = self.ask(device, GET_DRIVER, &[], DRIVER_BYTES)?;
        let text = |index: usize| {
            let at = 4 + index * STRING_BYTES;
            c_text(&bytes[at..at + STRING_BYTES])
        };
        Ok(Driver {
            name: text(0),
            version: text(1),
            firmware_version: text(2),
            bus_info: text(3),
            expansion_rom_version: text(4),
        })
    }

    /// How many statistics the device has.
    pub(super) fn n_statistics(&self, device: &str) -> nix::Result<usize> {
        // Behind four free bytes a mask of sets, to which the kernel leaves those that exist.
        let mask = 1u64 << SET_STATS;
        let low = (mask & 0xffff_ffff) as u32;
        let parameters = if cfg!(target_endian = "little") {
            [0, low, 0]
        } else {
            [0, 0, low]
        };
        let bytes = self.ask(device, GET_SET_INFO, &parameters, SET_INFO_BYTES)?;
        if u64_at(&bytes, 8) != Some(mask) {
            return Err(Errno::EOPNOTSUPP);
        }
        let n = u32_at(&bytes, 16).unwrap_or(0) as usize;
        if n > MAX_STATISTICS {
            return Err(Errno::EOVERFLOW);
        }
        Ok(n)
    }

    /// Their names.
    pub(super) fn names(&self, device: &str, n: usize) -> nix::Result<Vec<String>> {
        const HEADER_BYTES: usize = 12;
        let room = HEADER_BYTES + (n + SPARE_STATISTICS) * STRING_BYTES;
        let bytes = self.ask(device, GET_STRINGS, &[SET_STATS, n as u32], room)?;
        let n = u32_at(&bytes, 8).unwrap_or(0) as usize;
        let names = bytes[HEADER_BYTES..].chunks_exact(STRING_BYTES).take(n);
        Ok(names.map(c_text).collect())
    }

    /// Their values.
    pub(super) fn values(&self, device: &str, n: usize) -> nix::Result<Vec<u64>> {
        const HEADER_BYTES: usize = 8;
        let room = HEADER_BYTES + (n + SPARE_STATISTICS) * size_of::<u64>();
        let bytes = self.ask(device, GET_STATS, &[n as u32], room)?;
        let n = u32_at(&bytes, 4).unwrap_or(0) as usize;
        let values = bytes[HEADER_BYTES..].chunks_exact(size_of::<u64>()).take(n);
        Ok(values.filter_map(|value| u64_at(value, 0)).collect())
    }

    /// Sends a command with its parameters; gives the `room` bytes that it has become.
    #[allow(unsafe_code)]
    fn ask(
        &self,
        device: &str,
        command: u32,
        parameters: &[u32],
        room: usize,
    ) -> nix::Result<Vec<u8>> {
        // Words of 64 bits, as the structures' alignment asks for.
        let mut words = vec![0u64; room.div_ceil(size_of::<u64>())];
        let mut bytes = Vec::with_capacity(room);
        for number in [&[command][..], parameters].concat() {
            bytes.extend_from_slice(&number.to_ne_bytes());
        }
        for (word, part) in words.iter_mut().zip(bytes.chunks(size_of::<u64>())) {
            let mut whole = [0; size_of::<u64>()];
            whole[..part.len()].copy_from_slice(part);
            *word = u64::from_ne_bytes(whole);
        }
        let mut name = [0; libc::IFNAMSIZ];
        if device.len() >= name.len() {
            return Err(Errno::ENAMETOOLONG);
        }
        for (slot, byte) in name.iter_mut().zip(device.bytes()) {
            *slot = byte.cast_signed() as libc::c_char;
        }
        let mut request = libc::ifreq {
            ifr_name: name,
            ifr_ifru: libc::__c_anonymous_ifr_ifru {
                ifru_data: words.as_mut_ptr().cast(),
            },
        };
        let fd = self.socket.as_raw_fd();
        // SAFETY: the request and the words that it points to outlive the call, and the kernel
        // writes no more than the structure of the command: fixed ones fit `room` by definition,
        // those with a list have room for what the kernel just said it has and 4096 more.
        let answer = unsafe { libc::ioctl(fd, SIOCETHTOOL as _, &raw mut request) };
        Errno::result(answer)?;
        Ok(words.into_iter().flat_map(u64::to_ne_bytes).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_devices_and_long_names_are_refused() {
        let ethtool = Ethtool::new().expect("a socket");
        let error = ethtool.settings("no-such-dev").expect_err("no such device");
        assert_eq!(error, Errno::ENODEV);
        let error = ethtool
            .driver("a-name-that-is-too-long")
            .expect_err("too long");
        assert_eq!(error, Errno::ENAMETOOLONG);
    }

    #[test]
    fn names_and_values_are_as_many_as_the_driver_says() {
        let ethtool = Ethtool::new().expect("a socket");
        for entry in std::fs::read_dir("/sys/class/net").expect("listed") {
            let device = entry.expect("an entry").file_name();
            let device = device.to_str().expect("a name");
            let Ok(n) = ethtool.n_statistics(device) else {
                continue;
            };
            let names = ethtool.names(device, n).expect("names");
            assert_eq!(names.len(), n, "{device}");
            assert_eq!(
                ethtool.values(device, n).expect("values").len(),
                n,
                "{device}"
            );
        }
    }
}
