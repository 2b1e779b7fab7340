//! A group at work: one evaluation of its rules after the other, and what it remembers in between.
//!
//! Not here: when it is evaluated ([`super::manager`]). The one rule: rules give what they would
//! give one after the other in the order of the file; only those that read nothing of each other run
//! at once ([`super::dependencies`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kansoku_model::Labels;
use kansoku_model::metric::STALE_BITS;
use kansoku_query::promql::Sample;

use super::alert::Alerts;
use super::dependencies;
use super::environment::Environment;
use super::expand;
use super::file::{Group, Kind, Rule};
use crate::clock;

/// How a rule's last evaluation went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Unknown,
    Good,
    Bad,
}

impl Health {
    /// Prometheus's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Good => "ok",
            Self::Bad => "err",
        }
    }
}

/// What is remembered of a rule.
#[derive(Debug, Clone)]
pub struct Memory {
    pub health: Health,
    pub last_error: String,
    pub took: Duration,
    /// Unix milliseconds.
    pub evaluated_ms: Option<i64>,
    /// Series that the last evaluation stored; what of them does not come again is ended.
    pub series: BTreeSet<Labels>,
    pub alerts: Alerts,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            health: Health::Unknown,
            last_error: String::new(),
            took: Duration::ZERO,
            evaluated_ms: None,
            series: BTreeSet::new(),
            alerts: Alerts::default(),
        }
    }
}

/// Numbers of a group for `/metrics`.
#[derive(Debug, Default)]
pub struct GroupCounters {
    pub evaluations: AtomicU64,
    pub failures: AtomicU64,
    pub iterations: AtomicU64,
    pub missed: AtomicU64,
    /// Samples of the last evaluation.
    pub samples: AtomicU64,
}

/// When a group was last evaluated, and how long that took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Last {
    /// Unix milliseconds.
    pub evaluated_ms: Option<i64>,
    pub took: Duration,
}

/// A group with what it remembers.
#[derive(Debug)]
pub struct Running {
    pub group: Group,
    pub interval_ms: i64,
    pub query_offset_ms: i64,
    /// One for each rule; locked while results are taken and while they are shown.
    memories: Vec<Mutex<Memory>>,
    /// Series of rules that are no more: ended with the next evaluation.
    orphans: Mutex<BTreeSet<Labels>>,
    /// Rules that may run at once, stage after stage.
    stages: Vec<Vec<usize>>,
    pub counters: GroupCounters,
    last: Mutex<Last>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Running {
    /// A group that was not evaluated yet. The defaults are for what it leaves open.
    #[must_use]
    pub fn new(group: Group, default_interval_ms: i64, default_offset_ms: i64) -> Self {
        Self {
            interval_ms: group.interval_ms.unwrap_or(default_interval_ms).max(1),
            query_offset_ms: group.query_offset_ms.unwrap_or(default_offset_ms),
            memories: group.rules.iter().map(|_| Mutex::default()).collect(),
            orphans: Mutex::default(),
            stages: dependencies::stages(&group.rules),
            counters: GroupCounters::default(),
            last: Mutex::default(),
            group,
        }
    }

    /// What tells groups apart.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{};{}", self.group.file, self.group.name)
    }

