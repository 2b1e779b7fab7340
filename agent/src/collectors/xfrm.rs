//! Errors of IPsec's packet transformation, from net/xfrm_stat of the node's network.

use kansoku_model::MetricBatch;
use kansoku_parsers::kernel::scan::{lines, number, words};

use super::desc::Desc;
use super::kernel_file::KernelFile;
use super::{Collector, Entry, NodeSpec};

pub(super) const ENTRY: Entry = Entry {
    name: "xfrm",
    about: "errors of IPsec",
    is_default: false,
    build: |spec| Ok(Box::new(Xfrm::new(spec))),
    ..Entry::DEFAULT
};

const COUNTERS: [(&str, Desc); 28] = [
    (
        "XfrmInError",
        Desc::counter(
            "node_xfrm_in_error_packets_total",
            "All errors not matched by other",
        ),
    ),
    (
        "XfrmInBufferError",
        Desc::counter(
            "node_xfrm_in_buffer_error_packets_total",
            "No buffer is left",
        ),
    ),
    (
        "XfrmInHdrError",
        Desc::counter("node_xfrm_in_hdr_error_packets_total", "Header error"),
    ),
    (
        "XfrmInNoStates",
        Desc::counter(
            "node_xfrm_in_no_states_packets_total",
            "No state is found i.e. Either inbound SPI, address, or IPsec protocol at SA is wrong",
        ),
    ),
    (
        "XfrmInStateProtoError",
        Desc::counter(
            "node_xfrm_in_state_proto_error_packets_total",
            "Transformation protocol specific error e.g. SA key is wrong",
        ),
    ),
    (
        "XfrmInStateModeError",
        Desc::counter(
            "node_xfrm_in_state_mode_error_packets_total",
            "Transformation mode specific error",
        ),
    ),
    (
        "XfrmInStateSeqError",
        Desc::counter(
            "node_xfrm_in_state_seq_error_packets_total",
            "Sequence error i.e. Sequence number is out of window",
        ),
    ),
    (
        "XfrmInStateExpired",
        Desc::counter(
            "node_xfrm_in_state_expired_packets_total",
            "State is expired",
        ),
    ),
    (
        "XfrmInStateMismatch",
        Desc::counter(
            "node_xfrm_in_state_mismatch_packets_total",
            "State has mismatch option e.g. UDP encapsulation type is mismatch",
        ),
    ),
    (
        "XfrmInStateInvalid",
        Desc::counter(
            "node_xfrm_in_state_invalid_packets_total",
            "State is invalid",
        ),
    ),
    (
        "XfrmInTmplMismatch",
        Desc::counter(
            "node_xfrm_in_tmpl_mismatch_packets_total",
            "No matching template for states e.g. Inbound SAs are correct but SP rule is wrong",
        ),
    ),
    (
        "XfrmInNoPols",
        Desc::counter(
            "node_xfrm_in_no_pols_packets_total",
            "No policy is found for states e.g. Inbound SAs are correct but no SP is found",
        ),
    ),
    (
        "XfrmInPolBlock",
        Desc::counter("node_xfrm_in_pol_block_packets_total", "Policy discards"),
    ),
    (
        "XfrmInPolError",
        Desc::counter("node_xfrm_in_pol_error_packets_total", "Policy error"),
    ),
    (
        "XfrmOutError",
        Desc::counter(
            "node_xfrm_out_error_packets_total",
            "All errors which is not matched others",
        ),
    ),
    (
        "XfrmOutBundleGenError",
        Desc::counter(
            "node_xfrm_out_bundle_gen_error_packets_total",
            "Bundle generation error",
        ),
    ),
    (
        "XfrmOutBundleCheckError",
        Desc::counter(
            "node_xfrm_out_bundle_check_error_packets_total",
            "Bundle check error",
        ),
    ),
    (
        "XfrmOutNoStates",
        Desc::counter("node_xfrm_out_no_states_packets_total", "No state is found"),
    ),
    (
        "XfrmOutStateProtoError",
        Desc::counter(
            "node_xfrm_out_state_proto_error_packets_total",
            "Transformation protocol specific error",
        ),
    ),
    (
        "XfrmOutStateModeError",
        Desc::counter(
            "node_xfrm_out_state_mode_error_packets_total",
            "Transformation mode specific error",
        ),
    ),
    (
        "XfrmOutStateSeqError",
        Desc::counter(
            "node_xfrm_out_state_seq_error_packets_total",
            "Sequence error i.e. Sequence number overflow",
        ),
    ),
    (
        "XfrmOutStateExpired",
        Desc::counter(
            "node_xfrm_out_state_expired_packets_total",
            "State is expired",
        ),
    ),
    (
        "XfrmOutPolBlock",
        Desc::counter("node_xfrm_out_pol_block_packets_total", "Policy discards"),
    ),
    (
        "XfrmOutPolDead",
        Desc::counter("node_xfrm_out_pol_dead_packets_total", "Policy is dead"),
    ),
    (
        "XfrmOutPolError",
        Desc::counter("node_xfrm_out_pol_error_packets_total", "Policy error"),
    ),
    (
        "XfrmFwdHdrError",
        Desc::counter(
            "node_xfrm_fwd_hdr_error_packets_total",
            "Forward routing of a packet is not allowed",
        ),
    ),
    (
        "XfrmOutStateInvalid",
        Desc::counter(
            "node_xfrm_out_state_invalid_packets_total",
            "State is invalid, perhaps expired",
        ),
    ),
    (
        "XfrmAcquireError",
        Desc::counter(
            "node_xfrm_acquire_error_packets_total",
            "State hasn’t been fully acquired before use",
        ),
    ),
];

struct Xfrm {
    file: KernelFile,
    buf: Vec<u8>,
}

impl Xfrm {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            file: KernelFile::new(spec.proc_net("xfrm_stat")),
            buf: Vec::new(),
        }
    }
}

impl Collector for Xfrm {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        self.file.read(&mut self.buf)?;
        // What an older kernel does not count is 0, as upstream.
        let mut values = [0; COUNTERS.len()];
        for line in lines(&self.buf) {
            let mut words = words(line);
            let (Some(name), Some(value)) = (words.next(), words.next().and_then(number)) else {
                continue;
            };
            if let Some(at) = COUNTERS.iter().position(|(n, _)| n.as_bytes() == name) {
                values[at] = value;
            }
        }
        for ((_, desc), value) in COUNTERS.iter().zip(values) {
            desc.value(out, value as f64);
        }
        Ok(())
    }
}
