//! What answers mean and which settings are refused.

use super::*;

#[test]
fn answers_mean_what_they_should() {
    let cases = [
        (200, Verdict::Delivered),
        (204, Verdict::Delivered),
        (302, Verdict::Retry),
        (400, Verdict::Rejected),
        (401, Verdict::Retry),
        (404, Verdict::Retry),
        (409, Verdict::Rejected),
        (413, Verdict::TooLarge),
        (422, Verdict::Rejected),
        (429, Verdict::Retry),
        (500, Verdict::Retry),
        (507, Verdict::Retry),
    ];
    for (status, verdict) in cases {
        assert_eq!(
            judge(StatusCode::from_u16(status).expect("status")),
            verdict,
            "{status}"
        );
    }
}

#[test]
fn waits_are_read_as_seconds_and_as_dates() {
    let wait = |text: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(text).expect("ascii"));
        retry_after(&headers).map(|d| d.as_secs())
    };
    assert_eq!(wait("7"), Some(7));
    assert_eq!(wait("1e12"), Some(3600));
    assert_eq!(wait("-1"), None);
    assert_eq!(wait("Fri, 31 Dec 1999 23:59:59 GMT"), Some(0));
    assert_eq!(wait("Fri, 31 Dec 2100 23:59:59 GMT"), Some(3600));
    assert_eq!(wait("soon"), None);
}

#[test]
fn settings_that_cannot_work_are_refused_with_their_place() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (
            &[("port", "70000")],
            "'port' is 70000, but must be 1 to 65535",
        ),
        (
            &[("header", "bad:name x")],
            "'header' is 'bad:name x', which is no valid NAME VALUE",
        ),
        (
            &[("http_user", "u"), ("bearer_token", "t")],
            "'bearer_token' and 'http_user' exclude each other; remove one",
        ),
        (
            &[("tls.ca_file", "/no/such.pem")],
            "cannot read certificates from '/no/such.pem': ",
        ),
        (
            &[("tls.key_file", "/no/such.pem")],
            "'tls.key_file' needs 'tls.crt_file', which is not set",
        ),
        (
            &[("tls.key_passwd", "secret")],
            "'tls.key_file' is encrypted, which is not supported",
        ),
        (
            &[("tls.max_version", "TLSv1.1")],
            "'tls.max_version' leaves no version",
        ),
        (
            &[("tls.min_version", "2")],
            "'tls.min_version' is '2', but must be TLSv1.2 or TLSv1.3",
        ),
        (
            &[("net.source_address", "eth0")],
            "'net.source_address' is 'eth0', but must be an IP address",
        ),
        (&[("proxy", "ftp://x")], "'proxy' is 'ftp://x', but must be"),
    ];
    for (pairs, message) in cases {
        let error = HttpClient::build(
            &Settings::of("http", pairs),
            &OutputEnvironment::default(),
            80,
        )
        .err()
        .expect("refused");
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[test]
fn a_host_that_is_none_is_told_and_never_reached() {
    for (tls, expected) in [
        (
            "off",
            "'host' is '<HOST>', which is no host name or address",
        ),
        (
            "on",
            "'<HOST>' is no host name or address, as TLS needs it; until 'host'",
        ),
    ] {
        let environment = OutputEnvironment::default();
        let settings = Settings::of("http", &[("host", "<HOST>"), ("tls", tls)]);
        let client = HttpClient::build(&settings, &environment, 80).expect("it starts");
        let said = environment.warnings.take();
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].message.starts_with(expected), "{}", said[0]);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let connected = runtime
            .expect("a runtime")
            .block_on(client.pool.net.connect());
        assert!(connected.is_err());
    }
}

#[test]
fn requests_shrink_where_bodies_outgrow_their_batches() {
    let settings = Settings::of("http", &[]);
    let client = HttpClient::build(&settings, &OutputEnvironment::default(), 80).expect("valid");
    let mut batch = kansoku_model::LogBatch::new("t".into(), Arc::default(), Vec::new());
    batch.push(0, kansoku_model::Position::at(1));
    batch.set_text("log", 0, &[b'x'; 100_000]);
    let batches = [Arc::new(RecordBatch::Logs(batch))];
    let size = batches[0].size_bytes();
    assert_eq!(
        client.request_bytes() as u64,
        BODY_WANTED_BYTES,
        "nothing is known yet"
    );
    client.note_body(&batches, size * 3);
    let third = client.request_bytes() as u64;
    assert!(third.abs_diff(BODY_WANTED_BYTES / 3) < 1024, "{third}");
    client.note_body(&batches, size * 1000);
    assert_eq!(client.request_bytes() as u64, *REQUEST_BYTES.start());
    for _ in 0..200 {
        client.note_body(&batches, size / 2);
    }
    assert_eq!(client.request_bytes() as u64, *REQUEST_BYTES.end());
}
