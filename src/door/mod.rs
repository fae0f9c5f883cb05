//! The control plane's way in: HTTP on two listeners. A request is parsed by a dialect, asked of the hub and
//! answered by the dialect; an upgrade becomes a socket and is handed to a shard. Nothing here touches a live
//! socket.

mod addresses;
mod answer;
mod body;
mod browsers;
mod burst;
mod certificate;
mod client;
mod cluster;
mod connection;
mod console;
mod cors;
mod credentials;
mod flow;
mod http2;
mod openapi;
mod operation;
mod patience;
mod private;
mod proxy;
mod public;
mod refused;
mod seats;
mod signed;
mod terms;
mod throttle;
mod ui;
mod upgrade;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CONTENT_ENCODING, HOST, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, Version};
use axum::middleware::{self, Next};
use axum::response::Response;
use quick_cache::sync::Cache;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};

use addresses::Addresses;
use burst::Burst;
pub use certificate::{Certificate, CertificateUnusable};
use client::Client;
use connection::Entrance;
use console::Console;
pub use credentials::{CredentialSettings, Credentials, SuperAdmin};
use refused::Subject;
pub use seats::standbys_max;
use seats::{Phase, Seat, Seats};
pub use terms::{DoorLimits, Terms};
pub use throttle::ThrottleLimits;

use crate::admin::Monitor;
use crate::config::{ConsoleSettings, LogSwitch};
use crate::hook::{ConnectHook, Webhooks};
use crate::hub::Hub;
use crate::model::pattern::PatternLimits;
use crate::model::{Pattern, Refusal};

/// How long a listener rests when the process has no descriptor left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many compiled patterns are kept for the next push.
const PATTERNS_KEPT: usize = 64;

/// What of a door stays as it is.
#[derive(Clone, Debug)]
pub struct DoorSettings {
    /// Connections of one listener that are not, or not yet, sockets.
    pub connections_max: usize,
    /// Calls at once on one connection over HTTP/2.
    pub http2_streams_max: u32,
    /// How long a client may take no byte while an answer waits for it, before its connection is reset.
    pub stall_time_max: Duration,
    /// What a user pattern may be.
    pub pattern: PatternLimits,
    /// Nothing but the dialect of Gusher Cluster is served, and requests are logged as there: with path and address.
    pub only_cluster: bool,
    /// What bounds the console, and whether there is one.
    pub console: ConsoleSettings,
    /// Where sockets connect, as the configuration says it.
    pub public: String,
    /// They do so over TLS.
    pub is_public_tls: bool,
}

/// What a door leads to, and what guards it.
#[derive(Debug)]
pub struct DoorParts {
    /// What requests are about.
    pub hub: Arc<Hub>,
    /// Asked before a socket is admitted.
    pub hook: ConnectHook,
    /// Asked how they fare.
    pub webhooks: Arc<Webhooks>,
    /// Asked by those who run the node.
    pub monitor: Monitor,
    /// Changes how much is logged.
    pub log: Arc<LogSwitch>,
    /// Tells who calls.
    pub credentials: Credentials,
    /// What is shown to who connects over TLS.
    pub certificate: Option<Arc<Certificate>>,
    /// On which terms it lets in, to begin with.
    pub terms: Terms,
}

/// What the routes of both listeners need.
#[derive(Debug)]
pub struct Door {
    hub: Arc<Hub>,
    hook: ConnectHook,
    webhooks: Arc<Webhooks>,
    monitor: Monitor,
    log: Arc<LogSwitch>,
    credentials: Credentials,
    certificate: Option<Arc<Certificate>>,
    terms: ArcSwap<Terms>,
    settings: DoorSettings,
    patterns: Cache<String, Pattern>,
    addresses: Addresses,
    console: Console,
    /// The last socket of a node that restarts is closed.
    emptied: watch::Sender<bool>,
    /// For each large body that is looked at.
    large_bodies: Arc<Semaphore>,
    long_heads: Burst,
}

