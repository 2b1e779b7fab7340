//! The events that the collector `perf` knows: their names in its flags, their families, and the
//! numbers of `linux/perf_event.h`.

use super::desc::Desc;
use super::perf_event::Event;

const HARDWARE_KIND: u32 = 0;
const SOFTWARE_KIND: u32 = 1;
const CACHE_KIND: u32 = 3;

const L1_DATA: u64 = 0;
const L1_INSTRUCTIONS: u64 = 1;
const LAST_LEVEL: u64 = 2;
const DATA_TLB: u64 = 3;
const INSTRUCTION_TLB: u64 = 4;
const BRANCHES: u64 = 5;
const READ: u64 = 0;
const WRITE: u64 = 1;
const ACCESS: u64 = 0;
const MISS: u64 = 1;

/// An event as node_exporter knows it.
#[derive(Debug)]
pub(super) struct Profiler {
    /// In the flags `--collector.perf.*-profilers`.
    pub name: &'static str,
    pub event: Event,
    pub desc: Desc,
}

const fn of(name: &'static str, kind: u32, config: u64, desc: Desc) -> Profiler {
    let event = Event { kind, config };
    Profiler { name, event, desc }
}

/// A cache, what is done with it, and how that ends.
const fn cache(name: &'static str, [cache, operation, result]: [u64; 3], desc: Desc) -> Profiler {
    of(
        name,
        CACHE_KIND,
        cache | operation << 8 | result << 16,
        desc,
    )
}

pub(super) const HARDWARE: &[Profiler] = &[
    of(
        "CpuCycles",
        HARDWARE_KIND,
        0,
        Desc::counter(
            "node_perf_cpucycles_total",
            "Number of CPU cycles (frequency scaled)",
        ),
    ),
    of(
        "CpuInstr",
        HARDWARE_KIND,
        1,
        Desc::counter("node_perf_instructions_total", "Number of CPU instructions"),
    ),
    of(
        "CacheRef",
        HARDWARE_KIND,
        2,
        Desc::counter(
            "node_perf_cache_refs_total",
            "Number of cache references (non frequency scaled)",
        ),
    ),
    of(
        "CacheMisses",
        HARDWARE_KIND,
        3,
        Desc::counter("node_perf_cache_misses_total", "Number of cache misses"),
    ),
    of(
        "BranchInstr",
        HARDWARE_KIND,
        4,
        Desc::counter(
            "node_perf_branch_instructions_total",
            "Number of CPU branch instructions",
        ),
    ),
    of(
        "BranchMisses",
        HARDWARE_KIND,
        5,
        Desc::counter(
            "node_perf_branch_misses_total",
            "Number of CPU branch misses",
        ),
    ),
    of(
        "StalledCyclesFrontend",
        HARDWARE_KIND,
        7,
        Desc::counter(
            "node_perf_stalled_cycles_frontend_total",
            "Number of stalled frontend CPU cycles",
        ),
    ),
    of(
        "StalledCyclesBackend",
        HARDWARE_KIND,
        8,
        Desc::counter(
            "node_perf_stalled_cycles_backend_total",
            "Number of stalled backend CPU cycles",
        ),
    ),
    of(
        "RefCpuCycles",
        HARDWARE_KIND,
        9,
        Desc::counter("node_perf_ref_cpucycles_total", "Number of CPU cycles"),
    ),
];

pub(super) const SOFTWARE: &[Profiler] = &[
    of(
        "PageFault",
        SOFTWARE_KIND,
        2,
        Desc::counter("node_perf_page_faults_total", "Number of page faults"),
    ),
    of(
        "ContextSwitch",
        SOFTWARE_KIND,
        3,
        Desc::counter(
            "node_perf_context_switches_total",
            "Number of context switches",
        ),
    ),
    of(
        "CpuMigration",
        SOFTWARE_KIND,
        4,
        Desc::counter(
            "node_perf_cpu_migrations_total",
            "Number of CPU process migrations",
        ),
    ),
    of(
        "MinorFault",
        SOFTWARE_KIND,
        5,
        Desc::counter(
            "node_perf_minor_faults_total",
            "Number of minor page faults",
        ),
    ),
    of(
        "MajorFault",
        SOFTWARE_KIND,
        6,
        Desc::counter(
            "node_perf_major_faults_total",
            "Number of major page faults",
        ),
    ),
];

