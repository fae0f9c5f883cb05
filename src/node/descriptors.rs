//! What the descriptors are for that this process may have.

use super::WEBHOOK_REQUESTS_MAX;
use crate::config::Limits;
use crate::door::standbys_max;
use crate::net::descriptors::raise_limit;

/// Kept for the database, the bus, hooks, logs and whatever else is open.
const OTHERS: u64 = 128;

/// What of them each listener may have for connections that are not sockets, and requests to webhooks for theirs.
const LISTENER_PART: u64 = 16;
const WEBHOOKS_PART: u64 = 8;

/// How many there are for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shares {
    /// Sockets.
    pub sockets_max: usize,
    /// Connections of one listener that are not sockets, or not yet.
    pub connections_max: usize,
}

/// Raises the limit as far as it goes, and shares it out.
pub(crate) fn share_out(limits: &Limits) -> Shares {
    shares(raise_limit(), limits.pending_connections_max)
}

/// How many descriptors it takes to hold so many sockets.
pub(crate) fn needed_for(sockets: usize, limits: &Limits) -> usize {
    let connections = limits.pending_connections_max;
    let reserved = OTHERS as usize + WEBHOOK_REQUESTS_MAX + 2 * (connections + standbys_max(connections));
    sockets.saturating_add(reserved).max(connections * LISTENER_PART as usize)
}

fn shares(limit: u64, connections_wanted: usize) -> Shares {
    let part = |of: u64| usize::try_from(limit / of).unwrap_or(usize::MAX);
    let connections_max = connections_wanted.min(part(LISTENER_PART)).max(1);
    let listeners = 2 * (connections_max + standbys_max(connections_max));
    let reserved = OTHERS as usize + WEBHOOK_REQUESTS_MAX.min(part(WEBHOOKS_PART)) + listeners;
    Shares { sockets_max: part(1).saturating_sub(reserved).max(1), connections_max }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_socket_has_its_part_of_few_descriptors_and_no_more_of_many() {
        let few = shares(1_024, 1_024);
        assert_eq!(few, Shares { sockets_max: 1_024 - 128 - 128 - 2 * (64 + 16), connections_max: 64 });
        let many = shares(1_000_000, 1_024);
        assert_eq!(
            many,
            Shares { sockets_max: 1_000_000 - 128 - 256 - 2 * (1_024 + 256), connections_max: 1_024 }
        );
        assert_eq!(shares(64, 1_024).sockets_max, 1);
    }

    #[test]
    fn with_as_many_as_are_needed_all_of_it_fits() {
        let limits = crate::config::read::dev([], &Default::default()).unwrap().limits;
        for sockets in [1, 10_000, 1_000_000] {
            let shares = shares(needed_for(sockets, &limits) as u64, limits.pending_connections_max);
            assert!(
                shares.sockets_max >= sockets && shares.connections_max == limits.pending_connections_max
            );
        }
    }
}
