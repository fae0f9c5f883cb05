//! The console: a page at `/console` on the private listener, and the calls that it makes (`/console/api`). What is
//! understood and said is `dialect::console`'s; here is who may ask, and whom.
//!
//! Always: a call without a session learns nothing; a call that changes something shows the token which only the page
//! has; an app's admin does not learn of other apps, not even whether they are there.

mod apps;
mod events;
mod feed;
mod gzip;
mod here;
mod overview;
mod pages;
mod session;
mod webhooks;

use std::sync::Arc;

use axum::Router;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{any, delete, get, patch, post};
use tokio::time::Instant;

use session::{Sessions, Visitor};

use super::{Door, answer};
use crate::config::ConsoleSettings;
use crate::dialect::console::Fault;
use crate::hub::LiveApp;
use crate::model::Refusal;

/// Where the path of a call names an app, and behind that something of it.
const APP_PLACE: usize = 4;
const DETAIL_PLACE: usize = 6;

/// What the console needs besides the door, and remembers.
#[derive(Debug)]
pub(super) struct Console {
    settings: ConsoleSettings,
    /// Where sockets connect, as the configuration says it.
    public: String,
    /// They do so over TLS.
    is_public_tls: bool,
    sessions: Sessions,
}

impl Console {
    pub fn new(settings: ConsoleSettings, public: String, is_public_tls: bool) -> Self {
        Self { settings, public, is_public_tls, sessions: Sessions::new(settings) }
    }

    pub fn is_enabled(&self) -> bool {
        self.settings.is_enabled
    }
}

/// All of them.
pub fn routes() -> Router<Arc<Door>> {
    let calls = Router::new()
        .route("/console/api/session", get(session::show).post(session::sign_in).delete(session::sign_out))
        .route("/console/api/overview", get(overview::show))
        .route("/console/api/apps", get(apps::list).post(apps::register))
        .route("/console/api/apps/{app_key}", get(apps::show).delete(apps::unregister))
        .route("/console/api/apps/{app_key}/settings", patch(apps::change_settings))
        .route("/console/api/apps/{app_key}/rotate", post(apps::rotate))
        .route("/console/api/apps/{app_key}/keys/{pair_key}", delete(apps::remove_key))
        .route("/console/api/apps/{app_key}/channels", get(here::channels))
        .route("/console/api/apps/{app_key}/channels/{channel}/members", get(here::members))
        .route("/console/api/apps/{app_key}/users", get(here::users))
        .route("/console/api/apps/{app_key}/events", post(events::publish))
        .route("/console/api/apps/{app_key}/feed", get(feed::watch))
        .route("/console/api/apps/{app_key}/webhooks", get(webhooks::show))
        .route("/console/api/apps/{app_key}/webhooks/retry", post(webhooks::retry))
        .route("/console/api", any(unknown))
        .route("/console/api/", any(unknown))
        .route("/console/api/{*rest}", any(unknown))
        .method_not_allowed_fallback(|| async { Refused(Refusal::MethodNotAllowed.into()) });
    pages::routes()
        .merge(calls)
        .route("/", get(|head: Parts| lead("console", head)))
        .route("/console/", get(|head: Parts| lead("../console", head)))
}

/// A person who opens the bare address in a browser looks for the page; for others nothing is there. The path is relative, for
/// proxies that serve this listener below a path of their own.
async fn lead(path: &str, head: Parts) -> Response {
    let is_browser = head
        .headers
        .get(ACCEPT)
        .is_some_and(|accepted| accepted.to_str().is_ok_and(|accepted| accepted.contains("text/html")));
    if is_browser { Redirect::temporary(path).into_response() } else { answer::refuse(&Refusal::PathUnknown) }
}

async fn unknown() -> Refused {
    Refused(Refusal::PathUnknown.into())
}

/// A fault on its way out of a route.
struct Refused(Fault);

impl<T: Into<Fault>> From<T> for Refused {
    fn from(fault: T) -> Self {
        Self(fault.into())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        json(self.0.status, self.0.body())
    }
}

type Answer = Result<Response, Refused>;

/// What is told is of this moment and of this session: nobody may keep it.
fn json(status: StatusCode, body: String) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (status, headers, body).into_response()
}

fn ok(body: String) -> Answer {
    Ok(json(StatusCode::OK, body))
}

fn no_content() -> Answer {
    Ok(StatusCode::NO_CONTENT.into_response())
}

impl Door {
    /// Lets those pass who are signed in; a call that changes something must come from the page.
    fn enter(&self, head: &Parts) -> Result<Visitor, Fault> {
        if self.hub.is_draining() {
            return Err(Refusal::Draining.into());
        }
        let visitor = self.visitor(head, Instant::now()).ok_or_else(Fault::signed_out)?;
        if head.method.is_safe() || visitor.is_shown_in(head) {
            Ok(visitor)
        } else {
            Err(Fault::not_from_page())
        }
    }

    /// Lets the super admin pass.
    fn enter_as_super(&self, head: &Parts) -> Result<(), Fault> {
        if self.enter(head)?.is_super() { Ok(()) } else { Err(Fault::super_only()) }
    }

    /// Lets the super admin pass, and the admin of the app that the path names.
    fn enter_app(&self, head: &Parts) -> Result<(Visitor, Arc<LiveApp>), Fault> {
        let visitor = self.enter(head)?;
        let key = answer::name(head.uri.path(), APP_PLACE).map_err(|_| Fault::app_unknown())?;
        let live = self.hub.app(&key).ok().filter(|live| visitor.reaches(live));
        Ok((visitor, live.ok_or_else(Fault::app_unknown)?))
    }

    /// Lets the super admin pass, to the app that the path names.
    fn enter_app_as_super(&self, head: &Parts) -> Result<Arc<LiveApp>, Fault> {
        let (visitor, live) = self.enter_app(head)?;
        if visitor.is_super() { Ok(live) } else { Err(Fault::super_only()) }
    }
}
