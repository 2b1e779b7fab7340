//! What a start has to say about who can reach the listener.

use std::net::IpAddr;

/// The warning of a listener that strangers reach, with its cure; none where all is well.
#[must_use]
pub fn warning(address: IpAddr, is_tls: bool, has_access: bool) -> Option<&'static str> {
    if address.is_loopback() {
        return None;
    }
    match (has_access, is_tls) {
        (true, true) => None,
        (true, false) => Some(
            "passwords and tokens cross the network in the clear: give certificates with --web.config.file, or let a proxy speak TLS",
        ),
        (false, _) => Some(
            "whoever reaches this address may read, store and delete everything: give users and tokens with --access.file, or listen on 127.0.0.1 (--web.listen-address)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_strangers_reach_is_warned_about() {
        for (address, is_tls, has_access, expected) in [
            ("127.0.0.1", false, false, ""),
            ("::1", false, false, ""),
            ("0.0.0.0", true, true, ""),
            ("0.0.0.0", false, true, "--web.config.file"),
            ("10.0.0.1", false, false, "--access.file"),
            ("::", true, false, "--access.file"),
        ] {
            let told = warning(address.parse().unwrap(), is_tls, has_access).unwrap_or("");
            assert!(told.contains(expected), "{address}: {told}");
            assert_eq!(told.is_empty(), expected.is_empty(), "{address}: {told}");
        }
    }
}
