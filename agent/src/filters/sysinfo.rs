//! `sysinfo`: adds the host's name, kernel and agent version to each record.
//!
//! All of it is asked for once, when the filter is built.

use kansoku_model::{ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, Settings, Value};

use crate::plugin::{Environment, Filter, FilterContext, FilterPlugin};

/// The plugin.
pub const PLUGIN: FilterPlugin = Plugin {
    name: "sysinfo",
    about: "Adds the host's name, kernel and agent version.",
    options: &[
        key("fluentbit_version_key", "key of the agent's version"),
        key("os_name_key", "key of the operating system's name: linux"),
        key("hostname_key", "key of the host's name"),
        key("os_version_key", "not for Linux, as in Fluent Bit"),
        key("kernel_version_key", "key of the kernel's version"),
    ],
    example: "[FILTER]\n    Name         sysinfo\n    Match        *\n    Hostname_key host\n",
    build,
};

const fn key(name: &'static str, about: &'static str) -> OptionSpec {
    OptionSpec::new(name, OptionKind::Text, "", about)
}

struct Sysinfo(Vec<(String, String)>);

fn build(settings: &Settings, environment: &Environment) -> Result<Box<dyn Filter>, ConfigError> {
    settings.check(PLUGIN.options)?;
    if let Some(s) = settings.get("os_version_key") {
        let message = "'os_version_key' is not known on Linux; use 'kernel_version_key'";
        return Err(ConfigError::new(&s.place, message));
    }
    let kernel = || {
        let text = std::fs::read_to_string("/proc/sys/kernel/osrelease");
        text.unwrap_or_default().trim().to_owned()
    };
    let mut fields = Vec::new();
    let mut add = |option: &str, value: String| {
        if let Some(s) = settings.get(option) {
            fields.push((s.value.clone(), value));
        }
    };
    add(
        "fluentbit_version_key",
        concat!("kansoku ", env!("CARGO_PKG_VERSION")).to_owned(),
    );
    add("os_name_key", "linux".to_owned());
    add("hostname_key", environment.host_name.to_string());
    add("kernel_version_key", kernel());
    Ok(Box::new(Sysinfo(fields)))
}

impl Filter for Sysinfo {
    fn apply(&self, batch: &mut LogBatch, _: &mut FilterContext) {
        for (key, text) in &self.0 {
            let value = Value::Text(batch.store(text.as_bytes()));
            batch.column_mut(key).values.fill(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kansoku_model::{Position, json};

    use super::*;

    #[test]
    fn what_is_asked_for_is_added() {
        let settings = Settings::of("sysinfo", &[("os_name_key", "os"), ("hostname_key", "h")]);
        let environment = Environment {
            host_name: "node-1".into(),
            ..Environment::default()
        };
        let filter = build(&settings, &environment).expect("settings");
        let mut batch = LogBatch::new("t".into(), Arc::default(), Vec::new());
        batch.push(0, Position::at(1));
        filter.apply(&mut batch, &mut FilterContext::default());
        let mut out = Vec::new();
        json::write_fields(&mut out, &batch, 0, true);
        assert_eq!(out, br#""os":"linux","h":"node-1""#);
    }
}
