//! From what was typed to what is meant: ranges, relations between settings, and the forms of the old flat keys.
//!
//! All findings are gathered. A value out of range is replaced by the nearest permitted one, so that the checks after it
//! have something to work on; the result is thrown away once there is any finding.
//!
//! Long because each setting has its range here, one short check after another.

use std::{
    num::{NonZero, NonZeroU32},
    ops::RangeInclusive,
    path::PathBuf,
    str::FromStr,
    thread,
    time::Duration,
};

use super::{
    AddressLimits, Admin, Algorithm, BusConfig, BusKind, CertificateSource, ClusterConfig, Config,
    ConsoleSettings, Database, Drain, Level, Limits, ListenAddress, Log, LogFormat, LogTarget,
    MAX_WAIT_HOOK_MAX, MetricsSettings, Networks, NodeSettings, Origins, PostgresConfig, PusherSettings,
    Rate, Role, Rotation, SQLFILE_MEMORY, Secret, SendWay, TlsConfig, WebhookSettings,
    reload::AsTyped,
    typed::{
        Typed, TypedAddresses, TypedBus, TypedCluster, TypedConsole, TypedDrain, TypedLimits, TypedLog,
        TypedMetrics, TypedNode, TypedPusher, TypedStore, TypedTls,
    },
};

/// bcrypt looks at no more than this of account and password together (D16).
const BCRYPT_BYTES_MAX: usize = 72;
const SHARDS_MAX: usize = 64;
/// A shorter one could be guessed by asking.
const METRICS_TOKEN_BYTES_MIN: usize = 16;

const KIB: i64 = 1 << 10;
const MIB: i64 = 1 << 20;
const GIB: i64 = 1 << 30;

/// Checks `typed` for a node of this role; `findings` and `warnings` are what reading it has brought up already.
pub(super) fn validate(
    typed: Typed,
    role: Role,
    findings: Vec<String>,
    warnings: Vec<String>,
) -> Result<Config, Vec<String>> {
    let as_typed = AsTyped::of(&typed);
    let mut check = Check { defaults: Typed::default(), findings, warnings };
    let is_whole = matches!(role, Role::Whole);
    let (listen, api_listen) = check.listeners(&typed, is_whole);
    let (trusted_proxies, proxy_protocol) = check.proxies(&typed);
    let tls = check.tls(typed.tls, &role, typed.node.use_proxy);
    let config = Config {
        role,
        admin: check.admin(typed.auth_account, typed.auth_password, is_whole),
        log: check.log(&typed.environment, typed.logfile, typed.log, !is_whole),
        listen,
        api_listen,
        database: database(check.or_default(typed.sqlfile, |defaults| &defaults.sqlfile)),
        max_wait_hook: check.max_wait_hook(typed.max_wait_hook),
        tls,
        limits: check.limits(&typed.limits),
        node: check.node(&typed.node),
        pusher: check.pusher(typed.pusher),
        cluster: check.cluster(typed.cluster),
        bus: check.bus(typed.bus),
        store: check.store(&typed.store),
        webhooks: WebhookSettings {
            allow_private: typed.allow_private_webhooks,
            waiting_max: check.count("webhooks.waiting_max", typed.webhooks.waiting_max, 1..=10_000_000),
            log_max: check.count("webhooks.log_max", typed.webhooks.log_max, 0..=10_000),
            log_bytes_max: check.count(
                "webhooks.log_bytes_max",
                typed.webhooks.log_bytes_max,
                64 * KIB..=GIB,
            ),
        },
        metrics: check.metrics(typed.metrics),
        console: check.console(&typed.console),
        addresses: check.addresses(&typed.addresses),
        api_allow: check.networks("api_allow", &typed.api_allow),
        proxy_protocol,
        trusted_proxies,
        cors_origins: check.cors_origins(&typed.cors.origins),
        drain: check.drain(&typed.drain),
        warnings: check.warnings,
        as_typed,
    };
    if check.findings.is_empty() { Ok(config) } else { Err(check.findings) }
}

/// The checks, and what they have brought up so far.
struct Check {
    defaults: Typed,
    findings: Vec<String>,
    warnings: Vec<String>,
}

impl Check {
    fn find(&mut self, finding: impl Into<String>) {
        self.findings.push(finding.into());
    }

    /// An empty text means the default, as a missing one does.
    fn or_default(&self, text: String, default: impl Fn(&Typed) -> &String) -> String {
        if text.is_empty() { default(&self.defaults).clone() } else { text }
    }

