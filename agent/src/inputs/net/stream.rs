//! Reading records from byte streams that know no answers: lines or JSON over TCP and Unix sockets.
//!
//! What was read is cut into frames, frames become records, and batches leave when they are large or
//! old enough. The rule: while the pipeline is full nothing is read, and the kernel makes the sender
//! wait.

use std::sync::Arc;
use std::time::Duration;

use kansoku_model::{RecordBatch, Resource};
use kansoku_parsers::wire::records::{Records, Stream};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;

use super::pipe::Pipe;
use crate::filters::parser::now_ns;
use crate::log;

/// A batch leaves when so many bytes wait.
const BATCH_BYTES: usize = 256 << 10;
/// One read takes so much at the most.
const READ_BYTES: usize = 64 << 10;

/// How a stream is cut, and what its frames mean.
pub trait Framing: Send {
    /// Reads all whole frames of `bytes` into `records` and returns how many bytes they were. At the
    /// `end` of the stream what is left is a frame, too.
    ///
    /// # Errors
    /// When the rest of the stream cannot be understood; the records before it stay.
    fn cut(
        &mut self,
        bytes: &[u8],
        end: bool,
        records: &mut Records<'_>,
    ) -> (usize, Result<(), String>);
}

/// What one read brought.
pub enum Got {
    Bytes,
    /// The client has ended, or was idle for too long.
    End,
    /// The agent stops.
    Stop,
}

/// Reads once into the end of `buffer`.
///
/// # Errors
/// When the connection breaks.
pub async fn read_once(
    reader: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    n_bytes: usize,
    pipe: &Pipe,
    idle: Option<Duration>,
) -> std::io::Result<Got> {
    buffer.reserve(n_bytes.clamp(1, READ_BYTES));
    let idle = async {
        match idle {
            Some(patience) => tokio::time::sleep(patience).await,
            None => std::future::pending().await,
        }
    };
    let n = tokio::select! {
        n = reader.read_buf(buffer) => n?,
        () = pipe.stopping() => return Ok(Got::Stop),
        () = idle => 0,
    };
    Ok(if n == 0 { Got::End } else { Got::Bytes })
}

/// Bounds of one stream.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The buffer grows by this.
    pub chunk_bytes: usize,
    /// A longer frame ends the connection.
    pub max_bytes: usize,
    pub idle: Option<Duration>,
}

/// Reads a connection to its end.
pub async fn serve(
    name: &str,
    peer: &str,
    mut reader: impl AsyncRead + Unpin,
    mut framing: impl Framing,
    limits: Limits,
    pipe: Pipe,
    resource: Arc<Resource>,
) {
    let mut stream = super::new_stream();
    let mut buffer = Vec::new();
    let mut deadline: Option<Instant> = None;
    loop {
        let got = {
            let reading = read_once(
                &mut reader,
                &mut buffer,
                limits.chunk_bytes,
                &pipe,
                limits.idle,
            );
            match deadline {
                None => reading.await,
                Some(at) => match tokio::time::timeout_at(at, reading).await {
                    Ok(got) => got,
                    Err(_) => Ok(Got::Bytes),
                },
            }
        };
        let is_end = !matches!(got, Ok(Got::Bytes));
        // Small reads wait for each other, as long as a record may wait.
        let at = *deadline.get_or_insert_with(|| Instant::now() + pipe.link.flush);
        let max_wait = BATCH_BYTES.min(limits.max_bytes);
        if !is_end && buffer.len() < max_wait && Instant::now() < at {
            continue;
        }
        deadline = None;
        let (n, cut) = flush(&mut framing, &buffer, is_end, &mut stream, &pipe, &resource).await;
        let Some(n) = n else {
            return;
        };
        buffer.drain(..n);
        if buffer.is_empty() {
            buffer.shrink_to(READ_BYTES);
        }
        if let Err(error) = cut {
            log::warn(
                name,
                format_args!("closed the connection of {peer}: {error}"),
            );
            return;
        }
        if let Err(error) = got {
            log::debug(
                name,
                format_args!("the connection of {peer} broke: {error}"),
            );
            return;
        }
        if is_end {
            return;
        }
        if buffer.len() >= limits.max_bytes {
            log::warn(
                name,
                format_args!(
                    "closed the connection of {peer}: a record is larger than {} bytes",
                    limits.max_bytes
                ),
            );
            return;
        }
    }
}

/// Cuts and sends; `None` when the agent leaves.
async fn flush(
    framing: &mut impl Framing,
    buffer: &[u8],
    is_end: bool,
    stream: &mut Stream,
    pipe: &Pipe,
    resource: &Arc<Resource>,
) -> (Option<usize>, Result<(), String>) {
    let mut records = Records::new(stream, pipe.link.tag.clone(), resource.clone());
    let (n, cut) = framing.cut(buffer, is_end, &mut records);
    let batches = records
        .finish()
        .into_iter()
        .map(RecordBatch::Logs)
        .collect();
    let sent = pipe.send_unanswered(batches).await;
    (sent.ok().map(|()| n), cut)
}

/// Begins a record of now.
pub fn begin(records: &mut Records<'_>) {
    records.begin(now_ns());
}
