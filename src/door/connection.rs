//! One HTTP connection, plain or over TLS, from its first byte, which a proxy may have put before it, until it ends or becomes a socket.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONNECTION, EXPECT};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderValue, StatusCode, Uri};
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
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_rustls::server::TlsStream;

use super::certificate::{self, Certificate};
use super::client::{Client, Peer};
use super::flow::{Answering, Left, Received};
use super::patience::Patient;
use super::seats::{Phase, Seat, Seats};
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
    /// For connections that are not, or not yet, sockets.
    pub(super) seats: Arc<Seats>,
    /// For calls over HTTP/2, of which a connection has many.
    pub(super) calls: Arc<Seats>,
    pub(super) stopping: watch::Receiver<bool>,
}

/// Serves one connection, with a certificate over TLS. Its errors concern nobody but its client, who is gone.
pub(super) async fn serve(entrance: Entrance, mut stream: TcpStream, address: SocketAddr, seat: Arc<Seat>) {
    let terms = entrance.door.terms();
    let deadline = Instant::now() + terms.limits.head_time_max;
    let mut told = None;
    if terms.proxy_protocol && terms.trusted_proxies.contain(address.ip()) {
        let header = tokio::select! {
            header = entrance.door.introduced(&mut stream, deadline, entrance.stopping.clone()) => header,
            _ = seat.given_up() => return,
        };
        match header {
            Some(header) => told = Some(header),
            None => return end(stream).await,
        }
    }
    drop(terms);
    let is_nameless = told.is_some_and(|told| told.client.is_none());
    let Told { client, is_secure } = told.unwrap_or_default();
    client.iter().for_each(|client| seat.name(client.ip()));
    let address = client.unwrap_or(address);
    let peer = Peer { address, is_secure: is_secure || entrance.certificate.is_some(), is_nameless };
    let stream = Patient::new(stream, Arc::clone(&entrance.door));
    let Some(certificate) = entrance.certificate.clone() else {
        return speak(entrance, stream, peer, deadline, seat).await;
    };
    let shaken = tokio::select! {
        shaken = shake_hands(&entrance, &certificate, stream, deadline) => shaken,
        _ = seat.given_up() => return,
    };
    let Some(stream) = shaken else { return };
    match stream.get_ref().1.alpn_protocol() {
        // On the heap, so that connections of the other kind do not have room for this one.
        Some(certificate::HTTP_2) => Box::pin(http2::speak(entrance, stream, peer, deadline, seat)).await,
        // The authority has seen what it came for, and nothing more is said (RFC 8737 section 3).
        Some(certificate::CHALLENGE) => end(stream).await,
        _ => speak(entrance, stream, peer, deadline, seat).await,
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
        outcome = timeout_at(deadline, certificate.acceptor().accept(stream).into_fallible()) => outcome,
        () = stop_asked(&mut stopping) => return None,
    };
    let reason = match outcome {
        Ok(Ok(stream)) => return Some(stream),
        // Who goes before it has said anything may have looked whether somebody listens.
        Ok(Err((_, stream))) if !stream.is_heard() => return None,
        Ok(Err((error, _))) => error.to_string(),
        Err(_) => "it takes too long".to_owned(),
    };
    entrance.door.hub.metrics.tls_failures.add(1);
    tracing::debug!(reason, "a TLS handshake failed");
    None
}

async fn speak(entrance: Entrance, stream: impl Transport, peer: Peer, deadline: Instant, seat: Arc<Seat>) {
    let progress = Arc::new(Progress::default());
    let (door, mut stopping) = (Arc::clone(&entrance.door), entrance.stopping.clone());
    let (seen, own) = (Arc::clone(&progress), Arc::clone(&seat));
    let service = service_fn(move |request: Request<Incoming>| {
        seen.is_heard.store(true, Ordering::Relaxed);
        let (seen, own) = (Arc::clone(&seen), Arc::clone(&own));
        let has_announced = request.headers().contains_key(EXPECT);
        let (answer, left) = answer(&entrance, peer, request, &own);
        Box::pin(async move {
            let mut response = answer.await?;
            // Told before the connection ends for what of the request is not read.
            if !own.is_seated() || !left.is_read(has_announced) {
                response.headers_mut().entry(CONNECTION).or_insert(HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(keep_upgraded(response, &seen, own))
        })
    });
    let mut connection = builder(&door).serve_connection(TokioIo::new(stream), service);
    let (mut head_deadline, mut given_up) = (pin!(sleep_until(deadline)), pin!(seat.given_up()));
    let (mut is_stopping, mut is_waiting, mut is_welcome) = (false, true, true);
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
            phase = &mut given_up, if is_welcome => match phase {
                Phase::Idle => return,
                Phase::Head | Phase::Body => {
                    let _ = connection.into_parts().io.into_inner().write_all(TOO_SLOW).await;
                    return;
                }
                // The answer says so.
                Phase::Work => is_welcome = false,
            },
            () = stop_asked(&mut stopping), if !is_stopping => {
                is_stopping = true;
                std::pin::Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    if served.as_ref().is_err_and(hyper::Error::is_parse_too_large) {
        door.refused_long_head();
    }
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

/// What the routes answer, and what was not read of the request by then.
pub(super) fn answer(
    entrance: &Entrance,
    peer: Peer,
    request: Request<Incoming>,
    seat: &Arc<Seat>,
) -> (impl Future<Output = Result<Response, Infallible>> + use<>, Left) {
    let terms = entrance.door.terms();
    let client = Client::of(&peer, request.headers(), &terms.trusted_proxies);
    let left = Left::default();
    let mut request = request.map(|body| Body::new(Received::new(body, seat, &left)));
    request.extensions_mut().insert(peer);
    request.extensions_mut().insert(client);
    request.extensions_mut().insert(Arc::clone(seat));
    strip_prefix(request.uri_mut(), &terms.path_prefix);
    (TowerToHyperService::new(entrance.routes.clone()).call(request), left)
}

impl Door {
    /// Notes a head that is longer than it may be, which was refused before it was a request.
    fn refused_long_head(&self) {
        self.hub.metrics.refusals.add(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.as_u16(), 1);
        if self.long_heads.begins() {
            let limits = self.terms().limits;
            tracing::warn!(
                head_bytes_max = limits.head_bytes_max,
                headers_max = limits.headers_max,
                "a request is refused with 431, as its head is too long (limits.head_bytes_max, limits.headers_max)"
            );
        }
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
fn keep_upgraded(mut response: Response, progress: &Progress, seat: Arc<Seat>) -> hyper::Response<Answering> {
    let handover = response.extensions_mut().remove::<Handover>();
    // What becomes a socket is idle no more.
    let seat = handover.is_none().then_some(seat);
    if let Some(handover) = handover {
        *progress.upgraded.lock().unwrap_or_else(PoisonError::into_inner) = handover.take();
    }
    response.map(|body| Answering::new(body, seat))
}
