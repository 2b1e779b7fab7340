//! kill -9 of the aggregator while a dashboard is saved again and again: the newest version that was
//! acknowledged is there whole, or the one that was under way.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kansoku_tests::aggregator::Aggregator;
use kansoku_tests::http;
use kansoku_tests::program::wait_for;

const BOARD: &str = "/api/v1/dashboards/crash";
const KILLS: u64 = 4;
/// Saved between two kills, at least.
const SAVES: u64 = 15;

/// A document of some size whose content tells its number.
fn text_of(n: u64) -> String {
    serde_json::json!({"title": format!("number {n}"), "n": n, "filler": "x".repeat(50_000)})
        .to_string()
}

#[test]
fn a_saved_dashboard_survives_kill_9() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut aggregator = Aggregator::new(folder.path(), &[]);
    // The last number that was acknowledged; the next one may be there as well.
    let acknowledged = AtomicU64::new(0);
    for _ in 0..KILLS {
        aggregator.start();
        let (port, first) = (aggregator.port, acknowledged.load(Ordering::Acquire));
        let killed = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (killed, acknowledged) = (&killed, &acknowledged);
            scope.spawn(move || {
                let mut n = first;
                while !killed.load(Ordering::Acquire) {
                    n += 1;
                    // The first of a run replaces whichever is there.
                    let condition = if n == 1 {
                        ("If-None-Match", "*")
                    } else {
                        ("If-Match", "*")
                    };
                    let sent = http::send("PUT", port, BOARD, &[condition], text_of(n).as_bytes());
                    let Ok(reply) = sent else { return };
                    match reply.status {
                        200 => acknowledged.store(n, Ordering::Release),
                        // Made by a request that the last kill left without an answer.
                        409 if n == 1 => {}
                        other => panic!("{other}: {}", reply.text()),
                    }
                }
            });
            wait_for("enough saves", || {
                (acknowledged.load(Ordering::Acquire) >= first + SAVES).then_some(())
            });
            aggregator.program.kill();
            killed.store(true, Ordering::Release);
        });
        aggregator.start();
        let reply = aggregator.get(BOARD, &[]);
        assert_eq!(reply.status, 200, "{}", reply.text());
        let document = &reply.json()["data"]["document"];
        let n = document["n"].as_u64().expect("a number");
        let known = acknowledged.load(Ordering::Acquire);
        assert!(n == known || n == known + 1, "{n} after {known}");
        assert_eq!(document.to_string().len(), text_of(n).len());
        let versions = aggregator.get(&format!("{BOARD}/versions"), &[]).json();
        let all = versions["data"].as_array().expect("versions");
        assert!(all.len() <= 21, "the past is bounded: {}", all.len());
        let numbers: Vec<u64> = all.iter().filter_map(|v| v["version"].as_u64()).collect();
        assert!(numbers.windows(2).all(|w| w[1] == w[0] + 1), "{numbers:?}");
        aggregator.program.kill();
    }
}
