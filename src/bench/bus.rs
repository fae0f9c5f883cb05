//! What the bus between nodes costs by itself: the client of NATS or Redis as it comes, one end that sends and one that
//! receives, and nothing of ours in between. The floor of what a second node can cost.

use bytes::Bytes;
use futures_util::StreamExt;
use redis::aio::{MultiplexedConnection, PubSubStream};
use tokio::time::timeout;

use super::clock::now_ns;
use super::figures::Figures;
use super::process::Servers;
use super::tally::Delays;
use super::{Fault, Outcome, PATIENCE};

/// Where the messages go; nobody else follows it.
const SUBJECT: &str = "gusher-bench";

/// So many messages are under way at once, where speed is measured.
const BATCH: u32 = 256;

/// So many one after the other, where delays are.
const ALONE: u32 = 1000;

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many messages in batches.
    pub messages: u32,
    /// The length of each.
    pub data_bytes: usize,
}

/// Measures the bus at `url`, whose server are the processes of `servers`.
///
/// # Errors
/// It cannot be reached, or a message does not come back.
pub fn run(url: &str, servers: &Servers, plan: &Plan) -> Outcome<Figures> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Fault::because("cannot wait for the bus", error))?;
    runtime.block_on(async {
        let mut ends = within(Ends::connect(url)).await?;
        let data = Bytes::from(vec![b'x'; plan.data_bytes]);
        let mut delays = Delays::default();
        for _ in 0..ALONE.min(plan.messages) {
            let began_ns = now_ns();
            ends.carry(&data, 1).await?;
            delays.note(now_ns() - began_ns);
        }
        let own = Servers::own();
        let (before, own_before, began_ns) = (servers.spent()?, own.spent()?, now_ns());
        let mut left = plan.messages;
        while left > 0 {
            let count = left.min(BATCH);
            ends.carry(&data, count).await?;
            left -= count;
        }
        let seconds = (now_ns() - began_ns) as f64 / 1e9;
        let mut figures = Figures::of("bus");
        figures
            .count("messages", plan.messages.into())
            .measure("messages_per_s", Some(f64::from(plan.messages) / seconds.max(1e-9)))
            .cost("cpu_us_per_message", servers.spent_since(&before)?, plan.messages.into())
            .cost("client_cpu_us_per_message", own.spent_since(&own_before)?, plan.messages.into())
            .delays("", &delays);
        Ok(figures)
    })
}

/// Two connections, of which one sends what the other receives.
enum Ends {
    Nats(async_nats::Client, async_nats::Subscriber),
    Redis(MultiplexedConnection, PubSubStream),
}

impl Ends {
    async fn connect(url: &str) -> Outcome<Self> {
        if url.starts_with("redis:") {
            Self::redis(url).await.map_err(|error| Fault::because("cannot use Redis", error))
        } else {
            Self::nats(url).await.map_err(|error| Fault::because("cannot use NATS", error))
        }
    }

    async fn nats(url: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let (sender, receiver) = (async_nats::connect(url).await?, async_nats::connect(url).await?);
        let mut subscriber = receiver.subscribe(SUBJECT).await?;
        // What comes back the way it went shows that the server knows who listens.
        receiver.publish(SUBJECT, Bytes::new()).await?;
        subscriber.next().await.ok_or("the connection is closed")?;
        Ok(Self::Nats(sender, subscriber))
    }

    async fn redis(url: &str) -> redis::RedisResult<Self> {
        let client = redis::Client::open(url)?;
        let mut receiver = client.get_async_pubsub().await?;
        receiver.subscribe(SUBJECT).await?;
        let sender = client.get_multiplexed_async_connection().await?;
        Ok(Self::Redis(sender, receiver.into_on_message()))
    }

    /// Sends `count` messages, and receives them.
    async fn carry(&mut self, data: &Bytes, count: u32) -> Outcome<()> {
        within(self.send(data, count)).await?;
        for _ in 0..count {
            within(self.receive()).await?;
        }
        Ok(())
    }

    async fn send(&mut self, data: &Bytes, count: u32) -> Outcome<()> {
        match self {
            Self::Nats(sender, _) => {
                for _ in 0..count {
                    let sent = sender.publish(SUBJECT, data.clone()).await;
                    sent.map_err(|error| Fault::because("cannot send", error))?;
                }
                Ok(())
            }
            Self::Redis(sender, _) => {
                let mut batch = redis::pipe();
                for _ in 0..count {
                    batch.publish(SUBJECT, &data[..]).ignore();
                }
                let sent: redis::RedisResult<()> = batch.query_async(sender).await;
                sent.map_err(|error| Fault::because("cannot send", error))
            }
        }
    }

    async fn receive(&mut self) -> Outcome<()> {
        let received = match self {
            Self::Nats(_, receiver) => receiver.next().await.map(drop),
            Self::Redis(_, receiver) => receiver.next().await.map(drop),
        };
        received.ok_or_else(|| Fault("the bus closed the connection".to_owned()))
    }
}

/// What the bus does not do in time it does not do at all.
async fn within<T>(done: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let late = |_| Err(Fault(format!("the bus does not answer within {} s", PATIENCE.as_secs())));
    timeout(PATIENCE, done).await.unwrap_or_else(late)
}
