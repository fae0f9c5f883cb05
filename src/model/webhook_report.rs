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
