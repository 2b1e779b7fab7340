//! Statistics of mounted XFS file systems, from /sys/fs/xfs/DEVICE/stats/stats.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use kansoku_model::MetricBatch;
use kansoku_parsers::kernel::scan::{lines, number, text, words};

use super::desc::Desc;
use super::kernel_file::KernelFile;
use super::{Collector, Entry, NodeSpec};

pub(super) const ENTRY: Entry = Entry {
    name: "xfs",
    about: "allocations, lookups and calls of XFS file systems",
    build: |spec| Ok(Box::new(Xfs::new(spec))),
    ..Entry::DEFAULT
};

/// Lines of the file and the families of their first numbers.
const LINES: [(&str, &[Desc]); 8] = [
    (
        "extent_alloc",
        &[
            Desc::counter(
                "node_xfs_extent_allocation_extents_allocated_total",
                "Number of extents allocated for a filesystem.",
            ),
            Desc::counter(
                "node_xfs_extent_allocation_blocks_allocated_total",
                "Number of blocks allocated for a filesystem.",
            ),
            Desc::counter(
                "node_xfs_extent_allocation_extents_freed_total",
                "Number of extents freed for a filesystem.",
            ),
            Desc::counter(
                "node_xfs_extent_allocation_blocks_freed_total",
                "Number of blocks freed for a filesystem.",
            ),
        ],
    ),
    (
        "abt",
        &[
            Desc::counter(
                "node_xfs_allocation_btree_lookups_total",
                "Number of allocation B-tree lookups for a filesystem.",
            ),
            Desc::counter(
                "node_xfs_allocation_btree_compares_total",
                "Number of allocation B-tree compares for a filesystem.",
            ),
            Desc::counter(
                "node_xfs_allocation_btree_records_inserted_total",
                "Number of allocation B-tree records inserted for a filesystem.",
            ),
            Desc::counter(
                "node_xfs_allocation_btree_records_deleted_total",
                "Number of allocation B-tree records deleted for a filesystem.",
            ),
        ],
    ),
    (
        "blk_map",
        &[
            Desc::counter(
                "node_xfs_block_mapping_reads_total",
                "Number of block map for read operations for a filesystem.",
            ),
            Desc::counter(
                "node_xfs_block_mapping_writes_total",
                "Number of block map for write operations for a filesystem.",
            ),
            Desc::counter(
                "node_xfs_block_mapping_unmaps_total",
                "Number of block unmaps (deletes) for a filesystem.",
            ),
            Desc::counter(
                "node_xfs_block_mapping_extent_list_insertions_total",
                "Number of extent list insertions for a filesystem.",
            ),
            Desc::counter(
                "node_xfs_block_mapping_extent_list_deletions_total",
                "Number of extent list deletions for a filesystem.",
            ),
            Desc::counter(
                "node_xfs_block_mapping_extent_list_lookups_total",
                "Number of extent list lookups for a filesystem.",
            ),
            Desc::counter(
                "node_xfs_block_mapping_extent_list_compares_total",
                "Number of extent list compares for a filesystem.",
            ),
        ],
    ),
    (
        "bmbt",
        &[
            Desc::counter(
                "node_xfs_block_map_btree_lookups_total",
                "Number of block map B-tree lookups for a filesystem.",
            ),
            Desc::counter(
                "node_xfs_block_map_btree_compares_total",
                "Number of block map B-tree compares for a filesystem.",
            ),
            Desc::counter(
                "node_xfs_block_map_btree_records_inserted_total",
                "Number of block map B-tree records inserted for a filesystem.",
            ),
            Desc::counter(
                "node_xfs_block_map_btree_records_deleted_total",
                "Number of block map B-tree records deleted for a filesystem.",
            ),
        ],
    ),
    (
        "dir",
        &[
            Desc::counter(
                "node_xfs_directory_operation_lookup_total",
                "Number of file name directory lookups which miss the operating systems directory name lookup cache.",
            ),
            Desc::counter(
                "node_xfs_directory_operation_create_total",
                "Number of times a new directory entry was created for a filesystem.",
            ),
            Desc::counter(
                "node_xfs_directory_operation_remove_total",
                "Number of times an existing directory entry was created for a filesystem.",
            ),
            Desc::counter(
                "node_xfs_directory_operation_getdents_total",
                "Number of times the directory getdents operation was performed for a filesystem.",
            ),
        ],
    ),
    (
        "ig",
        &[
            Desc::counter(
                "node_xfs_inode_operation_attempts_total",
                "Number of times the OS looked for an XFS inode in the inode cache.",
            ),
            Desc::counter(
                "node_xfs_inode_operation_found_total",
                "Number of times the OS looked for and found an XFS inode in the inode cache.",
            ),
            Desc::counter(
                "node_xfs_inode_operation_recycled_total",
                "Number of times the OS found an XFS inode in the cache, but could not use it as it was being recycled.",
            ),
            Desc::counter(
                "node_xfs_inode_operation_missed_total",
                "Number of times the OS looked for an XFS inode in the cache, but did not find it.",
            ),
            Desc::counter(
                "node_xfs_inode_operation_duplicates_total",
                "Number of times the OS tried to add a missing XFS inode to the inode cache, but found it had already been added by another process.",
            ),
            Desc::counter(
                "node_xfs_inode_operation_reclaims_total",
                "Number of times the OS reclaimed an XFS inode from the inode cache to free memory for another purpose.",
            ),
            Desc::counter(
                "node_xfs_inode_operation_attribute_changes_total",
                "Number of times the OS explicitly changed the attributes of an XFS inode.",
            ),
        ],
    ),
    (
        "rw",
        &[
            Desc::counter(
                "node_xfs_write_calls_total",
                "Number of write(2) system calls made to files in a filesystem.",
            ),
            Desc::counter(
                "node_xfs_read_calls_total",
                "Number of read(2) system calls made to files in a filesystem.",
            ),
        ],
    ),
    (
        "vnodes",
        &[
            Desc::counter(
                "node_xfs_vnode_active_total",
                "Number of vnodes not on free lists for a filesystem.",
            ),
            Desc::counter(
                "node_xfs_vnode_allocate_total",
                "Number of times vn_alloc called for a filesystem.",
            ),
            Desc::counter(
                "node_xfs_vnode_get_total",
                "Number of times vn_get called for a filesystem.",
            ),
            Desc::counter(
                "node_xfs_vnode_hold_total",
                "Number of times vn_hold called for a filesystem.",
            ),
            Desc::counter(
                "node_xfs_vnode_release_total",
                "Number of times vn_rele called for a filesystem.",
            ),
            Desc::counter(
                "node_xfs_vnode_reclaim_total",
                "Number of times vn_reclaim called for a filesystem.",
            ),
            Desc::counter(
                "node_xfs_vnode_remove_total",
                "Number of times vn_remove called for a filesystem.",
            ),
        ],
    ),
];

