//! One HTTP connection, plain or over TLS, from its first byte, which a proxy may have put before it, until it ends or becomes a socket.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use axum::response::Response;
use bytes::Bytes;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, sink};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_rustls::server::TlsStream;

use super::certificate::{self, Certificate};
use super::client::{Client, Peer};
use super::patience::Patient;
use super::upgrade::{Handover, Upgraded};
use super::{Door, http2};
use crate::net::proxy_protocol::Told;
use crate::net::stream::Stream;

/// What a client is told whose request does not come; the body of no request was read yet.
const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// How long a client may go on sending behind the last answer.
pub(super) const LINGER_MAX: Duration = Duration::from_secs(2);

/// What carries a connection until a shard takes it over.
trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// The stream for a shard, and all that was read of it: `ahead`, and what follows that.
    fn hand_over(self, ahead: Bytes) -> io::Result<(Stream, Bytes)>;
}

impl Transport for Patient {
    fn hand_over(self, ahead: Bytes) -> io::Result<(Stream, Bytes)> {
        Ok((Stream::new(self.into_inner().into_std()?)?, ahead))
    }
}

impl Transport for TlsStream<Patient> {
    fn hand_over(self, ahead: Bytes) -> io::Result<(Stream, Bytes)> {
        let (patient, mut connection) = self.into_inner();
        let mut ahead = Vec::from(ahead);
        // What is decrypted is not in the kernel any more, which will not report it. The error says that it was all.
        let _ = connection.reader().read_to_end(&mut ahead);
        Ok((Stream::new(patient.into_inner().into_std()?)?.under(connection.into()), ahead.into()))
    }
}

/// Between the routes, which admit a socket, and the connection, which hands its stream over.
#[derive(Default)]
struct Progress {
    /// A request's head has come.
    is_heard: AtomicBool,
    upgraded: Mutex<Option<Upgraded>>,
}

/// What the connections of one listener have in common.
#[derive(Clone)]
pub(super) struct Entrance {
    pub(super) door: Arc<Door>,
    pub(super) routes: Router,
    /// With one, TLS is spoken.
    pub(super) certificate: Option<Arc<Certificate>>,
    /// For connections that are not, or not yet, sockets, and for the calls that HTTP/2 has more of than connections.
    pub(super) places: Arc<Semaphore>,
    pub(super) stopping: watch::Receiver<bool>,
}

/// Serves one connection, with a certificate over TLS. Its errors concern nobody but its client, who is gone.
pub(super) async fn serve(entrance: Entrance, mut stream: TcpStream, address: SocketAddr) {
    let terms = entrance.door.terms();
    let deadline = Instant::now() + terms.limits.head_time_max;
    let mut told = None;
    if terms.proxy_protocol && terms.trusted_proxies.contain(address.ip()) {
        match entrance.door.introduced(&mut stream, deadline, entrance.stopping.clone()).await {
            Some(header) => told = Some(header),
            None => return end(stream).await,
        }
    }
    drop(terms);
    let is_nameless = told.is_some_and(|told| told.client.is_none());
    let Told { client, is_secure } = told.unwrap_or_default();
    let address = client.unwrap_or(address);
    let peer = Peer { address, is_secure: is_secure || entrance.certificate.is_some(), is_nameless };
    let stream = Patient::new(stream, Arc::clone(&entrance.door));
    let Some(certificate) = entrance.certificate.clone() else {
        return speak(entrance, stream, peer, deadline).await;
    };
    let Some(stream) = shake_hands(&entrance, &certificate, stream, deadline).await else { return };
    match stream.get_ref().1.alpn_protocol() {
        // On the heap, so that connections of the other kind do not have room for this one.
        Some(certificate::HTTP_2) => Box::pin(http2::speak(entrance, stream, peer, deadline)).await,
        // The authority has seen what it came for, and nothing more is said (RFC 8737 section 3).
        Some(certificate::CHALLENGE) => end(stream).await,
        _ => speak(entrance, stream, peer, deadline).await,
    }
}

/// The TLS handshake. A client that fails in it, or is still at it when the node stops, is dropped.
async fn shake_hands(
    entrance: &Entrance,
    certificate: &Certificate,
    stream: Patient,
    deadline: Instant,
) -> Option<TlsStream<Patient>> {
    let mut stopping = entrance.stopping.clone();
    let outcome = tokio::select! {
        outcome = timeout_at(deadline, certificate.acceptor().accept(stream)) => outcome,
        () = stop_asked(&mut stopping) => return None,
    };
    let reason = match outcome {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it takes too long".to_owned(),
    };
    entrance.door.hub.metrics.tls_failures.add(1);
    tracing::debug!(reason, "a TLS handshake failed");
    None
}

async fn speak(entrance: Entrance, stream: impl Transport, peer: Peer, deadline: Instant) {
    let progress = Arc::new(Progress::default());
    let (door, mut stopping) = (Arc::clone(&entrance.door), entrance.stopping.clone());
    let seen = Arc::clone(&progress);
    let service = service_fn(move |request: Request<Incoming>| {
        seen.is_heard.store(true, Ordering::Relaxed);
        let (answer, seen) = (answer(&entrance, peer, request), Arc::clone(&seen));
        Box::pin(async move { answer.await.map(|response| keep_upgraded(response, &seen)) })
    });
    let mut connection = builder(&door).serve_connection(TokioIo::new(stream), service);
    let head_deadline = sleep_until(deadline);
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
            if let Ok((stream, ahead)) = stream.hand_over(parts.read_buf) {
                admission.open(stream, ahead);
            }
        }
        Some(Upgraded::TurnedAway(frames)) if served.is_ok() => {
            let _ = stream.write_all(&frames).await;
            end(stream).await;
        }
        _ => end(stream).await,
    }
}

/// What the routes answer.
pub(super) fn answer(
    entrance: &Entrance,
    peer: Peer,
    mut request: Request<Incoming>,
) -> impl Future<Output = Result<Response, Infallible>> + use<> {
    let terms = entrance.door.terms();
    let client = Client::of(&peer, request.headers(), &terms.trusted_proxies);
    request.extensions_mut().insert(peer);
    request.extensions_mut().insert(client);
    strip_prefix(request.uri_mut(), &terms.path_prefix);
    TowerToHyperService::new(entrance.routes.clone()).call(request)
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
async fn end(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    if stream.shutdown().await.is_ok() {
        let _ = timeout(LINGER_MAX, copy(&mut stream, &mut sink())).await;
    }
}

/// Returns when the node stops, or is gone.
pub(super) async fn stop_asked(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

fn builder(door: &Door) -> http1::Builder {
    let (limits, mut builder) = (door.terms().limits, http1::Builder::new());
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_time_max)
        .max_headers(limits.headers_max)
        .max_header_size(limits.head_bytes_max);
    builder
}

/// An answer to an upgrade leaves with the connection what becomes of it.
fn keep_upgraded(mut response: Response, progress: &Progress) -> Response {
    if let Some(handover) = response.extensions_mut().remove::<Handover>() {
        *progress.upgraded.lock().unwrap_or_else(PoisonError::into_inner) = handover.take();
    }
    response
}
