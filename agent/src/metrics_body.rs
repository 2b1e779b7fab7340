//! The body of an HTTP answer: a text as it is, or metrics that become text while they are sent.
//!
//! The text of a hundred pods takes six megabytes, their samples one. So a piece is written when the
//! client has taken the one before, by the connection's own task: nothing waits, and a client that
//! reads slowly holds the samples and no more. What fits into one piece is sent as a whole.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use kansoku_model::MetricBatch;

use crate::content_coding::{Coding, Packer};
use crate::exposition::{Exposition, LastText};
use crate::resident;

/// Text of a piece. The metrics of an ordinary node fit into one.
const PIECE_BYTES: usize = 128 << 10;

/// Room for the line that goes beyond.
const LINE_BYTES: usize = 4 << 10;

/// What is done with the samples once they are written or the client is gone, and the number of
/// duplicate series that were left out.
pub(crate) type Done = Box<dyn FnOnce(Vec<MetricBatch>, u64) + Send>;

/// See the module.
pub(crate) enum Body {
    /// Empty once it is sent.
    Whole(Bytes),
    Pieces(Box<Pieces>),
}

/// Metrics of which a part is sent.
pub(crate) struct Pieces {
    /// The first piece, until it is sent.
    first: Bytes,
    /// `None` once all is written.
    left: Option<(Exposition<MetricBatch>, Packer)>,
    /// Reused from piece to piece.
    text: Vec<u8>,
    /// Whether a piece has been sent and more are to come.
    is_long: bool,
    done: Option<Done>,
}

impl Body {
    /// The batches as one exposition, and how it is compressed.
    pub(crate) fn of_metrics(
        batches: Vec<MetricBatch>,
        coding: Coding,
        done: Done,
    ) -> (Self, Coding) {
        let (packer, coding) = match Packer::new(coding) {
            Ok(packer) => (packer, coding),
            Err(_) => (Packer::Identity, Coding::Identity),
        };
        let mut pieces = Pieces {
            first: Bytes::new(),
            left: Some((Exposition::new(batches), packer)),
            text: Vec::new(),
            is_long: false,
            done: Some(done),
        };
        pieces.first = pieces.next().unwrap_or_default();
        let body = match pieces.left {
            None => Self::Whole(std::mem::take(&mut pieces.first)),
            Some(_) => Self::Pieces(Box::new(pieces)),
        };
        (body, coding)
    }
}

/// The same body as [`Body::of_metrics`] makes, from the text of the answer before where the series are the same.
pub(crate) fn like_last(
    last: &mut LastText,
    batches: Vec<MetricBatch>,
    coding: Coding,
    done: Done,
) -> (Body, Coding) {
    let mut text = Vec::new();
    let Some(n_duplicates) = last.write(&mut text, &batches) else {
        return Body::of_metrics(batches, coding, done);
    };
    done(batches, n_duplicates);
    let (packed, coding) = coding.pack(text);
    (Body::Whole(packed.into()), coding)
}

impl Pieces {
    /// The next piece; `None` after the last. A coder may keep all of a piece to itself.
    fn next(&mut self) -> Option<Bytes> {
        if !self.first.is_empty() {
            return Some(std::mem::take(&mut self.first));
        }
        while let Some((mut exposition, mut packer)) = self.left.take() {
            self.text.clear();
            self.text.reserve(PIECE_BYTES + LINE_BYTES);
            let is_more = exposition.write_some(&mut self.text, PIECE_BYTES);
            let mut packed = Vec::new();
            let mut is_whole = match &packer {
                Packer::Identity => {
                    // Sent as it is: the next piece needs another buffer anyway.
                    packed = std::mem::take(&mut self.text);
                    true
                }
                _ => packer.pack(&self.text, &mut packed).is_ok(),
            };
            if is_more && is_whole {
                self.is_long = true;
                self.left = Some((exposition, packer));
            } else {
                is_whole &= packer.finish(&mut packed).is_ok();
                self.end(exposition);
            }
            // An answer that the coder broke off must not look like a whole one: without its end it
            // cannot be unpacked.
            if !packed.is_empty() || !is_whole {
                return Some(packed.into());
            }
        }
        None
    }

