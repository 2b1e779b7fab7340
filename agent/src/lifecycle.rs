//! The agent's life: start, run, reload, stop.
//!
//! The rule of a reload: the new configuration is read and every plugin built before the old
//! pipeline is touched. A mistake in it is told, and the old one goes on.

use std::fs::OpenOptions;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use crate::command_line::{self, Invocation};
use crate::config::{self, Configuration, Service};
use crate::control::{Control, Event, ReloadAnswer};
use crate::descriptors;
use crate::inputs::container_metrics;
use crate::kubernetes::{self, Access, RuntimePlace};
use crate::log::{self, Level};
use crate::pipeline::{self, PipelineSpec, Running};
use crate::plugin::Environment;
use crate::resident;
use crate::server::{self, Server, ServerSpec, Targets};
use crate::state;

const COMPONENT: &str = "agent";
/// How long after the start, and then how often, program pages are given back that are not in use:
/// soon at first, as files to catch up with take memory at once.
const FIRST_RELEASE: Duration = Duration::from_millis(20);
const START_RELEASE: Duration = Duration::from_millis(500);
const START_LASTS: Duration = Duration::from_secs(5);
const LAST_RELEASE: Duration = Duration::from_secs(20);

/// Mistakes by exit status: 1 when the reader found one, 255 when only plugins refused.
#[derive(Debug)]
pub struct Refusal {
    pub messages: Vec<String>,
    pub exit_status: u8,
}

/// Builds everything and tells all warnings and mistakes. With `--strict` a warning is a mistake.
///
/// # Errors
/// When there is a mistake.
pub fn configure(invocation: &Invocation) -> Result<Configuration, Refusal> {
    let outcome = config::load(invocation);
    if let Ok(configuration) = &outcome.result {
        log::set_level(level(&configuration.service));
    }
    let mut messages = Vec::new();
    let mut exit_status = 255;
    for warning in &outcome.warnings {
        if invocation.strict {
            log::error("config", format_args!("{warning} (--strict)"));
            messages.push(warning.to_string());
            exit_status = 1;
        } else {
            log::warn("config", warning);
        }
    }
    match outcome.result {
        Ok(configuration) if messages.is_empty() => Ok(configuration),
        Ok(_) => Err(Refusal {
            messages,
            exit_status,
        }),
        Err(mistakes) => {
            for mistake in &mistakes {
                log::error("config", &mistake.error);
                messages.push(mistake.error.to_string());
            }
            if mistakes.iter().any(|m| !m.in_plugin) {
                exit_status = 1;
            }
            Err(Refusal {
                messages,
                exit_status,
            })
        }
    }
}

/// `FLB_LOG_LEVEL` wins over the configuration.
fn level(service: &Service) -> Level {
    let forced = std::env::var("FLB_LOG_LEVEL").ok();
    let forced = forced.and_then(|word| Level::parse(&word));
    forced.unwrap_or(service.log_level)
}

fn open_log(service: &Service) -> anyhow::Result<()> {
    if let Some(path) = &service.log_file {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("cannot open log_file {}", path.display()))?;
        log::set_file(file);
    }
    Ok(())
}

/// Sockets only, bytes have their own threads. Requests that may be under way at once can be made on
/// two; a single one would only wander from one thread to the other.
fn runtime_threads(pipeline: &PipelineSpec) -> usize {
    let n_requests: usize = pipeline.outputs.iter().map(|o| o.workers).sum();
    n_requests.clamp(1, 2)
}

