//! Graphics cards of AMD: how busy, and their memory.

use std::path::PathBuf;

use kansoku_model::MetricBatch;

use super::desc::Desc;
use super::{Collector, Entry, NodeSpec, Tier, sysfs};

pub(super) const ENTRY: Entry = Entry {
    name: "drm",
    about: "graphics cards of AMD",
    is_default: false,
    tier: Tier::Background,
    build: |spec| Ok(Box::new(Drm::new(spec))),
    ..Entry::DEFAULT
};

const INFO: Desc = Desc::gauge("node_drm_card_info", "Card information");
const NUMBERS: [(&str, Desc); 7] = [
    (
        "gpu_busy_percent",
        Desc::gauge(
            "node_drm_gpu_busy_percent",
            "How busy the GPU is as a percentage.",
        ),
    ),
    (
        "mem_info_gtt_total",
        Desc::gauge(
            "node_drm_memory_gtt_size_bytes",
            "The size of the graphics translation table (GTT) block in bytes.",
        ),
    ),
    (
        "mem_info_gtt_used",
        Desc::gauge(
            "node_drm_memory_gtt_used_bytes",
            "The used amount of the graphics translation table (GTT) block in bytes.",
        ),
    ),
    (
        "mem_info_vram_total",
        Desc::gauge(
            "node_drm_memory_vram_size_bytes",
            "The size of VRAM in bytes.",
        ),
    ),
    (
        "mem_info_vram_used",
        Desc::gauge(
            "node_drm_memory_vram_used_bytes",
            "The used amount of VRAM in bytes.",
        ),
    ),
    (
        "mem_info_vis_vram_total",
        Desc::gauge(
            "node_drm_memory_vis_vram_size_bytes",
            "The size of visible VRAM in bytes.",
        ),
    ),
    (
        "mem_info_vis_vram_used",
        Desc::gauge(
            "node_drm_memory_vis_vram_used_bytes",
            "The used amount of visible VRAM in bytes.",
        ),
    ),
];

struct Drm {
    class: PathBuf,
}

impl Drm {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            class: spec.sys("class/drm"),
        }
    }
}

impl Collector for Drm {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        // `card0-DP-1` is a connector; a second digit is left out as upstream does.
        let cards = sysfs::numbered(&self.class, "card");
        for card in cards.iter().filter(|card| card.len() == "card0".len()) {
            let device = self.class.join(card).join("device");
            if !sysfs::read(&device.join("uevent"))?.contains("DRIVER=amdgpu") {
                continue;
            }
            let word =
                |file| sysfs::read_optional(&device.join(file)).map(Option::unwrap_or_default);
            let vendor = word("mem_info_vram_vendor")?;
            let level = word("power_dpm_force_performance_level")?;
            let id = word("unique_id")?;
            let labels = [
                ("card", card.as_str()),
                ("memory_vendor", &vendor),
                ("power_performance_level", &level),
                ("unique_id", &id),
                ("vendor", "amd"),
            ];
            INFO.sample(out, &labels, 1.0);
            for (file, desc) in &NUMBERS {
                let value = sysfs::number_optional(&device.join(file))?.unwrap_or(0.0);
                desc.sample(out, &[("card", card)], value);
            }
        }
        Ok(())
    }
}
