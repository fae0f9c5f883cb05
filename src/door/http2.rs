//! One connection on which TLS has agreed on HTTP/2 (RFC 9113): many calls at once, and no sockets, as those are not
//! offered there (RFC 8441).
//!
//! Always: a call has a place of its listener, as a connection has, so calls together are as bounded as connections are;
//! a connection on which nothing is asked ends, and a client that does not hear of it is left.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::server::TlsStream;

use super::Door;
use super::client::Peer;
use super::connection::{Entrance, LINGER_MAX, answer, stop_asked};
use super::patience::Patient;

/// What may wait in one stream for a client that does not read, in bytes.
const SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Serves it until it ends. The first call has to come before `deadline`.
pub async fn speak(entrance: Entrance, stream: TlsStream<Patient>, peer: Peer, deadline: Instant) {
    let (calls, own) = (Arc::new(Calls::default()), Arc::new(Semaphore::new(1)));
    let service = service_fn(|request| {
        let call = Call::begin(&calls);
        let (entrance, own) = (entrance.clone(), Arc::clone(&own));
        async move {
            let _call = call;
            // One call has the place of its connection; with none of both, it waits as connections do.
            let _place = tokio::select! {
                place = own.acquire() => place,
                place = entrance.places.acquire() => place,
            };
            if request.headers().len() > entrance.door.terms().limits.headers_max {
                return Ok(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.into_response());
            }
            answer(&entrance, peer, request).await
        }
    });
    let mut connection = pin!(builder(&entrance.door).serve_connection(TokioIo::new(stream), service));
    let (mut stopping, mut is_ending) = (entrance.stopping.clone(), false);
    let mut patience = pin!(sleep_until(deadline));
    loop {
        tokio::select! {
            _ = &mut connection => return,
            () = stop_asked(&mut stopping), if !is_ending => {}
            () = &mut patience => {
                let idle_max = if is_ending { LINGER_MAX } else { entrance.door.terms().limits.idle_time_max };
                match calls.patience(idle_max) {
                    Some(later) => {
                        patience.as_mut().reset(later);
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
#[derive(Default)]
struct Calls(Mutex<Asked>);

#[derive(Default)]
struct Asked {
    under_way: usize,
    /// When the last call began or ended; none before the first.
    last: Option<Instant>,
}

impl Calls {
    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_unasked(&self) -> bool {
        self.lock().last.is_none()
    }

    /// Until when a connection may go on that may be idle for so long; none if that is over.
    fn patience(&self, idle_max: Duration) -> Option<Instant> {
        let asked = self.lock();
        let since = if asked.under_way > 0 { Instant::now() } else { asked.last? };
        Some(since + idle_max).filter(|until| *until > Instant::now())
    }
}

/// A call under way, until it is dropped.
struct Call(Arc<Calls>);

impl Call {
    fn begin(calls: &Arc<Calls>) -> Self {
        let mut asked = calls.lock();
        asked.under_way += 1;
        asked.last = Some(Instant::now());
        Self(Arc::clone(calls))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut asked = self.0.lock();
        asked.under_way -= 1;
        asked.last = Some(Instant::now());
    }
}
