//! What uname(2) says of the system.

use kansoku_model::{MetricBatch, MetricKind};

use super::{Collector, Entry};

pub(super) const ENTRY: Entry = Entry {
    name: "uname",
    about: "kernel release, machine and node name",
    build: |_| Ok(Box::new(Uname)),
    ..Entry::DEFAULT
};

struct Uname;

impl Collector for Uname {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        let uname = nix::sys::utsname::uname()?;
        let family = out.family(
            "node_uname_info",
            MetricKind::Gauge,
            "Labeled system information as provided by the uname system call.",
        );
        let text = |s: &std::ffi::OsStr| s.to_string_lossy().into_owned();
        let labels = [
            ("domainname", &*text(uname.domainname())),
            ("machine", &*text(uname.machine())),
            ("nodename", &*text(uname.nodename())),
            ("release", &*text(uname.release())),
            ("sysname", &*text(uname.sysname())),
            ("version", &*text(uname.version())),
        ];
        out.sample(family, &labels, 1.0);
        Ok(())
    }
}
