//! What those ask who run a node: whether it lives, whether it is ready, which version it is (spec 2.2), its figures, and
//! how much it logs. The first three are the same on both listeners and for anybody.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::client::Client;
use super::private::authorization;
use super::{Door, answer};
use crate::admin;
use crate::dialect::cluster;
use crate::dialect::gusher::log_level;
use crate::model::Refusal;

/// Those of both listeners.
pub fn routes() -> Router<Arc<Door>> {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/up", get(up))
        .route("/version", get(|| async { env!("CARGO_PKG_VERSION") }))
}

/// Whether a route is one of these, or the figures: whoever watches a node may ask as often as it likes.
pub fn is_operation(route: &str) -> bool {
    ["/healthz", "/livez", "/readyz", "/up", "/version", "/metrics"].contains(&route)
}

/// The figures: on the private listener, and on the only one of a role that has no other.
pub fn figure_routes() -> Router<Arc<Door>> {
    Router::new().route("/metrics", get(metrics))
}

/// How much is logged: on the private listener alone.
pub fn log_routes() -> Router<Arc<Door>> {
    Router::new().route("/api/log-level", get(show_log_level).put(set_log_level))
}

/// A node lives while its shards turn.
async fn live(State(door): State<Arc<Door>>) -> Response {
    if door.monitor.is_alive().await {
        "ok".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "a shard does not turn").into_response()
    }
}

/// The same as Laravel Reverb says it.
async fn up(State(door): State<Arc<Door>>) -> Response {
    if door.monitor.is_alive().await {
        answer::json(r#"{"health":"OK"}"#.to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, answer::json(r#"{"health":"FAILING"}"#.to_owned())).into_response()
    }
}

/// A node is ready while it hears of the others, from its first certificate on, until it is told to stop.
async fn ready(State(door): State<Arc<Door>>) -> Response {
    let not_ready = |reason: String| (StatusCode::SERVICE_UNAVAILABLE, reason).into_response();
    match door.hub.bus_name() {
        _ if door.hub.is_stopping() => not_ready("stopping".to_owned()),
        Some(bus) if !door.hub.is_joined() => not_ready(format!("{bus} not connected")),
        _ if door.certificate.as_ref().is_some_and(|certificate| !certificate.is_there()) => {
            not_ready("no certificate yet".to_owned())
        }
        _ => "ready".into_response(),
    }
}

/// The figures, for Prometheus.
async fn metrics(State(door): State<Arc<Door>>, head: Parts) -> Response {
    if let Err(refusal) = door.authorize_scraper(&head).await {
        return answer::refuse(&refusal);
    }
    match door.monitor.text() {
        Ok(text) => ([(CONTENT_TYPE, HeaderValue::from_static(admin::CONTENT_TYPE))], text).into_response(),
        Err(_) => answer::refuse(&Refusal::Internal),
    }
}

async fn show_log_level(State(door): State<Arc<Door>>, head: Parts) -> Response {
    match door.authorize_super(&head).await {
        Ok(()) => answer::json(log_level::told(door.log.level())),
        Err(refusal) => answer::refuse(&refusal),
    }
}

async fn set_log_level(State(door): State<Arc<Door>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let wanted = async {
        door.authorize_super(&head).await?;
        door.parsed(body, log_level::wanted).await?
    };
    match wanted.await {
        Ok(level) => {
            door.log.set(level);
            // A warning, so that it is there at every level.
            tracing::warn!(log_level = level.word(), "how much is logged was changed by a call");
            answer::json(log_level::told(level))
        }
        Err(refusal) => answer::refuse(&refusal),
    }
}

impl Door {
    /// Lets those pass who may see the figures: who shows the token, and the super admin; anybody, if that is set.
    async fn authorize_scraper(&self, head: &Parts) -> Result<(), Refusal> {
        let settings = &self.monitor.settings;
        let admin = &self.terms().admin;
        if settings.is_public || admin.is_everybody {
            return Ok(());
        }
        match cluster::api::bearer(authorization(head)) {
            Some(shown) => {
                let good = [settings.token.as_ref(), admin.token.as_ref()];
                self.credentials.take_token(Client::of_head(head).address, shown, &good)
            }
            None => self.authorize_super(head).await,
        }
    }
}
