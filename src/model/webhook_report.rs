//! How a webhook fares, for whoever asks.

/// How one webhook of an app fares. It counts from the start of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhookReport {
    /// Where it is told, without what may be secret: no account, no query.
    pub url: String,
    /// Events that wait, also from before the start.
    pub waiting: u64,
    /// Events delivered.
    pub delivered: u64,
    /// Requests that failed.
    pub failed_attempts: u64,
    /// Events given up because their time was over.
    pub given_up: u64,
    /// Events for which there was no room.
    pub dropped: u64,
    /// The last request.
    pub last: Option<WebhookAttempt>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebhookAttempt {
    /// When it ended, Unix time in milliseconds.
    pub at_ms: i64,
    /// The status of its answer, if there was one.
    pub status: Option<u16>,
    /// What went wrong, if anything did.
    pub fault: Option<&'static str>,
}

/// What became of a request, or of events that never were in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookResult {
    /// It was accepted.
    Delivered,
    /// It was not, and is tried again.
    Failed,
    /// It was not, and its time is over.
    GivenUp,
    /// There was no room for it.
    Dropped,
}

/// One line of the log of webhooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookOutcome {
    /// Its number: later ones have greater numbers.
    pub id: u64,
    /// When, Unix time in milliseconds.
    pub at_ms: i64,
    /// Where, without what may be secret: no account, no query.
    pub url: String,
    /// The kinds of the events, in their order.
    pub events: Vec<String>,
    /// How the body begins.
    pub body: String,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// What went wrong, if anything did.
    pub fault: Option<&'static str>,
    /// What became of it.
    pub result: WebhookResult,
    /// Which attempt it was, from 1; 0 of what was never tried.
    pub attempt: u32,
    /// Its events are there to be told again.
    pub can_retry: bool,
}