    /// Whether another file's reading gave the same group.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let (a, b) = (&self.group, &other.group);
        (&a.tenant, &a.file, &a.name) == (&b.tenant, &b.file, &b.name)
            && (a.language, a.limit) == (b.language, b.limit)
            && (self.interval_ms, self.query_offset_ms)
                == (other.interval_ms, other.query_offset_ms)
            && a.rules.len() == b.rules.len()
            && a.rules.iter().zip(&b.rules).all(|(x, y)| x.is_same(y))
    }

    /// Takes over what an older version of the group remembers.
    pub fn inherit(&self, older: &Self) {
        let same_name = |x: &Rule, y: &Rule| {
            (x.kind, &x.name) == (y.kind, &y.name) && x.label_texts().eq(y.label_texts())
        };
        let mut taken = vec![false; older.memories.len()];
        for (rule, memory) in self.group.rules.iter().zip(&self.memories) {
            let mut candidates = older.group.rules.iter().enumerate();
            let found = candidates.find(|(i, other)| !taken[*i] && same_name(rule, other));
            if let Some((i, _)) = found {
                taken[i] = true;
                *lock(memory) = lock(&older.memories[i]).clone();
            }
        }
        let mut orphans = lock(&self.orphans);
        orphans.append(&mut lock(&older.orphans));
        for (memory, _) in older.memories.iter().zip(taken).filter(|(_, taken)| !taken) {
            orphans.append(&mut lock(memory).series);
        }
        *lock(&self.last) = *lock(&older.last);
    }

    /// A look at what is remembered of a rule.
    pub fn memory(&self, rule: usize) -> MutexGuard<'_, Memory> {
        lock(&self.memories[rule])
    }

    /// When it was evaluated last.
    #[must_use]
    pub fn last(&self) -> Last {
        *lock(&self.last)
    }

    /// All series that it stored last, which end with it.
    #[must_use]
    pub fn take_series(&self) -> BTreeSet<Labels> {
        let mut all = std::mem::take(&mut *lock(&self.orphans));
        for memory in &self.memories {
            all.append(&mut lock(memory).series);
        }
        all
    }

    /// Evaluates all rules for a time; `stop` is asked between rules, and up to `n_threads` of those
    /// that do not depend on each other run at once.
    pub fn evaluate(
        &self,
        environment: &dyn Environment,
        time_ms: i64,
        n_threads: usize,
        stop: &(dyn Fn() -> bool + Sync),
    ) {
        let (begun, begun_ms) = (Instant::now(), clock::now_ms());
        self.counters.iterations.fetch_add(1, Ordering::Relaxed);
        let n_samples = AtomicU64::new(0);
        let one = |rule: usize| {
            if !stop() {
                let n = self.evaluate_rule(rule, environment, time_ms);
                n_samples.fetch_add(n as u64, Ordering::Relaxed);
            }
        };
        for stage in &self.stages {
            if stage.len() == 1 || n_threads <= 1 {
                stage.iter().for_each(|rule| one(*rule));
            } else {
                let n_each = stage.len().div_ceil(n_threads);
                std::thread::scope(|scope| {
                    for share in stage.chunks(n_each) {
                        scope.spawn(|| share.iter().for_each(|rule| one(*rule)));
                    }
                });
            }
        }
        let n_samples = n_samples.into_inner();
        self.counters.samples.store(n_samples, Ordering::Relaxed);
        self.end_orphans(environment, time_ms);
        *lock(&self.last) = Last {
            evaluated_ms: Some(begun_ms),
            took: begun.elapsed(),
        };
    }

    /// Ends the series of rules that are no more; they stay for the next time if that fails.
    fn end_orphans(&self, environment: &dyn Environment, time_ms: i64) {
        let mut orphans = lock(&self.orphans);
        let ended: Vec<Sample> = orphans
            .iter()
            .map(|labels| end_of(labels, time_ms - self.query_offset_ms))
            .collect();
        if !ended.is_empty() && environment.append(&ended).is_ok() {
            orphans.clear();
        }
    }

    /// Gives the number of samples.
    fn evaluate_rule(&self, at: usize, environment: &dyn Environment, time_ms: i64) -> usize {
        let (begun, begun_ms) = (Instant::now(), clock::now_ms());
        self.counters.evaluations.fetch_add(1, Ordering::Relaxed);
        let done = self.try_rule(at, environment, time_ms);
        let mut memory = lock(&self.memories[at]);
        memory.took = begun.elapsed();
        memory.evaluated_ms = Some(begun_ms);
        match done {
            Ok(n_samples) => {
                memory.health = Health::Good;
                memory.last_error.clear();
                n_samples
            }
            Err(message) => {
                self.counters.failures.fetch_add(1, Ordering::Relaxed);
                memory.health = Health::Bad;
                memory.last_error = message;
                0
            }
        }
    }

    fn try_rule(
        &self,
        at: usize,
        environment: &dyn Environment,
        time_ms: i64,
    ) -> Result<usize, String> {
        let rule = &self.group.rules[at];
        let sample_time_ms = time_ms - self.query_offset_ms;
        let result = environment.query(&rule.expression, sample_time_ms)?;
        let limit = self.group.limit;
        let mut samples = match rule.kind {
            Kind::Record => expand::recorded(rule, result, limit)?,
            Kind::Alert => {
                let found = expand::alerts_of(rule, &result, environment, time_ms)?;
                let mut memory = lock(&self.memories[at]);
                let alerts = &mut memory.alerts;
                let samples = alerts.update(rule, found, time_ms, sample_time_ms, limit)?;
                let told = alerts.to_send(time_ms, environment.resend_ms(), self.interval_ms);
                drop(memory);
                if !told.is_empty() {
                    environment.notify(&rule.expression, told);
                }
                samples
            }
        };
        let n_samples = samples.len();
        let series: BTreeSet<Labels> = samples.iter().map(|s| s.labels.clone()).collect();
        let before = std::mem::take(&mut lock(&self.memories[at]).series);
        let ended = before.difference(&series);
        samples.extend(ended.map(|labels| end_of(labels, sample_time_ms)));
        for sample in &mut samples {
            sample.time_ms = sample_time_ms;
        }
        let stored = match samples.is_empty() {
            true => Ok(()),
            false => environment.append(&samples),
        };
        // What could not be stored now is ended next time, whether it was new or old.
        let mut memory = lock(&self.memories[at]);
        memory.series = series;
        if stored.is_err() {
            memory.series.extend(before);
        }
        stored.map(|()| n_samples)
    }

    /// Alerts of all rules, for what is kept through a restart.
    pub fn alerts(&self) -> BTreeMap<usize, Alerts> {
        let rules = self.group.rules.iter().enumerate();
        rules
            .filter(|(_, rule)| rule.kind == Kind::Alert)
            .map(|(i, _)| (i, lock(&self.memories[i]).alerts.clone()))
            .collect()
    }
}

fn end_of(labels: &Labels, time_ms: i64) -> Sample {
    Sample {
        labels: labels.clone(),
        time_ms,
        value: f64::from_bits(STALE_BITS),
        histogram: None,
    }
}
