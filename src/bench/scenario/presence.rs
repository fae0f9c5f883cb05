//! A presence channel in which members come and go while others watch.
//!
//! A join carries its stamp as the user's id, so whoever is told of it knows how long that took. Those who join take
//! turns; each leaves before it joins again.

use std::time::Duration;

use super::{NO_CHANNEL, Stage, tell_arrivals};
use crate::bench::clock::now_ns;
use crate::bench::crowd::{Crowd, TURN};
use crate::bench::figures::Figures;
use crate::bench::receiver::{Conduct, Entry, Wish};
use crate::bench::stamp::{STAMP_BYTES, Stamp};
use crate::bench::{Fault, Outcome, PATIENCE};

const CHANNEL: &str = "presence-bench";
const WATCHERS: usize = 0;
const JOINERS: usize = 1;

/// Who joins and who watches.
#[derive(Clone, Copy, Debug)]
pub struct Presence {
    /// How many joins there are, and as many leaves.
    pub joins: u32,
    /// How many each second.
    pub rate: f64,
    /// How many sockets take turns at it.
    pub joiners: usize,
    /// How many members stay and are told.
    pub watchers: usize,
}

/// Measures it.
///
/// # Errors
/// The server cannot be reached or refuses.
pub fn run(stage: &Stage, plan: &Presence) -> Outcome<Figures> {
    stage.require_channels("presence")?;
    let watcher = |number| Wish {
        group: WATCHERS,
        channel: 0,
        lanes: plan.joiners,
        entry: Entry::Joined(CHANNEL.to_owned(), format!("watcher-{number}")),
        conduct: Conduct::Watch,
    };
    let joiner = Wish {
        group: JOINERS,
        channel: NO_CHANNEL,
        lanes: 0,
        entry: Entry::Connected,
        conduct: Conduct::Act,
    };
    let mut wishes: Vec<Wish> = (0..plan.watchers).map(watcher).collect();
    wishes.extend(std::iter::repeat_n(joiner, plan.joiners));
    let (mut crowd, arrivals) = stage.gather(2, wishes)?;
    let watchers = crowd.members(0);
    let before = stage.servers.spent()?;
    let began_ns = now_ns();
    come_and_go(&mut crowd, plan, stage)?;
    let expected = watchers * u64::from(plan.joins);
    settle(&mut crowd, expected)?;
    let spent_ns = stage.servers.spent_since(&before)?;
    let tally = &crowd.tallies()[WATCHERS];
    let told = tally.deliveries + tally.leaves;
    let mut figures = Figures::of("presence");
    tell_arrivals(&arrivals, &mut figures);
    figures
        .count("joins", plan.joins.into())
        .count("deliveries", told)
        .count("lost", (2 * expected).saturating_sub(told))
        .count("disordered", tally.disordered)
        .count("closed", tally.closed)
        .measure("seconds", Some(tally.last_ns.saturating_sub(began_ns) as f64 / 1e9))
        .delays("", &tally.delays)
        .cost("cpu_us_per_delivery", spent_ns, told)
        .cost("cpu_us_per_join_and_leave", spent_ns, plan.joins.into());
    if let Some(complaint) = crowd.complaint() {
        figures.word("complaint", complaint);
    }
    Ok(figures)
}

fn come_and_go(crowd: &mut Crowd<'_>, plan: &Presence, stage: &Stage) -> Outcome<()> {
    let places = crowd.places(JOINERS);
    if places.is_empty() {
        return Err(Fault("nobody can join: no socket is left".to_owned()));
    }
    let began_ns = now_ns();
    for join in 0..plan.joins {
        let due_ns = began_ns + (f64::from(join) * 1e9 / plan.rate) as u64;
        while now_ns() < due_ns {
            crowd.turn(TURN.min(Duration::from_nanos(due_ns.saturating_sub(now_ns()))))?;
        }
        let lane = join as usize % places.len();
        let number = join / places.len() as u32;
        if number > 0 {
            leave(crowd, places[lane], stage)?;
        }
        let user = Stamp { sent_ns: now_ns(), lane, number }.data(STAMP_BYTES);
        speak(crowd, places[lane], |id| stage.target.join(id, CHANNEL, &user))?;
    }
    let joined = places.len().min(plan.joins as usize);
    places[..joined].iter().try_for_each(|place| leave(crowd, *place, stage))
}

fn leave(crowd: &mut Crowd<'_>, place: usize, stage: &Stage) -> Outcome<()> {
    speak(crowd, place, |_| stage.target.unsubscribe(CHANNEL))
}

fn speak(crowd: &mut Crowd<'_>, place: usize, text: impl FnOnce(&str) -> String) -> Outcome<()> {
    if crowd.say(place, text) {
        return Ok(());
    }
    Err(Fault::because("who was to join is gone", crowd.complaint().unwrap_or("no reason given")))
}

fn settle(crowd: &mut Crowd<'_>, expected: u64) -> Outcome<()> {
    let end_ns = now_ns() + PATIENCE.as_nanos() as u64;
    let is_missing = |crowd: &Crowd<'_>| {
        let tally = &crowd.tallies()[WATCHERS];
        tally.deliveries < expected || tally.leaves < expected
    };
    while is_missing(crowd) && now_ns() < end_ns {
        crowd.turn(TURN)?;
    }
    Ok(())
}