/// Runs the pipeline to its end, through all reloads.
///
/// # Errors
/// When something cannot be started, or an input has failed for good.
pub fn run(configuration: Configuration, invocation: &Invocation) -> anyhow::Result<()> {
    open_log(&configuration.service)?;
    descriptors::raise_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(runtime_threads(&configuration.pipeline))
        .thread_name("runtime")
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    log::info(
        COMPONENT,
        format_args!(
            "{} on {}",
            command_line::version().trim(),
            configuration.environment.host_name
        ),
    );
    let (control, events) = Control::new(configuration.service.hot_reload);
    let control = Arc::new(control);
    let signals = {
        let _inside = runtime.enter();
        Signals::listen()?
    };
    runtime.spawn(signals.serve(control.clone()));
    let (parts, spec) = Parts::new(&runtime, configuration)?;
    resident::release_program_pages();
    let mut running = pipeline::start(spec, runtime.handle())?;
    let mut agent = Agent {
        server: None,
        watch: None,
        releasing: None,
        control,
        runtime,
        parts,
    };
    agent.attach(&running)?;
    agent.started();
    loop {
        match running.wait_for(&events) {
            Some(Event::Reload(answer)) => running = agent.reload(running, invocation, answer)?,
            Some(Event::Dump) => eprint!("{}", state::dump(&running.metrics())),
            Some(Event::Stop) => {
                running.stopper().stop();
                break;
            }
            None => break,
        }
    }
    let result = running.wait();
    log::info(COMPONENT, "stopped");
    result
}

/// A configuration without its pipeline.
struct Parts {
    service: Service,
    environment: Environment,
    /// What `/metrics` collects; taken by the server.
    targets: Option<Targets>,
    /// Set when somebody wants to know what the node's container runtime knows.
    runtime_place: Option<RuntimePlace>,
}

impl Parts {
    fn new(
        runtime: &Runtime,
        configuration: Configuration,
    ) -> anyhow::Result<(Self, PipelineSpec)> {
        let Configuration {
            service,
            pipeline,
            inputs,
            environment,
            ..
        } = configuration;
        let has_containers = inputs.iter().any(|i| i.plugin == "container_metrics");
        let wants_containers = service.http.is_some() || has_containers;
        if wants_containers {
            environment.pods.want(Access::default());
        }
        let of_containers = inputs.iter().find(|i| i.plugin == "container_metrics");
        let runtime_place =
            wants_containers.then(|| container_metrics::runtime_place(of_containers));
        environment.pods.expect_list();
        let _inside = runtime.enter();
        let targets = service
            .http
            .map(|_| Targets::of_inputs(&inputs, environment.pods.clone()))
            .transpose()
            .context("failed to set up /metrics")?;
        let parts = Self {
            service,
            environment,
            targets,
            runtime_place,
        };
        Ok((parts, pipeline))
    }
}

/// What lives beside the pipeline.
struct Agent {
    /// It stops when it is dropped.
    server: Option<Server>,
    /// The watch over the node's pods.
    watch: Option<JoinHandle<()>>,
    /// Gives program pages back.
    releasing: Option<JoinHandle<()>>,
    control: Arc<Control>,
    runtime: Runtime,
    parts: Parts,
}

impl Agent {
    /// Starts to watch the node's pods when a plugin wants it, instead of the watch so far.
    fn watch(&mut self, environment: &Environment, place: Option<RuntimePlace>) {
        let new = environment.pods.wanted().map(|access| {
            let node = environment.host_name.to_string();
            let pods = environment.pods.clone();
            self.runtime.spawn(async move {
                let runtime = pods.clone();
                let containers = async {
                    if let Some(place) = &place {
                        runtime.runtime.poll(place).await;
                    }
                };
                tokio::join!(kubernetes::watch(pods, access, node), containers);
            })
        });
        if let Some(old) = std::mem::replace(&mut self.watch, new) {
            old.abort();
        }
    }

    /// Lets server and watch serve the pipeline that runs now.
    fn attach(&mut self, running: &Running) -> anyhow::Result<()> {
        if self.watch.is_none() {
            let place = self.parts.runtime_place.clone();
            self.watch(&self.parts.environment.clone(), place);
        }
        let service = &self.parts.service;
        let Some((listen, targets)) = service.http.zip(self.parts.targets.take()) else {
            self.server = None;
            return Ok(());
        };
        let spec = ServerSpec {
            listen,
            metrics: running.metrics(),
            targets,
            health: service.health,
            storage_metrics: service.storage_metrics,
            host_name: Arc::clone(&self.parts.environment.host_name),
            kube_state: Arc::clone(&self.parts.environment.kube_state),
            control: self.control.clone(),
        };
        if let Some(server) = self.server.as_mut().filter(|s| s.asked == listen) {
            let _inside = self.runtime.enter();
            server.replace(spec);
            return Ok(());
        }
        self.server = None;
        let server = self.runtime.block_on(server::start(spec))?;
        log::info(
            "http_server",
            format_args!("listening on {}", server.address),
        );
        self.server = Some(server);
        Ok(())
    }

