//! All groups at work: each on its own slots of time, and the change from one set of files to another.
//!
//! The one rule of a change: everything new is read and checked before anything old is touched, and a
//! group that is written as before goes on undisturbed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kansoku_model::metric::STALE_BITS;
use kansoku_query::promql::Sample;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;

use super::config::{Alertmanagers, Config};
use super::environment::Environment;
use super::file::Group;
use super::group::Running;
use super::kept;
use super::live::Live;
use super::notifier::{Notifier, Section};
use super::objectives;
use super::objects::RuleObjects;
use crate::app::App;
use crate::config_file::ConfigFile;
use crate::{clock, journal, whole_file};

/// A group and the task that evaluates it.
#[derive(Debug)]
struct Task {
    group: Arc<Running>,
    stop: Arc<Stop>,
    handle: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Stop {
    is_stopping: AtomicBool,
    woken: Notify,
}

impl Task {
    async fn end(self) -> Arc<Running> {
        self.stop.is_stopping.store(true, Ordering::Relaxed);
        self.stop.woken.notify_one();
        let _ = self.handle.await;
        self.group
    }
}

/// The rules of the program.
#[derive(Debug)]
pub struct Rules {
    pub notifier: Arc<Notifier>,
    /// What is in force; one change at a time.
    changing: tokio::sync::Mutex<InForce>,
    /// By file and name; locked while tasks are looked up or swapped.
    tasks: Mutex<BTreeMap<String, Task>>,
    /// Locked while it begins, ends, or is asked how it is.
    watching: Mutex<Option<Watching>>,
    /// What series get that leave for another Prometheus; locked to read or swap them.
    external_labels: Mutex<Arc<Vec<(String, String)>>>,
    /// Groups that evaluate at a time.
    slots: Arc<Semaphore>,
    is_stopped: AtomicBool,
    /// When the configuration was taken last, Unix milliseconds, and whether the last try succeeded.
    pub reloaded_ms: AtomicI64,
    pub reload_succeeded: AtomicBool,
    /// The text of the configuration that is in force; locked to read or swap it.
    text: Mutex<Option<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A configuration that was checked whole.
struct Checked {
    config: Config,
    groups: Vec<Group>,
    sections: Vec<Arc<Section>>,
}

/// What the groups were made of.
#[derive(Debug, Default)]
struct InForce {
    config: Config,
    of_files: Vec<Group>,
    of_objects: Vec<Group>,
    of_objectives: Vec<Group>,
}

/// The objects of a cluster and the task that watches them.
#[derive(Debug)]
struct Watching {
    objects: Arc<RuleObjects>,
    task: JoinHandle<()>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Rules {
    /// None yet; `n_slots` groups may evaluate at a time.
    #[must_use]
    pub fn new(n_slots: usize) -> Self {
        Self {
            notifier: Arc::default(),
            changing: tokio::sync::Mutex::default(),
            tasks: Mutex::default(),
            watching: Mutex::default(),
            external_labels: Mutex::default(),
            slots: Arc::new(Semaphore::new(n_slots)),
            is_stopped: AtomicBool::new(false),
            reloaded_ms: AtomicI64::new(0),
            reload_succeeded: AtomicBool::new(true),
            text: Mutex::default(),
        }
    }

    /// The groups, by file and name.
    #[must_use]
    pub fn groups(&self) -> Vec<Arc<Running>> {
        let tasks = lock(&self.tasks);
        tasks.values().map(|task| Arc::clone(&task.group)).collect()
    }

    /// The text of the configuration that was read again, if it was.
    #[must_use]
    pub fn config_text(&self) -> Option<String> {
        lock(&self.text).clone()
    }

    /// The labels that tell this place from others.
    #[must_use]
    pub fn external_labels(&self) -> Arc<Vec<(String, String)>> {
        Arc::clone(&lock(&self.external_labels))
    }

    /// The objects of the cluster that rules are read from.
    #[must_use]
    pub fn objects(&self) -> Option<Arc<RuleObjects>> {
        let watching = lock(&self.watching);
        watching.as_ref().map(|w| Arc::clone(&w.objects))
    }

    /// Begins with what the settings say.
    ///
    /// # Errors
    /// Everything that is wrong with the rule files.
    pub async fn start(&self, app: &Arc<App>) -> Result<(), String> {
        let mut in_force = self.changing.lock().await;
        let config = &app.settings.config;
        config.unused.iter().for_each(|what| journal::warn(what));
        let checked = check(app, config.rules.clone())?;
        *lock(&self.external_labels) = Arc::new(config.external_labels.clone());
        in_force.of_objectives = load_objectives(app).await;
        self.apply(app, &mut in_force, checked).await;
        Ok(())
    }

    /// Reads the configuration file again and goes on with what it says of rules, alerts and dashboards.
    ///
    /// # Errors
    /// Everything that is wrong with it or the rule files; then all stays as it was.
    pub async fn reload(&self, app: &Arc<App>) -> Result<(), String> {
        let mut in_force = self.changing.lock().await;
        let read = || {
            let config = match &app.settings.config_path {
                Some(path) => ConfigFile::read(path, app.settings.prometheus_compat)?,
                None => ConfigFile::default(),
            };
            let (text, labels) = (config.text.clone(), config.external_labels.clone());
            config.unused.iter().for_each(|what| journal::warn(what));
            let dashboards = config.dashboards;
            check(app, config.rules).map(|checked| (checked, text, labels, dashboards))
        };
        let done = match read() {
            Ok((checked, text, labels, dashboards)) => {
                app.documents.provisioned.watch(dashboards);
                *lock(&self.external_labels) = Arc::new(labels);
                self.apply(app, &mut in_force, checked).await;
                *lock(&self.text) = Some(text);
                journal::info(
                    "the configuration was read again; rules, alerting, external labels and dashboards of ConfigMaps follow it",
                );
                Ok(())
            }
            Err(message) => {
                journal::error(&format!(
                    "the configuration was not taken, all stays as it was: {message}"
                ));
                Err(message)
            }
        };
        self.reload_succeeded.store(done.is_ok(), Ordering::Relaxed);
        done
    }

    async fn apply(&self, app: &Arc<App>, in_force: &mut InForce, checked: Checked) {
        self.notifier.apply(&checked.config, checked.sections);
        let wanted = checked.config.objects.clone();
        // Templates see external labels, so even a group that reads the same begins anew.
        in_force.of_files = checked.groups;
        in_force.config = checked.config;
        if wanted.is_none() {
            in_force.of_objects.clear();
        }
        self.swap(app, in_force, false).await;
        let mut watching = lock(&self.watching);
        if watching.as_ref().map(|w| &w.objects.config) != wanted.as_ref() {
            // What the old ones gave goes on until the new ones are listed.
            *watching = wanted.map(|config| {
                let objects = Arc::new(RuleObjects::new(config));
                let task = tokio::spawn(Arc::clone(&objects).run(Arc::clone(app)));
                Watching { objects, task }
            });
        }
        self.reloaded_ms.store(clock::now_ms(), Ordering::Relaxed);
    }

    /// Goes on with other groups of the objects of a cluster; the rest stays undisturbed.
    pub async fn set_objects(&self, app: &Arc<App>, from: &Arc<RuleObjects>, groups: Vec<Group>) {
        let mut in_force = self.changing.lock().await;
        // A reload may have ended it meanwhile.
        let is_current = self.objects().is_some_and(|now| Arc::ptr_eq(&now, from));
        if is_current && !self.is_stopped.load(Ordering::Relaxed) {
            in_force.of_objects = groups;
            self.swap(app, &in_force, true).await;
        }
    }

    /// Goes on with the rules of the objectives as they are kept now; the rest stays undisturbed.
    pub async fn set_objectives(&self, app: &Arc<App>) {
        let mut in_force = self.changing.lock().await;
        if !self.is_stopped.load(Ordering::Relaxed) {
            in_force.of_objectives = load_objectives(app).await;
            self.swap(app, &in_force, true).await;
        }
    }

    /// Makes the groups those that are in force. One that is written as before goes on with all it
    /// remembers, and when `keeps_same` without even a pause.
    async fn swap(&self, app: &Arc<App>, in_force: &InForce, keeps_same: bool) {
        let config = &in_force.config;
        let mut gone: Vec<String> = lock(&self.tasks).keys().cloned().collect();
        let others = in_force.of_objects.iter().chain(&in_force.of_objectives);
        for group in in_force.of_files.iter().chain(others) {
            let (interval_ms, offset_ms) = (config.evaluation_interval_ms, config.query_offset_ms);
            let group = Running::new(group.clone(), interval_ms, offset_ms);
            let key = group.key();
            gone.retain(|other| *other != key);
            let live = match self.live(app, config, &group.group.tenant) {
                Ok(live) => live,
                Err(message) => {
                    journal::error(&format!("the rules of {key} are not evaluated: {message}"));
                    gone.push(key);
                    continue;
                }
            };
            let before = {
                let mut tasks = lock(&self.tasks);
                let is_same = |task: &Task| keeps_same && task.group.is_same(&group);
                if tasks.get(&key).is_some_and(is_same) {
                    continue;
                }
                tasks.remove(&key)
            };
            match before {
                Some(task) => group.inherit(&*task.end().await),
                None => self.restore(app, &group),
            }
            let task = self.spawn(&live, Arc::new(group));
            lock(&self.tasks).insert(key, task);
        }
        for key in gone {
            let task = lock(&self.tasks).remove(&key);
            if let Some(task) = task {
                let group = task.end().await;
                if let Ok(live) = self.live(app, config, &group.group.tenant) {
                    tokio::spawn(end_series(live, group));
                }
            }
        }
    }

    /// What the rules of a tenant work with.
    fn live(&self, app: &Arc<App>, config: &Config, tenant: &str) -> Result<Arc<Live>, String> {
        Ok(Arc::new(Live {
            app: Arc::clone(app),
            tenant: app.tenants.named(tenant)?,
            notifier: Arc::clone(&self.notifier),
            external_labels: Arc::new(config.external_labels.clone()),
            external_url: external_url(app),
            runtime: tokio::runtime::Handle::current(),
        }))
    }

    fn restore(&self, app: &App, group: &Running) {
        let flags = &app.settings.rules;
        let how = kept::Restore {
            now_ms: clock::now_ms(),
            outage_tolerance: flags.outage_tolerance,
            grace_period: flags.grace_period,
        };
        kept::restore(&app.settings.storage_path.join(kept::FOLDER), group, how);
    }

    fn spawn(&self, live: &Arc<Live>, group: Arc<Running>) -> Task {
        let stop = Arc::<Stop>::default();
        let evaluating = evaluate_always(
            Arc::clone(live),
            Arc::clone(&group),
            Arc::clone(&stop),
            Arc::clone(&self.slots),
        );
        Task {
            group,
            stop,
            handle: tokio::spawn(evaluating),
        }
    }

    /// Ends all groups and tells the Alertmanagers what waits, if that is wanted.
    pub async fn stop(&self, drain: bool) {
        let _one = self.changing.lock().await;
        self.is_stopped.store(true, Ordering::Relaxed);
        *lock(&self.watching) = None;
        let tasks = std::mem::take(&mut *lock(&self.tasks));
        for task in tasks.values() {
            task.stop.is_stopping.store(true, Ordering::Relaxed);
            task.stop.woken.notify_one();
        }
        for (_, task) in tasks {
            task.end().await;
        }
        self.notifier.stop(drain).await;
    }
}

async fn load_objectives(app: &Arc<App>) -> Vec<Group> {
    let reading = Arc::clone(app);
    let done = tokio::task::spawn_blocking(move || objectives::load(&reading)).await;
    done.unwrap_or_default()
}

fn check(app: &App, config: Config) -> Result<Checked, String> {
    let has_tenants = app.tenants.is_on();
    let is_named = |one: &&Alertmanagers| !one.tenants.is_empty();
    if !has_tenants && config.alertmanagers.iter().any(|one| is_named(&one)) {
        return Err("'tenants' of alertmanagers has no effect without --tenants.enabled".into());
    }
    if let Some(objects) = &config.objects {
        objects.check(has_tenants)?;
    }
    let path = app.settings.config_path.as_deref();
    let folder = path
        .and_then(std::path::Path::parent)
        .unwrap_or("".as_ref());
    let groups = config.load_groups(folder, has_tenants);
    let groups = groups.map_err(|all| all.join("\n"))?;
    let queue_max = app.settings.rules.queue_capacity as usize;
    let sections = Notifier::sections(&config, queue_max)?;
    Ok(Checked {
        config,
        groups,
        sections,
    })
}

/// Where people reach this program.
fn external_url(app: &App) -> String {
    match &app.settings.rules.external_url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => format!("{}://{}", app.web.scheme(), app.address),
    }
}

/// The slot of a group before or at a time: groups of one interval are spread over it.
fn slot_ms(key: &str, interval_ms: i64, now_ms: i64) -> i64 {
    let hash = xxhash_rust::xxh3::xxh3_64(key.as_bytes());
    let offset_ms = (hash % interval_ms.unsigned_abs().max(1)) as i64;
    let shifted_ms = now_ms - offset_ms;
    shifted_ms - shifted_ms.rem_euclid(interval_ms) + offset_ms
}

async fn evaluate_always(
    live: Arc<Live>,
    group: Arc<Running>,
    stop: Arc<Stop>,
    slots: Arc<Semaphore>,
) {
    let interval_ms = group.interval_ms;
    let mut next_ms = slot_ms(&group.key(), interval_ms, clock::now_ms()) + interval_ms;
    let mut saved = String::new();
    loop {
        let wait_ms = next_ms - clock::now_ms();
        if wait_ms > interval_ms {
            // The clock was put back.
            next_ms = slot_ms(&group.key(), interval_ms, clock::now_ms()) + interval_ms;
            continue;
        }
        let wait = Duration::from_millis(wait_ms.max(0).unsigned_abs());
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.woken.notified() => return,
        }
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        if stop.is_stopping.load(Ordering::Relaxed) {
            return;
        }
        let missed = (clock::now_ms() - next_ms) / interval_ms;
        if missed > 0 {
            let missed_now = missed.unsigned_abs();
            group
                .counters
                .missed
                .fetch_add(missed_now, Ordering::Relaxed);
            next_ms += missed * interval_ms;
        }
        let (live, running, stopping) = (Arc::clone(&live), Arc::clone(&group), Arc::clone(&stop));
        let time_ms = next_ms;
        let done = tokio::task::spawn_blocking(move || {
            let n_threads = usize::from(live.app.settings.rules.max_concurrent_evals);
            let is_stopping = || stopping.is_stopping.load(Ordering::Relaxed);
            running.evaluate(live.as_ref(), time_ms, n_threads, &is_stopping);
            save(&live, &running, &mut saved);
            drop(slot);
            saved
        });
        saved = done.await.unwrap_or_default();
        next_ms += interval_ms;
    }
}

/// Keeps the alerts of a group when they changed.
fn save(live: &Live, group: &Running, saved: &mut String) {
    let folder = live.app.settings.storage_path.join(kept::FOLDER);
    let path = kept::path_of(&folder, &group.key());
    let done = match kept::text_of(group, clock::now_ms()) {
        Some((_, body)) if body == *saved => return,
        Some((text, body)) => whole_file::write(&path, text.as_bytes()).map(|()| *saved = body),
        None => {
            saved.clear();
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
                _ => Ok(()),
            }
        }
    };
    if let Err(error) = done {
        live.app.troubles.error(&format!(
            "failed to keep the state of alerts in {}: {error}; a restart now would forget it",
            path.display()
        ));
    }
}

