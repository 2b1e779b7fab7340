//! Writes, rotations, looks and crashes in orders that chance makes.
//!
//! `TAIL_SEEDS=FROM-TO` runs other orders than the usual ones.

use super::*;

/// A small generator, so that a failing run can be repeated by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// What was written and what came of it.
struct History {
    /// The text of each line, which is a record or a part of one.
    written: Vec<String>,
    got: Vec<String>,
    /// The seed and the actions.
    trace: String,
}

/// Writes a line of this flag; its text.
fn write(b: &Bench, flag: &str, text: &str) -> String {
    b.append(
        "a.log",
        format!("2026-11-21T09:00:00Z stdout {flag} {text}\n"),
    );
    text.to_owned()
}

/// Forty actions in the order that the seed says, with parts that wait for `multiline_flush`.
fn history(seed: u64, multiline_flush: &str) -> History {
    let mut random = Random(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
    let mut b = Bench::started(&[
        ("multiline.parser", "cri"),
        ("multiline_flush", multiline_flush),
    ]);
    // What is rotated away before its name was ever seen cannot be asked for.
    let mut written = vec![write(&b, "F", "line 0")];
    b.look();
    let (mut n_records, mut n_rotated) = (1, 0);
    // Some records are written in two parts, and much may happen between these.
    let mut is_open = false;
    let mut trace = Vec::new();
    for _ in 0..40 {
        let action = random.below(10);
        trace.push(action);
        match action {
            0..=2 => {
                for _ in 0..=random.below(20) {
                    if std::mem::take(&mut is_open) {
                        written.push(write(&b, "F", "end"));
                        continue;
                    }
                    is_open = random.below(4) == 0;
                    let (flag, dash) = if is_open { ("P", "-") } else { ("F", "") };
                    written.push(write(&b, flag, &format!("line {n_records}{dash}")));
                    n_records += 1;
                }
            }
            3 if b.path("a.log").exists() => {
                b.rename("a.log", &format!("a.log.{n_rotated:05}"));
                n_rotated += 1;
                if is_open {
                    // A name without a file for longer than rotate_wait ends what is unfinished.
                    b.append("a.log", "");
                }
            }
            4 if b.path("a.log").exists() => {
                let copy = b.path(&format!("a.log.{n_rotated:05}"));
                fs::copy(b.path("a.log"), copy).unwrap();
                File::create(b.path("a.log")).unwrap();
                n_rotated += 1;
            }
            5 => {
                b.deliver_and_crash();
                b.start();
            }
            6 => {
                b.crash();
                b.start();
            }
            7 => b.look(),
            8 => {
                let oldest = (0..n_rotated)
                    .map(|n| format!("a.log.{n:05}"))
                    .find(|name| b.path(name).exists());
                if let Some(oldest) = oldest {
                    b.compress(&oldest);
                }
            }
            _ => b.settle(),
        }
    }
    // A name that never comes back cannot be asked for its generations.
    let last = match is_open {
        true => "end".to_owned(),
        false => format!("line {n_records}"),
    };
    written.push(write(&b, "F", &last));
    History {
        written,
        got: b.records(),
        trace: format!("seed {seed}: {trace:?}"),
    }
}

/// These seeds, unless others are asked for.
fn seeds(usual: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let Ok(asked) = std::env::var("TAIL_SEEDS") else {
        return usual.into_iter().collect();
    };
    let (from, to) = asked.split_once('-').expect("TAIL_SEEDS is FROM-TO");
    let number = |text: &str| text.parse::<u64>().expect("a seed is a number");
    (number(from)..=number(to)).collect()
}

#[test]
fn any_order_of_writes_rotations_and_crashes_gives_every_line_once() {
    // The last ones have failed: an inode given to another file, a compressed file without content,
    // generations that begin alike.
    for seed in seeds((1..=100).chain([168, 1136, 1280, 1636, 1872])) {
        // However long the machine takes, no part waits for too long.
        let history = history(seed, "3600");
        let mut records: Vec<String> = Vec::new();
        let mut is_open = false;
        for text in history.written {
            let goes_on = text.ends_with('-');
            match records.last_mut().filter(|_| is_open) {
                Some(record) => record.push_str(&text),
                None => records.push(text),
            }
            is_open = goes_on;
        }
        assert_eq!(history.got, records, "{}", history.trace);
    }
}

#[test]
fn any_order_gives_every_part_once_when_none_waits_for_its_rest() {
    for seed in seeds(1..=40) {
        let history = history(seed, "0");
        // Which records are cut depends on the looks; what was cut once must be cut again alike.
        let parts = history.got.iter().flat_map(|record| {
            let joined = record.strip_suffix("-end");
            joined.map_or_else(
                || vec![record.clone()],
                |first| vec![format!("{first}-"), "end".to_owned()],
            )
        });
        let parts: Vec<String> = parts.collect();
        assert_eq!(parts, history.written, "{}", history.trace);
    }
}
