//! `random`: a random number every so often. Fluent Bit's has 64 bits; here it has 63, because record
//! values are signed.

use std::hash::{BuildHasher, Hasher, RandomState};

use kansoku_model::{OptionKind, OptionSpec, Plugin, joined};

use super::{Field, INTERVAL_OPTIONS, Probe, Record, input};
use crate::plugin::InputPlugin;

const OWN: &[OptionSpec] = &[OptionSpec::new(
    "samples",
    OptionKind::Int,
    "-1",
    "stop after so many records; -1 = never",
)];
const OPTIONS: &[OptionSpec] =
    &joined::<{ OWN.len() + INTERVAL_OPTIONS.len() }>(OWN, INTERVAL_OPTIONS);

/// The plugin.
pub const PLUGIN: InputPlugin = Plugin {
    name: "random",
    about: "Makes random numbers.",
    options: OPTIONS,
    example: "[INPUT]\n    Name     random\n    Tag      random\n    Samples  10\n",
    build: |settings, environment| {
        settings.check(OPTIONS)?;
        let samples = u64::try_from(settings.int("samples", -1)?).ok();
        input(settings, environment, Random { samples })
    },
};

struct Random {
    samples: Option<u64>,
}

impl Probe for Random {
    fn ask(&mut self, record: &mut Record) -> anyhow::Result<()> {
        // Each RandomState has keys of its own, seeded by the operating system.
        let number = RandomState::new().build_hasher().finish() >> 1;
        record.push(("rand_value".into(), Field::Int(number)));
        Ok(())
    }

    fn limit(&self) -> Option<u64> {
        self.samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ() {
        let mut random = Random { samples: Some(2) };
        assert_ne!(
            super::super::told(&mut random),
            super::super::told(&mut random)
        );
        assert_eq!(random.limit(), Some(2));
    }
}
