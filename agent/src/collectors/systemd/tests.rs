//! A bus of our own that answers as systemd does.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;

use super::*;
use crate::collectors::flags::Flags;

/// What the bus answers to the n-th call: the body of the answer, or `None` for a refusal.
fn serve(listener: UnixListener, bodies: Vec<Option<Vec<u8>>>) {
    let (mut stream, _) = listener.accept().expect("a connection");
    let mut greeting = Vec::new();
    while !greeting.ends_with(b"\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a greeting");
        greeting.push(byte[0]);
    }
    assert!(greeting.starts_with(b"\0AUTH EXTERNAL "), "{greeting:?}");
    stream.write_all(b"OK 1234\r\n").expect("written");
    let mut begin = [0; 7];
    stream.read_exact(&mut begin).expect("a beginning");
    let mut bytes = Vec::new();
    for (at, body) in bodies.into_iter().enumerate() {
        // Whole calls are taken off the stream one by one.
        loop {
            let length = kansoku_parsers::wire::dbus::parse(&bytes).expect("a call");
            if let Some((_, length)) = length {
                bytes.drain(..length);
                break;
            }
            let mut more = [0; 4096];
            let n = stream.read(&mut more).expect("a call");
            assert!(n > 0, "the collector makes fewer calls");
            bytes.extend_from_slice(&more[..n]);
        }
        let serial = at as u32 + 1;
        stream.write_all(&answer(serial, body)).expect("written");
    }
}

fn answer(serial: u32, body: Option<Vec<u8>>) -> Vec<u8> {
    let kind = if body.is_some() { 2 } else { 3 };
    let body = body.unwrap_or_default();
    let mut out = vec![b'l', kind, 0, 1];
    out.extend((body.len() as u32).to_le_bytes());
    out.extend(serial.to_le_bytes());
    out.extend(8u32.to_le_bytes());
    out.extend([5, 1, b'u', 0]);
    out.extend(serial.to_le_bytes());
    out.extend(body);
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
    out.push(0);
}

fn text_variant(value: &str) -> Option<Vec<u8>> {
    let mut out = vec![1, b's', 0];
    text(&mut out, value);
    Some(out)
}

fn number_variant(value: u32) -> Option<Vec<u8>> {
    let mut out = vec![1, b'u', 0, 0];
    out.extend(value.to_le_bytes());
    Some(out)
}

fn units(units: &[(&str, &str, &str)]) -> Option<Vec<u8>> {
    let mut array = Vec::new();
    for (name, load, active) in units {
        array.resize(array.len().next_multiple_of(8), 0);
        for word in [name, "about", load, active, "sub", "", "/unit"] {
            text(&mut array, word);
        }
        array.resize(array.len().next_multiple_of(4), 0);
        array.extend(0u32.to_le_bytes());
        text(&mut array, "");
        text(&mut array, "/");
    }
    let mut out = (array.len() as u32).to_le_bytes().to_vec();
    out.resize(8, 0);
    out.extend(array);
    Some(out)
}

#[test]
fn units_are_told_as_node_exporter_tells_them() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let socket = dir.path().join("bus");
    let listener = UnixListener::bind(&socket).expect("bound");
    let bodies = vec![
        Some(Vec::new()),
        text_variant("255.4-1"),
        text_variant(""),
        text_variant("running"),
        units(&[
            ("a.service", "loaded", "active"),
            ("b.socket", "loaded", "inactive"),
            ("c.mount", "loaded", "active"),
            ("d.service", "not-found", "inactive"),
        ]),
        text_variant("notify"),
        number_variant(3),
        number_variant(7),
        None,
        None,
    ];
    let server = std::thread::spawn(move || serve(listener, bodies));
    let mut flags = Flags::default();
    flags.set(&RESTARTS, "true").expect("given once");
    let spec = NodeSpec {
        flags,
        ..NodeSpec::default()
    };
    let mut systemd = Systemd::new(&spec).expect("the flags are valid");
    systemd.socket = socket;
    let mut batch = MetricBatch::default();
    systemd.collect(&mut batch).expect("the bus answers");
    server.join().expect("the bus had all its calls");
    let mut out = Vec::new();
    crate::exposition::write(&mut out, &[&batch]);
    let out = String::from_utf8(out).expect("an exposition is text");
    for line in [
        "node_systemd_version{version=\"255.4-1\"} 255.4",
        "node_systemd_virtualization_info{virtualization_type=\"none\"} 1",
        "node_systemd_units{state=\"active\"} 2",
        "node_systemd_units{state=\"failed\"} 0",
        "node_systemd_unit_state{name=\"a.service\",state=\"active\",type=\"notify\"} 1",
        "node_systemd_unit_state{name=\"b.socket\",state=\"inactive\",type=\"\"} 1",
        "node_systemd_service_restart_total{name=\"a.service\"} 3",
        "node_systemd_socket_accepted_connections_total{name=\"b.socket\"} 7",
        "node_systemd_system_running 1",
    ] {
        assert!(
            out.lines().any(|l| l == line),
            "{line} is missing in\n{out}"
        );
    }
    for left_out in ["c.mount", "d.service", "current_connections", "refused"] {
        assert!(!out.contains(left_out), "{left_out} is in\n{out}");
    }
}

#[test]
fn versions_are_numbers() {
    for (version, number) in [
        ("255.4-1ubuntu8", 255.4),
        ("v252", 252.0),
        ("1.252.", 252.0),
        ("44", 0.0),
        ("", 0.0),
    ] {
        assert_eq!(version_number(version).0, number, "{version}");
    }
}
