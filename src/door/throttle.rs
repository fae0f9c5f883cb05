//! Who fails to sign in too often has to wait, before bcrypt is asked again.
//!
//! Failures are counted for the credential, for the account and for the network that it came from, the first two for each
//! realm by itself: a password that is wrong for one app says nothing about another. All are counted together with that
//! network: who has the right password elsewhere is not held up by whoever guesses here. One credential that
//! is shown again and again is one guess, so a backend with an old password keeps no other backend from the account.
//! The memory holds keyed hashes alone, which open nothing.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::addresses::network;

/// How many counts are kept at once, about 3 MiB. Who fills it needs so many networks that to forget is no gift.
const KEPT_MAX: usize = 65_536;

/// All accounts together may fail so many times as often from one network as one of them.
const ACCOUNTS: u32 = 10;

/// How often is too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottleLimits {
    /// Failures of one account from one network; 0 = as many as one likes.
    pub failures_max: u32,
    /// Within this time from the first on, which is also how long to wait at most.
    pub window: Duration,
}

/// Somebody who wants to sign in.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// Where they are.
    pub address: IpAddr,
    /// Which admin they say they are: the key of an app, or nothing for the super admin. Whether there is such an app makes no
    /// difference.
    pub realm: &'a str,
    /// Who they say they are; what has no accounts takes a word with a colon, which no account has.
    pub account: &'a str,
    /// What they show.
    pub secret: &'a str,
}

/// How long somebody has to wait, in whole seconds, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryAfter(pub u32);

impl RetryAfter {
    /// At least this long.
    pub fn at_least(wait: Duration) -> Self {
        let whole = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
        Self(u32::try_from(whole).unwrap_or(u32::MAX).max(1))
    }
}

/// Counts failures to sign in.
#[derive(Debug)]
pub struct Throttle {
    hasher: RandomState,
    /// Nothing is counted now, which is the rule.
    is_quiet: AtomicBool,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    limits: ThrottleLimits,
    failures: HashMap<u64, Failures>,
    /// When the last began.
    latest: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    since: Instant,
    count: u32,
}

impl Throttle {
    /// One that knows of no failures.
    pub fn new(limits: ThrottleLimits) -> Self {
        let kept = Kept { limits, failures: HashMap::new(), latest: None };
        Self { hasher: RandomState::new(), is_quiet: AtomicBool::new(true), kept: Mutex::new(kept) }
    }

    /// Counts by other limits from now on, what was counted before included.
    pub fn change(&self, limits: ThrottleLimits) {
        self.lock().limits = limits;
    }

    /// Whether the attempt may be looked at.
    ///
    /// # Errors
    /// There were too many failures; how long the next attempt has to wait.
    pub fn check(&self, attempt: &Attempt<'_>, now: Instant) -> Result<(), RetryAfter> {
        if self.is_quiet.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut kept = self.lock();
        if kept.is_over(now) {
            self.forget(&mut kept);
            return Ok(());
        }
        kept.check(self.keys(attempt), now)
    }

    /// The attempt was looked at and is none of somebody who may: it counts, if it may still be looked at. Both is one step, so
    /// that of attempts side by side no more are told that they failed than of others.
    ///
    /// # Errors
    /// Those of [`Throttle::check`].
    pub fn fail(&self, attempt: &Attempt<'_>, now: Instant) -> Result<(), RetryAfter> {
        let (keys, mut kept) = (self.keys(attempt), self.lock());
        kept.check(keys, now)?;
        self.note_failure(&mut kept, keys, now);
        Ok(())
    }

    fn note_failure(&self, kept: &mut Kept, [credential, account, network]: [u64; 3], now: Instant) {
        if kept.limits.failures_max == 0 {
            return;
        }
        if kept.count(credential, now) == 1 {
            kept.count(account, now);
            kept.count(network, now);
        }
        self.is_quiet.store(false, Ordering::Relaxed);
    }

