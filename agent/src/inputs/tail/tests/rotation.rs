//! Generations of one name: renamed, copied, truncated, deleted.

use super::*;

#[test]
fn every_generation_between_two_looks_is_read_in_order() {
    let mut b = Bench::started(&[]);
    b.append("a.log", "1\n");
    assert_eq!(b.records(), ["1"]);
    b.append("a.log", "2\n");
    b.rename("a.log", "a.log.20260101-000001");
    b.append("a.log", "3\n");
    b.rename("a.log", "a.log.20260101-000002");
    b.append("a.log", "4\nunfinished");
    b.rename("a.log", "a.log.20260101-000003");
    b.append("a.log", "5\n");
    assert_eq!(b.records(), ["2", "3", "4", "unfinished", "5"]);
    b.append("a.log", "6\n");
    assert_eq!(b.records(), ["6"]);
}

#[test]
fn what_was_rotated_and_deleted_while_the_agent_was_down_is_found_by_its_content() {
    let mut b = Bench::started(&[]);
    b.append("a.log", "1\n");
    assert_eq!(b.records(), ["1"]);
    b.crash();
    b.append("a.log", "2\n");
    b.rename("a.log", "a.log.1");
    b.append("a.log", "3\n");
    b.rename("a.log.1", "a.log.2");
    b.rename("a.log", "a.log.1");
    b.append("a.log", "4\n");
    b.start();
    assert_eq!(b.records(), ["2", "3", "4"]);
    b.crash();
    fs::remove_file(b.path("a.log.2")).unwrap();
    b.start();
    assert_eq!(b.records(), Vec::<String>::new(), "nothing is read twice");
}

#[test]
fn a_deleted_file_is_read_to_its_end() {
    let mut b = Bench::started(&[]);
    b.append("a.log", "1\n");
    b.look();
    b.append("a.log", "2\n");
    fs::remove_file(b.path("a.log")).unwrap();
    assert_eq!(b.records(), ["1", "2"]);
    b.append("a.log", "a new file, perhaps with the same inode\n");
    assert_eq!(b.records(), ["a new file, perhaps with the same inode"]);
}

#[test]
fn a_copy_made_before_truncation_is_read_to_its_end() {
    let mut b = Bench::started(&[]);
    b.append("a.log", "1\n");
    assert_eq!(b.records(), ["1"]);
    b.append("a.log", "2\n");
    fs::copy(b.path("a.log"), b.path("a.log.1")).unwrap();
    File::create(b.path("a.log")).unwrap();
    assert_eq!(b.records(), ["2"]);
    b.append("a.log", "3 and the file is longer than it was before\n");
    assert_eq!(b.records(), ["3 and the file is longer than it was before"]);
    // The same while the agent is down, and grown past the old offset at once.
    b.crash();
    b.append("a.log", "4\n");
    b.rename("a.log.1", "a.log.2");
    fs::copy(b.path("a.log"), b.path("a.log.1")).unwrap();
    File::create(b.path("a.log")).unwrap();
    b.append(
        "a.log",
        "5 is longer than anything that stood here before it came along, really\n",
    );
    b.start();
    let last = "5 is longer than anything that stood here before it came along, really";
    assert_eq!(b.records(), ["4", last]);
}

fn copy_and_truncate(b: &Bench, copy: &str) {
    fs::copy(b.path("a.log"), b.path(copy)).unwrap();
    File::create(b.path("a.log")).unwrap();
}

#[test]
fn what_was_copied_and_truncated_unread_comes_before_what_follows() {
    // Seen empty, seen with content and not read, never seen, with a banner, and several at once.
    let banner = "=".repeat(300) + "\n";
    for (seen, banner) in [
        ("", ""),
        ("0\n", ""),
        ("0\n", banner.as_str()),
        ("-", &banner),
    ] {
        let mut b = Bench::new(&[("read_from_head", "on")]);
        if seen != "-" {
            b.append("a.log", if seen.is_empty() { "" } else { banner });
            b.append("a.log", seen);
            b.start();
            b.settle();
        }
        for n in 1..4 {
            b.append("a.log", format!("{banner}{n} old\n"));
            copy_and_truncate(&b, &format!("a.log.0000{n}"));
        }
        b.append("a.log", format!("{banner}{}", "new and longer\n".repeat(3)));
        if seen == "-" {
            b.start();
        }
        let mut records = b.records();
        records.retain(|r| !r.starts_with('=') && r != "0");
        let new = "new and longer";
        assert_eq!(
            records,
            ["1 old", "2 old", "3 old", new, new, new],
            "{seen:?}"
        );
        assert_eq!(b.records(), [""; 0]);
    }
}

