//! `systemd`: journald's log.
//!
//! The journal's files are read by our own reader (`kansoku_parsers::journal`) and not through
//! libsystemd: the program stays free of shared libraries, so it runs in an empty image on any node,
//! and a damaged object costs itself, is counted, and the file is read on. Each file is a source of its own whose
//! positions are journald's sequence numbers, so what a restart reads again is recognised.
//!
//! Files are looked at several times a second instead of waiting for inotify: journald writes
//! through memory maps, and a look is one short read per file that is still written to.

pub(crate) mod cursors;
pub(crate) mod file;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use kansoku_model::{
    ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, Position, RecordBatch, Resource,
    Settings, Source, SourceId, Value, json,
};
use kansoku_parsers::journal::{self, Cursor, Entry};

use crate::log;
use crate::pipeline::{Link, Stopped};
use crate::plugin::{Environment, Input, InputPlugin};
use cursors::Cursors;
use file::JournalFile;

/// The plugin.
pub const PLUGIN: InputPlugin = Plugin {
    name: "systemd",
    about: "Reads journald's log.",
    options: &[
        OptionSpec::new(
            "path",
            OptionKind::Text,
            "",
            "folder of the journal; default /var/log/journal and /run/log/journal",
        ),
        OptionSpec::new(
            "systemd_filter",
            OptionKind::Text,
            "",
            "take entries with this field, such as _SYSTEMD_UNIT=kubelet.service",
        )
        .repeated(),
        OptionSpec::new(
            "systemd_filter_type",
            OptionKind::Choice(&["or", "and"]),
            "or",
            "whether one filter has to fit or all",
        ),
        OptionSpec::new(
            "read_from_tail",
            OptionKind::Bool,
            "off",
            "without a database row leave out what is there at the start",
        ),
        OptionSpec::new(
            "max_entries",
            OptionKind::Int,
            "5000",
            "entries taken from a file before the next has its turn",
        ),
        OptionSpec::new(
            "max_fields",
            OptionKind::Int,
            "8000",
            "fields taken from one entry",
        ),
        OptionSpec::new("lowercase", OptionKind::Bool, "off", "names in lower case"),
        OptionSpec::new(
            "strip_underscores",
            OptionKind::Bool,
            "off",
            "names without the underscore in front",
        ),
        OptionSpec::new(
            "db",
            OptionKind::Text,
            "",
            "SQLite file that remembers how far the journal was delivered",
        ),
        OptionSpec::new(
            "db.sync",
            OptionKind::Choice(&["off", "normal", "full", "extra"]),
            "full",
            "SQLite's synchronous",
        ),
    ],
    example: "\
[INPUT]
    Name               systemd
    Tag                host.*
    Systemd_Filter     _SYSTEMD_UNIT=kubelet.service
    Read_From_Tail     On
    Strip_Underscores  On
    DB                 /var/lib/kansoku/systemd.db
",
    build,
};

/// A `*` in the tag becomes this when an entry has no unit.
const NO_UNIT: &str = "unknown";
/// New files are looked for this often.
const SCAN_EVERY: Duration = Duration::from_secs(2);
/// Offsets are saved this often.
const SAVE_EVERY: Duration = Duration::from_millis(500);
/// A batch is sent when it has grown this large.
const BATCH_BYTES: usize = 256 << 10;
/// So many damaged objects of a file are told.
const WARNINGS_PER_FILE: u64 = 10;
/// The most journal files that are open at once.
const MAX_FILES: usize = 512;

struct Options {
    folders: Vec<PathBuf>,
    filters: Vec<Vec<u8>>,
    all_filters: bool,
    from_tail: bool,
    max_entries: usize,
    max_fields: usize,
    lowercase: bool,
    strip_underscores: bool,
    db: Option<PathBuf>,
    db_sync: String,
    host_name: Arc<str>,
}

