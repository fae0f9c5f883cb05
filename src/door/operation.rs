//! What those ask who run a node: whether it lives, whether it is ready, which version it is (spec 2.2). The same on both
//! listeners.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use super::Door;

/// All of them.
pub fn routes() -> Router<Arc<Door>> {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        // A node that does not serve has no listener either.
        .route("/readyz", get(|| async { "ready" }))
        .route("/version", get(|| async { env!("CARGO_PKG_VERSION") }))
}
