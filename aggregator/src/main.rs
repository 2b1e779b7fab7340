//! kansoku-aggregator: opens the store, serves the APIs, keeps the store tidy.

use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use kansoku_aggregator::access::warning;
use kansoku_aggregator::settings::Settings;
use kansoku_aggregator::tools::{self, Tool};
use kansoku_aggregator::{journal, run};
use tokio::signal::unix::{Signal, SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long threads may take to notice that everything is over.
const LINGER_MAX: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let mut settings = Settings::parse();
    if let Some(tool) = settings.tool.take() {
        return run_tool(tool);
    }
    if let Err(message) = settings.read_config() {
        return fail(&message);
    }
    journal::set_level(settings.log_level);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(serve(settings));
            // A query that has not noticed yet that it was ended must not hold up the exit.
            runtime.shutdown_timeout(LINGER_MAX);
            ended
        }
        Err(error) => Err(format!("failed to start: {error}")),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => fail(&message),
    }
}

/// 0: done, and what was checked is sound; 1: it is not, or it could not be done; 3: lint.
fn run_tool(tool: Tool) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(tools::run(tool)),
        Err(error) => Err(format!("failed to start: {error}")),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(message) => fail(&message),
    }
}

fn fail(message: &str) -> ExitCode {
    eprintln!("kansoku-aggregator: {message}");
    ExitCode::FAILURE
}

async fn serve(settings: Settings) -> Result<(), String> {
    // Before anything else: a signal during recovery must not be lost.
    let (mut terminate, mut interrupt) =
        (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    let mut hangup = on(SignalKind::hangup())?;
    let mut running = run::listen(settings).await?;
    let scheme = running.app.web.scheme();
    journal::info(&format!("listening on {scheme}://{}", running.address));
    let has_access = running.app.access.is_on() || !running.app.web.config().users.is_empty();
    if let Some(message) = warning(running.address.ip(), scheme == "https", has_access) {
        journal::warn(message);
    }
    let mut stopping = pin!(async {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    });
    tokio::select! {
        opened = running.open_store() => opened?,
        // Nothing was taken yet; the next start recovers again from the beginning.
        name = &mut stopping => {
            journal::info(&format!("stopping on {name} before the store was open"));
            return Ok(());
        }
    }
    journal::info("ready");
    let name = loop {
        tokio::select! {
            name = &mut stopping => break name,
            _ = hangup.recv() => {
                // What is wrong was told, and all stays as it was.
                let _ = running.app.rules.reload(&running.app).await;
            }
        }
    };
    journal::info(&format!("stopping on {name}"));
    running.stop().await?;
    journal::info("stopped");
    Ok(())
}

fn on(kind: SignalKind) -> Result<Signal, String> {
    signal(kind).map_err(|e| format!("failed to listen for signals: {e}"))
}
