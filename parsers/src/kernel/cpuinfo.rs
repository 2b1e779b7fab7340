//! /proc/cpuinfo: a block of `key : value` lines per CPU.

use super::scan::{lines, text};

/// One CPU; what the machine's kind does not tell is empty.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CpuInfo<'a> {
    pub processor: &'a str,
    pub vendor: &'a str,
    pub family: &'a str,
    pub model: &'a str,
    pub model_name: &'a str,
    pub stepping: &'a str,
    pub microcode: &'a str,
    pub megahertz: f64,
    pub cache_size: &'a str,
    pub physical_id: &'a str,
    pub core_id: &'a str,
    /// Separated by blanks, as `bugs`.
    pub flags: &'a str,
    pub bugs: &'a str,
}

/// Every CPU in the file's order.
#[must_use]
pub fn cpus(bytes: &[u8]) -> Vec<CpuInfo<'_>> {
    let mut all: Vec<CpuInfo<'_>> = Vec::new();
    for line in lines(bytes).filter_map(text) {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let (key, value) = (key.trim(), value.trim());
        if key == "processor" {
            all.push(CpuInfo {
                processor: value,
                ..CpuInfo::default()
            });
        }
        let Some(cpu) = all.last_mut() else {
            continue;
        };
        match key {
            "vendor_id" | "CPU implementer" => cpu.vendor = value,
            "cpu family" => cpu.family = value,
            "model" => cpu.model = value,
            "model name" => cpu.model_name = value,
            "stepping" => cpu.stepping = value,
            "microcode" => cpu.microcode = value,
            "cpu MHz" => cpu.megahertz = value.parse().unwrap_or_default(),
            "cache size" => cpu.cache_size = value,
            "physical id" => cpu.physical_id = value,
            "core id" => cpu.core_id = value,
            "flags" | "Features" => cpu.flags = value,
            "bugs" => cpu.bugs = value,
            _ => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_per_cpu() {
        let sample = b"processor\t: 0\nvendor_id\t: GenuineIntel\ncpu MHz\t\t: 799.998\nflags\t\t: fpu aes\nbugs\t\t:\n\nprocessor : 1\nCPU implementer : 0x41\n";
        let all = cpus(sample);
        assert_eq!(all.len(), 2);
        assert_eq!(
            (all[0].vendor, all[0].megahertz, all[0].flags, all[0].bugs),
            ("GenuineIntel", 799.998, "fpu aes", "")
        );
        assert_eq!((all[1].processor, all[1].vendor), ("1", "0x41"));
        assert!(cpus(b"junk\nmodel : x\n").is_empty());
    }
}
