//! `gusher bench`: what may be measured and with which numbers; the measuring itself is `crate::bench`.

use std::io;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Subcommand, ValueEnum};

use super::Failure;
use super::stage::{StageArgs, ToldArgs, at_least_one, failed, print};
use crate::bench::bus;
use crate::bench::floor::{self, Way, sender};
use crate::bench::flow::{Flow, Pace};
use crate::bench::process::Servers;
use crate::bench::scenario::arriving::{self, Arriving};
use crate::bench::scenario::fanout::{self, Fanout, burst, steady};
use crate::bench::scenario::presence::{self, Presence};
use crate::bench::scenario::{Group, slow};
use crate::bench::stamp::{LANES_MAX, NUMBERS_MAX, STAMP_BYTES};

/// A client's frame and a call of this size still fit into what the kernel takes at once.
const DATA_BYTES_MAX: u64 = 60_000;
const SECONDS_MAX: f64 = 86_400.0;
const RATE_MAX: f64 = 1_000_000.0;

/// The scenarios.
#[derive(Subcommand)]
pub enum BenchCommand {
    /// Sockets that do nothing: what each costs in memory
    #[command(after_help = "Examples:\n  gusher bench idle --sockets 10000 --pid 4711")]
    Idle(IdleArgs),
    /// Opening sockets: how many a second, and what each costs
    #[command(after_help = "Examples:\n  gusher bench connect --sockets 10000 --subscribe --pid 4711")]
    Connect(ConnectArgs),
    /// One channel with many subscribers
    #[command(after_help = "\
Examples:
  gusher bench fanout --subscribers 1000 --rate 30 --seconds 10 --pid 4711
  gusher bench fanout --subscribers 10000 --rate 2 --floor send
  gusher bench fanout --tls --ca ca.pem
  gusher bench fanout --burst 1000           as fast as the server takes them
  GUSHER_PASSWORD=password gusher bench fanout --dialect gusher --key demo")]
    Fanout(FanoutArgs),
    /// Many channels with few subscribers each
    #[command(after_help = "Examples:\n  gusher bench multi --channels 100 --subscribers 10 --rate 1000")]
    Multi(MultiArgs),
    /// Publishing as fast as answers come
    #[command(after_help = "Examples:\n  gusher bench publish --connections 8 --seconds 10 --pid 4711")]
    Publish(PublishArgs),
    /// Sockets that come and go while others receive
    #[command(after_help = "Examples:\n  gusher bench churn --seconds 10 --pid 4711")]
    Churn(ChurnArgs),
    /// Members that join and leave a presence channel while others watch
    #[command(after_help = "Examples:\n  gusher bench presence --watchers 50 --rate 50 --pid 4711")]
    Presence(PresenceArgs),
    /// Readers that never read, and what the others notice
    #[command(after_help = "Examples:\n  gusher bench slow --stalled 10 --pid 4711")]
    Slow(SlowArgs),
    /// A big channel, and a small one beside it that is timed
    #[command(after_help = "Examples:\n  gusher bench mixed --subscribers 10000 --rate 2 --pid 4711")]
    Mixed(MixedArgs),
    /// The kernel alone: what the same deliveries cost without a server
    #[command(after_help = "\
Examples:
  gusher bench floor --subscribers 1000 --rate 30 --seconds 10
  gusher bench floor --burst 1000 --way send,uring,ten")]
    Floor(FloorArgs),
    /// The bus between nodes alone: what its own client costs without a node
    #[command(after_help = "\
Examples:
  gusher bench bus nats://127.0.0.1:4222 --pid \"$(pidof nats-server)\"
  gusher bench bus redis://127.0.0.1:6379")]
    Bus(BusArgs),
    /// The other process of the floor
    #[command(hide = true, after_help = "Examples:\n  gusher bench floor-sender --sockets 1 --messages 1")]
    FloorSender(SenderArgs),
}

