//! Processes of a group together, as process-exporter counts them.
//!
//! Source: ncabatoff/process-exporter, `proc/tracker.go`, `proc/grouper.go` and `collector/process_collector.go`, whose names, labels, helps and
//! counting are kept: what a process used before the first look does not count, a group's counters never fall, and threads count in
//! `states` beside their process. Other than there, a thread that ends takes nothing from a counter (there it may wrap around), and a group
//! without processes has no start time.

use std::collections::{BTreeMap, HashMap, HashSet};

use kansoku_model::{MetricBatch, MetricKind};

use super::group_families;
use super::names::{Attributes, Names};
use super::reading::{Proc, Stat, TICKS_PER_SECOND};

/// What process-exporter's flags say.
#[derive(Debug, Clone, Copy)]
pub struct Flags {
    pub children: bool,
    pub threads: bool,
    pub gather_smaps: bool,
    pub recheck: bool,
    pub remove_empty_groups: bool,
}

/// Process and start time: an id that comes again is another process.
type Id = (u32, u64);

/// Counters, or what they grew by.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Counts {
    pub(super) user_ticks: u64,
    pub(super) system_ticks: u64,
    pub(super) read_bytes: u64,
    pub(super) written_bytes: u64,
    pub(super) major_faults: u64,
    pub(super) minor_faults: u64,
    pub(super) voluntary: u64,
    pub(super) nonvoluntary: u64,
}

impl Counts {
    fn each(&self, other: &Self, with: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            user_ticks: with(self.user_ticks, other.user_ticks),
            system_ticks: with(self.system_ticks, other.system_ticks),
            read_bytes: with(self.read_bytes, other.read_bytes),
            written_bytes: with(self.written_bytes, other.written_bytes),
            major_faults: with(self.major_faults, other.major_faults),
            minor_faults: with(self.minor_faults, other.minor_faults),
            voluntary: with(self.voluntary, other.voluntary),
            nonvoluntary: with(self.nonvoluntary, other.nonvoluntary),
        }
    }

    fn grown_since(&self, before: &Self) -> Self {
        self.each(before, u64::saturating_sub)
    }

    fn add(&mut self, more: &Self) {
        *self = self.each(more, u64::wrapping_add);
    }
}

/// Running, Sleeping, Waiting, Zombie, Other.
pub(super) const STATES: [&str; 5] = ["Running", "Sleeping", "Waiting", "Zombie", "Other"];

fn state(letter: u8) -> usize {
    match letter {
        b'R' => 0,
        b'S' => 1,
        b'D' => 2,
        b'Z' => 3,
        _ => 4,
    }
}

/// A thread as it is now.
struct Thread {
    id: Id,
    name: String,
    counts: Counts,
    wchan: String,
    state: usize,
}

/// A process as it is now.
struct Seen {
    counts: Counts,
    states: [u64; STATES.len()],
    wchan: String,
    resident_bytes: u64,
    virtual_bytes: u64,
    swapped_bytes: u64,
    proportional: (u64, u64),
    open_files: Option<u64>,
    files_limit: Option<u64>,
    n_threads: u64,
    start_seconds: u64,
    threads: Vec<Thread>,
}

/// A process that is in a group.
struct Followed {
    group: String,
    counts: Counts,
    threads: HashMap<Id, Counts>,
}

/// A group at one time.
#[derive(Default)]
pub(super) struct Group {
    pub(super) n: u64,
    pub(super) counts: Counts,
    pub(super) states: [u64; STATES.len()],
    pub(super) wchans: BTreeMap<String, u64>,
    pub(super) resident_bytes: u64,
    pub(super) virtual_bytes: u64,
    pub(super) swapped_bytes: u64,
    pub(super) proportional: (u64, u64),
    pub(super) open_files: u64,
    pub(super) worst_ratio: f64,
    pub(super) n_threads: u64,
    pub(super) oldest_start: Option<u64>,
    /// By name: how many, and what they grew by.
    pub(super) threads: BTreeMap<String, (u64, Counts)>,
}

/// All groups and what is remembered of them.
pub struct Groups {
    names: Names,
    flags: Flags,
    followed: HashMap<Id, Followed>,
    ignored: HashSet<Id>,
    /// Of each group, also without processes.
    totals: BTreeMap<String, Counts>,
    thread_totals: HashMap<String, HashMap<String, Counts>>,
    users: HashMap<u32, String>,
    /// Ticks after boot at the first look; what starts later counts from its start.
    first_look_ticks: Option<u64>,
    n_errors: u64,
    n_read_errors: u64,
    n_partial_errors: u64,
}

