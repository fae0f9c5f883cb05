//! The routes of the signed API (pusher-channels 13, 14), the same on both listeners: a call proves itself by a
//! signature over all of it, so the whole of it is read before anything is looked at.

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
use crate::dialect::pusher::api::{self, ApiLimits, Counts, Fault, SignedCall, Wanted};
use crate::hub::LiveApp;
use crate::model::{ChannelKind, ChannelName, Refusal, Target};

/// The longest body of a call, in bytes (pusher-channels 16.1).
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// All of them.
pub fn routes() -> Router<Arc<Door>> {
    Router::new()
        .route("/apps/{app_id}/events", post(event))
        .route("/apps/{app_id}/batch_events", post(batch))
        .route("/apps/{app_id}/channels", get(channels))
        .route("/apps/{app_id}/channels/{channel}", get(channel))
        .route("/apps/{app_id}/channels/{channel}/users", get(users))
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

    /// The channel that the path names.
    fn channel(&self) -> Result<ChannelName, Fault> {
        let name = answer::segment(self.head.uri.path(), 4).map_err(|refusal| Fault::from(&refusal))?;
        ChannelName::parse(&name).map_err(|_| Fault {
            status: StatusCode::BAD_REQUEST,
            text: format!("Invalid channel name: {name}"),
        })
    }
}

async fn event(State(door): State<Arc<Door>>, request: Request) -> Response {
    respond(&door, request, |call| {
        let wanted = api::event(&call.body, &ApiLimits::default())?;
        publish(&door, &call.live, &wanted)?;
        Ok(api::published(&counts(&door, &call.live, &wanted), wanted.info))
    })
    .await
}

async fn batch(State(door): State<Arc<Door>>, request: Request) -> Response {
    respond(&door, request, |call| {
        let batch = api::batch(&call.body, &ApiLimits::default())?;
        let mut told = Vec::with_capacity(batch.len());
        for wanted in &batch {
            publish(&door, &call.live, wanted)?;
            let counted = counts(&door, &call.live, wanted).into_iter();
            told.extend(counted.map(|(channel, counts)| (channel, counts, wanted.info)));
        }
        Ok(api::batched(&told))
    })
    .await
}

async fn channels(State(door): State<Arc<Door>>, request: Request) -> Response {
    respond(&door, request, |call| {
        let (prefix, info) = api::channels_query(call.query())?;
        let occupied = door.hub.occupied(&call.live, prefix.as_deref().unwrap_or_default());
        let occupied: Vec<_> =
            occupied.into_iter().map(|(channel, counts)| (channel, as_told(counts))).collect();
        Ok(api::channels(&occupied, info))
    })
    .await
}

async fn channel(State(door): State<Arc<Door>>, request: Request) -> Response {
    respond(&door, request, |call| {
        let channel = call.channel()?;
        let info = api::channel_query(call.query(), &channel)?;
        Ok(api::channel(as_told(door.hub.counts(&call.live, &channel)), info))
    })
    .await
}

async fn users(State(door): State<Arc<Door>>, request: Request) -> Response {
    respond(&door, request, |call| {
        let channel = call.channel()?;
        let with_user_info = api::users_query(call.query(), &channel)?;
        debug_assert_eq!(channel.kind(), ChannelKind::Presence, "the query was refused for any other");
        Ok(api::users(&door.hub.roster(&call.live, &channel), with_user_info))
    })
    .await
}

/// Answers a call once its signature holds.
async fn respond(
    door: &Door,
    request: Request,
    answer: impl FnOnce(&Call) -> Result<String, Fault>,
) -> Response {
    let (head, body) = request.into_parts();
    let accept = head.headers.get(ACCEPT).cloned();
    match check(door, head, body).await.and_then(|call| answer(&call)) {
        Ok(json) => ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], json).into_response(),
        Err(fault) => {
            let accept = accept.as_ref().and_then(|value| value.to_str().ok());
            let (content_type, text) = api::fault_body(&fault, accept);
            (fault.status, [(CONTENT_TYPE, HeaderValue::from_static(content_type))], text).into_response()
        }
    }
}

async fn check(door: &Door, head: Parts, body: axum::body::Body) -> Result<Call, Fault> {
    let refused = |refusal: Refusal| Fault::from(&refusal);
    let id = answer::segment(head.uri.path(), 2).map_err(refused)?;
    let live = door.hub.app_by_id(&id).map_err(|_| Fault::app_unknown(&id))?;
    let body = body::read(body, BODY_BYTES_MAX, door.limits.body_time_max).await.map_err(refused)?;
    let signed = SignedCall {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        body: &body,
    };
    api::authenticate(&signed, live.app.key.as_str(), &live.app.secret.0, Timestamp::now().as_second())?;
    Ok(Call { live, head, body })
}

fn publish(door: &Door, live: &LiveApp, wanted: &Wanted) -> Result<(), Fault> {
    door.hub.publish(live, &wanted.publication).map(drop).map_err(|refusal| Fault::from(&refusal))
}

/// What the channels of a publication hold now.
fn counts(door: &Door, live: &LiveApp, wanted: &Wanted) -> Vec<(ChannelName, Counts)> {
    let Target::Channels(channels) = &wanted.publication.target else { return Vec::new() };
    channels.iter().map(|channel| (channel.clone(), as_told(door.hub.counts(live, channel)))).collect()
}

fn as_told(counts: crate::hub::Counts) -> Counts {
    Counts { users: counts.users, subscriptions: counts.subscriptions }
}
