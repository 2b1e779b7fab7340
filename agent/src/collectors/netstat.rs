//! Statistics of the network protocols, from net/netstat, net/snmp and net/snmp6.

use std::time::Instant;

use kansoku_model::{MetricBatch, MetricKind};
use kansoku_parsers::kernel::netstat;
use regex::bytes::Regex;

use super::fields::{Fields, Named};
use super::findings::Left;
use super::flags::Flag;
use super::kernel_file::KernelFile;
use super::{Collector, Entry, NodeSpec, netdev};

pub(super) const ENTRY: Entry = Entry {
    name: "netstat",
    about: "statistics of IP, ICMP, TCP and UDP",
    flags: &[FIELDS],
    build: |spec| Ok(Box::new(Netstat::new(spec)?)),
    ..Entry::DEFAULT
};

const FIELDS: Flag = Flag::text(
    "collector.netstat.fields",
    "^(.*_(InErrors|InErrs)|Ip_Forwarding|Ip(6|Ext)_(InOctets|OutOctets)|Icmp6?_(InMsgs|OutMsgs)|TcpExt_(Listen.*|Syncookies.*|TCPSynRetrans|TCPTimeouts|TCPOFOQueue|TCPRcvQDrop)|Tcp_(ActiveOpens|InSegs|OutSegs|OutRsts|PassiveOpens|RetransSegs|CurrEstab)|Udp6?_(InDatagrams|OutDatagrams|NoPorts|RcvbufErrors|SndbufErrors))$",
    "Regexp of fields to return for netstat collector.",
);

struct Netstat {
    netstat: KernelFile,
    snmp: KernelFile,
    snmp6: KernelFile,
    given: Given,
    /// For what is told of our own process, where its network is the node's.
    octets: Option<Left<[f64; 2]>>,
    buf: Vec<u8>,
}

/// Which statistics are given, and as what.
struct Given {
    /// `None` takes every field.
    pattern: Option<Regex>,
    fields: Fields,
}

impl Netstat {
    fn new(spec: &NodeSpec) -> anyhow::Result<Self> {
        let file = |name: &str| KernelFile::whole(spec.proc_net(name));
        Ok(Self {
            netstat: file("netstat"),
            snmp: file("snmp"),
            snmp6: file("snmp6"),
            given: Given {
                pattern: spec.flags.pattern(&FIELDS)?,
                fields: Fields::default(),
            },
            octets: netdev::is_our_network(&spec.procfs).then(|| spec.findings.octets.clone()),
            buf: Vec::new(),
        })
    }
}

impl Collector for Netstat {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        let (given, buf) = (&mut self.given, &mut self.buf);
        given.fields.rewind();
        let asked = Instant::now();
        let mut octets = [None; 2];
        for file in [&mut self.netstat, &mut self.snmp] {
            file.read(buf)?;
            netstat::parse(buf, |protocol, name, value| {
                match (protocol, name) {
                    ("IpExt", "InOctets") => octets[0] = Some(value),
                    ("IpExt", "OutOctets") => octets[1] = Some(value),
                    _ => {}
                }
                given.sample(out, protocol, name, value);
            })?;
        }
        if let (Some(left), [Some(received), Some(sent)]) = (&self.octets, octets) {
            left.leave(asked, [received, sent]);
        }
        // A kernel without IPv6 has none.
        if self.snmp6.read_if_there(buf) {
            netstat::parse6(buf, |protocol, name, value| {
                given.sample(out, protocol, name, value);
            })?;
        }
        Ok(())
    }
}

impl Given {
    fn sample(&mut self, out: &mut MetricBatch, protocol: &str, name: &str, value: f64) {
        let pattern = &self.pattern;
        let named = self.fields.next(protocol, name, |protocol, name| {
            let key = format!("{protocol}_{name}");
            let is_wanted = pattern.as_ref().is_none_or(|p| p.is_match(key.as_bytes()));
            is_wanted.then(|| Named {
                name: format!("node_netstat_{key}"),
                kind: MetricKind::Unknown,
                help: format!("Statistic {protocol}{name}."),
            })
        });
        if let Some(named) = named {
            named.sample(out, &[], value);
        }
    }
}
