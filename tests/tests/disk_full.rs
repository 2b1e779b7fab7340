//! The real program on a disk that gets full: writes are refused so that senders come back, everything else
//! goes on, and nothing that was acknowledged is lost, also through kill -9 and a start on the full disk.
//!
//! The disk is a tmpfs of 64 MB; where none can be mounted the test says so and ends.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kansoku_tests::aggregator::Aggregator;
use kansoku_tests::http::{self, Reply};
use kansoku_tests::pods::now_ns;
use kansoku_tests::program::wait_for;
use kansoku_tests::push;

/// Lines of a frame.
const LINES: u64 = 4000;
const DAY_NS: i64 = 86_400_000_000_000;
/// What other files leave to the store.
const LEFT_BYTES: u64 = 4 << 20;

/// A mounted file system, unmounted at the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]);
        let mounted = mount.arg(at).status();
        mounted
            .is_ok_and(|status| status.success())
            .then(|| Self(at.to_owned()))
    }

    /// Fills it with other files until so much is left.
    fn fill(&self) {
        let mut ballast = fs::File::create(self.0.join("ballast")).expect("a file");
        let free = || {
            let disk = nix::sys::statvfs::statvfs(&self.0).expect("a file system");
            disk.blocks_available() * disk.block_size()
        };
        let piece = vec![1; 1 << 20];
        while free() > LEFT_BYTES {
            let n = (free() - LEFT_BYTES).min(1 << 20) as usize;
            ballast.write_all(&piece[..n]).expect("there is room");
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("ballast")).expect("it is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the program may still have files open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Lines that one source sends, one frame after the other.
struct Sender {
    id: u64,
    t0_ns: i64,
    /// Acknowledged.
    n_lines: u64,
}

impl Sender {
    fn send(&mut self, port: u16) -> Reply {
        let (from, to) = (self.n_lines, self.n_lines + LINES);
        let frame = push::lines_frame("full", self.id, self.t0_ns, from, to);
        let reply = http::post(port, "/api/v1/frames", &[], &frame).expect("an answer");
        if reply.status == 200 {
            self.n_lines = to;
        }
        reply
    }

    fn send_until_full(&mut self, port: u16) {
        for _ in 0..2000 {
            let reply = self.send(port);
            match reply.status {
                200 => {}
                // Not written out yet, for want of room.
                503 => std::thread::sleep(Duration::from_millis(50)),
                507 => {
                    assert!(reply.text().contains("no space left"), "{}", reply.text());
                    return;
                }
                status => panic!("{status}: {}", reply.text()),
            }
        }
        panic!("the disk does not get full");
    }

    fn count(&self, aggregator: &Aggregator) -> u64 {
        let query = format!(
            "sum(count_over_time({{app=\"full\",sender=\"{}\"}}[4d]))",
            self.id
        );
        let reply = aggregator.get("/loki/api/v1/query", &[("query", &query)]);
        assert_eq!(reply.status, 200, "{}", reply.text());
        let json = reply.json();
        let value = json["data"]["result"][0]["value"][1].as_str();
        value.map_or(0, |n| n.parse().expect("a count"))
    }
}

#[test]
fn a_full_disk_refuses_writes_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().join("store");
    fs::create_dir(&at).expect("a folder");
    let Some(disk) = SmallDisk::mount(&at) else {
        eprintln!("no tmpfs can be mounted here: nothing was tested");
        return;
    };
    let fixed = ["--storage.memory-limit=16MiB", "--web.enable-admin-api"];
    let flags = [&fixed[..], &["--storage.retention.time=30d"]].concat();
    let mut aggregator = Aggregator::new(folder.path(), &flags);
    aggregator.start();
    let port = aggregator.port;
    let mut old = Sender {
        id: 1,
        t0_ns: now_ns() - 3 * DAY_NS,
        n_lines: 0,
    };
    for _ in 0..20 {
        assert_eq!(old.send(port).status, 200);
    }
    let reply = http::post(port, "/api/v1/admin/tsdb/compact", &[], b"").expect("an answer");
    assert_eq!(reply.status, 204, "{}", reply.text());

    disk.fill();
    let mut new = Sender {
        id: 2,
        t0_ns: now_ns() - DAY_NS / 4,
        n_lines: 0,
    };
    new.send_until_full(port);
    assert!(new.n_lines > 0);
    for _ in 0..5 {
        let status = new.send(port).status;
        assert!(matches!(status, 200 | 503 | 507), "{status}");
    }
    assert_eq!(aggregator.get("/-/ready", &[]).status, 200);
    assert_eq!(old.count(&aggregator), old.n_lines, "queries go on");
    assert_eq!(
        new.count(&aggregator),
        new.n_lines,
        "what was acknowledged is there"
    );

    disk.make_room();
    let before = new.n_lines;
    wait_for("writes to be taken again", || {
        (new.send(port).status == 200).then_some(())
    });
    for _ in 0..20 {
        wait_for("room for one more", || {
            (new.send(port).status == 200).then_some(())
        });
    }
    assert!(new.n_lines > before);
    assert_eq!(new.count(&aggregator), new.n_lines);

    // Full again, killed, and started with what the refusal advises: a lower retention.
    disk.fill();
    new.send_until_full(port);
    aggregator.program.kill();
    let flags = [&fixed[..], &["--storage.retention.time=1d"]].concat();
    let mut aggregator = Aggregator::new(folder.path(), &flags);
    aggregator.start();
    let port = aggregator.port;
    assert_eq!(new.count(&aggregator), new.n_lines, "after kill -9");
    wait_for("retention to make room", || {
        (old.count(&aggregator) == 0).then_some(())
    });
    wait_for("writes to be taken again", || {
        (new.send(port).status == 200).then_some(())
    });
    assert_eq!(new.count(&aggregator), new.n_lines);
    aggregator.program.kill();
    disk.make_room();
    aggregator.start();
    assert_eq!(new.count(&aggregator), new.n_lines);
    aggregator.end();
}