fn build(settings: &Settings, environment: &Environment) -> Result<Box<dyn Input>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let wrong = |key: &str, message: String| {
        let place = settings.get(key).map_or(&settings.place, |s| &s.place);
        ConfigError::new(place, message)
    };
    let positive = |key: &str, default: i64| {
        let n = settings.int(key, default)?;
        usize::try_from(n)
            .ok()
            .filter(|n| *n > 0)
            .ok_or_else(|| wrong(key, format!("'{key}' is {n}, but must be at least 1")))
    };
    for filter in settings.all("systemd_filter") {
        if !filter.value.contains('=') {
            let message = format!(
                "'{}' is no filter; write FIELD=value, such as _SYSTEMD_UNIT=kubelet.service",
                filter.value
            );
            return Err(ConfigError::new(&filter.place, message));
        }
    }
    let folders = match settings.get("path") {
        Some(path) if !Path::new(&path.value).is_dir() => {
            let message = format!("the folder {} does not exist", path.value);
            return Err(ConfigError::new(&path.place, message));
        }
        Some(path) => vec![path.value.clone().into()],
        None => vec!["/var/log/journal".into(), "/run/log/journal".into()],
    };
    let options = Options {
        folders,
        filters: settings
            .all("systemd_filter")
            .map(|s| s.value.clone().into_bytes())
            .collect(),
        all_filters: settings
            .text("systemd_filter_type", "or")
            .eq_ignore_ascii_case("and"),
        from_tail: settings.bool("read_from_tail", false)?,
        max_entries: positive("max_entries", 5000)?,
        max_fields: positive("max_fields", 8000)?,
        lowercase: settings.bool("lowercase", false)?,
        strip_underscores: settings.bool("strip_underscores", false)?,
        db: settings.get("db").map(|s| s.value.clone().into()),
        db_sync: settings.text("db.sync", "full").to_owned(),
        host_name: environment.host_name.clone(),
    };
    if let Some(db) = &options.db
        && let Some(folder) = db.parent().filter(|p| !p.as_os_str().is_empty())
        && !folder.is_dir()
    {
        let message = format!("the folder {} does not exist; make it", folder.display());
        return Err(wrong("db", message));
    }
    Ok(Box::new(Systemd { options }))
}

struct Systemd {
    options: Options,
}

impl Input for Systemd {
    fn databases(&self) -> Vec<PathBuf> {
        self.options.db.iter().cloned().collect()
    }

    fn run(self: Box<Self>, link: Link) -> anyhow::Result<()> {
        let mut reader = Reader::new(self.options, link)?;
        reader.run();
        reader.leave();
        Ok(())
    }
}

/// What is under way of one file, oldest first: the last sequence number and whether it arrived.
#[derive(Default)]
struct Flights {
    under_way: VecDeque<(Cursor, bool)>,
    /// Everything up to here is delivered or not wanted; not saved yet when `true`.
    done: Option<(Cursor, bool)>,
}

struct Reader {
    options: Options,
    link: Link,
    component: String,
    resource: Arc<Resource>,
    cursors: Cursors,
    files: Vec<JournalFile>,
    /// Files that were read to their end and will not grow any more, and such that cannot be read.
    finished: HashSet<PathBuf>,
    flights: HashMap<u128, Flights>,
    acknowledge: Sender<(u128, u64)>,
    acknowledged: Receiver<(u128, u64)>,
    started: bool,
    next_scan: Instant,
    next_save: Instant,
}

impl Reader {
    fn new(options: Options, link: Link) -> anyhow::Result<Self> {
        let cursors = Cursors::open(options.db.as_deref(), &options.db_sync)?;
        let (acknowledge, acknowledged) = unbounded();
        let now = Instant::now();
        Ok(Self {
            component: format!("input:{}", link.counters.name),
            resource: Arc::new(Resource::of_host(&options.host_name)),
            options,
            link,
            cursors,
            files: Vec::new(),
            finished: HashSet::new(),
            flights: HashMap::new(),
            acknowledge,
            acknowledged,
            started: false,
            next_scan: now,
            next_save: now,
        })
    }

