//! statfs(2) with a deadline: a file system whose server is away can hang the call for ever.
//!
//! Calls run on threads of their own, at most one per mount at a time. Whoever asks waits a short
//! while and otherwise takes the last answer. The rule: asking never hangs, and mounts that hang
//! never use more threads than they may.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;

/// How long an asker waits for answers: local file systems answer in microseconds.
const PATIENCE: Duration = Duration::from_millis(100);
/// More threads than this help nobody, whatever was asked for.
const MAX_THREADS: usize = 64;

/// Sizes of a file system.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sizes {
    pub size_bytes: f64,
    pub free_bytes: f64,
    pub available_bytes: f64,
    pub files: f64,
    pub files_free: f64,
}

/// What is known of a mount.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Answer {
    Sizes(Sizes),
    Failed(Errno),
    /// No answer for longer than a file system may take.
    Stuck,
    /// Asked a moment ago for the first time.
    NotYet,
}

/// What a call gives; a type of its own so that tests can hang.
type Call = fn(&Path) -> Result<Sizes, Errno>;

/// Asks for sizes.
pub struct Prober {
    shared: Arc<Shared>,
    n_threads: usize,
    /// Threads at the most; with all of them hanging, the rest of the mounts hang with them.
    max_threads: usize,
    /// After so long without an answer a mount counts as hanging.
    stuck_after: Duration,
    call: Call,
}

#[derive(Default)]
struct Shared {
    /// Held for moments only, never during a call.
    state: Mutex<State>,
    /// Told when there is something to ask, or nobody asks any more.
    asked: Condvar,
    /// Told when everything that was asked has been answered.
    answered: Condvar,
}

#[derive(Default)]
struct State {
    mounts: HashMap<PathBuf, Mount>,
    /// Mounts that no thread has taken yet; each is there once at the most.
    queue: VecDeque<PathBuf>,
    /// The asking side is gone.
    is_closed: bool,
}

#[derive(Default)]
struct Mount {
    /// Set from the question to its answer.
    asked: Option<Instant>,
    last: Option<Result<Sizes, Errno>>,
}

impl Default for Prober {
    /// With node_exporter's deadline, and twice as many threads.
    fn default() -> Self {
        Self::new(Duration::from_secs(5), 8)
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        lock(&self.shared).is_closed = true;
        self.shared.asked.notify_all();
    }
}

impl Prober {
    /// A prober whose mounts hang after `stuck_after`, with at most `max_threads` (at least one).
    #[must_use]
    pub fn new(stuck_after: Duration, max_threads: usize) -> Self {
        Self::of(statfs, stuck_after, max_threads)
    }

    fn of(call: Call, stuck_after: Duration, max_threads: usize) -> Self {
        Self {
            shared: Arc::default(),
            n_threads: 0,
            max_threads: max_threads.clamp(1, MAX_THREADS),
            stuck_after,
            call,
        }
    }

    /// Asks for all `paths` and gives their answers in the same order. Other paths are forgotten.
    pub fn ask(&mut self, paths: &[PathBuf]) -> Vec<Answer> {
        let now = Instant::now();
        let shared = self.shared.clone();
        let mut state = lock(&shared);
        if state.mounts.len() > paths.len() {
            let is_wanted =
                |path: &PathBuf, mount: &mut Mount| mount.asked.is_some() || paths.contains(path);
            state.mounts.retain(is_wanted);
        }
        let mut fresh = Vec::new();
        for path in paths {
            if !state.mounts.contains_key(path) {
                state.mounts.insert(path.clone(), Mount::default());
            }
            let mount = state.mounts.get_mut(path).expect("it was put there");
            if mount.asked.is_none() {
                mount.asked = Some(now);
                fresh.push(path);
                state.queue.push_back(path.clone());
            }
        }
        if self.n_threads == 0 {
            self.add_thread();
        }
        // One thread goes through all of them; another one is for when it hangs.
        shared.asked.notify_one();
        for _ in 0..2 {
            let start = Instant::now();
            while !fresh.is_empty() && start.elapsed() < PATIENCE {
                let left = PATIENCE.saturating_sub(start.elapsed());
                let wait = shared.answered.wait_timeout(state, left);
                state = wait.unwrap_or_else(PoisonError::into_inner).0;
                fresh.retain(|path| state.mounts.get(*path).is_some_and(|m| m.asked.is_some()));
            }
            if state.queue.is_empty() {
                break;
            }
            // All threads hang: the waiting mounts get another one, and time to answer.
            if self.n_threads < self.max_threads {
                self.add_thread();
            }
        }
        let answer = |path| answer(state.mounts.get(path), self.stuck_after);
        paths.iter().map(answer).collect()
    }

