//! Any bytes as the files of /proc that `cpu`, `mem`, `disk`, `netif` and `proc` read, changed between two
//! readings: values or an error, and the same number of values from the same files.
#![no_main]

use kansoku_agent::fuzzing::periodic;

const FILES: [&str; 6] = [
    "stat",
    "meminfo",
    "diskstats",
    "net_dev",
    "7/stat",
    "7/status",
];
/// Between files; a text holds none.
const SEPARATOR: u8 = 0x1e;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::create_dir_all(dir.path().join("7/fd")).expect("a folder");
    std::fs::write(dir.path().join("7/cmdline"), "/usr/sbin/crond\0").expect("a file");
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let write = |bytes: &[u8]| {
        let parts = bytes
            .split(|b| *b == SEPARATOR)
            .chain(std::iter::repeat(&b""[..]));
        for (name, part) in FILES.iter().zip(parts) {
            std::fs::write(dir.path().join(name), part).expect("a file");
        }
    };
    write(first);
    let told = periodic(dir.path(), || write(second));
    assert_eq!(told.len(), 10);
    // `mem` and `proc` have a fixed list of values.
    assert!(told[4].is_none_or(|n| n == 15) && told[9].is_none_or(|n| n == 15));
    let sizes = told.iter().flatten();
    assert!(sizes.sum::<usize>() <= 3 * bytes.len() + 200);
});