    fn run(&mut self) {
        let pause = (self.link.flush / 4).clamp(Duration::from_millis(50), SAVE_EVERY);
        loop {
            let now = Instant::now();
            if now >= self.next_scan {
                self.scan();
                self.next_scan = now + SCAN_EVERY;
            }
            let Ok(n_read) = self.read_all() else { return };
            self.settle();
            if now >= self.next_save {
                self.save();
                self.next_save = now + SAVE_EVERY;
            }
            let wait = if n_read > 0 { Duration::ZERO } else { pause };
            if self.link.stop.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    /// Opens files that are new.
    fn scan(&mut self) {
        let mut found = Vec::new();
        for folder in &self.options.folders {
            found.extend(journals(folder));
            for inner in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if inner.path().is_dir() {
                    found.extend(journals(&inner.path()));
                }
            }
        }
        if found.is_empty() && !self.started {
            let folders: Vec<String> = (self.options.folders.iter())
                .map(|f| f.display().to_string())
                .collect();
            log::warn(
                &self.component,
                format_args!("no journal in {}; waiting for one", folders.join(" or ")),
            );
        }
        self.finished.retain(|path| found.contains(path));
        let known: HashSet<u128> = self.files.iter().map(|f| f.header.file_id).collect();
        let mut new = Vec::new();
        for path in found {
            if self.finished.contains(&path) || self.files.len() + new.len() >= MAX_FILES {
                continue;
            }
            match JournalFile::open(&path) {
                Ok(file) if known.contains(&file.header.file_id) => {}
                Ok(file) => new.push(file),
                Err(error) => {
                    log::warn(
                        &self.component,
                        format_args!("cannot read {}: {error:#}", path.display()),
                    );
                    self.finished.insert(path);
                }
            }
        }
        // Old entries first, as far as files tell.
        new.sort_by_key(|f| f.header.head_realtime_us);
        for file in new {
            self.begin(file);
        }
        if !self.started {
            self.started = true;
            let present = self.files.iter().map(|f| f.header.file_id).collect();
            if let Err(error) = self.cursors.forget_gone(&present) {
                log::error(
                    &self.component,
                    format_args!("cannot use the database: {error:#}"),
                );
            }
        }
    }

    /// Puts a file where reading has to start.
    fn begin(&mut self, mut file: JournalFile) {
        let delivered = self.cursors.delivered.get(&file.header.file_id).copied();
        let skipped = if let Some(seqnum) = delivered {
            file.skip(|entry| entry.seqnum <= seqnum)
        } else if let Some(cursor) = self.cursors.foreign {
            let same_run = file.header.seqnum_id == cursor.seqnum_id;
            file.skip(|entry| {
                if same_run {
                    entry.seqnum <= cursor.seqnum
                } else {
                    entry.realtime_us <= cursor.realtime_us
                }
            })
        } else if self.options.from_tail && !self.started && self.cursors.delivered.is_empty() {
            file.skip(|_| true)
        } else {
            Ok(())
        };
        if let Err(error) = skipped {
            file.n_damaged += 1;
            self.damaged(&file, &error);
        }
        self.files.push(file);
    }

    /// Reads every file for a turn; returns how many entries there were.
    fn read_all(&mut self) -> Result<usize, Stopped> {
        let mut n_read = 0;
        for at in (0..self.files.len()).rev() {
            if !self.link.has_room() {
                break;
            }
            let mut file = self.files.swap_remove(at);
            let path = file.path.clone();
            match self.read(&mut file) {
                Ok(n) => {
                    n_read += n?;
                    // A file that is closed by journald and read to its end says nothing more.
                    let is_over = !file.header.is_online && file.is_read();
                    if is_over {
                        self.finished.insert(path);
                    } else {
                        self.files.push(file);
                    }
                }
                Err(error) => {
                    log::error(
                        &self.component,
                        format_args!("gave up on {}: {error:#}", path.display()),
                    );
                    self.finished.insert(path);
                }
            }
        }
        Ok(n_read)
    }

    /// Reads a turn of one file and sends it, cut where the tag changes.
    fn read(&mut self, file: &mut JournalFile) -> anyhow::Result<Result<usize, Stopped>> {
        file.refresh()?;
        let (mut n, mut batch) = (0, None::<LogBatch>);
        let mut last = None;
        while n < self.options.max_entries {
            n += 1;
            let entry = match file.next() {
                Ok(Some(entry)) => entry,
                Ok(None) => {
                    n -= 1;
                    break;
                }
                Err(error) => {
                    self.damaged(file, &error);
                    continue;
                }
            };
            last = Some(cursor_of(file, &entry));
            let Some(fields) = self.wanted_fields(file, &entry) else {
                continue;
            };
            let tag = self.tag_of(&fields);
            if let Some(open) = &batch
                && (open.tag != tag || open.size_bytes() >= BATCH_BYTES)
                && self.send(file, batch.take()).is_err()
            {
                return Ok(Err(Stopped));
            }
            let open = batch.get_or_insert_with(|| self.empty(file, &tag, entry.seqnum));
            self.push(open, &entry, &fields);
        }
        if self.send(file, batch).is_err() {
            return Ok(Err(Stopped));
        }
        if let Some(cursor) = last {
            // What was not wanted counts as delivered once all before it is.
            let flights = self.flights.entry(file.header.file_id).or_default();
            flights.under_way.push_back((cursor, true));
        }
        Ok(Ok(n))
    }

    /// Counts a damaged object; the first of a file are told one by one.
    fn damaged(&self, file: &JournalFile, error: &anyhow::Error) {
        self.link.counters.damaged.add(1);
        let rest = match file.n_damaged {
            ..WARNINGS_PER_FILE => "",
            WARNINGS_PER_FILE => "; further damage of this file is only counted",
            _ => return,
        };
        log::warn(
            &self.component,
            format_args!("{error:#}; passed it, reading on{rest}"),
        );
    }

    /// The entry's fields when the filters want it. Damaged fields are left out.
    fn wanted_fields(&self, file: &mut JournalFile, entry: &Entry) -> Option<Vec<Arc<[u8]>>> {
        let mut fields = Vec::with_capacity(entry.items.len());
        for offset in entry.items.iter().take(self.options.max_fields) {
            match file.field(*offset) {
                Ok(field) => fields.push(field),
                Err(error) => {
                    file.n_damaged += 1;
                    self.damaged(file, &error);
                }
            }
        }
        let has = |wanted: &Vec<u8>| fields.iter().any(|f| **f == **wanted);
        let filters = &self.options.filters;
        let is_wanted = if self.options.all_filters {
            filters.iter().all(has)
        } else {
            filters.is_empty() || filters.iter().any(has)
        };
        is_wanted.then_some(fields)
    }

    fn tag_of(&self, fields: &[Arc<[u8]>]) -> Arc<str> {
        if !self.link.tag.contains('*') {
            return self.link.tag.clone();
        }
        let mut names = fields.iter().filter_map(|f| journal::split(f));
        let unit = names.find(|(name, _)| *name == "_SYSTEMD_UNIT");
        let unit = unit.and_then(|(_, value)| std::str::from_utf8(value).ok());
        self.link
            .tag
            .replacen('*', unit.unwrap_or(NO_UNIT), 1)
            .into()
    }

    fn empty(&self, file: &JournalFile, tag: &Arc<str>, seqnum: u64) -> LogBatch {
        let mut batch = LogBatch::new(tag.clone(), self.resource.clone(), Vec::new());
        let id = SourceId(file.header.file_id.max(1));
        let before = Position::at(seqnum.saturating_sub(1));
        batch.source = Source {
            // Entries of several tags interleave in a file; each tag is a source.
            id: id.derived(&format!("systemd {tag}")),
            from: before,
            to: before,
        };
        batch
    }

    fn push(&self, batch: &mut LogBatch, entry: &Entry, fields: &[Arc<[u8]>]) {
        let position = Position::at(entry.seqnum);
        let time_ns = i64::try_from(entry.realtime_us).unwrap_or(i64::MAX);
        let row = batch.push(time_ns.saturating_mul(1000), position);
        batch.source.to = position;
        let mut name_buffer = String::new();
        let mut names: Vec<(usize, Vec<&[u8]>)> = Vec::with_capacity(fields.len());
        for (name, value) in fields.iter().filter_map(|f| journal::split(f)) {
            let name = match name.strip_prefix('_') {
                Some(rest) if self.options.strip_underscores => rest,
                _ => name,
            };
            name_buffer.clear();
            name_buffer.push_str(name);
            if self.options.lowercase {
                name_buffer.make_ascii_lowercase();
            }
            let column = batch.column_index_or_insert(&name_buffer);
            match names.iter_mut().find(|(known, _)| *known == column) {
                Some((_, values)) => values.push(value),
                None => names.push((column, vec![value])),
            }
        }
        for (column, values) in names {
            let value = match values.as_slice() {
                [one] => Value::Text(batch.store(one)),
                // A field that occurs several times is an array, as in Fluent Bit.
                several => Value::Json(batch.store_with(|out| {
                    for (i, value) in several.iter().enumerate() {
                        out.push(if i == 0 { b'[' } else { b',' });
                        json::write_str(out, value);
                    }
                    out.push(b']');
                })),
            };
            batch.set(column, row, value);
        }
    }

    fn send(&mut self, file: &JournalFile, batch: Option<LogBatch>) -> Result<(), Stopped> {
        let Some(batch) = batch else { return Ok(()) };
        let (id, seqnum) = (file.header.file_id, batch.source.to.offset);
        let cursor = Cursor {
            seqnum_id: file.header.seqnum_id,
            seqnum,
            boot_id: 0,
            monotonic_us: 0,
            realtime_us: batch
                .times()
                .last()
                .map_or(0, |t| (t / 1000).cast_unsigned()),
            xor_hash: 0,
        };
        let flights = self.flights.entry(id).or_default();
        flights.under_way.push_back((cursor, false));
        let acknowledge = self.acknowledge.clone();
        let done = Box::new(move || {
            // The input may have left already.
            let _ = acknowledge.send((id, seqnum));
        });
        self.link
            .send(RecordBatch::Logs(batch), Some(done))
            .map(|_| ())
    }

    /// Takes acknowledgements and moves each file's mark over what is delivered without a gap.
    fn settle(&mut self) {
        while let Ok((id, seqnum)) = self.acknowledged.try_recv() {
            let flights = self.flights.entry(id).or_default();
            for (cursor, arrived) in &mut flights.under_way {
                *arrived |= cursor.seqnum == seqnum;
            }
        }
        for flights in self.flights.values_mut() {
            while let Some((cursor, true)) = flights.under_way.front() {
                flights.done = Some((*cursor, true));
                flights.under_way.pop_front();
            }
        }
    }

    fn save(&mut self) {
        let changed: Vec<(u128, Cursor)> = (self.flights.iter())
            .filter_map(|(id, f)| f.done.filter(|(_, is_new)| *is_new).map(|(c, _)| (*id, c)))
            .collect();
        if changed.is_empty() {
            return;
        }
        let rows: Vec<(u128, u64)> = changed.iter().map(|(id, c)| (*id, c.seqnum)).collect();
        let newest = changed
            .iter()
            .map(|(_, c)| *c)
            .max_by_key(|c| c.realtime_us);
        match self.cursors.save(&rows, newest) {
            Ok(()) => {
                for flights in self.flights.values_mut() {
                    if let Some((_, is_new)) = &mut flights.done {
                        *is_new = false;
                    }
                }
            }
            Err(error) => log::error(
                &self.component,
                format_args!("cannot save how far the journal is; trying again: {error:#}"),
            ),
        }
    }

    /// Waits for the last acknowledgements and saves them.
    fn leave(&mut self) {
        loop {
            self.settle();
            let waits = |f: &Flights| !f.under_way.is_empty();
            if !self.flights.values().any(waits) {
                break;
            }
            crossbeam_channel::select! {
                recv(self.acknowledged) -> message => {
                    if let Ok(message) = message {
                        // Handed back so that `settle` finds it with the others.
                        let _ = self.acknowledge.send(message);
                    }
                }
                recv(self.link.closed) -> _ => break,
            }
        }
        self.save();
    }
}

fn cursor_of(file: &JournalFile, entry: &Entry) -> Cursor {
    Cursor {
        seqnum_id: file.header.seqnum_id,
        seqnum: entry.seqnum,
        boot_id: entry.boot_id,
        monotonic_us: entry.monotonic_us,
        realtime_us: entry.realtime_us,
        xor_hash: entry.xor_hash,
    }
}

/// The journal files of one folder.
fn journals(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|e| e.path());
    let is_journal = |p: &PathBuf| {
        let name = p.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        name.ends_with(".journal") || name.ends_with(".journal~")
    };
    paths.filter(is_journal).collect()
}
