//! TCP connections by state and the bytes in their queues.
//!
//! One dump of the sockets, as node_exporter makes, when the node's network is our own; else the
//! tables net/tcp and net/tcp6 of process 1, which are slower and give the same.

use kansoku_model::MetricBatch;
use kansoku_parsers::kernel::netlink::{dump_request, u32_at};
use kansoku_parsers::kernel::scan::{lines, text, words};
use nix::sys::socket::SockProtocol;

use super::desc::Desc;
use super::kernel_file::KernelFile;
use super::{Collector, Entry, NodeSpec, Tier, netdev, netlink};

pub(super) const ENTRY: Entry = Entry {
    name: "tcpstat",
    about: "TCP connections by state",
    is_default: false,
    // 100,000 sockets take the kernel a while.
    tier: Tier::Background,
    build: |spec| Ok(Box::new(Tcpstat::new(spec))),
    ..Entry::DEFAULT
};

const STATES: Desc = Desc::gauge("node_tcp_connection_states", "Number of connection states.");
/// The kernel's states, from 1 on.
const NAMES: [&str; 11] = [
    "established",
    "syn_sent",
    "syn_recv",
    "fin_wait1",
    "fin_wait2",
    "time_wait",
    "close",
    "close_wait",
    "last_ack",
    "listen",
    "closing",
];
const UNKNOWN: usize = NAMES.len();

const BY_FAMILY: u16 = 20;
const FAMILIES: [u8; 2] = [2, 10];
const PROTOCOL_TCP: u8 = 6;
const ALL_STATES: u32 = 0xfff;
/// `inet_diag_req_v2`: family, protocol, extensions, padding, states, and a socket's id.
const REQUEST_BYTES: usize = 56;
/// Where `inet_diag_msg` has the state, and the bytes in both queues.
const STATE_AT: usize = 1;
const RECEIVE_AT: usize = 56;
const TRANSMIT_AT: usize = 60;

struct Tcpstat {
    is_own_network: bool,
    files: [KernelFile; 2],
    buf: Vec<u8>,
}

#[derive(Default)]
struct Counts {
    states: [u32; NAMES.len() + 1],
    received_bytes: u64,
    transmit_bytes: u64,
}

impl Tcpstat {
    fn new(spec: &NodeSpec) -> Self {
        let node = netdev::network_of(&spec.procfs, "1");
        Self {
            is_own_network: node.is_some() && node == netdev::network_of("/proc".as_ref(), "self"),
            files: ["tcp", "tcp6"].map(|file| KernelFile::whole(spec.proc_net(file))),
            buf: Vec::new(),
        }
    }
}

impl Counts {
    fn add(&mut self, state: u8, receive: u32, transmit: u32) {
        let at = usize::from(state).wrapping_sub(1).min(UNKNOWN);
        self.states[at] += 1;
        self.received_bytes += u64::from(receive);
        self.transmit_bytes += u64::from(transmit);
    }

    fn add_table(&mut self, table: &[u8]) {
        // The first line names the columns: sl, local, remote, st, tx_queue:rx_queue.
        for line in lines(table).skip(1) {
            let mut words = words(line).skip(3).filter_map(text);
            let state = words.next().and_then(|w| u8::from_str_radix(w, 16).ok());
            let queues = words.next().and_then(|w| w.split_once(':'));
            let queue = |word| u32::from_str_radix(word, 16).unwrap_or(0);
            if let (Some(state), Some((transmit, receive))) = (state, queues) {
                self.add(state, queue(receive), queue(transmit));
            }
        }
    }

    fn add_dump(&mut self, family: u8, buf: &mut Vec<u8>) -> anyhow::Result<()> {
        let mut request = [0; REQUEST_BYTES];
        request[..2].copy_from_slice(&[family, PROTOCOL_TCP]);
        request[4..8].copy_from_slice(&ALL_STATES.to_ne_bytes());
        let request = dump_request(BY_FAMILY, &request);
        netlink::ask(SockProtocol::NetlinkSockDiag, &request, buf, |message| {
            let state = message.body.get(STATE_AT);
            let receive = u32_at(message.body, RECEIVE_AT);
            let transmit = u32_at(message.body, TRANSMIT_AT);
            if let (Some(state), Some(receive), Some(transmit)) = (state, receive, transmit) {
                self.add(*state, receive, transmit);
            }
        })
    }
}

impl Collector for Tcpstat {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        let mut counts = Counts::default();
        for (family, file) in FAMILIES.into_iter().zip(&mut self.files) {
            // A kernel without IPv6 has no table of it.
            let is_there = file.path().exists();
            if self.is_own_network && is_there {
                counts.add_dump(family, &mut self.buf)?;
            } else if is_there {
                file.read(&mut self.buf)?;
                counts.add_table(&self.buf);
            } else if family == FAMILIES[0] {
                file.read(&mut self.buf)?;
            }
        }
        let names = NAMES.into_iter().chain(["unknown"]);
        let mut n_sockets = 0;
        for (name, n) in names.zip(counts.states).filter(|(_, n)| *n > 0) {
            n_sockets += n;
            STATES.sample(out, &[("state", name)], f64::from(n));
        }
        if n_sockets > 0 {
            let queues = [
                ("rx_queued_bytes", counts.received_bytes),
                ("tx_queued_bytes", counts.transmit_bytes),
            ];
            for (name, bytes) in queues {
                STATES.sample(out, &[("state", name)], bytes as f64);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_counted_by_state() {
        let mut counts = Counts::default();
        counts.add_table(
            b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when\n\
               0: 0500000A:0016 00000000:0000 0A 00000000:00000001 00:00000000\n\
               1: 00000000:0016 00000000:0000 01 00000010:00000002 00:00000000\n\
               2: 00000000:0016 00000000:0000 63 00000000:00000000 00:00000000\n",
        );
        assert_eq!((counts.states[0], counts.states[9]), (1, 1));
        assert_eq!(counts.states[UNKNOWN], 1);
        assert_eq!((counts.received_bytes, counts.transmit_bytes), (3, 16));
    }

    #[test]
    fn a_dump_finds_a_listening_socket() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut counts = Counts::default();
        counts
            .add_dump(FAMILIES[0], &mut Vec::new())
            .expect("the kernel answers");
        assert!(counts.states[9] > 0);
        drop(listener);
    }
}
