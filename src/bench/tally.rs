//! What a group of receivers got.

use hdrhistogram::Histogram;

use super::stamp::Stamp;

/// Longer delays count as this long, in microseconds.
const DELAY_US_MAX: u64 = 600_000_000;

/// How long things took, in microseconds, to three digits.
#[derive(Clone, Debug)]
pub struct Delays(Histogram<u64>);

impl Default for Delays {
    fn default() -> Self {
        Self(
            Histogram::new_with_bounds(1, DELAY_US_MAX, 3).expect("three digits and such bounds are allowed"),
        )
    }
}

impl Delays {
    /// Notes one delay.
    pub fn note(&mut self, ns: u64) {
        self.0.saturating_record((ns / 1000).max(1));
    }

    /// How many were noted.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// In milliseconds, that below which `share` of 100 delays are; `None` of no delays.
    pub fn percentile_ms(&self, share: f64) -> Option<f64> {
        (self.count() > 0).then(|| self.0.value_at_percentile(share) as f64 / 1000.0)
    }

    /// The longest, in milliseconds; `None` of no delays.
    pub fn max_ms(&self) -> Option<f64> {
        (self.count() > 0).then(|| self.0.max() as f64 / 1000.0)
    }

    /// Takes those of another over.
    pub fn add(&mut self, other: &Delays) {
        // Both have the same bounds, so there is nothing that does not fit.
        let _ = self.0.add(&other.0);
    }
}

/// What a group of receivers got.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Messages with a stamp.
    pub deliveries: u64,
    /// Those that came after one which was sent later in the same lane, or came twice.
    pub disordered: u64,
    /// Members who were said to have left (a presence channel).
    pub leaves: u64,
    /// Receivers that the server closed.
    pub closed: u64,
    /// When the last message came.
    pub last_ns: u64,
    /// From stamp to reading.
    pub delays: Delays,
}

impl Tally {
    /// Notes a message. `next` holds, per lane, the least number that may come.
    pub fn take(&mut self, stamp: Stamp, now_ns: u64, next: &mut [u32]) {
        self.deliveries += 1;
        self.last_ns = now_ns;
        self.delays.note(now_ns.saturating_sub(stamp.sent_ns));
        match next.get_mut(stamp.lane) {
            Some(next) if stamp.number >= *next => *next = stamp.number + 1,
            _ => self.disordered += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_no_disorder_and_a_repetition_is() {
        let (mut tally, mut next) = (Tally::default(), [0; 2]);
        for (lane, number) in [(0, 0), (0, 2), (1, 0), (0, 1), (0, 2), (0, 3), (2, 0)] {
            tally.take(Stamp { sent_ns: 1, lane, number }, 1_000_001, &mut next);
        }
        assert_eq!((tally.deliveries, tally.disordered), (7, 3));
        assert_eq!(tally.delays.percentile_ms(50.0), Some(1.0));
        assert_eq!(tally.delays.max_ms(), Some(1.0));
        assert_eq!(Delays::default().max_ms(), None);
    }
}
