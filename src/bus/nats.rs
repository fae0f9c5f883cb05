//! The bus over NATS. Its client reconnects and follows again by itself; here its subscriptions become one queue of events.
//!
//! Always: one task hands frames and subscriptions to the client, in the order in which they were taken, so a frame finds
//! followed what was followed before it. A new connection counts as the bus only when an echo came over it: the client
//! follows everything again before it sends anything, so by then the server has done that.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use bytes::Bytes;
use futures_util::StreamExt;
use percent_encoding::percent_decode_str;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::events::Events;
use super::orders::{Order, Orders};
use super::{Bus, BusError, BusEvent, NotSent, tls};
use crate::config::BusConfig;

/// How often the connection is tried while nothing is heard. After three in vain it counts as dead.
const PING_EVERY: Duration = Duration::from_secs(1);

/// The longest pause between two attempts to connect.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(1);

/// Frames of one subject that may wait in the client before they are in the queue of events.
const WAITING_MAX: usize = 65_536;

/// A node's place on NATS.
#[derive(Debug)]
pub struct NatsBus {
    client: Client,
    orders: Orders,
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
        let addresses = addresses(config)?;
        let (connections, connected) = mpsc::unbounded_channel();
        let client = options(config, &addresses, &events, connections).await?.connect(addresses).await;
        let client = client.map_err(|error| BusError(format!("cannot use NATS: {}", error.kind())))?;
        let (orders, waiting) = Orders::new(events.clone(), config.buffer_bytes_max);
        let judge = tokio::spawn(judge(client.clone(), connected, events.clone()));
        let client_of_orders = client.clone();
        tokio::spawn(async move {
            carry_out(client_of_orders, waiting, events).await;
            judge.abort();
        });
        Ok((Arc::new(Self { client, orders }), receiver))
    }
}

impl Bus for NatsBus {
    fn name(&self) -> &'static str {
        "nats"
    }

    fn send(&self, subject: &str, frame: Bytes) -> Result<(), NotSent> {
        self.orders.send(subject, frame, self.client.max_payload())
    }

    fn follow(&self, subject: &str) {
        self.orders.follow(subject);
    }

    fn unfollow(&self, subject: &str) {
        self.orders.unfollow(subject);
    }

    fn is_up(&self) -> bool {
        self.orders.is_up()
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.orders.close()
    }
}

/// Tells whether the bus is up, from the connections that came (true) and went. It is a task of its own since the client
/// takes no orders while it has too many and no connection.
async fn judge(client: Client, mut connected: mpsc::UnboundedReceiver<bool>, events: Events) {
    let echo = client.new_inbox();
    // It fails only when the client has ended.
    let Ok(mut echoes) = client.subscribe(echo.clone()).await else { return };
    let mut connection: u64 = 0;
    loop {
        tokio::select! {
            biased;
            is_connected = connected.recv() => {
                let Some(is_connected) = is_connected else { return };
                connection += 1;
                match is_connected {
                    true => _ = client.publish(echo.clone(), connection.to_string().into()).await,
                    false => events.set_up(false),
                }
            }
            Some(message) = echoes.next() => {
                // An echo may be late, and of a connection before this one.
                if message.payload == connection.to_string() {
                    events.set_up(true);
                }
            }
        }
    }
}

/// Does what is ordered until the bus is closed or dropped.
async fn carry_out(client: Client, mut orders: mpsc::UnboundedReceiver<Order>, events: Events) {
    let mut followed: HashMap<String, AbortHandle> = HashMap::new();
    while let Some(order) = orders.recv().await {
        match order {
            Order::Send(subject, frame, waiting) => {
                // The client refuses only what was checked before.
                let _ = client.publish(subject, frame).await;
                drop(waiting);
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

async fn options(
    config: &BusConfig,
    addresses: &[ServerAddr],
    events: &Events,
    connections: mpsc::UnboundedSender<bool>,
) -> Result<ConnectOptions, BusError> {
    let options = ConnectOptions::new()
        .name("gusher")
        // An account needs no more than what is under the prefix.
        .custom_inbox_prefix(format!("{}.echo", config.prefix))
        .retry_on_initial_connect()
        .max_reconnects(None)
        .ping_interval(PING_EVERY)
        .subscription_capacity(WAITING_MAX)
        .reconnect_delay_callback(|attempts| {
            Duration::from_millis(50).saturating_mul(attempts as u32).min(RETRY_AFTER_MAX)
        });
    let options = match &config.ca_file {
        Some(file) => options.tls_client_config(tls::client_config(Some(file))?),
        None => options,
    };
    let options = match account(config, addresses) {
        Some((user, password)) => options.user_and_password(user, password),
        None => options,
    };
    let options = match &config.creds_file {
        Some(file) => options.credentials_file(file).await.map_err(|error| {
            BusError(format!("cannot read the credentials in {}: {error}", file.display()))
        })?,
        None => options,
    };
    let events = events.clone();
    let (told, config) = (Arc::new(Mutex::new(String::new())), config.clone());
    Ok(options.event_callback(move |event| {
        let (events, told, connections) = (events.clone(), Arc::clone(&told), connections.clone());
        let config = config.clone();
        async move {
            match event {
                Event::Connected => {
                    tell(&told, String::new());
                    let _ = connections.send(true);
                }
                Event::Disconnected | Event::Closed => _ = connections.send(false),
                Event::SlowConsumer(_) => events.lost(1),
                Event::ServerError(error) => tracing::warn!(%error, "the NATS server says no"),
                Event::ClientError(error) => {
                    // The client keeps the cause of this to itself.
                    let mut reason = error.to_string();
                    if reason.contains("IO error") {
                        let causes = super::unreachable(&config).await;
                        reason = [vec![reason], causes].concat().join(": ");
                    }
                    tell(&told, reason);
                }
                Event::LameDuckMode | Event::Draining => {}
            }
        }
    }))
}

/// The user and the password of this node; those of the first URL that has some, if none are set.
fn account(config: &BusConfig, addresses: &[ServerAddr]) -> Option<(String, String)> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let of_url = |address: &ServerAddr| Some((decoded(address.username()?), decoded(address.password()?)));
    match &config.user {
        Some(user) => Some((user.clone(), config.password.reveal().to_owned())),
        None => addresses.iter().find_map(of_url),
    }
}

/// Tells the operator why there is no connection, unless that was told last.
fn tell(told: &Mutex<String>, reason: String) {
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    if *told == reason {
        return;
    }
    let advice =
        if reason.contains("authori") { ": see bus.user, bus.password and bus.creds_file" } else { "" };
    if !reason.is_empty() {
        tracing::warn!("there is no NATS to use, and it is tried again: {reason}{advice}");
    }
    *told = reason;
}

/// The servers, with commas between them.
fn addresses(config: &BusConfig) -> Result<Vec<ServerAddr>, BusError> {
    let address = |url: &str| {
        url.trim().parse().map_err(|_| BusError("bus.url must be URLs such as nats://host:4222".to_owned()))
    };
    config.url.reveal().split(',').map(address).collect()
}
