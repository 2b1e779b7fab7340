//! What the program does besides serving: check, inspect, backup, restore.
//!
//! They work on the folder of a store without an aggregator; results go to stdout. The one rule: nothing
//! is ever written into a folder that holds something else.

pub mod backup;
pub mod check;
pub mod check_rules;
pub mod destination;
pub mod inspect;
pub mod listing;
mod prune;
pub mod restore;
mod s3_http;
pub mod token;

use std::path::PathBuf;
use std::time::Duration;

use check_rules::CheckRules;
use clap::{Args, Subcommand};
use destination::Destination;
use kansoku_model::tenant;

use crate::output::line;
use crate::settings::parse_duration;
use crate::{clock, tenants};

/// One of them.
#[derive(Debug, Clone, Subcommand)]
pub enum Tool {
    /// Reads all of a store that is not in use and says what is damaged; ends with 1 if something is.
    #[command(args_conflicts_with_subcommands = true)]
    Check {
        #[command(flatten)]
        store: StorePath,
        #[command(subcommand)]
        other: Option<OtherCheck>,
    },
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
        #[command(flatten)]
        keep: Keep,
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
    /// Makes tokens of --access.file.
    #[command(subcommand)]
    Token(token::TokenTool),
    /// Makes passwords of --access.file, and checks it.
    #[command(subcommand)]
    Access(token::AccessTool),
}

/// What can be checked besides stores.
#[derive(Debug, Clone, Subcommand)]
pub enum OtherCheck {
    /// Says whether rule files are right, or runs unit tests of rules; output and exit codes are promtool's.
    Rules(CheckRules),
}

/// Which stores.
#[derive(Debug, Clone, Args)]
pub struct StorePath {
    /// Folder of the store, and of those of tenants below it.
    #[arg(long = "storage.path", value_name = "FOLDER", default_value = "data")]
    pub path: PathBuf,

    /// Only the store of this tenant, in tenants/NAME; all of them by default.
    #[arg(long, value_name = "NAME", value_parser = tenant_name)]
    pub tenant: Option<String>,
}

/// Which older backups are removed once a new one is whole; all stay without either. With both, what either
/// keeps stays. What a kept one needs stays in any case.
#[derive(Debug, Clone, Default, Args)]
pub struct Keep {
    /// Keep this many of the newest, the one that is made included.
    #[arg(long = "keep-last", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub last: Option<u32>,

    /// Keep those that are younger than this, for example 30d.
    #[arg(long = "keep-within", value_name = "DURATION", value_parser = parse_duration)]
    pub within: Option<Duration>,
}

fn tenant_name(text: &str) -> Result<String, String> {
    tenant::check(text).map(|()| text.to_owned())
}

/// A store, and the tenant whose it is; none for the one in the folder itself.
pub(crate) struct Found {
    pub tenant: Option<String>,
    pub path: PathBuf,
}

impl Found {
    /// The folder of its backups below a destination.
    fn prefix(&self) -> Option<String> {
        let tenant = self.tenant.as_ref()?;
        Some(format!("{}/{tenant}", tenants::FOLDER))
    }
}

impl StorePath {
    fn of_tenant(&self, tenant: &str) -> Found {
        Found {
            tenant: Some(tenant.to_owned()),
            path: self.path.join(tenants::FOLDER).join(tenant),
        }
    }

    /// The stores that are there.
    fn found(&self) -> Result<Vec<Found>, String> {
        let all = tenants::folders(&self.path)?;
        if let Some(name) = &self.tenant {
            if all.iter().any(|(known, _)| known == name) {
                return Ok(vec![self.of_tenant(name)]);
            }
            return Err(format!(
                "there is no store of tenant '{name}' in {}/{}; what lies in {} itself is that of the default tenant",
                self.path.display(),
                tenants::FOLDER,
                self.path.display()
            ));
        }
        let own = Found {
            tenant: None,
            path: self.path.clone(),
        };
        let others = all.iter().map(|(name, _)| self.of_tenant(name));
        Ok(std::iter::once(own).chain(others).collect())
    }
}

/// Says whose store comes now, where there are several.
fn tell(store: &Found, n_stores: usize) {
    match &store.tenant {
        Some(name) => line(format_args!("\ntenant {name}:")),
        None if n_stores > 1 => line(format_args!("default tenant:")),
        None => {}
    }
}

/// Does it and prints what there is to say; gives the exit code, which is not 0 when what was checked is
/// wrong.
///
/// # Errors
/// Why it could not be done, with the cure.
pub async fn run(tool: Tool) -> Result<u8, String> {
    if let Tool::Check {
        other: Some(OtherCheck::Rules(checked)),
        ..
    } = &tool
    {
        return Ok(check_rules::run(checked));
    }
    match tool {
        Tool::Token(tool) => token::run_token(tool).map(|()| 0),
        Tool::Access(tool) => token::run_access(tool).await.map(|()| 0),
        tool => run_on_stores(tool)
            .await
            .map(|is_sound| u8::from(!is_sound)),
    }
}

/// False when a store is damaged.
async fn run_on_stores(tool: Tool) -> Result<bool, String> {
    match tool {
        Tool::Token(_) | Tool::Access(_) => Ok(true),
        Tool::Check { store, .. } => {
            let (stores, mut is_sound) = (store.found()?, true);
            for store in &stores {
                tell(store, stores.len());
                is_sound &= check::run(&store.path)?;
            }
            Ok(is_sound)
        }
        Tool::Inspect { store, top } => {
            let stores = store.found()?;
            for store in &stores {
                tell(store, stores.len());
                inspect::run(&store.path, top)?;
            }
            Ok(true)
        }
        Tool::Backup { store, to, keep } => {
            let (stores, destination) = (store.found()?, Destination::of(&to)?);
            let now_ms = clock::now_ms();
            for store in &stores {
                tell(store, stores.len());
                let destination = destination.below(store.prefix().as_deref());
                backup::run(&store.path, &destination, &keep, now_ms).await?;
            }
            Ok(true)
        }
        Tool::Restore {
            from,
            backup,
            list,
            store,
        } => match list {
            true => restore::list(&from, &store).await.map(|()| true),
            false => restore::run(&from, backup.as_deref(), &store).await,
        },
    }
}
