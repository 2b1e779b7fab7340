//! What is sent when, and to whom.

use super::*;

#[test]
fn while_the_pipeline_is_full_new_files_are_held_open() {
    let mut b = Bench::started(&[]);
    for n in 0..12 {
        b.append("a.log", format!("{n:07}").repeat(150_000) + "\n");
    }
    b.look();
    for _ in 0..20 {
        b.running.as_mut().unwrap().0.step(false);
    }
    assert!(!b.running.as_ref().unwrap().0.link.has_room());
    b.append("b.log", "short-lived\n");
    b.look();
    fs::remove_file(b.path("b.log")).unwrap();
    b.look();
    let records = b.records();
    assert_eq!(records.len(), 13);
    assert!(records.contains(&"short-lived".to_owned()));
}

#[test]
fn a_dead_output_keeps_nobody_waiting_and_misses_nothing_not_even_after_crashes() {
    for partial in [false, true] {
        let mut b = Bench::new(CRI);
        b.n_outputs = 2;
        b.start();
        let mut n = 0;
        let mut expected = Vec::new();
        let mut write = |b: &Bench, n_lines: usize| {
            for _ in 0..n_lines {
                let text = format!("{n:07}").repeat(40_000);
                let (begin, end) = text.split_at(100);
                let flag = if partial { "P" } else { "F" };
                b.append(
                    "a.log",
                    format!("2026-11-21T09:00:00Z stdout {flag} {begin}\n"),
                );
                b.append("a.log", format!("2026-11-21T09:00:00Z stderr F {n}\n"));
                b.append("a.log", format!("2026-11-21T09:00:00Z stdout F {end}\n"));
                n += 1;
                expected.push(text);
            }
            expected.len()
        };
        let count = |store: &Store| {
            let parts: usize = store.records.iter().map(String::len).sum();
            parts / 280_000
        };
        write(&b, 2);
        b.settle();
        assert_eq!((count(&b.store), count(&b.second)), (2, 2));
        b.is_second_dead = true;
        let n_written = write(&b, 40);
        b.settle();
        assert_eq!(count(&b.store), n_written, "the first has all");
        assert!(b.running.as_ref().unwrap().0.generations.len() > 1);
        // Rotated meanwhile, and killed: the first gets nothing again that was saved.
        b.rename("a.log", "a.log.00001");
        let n_written = write(&b, 20);
        b.settle();
        b.crash();
        b.start();
        b.settle();
        assert_eq!(count(&b.store), n_written);
        assert_eq!(b.store.n_repeated, 0, "its cursor was further");
        b.is_second_dead = false;
        b.deliver_and_crash();
        b.start();
        b.settle();
        let n_written = write(&b, 3);
        b.settle();
        for store in [&b.store, &b.second] {
            assert_eq!(count(store), n_written);
            let order: Vec<usize> = (store.records.iter())
                .filter_map(|r| r.parse().ok().filter(|_| r.len() < 7))
                .collect();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted, (0..n_written).collect::<Vec<_>>());
            assert_eq!(order.len(), n_written, "each once");
        }
        let tailer = &b.running.as_ref().unwrap().0;
        assert!(tailer.generations.values().all(|g| g.lag.is_none()));
    }
}

#[test]
fn batches_end_where_requests_ended_before_a_crash() {
    let mut b = Bench::started(&[("read_from_head", "on")]);
    b.append("a.log", "");
    b.look();
    b.append("a.log", "1\n22\n333\n4444\n");
    let (tailer, captured) = b.running.as_mut().unwrap();
    // At the end of a line, and within the line that ended a group before it.
    let ends = [Position::at(5), Position::at(6)];
    for generation in tailer.generations.values_mut() {
        generation.ends = Arc::new(ends);
        generation.hot = true;
    }
    let mut ends = Vec::new();
    for _ in 0..6 {
        tailer.next_flush = Some(Instant::now());
        tailer.step(false);
        ends.extend(captured.take().iter().map(|b| b.source().to.offset));
    }
    assert_eq!(ends, [5, 9, 14]);
}

