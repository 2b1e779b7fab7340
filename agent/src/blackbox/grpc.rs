//! Probes a gRPC server's health service.

use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kansoku_outputs::net::{Io, authority};
use kansoku_parsers::wire::protobuf::Message;

use super::config::Grpc;
use super::report::Report;
use super::resolve::{resolve, split_port};
use super::tcp::connect;

/// The names of `HealthCheckResponse.ServingStatus` by their numbers.
const STATUSES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
const SERVING: usize = 1;
/// gRPC's code for a server that cannot be reached.
const UNAVAILABLE: u32 = 14;
/// gRPC's code for what has none.
const UNKNOWN: u32 = 2;
/// The largest answer.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// Probes `host:port`.
pub async fn probe(module: &Grpc, target: &str, report: &mut Report) -> bool {
    report.add_phase("probe_grpc_duration_seconds", "resolve", 0.0);
    report.set("probe_grpc_ssl", 0.0);
    report.set("probe_grpc_status_code", 0.0);
    let bare = target
        .strip_prefix("http://")
        .or(target.strip_prefix("https://"));
    let bare = bare.unwrap_or(target);
    let default_port = if module.is_tls { 443 } else { 80 };
    let (host, port) = split_port(bare).unwrap_or((bare, default_port));
    let Some((ip, seconds)) = resolve(host, module.preference, report).await else {
        return false;
    };
    report.add_phase("probe_grpc_duration_seconds", "resolve", seconds);
    let begin = Instant::now();
    let checked = check(module, host, (ip, port), report).await;
    report.add_phase(
        "probe_grpc_duration_seconds",
        "check",
        begin.elapsed().as_secs_f64(),
    );
    for status in STATUSES {
        report.set_with(
            "probe_grpc_healthcheck_response",
            &[("serving_status", status)],
            0.0,
        );
    }
    match checked {
        Ok((0, Some(status))) => {
            let name = STATUSES.get(status).copied().unwrap_or("UNKNOWN");
            report.set_with(
                "probe_grpc_healthcheck_response",
                &[("serving_status", name)],
                1.0,
            );
            report.say(format_args!("the service is {name}"));
            status == SERVING
        }
        Ok((code, _)) => {
            report.set("probe_grpc_status_code", f64::from(code));
            report.say(format_args!("the call ended with code {code}"));
            false
        }
        Err(why) => {
            report.set("probe_grpc_status_code", f64::from(UNAVAILABLE));
            report.say(why);
            false
        }
    }
}

/// The code of the call, and the status when it went well.
async fn check(
    module: &Grpc,
    host: &str,
    (ip, port): (std::net::IpAddr, u16),
    report: &mut Report,
) -> Result<(u32, Option<usize>), String> {
    let stream = connect(ip, port, None).await;
    let stream = stream.map_err(|e| format!("cannot connect to {ip}:{port}: {e}"))?;
    let mut io: Box<dyn Io> = Box::new(stream);
    if module.is_tls {
        let (encrypted, facts) = module.tls.connect(io, host, &[b"h2"]).await?;
        io = encrypted;
        report.set("probe_grpc_ssl", 1.0);
        module.tls.report(&facts, false, false, report);
    }
    let failed = |e: hyper::Error| format!("the call failed: {e}");
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io));
    let (mut sender, connection) = handshake.await.map_err(failed)?;
    tokio::spawn(connection);
    let scheme = if module.is_tls { "https" } else { "http" };
    let uri = format!(
        "{scheme}://{}/grpc.health.v1.Health/Check",
        authority(host, port)
    );
    let mut request = Request::post(uri)
        .body(Full::new(Bytes::from(body(&module.service))))
        .map_err(|e| e.to_string())?;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("te", HeaderValue::from_static("trailers"));
    for (name, value) in &module.metadata {
        let name = hyper::header::HeaderName::try_from(name.as_str());
        match (name, HeaderValue::from_str(value)) {
            (Ok(name), Ok(value)) => {
                headers.append(name, value);
            }
            _ => return Err("the metadata cannot be sent".into()),
        }
    }
    let answer = sender.send_request(request).await.map_err(failed)?;
    let (parts, mut incoming) = answer.into_parts();
    let (mut data, mut trailers) = (Vec::new(), HeaderMap::new());
    while let Some(frame) = incoming.frame().await {
        match frame.map_err(failed)?.into_data() {
            Ok(piece) if data.len() + piece.len() > MAX_ANSWER_BYTES => {
                return Err("the answer has no end".into());
            }
            Ok(piece) => data.extend_from_slice(&piece),
            Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    // A call that fails at once has its code in the headers.
    let code = trailers
        .get("grpc-status")
        .or(parts.headers.get("grpc-status"));
    let code = code.and_then(|v| v.to_str().ok()?.parse().ok());
    Ok((code.unwrap_or(UNKNOWN), status(&data)))
}

/// A `HealthCheckRequest` behind gRPC's five bytes.
fn body(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    kansoku_model::protobuf::bytes(&mut message, 1, service.as_bytes());
    let mut body = vec![0];
    body.extend_from_slice(
        &u32::try_from(message.len())
            .unwrap_or_default()
            .to_be_bytes(),
    );
    body.extend_from_slice(&message);
    body
}

/// The status in a `HealthCheckResponse`; a field that is not there is 0.
fn status(data: &[u8]) -> Option<usize> {
    let mut message = Message::new(data.get(5..)?);
    let mut status = 0;
    while let Some((number, field)) = message.next().ok()? {
        if number == 1 {
            status = usize::try_from(field.int().ok()?).ok()?;
        }
    }
    Some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_framed() {
        assert_eq!(body("ab"), b"\0\0\0\0\x04\x0a\x02ab");
        assert_eq!(body(""), b"\0\0\0\0\0");
        assert_eq!(status(b"\0\0\0\0\x02\x08\x01"), Some(SERVING));
        assert_eq!(status(b"\0\0\0\0\0"), Some(0));
        assert_eq!(status(b"\0\0"), None);
        assert_eq!(status(b"\0\0\0\0\x01\x08"), None);
    }
}
