//! The settings as they are typed: the shape of the JSON and every default.
//!
//! The one source of names: the known keys, the environment variables and the types that a value must have are all read
//! off `Typed::default()`. The first eight flat keys are those of the Go version (section 1.2). What the settings mean is in the module above, and documented for operators
//! in `gusher.default.jsonc`.

use serde::{Deserialize, Serialize};

/// All settings, unchecked. Holds secrets in clear, so it has no `Debug`.
#[derive(Serialize, Deserialize)]
pub(super) struct Typed {
    pub auth_account: String,
    pub auth_password: String,
    pub environment: String,
    pub logfile: String,
    pub listen: String,
    pub api_listen: String,
    pub sqlfile: String,
    pub max_wait_hook: i64,
    /// With commas between them, as the environment has no lists.
    pub trusted_proxies: String,
    pub proxy_protocol: String,
    /// Likewise.
    pub api_allow: String,
    pub allow_private_webhooks: bool,
    pub log: TypedLog,
    pub tls: TypedTls,
    pub limits: TypedLimits,
    pub node: TypedNode,
    pub drain: TypedDrain,
    pub pusher: TypedPusher,
    pub cluster: TypedCluster,
    pub bus: TypedBus,
    pub store: TypedStore,
    pub webhooks: TypedWebhooks,
    pub metrics: TypedMetrics,
    pub console: TypedConsole,
    pub addresses: TypedAddresses,
    pub cors: TypedCors,
}

#[derive(Serialize, Deserialize)]
pub(super) struct TypedTls {
    pub cert_file: String,
    pub key_file: String,
    pub private: bool,
    pub acme: TypedAcme,
}

