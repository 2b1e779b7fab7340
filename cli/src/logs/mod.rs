//! `kansoku logs`: kubectl logs' flags, output and words, over what the store has of pods that live
//! and of those that are gone.

mod print;
pub mod targets;
pub(crate) mod workload;

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};

use crate::args::{self, Global, Output};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::follow::follow;
use crate::lines::{Direction, Pages};
use crate::logql::{matchers, one_of, quote};
use crate::output::{color::Palette, say};
use crate::server::Server;
use crate::time::{SECOND_NS, duration_ns, moment_ns, now_ns};
use print::{Printer, Style};
use targets::{Container, Pods};
use workload::Resource;

/// Lines of each container when pods are selected by labels, as with kubectl.
const SELECTOR_TAIL: u64 = 10;
/// The first time that is asked for when nothing else is said.
const BEGINNING_NS: i64 = SECOND_NS;

/// What the flags mean together.
struct Plan {
    namespace: String,
    start_ns: i64,
    /// `None` is all lines.
    tail: Option<u64>,
    container: Option<String>,
    style: Style,
}

/// Runs the command.
///
/// # Errors
/// When the flags contradict each other, nothing is found, or the server gives no answer.
pub async fn run(server: &Server, global: &Global, args: &args::Logs) -> Result<()> {
    let plan = plan(server, global, args)?;
    let containers = find(&server.client, &plan, args).await?;
    if args.follow && containers.len() > 1 && containers.len() > args.max_log_requests {
        return Err(Error::failed(format!(
            "you are attempting to follow {} log streams, but maximum allowed concurrency is {}, use --max-log-requests to increase the limit",
            containers.len(),
            args.max_log_requests
        )));
    }
    let mut out = BufWriter::new(std::io::stdout().lock());
    out.write_all(print::heading(plan.style.output).as_bytes())?;
    if args.follow && !args.previous {
        return follow_all(&server.client, &plan, args, &containers, &mut out).await;
    }
    for (n, container) in containers.iter().enumerate() {
        let read = read(&server.client, &plan, args, container, n, &mut out).await;
        match read {
            Err(e @ Error::OutputClosed) => return Err(e),
            Err(e) if args.ignore_errors => say(&format!("error: {e}")),
            other => other?,
        }
        out.flush()?;
    }
    Ok(())
}

/// Checks the flags, in kubectl's words.
fn plan(server: &Server, global: &Global, args: &args::Logs) -> Result<Plan> {
    let fail = |text: &str| Err(Error::failed(text));
    match (&args.resource, &args.selector) {
        (None, None) => {
            return Err(Error::Usage(
                "expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.\nPOD or TYPE/NAME is a required argument for the logs command\nSee 'kansoku logs -h' for help and examples".into(),
            ));
        }
        (Some(_), Some(_)) => {
            return Err(Error::Usage(
                "only a selector (-l) or a POD name is allowed\nSee 'kansoku logs -h' for help and examples".into(),
            ));
        }
        _ => {}
    }
    if args.container.is_some() && args.inline_container.is_some() {
        return fail("only one of -c or an inline [CONTAINER] arg is allowed");
    }
    let container = args
        .container
        .clone()
        .or_else(|| args.inline_container.clone());
    if let (true, Some(name)) = (args.all_containers, &container) {
        return Err(Error::failed(format!(
            "--all-containers=true should not be specified with container name {name}"
        )));
    }
    let now = now_ns();
    let start_ns = match (&args.since, &args.since_time) {
        (Some(_), Some(_)) => {
            return fail("at most one of `sinceTime` or `sinceSeconds` may be specified");
        }
        (None, None) => BEGINNING_NS,
        (Some(text), None) => match duration_ns(text)? {
            ns if ns < 0 => return fail("--since must be greater than 0"),
            0 => BEGINNING_NS,
            ns => now.saturating_sub(ns),
        },
        (None, Some(text)) => moment_ns(text, now)?,
    };
    let Ok(limit_bytes) = u64::try_from(args.limit_bytes) else {
        return fail("--limit-bytes must be greater than 0");
    };
    let tail = match args.tail {
        None if args.selector.is_some() => Some(SELECTOR_TAIL),
        None | Some(-1) => None,
        Some(n) => match u64::try_from(n) {
            Ok(n) => Some(n),
            Err(_) => return fail("--tail must be greater than or equal to -1"),
        },
    };
    Ok(Plan {
        namespace: args
            .namespace
            .clone()
            .unwrap_or_else(|| server.namespace.clone()),
        start_ns,
        tail,
        container,
        style: Style {
            output: global.output,
            palette: Palette::of(global.color),
            timestamps: args.timestamps,
            // As with kubectl: who asks for all pods must be able to tell them apart.
            prefix: (args.prefix || args.all_pods) && global.output == Output::Table,
            limit_bytes,
        },
    })
}

