//! What the program does besides serving: check, inspect, backup, restore.
//!
//! They work on the folder of a store without an aggregator; results go to stdout. The one rule: nothing
//! is ever written into a folder that holds something else.

pub mod backup;
pub mod check;
pub mod destination;
pub mod inspect;
pub mod listing;
pub mod restore;
mod s3_http;

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// One of them.
#[derive(Debug, Clone, Subcommand)]
pub enum Tool {
    /// Reads all of a store that is not in use and says what is damaged; ends with 1 if something is.
    Check(StorePath),
    /// Shows parts, time ranges, and what takes the room by stream, metric and label.
    Inspect {
        #[command(flatten)]
        store: StorePath,
        /// Lines of each list.
        #[arg(long, value_name = "N", default_value_t = 20)]
        top: usize,
    },
    /// Copies a store, which may be in use, to a folder or an S3 bucket; only what is not there yet.
    Backup {
        #[command(flatten)]
        store: StorePath,
        /// A folder, or s3://BUCKET/PREFIX with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
        /// AWS_REGION and, for another server than Amazon's, AWS_ENDPOINT_URL in the environment.
        #[arg(long, value_name = "DESTINATION")]
        to: String,
    },
    /// Writes a backup into an empty folder, verifies it, and checks the store that it made.
    Restore {
        /// Where the backup lies; as of backup.
        #[arg(long, value_name = "DESTINATION")]
        from: String,
        /// The backup's name; the newest by default.
        #[arg(long, value_name = "NAME")]
        backup: Option<String>,
        /// Only shows which backups there are.
        #[arg(long)]
        list: bool,
        #[command(flatten)]
        store: StorePath,
    },
}

/// Which store.
#[derive(Debug, Clone, Args)]
pub struct StorePath {
    /// Folder of the store.
    #[arg(long = "storage.path", value_name = "FOLDER", default_value = "data")]
    pub path: PathBuf,
}

/// Does it and prints what there is to say; false when a store is damaged.
///
/// # Errors
/// Why it could not be done, with the cure.
pub async fn run(tool: Tool) -> Result<bool, String> {
    match tool {
        Tool::Check(store) => check::run(&store.path),
        Tool::Inspect { store, top } => inspect::run(&store.path, top).map(|()| true),
        Tool::Backup { store, to } => backup::run(&store.path, &to).await.map(|()| true),
        Tool::Restore {
            from,
            backup,
            list,
            store,
        } => match list {
            true => restore::list(&from).await.map(|()| true),
            false => restore::run(&from, backup.as_deref(), &store.path).await,
        },
    }
}
