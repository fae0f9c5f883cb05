//! What those look at first who run a node.

use std::time::Duration;

use super::{Monitor, process};
use crate::hook::WebhookFigures;
use crate::hub::BusState;
use crate::metrics::{Counter, ShardMetrics};
use crate::model::Dialect;

/// How a node fares. What is counted is counted since its start.
#[derive(Clone, Debug)]
pub struct Overview {
    /// Since its start.
    pub uptime: Duration,
    /// Its name among others; none without a bus.
    pub node: Option<String>,
    /// The kind of bus, and how the node fares with the others.
    pub bus: Option<(&'static str, BusState)>,
    /// How many others there are; none when that is not known.
    pub other_nodes: Option<usize>,
    /// Its sockets, in the order of [`Dialect::ALL`].
    pub sockets: [u64; Dialect::ALL.len()],
    /// How many it may have.
    pub sockets_max: usize,
    /// Resident memory, in bytes; none where the system does not tell.
    pub memory_bytes: Option<u64>,
    /// Processor time.
    pub cpu: Duration,
    /// Publications accepted.
    pub published: u64,
    /// Frames of pushes handed to sockets.
    pub delivered: u64,
    /// Bytes from sockets.
    pub bytes_in: u64,
    /// Bytes to sockets.
    pub bytes_out: u64,
    /// Sockets cut because they did not read.
    pub slow_cuts: u64,
    /// Requests refused, by statuses.
    pub refusals: Vec<(u16, u64)>,
    /// Bytes that wait for sockets now.
    pub outbox_bytes: u64,
    /// What became of what webhooks were to be told.
    pub webhooks: WebhookFigures,
}

impl Monitor {
    /// How the node fares now.
    pub fn overview(&self) -> Overview {
        let sum = |of: fn(&ShardMetrics) -> &Counter| self.shards.iter().map(|shard| of(shard).get()).sum();
        let of = |dialect| self.shards.iter().map(|shard| shard.sockets.of(dialect).get()).sum();
        let (hub, metrics) = (&self.hub, &self.hub.metrics);
        Overview {
            uptime: self.started.elapsed().unwrap_or_default(),
            node: hub.node_id().map(|id| id.to_string()),
            bus: hub.bus_name().zip(hub.bus_state()),
            other_nodes: hub.other_nodes(),
            sockets: Dialect::ALL.map(of),
            sockets_max: hub.sockets_max(),
            memory_bytes: process::resident_bytes(),
            cpu: process::cpu_time(),
            published: metrics.publications.get(),
            delivered: sum(|shard| &shard.deliveries),
            bytes_in: sum(|shard| &shard.bytes_in),
            bytes_out: sum(|shard| &shard.bytes_out),
            slow_cuts: sum(|shard| &shard.slow_cuts),
            refusals: metrics.refusals.all(),
            outbox_bytes: sum(|shard| &shard.outbox_bytes),
            webhooks: self.webhooks.figures(),
        }
    }
}
