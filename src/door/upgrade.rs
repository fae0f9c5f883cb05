//! A request becomes a socket: admit or refuse, then hand the stream to a shard and forget it.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{
    CONNECTION, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use bytes::Bytes;
use jiff::Timestamp;

use super::client::{Client, Peer};
use super::refused::show_turned_away;
use super::{Door, answer};
use crate::dialect::cluster::api::Fault;
use crate::dialect::cluster::socket;
use crate::dialect::cluster::token::Unbelievable;
use crate::dialect::form::Form;
use crate::dialect::pusher::handshake::{self as begin, Closing};
use crate::dialect::{Session, pusher};
use crate::hub::{Admission, LiveApp, Place};
use crate::model::{Refusal, SocketId, UserId};
use crate::net::websocket::{deflate, frame, handshake};

/// What becomes of a connection whose upgrade was answered.
#[derive(Debug)]
pub enum Upgraded {
    /// A socket.
    Admitted(Admission),
    /// Nothing: it is told these frames and closed. Browsers cannot read the answer of a refused upgrade.
    TurnedAway(Bytes),
}

/// Carries what becomes of a connection in the response that announces it, which may be cloned though an admission
/// may not.
#[derive(Clone, Debug)]
pub struct Handover(Arc<Mutex<Option<Upgraded>>>);

impl Handover {
    /// What is carried, for the first who asks.
    pub fn take(&self) -> Option<Upgraded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Whether a route is one of sockets, which are limited as such and not as calls.
pub fn is_upgrade(route: &str) -> bool {
    ["/ws/{app_key}/{user_tag}", "/app/{app_key}", "/v1/apps/{app_key}/ws"].contains(&route)
}

/// `GET /ws/{app_key}/{user_tag}?token=`. The order is: address, app, upgrade headers, TLS, the app's rate, connect
/// hook, admission (spec D23).
pub async fn gusher(State(door): State<Arc<Door>>, head: Parts) -> Response {
    match admit(&door, &head).await {
        Ok((accept, admitted)) => {
            admitted.0.followed().await;
            switch(accept, Ok(admitted))
        }
        Err(refusal) => {
            door.count_refused(refusal.reason());
            refuse(&refusal)
        }
    }
}

/// A socket that is let in, and the extension that was agreed on.
type Admitted = (Admission, Option<HeaderValue>);

async fn admit(door: &Door, head: &Parts) -> Result<(HeaderValue, Admitted), Refusal> {
    let (path, place) = (head.uri.path(), door.take_place(head)?);
    let app = door.hub.app(&answer::segment(path, 2)?)?;
    let user = UserId::parse(&answer::segment(path, 3)?)?;
    let accept = handshake::accept(&head.method, head.version, &head.headers);
    let accept = accept.map_err(|_| Refusal::NotAnUpgrade)?;
    if !app.settings().enabled {
        return Err(Refusal::AppDisabled);
    }
    demand_tls(door, &app, head)?;
    door.hub.approach(&app)?;
    if !app.app.connect_hook.is_empty() {
        let query = Form::read(false, head.uri.query(), None, &[])?;
        let token = query.get("token")?.unwrap_or_default();
        let asked = door.hook.ask(app.number, &app.app.connect_hook, token, &user).await;
        let result = asked.as_ref().err().map_or("accepted", Refusal::reason);
        door.hub.metrics.connect_hooks.add(result, 1);
        asked?;
    }
    let extension = agree_on_extension(&app, head);
    let admission = door.hub.admit(&app, Session::Gusher(user), extension.is_some(), place)?;
    Ok((accept, (admission, extension)))
}

/// `GET /app/{key}`: what is wrong is told after the upgrade (pusher-channels 1.2).
pub async fn pusher(State(door): State<Arc<Door>>, head: Parts) -> Response {
    door.wait_for_restart().await;
    let key = answer::segment(head.uri.path(), 2).map_err(|_| Closing::path_unknown());
    let taken = door.take_place(&head).map_err(|refusal| match refusal {
        Refusal::ConnectsExceeded { .. } => Closing::address_too_fast(),
        _ => Closing::address_full(),
    });
    let admitted = taken.and_then(|place| {
        let key = key.clone()?;
        admit_pusher(&door, &key, &head, place)
    });
    if let Err(closing) = &admitted {
        door.count_refused(closing.reason);
        if let Some(live) = key.ok().and_then(|key| door.hub.app_by_any_key(&key).ok()) {
            show_turned_away(&live, closing.code, &closing.message);
        }
    }
    if let Ok((admission, _)) = &admitted {
        admission.followed().await;
    }
    answer_upgrade(&head, admitted)
}

/// `GET /v1/apps/{app}/ws?token=`. The order is: address, token, app, upgrade headers, TLS, the app's rate,
/// admission (spec 2.5).
pub async fn cluster(State(door): State<Arc<Door>>, head: Parts) -> Response {
    match admit_cluster(&door, &head) {
        Ok((accept, admitted)) => {
            admitted.0.followed().await;
            switch(accept, Ok(admitted))
        }
        Err(CannotEnter::Refused(refusal)) => {
            door.count_refused(refusal.reason());
            refuse(&refusal)
        }
        // What is wrong with a token.
        Err(CannotEnter::Faulty(fault)) => {
            door.count_refused(Refusal::NotAuthorized.reason());
            super::cluster::refuse_line(&fault)
        }
    }
}

impl Door {
    /// Who comes while the node restarts is answered when the last socket is closed. A second later, when they all come back,
    /// nobody meets the moment in which there is no process.
    async fn wait_for_restart(&self) {
        if self.hub.is_restarting() {
            let _ = self.emptied.subscribe().wait_for(|&emptied| emptied).await;
        }
    }

