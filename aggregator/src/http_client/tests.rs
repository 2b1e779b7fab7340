//! The client against servers of the test's own, and what its configuration refuses.

use std::sync::Mutex;

use kansoku_parsers::config::yaml::tree;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::config::KEYS;
use super::*;

fn read(text: &str) -> Result<HttpConfig, String> {
    let roots = tree::parse("/etc/k/k.yml", text.as_bytes(), &mut Vec::new()).unwrap();
    let read = || -> config::Read<HttpConfig> {
        let mut config = HttpConfig::default();
        for (key, node) in roots[0].checked_pairs(&KEYS)? {
            config.take(key, node)?;
        }
        config.check(&roots[0])?;
        Ok(config)
    };
    read().map_err(|e| e.to_string())
}

/// A server that gives one answer after the other, each on a connection of its own, and the heads of
/// the requests that it got.
async fn server(answers: Vec<String>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Arc::<Mutex<Vec<String>>>::default();
    let noted = Arc::clone(&heads);
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            let mut buffer = [0; 4096];
            while !head.windows(4).any(|w| w == b"\r\n\r\n") {
                let n = stream.read(&mut buffer).await.unwrap();
                assert!(n > 0, "the client left");
                head.extend_from_slice(&buffer[..n]);
            }
            noted.lock().unwrap().push(String::from_utf8(head).unwrap());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (format!("http://{address}"), heads)
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let len = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {len}\r\nconnection: close\r\n{headers}\r\n{body}"
    )
}

