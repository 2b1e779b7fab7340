//! One of our programs as a child process: started, killed, told to end, watched. Whatever becomes
//! of the test, the process is gone when this is dropped; when the test fails, its log is shown.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a test waits for what must come, on a machine that does other things as well.
pub const PATIENCE: Duration = Duration::from_secs(60);
const POLL_EVERY: Duration = Duration::from_millis(20);

/// Asks again and again until there is an answer.
///
/// # Panics
/// When none comes in time.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(POLL_EVERY);
    }
}

/// Asks again and again until the answer is `expected`.
///
/// # Panics
/// With the last answer, when it does not become that in time.
pub fn wait_for_equal<T: PartialEq + std::fmt::Debug>(expected: &T, mut ask: impl FnMut() -> T) {
    let start = Instant::now();
    loop {
        let answer = ask();
        if answer == *expected {
            return;
        }
        if start.elapsed() > PATIENCE {
            assert_eq!(answer, *expected, "after {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(POLL_EVERY);
    }
}

/// A port that nobody listens on, outside of the range from which the system takes the ports of
/// outgoing connections: a program that is restarted gets it again.
///
/// # Panics
/// When all are taken.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let process = (std::process::id() % 1000) as u16 * 10;
    (0..1000)
        .map(|_| 12_000 + (process + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000)
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}

/// A child process.
pub struct Program {
    name: &'static str,
    /// What runs it, empty for itself: see [`Program::on_small_disk`].
    wrapper: Vec<String>,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

impl Program {
    /// `name` with arguments; its log goes to `FOLDER/NAME.log`.
    #[must_use]
    pub fn new(name: &'static str, folder: &Path, arguments: &[&str]) -> Self {
        Self {
            name,
            wrapper: Vec::new(),
            arguments: arguments.iter().map(|&a| a.to_owned()).collect(),
            log: folder.join(format!("{name}.stderr")),
            child: None,
        }
    }

    /// An agent with this configuration; its state goes to `ROOT/state`.
    ///
    /// # Panics
    /// When the folder cannot be written.
    #[must_use]
    pub fn agent(root: &Path, configuration: &str) -> Self {
        let path = root.join("agent.conf");
        fs::create_dir_all(root.join("state")).expect("the folder is ours");
        fs::write(&path, configuration).expect("the folder is ours");
        let path = path.display().to_string();
        Self::new("kansoku-agent", root, &["-c", &path])
    }

    /// Lets it see a disk of `mebibytes` of its own at `folder`. False when this system allows no
    /// mounts of one's own.
    pub fn on_small_disk(&mut self, folder: &Path, mebibytes: u32) -> bool {
        let wrap = ["unshare", "--map-root-user", "--mount", "sh", "-c"];
        let probe = Command::new(wrap[0])
            .args(&wrap[1..])
            .arg("mount -t tmpfs none /mnt")
            .stderr(Stdio::null())
            .status();
        if !probe.is_ok_and(|status| status.success()) {
            return false;
        }
        let script = format!(
            "mount -t tmpfs -o size={mebibytes}m none '{}' && exec \"$0\" \"$@\"",
            folder.display()
        );
        self.wrapper = wrap.map(str::to_owned).to_vec();
        self.wrapper.push(script);
        true
    }

    /// A path as the program sees it, for what lies on its own small disk.
    #[must_use]
    pub fn sees(&self, path: &Path) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.pid(), path.display()))
    }

    /// Starts it, after whatever became of it before.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(&mut self) {
        self.kill();
        let log = File::options().create(true).append(true).open(&self.log);
        let binary = crate::binary(self.name);
        let mut command = match self.wrapper.split_first() {
            None => Command::new(binary),
            Some((wrapper, rest)) => {
                let mut command = Command::new(wrapper);
                command.args(rest).arg(binary);
                command
            }
        };
        let child = command
            .args(&self.arguments)
            // No cluster of whoever runs the tests.
            .env("KUBECONFIG", "/nonexistent")
            .env("HOME", "/nonexistent")
            .env_remove("FLB_LOG_LEVEL")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("the folder is ours"))
            .spawn();
        self.child = Some(child.expect("the program starts"));
    }

    /// # Panics
    /// When it was not started.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the program was started").id()
    }

    /// kill -9, and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM, and waits for its end.
    ///
    /// # Panics
    /// When it does not run or does not end.
    pub fn terminate(&mut self) -> ExitStatus {
        let pid = i32::try_from(self.pid()).expect("process ids fit");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("the program runs");
        self.wait()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the program was started");
        let start = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("the program can be waited for") {
                return status;
            }
            if start.elapsed() > PATIENCE {
                let _ = child.kill();
                panic!("{} does not end", self.name);
            }
            std::thread::sleep(POLL_EVERY);
        }
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// What it said in all its lives.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until it says `words`; gives back the rest of the newest line with them.
    ///
    /// # Panics
    /// When it does not, or ends before.
    pub fn wait_to_say(&mut self, words: &str) -> String {
        wait_for(&format!("{} to say '{words}'", self.name), || {
            let log = self.log();
            let rest = log.lines().rev().find_map(|line| line.split_once(words));
            rest.map(|(_, rest)| rest.to_owned())
        })
    }

    /// The most memory it ever had, in MiB.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn peak_rss_mib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("the program runs");
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let kib = line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kib.expect("the kernel tells VmHWM") / 1024
    }

    /// Whether one of its open files is `path`, also after it was removed.
    #[must_use]
    pub fn holds_open(&self, path: &Path) -> bool {
        let Ok(entries) = fs::read_dir(format!("/proc/{}/fd", self.pid())) else {
            return false;
        };
        let wanted = path.display().to_string();
        entries
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .any(|target| target.to_string_lossy().trim_end_matches(" (deleted)") == wanted)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let shown: Vec<&str> = log.lines().rev().take(40).collect();
            let shown: Vec<&str> = shown.into_iter().rev().collect();
            let _ = writeln!(
                std::io::stderr(),
                "--- the log of {} ends with ---\n{}",
                self.name,
                shown.join("\n")
            );
        }
    }
}
