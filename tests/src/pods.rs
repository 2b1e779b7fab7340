//! A node's log folders as kubelet and a CRI runtime keep them: `pods/NS_POD_UID/CONTAINER/0.log`
//! behind a symbolic link in `containers/`. What was written is remembered line by line.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// One record as it must come out.
#[derive(Debug, Clone)]
pub struct Written {
    pub time_ns: i64,
    pub stream: &'static str,
    /// As the query tells it: what is not UTF-8 is shown as the replacement character.
    pub text: String,
}

/// The log of one container.
pub struct ContainerLog {
    pub pod: String,
    /// `0.log`.
    pub path: PathBuf,
    file: File,
    time_ns: i64,
    n_rotations: usize,
    buffer: Vec<u8>,
    pub written: Vec<Written>,
}

impl ContainerLog {
    /// The log of `pod` in the node folder `root`; its lines are a microsecond apart from `time_ns` on.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new(root: &Path, namespace: &str, pod: &str, container: &str, time_ns: i64) -> Self {
        let folder = root.join(format!("pods/{namespace}_{pod}_5d1f7c0a/{container}"));
        fs::create_dir_all(&folder).expect("the folder is ours");
        fs::create_dir_all(root.join("containers")).expect("the folder is ours");
        let path = folder.join("0.log");
        // The file is there before the link, as the runtime does it.
        let file = open(&path);
        let id = "0123456789abcdef".repeat(4);
        let link = format!("containers/{pod}_{namespace}_{container}-{id}.log");
        symlink(&path, root.join(link)).expect("the folder is ours");
        Self {
            pod: pod.to_owned(),
            path,
            file,
            time_ns,
            n_rotations: 0,
            buffer: Vec::new(),
            written: Vec::new(),
        }
    }

    /// A record in one line.
    pub fn line(&mut self, stream: &'static str, text: impl AsRef<[u8]>) {
        self.parts(stream, &[text.as_ref()]);
    }

    /// A record in several lines, all but the last marked as partial.
    pub fn parts(&mut self, stream: &'static str, parts: &[&[u8]]) {
        let time_ns = self.time_ns;
        for (n, part) in parts.iter().enumerate() {
            let flag = if n + 1 == parts.len() { 'F' } else { 'P' };
            self.raw(stream, flag, part);
        }
        self.written.push(Written {
            time_ns,
            stream,
            text: String::from_utf8_lossy(&parts.concat()).into_owned(),
        });
    }

    /// One line of the file.
    pub fn raw(&mut self, stream: &str, flag: char, text: &[u8]) {
        let time = cri_time(self.time_ns);
        let _ = write!(self.buffer, "{time} {stream} {flag} ");
        self.buffer.extend_from_slice(text);
        self.buffer.push(b'\n');
        self.time_ns += 1000;
    }

    /// Writes what was added, all of it or only so many bytes for now.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn flush(&mut self, at_most: usize) {
        let n = self.buffer.len().min(at_most);
        let written = self.file.write_all(&self.buffer[..n]);
        written.expect("the log is writable");
        self.buffer.drain(..n);
    }

    /// Renames the file and opens a new one, as kubelet does.
    ///
    /// # Panics
    /// When that fails.
    pub fn rotate(&mut self) {
        self.flush(usize::MAX);
        self.n_rotations += 1;
        let (minutes, seconds) = (self.n_rotations / 60 % 60, self.n_rotations % 60);
        let hours = self.n_rotations / 3600;
        let name = format!("0.log.20261121-{hours:02}{minutes:02}{seconds:02}");
        let target = self.path.with_file_name(name);
        fs::rename(&self.path, target).expect("the log can be renamed");
        self.file = open(&self.path);
    }
}

/// The `[INPUT]`, `[FILTER]` and `[OUTPUT]` that follow the containers of `root` into an aggregator;
/// `tail` holds further lines of the input's section.
#[must_use]
pub fn shipping(root: &Path, port: u16, tail: &str) -> String {
    let folder = root.join("containers").display().to_string();
    // As in the tag, where dots never stand side by side.
    let prefix = folder.replace("/.", ".").replace('/', ".");
    let prefix = prefix.trim_start_matches('.');
    let db = root.join("state/tail.db").display().to_string();
    format!(
        "[INPUT]\n    Name tail\n    Tag kube.*\n    Path {folder}/*.log\n    DB {db}\n    \
         Read_from_Head On\n    Refresh_Interval 1\n    multiline.parser cri\n{tail}\
         [FILTER]\n    Name kubernetes\n    Match kube.*\n    Kube_Tag_Prefix kube.{prefix}.\n    Merge_Log On\n\
         [OUTPUT]\n    Name kansoku\n    Match *\n    Host 127.0.0.1\n    Port {port}\n"
    )
}

/// A `[SERVICE]` with the agent's HTTP server on `port` and a short temper.
#[must_use]
pub fn service(port: u16) -> String {
    format!(
        "[SERVICE]\n    Flush 0.1\n    Grace 10\n    scheduler.base 1\n    scheduler.cap 1\n    \
         HTTP_Server On\n    HTTP_Listen 127.0.0.1\n    HTTP_Port {port}\n"
    )
}

/// A time as CRI runtimes write it.
///
/// # Panics
/// When it lies thousands of years away.
#[must_use]
pub fn cri_time(time_ns: i64) -> String {
    let time = Timestamp::from_nanosecond(i128::from(time_ns)).expect("a time of our age");
    time.strftime("%Y-%m-%dT%H:%M:%S%.9fZ").to_string()
}

/// Now, in nanoseconds.
///
/// # Panics
/// When it is later than 2262.
#[must_use]
pub fn now_ns() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).expect("a time of our age")
}

fn open(path: &Path) -> File {
    let file = File::options().create(true).append(true).open(path);
    file.expect("the folder is ours")
}
