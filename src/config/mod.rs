//! Configuration: what the operator typed becomes what the program means.
//!
//! `read` lays file, environment and flags over the defaults of `typed`; `validate` checks the result and turns it into
//! [`Config`]. Nothing here opens a log, a database or a listener.
//!
//! Always holds: a `Config` exists only if every value is in its permitted range; all that is wrong with a
//! configuration is reported at once; no error or warning shows the value of a secret.

mod keys;
mod listen;
mod log_switch;
mod networks;
mod origins;
mod postgres;
pub mod read;
mod reference;
mod reload;
mod role;
mod secret;
mod shown;
mod tls;
mod typed;
mod validate;

use std::{fmt, io, num::NonZeroU32, path::PathBuf, time::Duration};

pub use listen::ListenAddress;
pub use log_switch::LogSwitch;
pub use networks::Networks;
pub use origins::Origins;
pub use postgres::{PostgresConfig, PostgresTls};
pub use reference::reference;
pub use reload::RELOADABLE;
pub use role::{MasterAccess, Role, RoleName};
pub use secret::Secret;
pub use tls::{AcmeConfig, CertificateSource, TlsConfig};

use crate::model::Algorithm;
pub use crate::model::Level;

/// A configuration file that holds every setting at its default, each with its explanation and permitted range.
pub const DEFAULT_FILE: &str = include_str!("gusher.default.jsonc");

/// The largest permitted `max_wait_hook`.
pub const MAX_WAIT_HOOK_MAX: i64 = 100_000;

/// The `sqlfile` that stands for a database in memory.
const SQLFILE_MEMORY: &str = ":memory:";

/// The checked settings of one node.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which part of a node it is.
    pub role: Role,
    /// Who may use every private endpoint.
    pub admin: Admin,
    /// What is logged, and where to.
    pub log: Log,
    /// The public listener, for sockets.
    pub listen: ListenAddress,
    /// The private listener, for backends.
    pub api_listen: ListenAddress,
    /// Where this node keeps what is its own: its apps, unless `store` has them, and what webhooks have still to tell.
    pub database: Database,
    /// The server that keeps the apps of many nodes.
    pub store: Option<PostgresConfig>,
    /// Connect hook exchanges in flight at once, at least 1 (D11).
    pub max_wait_hook: usize,
    /// Whose word counts on where a request came from, and how.
    pub trusted_proxies: Networks,
    /// The trusted proxies say who connects by the PROXY protocol, before anything else.
    pub proxy_protocol: bool,
    /// Who may come to the private listener; if there are none, everybody.
    pub api_allow: Networks,
    /// Whose pages may make calls from within browsers.
    pub cors_origins: Origins,
    /// With what the listeners speak TLS; without it both are plain.
    pub tls: Option<TlsConfig>,
    /// What one client, one backend or one request may cost.
    pub limits: Limits,
    /// How this node uses its machine.
    pub node: NodeSettings,
    /// How this node stops.
    pub drain: Drain,
    /// What the Pusher dialect may cost, and where it is served.
    pub pusher: PusherSettings,
    /// What the dialect of Gusher Cluster needs and may cost.
    pub cluster: ClusterConfig,
    /// To the other nodes, if there may be any.
    pub bus: Option<BusConfig>,
    /// How webhooks are delivered.
    pub webhooks: WebhookSettings,
    /// What those may read who watch the node.
    pub metrics: MetricsSettings,
    /// The page for those who run the node, and for the admins of apps.
    pub console: ConsoleSettings,
    /// What one address may cost.
    pub addresses: AddressLimits,
    /// What is permitted but probably not meant; to be said once at start. Holds no secret.
    pub warnings: Vec<String>,
    as_typed: reload::AsTyped,
}

/// The super admin (section 1.6).
#[derive(Clone, Debug)]
pub struct Admin {
    /// Not empty, without `:`, and short enough that the password still counts in the hash.
    pub account: String,
    /// A well-formed bcrypt hash of the account directly followed by the password. In a role of Gusher Cluster it may be
    /// empty, which no password proves.
    pub password_hash: Secret,
    /// Everybody knows the password: it is the one of every trial run.
    pub is_known: bool,
}

/// What is logged, and where to (section 1.4).
#[derive(Clone, Debug)]
pub struct Log {
    /// The least important level that is still written.
    pub level: Level,
    /// Where lines go.
    pub target: LogTarget,
    /// What they look like.
    pub format: LogFormat,
    /// Whether they name clients: addresses, paths, users. As in the original in a role of Gusher Cluster, and never
    /// elsewhere (D18).
    pub names_clients: bool,
}

/// What a line of the log looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// What fits where lines go: pretty on a terminal, text in the file `logfile`, JSON elsewhere.
    Auto,
    /// For people.
    Pretty,
    /// `key=value`.
    Text,
    /// One JSON object.
    Json,
}

