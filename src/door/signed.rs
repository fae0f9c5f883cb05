//! The routes of the signed API (pusher-channels 13, 14), the same on both listeners: a call proves itself by a
//! signature over all of it. What shows without its body is looked at before that is read.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use jiff::Timestamp;

use super::{Door, answer, body};
use crate::dialect::pusher::api::{self, Claim, Fault, SignedHead, Wanted};
use crate::hub::LiveApp;
use crate::model::{AppRate, AppSettings, ChannelKind, ChannelName, Counts, Refusal, Target, UserId};

/// All of them.
pub fn routes() -> Router<Arc<Door>> {
    Router::new()
        .route("/apps/{app_id}/events", post(event))
        .route("/apps/{app_id}/batch_events", post(batch))
        .route("/apps/{app_id}/channels", get(channels))
        .route("/apps/{app_id}/channels/{channel}", get(channel))
        .route("/apps/{app_id}/channels/{channel}/events", post(channel_event))
        .route("/apps/{app_id}/channels/{channel}/users", get(users))
        .route("/apps/{app_id}/users/{user_id}/terminate_connections", post(terminate))
        // The Python library leaves out the app, and signs this path (quirk Q30).
        .route("/users/{user_id}/terminate_connections", post(terminate))
}

/// A call whose signature holds.
struct Call {
    live: Arc<LiveApp>,
    head: Parts,
    body: Bytes,
}

impl Call {
    fn query(&self) -> &str {
        self.head.uri.query().unwrap_or_default()
    }

    /// What the path calls a channel.
    fn channel_name(&self) -> Result<String, Fault> {
        answer::segment(self.head.uri.path(), 4).map_err(|refusal| Fault::from(&refusal))
    }

    /// The channel that the path names.
    fn channel(&self) -> Result<ChannelName, Fault> {
        let name = self.channel_name()?;
        ChannelName::parse(&name).map_err(|_| Fault {
            status: StatusCode::BAD_REQUEST,
            text: format!("Invalid channel name: {name:.200}"),
        })
    }
}

async fn event(State(door): State<Arc<Door>>, request: Request) -> Response {
    respond(door, request, |door, call| {
        let wanted = api::event(&call.body, &call.live.settings())?;
        let published = door.hub.publish(&call.live, &wanted.publication);
        published.map_err(|refusal| Fault::from(&refusal))?;
        Ok(api::published(&counts(door, &call.live, &wanted), wanted.info))
    })
    .await
}

/// As backends published before 2013; the Perl library still does.
async fn channel_event(State(door): State<Arc<Door>>, request: Request) -> Response {
    let response = respond(door, request, |door, call| {
        let channel = call.channel_name()?;
        let settings = call.live.settings();
        let publication = api::channel_event(call.query(), &channel, &call.body, &settings)?;
        door.hub.publish(&call.live, &publication).map_err(|refusal| Fault::from(&refusal))?;
        Ok(NOTHING_TOLD.to_owned())
    })
    .await;
    if response.status() != StatusCode::OK {
        return response;
    }
    (StatusCode::ACCEPTED, "202 ACCEPTED\n").into_response()
}

async fn batch(State(door): State<Arc<Door>>, request: Request) -> Response {
    respond(door, request, |door, call| {
        let batch = api::batch(&call.body, &call.live.settings())?;
        let publications = batch.iter().map(|wanted| &wanted.publication);
        door.hub.publish_all(&call.live, publications).map_err(|refusal| Fault::from(&refusal))?;
        let mut told = Vec::with_capacity(batch.len());
        for wanted in &batch {
            let counted = counts(door, &call.live, wanted).into_iter();
            told.extend(counted.map(|(channel, counts)| (channel, counts, wanted.info)));
        }
        Ok(api::batched(&told))
    })
    .await
}

async fn channels(State(door): State<Arc<Door>>, request: Request) -> Response {
    let answer = async |call: &Call| {
        let (prefix, info) = api::channels_query(call.query())?;
        let prefix = prefix.as_deref().unwrap_or_default();
        let told =
            door.hub.occupied(&call.live, prefix, move |occupied| api::channels(&occupied, info)).await;
        told.map_err(|refusal| Fault::from(&refusal))
    };
    respond_soon(&door, request, answer).await
}

async fn channel(State(door): State<Arc<Door>>, request: Request) -> Response {
    respond(door, request, |door, call| {
        let channel = call.channel()?;
        let info = api::channel_query(call.query(), &channel)?;
        let kept = door.hub.kept(&call.live, &channel);
        Ok(api::channel(door.hub.counts(&call.live, &channel), info, kept.as_ref()))
    })
    .await
}

async fn users(State(door): State<Arc<Door>>, request: Request) -> Response {
    respond(door, request, |door, call| {
        let channel = call.channel()?;
        let with_user_info = api::users_query(call.query(), &channel)?;
        debug_assert_eq!(channel.kind(), ChannelKind::Presence, "the query was refused for any other");
        Ok(api::users(&door.hub.roster(&call.live, &channel), with_user_info))
    })
    .await
}

