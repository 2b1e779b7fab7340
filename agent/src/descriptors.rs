//! How many files the process may have open.
//!
//! Container runtimes start programs with a soft limit of 1024, for the sake of `select`, which nothing
//! here calls, and leave the hard one high. Go's runtime raises it likewise.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// More are never wanted: 2000 log files with their rotated ones, the files of cgroups, connections.
/// Higher limits make programs slow that close every descriptor before they start another.
const WANTED: u64 = 65_536;

/// Raises the soft limit towards the hard one; that it cannot be is no error.
pub fn raise_limit() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    let wanted = hard.min(WANTED);
    if soft < wanted {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_only_rises() {
        let (before, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("limits are readable");
        raise_limit();
        let (after, still) = getrlimit(Resource::RLIMIT_NOFILE).expect("limits are readable");
        assert_eq!(after, before.max(hard.min(WANTED)));
        assert_eq!(still, hard);
    }
}
