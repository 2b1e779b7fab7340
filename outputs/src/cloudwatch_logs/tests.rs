//! Whole exchanges with a small service, and how events are cut into calls.

use std::sync::Arc;

use kansoku_model::{LogBatch, Position};

use super::*;
use crate::aws_call::tests::service;

fn batch(times_ms: &[i64]) -> Vec<Arc<RecordBatch>> {
    let mut batch = LogBatch::new("t".into(), Arc::default(), Vec::new());
    for (i, ms) in times_ms.iter().enumerate() {
        let row = batch.push(ms * 1_000_000, Position::at(i as u64 + 1));
        batch.set_text("log", row, format!("\"{i}\"").as_bytes());
    }
    vec![Arc::new(RecordBatch::Logs(batch))]
}

fn output(url: &str, pairs: &[(&str, &str)]) -> CloudWatch {
    let mut all = vec![
        ("region", "eu-central-1"),
        ("endpoint", url),
        ("log_group_name", "g"),
        ("log_stream_prefix", "p-"),
        ("log_key", "log"),
    ];
    all.extend_from_slice(pairs);
    let settings = Settings::of("cloudwatch_logs", &all);
    settings.check(PLUGIN.options).expect("valid");
    let mut output = cloudwatch(&settings, &OutputEnvironment::default()).expect("valid");
    output.service = output.service.with_key();
    output
}

#[tokio::test]
async fn groups_and_streams_are_made_and_events_sorted() {
    let missing = r#"{"__type":"ResourceNotFoundException"}"#;
    let exists = r#"{"__type":"x#ResourceAlreadyExistsException"}"#;
    let (url, calls) = service(vec![
        (400, missing),
        (200, "{}"),
        (200, "{}"),
        (400, exists),
    ])
    .await;
    let output = output(
        &url,
        &[("auto_create_group", "on"), ("log_retention_days", "3")],
    );
    let batches = batch(&[2000, 1000]);
    let request = Request {
        batches: &batches,
        id: "1",
    };
    assert_eq!(output.send(request).await, Outcome::Delivered);
    assert_eq!(output.send(request).await, Outcome::Delivered);
    let stream = r#"CreateLogStream {"logGroupName":"g","logStreamName":"p-t"}"#;
    let put = r#"PutLogEvents {"logGroupName":"g","logStreamName":"p-t","logEvents":[{"timestamp":1000,"message":"\"1\""},{"timestamp":2000,"message":"\"0\""}]}"#;
    assert_eq!(
        *calls.lock().expect("lock"),
        [
            stream,
            r#"CreateLogGroup {"logGroupName":"g"}"#,
            r#"PutRetentionPolicy {"logGroupName":"g","retentionInDays":3}"#,
            stream,
            put,
            put,
        ]
    );
}

#[tokio::test]
async fn what_is_refused_or_throttled_is_told() {
    let old = r#"{"rejectedLogEventsInfo":{"tooOldLogEventEndIndex":1}}"#;
    let busy = r#"{"__type":"ThrottlingException"}"#;
    let (url, _) = service(vec![(200, "{}"), (200, old), (400, busy)]).await;
    let output = output(&url, &[]);
    let batches = batch(&[1000, 2000]);
    let request = Request {
        batches: &batches,
        id: "1",
    };
    let Outcome::Partial {
        rejected, retry, ..
    } = output.send(request).await
    else {
        panic!("one event is too old")
    };
    assert_eq!((rejected.len(), rejected[0].0.row, retry.len()), (1, 0, 0));
    let Outcome::Partial { retry, .. } = output.send(request).await else {
        panic!("the service is busy")
    };
    assert_eq!(retry.len(), 2);
}

#[tokio::test]
async fn a_success_of_somebody_else_is_none() {
    let page = "<html>please log in</html>";
    let (url, _) = service(vec![(200, "{}"), (200, page), (200, "[]"), (200, "")]).await;
    let output = output(&url, &[]);
    let batches = batch(&[1000, 2000]);
    let request = Request {
        batches: &batches,
        id: "1",
    };
    for _ in 0..3 {
        let Outcome::Partial { retry, .. } = output.send(request).await else {
            panic!("nobody has taken the events")
        };
        assert_eq!(retry.len(), 2);
    }
    assert_eq!(output.send(request).await, Outcome::Delivered);
}

#[test]
fn calls_keep_their_limits() {
    let event = |time_ms, n| Event {
        record: RecordRef { batch: 0, row: 0 },
        time_ms,
        text: vec![b'x'; n],
    };
    assert_eq!(call_len(&[event(0, 600_000), event(0, 600_000)]), 1);
    assert_eq!(call_len(&[event(0, 1), event(DAY_MS, 1)]), 1);
    assert_eq!(call_len(&[event(0, 2_000_000)]), 1);
    let many: Vec<Event> = (0..10_001).map(|_| event(0, 1)).collect();
    assert_eq!(call_len(&many), MAX_EVENTS);
    assert_eq!(cut(&"é".repeat(600_000).into_bytes()).len(), 1_000_000);
}