/// A file of the log, and when it is set aside (spec 2.1). Each number is at least 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The file.
    pub file: PathBuf,
    /// How large it may become, in bytes.
    pub bytes_max: u64,
    /// How many files are kept aside.
    pub backups_max: usize,
    /// How long each of them is.
    pub age_max: Duration,
    /// Whether they are compressed.
    pub compresses: bool,
}

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// The standard error stream.
    Console,
    /// Appended to this file. That it can be opened is not certain (D12).
    File(PathBuf),
    /// The standard output stream.
    Stdout,
    /// Files that follow one another.
    Rotated(Rotation),
    /// Both of the latter.
    Both(Rotation),
}

/// Where a node keeps what is its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// An SQLite file, made if absent.
    File(PathBuf),
    /// Lost when the node stops.
    Memory,
}

/// What one client, one backend or one request may cost. Each is at least 1 unless it says otherwise.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest inbound message of a Gusher socket, in bytes.
    pub message_bytes_max: usize,
    /// Largest body of a request, in bytes.
    pub body_bytes_max: usize,
    /// How long a request body may take to arrive.
    pub body_time_max: Duration,
    /// Largest head of a request, in bytes; at least 8192, the least that hyper accepts.
    pub head_bytes_max: usize,
    /// Most header fields in a request.
    pub headers_max: usize,
    /// How long a request head may take to arrive.
    pub head_time_max: Duration,
    /// How long a kept-alive HTTP connection may be idle.
    pub idle_time_max: Duration,
    /// Most connections of one listener that are not sockets, or not yet.
    pub pending_connections_max: usize,
    /// Most calls at once on one connection over HTTP/2; zero means that it is not offered.
    pub http2_streams_max: u32,
    /// Most sockets of the node; `None` means what the descriptor limit allows.
    pub sockets_max: Option<usize>,
    /// What the process may have in memory before no socket is let in any more, in bytes; `None` means nine tenths of what
    /// its control group may have.
    pub memory_bytes_max: Option<u64>,
    /// Most messages that may wait for one socket.
    pub outbox_messages_max: usize,
    /// Most bytes that may wait for one socket.
    pub outbox_bytes_max: usize,
    /// How long a socket, or a client of HTTP, may take no byte while some wait for it.
    pub write_stall_max: Duration,
    /// Most bytes that may wait for one shard before publishing is refused.
    pub mailbox_bytes_max: usize,
    /// Longest pattern of user tags, in bytes.
    pub pattern_bytes_max: usize,
    /// Largest compiled pattern, in bytes.
    pub pattern_compiled_bytes_max: usize,
    /// How long matching one pattern may take in all.
    pub pattern_time_max: Duration,
    /// How often a socket is pinged.
    pub ping_interval: Duration,
    /// How long a socket may be silent; longer than `ping_interval`.
    pub pong_wait_max: Duration,
    /// How long a whole hook exchange may take.
    pub hook_time_max: Duration,
    /// How long a connect may wait in line for its hook; zero means not at all.
    pub hook_wait_max: Duration,
    /// Most bytes read of a hook's answer.
    pub hook_answer_bytes_max: usize,
}

/// How this node uses its machine.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// Number of shards, 1 to 64; already counted out if one for each core but one was asked for.
    pub shards: usize,
    /// Cost of new bcrypt hashes, 4 to 16; each step doubles the time.
    pub bcrypt_cost: u32,
    /// How long a verified credential is remembered; zero means never.
    pub credential_life: Duration,
    /// Kernel send buffer to ask for, per socket, in bytes.
    pub send_buffer_bytes: usize,
    /// How a push to many sockets leaves.
    pub send: SendWay,
    /// Others may listen on the same addresses at the same time, such as the process that takes over from this one.
    pub reuses_port: bool,
    /// Connect hooks and the authority for certificates are asked through the proxies that the environment names.
    pub uses_proxy: bool,
}

/// How a push to many sockets leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendWay {
    /// Through `io_uring` where the kernel permits it, else one `send()` for each.
    Auto,
    /// One `send()` for each.
    Send,
    /// Through `io_uring`, or the node does not start.
    Uring,
}

/// What the Pusher dialect may cost on this node, and where it is served. The limits of an app are settings of the app.
#[derive(Clone, Debug)]
pub struct PusherSettings {
    /// Largest inbound message of a socket, in bytes.
    pub message_bytes_max: usize,
    /// Channels that one socket may be in.
    pub channels_max: usize,
    /// What the events of all cache channels of one app may take, in bytes.
    pub cache_bytes_max: usize,
    /// A socket that names no protocol version is refused with 4008.
    pub strict_protocol: bool,
    /// Where sockets and signed calls are served besides the root: empty, or such as `/ws-gateway`. It begins with a
    /// slash, does not end with one, and meets no path of ours.
    pub path_prefix: String,
}

/// What the dialect of Gusher Cluster needs and may cost on this node.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// The file with the public keys that prove tokens; without one no sockets are served. That it can be read is not
    /// certain.
    pub public_pem_file: Option<PathBuf>,
    /// How tokens may be signed; not empty.
    pub algorithms: Vec<Algorithm>,
    /// Largest inbound message of a socket, in bytes.
    pub message_bytes_max: usize,
    /// A socket that is in no channel when it is to be pinged is closed.
    pub must_subscribe: bool,
    /// A socket is closed when its token expires.
    pub close_at_expiry: bool,
    /// Apps at once that nobody registered, where that is not needed.
    pub apps_max: usize,
}