/// What is published.
#[derive(Args)]
struct DataArgs {
    /// Length of the data of a message
    #[arg(long, value_name = "N", default_value = "200", value_parser = data_bytes())]
    data_bytes: usize,
    /// How long messages are published
    #[arg(long, value_name = "N", default_value = "10", value_parser = seconds)]
    seconds: f64,
}

/// How often, and compared with what.
#[derive(Args)]
struct RoundsArgs {
    /// Measure so often and tell the medians [default: 1, with --floor 3]
    #[arg(long, value_name = "N", value_parser = at_least_one())]
    rounds: Option<usize>,
    /// Measure the kernel alone before each round, and tell by how much the server costs more
    #[arg(long, value_enum, value_name = "WAY", num_args = 0..=1, default_missing_value = "send")]
    floor: Option<WayArg>,
}

#[derive(Clone, Copy, ValueEnum)]
enum WayArg {
    /// One send() per socket and message
    Send,
    /// Batches of 256 sends through io_uring
    Uring,
    /// Ten messages in one write
    Ten,
}

/// `gusher bench idle`
#[derive(Args)]
pub struct IdleArgs {
    #[command(flatten)]
    stage: StageArgs,
    #[command(flatten)]
    arriving: ArrivingArgs,
    /// How long the server rests before its memory is looked at
    #[arg(long, value_name = "N", default_value = "5", value_parser = seconds)]
    rest_seconds: f64,
}

/// `gusher bench connect`
#[derive(Args)]
pub struct ConnectArgs {
    #[command(flatten)]
    stage: StageArgs,
    #[command(flatten)]
    arriving: ArrivingArgs,
}

#[derive(Args)]
struct ArrivingArgs {
    /// How many sockets
    #[arg(long, value_name = "N", default_value = "10000", value_parser = at_least_one())]
    sockets: usize,
    /// Have each subscribe to a channel
    #[arg(long)]
    subscribe: bool,
}

/// `gusher bench fanout`
#[derive(Args)]
pub struct FanoutArgs {
    #[command(flatten)]
    stage: StageArgs,
    /// Subscribers of the channel
    #[arg(long, value_name = "N", default_value = "1000", value_parser = at_least_one())]
    subscribers: usize,
    /// Messages per second
    #[arg(long, value_name = "N", default_value = "30", value_parser = rate)]
    rate: f64,
    /// Publish N messages as fast as the server takes them instead
    #[arg(long, value_name = "N", value_parser = messages(), conflicts_with = "rate")]
    burst: Option<u32>,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    rounds: RoundsArgs,
}

/// `gusher bench multi`
#[derive(Args)]
pub struct MultiArgs {
    #[command(flatten)]
    stage: StageArgs,
    /// Channels
    #[arg(long, value_name = "N", default_value = "100", value_parser = at_least_one())]
    channels: usize,
    /// Subscribers of each
    #[arg(long, value_name = "N", default_value = "10", value_parser = at_least_one())]
    subscribers: usize,
    /// Messages per second, to one channel after the other
    #[arg(long, value_name = "N", default_value = "1000", value_parser = rate)]
    rate: f64,
    /// Connections to publish on
    #[arg(long, value_name = "N", default_value = "4", value_parser = connections())]
    connections: usize,
    #[command(flatten)]
    data: DataArgs,
    /// Measure so often and tell the medians
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least_one())]
    rounds: usize,
}

/// `gusher bench publish`
#[derive(Args)]
pub struct PublishArgs {
    #[command(flatten)]
    stage: StageArgs,
    /// Connections to publish on
    #[arg(long, value_name = "N", default_value = "8", value_parser = connections())]
    connections: usize,
    /// Subscribers of the one channel
    #[arg(long, value_name = "N", default_value = "10", value_parser = at_least_one())]
    subscribers: usize,
    #[command(flatten)]
    data: DataArgs,
    /// Measure so often and tell the medians
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least_one())]
    rounds: usize,
}

