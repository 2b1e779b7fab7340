//! Generations that were compressed.

use super::*;

#[test]
fn generations_compressed_while_the_agent_is_down_are_read_to_their_end() {
    let mut b = Bench::started(&[]);
    b.append("a.log", "1 all read\n");
    assert_eq!(b.records(), ["1 all read"]);
    b.rename("a.log", "a.log.20260101-000001");
    b.append("a.log", "2 begun\n");
    assert_eq!(b.records(), ["2 begun"]);
    b.crash();
    b.append("a.log", "3 not read\n");
    for n in 2..5 {
        b.rename("a.log", &format!("a.log.20260101-00000{n}"));
        b.append("a.log", format!("{} generation {n}\n", n + 2));
    }
    for n in 1..4 {
        b.compress(&format!("a.log.20260101-00000{n}"));
    }
    b.start();
    let expected = [
        "3 not read",
        "4 generation 2",
        "5 generation 3",
        "6 generation 4",
    ];
    assert_eq!(b.records(), expected);
    // Nothing is read again: not by looks, not after a restart, not when the rest is compressed.
    b.compress("a.log.20260101-000004");
    for _ in 0..3 {
        assert_eq!(b.records(), Vec::<String>::new());
    }
    b.crash();
    b.start();
    b.rename("a.log", "a.log.20260101-000005");
    b.append("a.log", "7\n");
    assert_eq!(b.records(), ["7"]);
    assert_eq!(b.store.n_repeated, 0);
}

#[test]
fn a_generation_compressed_while_it_is_read_is_read_once() {
    let mut b = Bench::new(&[]);
    b.options[2].1 = "3600".to_owned();
    b.start();
    b.append("a.log", "1\n");
    assert_eq!(b.records(), ["1"]);
    b.append("a.log", "2\n");
    b.rename("a.log", "a.log.1");
    b.append("a.log", "3\n");
    b.look();
    b.compress("a.log.1");
    b.deliver_and_crash();
    b.start();
    for _ in 0..3 {
        b.look();
    }
    b.options[2].1 = "0".to_owned();
    b.crash();
    b.start();
    let mut records = b.records();
    records.sort();
    assert_eq!(records, ["2", "3"]);
}

#[test]
fn what_was_not_to_be_read_is_not_read_compressed_either() {
    for (from_head, expected) in [("off", vec!["new"]), ("on", vec!["oldest", "old", "new"])] {
        let mut b = Bench::new(&[("read_from_head", from_head)]);
        b.append("a.log.2", "oldest\n");
        b.compress("a.log.2");
        b.append("a.log.1", "old\n");
        b.append("a.log", "");
        for name in ["a.log.2.gz", "a.log.1"] {
            let file = File::options().append(true).open(b.path(name)).unwrap();
            let time = SystemTime::now() - Duration::from_secs(3600);
            file.set_modified(time).unwrap();
        }
        b.start();
        b.append("a.log", "new\n");
        assert_eq!(b.records(), expected);
        b.rename("a.log.2.gz", "a.log.3.gz");
        b.rename("a.log.1", "a.log.2");
        b.compress("a.log.2");
        b.rename("a.log", "a.log.1");
        b.append("a.log", "newer\n");
        assert_eq!(b.records(), ["newer"], "{from_head}");
    }
}

#[test]
fn compressed_files_that_match_are_read_and_damaged_ones_as_far_as_they_go() {
    let mut b = Bench::new(&[("read_from_head", "on")]);
    b.options[0].1 = b.path("*.gz").display().to_string();
    b.append("a.gz", gzip(b"1\n2\n"));
    let lines: String = (0..50_000).map(|n| format!("line {n}\n")).collect();
    let whole = gzip(lines.as_bytes());
    b.append("b.gz", &whole[..whole.len() / 2]);
    b.append("c.gz", "no gzip\n");
    let damaged = File::options().append(true).open(b.path("b.gz")).unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(60);
    damaged.set_modified(long_ago).unwrap();
    b.start();
    let mut records = b.records();
    let n = records.len() - 3;
    for line in ["1", "2", "no gzip"] {
        assert!(records.contains(&line.to_owned()));
    }
    records.retain(|r| r.starts_with("line "));
    assert!(n > 1000 && records.len() == n && records[n - 1] == format!("line {}", n - 1));
    assert_eq!(b.counters().files_lost.get(), 1);
    b.crash();
    b.start();
    assert_eq!(b.records(), Vec::<String>::new());
}

#[test]
fn a_compressed_file_is_not_given_up_while_it_is_written() {
    let line = |n: u32| format!("line {n} {:x}\n", n.wrapping_mul(2_654_435_761));
    let lines = |from: u32, to: u32| (from..to).map(line).collect::<String>();
    let (first, rest) = (lines(0, 1_000), lines(1_000, 50_000));
    let whole = gzip((first.clone() + &rest).as_bytes());
    // So many bytes of it stand there at the start; the plain file is gone already.
    for n_there in [0, 1, 10, 1_000, whole.len() / 2, whole.len() - 1] {
        for acknowledged in [true, false] {
            let mut b = Bench::started(&[]);
            b.append("a.log", &first);
            if acknowledged {
                b.settle();
                b.crash();
            } else {
                b.look();
                b.deliver_and_crash();
            }
            fs::remove_file(b.path("a.log")).unwrap();
            b.append("a.log.1.gz", &whole[..n_there]);
            b.start();
            b.settle();
            b.append("a.log.1.gz", &whole[n_there..]);
            b.settle();
            let expected: Vec<String> = (0..50_000).map(line).collect();
            let got = b.store.take_records();
            assert_eq!(got.len(), expected.len(), "{n_there}");
            assert!(got.iter().zip(&expected).all(|(g, e)| *g == e.trim_end()));
            assert_eq!(b.counters().files_lost.get(), 0);
        }
    }
    // One that matches by its own name.
    let mut b = Bench::new(&[("read_from_head", "on")]);
    b.options[0].1 = b.path("*.gz").display().to_string();
    b.append("a.gz", &whole[..whole.len() / 2]);
    b.start();
    b.look();
    b.append("a.gz", &whole[whole.len() / 2..]);
    assert_eq!(b.records().len(), 50_000);
}

#[test]
fn generations_that_begin_with_the_same_banner_are_told_apart() {
    let banner = "=".repeat(300) + "\n";
    let mut b = Bench::new(&[("read_from_head", "on")]);
    b.append("a.log", banner.clone() + "1\n");
    b.start();
    assert_eq!(b.records().len(), 2);
    b.crash();
    b.append("a.log", "2\n");
    b.rename("a.log", "a.log.1");
    b.append("a.log", banner.clone() + "3\n");
    b.rename("a.log", "a.log.0");
    b.compress("a.log.0");
    b.compress("a.log.1");
    b.append("a.log", banner + "4\n");
    b.start();
    let mut records = b.records();
    // As long as nothing else of an open one is read, a packed file may be its copy.
    records.extend(b.records());
    records.retain(|r| r.len() == 1);
    records.sort();
    assert_eq!(records, ["2", "3", "4"]);
}

#[test]
fn what_is_compressed_before_anything_of_it_was_read_is_read_once() {
    let mut b = Bench::started(&[]);
    b.append("a.log", "");
    b.settle();
    b.append("a.log", "1\n2\n");
    b.rename("a.log", "a.log.1");
    b.compress("a.log.1");
    b.append("a.log", "3\n");
    assert_eq!(b.records(), ["1", "2", "3"]);
    assert_eq!(b.records(), [""; 0]);
}
