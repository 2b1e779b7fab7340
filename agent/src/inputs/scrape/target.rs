//! A target: the labels that discovery gave it, relabelled, and where they say the page is.
//!
//! Source: Prometheus, `scrape/target.go` (`PopulateLabels`): what the job says is put in before relabelling where discovery says
//! nothing, labels that begin with `__` are no labels of the series.

use std::time::Duration;

use kansoku_model::Labels;
use kansoku_parsers::time::prometheus_duration;

use super::label_set::LabelSet;
use super::relabel::{Rule, relabel};

/// What is equal for all targets of an input.
#[derive(Debug, Clone)]
pub struct Job {
    /// The label `job`; when it is empty, series have neither `job` nor `instance`.
    pub name: String,
    pub interval: Duration,
    pub timeout: Duration,
    pub metrics_path: String,
    pub scheme: &'static str,
    /// Names and values of the query.
    pub params: Vec<(String, String)>,
    pub rules: Vec<Rule>,
}

/// Where a page is and what its series are called besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Of every series.
    pub labels: Labels,
    /// Host and port.
    pub address: (String, u16),
    pub is_tls: bool,
    /// Path and query.
    pub path: String,
    pub interval: Duration,
    pub timeout: Duration,
}

impl Target {
    /// Makes a target of what was discovered; `None` when the rules drop it.
    ///
    /// # Errors
    /// What is wrong with what the rules left.
    pub fn of(job: &Job, discovered: LabelSet) -> Result<Option<Self>, String> {
        let mut labels = discovered;
        labels.set_default("job", job.name.as_str());
        labels.set_default("__scrape_interval__", duration_text(job.interval));
        labels.set_default("__scrape_timeout__", duration_text(job.timeout));
        labels.set_default("__metrics_path__", job.metrics_path.as_str());
        labels.set_default("__scheme__", job.scheme);
        for (name, value) in &job.params {
            labels.set_default(&format!("__param_{name}"), value.as_str());
        }
        if !relabel(&job.rules, &mut labels) {
            return Ok(None);
        }
        let is_tls = match labels.get("__scheme__") {
            "http" => false,
            "https" => true,
            other => return Err(format!("the scheme is '{other}', not http or https")),
        };
        let address = address(labels.get("__address__"), is_tls)?;
        let interval = duration(labels.get("__scrape_interval__"), "interval")?;
        let timeout = duration(labels.get("__scrape_timeout__"), "timeout")?;
        if timeout > interval {
            return Err(format!(
                "the scrape timeout ({timeout:?}) is longer than the interval ({interval:?})"
            ));
        }
        let path = path(&labels);
        if !job.name.is_empty() {
            let instance = labels.get("__address__").to_owned();
            labels.set_default("instance", instance);
        }
        labels.retain(|name| !name.starts_with("__"));
        Ok(Some(Self {
            labels: labels.to_labels(),
            address,
            is_tls,
            path,
            interval,
            timeout,
        }))
    }

    /// What tells targets apart.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{} {}", self.url(), self.labels)
    }

    /// For messages.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        let authority = kansoku_outputs::net::authority(&self.address.0, self.address.1);
        format!("{scheme}://{authority}{}", self.path)
    }
}

fn duration(text: &str, what: &str) -> Result<Duration, String> {
    match prometheus_duration(text) {
        Some(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(format!(
            "the scrape {what} is '{text}', but must be a duration such as 15s"
        )),
    }
}

fn duration_text(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

/// Host and port; without a port that of the scheme.
fn address(text: &str, is_tls: bool) -> Result<(String, u16), String> {
    if text.is_empty() {
        return Err("the target has no address".into());
    }
    let bad = || format!("'{text}' is no host and port");
    if text.contains('/') {
        return Err(bad());
    }
    let default = if is_tls { 443 } else { 80 };
    let (host, port) = match text.strip_prefix('[') {
        Some(inside) => {
            let (host, after) = inside.split_once(']').ok_or_else(bad)?;
            (
                host,
                after.strip_prefix(':').or((after.is_empty()).then_some("")),
            )
        }
        // More than one colon is an IPv6 address without a port.
        None => match text.split_once(':') {
            Some((host, port)) if !port.contains(':') => (host, Some(port)),
            _ => (text, Some("")),
        },
    };
    let port = match port.ok_or_else(bad)? {
        "" => default,
        port => port.parse().map_err(|_| bad())?,
    };
    if host.is_empty() {
        return Err(bad());
    }
    Ok((host.to_owned(), port))
}

/// Path and query; the query's names are sorted.
fn path(labels: &LabelSet) -> String {
    let mut path = labels.get("__metrics_path__").to_owned();
    if !path.starts_with('/') {
        path.insert(0, '/');
    }
    let params = labels
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix("__param_")?, value)));
    let mut params: Vec<(&str, &str)> = params.collect();
    params.sort_unstable();
    for (name, value) in params {
        path.push(if path.contains('?') { '&' } else { '?' });
        escape(name, &mut path);
        path.push('=');
        escape(value, &mut path);
    }
    path
}

