//! What those ask who run a node: whether it lives, whether it is ready, which version it is (spec 2.2). The same on both
//! listeners.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Door;

/// All of them.
pub fn routes() -> Router<Arc<Door>> {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/version", get(|| async { env!("CARGO_PKG_VERSION") }))
}

/// A node is ready while it hears of the others, until it is told to stop.
async fn ready(State(door): State<Arc<Door>>) -> Response {
    if door.hub.is_stopping() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping").into_response();
    }
    match door.hub.bus_name() {
        Some(bus) if !door.hub.is_joined() => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("{bus} not connected")).into_response()
        }
        _ => "ready".into_response(),
    }
}