impl Groups {
    pub fn new(names: Names, flags: Flags) -> Self {
        Self {
            names,
            flags,
            followed: HashMap::new(),
            ignored: HashSet::new(),
            totals: BTreeMap::new(),
            thread_totals: HashMap::new(),
            users: HashMap::new(),
            first_look_ticks: None,
            n_errors: 0,
            n_read_errors: 0,
            n_partial_errors: 0,
        }
    }

    /// Looks at all processes and adds the groups' series. `now_s` is Unix time.
    pub fn collect(&mut self, proc: &mut Proc, now_s: u64, out: &mut MetricBatch) {
        match self.look(proc, now_s) {
            Ok(groups) => group_families::write(&groups, self.flags, out),
            Err(error) => {
                self.n_errors += 1;
                crate::log::warn(
                    "input:process_exporter_metrics",
                    format_args!("cannot read {}: {error}", proc.root.display()),
                );
            }
        }
        let errors = [
            (
                "namedprocess_scrape_errors",
                "general scrape errors: no proc metrics collected during a cycle",
                self.n_errors,
            ),
            (
                "namedprocess_scrape_procread_errors",
                "incremented each time a proc's metrics collection fails",
                self.n_read_errors,
            ),
            (
                "namedprocess_scrape_partial_errors",
                "incremented each time a tracked proc's metrics collection fails partially, e.g. unreadable I/O stats",
                self.n_partial_errors,
            ),
        ];
        for (name, help, n) in errors {
            let family = out.family(name, MetricKind::Counter, help);
            out.sample(family, &[], n as f64);
        }
    }

    fn look(&mut self, proc: &mut Proc, now_s: u64) -> std::io::Result<BTreeMap<String, Group>> {
        let boot = proc.boot_time().unwrap_or_default();
        let now_ticks = now_s.saturating_sub(boot) * TICKS_PER_SECOND;
        let first_look = *self.first_look_ticks.get_or_insert(now_ticks);
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        let mut present: HashMap<u32, (u64, u64)> = HashMap::new();
        let mut new = Vec::new();
        for pid in proc.processes()? {
            let folder = proc.of(pid);
            let Some(stat) = proc.stat(&folder) else {
                continue;
            };
            let id = (pid, stat.start_ticks);
            present.insert(pid, (stat.start_ticks, stat.parent));
            if self.ignored.contains(&id) {
                continue;
            }
            let Some(seen) = self.read(proc, pid, &stat, boot) else {
                continue;
            };
            match self.followed.get_mut(&id) {
                Some(followed) => {
                    let grown = seen.counts.grown_since(&followed.counts);
                    add(
                        &mut groups,
                        followed,
                        &seen,
                        &grown,
                        Some(&followed.threads),
                    );
                    followed.counts = seen.counts;
                    followed.threads = seen.threads.iter().map(|t| (t.id, t.counts)).collect();
                }
                None => new.push((id, stat, seen)),
            }
        }
        self.name_new(proc, new, &present, first_look, boot, &mut groups);
        let is_there = |id: &Id| present.get(&id.0).is_some_and(|(start, _)| *start == id.1);
        self.followed.retain(|id, _| is_there(id));
        self.ignored.retain(is_there);
        self.add_up(&mut groups);
        Ok(groups)
    }

    /// Puts new processes into their groups: those that a rule wants, and children of such.
    fn name_new(
        &mut self,
        proc: &mut Proc,
        new: Vec<(Id, Stat, Seen)>,
        present: &HashMap<u32, (u64, u64)>,
        first_look: u64,
        boot: u64,
        groups: &mut BTreeMap<String, Group>,
    ) {
        let mut own: HashMap<Id, Option<String>> = HashMap::new();
        for (id, stat, _) in &new {
            let attributes = self.attributes(proc, id.0, stat, boot);
            own.insert(*id, self.names.group(&attributes));
        }
        for (id, _, seen) in new {
            let group = self.group_of(id, &own, present);
            let Some(group) = group else {
                if !self.flags.recheck {
                    self.ignored.insert(id);
                }
                continue;
            };
            let grown = match id.1 > first_look {
                true => seen.counts,
                false => Counts::default(),
            };
            let followed = Followed {
                group,
                counts: seen.counts,
                threads: seen.threads.iter().map(|t| (t.id, t.counts)).collect(),
            };
            add(groups, &followed, &seen, &grown, None);
            self.followed.insert(id, followed);
        }
    }

