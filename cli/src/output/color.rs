//! Colours for terminals: on when the output is one and NO_COLOR is not set.

use std::io::IsTerminal;

use crate::args::When;

/// Colours of prefixes, for telling pods apart: readable on dark and light.
const OF_PODS: [&str; 6] = ["36", "33", "32", "35", "34", "31"];

/// Whether there are colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Palette {
    on: bool,
}

impl Palette {
    /// As asked for, or as the standard output and the environment suggest.
    #[must_use]
    pub fn of(when: When) -> Self {
        let on = match when {
            When::Always => true,
            When::Never => false,
            When::Auto => {
                let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
                let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
                !refused && !dumb && std::io::stdout().is_terminal()
            }
        };
        Self { on }
    }

    /// No colours.
    #[must_use]
    pub const fn plain() -> Self {
        Self { on: false }
    }

    /// Bold, for headings.
    #[must_use]
    pub fn heading(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// A prefix in the colour of pod number `n`.
    #[must_use]
    pub fn of_pod(self, n: usize, text: &str) -> String {
        self.paint(OF_PODS[n % OF_PODS.len()], text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.on {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}
