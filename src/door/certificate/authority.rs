//! Orders a certificate from an authority by ACME (RFC 8555), and shows it that the domains are ours by TLS-ALPN-01
//! (RFC 8737).
//!
//! Always: an order ends in bounded time; no error and no line of the log shows a key; what an error says names the domain,
//! if it is about one, and what to do.

use std::fmt;
use std::time::Duration;

use instant_acme::{
    Account, AccountBuilder, AccountCredentials, AuthorizationHandle, AuthorizationStatus, ChallengeType,
    Error, Identifier, NewAccount, NewOrder, Order, OrderStatus, Problem, RetryPolicy,
};
use tokio::time::timeout;

use super::cache::{Answer, Cache};
use super::client::Client;
use super::pair::Pair;
use crate::config::AcmeConfig;

/// How long an order may take altogether.
const ORDER_TIME_MAX: Duration = Duration::from_secs(300);

/// How long the authority may take for its challenges, and how long to make the certificate.
const STEP_TIME_MAX: Duration = Duration::from_secs(120);

/// How often it is asked whether it is done, to begin with; each time it is asked again takes half as long again.
const ASK_AFTER: Duration = Duration::from_millis(250);

/// What an authority says of an account that it does not know (RFC 8555 section 6.7).
const ACCOUNT_UNKNOWN: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// Why there is no certificate, in one line that says what to do.
#[derive(Debug)]
pub(super) struct OrderFailed(String);

impl fmt::Display for OrderFailed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Whom certificates are ordered from, and what is kept of that.
#[derive(Debug)]
pub(super) struct Authority {
    config: AcmeConfig,
    client: Client,
}

impl Authority {
    /// That of these settings; asks nothing yet.
    ///
    /// # Errors
    /// `tls.acme.ca_file` cannot be used.
    pub(super) fn of(config: &AcmeConfig) -> Result<Self, String> {
        let client = Client::trusting(config.ca_file.as_deref(), config.uses_proxy)?;
        Ok(Self { config: config.clone(), client })
    }