/// `gusher bench churn`
#[derive(Args)]
pub struct ChurnArgs {
    #[command(flatten)]
    stage: StageArgs,
    /// Subscribers that stay
    #[arg(long, value_name = "N", default_value = "100", value_parser = at_least_one())]
    subscribers: usize,
    /// Messages per second to those who stay
    #[arg(long, value_name = "N", default_value = "10", value_parser = rate)]
    rate: f64,
    #[command(flatten)]
    data: DataArgs,
}

/// `gusher bench presence`
#[derive(Args)]
pub struct PresenceArgs {
    #[command(flatten)]
    stage: StageArgs,
    /// Joins, and as many leaves
    #[arg(long, value_name = "N", default_value = "500", value_parser = messages())]
    joins: u32,
    /// Joins per second
    #[arg(long, value_name = "N", default_value = "50", value_parser = rate)]
    rate: f64,
    /// Sockets that take turns at joining
    #[arg(long, value_name = "N", default_value = "8", value_parser = connections())]
    joiners: usize,
    /// Members that stay; with the joiners no more than the app allows
    #[arg(long, value_name = "N", default_value = "50", value_parser = at_least_one())]
    watchers: usize,
}

/// `gusher bench slow`
#[derive(Args)]
pub struct SlowArgs {
    #[command(flatten)]
    stage: StageArgs,
    /// Subscribers that never read
    #[arg(long, value_name = "N", default_value = "10", value_parser = at_least_one())]
    stalled: usize,
    /// Subscribers that do
    #[arg(long, value_name = "N", default_value = "100", value_parser = at_least_one())]
    subscribers: usize,
    /// Messages per second
    #[arg(long, value_name = "N", default_value = "200", value_parser = rate)]
    rate: f64,
    /// Length of the data of a message
    #[arg(long, value_name = "N", default_value = "4096", value_parser = data_bytes())]
    data_bytes: usize,
    /// How long messages are published
    #[arg(long, value_name = "N", default_value = "10", value_parser = seconds)]
    seconds: f64,
}

/// `gusher bench mixed`
#[derive(Args)]
pub struct MixedArgs {
    #[command(flatten)]
    stage: StageArgs,
    /// Subscribers of the big channel
    #[arg(long, value_name = "N", default_value = "10000", value_parser = at_least_one())]
    subscribers: usize,
    /// Messages per second to the big channel
    #[arg(long, value_name = "N", default_value = "2", value_parser = rate)]
    rate: f64,
    /// Subscribers of the channel that is timed
    #[arg(long, value_name = "N", default_value = "10", value_parser = at_least_one())]
    timed_subscribers: usize,
    /// Messages per second to the channel that is timed
    #[arg(long, value_name = "N", default_value = "50", value_parser = rate)]
    timed_rate: f64,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    rounds: RoundsArgs,
}

/// `gusher bench floor`
#[derive(Args)]
pub struct FloorArgs {
    /// Streams
    #[arg(long, value_name = "N", default_value = "1000", value_parser = at_least_one())]
    subscribers: usize,
    /// Messages per second
    #[arg(long, value_name = "N", default_value = "30", value_parser = rate)]
    rate: f64,
    /// Send N messages as fast as the receivers take them instead
    #[arg(long, value_name = "N", value_parser = messages(), conflicts_with = "rate")]
    burst: Option<u32>,
    #[command(flatten)]
    data: DataArgs,
    /// How the messages leave
    #[arg(long, value_enum, value_name = "WAY", value_delimiter = ',', default_value = "send")]
    way: Vec<WayArg>,
    /// Measure so often and tell the medians
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least_one())]
    rounds: usize,
    #[command(flatten)]
    told: ToldArgs,
}

