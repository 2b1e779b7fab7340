//! One counter of the kernel's performance events on one CPU, over all processes.
//!
//! The only call that has no safe form is perf_event_open(2) itself; a counter is read as a file.

use std::os::fd::{FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::unistd::read;

/// `PERF_ATTR_SIZE_VER0`, which every kernel takes: the fields below are all that is needed.
const ATTRIBUTE_BYTES: usize = 64;
/// The place of the flags in the attributes.
const FLAGS_AT: usize = 40;
/// `exclude_hv`: what the hypervisor does is not counted.
const EXCLUDE_HYPERVISOR: u64 = 1 << 6;
const CLOSE_ON_EXEC: libc::c_ulong = 8;
const EVERY_PROCESS: libc::pid_t = -1;
const NO_GROUP: libc::c_int = -1;

/// What is counted: `perf_event_attr`'s type and config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Event {
    pub kind: u32,
    pub config: u64,
}

/// An event being counted since this was made.
pub(super) struct Counter {
    fd: OwnedFd,
}

impl Counter {
    /// Begins to count.
    ///
    /// # Errors
    /// Those of perf_event_open(2): no such event or CPU, or no right.
    #[allow(unsafe_code)]
    pub(super) fn new(event: Event, cpu: u32) -> nix::Result<Self> {
        let attributes = attributes(event);
        let cpu = libc::c_int::try_from(cpu).map_err(|_| Errno::EINVAL)?;
        // SAFETY: the attributes outlive the call, and are as long as their second field says.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                attributes.as_ptr(),
                EVERY_PROCESS,
                cpu,
                NO_GROUP,
                CLOSE_ON_EXEC,
            )
        };
        let fd = libc::c_int::try_from(Errno::result(answer)?).map_err(|_| Errno::EBADF)?;
        // SAFETY: the kernel has just given this descriptor, and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd })
    }

    /// How often it has happened.
    pub(super) fn value(&self) -> nix::Result<u64> {
        let mut bytes = [0; size_of::<u64>()];
        match read(&self.fd, &mut bytes)? {
            n if n == bytes.len() => Ok(u64::from_ne_bytes(bytes)),
            // A counter that the hardware could not keep reads as the end of a file.
            _ => Err(Errno::ENODATA),
        }
    }
}

/// `perf_event_attr`, words of 64 bits for its alignment.
fn attributes(event: Event) -> [u64; ATTRIBUTE_BYTES / size_of::<u64>()] {
    let mut words = [0; ATTRIBUTE_BYTES / size_of::<u64>()];
    let mut first = [0; size_of::<u64>()];
    first[..4].copy_from_slice(&event.kind.to_ne_bytes());
    first[4..].copy_from_slice(&(ATTRIBUTE_BYTES as u32).to_ne_bytes());
    words[0] = u64::from_ne_bytes(first);
    words[1] = event.config;
    words[FLAGS_AT / size_of::<u64>()] = if cfg!(target_endian = "little") {
        EXCLUDE_HYPERVISOR
    } else {
        EXCLUDE_HYPERVISOR.reverse_bits()
    };
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT_SWITCHES: Event = Event { kind: 1, config: 3 };

    #[test]
    fn attributes_are_those_of_the_first_version() {
        let words = attributes(Event { kind: 2, config: 7 });
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(bytes[..4], 2u32.to_ne_bytes());
        assert_eq!(bytes[4..8], 64u32.to_ne_bytes());
        assert_eq!(bytes[8..16], 7u64.to_ne_bytes());
        assert!(bytes[16..40].iter().chain(&bytes[48..]).all(|b| *b == 0));
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        let nothing = Event {
            kind: 1,
            config: u64::MAX,
        };
        assert!(Counter::new(nothing, 0).is_err());
        assert!(Counter::new(CONTEXT_SWITCHES, u32::MAX).is_err());
    }

    #[test]
    fn counters_grow_where_counting_is_allowed() {
        let counter = match Counter::new(CONTEXT_SWITCHES, 0) {
            Ok(counter) => counter,
            Err(error) => {
                assert!(
                    matches!(error, Errno::EACCES | Errno::EPERM | Errno::ENOSYS),
                    "{error}"
                );
                return;
            }
        };
        let before = counter.value().expect("a number");
        assert!(counter.value().expect("a number") >= before);
    }
}
