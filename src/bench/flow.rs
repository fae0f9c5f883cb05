//! What one thread publishes: how much, how fast, and to which channels.

use std::ops::Range;
use std::time::Duration;

use super::backend::{Answered, Backend, no_answer};
use super::clock::{now_ns, sleep_until};
use super::crowd::TURN;
use super::stamp::Stamp;
use super::tally::Delays;
use super::target::{Target, channel};
use super::{Outcome, PATIENCE};

/// How fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// So many messages each second, as evenly as can be.
    PerSecond(f64),
    /// As soon as a connection is free.
    Unpaced,
}

/// What one thread publishes.
#[derive(Clone, Debug)]
pub struct Flow {
    /// The numbers of the channels, which take turns.
    pub channels: Range<usize>,
    /// How fast.
    pub pace: Pace,
    /// How many messages.
    pub messages: u32,
    /// When it ends even so.
    pub time_max: Duration,
    /// How many connections it uses; each is a lane.
    pub connections: usize,
    /// The length of the data of a message.
    pub data_bytes: usize,
}

/// What became of a flow.
#[derive(Debug, Default)]
pub struct Published {
    /// Messages the server took, per channel, in the order of [`Flow::channels`].
    pub accepted: Vec<u64>,
    /// Those it refused for being too busy.
    pub refused: u64,
    /// When the first was sent.
    pub began_ns: u64,
    /// When the last was answered.
    pub ended_ns: u64,
    /// How late a message was sent at worst; `None` without a pace.
    pub late_ns_max: Option<u64>,
    /// How many connections had to be opened anew, since the server closed them.
    pub reopened: u64,
    /// From a call to its answer.
    pub delays: Delays,
}

impl Published {
    /// All messages that the server took.
    pub fn messages(&self) -> u64 {
        self.accepted.iter().sum()
    }

    /// How many of them in a second.
    pub fn per_second(&self) -> f64 {
        self.messages() as f64 * 1e9 / self.ended_ns.saturating_sub(self.began_ns).max(1) as f64
    }
}

impl Flow {
    /// Publishes all of it.
    ///
    /// # Errors
    /// The server is gone, refuses, or is silent.
    pub fn run(&self, target: &Target, backend: &mut Backend) -> Outcome<Published> {
        let began_ns = now_ns();
        let end_ns = began_ns + self.time_max.as_nanos() as u64;
        let mut published =
            Published { accepted: vec![0; self.channels.len()], began_ns, ..Published::default() };
        // By connection: the number of its next message, and the place of the channel of the one under way.
        let mut lanes = vec![(0, 0); backend.connections()];
        for message in 0..self.messages {
            let place = message as usize % self.channels.len();
            if let Pace::PerSecond(rate) = self.pace {
                let due_ns = began_ns + (f64::from(message) * 1e9 / rate) as u64;
                gather_until(due_ns, backend, &mut |answered| published.note(&answered, &lanes))?;
                let late_ns = sleep_until(due_ns);
                published.late_ns_max = published.late_ns_max.max(Some(late_ns));
            }
            if now_ns() > end_ns {
                break;
            }
            // A channel keeps to its connection, so that its messages have an order; without a pace, whoever is free.
            let wanted = match self.pace {
                Pace::PerSecond(_) => Some(place % backend.connections()),
                Pace::Unpaced => None,
            };
            let connection = free(backend, wanted, &mut |answered| published.note(&answered, &lanes))?;
            let number = lanes[connection].0;
            lanes[connection] = (number + 1, place);
            let stamp = Stamp { sent_ns: now_ns(), lane: connection, number };
            let name = channel(self.channels.start + place);
            backend.call(connection, &target.call(&name, &stamp.data(self.data_bytes)))?;
        }
        backend.finish(|answered| published.note(&answered, &lanes))?;
        published.ended_ns = now_ns();
        published.reopened = backend.reopened;
        published.delays = std::mem::take(&mut backend.delays);
        Ok(published)
    }
}

impl Published {
    fn note(&mut self, answered: &Answered, lanes: &[(u32, usize)]) {
        match answered.is_accepted {
            true => self.accepted[lanes[answered.connection].1] += 1,
            false => self.refused += 1,
        }
    }
}

/// Takes what answers come until shortly before `due_ns`: waiting for them is exact to a millisecond only.
fn gather_until(due_ns: u64, backend: &mut Backend, note: &mut dyn FnMut(Answered)) -> Outcome<()> {
    while backend.is_any_busy() {
        let spare_ms = due_ns.saturating_sub(now_ns()) / 1_000_000;
        backend.gather(Duration::from_millis(spare_ms.saturating_sub(1)), &mut *note)?;
        if spare_ms <= 1 {
            break;
        }
    }
    Ok(())
}

/// Waits until the wanted connection, or any, is free.
fn free(backend: &mut Backend, wanted: Option<usize>, note: &mut dyn FnMut(Answered)) -> Outcome<usize> {
    let end_ns = now_ns() + PATIENCE.as_nanos() as u64;
    loop {
        let found = match wanted {
            Some(connection) => (!backend.is_busy(connection)).then_some(connection),
            None => (0..backend.connections()).find(|connection| !backend.is_busy(*connection)),
        };
        if let Some(connection) = found {
            return Ok(connection);
        }
        if now_ns() > end_ns {
            return Err(no_answer());
        }
        backend.gather(TURN, &mut *note)?;
    }
}
