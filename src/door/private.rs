//! The routes of the private listener: the calls of the backends (spec 1.7).
//!
//! Every call goes in the same order: who is it, is there such an app, what are the parameters. So somebody
//! without credentials learns nothing of the apps.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::client::Client;
use super::credentials::{Reach, Realm};
use super::{Door, answer, cluster, openapi, signed, ui};
use crate::dialect::gusher::{api, settings, webhooks as told};
use crate::hub::{LiveApp, new_identity};
use crate::model::{
    Admin, App, AppKey, AppRate, AppSecret, Refusal, Registered, Registration, WebhookReport,
};

/// All of them but those of operation, which answer to the end. An app may be called `push`; the router takes that word as the call, so the two paths that can mean
/// either are told apart by their method.
pub fn routes() -> Router<Arc<Door>> {
    Router::new()
        .route("/api/register", post(register))
        .route("/api/app-list", get(list))
        .route("/api/{app_key}/unregister", delete(unregister))
        .route("/api/push/unregister", delete(unregister).post(push))
        .route("/api/push/listonlineuser", get(online).post(push))
        .route("/api/push/settings", get(show_settings).patch(change_settings).post(push))
        .route("/api/push/{app_key}", post(push))
        .route("/api/{app_key}/listonlineuser", get(online))
        .route("/api/{app_key}/settings", get(show_settings).patch(change_settings))
        .route("/api/push/webhooks", get(webhooks).post(push))
        .route("/api/{app_key}/webhooks", get(webhooks))
        .merge(signed::routes())
        .merge(cluster_routes())
}

/// Those of Gusher Cluster, which are all in the role of its master.
pub fn cluster_routes() -> Router<Arc<Door>> {
    Router::new().merge(cluster::private_routes()).merge(ui::routes()).merge(openapi::routes())
}

/// A refusal on its way out of a route.
struct Refused(Refusal);

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        answer::refuse(&self.0)
    }
}

async fn register(State(door): State<Arc<Door>>, request: Request) -> Result<Response, Refused> {
    let (head, body) = request.into_parts();
    door.authorize_super(&head).await?;
    let wanted = api::register(&door.form(&head, body).await?)?;
    let live = door.register(&head, wanted).await?;
    Ok(answer::json(api::registered(&live.app)))
}

async fn list(State(door): State<Arc<Door>>, head: Parts) -> Result<Response, Refused> {
    door.authorize_super(&head).await?;
    Ok(answer::json(api::listed(&door.hub.list().await?)))
}

async fn unregister(State(door): State<Arc<Door>>, head: Parts) -> Result<Response, Refused> {
    // An old app may be called what no other call can name.
    let live = door.authorize_for(&head, &answer::name(head.uri.path(), 2)?).await?;
    door.hub.unregister(&live.app.key).await?;
    Ok(answer::json(api::unregistered()))
}

async fn push(State(door): State<Arc<Door>>, request: Request) -> Result<Response, Refused> {
    let (head, body) = request.into_parts();
    let live = door.authorize(&head, 3).await?;
    live.take(AppRate::Calls, 1)?;
    let form = door.form(&head, body).await?;
    let publication = api::push(&form, |source| door.pattern(source))?;
    let reach = door.hub.publish_soon(&live, publication.clone()).await?;
    Ok(door.told_in_part(answer::json(api::pushed(&live.app.key, &publication, reach))))
}

async fn online(State(door): State<Arc<Door>>, head: Parts) -> Result<Response, Refused> {
    let live = door.authorize(&head, 2).await?;
    live.take(AppRate::Calls, 1)?;
    let key = live.app.key.clone();
    let told = door.hub.tagged(&live, move |users| api::online(&key, &users)).await?;
    Ok(door.told_in_part(answer::json(told)))
}

async fn show_settings(State(door): State<Arc<Door>>, head: Parts) -> Result<Response, Refused> {
    door.authorize_super(&head).await?;
    let live = door.hub.app(&answer::segment(head.uri.path(), 2)?)?;
    Ok(answer::json(settings::told(&live.settings())))
}

async fn change_settings(State(door): State<Arc<Door>>, request: Request) -> Result<Response, Refused> {
    let (head, body) = request.into_parts();
    door.authorize_super(&head).await?;
    let live = door.hub.app(&answer::segment(head.uri.path(), 2)?)?;
    let change = door.parsed(body, settings::change).await??;
    let changed = door.hub.configure(live.app.key.as_str(), |now| settings::apply(now, change)).await?;
    Ok(answer::json(settings::told(&changed)))
}

async fn webhooks(State(door): State<Arc<Door>>, head: Parts) -> Result<Response, Refused> {
    let live = door.authorize(&head, 2).await?;
    let reports = door.webhook_reports(&live.app.key).await?;
    Ok(answer::json(told::reported(&live.app.key, &reports)))
}

/// The cause of a refusal that is our own fault, for the log.
pub(super) fn database_failed(error: &impl std::fmt::Display) -> Refusal {
    tracing::error!(%error, "the database failed");
    Refusal::Internal
}

impl Door {
    async fn reach(&self, head: &Parts, app: Option<Realm<'_>>) -> Result<Reach, Refusal> {
        self.credentials
            .reach(Client::of_head(head).address, authorization(head), &self.terms().admin, app)
            .await
    }

    /// How the webhooks of an app fare.
    pub(super) async fn webhook_reports(&self, key: &AppKey) -> Result<Vec<WebhookReport>, Refusal> {
        self.webhooks.status(key).await.map_err(|error| database_failed(&error))
    }

    /// Registers an app that was asked for by this request.
    pub(super) async fn register(&self, head: &Parts, wanted: Registration) -> Result<Arc<LiveApp>, Refusal> {
        let hash = self.credentials.hash(&wanted.account, &wanted.password).await?;
        let (id, secret) = new_identity().map_err(|_| Refusal::Internal)?;
        let has_chosen_id = wanted.id.is_some();
        let app = App {
            key: wanted.key,
            id: wanted.id.unwrap_or(id),
            secret: AppSecret(wanted.secret.unwrap_or(secret)),
            admin: Admin { account: wanted.account, hash },
            connect_hook: wanted.connect_hook,
            request_ip: Client::of_head(head).to_string(),
            registered: Registered::at(&Timestamp::now().to_zoned_datetime(TimeZone::system())),
        };
        if has_chosen_id { self.hub.register(app).await } else { self.hub.register_under_any_id(app).await }
    }

    /// Lets the super admin pass.
    pub(super) async fn authorize_super(&self, head: &Parts) -> Result<(), Refusal> {
        match self.reach(head, None).await? {
            Reach::Everything => Ok(()),
            Reach::OneApp => Err(Refusal::NotAuthorized),
        }
    }

    /// Lets the super admin pass, and the admin of the app that the path names at `place`. Only the super admin
    /// learns that there is no such app.
    pub(super) async fn authorize(&self, head: &Parts, place: usize) -> Result<Arc<LiveApp>, Refusal> {
        self.authorize_for(head, &answer::segment(head.uri.path(), place)?).await
    }

    /// The same for an app that was named.
    async fn authorize_for(&self, head: &Parts, key: &str) -> Result<Arc<LiveApp>, Refusal> {
        let live = self.hub.app(key);
        let admin = live.as_ref().ok().map(|live| &live.app.admin);
        self.reach(head, Some(Realm { app: key, admin })).await?;
        live
    }
}

pub(super) fn authorization(head: &Parts) -> Option<&[u8]> {
    head.headers.get(AUTHORIZATION).map(|value| value.as_bytes())
}
