//! How well the clock is disciplined: offset, error and frequency as NTP daemons leave them.

use kansoku_model::MetricBatch;
use nix::errno::Errno;

use super::adjtimex;
use super::desc::Desc;
use super::{Collector, Entry, NoData};

pub(super) const ENTRY: Entry = Entry {
    name: "timex",
    about: "offset, error and frequency of the clock",
    build: |_| Ok(Box::new(Timex)),
    ..Entry::DEFAULT
};

/// The call's answer when the clock is not synchronised.
const TIME_ERROR: i32 = 5;
/// Status bit: the offset is in nanoseconds.
const STA_NANO: i32 = 0x2000;
const MICROSECONDS: f64 = 1e6;
const NANOSECONDS: f64 = 1e9;
/// Frequencies are parts per million with 16 bits behind the point.
const PPM_16_BITS: f64 = 1e6 * 65536.0;

const SYNC_STATUS: Desc = Desc::gauge(
    "node_timex_sync_status",
    "Is clock synchronized to a reliable server (1 = yes, 0 = no).",
);
const OFFSET: Desc = Desc::gauge(
    "node_timex_offset_seconds",
    "Time offset in between local system and reference clock.",
);
const FREQUENCY: Desc = Desc::gauge(
    "node_timex_frequency_adjustment_ratio",
    "Local clock frequency adjustment.",
);
const MAX_ERROR: Desc = Desc::gauge("node_timex_maxerror_seconds", "Maximum error in seconds.");
const ESTIMATED_ERROR: Desc = Desc::gauge(
    "node_timex_estimated_error_seconds",
    "Estimated error in seconds.",
);
const STATUS: Desc = Desc::gauge("node_timex_status", "Value of the status array bits.");
const CONSTANT: Desc = Desc::gauge(
    "node_timex_loop_time_constant",
    "Phase-locked loop time constant.",
);
const TICK: Desc = Desc::gauge("node_timex_tick_seconds", "Seconds between clock ticks.");
const PPS_FREQUENCY: Desc = Desc::gauge(
    "node_timex_pps_frequency_hertz",
    "Pulse per second frequency.",
);
const PPS_JITTER: Desc = Desc::gauge("node_timex_pps_jitter_seconds", "Pulse per second jitter.");
const PPS_SHIFT: Desc = Desc::gauge(
    "node_timex_pps_shift_seconds",
    "Pulse per second interval duration.",
);
const PPS_STABILITY: Desc = Desc::gauge(
    "node_timex_pps_stability_hertz",
    "Pulse per second stability, average of recent frequency changes.",
);
const PPS_JITTERS: Desc = Desc::counter(
    "node_timex_pps_jitter_total",
    "Pulse per second count of jitter limit exceeded events.",
);
const PPS_CALIBRATIONS: Desc = Desc::counter(
    "node_timex_pps_calibration_total",
    "Pulse per second count of calibration intervals.",
);
const PPS_ERRORS: Desc = Desc::counter(
    "node_timex_pps_error_total",
    "Pulse per second count of calibration errors.",
);
const PPS_STABILITY_EXCEEDED: Desc = Desc::counter(
    "node_timex_pps_stability_exceeded_total",
    "Pulse per second count of stability limit exceeded events.",
);
const TAI_OFFSET: Desc = Desc::gauge(
    "node_timex_tai_offset_seconds",
    "International Atomic Time (TAI) offset.",
);

struct Timex;

impl Collector for Timex {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        let (timex, answer) = adjtimex::read().map_err(|errno| match errno {
            Errno::EPERM | Errno::EACCES => NoData("not allowed to ask for the clock").into(),
            errno => anyhow::Error::from(errno).context("failed to read the clock"),
        })?;
        let divisor = match timex.status & STA_NANO {
            0 => MICROSECONDS,
            _ => NANOSECONDS,
        };
        let is_synchronised = f64::from(u8::from(answer != TIME_ERROR));
        for (desc, value) in [
            (SYNC_STATUS, is_synchronised),
            (OFFSET, timex.offset as f64 / divisor),
            (FREQUENCY, 1.0 + timex.freq as f64 / PPM_16_BITS),
            (MAX_ERROR, timex.maxerror as f64 / MICROSECONDS),
            (ESTIMATED_ERROR, timex.esterror as f64 / MICROSECONDS),
            (STATUS, f64::from(timex.status)),
            (CONSTANT, timex.constant as f64),
            (TICK, timex.tick as f64 / MICROSECONDS),
            (PPS_FREQUENCY, timex.ppsfreq as f64 / PPM_16_BITS),
            (PPS_JITTER, timex.jitter as f64 / divisor),
            (PPS_SHIFT, f64::from(timex.shift)),
            (PPS_STABILITY, timex.stabil as f64 / PPM_16_BITS),
            (PPS_JITTERS, timex.jitcnt as f64),
            (PPS_CALIBRATIONS, timex.calcnt as f64),
            (PPS_ERRORS, timex.errcnt as f64),
            (PPS_STABILITY_EXCEEDED, timex.stbcnt as f64),
            (TAI_OFFSET, f64::from(timex.tai)),
        ] {
            desc.value(out, value);
        }
        Ok(())
    }
}