#[test]
fn a_copy_that_is_not_complete_is_not_read_beside_its_original() {
    for size in [3, 300] {
        let mut b = Bench::new(&[("read_from_head", "on")]);
        let line = "x".repeat(size);
        b.append("a.log", format!("{line}\n2\n"));
        // The look falls between the copy's first bytes and the truncation.
        b.append("a.log.1", format!("{line}\n"));
        b.start();
        assert_eq!(b.records(), [line.as_str(), "2"]);
        b.append("a.log.1", "2\n3\n");
        b.append("a.log", "3\n");
        File::create(b.path("a.log")).unwrap();
        b.append("a.log", "4\n");
        assert_eq!(b.records(), ["3", "4"]);
    }
}

#[test]
fn a_batch_that_nobody_took_is_read_again_from_the_copy() {
    for news in [
        "",
        "short\n",
        "longer than all that stood here before it was truncated\n",
    ] {
        let mut b = Bench::started(&[]);
        b.append("a.log", "1\n");
        assert_eq!(b.records(), ["1"]);
        b.append("a.log", "2\n3\n");
        let (tailer, _) = b.running.as_mut().unwrap();
        tailer.heat_all();
        tailer.read_hot().unwrap();
        copy_and_truncate(&b, "a.log.1");
        b.append("a.log", news);
        let (tailer, _) = b.running.as_mut().unwrap();
        let generation = tailer.generations.values_mut().next().unwrap();
        assert!(generation.take_batch().unwrap().is_some());
        generation.rewind();
        let mut expected = vec!["2", "3"];
        expected.extend(news.lines());
        assert_eq!(b.records(), expected);
    }
}

#[test]
fn truncation_without_a_copy_starts_again_even_when_the_file_has_grown_past_the_offset() {
    let mut b = Bench::started(&[]);
    b.append("a.log", "1\n");
    assert_eq!(b.records(), ["1"]);
    File::create(b.path("a.log")).unwrap();
    b.append("a.log", "new and longer\n");
    assert_eq!(b.records(), ["new and longer"]);
    // A writer without O_APPEND leaves a hole.
    let writer = File::options().write(true).open(b.path("a.log")).unwrap();
    writer.set_len(0).unwrap();
    use std::os::unix::fs::FileExt;
    writer.write_at(b"after the hole\n", 15).unwrap();
    assert_eq!(b.records(), ["after the hole"]);
}

#[test]
fn a_younger_generation_does_not_overtake_an_older_one() {
    for of_request in [false, true] {
        let mut b = Bench::started(&[]);
        b.append("a.log", "1\n");
        b.look();
        if of_request {
            // Else a request of before a crash that has batches of both could not be made again.
            let mut generations = b.running.as_mut().unwrap().0.generations.values_mut();
            generations.next().unwrap().ends = Arc::new([Position::at(2)]);
        }
        b.rename("a.log", "a.log.1");
        b.append("a.log", "2\n");
        for _ in 0..10 {
            b.look();
            let (tailer, _) = b.running.as_mut().unwrap();
            tailer.next_flush = tailer.next_flush.map(|_| Instant::now());
            if of_request {
                let all = tailer.generations.values();
                let sources: Vec<SourceId> = all.map(|g| g.checkpoint.source).collect();
                for generation in tailer.generations.values_mut() {
                    generation.partners = sources.clone().into();
                }
            }
        }
        let (_, captured) = b.running.as_mut().unwrap();
        let n_under_way = captured
            .take()
            .iter()
            .map(|batch| b.store.take(batch))
            .count();
        assert_eq!(n_under_way, if of_request { 2 } else { 1 });
        b.settle();
        assert_eq!(b.store.take_records(), ["1", "2"]);
    }
}

#[test]
fn a_file_linked_under_two_names_is_read_once() {
    let mut b = Bench::started(&[]);
    b.append("a.log", "1\n");
    fs::hard_link(b.path("a.log"), b.path("b.log")).unwrap();
    std::os::unix::fs::symlink(b.path("a.log"), b.path("c.log")).unwrap();
    assert_eq!(b.records(), ["1"]);
}

#[test]
fn a_clock_that_was_put_back_hides_no_generation() {
    let mut b = Bench::started(&[]);
    b.append("a.log", "1\n");
    assert_eq!(b.records(), ["1"]);
    let (tailer, _) = b.running.as_mut().unwrap();
    for followed in tailer.followed.values_mut() {
        followed.since_ns = followed.since_ns.map(|ns| ns + 3_600_000_000_000);
    }
    // The second one is never seen under its name.
    b.rename("a.log", "a.log.00001");
    b.append("a.log", "2\n");
    b.rename("a.log", "a.log.00002");
    b.append("a.log", "3\n");
    assert_eq!(b.records(), ["2", "3"]);
}

#[test]
fn a_link_that_is_swapped_loses_nothing_of_what_was_behind_it() {
    for is_down in [false, true] {
        let mut b = Bench::new(&[("read_from_head", "on")]);
        let link = |b: &Bench, to: &str| {
            let _ = fs::remove_file(b.path("a.log"));
            std::os::unix::fs::symlink(b.path(to), b.path("a.log")).unwrap();
        };
        b.append("one.txt", "1\n");
        link(&b, "one.txt");
        b.start();
        assert_eq!(b.records(), ["1"]);
        if is_down {
            b.crash();
        }
        b.append("one.txt", "2\n");
        if !is_down {
            b.rename("one.txt", "one.txt.00001");
            b.append("one.txt", "3\n");
        }
        link(&b, "two.txt");
        b.append("two.txt", "4\n");
        if is_down {
            b.start();
        }
        let expected: &[&str] = if is_down {
            &["2", "4"]
        } else {
            &["2", "3", "4"]
        };
        assert_eq!(b.records(), expected, "down: {is_down}");
        b.crash();
        b.start();
        assert_eq!(b.records(), [""; 0]);
    }
}

