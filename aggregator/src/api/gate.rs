//! The gate through which every query runs: so many at a time, each on a thread that may block,
//! each with a deadline, each ended when its client leaves.
//!
//! The engines know no clock; they ask an [`Interrupt`] whether to go on. The one rule: a slot is
//! held until the work has really ended, so that abandoned queries cannot pile up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;

use crate::app::App;
use crate::journal;
use crate::telemetry::QueryKind;
use crate::tenants::TenantInfo;

/// Slots for running queries.
#[derive(Debug)]
pub struct Gate {
    slots: Arc<Semaphore>,
    n_slots: usize,
}

impl Gate {
    /// A gate for `n_slots` queries at a time.
    #[must_use]
    pub fn new(n_slots: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(n_slots)),
            n_slots,
        }
    }

    /// Queries that run now.
    #[must_use]
    pub fn n_running(&self) -> usize {
        self.n_slots.saturating_sub(self.slots.available_permits())
    }
}

const RUNNING: u8 = 0;
const TIMED_OUT: u8 = 1;
const ABANDONED: u8 = 2;

/// Tells a query whether to go on.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicU8>);

/// Why a query did not end by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupted {
    /// Its time was over while it ran.
    TimedOut,
    /// Its time was over before it ran.
    TimedOutInQueue,
    /// Its client left or the program stops.
    Abandoned,
    /// A mistake of this program.
    Panicked,
}

impl Interrupted {
    /// Prometheus's words.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::TimedOut => "query timed out in expression evaluation",
            Self::TimedOutInQueue => "query timed out in query queue",
            Self::Abandoned => "query was canceled in expression evaluation",
            Self::Panicked => "the query failed by a mistake of this program; see its log",
        }
    }
}

impl Interrupt {
    /// Whether the query should end, and why.
    pub fn check(&self) -> Result<(), Interrupted> {
        match self.0.load(Ordering::Relaxed) {
            RUNNING => Ok(()),
            TIMED_OUT => Err(Interrupted::TimedOut),
            _ => Err(Interrupted::Abandoned),
        }
    }

    fn set(&self, why: u8) {
        // The first reason stays.
        let _ = self
            .0
            .compare_exchange(RUNNING, why, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Ends the query when the request is dropped, which is how a client's leaving shows.
struct EndWhenDropped(Interrupt);

impl Drop for EndWhenDropped {
    fn drop(&mut self) {
        self.0.set(ABANDONED);
    }
}

/// Runs `work` through the gate within `timeout`, counted from now.
///
/// # Errors
/// When it did not end by itself. What `work` itself answers is in the `Ok`.
pub async fn run<T, E>(
    app: &Arc<App>,
    tenant: &TenantInfo,
    kind: QueryKind,
    timeout: Duration,
    work: impl FnOnce(&App, &Interrupt) -> Result<T, E> + Send + 'static,
) -> Result<Result<T, E>, Interrupted>
where
    T: Send + 'static,
    E: Send + 'static,
{
    let mut count = CountWhenDropped {
        app,
        kind,
        begun: Instant::now(),
        succeeded: false,
    };
    let done = run_uncounted(app, tenant, timeout, work).await;
    count.succeeded = matches!(done, Ok(Ok(_)));
    done
}

/// Counts the query however it ends, also when its client leaves and nothing after it runs.
struct CountWhenDropped<'a> {
    app: &'a App,
    kind: QueryKind,
    begun: Instant,
    succeeded: bool,
}

impl Drop for CountWhenDropped<'_> {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        self.app.telemetry.query(self.kind, took, self.succeeded);
    }
}

/// Slots that a query holds.
#[derive(Debug)]
pub struct Slots {
    _own: Option<OwnedSemaphorePermit>,
    _all: OwnedSemaphorePermit,
}

/// Waits for the slots of a query of a tenant until `deadline`.
///
/// # Errors
/// When there was none in time.
pub async fn enter(
    app: &App,
    tenant: &TenantInfo,
    deadline: tokio::time::Instant,
) -> Result<Slots, Interrupted> {
    let slots = async {
        // The tenant's own first: who waits for that takes no place from others.
        let own = match &tenant.slots {
            Some(slots) => slots.clone().acquire_owned().await.ok(),
            None => None,
        };
        let all = app.gate.slots.clone().acquire_owned().await.ok()?;
        Some(Slots {
            _own: own,
            _all: all,
        })
    };
    let slots = timeout_at(deadline, slots).await;
    slots.ok().flatten().ok_or(Interrupted::TimedOutInQueue)
}

