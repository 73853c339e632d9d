//! The body of an answer: the connection gets it piece by piece, and it holds the slot of its request.
//!
//! The connection copies each piece into its own buffer. An answer in one piece would free its slot at
//! once, though a sender that reads nothing keeps it in memory.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::collector::request_slot::RequestSlot;

/// Most bytes of a piece.
const PIECE_BYTES: usize = 16 * 1024;

/// The body of an answer of the collector.
#[derive(Debug)]
pub struct AnswerBody {
    rest: Bytes,
    /// `None` for a short answer, such as a refusal.
    _slot: Option<RequestSlot>,
}

impl AnswerBody {
    pub(super) fn new(json: Bytes, slot: Option<RequestSlot>) -> Self {
        Self { rest: json, _slot: slot }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.rest.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn h8_an_answer_is_handed_out_in_pieces_and_is_complete() {
        let bytes: Vec<u8> =
            (0..PIECE_BYTES * 2 + 7).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let mut body = AnswerBody::new(bytes.clone().into(), None);
        assert_eq!(body.size_hint().exact(), Some(bytes.len() as u64));
        let mut pieces = Vec::new();
        while let Some(Ok(frame)) = body.frame().await {
            pieces.push(frame.into_data().unwrap());
        }
        let lengths: Vec<_> = pieces.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [PIECE_BYTES, PIECE_BYTES, 7]);
        assert!(body.is_end_stream() && pieces.concat() == bytes);
        assert!(AnswerBody::new(Bytes::new(), None).is_end_stream());
    }
}