    /// In a role of Gusher Cluster nobody needs to be it.
    fn admin(&mut self, account: String, password_hash: String, is_needed: bool) -> Admin {
        if account.is_empty() || account.contains(':') || account.contains(char::is_control) {
            self.find("auth_account must not be empty and must not hold a colon or control characters");
        }
        if account.len() >= BCRYPT_BYTES_MAX {
            self.find(
                "auth_account must be shorter than 72 bytes: bcrypt would not look at the password behind it",
            );
        }
        if is_needed && password_hash.is_empty() {
            self.find(
                "auth_password is missing: it must be a bcrypt hash, as `gusher init` writes and `gusher hash` prints",
            );
        } else if !password_hash.is_empty() && !is_bcrypt_hash(&password_hash) {
            self.find(
                "auth_password must be a bcrypt hash of the account directly followed by the password, \
                 and not the password itself (`gusher init` makes one)",
            );
        }
        Admin { account, password_hash: Secret::new(password_hash), is_known: false }
    }

    /// The level of an environment (section 1.4, D10).
    fn level(&mut self, environment: &str) -> Level {
        let environment = self.or_default(environment.to_owned(), |defaults| &defaults.environment);
        match environment.to_ascii_uppercase().as_str() {
            "DEBUG" => Level::Debug,
            "DEVELOPMENT" => Level::Info,
            "PRODUCTION" | "PRODUCATION" => Level::Warn,
            _ => {
                self.warnings.push(format!(
                    "environment {environment:?} is none of DEBUG, DEVELOPMENT, PRODUCTION: logging as DEVELOPMENT"
                ));
                Level::Info
            }
        }
    }

    /// In a role of Gusher Cluster only one of them is opened.
    fn listeners(&mut self, typed: &Typed, are_both_opened: bool) -> (ListenAddress, ListenAddress) {
        let listen = self.listener("listen", &typed.listen, |defaults| &defaults.listen);
        let api_listen = self.listener("api_listen", &typed.api_listen, |defaults| &defaults.api_listen);
        if are_both_opened && listen.collides_with(&api_listen) {
            self.find(format!("listen ({listen}) and api_listen ({api_listen}) must not share a port"));
        }
        (listen, api_listen)
    }

