//! The bus over NATS. Its client reconnects and follows again by itself; here its subscriptions become one queue of events,
//! and what waits to go out is bounded.
//!
//! Always: one task hands frames and subscriptions to the client, in the order in which they were taken, so a frame finds
//! followed what was followed before it.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::events::Events;
use super::{Bus, BusError, BusEvent, NotSent};
use crate::config::BusConfig;

/// How often the connection is tried while nothing is heard. After three in vain it counts as dead.
const PING_EVERY: Duration = Duration::from_secs(1);

/// The longest pause between two attempts to connect.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(1);

/// How long frames that were taken have to go out when the bus is closed.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// Frames of one subject that may wait in the client before they are in the queue of events.
const WAITING_MAX: usize = 65_536;

/// What is to be done, in order.
enum Order {
    Send(String, Bytes),
    Follow(String),
    Unfollow(String),
    /// Say when all before this is out.
    Close(oneshot::Sender<()>),
}

/// A node's place on NATS.
#[derive(Debug)]
pub struct NatsBus {
    client: Client,
    orders: mpsc::UnboundedSender<Order>,
    events: Events,
    /// What waits to go out, in bytes; at most `bytes_max`, so the queue of orders is bounded by it.
    waiting_bytes: Arc<AtomicUsize>,
    bytes_max: usize,
}

impl NatsBus {
    /// Connects; goes on trying where the first attempt fails.
    ///
    /// # Errors
    /// What trying again cannot mend: the URL, or a file that cannot be read.
    pub async fn connect(
        config: &BusConfig,
        events_max: usize,
    ) -> Result<(Arc<dyn Bus>, mpsc::Receiver<BusEvent>), BusError> {
        let (events, receiver) = Events::new(events_max);
        let client = options(config, &events).await?.connect(addresses(config)?).await;
        let client = client.map_err(|error| BusError(format!("cannot use NATS: {}", error.kind())))?;
        let (orders, waiting) = mpsc::unbounded_channel();
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let work = carry_out(client.clone(), waiting, events.clone(), Arc::clone(&waiting_bytes));
        tokio::spawn(work);
        let bytes_max = config.buffer_bytes_max;
        Ok((Arc::new(Self { client, orders, events, waiting_bytes, bytes_max }), receiver))
    }
}

impl Bus for NatsBus {
    fn send(&self, subject: &str, frame: Bytes) -> Result<(), NotSent> {
        if !self.is_up() {
            return Err(NotSent::Down);
        }
        if frame.len() > self.client.max_payload() {
            return Err(NotSent::TooLarge);
        }
        let weight = weight_bytes(subject, &frame);
        if self.waiting_bytes.load(Ordering::Relaxed) + weight > self.bytes_max {
            return Err(NotSent::Full);
        }
        self.waiting_bytes.fetch_add(weight, Ordering::Relaxed);
        self.orders.send(Order::Send(subject.to_owned(), frame)).map_err(|_| NotSent::Down)
    }

    fn follow(&self, subject: &str) {
        // It fails only when the node ends.
        let _ = self.orders.send(Order::Follow(subject.to_owned()));
    }

    fn unfollow(&self, subject: &str) {
        let _ = self.orders.send(Order::Unfollow(subject.to_owned()));
    }

    fn is_up(&self) -> bool {
        self.events.is_up()
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let (out, is_out) = oneshot::channel();
        let _ = self.orders.send(Order::Close(out));
        Box::pin(async move {
            // In vain while the bus is down.
            let _ = tokio::time::timeout(CLOSE_WITHIN, is_out).await;
        })
    }
}

fn weight_bytes(subject: &str, frame: &Bytes) -> usize {
    subject.len() + frame.len() + size_of::<Order>()
}

/// Does what is ordered until the bus is closed or dropped.
async fn carry_out(
    client: Client,
    mut orders: mpsc::UnboundedReceiver<Order>,
    events: Events,
    waiting_bytes: Arc<AtomicUsize>,
) {
    let mut followed: HashMap<String, AbortHandle> = HashMap::new();
    while let Some(order) = orders.recv().await {
        match order {
            Order::Send(subject, frame) => {
                let weight = weight_bytes(&subject, &frame);
                // The client refuses only what was checked before.
                let _ = client.publish(subject, frame).await;
                waiting_bytes.fetch_sub(weight, Ordering::Relaxed);
            }
            Order::Follow(subject) if followed.contains_key(&subject) => {}
            Order::Follow(subject) => {
                let Ok(mut subscriber) = client.subscribe(subject.clone()).await else { continue };
                let events = events.clone();
                let forward = tokio::spawn(async move {
                    while let Some(message) = subscriber.next().await {
                        events.frame(message.payload);
                    }
                });
                followed.insert(subject, forward.abort_handle());
            }
            Order::Close(out) => {
                let _ = client.flush().await;
                let _ = out.send(());
                break;
            }
            // Dropping the subscription gives it up.
            Order::Unfollow(subject) => {
                if let Some(forward) = followed.remove(&subject) {
                    forward.abort();
                }
            }
        }
    }
    followed.into_values().for_each(|forward| forward.abort());
}

async fn options(config: &BusConfig, events: &Events) -> Result<ConnectOptions, BusError> {
    let options = ConnectOptions::new()
        .name("gusher")
        .retry_on_initial_connect()
        .max_reconnects(None)
        .ping_interval(PING_EVERY)
        .subscription_capacity(WAITING_MAX)
        .reconnect_delay_callback(|attempts| {
            Duration::from_millis(50).saturating_mul(attempts as u32).min(RETRY_AFTER_MAX)
        });
    let options = match &config.ca_file {
        Some(file) => options.add_root_certificates(file.clone()),
        None => options,
    };
    let options = match &config.user {
        Some(user) => options.user_and_password(user.clone(), config.password.reveal().to_owned()),
        None => options,
    };
    let options = match &config.creds_file {
        Some(file) => options.credentials_file(file).await.map_err(|error| {
            BusError(format!("cannot read the credentials in {}: {error}", file.display()))
        })?,
        None => options,
    };
    // The client follows everything again before it sends anything, so what is sent after an `Up` is answered.
    let events = events.clone();
    Ok(options.event_callback(move |event| {
        let events = events.clone();
        async move {
            match event {
                Event::Connected => events.set_up(true),
                Event::Disconnected | Event::Closed => events.set_up(false),
                Event::SlowConsumer(_) => events.lost(1),
                Event::ServerError(error) => tracing::warn!(%error, "the NATS server says no"),
                Event::ClientError(error) => tracing::debug!(%error, "the NATS client stumbled"),
                Event::LameDuckMode | Event::Draining => {}
            }
        }
    }))
}

/// The servers, with commas between them.
fn addresses(config: &BusConfig) -> Result<Vec<ServerAddr>, BusError> {
    let address = |url: &str| {
        url.trim().parse().map_err(|_| BusError("bus.url must be URLs such as nats://host:4222".to_owned()))
    };
    config.url.reveal().split(',').map(address).collect()
}