#[test]
fn a_batch_of_before_a_crash_is_one_again_however_much_each_read_brings() {
    let mut b = Bench::started(&[("read_from_head", "on")]);
    b.append("a.log", "");
    b.look();
    b.append("a.log", format!("{}\n", "x".repeat(99)).repeat(9_000));
    // A file that grew by small pieces gave a first batch that ends within the fifth piece of a
    // read; the second is larger than a batch may become by itself.
    let ranges = [(0, 200_100), (200_100, 550_000)];
    let ranges = ranges.map(|(from, to)| (Position::at(from), Position::at(to)));
    let (tailer, captured) = b.running.as_mut().unwrap();
    tailer.link.flush = Duration::ZERO;
    for generation in tailer.generations.values_mut() {
        generation.ends = Arc::new(ranges.map(|(_, to)| to));
        generation.ranges = Arc::new(ranges);
        generation.hot = true;
    }
    let mut ends = Vec::new();
    for _ in 0..20 {
        tailer.next_flush = Some(Instant::now());
        tailer.step(false);
        ends.extend(captured.take().iter().map(|b| b.source().to.offset));
    }
    assert_eq!(ends[..2], [200_100, 550_000]);
    assert_eq!(ends.last(), Some(&900_000));
}

#[test]
fn the_lag_says_what_is_not_delivered_and_ends_with_the_delivery() {
    let mut b = Bench::new(CRI);
    b.append("a.log", "2026-11-21T09:00:00Z stdout F done\n");
    b.start();
    b.settle();
    let text = "2020-01-01T00:00:00Z stdout F old\n2026-11-21T09:00:00Z stdout P begin\n";
    b.append("a.log", text);
    b.look();
    let tailer = &mut b.running.as_mut().unwrap().0;
    tailer.step(false);
    tailer.measure();
    assert_eq!(b.counters().lag_bytes.get(), text.len() as u64);
    let years = b.counters().lag_seconds.get() / (365 * 24 * 3600);
    assert!((5..50).contains(&years), "{years}");
    b.append("a.log", "2026-11-21T09:00:00Z stdout F end\n");
    b.settle();
    let tailer = &mut b.running.as_mut().unwrap().0;
    tailer.measure();
    assert!(
        tailer.next_measure.is_none(),
        "nothing wakes it up any more"
    );
    assert_eq!(b.counters().lag_bytes.get(), 0);
    assert_eq!(b.counters().lag_seconds.get(), 0);
}

#[test]
fn what_was_under_way_before_a_crash_is_read_before_anything_else() {
    let mut b = Bench::started(&[]);
    let names = ["a.log", "b.log", "c.log"];
    names.iter().for_each(|name| b.append(name, ""));
    b.look();
    for name in names {
        b.append(
            name,
            "a request has a line of each\n".to_owned() + &"x".repeat(1 << 20) + "\n",
        );
        (0..6).for_each(|_| b.append(name, "y".repeat(1 << 20) + "\n"));
    }
    for generation in b.running.as_mut().unwrap().0.generations.values_mut() {
        generation.ends = Arc::new([Position::at(29)]);
        generation.hot = true;
    }
    for _ in 0..20 {
        b.running.as_mut().unwrap().0.step(false);
    }
    let (tailer, captured) = b.running.as_ref().unwrap();
    assert!(!tailer.link.has_room(), "there is more than fits");
    let taken = captured.take();
    let firsts = taken.iter().filter(|b| b.source().to == Position::at(29));
    assert_eq!(firsts.count(), 3);
    taken.iter().for_each(|batch| b.store.take(batch));
    assert_eq!(b.records().len(), 3 * 8);
}

