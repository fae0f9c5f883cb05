//! A request becomes a socket: admit or refuse, then hand the stream to a shard and forget it.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_VERSION, UPGRADE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::{Door, answer};
use crate::dialect::form::Form;
use crate::hub::Admission;
use crate::model::{Dialect, Refusal, UserId};
use crate::net::websocket::handshake;

/// Carries an admission in the response that announces it, which may be cloned though an admission may not.
#[derive(Clone, Debug)]
pub struct Handover(Arc<Mutex<Option<Admission>>>);

impl Handover {
    /// The admission, for the first who asks.
    pub fn take(&self) -> Option<Admission> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// `GET /ws/{app_key}/{user_tag}?token=`. The order is: app, upgrade headers, connect hook, admission (spec D23).
pub async fn gusher(State(door): State<Arc<Door>>, head: Parts) -> Response {
    match admit(&door, &head).await {
        Ok((accept, admission)) => switch(accept, admission),
        Err(refusal) => refuse(&refusal),
    }
}

async fn admit(door: &Door, head: &Parts) -> Result<(HeaderValue, Admission), Refusal> {
    let path = head.uri.path();
    let app = door.hub.app(&answer::segment(path, 2)?)?;
    let user = UserId::parse(&answer::segment(path, 3)?)?;
    let accept = handshake::accept(&head.method, head.version, &head.headers);
    let accept = accept.map_err(|_| Refusal::NotAnUpgrade)?;
    if !app.app.connect_hook.is_empty() {
        let query = Form::read(false, head.uri.query(), None, &[])?;
        let token = query.get("token")?.unwrap_or_default();
        door.hook.ask(&app.app.connect_hook, token, &user).await?;
    }
    Ok((accept, door.hub.admit(&app, user, Dialect::Gusher)?))
}

fn switch(accept: HeaderValue, admission: Admission) -> Response {
    let headers = [
        (UPGRADE, HeaderValue::from_static("websocket")),
        (CONNECTION, HeaderValue::from_static("Upgrade")),
        (SEC_WEBSOCKET_ACCEPT, accept),
    ];
    let mut response = (StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response();
    response.extensions_mut().insert(Handover(Arc::new(Mutex::new(Some(admission)))));
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