impl Door {
    /// A door of these parts.
    pub fn new(parts: DoorParts, settings: DoorSettings) -> Arc<Self> {
        let DoorParts { hub, hook, webhooks, monitor, log, credentials, certificate, terms } = parts;
        let addresses = Addresses::default();
        addresses.change(&terms.addresses);
        let (terms, patterns) = (ArcSwap::from_pointee(terms), Cache::new(PATTERNS_KEPT));
        let console = Console::new(settings.console, settings.public.clone(), settings.is_public_tls);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Arc::new(Self {
            hub,
            hook,
            webhooks,
            monitor,
            log,
            credentials,
            certificate,
            terms,
            settings,
            patterns,
            addresses,
            console,
            emptied: watch::Sender::new(false),
            long_heads: Burst::default(),
            large_bodies: Arc::new(Semaphore::new((cores / 2).max(1))),
        })
    }

    /// The last socket is closed: whom a restart keeps waiting is sent away, to come back.
    pub fn send_away(&self) {
        self.emptied.send_replace(true);
    }

    /// Lets in on other terms from now on.
    pub fn change(&self, terms: Terms) {
        self.credentials.throttle.change(terms.sign_ins);
        self.addresses.change(&terms.addresses);
        self.terms.store(Arc::new(terms));
    }

    /// Forgets what of addresses makes no difference any more; to be called now and then.
    pub fn tidy(&self) {
        self.addresses.tidy();
        self.credentials.throttle.tidy(std::time::Instant::now());
    }

    /// The terms of this moment.
    fn terms(&self) -> Arc<Terms> {
        self.terms.load_full()
    }

    /// The routes of the public listener.
    pub fn public(self: &Arc<Self>) -> Router {
        let routes = match self.settings.only_cluster {
            // A slave has no other listener.
            true => public::cluster_routes().merge(operation::figure_routes()),
            false => public::routes(),
        };
        let routes = routes.layer(middleware::from_fn_with_state(Arc::clone(self), refuse_while_draining));
        finish(routes, self, Listener::Public)
    }

    /// The routes of the private listener.
    pub fn private(self: &Arc<Self>) -> Router {
        let routes = if self.settings.only_cluster { private::cluster_routes() } else { private::routes() };
        // Those who run the node may ask to the end.
        let routes = routes.layer(middleware::from_fn_with_state(Arc::clone(self), refuse_while_draining));
        let has_console = self.console.is_enabled() && !self.settings.only_cluster;
        let routes = if has_console { routes.merge(console::routes()) } else { routes };
        let asked_of_the_node =
            operation::routes().merge(operation::figure_routes()).merge(operation::log_routes());
        finish(routes.merge(asked_of_the_node), self, Listener::Private)
    }

