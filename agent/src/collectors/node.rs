//! All chosen node collectors together, with what node_exporter says of each: success and duration.
//!
//! Fresh collectors share one collection thread, whose samples are waited for; background ones have
//! threads of their own, once there is a device, whose last samples serve where new ones are late. A collector of the first
//! kind that hangs becomes one of the second, and the rest go on without it on a new thread.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use kansoku_model::plugin::did_you_mean;
use kansoku_model::{MetricBatch, MetricKind};

use super::findings::Findings;
use super::worker::{self, Answer, Due, Outcome, Worker};
use super::{COLLECTORS, Collector, Entry, NoData, NodeSpec, Tier};
use crate::log;

/// How long a scrape waits for a background collector that has given samples before.
const PATIENCE: Duration = Duration::from_millis(30);
/// How long it waits for the first ones, so that the first scrape is whole on a healthy machine.
const FIRST_PATIENCE: Duration = Duration::from_secs(1);

/// The chosen collectors.
pub struct NodeCollectors {
    spec: NodeSpec,
    chosen: Vec<Chosen>,
    /// Every chosen collector of the fresh tier; `None` when there is none.
    fresh: Option<Worker>,
    background: Vec<Background>,
    dormant: Vec<Dormant>,
}

/// A collection under way.
pub struct Round {
    due: Due,
    start: Instant,
    /// What the samples are appended to, before there are any.
    empty: MetricBatch,
}

struct Chosen {
    entry: &'static Entry,
    /// Whether the last reading failed: only changes are reported, not every failure.
    is_failing: bool,
    /// How the last reading went, of the collectors that were due.
    duration: Duration,
    is_success: bool,
}

/// A collector on a thread of its own.
struct Background {
    worker: Worker,
    /// What it gave last; empty before that.
    last: MetricBatch,
    /// How long the next scrape waits for it.
    patience: Duration,
    /// Memory of the samples before those.
    spare: MetricBatch,
}

/// A background collector without a device to read: it is asked here, for it has nothing to wait for.
struct Dormant {
    /// Its place in the list of chosen collectors.
    at: usize,
    /// Where its devices would be, and what is there.
    folder: PathBuf,
    found: Found,
    /// What was there when the collector was last asked: while that lasts, so does its answer.
    told: Option<Found>,
    collector: Box<dyn Collector>,
}

/// What a folder of devices holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    NoFolder,
    NoDevice,
    Devices,
}

/// The entry of [`COLLECTORS`] called `name`.
///
/// # Errors
/// A message that names the collectors that are known.
pub fn find(name: &str) -> Result<&'static Entry, String> {
    let names = || COLLECTORS.iter().map(|e| e.name);
    COLLECTORS.iter().find(|e| e.name == name).ok_or_else(|| {
        let known: Vec<&str> = names().collect();
        let hint = match did_you_mean(name, names()) {
            near if near.contains("did you mean") => near,
            _ => String::new(),
        };
        format!(
            "there is no collector '{name}'{hint}; collectors: {}",
            known.join(", ")
        )
    })
}

/// The collectors that node_exporter runs without being told to.
pub fn defaults() -> impl Iterator<Item = &'static str> {
    COLLECTORS.iter().filter(|e| e.is_default).map(|e| e.name)
}

impl NodeCollectors {
    /// Makes the collectors called `names` ready; each name must be known to [`find`].
    ///
    /// # Errors
    /// When a flag has a value that its collector cannot use.
    pub fn new(spec: &NodeSpec, names: &[&str]) -> anyhow::Result<Self> {
        let chosen = COLLECTORS.iter().filter(|e| names.contains(&e.name));
        Self::of(spec, chosen)
    }

    pub(crate) fn of(
        spec: &NodeSpec,
        chosen: impl Iterator<Item = &'static Entry>,
    ) -> anyhow::Result<Self> {
        let chosen: Vec<&Entry> = chosen.collect();
        let mut spec = spec.clone();
        spec.chosen = chosen.iter().map(|entry| entry.name).collect();
        spec.findings = Findings::default();
        if let Err(error) = spec.check_procfs() {
            log::warn("collectors", format_args!("{error:#}"));
        }
        let (mut fresh, mut background, mut dormant) = (Vec::new(), Vec::new(), Vec::new());
        for (at, entry) in chosen.iter().enumerate() {
            let collector = (entry.build)(&spec)?;
            match entry.tier {
                Tier::Background if entry.devices.is_some_and(|d| !has_devices(&spec.sys(d))) => {
                    dormant.push(Dormant {
                        at,
                        folder: spec.sys(entry.devices.unwrap_or_default()),
                        found: Found::NoFolder,
                        told: None,
                        collector,
                    });
                }
                Tier::Background if !collector.is_light() => {
                    let worker = Worker::start(entry.name, vec![(at, collector)])?;
                    background.push(Background::new(worker));
                }
                Tier::Fresh | Tier::Background => fresh.push((at, collector)),
            }
        }
        let is_empty = fresh.is_empty();
        let worker = (!is_empty)
            .then(|| Worker::start("fresh", fresh))
            .transpose()?;
        let chosen = chosen.into_iter().map(|entry| Chosen {
            entry,
            is_failing: false,
            duration: Duration::ZERO,
            is_success: false,
        });
        Ok(Self {
            spec,
            chosen: chosen.collect(),
            fresh: worker,
            background,
            dormant,
        })
    }

