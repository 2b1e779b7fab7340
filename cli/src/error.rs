//! Why a command failed, and the exit code that goes with it.
//!
//! A variant exists where some caller acts differently: following goes on when the server is away,
//! a closed output ends the program quietly. Every message tells the cure where there is one.

use std::fmt;
use std::io;

/// The command line is wrong; clap ends with the same code.
pub const EXIT_USAGE: u8 = 2;
/// The server does not answer.
pub const EXIT_UNREACHABLE: u8 = 3;

/// Why a command failed.
#[derive(Debug)]
pub enum Error {
    /// Anything that ends the command, in words for a person.
    Failed(String),
    /// The command line is wrong.
    Usage(String),
    /// There is no connection, or it broke.
    Unreachable(String),
    /// The server answered with an error.
    Refused { status: u16, message: String },
    /// Whoever reads the output has gone: `kansoku … | head`.
    OutputClosed,
    /// A program that was run in our place ended with this code and has said why.
    Exit(u8),
}

/// What commands give.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A failure in words.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// The code with which the program ends.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) | Self::Refused { .. } => 1,
            Self::Usage(_) => EXIT_USAGE,
            Self::Unreachable(_) => EXIT_UNREACHABLE,
            Self::OutputClosed => 0,
            Self::Exit(code) => *code,
        }
    }

    /// Whether the same request may succeed a moment later.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused { status, .. } => matches!(status, 429 | 502 | 503 | 504),
            Self::Failed(_) | Self::Usage(_) | Self::OutputClosed | Self::Exit(_) => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(text) | Self::Usage(text) | Self::Unreachable(text) => f.write_str(text),
            Self::Refused { message, .. } => f.write_str(message),
            Self::OutputClosed | Self::Exit(_) => Ok(()),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::Failed(error.to_string())
        }
    }
}