/// What carries messages between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusKind {
    /// NATS.
    Nats,
    /// Redis or Valkey.
    Redis,
}

/// How this node reaches the others.
#[derive(Clone, Debug)]
pub struct BusConfig {
    /// What carries the messages.
    pub kind: BusKind,
    /// Where it is. May hold a password.
    pub url: Secret,
    /// A file of credentials, for NATS alone.
    pub creds_file: Option<PathBuf>,
    /// Who this node is to the server.
    pub user: Option<String>,
    /// The proof of that. Redis knows passwords without a user.
    pub password: Secret,
    /// A file of certificates that are trusted besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// Nodes with the same are one cluster. Letters, digits, `-` and `_`.
    pub prefix: String,
    /// While the bus is down publications are delivered on this node alone, instead of being refused.
    pub delivers_locally: bool,
    /// After so much time without the others the sockets of a node are closed; never, if none.
    pub isolated_close: Option<Duration>,
    /// How long a node waits at its start until it knows what the others hold.
    pub join_time_max: Duration,
    /// What may wait to go out, in bytes.
    pub buffer_bytes_max: usize,
}

/// How webhooks are delivered.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// They may go to addresses that are not reachable from everywhere: this machine, private networks.
    pub allow_private: bool,
    /// Notices that may wait for delivery in the store, at least 1.
    pub waiting_max: usize,
    /// Outcomes of one app that are remembered; zero means none.
    pub log_max: usize,
    /// The outcomes of all apps, in bytes.
    pub log_bytes_max: usize,
}

/// Who may read the metrics, and how much of single apps is in them.
#[derive(Clone, Debug)]
pub struct MetricsSettings {
    /// Anybody may who reaches the private listener.
    pub is_public: bool,
    /// What lets others than the super admin read them; at least 16 bytes.
    pub token: Option<Secret>,
    /// Apps that are named; all others together are one.
    pub apps_max: usize,
}

/// The console: whether there is one, and what it may cost. Each number is at least 1.
#[derive(Clone, Copy, Debug)]
pub struct ConsoleSettings {
    /// Whether it is served, on the private listener.
    pub is_enabled: bool,
    /// How long a session may go unused.
    pub idle_time_max: Duration,
    /// How long a session may last, however much it is used.
    pub session_time_max: Duration,
    /// Sessions of one account; one more ends the one that was unused for longest.
    pub sessions_max: usize,
    /// Who may watch the feed of one app at once.
    pub watchers_max: u32,
    /// What the feed of one app shows in a second.
    pub items_per_second_max: u32,
}

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In the long run.
    pub per_second: NonZeroU32,
    /// At once, after nothing happened for a while.
    pub burst: NonZeroU32,
}

/// What one address may cost. What has no limit is not counted.
#[derive(Clone, Debug, Default)]
pub struct AddressLimits {
    /// Sockets that want to open.
    pub connects: Option<Rate>,
    /// Calls of the API, on both listeners.
    pub calls: Option<Rate>,
    /// Connections of one listener at once that are not sockets, or not yet; 0 = as many as there may be.
    pub connections_max: usize,
    /// Sockets at once.
    pub sockets_max: Option<NonZeroU32>,
    /// How often one account may fail to sign in from one address within `failed_sign_ins_time`; 0 = as often as it likes.
    pub failed_sign_ins_max: u32,
    /// From the first failure until the next attempt is looked at.
    pub failed_sign_ins_time: Duration,
}

/// How this node stops.
#[derive(Clone, Debug)]
pub struct Drain {
    /// How long all of it may take, from the signal on; zero means that sockets and requests have no time to finish.
    pub time_max: Duration,
    /// How long the listeners go on accepting when the node says already that it is not ready. Zero, or less than
    /// `time_max`.
    pub delay: Duration,
}

/// Why there is no configuration. Each is one line for the operator.
#[derive(Debug)]
pub enum ConfigError {
    /// No file was named and there is none in the usual places.
    Absent,
    /// The file cannot be read at all.
    Unreadable {
        /// The file as it was named.
        file: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// Something in file, environment or flags is wrong.
    Invalid {
        /// The file as it was named; `None` if there was none to read.
        file: Option<PathBuf>,
        /// All that is wrong; not empty.
        findings: Vec<String>,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str(
                "there is no ./config.json and no ./default.json: make one with `gusher init`, \
                 or try `gusher start --dev`",
            ),
            Self::Unreadable { file, reason } => {
                write!(f, "cannot read {}: {reason} (`gusher init` makes a configuration)", file.display())
            }
            Self::Invalid { file, findings } => {
                if let Some(file) = file {
                    write!(f, "{}: ", file.display())?;
                }
                f.write_str(&findings.join("; "))
            }
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { reason, .. } => Some(reason),
            Self::Absent | Self::Invalid { .. } => None,
        }
    }
}
