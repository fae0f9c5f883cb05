//! How the node fares, in one answer.

use std::sync::Arc;

use axum::extract::State;
use axum::http::request::Parts;
use jiff::Timestamp;
use serde_json::json;

use super::{Answer, Door, ok};
use crate::admin::Overview;

/// `GET /console/api/overview`: counters are totals since the start.
pub async fn show(State(door): State<Arc<Door>>, head: Parts) -> Answer {
    door.enter_as_super(&head)?;
    ok(told(&door.monitor.overview()))
}

fn told(overview: &Overview) -> String {
    let Overview { sockets: [gusher, pusher, cluster], webhooks, .. } = overview;
    let bus =
        overview.bus.map(|(kind, state)| json!({ "kind": kind, "up": state.is_up, "ready": state.is_ready }));
    let refusals = overview.refusals.iter().map(|(status, count)| (status.to_string(), count));
    json!({
        "time_ms": Timestamp::now().as_millisecond(),
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": overview.uptime.as_secs(),
        "node": { "id": overview.node },
        "other_nodes": overview.other_nodes,
        "bus": bus,
        "connections": { "gusher": gusher, "cluster": cluster, "pusher": pusher, "max": overview.sockets_max },
        "memory_bytes": overview.memory_bytes,
        "cpu_seconds": overview.cpu.as_secs_f64(),
        "published": overview.published,
        "delivered": overview.delivered,
        "bytes_in": overview.bytes_in,
        "bytes_out": overview.bytes_out,
        "slow_cuts": overview.slow_cuts,
        "refusals": refusals.collect::<Vec<_>>(),
        "outbox_bytes": overview.outbox_bytes,
        "webhooks": {
            "waiting": webhooks.waiting,
            "delivered": webhooks.delivered,
            "given_up": webhooks.given_up,
            "dropped": webhooks.dropped,
            "failed_attempts": webhooks.failed_attempts,
        },
    })
    .to_string()
}