#[test]
fn what_was_renamed_to_any_name_while_the_agent_was_down_is_read_to_its_end() {
    let mut b = Bench::started(&[]);
    b.append("a.log", "1\n");
    assert_eq!(b.records(), ["1"]);
    b.crash();
    b.append("a.log", "2\n");
    b.rename("a.log", "put-aside");
    b.append("a.log", "3\n");
    b.start();
    assert_eq!(b.records(), ["2", "3"]);
}

#[test]
fn a_file_that_cannot_be_read_for_a_while_is_tried_again() {
    let mut b = Bench::started(&[]);
    b.append("a.log", "1\n");
    assert_eq!(b.records(), ["1"]);
    let (tailer, _) = b.running.as_mut().unwrap();
    // A descriptor that can only be written to fails every read.
    let write_only = File::options()
        .append(true)
        .open(b.dir.path().join("a.log"))
        .unwrap();
    let generation = tailer.generations.values_mut().next().unwrap();
    let broken = crate::inputs::tail::content::Content::unread(write_only);
    let sound = std::mem::replace(&mut generation.file, broken);
    generation.hot = true;
    tailer.step(false);
    let generation = tailer.generations.values_mut().next().unwrap();
    assert!(generation.failed && !generation.hot);
    generation.file = sound;
    b.append("a.log", "2\n");
    let (tailer, _) = b.running.as_mut().unwrap();
    tailer.generations.values_mut().for_each(|g| g.hot = false);
    assert_eq!(b.records(), ["2"]);
}

#[test]
fn news_that_begin_like_a_generation_that_was_read_are_no_copy_of_it() {
    for packs in [false, true] {
        let mut b = Bench::started(&[]);
        b.append("a.log", "banner\n");
        assert_eq!(b.records(), ["banner"]);
        b.rename("a.log", "a.log.00001");
        b.append("a.log", "banner\n");
        assert_eq!(b.records(), ["banner"]);
        b.crash();
        b.rename("a.log", "a.log.00002");
        b.append("a.log.00003", "banner\nnever seen\n");
        b.append("a.log", "last\n");
        if packs {
            b.compress("a.log.00002");
            b.compress("a.log.00003");
        }
        b.start();
        assert_eq!(b.records(), ["banner", "never seen", "last"], "{packs}");
        b.crash();
        b.start();
        assert_eq!(b.records(), [""; 0], "{packs}");
    }
}

#[test]
fn what_was_added_to_a_generation_before_it_was_compressed_is_read() {
    let mut b = Bench::started(&[]);
    let long = "x".repeat(300);
    b.append("a.log", format!("{long}\n"));
    b.settle();
    b.rename("a.log", "a.log.00001");
    b.append("a.log", "2\n");
    assert_eq!(b.records(), [long.as_str(), "2"]);
    b.crash();
    b.append("a.log.00001", "late\n");
    b.compress("a.log.00001");
    b.start();
    assert_eq!(b.records(), ["late"]);
}

#[test]
fn an_inode_of_which_nothing_was_read_proves_nothing() {
    let mut b = Bench::started(&[]);
    b.append("a.log", "");
    b.settle();
    b.rename("a.log", "a.log.00001");
    b.append("a.log", "1\n");
    assert_eq!(b.records(), ["1"]);
    b.crash();
    b.rename("a.log", "a.log.00002");
    // As when the empty file was deleted and its inode given to the new one.
    b.rename("a.log.00001", "a.log");
    b.start();
    let (tailer, _) = b.running.as_ref().unwrap();
    assert!(tailer.current(&b.path("a.log")).is_some());
}

#[test]
fn a_compressed_file_without_content_is_no_generation() {
    let mut b = Bench::started(&[("multiline.parser", "cri")]);
    let part = |flag: &str, text: &str| format!("2026-11-21T09:00:00Z stdout {flag} {text}\n");
    b.append("a.log", part("P", "begin-"));
    b.settle();
    b.rename("a.log", "a.log.00001");
    b.append("a.log", "");
    b.look();
    b.rename("a.log", "a.log.00002");
    b.compress("a.log.00002");
    b.append("a.log", part("F", "end"));
    assert_eq!(b.records(), ["begin-end"]);
    for _ in 0..2 {
        b.crash();
        b.start();
        assert_eq!(b.records(), [""; 0]);
        let (tailer, _) = b.running.as_ref().unwrap();
        assert_eq!(tailer.generations.len(), 1);
    }
}
