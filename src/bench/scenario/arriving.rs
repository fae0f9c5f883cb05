//! Sockets that come, stay or go: what a connect costs, and what a socket that does nothing.

use std::time::Duration;

use super::{Group, NO_CHANNEL, Stage, subscribers, tell_arrivals};
use crate::bench::Outcome;
use crate::bench::clock::now_ns;
use crate::bench::crowd::{Arrivals, Crowd};
use crate::bench::delivery::receive;
use crate::bench::figures::Figures;
use crate::bench::process::require_descriptors;
use crate::bench::receiver::{Conduct, Entry, Wish};
use crate::bench::target::channel;

/// Sockets that are opened.
#[derive(Clone, Copy, Debug)]
pub struct Arriving {
    /// How many.
    pub sockets: usize,
    /// Whether each subscribes to a channel (the same one).
    pub are_subscribed: bool,
    /// How long the server has to come to rest before its memory is looked at.
    pub rest: Duration,
}

impl Arriving {
    fn wish(&self, channel_number: usize, conduct: Conduct) -> Wish {
        let entry = match self.are_subscribed {
            true => Entry::Subscribed(channel(channel_number)),
            false => Entry::Connected,
        };
        Wish { group: 0, channel: NO_CHANNEL, lanes: 1, entry, conduct }
    }
}

/// What a socket costs that does nothing: resident memory per socket, and what is left of it when all are closed.
///
/// # Errors
/// The server cannot be reached.
pub fn idle(stage: &Stage, plan: &Arriving) -> Outcome<Figures> {
    let before = stage.servers.resident_bytes()?;
    let wishes = vec![plan.wish(0, Conduct::Read); plan.sockets];
    let (mut crowd, arrivals) = stage.gather(1, wishes)?;
    crowd.rest(plan.rest)?;
    let during = stage.servers.resident_bytes()?;
    let (sockets, closed) = (crowd.sockets(), crowd.tallies()[0].closed);
    crowd.close();
    crowd.rest(plan.rest)?;
    let after = stage.servers.resident_bytes()?;
    let each = before.zip(during).map(|(before, during)| (during as f64 - before as f64) / sockets as f64);
    let mut figures = Figures::of("idle");
    tell_arrivals(&arrivals, &mut figures);
    figures
        .count("closed", closed)
        .bytes("rss_before_bytes", before)
        .bytes("rss_bytes", during)
        .measure("rss_per_socket_bytes", each)
        .bytes("rss_after_close_bytes", after);
    tell_complaint(&crowd, &mut figures);
    Ok(figures)
}

/// What it takes to open a socket, and to subscribe if so planned.
///
/// # Errors
/// The server cannot be reached.
pub fn connect(stage: &Stage, plan: &Arriving) -> Outcome<Figures> {
    let before = stage.servers.spent()?;
    let (crowd, arrivals) = stage.gather(1, vec![plan.wish(0, Conduct::Read); plan.sockets])?;
    let spent_ns = stage.servers.spent_since(&before)?;
    let mut figures = Figures::of("connect");
    tell_connects(&arrivals, spent_ns, &mut figures);
    tell_complaint(&crowd, &mut figures);
    Ok(figures)
}

/// What it takes to open and close sockets all the time, and whether those who stay miss anything.
///
/// # Errors
/// The server cannot be reached.
pub fn churn(stage: &Stage, steady: &Group, time: Duration) -> Outcome<Figures> {
    require_descriptors(steady.subscribers + stage.in_flight_max)?;
    let groups = std::slice::from_ref(steady);
    let resident = stage.servers.resident_bytes()?;
    let (mut crowd, _) = stage.gather(1, subscribers(groups))?;
    let passing = Arriving { sockets: 0, are_subscribed: true, rest: Duration::ZERO };
    let wish = passing.wish(steady.flow.channels.end, Conduct::Leave);
    let mut arrivals = None;
    let delivered = stage.play(&mut crowd, groups, &mut |crowd| {
        if arrivals.is_some() {
            return receive(crowd);
        }
        let end_ns = now_ns() + time.as_nanos() as u64;
        let mut wishes = std::iter::from_fn(|| (now_ns() < end_ns).then(|| wish.clone()));
        arrivals = Some(crowd.open(&mut wishes, &mut |_| {})?);
        Ok(())
    })?;
    let mut figures = Figures::of("churn");
    tell_connects(&arrivals.unwrap_or_default(), delivered.spent_ns, &mut figures);
    delivered.tell_group(0, &mut figures);
    figures.bytes("rss_before_bytes", resident).bytes("rss_bytes", stage.servers.resident_bytes()?);
    tell_complaint(&crowd, &mut figures);
    Ok(figures)
}

fn tell_connects(arrivals: &Arrivals, spent_ns: Option<u64>, figures: &mut Figures) {
    tell_arrivals(arrivals, figures);
    figures
        .measure("connects_per_s", Some(arrivals.opened as f64 / arrivals.seconds.max(1e-9)))
        .cost("cpu_us_per_connect", spent_ns, arrivals.opened)
        .delays("connect_", &arrivals.delays);
}

fn tell_complaint(crowd: &Crowd<'_>, figures: &mut Figures) {
    if let Some(complaint) = crowd.complaint() {
        figures.word("complaint", complaint);
    }
}
