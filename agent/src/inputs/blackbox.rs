//! `blackbox`: probes targets from outside, on a schedule and on demand, with blackbox_exporter's configuration.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kansoku_model::plugin::Setting;
use kansoku_model::{ConfigError, OptionKind, OptionSpec, RecordBatch, Resource, Settings};
use tokio::task::JoinSet;

use super::staleness::Staleness;
use super::stop_notice::stop_notice;
use super::target_labels::target_labels;
use super::ticker::{self, Tick, Ticker, unix_ms};
use crate::blackbox::config::Config;
use crate::blackbox::report::Report;
use crate::blackbox::{probe, serve, timeout};
use crate::log;
use crate::pipeline::Link;
use crate::plugin::{Environment, Input, InputPlugin};

const NAME: &str = "input:blackbox";
/// The largest configuration file.
const MAX_CONFIG_BYTES: u64 = 4 << 20;
/// Probes at a time on schedule.
const MAX_PROBES: usize = 64;
/// The longest sleep.
const MAX_WAIT_MS: u64 = 60_000;

/// The plugin.
pub const PLUGIN: InputPlugin = InputPlugin {
    name: "blackbox",
    about: "Probes HTTP, TCP, ICMP, DNS and gRPC targets with blackbox_exporter's modules and names.",
    options: &[
        OptionSpec::new(
            "config_file",
            OptionKind::Text,
            "",
            "blackbox_exporter's configuration with the modules",
        ),
        OptionSpec::new(
            "targets",
            OptionKind::Pair,
            "",
            "a module and a target to probe again and again",
        )
        .repeated(),
        OptionSpec::new(
            "scrape_interval",
            OptionKind::Time,
            "15",
            "how often each target is probed",
        ),
        OptionSpec::new(
            "listen",
            OptionKind::Text,
            "",
            "address and port for /probe?target=&module=, blackbox_exporter's is 0.0.0.0:9115; default none",
        ),
        OptionSpec::new(
            "timeout_offset",
            OptionKind::Time,
            "0.5",
            "by how much a probe ends before the scraper's patience or the interval",
        ),
        OptionSpec::new(
            "add_label",
            OptionKind::Pair,
            "",
            "a label for every series; replaces job",
        )
        .repeated(),
    ],
    example: "[INPUT]\n    Name         blackbox\n    Tag          metrics.probes\n    Config_File  /etc/blackbox/blackbox.yml\n    Targets      http_2xx https://example.com/\n    Targets      icmp 10.0.0.1\n    Listen       0.0.0.0:9115\n",
    build: |settings, environment| Ok(Box::new(Blackbox::new(settings, environment)?)),
};

struct Blackbox {
    config: Arc<Config>,
    /// Module, target, and what its series have besides.
    targets: Vec<(String, String, Arc<Resource>)>,
    interval: Duration,
    listen: Option<SocketAddr>,
    offset: Duration,
    host_name: Arc<str>,
}

impl Blackbox {
    fn new(s: &Settings, environment: &Environment) -> Result<Self, ConfigError> {
        s.check(PLUGIN.options)?;
        s.required("config_file")?;
        let setting = s.get("config_file").expect("just required");
        let config = read(setting)?;
        let mut targets = Vec::new();
        for pair in s.all("targets") {
            let (module, target) = pair
                .value
                .split_once(char::is_whitespace)
                .unwrap_or_default();
            if !config.modules.contains_key(module) {
                let names = config.modules.keys().map(String::as_str);
                let hint = kansoku_model::plugin::did_you_mean(module, names);
                let message = format!("{} has no module '{module}'{hint}", setting.value);
                return Err(ConfigError::new(&pair.place, message));
            }
            let target = target.trim();
            // Several modules may probe one target.
            let labels = [
                ("job", "blackbox"),
                ("instance", target),
                ("module", module),
            ];
            let labels = target_labels(&labels, s)?;
            targets.push((module.to_owned(), target.to_owned(), Arc::new(labels)));
        }
        let listen = match s.get("listen") {
            None => None,
            Some(listen) => Some(listen.value.parse().map_err(|_| {
                let message = "'listen' must be an address and a port, such as 0.0.0.0:9115";
                ConfigError::new(&listen.place, message)
            })?),
        };
        if targets.is_empty() && listen.is_none() {
            let message = "blackbox has nothing to do; set 'targets' or 'listen'";
            return Err(ConfigError::new(&s.place, message));
        }
        Ok(Self {
            config: Arc::new(config),
            targets,
            interval: ticker::interval(s, "scrape_interval", 15.0)?,
            listen,
            offset: Duration::from_secs_f64(s.seconds("timeout_offset", 0.5)?),
            host_name: environment.host_name.clone(),
        })
    }
}

