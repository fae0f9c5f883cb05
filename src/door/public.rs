//! The routes of the public listener: sockets, and the calls that are signed.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use super::{Door, cluster, operation, signed, upgrade};

/// All of them.
pub fn routes() -> Router<Arc<Door>> {
    Router::new()
        .route("/ws/{app_key}/{user_tag}", get(upgrade::gusher))
        .route("/app/{app_key}", get(upgrade::pusher))
        .merge(signed::routes())
        .merge(cluster_routes())
}

/// Those of Gusher Cluster, which are all in the role of its slave.
pub fn cluster_routes() -> Router<Arc<Door>> {
    Router::new()
        .route("/v1/apps/{app_key}/ws", get(upgrade::cluster))
        .merge(cluster::public_routes())
        .merge(operation::routes())
}
