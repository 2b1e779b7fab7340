//! Every path over real sockets: plain, with passwords, and encrypted.

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::super::command_line::{CommandLine, parse};
use super::*;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/kubernetes");

/// Starts the server with these flags and two collectors.
async fn server(flags: &[&str]) -> SocketAddr {
    let flags = flags.iter().map(|flag| (*flag).to_owned());
    let Ok(CommandLine::Run(invocation)) = parse(flags) else {
        panic!("the flags are valid");
    };
    let collectors = NodeCollectors::new(&invocation.spec, &["loadavg", "uname"]);
    let shared = Shared::new(&invocation, collectors.expect("valid flags"));
    let shared = Arc::new(shared.expect("a valid web configuration"));
    let listeners = bind(&["127.0.0.1:0".to_owned()]).await;
    let addresses = start(&shared, listeners.expect("a free port"));
    addresses.expect("an address")[0]
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, head: &str) -> String {
    let request = format!("GET {head}\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    // A server that closes without saying so is none of this test's business.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn get(address: SocketAddr, head: &str) -> String {
    let stream = TcpStream::connect(address).await.expect("connects");
    exchange(stream, head).await
}

fn web_config(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("the file is written");
    file
}

fn flag_of(file: &tempfile::NamedTempFile) -> String {
    format!("--web.config.file={}", file.path().display())
}

#[tokio::test]
async fn paths_filters_and_counters() {
    let address = server(&["--web.telemetry-path=/m"]).await;
    for (head, status, part) in [
        ("/m HTTP/1.1", "200 OK", "node_load1 "),
        (
            "/m HTTP/1.1",
            "200 OK",
            "promhttp_metric_handler_requests_total{code=\"200\"} 1\n",
        ),
        (
            "/m HTTP/1.1",
            "200 OK",
            "promhttp_metric_handler_requests_in_flight 1\n",
        ),
        ("/m HTTP/1.1", "200 OK", "process_virtual_memory_max_bytes "),
        ("/m?collect[]=uname HTTP/1.1", "200 OK", "node_uname_info{"),
        (
            "/m?collect[]=cpu HTTP/1.1",
            "400 Bad Request",
            "disabled collector: cpu",
        ),
        (
            "/m?collect[]=uname&exclude[]=cpu HTTP/1.1",
            "400 Bad Request",
            "Combined collect and exclude queries are not allowed.",
        ),
        ("/ HTTP/1.1", "200 OK", "<a href=\"/m\">Metrics</a>"),
        ("/metrics HTTP/1.1", "404 Not Found", "404 page not found"),
        (
            "/m HTTP/1.1\r\nAccept-Encoding: gzip",
            "200 OK",
            "content-encoding: gzip",
        ),
    ] {
        let answer = get(address, head).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{head}: {answer}"
        );
        assert!(answer.contains(part), "{head} lacks {part}: {answer}");
    }
    let filtered = get(address, "/m?collect[]=uname HTTP/1.1").await;
    assert!(!filtered.contains("node_load1"), "{filtered}");
    let bare = server(&["--web.disable-exporter-metrics"]).await;
    let bare = get(bare, "/metrics HTTP/1.1").await;
    assert!(
        bare.contains("node_load1 ") && !bare.contains("promhttp_") && !bare.contains("process_")
    );
}