    /// What a socket takes of its client's address.
    ///
    /// # Errors
    /// [`Refusal::ConnectsExceeded`], [`Refusal::AddressFull`].
    fn take_place(&self, head: &Parts) -> Result<Option<Place>, Refusal> {
        self.addresses.connect(Client::of_head(head).address, self.terms.load().addresses.sockets_max)
    }

    fn count_refused(&self, reason: &'static str) {
        self.hub.metrics.sockets_refused.add(reason, 1);
    }
}

/// Why a socket that shows a token is not admitted.
enum CannotEnter {
    Refused(Refusal),
    Faulty(Fault),
}

impl From<Refusal> for CannotEnter {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Fault> for CannotEnter {
    fn from(fault: Fault) -> Self {
        Self::Faulty(fault)
    }
}

fn admit_cluster(door: &Door, head: &Parts) -> Result<(HeaderValue, Admitted), CannotEnter> {
    let terms = door.terms();
    let tokens = terms.tokens.as_ref().ok_or(Refusal::PathUnknown)?;
    let place = door.take_place(head)?;
    let mut query = form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes());
    let token = query.find_map(|(name, value)| (name == "token").then_some(value)).unwrap_or_default();
    if token.is_empty() {
        return Err(Fault::token_missing().into());
    }
    let claims = tokens.verify(&token).map_err(|Unbelievable| Fault::token_refused())?;
    let user = claims.user().map_err(|Unbelievable| Fault::token_refused())?;
    let key = answer::segment(head.uri.path(), 3)?;
    if claims.gusher.app_key != key {
        return Err(Fault::wrong_app().into());
    }
    let app = door.hub.app_or_new(&key).map_err(|refusal| match refusal {
        Refusal::AppUnknown => CannotEnter::Faulty(Fault::wrong_app()),
        other => CannotEnter::Refused(other),
    })?;
    let accept = handshake::accept(&head.method, head.version, &head.headers);
    let accept = accept.map_err(|_| Refusal::NotAnUpgrade)?;
    demand_tls(door, &app, head)?;
    door.hub.approach(&app)?;
    let bits = SocketId { high: random_number()?, low: random_number()? };
    let expires_at_s = claims.expires_at_s().filter(|_| terms.close_at_expiry);
    let session = socket::Session {
        socket_id: socket::random_uuid(bits),
        user,
        permissions: claims.permissions(),
        life_s: expires_at_s.map(|at_s| life_s(at_s, Timestamp::now().as_second())),
    };
    let extension = agree_on_extension(&app, head);
    let admission = door.hub.admit(&app, Session::Cluster(Box::new(session)), extension.is_some(), place)?;
    Ok((accept, (admission, extension)))
}

fn random_number() -> Result<u64, Refusal> {
    getrandom::u64().map_err(|_| Refusal::Internal)
}

/// How long a socket may live whose token expires then; longer than a year is as good as a year.
fn life_s(expires_at_s: i64, now_s: i64) -> u32 {
    const YEAR_S: i64 = 366 * 24 * 60 * 60;
    expires_at_s.saturating_sub(now_s).clamp(0, YEAR_S) as u32
}

/// A request for an unknown path. A client of Pusher's learns of it by a close code; the paths of the original dialect
/// keep their plain answer (spec 1.8).
pub fn unknown_path(head: &Parts) -> Response {
    let path = head.uri.path();
    let is_upgrade = handshake::accept(&head.method, head.version, &head.headers).is_ok();
    let is_plain = ["/ws", "/api", "/v1"].iter().any(|prefix| path.starts_with(prefix));
    if is_upgrade && !is_plain {
        return answer_upgrade(head, Err(Closing::path_unknown()));
    }
    refuse(&Refusal::PathUnknown)
}

/// What is wrong is found in this order (pusher-channels 1.2), once the address may connect.
fn admit_pusher(door: &Door, key: &str, head: &Parts, place: Option<Place>) -> Result<Admitted, Closing> {
    let (protocol, client) = begin::protocol(head.uri.query(), door.terms().strict_protocol)?;
    let app = door.hub.app_by_any_key(key).map_err(|_| Closing::app_unknown(key))?;
    let settings = app.settings();
    if !settings.enabled {
        return Err(Closing::app_disabled());
    }
    demand_tls(door, &app, head).map_err(|_| Closing::tls_only())?;
    let origin = head.headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
    if !begin::is_origin_allowed(&settings, origin) {
        return Err(Closing::origin_not_allowed());
    }
    let closing = |refusal| match refusal {
        Refusal::Draining if door.hub.is_restarting() => Closing::reconnect_later(),
        Refusal::Draining => Closing::reconnect(),
        Refusal::AppUnknown => Closing::app_unknown(key),
        Refusal::AppDisabled => Closing::app_disabled(),
        Refusal::AppFull => Closing::over_quota(),
        Refusal::RateExceeded(_) => Closing::too_many_connects(),
        Refusal::MemoryShort => Closing::memory_short(),
        _ => Closing::over_capacity(),
    };
    door.hub.approach(&app).map_err(closing)?;
    let socket_id = random_id().map_err(|_| Closing::over_capacity())?;
    let session = begin::Session { socket_id, protocol, client };
    let extension = agree_on_extension(&app, head);
    let admitted = door.hub.admit(&app, Session::Pusher(session), extension.is_some(), place);
    admitted.map(|admission| (admission, extension)).map_err(closing)
}

/// permessage-deflate, if the app wants it and the client offers it.
fn agree_on_extension(app: &LiveApp, head: &Parts) -> Option<HeaderValue> {
    app.settings().compression.then(|| deflate::agree(&head.headers)).flatten()
}

/// # Errors
/// [`Refusal::TlsOnly`].
fn demand_tls(door: &Door, app: &LiveApp, head: &Parts) -> Result<(), Refusal> {
    if app.settings().tls_only && !came_over_tls(door, head) { Err(Refusal::TlsOnly) } else { Ok(()) }
}

/// What a trusted proxy says counts, as the connection that matters is the one to the proxy; of several values the last is
/// its own. Otherwise it is a matter of who speaks TLS with this node.
pub(super) fn came_over_tls(door: &Door, head: &Parts) -> bool {
    let Some(peer) = head.extensions.get::<Peer>() else { return false };
    let named = head.headers.get_all("x-forwarded-proto").iter().next_back();
    let scheme = named.and_then(|value| value.to_str().ok()?.rsplit(',').next());
    match scheme.filter(|_| peer.is_one_of(&door.terms().trusted_proxies)) {
        Some(scheme) => scheme.trim().eq_ignore_ascii_case("https"),
        None => peer.is_secure,
    }
}

/// Two numbers that every client can read, from 1 to 2^53 - 1, which nobody can guess.
fn random_id() -> Result<SocketId, getrandom::Error> {
    let number = || Ok((getrandom::u64()? >> 11).max(1));
    Ok(SocketId { high: number()?, low: number()? })
}

fn turn_away(closing: Closing) -> Upgraded {
    let mut frames = Vec::new();
    let error = pusher::socket::error(Some(closing.code), &closing.message);
    frame::encode_into(&mut frames, frame::Opcode::Text, error.as_bytes());
    frames.extend_from_slice(&frame::close(closing.code, &closing.message));
    Upgraded::TurnedAway(frames.into())
}

/// The first subprotocol of Pusher's that the client offers is taken.
fn answer_upgrade(head: &Parts, admitted: Result<Admitted, Closing>) -> Response {
    let Ok(accept) = handshake::accept(&head.method, head.version, &head.headers) else {
        return refuse(&Refusal::NotAnUpgrade);
    };
    let mut response = switch(accept, admitted);
    let offered = head.headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let mut tokens = offered.flat_map(|value| value.split(',')).map(str::trim);
    let chosen = tokens.find(|token| token.starts_with("pusher-channels-protocol-"));
    if let Some(chosen) = chosen.and_then(|token| HeaderValue::from_str(token).ok()) {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, chosen);
    }
    response
}

fn switch(accept: HeaderValue, admitted: Result<Admitted, Closing>) -> Response {
    let (upgraded, extension) = match admitted {
        Ok((admission, extension)) => (Upgraded::Admitted(admission), extension),
        Err(closing) => (turn_away(closing), None),
    };
    let headers = [
        (UPGRADE, HeaderValue::from_static("websocket")),
        (CONNECTION, HeaderValue::from_static("Upgrade")),
        (SEC_WEBSOCKET_ACCEPT, accept),
    ];
    let mut response = (StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response();
    response.headers_mut().extend(extension.map(|extension| (SEC_WEBSOCKET_EXTENSIONS, extension)));
    response.extensions_mut().insert(Handover(Arc::new(Mutex::new(Some(upgraded)))));
    response
}

/// Tells a client that asked for no WebSocket, or another version, which one is spoken (RFC 6455 section 4.4).
fn refuse(refusal: &Refusal) -> Response {
    let mut response = answer::refuse(refusal);
    if *refusal == Refusal::NotAnUpgrade {
        response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    response
}