/// The user is the segment before the last. That nobody is signed in by that name is no error.
async fn terminate(State(door): State<Arc<Door>>, request: Request) -> Response {
    respond(door, request, |door, call| {
        let path = call.head.uri.path();
        let place = if path.starts_with("/apps/") { 4 } else { 2 };
        let user = answer::segment(path, place).and_then(|user| UserId::parse(&user));
        let told = user.and_then(|user| door.hub.terminate(&call.live, &user));
        told.map_err(|refusal| Fault::from(&refusal))?;
        Ok(NOTHING_TOLD.to_owned())
    })
    .await
}

/// The answer to a call that has asked for nothing.
const NOTHING_TOLD: &str = "{}";

/// Answers a call once its signature holds.
async fn respond(
    door: Arc<Door>,
    request: Request,
    answer: impl FnOnce(&Door, &Call) -> Result<String, Fault> + Send + 'static,
) -> Response {
    let (head, body) = request.into_parts();
    let accept = head.headers.get(ACCEPT).cloned();
    let answered = async {
        let proven = Proven::read(&door, head, body).await?;
        let (bytes, within) = (proven.call.body.len(), Arc::clone(&door));
        let answering = door.understood(bytes, move || answer(&within, &proven.check()?));
        answering.await.map_err(|refusal| Fault::from(&refusal))?
    };
    told(&door, accept.as_ref(), answered.await)
}

/// The same where answering takes its time.
async fn respond_soon(
    door: &Door,
    request: Request,
    answer: impl AsyncFnOnce(&Call) -> Result<String, Fault>,
) -> Response {
    let (head, body) = request.into_parts();
    let accept = head.headers.get(ACCEPT).cloned();
    let answered = async { answer(&Proven::read(door, head, body).await?.check()?).await };
    told(door, accept.as_ref(), answered.await)
}

fn told(door: &Door, accept: Option<&HeaderValue>, answered: Result<String, Fault>) -> Response {
    match answered {
        Ok(json) => {
            let tells_who_is_there = json != NOTHING_TOLD;
            let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
            let response = (headers, json).into_response();
            if tells_who_is_there { door.told_in_part(response) } else { response }
        }
        Err(fault) => {
            let accept = accept.and_then(|value| value.to_str().ok());
            let (content_type, text) = api::fault_body(&fault, accept);
            let headers = [(CONTENT_TYPE, HeaderValue::from_static(content_type))];
            let mut response = (fault.status, headers, text).into_response();
            response.extensions_mut().insert(answer::Reason(fault.text));
            response
        }
    }
}

/// A call whose signature holds, and whose body has come.
struct Proven {
    claim: Claim,
    settings: Arc<AppSettings>,
    call: Call,
}

impl Proven {
    /// The body of a call is read once its signature holds.
    async fn read(door: &Door, head: Parts, body: axum::body::Body) -> Result<Self, Fault> {
        let live = addressed_app(door, &head)?;
        let settings = live.settings();
        let query = head.uri.query().unwrap_or_default();
        let signed = SignedHead { method: head.method.as_str(), path: head.uri.path(), query };
        let claim = Claim::prove(signed, &live.app, &settings, Timestamp::now().as_second())?;
        // Without a digest, there must be none.
        let bytes_max = if claim.has_digest() { settings.max_body_bytes as usize } else { 0 };
        let body = body::read(body, bytes_max, door.terms().limits.body_time_max).await;
        let body = body.map_err(|refusal| match refusal {
            Refusal::BodyTooLarge if !claim.has_digest() => Fault::digest_wrong(),
            refusal => Fault::from(&refusal),
        })?;
        Ok(Self { claim, settings, call: Call { live, head, body } })
    }

    /// The call, if its body is the one that was signed, and the app may make it.
    fn check(self) -> Result<Call, Fault> {
        self.claim.check_body(&self.call.body)?;
        if !self.settings.enabled {
            return Err(Fault::from(&Refusal::AppDisabled));
        }
        // Last, so that nobody but the app itself uses up what it may.
        self.call.live.take(AppRate::Calls, 1).map_err(|refusal| Fault::from(&refusal))?;
        Ok(self.call)
    }
}

/// The app that the path names, or where it names none, the key.
fn addressed_app(door: &Door, head: &Parts) -> Result<Arc<LiveApp>, Fault> {
    let path = head.uri.path();
    if path.starts_with("/apps/") {
        let id = answer::segment(path, 2).map_err(|refusal| Fault::from(&refusal))?;
        return door.hub.app_by_id(&id).map_err(|_| Fault::app_unknown(&id));
    }
    let key = api::auth_key(head.uri.query().unwrap_or_default())?;
    door.hub.app_by_any_key(&key).map_err(|_| Fault::key_unknown())
}

/// What the channels of a publication hold now.
fn counts(door: &Door, live: &LiveApp, wanted: &Wanted) -> Vec<(ChannelName, Counts)> {
    let Target::Channels(channels) = &wanted.publication.target else { return Vec::new() };
    channels.iter().map(|channel| (channel.clone(), door.hub.counts(live, channel))).collect()
}
