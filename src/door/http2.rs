//! One connection on which TLS has agreed on HTTP/2 (RFC 9113): many calls at once, and no sockets, as those are not
//! offered there (RFC 8441).
//!
//! Always: a call has a seat until its answer is taken, as a connection has, so calls together are as bounded as connections
//! are; a connection on which nothing is asked, or of one answer nothing taken, ends, and a client that does not
//! hear of it is left.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::{Instant, sleep_until};
use tokio_rustls::server::TlsStream;

use super::Door;
use super::client::Peer;
use super::connection::{Entrance, LINGER_MAX, answer, stop_asked};
use super::patience::Patient;
use super::seats::{Phase, Seat};

/// What may wait in one stream for a client that does not read, in bytes.
const SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// As much of an answer is given to its stream at a time, in bytes: who takes one has made room for the next.
const PIECE_BYTES_MAX: usize = 16 * 1024;

/// Serves it until it ends. The first call has to come before `deadline`.
pub async fn speak(
    entrance: Entrance,
    stream: TlsStream<Patient>,
    peer: Peer,
    deadline: Instant,
    own: Arc<Seat>,
) {
    let calls = Arc::new(Calls { asked: Mutex::default(), seat: Arc::clone(&own) });
    let service = service_fn(|request| {
        let (entrance, call) = (entrance.clone(), Call::begin(&calls));
        async move {
            let terms = entrance.door.terms();
            let address = Some(peer.address.ip()).filter(|_| !peer.is_one_of(&terms.trusted_proxies));
            let seat = Arc::new(entrance.calls.enter(address, terms.addresses.connections_max));
            if request.headers().len() > terms.limits.headers_max {
                let refused = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                entrance.door.hub.metrics.refusals.add(refused.as_u16(), 1);
                return Ok(refused.into_response().map(|body| Told::begin(body, call, seat)));
            }
            drop(terms);
            let (answer, _) = answer(&entrance, peer, request, &seat);
            let response = tokio::select! {
                response = answer => response?,
                () = is_too_slow(&seat) => StatusCode::REQUEST_TIMEOUT.into_response(),
            };
            Ok::<_, Infallible>(response.map(|body| Told::begin(body, call, seat)))
        }
    });
    let mut connection = pin!(builder(&entrance.door).serve_connection(TokioIo::new(stream), service));
    let (mut stopping, mut is_ending) = (entrance.stopping.clone(), false);
    let stall_max = entrance.door.settings.stall_time_max;
    let mut patience = pin!(sleep_until(deadline.min(calls.stall_end(stall_max))));
    loop {
        tokio::select! {
            _ = &mut connection => return,
            _ = own.given_up(), if !is_ending => {}
            () = stop_asked(&mut stopping), if !is_ending => {}
            () = &mut patience => {
                if calls.stall_end(stall_max) <= Instant::now() {
                    entrance.door.hub.metrics.unread_answers.add(1);
                    return;
                }
                let (idle_max, deadline) = match is_ending {
                    true => (LINGER_MAX, Instant::now()),
                    false => (entrance.door.terms().limits.idle_time_max, deadline),
                };
                match calls.patience(idle_max, deadline) {
                    Some(later) => {
                        patience.as_mut().reset(later.min(calls.stall_end(stall_max)));
                        continue;
                    }
                    None if is_ending => return,
                    None => entrance.door.hub.metrics.slow_heads.add(u64::from(calls.is_unasked())),
                }
            }
        }
        is_ending = true;
        connection.as_mut().graceful_shutdown();
        patience.as_mut().reset(Instant::now() + LINGER_MAX);
    }
}

/// Returns when a call has to make room for another, as what it sends is slow in coming.
async fn is_too_slow(seat: &Seat) {
    if seat.given_up().await == Phase::Work {
        // It stands by, and its answer says so.
        std::future::pending().await
    }
}

fn builder(door: &Door) -> http2::Builder<TokioExecutor> {
    let (limits, mut builder) = (door.terms().limits, http2::Builder::new(TokioExecutor::new()));
    // What resets streams as quickly as it opens them is ended by h2, which bounds both kinds of resets.
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(door.settings.http2_streams_max)
        .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX))
        .max_send_buf_size(SEND_BUFFER_BYTES_MAX);
    builder
}

/// What is asked on a connection.
struct Calls {
    asked: Mutex<Asked>,
    /// That of their connection.
    seat: Arc<Seat>,
}

#[derive(Default)]
struct Asked {
    under_way: usize,
    /// When the last call began or ended; none before the first.
    last: Option<Instant>,
    /// How many calls there were, by which they are numbered.
    count: u64,
    /// Since when answers wait to be taken, by the numbers of their calls.
    waiting: HashMap<u64, Instant>,
}

impl Calls {
    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_unasked(&self) -> bool {
        self.lock().last.is_none()
    }

    /// Until when a connection may go on that may be idle for so long, or until `deadline` if nothing was asked; none if that is
    /// over.
    fn patience(&self, idle_max: Duration, deadline: Instant) -> Option<Instant> {
        let (asked, now) = (self.lock(), Instant::now());
        let until = match asked.last {
            Some(_) if asked.under_way > 0 => now + idle_max,
            Some(last) => last + idle_max,
            None => deadline,
        };
        Some(until).filter(|until| *until > now)
    }

    /// Before when no answer has waited for so long.
    fn stall_end(&self, stall_max: Duration) -> Instant {
        self.lock().waiting.values().min().copied().unwrap_or_else(Instant::now) + stall_max
    }
}

/// A call under way, until it is dropped.
struct Call {
    calls: Arc<Calls>,
    number: u64,
}

impl Call {
    fn begin(calls: &Arc<Calls>) -> Self {
        let mut asked = calls.lock();
        asked.under_way += 1;
        asked.last = Some(Instant::now());
        asked.count += 1;
        calls.seat.turn_to(Phase::Work);
        Self { calls: Arc::clone(calls), number: asked.count }
    }

    /// Something of its answer waits to be taken, or nothing does.
    fn wait(&self, is_waiting: bool) {
        let mut asked = self.calls.lock();
        match is_waiting {
            true => asked.waiting.insert(self.number, Instant::now()),
            false => asked.waiting.remove(&self.number),
        };
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut asked = self.calls.lock();
        asked.waiting.remove(&self.number);
        asked.under_way -= 1;
        asked.last = Some(Instant::now());
        if asked.under_way == 0 {
            self.calls.seat.turn_to(Phase::Idle);
        }
    }
}

/// The body of an answer, and what its call holds for as long as the answer flows.
struct Told {
    body: Body,
    /// What of the body has come and was not given on yet.
    rest: Bytes,
    call: Call,
    _seat: Arc<Seat>,
}

impl Told {
    fn begin(body: Body, call: Call, seat: Arc<Seat>) -> Self {
        // A stream asks for nothing before its client has made room.
        call.wait(true);
        Self { body, rest: Bytes::new(), call, _seat: seat }
    }
}

impl hyper::body::Body for Told {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.call.wait(false);
        if self.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(frame) => return Poll::Ready(Some(Ok(frame))),
            }
        }
        self.call.wait(true);
        let length = self.rest.len().min(PIECE_BYTES_MAX);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // It is asked before anything was taken.
        if self.rest.is_empty() { self.body.size_hint() } else { SizeHint::default() }
    }
}
