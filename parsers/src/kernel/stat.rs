//! /proc/stat: time per CPU and the kernel's counters.

use super::Malformed;
use super::scan::{lines, number, words};

/// How a CPU's time is split, in the order of the file's columns. `user` and `nice` include the
/// two guest modes.
pub const MODES: [&str; 10] = [
    "user",
    "nice",
    "system",
    "idle",
    "iowait",
    "irq",
    "softirq",
    "steal",
    "guest",
    "guest_nice",
];
/// Position of idle time in [`MODES`].
pub const IDLE: usize = 3;
/// Position of guest time in [`MODES`].
pub const GUEST: usize = 8;
/// Position of niced guest time in [`MODES`].
pub const GUEST_NICE: usize = 9;
/// What software interrupts are for, in the order of the file's columns.
pub const SOFTIRQS: [&str; 10] = [
    "hi",
    "timer",
    "net_tx",
    "net_rx",
    "block",
    "block_iopoll",
    "tasklet",
    "sched",
    "hrtimer",
    "rcu",
];
/// Ticks per second of every user-space interface on Linux, whatever the kernel's own HZ.
pub const TICKS_PER_SECOND: f64 = 100.0;

/// One CPU's time in ticks, by mode. Columns that an old kernel lacks are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cpu {
    pub number: u32,
    pub ticks: [u64; MODES.len()],
}

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stat {
    /// Online CPUs in order of number.
    pub cpus: Vec<Cpu>,
    pub interrupts: u64,
    pub context_switches: u64,
    /// Unix seconds.
    pub boot_time_s: u64,
    pub forks: u64,
    pub procs_running: u64,
    pub procs_blocked: u64,
    /// Software interrupts by [`SOFTIRQS`].
    pub softirqs: [u64; SOFTIRQS.len()],
}

impl Stat {
    /// All but the time of the CPUs.
    #[must_use]
    pub fn without_cpus(&self) -> Self {
        Self {
            cpus: Vec::new(),
            ..*self
        }
    }
}

/// Reads the file into `out`, whose memory is reused.
///
/// # Errors
/// When a line that is wanted has no number where one must be.
pub fn parse(bytes: &[u8], out: &mut Stat) -> Result<(), Malformed> {
    let mut cpus = std::mem::take(&mut out.cpus);
    cpus.clear();
    *out = Stat {
        cpus,
        ..Stat::default()
    };
    for (index, line) in lines(bytes).enumerate() {
        let malformed = |expected| Malformed {
            format: "stat",
            line: index + 1,
            expected,
        };
        let mut words = words(line);
        let Some(key) = words.next() else { continue };
        if let Some(cpu) = key.strip_prefix(b"cpu") {
            if cpu.is_empty() {
                continue; // the sum of all CPUs
            }
            let number_of = number(cpu).and_then(|n| u32::try_from(n).ok());
            let mut cpu = Cpu {
                number: number_of.ok_or_else(|| malformed("the number of a CPU"))?,
                ..Cpu::default()
            };
            for (slot, word) in cpu.ticks.iter_mut().zip(words) {
                *slot = number(word).ok_or_else(|| malformed("ticks"))?;
            }
            out.cpus.push(cpu);
            continue;
        }
        if key == b"softirq" {
            // The first number is the sum.
            for (slot, word) in out.softirqs.iter_mut().zip(words.skip(1)) {
                *slot = number(word).ok_or_else(|| malformed("a count"))?;
            }
            continue;
        }
        let slot = match key {
            b"intr" => &mut out.interrupts,
            b"ctxt" => &mut out.context_switches,
            b"btime" => &mut out.boot_time_s,
            b"processes" => &mut out.forks,
            b"procs_running" => &mut out.procs_running,
            b"procs_blocked" => &mut out.procs_blocked,
            _ => continue,
        };
        *slot = words
            .next()
            .and_then(number)
            .ok_or_else(|| malformed("a count"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "cpu  10 0 0 0\n\
        cpu0 11563 32159 8153 145203 135 0 21 99 3 4\n\
        cpu2 1 2 3 4 5 6 7 8\n\
        intr 1452769 12 0 0\nctxt 2088894\nbtime 1795251167\nprocesses 26933\n\
        procs_running 2\nprocs_blocked 1\nsoftirq 9 1 8\n";

    #[test]
    fn reads_cpus_and_counters_and_forgets_the_last_reading() {
        let mut stat = Stat {
            forks: 1,
            cpus: vec![Cpu::default(); 9],
            ..Stat::default()
        };
        parse(SAMPLE.as_bytes(), &mut stat).expect("sample parses");
        assert_eq!(stat.cpus.len(), 2);
        assert_eq!(
            stat.cpus[0].ticks,
            [11563, 32159, 8153, 145_203, 135, 0, 21, 99, 3, 4]
        );
        assert_eq!((stat.cpus[1].number, stat.cpus[1].ticks[GUEST]), (2, 0));
        assert_eq!(stat.interrupts, 1_452_769);
        assert_eq!(
            (stat.context_switches, stat.boot_time_s, stat.forks),
            (2_088_894, 1_795_251_167, 26_933)
        );
        assert_eq!((stat.procs_running, stat.procs_blocked), (2, 1));
        assert_eq!(stat.softirqs[..3], [1, 8, 0]);
    }

    #[test]
    fn names_the_bad_line() {
        let error = parse(b"ctxt 1\ncpu0 1 x\n", &mut Stat::default()).expect_err("x is no number");
        assert_eq!(error.to_string(), "malformed stat, line 2: expected ticks");
        assert!(parse(b"cpux 1\n", &mut Stat::default()).is_err());
        assert!(parse(b"btime\n", &mut Stat::default()).is_err());
    }
}