async fn ask(client: &Client, url: &str) -> Result<String, String> {
    let bounds = (Duration::from_secs(60), 1000);
    let body = client
        .body(Method::GET, url, &[], Bytes::new(), bounds)
        .await?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn credentials_and_headers_are_sent_and_redirects_followed() {
    let (url, heads) = server(vec![
        answer("307 Temporary Redirect", "location: /other?a=b\r\n", ""),
        answer("200 OK", "", "here"),
    ])
    .await;
    let config = read(
        "{basic_auth: {username: u, password: p}, http_headers: {X-A: {values: [b], secrets: [c]}}}",
    );
    let client = Client::new(&config.unwrap()).unwrap();
    assert_eq!(
        ask(&client, &format!("{url}/first")).await.as_deref(),
        Ok("here")
    );
    let heads = heads.lock().unwrap();
    assert!(
        heads[0].starts_with("GET /first HTTP/1.1\r\n"),
        "{}",
        heads[0]
    );
    assert!(
        heads[1].starts_with("GET /other?a=b HTTP/1.1\r\n"),
        "{}",
        heads[1]
    );
    for head in heads.iter() {
        for line in ["authorization: Basic dTpw\r\n", "x-a: b\r\n", "x-a: c\r\n"] {
            assert!(head.contains(line), "{line} in {head}");
        }
    }
}

#[tokio::test]
async fn a_redirect_to_another_host_takes_no_credentials_along() {
    let (other, others) = server(vec![answer("200 OK", "", "there")]).await;
    let moved = answer(
        "308 Permanent Redirect",
        &format!("location: {other}/\r\n"),
        "",
    );
    let (url, _) = server(vec![moved]).await;
    let client = Client::new(&read("{authorization: {credentials: secret}}").unwrap()).unwrap();
    assert_eq!(ask(&client, &url).await.as_deref(), Ok("there"));
    assert!(!others.lock().unwrap()[0].contains("secret"));
    let (url, _) = server(vec![answer("307 No", "location: /x\r\n", "")]).await;
    let client = Client::new(&read("{follow_redirects: false}").unwrap()).unwrap();
    assert!(ask(&client, &url).await.unwrap_err().starts_with("307"));
}

#[tokio::test]
async fn a_proxy_hears_the_whole_url_and_is_left_out_for_some() {
    let (proxy, heads) = server(vec![
        answer("200 OK", "", "by proxy"),
        answer("403 No", "", ""),
    ])
    .await;
    let of_proxy = proxy.replace("http://", "http://me:pw@");
    let config = format!(
        "{{proxy_url: '{of_proxy}', no_proxy: '127.0.0.1', proxy_connect_header: {{X-C: [d]}}}}"
    );
    let client = Client::new(&read(&config).unwrap()).unwrap();
    assert_eq!(
        ask(&client, "http://a.example/x").await.as_deref(),
        Ok("by proxy")
    );
    assert!(ask(&client, "https://a.example/x").await.is_err());
    let heads = heads.lock().unwrap().clone();
    assert!(
        heads[0].starts_with("GET http://a.example/x HTTP/1.1\r\n"),
        "{}",
        heads[0]
    );
    assert!(
        heads[0].contains("proxy-authorization: Basic bWU6cHc=\r\n"),
        "{}",
        heads[0]
    );
    assert!(
        heads[1].starts_with("CONNECT a.example:443 HTTP/1.1\r\n"),
        "{}",
        heads[1]
    );
    let tunnel = heads[1].to_ascii_lowercase();
    assert!(
        tunnel.contains("x-c: d\r\n") && tunnel.contains("proxy-authorization: basic"),
        "{tunnel}"
    );
    let (direct, _) = server(vec![answer("200 OK", "", "direct")]).await;
    assert_eq!(ask(&client, &direct).await.as_deref(), Ok("direct"));
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_shown() {
    let token = r#"{"access_token": "t", "token_type": "bearer", "expires_in": 3600}"#;
    let (tokens, asked) = server(vec![answer("200 OK", "", token)]).await;
    let (url, heads) = server(vec![answer("200 OK", "", "1"), answer("200 OK", "", "2")]).await;
    let config = format!(
        "{{oauth2: {{client_id: 'a b', client_secret: s, token_url: '{tokens}/token', scopes: [x, y], endpoint_params: {{p: [q]}}}}}}"
    );
    let client = Client::new(&read(&config).unwrap()).unwrap();
    assert_eq!(ask(&client, &url).await.as_deref(), Ok("1"));
    assert_eq!(ask(&client, &url).await.as_deref(), Ok("2"));
    // "a%20b:s"
    let asked = asked.lock().unwrap().clone();
    assert!(
        asked[0].contains("authorization: Basic YSUyMGI6cw==\r\n"),
        "{}",
        asked[0]
    );
    assert_eq!(asked.len(), 1);
    for head in heads.lock().unwrap().iter() {
        assert!(head.contains("authorization: Bearer t\r\n"), "{head}");
    }
}

#[test]
fn tls_is_set_up_as_told_and_mistakes_name_their_file() {
    let config = read(
        "{tls_config: {insecure_skip_verify: true, server_name: am.example, min_version: TLS13}}",
    );
    let config = config.unwrap();
    assert!(config.tls.insecure_skip_verify);
    assert!(Client::new(&config).is_ok());
    let config = read("{tls_config: {ca_file: none.pem}}").unwrap();
    let error = Client::new(&config).unwrap_err();
    assert!(error.contains("/etc/k/none.pem"), "{error}");
    let error = Client::new(&read("{tls_config: {ca: nothing}}").unwrap()).unwrap_err();
    assert!(error.contains("no certificate"), "{error}");
}

#[test]
fn mistakes_have_places() {
    for (text, expected) in [
        (
            "{basic_auth: {}, authorization: {credentials: x}}",
            "/etc/k/k.yml:1:33: at most one of basic_auth, oauth2",
        ),
        (
            "{authorization: {type: Basic}}",
            "use \"basic_auth\" instead",
        ),
        (
            "{authorization: {credentials: a, credentials_file: b}}",
            "failed to read /etc/k/b",
        ),
        ("{tls_config: {min_version: TLS1.2}}", "unknown TLS version"),
        ("{tls_config: {max_version: TLS11}}", "never spoken"),
        (
            "{tls_config: {min_version: TLS13, max_version: TLS12}}",
            "must be greater than or equal",
        ),
        ("{tls_config: {cert_file: a}}", "belong together"),
        (
            "{tls_config: {ca: a, ca_file: b}}",
            "at most one of ca and ca_file",
        ),
        ("{proxy_url: 'socks5://a:1'}", "must be http://HOST:PORT"),
        ("{no_proxy: a}", "proxy_url must also be configured"),
        (
            "{proxy_from_environment: true, proxy_url: 'http://a:1'}",
            "proxy_url must not be configured",
        ),
        (
            "{http_headers: {Authorization: {values: [a]}}}",
            "is not allowed",
        ),
        (
            "{oauth2: {client_id: a}}",
            "oauth2 token_url must be configured",
        ),
        ("{follow_redirects: yes}", "expected true or false"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
}