#[tokio::test]
async fn passwords_headers_and_the_limit_on_requests() {
    // The hash of "secret".
    let hash = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";
    let text = format!(
        "basic_auth_users:\n  alice: {hash}\nhttp_server_config:\n  headers:\n    X-Frame-Options: deny\nrate_limit:\n  burst: 4\n  interval: 1h\n"
    );
    let file = web_config(&text);
    let address = server(&[&flag_of(&file)]).await;
    let right = "/ HTTP/1.1\r\nAuthorization: Basic YWxpY2U6c2VjcmV0"; // alice:secret
    for (head, status) in [
        ("/ HTTP/1.1", "401 Unauthorized"),
        (
            "/ HTTP/1.1\r\nAuthorization: Basic YWxpY2U6d3Jvbmc=",
            "401 Unauthorized",
        ),
        (right, "200 OK"),
        (right, "200 OK"),
        (right, "429 Too Many Requests"),
    ] {
        let answer = get(address, head).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{head}: {answer}"
        );
        assert!(answer.contains("x-frame-options: deny\r\n"), "{answer}");
        assert_eq!(
            answer.contains("www-authenticate: Basic"),
            status.starts_with("401")
        );
    }
    std::fs::write(file.path(), "").expect("the file is written");
    let address = server(&[&flag_of(&file)]).await;
    assert!(
        get(address, "/ HTTP/1.1")
            .await
            .starts_with("HTTP/1.1 200 OK")
    );
}

#[tokio::test]
async fn encrypted_and_only_encrypted() {
    let file = web_config(&format!(
        "tls_server_config:\n  cert_file: {FIXTURES}/kubelet.pem\n  key_file: {FIXTURES}/kubelet.pem\n"
    ));
    let address = server(&[&flag_of(&file)]).await;
    let authority = std::fs::read(format!("{FIXTURES}/ca.pem")).expect("a file");
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(&authority).expect("a certificate"))
        .expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(address).await.expect("connects");
    let name = ServerName::try_from("node1").expect("a name");
    let stream = connector.connect(name, stream).await.expect("a handshake");
    let answer = exchange(stream, "/metrics HTTP/1.1").await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && answer.contains("node_load1 "),
        "{answer}"
    );
    assert!(
        !get(address, "/metrics HTTP/1.1")
            .await
            .contains("node_load1")
    );
}

#[tokio::test]
async fn addresses_are_go_s() {
    for (address, is_good) in [
        ("localhost:0", true),
        (":0", true),
        ("9100", false),
        ("127.0.0.1:x", false),
    ] {
        assert_eq!(listen(address).await.is_ok(), is_good, "{address}");
    }
}

/// Held while a collector is to hang.
static GATE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

struct Hangs;

impl crate::collectors::Collector for Hangs {
    fn collect(&mut self, _: &mut kansoku_model::MetricBatch) -> anyhow::Result<()> {
        drop(GATE.blocking_lock());
        Ok(())
    }
}

static HANGING: [crate::collectors::Entry; 1] = [crate::collectors::Entry {
    name: "hangs",
    deadline: Duration::from_secs(60),
    build: |_| Ok(Box::new(Hangs)),
    ..crate::collectors::Entry::DEFAULT
}];

#[tokio::test]
async fn a_scrape_that_hangs_holds_up_nothing_else_and_ends_in_time() {
    let Ok(CommandLine::Run(invocation)) = parse([]) else {
        panic!("no flags are valid flags");
    };
    let collectors = NodeCollectors::of(&invocation.spec, HANGING.iter());
    let shared = Shared::new(&invocation, collectors.expect("valid flags"));
    let shared = Arc::new(shared.expect("a valid web configuration"));
    let listeners = bind(&["127.0.0.1:0".to_owned()]).await;
    let addresses = start(&shared, listeners.expect("a free port")).expect("an address");
    let held = GATE.lock().await;
    let began = Instant::now();
    let head = "/metrics HTTP/1.1\r\nX-Prometheus-Scrape-Timeout-Seconds: 5";
    let mut scrape = std::pin::pin!(get(addresses[0], head));
    let page = async {
        for _ in 0..3 {
            let page = get(addresses[0], "/ HTTP/1.1").await;
            assert!(page.contains("Node Exporter"), "{page}");
        }
    };
    tokio::select! {
        biased;
        answer = &mut scrape => panic!("the scrape did not hang: {answer}"),
        () = page => {}
    }
    let answer = scrape.await;
    drop(held);
    assert!(began.elapsed() < HANGING[0].deadline);
    assert!(
        answer.contains("node_scrape_collector_success{collector=\"hangs\"} 0"),
        "{answer}"
    );
}
