//! What is counted of each webhook, and when its log says something: when it begins to fail, to lose events or to
//! work again, and not for each event.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use url::Url;

use super::request::Failure;
use crate::metrics::Counter;
use crate::model::{AppKey, WebhookAttempt, WebhookReport};
use crate::store::Lane;

/// After so long without a dropped event the next one is said again.
const BURST_PAUSE_MS: u64 = 60_000;

/// The counts of all webhooks.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    of_apps: Mutex<HashMap<AppKey, HashMap<Arc<str>, Tally>>>,
    /// Of all together, those included that are gone.
    pub totals: Totals,
}

/// What became of events and requests.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub delivered: Counter,
    pub given_up: Counter,
    pub dropped: Counter,
    pub failed_attempts: Counter,
}

#[derive(Debug, Default)]
struct Tally {
    counts: WebhookReport,
    is_failing: bool,
    is_giving_up: bool,
    /// When an event was dropped last.
    dropped_ms: Option<i64>,
}

impl Tallies {
    /// Events were delivered.
    pub fn delivered(&self, lane: &Lane, events: usize, at_ms: i64, status: u16) {
        self.totals.delivered.add(events as u64);
        self.count(lane, |tally| {
            tally.counts.delivered += events as u64;
            tally.counts.last = Some(WebhookAttempt { at_ms, status: Some(status), fault: None });
            tally.is_giving_up = false;
            if mem::take(&mut tally.is_failing) {
                tracing::info!(app = %lane.app, host = host(&lane.url), "a webhook works again");
            }
        });
    }

    /// An attempt failed.
    pub fn failed(&self, lane: &Lane, at_ms: i64, Failure { status, fault }: Failure) {
        self.totals.failed_attempts.add(1);
        self.count(lane, |tally| {
            tally.counts.failed_attempts += 1;
            tally.counts.last = Some(WebhookAttempt { at_ms, status, fault: Some(fault) });
            if !mem::replace(&mut tally.is_failing, true) {
                let (app, host) = (&lane.app, host(&lane.url));
                tracing::warn!(%app, host, status, fault, "a webhook fails, and is tried again");
            }
        });
    }

    /// The time of events was over.
    pub fn given_up(&self, lane: &Lane, events: usize) {
        self.totals.given_up.add(events as u64);
        self.count(lane, |tally| {
            tally.counts.given_up += events as u64;
            if !mem::replace(&mut tally.is_giving_up, true) {
                tracing::warn!(app = %lane.app, host = host(&lane.url), "events for a webhook are given up");
            }
        });
    }

    /// There was no room for an event.
    pub fn dropped(&self, lane: &Lane, at_ms: i64) {
        self.totals.dropped.add(1);
        self.count(lane, |tally| {
            tally.counts.dropped += 1;
            if begins_burst(&mut tally.dropped_ms, at_ms) {
                let (app, host) = (&lane.app, host(&lane.url));
                tracing::warn!(%app, host, "no room: events for a webhook are dropped");
            }
        });
    }

    /// How the webhooks with these URLs fare. What was counted of others of the app is forgotten.
    pub fn reports(&self, app: &AppKey, urls: &[&str]) -> Vec<WebhookReport> {
        let mut tallies = self.of_apps.lock().unwrap_or_else(PoisonError::into_inner);
        let of_app = tallies.entry(app.clone()).or_default();
        of_app.retain(|url, _| urls.contains(&&**url));
        let counts = |url: &&str| of_app.get(*url).map(|tally| tally.counts.clone()).unwrap_or_default();
        urls.iter().map(|url| WebhookReport { url: shown(url), ..counts(url) }).collect()
    }

    /// Forgets a webhook that is gone.
    pub fn forget(&self, lane: &Lane) {
        let mut tallies = self.of_apps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_app) = tallies.get_mut(&lane.app) {
            of_app.remove(&lane.url);
        }
    }

    fn count(&self, lane: &Lane, count: impl FnOnce(&mut Tally)) {
        let mut tallies = self.of_apps.lock().unwrap_or_else(PoisonError::into_inner);
        let of_app = tallies.entry(lane.app.clone()).or_default();
        count(of_app.entry(Arc::clone(&lane.url)).or_default());
    }
}

/// Whether something that happens now is the first for a while. Room comes and goes with each event that is told, so room
/// alone does not end a burst.
fn begins_burst(last_ms: &mut Option<i64>, at_ms: i64) -> bool {
    last_ms.replace(at_ms).is_none_or(|last_ms| at_ms.abs_diff(last_ms) > BURST_PAUSE_MS)
}

/// Host and port of a URL: enough to know it by in a log, and no secret.
pub(super) fn host(url: &str) -> String {
    let url = Url::parse(url).ok();
    url.map(|url| url[url::Position::BeforeHost..url::Position::AfterPort].to_owned()).unwrap_or_default()
}

/// A URL without what may be secret in it.
pub(super) fn shown(url: &str) -> String {
    let Ok(url) = Url::parse(url) else { return String::new() };
    let place = &url[url::Position::BeforeHost..url::Position::AfterPath];
    format!("{}://{place}", url.scheme())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_begins_once() {
        let mut last_ms = None;
        let begins: Vec<_> =
            [0, 40, 50_000, 100_000, 160_001].map(|at_ms| begins_burst(&mut last_ms, at_ms)).into();
        assert_eq!(begins, [true, false, false, false, true]);
    }

    #[test]
    fn neither_account_nor_query_is_shown() {
        let url = "https://account:password@named.example:8443/some/path?token=secret#part";
        assert_eq!(host(url), "named.example:8443");
        assert_eq!(shown(url), "https://named.example:8443/some/path");
    }
}
