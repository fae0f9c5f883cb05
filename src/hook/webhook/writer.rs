//! The writer puts notices on disk, for each webhook that wants them, and wakes the courier. Many notices become one
//! transaction; what comes meanwhile waits in the queue and goes into the next.

use std::collections::HashSet;
use std::sync::Arc;

use super::courier::{Courier, Phase};
use crate::dialect::pusher::webhook;
use crate::hook::Posted;
use crate::model::Notice;
use crate::store::{Entry, Lane};

/// Notices of one transaction.
const BATCH_NOTICES: usize = 256;

/// Writes until the queue ends, or is empty when the node stops.
pub(super) async fn write(courier: Arc<Courier>, mut notices: Posted) {
    // First what a former process left.
    for lane in courier.persist(|| courier.outbox.lanes()).await {
        courier.wake(&lane);
    }
    let mut phase = courier.phase.subscribe();
    loop {
        let taken = tokio::select! {
            taken = notices.take(BATCH_NOTICES) => taken,
            _ = phase.wait_for(|phase| *phase >= Phase::Stopping), if !notices.is_closed() => {
                // What was accepted is still read.
                notices.close();
                continue;
            }
        };
        if taken == 0 {
            return;
        }
        let entries: Vec<_> = notices.taken().iter().flat_map(|notice| entries(&courier, notice)).collect();
        if !entries.is_empty() {
            add(&courier, &entries).await;
        }
        notices.done();
    }
}

async fn add(courier: &Arc<Courier>, entries: &[Entry]) {
    let added = courier.persist(|| courier.outbox.add(entries)).await;
    let mut lanes = HashSet::new();
    for (entry, is_added) in entries.iter().zip(added) {
        if is_added {
            lanes.insert(&entry.lane);
        } else {
            courier.note_dropped(entry);
            courier.tallies.dropped(&entry.lane, courier.clock.now_ms());
        }
    }
    lanes.into_iter().for_each(|lane| courier.wake(lane));
}

/// A notice for each URL that is to be told of it; once, where several webhooks have the same.
fn entries(courier: &Courier, notice: &Notice) -> Vec<Entry> {
    let Some(app) = (courier.lookup)(&notice.app) else { return Vec::new() };
    let wants = app.settings.webhooks.iter().filter(|hook| hook.wants(notice.event.kind(), &notice.channel));
    let urls: HashSet<&str> = wants.map(|webhook| &*webhook.url).collect();
    if urls.is_empty() {
        return Vec::new();
    }
    let event: Arc<str> = webhook::event(notice).into();
    let entry = |url: &str| Entry {
        lane: Lane::of(&notice.app, &url.into(), &notice.channel),
        time_ms: notice.at_ms,
        event: Arc::clone(&event),
    };
    urls.into_iter().map(entry).collect()
}
