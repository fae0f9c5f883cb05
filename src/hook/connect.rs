//! Asks an app's backend whether a user may connect (spec 1.9). Never names the URL, the token or the user in
//! what it answers or logs.

use std::error::Error;
use std::io;
use std::time::Duration;

use reqwest::{Response, StatusCode, redirect};
use tokio::time::timeout;

use super::client::Clients;
use super::line::Line;
use crate::dialect::gusher::hook;
use crate::model::{AppNumber, Refusal, UserId};

/// How many redirects of a kind that repeats the request are followed (spec D21).
const REDIRECTS_MAX: usize = 3;

/// What bounds the asking.
#[derive(Clone, Copy, Debug)]
pub struct ConnectHookLimits {
    /// Exchanges in flight at once, those of one app a part of them when others want any; further ones wait in line.
    pub exchanges_max: usize,
    /// The whole exchange, body included.
    pub exchange_time_max: Duration,
    /// The wait in line.
    pub wait_max: Duration,
    /// The answer, in bytes.
    pub answer_bytes_max: usize,
    /// Hooks are asked through the proxies that the environment names.
    pub uses_proxy: bool,
}

/// Asks connect hooks, so many at a time.
#[derive(Debug)]
pub struct ConnectHook {
    clients: Clients,
    line: Line,
    limits: ConnectHookLimits,
}

impl ConnectHook {
    /// # Errors
    /// The TLS library cannot be set up.
    pub fn new(limits: ConnectHookLimits) -> Result<Self, reqwest::Error> {
        let clients = Clients::build("connect hooks", limits.uses_proxy, |builder| {
            builder.redirect(redirect::Policy::custom(follow))
        })?;
        Ok(Self { clients, line: Line::new(limits.exchanges_max), limits })
    }

    /// Asks `url`, the hook of an app, whether the bearer of `token` is `user`. Dropping the future cancels the
    /// exchange.
    ///
    /// # Errors
    /// [`Refusal::HookBusy`], [`Refusal::HookTimeout`], [`Refusal::HookFailed`], [`Refusal::HookRefused`].
    pub async fn ask(&self, app: AppNumber, url: &str, token: &str, user: &UserId) -> Result<(), Refusal> {
        let _place = self.line.stand(app, self.limits.wait_max).await.ok_or(Refusal::HookBusy)?;
        let exchange = timeout(self.limits.exchange_time_max, self.exchange(url, token));
        let (is_success, body) = exchange.await.map_err(|_| Refusal::HookTimeout)??;
        if hook::differs_by_blanks_only(&body, user) {
            tracing::info!("a connect hook's answer differs from the user_tag by outer blanks only");
        }
        hook::verdict(is_success, &body, user)
    }

    async fn exchange(&self, url: &str, token: &str) -> Result<(bool, Vec<u8>), Refusal> {
        let mut asked = post(self.clients.kept(), url, token).await;
        if asked.as_ref().is_err_and(broke_unanswered) {
            // A backend may close a connection in the moment in which it is used again. A question may be asked twice.
            asked = post(self.clients.fresh(), url, token).await;
        }
        let mut answer = asked.map_err(failed)?;
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

async fn post(client: &reqwest::Client, url: &str, token: &str) -> Result<Response, reqwest::Error> {
    let request = client.post(url).header("Content-Type", "application/x-www-form-urlencoded");
    request.body(hook::question(token)).send().await
}

/// Whether a connection ended before an answer came.
fn broke_unanswered(error: &reqwest::Error) -> bool {
    std::iter::successors(error.source(), |&cause| cause.source()).any(|cause| {
        let broke = |error: &hyper::Error| error.is_incomplete_message() || error.is_closed();
        let was_reset = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
        };
        cause.downcast_ref().is_some_and(broke) || cause.downcast_ref().is_some_and(was_reset)
    })
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