/// As Go's `url.QueryEscape`.
fn escape(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use kansoku_model::Settings;

    use super::super::relabel::rules;
    use super::*;

    fn job(name: &str, rule: &str) -> Job {
        let settings = Settings::of("x", &[("relabel_configs", rule)]);
        Job {
            name: name.into(),
            interval: Duration::from_secs(15),
            timeout: Duration::from_secs(10),
            metrics_path: "/metrics".into(),
            scheme: "http",
            params: vec![("module".into(), "a b".into())],
            rules: rules(&settings, "relabel_configs").expect("a rule"),
        }
    }

    #[test]
    fn labels_say_where_the_page_is() {
        let cases: &[(&str, &str, &[(&str, &str)], &str)] = &[
            (
                "j",
                "{action: keep}",
                &[("__address__", "h:1"), ("zone", "a")],
                r#"http://h:1/metrics?module=a+b {instance="h:1", job="j", zone="a"}"#,
            ),
            (
                "",
                "{action: keep}",
                &[("__address__", "h:1")],
                "http://h:1/metrics?module=a+b {}",
            ),
            ("j", "{action: drop}", &[("__address__", "h:1")], "dropped"),
            (
                "j",
                "{target_label: __scheme__, replacement: https}",
                &[("__address__", "[::1]"), ("instance", "i")],
                r#"https://[::1]:443/metrics?module=a+b {instance="i", job="j"}"#,
            ),
            (
                "j",
                "{source_labels: [__address__], target_label: __param_target}",
                &[("__address__", "h/é:1")],
                "error 'h/é:1' is no host and port",
            ),
            (
                "j",
                "{source_labels: [instance], target_label: __param_target}",
                &[
                    ("__address__", "h"),
                    ("instance", "é&"),
                    ("__param_module", "m"),
                ],
                r#"http://h:80/metrics?module=m&target=%C3%A9%26 {instance="é&", job="j"}"#,
            ),
            (
                "j",
                "{target_label: __metrics_path__, replacement: 'a?b=c'}",
                &[("__address__", "h:1"), ("__x", "1")],
                r#"http://h:1/a?b=c&module=a+b {instance="h:1", job="j"}"#,
            ),
            (
                "j",
                "{target_label: __address__, replacement: ''}",
                &[("__address__", "h:1")],
                "error the target has no address",
            ),
            (
                "j",
                "{action: keep}",
                &[("__address__", "h:99999")],
                "error 'h:99999' is no host and port",
            ),
            (
                "j",
                "{action: keep}",
                &[("__address__", "h"), ("__scrape_interval__", "5s")],
                "error the scrape timeout (10s) is longer than the interval (5s)",
            ),
            (
                "j",
                "{action: keep}",
                &[("__address__", "h"), ("__scrape_timeout__", "soon")],
                "error the scrape timeout is 'soon', but must be a duration such as 15s",
            ),
        ];
        for (name, rule, labels, expected) in cases {
            let discovered = labels.iter().copied().collect();
            let shown = match Target::of(&job(name, rule), discovered) {
                Ok(Some(target)) => target.key(),
                Ok(None) => "dropped".into(),
                Err(error) => format!("error {error}"),
            };
            assert_eq!(shown, *expected);
        }
    }
}