    fn end(&mut self, exposition: Exposition<MetricBatch>) {
        let (batches, n_duplicates) = exposition.into_batches();
        if let Some(done) = self.done.take() {
            done(batches, n_duplicates);
        }
        // Buffers of pieces, coders and label texts: as much again as the samples.
        if self.is_long {
            self.text = Vec::new();
            resident::give_back_freed();
        }
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        if let Some((exposition, _)) = self.left.take() {
            self.end(exposition);
        }
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(text: T) -> Self {
        Self::Whole(text.into())
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match self.get_mut() {
            Self::Whole(text) if text.is_empty() => None,
            Self::Whole(text) => Some(std::mem::take(text)),
            Self::Pieces(pieces) => pieces.next(),
        };
        Poll::Ready(next.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(text) => text.is_empty(),
            Self::Pieces(pieces) => pieces.first.is_empty() && pieces.left.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(text) => SizeHint::with_exact(text.len() as u64),
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::{Arc, Mutex};

    use http_body_util::BodyExt;
    use kansoku_model::MetricKind;

    use super::*;
    use crate::exposition;

    fn batch(n_series: usize) -> MetricBatch {
        let mut batch = MetricBatch::default();
        for name in ["one", "two"] {
            let family = batch.family(name, MetricKind::Gauge, "Some.");
            for n in 0..n_series / 2 {
                let label = format!("{n:09}");
                batch.sample(family, &[("n", label.as_str())], n as f64);
            }
        }
        batch
    }

    async fn sent(n_series: usize, coding: Coding) -> (Vec<u8>, usize, u64) {
        let given_back = Arc::new(Mutex::new(None));
        let told = given_back.clone();
        let done: Done = Box::new(move |batches, n_duplicates| {
            *told.lock().expect("no panic") = Some((batches.len(), n_duplicates));
        });
        let batches = vec![batch(n_series), batch(2)];
        let (mut body, used) = Body::of_metrics(batches, coding, done);
        assert_eq!(used, coding);
        let (mut all, mut n_pieces) = (Vec::new(), 0);
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame;
            all.extend_from_slice(frame.data_ref().expect("no trailers"));
            n_pieces += 1;
        }
        let (n_batches, n_duplicates) = given_back.lock().expect("no panic").expect("it is done");
        assert_eq!(n_batches, 2);
        (all, n_pieces, n_duplicates)
    }

    #[tokio::test]
    async fn pieces_and_whole_answers_say_the_same() {
        for (n_series, is_whole) in [(10, true), (60_000, false)] {
            let mut text = Vec::new();
            exposition::write(&mut text, &[&batch(n_series), &batch(2)]);
            for coding in [Coding::Identity, Coding::Gzip, Coding::Zstd] {
                let (body, n_pieces, n_duplicates) = sent(n_series, coding).await;
                let mut unpacked = Vec::new();
                match coding {
                    Coding::Identity => unpacked = body,
                    Coding::Gzip => {
                        let mut decoder = flate2::read::GzDecoder::new(&body[..]);
                        decoder.read_to_end(&mut unpacked).expect("gzip");
                    }
                    Coding::Zstd => unpacked = zstd::decode_all(&body[..]).expect("zstd"),
                }
                assert!(unpacked == text, "{n_series} {coding:?}");
                assert_eq!((n_pieces == 1, n_duplicates), (is_whole, 2), "{coding:?}");
            }
        }
    }

    #[tokio::test]
    async fn samples_come_back_from_a_client_that_went_away() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let done: Done = Box::new(move |batches, _| {
            let _ = sender.send(batches.len());
        });
        let (mut body, _) = Body::of_metrics(vec![batch(60_000)], Coding::Identity, done);
        assert!(body.frame().await.is_some());
        assert!(receiver.try_recv().is_err(), "there is more to send");
        drop(body);
        assert_eq!(receiver.try_recv(), Ok(1));
    }
}
