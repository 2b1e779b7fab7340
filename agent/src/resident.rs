//! Gives back the memory of the program's own code that is not in use.
//!
//! Reading the configuration and building the plugins runs through a large part of the program once,
//! and the kernel maps sixteen pages for each one that is touched. Those pages count as this
//! process's memory for as long as it lives, though none of them is looked at again. Unmapping all
//! code and constants leaves them in the page cache: what is still in use comes back with its next
//! touch, within microseconds, and the rest stays away. It is done at the start, then every twenty
//! seconds, at a cost of about a millisecond each.

use procfs::process::{MMPermissions, MMapPath, MemoryMap, Process};

/// Unmaps the pages of all files that this process has mapped and cannot write to. Best effort:
/// where /proc cannot be read, nothing changes.
pub fn release_program_pages() {
    let Ok(maps) = Process::myself().and_then(|me| me.smaps()) else {
        return;
    };
    for map in maps.iter().filter(|map| can_be_released(map)) {
        unmap(map);
    }
}

/// Whether every page of the mapping is in its file as it is here: mapped from a file, never
/// writable now, and without a page that was changed before it became read-only (relocations).
fn can_be_released(map: &MemoryMap) -> bool {
    let is_file = matches!(map.pathname, MMapPath::Path(_));
    let is_constant = !map.perms.contains(MMPermissions::WRITE);
    // A changed page of a private mapping is the process's own.
    let changed = ["Anonymous", "Swap"]
        .iter()
        .map(|kind| map.extension.map.get(*kind).copied().unwrap_or(u64::MAX));
    is_file && is_constant && changed.fold(0, u64::saturating_add) == 0
}

#[allow(unsafe_code)]
fn unmap(map: &MemoryMap) {
    let (start, end) = map.address;
    let Some(address) = std::ptr::NonNull::new(start as *mut std::ffi::c_void) else {
        return;
    };
    // SAFETY: madvise(2): after MADV_DONTNEED a private mapping of a file reads as the file again.
    // `can_be_released` has seen that no page differs from the file, and as the mapping cannot be
    // written to, none can have changed since; so no byte that this process can read changes. A
    // mapping that is gone meanwhile (an error) or replaced: nothing in this program unmaps or maps
    // files without write permission after its libraries are loaded.
    let done = unsafe {
        nix::sys::mman::madvise(
            address,
            (end - start) as usize,
            nix::sys::mman::MmapAdvise::MADV_DONTNEED,
        )
    };
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