    /// The group of a new process, or of the nearest ancestor that has one.
    fn group_of(
        &self,
        id: Id,
        own: &HashMap<Id, Option<String>>,
        present: &HashMap<u32, (u64, u64)>,
    ) -> Option<String> {
        let mut at = id;
        // No line of parents is longer than there are processes.
        for _ in 0..=present.len() {
            if let Some(followed) = self.followed.get(&at) {
                return Some(followed.group.clone());
            }
            if let Some(Some(group)) = own.get(&at) {
                return Some(group.clone());
            }
            if !self.flags.children || self.ignored.contains(&at) {
                return None;
            }
            let parent = u32::try_from(present.get(&at.0)?.1)
                .ok()
                .filter(|p| *p > 0)?;
            at = (parent, present.get(&parent)?.0);
        }
        None
    }

    fn attributes(&mut self, proc: &mut Proc, pid: u32, stat: &Stat, boot: u64) -> Attributes {
        let folder = proc.of(pid);
        let uid = proc.status(&folder).unwrap_or_default().effective_uid;
        let username = self.users.entry(uid).or_insert_with(|| {
            let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid));
            user.ok()
                .flatten()
                .map_or_else(|| uid.to_string(), |u| u.name)
        });
        Attributes {
            comm: stat.name.clone(),
            username: username.clone(),
            command_line: proc.command_line(&folder).unwrap_or_default(),
            cgroups: proc.cgroups(&folder),
            pid,
            start_time: go_time(boot, stat.start_ticks),
        }
    }

    /// All that is counted of a process; `None` when it has ended.
    fn read(&mut self, proc: &mut Proc, pid: u32, stat: &Stat, boot: u64) -> Option<Seen> {
        let folder = proc.of(pid);
        let mut is_partial = false;
        let status = proc.status(&folder)?;
        let mut counts = counts_of(stat, &status);
        match proc.io(&folder) {
            Some((read, written)) => (counts.read_bytes, counts.written_bytes) = (read, written),
            None => is_partial = true,
        }
        let open_files = proc.open_files(&folder);
        let Some(limit) = proc.open_files_limit(&folder) else {
            self.n_read_errors += u64::from(folder.exists());
            return None;
        };
        let mut proportional = None;
        if self.flags.gather_smaps {
            proportional = proc.proportional(&folder);
            is_partial |= proportional.is_none();
        }
        is_partial |= open_files.is_none();
        let mut seen = Seen {
            states: [0; STATES.len()],
            wchan: proc.wchan(&folder).unwrap_or_default(),
            resident_bytes: stat.resident_pages.saturating_mul(proc.page_bytes),
            virtual_bytes: stat.virtual_bytes,
            swapped_bytes: status.swapped_bytes,
            proportional: proportional.unwrap_or_default(),
            open_files,
            files_limit: limit,
            n_threads: stat.n_threads,
            start_seconds: boot + stat.start_ticks / TICKS_PER_SECOND,
            threads: self.read_threads(proc, pid, stat.n_threads),
            counts,
        };
        seen.states[state(stat.state)] += 1;
        if !seen.threads.is_empty() {
            (seen.counts.voluntary, seen.counts.nonvoluntary) = (0, 0);
            for thread in &seen.threads {
                seen.counts.voluntary += thread.counts.voluntary;
                seen.counts.nonvoluntary += thread.counts.nonvoluntary;
                seen.states[thread.state] += 1;
            }
        }
        self.n_partial_errors += u64::from(is_partial);
        Some(seen)
    }

    /// The threads of a process that has several.
    fn read_threads(&self, proc: &mut Proc, pid: u32, n_threads: u64) -> Vec<Thread> {
        if n_threads < 2 {
            return Vec::new();
        }
        let mut threads = Vec::new();
        for thread in proc.threads(pid) {
            let folder = proc.of_thread(pid, thread);
            let (Some(stat), Some(status)) = (proc.stat(&folder), proc.status(&folder)) else {
                continue;
            };
            let mut counts = counts_of(&stat, &status);
            if self.flags.threads
                && let Some((read, written)) = proc.io(&folder)
            {
                (counts.read_bytes, counts.written_bytes) = (read, written);
            }
            threads.push(Thread {
                id: (thread, stat.start_ticks),
                counts,
                wchan: proc.wchan(&folder).unwrap_or_default(),
                state: state(stat.state),
                name: stat.name,
            });
        }
        if threads.len() < 2 {
            threads.clear();
        }
        threads
    }

    /// Makes the groups' growth totals, and adds groups that have no process any more.
    fn add_up(&mut self, groups: &mut BTreeMap<String, Group>) {
        for (name, group) in groups.iter_mut() {
            let total = self.totals.entry(name.clone()).or_default();
            total.add(&group.counts);
            group.counts = *total;
            let before = self.thread_totals.remove(name).unwrap_or_default();
            let mut after = HashMap::new();
            for (thread, (_, counts)) in &mut group.threads {
                if let Some(total) = before.get(thread) {
                    counts.add(total);
                }
                after.insert(thread.clone(), *counts);
            }
            if !after.is_empty() {
                self.thread_totals.insert(name.clone(), after);
            }
        }
        if self.flags.remove_empty_groups {
            self.totals.retain(|name, _| groups.contains_key(name));
        } else {
            for (name, counts) in &self.totals {
                groups.entry(name.clone()).or_insert_with(|| Group {
                    counts: *counts,
                    ..Group::default()
                });
            }
        }
    }
}

