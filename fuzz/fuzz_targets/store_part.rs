//! A part with bytes changed behind right checksums of the footer: opening and querying end in an
//! error, a warning or an answer, never in a panic.
#![no_main]

use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use kansoku_model::select::{Direction, LogBlock, LogSelect};
use kansoku_model::{
    LogBatch, LogSource, MetricBatch, MetricKind, Position, RecordBatch, SeriesSource,
};
use kansoku_store::{Incoming, Options, Store};

/// The files of a small store, written once.
fn template() -> &'static Vec<(String, Vec<u8>)> {
    static FILES: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    FILES.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(Options::new(dir.path())).unwrap();
        let mut logs = LogBatch::new("t".into(), Arc::default(), Vec::new());
        let mut samples = MetricBatch::new("m".into(), Arc::default(), 0);
        for i in 0..20i64 {
            let row = logs.push(i, Position::at(i as u64));
            logs.set_text("log", row, format!("line {i}").as_bytes());
            logs.set_text("level", row, b"info");
            let family = samples.family("m", MetricKind::Gauge, "");
            samples.sample(family, &[("i", &i.to_string())], i as f64 / 3.0);
        }
        let both = [RecordBatch::Logs(logs), RecordBatch::Metrics(samples)];
        store
            .append(both.into_iter().map(Incoming::Batch).collect())
            .unwrap();
        // Long enough for frames with exceptions.
        for round in 0..300u64 {
            let mut samples = MetricBatch::new("m".into(), Arc::default(), round as i64 * 15_000);
            let family = samples.family("noise", MetricKind::Gauge, "");
            let noise = round.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58;
            let far = u64::from(round % 50 == 7) << 30;
            samples.sample(family, &[], (noise + far) as f64);
            let batch = Incoming::Batch(RecordBatch::Metrics(samples));
            store.append(vec![batch]).unwrap();
        }
        store.flush().unwrap();
        drop(store);
        let mut files = vec![(
            "MANIFEST".to_owned(),
            std::fs::read(dir.path().join("MANIFEST")).unwrap(),
        )];
        for entry in std::fs::read_dir(dir.path().join("parts")).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("parts/{}", path.file_name().unwrap().to_string_lossy());
            files.push((name, std::fs::read(path).unwrap()));
        }
        files
    })
}

libfuzzer_sys::fuzz_target!(|changes: &[u8]| {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("parts")).unwrap();
    for (name, bytes) in template() {
        let mut bytes = bytes.clone();
        if name != "MANIFEST" {
            // Each change: place (2 bytes), new value.
            let len = bytes.len() - 64;
            for change in changes.chunks_exact(3) {
                let at = usize::from(u16::from_le_bytes([change[0], change[1]]));
                bytes[at % len] = change[2];
            }
            // The directory is always believed, so that the fuzzer gets behind its checksum.
            let footer = bytes.len() - 64;
            let word =
                |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
            let (start, len) = (word(footer), word(footer + 8));
            let crc = crc32c::crc32c(&bytes[start..start + len]);
            bytes[footer + 16..footer + 20].copy_from_slice(&crc.to_le_bytes());
            let crc = crc32c::crc32c(&bytes[footer..footer + 56]);
            bytes[footer + 56..footer + 60].copy_from_slice(&crc.to_le_bytes());
        }
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
    let (store, _) = Store::open(Options::new(dir.path())).unwrap();
    let snapshot = store.snapshot();
    let mut block = LogBlock::default();
    let wanted = LogSelect {
        matchers: Vec::new(),
        from_ns: i64::MIN,
        to_ns: i64::MAX,
        direction: Direction::Backward,
        needles: vec![kansoku_model::AnyOf::text(b"line")],
        automata: Vec::new(),
        counts_only: false,
    };
    LogSource::select(&snapshot, &wanted, &mut |b| {
        b.load(&mut block)?;
        b.load_times(&mut Vec::new(), &mut Vec::new())?;
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    let _ = SeriesSource::select(&snapshot, &[], i64::MIN, i64::MAX, 1 << 20);
    let _ = snapshot.metric_label_values("i", &[], i64::MIN, i64::MAX);
});
