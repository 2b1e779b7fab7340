//! Pressure stall information: how long processes waited for CPU, memory, disks and interrupts.

use anyhow::Context;
use kansoku_model::MetricBatch;
use kansoku_parsers::kernel::pressure;

use super::desc::Desc;
use super::kernel_file::KernelFile;
use super::{Collector, Entry, NoData, NodeSpec};

pub(super) const ENTRY: Entry = Entry {
    name: "pressure",
    about: "time that processes waited for CPU, memory, disks and interrupts",
    build: |spec| Ok(Box::new(Pressure::new(spec))),
    ..Entry::DEFAULT
};

/// File, family of `some`, family of `full`.
const RESOURCES: [(&str, Option<Desc>, Option<Desc>); 4] = [
    (
        "cpu",
        Some(Desc::counter(
            "node_pressure_cpu_waiting_seconds_total",
            "Total time in seconds that processes have waited for CPU time",
        )),
        None,
    ),
    (
        "io",
        Some(Desc::counter(
            "node_pressure_io_waiting_seconds_total",
            "Total time in seconds that processes have waited due to IO congestion",
        )),
        Some(Desc::counter(
            "node_pressure_io_stalled_seconds_total",
            "Total time in seconds no process could make progress due to IO congestion",
        )),
    ),
    (
        "memory",
        Some(Desc::counter(
            "node_pressure_memory_waiting_seconds_total",
            "Total time in seconds that processes have waited for memory",
        )),
        Some(Desc::counter(
            "node_pressure_memory_stalled_seconds_total",
            "Total time in seconds no process could make progress due to memory congestion",
        )),
    ),
    (
        "irq",
        None,
        Some(Desc::counter(
            "node_pressure_irq_stalled_seconds_total",
            "Total time in seconds no process could make progress due to IRQ congestion",
        )),
    ),
];

struct Pressure {
    files: [KernelFile; RESOURCES.len()],
    buf: Vec<u8>,
}

impl Pressure {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            files: RESOURCES
                .map(|(name, _, _)| KernelFile::whole(spec.proc("pressure").join(name))),
            buf: Vec::new(),
        }
    }
}

impl Collector for Pressure {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        let mut n_found = 0;
        for ((_, some, full), file) in RESOURCES.iter().zip(&mut self.files) {
            // Not there on old kernels, and not readable where psi=1 was not given at boot.
            if !file.read_if_there(&mut self.buf) {
                continue;
            }
            for (desc, key) in [(some, "some"), (full, "full")] {
                if let Some(desc) = desc {
                    let total_us = pressure::total_us(&self.buf, key)
                        .with_context(|| format!("{} has no '{key}'", file.path().display()))?;
                    desc.value(out, total_us as f64 / 1000.0 / 1000.0);
                }
            }
            n_found += 1;
        }
        if n_found == 0 {
            return Err(NoData("the kernel gives no pressure stall information").into());
        }
        Ok(())
    }
}
