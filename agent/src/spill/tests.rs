//! The spill by itself: what was written comes back, in order, until it is delivered.

use kansoku_model::{LogBatch, Position, Source, frame};

use super::*;

fn options(folder: &std::path::Path, limit_bytes: Option<u64>) -> SpillOptions {
    SpillOptions {
        folder: folder.join("o"),
        component: "test".into(),
        sync_full: false,
        limit_bytes,
        delete_damaged: false,
        verify: true,
    }
}

fn frame_of(source: u128, n: u64, bytes: usize) -> Vec<u8> {
    let mut logs = LogBatch::new("t".into(), Arc::default(), Vec::new());
    let row = logs.push(0, Position::at(n));
    // Not compressible, so that its size is known.
    let mut random = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as u8
    };
    let noise: Vec<u8> = (0..bytes).map(|_| next()).collect();
    logs.set_text("log", row, &noise);
    logs.source = Source {
        id: SourceId(source),
        from: Position::at(n - 1),
        to: Position::at(n),
    };
    let mut bytes = Vec::new();
    frame::encode(&RecordBatch::Logs(logs), &mut bytes).unwrap();
    bytes
}

fn read(spill: &Spill) -> Option<(u64, Place)> {
    let (batch, place) = spill.next()?;
    spill.queued(batch.source().id);
    Some((batch.source().to.offset, place))
}

fn read_all(spill: &Spill) -> Vec<u64> {
    std::iter::from_fn(|| read(spill).map(|(n, _)| n)).collect()
}

fn fill(spill: &Spill, numbers: std::ops::RangeInclusive<u64>) {
    for n in numbers {
        let frame = frame_of(7, n, 1000);
        spill.append(&frame, SourceId(7), false, false).unwrap();
    }
}

#[test]
fn what_was_not_delivered_comes_back_after_a_restart_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let spill = Spill::open(options(dir.path(), None)).unwrap();
    assert!(!spill.has(SourceId(7)));
    fill(&spill, 1..=5);
    assert!(spill.has(SourceId(7)) && !spill.has(SourceId(8)));
    for expected in [1, 2, 3] {
        let (n, place) = read(&spill).unwrap();
        assert_eq!(n, expected);
        if n != 2 {
            spill.delivered(place);
        }
    }
    drop(spill);
    let spill = Spill::open(options(dir.path(), None)).unwrap();
    assert!(spill.has(SourceId(7)));
    assert_eq!(spill.status().n_frames, 3);
    fill(&spill, 6..=6);
    let mut seen = Vec::new();
    while let Some((n, place)) = read(&spill) {
        seen.push(n);
        spill.delivered(place);
    }
    assert_eq!(seen, [2, 4, 5, 6]);
    assert!(!spill.has(SourceId(7)) && !spill.has_unread());
    drop(spill);
    Spill::open(options(dir.path(), None)).unwrap();
    let left = fs::read_dir(dir.path().join("o")).unwrap().count();
    assert_eq!(left, 0, "nothing is left on disk");
}

#[test]
fn a_frame_goes_straight_on_when_nothing_waits_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let spill = Spill::open(options(dir.path(), None)).unwrap();
    let append = |n| {
        let frame = frame_of(7, n, 10);
        spill.append(&frame, SourceId(7), true, false).unwrap()
    };
    let (first, direct) = append(1);
    assert!(direct && !spill.has_unread());
    fill(&spill, 2..=2);
    assert!(!append(3).1, "2 waits before it");
    spill.delivered(first);
    assert_eq!(read_all(&spill), [2, 3]);
    assert!(append(4).1);
}

#[test]
fn a_torn_tail_is_cut_and_a_damaged_frame_is_skipped_and_kept_aside() {
    let dir = tempfile::tempdir().unwrap();
    let spill = Spill::open(options(dir.path(), None)).unwrap();
    fill(&spill, 1..=4);
    drop(spill);
    let path = dir.path().join("o/0000000000.seg");
    let whole = fs::read(&path).unwrap();
    for cut in [whole.len() - 1, whole.len() - 1100] {
        fs::write(&path, &whole[..cut]).unwrap();
        let spill = Spill::open(options(dir.path(), None)).unwrap();
        assert!(fs::metadata(&path).unwrap().len() < cut as u64);
        let expected: &[u64] = if cut == whole.len() - 1 {
            &[1, 2, 3]
        } else {
            &[1, 2]
        };
        assert_eq!(read_all(&spill), expected);
    }
    let mut bad = whole.clone();
    let second = whole.len() / 4;
    bad[second + frame::HEADER_BYTES + 20] ^= 1;
    fs::write(&path, &bad).unwrap();
    let spill = Spill::open(options(dir.path(), None)).unwrap();
    let mut seen = Vec::new();
    while let Some((n, place)) = read(&spill) {
        seen.push(n);
        spill.delivered(place);
    }
    assert_eq!(seen, [1, 3, 4]);
    assert_eq!(spill.damaged_frames.load(Ordering::Relaxed), 1);
    drop(spill);
    let spill = Spill::open(options(dir.path(), None)).unwrap();
    assert_eq!(spill.status().n_frames, 0, "delivered or damaged");
}

