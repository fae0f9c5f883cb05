//! Asks an app's backend whether a user may connect (spec 1.9). Never names the URL, the token or the user in
//! what it answers or logs.

use std::time::Duration;

use reqwest::{StatusCode, redirect};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::dialect::gusher::hook;
use crate::model::{Refusal, UserId};

/// How many redirects of a kind that repeats the request are followed (spec D21).
const REDIRECTS_MAX: usize = 3;

/// What bounds the asking.
#[derive(Clone, Copy, Debug)]
pub struct ConnectHookLimits {
    /// Exchanges in flight at once; further ones wait in line.
    pub exchanges_max: usize,
    /// The whole exchange, body included.
    pub exchange_time_max: Duration,
    /// The wait in line.
    pub wait_max: Duration,
    /// The answer, in bytes.
    pub answer_bytes_max: usize,
}

/// Asks connect hooks, so many at a time.
#[derive(Debug)]
pub struct ConnectHook {
    client: reqwest::Client,
    line: Semaphore,
    limits: ConnectHookLimits,
}

impl ConnectHook {
    /// # Errors
    /// The TLS library cannot be set up.
    pub fn new(limits: ConnectHookLimits) -> Result<Self, reqwest::Error> {
        let client = || {
            // As for webhooks: some backends compare the case of a name.
            reqwest::Client::builder().http1_title_case_headers().redirect(redirect::Policy::custom(follow))
        };
        let client = client().build().or_else(|error| {
            // No reason not to start: hooks over plain HTTP need none.
            tracing::warn!(%error, "this system has no root certificates: connect hooks over https will fail");
            client().tls_certs_only([]).build()
        })?;
        Ok(Self { client, line: Semaphore::new(limits.exchanges_max), limits })
    }

    /// Asks `url` whether the bearer of `token` is `user`. Dropping the future cancels the exchange.
    ///
    /// # Errors
    /// [`Refusal::HookBusy`], [`Refusal::HookTimeout`], [`Refusal::HookFailed`], [`Refusal::HookRefused`].
    pub async fn ask(&self, url: &str, token: &str, user: &UserId) -> Result<(), Refusal> {
        let _place = self.stand_in_line().await?;
        let exchange = timeout(self.limits.exchange_time_max, self.exchange(url, token));
        let (is_success, body) = exchange.await.map_err(|_| Refusal::HookTimeout)??;
        if hook::differs_by_blanks_only(&body, user) {
            tracing::info!("a connect hook's answer differs from the user_tag by outer blanks only");
        }
        hook::verdict(is_success, &body, user)
    }

    async fn stand_in_line(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        match timeout(self.limits.wait_max, self.line.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(Refusal::HookBusy),
        }
    }

    async fn exchange(&self, url: &str, token: &str) -> Result<(bool, Vec<u8>), Refusal> {
        let request = self
            .client
            .post(url)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(hook::question(token));
        let mut answer = request.send().await.map_err(failed)?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > self.limits.answer_bytes_max {
                return Err(Refusal::HookRefused);
            }
            body.extend_from_slice(&chunk);
        }
        Ok((answer.status().is_success(), body))
    }
}

/// Follows a redirect only when it repeats the POST as it was (spec D21).
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let repeats = matches!(attempt.status(), StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
    if repeats && attempt.previous().len() <= REDIRECTS_MAX { attempt.follow() } else { attempt.stop() }
}

fn failed(error: reqwest::Error) -> Refusal {
    tracing::debug!(error = %error.without_url(), "a connect hook could not be asked");
    Refusal::HookFailed
}
