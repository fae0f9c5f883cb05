//! The bus over Redis or Valkey: subjects are its channels, and one connection carries what this node says and what it
//! hears.
//!
//! What the library has is the protocol; reconnecting is ours, as each connection begins with following everything.
//!
//! Always: one task turns orders into commands, in the order in which they were given, and they go out in that order
//! without waiting for answers; the server does them in that order too. An answer that is an error means that a frame or a
//! subscription was lost, and ends the connection: so the bus goes down and comes up again, and nobody relies on what
//! was not done.

mod address;
mod server;

use std::collections::{HashSet, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, PushInfo, PushKind, RedisError, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use self::server::{Hear, Line, Servers, Unusable, check_standing, what_are_you};
use super::events::Events;
use super::orders::{Order, Orders, Waiting};
use super::{Bus, BusError, BusEvent, NotSent};
use crate::config::BusConfig;

/// How often the server is asked what it is, so that something is heard of it.
const PING_EVERY: Duration = Duration::from_secs(1);

/// After so many questions without hearing anything the connection counts as dead.
const SILENT_MAX: u32 = 3;

/// After so many questions without any answer it does as well: frames may still come, but nothing goes out.
const UNANSWERED_MAX: u32 = 10;

/// How long the first attempt to connect may hold up the start.
const FIRST_WITHIN: Duration = Duration::from_secs(2);

/// The pause before the next attempt to connect; each is twice as long as the one before.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// The longest of them.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(1);

/// After a connection that lasted longer than this the pauses begin anew.
const STEADY_AFTER: Duration = Duration::from_secs(10);

/// The largest frame. Redis would carry more, and then make slow nodes pay for it: see `client-output-buffer-limit`.
const FRAME_BYTES_MAX: usize = 1024 * 1024;

/// Frames go out together until they are so large; one alone may be larger.
const BATCH_BYTES: usize = 64 * 1024;

/// Subjects that are followed again in one request.
const FOLLOWED_AT_ONCE: usize = 1_000;

/// Requests without an answer, beyond which orders wait and go out together.
const UNDER_WAY_MAX: usize = 64;

/// How long to wait for all answers where nothing else can be done meanwhile.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// What the operator is told of a connection that broke.
const BROKEN: &str = "it broke, or the server closed it (if it does so under load, its client-output-buffer-limit for \
                      pubsub is too small)";

/// And of one over which nothing comes.
const SILENT: &str = "the server does not answer";

/// A node's place on Redis.
#[derive(Debug)]
pub struct RedisBus {
    orders: Orders,
}

impl RedisBus {
    /// Connects; goes on trying where the first attempt fails.
    ///
    /// # Errors
    /// What trying again cannot mend: the URL, a file that cannot be read, or an account that the server does not accept.
    pub async fn connect(
        config: &BusConfig,
        events_max: usize,
    ) -> Result<(Arc<dyn Bus>, mpsc::Receiver<BusEvent>), BusError> {
        let servers = Servers::new(config)?;
        let (events, receiver) = Events::new(events_max);
        let (orders, waiting) = Orders::new(events.clone(), config.buffer_bytes_max);
        let mut carrier = Carrier::new(events, waiting);
        let first = match timeout(FIRST_WITHIN, servers.connect(&carrier.hear)).await {
            Ok(Err(Unusable::Refused(reason))) => {
                return Err(BusError(format!("cannot use Redis: {reason}")));
            }
            Ok(first) => first,
            Err(_) => Err(Unusable::Absent(format!("Redis does not answer within {FIRST_WITHIN:?}"))),
        };
        tokio::spawn(async move { carrier.work(servers, first).await });
        Ok((Arc::new(Self { orders }), receiver))
    }
}

impl Bus for RedisBus {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn send(&self, subject: &str, frame: Bytes) -> Result<(), NotSent> {
        self.orders.send(subject, frame, FRAME_BYTES_MAX)
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

/// Does what is ordered, on one connection after the other.
struct Carrier {
    orders: mpsc::UnboundedReceiver<Order>,
    events: Events,
    followed: HashSet<String>,
    hear: Hear,
    /// Something was heard since it was last looked at.
    is_heard: Arc<AtomicBool>,
}

/// The bus was closed or dropped.
struct Closed;

impl Carrier {
    fn new(events: Events, orders: mpsc::UnboundedReceiver<Order>) -> Self {
        let is_heard = Arc::new(AtomicBool::new(false));
        let hear = {
            let (events, is_heard) = (events.clone(), Arc::clone(&is_heard));
            move |push: PushInfo| {
                is_heard.store(true, Ordering::Relaxed);
                if let (PushKind::Message, Some(Value::BulkString(frame))) =
                    (push.kind, push.data.into_iter().nth(1))
                {
                    events.frame(Bytes::from(frame));
                }
            }
        };
        Self { orders, events, followed: HashSet::new(), hear: Arc::new(hear), is_heard }
    }

    /// Until the bus is closed or dropped.
    async fn work(&mut self, servers: Servers, first: Result<Line, Unusable>) {
        let hear = Arc::clone(&self.hear);
        let (mut attempt, mut pause, mut told) = (first, RETRY_AFTER, String::new());
        loop {
            let reason = match attempt {
                Ok(line) => {
                    let (to, since) = (line.to.clone(), Instant::now());
                    let end = self.serve(line).await;
                    self.events.set_up(false);
                    let Err(reason) = end else { return };
                    if since.elapsed() > STEADY_AFTER {
                        (pause, told) = (RETRY_AFTER, String::new());
                    }
                    format!("the connection to Redis at {to} is lost: {reason}")
                }
                Err(unusable) => format!("there is no Redis to use: {unusable}"),
            };
            if told != reason {
                tracing::warn!("{reason}; it is tried again");
                told = reason;
            }
            let Ok(()) = self.meanwhile(sleep(pause)).await else { return };
            pause = (pause * 2).min(RETRY_AFTER_MAX);
            let Ok(next) = self.meanwhile(servers.connect(&hear)).await else { return };
            attempt = next;
        }
    }

    /// Waits without a connection.
    async fn meanwhile<T>(&mut self, awaited: impl Future<Output = T>) -> Result<T, Closed> {
        let mut awaited = pin!(awaited);
        loop {
            let order = tokio::select! {
                done = &mut awaited => return Ok(done),
                order = self.orders.recv() => order,
            };
            let Some(batch) = order.map(|order| self.gather(order)) else { return Err(Closed) };
            if let Some(out) = batch.closing {
                let _ = out.send(());
                return Err(Closed);
            }
        }
    }

    /// Uses a connection until it breaks, which is an error, or the bus is closed.
    async fn serve(&mut self, line: Line) -> Result<Closed, String> {
        let Line { requests, mut driver, .. } = line;
        // In turns, so that what comes without end does not keep back what is to go out.
        tokio::select! {
            end = self.converse(requests) => end,
            () = &mut driver => Err(BROKEN.to_owned()),
        }
    }

    async fn converse(&mut self, requests: MultiplexedConnection) -> Result<Closed, String> {
        let mut answers = Answers { requests, under_way: VecDeque::new() };
        if self.follow_again(&mut answers).await?.is_some() {
            return Ok(Closed);
        }
        self.events.set_up(true);
        let mut pings = interval(PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut silent, mut unanswered) = (0, 0);
        loop {
            tokio::select! {
                Some(answer) = answers.next() => {
                    self.is_heard.store(true, Ordering::Relaxed);
                    unanswered = 0;
                    answer?;
                }
                order = self.orders.recv(), if answers.under_way.len() < UNDER_WAY_MAX => {
                    let Some(order) = order else { return Ok(Closed) };
                    let batch = self.gather(order);
                    let closing = answers.request(batch).await;
                    if let Some(out) = closing {
                        answers.all().await?;
                        let _ = out.send(());
                        return Ok(Closed);
                    }
                }
                _ = pings.tick() => {
                    silent = if self.is_heard.swap(false, Ordering::Relaxed) { 0 } else { silent + 1 };
                    if silent >= SILENT_MAX || unanswered >= UNANSWERED_MAX {
                        return Err(SILENT.to_owned());
                    }
                    unanswered += 1;
                    answers.request(Batch::ping()).await;
                }
            }
        }
    }

    /// Follows all that is to be followed, also what was ordered meanwhile.
    async fn follow_again(&mut self, answers: &mut Answers) -> Result<Option<Closed>, String> {
        let all: Vec<String> = self.followed.iter().cloned().collect();
        let mut batches: VecDeque<Batch> = all.chunks(FOLLOWED_AT_ONCE).map(Batch::follow).collect();
        loop {
            for batch in batches.drain(..) {
                if let Some(out) = answers.request(batch).await {
                    let _ = out.send(());
                    return Ok(Some(Closed));
                }
                answers.all().await?;
            }
            match self.orders.try_recv() {
                Ok(order) => batches.push_back(self.gather(order)),
                Err(_) => return Ok(None),
            }
        }
    }

    /// Makes commands of an order and of what waits behind it, as much as is to go out together.
    fn gather(&mut self, first: Order) -> Batch {
        let is_up = self.events.is_up();
        let mut batch = Batch::default();
        let mut next = Some(first);
        while let Some(order) = next {
            match order {
                // It was taken before the bus went down.
                Order::Send(..) if !is_up => {}
                Order::Send(subject, frame, waiting) => batch.send(&subject, &frame, waiting),
                Order::Follow(subject) => {
                    if !self.followed.contains(&subject) {
                        batch.command("SUBSCRIBE", &subject);
                        self.followed.insert(subject);
                    }
                }
                Order::Unfollow(subject) => {
                    if self.followed.remove(&subject) {
                        batch.command("UNSUBSCRIBE", &subject);
                    }
                }
                Order::Close(out) => {
                    batch.closing = Some(out);
                    return batch;
                }
            }
            next = if batch.bytes < BATCH_BYTES { self.orders.try_recv().ok() } else { None };
        }
        batch
    }
}

/// Commands that go out together.
#[derive(Default)]
struct Batch {
    commands: Pipeline,
    bytes: usize,
    waiting: Vec<Waiting>,
    /// The bus is closed when this is out.
    closing: Option<oneshot::Sender<()>>,
}

impl Batch {
    /// Asks the server what it is: it may have become a replica.
    fn ping() -> Self {
        let mut batch = Self::default();
        batch.commands.add_command(what_are_you());
        batch
    }

    fn follow(subjects: &[String]) -> Self {
        let mut batch = Self::default();
        subjects.iter().for_each(|subject| batch.command("SUBSCRIBE", subject));
        batch
    }

    fn send(&mut self, subject: &str, frame: &[u8], waiting: Waiting) {
        self.commands.cmd("PUBLISH").arg(subject).arg(frame);
        self.bytes += subject.len() + frame.len();
        self.waiting.push(waiting);
    }

    fn command(&mut self, name: &str, subject: &str) {
        self.commands.cmd(name).arg(subject);
        self.bytes += subject.len();
    }
}

/// What was asked on a connection and is to be answered, in order.
struct Answers {
    requests: MultiplexedConnection,
    under_way: VecDeque<Request>,
}

/// Commands that went out together, until they are answered.
type Request = Pin<Box<dyn Future<Output = Result<Vec<Value>, RedisError>> + Send>>;

impl Answers {
    /// Sends commands. Returns who is to be told when all is out, if that is wished.
    async fn request(&mut self, batch: Batch) -> Option<oneshot::Sender<()>> {
        let Batch { commands, waiting, closing, .. } = batch;
        let count = commands.len();
        if count == 0 {
            return closing;
        }
        let mut requests = self.requests.clone();
        let mut request: Request = Box::pin(async move {
            let answers = requests.send_packed_commands(&commands, 0, count).await;
            drop(waiting);
            answers
        });
        // The first poll puts the commands behind all earlier ones; later ones only look for the answer.
        match poll_fn(|context| Poll::Ready(request.as_mut().poll(context))).await {
            Poll::Pending => self.under_way.push_back(request),
            Poll::Ready(answers) => self.under_way.push_back(Box::pin(async { answers })),
        }
        closing
    }

    /// The answer to what was sent first, if anything is to be answered. May be dropped and called again.
    async fn next(&mut self) -> Option<Result<(), String>> {
        let answers = self.under_way.front_mut()?.as_mut().await;
        self.under_way.pop_front();
        Some(match answers {
            Ok(answers) => answers.iter().try_for_each(check),
            Err(_) => Err(BROKEN.to_owned()),
        })
    }

    /// Waits until all is answered; not for ever.
    async fn all(&mut self) -> Result<(), String> {
        let all = async {
            while let Some(answer) = self.next().await {
                answer?;
            }
            Ok(())
        };
        timeout(ANSWERS_WITHIN, all).await.unwrap_or_else(|_| Err(SILENT.to_owned()))
    }
}

/// Whether the server did what it was asked for.
fn check(answer: &Value) -> Result<(), String> {
    match answer {
        Value::ServerError(error) if error.code() == "NOPERM" => Err(
            "the server does not permit this user to publish and subscribe to channels that begin with bus.prefix \
             (NOPERM)".to_owned(),
        ),
        Value::ServerError(error) => Err(format!("the server answers {}", error.code())),
        Value::Map(_) => check_standing(answer).map_err(|reason| format!("the server {reason}")),
        _ => Ok(()),
    }
}