#[test]
fn at_its_limit_it_refuses_or_drops_the_oldest() {
    let dir = tempfile::tempdir().unwrap();
    let spill = Spill::open(options(dir.path(), Some(10_000))).unwrap();
    fill(&spill, 1..=8);
    let frame = frame_of(7, 9, 3000);
    let append = |push_out| spill.append(&frame, SourceId(7), false, push_out);
    assert_eq!(append(false), Err(Refused::Full));
    assert!(!spill.has_room(3000) && spill.has_room(10));
    append(true).unwrap();
    let dropped = spill.dropped_records.load(Ordering::Relaxed);
    assert!((1..=4).contains(&dropped), "{dropped}");
    let left = read_all(&spill);
    assert_eq!(left.len() as u64, 9 - dropped);
    assert_eq!(left.last(), Some(&9));
}

#[test]
fn what_is_under_way_does_not_give_way() {
    let dir = tempfile::tempdir().unwrap();
    let limit = Some(10_000);
    let spill = Spill::open(options(dir.path(), limit)).unwrap();
    // Two in each segment.
    fill(&spill, 1..=8);
    let (first, place) = read(&spill).unwrap();
    assert_eq!(first, 1);
    let frame = frame_of(7, 9, 2000);
    spill.append(&frame, SourceId(7), false, true).unwrap();
    assert_eq!(spill.dropped_records.load(Ordering::Relaxed), 2, "3 and 4");
    // Killed now, the one under way comes again.
    drop(spill);
    let spill = Spill::open(options(dir.path(), limit)).unwrap();
    assert_eq!(read_all(&spill), [1, 2, 5, 6, 7, 8, 9]);
    // All are under way: nothing can give way.
    let more = spill.append(&frame, SourceId(7), false, true);
    assert_eq!(more, Err(Refused::Full));
    assert_eq!(spill.dropped_records.load(Ordering::Relaxed), 0);
    spill.delivered(place);
    assert_eq!(spill.status().n_frames, 6);
}

#[test]
fn without_a_checksum_frames_are_taken_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    for (verify, expected) in [(true, &[2][..]), (false, &[1, 2])] {
        let spill = Spill::open(options(&dir.path().join(verify.to_string()), None)).unwrap();
        fill(&spill, 1..=2);
        drop(spill);
        let path = dir.path().join(format!("{verify}/o/0000000000.seg"));
        let mut bytes = fs::read(&path).unwrap();
        // The checksum itself: the content is as it was.
        bytes[56] ^= 1;
        fs::write(&path, bytes).unwrap();
        let spill = Spill::open(SpillOptions {
            verify,
            ..options(&dir.path().join(verify.to_string()), None)
        });
        assert_eq!(read_all(&spill.unwrap()), expected);
    }
}

#[test]
fn a_damaged_frame_that_gives_way_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let limit = Some(10_000);
    let spill = Spill::open(options(dir.path(), limit)).unwrap();
    fill(&spill, 1..=8);
    drop(spill);
    let path = dir.path().join("o/0000000000.seg");
    let mut bytes = fs::read(&path).unwrap();
    bytes[frame::HEADER_BYTES + 20] ^= 1;
    fs::write(&path, bytes).unwrap();
    let spill = Spill::open(options(dir.path(), limit)).unwrap();
    let frame = frame_of(7, 9, 3000);
    spill.append(&frame, SourceId(7), false, true).unwrap();
    assert_eq!(spill.damaged_frames.load(Ordering::Relaxed), 1);
    assert_eq!(read_all(&spill).last(), Some(&9));
    assert!(!spill.has_unread() && !spill.has(SourceId(7)));
}

#[test]
fn a_disk_that_fails_is_left_alone_for_a_while() {
    let dir = tempfile::tempdir().unwrap();
    // A file where the folder should be.
    fs::write(dir.path().join("o"), "").unwrap();
    let mut options = options(dir.path(), None);
    options.folder = dir.path().join("o/deeper");
    let spill = Spill::open(options).unwrap();
    let frame = frame_of(7, 1, 10);
    let refused = spill.append(&frame, SourceId(7), false, false);
    assert_eq!(refused, Err(Refused::Disk));
    assert!(!spill.has_room(1));
    assert_eq!(spill.status().n_frames, 0);
}
