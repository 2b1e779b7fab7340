//! kansoku-agent as a child process that can be killed at any moment.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// An agent and its folder: configuration, offsets, its own log.
pub struct Agent {
    folder: PathBuf,
    child: Option<Child>,
}

impl Agent {
    /// An agent that tails `path` into a sink on `port`; `tail` holds further lines of its section.
    ///
    /// # Panics
    /// When the folder cannot be written.
    #[must_use]
    pub fn new(folder: &Path, path: &str, port: u16, tail: &str) -> Self {
        let configuration = format!(
            "[SERVICE]\n    Flush 0.1\n    Log_Level debug\n    Grace 2\n    scheduler.base 1\n    scheduler.cap 1\n\
             [INPUT]\n    Name tail\n    Tag kube.*\n    Path {path}\n    DB {db}\n    \
             Read_from_Head On\n    Rotate_Wait 1\n    Refresh_Interval 1\n    \
             multiline.parser cri\n{tail}\
             [OUTPUT]\n    Name kansoku\n    Match *\n    Host 127.0.0.1\n    Port {port}\n",
            db = folder.join("tail.db").display(),
        );
        std::fs::write(folder.join("agent.conf"), configuration).expect("the folder is ours");
        Self {
            folder: folder.to_owned(),
            child: None,
        }
    }

    /// Starts it, after whatever became of it before.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("agent.err"))
            .expect("the folder is ours");
        let child = Command::new(crate::binary("kansoku-agent"))
            .arg("-c")
            .arg(self.folder.join("agent.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("the agent starts"));
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
    /// When it is not running.
    pub fn terminate(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the agent runs");
        let pid = i32::try_from(child.id()).expect("process ids fit");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("the agent runs");
        child.wait().expect("the agent can be waited for")
    }

    /// What it said, for failing tests.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("agent.err")).unwrap_or_default()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let tail = log.len().saturating_sub(4000);
            let tail = log.get(tail..).unwrap_or(&log);
            let _ = writeln!(
                std::io::stderr(),
                "--- the agent's log ends with ---\n{tail}"
            );
        }
    }
}