fn read(setting: &Setting) -> Result<Config, ConfigError> {
    let path = &setting.value;
    let failed = |e| ConfigError::new(&setting.place, format!("cannot read '{path}': {e}"));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_CONFIG_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_CONFIG_BYTES {
        let message = format!("'{path}' is larger than {MAX_CONFIG_BYTES} bytes");
        return Err(ConfigError::new(&setting.place, message));
    }
    Config::parse(path, &bytes)
}

/// A target and what was seen of it last.
struct Watched {
    ticker: Ticker,
    staleness: Staleness,
    is_busy: bool,
    /// Told when it changes.
    was_success: Option<bool>,
}

impl Input for Blackbox {
    fn can_wait(&self) -> bool {
        false
    }

    fn run(self: Box<Self>, link: Link) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let stopped = stop_notice(&link, "blackbox-stop")?;
        let result = runtime.block_on(async {
            tokio::select! {
                () = stopped.notified() => Ok(()),
                result = self.work(&link) => result,
            }
        });
        // A probe that blocks does not hold up the end.
        runtime.shutdown_background();
        result
    }
}

impl Blackbox {
    async fn work(&self, link: &Link) -> anyhow::Result<()> {
        let serving = async {
            match self.listen {
                None => std::future::pending().await,
                Some(address) => serve::serve(address, self.config.clone(), self.offset)
                    .await
                    .map_err(|e| anyhow::anyhow!("cannot listen on {address}: {e}")),
            }
        };
        tokio::select! {
            result = serving => result,
            () = self.schedule(link) => Ok(()),
        }
    }

    /// Probes the targets until the pipeline takes nothing any more.
    async fn schedule(&self, link: &Link) {
        let new = |(module, target, _): &(String, String, Arc<Resource>)| Watched {
            ticker: Ticker::new(
                &format!("{}{module}{target}", self.host_name),
                &[self.interval],
            ),
            staleness: Staleness::default(),
            is_busy: false,
            was_success: None,
        };
        let mut watched: Vec<Watched> = self.targets.iter().map(new).collect();
        let mut probes: JoinSet<(usize, Tick, Report)> = JoinSet::new();
        loop {
            let now_ms = unix_ms();
            let mut wait_ms = MAX_WAIT_MS;
            for (at, one) in watched.iter_mut().enumerate().filter(|(_, w)| !w.is_busy) {
                if probes.len() >= MAX_PROBES {
                    break;
                }
                let Some(tick) = one.ticker.tick_at(now_ms) else {
                    wait_ms = wait_ms.min(one.ticker.wait_ms(now_ms));
                    continue;
                };
                one.is_busy = true;
                let (config, interval, offset) = (self.config.clone(), self.interval, self.offset);
                let (name, target, _) = self.targets[at].clone();
                probes.spawn(async move {
                    let module = &config.modules[&name];
                    let most = timeout(module, Some(interval), offset);
                    (at, tick, probe(module, &target, None, most).await)
                });
            }
            tokio::select! {
                Some(done) = probes.join_next(), if !probes.is_empty() => {
                    let Ok((at, tick, report)) = done else { continue };
                    watched[at].is_busy = false;
                    if !self.send(link, at, &mut watched[at], &tick, &report) {
                        return;
                    }
                }
                () = tokio::time::sleep(Duration::from_millis(wait_ms)) => {}
            }
        }
    }

    /// False when the pipeline takes nothing any more.
    fn send(
        &self,
        link: &Link,
        at: usize,
        watched: &mut Watched,
        tick: &Tick,
        report: &Report,
    ) -> bool {
        let (module, target, resource) = &self.targets[at];
        let mut batch = report.batch(link.tag.clone(), resource.clone(), tick.now_ms);
        let is_success = report.is_success();
        if watched.was_success != Some(is_success) {
            let last = report.log.lines().last().unwrap_or_default();
            match is_success {
                false => log::warn(NAME, format_args!("{module} {target} fails: {last}")),
                true if watched.was_success.is_some() => {
                    log::info(NAME, format_args!("{module} {target} succeeds again"));
                }
                true => {}
            }
            watched.was_success = Some(is_success);
        }
        watched.staleness.mark(&mut batch);
        batch.source = tick.source;
        link.send(RecordBatch::Metrics(batch), None).is_ok()
    }
}