    fn log(&mut self, environment: &str, logfile: String, typed: TypedLog, names_clients: bool) -> Log {
        let rotation = Rotation {
            file: PathBuf::from(self.or_default(typed.file, |defaults| &defaults.log.file)),
            bytes_max: self.whole::<u64>("log.max_size_mb", typed.max_size_mb, 1..=MIB) * MIB as u64,
            backups_max: self.count("log.max_backups", typed.max_backups, 1..=100_000),
            age_max: 24 * 60 * 60 * self.seconds("log.max_age_days", typed.max_age_days, 1..=36_500),
            compresses: typed.compress,
        };
        let target = match typed.output.as_str() {
            "logfile" | "" => log_target(logfile),
            "stdout" => LogTarget::Stdout,
            "file" => LogTarget::Rotated(rotation),
            "both" => LogTarget::Both(rotation),
            other => {
                self.find(format!("log.output must be logfile, stdout, file or both, found {other:?}"));
                LogTarget::Console
            }
        };
        let format = match typed.format.as_str() {
            "auto" | "" => LogFormat::Auto,
            "pretty" => LogFormat::Pretty,
            "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            other => {
                self.find(format!("log.format must be auto, pretty, text or json, found {other:?}"));
                LogFormat::Auto
            }
        };
        Log { level: self.level(environment), target, format, names_clients }
    }

    fn listener(&mut self, key: &str, text: &str, default: impl Fn(&Typed) -> &String) -> ListenAddress {
        let text = self.or_default(text.to_owned(), &default);
        text.parse().unwrap_or_else(|reason| {
            self.find(format!("{key} {reason}"));
            default(&self.defaults).parse().expect("a default is a listen address")
        })
    }

    /// Nothing or less means the default (D11).
    fn max_wait_hook(&mut self, value: i64) -> usize {
        let value = if value <= 0 { self.defaults.max_wait_hook } else { value };
        self.count("max_wait_hook", value, 1..=MAX_WAIT_HOOK_MAX)
    }

    /// Who is believed, and whether they use the PROXY protocol.
    fn proxies(&mut self, typed: &Typed) -> (Networks, bool) {
        let proxies = self.networks("trusted_proxies", &typed.trusted_proxies);
        if proxies.have_everybody() {
            let warning = "trusted_proxies has everybody in it: any client can say that it is somebody else";
            self.warnings.push(warning.to_owned());
        }
        let uses_protocol = match typed.proxy_protocol.as_str() {
            "off" | "" => false,
            "trusted" => true,
            other => {
                self.find(format!("proxy_protocol must be off or trusted, found {other:?}"));
                false
            }
        };
        if uses_protocol && proxies.is_empty() {
            let warning =
                "proxy_protocol does nothing without trusted_proxies: name there who sends its header";
            self.warnings.push(warning.to_owned());
        }
        (proxies, uses_protocol)
    }

    fn networks(&mut self, key: &str, text: &str) -> Networks {
        text.parse().unwrap_or_else(|reason| {
            self.find(format!("{key} {reason}"));
            Networks::default()
        })
    }

    fn cors_origins(&mut self, text: &str) -> Origins {
        text.parse().unwrap_or_else(|reason| {
            self.find(format!("cors.origins {reason}"));
            Origins::default()
        })
    }

    /// A master is not reached by sockets, and so not by an authority either, unless its only listener speaks TLS.
    fn tls(&mut self, typed: TypedTls, role: &Role, uses_proxy: bool) -> Option<TlsConfig> {
        let mut tls = TlsConfig::read(typed, &mut self.findings)?;
        let is_served = !matches!(role, Role::Master(_)) || tls.is_private_too;
        if matches!(tls.source, CertificateSource::Acme(_)) && !is_served {
            self.find("tls.acme.domains needs tls.private in a master, which has no public listener");
        }
        if let CertificateSource::Acme(acme) = &mut tls.source {
            acme.uses_proxy = uses_proxy;
        }
        Some(tls)
    }

    fn pusher(&mut self, typed: TypedPusher) -> PusherSettings {
        if let Err(reason) = check_path_prefix(&typed.path_prefix) {
            self.find(format!("pusher.path_prefix {reason}"));
        }
        PusherSettings {
            message_bytes_max: self.count(
                "pusher.message_bytes_max",
                typed.message_bytes_max,
                KIB..=16 * MIB,
            ),
            channels_max: self.count("pusher.channels_max", typed.channels_max, 1..=1_000_000),
            cache_bytes_max: self.count("pusher.cache_bytes_max", typed.cache_bytes_max, KIB..=GIB),
            strict_protocol: typed.strict_protocol,
            path_prefix: typed.path_prefix,
        }
    }

    fn cluster(&mut self, typed: TypedCluster) -> ClusterConfig {
        let algorithm = |name: &str| Algorithm::parse(name.trim());
        let algorithms: Option<Vec<Algorithm>> = typed.algorithms.split(',').map(algorithm).collect();
        let message_bytes_max = match typed.message_bytes_max {
            0 => self.defaults.cluster.message_bytes_max,
            bytes => bytes,
        };
        ClusterConfig {
            public_pem_file: Some(PathBuf::from(typed.public_pem_file))
                .filter(|file| !file.as_os_str().is_empty()),
            algorithms: algorithms.unwrap_or_else(|| {
                self.find("cluster.algorithms must be RS256, RS384 and RS512, with commas between them");
                Vec::new()
            }),
            message_bytes_max: self.count("cluster.message_bytes_max", message_bytes_max, 1..=16 * MIB),
            must_subscribe: typed.must_subscribe,
            close_at_expiry: typed.close_at_expiry,
            apps_max: self.count("cluster.apps_max", typed.apps_max, 1..=1_000_000),
        }
    }

    fn bus(&mut self, typed: TypedBus) -> Option<BusConfig> {
        let is_word = |text: &str| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        if !is_word(&typed.prefix) {
            self.find("bus.prefix must be letters, digits, - and _");
        }
        if !matches!(typed.when_down.as_str(), "refuse" | "local") {
            self.find("bus.when_down must be refuse or local");
        }
        let isolated_close =
            self.seconds("bus.isolated_close_seconds", typed.isolated_close_seconds, 0..=86_400);
        let join_time_max = self.seconds("bus.join_seconds_max", typed.join_seconds_max, 1..=300);
        let buffer_bytes_max = self.count("bus.buffer_bytes_max", typed.buffer_bytes_max, 64 * KIB..=GIB);
        let kind = match typed.kind.as_str() {
            "nats" => BusKind::Nats,
            "redis" => BusKind::Redis,
            "none" | "" => return None,
            _ => {
                self.find("bus.kind must be none, nats or redis");
                return None;
            }
        };
        if typed.url.is_empty() {
            self.find(match kind {
                BusKind::Nats => "bus.url must say where the bus is, such as nats://127.0.0.1:4222",
                BusKind::Redis => "bus.url must say where the bus is, such as redis://127.0.0.1:6379",
            });
        }
        if kind == BusKind::Nats && typed.user.is_empty() && !typed.password.is_empty() {
            self.find("bus.password needs bus.user: NATS knows no passwords without a user");
        }
        if kind == BusKind::Redis && !typed.creds_file.is_empty() {
            self.find("bus.creds_file is for NATS alone: Redis knows nodes by bus.user and bus.password");
        }
        let file = |name: String| Some(PathBuf::from(name)).filter(|file| !file.as_os_str().is_empty());
        Some(BusConfig {
            kind,
            url: Secret::new(typed.url),
            creds_file: file(typed.creds_file),
            user: Some(typed.user).filter(|user| !user.is_empty()),
            password: Secret::new(typed.password),
            ca_file: file(typed.ca_file),
            prefix: typed.prefix,
            delivers_locally: typed.when_down == "local",
            isolated_close: Some(isolated_close).filter(|time| !time.is_zero()),
            join_time_max,
            buffer_bytes_max,
        })
    }

    fn store(&mut self, typed: &TypedStore) -> Option<PostgresConfig> {
        PostgresConfig::parse(&typed.url, &typed.ca_file).unwrap_or_else(|finding| {
            self.find(finding);
            None
        })
    }

    fn metrics(&mut self, typed: TypedMetrics) -> MetricsSettings {
        let is_token = |text: &str| {
            text.len() >= METRICS_TOKEN_BYTES_MIN && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if !typed.token.is_empty() && !is_token(&typed.token) {
            self.find(
                "metrics.token must be at least 16 letters, digits and signs, without blanks \
                 (`openssl rand -hex 32` makes a good one)",
            );
        }
        MetricsSettings {
            is_public: typed.public,
            token: Some(typed.token).filter(|token| !token.is_empty()).map(Secret::new),
            apps_max: self.count("metrics.apps_max", typed.apps_max, 0..=10_000),
        }
    }

    fn console(&mut self, typed: &TypedConsole) -> ConsoleSettings {
        let mut small = |name, value| u32::try_from(self.count(name, value, 1..=1_000)).unwrap_or(u32::MAX);
        let watchers_max = small("console.watchers_max", typed.watchers_max);
        let items_per_second_max = small("console.items_per_second_max", typed.items_per_second_max);
        ConsoleSettings {
            is_enabled: typed.enabled,
            idle_time_max: 60 * self.seconds("console.idle_minutes_max", typed.idle_minutes_max, 1..=1_440),
            session_time_max: 3_600
                * self.seconds("console.session_hours_max", typed.session_hours_max, 1..=720),
            sessions_max: self.count("console.sessions_max", typed.sessions_max, 1..=1_000),
            watchers_max,
            items_per_second_max,
        }
    }

    fn addresses(&mut self, typed: &TypedAddresses) -> AddressLimits {
        AddressLimits {
            connects: self.rate("addresses.connects", typed.connects_per_second, typed.connects_burst),
            calls: self.rate("addresses.calls", typed.calls_per_second, typed.calls_burst),
            connections_max: self.count("addresses.connections_max", typed.connections_max, 0..=1_000_000),
            sockets_max: NonZeroU32::new(self.whole(
                "addresses.sockets_max",
                typed.sockets_max,
                0..=100_000_000,
            )),
            failed_sign_ins_max: self.whole(
                "addresses.failed_sign_ins_max",
                typed.failed_sign_ins_max,
                0..=1_000_000,
            ),
            failed_sign_ins_time: self.seconds(
                "addresses.failed_sign_ins_seconds",
                typed.failed_sign_ins_seconds,
                1..=86_400,
            ),
        }
    }

    fn rate(&mut self, key: &str, per_second: i64, burst: i64) -> Option<Rate> {
        let per_second = self.whole(&format!("{key}_per_second"), per_second, 0..=1_000_000);
        let burst = self.whole(&format!("{key}_burst"), burst, 1..=1_000_000);
        NonZeroU32::new(per_second)
            .zip(NonZeroU32::new(burst))
            .map(|(per_second, burst)| Rate { per_second, burst })
    }

    fn limits(&mut self, typed: &TypedLimits) -> Limits {
        let limits = Limits {
            message_bytes_max: self.count("limits.message_bytes_max", typed.message_bytes_max, 1..=16 * MIB),
            body_bytes_max: self.count("limits.body_bytes_max", typed.body_bytes_max, KIB..=GIB),
            // hyper panics on less than 8 KiB.
            head_bytes_max: self.count("limits.head_bytes_max", typed.head_bytes_max, 8 * KIB..=MIB),
            headers_max: self.count("limits.headers_max", typed.headers_max, 8..=1_000),
            head_time_max: self.seconds("limits.head_seconds_max", typed.head_seconds_max, 1..=300),
            body_time_max: self.seconds("limits.body_seconds_max", typed.body_seconds_max, 1..=3_600),
            idle_time_max: self.seconds("limits.idle_seconds_max", typed.idle_seconds_max, 1..=3_600),
            pending_connections_max: self.count(
                "limits.pending_connections_max",
                typed.pending_connections_max,
                1..=1_000_000,
            ),
            sockets_max: Some(self.count("limits.sockets_max", typed.sockets_max, 0..=100_000_000))
                .filter(|sockets_max| *sockets_max > 0),
            http2_streams_max: self.whole("limits.http2_streams_max", typed.http2_streams_max, 0..=10_000),
            memory_bytes_max: Some(self.whole(
                "limits.memory_bytes_max",
                typed.memory_bytes_max,
                0..=1 << 50,
            ))
            .filter(|bytes_max| *bytes_max > 0),
            outbox_messages_max: self.count(
                "limits.outbox_messages_max",
                typed.outbox_messages_max,
                1..=1_000_000,
            ),
            outbox_bytes_max: self.count("limits.outbox_bytes_max", typed.outbox_bytes_max, KIB..=GIB),
            write_stall_max: self.seconds(
                "limits.write_stall_seconds_max",
                typed.write_stall_seconds_max,
                1..=3_600,
            ),
            mailbox_bytes_max: self.count("limits.mailbox_bytes_max", typed.mailbox_bytes_max, KIB..=GIB),
            pattern_bytes_max: self.count("limits.pattern_bytes_max", typed.pattern_bytes_max, 1..=64 * KIB),
            pattern_compiled_bytes_max: self.count(
                "limits.pattern_compiled_bytes_max",
                typed.pattern_compiled_bytes_max,
                KIB..=64 * MIB,
            ),
            pattern_time_max: self.seconds("limits.pattern_seconds_max", typed.pattern_seconds_max, 1..=60),
            ping_interval: self.seconds("limits.ping_seconds", typed.ping_seconds, 1..=3_600),
            pong_wait_max: self.seconds("limits.pong_seconds_max", typed.pong_seconds_max, 2..=7_200),
            hook_time_max: self.seconds("limits.hook_seconds_max", typed.hook_seconds_max, 1..=300),
            hook_wait_max: self.seconds("limits.hook_wait_seconds_max", typed.hook_wait_seconds_max, 0..=300),
            // An answer is good only if it is the user tag, which may have 1024 bytes (D27).
            hook_answer_bytes_max: self.count(
                "limits.hook_answer_bytes_max",
                typed.hook_answer_bytes_max,
                KIB..=MIB,
            ),
        };
        if limits.pong_wait_max <= limits.ping_interval {
            self.find("limits.pong_seconds_max must be more than limits.ping_seconds, or every idle socket is dropped");
        }
        limits
    }

    fn node(&mut self, typed: &TypedNode) -> NodeSettings {
        // With as many shards as cores, each publication wakes more threads than can run.
        let cores = || thread::available_parallelism().map_or(1, NonZero::get);
        NodeSettings {
            shards: match self.count("node.shards", typed.shards, 0..=SHARDS_MAX as i64) {
                0 => (cores() - 1).clamp(1, SHARDS_MAX),
                shards => shards,
            },
            bcrypt_cost: self.whole("node.bcrypt_cost", typed.bcrypt_cost, 4..=16),
            credential_life: self.seconds("node.credential_seconds", typed.credential_seconds, 0..=86_400),
            send_buffer_bytes: self.count(
                "node.send_buffer_bytes",
                typed.send_buffer_bytes,
                4 * KIB..=16 * MIB,
            ),
            send: self.send_way(&typed.send),
            reuses_port: typed.reuse_port,
            uses_proxy: typed.use_proxy,
        }
    }

    fn send_way(&mut self, text: &str) -> SendWay {
        match text {
            "auto" => SendWay::Auto,
            "send" => SendWay::Send,
            "uring" => SendWay::Uring,
            other => {
                self.find(format!("node.send must be auto, send or uring, found {other:?}"));
                SendWay::Auto
            }
        }
    }

    fn count(&mut self, key: &str, value: i64, permitted: RangeInclusive<i64>) -> usize {
        self.whole(key, value, permitted)
    }

    fn drain(&mut self, typed: &TypedDrain) -> Drain {
        let time_max = self.seconds("drain.seconds", typed.seconds, 0..=3_600);
        let delay = self.seconds("drain.delay_seconds", typed.delay_seconds, 0..=3_599);
        if !delay.is_zero() && delay >= time_max {
            self.find("drain.delay_seconds must be less than drain.seconds, of which it is a part");
        }
        Drain { time_max, delay }
    }

    fn seconds(&mut self, key: &str, value: i64, permitted: RangeInclusive<i64>) -> Duration {
        Duration::from_secs(self.whole(key, value, permitted))
    }

    /// `value` if it is permitted, else a finding and the nearest that is.
    fn whole<N: TryFrom<i64>>(&mut self, key: &str, value: i64, permitted: RangeInclusive<i64>) -> N {
        let (min, max) = permitted.into_inner();
        if value < min || value > max {
            self.find(format!("{key} must be {min} to {max}, found {value}"));
        }
        let permitted = N::try_from(value.clamp(min, max));
        permitted.unwrap_or_else(|_| unreachable!("{key} has a permitted range that its type can hold"))
    }
}

