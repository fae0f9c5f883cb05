//! Webhooks that are not lost: what happened in a channel is put on disk at once, and taken to the backends until
//! they accept it or it is too old to be of use (pusher-channels 15).
//!
//! Always: nobody who posts a [`Notice`](crate::model::Notice) waits; a webhook that fails or is slow delays no other; whatever is given
//! up is counted, and told in the log once until it works again; no log and no report names an account, a query or a
//! secret.

mod address;
mod clock;
mod courier;
mod journal;
mod places;
mod request;
mod retry;
mod tally;
mod writer;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

pub use clock::Clock;
use courier::{Courier, Phase};
pub use journal::JournalLimits;
use request::Poster;
pub use retry::Retry;

use crate::feed::Feed;
use crate::hook::Posted;
use crate::model::{AppKey, AppNumber, AppSecret, AppSettings, WebhookReport};
use crate::store::{Outbox, StoreError};

/// What webhooks know of an app.
#[derive(Clone, Debug)]
pub struct WebhookApp {
    /// What the bodies are signed with.
    pub secret: AppSecret,
    /// Its settings now.
    pub settings: Arc<AppSettings>,
    /// This registration of it.
    pub number: AppNumber,
    /// What happens in it, for those who look on.
    pub feed: Arc<Feed>,
}

/// Finds an app, unless there is none; without waiting.
pub type Lookup = dyn Fn(&AppKey) -> Option<WebhookApp> + Send + Sync;

/// How webhooks are told.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// Whether they may be at addresses that are not of the internet: on this machine, or in its network.
    pub allows_private: bool,
    /// Requests under way at once.
    pub requests_max: usize,
    /// A whole request, with looking up its host and its answer.
    pub request_time_max: Duration,
    /// How much of what became of them is remembered.
    pub journal: JournalLimits,
    /// By which they are tried again.
    pub clock: Clock,
}

/// What became of the events of all webhooks since the start.
#[derive(Clone, Copy, Debug)]
pub struct WebhookFigures {
    /// Events on disk that are still to be told.
    pub waiting: u64,
    /// Events that were accepted.
    pub delivered: u64,
    /// Events whose time was over.
    pub given_up: u64,
    /// Events for which there was no room.
    pub dropped: u64,
    /// Requests that failed.
    pub failed_attempts: u64,
}

/// The webhooks of a node.
pub struct Webhooks {
    courier: Arc<Courier>,
    /// Closed when the writer has ended.
    writing: watch::Sender<()>,
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Webhooks").finish_non_exhaustive()
    }
}

impl Webhooks {
    /// Starts on the current runtime: what waits in the outbox is told, and what comes through `notices`.
    ///
    /// # Errors
    /// The TLS library cannot be set up.
    pub fn start(
        outbox: Outbox,
        notices: Posted,
        lookup: Box<Lookup>,
        settings: WebhookSettings,
    ) -> Result<Self, reqwest::Error> {
        let poster = Poster::new(settings.allows_private, settings.request_time_max)?;
        let courier = Arc::new(Courier::new(outbox, lookup, poster, settings));
        let (writing, written) = watch::channel(());
        let mut phase = courier.phase.subscribe();
        let writer = writer::write(Arc::clone(&courier), notices);
        tokio::spawn(async move {
            tokio::select! {
                () = writer => {}
                _ = phase.wait_for(|phase| *phase == Phase::Over) => {}
            }
            drop(written);
        });
        Ok(Self { courier, writing })
    }

    /// How the webhooks of an app fare, in the order of its settings; none if there is no such app.
    ///
    /// # Errors
    /// The database failed.
    pub async fn status(&self, key: &AppKey) -> Result<Vec<WebhookReport>, StoreError> {
        let Some(app) = (self.courier.lookup)(key) else { return Ok(Vec::new()) };
        let waiting = self.courier.outbox.waiting(key).await?;
        let urls: Vec<&str> = app.settings.webhooks.iter().map(|webhook| &*webhook.url).collect();
        let mut reports = self.courier.tallies.reports(key, &urls);
        for (report, url) in reports.iter_mut().zip(urls) {
            report.waiting = waiting.iter().find(|(of, _)| of == url).map_or(0, |(_, events)| *events);
        }
        Ok(reports)
    }

    /// What became of all that webhooks were to be told, and what waits.
    pub fn figures(&self) -> WebhookFigures {
        let totals = &self.courier.tallies.totals;
        WebhookFigures {
            waiting: self.courier.outbox.waiting_now(),
            delivered: totals.delivered.get(),
            given_up: totals.given_up.get(),
            dropped: totals.dropped.get(),
            failed_attempts: totals.failed_attempts.get(),
        }
    }

    /// How often the database failed.
    pub fn database_failures(&self) -> u64 {
        self.courier.database_failures.get()
    }

    /// Stops: puts on disk what was accepted, begins no further request, and gives those under way at most `grace`.
    /// What was not told stays on disk for the next start.
    pub async fn stop(&self, grace: Duration) {
        self.courier.phase.send_replace(Phase::Stopping);
        let ended = async {
            self.writing.closed().await;
            self.courier.idle().await;
        };
        if timeout(grace, ended).await.is_err() {
            if !self.writing.is_closed() {
                tracing::error!("the database does not take what webhooks have to tell: it is lost");
            }
            self.courier.phase.send_replace(Phase::Over);
            self.writing.closed().await;
            self.courier.idle().await;
        }
    }
}