/// The containers that are meant, in the order in which they are shown.
async fn find(client: &Client, plan: &Plan, args: &args::Logs) -> Result<Vec<Container>> {
    let namespace = &plan.namespace;
    let deadline_ns = now_ns().saturating_add(duration_ns(&args.pod_running_timeout)?);
    let pods = loop {
        let pods = find_pods(client, plan, args).await?;
        let may_come = args.follow && !args.previous && now_ns() < deadline_ns;
        if !pods.is_empty() || !may_come {
            break pods;
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    };
    if pods.is_empty() {
        return nothing(client, namespace, args).await;
    }
    let mut containers = Vec::new();
    for (pod, all) in pods {
        match choose(client, plan, args, &pod, all).await {
            Ok(chosen) => containers.extend(chosen),
            Err(e) if args.ignore_errors => say(&format!("error: {e}")),
            Err(e) => return Err(e),
        }
    }
    Ok(containers)
}

/// The pods that are meant; of a workload one, unless all are asked for.
async fn find_pods(client: &Client, plan: &Plan, args: &args::Logs) -> Result<Pods> {
    let namespace = &plan.namespace;
    let within_ns = duration_ns(&args.within)?;
    let recent_ns = if plan.start_ns > BEGINNING_NS {
        plan.start_ns
    } else {
        now_ns().saturating_sub(within_ns).max(BEGINNING_NS)
    };
    let Some(resource) = &args.resource else {
        let matchers = matchers(args.selector.as_deref().unwrap_or_default())?;
        let recent = targets::pods(client, namespace, &matchers, recent_ns).await?;
        if recent.is_empty() && plan.start_ns <= BEGINNING_NS {
            return targets::pods(client, namespace, &matchers, BEGINNING_NS).await;
        }
        return Ok(recent);
    };
    match workload::parse(resource)? {
        Resource::Pod(name) => {
            let matcher = format!(", pod={}", quote(&name));
            targets::pods(client, namespace, &matcher, BEGINNING_NS).await
        }
        Resource::Workload(workload) => {
            let mut pods = targets::of_workload(client, namespace, &workload, recent_ns).await?;
            if pods.is_empty() {
                pods = targets::of_workload(client, namespace, &workload, BEGINNING_NS).await?;
            }
            if pods.len() > 1 && !args.all_pods {
                let chosen = targets::last_to_write(client, namespace, &pods).await?;
                let n = pods.len();
                pods.retain(|pod, _| chosen.as_ref() == Some(pod));
                if let Some(pod) = chosen {
                    say(&format!("Found {n} pods, using pod/{pod}"));
                }
            }
            Ok(pods)
        }
    }
}

/// What is said when no stream was found.
async fn nothing(client: &Client, namespace: &str, args: &args::Logs) -> Result<Vec<Container>> {
    let Some(resource) = &args.resource else {
        say(&format!("No resources found in {namespace} namespace."));
        return Ok(Vec::new());
    };
    let shown = match workload::parse(resource)? {
        Resource::Workload(workload) => workload.shown,
        Resource::Pod(name) => {
            // A pod that runs and says nothing has an empty log.
            if targets::is_known(client, namespace, &name, None).await? {
                return Ok(Vec::new());
            }
            let elsewhere = targets::namespaces_of(client, &name).await?;
            if !elsewhere.is_empty() {
                let known: Vec<String> = elsewhere.into_iter().collect();
                return Err(Error::failed(format!(
                    "Error from server (NotFound): pods \"{name}\" not found\na pod of this name wrote in namespace {}; name it with -n",
                    known.join(", ")
                )));
            }
            format!("pods \"{name}\"")
        }
    };
    Err(Error::failed(format!(
        "Error from server (NotFound): {shown} not found"
    )))
}

/// Which of a pod's containers are shown.
async fn choose(
    client: &Client,
    plan: &Plan,
    args: &args::Logs,
    pod: &str,
    mut all: BTreeMap<String, Container>,
) -> Result<Vec<Container>> {
    if args.all_containers {
        return Ok(all.into_values().collect());
    }
    let names = |all: &BTreeMap<String, Container>| all.keys().cloned().collect::<Vec<_>>();
    if let Some(name) = &plan.container {
        if let Some(container) = all.remove(name) {
            return Ok(vec![container]);
        }
        if targets::is_known(client, &plan.namespace, pod, Some(name)).await? {
            return Ok(Vec::new());
        }
        return Err(Error::failed(format!(
            "container {name} is not valid for pod {pod} out of: {}",
            names(&all).join(", ")
        )));
    }
    if all.len() == 1 {
        return Ok(all.into_values().collect());
    }
    let init = targets::init_containers(client, &plan.namespace, pod).await?;
    let chosen = names(&all).into_iter().find(|name| !init.contains(name));
    let chosen = chosen
        .or_else(|| all.keys().next().cloned())
        .unwrap_or_default();
    let (inits, others): (Vec<String>, Vec<String>) =
        names(&all).into_iter().partition(|n| init.contains(n));
    let shown: Vec<String> = others
        .into_iter()
        .chain(inits.into_iter().map(|n| format!("{n} (init)")))
        .collect();
    if !args.all_pods {
        say(&format!(
            "Defaulted container \"{chosen}\" out of: {}",
            shown.join(", ")
        ));
    }
    Ok(all.remove(&chosen).into_iter().collect())
}

/// Prints what one container has written so far.
async fn read(
    client: &Client,
    plan: &Plan,
    args: &args::Logs,
    container: &Container,
    n: usize,
    out: &mut impl Write,
) -> Result<()> {
    let id = if args.previous {
        Some(container.previous(client).await?)
    } else {
        container.current(client).await?
    };
    let selector = container.selector_of(id.as_deref());
    let Some((start_ns, mut n_skipped)) = begin(client, plan, &selector).await? else {
        return Ok(());
    };
    let mut printer = Printer::new(&plan.style, &container.pod, &container.name, n);
    let mut pages = Pages::new(
        client,
        &selector,
        start_ns,
        targets::end_ns(),
        Direction::Forward,
    );
    while let Some(page) = pages.next().await? {
        for entry in page {
            if entry.time_ns == start_ns && n_skipped > 0 {
                n_skipped -= 1;
                continue;
            }
            printer.print(out, &entry)?;
            if printer.is_full() {
                return Ok(());
            }
        }
        out.flush()?;
    }
    Ok(())
}

/// Where the wanted lines begin: a time, and how many lines of that time are before them. `None` when no
/// line is wanted.
async fn begin(client: &Client, plan: &Plan, selector: &str) -> Result<Option<(i64, usize)>> {
    let Some(tail) = plan.tail else {
        return Ok(Some((plan.start_ns, 0)));
    };
    if tail == 0 {
        return Ok(None);
    }
    let tail = usize::try_from(tail).unwrap_or(usize::MAX);
    let mut pages = Pages::new(
        client,
        selector,
        plan.start_ns,
        targets::end_ns(),
        Direction::Backward,
    )
    .of_at_most(tail);
    // How many of the newest have the time of the oldest among them.
    let (mut n_found, mut border_ns, mut n_at_border) = (0, 0, 0);
    'pages: while let Some(page) = pages.next().await? {
        for entry in page.iter().rev() {
            n_found += 1;
            n_at_border = if entry.time_ns == border_ns {
                n_at_border + 1
            } else {
                1
            };
            border_ns = entry.time_ns;
            if n_found == tail {
                break 'pages;
            }
        }
    }
    if n_found < tail {
        return Ok(Some((plan.start_ns, 0)));
    }
    let mut same_time = Pages::new(
        client,
        selector,
        border_ns,
        border_ns + 1,
        Direction::Forward,
    );
    let mut n_of_time: usize = 0;
    while let Some(page) = same_time.next().await? {
        n_of_time += page.len();
    }
    Ok(Some((border_ns, n_of_time.saturating_sub(n_at_border))))
}

