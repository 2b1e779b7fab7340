//! `cpu`: how busy the CPUs were since the record before, in percent; with `pid` one process.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use kansoku_model::{OptionKind, OptionSpec, Plugin, joined};
use kansoku_parsers::kernel::stat::{self, Stat, TICKS_PER_SECOND};

use super::{Field, INTERVAL_OPTIONS, Probe, Record, input};
use crate::plugin::InputPlugin;

const OWN: &[OptionSpec] = &[OptionSpec::new(
    "pid",
    OptionKind::Int,
    "-1",
    "a process to tell of instead of the whole machine",
)];
const OPTIONS: &[OptionSpec] =
    &joined::<{ OWN.len() + INTERVAL_OPTIONS.len() }>(OWN, INTERVAL_OPTIONS);

/// The plugin.
pub const PLUGIN: InputPlugin = Plugin {
    name: "cpu",
    about: "Tells how busy the CPUs are, in percent.",
    options: OPTIONS,
    example: "[INPUT]\n    Name  cpu\n    Tag   cpu\n",
    build: |settings, environment| {
        settings.check(OPTIONS)?;
        let pid = settings.int("pid", -1)?;
        let probe = Cpu {
            proc: "/proc".into(),
            pid: (pid >= 0).then_some(pid),
            before: None,
        };
        input(settings, environment, probe)
    },
};

/// User (with nice) and system time in ticks: of all CPUs or of the process, then of each CPU.
type Ticks = Vec<[u64; 2]>;

struct Cpu {
    proc: PathBuf,
    pid: Option<i64>,
    before: Option<(Instant, Ticks)>,
}

impl Cpu {
    /// Reads the counters; the number of CPUs beside them.
    fn read(&self) -> anyhow::Result<(Ticks, usize)> {
        let path = self.proc.join("stat");
        let bytes =
            std::fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
        let mut all = Stat::default();
        stat::parse(&bytes, &mut all)?;
        let n_cpus = all.cpus.len().max(1);
        if let Some(pid) = self.pid {
            return Ok((vec![self.process(pid)?], n_cpus));
        }
        let each = all
            .cpus
            .iter()
            .map(|c| [c.ticks[0].saturating_add(c.ticks[1]), c.ticks[2]]);
        let mut ticks: Ticks = vec![[0, 0]];
        ticks.extend(each);
        ticks[0] = ticks[1..].iter().fold([0u64, 0u64], |s, c| {
            [0, 1].map(|k| s[k].saturating_add(c[k]))
        });
        Ok((ticks, n_cpus))
    }

    fn process(&self, pid: i64) -> anyhow::Result<[u64; 2]> {
        let path = self.proc.join(pid.to_string()).join("stat");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("failed to read {}", path.display()))?;
        // The name may hold anything, also blanks and brackets: the last bracket ends it.
        let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
        let mut words = rest.split_whitespace().skip(11).map(str::parse);
        match (words.next(), words.next()) {
            (Some(Ok(user)), Some(Ok(system))) => Ok([user, system]),
            _ => anyhow::bail!("{} has no times", path.display()),
        }
    }
}

impl Probe for Cpu {
    fn ask(&mut self, record: &mut Record) -> anyhow::Result<()> {
        let (now, n_cpus) = self.read()?;
        let at = Instant::now();
        if let Some((then, before)) = &self.before
            && before.len() == now.len()
        {
            let ticks = at.duration_since(*then).as_secs_f64() * TICKS_PER_SECOND;
            tell(record, before, &now, ticks, n_cpus);
        }
        self.before = Some((at, now));
        Ok(())
    }
}

fn tell(record: &mut Record, before: &Ticks, now: &Ticks, ticks: f64, n_cpus: usize) {
    for (i, (now, before)) in now.iter().zip(before).enumerate() {
        let over = if i == 0 { ticks * n_cpus as f64 } else { ticks };
        let percent = |n: u64| {
            let share = n as f64 * 100.0 / over.max(1.0);
            (share * 100.0).round() / 100.0
        };
        let [user, system] = [0, 1].map(|k| now[k].saturating_sub(before[k]));
        let [cpu_p, user_p, system_p] = if i == 0 {
            ["cpu_p".into(), "user_p".into(), "system_p".into()]
        } else {
            ["p_cpu", "p_user", "p_system"].map(|name| format!("cpu{}.{name}", i - 1))
        };
        record.push((cpu_p, Field::Float(percent(user.saturating_add(system)))));
        record.push((user_p, Field::Float(percent(user))));
        record.push((system_p, Field::Float(percent(system))));
    }
}

/// The probe over files in `proc`.
#[cfg(feature = "fuzzing")]
pub(super) fn probe(proc: &std::path::Path) -> impl Probe {
    Cpu {
        proc: proc.to_owned(),
        pid: Some(7),
        before: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_one_cpu_or_of_all() {
        let mut record = Record::new();
        let (before, now) = (
            vec![[10, 5], [10, 5], [0, 0]],
            vec![[110, 30], [60, 30], [50, 0]],
        );
        tell(&mut record, &before, &now, 100.0, 2);
        let expected = [
            ("cpu_p", 62.5),
            ("user_p", 50.0),
            ("system_p", 12.5),
            ("cpu0.p_cpu", 75.0),
            ("cpu0.p_user", 50.0),
            ("cpu0.p_system", 25.0),
            ("cpu1.p_cpu", 50.0),
            ("cpu1.p_user", 50.0),
            ("cpu1.p_system", 0.0),
        ];
        let expected: Record = (expected.iter())
            .map(|(name, value)| ((*name).to_owned(), Field::Float(*value)))
            .collect();
        assert_eq!(record, expected);
    }

    #[test]
    fn the_first_reading_gives_nothing_and_a_process_may_be_called_anything() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("stat"), "cpu  1 2 3 4 5\ncpu0 1 2 3 4 5\n").unwrap();
        std::fs::create_dir(dir.path().join("7")).unwrap();
        let line = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 77 33 0 0 20 0";
        std::fs::write(dir.path().join("7/stat"), line).unwrap();
        let mut probe = Cpu {
            proc: dir.path().to_owned(),
            pid: Some(7),
            before: None,
        };
        assert_eq!(probe.process(7).unwrap(), [77, 33]);
        let mut record = Record::new();
        probe.ask(&mut record).unwrap();
        assert!(record.is_empty());
        probe.ask(&mut record).unwrap();
        assert_eq!(record.len(), 3);
    }
}
