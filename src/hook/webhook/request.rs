//! One request to a webhook, and one attempt to have it answered.

use std::collections::VecDeque;
use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect;
use url::Url;

use super::address::{self, FORBIDDEN, Forbidden, PublicOnly};
use crate::dialect::pusher::webhook;
use crate::dialect::signature::hmac_hex;
use crate::hook::client::Clients;
use crate::model::{AppKey, AppSecret, Webhook};
use crate::store::Waiting;

/// How much of an answer is read, in bytes. Nobody looks at it; read to its end, it leaves the connection free.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// What is posted, the same however often it is tried.
pub(super) struct Request {
    /// The events in it.
    pub events: Vec<Waiting>,
    /// The time of the oldest.
    pub time_ms: i64,
    pub body: Bytes,
    signature: String,
}

impl Request {
    /// Takes the first events of a page, at most so many.
    pub fn next(page: &mut VecDeque<Waiting>, events_max: usize, secret: &AppSecret) -> Option<Self> {
        let taken: Vec<Waiting> = page.drain(..events_max.min(page.len())).collect();
        let time_ms = taken.iter().map(|event| event.time_ms).min()?;
        let body = webhook::body(time_ms, taken.iter().map(|event| &*event.event));
        Some(Self { time_ms, signature: hmac_hex(&secret.0, &body), body: body.into(), events: taken })
    }
}

/// Why an attempt is none that succeeded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failure {
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// In words that tell nothing of the URL.
    pub fault: &'static str,
}

impl Failure {
    /// There was no time to wait for its end.
    pub const TOO_LONG: Self = Self { status: None, fault: "it took too long" };
}

/// Makes attempts. Follows no redirects, and uses no proxy: it would go where nobody checked.
#[derive(Debug)]
pub(super) struct Poster {
    clients: Clients,
    allows_private: bool,
}

impl Poster {
    /// # Errors
    /// The TLS library cannot be set up.
    pub fn new(allows_private: bool, request_time_max: Duration) -> Result<Self, reqwest::Error> {
        let public = PublicOnly::default();
        let clients = Clients::build("webhooks", false, |builder| {
            let builder = builder
                .redirect(redirect::Policy::none())
                .timeout(request_time_max)
                .user_agent(concat!("gusher/", env!("CARGO_PKG_VERSION")));
            if allows_private { builder } else { builder.dns_resolver(public.clone()) }
        })?;
        Ok(Self { clients, allows_private })
    }

    /// Posts a request, on a fresh connection or on any, and says with which status it was accepted.
    pub async fn post(
        &self,
        webhook: &Webhook,
        app: &AppKey,
        request: &Request,
        is_fresh: bool,
    ) -> Result<u16, Failure> {
        let failure = |fault| Failure { status: None, fault };
        let url = Url::parse(&webhook.url).map_err(|_| failure("the URL cannot be read"))?;
        if !self.allows_private {
            address::check(&url).map_err(|_| failure(FORBIDDEN))?;
        }
        let client = if is_fresh { self.clients.fresh() } else { self.clients.kept() };
        let posting = client.post(url).headers(headers(webhook, app, request));
        let posting = posting.body(request.body.clone()).send().await;
        let mut answer = posting.map_err(|error| failure(words(&error)))?;
        let mut bytes_left = ANSWER_BYTES_MAX;
        while let Ok(Some(chunk)) = answer.chunk().await
            && chunk.len() <= bytes_left
        {
            bytes_left -= chunk.len();
        }
        let status = answer.status().as_u16();
        match answer.status().is_success() {
            true => Ok(status),
            false => Err(Failure { status: Some(status), fault: "it was not accepted" }),
        }
    }
}

fn headers(webhook: &Webhook, app: &AppKey, request: &Request) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &webhook.headers {
        let header = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str()));
        if let (Ok(name), Ok(value)) = header
            && Webhook::may_set(name.as_str())
        {
            headers.append(name, value);
        }
    }
    // Last, since each takes the place of what somebody else put there.
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(webhook::CONTENT_TYPE));
    let key = (webhook::KEY_HEADER, app.as_str());
    for (name, value) in [key, (webhook::SIGNATURE_HEADER, &request.signature)] {
        // A key may hold any text but control characters; as bytes all of it can be sent.
        let header = (HeaderName::try_from(name), HeaderValue::from_bytes(value.as_bytes()));
        if let (Ok(name), Ok(value)) = header {
            headers.insert(name, value);
        }
    }
    headers
}

fn words(error: &reqwest::Error) -> &'static str {
    let mut causes = std::iter::successors(error.source(), |&cause| cause.source());
    if causes.any(|cause| cause.is::<Forbidden>()) {
        FORBIDDEN
    } else if error.is_timeout() {
        Failure::TOO_LONG.fault
    } else if error.is_connect() {
        "no connection can be made"
    } else {
        "the connection broke or the answer is no HTTP"
    }
}
