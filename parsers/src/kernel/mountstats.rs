//! /proc/PID/mountstats: what each NFS mount has done. Mounts of other kinds are one line each.

use super::Malformed;
use super::scan::{decimal, lines, number, text, words};

/// Numbers of a line `xprt:` as the longest, that of RDMA, has them.
const TRANSPORT_NUMBERS: usize = 31;
/// Requests, transmissions, timeouts, bytes sent and received, and three times.
const OPERATION_NUMBERS: usize = 8;

/// An NFS mount.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Nfs<'a> {
    /// Server and path.
    pub device: &'a str,
    pub mount_point: &'a str,
    pub age_seconds: f64,
    /// The numbers of the lines `bytes:` and `events:` in their order.
    pub bytes: Vec<u64>,
    pub events: Vec<u64>,
    pub transports: Vec<Transport<'a>>,
    /// Operations and their numbers in the order of the line.
    pub operations: Vec<(&'a str, [u64; OPERATION_NUMBERS])>,
}

/// A connection to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transport<'a> {
    pub protocol: &'a str,
    /// Of all protocols in the order of RDMA's; what a protocol does not count is 0.
    pub numbers: [u64; TRANSPORT_NUMBERS],
}

/// The NFS mounts in the file's order.
pub fn nfs(bytes: &[u8]) -> impl Iterator<Item = Result<Nfs<'_>, Malformed>> {
    let mut lines = lines(bytes).enumerate().peekable();
    std::iter::from_fn(move || {
        loop {
            let (_, line) = lines.next()?;
            let Some((device, mount_point)) = nfs_device(line) else {
                continue;
            };
            let mut mount = Nfs {
                device,
                mount_point,
                ..Nfs::default()
            };
            // Up to the next mount; the last block is the operations.
            let is_of_mount = |(_, line): &(usize, &[u8])| !line.starts_with(b"device ");
            let mut is_per_operation = false;
            while let Some((index, line)) = lines.next_if(is_of_mount) {
                if mount.take(line, &mut is_per_operation).is_none() {
                    return Some(Err(Malformed {
                        format: "mountstats",
                        line: index + 1,
                        expected: "the numbers of an NFS mount",
                    }));
                }
            }
            return Some(Ok(mount));
        }
    })
}

/// `device 10.0.0.1:/srv mounted on /mnt with fstype nfs4 statvers=1.1`
fn nfs_device(line: &[u8]) -> Option<(&str, &str)> {
    let words: Vec<&str> = words(line).filter_map(text).collect();
    match words.as_slice() {
        [
            "device",
            device,
            "mounted",
            "on",
            point,
            "with",
            "fstype",
            "nfs" | "nfs4",
            _,
            ..,
        ] => Some((device, point)),
        _ => None,
    }
}

impl<'a> Nfs<'a> {
    /// Takes a line of the mount; `None` when it is not what it should be.
    fn take(&mut self, line: &'a [u8], is_per_operation: &mut bool) -> Option<()> {
        let mut words = words(line);
        let Some(key) = words.next() else {
            return Some(());
        };
        if *is_per_operation {
            let mut numbers = [0; OPERATION_NUMBERS];
            for slot in &mut numbers {
                *slot = number(words.next()?)?;
            }
            self.operations
                .push((text(key)?.trim_end_matches(':'), numbers));
            return Some(());
        }
        match key {
            b"age:" => self.age_seconds = decimal(words.next()?)?,
            b"bytes:" => self.bytes = words.map(number).collect::<Option<_>>()?,
            b"events:" => self.events = words.map(number).collect::<Option<_>>()?,
            b"xprt:" => {
                let protocol = text(words.next()?)?;
                let numbers = words.map(number).collect::<Option<Vec<u64>>>()?;
                self.transports.push(Transport {
                    protocol,
                    numbers: transport_numbers(protocol, &numbers)?,
                });
            }
            b"per-op" => *is_per_operation = true,
            _ => {}
        }
        Some(())
    }
}

/// UDP lacks the three numbers of connections behind the second, RDMA the three of queues behind
/// the tenth.
fn transport_numbers(protocol: &str, given: &[u64]) -> Option<[u64; TRANSPORT_NUMBERS]> {
    let gap_at = match protocol {
        "udp" => 2,
        "rdma" => 10,
        "tcp" => given.len(),
        _ => return None,
    };
    let (before, after) = given.split_at_checked(gap_at)?;
    let all = before.iter().chain(&[0; 3]).chain(after);
    let mut numbers = [0; TRANSPORT_NUMBERS];
    for (slot, number) in numbers.iter_mut().zip(all) {
        *slot = *number;
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &[u8] = b"device rootfs mounted on / with fstype rootfs\n\
        device a:/srv mounted on /mnt with fstype nfs4 statvers=1.1\n\
        \topts:\trw,vers=4.0\n\
        \tage:\t12.5\n\
        \tbytes:\t1 2 3 4 5 6 7 8\n\
        \txprt:\ttcp 832 0 1 0 11 6428 6428 0 12154 0 24 26 5726\n\
        \txprt:\tudp 832 7 6428 6428 0 12154 0 24 26 5726\n\
        \tper-op statistics\n\
        \t        NULL: 1 2 3 4 5 6 7 8 9\n\n\
        device b:/srv mounted on /b with fstype nfs statvers=1.1\n";

    #[test]
    fn nfs_mounts_have_numbers() {
        let mounts: Result<Vec<_>, _> = nfs(SAMPLE).collect();
        let mounts = mounts.expect("well formed");
        assert_eq!(mounts.len(), 2);
        let mount = &mounts[0];
        assert_eq!((mount.device, mount.mount_point), ("a:/srv", "/mnt"));
        assert_eq!((mount.age_seconds, mount.bytes[7]), (12.5, 8));
        let [tcp, udp] = mount.transports[..] else {
            panic!("two transports");
        };
        assert_eq!((tcp.numbers[4], tcp.numbers[12]), (11, 5726));
        assert_eq!(
            (udp.numbers[1], udp.numbers[4], udp.numbers[5]),
            (7, 0, 6428)
        );
        assert_eq!(mount.operations, [("NULL", [1, 2, 3, 4, 5, 6, 7, 8])]);
    }

    #[test]
    fn cut_files_are_no_panic() {
        for end in 0..SAMPLE.len() {
            let _ = nfs(&SAMPLE[..end]).count();
        }
        let bad = b"device a:/ mounted on /m with fstype nfs statvers=1.1\n age: x\n";
        assert!(nfs(bad).any(|m| m.is_err()));
    }
}