#[derive(Serialize, Deserialize)]
pub(super) struct TypedAcme {
    /// With commas between them, as the environment has no lists.
    pub domains: String,
    pub accept_terms: bool,
    pub email: String,
    pub directory: String,
    pub ca_file: String,
    pub cache: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct TypedLog {
    pub output: String,
    pub file: String,
    pub format: String,
    pub max_size_mb: i64,
    pub max_backups: i64,
    pub max_age_days: i64,
    pub compress: bool,
}

#[derive(Serialize, Deserialize, Default)]
pub(super) struct TypedCors {
    /// With commas between them, as the environment has no lists.
    pub origins: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct TypedPusher {
    pub message_bytes_max: i64,
    pub channels_max: i64,
    pub cache_bytes_max: i64,
    pub strict_protocol: bool,
    pub path_prefix: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct TypedCluster {
    pub public_pem_file: String,
    /// With commas between them, as the environment has no lists.
    pub algorithms: String,
    pub message_bytes_max: i64,
    pub must_subscribe: bool,
    pub close_at_expiry: bool,
    pub apps_max: i64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct TypedBus {
    pub kind: String,
    pub url: String,
    pub creds_file: String,
    pub user: String,
    pub password: String,
    pub ca_file: String,
    pub prefix: String,
    pub when_down: String,
    pub isolated_close_seconds: i64,
    pub join_seconds_max: i64,
    pub buffer_bytes_max: i64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct TypedStore {
    pub url: String,
    pub ca_file: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct TypedWebhooks {
    pub waiting_max: i64,
    pub log_max: i64,
    pub log_bytes_max: i64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct TypedMetrics {
    pub public: bool,
    pub token: String,
    pub apps_max: i64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct TypedConsole {
    pub enabled: bool,
    pub idle_minutes_max: i64,
    pub session_hours_max: i64,
    pub sessions_max: i64,
    pub watchers_max: i64,
    pub items_per_second_max: i64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct TypedAddresses {
    pub connects_per_second: i64,
    pub connects_burst: i64,
    pub calls_per_second: i64,
    pub calls_burst: i64,
    pub connections_max: i64,
    pub sockets_max: i64,
    pub failed_sign_ins_max: i64,
    pub failed_sign_ins_seconds: i64,
}

/// Every integer is an `i64`, so that a value out of range is a finding in our words and not a failure to parse.
#[derive(Serialize, Deserialize)]
pub(super) struct TypedLimits {
    pub message_bytes_max: i64,
    pub body_bytes_max: i64,
    pub body_seconds_max: i64,
    pub head_bytes_max: i64,
    pub headers_max: i64,
    pub head_seconds_max: i64,
    pub idle_seconds_max: i64,
    pub pending_connections_max: i64,
    pub http2_streams_max: i64,
    pub sockets_max: i64,
    pub memory_bytes_max: i64,
    pub outbox_messages_max: i64,
    pub outbox_bytes_max: i64,
    pub write_stall_seconds_max: i64,
    pub mailbox_bytes_max: i64,
    pub pattern_bytes_max: i64,
    pub pattern_compiled_bytes_max: i64,
    pub pattern_seconds_max: i64,
    pub ping_seconds: i64,
    pub pong_seconds_max: i64,
    pub hook_seconds_max: i64,
    pub hook_wait_seconds_max: i64,
    pub hook_answer_bytes_max: i64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct TypedNode {
    pub shards: i64,
    pub bcrypt_cost: i64,
    pub credential_seconds: i64,
    pub send_buffer_bytes: i64,
    pub send: String,
    pub reuse_port: bool,
    pub use_proxy: bool,
}

#[derive(Serialize, Deserialize)]
pub(super) struct TypedDrain {
    pub seconds: i64,
    pub delay_seconds: i64,
}

impl Default for Typed {
    /// There is no default password: without one the configuration is refused (D13).
    fn default() -> Self {
        // Long because it is a table: a line for each setting.
        Self {
            auth_account: "account".into(),
            auth_password: String::new(),
            environment: "DEBUG".into(),
            logfile: "console".into(),
            listen: ":8001".into(),
            api_listen: ":8002".into(),
            sqlfile: "./appdata.sqlite".into(),
            max_wait_hook: 10,
            trusted_proxies: String::new(),
            proxy_protocol: "off".into(),
            api_allow: String::new(),
            allow_private_webhooks: false,
            log: TypedLog {
                output: "logfile".into(),
                file: "./gusher.log".into(),
                format: "auto".into(),
                max_size_mb: 100,
                max_backups: 7,
                max_age_days: 30,
                compress: false,
            },
            tls: TypedTls {
                cert_file: String::new(),
                key_file: String::new(),
                private: false,
                acme: TypedAcme {
                    domains: String::new(),
                    accept_terms: false,
                    email: String::new(),
                    directory: "https://acme-v02.api.letsencrypt.org/directory".into(),
                    ca_file: String::new(),
                    cache: "./acme".into(),
                },
            },
            limits: TypedLimits::default(),
            node: TypedNode {
                shards: 0,
                bcrypt_cost: 10,
                credential_seconds: 60,
                send_buffer_bytes: 65_536,
                send: "auto".into(),
                reuse_port: false,
                use_proxy: false,
            },
            drain: TypedDrain { seconds: 10, delay_seconds: 0 },
            pusher: TypedPusher {
                message_bytes_max: 65_536,
                channels_max: 1_000,
                cache_bytes_max: 16_777_216,
                strict_protocol: false,
                path_prefix: String::new(),
            },
            cluster: TypedCluster {
                public_pem_file: String::new(),
                algorithms: "RS256".into(),
                message_bytes_max: 10_240,
                must_subscribe: false,
                close_at_expiry: false,
                apps_max: 10_000,
            },
            bus: TypedBus {
                kind: "none".into(),
                url: String::new(),
                creds_file: String::new(),
                user: String::new(),
                password: String::new(),
                ca_file: String::new(),
                prefix: "gusher".into(),
                when_down: "refuse".into(),
                isolated_close_seconds: 10,
                join_seconds_max: 5,
                buffer_bytes_max: 8_388_608,
            },
            store: TypedStore { url: String::new(), ca_file: String::new() },
            webhooks: TypedWebhooks { waiting_max: 100_000, log_max: 100, log_bytes_max: 16_777_216 },
            cors: TypedCors::default(),
            metrics: TypedMetrics { public: false, token: String::new(), apps_max: 100 },
            addresses: TypedAddresses::default(),
            console: TypedConsole::default(),
        }
    }
}

impl Default for TypedConsole {
    fn default() -> Self {
        Self {
            enabled: true,
            idle_minutes_max: 30,
            session_hours_max: 12,
            sessions_max: 20,
            watchers_max: 8,
            items_per_second_max: 200,
        }
    }
}

impl Default for TypedAddresses {
    fn default() -> Self {
        Self {
            connects_per_second: 0,
            connects_burst: 100,
            calls_per_second: 0,
            calls_burst: 1_000,
            connections_max: 512,
            sockets_max: 0,
            failed_sign_ins_max: 10,
            failed_sign_ins_seconds: 60,
        }
    }
}

impl Default for TypedLimits {
    fn default() -> Self {
        Self {
            message_bytes_max: 512,
            body_bytes_max: 1_048_576,
            body_seconds_max: 30,
            head_bytes_max: 16_384,
            headers_max: 64,
            head_seconds_max: 5,
            idle_seconds_max: 75,
            pending_connections_max: 1_024,
            http2_streams_max: 100,
            sockets_max: 0,
            memory_bytes_max: 0,
            outbox_messages_max: 4_096,
            outbox_bytes_max: 1_048_576,
            write_stall_seconds_max: 10,
            mailbox_bytes_max: 33_554_432,
            pattern_bytes_max: 4_096,
            pattern_compiled_bytes_max: 1_048_576,
            pattern_seconds_max: 2,
            ping_seconds: 54,
            pong_seconds_max: 60,
            hook_seconds_max: 5,
            hook_wait_seconds_max: 5,
            hook_answer_bytes_max: 4_096,
        }
    }
}

impl Typed {
    /// The settings of a trial run: loopback only, nothing kept, and still without a password hash.
    pub fn dev() -> Self {
        Self {
            environment: "DEVELOPMENT".into(),
            listen: "127.0.0.1:8001".into(),
            api_listen: "127.0.0.1:8002".into(),
            sqlfile: super::SQLFILE_MEMORY.into(),
            // The backend that is tried out is on the same machine.
            allow_private_webhooks: true,
            ..Self::default()
        }
    }
    /// What a role of Gusher Cluster has otherwise than `gusher start`, before the environment says more (spec 2.1):
    /// nothing is kept, and the log is JSON on standard output.
    pub fn role() -> Self {
        let defaults = Self::default();
        Self {
            environment: "DEVELOPMENT".into(),
            sqlfile: super::SQLFILE_MEMORY.into(),
            log: TypedLog { output: "stdout".into(), format: "json".into(), ..defaults.log },
            bus: TypedBus { kind: "nats".into(), ..defaults.bus },
            ..defaults
        }
    }
}
