//! One measurement: senders send, the crowd receives, and both ends are compared.
//!
//! Counted is from the first message to the last delivery, and only then is the server's processor time looked at again.

use std::ops::Range;
use std::thread;

use super::backend::Backend;
use super::clock::now_ns;
use super::crowd::{Crowd, TURN};
use super::figures::Figures;
use super::flow::{Flow, Published};
use super::process::Servers;
use super::progress::Progress;
use super::tally::Tally;
use super::target::Target;
use super::{Fault, Outcome};

/// When nothing has come for so long after the last message was sent, the rest is lost. In nanoseconds.
const SILENCE_NS_MAX: u64 = 3_000_000_000;

/// A sender, to be run on a thread of its own.
pub type Sender<'s> = Box<dyn FnOnce() -> Outcome<Published> + Send + 's>;

/// What a measurement came to.
#[derive(Debug)]
pub struct Delivered {
    /// By sender.
    pub published: Vec<Published>,
    /// By sender, how many deliveries were owed to its group.
    pub expected: Vec<u64>,
    /// By group.
    pub tallies: Vec<Tally>,
    /// Processor time of the server; `None` when it is not known which process that is.
    pub spent_ns: Option<u64>,
    /// Processor time of this process.
    pub own_spent_ns: Option<u64>,
    /// From the first message to the last delivery.
    pub seconds: f64,
    /// The first thing that went wrong with a socket.
    pub complaint: Option<String>,
}

/// Connects a flow to the server, and publishes once per connection where nobody listens, so that what is done once (a
/// password is checked, memory is fetched) is not measured.
///
/// # Errors
/// The server is not there or refuses.
pub fn prepare<'s>(flow: &'s Flow, target: &'s Target) -> Outcome<Sender<'s>> {
    let mut backend = Backend::connect(target.calls.clone(), flow.connections)?;
    for connection in 0..flow.connections {
        backend.call(connection, &target.call("bench-nobody", "warm"))?;
    }
    backend.finish(|_| {})?;
    (backend.delays, backend.reopened) = Default::default();
    Ok(Box::new(move || flow.run(target, &mut backend)))
}

/// Runs the senders, of which each has the group of its place, and `meanwhile` until they are done; then waits for what
/// is still on its way. `channels` are those of each sender's messages.
///
/// # Errors
/// A sender failed, or waiting did.
pub fn deliver(
    crowd: &mut Crowd<'_>,
    servers: &Servers,
    senders: Vec<Sender<'_>>,
    channels: &[Range<usize>],
    meanwhile: &mut dyn FnMut(&mut Crowd<'_>) -> Outcome<()>,
) -> Outcome<Delivered> {
    crowd.reset();
    // Before anybody is closed, so that what they miss counts.
    let members: Vec<Vec<u64>> = channels
        .iter()
        .map(|numbers| numbers.clone().map(|number| crowd.members(number)).collect())
        .collect();
    let own = Servers::own();
    let (before, own_before) = (servers.spent()?, own.spent()?);
    let began_ns = now_ns();
    let mut progress = Progress::default();
    let published: Vec<Published> = thread::scope(|scope| {
        let running: Vec<_> = senders.into_iter().map(|sender| scope.spawn(sender)).collect();
        while running.iter().any(|sender| !sender.is_finished()) {
            meanwhile(crowd)?;
            progress
                .show(|| format!("{} deliveries", crowd.tallies().iter().map(|t| t.deliveries).sum::<u64>()));
        }
        let ended = running.into_iter().map(|sender| sender.join());
        ended
            .map(|outcome| outcome.unwrap_or_else(|_| Err(Fault("a sender panicked".to_owned()))))
            .collect::<Outcome<_>>()
    })?;
    let owed = |(published, members): (&Published, &Vec<u64>)| {
        published.accepted.iter().zip(members).map(|(accepted, members)| accepted * members).sum()
    };
    let expected: Vec<u64> = published.iter().zip(&members).map(owed).collect();
    settle(crowd, &expected)?;
    let last_ns = crowd.tallies().iter().map(|tally| tally.last_ns).max().unwrap_or_default();
    Ok(Delivered {
        spent_ns: servers.spent_since(&before)?,
        own_spent_ns: own.spent_since(&own_before)?,
        seconds: last_ns.saturating_sub(began_ns) as f64 / 1e9,
        tallies: crowd.tallies().to_vec(),
        complaint: crowd.complaint().map(str::to_owned),
        published,
        expected,
    })
}

/// Nothing but receiving.
///
/// # Errors
/// Waiting failed.
pub fn receive(crowd: &mut Crowd<'_>) -> Outcome<()> {
    crowd.turn(TURN)
}

fn settle(crowd: &mut Crowd<'_>, expected: &[u64]) -> Outcome<()> {
    let end_ns = now_ns() + SILENCE_NS_MAX;
    let is_missing = |crowd: &Crowd<'_>| {
        crowd.tallies().iter().zip(expected).any(|(tally, expected)| tally.deliveries < *expected)
    };
    let last =
        |crowd: &Crowd<'_>| crowd.tallies().iter().map(|tally| tally.last_ns).max().unwrap_or_default();
    while is_missing(crowd) && now_ns() < end_ns.max(last(crowd) + SILENCE_NS_MAX) {
        crowd.turn(TURN)?;
    }
    Ok(())
}

impl Delivered {
    /// All deliveries.
    pub fn deliveries(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.deliveries).sum()
    }

    /// Adds what the group of one sender got.
    pub fn tell_group(&self, group: usize, figures: &mut Figures) {
        let (tally, published) = (&self.tallies[group], &self.published[group]);
        figures
            .count("messages", published.messages())
            .count("refused_calls", published.refused)
            .count("reconnects", published.reopened)
            .measure("publishes_per_s", Some(published.per_second()))
            .count("deliveries", tally.deliveries)
            .count("lost", self.expected[group].saturating_sub(tally.deliveries))
            .count("disordered", tally.disordered)
            .count("closed", tally.closed)
            .delays("", &tally.delays)
            .delays("publish_", &published.delays)
            .measure("late_max_ms", published.late_ns_max.map(|late| late as f64 / 1e6));
    }

    /// What another group got, with `timed_` in front of the names.
    pub fn beside(&self, group: usize) -> Figures {
        let (tally, published) = (&self.tallies[group], &self.published[group]);
        let mut figures = Figures::default();
        figures
            .count("timed_messages", published.messages())
            .count("timed_deliveries", tally.deliveries)
            .count("timed_lost", self.expected[group].saturating_sub(tally.deliveries))
            .count("timed_disordered", tally.disordered)
            .delays("timed_", &tally.delays);
        figures
    }

    /// Adds what all of it took.
    pub fn tell_cost(&self, figures: &mut Figures) {
        figures
            .measure("seconds", Some(self.seconds))
            .measure("deliveries_per_s", Some(self.deliveries() as f64 / self.seconds.max(1e-9)))
            .cost("cpu_us_per_delivery", self.spent_ns, self.deliveries())
            .cost("cpu_us_per_publish", self.spent_ns, self.published.iter().map(Published::messages).sum())
            .cost("client_cpu_us_per_delivery", self.own_spent_ns, self.deliveries());
        if let Some(complaint) = &self.complaint {
            figures.word("complaint", complaint);
        }
    }
}
