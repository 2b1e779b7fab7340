//! What only btrfs's ioctls tell of the devices of a file system: bytes that no chunk uses, and the
//! errors that each device has given. The kernel answers root only.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

use kansoku_parsers::kernel::netlink::{c_text, u64_at};
use nix::errno::Errno;
use nix::libc;

/// The letter of btrfs's ioctls.
const MAGIC: u64 = 0x94;
const READ: u64 = 2;
const READ_WRITE: u64 = 3;
/// `btrfs_ioctl_fs_info_args`: highest id, number of devices, id of the file system.
const INFO: Request = Request::new(READ, 31, 1024);
/// `btrfs_ioctl_dev_info_args`: id, UUID, bytes used, bytes, ..., path.
const DEVICE: Request = Request::new(READ_WRITE, 30, 4096);
const PATH_AT: usize = 3072;
/// `btrfs_ioctl_get_dev_stats`: id, number of values, flags, values.
const STATISTICS: Request = Request::new(READ_WRITE, 52, 1032);
const VALUES_AT: usize = 24;
/// Write, read, flush, corruption and generation errors.
pub(super) const N_ERRORS: usize = 5;
/// Ids are asked for one by one; more were never given to one file system.
const MAX_ID: u64 = 1 << 16;

struct Request {
    number: u64,
    bytes: usize,
}

impl Request {
    /// `_IOR` and `_IOWR` of `asm-generic/ioctl.h`, which all machines of ours follow.
    const fn new(direction: u64, number: u64, bytes: usize) -> Self {
        Self {
            number: direction << 30 | (bytes as u64) << 16 | MAGIC << 8 | number,
            bytes,
        }
    }
}

/// A device of a file system.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Device {
    /// Without its folder.
    pub name: String,
    pub uuid: String,
    pub size_bytes: u64,
    pub used_bytes: u64,
    pub errors: [u64; N_ERRORS],
}

/// The id of the file system that is mounted there, in hexadecimal digits, and its devices.
///
/// # Errors
/// Those of the system: no right, no such mount, no btrfs.
pub(super) fn devices(mount_point: &Path) -> anyhow::Result<(String, Vec<Device>)> {
    let file = File::open(mount_point)?;
    let info = ask(&file, &INFO, &[])?;
    let number = |at| u64_at(&info, at).unwrap_or(0);
    let (max_id, n_devices) = (number(0).min(MAX_ID), number(8));
    let mut devices = Vec::new();
    for id in 0..=max_id {
        if devices.len() as u64 == n_devices {
            break;
        }
        match device(&file, id) {
            Ok(device) => devices.push(device),
            // Ids do not begin with 0, and those of removed devices are missing.
            Err(Errno::ENODEV) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok((hexadecimal(&info[16..32]), devices))
}

fn device(file: &File, id: u64) -> nix::Result<Device> {
    let device = ask(file, &DEVICE, &[id])?;
    let mut errors = [0; N_ERRORS];
    let statistics = ask(file, &STATISTICS, &[id, N_ERRORS as u64])?;
    for (at, error) in errors.iter_mut().enumerate() {
        *error = u64_at(&statistics, VALUES_AT + at * size_of::<u64>()).unwrap_or(0);
    }
    let path = c_text(&device[PATH_AT..]);
    Ok(Device {
        name: path.rsplit('/').next().unwrap_or_default().to_owned(),
        uuid: uuid(&device[8..24]),
        used_bytes: u64_at(&device, 24).unwrap_or(0),
        size_bytes: u64_at(&device, 32).unwrap_or(0),
        errors,
    })
}

/// Sends a structure that begins with these numbers; gives what it has become.
#[allow(unsafe_code)]
fn ask(file: &File, request: &Request, numbers: &[u64]) -> nix::Result<Vec<u8>> {
    let mut words = vec![0u64; request.bytes / size_of::<u64>()];
    for (word, number) in words.iter_mut().zip(numbers) {
        *word = *number;
    }
    // SAFETY: the kernel writes no more bytes than the number of the request says, which is how
    // many the words have; they outlive the call and are aligned as the structure asks for.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), request.number as _, words.as_mut_ptr()) };
    Errno::result(answer)?;
    Ok(words.into_iter().flat_map(u64::to_ne_bytes).collect())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The usual form: `8-4-4-4-12` digits.
fn uuid(bytes: &[u8]) -> String {
    let digits = hexadecimal(bytes);
    let mut out = String::with_capacity(digits.len() + 4);
    for (at, digit) in digits.chars().enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            out.push('-');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_headers() {
        assert_eq!(INFO.number, 0x8400_941f);
        assert_eq!(DEVICE.number, 0xd000_941e);
        assert_eq!(STATISTICS.number, 0xc408_9434);
    }

    #[test]
    fn what_is_no_btrfs_is_refused() {
        let error = devices(Path::new("/proc")).expect_err("no btrfs");
        assert_eq!(error.downcast_ref(), Some(&Errno::ENOTTY));
        assert!(devices(Path::new("/no/such/mount")).is_err());
    }

    #[test]
    fn uuids_have_dashes() {
        let bytes: Vec<u8> = (0..16).collect();
        assert_eq!(uuid(&bytes), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    }
}
