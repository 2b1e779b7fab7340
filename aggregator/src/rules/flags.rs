//! Command line flags about rules and alerts; the names are Prometheus's.

use std::time::Duration;

use clap::Args;

use crate::settings::parse_duration;

/// How rules are evaluated and alerts are told.
#[derive(Debug, Clone, Args)]
pub struct RuleFlags {
    /// Where people reach this server, for links in alerts; by default its host name and port.
    #[arg(long = "web.external-url", value_name = "URL")]
    pub external_url: Option<String>,

    /// Answer POST and PUT of /-/reload, which reads the configuration and the rule files again.
    #[arg(long = "web.enable-lifecycle")]
    pub enable_lifecycle: bool,

    /// After a longer outage alerts begin anew.
    #[arg(long = "rules.alert.for-outage-tolerance", value_name = "DURATION", default_value = "1h",
        value_parser = parse_duration)]
    pub outage_tolerance: Duration,

    /// How long a pending alert waits at least after a restart, though not longer than the outage was.
    #[arg(long = "rules.alert.for-grace-period", value_name = "DURATION", default_value = "10m",
        value_parser = parse_duration)]
    pub grace_period: Duration,

    /// How often a firing alert is told to the Alertmanagers again.
    #[arg(long = "rules.alert.resend-delay", value_name = "DURATION", default_value = "1m",
        value_parser = parse_duration)]
    pub resend_delay: Duration,

    /// How many rules of a group that do not depend on each other are evaluated at a time.
    #[arg(long = "rules.max-concurrent-evals", value_name = "N", default_value_t = 4,
        value_parser = clap::value_parser!(u16).range(1..=64))]
    pub max_concurrent_evals: u16,

    /// How many alerts wait for each Alertmanager; of more the oldest are dropped.
    #[arg(long = "alertmanager.notification-queue-capacity", value_name = "N", default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub queue_capacity: u32,

    /// Tell what waits when the program stops, within seconds.
    #[arg(long = "alertmanager.drain-notification-queue-on-shutdown", value_name = "BOOL",
        default_value_t = true, action = clap::ArgAction::Set)]
    pub drain: bool,
}

impl RuleFlags {
    /// The flags with their values, for `/api/v1/status/flags`.
    #[must_use]
    pub fn values(&self) -> Vec<(&'static str, String)> {
        let text = |d: Duration| {
            let ms = i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
            kansoku_query::number::format_duration_ms(ms)
        };
        vec![
            (
                "web.external-url",
                self.external_url.clone().unwrap_or_default(),
            ),
            ("web.enable-lifecycle", self.enable_lifecycle.to_string()),
            (
                "rules.alert.for-outage-tolerance",
                text(self.outage_tolerance),
            ),
            ("rules.alert.for-grace-period", text(self.grace_period)),
            ("rules.alert.resend-delay", text(self.resend_delay)),
            (
                "rules.max-concurrent-evals",
                self.max_concurrent_evals.to_string(),
            ),
            (
                "alertmanager.notification-queue-capacity",
                self.queue_capacity.to_string(),
            ),
            (
                "alertmanager.drain-notification-queue-on-shutdown",
                self.drain.to_string(),
            ),
        ]
    }
}
