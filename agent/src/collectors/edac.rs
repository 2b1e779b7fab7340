//! Memory errors that the controllers counted: per controller, per row and per channel.

use std::path::{Path, PathBuf};

use kansoku_model::MetricBatch;

use super::desc::Desc;
use super::{Collector, Entry, NodeSpec, sysfs};

pub(super) const ENTRY: Entry = Entry {
    name: "edac",
    about: "memory errors",
    build: |spec| Ok(Box::new(Edac::new(spec))),
    ..Entry::DEFAULT
};

const CORRECTABLE: Desc = Desc::counter(
    "node_edac_correctable_errors_total",
    "Total correctable memory errors.",
);
const UNCORRECTABLE: Desc = Desc::counter(
    "node_edac_uncorrectable_errors_total",
    "Total uncorrectable memory errors.",
);
const ROW_CORRECTABLE: Desc = Desc::counter(
    "node_edac_csrow_correctable_errors_total",
    "Total correctable memory errors for this csrow.",
);
const ROW_UNCORRECTABLE: Desc = Desc::counter(
    "node_edac_csrow_uncorrectable_errors_total",
    "Total uncorrectable memory errors for this csrow.",
);
const CHANNEL_CORRECTABLE: Desc = Desc::counter(
    "node_edac_channel_correctable_errors_total",
    "Total correctable memory errors for this channel.",
);
const CHANNEL_UNCORRECTABLE: Desc = Desc::counter(
    "node_edac_channel_uncorrectable_errors_total",
    "Total uncorrectable memory errors for this channel.",
);

struct Edac {
    controllers: PathBuf,
}

impl Edac {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            controllers: spec.sys("devices/system/edac/mc"),
        }
    }
}

impl Collector for Edac {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        for name in sysfs::numbered(&self.controllers, "mc") {
            let folder = self.controllers.join(&name);
            let controller = ("controller", leading_digits(&name, "mc"));
            let count = |file: &str| sysfs::number(&folder.join(file));
            let unknown = [controller, ("csrow", "unknown")];
            CORRECTABLE.sample(out, &[controller], count("ce_count")?);
            ROW_CORRECTABLE.sample(out, &unknown, count("ce_noinfo_count")?);
            UNCORRECTABLE.sample(out, &[controller], count("ue_count")?);
            ROW_UNCORRECTABLE.sample(out, &unknown, count("ue_noinfo_count")?);
            for row in sysfs::numbered(&folder, "csrow") {
                let csrow = ("csrow", leading_digits(&row, "csrow"));
                collect_row(out, &folder.join(&row), [controller, csrow])?;
            }
        }
        Ok(())
    }
}

fn collect_row(
    out: &mut MetricBatch,
    folder: &Path,
    row @ [controller, csrow]: [(&str, &str); 2],
) -> anyhow::Result<()> {
    ROW_CORRECTABLE.sample(out, &row, sysfs::number(&folder.join("ce_count"))?);
    ROW_UNCORRECTABLE.sample(out, &row, sysfs::number(&folder.join("ue_count"))?);
    for file in sysfs::numbered(folder, "ch") {
        let Some(channel) = file
            .strip_suffix("_ce_count")
            .and_then(|f| f.strip_prefix("ch"))
        else {
            continue;
        };
        let label = dimm_label(&folder.join(format!("ch{channel}_dimm_label")));
        let labels = [
            controller,
            csrow,
            ("channel", channel),
            ("dimm_label", &label),
        ];
        CHANNEL_CORRECTABLE.sample(out, &labels, sysfs::number(&folder.join(&file))?);
        // Few drivers tell uncorrectable errors by channel.
        if let Ok(count) = sysfs::number(&folder.join(format!("ch{channel}_ue_count"))) {
            CHANNEL_UNCORRECTABLE.sample(out, &labels, count);
        }
    }
    Ok(())
}

/// A label such as `CPU_SrcID#0_Ha#0_Chan#0_DIMM#0` without what node_exporter takes out.
fn dimm_label(path: &Path) -> String {
    match sysfs::read(path) {
        Ok(label) => label
            .replace('#', "")
            .replace("csrow", "_csrow")
            .replace("channel", "_channel"),
        Err(_) => "unknown".to_owned(),
    }
}

fn leading_digits<'a>(name: &'a str, prefix: &str) -> &'a str {
    let rest = name.strip_prefix(prefix).unwrap_or_default();
    let end = rest.find(|c: char| !c.is_ascii_digit());
    &rest[..end.unwrap_or(rest.len())]
}
