//! Standing still: a process that is stopped for a while, or whose machine is, must not hold that time against its clients.
//! They may have answered long ago, or were not pinged when they should have been.
//!
//! Always: what the kernel holds is read before somebody is judged by the clock, and the clock of the shard leaves out the
//! time in which it could neither read nor ping.

use std::time::{Duration, Instant};

use super::{EVENTS_MAX, Shard};

/// A turn that begins so late, or takes so long, was no turn but a standstill.
const STANDSTILL_MIN: Duration = Duration::from_secs(1);

/// How much later than it should a turn begins that has `woken`: the last one was from `begun` to `ended`, and there was
/// nothing to do for the `patience` after that.
pub fn late(begun: Instant, ended: Instant, patience: Option<Duration>, woken: Instant) -> Duration {
    let slept = woken.saturating_duration_since(ended);
    let turn = ended.saturating_duration_since(begun);
    turn + slept.saturating_sub(patience.unwrap_or(Duration::MAX))
}

impl Shard {
    /// A turn begins so `late`. If that is a standstill, nothing is due in it.
    pub fn notice_standstill(&mut self, late: Duration) {
        if late < STANDSTILL_MIN {
            return;
        }
        self.wheel.leave_out(late);
        self.metrics.standstills.add(1);
        tracing::warn!(seconds = late.as_secs_f32(), "this shard stood still: nobody is judged by that time");
    }

    /// Whether the kernel may have more to say of sockets before their timers are looked at. Where it always has, it has said
    /// something of each after so many polls.
    pub(super) fn is_more_to_hear(&mut self) -> bool {
        let is_more = self.full_polls > 0 && self.full_polls <= self.sockets.len() / EVENTS_MAX + 1;
        if !is_more {
            self.full_polls = 0;
        }
        is_more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_was_not_slept_on_purpose_is_late() {
        let origin = Instant::now();
        let at = |second| origin + Duration::from_secs(second);
        let seconds = Duration::from_secs;
        assert_eq!(late(at(0), at(0), Some(seconds(5)), at(3)), seconds(0), "woken early");
        assert_eq!(late(at(0), at(0), Some(seconds(5)), at(17)), seconds(12), "woken late");
        assert_eq!(late(at(0), at(0), None, at(3_600)), seconds(0), "nothing was due");
        assert_eq!(late(at(0), at(12), None, at(13)), seconds(12), "stopped within a turn");
        assert_eq!(late(at(0), at(12), Some(seconds(0)), at(13)), seconds(13), "and behind it");
    }
}
