//! Nodes without a bus that use one database contradict each other: what one changes the others do not see, and each counts
//! for itself. So every node writes now and then that it uses the database, and one without a bus says so in its log when
//! another does the same.
//!
//! Always: who counts as there has written since this node last looked, whatever clocks say. So a node that died and was
//! started again is not taken for two.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io, process};

use tokio::task::JoinHandle;

use crate::config::{Config, Database};
use crate::hub::Hub;
use crate::store::{StoreError, StoreNode};

/// How often it is written, and looked at.
const BEAT_EVERY: Duration = Duration::from_secs(10);

/// The same, after it failed several times.
const BEAT_EVERY_MAX: Duration = Duration::from_secs(600);

/// How long the end of a node may wait for the database.
const LEAVE_TIME_MAX: Duration = Duration::from_secs(1);

/// How old what a node wrote last may be, for who looks once.
const RECENT_SECONDS: i64 = 25;

/// What a node says of itself in its database.
pub(super) struct Presence {
    id: String,
    task: Option<JoinHandle<()>>,
}

/// Begins to say that this node uses the database. One in memory has no other users.
///
/// # Errors
/// The system has no randomness to give.
pub(super) fn begin(hub: &Arc<Hub>, config: &Config) -> io::Result<Presence> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| io::Error::other(error.to_string()))?;
    let id = hex::encode(id);
    let is_shared = config.store.is_some() || matches!(config.database, Database::File(_));
    let beating = || tokio::spawn(beat(Arc::clone(hub), id.clone(), config.bus.is_some()));
    Ok(Presence { task: is_shared.then(beating), id })
}

/// Whether a node was there a moment ago.
pub(crate) fn is_recent(node: &StoreNode) -> bool {
    node.age_seconds.abs() <= RECENT_SECONDS
}

impl Presence {
    /// Takes it back.
    pub async fn end(&self, hub: &Hub) {
        let Some(task) = &self.task else { return };
        task.abort();
        // Otherwise it is forgotten after a while.
        let _ = tokio::time::timeout(LEAVE_TIME_MAX, hub.store().leave(&self.id)).await;
    }
}

async fn beat(hub: Arc<Hub>, id: String, has_bus: bool) {
    let (mut others, mut pause) = (Others::default(), BEAT_EVERY);
    loop {
        match look(&hub, &id).await {
            Ok(nodes) => {
                pause = BEAT_EVERY;
                let nodes = nodes.into_iter().filter(|node| node.id != id).collect();
                if let (Some(name), false) = (others.appeared(nodes), has_bus) {
                    tracing::warn!(
                        process = name,
                        "another process uses this database, and there is no bus: they contradict each other; \
                         set bus.url for all of them, or stop one"
                    );
                }
            }
            Err(error) => {
                tracing::debug!(%error, "cannot write in the database that this node uses it");
                pause = (pause * 2).min(BEAT_EVERY_MAX);
            }
        }
        tokio::time::sleep(pause).await;
    }
}

async fn look(hub: &Hub, id: &str) -> Result<Vec<StoreNode>, StoreError> {
    hub.store().beat(id, &name()).await?;
    hub.store().nodes().await
}

/// The other processes, as they were when this one last looked.
#[derive(Debug, Default)]
struct Others {
    beats: HashMap<String, i64>,
    are_there: bool,
}

impl Others {
    /// The name of another process, when one is there and none was before.
    fn appeared(&mut self, nodes: Vec<StoreNode>) -> Option<String> {
        let lives = |node: &&StoreNode| self.beats.get(&node.id).is_some_and(|beat| *beat != node.beat);
        let living = nodes.iter().find(lives).map(|node| node.name.clone());
        self.beats = nodes.into_iter().map(|node| (node.id, node.beat)).collect();
        let were_there = std::mem::replace(&mut self.are_there, living.is_some());
        living.filter(|_| !were_there)
    }
}

/// Host and process.
fn name() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("process {} on {}", process::id(), host.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, beat: i64) -> StoreNode {
        StoreNode { id: id.into(), name: format!("name of {id}"), beat, age_seconds: 0 }
    }

    #[test]
    fn who_goes_on_writing_is_there_and_said_once() {
        let mut others = Others::default();
        assert_eq!(others.appeared(vec![node("dead", 7), node("new", 1)]), None, "it may be a trace");
        assert_eq!(others.appeared(vec![node("dead", 7), node("new", 2)]), Some("name of new".into()));
        assert_eq!(others.appeared(vec![node("dead", 7), node("new", 3)]), None);
        assert_eq!(others.appeared(vec![node("dead", 7), node("new", 3)]), None, "it is gone");
        assert_eq!(others.appeared(vec![node("dead", 7), node("new", 4)]), Some("name of new".into()));
    }
}
