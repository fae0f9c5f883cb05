//! The clients with which backends are asked and told.

use std::time::{Duration, Instant};

use reqwest::{Client, ClientBuilder};

use super::names::Names;

/// How long a connection may wait for the next request. Less than the below.
const IDLE_TIME_MAX: Duration = Duration::from_secs(30);

/// How long a connection may be used: who has moved to another address is found there afterwards.
const USED_TIME_MAX: Duration = Duration::from_secs(60);

/// Clients that keep connections for a while, and one that keeps none.
#[derive(Debug)]
pub(super) struct Clients {
    /// Each serves for [`USED_TIME_MAX`] in turn. When its turn comes again, all its connections were idle for too long.
    kept: [Client; 2],
    fresh: Client,
    begun: Instant,
}

impl Clients {
    /// Clients for `what`. They use the proxies that the environment names, or none: tokens and events are meant for the
    /// backend alone.
    ///
    /// # Errors
    /// The TLS library cannot be set up.
    pub(super) fn build(
        what: &str,
        uses_proxy: bool,
        configure: impl Fn(ClientBuilder) -> ClientBuilder,
    ) -> Result<Self, reqwest::Error> {
        let names = Names::default();
        let builder = || {
            let builder = Client::builder().dns_resolver(names.clone());
            let builder = if uses_proxy { builder } else { builder.no_proxy() };
            // PHP's getallheaders() hands on the case, and its users ask for the name as Pusher writes it.
            configure(builder.http1_title_case_headers().pool_idle_timeout(IDLE_TIME_MAX))
        };
        let has_roots = builder().build().inspect_err(|error| {
            // No reason not to start: plain HTTP needs none.
            tracing::warn!(%error, "this system has no root certificates: {what} over https will fail");
        });
        let has_roots = has_roots.is_ok();
        let builder = || if has_roots { builder() } else { builder().tls_certs_only([]) };
        Ok(Self {
            kept: [builder().build()?, builder().build()?],
            fresh: builder().pool_max_idle_per_host(0).build()?,
            begun: Instant::now(),
        })
    }

    /// One that may use a connection again.
    pub(super) fn kept(&self) -> &Client {
        let turn = self.begun.elapsed().as_secs() / USED_TIME_MAX.as_secs();
        &self.kept[usize::from(turn % 2 == 1)]
    }

    /// One that makes a connection of its own.
    pub(super) fn fresh(&self) -> &Client {
        &self.fresh
    }
}
