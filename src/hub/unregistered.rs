//! Apps that nobody registered, in the roles of Gusher Cluster: there is one as soon as a token, a backend or another node
//! names it, and no longer than it is used.
//!
//! Always: what other nodes hold of an app counts in it, also when there was no room for it at first.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::agenda::Millis;
use super::link::lock;
use super::{Hub, LiveApp};
use crate::model::Refusal;

/// How often apps that nobody uses are forgotten, in milliseconds.
const FORGET_EVERY_MS: Millis = 30_000;

impl Hub {
    /// The app of that key; made, where apps need not be registered and it is not there.
    ///
    /// # Errors
    /// [`Refusal::AppUnknown`] where apps need to be registered, or none can be called that; [`Refusal::Overloaded`] when
    /// there are as many as there may be; [`Refusal::Internal`].
    pub fn app_or_new(&self, key: &str) -> Result<Arc<LiveApp>, Refusal> {
        if let Ok(live) = self.app(key) {
            return Ok(live);
        }
        let live = self.make_known(key)?;
        self.adopt(&live.app.key);
        Ok(live)
    }

    /// The same without what other nodes hold of it.
    pub(super) fn make_known(&self, key: &str) -> Result<Arc<LiveApp>, Refusal> {
        let made = self.apps.make(key);
        if matches!(made, Err(Refusal::Overloaded)) {
            self.metrics.apps_refused.add(1);
            if !self.is_full_of_apps.swap(true, Ordering::Relaxed) {
                tracing::warn!("an app is refused: there are as many as cluster.apps_max permits");
            }
        }
        made
    }

    /// Forgets from time to time the apps that nobody uses any more.
    pub(super) fn tick_unregistered(&self, last: Millis) {
        if self.apps.need_registration() || self.agenda.now() / FORGET_EVERY_MS == last / FORGET_EVERY_MS {
            return;
        }
        self.apps.forget_unused();
        let was_full = self.is_full_of_apps.swap(false, Ordering::Relaxed);
        let Some(link) = &self.link else { return };
        let mut peers = lock(&link.peers);
        peers.forget_empty();
        let held = if was_full { peers.apps() } else { Vec::new() };
        drop(peers);
        for key in held.iter().filter(|key| self.app(key.as_str()).is_err()) {
            if self.make_known(key.as_str()).is_err() {
                break;
            }
            self.adopt(key);
        }
    }

    /// Whether this node can say who is there on all nodes: it hears them, and had room for all apps.
    pub fn knows_all(&self) -> bool {
        self.is_joined() && !self.is_full_of_apps.load(Ordering::Relaxed)
    }
}
