//! kansoku-agent: reads the command line, builds the pipeline, runs it until it is told to stop.
//!
//! Exit status: 0 after a clean end or a successful `--dry-run`, 1 for a mistake that the reader of
//! the configuration finds or a failure while running, 255 when a plugin refuses to start.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use kansoku_agent::command_line::{self, CommandLine, Invocation};
use kansoku_agent::config::{self, Configuration};
use kansoku_agent::kubernetes::{self, Access};
use kansoku_agent::log::{self, Level};
use kansoku_agent::pipeline::{self, Stopper};
use kansoku_agent::server::{self, Server, ServerSpec, Targets};
use tokio::signal::unix::{Signal, SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const COMPONENT: &str = "agent";
/// Sockets only, bytes have their own threads: two are enough to overlap compression and waiting.
const RUNTIME_THREADS: usize = 2;

fn main() -> ExitCode {
    match command_line::parse(std::env::args().skip(1)) {
        Ok(CommandLine::Print(text)) => {
            // Whoever reads may stop early: `kansoku-agent -h | head`.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Ok(CommandLine::Run(invocation)) => run(&invocation),
        Err(message) => {
            eprintln!("kansoku-agent: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(invocation: &Invocation) -> ExitCode {
    if let Some(folder) = &invocation.workdir
        && let Err(error) = std::env::set_current_dir(folder)
    {
        eprintln!(
            "kansoku-agent: cannot change to folder {}: {error}",
            folder.display()
        );
        return ExitCode::FAILURE;
    }
    let configuration = match configure(invocation) {
        Ok(configuration) => configuration,
        Err(code) => return code,
    };
    if invocation.dry_run {
        eprintln!("configuration test is successful");
        return ExitCode::SUCCESS;
    }
    match deliver(configuration) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error(COMPONENT, format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Builds everything, tells all warnings and mistakes, and sets up the log.
fn configure(invocation: &Invocation) -> Result<Configuration, ExitCode> {
    let outcome = config::load(invocation);
    if let Ok(configuration) = &outcome.result {
        let forced = std::env::var("FLB_LOG_LEVEL")
            .ok()
            .and_then(|word| Level::parse(&word));
        log::set_level(forced.unwrap_or(configuration.service.log_level));
        if let Some(path) = configuration
            .service
            .log_file
            .as_ref()
            .filter(|_| !invocation.dry_run)
        {
            match OpenOptions::new().create(true).append(true).open(path) {
                Ok(file) => log::set_file(file),
                Err(error) => {
                    log::error(
                        "config",
                        format_args!("cannot open log_file {}: {error}", path.display()),
                    );
                    return Err(ExitCode::FAILURE);
                }
            }
        }
    }
    for warning in &outcome.warnings {
        log::warn("config", warning);
    }
    outcome.result.map_err(|mistakes| {
        for mistake in &mistakes {
            log::error("config", &mistake.error);
        }
        let by_reader = mistakes.iter().any(|m| !m.in_plugin);
        ExitCode::from(if by_reader { 1 } else { 255 })
    })
}

/// Runs the pipeline to its end.
fn deliver(configuration: Configuration) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .thread_name("runtime")
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let Configuration {
        service,
        pipeline,
        inputs,
        environment,
    } = configuration;
    log::info(
        COMPONENT,
        format_args!(
            "{} on {}",
            command_line::version().trim(),
            environment.host_name
        ),
    );
    if service.http.is_some() || inputs.iter().any(|i| i.plugin == "container_metrics") {
        environment.pods.want(Access::default());
    }
    if let Some(access) = environment.pods.wanted() {
        let node = environment.host_name.to_string();
        runtime.spawn(kubernetes::watch(environment.pods.clone(), access, node));
    }
    let targets = service
        .http
        .map(|_| Targets::of_inputs(&inputs, environment.pods.clone()))
        .transpose()
        .context("failed to set up /metrics")?;
    let signals = {
        let _inside = runtime.enter();
        Signals::listen()?
    };
    let running = pipeline::start(pipeline, runtime.handle())?;
    // Held until the end: the server stops with it.
    let mut _server: Option<Server> = None;
    if let (Some(listen), Some(targets)) = (service.http, targets) {
        let spec = ServerSpec {
            listen,
            metrics: running.metrics(),
            targets,
            health: service.health,
            host_name: Arc::clone(&environment.host_name),
        };
        let server = runtime.block_on(server::start(spec))?;
        log::info(
            "http_server",
            format_args!("listening on {}", server.address),
        );
        _server = Some(server);
    }
    runtime.spawn(signals.stop(running.stopper()));
    let result = running.wait();
    log::info(COMPONENT, "stopped");
    result
}

/// TERM and INT, caught from before the first record on.
struct Signals {
    term: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?,
        })
    }

    /// The first signal stops the inputs and lets the outputs drain; the second leaves at once.
    async fn stop(mut self, stopper: Stopper) {
        self.next().await;
        log::info(COMPONENT, "stopping; a second signal leaves at once");
        stopper.stop();
        self.next().await;
        std::process::exit(130);
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
