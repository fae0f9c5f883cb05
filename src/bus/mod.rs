//! The bus: what carries bytes between the nodes of a cluster. It knows subjects and frames, and nothing of what is in
//! them.
//!
//! Every kind keeps the same promises, and passes the same tests (`tests/bus_contract.rs`):
//!
//! 1. No call waits. [`Bus::send`] takes a frame or refuses it at once.
//! 2. While the bus is up, a frame that was taken reaches every node that follows its subject, the sender too; no node
//!    gets it twice.
//! 3. Frames of one sender on one subject arrive in the order in which they were taken.
//! 4. What a node says goes out in the order in which it said it: a frame taken after [`Bus::follow`] finds the subject
//!    followed. So a node that follows a subject of its own and hears itself knows that all that it followed before is
//!    followed.
//! 5. The events say when the bus went down and when it is up again; it comes back by itself, and every subject is followed
//!    again before the `Up` is told. What others sent meanwhile is lost.
//! 6. Frames that were dropped on the way because this node was too slow are told as `Lost`, or by going down; never
//!    silently.
//! 7. What waits to go out is bounded; one frame more is refused. Nothing waits while the bus is down.
//! 8. Closing lets what was taken go out first, for a bounded time.

mod events;
pub mod local;
mod nats;
mod orders;
mod redis;
mod tls;
pub mod wire;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use url::Url;

use crate::config::{BusConfig, BusKind};

/// What happened on the bus, in one queue and in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusEvent {
    /// A frame on a subject that this node follows.
    Frame(Bytes),
    /// The bus is there, for the first time or again.
    Up,
    /// The bus is gone.
    Down,
    /// So many frames, at least, were dropped on their way to this node.
    Lost(u64),
}

/// How long one server may take to accept a connection when it is asked why there is no bus.
const REACHED_WITHIN: Duration = Duration::from_secs(2);

/// Events that may wait for the node; what does not fit is told as lost.
const EVENTS_MAX: usize = 65_536;

/// Why there can be no bus, however often it is tried: one line for the operator, without a secret.
#[derive(Debug)]
pub struct BusError(pub String);

impl fmt::Display for BusError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for BusError {}

/// Connects to the bus of the configuration. Where that does not succeed at once, it is tried for ever.
///
/// # Errors
/// What trying again cannot mend.
pub async fn connect(config: &BusConfig) -> Result<(Arc<dyn Bus>, mpsc::Receiver<BusEvent>), BusError> {
    match config.kind {
        BusKind::Nats => nats::NatsBus::connect(config, EVENTS_MAX).await,
        BusKind::Redis => redis::RedisBus::connect(config, EVENTS_MAX).await,
    }
}

/// The servers of `bus.url` to which no connection can be opened, with the reason: `host:port: Connection refused`.
///
/// Whether a server is the bus, and lets us in, is not asked.
pub async fn unreachable(config: &BusConfig) -> Vec<String> {
    let text = config.url.reveal();
    let scheme = text.split("://").next().unwrap_or_default();
    let default_port = match scheme {
        "redis" | "rediss" => 6_379,
        "redis-sentinel" | "rediss-sentinel" => 26_379,
        _ => 4_222,
    };
    let mut reasons = Vec::new();
    for part in text.split(',').map(str::trim) {
        let url = if part.contains("://") { part.to_owned() } else { format!("{scheme}://{part}") };
        let Ok(url) = Url::parse(&url) else { continue };
        let Some(host) = url.host_str() else { continue };
        let address = format!("{host}:{}", url.port().unwrap_or(default_port));
        match timeout(REACHED_WITHIN, TcpStream::connect(&address)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => reasons.push(format!("{address}: {error}")),
            Err(_) => reasons.push(format!("{address}: no answer within {REACHED_WITHIN:?}")),
        }
    }
    reasons
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// The bus is down.
    Down,
    /// Too much waits to go out.
    Full,
    /// The frame is larger than the bus carries.
    TooLarge,
}

impl NotSent {
    /// What it is called where it is counted.
    pub fn name(self) -> &'static str {
        match self {
            NotSent::Down => "down",
            NotSent::Full => "full",
            NotSent::TooLarge => "too_large",
        }
    }
}

impl fmt::Display for NotSent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            NotSent::Down => "the bus is down",
            NotSent::Full => "the bus does not keep up",
            NotSent::TooLarge => "the bus does not carry so large a message",
        })
    }
}

/// To the other nodes. The module says what it promises.
pub trait Bus: fmt::Debug + Send + Sync {
    /// What operators call it, such as `nats`.
    fn name(&self) -> &'static str;

    /// Sends a frame to all that follow `subject`.
    ///
    /// # Errors
    /// The frame was not taken, and goes nowhere.
    fn send(&self, subject: &str, frame: Bytes) -> Result<(), NotSent>;

    /// From now on frames on `subject` arrive here. Following twice is following once.
    fn follow(&self, subject: &str);

    /// Frames on `subject` arrive here no longer; some that were on their way still may.
    fn unfollow(&self, subject: &str);

    /// Whether frames are taken.
    fn is_up(&self) -> bool;

    /// Lets what was taken go out, for a bounded time. Nothing is taken afterwards.
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}