    fn add_thread(&mut self) {
        let (shared, call) = (self.shared.clone(), self.call);
        let thread = std::thread::Builder::new().name("statfs".to_owned());
        // Without a thread the mounts count as hanging, which is what they then are.
        self.n_threads += usize::from(thread.spawn(move || run(&shared, call)).is_ok());
    }
}

/// Makes calls until the asking side is gone.
fn run(shared: &Shared, call: Call) {
    let mut state = lock(shared);
    while !state.is_closed {
        let Some(path) = state.queue.pop_front() else {
            let waited = shared.asked.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        drop(state);
        let result = call(&path);
        state = lock(shared);
        if let Some(mount) = state.mounts.get_mut(&path) {
            mount.asked = None;
            mount.last = Some(result);
        }
        // Whoever asks is woken once, not for every mount; after a while it looks by itself.
        if state.queue.is_empty() {
            shared.answered.notify_all();
        }
    }
}

fn answer(mount: Option<&Mount>, stuck_after: Duration) -> Answer {
    let Some(mount) = mount else {
        return Answer::NotYet;
    };
    match (mount.asked, mount.last) {
        (Some(asked), _) if asked.elapsed() >= stuck_after => Answer::Stuck,
        (_, Some(Ok(sizes))) => Answer::Sizes(sizes),
        (_, Some(Err(errno))) => Answer::Failed(errno),
        (_, None) => Answer::NotYet,
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks here and now, for a file system that cannot hang.
pub(super) fn ask_now(path: &Path) -> Answer {
    match statfs(path) {
        Ok(sizes) => Answer::Sizes(sizes),
        Err(errno) => Answer::Failed(errno),
    }
}

fn statfs(path: &Path) -> Result<Sizes, Errno> {
    let s = nix::sys::statfs::statfs(path)?;
    let block = s.block_size() as f64;
    Ok(Sizes {
        size_bytes: s.blocks() as f64 * block,
        free_bytes: s.blocks_free() as f64 * block,
        available_bytes: s.blocks_available() as f64 * block,
        files: s.files() as f64,
        files_free: s.files_free() as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STUCK_AFTER: Duration = Duration::from_secs(5);
    const SIZES: Sizes = Sizes {
        size_bytes: 1.0,
        free_bytes: 1.0,
        available_bytes: 1.0,
        files: 1.0,
        files_free: 1.0,
    };

    fn hang_or_answer(path: &Path) -> Result<Sizes, Errno> {
        match path.to_str() {
            Some("hang") => loop {
                std::thread::park();
            },
            Some("fail") => Err(Errno::EACCES),
            _ => Ok(SIZES),
        }
    }

    #[test]
    fn a_hanging_mount_neither_hangs_the_asker_nor_the_other_mounts() {
        let mut prober = Prober::of(hang_or_answer, STUCK_AFTER, 4);
        let paths = ["hang", "good", "fail"].map(PathBuf::from);
        // The second thread, which the hanging of the first has started, serves the others.
        let good = [
            Answer::NotYet,
            Answer::Sizes(SIZES),
            Answer::Failed(Errno::EACCES),
        ];
        let mut rounds = 0;
        while prober.ask(&paths) != good {
            rounds += 1;
            assert!(rounds < 100_000, "the other mounts never answered");
            std::thread::yield_now();
        }
        let shared = prober.shared.clone();
        let mut state = lock(&shared);
        let hung = (state.mounts)
            .get_mut(Path::new("hang"))
            .expect("it is being asked");
        hung.asked = hung.asked.and_then(|at| at.checked_sub(STUCK_AFTER));
        drop(state);
        assert_eq!(prober.ask(&paths)[0], Answer::Stuck);
    }

    #[test]
    fn real_folders_have_sizes() {
        let answers = Prober::new(STUCK_AFTER, 4).ask(&["/".into(), "/no/such/folder".into()]);
        assert!(
            matches!(answers[0], Answer::Sizes(s) if s.size_bytes > 0.0),
            "{answers:?}"
        );
        assert_eq!(answers[1], Answer::Failed(Errno::ENOENT));
    }
}
