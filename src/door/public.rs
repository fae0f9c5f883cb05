//! The routes of the public listener: sockets.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use super::{Door, upgrade};

/// All of them.
pub fn routes() -> Router<Arc<Door>> {
    Router::new().route("/ws/{app_key}/{user_tag}", get(upgrade::gusher))
}
