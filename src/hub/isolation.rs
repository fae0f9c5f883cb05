//! Whether this node is cut off from the others. It sends probes to itself over the bus; while they do not come back the node is
//! cut off, whatever the bus says about its connection.
//!
//! Always: a node notices that it is cut off well before others take it for dead. Until a probe is back it sends nothing to
//! webhooks, takes no node for dead and hands no publication to the bus, as if the bus were down. And it sends to webhooks
//! only after a probe is back that left later than the event happened: then the others learn what it sends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::agenda::Millis;
use super::follows::FollowNumber;
use super::link::lock;
use super::{Hub, Link, LiveApp, Message};

/// How often a node sends a probe, in milliseconds.
const PROBE_EVERY_MS: Millis = 500;

/// A node is cut off when the last probe that is back left longer ago than this, in milliseconds: half of the silence after
/// which the others take it for dead.
const UNPROVEN_MAX_MS: Millis = 1_500;

/// So many probes are remembered; nothing follows from one that is back later.
const PROBES_MAX: usize = 8;

/// In so much time the sockets of a node that is cut off are closed, so that their clients do not all return at once.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// The probes of a node, and since when it is cut off.
#[derive(Debug, Default)]
pub struct Isolation {
    /// The probes that are under way, and when each was sent, in order.
    sent: VecDeque<(FollowNumber, Millis)>,
    /// When the last was sent.
    last: Millis,
    /// When the last one that is back was sent: until then the bus carried for certain.
    carried: Millis,
    /// Since when the bus is down or carries nothing.
    since: Option<Millis>,
    /// Its sockets were closed since then.
    has_closed: bool,
    /// The number of the last probe that is back.
    back: FollowNumber,
    /// The apps with something to send to webhooks, and the probe that must be back before.
    waiting: VecDeque<(FollowNumber, Vec<Arc<LiveApp>>)>,
}

impl Isolation {
    /// The bus is there.
    pub fn end(&mut self, now: Millis) {
        // What waited is due again when this node is a member again.
        *self = Self { carried: now, last: now, back: self.back, ..Self::default() };
    }

    /// The bus is down, or carries nothing.
    pub fn begin(&mut self, now: Millis) {
        self.since.get_or_insert(now);
    }

    /// A probe of this node is back. Whether something waited for it.
    pub fn receive(&mut self, number: FollowNumber) -> bool {
        self.back = self.back.max(number);
        while let Some((_, at)) = self.sent.pop_front_if(|(sent, _)| *sent <= number) {
            self.carried = self.carried.max(at);
        }
        self.waiting.front().is_some_and(|(needed, _)| *needed <= self.back)
    }

    /// These apps have something to send to webhooks when that probe is back.
    pub fn wait(&mut self, number: FollowNumber, apps: Vec<Arc<LiveApp>>) {
        self.waiting.push_back((number, apps));
    }

    /// Whether something waits for a probe.
    pub fn is_awaited(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The apps that may send to webhooks now.
    pub fn take_proven(&mut self) -> Vec<Arc<LiveApp>> {
        let mut proven = Vec::new();
        while let Some((_, apps)) = self.waiting.pop_front_if(|(needed, _)| *needed <= self.back) {
            proven.extend(apps);
        }
        proven
    }

    /// This node stood still for so long: that counts as nobody's silence.
    fn excuse(&mut self, time: Millis) {
        self.carried += time;
        self.sent.iter_mut().for_each(|(_, at)| *at += time);
    }

    fn is_probe_due(&self, now: Millis) -> bool {
        now >= self.last + PROBE_EVERY_MS
    }

    fn probed(&mut self, number: FollowNumber, now: Millis) {
        self.last = now;
        self.sent.push_back((number, now));
        if self.sent.len() > PROBES_MAX {
            self.sent.pop_front();
        }
    }

    fn is_unproven(&self, now: Millis) -> bool {
        self.since.is_none() && now > self.carried + UNPROVEN_MAX_MS
    }

    /// Whether the sockets are to be closed now: once in each isolation.
    fn must_close(&mut self, now: Millis, after: Millis) -> bool {
        let is_due = !self.has_closed && self.since.is_some_and(|since| now >= since + after);
        self.has_closed |= is_due;
        is_due
    }
}

impl Hub {
    /// Sends a probe when one is due, and acts when they do not come back. This node stood still for `still_for` before.
    pub(super) fn look_at_isolation(&self, link: &Link, still_for: Millis) {
        let now = self.agenda.now();
        let mut isolation = lock(&link.isolation);
        isolation.excuse(still_for);
        if link.is_connected() {
            if isolation.is_probe_due(now) {
                let number = link.follows.draw();
                isolation.probed(number, now);
                // One that does not get through is missed.
                let _ = link.probe(number);
            }
            if isolation.is_unproven(now) {
                isolation.begin(now);
                link.cut_off();
                tracing::warn!("the bus does not return what this node sends: it is cut off from the others");
            }
        }
        if link.closes_after().is_some_and(|after| isolation.must_close(now, after)) {
            tracing::warn!(
                "cut off for bus.isolated_close_seconds: the sockets are closed, so that clients connect elsewhere"
            );
            self.posts.iter().for_each(|post| post.mailbox.post(Message::Leave(CLOSE_WITHIN)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_whose_probes_do_not_come_back_is_cut_off_unless_it_stood_still() {
        let mut isolation = Isolation::default();
        isolation.end(1_000);
        assert!(!isolation.is_probe_due(1_499) && isolation.is_probe_due(1_500));
        isolation.probed(1, 1_500);
        isolation.probed(2, 2_000);
        assert!(!isolation.is_unproven(2_500) && isolation.is_unproven(2_501));
        // A later one stands for those before it.
        isolation.receive(2);
        assert!(!isolation.is_unproven(3_500) && isolation.is_unproven(3_501));
        isolation.excuse(10_000);
        assert!(!isolation.is_unproven(13_500) && isolation.is_unproven(13_501));
    }

    #[test]
    fn sockets_are_closed_once_in_each_isolation() {
        let mut isolation = Isolation::default();
        isolation.begin(1_000);
        isolation.begin(2_000);
        assert!(!isolation.must_close(10_999, 10_000));
        assert!(isolation.must_close(11_000, 10_000) && !isolation.must_close(12_000, 10_000));
        isolation.end(13_000);
        assert!(!isolation.must_close(99_000, 10_000));
        isolation.begin(14_000);
        assert!(isolation.must_close(24_000, 10_000));
    }
}
