//! Agent and aggregator with TLS, client certificates and tokens, all of which change while lines flow.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use kansoku_tests::aggregator::{Aggregator, metric};
use kansoku_tests::http;
use kansoku_tests::pods::{now_ns, service};
use kansoku_tests::program::{Program, free_port, wait_for_equal};

fn fixture(name: &str) -> PathBuf {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    tree.join("fixtures/tls/mutual").join(name)
}

/// A token for agents, whose hash is in `file` alone.
fn new_token(file: &Path) -> String {
    let _ = fs::remove_file(file);
    let made = Command::new(kansoku_tests::binary("kansoku-aggregator"))
        .args([
            "token",
            "create",
            "--role",
            "agent",
            "--name",
            "agents",
            "--access.file",
        ])
        .arg(file)
        .output()
        .expect("the program runs");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    String::from_utf8(made.stdout)
        .expect("text")
        .trim()
        .to_owned()
}

/// Puts a file in the place of another at once, as mounted secrets change.
fn put(path: &Path, content: &[u8]) {
    let next = path.with_extension("next");
    fs::write(&next, content).expect("the folder is ours");
    fs::rename(next, path).expect("the folder is ours");
}

struct Line {
    folder: tempfile::TempDir,
    port: u16,
    n_lines: usize,
}

impl Line {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn install(&self, name: &str, from: &str) {
        put(
            &self.path(name),
            &fs::read(fixture(from)).expect("a fixture"),
        );
    }

    fn write(&mut self, n: usize) {
        let mut text = String::new();
        for at in self.n_lines..self.n_lines + n {
            text += &format!("line {at}\n");
        }
        self.n_lines += n;
        let file = fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("app.log"));
        let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
        written.expect("the folder is ours");
    }

    /// A counter of the agent's output.
    fn counter(&self, name: &str) -> u64 {
        let page = http::get(self.port, "/api/v2/metrics/prometheus");
        let page = page.map_or_else(|_| String::new(), |reply| reply.text());
        let series = format!("fluentbit_output_{name}_total{{name=\"kansoku.0\"}}");
        metric(&page, &series).unwrap_or(0.0) as u64
    }

    fn wait_until_delivered(&self) {
        wait_for_equal(&(self.n_lines as u64), || self.counter("proc_records"));
    }

    /// Waits until the aggregator has refused something once more.
    fn wait_until_refused(&self) {
        let before = self.counter("retries");
        wait_for_equal(&true, || self.counter("retries") > before);
    }
}

#[test]
fn certificates_and_tokens_change_while_lines_flow() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut line = Line {
        folder,
        port: free_port(),
        n_lines: 0,
    };
    let root = line.folder.path().to_owned();
    line.install("server.pem", "server.pem");
    line.install("client.pem", "client.pem");
    line.install("roots.pem", "authority.pem");
    line.install("clients.pem", "authority.pem");
    fs::write(
        root.join("web.yml"),
        "tls_server_config:\n  cert_file: server.pem\n  key_file: server.pem\n  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: clients.pem\n",
    )
    .expect("the folder is ours");
    put(
        &root.join("token"),
        new_token(&root.join("access.yaml")).as_bytes(),
    );
    let flags = [
        format!("--web.config.file={}", root.join("web.yml").display()),
        format!("--access.file={}", root.join("access.yaml").display()),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut aggregator = Aggregator::new(&root, &flags);
    aggregator.program.start();
    aggregator.program.wait_to_say("listening on https://");
    aggregator.program.wait_to_say("msg=\"ready\"");
    let shown = root.display();
    let configuration = format!(
        "{}[INPUT]\n    Name tail\n    Tag app\n    Path {shown}/app.log\n    DB {shown}/state/tail.db\n    Read_from_Head On\n    Refresh_Interval 1\n\
         [OUTPUT]\n    Name kansoku\n    Match *\n    Host localhost\n    Port {}\n    bearer_token_file {shown}/token\n    net.keepalive off\n    \
         tls on\n    tls.ca_file {shown}/roots.pem\n    tls.crt_file {shown}/client.pem\n    tls.key_file {shown}/client.pem\n",
        service(line.port),
        aggregator.port,
    );
    let mut agent = Program::agent(&root, &configuration);
    line.write(1000);
    agent.start();
    line.wait_until_delivered();

    // The old token is good no more, and the new one comes later.
    let token = new_token(&root.join("access.yaml"));
    line.write(500);
    line.wait_until_refused();
    put(&root.join("token"), token.as_bytes());
    line.write(500);
    line.wait_until_delivered();

    // Another certificate of the agent, then one that nobody trusts, then a good one again.
    line.install("client.pem", "client-next.pem");
    line.write(500);
    line.wait_until_delivered();
    line.install("client.pem", "stranger.pem");
    line.write(500);
    line.wait_until_refused();
    line.install("client.pem", "client.pem");
    line.wait_until_delivered();

    // The aggregator's certificate comes from another authority before the agent knows that one.
    line.install("server.pem", "server-next.pem");
    line.write(500);
    line.wait_until_refused();
    line.install("roots.pem", "both.pem");
    line.write(500);
    line.wait_until_delivered();

    // Neither plain HTTP nor a client without a certificate gets anything.
    assert!(http::get(aggregator.port, "/-/healthy").is_err());
    assert_eq!(agent.terminate().code(), Some(0));
    aggregator.end();

    let mut plain = Aggregator::new(&root, &[]);
    plain.start();
    let found = plain.all(
        "{tag=\"app\"}",
        now_ns() - 3_600_000_000_000,
        now_ns(),
        "forward",
    );
    let mut numbers: Vec<usize> = found
        .iter()
        .map(|f| {
            f.text
                .strip_prefix("line ")
                .and_then(|n| n.parse().ok())
                .expect("a line of ours")
        })
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..line.n_lines).collect::<Vec<_>>());
    plain.end();
}