    /// Serves a listener, with a certificate over TLS, until `stopping` says so, then lets the requests under way finish for at most `grace`.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        (name, routes): (&'static str, Router),
        certificate: Option<Arc<Certificate>>,
        stopping: watch::Receiver<bool>,
        grace: Duration,
    ) {
        let max = self.settings.connections_max;
        let seats = Seats::new(&self.hub, name, max);
        let calls = Seats::new(&self.hub, "calls over HTTP/2", max);
        let mut stopped = stopping.clone();
        let entrance = Entrance {
            door: Arc::clone(&self),
            routes,
            certificate,
            seats: Arc::clone(&seats),
            calls: Arc::clone(&calls),
            stopping,
        };
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => {}
            () = self.accept_all(&listener, &entrance) => {}
            () = look_after([&seats, &calls]) => {}
        }
        welcome_rest(listener, &entrance);
        // When the grace is over, the connections that are left end with the process.
        let _ = timeout(grace, seats.empty()).await;
    }

    /// Without room nothing is accepted: who comes waits in the kernel's backlog.
    async fn accept_all(&self, listener: &TcpListener, entrance: &Entrance) {
        loop {
            entrance.seats.room().await;
            let (stream, peer) = self.accept(listener).await;
            welcome(entrance, stream, peer);
        }
    }

    async fn accept(&self, listener: &TcpListener) -> (TcpStream, SocketAddr) {
        let mut is_told = false;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => return (stream, canonical(peer)),
                Err(error) => {
                    self.hub.metrics.accept_failures.add(1);
                    if !std::mem::replace(&mut is_told, true) {
                        tracing::warn!(%error, "connections cannot be accepted, and wait");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// The pattern of a user_tag, compiled now or kept from an earlier push.
    fn pattern(&self, source: &str) -> Result<Pattern, Refusal> {
        if let Some(pattern) = self.patterns.get(source) {
            return Ok(pattern);
        }
        let compiled = Pattern::parse(source, self.settings.pattern);
        let pattern = compiled.map_err(|error| Refusal::PatternInvalid(error.to_string()))?;
        self.patterns.insert(source.to_owned(), pattern.clone());
        Ok(pattern)
    }
}

/// Seats those who stand by when others have become slow, of which nobody is told.
async fn look_after(seats: [&Seats; 2]) {
    loop {
        sleep(seats::LOOK_EVERY).await;
        seats.iter().for_each(|seats| seats.look());
    }
}

/// Serves a connection, which has its seat until it ends or becomes a socket. One of a trusted proxy may be anybody's, and is
/// counted as nobody's until it is known whose it is.
fn welcome(entrance: &Entrance, stream: TcpStream, peer: SocketAddr) {
    let terms = entrance.door.terms.load();
    let address = Some(peer.ip()).filter(|address| !terms.trusted_proxies.contain(*address));
    let seat = Arc::new(entrance.seats.enter(address, terms.addresses.connections_max));
    tokio::spawn(connection::serve(entrance.clone(), stream, peer, seat));
}

/// Closes a listener. Whom the kernel has let in by then would be reset, so they are taken over first, as far as there is
/// room.
fn welcome_rest(listener: TcpListener, entrance: &Entrance) {
    let Ok(listener) = listener.into_std() else { return };
    while entrance.seats.has_room() {
        let next = listener.accept().and_then(|(stream, peer)| {
            stream.set_nonblocking(true)?;
            Ok((TcpStream::from_std(stream)?, canonical(peer)))
        });
        let Ok((stream, peer)) = next else { return };
        welcome(entrance, stream, peer);
    }
}

/// Which of the two listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listener {
    /// For sockets.
    Public,
    /// For backends.
    Private,
}

/// Adds what all routes share: the answers to unknown paths and methods, what every address is asked, and the log.
fn finish(routes: Router<Arc<Door>>, door: &Arc<Door>, listener: Listener) -> Router {
    routes
        .fallback(|State(door): State<Arc<Door>>, head: Parts| async move {
            match door.settings.only_cluster {
                true => answer::refuse(&Refusal::PathUnknown),
                false => upgrade::unknown_path(&head),
            }
        })
        .method_not_allowed_fallback(|| async { answer::refuse(&Refusal::MethodNotAllowed) })
        // Last, since they only wrap what is there by now.
        .layer(middleware::from_fn_with_state((Arc::clone(door), listener), browsers::refuse_foreign_pages))
        .layer(middleware::from_fn_with_state(Arc::clone(door), cors::allow))
        .layer(middleware::map_response_with_state(Arc::clone(door), challenge))
        .layer(middleware::from_fn_with_state((Arc::clone(door), listener), guard))
        .layer(middleware::map_response(tell_when))
        .layer(middleware::from_fn_with_state(Arc::clone(door), log))
        .with_state(Arc::clone(door))
}

/// Whoever is not refused for good is told when it is worth while to come again (RFC 9110 section 10.2.3): rates are counted by
/// the second, and a node has more to do until it has room again.
async fn tell_when(mut response: Response) -> Response {
    let seconds = match response.status() {
        StatusCode::TOO_MANY_REQUESTS => "1",
        StatusCode::SERVICE_UNAVAILABLE => "5",
        _ => return response,
    };
    response.headers_mut().entry(RETRY_AFTER).or_insert(HeaderValue::from_static(seconds));
    response
}

/// Whoever is to show that it may is asked for what is taken here.
async fn challenge(State(door): State<Arc<Door>>, mut response: Response) -> Response {
    if let Some(challenge) = response.headers_mut().get_mut(WWW_AUTHENTICATE) {
        *challenge = HeaderValue::from_static(door.terms().admin.challenge());
    }
    response
}

/// What an address may not do is refused before anything else is looked at.
async fn guard(
    State((door, listener)): State<(Arc<Door>, Listener)>,
    mut request: Request,
    next: Next,
) -> Response {
    let allowed = match door.permit(&request, listener) {
        Ok(()) => door.seat(&mut request).await,
        refused => refused,
    };
    match allowed {
        Ok(()) => next.run(request).await,
        Err(refusal) => answer::refuse(&refusal),
    }
}

impl Door {
    /// # Errors
    /// [`Refusal::AddressNotAllowed`], [`Refusal::CallsExceeded`], [`Refusal::BodyEncoded`]; [`Refusal::ParametersInvalid`] if
    /// it is not clear which host is meant (RFC 9112 section 3.2).
    fn permit(&self, request: &Request, listener: Listener) -> Result<(), Refusal> {
        let Some(Client { address, .. }) = Client::in_extensions(request.extensions()) else { return Ok(()) };
        let allowed = &self.terms.load().api_allow;
        if listener == Listener::Private && !allowed.is_empty() && !allowed.contain(address) {
            return Err(Refusal::AddressNotAllowed);
        }
        if request.version() == Version::HTTP_11 && request.headers().get_all(HOST).iter().count() != 1 {
            return Err(Refusal::ParametersInvalid("a request has one Host header".to_owned()));
        }
        if request.headers().get_all(CONTENT_ENCODING).iter().any(|encoding| encoding != "identity") {
            return Err(Refusal::BodyEncoded);
        }
        let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
        if operation::is_operation(route) || upgrade::is_upgrade(route) {
            return Ok(());
        }
        self.addresses.call(address)
    }

    /// Waits for a seat, if there was none yet. Who asks how the node fares needs none.
    ///
    /// # Errors
    /// [`Refusal::Overloaded`].
    async fn seat(&self, request: &mut Request) -> Result<(), Refusal> {
        let Some(seat) = request.extensions_mut().remove::<Arc<Seat>>() else { return Ok(()) };
        let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
        // As long as this waits for the node, it is not slow.
        seat.turn_to(Phase::Work);
        if !operation::is_operation(route) && !seat.is_seated() {
            let patience = self.terms.load().limits.head_time_max;
            if !timeout(patience, seat.seated()).await.unwrap_or(false) {
                return Err(Refusal::Overloaded);
            }
        }
        Ok(())
    }
}

/// One line per request. There is no query, and so no token; and the route stands for the path, and so no user_tag, but
/// in the roles of Gusher Cluster (spec 2.1).
async fn log(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("", MatchedPath::as_str);
    let subject = Subject::of(route, request.uri().path());
    let named = door.settings.only_cluster.then(|| Named::of(&request));
    let response = next.run(request).await;
    let taken = begun.elapsed();
    if response.status().is_client_error() || response.status().is_server_error() {
        door.hub.metrics.refusals.add(response.status().as_u16(), 1);
        door.show_refused(&subject, &response);
    }
    if let Some(answer::AddressRefused(reason)) = response.extensions().get() {
        door.hub.metrics.address_refusals.add(reason, 1);
    }
    if publishes(&method, route) {
        door.hub.metrics.publish_times.observe(taken);
    }
    let status = response.status().as_u16();
    match named {
        None => {
            tracing::info!(%method, route, app = subject.app, status, ms = taken.as_millis() as u64, "request")
        }
        Some(Named { path, remote }) => {
            let dur = taken.as_micros() as f64 / 1000.0;
            tracing::info!(%method, path, status, remote, dur, "request");
        }
    }
    response
}

/// What a line about a request tells of its client.
struct Named {
    path: String,
    remote: String,
}

impl Named {
    fn of(request: &Request) -> Self {
        let remote = Client::in_extensions(request.extensions()).map(|client| client.to_string());
        Self { path: request.uri().path().to_owned(), remote: remote.unwrap_or_default() }
    }
}

/// A node that stops takes no orders any more: what it would publish reaches sockets that are being closed.
async fn refuse_while_draining(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    // Those who open sockets are told in the words of their dialect, and a load balancer why.
    let is_call = !upgrade::is_upgrade(route) && !operation::is_operation(route);
    if is_call && door.hub.is_draining() {
        answer::refuse(&Refusal::Draining)
    } else {
        next.run(request).await
    }
}

/// Whether a request to this route publishes.
fn publishes(method: &Method, route: &str) -> bool {
    let is_publishing = route.starts_with("/api/push/")
        || ["/events", "/batch_events", "/messages", "/messages/batch"]
            .iter()
            .any(|end| route.ends_with(end));
    *method == Method::POST && is_publishing
}

/// An IPv4 peer of a listener for both families is shown as what it is.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}
