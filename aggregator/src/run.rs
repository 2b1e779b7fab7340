//! From settings to a running aggregator and back to nothing: listen, open the store, serve, stop.
//!
//! The one rule of the order: listen first, so that readiness can be asked while the WAL is read;
//! when stopping, first no new requests, then no upkeep, then everything written out.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle as Task;

use crate::active_queries::{self, ActiveQueries};
use crate::app::App;
use crate::housekeeping::{self, Stop};
use crate::journal;
use crate::server;
use crate::settings::Settings;

/// A running aggregator.
#[derive(Debug)]
pub struct Running {
    pub app: Arc<App>,
    /// Where it listens.
    pub address: SocketAddr,
    stop_serving: watch::Sender<bool>,
    serving: Task<()>,
    stop_threads: Stop,
    threads: Vec<JoinHandle<()>>,
}

/// Listens and serves; the store is not open yet and `/-/ready` says so.
///
/// # Errors
/// When the address cannot be listened on, with the cure.
pub async fn listen(settings: Settings) -> Result<Running, String> {
    let wanted = &settings.listen_address;
    let listener = bind(wanted).await.map_err(|e| listen_error(wanted, &e))?;
    let address = listener
        .local_addr()
        .map_err(|e| listen_error(wanted, &e))?;
    let app = Arc::new(App::new(settings, instance(address))?);
    if app.access.is_on() && !app.web.config().users.is_empty() {
        return Err("--web.config.file has basic_auth_users and access control is on, and a request has one header for both; move these users to --access.file".into());
    }
    let (stop_serving, stopped) = watch::channel(false);
    let serving = tokio::spawn(server::serve(listener, app.clone(), stopped));
    Ok(Running {
        app,
        address,
        stop_serving,
        serving,
        stop_threads: Arc::new(AtomicBool::new(false)),
        threads: Vec::new(),
    })
}

/// An address, or Go's form `:9428` for every one of the machine, v6 and v4.
async fn bind(address: &str) -> std::io::Result<TcpListener> {
    use std::io::ErrorKind::{AddrInUse, InvalidInput};
    let Some(port) = address.strip_prefix(':') else {
        return TcpListener::bind(address).await;
    };
    let port: u16 = port
        .parse()
        .map_err(|_| std::io::Error::new(InvalidInput, "invalid port"))?;
    // The v6 wildcard takes v4 too, unless the system knows no v6.
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Err(error) if error.kind() != AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
        }
        bound => bound,
    }
}

fn listen_error(address: &str, error: &std::io::Error) -> String {
    use std::io::ErrorKind::{AddrInUse, AddrNotAvailable, InvalidInput, PermissionDenied};
    let cure = match error.kind() {
        AddrInUse => "stop the program that uses the port, or choose another",
        PermissionDenied => "ports below 1024 need a privilege; choose another",
        AddrNotAvailable => "no interface of this machine has that address; 0.0.0.0 means all",
        InvalidInput => "expected an address and a port such as 0.0.0.0:9428",
        _ => "check the address",
    };
    format!("failed to listen on {address}: {error}; {cure} (--web.listen-address)")
}

/// `instance` of its own metrics: what others could reach it by.
fn instance(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        let name = nix::unistd::gethostname()
            .ok()
            .and_then(|n| n.into_string().ok());
        let host = name.unwrap_or_else(|| "localhost".into());
        return format!("{host}:{}", address.port());
    }
    address.to_string()
}

impl Running {
    /// Opens the store of the default tenant, which may take a while, and starts the upkeep of all.
    ///
    /// # Errors
    /// When the store cannot be opened, with the cure.
    pub async fn open_store(&mut self) -> Result<(), String> {
        let app = self.app.clone();
        let opened = tokio::task::spawn_blocking(move || app.tenants.open()).await;
        opened.map_err(|_| "failed to open the store by a mistake of this program")??;
        self.note_active_queries();
        let fail = |e: std::io::Error| format!("failed to start a thread: {e}");
        let (app, stop) = (&self.app, &self.stop_threads);
        let upkeep = housekeeping::start_upkeep(app.clone(), stop.clone());
        self.threads.push(upkeep.map_err(fail)?);
        if app.tenants.is_on() {
            let flushes = housekeeping::start_flushes(app.clone(), stop.clone());
            self.threads.push(flushes.map_err(fail)?);
        }
        let own = housekeeping::start_own_metrics(app.clone(), stop.clone());
        self.threads.extend(own.map_err(fail)?);
        app.rules.start(app).await?;
        let dashboards = app.settings.config.dashboards.clone();
        app.documents.provisioned.watch(dashboards);
        Ok(())
    }

    /// Tells the queries that an earlier run did not end, and notes those of this one.
    fn note_active_queries(&self) {
        let settings = &self.app.settings;
        let folder = &settings.storage_path;
        match ActiveQueries::open(folder, settings.query_max_concurrency) {
            Ok((queries, left)) => {
                for query in left {
                    journal::warn(&format!("a query did not finish in the last run: {query}"));
                }
                // It is opened once.
                let _ = self.app.active_queries.set(queries);
            }
            Err(error) => journal::warn(&format!(
                "failed to note the queries under way in {}: {error}",
                folder.join(active_queries::FILE).display()
            )),
        }
    }

    /// Finishes open requests, stops the upkeep and writes out what is in memory.
    ///
    /// # Errors
    /// When writing out failed; the data is still in the WAL.
    pub async fn stop(self) -> Result<(), String> {
        self.app.rules.stop(self.app.settings.rules.drain).await;
        self.app.documents.provisioned.watch(None);
        self.stop_threads.store(true, Ordering::Relaxed);
        let _ = self.stop_serving.send(true);
        let _ = self.serving.await;
        let (app, threads) = (self.app, self.threads);
        let flushed = tokio::task::spawn_blocking(move || {
            for thread in threads {
                let _ = thread.join();
            }
            let stores = app.tenants.open_stores();
            // All of them, whatever becomes of one.
            let flushed = stores.iter().map(|(_, store)| store.flush().map(drop));
            flushed.fold(Ok(()), Result::and)
        });
        match flushed.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!(
                "failed to write everything out: {error}; nothing is lost, the next start reads the WAL"
            )),
            Err(_) => Err("failed to write everything out by a mistake of this program".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_alone_is_every_address() {
        let listener = bind(":0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let client = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        client.await.expect("v4 is answered");
        for (wrong, told) in [
            (
                ":",
                "failed to listen on :: invalid port; expected an address and a port",
            ),
            (
                ":web",
                "invalid port; expected an address and a port such as 0.0.0.0:9428",
            ),
            (
                "9428",
                "expected an address and a port such as 0.0.0.0:9428",
            ),
        ] {
            let error = bind(wrong).await.expect_err("no address");
            let text = listen_error(wrong, &error);
            assert!(text.contains(told), "{text}");
        }
        let taken = format!(":{port}");
        let text = listen_error(&taken, &bind(&taken).await.expect_err("it is taken"));
        assert!(
            text.contains("stop the program that uses the port"),
            "{text}"
        );
    }
}