/// `gusher bench bus`
#[derive(Args)]
pub struct BusArgs {
    /// Where NATS or Redis is
    #[arg(value_name = "URL")]
    url: String,
    /// Messages
    #[arg(long, value_name = "N", default_value = "200000", value_parser = messages())]
    messages: u32,
    /// Length of a message
    #[arg(long, value_name = "N", default_value = "200", value_parser = data_bytes())]
    data_bytes: usize,
    /// A process of the bus; may be given several times
    #[arg(long, value_name = "PID")]
    pid: Vec<u32>,
    /// Print one line of JSON and no table
    #[arg(long)]
    json: bool,
}

/// `gusher bench floor-sender`
#[derive(Args)]
pub struct SenderArgs {
    /// Streams to accept
    #[arg(long, value_parser = at_least_one())]
    sockets: usize,
    /// Messages to each
    #[arg(long, value_parser = messages())]
    messages: u32,
    /// Messages per second; 0 is as fast as can be
    #[arg(long, default_value = "0")]
    rate: f64,
    /// Length of the data of a message
    #[arg(long, default_value = "200", value_parser = data_bytes())]
    data_bytes: usize,
    /// How the messages leave
    #[arg(long, value_enum, default_value = "send")]
    way: WayArg,
}

/// Measures, and prints a table and a line of JSON.
///
/// # Errors
/// `Usage` for a dialect that lacks what it needs; `Runtime` when nothing could be measured.
pub fn run(command: &BenchCommand) -> Result<(), Failure> {
    match command {
        BenchCommand::Idle(args) => args.stage.tell(|stage| {
            let rest = Duration::from_secs_f64(args.rest_seconds);
            arriving::idle(stage, &args.arriving.plan(rest))
        }),
        BenchCommand::Connect(args) => {
            args.stage.tell(|stage| arriving::connect(stage, &args.arriving.plan(Duration::ZERO)))
        }
        BenchCommand::Fanout(args) => args.stage.tell(|stage| fanout::run(stage, &args.plan())),
        BenchCommand::Multi(args) => args.stage.tell(|stage| fanout::run(stage, &args.plan())),
        BenchCommand::Publish(args) => args.stage.tell(|stage| fanout::run(stage, &args.plan())),
        BenchCommand::Churn(args) => args.stage.tell(|stage| {
            let group = args.data.group(args.rate, args.subscribers);
            arriving::churn(stage, &group, Duration::from_secs_f64(args.data.seconds))
        }),
        BenchCommand::Presence(args) => args.stage.tell(|stage| {
            let PresenceArgs { joins, rate, joiners, watchers, .. } = *args;
            presence::run(stage, &Presence { joins, rate, joiners, watchers })
        }),
        BenchCommand::Slow(args) => args.stage.tell(|stage| {
            let flow = steady(0..1, args.rate, args.seconds, args.data_bytes);
            slow::run(stage, &Group { flow, subscribers: args.subscribers }, args.stalled)
        }),
        BenchCommand::Mixed(args) => args.stage.tell(|stage| fanout::run(stage, &args.plan())),
        BenchCommand::Floor(args) => args.way.iter().try_for_each(|way| {
            let figures = fanout::bare(&args.plan(*way), args.rounds, args.told.in_flight);
            args.told.print(&figures.map_err(failed)?)
        }),
        BenchCommand::Bus(args) => {
            let plan = bus::Plan { messages: args.messages, data_bytes: args.data_bytes };
            let servers = Servers::new(args.pid.clone()).map_err(failed)?;
            print(&bus::run(&args.url, &servers, &plan).map_err(failed)?, args.json)
        }
        BenchCommand::FloorSender(args) => {
            sender::serve(&args.plan(), &mut io::stdin().lock(), &mut io::stdout().lock()).map_err(failed)
        }
    }
}

impl ArrivingArgs {
    fn plan(&self, rest: Duration) -> Arriving {
        Arriving { sockets: self.sockets, are_subscribed: self.subscribe, rest }
    }
}

