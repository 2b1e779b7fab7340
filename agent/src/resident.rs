//! Keeps out of the process's memory what is not in use: the program's own code, and freed blocks.
//!
//! Reading the configuration and building the plugins runs through a large part of the program once,
//! and the kernel maps sixteen pages for each one that is touched (`fault_around_bytes`). Those pages
//! count as this process's memory for as long as it lives, though most of them are never looked at
//! again. Two remedies:
//!
//! - Unmapping all code and constants leaves them in the page cache: what is still in use comes back
//!   with its next touch, within microseconds, and the rest stays away. It is done at the start, then
//!   every twenty seconds.
//! - The kernel maps no neighbours beyond the end of a mapping. So the program's mappings are cut into
//!   pieces of sixteen KiB, by marking every other one as not to be dumped, which code and constants
//!   are not anyway. The hot functions of a large program lie apart; without their neighbours they take
//!   a third of the memory.

use std::sync::OnceLock;

use nix::sys::mman::{MmapAdvise, madvise};
use procfs::process::{MMPermissions, MMapPath, MemoryMap, Process};

/// What a page fault maps at most.
const PIECE_BYTES: u64 = 16 << 10;
/// Mappings that are cut: the program's code and its constants. Libraries are small, and every piece
/// costs the kernel some 200 bytes.
const CUT_FROM_BYTES: u64 = 1 << 20;

/// Libraries that the program is linked to. What is loaded later may be unloaded again, and then
/// something else may lie there.
const LIBRARIES: [&str; 3] = ["libc.so", "libm.so", "libgcc_s.so"];

/// Start and end of the mappings that may be released, found once.
static MAPPINGS: OnceLock<Vec<(u64, u64)>> = OnceLock::new();

/// Unmaps the pages of all files that this process has mapped and cannot write to. Best effort:
/// where /proc cannot be read, nothing changes.
pub fn release_program_pages() {
    for &(start, end) in MAPPINGS.get_or_init(find) {
        advise(start, end, MmapAdvise::MADV_DONTNEED);
    }
}

/// Finds the mappings, and cuts the large ones.
fn find() -> Vec<(u64, u64)> {
    let read = || {
        let me = Process::myself()?;
        procfs::ProcResult::Ok((me.exe()?, me.smaps()?))
    };
    let Ok((program, maps)) = read() else {
        return Vec::new();
    };
    let stays = |map: &&MemoryMap| {
        let MMapPath::Path(path) = &map.pathname else {
            return false;
        };
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("");
        *path == program || LIBRARIES.iter().any(|library| name.starts_with(library))
    };
    let maps = maps.iter().filter(stays).filter(|map| can_be_released(map));
    let found: Vec<(u64, u64)> = maps.map(|map| map.address).collect();
    for &(start, end) in found.iter().filter(|(s, e)| e - s >= CUT_FROM_BYTES) {
        let mut at = start;
        while at < end {
            advise(at, end.min(at + PIECE_BYTES), MmapAdvise::MADV_DONTDUMP);
            at += 2 * PIECE_BYTES;
        }
    }
    found
}

/// Whether every page of the mapping of a file is in the file as it is here: never writable now, and
/// without a page that was changed before it became read-only (relocations).
fn can_be_released(map: &MemoryMap) -> bool {
    let is_constant = !map.perms.contains(MMPermissions::WRITE);
    // A changed page of a private mapping is the process's own.
    let changed = ["Anonymous", "Swap"]
        .iter()
        .map(|kind| map.extension.map.get(*kind).copied().unwrap_or(u64::MAX));
    is_constant && changed.fold(0, u64::saturating_add) == 0
}

/// Gives the kernel what this thread has freed, and what others have freed of its memory. The allocator
/// does so ten milliseconds after something was freed, but only when it is called: a thread that then
/// sleeps until its next turn keeps all of it.
#[allow(unsafe_code)]
pub fn give_back_freed() {
    // SAFETY: may be called by any thread at any time; it touches no block that is in use.
    unsafe { libmimalloc_sys::mi_collect(true) };
}

#[allow(unsafe_code)]
fn advise(start: u64, end: u64, advice: MmapAdvise) {
    let Some(address) = std::ptr::NonNull::new(start as *mut std::ffi::c_void) else {
        return;
    };
    // SAFETY: madvise(2), with two kinds of advice. MADV_DONTDUMP changes nothing but core dumps. After
    // MADV_DONTNEED a private mapping of a file reads as the file again: `can_be_released` has seen
    // that no page differs from the file, and as the mapping cannot be written to, none can have
    // changed since (but by a debugger, whose breakpoints would go); so no byte that this process can
    // read changes. The program and the libraries it is linked to are never unmapped, so the range is
    // still what it was when it was found.
    let done = unsafe { madvise(address, (end - start) as usize, advice) };
    // Advice: whether it is taken changes nothing but the memory.
    let _ = done;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_pages_kb() -> u64 {
        let status = Process::myself().unwrap().status().unwrap();
        status.rssfile.unwrap()
    }

    #[test]
    fn code_is_given_back_and_still_runs() {
        let before = file_pages_kb();
        release_program_pages();
        let after = file_pages_kb();
        assert!(after < before, "{before} kB before, {after} kB after");
        // Constants, code and relocated tables are what they were.
        let parsed: serde_json::Value = serde_json::from_str(r#"{"a":[1,2.5,"x"]}"#).unwrap();
        assert_eq!(parsed.to_string(), r#"{"a":[1,2.5,"x"]}"#);
        assert!(regex::Regex::new(r"\p{Greek}+").unwrap().is_match("αβγ"));
    }
}