pub(super) const CACHE: &[Profiler] = &[
    cache(
        "L1DataReadHit",
        [L1_DATA, READ, ACCESS],
        Desc::counter(
            "node_perf_cache_l1d_read_hits_total",
            "Number L1 data cache read hits",
        ),
    ),
    cache(
        "L1DataReadMiss",
        [L1_DATA, READ, MISS],
        Desc::counter(
            "node_perf_cache_l1d_read_misses_total",
            "Number L1 data cache read misses",
        ),
    ),
    cache(
        "L1DataWriteHit",
        [L1_DATA, WRITE, ACCESS],
        Desc::counter(
            "node_perf_cache_l1d_write_hits_total",
            "Number L1 data cache write hits",
        ),
    ),
    cache(
        "L1InstrReadMiss",
        [L1_INSTRUCTIONS, READ, MISS],
        Desc::counter(
            "node_perf_cache_l1_instr_read_misses_total",
            "Number instruction L1 instruction read misses",
        ),
    ),
    cache(
        "LLReadHit",
        [LAST_LEVEL, READ, ACCESS],
        Desc::counter(
            "node_perf_cache_ll_read_hits_total",
            "Number last level read hits",
        ),
    ),
    cache(
        "LLReadMiss",
        [LAST_LEVEL, READ, MISS],
        Desc::counter(
            "node_perf_cache_ll_read_misses_total",
            "Number last level read misses",
        ),
    ),
    cache(
        "LLWriteHit",
        [LAST_LEVEL, WRITE, ACCESS],
        Desc::counter(
            "node_perf_cache_ll_write_hits_total",
            "Number last level write hits",
        ),
    ),
    cache(
        "LLWriteMiss",
        [LAST_LEVEL, WRITE, MISS],
        Desc::counter(
            "node_perf_cache_ll_write_misses_total",
            "Number last level write misses",
        ),
    ),
    cache(
        "InstrTLBReadHit",
        [INSTRUCTION_TLB, READ, ACCESS],
        Desc::counter(
            "node_perf_cache_tlb_instr_read_hits_total",
            "Number instruction TLB read hits",
        ),
    ),
    cache(
        "InstrTLBReadMiss",
        [INSTRUCTION_TLB, READ, MISS],
        Desc::counter(
            "node_perf_cache_tlb_instr_read_misses_total",
            "Number instruction TLB read misses",
        ),
    ),
    cache(
        "BPUReadHit",
        [BRANCHES, READ, ACCESS],
        Desc::counter(
            "node_perf_cache_bpu_read_hits_total",
            "Number BPU read hits",
        ),
    ),
    cache(
        "BPUReadMiss",
        [BRANCHES, READ, MISS],
        Desc::counter(
            "node_perf_cache_bpu_read_misses_total",
            "Number BPU read misses",
        ),
    ),
    cache(
        "DataTLBReadHit",
        [DATA_TLB, READ, ACCESS],
        Desc::counter(
            "node_perf_cache_tlb_data_read_hits_total",
            "Number of data TLB read hits",
        ),
    ),
    cache(
        "DataTLBReadMiss",
        [DATA_TLB, READ, MISS],
        Desc::counter(
            "node_perf_cache_tlb_data_read_misses_total",
            "Number of data TLB read misses",
        ),
    ),
    cache(
        "DataTLBWriteHit",
        [DATA_TLB, WRITE, ACCESS],
        Desc::counter(
            "node_perf_cache_tlb_data_write_hits_total",
            "Number of data TLB write hits",
        ),
    ),
    cache(
        "DataTLBWriteMiss",
        [DATA_TLB, WRITE, MISS],
        Desc::counter(
            "node_perf_cache_tlb_data_write_misses_total",
            "Number of data TLB write misses",
        ),
    ),
];
