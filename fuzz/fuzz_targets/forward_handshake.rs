//! Both sides of the handshake of the Forward protocol with any keys, users and passwords, and with any
//! bytes instead of an answer: they agree when key and password do, and nobody else gets in.
#![no_main]

use kansoku_agent::fuzzing::{Handshake, User};
use kansoku_outputs::forward::answer::Item;
use kansoku_outputs::fuzzing::ForwardClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// Longer texts make a PING that is refused as too long.
const MAX_TEXT: usize = 200;

fn cut(text: &str) -> &str {
    let end = (0..=text.len().min(MAX_TEXT))
        .rev()
        .find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

/// Reads until a whole value is there.
async fn value(io: &mut DuplexStream) -> Option<Vec<u8>> {
    let mut buffer = Vec::new();
    while Item::read(&buffer).is_err() {
        if io.read_buf(&mut buffer).await.ok()? == 0 {
            return None;
        }
    }
    Some(buffer)
}

async fn client(mut io: DuplexStream, login: ForwardClient, instead: Option<&[u8]>) -> bool {
    let helo = value(&mut io).await.expect("the server speaks first");
    let (handshake, ping) = login.ping(&helo).expect("our own HELO");
    if let Some(bytes) = instead {
        // The server may have gone before all of it is written.
        let _ = io.write_all(bytes).await;
        return false;
    }
    io.write_all(&ping).await.expect("it waits for the PING");
    let pong = value(&mut io).await.expect("it answers");
    handshake.finish(&pong).is_ok()
}

libfuzzer_sys::fuzz_target!(|input: (
    String,
    Option<String>,
    Vec<(String, String)>,
    (String, String),
    Option<Vec<u8>>
)| {
    let (key, other_key, users, (name, password), instead) = input;
    let server = Handshake {
        shared_key: cut(&key).to_owned(),
        self_hostname: "server".to_owned(),
        users: (users.iter())
            .map(|(name, password)| User {
                name: cut(name).to_owned(),
                password: cut(password).to_owned(),
            })
            .collect(),
    };
    let client_key = other_key.as_deref().map_or(cut(&key), cut);
    let (name, password) = (cut(&name), cut(&password));
    let login = ForwardClient::new(client_key, name, password);
    let knows = |user: &User| user.name == name && user.password == password;
    let may_enter = client_key == server.shared_key
        && (server.users.is_empty() || server.users.iter().any(knows));
    let (mut ours, theirs) = tokio::io::duplex(64 << 10);
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("a runtime");
    let (accepted, is_in) = runtime.block_on(async {
        tokio::join!(
            async {
                let accepted = server.run(&mut ours).await.is_ok();
                drop(ours);
                accepted
            },
            client(theirs, login, instead.as_deref())
        )
    });
    assert_eq!(accepted, may_enter && instead.is_none());
    assert_eq!(is_in, accepted);
});
