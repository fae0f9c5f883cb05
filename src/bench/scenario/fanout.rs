//! Publishing to many: one channel, many channels, or a crowd beside a channel that is timed.

use std::time::Duration;

use super::{Group, Stage, subscribers, tell_arrivals};
use crate::bench::Outcome;
use crate::bench::delivery::{Delivered, receive};
use crate::bench::figures::Figures;
use crate::bench::floor::{self, Way};
use crate::bench::flow::{Flow, Pace};
use crate::bench::stamp::NUMBERS_MAX;

/// How much later than planned a steady flow may end before it is stopped.
const DELAY_MAX: Duration = Duration::from_secs(10);
/// When a flow without a pace, but with a number of messages, is stopped.
const BURST_TIME_MAX: Duration = Duration::from_secs(120);

/// What is published to how many.
#[derive(Clone, Debug)]
pub struct Fanout {
    /// The name it is told under.
    pub name: &'static str,
    /// Who publishes what, and who receives it.
    pub groups: Vec<Group>,
    /// How often it is measured; of the figures, the medians are told.
    pub rounds: usize,
    /// Measure the kernel's part before each round, sent in this way.
    pub floor: Option<Way>,
}

/// A flow at a steady pace.
pub fn steady(channels: std::ops::Range<usize>, rate: f64, seconds: f64, data_bytes: usize) -> Flow {
    Flow {
        channels,
        pace: Pace::PerSecond(rate),
        messages: ((rate * seconds).round() as u32).clamp(1, NUMBERS_MAX - 1),
        time_max: Duration::from_secs_f64(seconds) + DELAY_MAX,
        connections: 1,
        data_bytes,
    }
}

/// A flow of so many messages, as fast as they are taken.
pub fn burst(messages: u32, connections: usize, data_bytes: usize) -> Flow {
    Flow { channels: 0..1, pace: Pace::Unpaced, messages, time_max: BURST_TIME_MAX, connections, data_bytes }
}

/// Measures it.
///
/// # Errors
/// The server cannot be reached or refuses; or the floor cannot be measured.
pub fn run(stage: &Stage, plan: &Fanout) -> Outcome<Figures> {
    let is_one_channel = |group: &Group| group.flow.channels.len() == 1;
    if !(plan.groups.len() == 1 && plan.groups.iter().all(is_one_channel)) {
        stage.require_channels(plan.name)?;
    }
    let (mut floors, mut servers) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        if let (Some(way), Some(group)) = (plan.floor, plan.groups.first()) {
            floors.push(floor_of(group, way, stage.in_flight_max)?);
        }
        servers.push(server(stage, &plan.groups)?);
    }
    let mut figures = Figures::of(plan.name);
    figures.count("rounds", plan.rounds as u64);
    let server = Figures::median(&servers);
    if floors.is_empty() {
        figures.append(server);
    } else {
        let floor = Figures::median(&floors);
        let ratio = server.ratio(&floor);
        figures.group("floor", floor).group("server", server).group("ratio", ratio);
    }
    Ok(figures)
}

fn server(stage: &Stage, groups: &[Group]) -> Outcome<Figures> {
    let (mut crowd, arrivals) = stage.gather(groups.len(), subscribers(groups))?;
    let delivered = stage.play(&mut crowd, groups, &mut receive)?;
    let mut figures = Figures::default();
    tell_arrivals(&arrivals, &mut figures);
    delivered.tell_group(0, &mut figures);
    if groups.len() > 1 {
        figures.append(delivered.beside(1));
    }
    delivered.tell_cost(&mut figures);
    Ok(figures)
}

/// The kernel's part of a group's flow.
fn floor_of(group: &Group, way: Way, in_flight_max: usize) -> Outcome<Figures> {
    let Flow { pace, messages, data_bytes, .. } = group.flow;
    let plan = floor::Plan { sockets: group.subscribers, messages, pace, data_bytes, way };
    floor::run(&plan, in_flight_max).map(|delivered| floor_figures(&plan, &delivered))
}

/// Measures the kernel alone, in one way.
///
/// # Errors
/// It cannot be measured, or not in this way.
pub fn bare(plan: &floor::Plan, rounds: usize, in_flight_max: usize) -> Outcome<Figures> {
    let round = |_| floor::run(plan, in_flight_max).map(|delivered| floor_figures(plan, &delivered));
    let runs = (0..rounds).map(round).collect::<Outcome<Vec<_>>>()?;
    let mut figures = Figures::of("floor");
    figures.count("rounds", rounds as u64).append(Figures::median(&runs));
    Ok(figures)
}

fn floor_figures(plan: &floor::Plan, delivered: &Delivered) -> Figures {
    let mut figures = Figures::default();
    figures.word("way", &plan.way.to_string()).count("sockets", plan.sockets as u64);
    delivered.tell_group(0, &mut figures);
    delivered.tell_cost(&mut figures);
    figures
}
