//! Sockets in use per protocol, from net/sockstat and net/sockstat6.

use std::time::Instant;

use anyhow::Context;
use kansoku_model::{MetricBatch, MetricKind};
use kansoku_parsers::kernel::scan::{decimal, lines, text, words};
use nix::unistd::{SysconfVar, sysconf};

use super::fields::{Fields, Named};
use super::findings::Left;
use super::kernel_file::KernelFile;
use super::{Collector, Entry, NoData, NodeSpec};

pub(super) const ENTRY: Entry = Entry {
    name: "sockstat",
    about: "sockets in use per protocol",
    build: |spec| Ok(Box::new(Sockstat::new(spec))),
    ..Entry::DEFAULT
};

/// The states that are given; the kernel has no others today.
const STATES: [&str; 6] = ["inuse", "orphan", "tw", "alloc", "mem", "memory"];
/// Pages, which are given as bytes too.
const PAGES: &str = "mem";

struct Sockstat {
    /// IPv4 with the sum of all sockets, and IPv6.
    files: [KernelFile; 2],
    fields: Fields,
    page_bytes: f64,
    /// For the collector of the queues of UDP sockets.
    udp_sockets: Left<[u64; 2]>,
    buf: Vec<u8>,
}

impl Sockstat {
    fn new(spec: &NodeSpec) -> Self {
        let page_bytes = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
        Self {
            files: ["sockstat", "sockstat6"].map(|name| KernelFile::whole(spec.proc_net(name))),
            fields: Fields::default(),
            page_bytes: page_bytes.unwrap_or(4096) as f64,
            udp_sockets: spec.findings.udp_sockets.clone(),
            buf: Vec::new(),
        }
    }
}

impl Collector for Sockstat {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        self.fields.rewind();
        let mut is_there = false;
        let asked = Instant::now();
        let mut udp_sockets = [None; 2];
        for file in &mut self.files {
            // A kernel without IPv6 has no sockstat6.
            if !file.read_if_there(&mut self.buf) {
                continue;
            }
            is_there = true;
            for line in lines(&self.buf) {
                let mut words = words(line);
                let protocol = words
                    .next()
                    .and_then(|w| w.strip_suffix(b":"))
                    .and_then(text);
                let protocol = protocol.context("sockstat: a line names no protocol")?;
                while let Some(state) = words.next().and_then(text) {
                    let value = words.next().and_then(decimal);
                    let value = value
                        .with_context(|| format!("sockstat: {protocol} {state} has no number"))?;
                    match (protocol, state) {
                        ("UDP", "inuse") => udp_sockets[0] = Some(value as u64),
                        ("UDP6", "inuse") => udp_sockets[1] = Some(value as u64),
                        _ => {}
                    }
                    if let Some(named) = self.fields.next(protocol, state, make) {
                        named.sample(out, &[], value);
                    }
                    if state == PAGES
                        && let Some(named) = self.fields.next(protocol, "mem_bytes", make)
                    {
                        named.sample(out, &[], value * self.page_bytes);
                    }
                }
            }
        }
        if let [Some(v4), Some(v6)] = udp_sockets {
            self.udp_sockets.leave(asked, [v4, v6]);
        }
        match is_there {
            true => Ok(()),
            false => Err(NoData("there is no net/sockstat").into()),
        }
    }
}

fn make(protocol: &str, state: &str) -> Option<Named> {
    if protocol == "sockets" {
        return (state == "used").then(|| Named {
            name: "node_sockstat_sockets_used".to_owned(),
            kind: MetricKind::Gauge,
            help: "Number of IPv4 sockets in use.".to_owned(),
        });
    }
    (STATES.contains(&state) || state == "mem_bytes").then(|| Named {
        name: format!("node_sockstat_{protocol}_{state}"),
        kind: MetricKind::Gauge,
        help: format!("Number of {protocol} sockets in state {state}."),
    })
}
