//! What of a cgroup of version 1 is read anew and what stays as it was.

use super::*;

/// A cgroup of version 1 whose files a test writes.
struct Cgroup {
    root: tempfile::TempDir,
    files: CgroupFiles,
    usage: Usage,
}

impl Cgroup {
    fn new(content: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().expect("a folder");
        let folder = Some(root.path().to_owned());
        for (name, text) in content {
            std::fs::write(root.path().join(name), text).expect("written");
        }
        let trees = Trees::V1 {
            cpu: folder.clone(),
            cpuacct: folder.clone(),
            memory: folder.clone(),
            blkio: folder.clone(),
            pids: folder.clone(),
            unified: folder,
        };
        Self {
            files: CgroupFiles::new(&trees, "/", true),
            usage: Usage::default(),
            root,
        }
    }

    /// Writes files anew and reads what was used.
    fn after(&mut self, content: &[(&str, &str)], has_quota: bool) -> Cpu {
        let expected = Expected {
            quota: has_quota,
            kills: false,
        };
        self.read(content, expected);
        self.usage.cpu.expect("a processor time")
    }

    fn read(&mut self, content: &[(&str, &str)], expected: Expected) {
        for (name, text) in content {
            std::fs::write(self.root.path().join(name), text).expect("written");
        }
        let buf = &mut Vec::new();
        self.files.usage(buf, expected, &mut self.usage);
    }
}

const START: [(&str, &str); 3] = [
    ("cpuacct.usage", "3000000000\n"),
    ("cpuacct.stat", "user 200\nsystem 100\n"),
    (
        "cpu.stat",
        "nr_periods 10\nnr_throttled 4\nthrottled_time 2000000000\n",
    ),
];

#[test]
fn without_a_quota_cpu_stat_stays_as_it_was() {
    let mut cgroup = Cgroup::new(&START);
    let cpu = cgroup.after(&[], false);
    assert_eq!((cpu.periods, cpu.throttled_periods), (0, 0), "never read");
    let cpu = cgroup.after(&[], true);
    assert_eq!((cpu.periods, cpu.throttled_periods), (10, 4));
    assert!((cpu.throttled_s - 2.0).abs() < 1e-9);
    let later = [
        ("cpuacct.usage", "4000000000\n"),
        (
            "cpu.stat",
            "nr_periods 30\nnr_throttled 9\nthrottled_time 5000000000\n",
        ),
    ];
    let cpu = cgroup.after(&later, false);
    assert_eq!(
        (cpu.periods, cpu.throttled_periods),
        (10, 4),
        "not read, and not forgotten"
    );
    let cpu = cgroup.after(&[], true);
    assert_eq!((cpu.periods, cpu.throttled_periods), (30, 9));
    assert!((cpu.throttled_s - 5.0).abs() < 1e-9);
}

#[test]
fn cpuacct_stat_is_read_when_the_usage_has_moved() {
    let mut cgroup = Cgroup::new(&START);
    let cpu = cgroup.after(&[], false);
    assert_eq!((cpu.usage_s, cpu.user_s, cpu.system_s), (3.0, 2.0, 1.0));
    let split = [("cpuacct.stat", "user 500\nsystem 100\n")];
    let cpu = cgroup.after(&split, false);
    assert_eq!((cpu.user_s, cpu.system_s), (2.0, 1.0), "no time was used");
    let cpu = cgroup.after(&[("cpuacct.usage", "6000000000\n")], false);
    assert_eq!((cpu.usage_s, cpu.user_s, cpu.system_s), (6.0, 5.0, 1.0));
}

/// Every file of a container, with the same number wherever a number stands.
fn all_files(n: u64) -> Vec<(&'static str, String)> {
    let pressure = format!("some avg10=0.00 total={n}\nfull avg10=0.00 total={n}\n");
    let blkio = format!("8:0 Read {n}\n8:0 Write {n}\nTotal {n}\n");
    let number = format!("{n}\n");
    let mut files = vec![
        ("cpu.stat", format!("nr_periods {n}\nnr_throttled {n}\n")),
        ("memory.stat", format!("total_rss {n}\ntotal_cache {n}\n")),
        ("memory.oom_control", format!("under_oom 0\noom_kill {n}\n")),
        ("cgroup.procs", format!("{n}\n")),
    ];
    for name in [
        "memory.usage_in_bytes",
        "memory.max_usage_in_bytes",
        "memory.failcnt",
        "memory.kmem.usage_in_bytes",
    ] {
        files.push((name, number.clone()));
    }
    for name in [
        "blkio.throttle.io_service_bytes_recursive",
        "blkio.throttle.io_serviced_recursive",
    ] {
        files.push((name, blkio.clone()));
    }
    files.extend(PRESSURE.map(|name| (name, pressure.clone())));
    files
}

#[test]
fn what_only_running_tasks_change_is_not_read_while_none_has_run() {
    let quiet = Expected {
        quota: true,
        kills: false,
    };
    let mut cgroup = Cgroup::new(&[("cpuacct.usage", "5000000000\n"), ("pids.current", "1\n")]);
    let write = |cgroup: &Cgroup, n: u64| {
        for (name, text) in all_files(n) {
            std::fs::write(cgroup.root.path().join(name), text).expect("written");
        }
    };
    write(&cgroup, 1);
    let trees = cgroup.files.cpu.as_ref().map(|f| f.path().to_owned());
    cgroup.files = CgroupFiles::new(
        &Trees::V1 {
            cpu: trees.clone(),
            cpuacct: trees.clone(),
            memory: trees.clone(),
            blkio: trees.clone(),
            pids: trees.clone(),
            unified: trees,
        },
        "/",
        true,
    );
    // What follows from running, what the kernel's own threads change, and what else is counted.
    let seen = |cgroup: &Cgroup| {
        let usage = &cgroup.usage;
        let memory = usage.memory.expect("memory");
        let running = [
            memory.max_usage,
            memory.fail_count,
            usage.io[0].read_bytes,
            usage.io[0].writes,
            usage.first_pid.unwrap_or(0),
        ];
        let always = [memory.usage, memory.rss, memory.cache, memory.kernel];
        let stalled = usage.pressure.map(|p| p.expect("pressure").some_us);
        (running, always, stalled, memory.oom_kills)
    };
    // Twice without any processor time it may still be settling; pressure is read until it stays.
    for n in 1..=3 {
        write(&cgroup, n);
        cgroup.read(&[], quiet);
        let expected = match n {
            3 => ([2; 5], [3; 4], [3; 3], Some(1)),
            _ => ([n; 5], [n; 4], [n; 3], Some(1)),
        };
        assert_eq!(seen(&cgroup), expected, "{n}");
    }
    write(&cgroup, 4);
    cgroup.read(&[], quiet);
    assert_eq!(seen(&cgroup), ([2; 5], [4; 4], [4; 3], Some(1)));
    cgroup.read(&[], quiet);
    write(&cgroup, 5);
    cgroup.read(&[], quiet);
    assert_eq!(seen(&cgroup), ([2; 5], [5; 4], [4; 3], Some(1)), "calm");
    // A process that was moved here.
    cgroup.read(&[("pids.current", "2\n")], quiet);
    assert_eq!(cgroup.usage.first_pid, Some(5));
    // The kernel has killed one somewhere.
    let kills = Expected {
        kills: true,
        ..quiet
    };
    cgroup.read(&[], kills);
    assert_eq!(seen(&cgroup).3, Some(5));
    // It runs again.
    cgroup.read(&[("cpuacct.usage", "5000000001\n")], quiet);
    assert_eq!(seen(&cgroup), ([5; 5], [5; 4], [5; 3], Some(5)));
}
