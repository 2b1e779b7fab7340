//! `/federate` over samples of now.

use std::time::SystemTime;

use crate::harness::Server;

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(now.unwrap().as_millis()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_samples_come_with_their_times() {
    let server = Server::start().await;
    let now = now_ms();
    let stale = f64::from_bits(0x7ff0_0000_0000_0002);
    server
        .write(&[
            (
                &[("__name__", "up"), ("instance", "i"), ("job", "a")],
                &[(now - 30_000, 0.0), (now - 15_000, 1.0)],
            ),
            (&[("__name__", "up"), ("job", "b")], &[(now - 20_000, 0.5)]),
            (
                &[("__name__", "up"), ("job", "old")],
                &[(now - 600_000, 1.0)],
            ),
            (
                &[("__name__", "up"), ("job", "ended")],
                &[(now - 20_000, 1.0), (now - 10_000, stale)],
            ),
            (
                &[("__name__", "a"), ("job", "b")],
                &[(now - 1000, f64::NAN)],
            ),
        ])
        .await;
    let query = "/federate?match[]=up&match[]=%7Bjob%3D%22b%22%7D";
    let answer = server.get(query).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let kind = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
    assert_eq!(answer.header("content-type"), kind);
    let expected = format!(
        "# TYPE a untyped\na{{job=\"b\",instance=\"\"}} NaN {}\n\
         # TYPE up untyped\nup{{instance=\"i\",job=\"a\"}} 1 {}\nup{{job=\"b\",instance=\"\"}} 0.5 {}",
        now - 1000,
        now - 15_000,
        now - 20_000
    );
    assert_eq!(answer.text(), expected);
    let answer = server.get("/federate").await;
    assert_eq!((answer.status, answer.text()), (200, String::new()));
    let answer = server.get("/federate?match[]=up%7B").await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("parse error"), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_too_much_memory_is_refused() {
    let server = Server::start_with(&["--query.max-memory=1KiB"]).await;
    let now = now_ms();
    let samples: Vec<(i64, f64)> = (0..100).map(|i| (now - 100 * i, 1.0)).collect();
    let (many, few) = ([("__name__", "many")], [("__name__", "few")]);
    server
        .write(&[(&many[..], &samples), (&few[..], &samples[..1])])
        .await;
    let answer = server.get("/federate?match[]=many").await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    let text = answer.text();
    assert!(text.contains("which --query.max-memory allows"), "{text}");
    let answer = server.get("/federate?match[]=few").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}
