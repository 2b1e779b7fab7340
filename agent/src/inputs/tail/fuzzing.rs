//! A generation read from its beginning to its end, for the fuzz targets: at once, or with stops at any
//! byte and a restart at each.

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use kansoku_model::{LogBatch, Position, RecordBatch, Settings, SourceId};

use super::content::Content;
use super::generation::{Generation, Turn, TurnContext};
use super::lines::LineScratch;
use super::options::TailOptions;
use crate::offsets::{Checkpoint, Print};
use crate::pipeline::{InputCounters, OutputSet};
use crate::plugin::Environment;

/// The time of lines that carry none.
const NOW_NS: i64 = 1_795_251_600_000_000_000;

/// With all parsers, which take longer to make than most files to read.
static ENVIRONMENT: LazyLock<Environment> = LazyLock::new(environment);

/// Reads a file in which no line is unfinished for good.
pub(crate) struct Reader {
    options: TailOptions,
    counters: InputCounters,
    buffer: Vec<u8>,
    scratch: LineScratch,
    checkpoint: Checkpoint,
    now: Instant,
}

impl Reader {
    /// `None` when the settings are refused.
    pub(crate) fn new(pairs: &[(&str, &str)], path: &Path) -> Option<Self> {
        let options = TailOptions::new(&Settings::of("tail", pairs), &ENVIRONMENT).ok()?;
        Some(Self {
            options,
            counters: InputCounters::default(),
            buffer: Vec::new(),
            scratch: LineScratch::default(),
            checkpoint: Checkpoint {
                id: 1,
                path: path.to_owned(),
                device: 1,
                inode: 1,
                source: SourceId(1),
                created_ns: 0,
                offset: 0,
                sent: Position::default(),
                head: Print::default(),
                marker: Print::default(),
                cuts: Vec::new(),
                cursors: Vec::new(),
                rotated: false,
                finished: false,
                foreign: false,
                moved: false,
            },
            now: Instant::now(),
        })
    }

    /// The records of what the file holds now, and of all before the last that waited; `last` says that
    /// nothing will follow. Everything is acknowledged, and the next call is another life.
    pub(crate) fn read(&mut self, turn_bytes: u64, last: bool) -> std::io::Result<Vec<LogBatch>> {
        let path = self.checkpoint.path.clone();
        let mut generation = Generation::new(
            self.checkpoint.clone(),
            Content::open(&path)?,
            path,
            "t".into(),
            Arc::default(),
            OutputSet::one(0),
        )?;
        let mut batches = Vec::new();
        loop {
            let mut context = TurnContext {
                options: &self.options,
                counters: &self.counters,
                buffer: &mut self.buffer,
                scratch: &mut self.scratch,
                now: self.now,
                now_ns: NOW_NS,
                limit_bytes: turn_bytes,
                last,
            };
            let turn = generation.turn(&mut context)?;
            assert!(turn != Turn::Truncated, "nobody has touched the file");
            let is_over = turn != Turn::More;
            if is_over && last {
                let now = (self.now, NOW_NS);
                generation.cut_all(&self.options.rules, &mut self.scratch, now);
            }
            while let Some((batch, flight)) = generation.take_batch()? {
                generation.acknowledge(flight, OutputSet::one(0));
                if let RecordBatch::Logs(batch) = batch {
                    batches.push(batch);
                }
            }
            if is_over {
                generation.update_head()?;
                self.checkpoint = generation.checkpoint.clone();
                return Ok(batches);
            }
        }
    }
}

fn environment() -> Environment {
    let all = kansoku_parsers::line::builtin::all(&|_| None);
    let multilines = kansoku_parsers::line::multiline::builtin::all();
    Environment {
        parsers: Arc::new(
            all.into_iter()
                .map(|p| (p.name().to_owned(), Arc::new(p)))
                .collect(),
        ),
        multilines: Arc::new(
            multilines
                .into_iter()
                .map(|p| (p.name().to_ascii_lowercase(), Arc::new(p)))
                .collect(),
        ),
        ..Environment::default()
    }
}