    /// Bytes that our own network has received and sent, if a collector of this scrape has read them.
    pub(crate) fn take_octets(&self) -> Option<[f64; 2]> {
        self.spec.findings.octets.take()
    }

    /// The names of the chosen collectors, in order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.chosen.iter().map(|c| c.entry.name)
    }

    /// Appends the samples of all collectors that `is_due` wants.
    pub fn collect(&mut self, is_due: impl Fn(&str) -> bool, out: &mut MetricBatch) {
        let round = self.begin(is_due, out);
        self.finish(&round, None, out);
    }

    /// Asks the collectors that `is_due` wants; [`Self::finish`] gives their samples.
    pub fn begin(&mut self, is_due: impl Fn(&str) -> bool, out: &mut MetricBatch) -> Round {
        let due: Due = self.chosen.iter().map(|c| is_due(c.entry.name)).collect();
        let start = Instant::now();
        self.wake();
        for background in &mut self.background {
            // What came too late for the last scrape is better than nothing for this one.
            let at = background.worker.members[0];
            background.take(start, &mut self.chosen[at]);
            background.ask(&due);
        }
        let mut empty = MetricBatch::new(out.tag.clone(), out.resource.clone(), out.time_ms);
        empty.source = out.source;
        if let Some(worker) = &mut self.fresh {
            worker.ask(&due, out);
        }
        Round { due, start, empty }
    }

    /// Gives the collectors whose devices have come a thread each.
    fn wake(&mut self) {
        let awake = self.dormant.extract_if(.., |dormant| {
            dormant.found = found(&dormant.folder);
            dormant.found == Found::Devices
        });
        for Dormant { at, collector, .. } in awake {
            match Worker::start(self.chosen[at].entry.name, vec![(at, collector)]) {
                Ok(worker) => self.background.push(Background::new(worker)),
                Err(error) => self.chosen[at].note(Outcome {
                    at,
                    duration: Duration::ZERO,
                    result: Err(error).context("failed to start a thread"),
                }),
            }
        }
    }

    /// Waits until then; whether [`Self::finish`] will not have to wait.
    pub fn is_done_by(&self, round: &Round, until: Instant) -> bool {
        self.fresh.iter().all(|worker| worker.is_answered_by(until))
            && self.background.iter().all(|background| {
                let is_due = round.due[background.worker.members[0]];
                let patience_ends = round.start + background.patience;
                !is_due
                    || background.worker.is_answered_by(until.min(patience_ends))
                    || patience_ends <= until
            })
    }

    /// Appends the samples of the collectors that were asked. With a limit, what has not come by
    /// then is left out as if it hung.
    pub fn finish(&mut self, round: &Round, limit: Option<Instant>, out: &mut MetricBatch) {
        self.finish_fresh(round, limit, out);
        for dormant in self.dormant.iter_mut().filter(|d| round.due[d.at]) {
            if dormant.told == Some(dormant.found) {
                self.chosen[dormant.at].duration = Duration::ZERO;
                continue;
            }
            let outcome = worker::collect(dormant.at, &mut *dormant.collector, out);
            self.chosen[dormant.at].note(outcome);
            dormant.told = Some(dormant.found);
        }
        for background in &mut self.background {
            let at = background.worker.members[0];
            if round.due[at] {
                background.collect(&mut self.chosen[at], round.start, limit, out);
            }
        }
        self.report(&round.due, out);
        build_info(out);
    }

    fn finish_fresh(&mut self, round: &Round, limit: Option<Instant>, out: &mut MetricBatch) {
        // What was asked at the beginning, and once more without the one that hangs.
        for is_first in [true, false] {
            let Some(worker) = &mut self.fresh else {
                return;
            };
            let deadlines = worker
                .members
                .iter()
                .map(|at| self.chosen[*at].entry.deadline);
            let mut patience = deadlines.max().unwrap_or_default();
            let mut start = round.start;
            if let (true, Some(limit)) = (is_first, limit) {
                // Half of the time is kept for the others.
                patience = patience.min(limit.saturating_duration_since(start) / 2);
            }
            if !is_first {
                start = Instant::now();
                if let Some(limit) = limit {
                    patience = patience.min(limit.saturating_duration_since(start));
                }
                worker.ask(&round.due, out);
            }
            if let Some(Answer { batch, outcomes }) = worker.answer(start + patience) {
                *out = batch;
                for outcome in outcomes {
                    self.chosen[outcome.at].note(outcome);
                }
                return;
            }
            *out = round.empty.clone();
            self.leave_the_stuck_one(patience);
        }
    }

    /// Gives the collector that hangs the collection thread, and the others a new one.
    fn leave_the_stuck_one(&mut self, patience: Duration) {
        let Some(mut worker) = self.fresh.take() else {
            return;
        };
        let (stuck, others) = worker.give_up();
        self.background.push(Background::new(worker));
        self.chosen[stuck].note(late(stuck, patience));
        let build = |at: usize| Some((at, (self.chosen[at].entry.build)(&self.spec).ok()?));
        let collectors: Vec<(usize, Box<dyn Collector>)> =
            others.into_iter().filter_map(build).collect();
        match Worker::start("fresh", collectors) {
            Ok(worker) => self.fresh = Some(worker),
            Err(error) => log::error("collectors", format!("failed to start a thread: {error}")),
        }
    }

    fn report(&self, due: &Due, out: &mut MetricBatch) {
        let duration = out.family(
            "node_scrape_collector_duration_seconds",
            MetricKind::Gauge,
            "node_exporter: Duration of a collector scrape.",
        );
        let success = out.family(
            "node_scrape_collector_success",
            MetricKind::Gauge,
            "node_exporter: Whether a collector succeeded.",
        );
        for (chosen, _) in self.chosen.iter().zip(due.iter()).filter(|(_, due)| **due) {
            let labels = [("collector", chosen.entry.name)];
            out.sample(duration, &labels, chosen.duration.as_secs_f64());
            out.sample(success, &labels, f64::from(u8::from(chosen.is_success)));
        }
    }
}

