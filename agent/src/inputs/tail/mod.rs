//! `tail`: follows log files through rotation, truncation and restarts.
//!
//! The log file is the buffer: what is not acknowledged is read again, under the same source and at
//! the same positions, so that a receiver can tell a repeat from news. See [`tailer`] for the loop,
//! [`generation`] for one file, [`lines`] for what becomes of its lines, [`discover`] for which
//! files there are.

mod columns;
mod content;
mod discover;
mod encoding;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod generation;
mod identity;
mod lines;
mod option_list;
mod options;
mod tag;
mod tailer;
mod watch;
mod window;

use std::path::PathBuf;
use std::sync::Arc;

use crate::pipeline::Link;
use crate::plugin::{Input, InputPlugin};
use options::TailOptions;

/// The plugin.
pub const PLUGIN: InputPlugin = InputPlugin {
    name: "tail",
    about: "follows log files",
    options: option_list::OPTIONS,
    example: "\
[INPUT]
    Name              tail
    Tag               kube.*
    Path              /var/log/containers/*.log
    multiline.parser  cri, docker
    DB                /var/lib/kansoku/tail.db
    Skip_Long_Lines   On
",
    build: |settings, environment| {
        Ok(Box::new(Tail {
            options: Arc::new(TailOptions::new(settings, environment)?),
        }))
    },
};

struct Tail {
    options: Arc<TailOptions>,
}

impl Input for Tail {
    fn run(self: Box<Self>, link: Link) -> anyhow::Result<()> {
        tailer::Tailer::new(self.options, link)?.run();
        Ok(())
    }

    fn can_reread(&self) -> bool {
        true
    }

    fn databases(&self) -> Vec<PathBuf> {
        self.options.db.iter().map(|db| db.path.clone()).collect()
    }
}