/// A container that is followed.
struct Followed<'a> {
    container: &'a Container,
    printer: Printer,
    /// The instance that was current at the beginning.
    current: Option<String>,
    start_ns: i64,
    n_skipped: usize,
}

impl Followed<'_> {
    /// Whether a line of this instance is wanted: those before the current one are not.
    fn wants(&self, id: &str) -> bool {
        let is_older = self.current.as_deref() != Some(id) && self.container.ids.contains(id);
        !is_older
    }
}

/// Prints what containers have written and what they write, until interrupted.
async fn follow_all(
    client: &Client,
    plan: &Plan,
    args: &args::Logs,
    containers: &[Container],
    out: &mut impl Write,
) -> Result<()> {
    if containers.is_empty() {
        return Ok(());
    }
    let now = now_ns();
    let mut followed = Vec::new();
    for (n, container) in containers.iter().enumerate() {
        let prepared = async {
            let current = container.current(client).await?;
            let begun = begin(client, plan, &container.selector_of(current.as_deref())).await?;
            Ok::<_, Error>((current, begun))
        };
        let (current, begun) = match prepared.await {
            Err(e) if args.ignore_errors => {
                say(&format!("error: {e}"));
                continue;
            }
            other => other?,
        };
        // Without old lines it begins with what comes from this moment on.
        let (start_ns, n_skipped) = begun.unwrap_or((now, 0));
        followed.push(Followed {
            container,
            printer: Printer::new(&plan.style, &container.pod, &container.name, n),
            current,
            start_ns,
            n_skipped,
        });
    }
    let Some(start_ns) = followed.iter().map(|f| f.start_ns).min() else {
        return Ok(());
    };
    let query = format!(
        "{{namespace={}, pod=~{}, container=~{}}}",
        quote(&plan.namespace),
        one_of(unique(followed.iter().map(|f| f.container.pod.as_str()))),
        one_of(unique(followed.iter().map(|f| f.container.name.as_str())))
    );
    out.flush()?;
    follow(client, &query, start_ns, |entry| {
        let one = followed.iter_mut().find(|f| {
            f.container.pod == entry.label("pod") && f.container.name == entry.label("container")
        });
        let Some(one) = one else { return Ok(()) };
        if entry.time_ns < one.start_ns || !one.wants(entry.label("container_id")) {
            return Ok(());
        }
        if entry.time_ns == one.start_ns && one.n_skipped > 0 {
            one.n_skipped -= 1;
            return Ok(());
        }
        one.printer.print(out, &entry)?;
        out.flush()?;
        if followed.iter().all(|f| f.printer.is_full()) {
            // Nothing more will be printed.
            return Err(Error::Exit(0));
        }
        Ok(())
    })
    .await
}

fn unique<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut texts: Vec<&str> = texts.collect();
    texts.sort_unstable();
    texts.dedup();
    texts
}
