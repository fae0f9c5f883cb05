//! The routes of Gusher Cluster under `/v1` (spec 2.4, 2.8, 2.9): one to check a token on the public listener, and those
//! of backends on the private one.
//!
//! Every call of a backend goes in the same order: who is it, is there such an app, what are the parameters. Who is
//! there is asked of no app that is not there, and then nobody is.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, CONTENT_TYPE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::client::Client;
use super::credentials::Realm;
use super::{Door, answer, cors, private};
use crate::dialect::cluster::api::{self, AppRow, Fault};
use crate::dialect::cluster::socket;
use crate::hub::{Addressee, LiveApp};
use crate::model::{AppRate, ChannelName, PermissionChange, Refusal, UserId};

/// Where the app, and what of it is meant, stand in a path such as `/v1/apps/{app_key}/channels/{channel}/messages`.
const APP_PLACE: usize = 3;
const NAME_PLACE: usize = 5;

/// The call of clients.
pub fn public_routes() -> Router<Arc<Door>> {
    Router::new().route("/v1/auth", post(authenticate).options(preflight))
}

/// The calls of backends.
pub fn private_routes() -> Router<Arc<Door>> {
    Router::new()
        .route("/v1/auth/decode", post(decode))
        .route("/v1/stats", get(stats))
        .route("/v1/apps", get(apps))
        .route("/v1/apps/{app_key}/messages", post(publish_matching))
        .route("/v1/apps/{app_key}/messages/batch", post(publish_batch))
        .route("/v1/apps/{app_key}/channels", get(channels))
        .route("/v1/apps/{app_key}/channels/count", get(channel_count))
        .route("/v1/apps/{app_key}/channels/{channel}/messages", post(publish))
        .route("/v1/apps/{app_key}/channels/{channel}/users", get(users_in))
        .route("/v1/apps/{app_key}/channels/{channel}/users/count", get(user_count_in))
        .route("/v1/apps/{app_key}/users", get(users))
        .route("/v1/apps/{app_key}/users/count", get(user_count))
        .route("/v1/apps/{app_key}/users/{user_id}/messages", post(push_to_user))
        .route("/v1/apps/{app_key}/users/{user_id}/channels", post(add_channel).put(replace_channels))
        .route("/v1/apps/{app_key}/sockets/{socket_id}/messages", post(push_to_socket))
}

/// A refusal on its way out of a route.
struct Refused {
    fault: Fault,
    /// Unless it is a fault of this dialect alone.
    refusal: Option<Refusal>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { fault: Fault::from(&refusal), refusal: Some(refusal) }
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self { fault, refusal: None }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = refuse(&self.fault, "");
        self.refusal.iter().for_each(|refusal| answer::mark(&mut response, refusal));
        if self.fault.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"Restricted\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// A fault as a line with its end, as clients get it.
pub fn refuse_line(fault: &Fault) -> Response {
    refuse(fault, "\n")
}

fn refuse(fault: &Fault, end: &str) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    let mut response = (fault.status, headers, format!("{}{end}", fault.text)).into_response();
    response.extensions_mut().insert(answer::Reason(fault.text.clone()));
    response
}

type Answer = Result<Response, Refused>;

fn json(text: String) -> Response {
    let content_type = HeaderValue::from_static("application/json;charset=UTF-8");
    ([(CONTENT_TYPE, content_type)], text).into_response()
}

// Tokens.

