//! Collectors that fail, find nothing, panic or hang, and what a scrape gives then.

use std::sync::Mutex;

use super::*;

fn text(batch: &MetricBatch) -> String {
    let mut out = Vec::new();
    crate::exposition::write(&mut out, &[batch]);
    String::from_utf8(out).expect("text")
}

fn success(text: &str, collector: &str) -> Option<char> {
    let series = format!("node_scrape_collector_success{{collector=\"{collector}\"}} ");
    let at = text.find(&series)? + series.len();
    text[at..].chars().next()
}

#[test]
fn an_unknown_collector_is_refused_with_those_that_are_known() {
    assert_eq!(find("cpu").map(|e| e.name), Ok("cpu"));
    let error = find("nothing").map(|e| e.name).expect_err("not there");
    assert!(
        error.starts_with("there is no collector 'nothing'; collectors: "),
        "{error}"
    );
    let error = find("memifno").map(|e| e.name).expect_err("misspelt");
    assert!(error.contains("did you mean 'meminfo'"), "{error}");
}

#[test]
fn names_and_flags_are_sorted_and_there_once() {
    let names: Vec<&str> = COLLECTORS.iter().map(|e| e.name).collect();
    assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    let mut flags: Vec<&str> = COLLECTORS
        .iter()
        .flat_map(|e| e.flags)
        .map(|f| f.name)
        .collect();
    flags.sort_unstable();
    assert!(flags.is_sorted_by(|a, b| a < b), "{flags:?}");
    for entry in COLLECTORS {
        for flag in entry.flags {
            let newer = flag.stands_for.unwrap_or(flag.name);
            assert!(entry.flags.iter().any(|f| f.name == newer), "{}", flag.name);
            assert!(flag.name.starts_with("collector."), "{}", flag.name);
        }
        (entry.build)(&NodeSpec::default()).unwrap_or_else(|e| panic!("{}: {e:#}", entry.name));
    }
}

#[test]
fn a_collector_without_its_files_fails_alone() {
    let spec = NodeSpec {
        procfs: "/no/such/proc".into(),
        ..NodeSpec::default()
    };
    let mut batch = MetricBatch::default();
    let mut collectors = NodeCollectors::new(&spec, &["cpu", "uname"]).expect("valid flags");
    collectors.collect(|_| true, &mut batch);
    let text = text(&batch);
    assert_eq!(success(&text, "cpu"), Some('0'), "{text}");
    assert_eq!(success(&text, "uname"), Some('1'), "{text}");
    assert!(text.contains("node_uname_info{"));
}

/// Gives one sample, unless told otherwise.
struct Fake(fn() -> anyhow::Result<()>, &'static str);

impl Collector for Fake {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        (self.0)()?;
        let family = out.family(self.1, MetricKind::Gauge, "x");
        out.sample(family, &[], 1.0);
        Ok(())
    }
}

/// Held by the test while the collectors are to hang.
static GATE: Mutex<()> = Mutex::new(());

fn hang() -> anyhow::Result<()> {
    drop(GATE.lock());
    Ok(())
}

const fn fake(
    name: &'static str,
    build: fn(&NodeSpec) -> anyhow::Result<Box<dyn Collector>>,
) -> Entry {
    Entry {
        name,
        build,
        deadline: Duration::from_secs(1),
        ..Entry::DEFAULT
    }
}

static FAKES: [Entry; 5] = [
    fake("good", |_| Ok(Box::new(Fake(|| Ok(()), "good")))),
    fake("stuck", |_| Ok(Box::new(Fake(hang, "stuck")))),
    fake("panics", |_| {
        Ok(Box::new(Fake(
            || std::panic::resume_unwind(Box::new(())),
            "panics",
        )))
    }),
    fake("absent", |_| {
        Ok(Box::new(Fake(|| Err(NoData("not there").into()), "absent")))
    }),
    Entry {
        tier: Tier::Background,
        ..fake("slow", |_| Ok(Box::new(Fake(hang, "slow"))))
    },
];

#[test]
fn what_hangs_or_panics_hurts_itself_only_and_may_come_back() {
    let mut collectors =
        NodeCollectors::of(&NodeSpec::default(), FAKES.iter()).expect("nothing to go wrong");
    let mut scrape = || {
        let mut batch = MetricBatch::default();
        collectors.collect(|_| true, &mut batch);
        text(&batch)
    };
    let all = |text: &str| ["good", "stuck", "panics", "absent", "slow"].map(|n| success(text, n));
    let first = scrape();
    assert_eq!(
        all(&first),
        [Some('1'), Some('1'), Some('0'), Some('0'), Some('1')],
        "{first}"
    );
    let held = GATE.lock().expect("no test panics with it");
    let hanging = scrape();
    assert_eq!(success(&hanging, "good"), Some('1'), "{hanging}");
    assert_eq!(success(&hanging, "stuck"), Some('0'), "{hanging}");
    assert!(
        hanging.contains("\ngood 1\n") && !hanging.contains("\nstuck 1\n"),
        "{hanging}"
    );
    // What hangs in the background serves its last samples until its deadline.
    loop {
        let hanging = scrape();
        assert_eq!(success(&hanging, "good"), Some('1'), "{hanging}");
        let has_samples = hanging.contains("\nslow 1\n");
        assert_eq!(
            success(&hanging, "slow") == Some('1'),
            has_samples,
            "{hanging}"
        );
        if !has_samples {
            break;
        }
    }
    drop(held);
    for round in 0.. {
        assert!(round < 1000, "they never came back");
        let text = scrape();
        if success(&text, "stuck") == Some('1') && success(&text, "slow") == Some('1') {
            assert!(
                text.contains("\nstuck 1\n") && text.contains("\nslow 1\n"),
                "{text}"
            );
            break;
        }
    }
}

#[test]
fn a_collector_without_devices_has_no_thread_until_one_comes() {
    let sysfs = tempfile::tempdir().expect("a temporary folder");
    let spec = NodeSpec {
        sysfs: sysfs.path().into(),
        ..NodeSpec::default()
    };
    let mut collectors = NodeCollectors::new(&spec, &["btrfs", "nvme", "thermal_zone"])
        .expect("the flags are valid");
    let mut collect = || {
        let mut out = MetricBatch::default();
        collectors.collect(|_| true, &mut out);
        (text(&out), collectors.background.len())
    };
    std::fs::create_dir_all(sysfs.path().join("fs/btrfs/features")).expect("folders");
    let (before, n_threads) = collect();
    assert_eq!(n_threads, 0);
    assert_eq!(success(&before, "nvme"), Some('0'));
    assert_eq!(success(&before, "thermal_zone"), Some('1'));
    let zone = sysfs.path().join("class/thermal/thermal_zone0");
    std::fs::create_dir_all(&zone).expect("folders");
    std::fs::write(zone.join("type"), "acpitz\n").expect("a file");
    std::fs::write(zone.join("temp"), "42000\n").expect("a file");
    let (after, n_threads) = collect();
    assert_eq!(n_threads, 1);
    let series = "node_thermal_zone_temp{type=\"acpitz\",zone=\"0\"} 42";
    assert!(after.contains(series), "{after}");
}
