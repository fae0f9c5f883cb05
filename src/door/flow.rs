//! How a request comes and its answer goes over HTTP/1.1: whose turn it is, and what is left unread.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};

use super::seats::{Phase, Seat};

/// As much of a body that nobody wanted is read, in bytes, if it is there already: then the connection can go on.
const UNWANTED_BYTES_MAX: usize = 64 * 1024;

/// What of a request's body was not read.
#[derive(Clone, Default)]
pub struct Left(Arc<Mutex<Option<Incoming>>>);

impl Left {
    /// Whether nothing is left unread, now that what is there is read as well. A body that is only announced
    /// (`Expect: 100-continue`) stays unrequested.
    pub fn is_read(&self, is_announced: bool) -> bool {
        let left = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        left.is_none_or(|body| !is_announced && drain(body))
    }
}

fn drain(body: Incoming) -> bool {
    let (mut body, mut read) = (pin!(body), 0);
    while !body.is_end_stream() && read <= UNWANTED_BYTES_MAX {
        match body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(Ok(frame))) => read += frame.data_ref().map_or(0, Bytes::len),
            Poll::Ready(None) => return true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => return false,
        }
    }
    body.is_end_stream()
}

/// The body of a request. It is slow in coming, or the node is at work.
pub struct Received {
    body: Option<Incoming>,
    seat: Arc<Seat>,
    left: Left,
}

impl Received {
    pub fn new(body: Incoming, seat: &Arc<Seat>, left: &Left) -> Self {
        Self { body: Some(body), seat: Arc::clone(seat), left: left.clone() }
    }
}

impl hyper::body::Body for Received {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(&mut *body).poll_frame(cx);
        // A body is slow from when it is wanted and is not there. What the node does before it wants it is the node's time.
        if polled.is_pending() {
            self.seat.turn_to(Phase::Body);
        } else if matches!(polled, Poll::Ready(None)) || body.is_end_stream() {
            self.seat.turn_to(Phase::Work);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) else { return };
        self.seat.turn_to(Phase::Work);
        *self.left.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
    }
}

/// The body of an answer. When it is out, its connection is idle.
pub struct Answering {
    body: Body,
    seat: Option<Arc<Seat>>,
}

impl Answering {
    pub fn new(body: Body, seat: Option<Arc<Seat>>) -> Self {
        Self { body, seat }
    }
}

impl hyper::body::Body for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.seat.iter().for_each(|seat| seat.turn_to(Phase::Idle));
    }
}
