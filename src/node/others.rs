//! What a node does with the others: it joins them, hears them, tells them, and reads again what they have changed.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::StartError;
use crate::bus::{self, BusEvent};
use crate::config::{BusConfig, Limits};
use crate::hub::{Answering, GATHER, Hub, LinkSettings, Stales, WhenDown};
use crate::model::NodeId;
use crate::model::pattern::PatternLimits;

/// How long after a failure the store is asked again what has changed.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The way to the other nodes, and what comes from them.
pub(super) async fn connect(
    config: &BusConfig,
    limits: &Limits,
) -> Result<(LinkSettings, mpsc::Receiver<BusEvent>), StartError> {
    let (bus, facts) = bus::connect(config).await.map_err(|error| StartError(error.to_string()))?;
    let mut me = [0; 8];
    getrandom::fill(&mut me)
        .map_err(|error| StartError(format!("the system gives no randomness: {error}")))?;
    let link = LinkSettings {
        bus,
        prefix: config.prefix.clone(),
        me: NodeId(u64::from_ne_bytes(me)),
        when_down: if config.delivers_locally { WhenDown::Local } else { WhenDown::Refuse },
        pattern: PatternLimits {
            pattern_bytes_max: limits.pattern_bytes_max,
            compiled_bytes_max: limits.pattern_compiled_bytes_max,
        },
        // Who delivers without the others has something to say to its sockets.
        isolated_close: config.isolated_close.filter(|_| !config.delivers_locally),
    };
    Ok((link, facts))
}

/// Waits until the node knows what the others hold, and what they have changed; not for ever.
pub(super) async fn join(hub: &Hub, stales: &Stales, time_max: Duration) {
    let joined = async {
        while !hub.is_joined() || !stales.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(time_max, joined).await.is_err() {
        tracing::warn!("starts alone: the bus or another node does not answer; not ready until it does");
    }
}

/// Hears the other nodes, on a thread of its own. It carries their signs of life, so it waits for nothing but them: what
/// takes its time, or finds no room, waits in lanes (`hub/lanes.rs`).
pub(super) fn hear(
    hub: Arc<Hub>,
    mut facts: mpsc::Receiver<BusEvent>,
    stales: Arc<Stales>,
) -> io::Result<()> {
    let listen = move || {
        while let Some(event) = facts.blocking_recv() {
            hub.hear(&event, Instant::now()).into_iter().for_each(|stale| stales.note(stale));
        }
    };
    thread::Builder::new().name("bus".into()).spawn(listen).map(drop)
}

/// Reads again what other nodes have changed in the store, until that succeeds.
pub(super) async fn read_again(hub: Arc<Hub>, stales: Arc<Stales>) {
    let mut is_failing = false;
    loop {
        let stale = stales.next().await;
        let reread = hub.reread(&stale).await;
        if let Err(error) = &reread {
            if !is_failing {
                tracing::error!(%error, "cannot read again what other nodes may have changed; tries on");
            }
            stales.note(stale);
            tokio::time::sleep(READ_AGAIN_AFTER).await;
        }
        is_failing = reread.is_err();
    }
}

/// How long an answer waits for the bus to have room.
const ROOM_AFTER: Duration = Duration::from_millis(10);

/// Answers what the other nodes ask, a page at a time.
pub(super) async fn answer(hub: Arc<Hub>) {
    loop {
        match hub.answer_page(Instant::now()) {
            Answering::More => tokio::task::yield_now().await,
            Answering::Full => tokio::time::sleep(ROOM_AFTER).await,
            Answering::Idle => hub.asked().await,
        }
    }
}

/// Tells the other nodes what changes here, some changes at a time.
pub(super) async fn tell_changes(hub: Arc<Hub>) {
    loop {
        hub.changed().await;
        tokio::time::sleep(GATHER).await;
        hub.tell_changes(Instant::now());
    }
}
