//! `GET /openapi.json`: all calls, described for programs (OpenAPI 3.1), compiled in. It says nothing of this node, so it
//! is for anybody who reaches the private listener. `tests/openapi.rs` holds it to the routes and to what they answer.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use super::{Door, answer};

/// The description itself, written by hand.
const DESCRIPTION: &str = include_str!("openapi.json");

/// The one route.
pub fn routes() -> Router<Arc<Door>> {
    Router::new().route("/openapi.json", get(|| async { answer::json(DESCRIPTION) }))
}
