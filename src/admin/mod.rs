//! What those see who run a node: its figures, for Prometheus, and whether it lives.
//!
//! It looks and never touches: nothing here changes what the node does, takes a lock for longer than a look, or asks a
//! database. Always: no figure and no label holds a secret, a user, a channel or anything that a client sent; how many
//! there are depends on settings and shards alone.

mod apps;
mod family;
mod node;
mod overview;
mod process;
mod pulse;
mod shards;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use process::resident_bytes;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::registry::Registry;

pub use overview::Overview;

use crate::config::MetricsSettings;
use crate::hook::Webhooks;
use crate::hub::Hub;
use crate::metrics::ShardMetrics;

/// What the figures are sent as.
pub const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// A shard that has made no turn for so long is stuck: a turn takes milliseconds, whatever the load.
const TURN_TIME_MAX: Duration = Duration::from_secs(2);

/// Looks at a node.
#[derive(Debug)]
pub struct Monitor {
    hub: Arc<Hub>,
    shards: Vec<Arc<ShardMetrics>>,
    webhooks: Arc<Webhooks>,
    rest: apps::Rest,
    started: SystemTime,
    /// Who may see the figures.
    pub settings: MetricsSettings,
}

impl Monitor {
    /// Looks at the node that consists of these.
    pub fn new(
        hub: Arc<Hub>,
        shards: Vec<Arc<ShardMetrics>>,
        webhooks: Arc<Webhooks>,
        settings: MetricsSettings,
    ) -> Self {
        Self { hub, shards, webhooks, rest: apps::Rest::default(), started: SystemTime::now(), settings }
    }

    /// All figures in the text format of Prometheus.
    ///
    /// # Errors
    /// None that is known: a text takes everything.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut families = node::families(&self.hub, &self.webhooks.figures());
        families.extend(shards::families(&self.shards, &self.hub.mailbox_bytes()));
        families.extend(self.rest.families(&self.hub.live_apps(), self.settings.apps_max));
        families.push(node::store_failures(&self.hub, &self.webhooks));
        families.extend(process::families(self.started));
        let mut registry = Registry::default();
        registry.register_collector(Box::new(family::Families(families)));
        let mut text = String::new();
        prometheus_text::encode(&mut text, &registry)?;
        Ok(text)
    }

    /// Whether every shard goes on turning. While the node stops, they end one by one, and `drain.seconds` is their limit.
    pub async fn is_alive(&self) -> bool {
        self.hub.is_draining() || pulse::all_turn(&self.hub, &self.shards, TURN_TIME_MAX).await
    }
}