struct Xfs {
    folder: PathBuf,
    /// By the name of the block device; other names in the folder have no such file.
    files: BTreeMap<String, KernelFile>,
    buf: Vec<u8>,
}

impl Xfs {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            folder: spec.sys("fs/xfs"),
            files: BTreeMap::new(),
            buf: Vec::new(),
        }
    }
}

impl Collector for Xfs {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        // No folder means that no XFS was ever mounted, which node_exporter counts as success.
        let Ok(devices) = std::fs::read_dir(&self.folder) else {
            return Ok(());
        };
        let mut seen = Vec::new();
        for device in devices.flatten() {
            let name = device.file_name().to_string_lossy().into_owned();
            let path = device.path().join("stats/stats");
            // The folder `stats` holds sums over all file systems.
            if name == "stats" || !path.exists() {
                continue;
            }
            if !self.files.contains_key(&name) {
                self.files.insert(name.clone(), KernelFile::new(path));
            }
            seen.push(name);
        }
        self.files.retain(|name, _| seen.contains(name));
        for (device, file) in &mut self.files {
            file.read(&mut self.buf)?;
            sample(out, device, &self.buf)?;
        }
        Ok(())
    }
}

fn sample(out: &mut MetricBatch, device: &str, bytes: &[u8]) -> anyhow::Result<()> {
    for line in lines(bytes) {
        let mut words = words(line);
        let key = words.next().and_then(text).unwrap_or_default();
        let Some((_, descs)) = LINES.iter().find(|(name, _)| *name == key) else {
            continue;
        };
        for desc in *descs {
            let value = words.next().and_then(number);
            let value = value.with_context(|| format!("xfs {device}: '{key}' is too short"))?;
            desc.sample(out, &[("device", device)], value as f64);
        }
    }
    Ok(())
}