fn counts_of(stat: &Stat, status: &kansoku_parsers::kernel::pid_status::PidStatus) -> Counts {
    Counts {
        user_ticks: stat.user_ticks,
        system_ticks: stat.system_ticks,
        read_bytes: 0,
        written_bytes: 0,
        major_faults: stat.major_faults,
        minor_faults: stat.minor_faults,
        voluntary: status.voluntary_switches,
        nonvoluntary: status.nonvoluntary_switches,
    }
}

/// Adds a process to its group; `threads` are its threads' counts at the look before.
fn add(
    groups: &mut BTreeMap<String, Group>,
    followed: &Followed,
    seen: &Seen,
    grown: &Counts,
    threads: Option<&HashMap<Id, Counts>>,
) {
    let group = groups.entry(followed.group.clone()).or_default();
    group.n += 1;
    group.counts.add(grown);
    for (all, own) in group.states.iter_mut().zip(seen.states) {
        *all += own;
    }
    group.resident_bytes += seen.resident_bytes;
    group.virtual_bytes += seen.virtual_bytes;
    group.swapped_bytes += seen.swapped_bytes;
    group.proportional.0 += seen.proportional.0;
    group.proportional.1 += seen.proportional.1;
    group.n_threads += seen.n_threads;
    if let Some(open) = seen.open_files {
        group.open_files += open;
        if let Some(limit) = seen.files_limit.filter(|l| *l > 0) {
            group.worst_ratio = group.worst_ratio.max(open as f64 / limit as f64);
        }
    }
    let start = seen.start_seconds;
    group.oldest_start = Some(group.oldest_start.map_or(start, |oldest| oldest.min(start)));
    let wchans = seen.threads.iter().map(|t| &t.wchan).chain([&seen.wchan]);
    for wchan in wchans.filter(|w| !w.is_empty()) {
        *group.wchans.entry(wchan.clone()).or_default() += 1;
    }
    for thread in &seen.threads {
        let (n, counts) = group.threads.entry(thread.name.clone()).or_default();
        *n += 1;
        if let Some(before) = threads.and_then(|all| all.get(&thread.id)) {
            counts.add(&thread.counts.grown_since(before));
        }
    }
}

/// As Go's `Time.String` in UTC.
fn go_time(boot: u64, start_ticks: u64) -> String {
    let ms = boot.saturating_mul(1000) + start_ticks * (1000 / TICKS_PER_SECOND);
    let time = jiff::Timestamp::from_millisecond(i64::try_from(ms).unwrap_or_default());
    let text = time
        .unwrap_or_default()
        .strftime("%Y-%m-%d %H:%M:%S.%3f")
        .to_string();
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text} +0000 UTC")
}

#[cfg(test)]
mod tests;