impl Background {
    fn new(worker: Worker) -> Self {
        Self {
            worker,
            last: MetricBatch::default(),
            patience: FIRST_PATIENCE,
            spare: MetricBatch::default(),
        }
    }

    fn ask(&mut self, due: &Due) {
        self.spare.clear();
        self.worker.ask(due, &mut self.spare);
    }

    /// Takes over the answer, if it comes until then.
    fn take(&mut self, until: Instant, chosen: &mut Chosen) {
        if let Some(answer) = self.worker.answer(until) {
            self.spare = std::mem::replace(&mut self.last, answer.batch);
            for outcome in answer.outcomes {
                chosen.note(outcome);
            }
        }
    }

    /// Appends what is newest, waiting a moment for what is under way.
    fn collect(
        &mut self,
        chosen: &mut Chosen,
        start: Instant,
        limit: Option<Instant>,
        out: &mut MetricBatch,
    ) {
        let until = start + self.patience;
        self.take(limit.map_or(until, |limit| until.min(limit)), chosen);
        self.patience = PATIENCE;
        if self
            .worker
            .asked()
            .is_some_and(|asked| asked.elapsed() >= chosen.entry.deadline)
        {
            chosen.note(late(self.worker.members[0], chosen.entry.deadline));
            self.last.clear();
        }
        out.extend(&self.last);
    }
}

/// Whether there is a device in a folder of sysfs.
fn has_devices(folder: &Path) -> bool {
    found(folder) == Found::Devices
}

/// What is in a folder of sysfs besides `features`, which modules make without devices.
fn found(folder: &Path) -> Found {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Found::NoFolder;
    };
    match entries.flatten().any(|e| e.file_name() != "features") {
        true => Found::Devices,
        false => Found::NoDevice,
    }
}

/// The outcome of a collector that has not answered.
fn late(at: usize, patience: Duration) -> Outcome {
    Outcome {
        at,
        duration: patience,
        result: Err(anyhow::anyhow!(
            "no answer within {:.1} s",
            patience.as_secs_f64()
        )),
    }
}

impl Chosen {
    fn note(&mut self, outcome: Outcome) {
        self.duration = outcome.duration;
        self.is_success = outcome.result.is_ok();
        let Err(error) = outcome.result else {
            if std::mem::take(&mut self.is_failing) {
                log::info(&self.voice(), "works again");
            }
            return;
        };
        if error.downcast_ref::<NoData>().is_some() {
            log::debug(&self.voice(), format_args!("no data: {error:#}"));
        } else if !std::mem::replace(&mut self.is_failing, true) {
            log::warn(&self.voice(), format_args!("{error:#}"));
        }
    }

    fn voice(&self) -> String {
        format!("collector:{}", self.entry.name)
    }
}

/// The node mixin's dashboards count nodes by this family.
fn build_info(out: &mut MetricBatch) {
    let family = out.family(
        "node_exporter_build_info",
        MetricKind::Gauge,
        "A metric with a constant '1' value labeled by version, revision, branch, goversion from which node_exporter was built, and the goos and goarch for the build.",
    );
    let labels = [
        ("branch", "kansoku"),
        ("goarch", crate::node_exporter::machine()),
        ("goos", std::env::consts::OS),
        ("goversion", ""),
        ("revision", ""),
        ("tags", ""),
        ("version", env!("CARGO_PKG_VERSION")),
    ];
    out.sample(family, &labels, 1.0);
}

#[cfg(test)]
mod tests;
