//! Whether shards turn. One that sleeps is woken for it, so nothing has to be done while nobody asks.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::hub::Hub;
use crate::metrics::ShardMetrics;

/// How often it is looked whether the last has turned.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Whether every shard ends a turn within `time_max`.
pub async fn all_turn(hub: &Hub, shards: &[Arc<ShardMetrics>], time_max: Duration) -> bool {
    let turns = || shards.iter().map(|shard| shard.turns.get());
    let before: Vec<u64> = turns().collect();
    hub.nudge_shards();
    let turned = async {
        while turns().zip(&before).any(|(now, before)| now == *before) {
            sleep(LOOK_EVERY).await;
        }
    };
    timeout(time_max, turned).await.is_ok()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::hook::Notices;
    use crate::hub::{Apps, HubLimits};
    use crate::shard::Shard;
    use crate::store::Store;

    #[tokio::test]
    async fn one_shard_that_stands_still_is_noticed() {
        let apps = Apps::load(Store::in_memory().await.unwrap()).await.unwrap();
        let (mut polls, mailboxes): (Vec<_>, Vec<_>) = (0..2).map(|_| Shard::prepare().unwrap()).unzip();
        let limits = HubLimits {
            sockets_max: 1,
            mailbox_bytes_max: 1,
            kept_bytes_max: 1,
            pattern_time_max: Duration::from_secs(1),
        };
        let (notices, _posted) = Notices::queue(1);
        let hub = Hub::new(apps, mailboxes, limits, Instant::now(), notices, None);
        let shards: Vec<Arc<ShardMetrics>> = vec![Arc::default(), Arc::default()];
        let turn = |mut poll: mio::Poll, shard: Arc<ShardMetrics>| {
            // As a shard does that has nothing to do: it sleeps until it is woken.
            std::thread::spawn(move || {
                poll.poll(&mut mio::Events::with_capacity(8), None).unwrap();
                shard.turns.add(1);
                poll
            })
        };
        let (mut second, first) = (polls.pop().unwrap(), polls.pop().unwrap());
        let woken = turn(first, Arc::clone(&shards[0]));
        assert!(!all_turn(&hub, &shards, Duration::from_millis(50)).await, "the second never turned");
        // It was woken then, and must not turn before it is asked again.
        second.poll(&mut mio::Events::with_capacity(8), Some(Duration::ZERO)).unwrap();
        let woken =
            [turn(woken.join().unwrap(), Arc::clone(&shards[0])), turn(second, Arc::clone(&shards[1]))];
        assert!(all_turn(&hub, &shards, Duration::from_secs(10)).await);
        woken.into_iter().for_each(|thread| drop(thread.join().unwrap()));
    }
}
