//! What is told of the hub to those who run the node, besides what is counted.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::link::lock;
use super::{Hub, Link, LiveApp};
use crate::model::NodeId;

/// How a node fares with the others.
#[derive(Clone, Copy, Debug)]
pub struct BusState {
    /// The bus is there.
    pub is_up: bool,
    /// This node knows what the others hold, and hears of each change.
    pub is_ready: bool,
    /// Nodes that live, this one included.
    pub nodes: usize,
}

impl BusState {
    /// How many other nodes live; none when that is not known.
    pub fn others(&self) -> Option<usize> {
        (self.is_up && self.is_ready).then(|| self.nodes.saturating_sub(1))
    }
}

impl Hub {
    /// How many other nodes live; none when that is not known.
    pub fn other_nodes(&self) -> Option<usize> {
        self.bus_state().map_or(Some(0), |state| state.others())
    }

    /// All apps, in no order.
    pub fn live_apps(&self) -> Vec<Arc<LiveApp>> {
        self.apps.all()
    }

    /// Times that the store of the apps failed.
    pub fn store_failures(&self) -> u64 {
        self.apps.failures.get()
    }

    /// What waits for each shard, in bytes.
    pub fn mailbox_bytes(&self) -> Vec<usize> {
        self.posts.iter().map(|post| post.mailbox.waiting_bytes()).collect()
    }

    /// Sockets that this node may have.
    pub fn sockets_max(&self) -> usize {
        self.limits.sockets_max
    }

    /// Notices that found no place on their way to webhooks.
    pub fn notices_dropped(&self) -> u64 {
        self.notices.dropped()
    }

    /// Whether the node stops.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// How this node fares with the others, if there may be any.
    pub fn bus_state(&self) -> Option<BusState> {
        let link = self.link.as_ref()?;
        let nodes = lock(&link.peers).nodes().len() + 1;
        Some(BusState { is_up: link.is_up(), is_ready: link.is_ready(), nodes })
    }

    /// The name of this node among others, if there may be any.
    pub fn node_id(&self) -> Option<NodeId> {
        self.link.as_ref().map(Link::me)
    }

    /// Has every shard make a turn, though nothing is to be done.
    pub fn nudge_shards(&self) {
        self.posts.iter().for_each(|post| post.mailbox.nudge());
    }
}
