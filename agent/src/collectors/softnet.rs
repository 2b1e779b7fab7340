//! Packets between interrupt and protocol stack, per CPU, from net/softnet_stat.

use anyhow::Context;
use kansoku_model::MetricBatch;
use kansoku_parsers::kernel::scan::{lines, text, words};

use super::desc::Desc;
use super::kernel_file::KernelFile;
use super::{Collector, Entry, NodeSpec};

pub(super) const ENTRY: Entry = Entry {
    name: "softnet",
    about: "packets processed, dropped and left over, per CPU",
    build: |spec| Ok(Box::new(Softnet::new(spec))),
    ..Entry::DEFAULT
};

/// Columns of the file and their families.
const COLUMNS: [(usize, Desc); 7] = [
    (
        0,
        Desc::counter(
            "node_softnet_processed_total",
            "Number of processed packets",
        ),
    ),
    (
        1,
        Desc::counter("node_softnet_dropped_total", "Number of dropped packets"),
    ),
    (
        2,
        Desc::counter(
            "node_softnet_times_squeezed_total",
            "Number of times processing packets ran out of quota",
        ),
    ),
    (
        8,
        Desc::counter(
            "node_softnet_cpu_collision_total",
            "Number of collision occur while obtaining device lock while transmitting",
        ),
    ),
    (
        9,
        Desc::counter(
            "node_softnet_received_rps_total",
            "Number of times cpu woken up received_rps",
        ),
    ),
    (
        10,
        Desc::counter(
            "node_softnet_flow_limit_count_total",
            "Number of times flow limit has been reached",
        ),
    ),
    (
        11,
        Desc::gauge("node_softnet_backlog_len", "Softnet backlog status"),
    ),
];
/// Where newer kernels give the CPU's number; before that the line's place is it.
const CPU_COLUMN: usize = 12;
/// Fewer columns no kernel ever gave.
const MIN_COLUMNS: usize = 9;
const MAX_COLUMNS: usize = 16;

struct Softnet {
    file: KernelFile,
    buf: Vec<u8>,
}

impl Softnet {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            file: KernelFile::whole(spec.proc_net("softnet_stat")),
            buf: Vec::new(),
        }
    }
}

impl Collector for Softnet {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        self.file.read(&mut self.buf)?;
        let families = COLUMNS.map(|(_, desc)| desc.family(out));
        for (index, line) in lines(&self.buf).enumerate() {
            let mut columns = [0u32; MAX_COLUMNS];
            let mut n_columns = 0;
            for (slot, word) in columns.iter_mut().zip(words(line)) {
                let number = text(word).and_then(|w| u32::from_str_radix(w, 16).ok());
                *slot = number.context("softnet_stat: a column is no hexadecimal number")?;
                n_columns += 1;
            }
            anyhow::ensure!(
                n_columns >= MIN_COLUMNS,
                "softnet_stat: line {} has {n_columns} columns, but must have {MIN_COLUMNS}",
                index + 1
            );
            let has_cpu = n_columns > CPU_COLUMN;
            let cpu = if has_cpu {
                columns[CPU_COLUMN] as usize
            } else {
                index
            };
            let cpu = cpu.to_string();
            for ((column, _), family) in COLUMNS.iter().zip(families) {
                // The backlog came together with the CPU's number.
                let is_there = *column < CPU_COLUMN - 1 || has_cpu;
                let value = if is_there { columns[*column] } else { 0 };
                out.sample(family, &[("cpu", &cpu)], f64::from(value));
            }
        }
        Ok(())
    }
}