    /// Orders a certificate and keeps it in the cache. While this goes on, the listeners have to answer challenges.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn order(&self, cache: &Cache) -> Result<Pair, OrderFailed> {
        match timeout(ORDER_TIME_MAX, self.ordered(cache)).await {
            Ok(ordered) => ordered,
            Err(_) => {
                Err(OrderFailed(format!("{} takes longer than {ORDER_TIME_MAX:?}", self.config.directory)))
            }
        }
    }

    async fn ordered(&self, cache: &Cache) -> Result<Pair, OrderFailed> {
        let mut order = self.begin(cache).await?;
        let refused = |error| self.refused(&error);
        let answers = self.answer_challenges(&mut order, cache).await?;
        let policy = RetryPolicy::new().initial_delay(ASK_AFTER).backoff(1.5).timeout(STEP_TIME_MAX);
        let proven = order.poll_ready(&policy).await;
        drop(answers);
        match proven {
            Ok(OrderStatus::Ready) => {}
            Ok(_) | Err(Error::Api(_)) => return Err(self.not_proven(&mut order, proven).await),
            Err(error) => return Err(self.refused(&error)),
        }
        let key = order.finalize().await.map_err(refused)?;
        let chain = order.poll_certificate(&policy).await.map_err(refused)?;
        let pem = format!("{key}{chain}");
        let pair = Pair::parse(pem.as_bytes());
        let pair = pair.map_err(|reason| {
            OrderFailed(format!("{} issued what cannot be used: {reason}", self.config.directory))
        })?;
        // It is good all the same; the next start orders another one.
        if let Err(error) = cache.keep_certificate(&pem) {
            tracing::warn!("{}", not_kept(cache, "the certificate", &error));
        }
        Ok(pair)
    }

    /// Orders in the name of the account that is kept, or of a new one.
    async fn begin(&self, cache: &Cache) -> Result<Order, OrderFailed> {
        let names: Vec<_> = self.config.domains.iter().cloned().map(Identifier::Dns).collect();
        let wanted = NewOrder::new(&names);
        if let Some(account) = self.kept_account(cache).await? {
            match account.new_order(&wanted).await {
                // It was shut or forgotten there; what a new one orders is as good.
                Err(Error::Api(problem)) if problem.r#type.as_deref() == Some(ACCOUNT_UNKNOWN) => {}
                other => return other.map_err(|error| self.refused(&error)),
            }
        }
        let account = self.new_account(cache).await?;
        account.new_order(&wanted).await.map_err(|error| self.refused(&error))
    }

    async fn kept_account(&self, cache: &Cache) -> Result<Option<Account>, OrderFailed> {
        let kept = cache.account().map_err(|error| OrderFailed(not_read(cache, "the account", &error)))?;
        let Some(json) = kept else { return Ok(None) };
        let credentials: AccountCredentials = serde_json::from_slice(&json)
            .map_err(|_| OrderFailed(not_read(cache, "the account", &"it is none: remove it")))?;
        let restored = self.builder().from_credentials(credentials).await;
        restored.map(Some).map_err(|error| self.refused(&error))
    }

    /// It is kept before anything is ordered in its name.
    async fn new_account(&self, cache: &Cache) -> Result<Account, OrderFailed> {
        let contact = self.config.email.as_ref().map(|email| format!("mailto:{email}"));
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let new =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let created = self.builder().create(&new, self.config.directory.clone(), None).await;
        let (account, credentials) = created.map_err(|error| self.refused(&error))?;
        let kept = serde_json::to_vec(&credentials).map_err(std::io::Error::other);
        kept.and_then(|json| cache.keep_account(&json))
            .map_err(|error| OrderFailed(not_kept(cache, "the account", &error)))?;
        Ok(account)
    }

    fn builder(&self) -> AccountBuilder {
        Account::builder_with_http(Box::new(self.client.clone()))
    }

    /// Answers what is not proven yet, until what is returned is dropped, and tells the authority to look.
    async fn answer_challenges(&self, order: &mut Order, cache: &Cache) -> Result<Vec<Answer>, OrderFailed> {
        let (mut answers, mut authorizations) = (Vec::new(), order.authorizations());
        while let Some(authorization) = authorizations.next().await {
            let authorization = authorization.map_err(|error| self.refused(&error))?;
            if authorization.status == AuthorizationStatus::Pending {
                answers.push(self.answer(authorization, cache).await?);
            }
        }
        Ok(answers)
    }

    async fn answer(
        &self,
        mut authorization: AuthorizationHandle<'_>,
        cache: &Cache,
    ) -> Result<Answer, OrderFailed> {
        let domain = authorization.identifier().to_string();
        let mut challenge = authorization.challenge(ChallengeType::TlsAlpn01).ok_or_else(|| {
            let directory = &self.config.directory;
            OrderFailed(format!(
                "{directory} does not offer to look at the listener of {domain} (tls-alpn-01): choose another authority"
            ))
        })?;
        let answer = cache.answer(&domain, challenge.key_authorization().digest().as_ref());
        let answer = answer.map_err(|error| OrderFailed(not_kept(cache, "a challenge", &error)))?;
        challenge.set_ready().await.map_err(|error| self.refused(&error))?;
        Ok(answer)
    }

    /// What the authority found at the domains, as only their challenges tell it.
    async fn not_proven(&self, order: &mut Order, proven: Result<OrderStatus, Error>) -> OrderFailed {
        let (mut faults, mut authorizations) = (Vec::new(), order.authorizations());
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            // What is known of it is from before.
            let _ = authorization.refresh().await;
            let problem = authorization.challenges.iter().find_map(|challenge| challenge.error.as_ref());
            faults.extend(
                problem.map(|problem| format!("{}: {}", authorization.identifier(), in_words(problem))),
            );
        }
        if let (Err(error), true) = (&proven, faults.is_empty()) {
            return self.refused(error);
        }
        OrderFailed(format!(
            "{} could not see that the domains are ours ({}): see that port 443 of each leads to this listener, with no \
             other TLS before it",
            self.config.directory,
            faults.join("; ")
        ))
    }

    fn refused(&self, error: &Error) -> OrderFailed {
        let directory = &self.config.directory;
        OrderFailed(match error {
            Error::Api(problem) => format!("{directory} refuses: {}", in_words(problem)),
            other => format!("{directory} cannot be asked: {other}"),
        })
    }
}

/// What an authority says is wrong; its words may be of any length.
fn in_words(problem: &Problem) -> String {
    problem
        .to_string()
        .trim_start_matches("API error: ")
        .chars()
        .take(500)
        .collect::<String>()
        .escape_debug()
        .to_string()
}

pub(super) fn not_read(cache: &Cache, what: &str, error: &dyn fmt::Display) -> String {
    let directory = cache.directory().display();
    format!("cannot read {what} in {directory}: {error}: let tls.acme.cache be a directory of this user's")
}

fn not_kept(cache: &Cache, what: &str, error: &dyn fmt::Display) -> String {
    let directory = cache.directory().display();
    format!(
        "cannot keep {what} in {directory}: {error}: let tls.acme.cache be a directory that this user may write to"
    )
}
