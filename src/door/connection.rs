//! One HTTP connection, from its first byte until it ends or becomes a socket.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncWriteExt, copy, sink};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::Door;
use super::upgrade::{Handover, Upgraded};
use crate::net::stream::Stream;

/// What a client is told whose request does not come; the body of no request was read yet.
const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// How long a client may go on sending behind the last answer.
const LINGER_MAX: Duration = Duration::from_secs(2);

/// The address at the other end, as the routes see it.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Between the routes, which admit a socket, and the connection, which hands its stream over.
#[derive(Default)]
struct Progress {
    /// A request's head has come.
    is_heard: AtomicBool,
    upgraded: Mutex<Option<Upgraded>>,
}

/// Serves one connection. Its errors concern nobody but its client, who is gone.
pub async fn serve(
    door: Arc<Door>,
    stream: TcpStream,
    peer: SocketAddr,
    routes: Router,
    mut stopping: watch::Receiver<bool>,
) {
    let progress = Arc::new(Progress::default());
    let (seen, keeper) = (Arc::clone(&progress), Arc::clone(&door));
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(move |mut request: Request<Incoming>| {
        seen.is_heard.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(Peer(peer));
        strip_prefix(request.uri_mut(), &keeper.settings.path_prefix);
        let (answer, seen) = (routes.call(request), Arc::clone(&seen));
        Box::pin(async move { answer.await.map(|response| keep_upgraded(response, &seen)) })
    });
    let mut connection = builder(&door).serve_connection(TokioIo::new(stream), service);
    let head_deadline = sleep(door.settings.limits.head_time_max);
    tokio::pin!(head_deadline);
    let (mut is_stopping, mut is_waiting) = (false, true);
    let served = loop {
        tokio::select! {
            served = poll_fn(|cx| connection.poll_without_shutdown(cx)) => break served,
            () = &mut head_deadline, if is_waiting => {
                is_waiting = false;
                if !progress.is_heard.load(Ordering::Relaxed) {
                    door.hub.metrics.slow_heads.add(1);
                    let mut stream = connection.into_parts().io.into_inner();
                    let _ = stream.write_all(TOO_SLOW).await;
                    return end(stream).await;
                }
            }
            () = stop_asked(&mut stopping), if !is_stopping => {
                is_stopping = true;
                std::pin::Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    let parts = connection.into_parts();
    let upgraded = progress.upgraded.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut stream = parts.io.into_inner();
    match upgraded {
        // Not opened, the admission takes itself back.
        Some(Upgraded::Admitted(admission)) if served.is_ok() => {
            if let Ok(stream) = stream.into_std().and_then(Stream::new) {
                admission.open(stream, parts.read_buf);
            }
        }
        Some(Upgraded::TurnedAway(frames)) if served.is_ok() => {
            let _ = stream.write_all(&frames).await;
            end(stream).await;
        }
        _ => end(stream).await,
    }
}

/// Under the prefix is what the Pusher dialect serves at the root, and nothing else. Signatures are made of the path
/// without it (pusher-channels 13).
fn strip_prefix(uri: &mut Uri, prefix: &str) {
    let whole = uri.path_and_query().map_or("", PathAndQuery::as_str);
    let Some(rest) = whole.strip_prefix(prefix).filter(|_| !prefix.is_empty()) else { return };
    if ["/app/", "/apps/", "/users/"].iter().any(|path| rest.starts_with(path)) {
        // The rest of what was parsed can be parsed.
        if let Ok(rest) = rest.parse() {
            *uri = rest;
        }
    }
}

/// Ends a connection in such a way that a client which is still sending sees its answer: a stream that is dropped
/// while bytes of it are unread is reset (RFC 9112 section 9.6).
async fn end(mut stream: TcpStream) {
    if stream.shutdown().await.is_ok() {
        let _ = timeout(LINGER_MAX, copy(&mut stream, &mut sink())).await;
    }
}

/// Returns when the node stops, or is gone.
async fn stop_asked(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

fn builder(door: &Door) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(door.settings.limits.idle_time_max)
        .max_headers(door.settings.limits.headers_max)
        .max_header_size(door.settings.limits.head_bytes_max);
    builder
}

/// An answer to an upgrade leaves with the connection what becomes of it.
fn keep_upgraded(mut response: Response, progress: &Progress) -> Response {
    if let Some(handover) = response.extensions_mut().remove::<Handover>() {
        *progress.upgraded.lock().unwrap_or_else(PoisonError::into_inner) = handover.take();
    }
    response
}
