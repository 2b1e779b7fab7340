//! Software interrupts per CPU and kind.

use anyhow::Context;
use kansoku_model::MetricBatch;
use kansoku_parsers::kernel::scan::{decimal, lines, text, words};

use super::desc::Desc;
use super::kernel_file::KernelFile;
use super::{Collector, Entry, NodeSpec};

pub(super) const ENTRY: Entry = Entry {
    name: "softirqs",
    about: "software interrupts per CPU",
    is_default: false,
    build: |spec| Ok(Box::new(Softirqs::new(spec))),
    ..Entry::DEFAULT
};

const SOFTIRQS: Desc = Desc::counter("node_softirqs_functions_total", "Softirq counts per CPU.");
const KINDS: [&str; 10] = [
    "HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU",
];

struct Softirqs {
    file: KernelFile,
    buf: Vec<u8>,
}

impl Softirqs {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            file: KernelFile::new(spec.proc("softirqs")),
            buf: Vec::new(),
        }
    }
}

impl Collector for Softirqs {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        self.file.read(&mut self.buf)?;
        let family = SOFTIRQS.family(out);
        // The first line names the CPUs.
        for line in lines(&self.buf).skip(1) {
            let mut words = words(line);
            let kind = words.next().and_then(text).unwrap_or_default();
            let kind = kind.trim_end_matches(':');
            if !KINDS.contains(&kind) {
                continue;
            }
            for (cpu, word) in words.enumerate() {
                let count = decimal(word);
                let count = count.with_context(|| format!("softirqs: {kind} lacks a number"))?;
                out.sample(family, &[("cpu", &cpu.to_string()), ("type", kind)], count);
            }
        }
        Ok(())
    }
}
