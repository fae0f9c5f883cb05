//! A certificate that an authority issues: when it is ordered, and again.
//!
//! Always: one that was kept and is still good is used at once; what fails is tried again, later each time, so that an
//! authority's limits are not used up.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::timeout;

use super::authority::{Authority, not_read};
use super::cache::Cache;
use super::pair::{Life, Pair};
use super::shown::Shown;
use crate::config::AcmeConfig;
use crate::metrics::NodeMetrics;

/// How often it is looked whether the certificate is due, or another node has a newer one.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);

/// How long nothing is tried after a first failure. Let's Encrypt permits five failures an hour for each name.
const PAUSE_MIN: Duration = Duration::from_secs(120);

/// The longest pause; it is reached by doubling.
const PAUSE_MAX: Duration = Duration::from_secs(3_600);

/// Whom it is ordered from, and where it is kept.
#[derive(Debug)]
pub(super) struct Ordered {
    authority: Authority,
    cache: Arc<Cache>,
    domains: String,
    /// Orders since the last one that has left nothing to do.
    in_vain: AtomicU32,
}

impl Ordered {
    /// By these settings; orders nothing yet.
    ///
    /// # Errors
    /// `tls.acme.ca_file` cannot be used, and what to do.
    pub(super) fn of(config: &AcmeConfig) -> Result<Self, String> {
        Ok(Self {
            authority: Authority::of(config)?,
            cache: Arc::new(Cache::of(config)),
            domains: config.domains.join(", "),
            in_vain: AtomicU32::new(0),
        })
    }

    /// What is kept.
    pub(super) fn cache(&self) -> Arc<Cache> {
        Arc::clone(&self.cache)
    }

    /// The certificate that was kept, if it is still good. One that is no certificate is passed over: it is ordered anew.
    ///
    /// # Errors
    /// It cannot be read, and what to do.
    pub(super) fn kept(&self) -> Result<Option<Pair>, String> {
        let kept = self.cache.certificate();
        let Some(pem) = kept.map_err(|error: io::Error| not_read(&self.cache, "the certificate", &error))?
        else {
            return Ok(None);
        };
        let is_good = |pair: &Pair| pair.life.is_some_and(|life| life.fault(SystemTime::now()).is_none());
        Ok(Pair::parse(&pem).ok().filter(is_good))
    }

    /// Waits until there may be something to do, or until it is asked for, and orders a certificate if one is due.
    pub(super) async fn look(&self, shown: &Shown, asked: &Notify, metrics: &NodeMetrics) {
        let pause = self.pause(shown);
        // Whether it is asked for or time makes no difference: what is not due is not ordered.
        let _ = timeout(pause, asked.notified()).await;
        self.take_newer(shown);
        if !is_due(shown) {
            self.in_vain.store(0, Ordering::Relaxed);
            return;
        }
        match self.order(shown).await {
            // One that is due from the beginning was issued in vain, too.
            Ok(()) if !is_due(shown) => self.in_vain.store(0, Ordering::Relaxed),
            Ok(()) => {
                self.in_vain.fetch_add(1, Ordering::Relaxed);
            }
            Err(reason) => {
                metrics.certificate_failures.add(1);
                let failures = self.in_vain.fetch_add(1, Ordering::Relaxed) + 1;
                let minutes = back_off(failures).as_secs() / 60;
                let state = state(shown);
                tracing::error!(
                    "no certificate for {}: {reason}; {state}; tried again in {minutes} min",
                    self.domains
                );
            }
        }
    }

    async fn order(&self, shown: &Shown) -> Result<(), String> {
        tracing::info!(domains = self.domains, "a certificate is ordered");
        let pair = self.authority.order(&self.cache).await.map_err(|failed| failed.to_string())?;
        shown.show(&pair).map_err(|error| format!("TLS cannot be used: {error}"))?;
        tracing::info!(domains = self.domains, "a certificate was issued and is shown from now on");
        Ok(())
    }

    /// Shows what another node has kept, or somebody has put there, if it is good for longer.
    fn take_newer(&self, shown: &Shown) {
        let end = |life: Option<Life>| life.map(|life| life.ends);
        match self.kept() {
            Ok(Some(kept)) if end(kept.life) > end(shown.life()) => match shown.show(&kept) {
                Ok(()) => tracing::info!(
                    domains = self.domains,
                    "a newer certificate was found and is shown from now on"
                ),
                Err(error) => tracing::warn!(%error, "a newer certificate cannot be shown"),
            },
            Ok(_) => {}
            Err(reason) => tracing::warn!("{reason}"),
        }
    }

    /// How long nothing is to be done.
    fn pause(&self, shown: &Shown) -> Duration {
        let pause = match (self.in_vain.load(Ordering::Relaxed), shown.life()) {
            (0, None) => return Duration::ZERO,
            (0, Some(life)) => {
                life.renewal().duration_since(SystemTime::now()).unwrap_or_default().min(LOOK_EVERY)
            }
            (in_vain, _) => back_off(in_vain),
        };
        pause + random_part(pause)
    }
}

/// Whether a third of the life of what is shown is left, or less, or nothing is shown.
fn is_due(shown: &Shown) -> bool {
    shown.life().is_none_or(|life| SystemTime::now() >= life.renewal())
}

/// What that means for clients.
fn state(shown: &Shown) -> String {
    match shown.life() {
        None => "nobody can connect".to_owned(),
        Some(life) => match life.ends.duration_since(SystemTime::now()) {
            Ok(left) => format!("the one before is good for {} h", left.as_secs() / 3_600),
            Err(_) => "the one before has expired: clients will not connect".to_owned(),
        },
    }
}

/// Twice as long each time.
fn back_off(in_vain: u32) -> Duration {
    PAUSE_MIN.saturating_mul(1 << in_vain.saturating_sub(1).min(16)).min(PAUSE_MAX)
}

/// Up to a quarter of it, so that nodes that began together do not go on together.
fn random_part(pause: Duration) -> Duration {
    // Without randomness they do.
    let part = getrandom::u32().unwrap_or_default();
    pause.mul_f64(f64::from(part) / f64::from(u32::MAX) / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_an_hour_and_differ() {
        let minutes = |in_vain| back_off(in_vain).as_secs() / 60;
        assert_eq!([1, 2, 3, 5, 6, 7, 1_000].map(minutes), [2, 4, 8, 32, 60, 60, 60]);
        let parts: Vec<_> = (0..8).map(|_| random_part(PAUSE_MAX)).collect();
        assert!(parts.iter().all(|part| *part <= PAUSE_MAX / 4), "{parts:?}");
        assert!(parts.iter().any(|part| *part != parts[0]), "{parts:?}");
    }
}
