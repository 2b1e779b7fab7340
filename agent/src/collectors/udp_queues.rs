//! Memory that waits in the queues of UDP sockets, from net/udp and net/udp6.
//!
//! For each of these files the kernel walks through a table of up to 65,536 places, however few sockets
//! there are. Where sockstat counts none of that kind, their sum is known without it.

use anyhow::Context;
use kansoku_model::MetricBatch;
use kansoku_parsers::kernel::scan::{lines, text, words};

use super::desc::Desc;
use super::findings::Left;
use super::kernel_file::KernelFile;
use super::{Collector, Entry, NoData, NodeSpec};

pub(super) const ENTRY: Entry = Entry {
    name: "udp_queues",
    about: "bytes in the queues of UDP sockets",
    build: |spec| Ok(Box::new(UdpQueues::new(spec))),
    ..Entry::DEFAULT
};

const QUEUES: Desc = Desc::gauge(
    "node_udp_queues",
    "Number of allocated memory in the kernel for UDP datagrams in bytes.",
);
/// `TX:RX`, in hexadecimal.
const QUEUE_COLUMN: usize = 4;

struct UdpQueues {
    files: [Queues; 2],
    /// What the collector of sockets has counted.
    sockets: Left<[u64; 2]>,
    buf: Vec<u8>,
}

/// The queues of one IP version.
struct Queues {
    version: &'static str,
    file: KernelFile,
    /// The file could be read once.
    is_there: bool,
}

impl UdpQueues {
    fn new(spec: &NodeSpec) -> Self {
        let files = [("v4", "udp"), ("v6", "udp6")];
        Self {
            files: files.map(|(version, name)| Queues {
                version,
                file: KernelFile::whole(spec.proc_net(name)),
                is_there: false,
            }),
            sockets: spec.findings.udp_sockets.clone(),
            buf: Vec::new(),
        }
    }
}

impl Collector for UdpQueues {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        let mut n_found = 0;
        let counted = self.sockets.take().map(|counted| counted.map(Some));
        for (queues, n_sockets) in self.files.iter_mut().zip(counted.unwrap_or_default()) {
            let Queues { version, file, .. } = queues;
            let [tx, rx] = if queues.is_there && n_sockets == Some(0) {
                [0, 0]
            } else {
                queues.is_there = file.read_if_there(&mut self.buf);
                if !queues.is_there {
                    continue;
                }
                sums(&self.buf)
                    .with_context(|| format!("{} is malformed", file.path().display()))?
            };
            for (queue, bytes) in [("tx", tx), ("rx", rx)] {
                QUEUES.sample(out, &[("queue", queue), ("ip", version)], bytes as f64);
            }
            n_found += 1;
        }
        if n_found == 0 {
            return Err(NoData("there is neither net/udp nor net/udp6").into());
        }
        Ok(())
    }
}

/// Bytes to be sent and bytes that were received, of all sockets.
fn sums(bytes: &[u8]) -> Option<[u64; 2]> {
    let hex = |word: &str| u64::from_str_radix(word, 16).ok();
    let mut sums = [0u64; 2];
    // The first line names the columns.
    for line in lines(bytes).skip(1) {
        let (tx, rx) = words(line)
            .nth(QUEUE_COLUMN)
            .and_then(text)?
            .split_once(':')?;
        sums[0] = sums[0].wrapping_add(hex(tx)?);
        sums[1] = sums[1].wrapping_add(hex(rx)?);
    }
    Some(sums)
}
