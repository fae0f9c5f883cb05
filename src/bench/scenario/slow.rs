//! Readers that never read: what they cost the server, whether it cuts them, and what the others notice.

use std::time::Duration;

use super::{Group, NO_CHANNEL, Stage, subscribers, tell_arrivals};
use crate::bench::Outcome;
use crate::bench::delivery::receive;
use crate::bench::figures::Figures;
use crate::bench::receiver::{Conduct, Entry, Wish};
use crate::bench::target::channel;

/// How long those who did not read get to find out that they were closed.
const REVIVAL: Duration = Duration::from_secs(2);

/// Measures it.
///
/// # Errors
/// The server cannot be reached or refuses.
pub fn run(stage: &Stage, readers: &Group, stalled: usize) -> Outcome<Figures> {
    let groups = std::slice::from_ref(readers);
    let before = stage.servers.resident_bytes()?;
    let mut wishes = subscribers(groups);
    let stalling = Wish {
        group: 1,
        // They are owed what they do not read, but nobody counts it.
        channel: NO_CHANNEL,
        lanes: 1,
        entry: Entry::Subscribed(channel(readers.flow.channels.start)),
        conduct: Conduct::Stall,
    };
    wishes.extend(std::iter::repeat_n(stalling, stalled));
    let (mut crowd, arrivals) = stage.gather(2, wishes)?;
    let delivered = stage.play(&mut crowd, groups, &mut receive)?;
    let after = stage.servers.resident_bytes()?;
    crowd.revive(REVIVAL)?;
    let mut figures = Figures::of("slow");
    tell_arrivals(&arrivals, &mut figures);
    delivered.tell_group(0, &mut figures);
    delivered.tell_cost(&mut figures);
    let growth = before.zip(after).map(|(before, after)| after as f64 - before as f64);
    figures
        .count("stalled", stalled as u64)
        .count("stalled_cut", crowd.tallies()[1].closed)
        .measure("rss_growth_bytes", growth);
    Ok(figures)
}
