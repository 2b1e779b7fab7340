//! One call of adjtimex(2), which reads the kernel's clock discipline; no crate in use has a safe
//! form of it.

use nix::errno::Errno;
use nix::libc;

/// What the kernel says of its clock, and the call's answer: 5 (`TIME_ERROR`) means not synchronised.
#[allow(unsafe_code)]
pub(super) fn read() -> nix::Result<(libc::timex, i32)> {
    // SAFETY: `timex` is a C structure of integers, for which all bits 0 are a value.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: adjtimex(2) writes to the structure that it is given and nothing else; `modes` is 0,
    // so it changes nothing of the clock.
    let answer = unsafe { libc::adjtimex(&raw mut timex) };
    Ok((timex, Errno::result(answer)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_ticks() {
        let (timex, _) = read().expect("anybody may read");
        assert!(timex.tick > 0);
    }
}
