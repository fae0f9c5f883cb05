//! What is measured: each scenario sets a crowd up, has it sent something, and tells the figures.

pub mod arriving;
pub mod fanout;
pub mod presence;
pub mod slow;

use super::crowd::{Arrivals, Crowd};
use super::delivery::{Delivered, deliver, prepare};
use super::figures::Figures;
use super::flow::Flow;
use super::process::{Servers, require_descriptors};
use super::progress::Progress;
use super::receiver::{Conduct, Entry, Wish};
use super::target::{Target, channel};
use super::{Fault, Outcome};

/// The number of no channel: who has it is not owed anything.
const NO_CHANNEL: usize = usize::MAX;

/// What every scenario has.
pub struct Stage {
    /// The server under test.
    pub target: Target,
    /// Its processes.
    pub servers: Servers,
    /// How many connects may be under way at once.
    pub in_flight_max: usize,
}

/// A flow, and who receives it.
#[derive(Clone, Debug)]
pub struct Group {
    /// What is published.
    pub flow: Flow,
    /// How many subscribers each of its channels has.
    pub subscribers: usize,
}

impl Stage {
    /// Opens a socket for each wish.
    fn gather(&self, groups: usize, wishes: Vec<Wish>) -> Outcome<(Crowd<'_>, Arrivals)> {
        let wanted = wishes.len();
        require_descriptors(wanted)?;
        let mut crowd = Crowd::new(&self.target, groups, self.in_flight_max)?;
        let mut progress = Progress::default();
        let mut told = |opened: u64| progress.show(|| format!("{opened} of {wanted} sockets"));
        let arrivals = crowd.open(&mut wishes.into_iter(), &mut told)?;
        if arrivals.opened == 0 && wanted > 0 {
            return Err(Fault::because(
                "no socket was let in",
                crowd.complaint().unwrap_or("no reason given"),
            ));
        }
        Ok((crowd, arrivals))
    }

    /// Has the flows of all groups run, and `meanwhile` until they are done.
    fn play(
        &self,
        crowd: &mut Crowd<'_>,
        groups: &[Group],
        meanwhile: &mut dyn FnMut(&mut Crowd<'_>) -> Outcome<()>,
    ) -> Outcome<Delivered> {
        let senders =
            groups.iter().map(|group| prepare(&group.flow, &self.target)).collect::<Outcome<Vec<_>>>()?;
        let channels: Vec<_> = groups.iter().map(|group| group.flow.channels.clone()).collect();
        deliver(crowd, &self.servers, senders, &channels, meanwhile)
    }

    /// # Errors
    /// The dialect has no channels.
    fn require_channels(&self, scenario: &str) -> Outcome<()> {
        if self.target.has_channels() {
            return Ok(());
        }
        Err(Fault(format!("{scenario} needs channels, which the gusher dialect does not have")))
    }
}

/// Subscribers of the channels of all groups.
fn subscribers(groups: &[Group]) -> Vec<Wish> {
    let mut wishes = Vec::new();
    for (place, group) in groups.iter().enumerate() {
        for number in group.flow.channels.clone() {
            let wish = Wish {
                group: place,
                channel: number,
                lanes: group.flow.connections,
                entry: Entry::Subscribed(channel(number)),
                conduct: Conduct::Read,
            };
            wishes.extend(std::iter::repeat_n(wish, group.subscribers));
        }
    }
    wishes
}

/// Adds how opening went.
fn tell_arrivals(arrivals: &Arrivals, figures: &mut Figures) {
    figures.count("sockets", arrivals.opened).count("refused", arrivals.refused);
}