#[test]
fn a_slow_output_gets_the_generations_of_a_name_in_their_order() {
    for crashes in [false, true] {
        let mut b = Bench::new(&[("read_from_head", "on")]);
        b.n_outputs = 2;
        b.append("a.log", "");
        b.start();
        b.settle();
        b.is_second_dead = true;
        let mut n = 0;
        let mut write = |b: &Bench, n_lines: usize| {
            for _ in 0..n_lines {
                b.append("a.log", format!("{n:04} ") + &"x".repeat(100_000) + "\n");
                n += 1;
            }
            n
        };
        let mut n_written = 0;
        for generation in 0..5 {
            n_written = write(&b, 30);
            b.settle();
            if crashes && generation == 2 {
                b.crash();
                b.start();
                b.settle();
            }
            b.rename("a.log", &format!("a.log.{generation:05}"));
            b.append("a.log", "");
        }
        b.settle();
        assert_eq!(
            b.store.records.len(),
            n_written,
            "the first waits for nobody"
        );
        assert!(b.second.records.len() < n_written);
        b.is_second_dead = false;
        b.settle();
        for store in [&b.store, &b.second] {
            let numbers = store
                .records
                .iter()
                .map(|r| r[..4].parse::<usize>().unwrap());
            let expected: Vec<usize> = (0..n_written).collect();
            assert_eq!(numbers.collect::<Vec<_>>(), expected);
        }
        let tailer = &b.running.as_ref().unwrap().0;
        assert_eq!(tailer.generations.len(), 1);
    }
}

#[test]
fn an_output_that_is_behind_is_looked_after_without_news_of_files() {
    let mut b = Bench::new(&[("read_from_head", "on")]);
    b.n_outputs = 2;
    b.append("a.log", "");
    b.start();
    b.settle();
    let has_to_look = |b: &mut Bench| {
        let (tailer, _) = b.running.as_mut().unwrap();
        tailer.woken = false;
        tailer.next_scan = Instant::now() + Duration::from_secs(3600);
        tailer.generations.values_mut().for_each(|g| g.hot = false);
        tailer.has_to_look(Instant::now())
    };
    assert!(!has_to_look(&mut b));
    b.is_second_dead = true;
    for _ in 0..60 {
        b.append("a.log", "x".repeat(200_000) + "\n");
    }
    b.settle();
    assert!(has_to_look(&mut b));
    b.is_second_dead = false;
    b.settle();
    assert_eq!(b.second.records.len(), 60);
    assert!(!has_to_look(&mut b));
}

#[test]
fn a_cut_where_a_slow_outputs_reader_stands_reaches_that_output() {
    let mut b = Bench::new(CRI);
    b.n_outputs = 2;
    b.append("a.log", "");
    b.start();
    b.settle();
    b.is_second_dead = true;
    for n in 0..40 {
        let text = format!("{n:04} ") + &"x".repeat(200_000);
        b.append("a.log", format!("2026-11-21T09:00:00Z stdout F {text}\n"));
    }
    b.append("a.log", "2026-11-21T09:00:00Z stdout P begin-\n");
    b.settle();
    b.is_second_dead = false;
    let mut is_cut = false;
    for _ in 0..1000 {
        let (tailer, captured) = b.running.as_mut().unwrap();
        // No batch is sent once the reader has one and stands where the others do.
        let end = tailer.generations.values().map(Generation::offset).max();
        let there = |g: &Generation| g.lag.is_some() && Some(g.offset()) == end && g.has_batch();
        if !is_cut && tailer.generations.values().any(there) {
            is_cut = true;
            let main = *tailer.generations.keys().next().unwrap();
            tailer.cut_everywhere(main, lagging::Cutting::All);
        }
        tailer.next_flush = tailer.next_flush.map(|_| Instant::now());
        if !is_cut {
            tailer.next_flush = None;
        }
        tailer.step(false);
        captured.take().iter().for_each(|batch| b.store.take(batch));
        captured
            .take_of(1)
            .iter()
            .for_each(|batch| b.second.take(batch));
    }
    assert!(is_cut);
    for store in [&b.store, &b.second] {
        assert_eq!(store.records.len(), 41);
        assert_eq!(store.records[40], "begin-");
    }
}