    /// Forgets what is over, though nobody asks.
    pub fn tidy(&self, now: Instant) {
        let mut kept = self.lock();
        if kept.is_over(now) && !kept.failures.is_empty() {
            self.forget(&mut kept);
        }
    }

    fn forget(&self, kept: &mut Kept) {
        kept.failures = HashMap::new();
        self.is_quiet.store(true, Ordering::Relaxed);
    }

    fn keys(&self, attempt: &Attempt<'_>) -> [u64; 3] {
        let (network, Attempt { realm, account, secret, .. }) = (network(attempt.address), attempt);
        [
            self.hasher.hash_one((network, realm, account, secret)),
            self.hasher.hash_one((network, realm, account)),
            self.hasher.hash_one(network),
        ]
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Nothing that can panic runs under the lock.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn is_over(&self, now: Instant) -> bool {
        self.latest.is_none_or(|latest| now.saturating_duration_since(latest) >= self.limits.window)
    }

    fn check(&self, [credential, account, network]: [u64; 3], now: Instant) -> Result<(), RetryAfter> {
        let max = self.limits.failures_max;
        let bounds = [(credential, max), (account, max), (network, max.saturating_mul(ACCOUNTS))];
        let waits = bounds.into_iter().filter_map(|(key, max)| self.wait(key, max, now));
        waits.max().map_or(Ok(()), |wait| Err(RetryAfter::at_least(wait)))
    }

    fn wait(&self, key: u64, max: u32, now: Instant) -> Option<Duration> {
        let failures = self.failures.get(&key).filter(|failures| max > 0 && failures.count >= max)?;
        let passed = now.saturating_duration_since(failures.since);
        self.limits.window.checked_sub(passed).filter(|wait| !wait.is_zero())
    }

    /// One more; how many there are now.
    fn count(&mut self, key: u64, now: Instant) -> u32 {
        self.make_room(now);
        self.latest = Some(now);
        let window = self.limits.window;
        let failures = self.failures.entry(key).or_insert(Failures { since: now, count: 0 });
        if now.saturating_duration_since(failures.since) >= window {
            *failures = Failures { since: now, count: 0 };
        }
        failures.count = failures.count.saturating_add(1);
        failures.count
    }

    /// What is over goes first. Where that does not free half of the room all of it goes, so that not every failure looks
    /// through all others.
    fn make_room(&mut self, now: Instant) {
        if self.failures.len() < KEPT_MAX {
            return;
        }
        let window = self.limits.window;
        self.failures.retain(|_, failures| now.saturating_duration_since(failures.since) < window);
        if self.failures.len() > KEPT_MAX / 2 {
            self.failures.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ThrottleLimits = ThrottleLimits { failures_max: 3, window: Duration::from_secs(60) };

    fn attempt<'a>(address: &str, account: &'a str, secret: &'a str) -> Attempt<'a> {
        Attempt { address: address.parse().unwrap(), realm: "", account, secret }
    }

    fn after(seconds: u64) -> Instant {
        use std::sync::LazyLock;
        static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
        *BEGIN + Duration::from_secs(seconds)
    }

    fn note(throttle: &Throttle, attempt: &Attempt<'_>) {
        throttle.note_failure(&mut throttle.lock(), throttle.keys(attempt), after(0));
    }

    fn guess(throttle: &Throttle, address: &str, account: &str, times: u32) {
        (0..times).for_each(|n| {
            note(throttle, &attempt(address, account, &n.to_string()));
        });
    }

    #[test]
    fn who_guesses_waits_until_the_window_is_over_and_nobody_else_does() {
        let throttle = Throttle::new(LIMITS);
        guess(&throttle, "10.0.0.1", "boss", 2);
        assert_eq!(throttle.check(&attempt("10.0.0.1", "boss", "right"), after(1)), Ok(()));
        guess(&throttle, "10.0.0.1", "boss", 3);
        let waits = |address, account, at| throttle.check(&attempt(address, account, "right"), after(at));
        assert_eq!(waits("10.0.0.1", "boss", 1), Err(RetryAfter(59)));
        assert_eq!(waits("::ffff:10.0.0.1", "boss", 59), Err(RetryAfter(1)));
        assert_eq!(waits("10.0.0.2", "boss", 1), Ok(()));
        assert_eq!(waits("10.0.0.1", "other", 1), Ok(()));
        assert_eq!(waits("10.0.0.1", "boss", 60), Ok(()));
        assert!(throttle.is_quiet.load(Ordering::Relaxed) && throttle.lock().failures.is_empty());
    }

    #[test]
    fn one_wrong_password_again_and_again_is_one_guess() {
        let throttle = Throttle::new(LIMITS);
        let old = attempt("10.0.0.1", "boss", "old");
        (0..5).for_each(|_| note(&throttle, &old));
        assert_eq!(throttle.check(&old, after(0)), Err(RetryAfter(60)));
        assert_eq!(throttle.check(&attempt("10.0.0.1", "boss", "right"), after(0)), Ok(()));
    }

    #[test]
    fn many_accounts_from_one_network_are_too_many_in_the_end() {
        let throttle = Throttle::new(LIMITS);
        for account in 0..30 {
            assert_eq!(throttle.check(&attempt("2001:db8::1", "new", "x"), after(0)), Ok(()), "{account}");
            note(&throttle, &attempt("2001:db8::1", &account.to_string(), "x"));
        }
        assert!(throttle.check(&attempt("2001:db8::2", "new", "x"), after(0)).is_err(), "one /64 is one");
        assert_eq!(throttle.check(&attempt("2001:db8:0:1::1", "new", "x"), after(0)), Ok(()));
    }

    #[test]
    fn what_failed_for_one_app_may_be_tried_for_another() {
        let throttle = Throttle::new(LIMITS);
        let of = |realm| Attempt { realm, ..attempt("::1", "admin", "right") };
        (0..99).for_each(|_| note(&throttle, &of("mistyped")));
        assert!(throttle.check(&of("mistyped"), after(0)).is_err());
        assert_eq!(throttle.check(&of("app"), after(0)), Ok(()));
    }

    #[test]
    fn failures_that_were_looked_at_together_are_told_no_oftener_than_the_limit() {
        let throttle = Throttle::new(LIMITS);
        let told =
            (0..9).filter(|n: &u8| throttle.fail(&attempt("::1", "boss", &n.to_string()), after(0)).is_ok());
        assert_eq!(told.count(), 3);
    }

    #[test]
    fn without_a_limit_nothing_is_counted_and_a_limit_can_be_taken_away() {
        let throttle = Throttle::new(ThrottleLimits { failures_max: 0, ..LIMITS });
        guess(&throttle, "::1", "boss", 99);
        assert!(throttle.is_quiet.load(Ordering::Relaxed));
        throttle.change(LIMITS);
        guess(&throttle, "::1", "boss", 99);
        assert!(throttle.check(&attempt("::1", "boss", "x"), after(0)).is_err());
        throttle.change(ThrottleLimits { failures_max: 0, ..LIMITS });
        assert_eq!(throttle.check(&attempt("::1", "boss", "x"), after(0)), Ok(()));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let throttle = Throttle::new(LIMITS);
        for n in 0..50_000 {
            note(&throttle, &attempt("::1", &n.to_string(), "x"));
            assert!(throttle.lock().failures.len() <= KEPT_MAX);
        }
    }

    #[test]
    fn a_wait_is_rounded_up_to_whole_seconds() {
        assert_eq!(RetryAfter::at_least(Duration::ZERO), RetryAfter(1));
        assert_eq!(RetryAfter::at_least(Duration::from_millis(1001)), RetryAfter(2));
        assert_eq!(RetryAfter::at_least(Duration::MAX), RetryAfter(u32::MAX));
    }
}