/// `POST /v1/auth`: tells a token that is good, which is all there is to it.
async fn authenticate(State(door): State<Arc<Door>>, request: Request) -> Response {
    let told = check_token(&door, request.into_body()).await;
    let mut response = told.map_or_else(|fault| refuse_line(&fault), json);
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

async fn check_token(door: &Door, body: Body) -> Result<String, Fault> {
    let terms = door.terms();
    let tokens = terms.tokens.as_ref().ok_or_else(|| Fault::from(&Refusal::PathUnknown))?;
    let body = door.token_body(body).await.map_err(|refusal| Fault::from(&refusal))?;
    let token = api::token(&body)?;
    tokens.verify(&token).map(|_| api::token_told(&token)).map_err(|_| Fault::token())
}

/// `OPTIONS /v1/auth`: pages of other origins may call it (E16).
async fn preflight() -> Response {
    let headers = [
        (ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
        (ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, OPTIONS")),
        (ACCESS_CONTROL_ALLOW_HEADERS, cors::HEADERS),
        (ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400")),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// `POST /v1/auth/decode`: what a token says, to the super admin and to the admin of the app that it is for.
async fn decode(State(door): State<Arc<Door>>, request: Request) -> Answer {
    let (head, body) = request.into_parts();
    let terms = door.terms();
    let tokens = terms.tokens.as_ref().ok_or(Refusal::PathUnknown)?;
    let (address, authorization) = (Client::of_head(&head).address, private::authorization(&head));
    if authorization.is_none() {
        // Which app it is makes no difference then.
        door.credentials.reach(address, None, &terms.admin, None).await?;
    }
    let body = door.token_body(body).await?;
    let claims = api::token(&body).ok().and_then(|token| tokens.verify(&token).ok());
    let app = claims.as_ref().and_then(|claims| door.hub.app(&claims.gusher.app_key).ok());
    let realm = app.as_ref().map(|live| Realm { app: live.app.key.as_str(), admin: Some(&live.app.admin) });
    door.credentials.reach(address, authorization, &terms.admin, realm).await?;
    Ok(json(api::claims_told(&claims.ok_or_else(Fault::claims)?)))
}

// Publishing.

/// A call of a backend that may make it.
struct Call {
    live: Arc<LiveApp>,
    path: String,
    body: Body,
}

impl Call {
    async fn read(door: &Door, request: Request) -> Result<Self, Refused> {
        let (head, body) = request.into_parts();
        let live = match door.authorize(&head, APP_PLACE).await {
            // Whoever learns that may do everything. Where apps need not be registered, this one is there now.
            Err(Refusal::AppUnknown) => door.hub.app_or_new(&answer::segment(head.uri.path(), APP_PLACE)?)?,
            authorized => authorized?,
        };
        live.take(AppRate::Calls, 1)?;
        Ok(Self { live, path: head.uri.path().to_owned(), body })
    }

    /// What of the app the path names.
    fn name(&self) -> Result<String, Refusal> {
        answer::name(&self.path, NAME_PLACE)
    }

    /// The user that the path names. One that cannot be is nowhere.
    fn user(&self) -> Result<UserId, Refusal> {
        UserId::parse(&self.name()?)
    }
}

async fn publish(State(door): State<Arc<Door>>, request: Request) -> Answer {
    let call = Call::read(&door, request).await?;
    let name = call.name()?;
    let event = door.parsed(call.body, move |body| api::event(api::channel(&name)?, body));
    let event = event.await??;
    door.hub.publish_values(&call.live, std::slice::from_ref(&event))?;
    Ok(json(api::event_told(&event)))
}

async fn publish_matching(State(door): State<Arc<Door>>, request: Request) -> Answer {
    let call = Call::read(&door, request).await?;
    let wanted = door.parsed(call.body, api::pattern_event).await??;
    let pattern = door.pattern(&wanted.pattern)?;
    let total = door.hub.publish_values_matching(&call.live, pattern, wanted.name, wanted.value).await?;
    Ok(json(api::pattern_told(total, &wanted.pattern)))
}

async fn publish_batch(State(door): State<Arc<Door>>, request: Request) -> Answer {
    let call = Call::read(&door, request).await?;
    let events = door.parsed(call.body, api::batch).await??;
    door.hub.publish_values(&call.live, &events)?;
    Ok(json(api::batch_told(events.len())))
}

async fn push_to_user(State(door): State<Arc<Door>>, request: Request) -> Answer {
    let call = Call::read(&door, request).await?;
    let user = call.user();
    let (value, user) = (door.parsed(call.body, api::value).await??, user?);
    let told = api::user_told(user.as_str(), &value);
    door.hub.push_value(&call.live, Addressee::User(user), value)?;
    Ok(json(told))
}

async fn push_to_socket(State(door): State<Arc<Door>>, request: Request) -> Answer {
    let call = Call::read(&door, request).await?;
    let name = call.name()?;
    let value = door.parsed(call.body, api::value).await??;
    let told = api::socket_told(&name, &value);
    // What is no name of a socket names none, as one that is gone.
    if let Some(id) = socket::parse_uuid(&name) {
        door.hub.push_value(&call.live, Addressee::Socket(id), value)?;
    }
    Ok(json(told))
}

async fn add_channel(State(door): State<Arc<Door>>, request: Request) -> Answer {
    change_permissions(&door, request, api::added).await
}

async fn replace_channels(State(door): State<Arc<Door>>, request: Request) -> Answer {
    change_permissions(&door, request, api::replaced).await
}

async fn change_permissions(
    door: &Door,
    request: Request,
    read: impl FnOnce(&[u8]) -> Result<PermissionChange, Fault> + Send + 'static,
) -> Answer {
    let call = Call::read(door, request).await?;
    let user = call.user()?;
    let change = door.parsed(call.body, read).await??;
    let told = api::change_told(user.as_str(), &change);
    door.hub.permit(&call.live, &user, change)?;
    Ok(json(told))
}

// Who is there.

async fn channels(State(door): State<Arc<Door>>, head: Parts) -> Answer {
    let word = |channels: Vec<ChannelName>| api::names_told(channels.iter().map(ChannelName::as_str));
    let told = match door.asked_app(&head).await? {
        Some(live) => door.hub.attended_channels(&live, word).await?,
        None => word(Vec::new()),
    };
    Ok(door.presence(told))
}

async fn channel_count(State(door): State<Arc<Door>>, head: Parts) -> Answer {
    let live = door.asked_app(&head).await?;
    Ok(door.presence(api::count_told(live.map_or(0, |live| door.hub.attended_channel_count(&live)))))
}

async fn users(State(door): State<Arc<Door>>, head: Parts) -> Answer {
    let live = door.asked_app(&head).await?;
    door.told_users(live, None).await
}

async fn user_count(State(door): State<Arc<Door>>, head: Parts) -> Answer {
    let live = door.asked_app(&head).await?;
    Ok(door.presence(api::count_told(live.map_or(0, |live| door.hub.bearer_count(&live, None)))))
}

async fn users_in(State(door): State<Arc<Door>>, head: Parts) -> Answer {
    let (live, channel) = door.asked_channel(&head).await?.unzip();
    door.told_users(live, channel).await
}

async fn user_count_in(State(door): State<Arc<Door>>, head: Parts) -> Answer {
    let asked = door.asked_channel(&head).await?;
    let count = asked.map_or(0, |(live, channel)| door.hub.bearer_count(&live, Some(&channel)));
    Ok(door.presence(api::count_told(count)))
}

async fn stats(State(door): State<Arc<Door>>, head: Parts) -> Answer {
    door.authorize_super(&head).await?;
    Ok(door.presence(api::stats_told(&door.app_rows())))
}

async fn apps(State(door): State<Arc<Door>>, head: Parts) -> Answer {
    door.authorize_super(&head).await?;
    Ok(door.presence(api::apps_told(&door.app_rows())))
}

impl Door {
    fn presence(&self, text: String) -> Response {
        self.told_in_part(json(text))
    }

    /// The users of an app who came with a token: all, or those in a channel. Where there is no app, there are none.
    async fn told_users(&self, live: Option<Arc<LiveApp>>, channel: Option<ChannelName>) -> Answer {
        let word = |users: Vec<UserId>| api::names_told(users.iter().map(UserId::as_str));
        let told = match live {
            Some(live) => self.hub.bearers(&live, channel, word).await?,
            None => word(Vec::new()),
        };
        Ok(self.presence(told))
    }

    /// The app that is asked about, by somebody who may ask; `None` when there is none, and so nobody in it.
    async fn asked_app(&self, head: &Parts) -> Result<Option<Arc<LiveApp>>, Refusal> {
        match self.authorize(head, APP_PLACE).await {
            Err(Refusal::AppUnknown) => Ok(None),
            authorized => {
                let live = authorized?;
                live.take(AppRate::Calls, 1)?;
                Ok(Some(live))
            }
        }
    }

    /// The same, and the channel that the path names. In one that cannot be there is nobody.
    async fn asked_channel(&self, head: &Parts) -> Result<Option<(Arc<LiveApp>, ChannelName)>, Refusal> {
        let live = self.asked_app(head).await?;
        let name = answer::name(head.uri.path(), NAME_PLACE)?;
        Ok(live.zip(ChannelName::parse_free(&name).ok()))
    }

    fn app_rows(&self) -> Vec<AppRow> {
        let row = |attendance: crate::hub::Attendance| AppRow {
            app: attendance.app.to_string(),
            connections: attendance.sockets,
            users: attendance.users,
        };
        self.hub.attendances().into_iter().map(row).collect()
    }
}
