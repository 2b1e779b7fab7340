//! Any bytes over a connection to the agent's HTTP server: it ends, and what is answered is HTTP.
#![no_main]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use kansoku_agent::collectors::NodeSpec;
use kansoku_agent::collectors::container::ContainerSpec;
use kansoku_agent::control::Control;
use kansoku_agent::pipeline::{InputCounters, Metrics, OutputCounters};
use kansoku_agent::server::{Server, ServerSpec, Targets, start};
use tokio::runtime::{Builder, Runtime};

/// Far above what any path gives here.
const MAX_ANSWER_BYTES: u64 = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(5);

struct World {
    address: SocketAddr,
    _server: Server,
    _runtime: Runtime,
}

impl World {
    fn new() -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let cgroups = ContainerSpec {
            cgroup_root: "/no/such/tree".into(),
            ..ContainerSpec::default()
        };
        // Reloads are off: none reads a configuration here.
        let (control, _) = Control::new(false);
        let spec = ServerSpec {
            listen: ([127, 0, 0, 1], 0).into(),
            metrics: Arc::new(Metrics {
                inputs: vec![Arc::new(InputCounters::default())],
                outputs: vec![Arc::new(OutputCounters::default())],
                ..Metrics::default()
            }),
            targets: Targets::new(&NodeSpec::default(), &["loadavg"], cgroups, Arc::default())
                .expect("a collector of that name"),
            health: None,
            storage_metrics: true,
            control: Arc::new(control),
            host_name: "n".into(),
            kube_state: Arc::default(),
        };
        let server = runtime.block_on(start(spec)).expect("the server starts");
        Self {
            address: server.address,
            _server: server,
            _runtime: runtime,
        }
    }
}

thread_local! {
    static WORLD: World = World::new();
}

libfuzzer_sys::fuzz_target!(init: kansoku_fuzz::quiet(), |bytes: &[u8]| {
    let address = WORLD.with(|world| world.address);
    let mut stream = TcpStream::connect(address).expect("it takes connections");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    // It may answer and close before everything is sent.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let read = stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer);
    if let Err(error) = read {
        let is_closed = error.kind() == std::io::ErrorKind::ConnectionReset;
        assert!(is_closed, "the connection stays open: {error}");
    }
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."));
});
