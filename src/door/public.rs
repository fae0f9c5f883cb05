//! The routes of the public listener: sockets, and the calls that are signed.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use super::{Door, signed, upgrade};

/// All of them.
pub fn routes() -> Router<Arc<Door>> {
    Router::new()
        .route("/ws/{app_key}/{user_tag}", get(upgrade::gusher))
        .route("/app/{app_key}", get(upgrade::pusher))
        .merge(signed::routes())
}
