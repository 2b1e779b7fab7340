//! Groups on a made-up /proc that changes between two looks.

use std::fs;
use std::path::Path;

use super::*;

fn process(root: &Path, pid: u32, name: &str, parent: u32, user_ticks: u64, line: &str) {
    let folder = root.join(pid.to_string());
    fs::create_dir_all(folder.join("fd")).expect("a folder");
    for n in 0..2 {
        fs::write(folder.join(format!("fd/{n}")), "").expect("a file");
    }
    let stat = format!(
        "{pid} ({name}) S {parent} 1 1 0 -1 0 5 0 6 0 {user_ticks} 20 0 0 20 0 1 0 {} 4096 2 0 0\n",
        // Another name, another start.
        u64::from(pid) * 10 + name.len() as u64
    );
    let limits =
        "Limit Soft Limit\nMax open files            8                16                files\n";
    for (file, text) in [
        ("stat", stat.as_str()),
        (
            "status",
            "Uid:\t0\t0\t0\t0\nvoluntary_ctxt_switches:\t3\nnonvoluntary_ctxt_switches:\t4\n",
        ),
        ("io", "read_bytes: 100\nwrite_bytes: 200\n"),
        ("limits", limits),
        ("wchan", "do_wait"),
        ("cmdline", &line.replace(' ', "\0")),
        ("cgroup", "0::/a\n"),
    ] {
        fs::write(folder.join(file), text).expect("a file");
    }
}

fn seen(groups: &mut Groups, proc: &mut Proc, now_s: u64) -> Vec<String> {
    let mut out = MetricBatch::default();
    groups.collect(proc, now_s, &mut out);
    let lines = out.points().iter().map(|p| {
        let line = format!("{} {}", out.series_of(p), p.value);
        line.replace("namedprocess_namegroup_", "")
    });
    lines.collect()
}

fn has(lines: &[String], line: &str) {
    assert!(
        lines.iter().any(|l| l == line),
        "{line} is not in {lines:#?}"
    );
}

#[test]
fn groups_count_from_the_first_look_and_never_fall() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    fs::write(root.join("stat"), "btime 1000\n").expect("a file");
    process(root, 10, "web", 1, 100, "/bin/web -p 80");
    process(root, 11, "helper", 10, 50, "/bin/helper");
    process(root, 12, "other", 1, 1, "/bin/other");
    let names = Names::parse("f", b"process_names: [{comm: [web]}]").expect("a configuration");
    let flags = Flags {
        children: true,
        threads: true,
        gather_smaps: false,
        recheck: false,
        remove_empty_groups: false,
    };
    let mut groups = Groups::new(names, flags);
    let mut proc = Proc::new(root.to_owned());
    let first = seen(&mut groups, &mut proc, 1100);
    has(&first, r#"{__name__="num_procs", groupname="web"} 2"#);
    has(
        &first,
        r#"{__name__="cpu_seconds_total", groupname="web", mode="user"} 0"#,
    );
    has(
        &first,
        r#"{__name__="memory_bytes", groupname="web", memtype="virtual"} 8192"#,
    );
    has(&first, r#"{__name__="open_filedesc", groupname="web"} 4"#);
    has(
        &first,
        r#"{__name__="worst_fd_ratio", groupname="web"} 0.25"#,
    );
    has(
        &first,
        r#"{__name__="oldest_start_time_seconds", groupname="web"} 1001"#,
    );
    has(
        &first,
        r#"{__name__="states", groupname="web", state="Sleeping"} 2"#,
    );
    has(
        &first,
        r#"{__name__="threads_wchan", groupname="web", wchan="do_wait"} 2"#,
    );
    assert!(!first.iter().any(|l| l.contains("other")));

    // One goes on, one ends, one that starts later counts from its start.
    process(root, 10, "web", 1, 150, "/bin/web -p 80");
    fs::remove_dir_all(root.join("11")).expect("a folder");
    process(root, 2000, "web", 1, 25, "/bin/web -p 81");
    let second = seen(&mut groups, &mut proc, 1300);
    has(&second, r#"{__name__="num_procs", groupname="web"} 2"#);
    has(
        &second,
        r#"{__name__="cpu_seconds_total", groupname="web", mode="user"} 0.75"#,
    );
    has(
        &second,
        r#"{__name__="read_bytes_total", groupname="web"} 100"#,
    );

    // An id that comes again is another process.
    fs::remove_dir_all(root.join("2000")).expect("a folder");
    fs::remove_dir_all(root.join("10")).expect("a folder");
    process(root, 10, "other", 1, 5, "/bin/other");
    let third = seen(&mut groups, &mut proc, 1400);
    has(&third, r#"{__name__="num_procs", groupname="web"} 0"#);
    has(
        &third,
        r#"{__name__="cpu_seconds_total", groupname="web", mode="user"} 0.75"#,
    );
    assert!(!third.iter().any(|l| l.contains("oldest_start")));
    groups.flags.remove_empty_groups = true;
    let fourth = seen(&mut groups, &mut proc, 1500);
    assert_eq!(fourth.len(), 3, "only the errors are left");
}

#[test]
fn a_missing_folder_is_counted() {
    let names = Names::parse("f", b"").expect("nothing");
    let flags = Flags {
        children: false,
        threads: false,
        gather_smaps: false,
        recheck: true,
        remove_empty_groups: true,
    };
    let mut proc = Proc::new("/does/not/exist".into());
    let lines = seen(&mut Groups::new(names, flags), &mut proc, 1);
    has(&lines, r#"{__name__="namedprocess_scrape_errors"} 1"#);
}
