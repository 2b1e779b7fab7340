//! `alter_size`: adds records to each batch or removes its last ones, for tests of a pipeline.

use kansoku_model::log::MAX_SPLIT;
use kansoku_model::{ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, Settings, Value};

use crate::plugin::{Environment, Filter, FilterContext, FilterPlugin};

/// The plugin.
pub const PLUGIN: FilterPlugin = Plugin {
    name: "alter_size",
    about: "Adds records to each batch or removes its last ones, for tests.",
    options: &[
        OptionSpec::new("add", OptionKind::Int, "0", "records to add"),
        OptionSpec::new("remove", OptionKind::Int, "0", "records to remove"),
    ],
    example: "[FILTER]\n    Name   alter_size\n    Match  *\n    Remove 1\n",
    build,
};

struct AlterSize {
    add: u32,
    remove: usize,
}

fn build(settings: &Settings, _: &Environment) -> Result<Box<dyn Filter>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let number = |key: &str, most: i64| {
        let n = settings.int(key, 0)?;
        let place = settings.get(key).map_or(&settings.place, |s| &s.place);
        if (0..=most).contains(&n) {
            Ok(n)
        } else {
            let message = format!("'{key}' must be between 0 and {most}");
            Err(ConfigError::new(place, message))
        }
    };
    let add = number("add", i64::from(MAX_SPLIT) - 1)? as u32;
    let remove = number("remove", i64::from(u32::MAX))? as usize;
    if add > 0 && remove > 0 {
        let message = "'add' and 'remove' exclude each other; remove one";
        return Err(ConfigError::new(&settings.place, message));
    }
    Ok(Box::new(AlterSize { add, remove }))
}

impl Filter for AlterSize {
    fn apply(&self, batch: &mut LogBatch, _: &mut FilterContext) {
        let n = batch.len();
        if self.remove > 0 {
            batch.retain(|row| row + self.remove < n);
        } else if self.add > 0 && n > 0 {
            let mut counts = vec![1; n];
            counts[n - 1] += self.add;
            batch.repeat_rows(&counts);
            for i in 0..self.add as usize {
                for column in 0..batch.columns().len() {
                    batch.set(column, n + i, Value::Absent);
                }
                batch.set_text("key", n + i, format!("alter_size {i}").as_bytes());
            }
        }
    }

    fn splits(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kansoku_model::Position;

    use super::*;

    #[test]
    fn records_are_added_and_removed() {
        for (option, value, expected) in [("add", "2", 5), ("remove", "2", 1), ("remove", "9", 0)] {
            let settings = Settings::of("alter_size", &[(option, value)]);
            let filter = build(&settings, &Environment::default()).expect("settings");
            let mut batch = LogBatch::new("t".into(), Arc::default(), Vec::new());
            for i in 0..3 {
                batch.push(0, Position::at(i));
            }
            filter.apply(&mut batch, &mut FilterContext::default());
            assert_eq!(batch.len(), expected, "{option} {value}");
            assert!(batch.positions().windows(2).all(|w| w[0] < w[1]));
        }
    }
}
