//! Helpers for end-to-end tests: start the real binaries, feed them, ask them.
//!
//! Binaries are taken from the target directory that the test itself was built into; one that is
//! missing there is built. `make test` builds them first, so that tests run what is in the tree.

pub mod agent;
pub mod aggregator;
pub mod command_line;
pub mod drop_in;
pub mod elasticsearch;
pub mod http;
pub mod kube_api;
pub mod log_writer;
pub mod pods;
pub mod program;
pub mod push;
pub mod random;
pub mod sink;
pub mod ttar;

use std::path::PathBuf;
use std::process::Command;

/// The path of one of our binaries.
///
/// # Panics
/// When it is not there and cannot be built.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let profile = test
        .parent()
        .and_then(|deps| deps.parent())
        .expect("tests lie in target/PROFILE/deps");
    let path = profile.join(name);
    if !path.exists() {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "-q", "-p", name])
            .status();
        assert!(
            built.is_ok_and(|s| s.success()) && path.exists(),
            "cannot build {name}; run 'cargo build -p {name}' to see why"
        );
    }
    path
}