async fn run_uncounted<T, E>(
    app: &Arc<App>,
    tenant: &TenantInfo,
    timeout: Duration,
    work: impl FnOnce(&App, &Interrupt) -> Result<T, E> + Send + 'static,
) -> Result<Result<T, E>, Interrupted>
where
    T: Send + 'static,
    E: Send + 'static,
{
    // A free slot would win against a deadline that is over already.
    if timeout.is_zero() {
        return Err(Interrupted::TimedOutInQueue);
    }
    let deadline = tokio::time::Instant::now() + timeout;
    let slots = enter(app, tenant, deadline).await?;
    let interrupt = Interrupt::default();
    let guard = EndWhenDropped(interrupt.clone());
    let worker = app.clone();
    let thread = tokio::task::spawn_blocking(move || {
        let done = work(&worker, &interrupt);
        drop(slots);
        done
    });
    match timeout_at(deadline, thread).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(panic)) => {
            journal::error(&format!(
                "a query failed by a mistake of this program: {panic}"
            ));
            Err(Interrupted::Panicked)
        }
        Err(_) => {
            guard.0.set(TIMED_OUT);
            Err(Interrupted::TimedOut)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn app() -> Arc<App> {
        let settings = Settings::from_arguments(["--query.max-concurrency=1"]).unwrap();
        Arc::new(App::new(settings, String::new()).expect("no files"))
    }

    /// Works until it is told to stop, and reports why.
    fn endless(_: &App, interrupt: &Interrupt) -> Result<(), Interrupted> {
        loop {
            interrupt.check()?;
            std::thread::yield_now();
        }
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn results_and_panics_come_back() {
        let app = app();
        let kind = QueryKind::PromqlInstant;
        let done = run(&app, app.tenants.default(), kind, LONG, |_, _| {
            Ok::<_, ()>(7)
        })
        .await;
        assert_eq!(done, Ok(Ok(7)));
        let done = run(
            &app,
            app.tenants.default(),
            kind,
            LONG,
            |_, _| -> Result<(), ()> { panic!("on purpose, for the test") },
        );
        assert_eq!(done.await, Err(Interrupted::Panicked));
        // The slot came back both times.
        let done = run(&app, app.tenants.default(), kind, LONG, |_, _| {
            Err::<(), _>("no")
        })
        .await;
        assert_eq!(done, Ok(Err("no")));
        assert_eq!(app.gate.n_running(), 0);
    }

    #[tokio::test]
    async fn a_deadline_ends_the_work_and_frees_the_slot() {
        let app = app();
        let kind = QueryKind::PromqlInstant;
        let soon = Duration::from_millis(1);
        let done = run(&app, app.tenants.default(), kind, soon, endless).await;
        assert_eq!(done, Err(Interrupted::TimedOut));
        // Only possible when the first has really ended.
        let done = run(&app, app.tenants.default(), kind, LONG, |_, _| {
            Ok::<_, ()>(())
        })
        .await;
        assert_eq!(done, Ok(Ok(())));
    }

    #[tokio::test]
    async fn who_waits_too_long_never_runs_and_who_leaves_is_ended() {
        let app = app();
        let kind = QueryKind::PromqlInstant;
        let (holder, holds) = (app.clone(), Arc::new(tokio::sync::Notify::new()));
        let told = holds.clone();
        let holding = tokio::spawn(async move {
            run(
                &holder,
                holder.tenants.default(),
                kind,
                LONG,
                move |app, interrupt| {
                    told.notify_one();
                    endless(app, interrupt)
                },
            )
            .await
        });
        holds.notified().await;
        let done = run(
            &app,
            app.tenants.default(),
            kind,
            Duration::from_millis(1),
            |_, _| Ok::<_, ()>(()),
        );
        assert_eq!(done.await, Err(Interrupted::TimedOutInQueue));
        holding.abort();
        let done = run(&app, app.tenants.default(), kind, LONG, |_, _| {
            Ok::<_, ()>(())
        })
        .await;
        assert_eq!(done, Ok(Ok(())));
    }
}