impl DataArgs {
    /// One channel at a steady pace.
    fn group(&self, rate: f64, subscribers: usize) -> Group {
        Group { flow: steady(0..1, rate, self.seconds, self.data_bytes), subscribers }
    }
}

impl RoundsArgs {
    fn plan(&self, name: &'static str, groups: Vec<Group>) -> Fanout {
        let floor = self.floor.map(Way::from);
        let rounds = self.rounds.unwrap_or(if floor.is_some() { 3 } else { 1 });
        Fanout { name, groups, rounds, floor }
    }
}

impl FanoutArgs {
    fn plan(&self) -> Fanout {
        let group = match self.burst {
            Some(messages) => {
                let flow = burst(messages, 1, self.data.data_bytes);
                Group { flow, subscribers: self.subscribers }
            }
            None => self.data.group(self.rate, self.subscribers),
        };
        self.rounds.plan("fanout", vec![group])
    }
}

impl MultiArgs {
    fn plan(&self) -> Fanout {
        let flow = steady(0..self.channels, self.rate, self.data.seconds, self.data.data_bytes);
        let flow = Flow { connections: self.connections, ..flow };
        let groups = vec![Group { flow, subscribers: self.subscribers }];
        Fanout { name: "multi", groups, rounds: self.rounds, floor: None }
    }
}

impl PublishArgs {
    fn plan(&self) -> Fanout {
        let flow = burst(NUMBERS_MAX - 1, self.connections, self.data.data_bytes);
        let flow = Flow { time_max: Duration::from_secs_f64(self.data.seconds), ..flow };
        let groups = vec![Group { flow, subscribers: self.subscribers }];
        Fanout { name: "publish", groups, rounds: self.rounds, floor: None }
    }
}

impl MixedArgs {
    fn plan(&self) -> Fanout {
        let DataArgs { data_bytes, seconds } = self.data;
        let timed = steady(1..2, self.timed_rate, seconds, data_bytes);
        let timed = Group { flow: timed, subscribers: self.timed_subscribers };
        self.rounds.plan("mixed", vec![self.data.group(self.rate, self.subscribers), timed])
    }
}

impl FloorArgs {
    fn plan(&self, way: WayArg) -> floor::Plan {
        let Group { flow: Flow { pace, messages, data_bytes, .. }, subscribers } = match self.burst {
            Some(messages) => {
                let flow = burst(messages, 1, self.data.data_bytes);
                Group { flow, subscribers: self.subscribers }
            }
            None => self.data.group(self.rate, self.subscribers),
        };
        floor::Plan { sockets: subscribers, messages, pace, data_bytes, way: way.into() }
    }
}

impl SenderArgs {
    fn plan(&self) -> floor::Plan {
        let pace = if self.rate > 0.0 { Pace::PerSecond(self.rate) } else { Pace::Unpaced };
        let Self { sockets, messages, data_bytes, way, .. } = *self;
        floor::Plan { sockets, messages, pace, data_bytes, way: way.into() }
    }
}

impl From<WayArg> for Way {
    fn from(way: WayArg) -> Self {
        match way {
            WayArg::Send => Way::Send,
            WayArg::Uring => Way::Uring,
            WayArg::Ten => Way::Ten,
        }
    }
}

fn connections() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=LANES_MAX as u64)
}

fn data_bytes() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(STAMP_BYTES as u64..=DATA_BYTES_MAX)
}

fn messages() -> RangedU64ValueParser<u32> {
    RangedU64ValueParser::new().range(1..NUMBERS_MAX.into())
}

fn seconds(text: &str) -> Result<f64, String> {
    within(text, SECONDS_MAX)
}

fn rate(text: &str) -> Result<f64, String> {
    within(text, RATE_MAX)
}

fn within(text: &str, most: f64) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    let is_fit = number > 0.0 && number <= most;
    if is_fit { Ok(number) } else { Err(format!("must be more than 0 and at most {most}")) }
}
