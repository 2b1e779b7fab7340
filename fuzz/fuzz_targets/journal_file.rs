//! A real journal file, with any bytes changed, compressed objects and all, or cut: reading ends in
//! entries or an error, there are no more than the file counts, and going on behind an entry gives those
//! behind it.
#![no_main]

use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;

use kansoku_agent::fuzzing::journal_entries;

/// Entries that are read at the most; the files hold fewer.
const MOST: usize = 2000;
const JOURNALS: [&[u8]; 2] = [
    include_bytes!("../../fixtures/journal/regular.journal.zst"),
    include_bytes!("../../fixtures/journal/compact.journal.zst"),
];

struct Journal {
    bytes: Vec<u8>,
    path: std::path::PathBuf,
    file: File,
    /// Where objects stand: the hash tables, which are most of the file, say nothing to a reader.
    places: Vec<u64>,
    _dir: tempfile::TempDir,
}

impl Journal {
    fn new(packed: &[u8]) -> Self {
        let mut bytes = zstd::stream::decode_all(packed).expect("a fixture");
        let end = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
        bytes.truncate(end.next_multiple_of(8));
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("system.journal");
        std::fs::write(&path, &bytes).expect("a file");
        let words = bytes.chunks(8).enumerate();
        let used = words.filter(|(_, word)| word.iter().any(|b| *b != 0));
        Self {
            places: used.map(|(i, _)| i as u64 * 8).collect(),
            file: File::options().write(true).open(&path).expect("opened"),
            bytes,
            path,
            _dir: dir,
        }
    }

    fn put_back(&self, at: u64, len: usize) {
        let at = at as usize;
        let old = &self.bytes[at.min(self.bytes.len())..(at + len).min(self.bytes.len())];
        self.file.write_all_at(old, at as u64).expect("written");
    }
}

thread_local! {
    static WORLD: RefCell<[Journal; 2]> = RefCell::new(JOURNALS.map(Journal::new));
}

libfuzzer_sys::fuzz_target!(init: kansoku_fuzz::quiet(), |input: (bool, Option<u32>, Vec<(u16, u8, Vec<u8>)>)| {
    let (which, cut, changes) = input;
    WORLD.with_borrow(|journals| {
        let journal = &journals[usize::from(which)];
        for (place, within, bytes) in &changes {
            let place = journal.places[usize::from(*place) % journal.places.len()];
            let at = place + u64::from(within % 8);
            journal.file.write_all_at(bytes, at).expect("written");
        }
        let size = cut.map_or(journal.bytes.len(), |cut| cut as usize % journal.bytes.len());
        journal.file.set_len(size as u64).expect("cut");
        let read = journal_entries(&journal.path, 0, MOST);
        if let Ok((n_counted, all)) = &read {
            assert!(all.len() as u64 <= *n_counted);
            assert!(all.iter().all(|(entry, n)| *n <= entry.items.len()));
            if changes.is_empty() && cut.is_none() {
                assert!(all.len() > 10 && all.len() as u64 == *n_counted);
            }
            // Halving needs order, which only a sound file has.
            let grows = all.windows(2).all(|w| w[0].0.seqnum < w[1].0.seqnum);
            let middle = all.get(all.len() / 2).filter(|_| grows && all.len() as u64 == *n_counted);
            if let Some((middle, _)) = middle {
                let rest = journal_entries(&journal.path, middle.seqnum, MOST);
                assert_eq!(rest.expect("sound").1, all[all.len() / 2 + 1..]);
            }
        }
        for (place, within, bytes) in &changes {
            let place = journal.places[usize::from(*place) % journal.places.len()];
            journal.put_back(place + u64::from(within % 8), bytes.len());
        }
        journal.file.set_len(journal.bytes.len() as u64).expect("restored");
        if size < journal.bytes.len() {
            journal.put_back(size as u64, journal.bytes.len() - size);
        }
    });
});
