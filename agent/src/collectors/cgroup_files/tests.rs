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
            cpuacct: folder,
            memory: None,
            blkio: None,
            pids: None,
            unified: None,
        };
        Self {
            files: CgroupFiles::new(&trees, "/", true),
            usage: Usage::default(),
            root,
        }
    }

    /// Writes files anew and reads what was used.
    fn after(&mut self, content: &[(&str, &str)], has_quota: bool) -> Cpu {
        for (name, text) in content {
            std::fs::write(self.root.path().join(name), text).expect("written");
        }
        self.files
            .usage(&mut Vec::new(), has_quota, &mut self.usage);
        self.usage.cpu.expect("a processor time")
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
    let later = [(
        "cpu.stat",
        "nr_periods 30\nnr_throttled 9\nthrottled_time 5000000000\n",
    )];
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