/// Ends the series of a group that is no more, after others had the time to go on with them.
async fn end_series(live: Arc<Live>, group: Arc<Running>) {
    let ended_ms = clock::now_ms();
    let wait = Duration::from_millis(group.interval_ms.unsigned_abs().saturating_mul(2));
    tokio::time::sleep(wait).await;
    if live.app.rules.is_stopped.load(Ordering::Relaxed) {
        return;
    }
    let done = tokio::task::spawn_blocking(move || {
        let mut series = group.take_series();
        for other in live.app.rules.groups() {
            // Series of other tenants are others.
            let is_ours = other.group.tenant == group.group.tenant;
            for rule in (0..other.group.rules.len()).filter(|_| is_ours) {
                let memory = other.memory(rule);
                series.retain(|labels| !memory.series.contains(labels));
            }
        }
        let time_ms = ended_ms - group.query_offset_ms;
        let end = |labels| Sample {
            labels,
            time_ms,
            value: f64::from_bits(STALE_BITS),
            histogram: None,
        };
        let ends: Vec<Sample> = series.into_iter().map(end).collect();
        let folder = live.app.settings.storage_path.join(kept::FOLDER);
        // Nothing to forget is as good.
        let _ = std::fs::remove_file(kept::path_of(&folder, &group.key()));
        match ends.is_empty() {
            true => Ok(()),
            false => live.append(&ends),
        }
    });
    if let Ok(Err(error)) = done.await {
        journal::warn(&format!(
            "failed to end the series of removed rules: {error}"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_an_interval_apart_and_never_ahead() {
        for key in ["a;b", "c;d", ""] {
            for now_ms in [1_700_000_000_000, 1_700_000_012_345] {
                let slot = slot_ms(key, 15_000, now_ms);
                assert!(slot <= now_ms && now_ms - slot < 15_000);
                assert_eq!(slot_ms(key, 15_000, slot), slot);
                assert_eq!(slot_ms(key, 15_000, slot + 15_000), slot + 15_000);
            }
        }
        assert_ne!(
            slot_ms("a", 60_000, 1_700_000_000_000),
            slot_ms("b", 60_000, 1_700_000_000_000)
        );
    }
}