    /// Reads the configuration and, when it is whole, lets its pipeline take over.
    /// Gives back what only starting needed, now and from time to time.
    fn started(&mut self) {
        resident::release_program_pages();
        let task = self.runtime.spawn(async {
            let begin = Instant::now();
            let mut wait = FIRST_RELEASE;
            loop {
                tokio::time::sleep(wait).await;
                resident::release_program_pages();
                let longest = if begin.elapsed() < START_LASTS {
                    START_RELEASE
                } else {
                    LAST_RELEASE
                };
                wait = (wait * 2).min(longest);
            }
        });
        if let Some(before) = self.releasing.replace(task) {
            before.abort();
        }
    }

    fn reload(
        &mut self,
        running: Running,
        invocation: &Invocation,
        answer: tokio::sync::oneshot::Sender<ReloadAnswer>,
    ) -> anyhow::Result<Running> {
        log::info(COMPONENT, "reloading the configuration");
        let built = configure(invocation)
            .map_err(|refusal| refusal.messages)
            .and_then(|c| Parts::new(&self.runtime, c).map_err(|error| vec![format!("{error:#}")]));
        let (parts, spec) = match built {
            Ok(built) => built,
            Err(messages) => {
                let n = messages.len();
                log::set_level(level(&self.parts.service));
                log::error(
                    COMPONENT,
                    format_args!("reload refused, {n} mistakes: the old configuration goes on"),
                );
                // Who asked may be gone.
                let _ = answer.send(ReloadAnswer::Refused(messages));
                self.control.reloaded(false, self.parts.service.hot_reload);
                return Ok(running);
            }
        };
        let _ = answer.send(ReloadAnswer::Done);
        // Pods are listed while the old pipeline drains.
        self.watch(&parts.environment, parts.runtime_place.clone());
        self.parts = parts;
        let running = running.hand_over(spec)?;
        if let Err(error) = open_log(&self.parts.service).and_then(|()| self.attach(&running)) {
            log::error(COMPONENT, format_args!("after the reload: {error:#}"));
        }
        self.control.reloaded(true, self.parts.service.hot_reload);
        self.started();
        log::info(COMPONENT, "reloaded");
        Ok(running)
    }
}

/// Signals, caught from before the first record on.
struct Signals {
    term: Signal,
    interrupt: Signal,
    hangup: Signal,
    go_on: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind: SignalKind, name: &str| {
            signal(kind).with_context(|| format!("failed to listen for {name}"))
        };
        Ok(Self {
            term: listen(SignalKind::terminate(), "SIGTERM")?,
            interrupt: listen(SignalKind::interrupt(), "SIGINT")?,
            hangup: listen(SignalKind::hangup(), "SIGHUP")?,
            go_on: listen(SignalKind::from_raw(nix::libc::SIGCONT), "SIGCONT")?,
        })
    }

    /// TERM and INT stop the inputs and let the outputs drain, a second one leaves at once; HUP
    /// reloads; CONT dumps.
    async fn serve(mut self, control: Arc<Control>) {
        let mut is_stopping = false;
        loop {
            tokio::select! {
                _ = self.hangup.recv() => match control.reload() {
                    Ok(_) => {}
                    Err(why) => log::warn(COMPONENT, format_args!("no reload: {}", why.text())),
                },
                _ = self.go_on.recv() => control.dump(),
                _ = self.term.recv() => stop(&control, &mut is_stopping),
                _ = self.interrupt.recv() => stop(&control, &mut is_stopping),
            }
        }
    }
}

fn stop(control: &Control, is_stopping: &mut bool) {
    if *is_stopping || !control.stop() {
        std::process::exit(130);
    }
    *is_stopping = true;
    log::info(COMPONENT, "stopping; a second signal leaves at once");
}
