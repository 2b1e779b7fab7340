//! /proc/mdstat: software RAID arrays, a few lines each.

use super::Malformed;
use super::scan::{lines, number, text, words};

/// One array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Array<'a> {
    pub name: &'a str,
    /// `active`, `inactive`, `broken`, or what is being done to it: `recovering`, `reshaping`,
    /// `resyncing`, `checking`.
    pub state: &'a str,
    pub disks_active: u64,
    pub disks_total: u64,
    pub disks_failed: u64,
    pub disks_spare: u64,
    pub blocks_total: u64,
    /// All of them unless something is being done.
    pub blocks_synced: u64,
}

/// Words of the third or fourth line, and the state that they mean.
const ACTIVITIES: [(&str, &str); 4] = [
    ("recovery", "recovering"),
    ("reshape", "reshaping"),
    ("check", "checking"),
    ("resync", "resyncing"),
];

/// Calls `each` with every array.
///
/// # Errors
/// When an array's lines lack its size or its disks.
pub fn parse<'a>(bytes: &'a [u8], mut each: impl FnMut(Array<'a>)) -> Result<(), Malformed> {
    let all: Vec<&[u8]> = lines(bytes).collect();
    for (index, line) in all.iter().enumerate() {
        let starts = [&b" "[..], b"Personalities", b"unused"];
        if line.trim_ascii().is_empty() || starts.iter().any(|s| line.starts_with(s)) {
            continue;
        }
        let rest = &all[index + 1..];
        each(array(line, rest).map_err(|expected| Malformed {
            format: "mdstat",
            line: index + 1,
            expected,
        })?);
    }
    Ok(())
}

fn array<'a>(line: &'a [u8], rest: &[&'a [u8]]) -> Result<Array<'a>, &'static str> {
    let mut fields = words(line);
    let name = fields.next().and_then(text).ok_or("the name of an array")?;
    let state = fields
        .nth(1)
        .and_then(text)
        .ok_or("a name, a colon and a state")?;
    let line = text(line).ok_or("text")?;
    let of = |at: usize| rest.get(at).copied().and_then(text).unwrap_or_default();
    let status = of(0);
    let blocks = words(status.as_bytes()).next().and_then(number);
    let blocks_total = blocks.ok_or("a number of blocks in the line below")?;
    let (disks_active, disks_total) = if line.contains("raid0") || line.contains("linear") {
        let n = line.matches('[').count() as u64;
        (n, n)
    } else if line.contains("inactive") {
        (0, 0)
    } else {
        disks(status).ok_or("[total/active] in the line below")?
    };
    // A line about the bitmap may stand between.
    let activity = if of(1).contains("bitmap") {
        of(2)
    } else {
        of(1)
    };
    let doing = ACTIVITIES.iter().find(|(word, _)| activity.contains(word));
    let blocks_synced = match doing {
        None => blocks_total,
        Some(_) if activity.contains("PENDING") || activity.contains("DELAYED") => 0,
        Some(_) => synced(activity).ok_or("(synced/total) in a line below")?,
    };
    Ok(Array {
        name,
        state: doing.map_or(state, |(_, state)| state),
        disks_active,
        disks_total,
        disks_failed: line.matches("(F)").count() as u64,
        disks_spare: line.matches("(S)").count() as u64,
        blocks_total,
        blocks_synced,
    })
}

/// Active and all disks of `[2/1] [U_]`.
fn disks(status: &str) -> Option<(u64, u64)> {
    let bracketed = status
        .split('[')
        .skip(1)
        .filter_map(|part| part.split(']').next());
    let mut pairs = bracketed.filter_map(|inside| inside.split_once('/'));
    pairs.find_map(|(total, active)| Some((number(active.as_bytes())?, number(total.as_bytes())?)))
}

/// The first number of `(16775552/195310144)`.
fn synced(activity: &str) -> Option<u64> {
    let (_, inside) = activity.split_once('(')?;
    number(inside.split_once('/')?.0.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "Personalities : [raid1] [raid0]\n\
        md6 : active raid1 sdb2[2](F) sdc[1](S) sda2[0]\n\
        \x20     195310144 blocks [2/1] [U_]\n\
        \x20     bitmap: 0/30 pages [0KB], 65536KB chunk\n\
        \x20     [=>...]  recovery =  8.5% (16775552/195310144) finish=17.0min speed=259783K/sec\n\n\
        md9 : active raid1 sdc2[2] sdd2[3]\n\
        \x20     523968 blocks super 1.2 [4/4] [UUUU]\n      resync=DELAYED\n\n\
        md10 : active raid0 sda1[0] sdb1[1]\n       314159265 blocks 64k chunks\n\n\
        md219 : inactive sdb[2](S) sdc[1](S)\n        7932 blocks super external:imsm\n\n\
        unused devices: <none>\n";

    #[test]
    fn arrays_in_every_state() {
        let mut all = Vec::new();
        parse(SAMPLE.as_bytes(), |a| {
            all.push((
                a.name,
                a.state,
                a.disks_active,
                a.disks_total,
                a.disks_failed,
                a.disks_spare,
            ));
        })
        .expect("sample parses");
        assert_eq!(
            all,
            [
                ("md6", "recovering", 1, 2, 1, 1),
                ("md9", "resyncing", 4, 4, 0, 0),
                ("md10", "active", 2, 2, 0, 0),
                ("md219", "inactive", 0, 0, 0, 2),
            ]
        );
        let mut blocks = Vec::new();
        parse(SAMPLE.as_bytes(), |a| {
            blocks.push((a.blocks_total, a.blocks_synced));
        })
        .expect("again");
        assert_eq!(
            blocks,
            [
                (195_310_144, 16_775_552),
                (523_968, 0),
                (314_159_265, 314_159_265),
                (7932, 7932)
            ]
        );
        for bad in [
            "md1\n",
            "md1 : active raid1 sda[0]\n",
            "md1 : active raid1 sda[0]\n  7 blocks\n",
        ] {
            assert!(parse(bad.as_bytes(), |_| ()).is_err(), "{bad}");
        }
    }
}