/// True for what bcrypt can verify against: `$2a$`, `$2b$` or `$2y$`, any possible cost (section 1.6).
fn is_bcrypt_hash(text: &str) -> bool {
    let known_version = ["$2a$", "$2b$", "$2y$"].iter().any(|version| text.starts_with(version));
    let possible_cost = |parts: bcrypt::HashParts| (4..=31).contains(&parts.get_cost());
    known_version && bcrypt::HashParts::from_str(text).is_ok_and(possible_cost)
}

/// Whether routes can be served under `prefix` besides those at the root; else why not, as the end of a sentence.
fn check_path_prefix(prefix: &str) -> Result<(), String> {
    let Some(path) = prefix.strip_prefix('/') else {
        return if prefix.is_empty() { Ok(()) } else { Err("must begin with a slash".to_owned()) };
    };
    let is_plain = |letter: u8| letter.is_ascii_alphanumeric() || b"-._~".contains(&letter);
    let is_segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(is_plain);
    let mut segments = path.split('/');
    if !segments.clone().all(is_segment) {
        return Err(
            "must be segments of letters, digits and -._~ such as /ws-gateway, without a slash at the end"
                .to_owned(),
        );
    }
    match segments.next() {
        Some(taken @ ("api" | "app" | "apps" | "ws")) => {
            Err(format!("must not begin with /{taken}, where something else is served"))
        }
        _ => Ok(()),
    }
}

