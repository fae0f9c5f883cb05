//! What an app allows now: its settings, and what is left of the rates that they bound. One node counts for itself.
//!
//! Always: nobody who asks takes a lock, and where nothing is bounded no clock is looked at; a change of settings begins
//! those rates anew whose numbers it changes, and no other.

use std::num::NonZeroU32;
use std::sync::Arc;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::model::{AppRate, AppSettings, Refusal};

/// Settings, and the rates that follow from them.
#[derive(Debug)]
pub struct Policy {
    /// What was set.
    pub settings: Arc<AppSettings>,
    calls: Option<Arc<Bound>>,
    publications: Option<Arc<Bound>>,
    connects: Option<Arc<Bound>>,
}

impl Policy {
    /// That of an app that begins.
    pub fn new(settings: AppSettings) -> Self {
        let bound = |rate| Some(Arc::new(Bound::new(settings.rate(rate)?, DefaultClock::default())?));
        Self {
            calls: bound(AppRate::Calls),
            publications: bound(AppRate::Publications),
            connects: bound(AppRate::Connects),
            settings: Arc::new(settings),
        }
    }

    /// That of an app whose settings are these from now on.
    pub fn changed(&self, settings: AppSettings) -> Self {
        let mut changed = Self::new(settings);
        for (before, now) in [
            (&self.calls, &mut changed.calls),
            (&self.publications, &mut changed.publications),
            (&self.connects, &mut changed.connects),
        ] {
            let number = |bound: &Option<Arc<Bound>>| bound.as_ref().map(|bound| bound.per_second);
            if number(before) == number(now) {
                now.clone_from(before);
            }
        }
        changed
    }

    /// Takes `count` of what may happen within a second. More than a second's worth takes that, so nothing is refused for
    /// ever.
    ///
    /// # Errors
    /// [`Refusal::RateExceeded`] when so much is not left; then nothing was taken.
    pub fn take(&self, rate: AppRate, count: usize) -> Result<(), Refusal> {
        let bound = match rate {
            AppRate::Calls => &self.calls,
            AppRate::Publications => &self.publications,
            AppRate::Connects => &self.connects,
            // Counted by the shard, for each socket.
            AppRate::Frames | AppRate::Rejoins => &None,
        };
        match bound {
            Some(bound) if !bound.take(count) => Err(Refusal::RateExceeded(rate)),
            _ => Ok(()),
        }
    }
}

/// So much in a second, of which none may be left over for the next.
#[derive(Debug)]
struct Bound<C: Clock = DefaultClock> {
    per_second: NonZeroU32,
    limiter: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
}

impl<C: Clock> Bound<C> {
    /// None for nothing a second, which no setting says.
    fn new(per_second: u32, clock: C) -> Option<Self> {
        let per_second = NonZeroU32::new(per_second)?;
        let limiter = RateLimiter::direct_with_clock(Quota::per_second(per_second), clock);
        Some(Self { per_second, limiter })
    }

    fn take(&self, count: usize) -> bool {
        let count = u32::try_from(count).unwrap_or(u32::MAX).min(self.per_second.get());
        NonZeroU32::new(count).is_none_or(|count| matches!(self.limiter.check_n(count), Ok(Ok(()))))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use governor::clock::FakeRelativeClock;

    use super::*;

    fn calls(per_second: Option<u32>) -> AppSettings {
        AppSettings { max_calls_per_second: per_second, ..AppSettings::default() }
    }

    #[test]
    fn a_seconds_worth_may_come_at_once_and_comes_back_bit_by_bit() {
        let clock = FakeRelativeClock::default();
        let bound = Bound::new(10, clock.clone()).unwrap();
        assert!(bound.take(10) && !bound.take(1) && bound.take(0));
        clock.advance(Duration::from_millis(100));
        assert!(!bound.take(2) && bound.take(1) && !bound.take(1));
        clock.advance(Duration::from_secs(60));
        assert!(bound.take(10) && !bound.take(1), "what was not used is not saved up");
    }

    #[test]
    fn more_than_a_seconds_worth_takes_all_of_it() {
        let clock = FakeRelativeClock::default();
        let bound = Bound::new(10, clock.clone()).unwrap();
        assert!(bound.take(usize::MAX) && !bound.take(1));
        clock.advance(Duration::from_millis(900));
        assert!(!bound.take(11));
        clock.advance(Duration::from_millis(100));
        assert!(bound.take(11));
    }

    #[test]
    fn each_rate_has_its_own_bound_and_none_unless_it_is_set() {
        let policy = Policy::new(calls(Some(1)));
        assert_eq!(policy.take(AppRate::Calls, 1), Ok(()));
        assert_eq!(policy.take(AppRate::Calls, 1), Err(Refusal::RateExceeded(AppRate::Calls)));
        for rate in [AppRate::Publications, AppRate::Connects, AppRate::Frames, AppRate::Rejoins] {
            assert_eq!(policy.take(rate, usize::MAX), Ok(()), "{rate:?}");
        }
    }

    #[test]
    fn another_number_begins_anew_and_other_settings_do_not() {
        let policy = Policy::new(calls(Some(1)));
        policy.take(AppRate::Calls, 1).unwrap();
        let same = policy.changed(AppSettings { cache_ttl: 7, ..calls(Some(1)) });
        assert!(same.settings.cache_ttl == 7 && same.take(AppRate::Calls, 1).is_err());
        assert!(policy.changed(calls(Some(2))).take(AppRate::Calls, 2).is_ok());
        assert!(policy.changed(calls(None)).take(AppRate::Calls, usize::MAX).is_ok());
    }
}