fn log_target(logfile: String) -> LogTarget {
    match logfile.as_str() {
        "" | "console" => LogTarget::Console,
        _ => LogTarget::File(PathBuf::from(logfile)),
    }
}

fn database(sqlfile: String) -> Database {
    if sqlfile == SQLFILE_MEMORY { Database::Memory } else { Database::File(PathBuf::from(sqlfile)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hashes_that_bcrypt_can_verify_are_hashes() {
        let hash = bcrypt::hash("accountpassword", 4).unwrap();
        for version in ["$2a$", "$2b$", "$2y$"] {
            assert!(is_bcrypt_hash(&hash.replace("$2b$", version)));
        }
        for text in
            ["", "password", &hash[..59], &hash.replace("$2b$", "$2x$"), &hash.replace("$04$", "$03$")]
        {
            assert!(!is_bcrypt_hash(text), "{text}");
        }
    }

    #[test]
    fn a_path_prefix_is_plain_segments_that_meet_no_path_of_ours() {
        for good in ["", "/ws-gateway", "/a/b", "/wss", "/x/app"] {
            assert_eq!(check_path_prefix(good), Ok(()), "{good}");
        }
        for bad in ["/", "x", "/x/", "//x", "/a//b", "/{x}", "/a b", "/%41", "/..", "/é", "/ws", "/app/x"] {
            assert!(check_path_prefix(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn special_values_of_files_are_recognized() {
        assert_eq!(log_target("console".into()), LogTarget::Console);
        assert_eq!(log_target("./".into()), LogTarget::File("./".into()));
        assert_eq!(database(":memory:".into()), Database::Memory);
        assert_eq!(database("./a.sqlite".into()), Database::File("./a.sqlite".into()));
    }
}
