//! The environment variables of soketi and Reverb, and the paths that say the same in a file of soketi.

use serde_json::Value;

use super::Product;
use super::source::{Source, variables};

/// Variable, with or without `SOKETI_` before it, and path.
const SOKETI: &[(&str, &str)] = &[
    ("ADAPTER_DRIVER", "adapter.driver"),
    ("ADAPTER_NATS_SERVERS", "adapter.nats.servers"),
    ("ADAPTER_NATS_USER", "adapter.nats.user"),
    ("ADAPTER_NATS_PASSWORD", "adapter.nats.pass"),
    ("ADAPTER_NATS_PREFIX", "adapter.nats.prefix"),
    ("ADAPTER_REDIS_PREFIX", "adapter.redis.prefix"),
    ("APP_MANAGER_DRIVER", "appManager.driver"),
    ("CHANNEL_LIMITS_MAX_NAME_LENGTH", "channelLimits.maxNameLength"),
    ("CHANNEL_CACHE_TTL", "channelLimits.cacheTtl"),
    ("CORS_ALLOWED_ORIGINS", "cors.origin"),
    ("DEBUG", "debug"),
    ("DEFAULT_APP_ID", "appManager.array.apps.0.id"),
    ("DEFAULT_APP_KEY", "appManager.array.apps.0.key"),
    ("DEFAULT_APP_SECRET", "appManager.array.apps.0.secret"),
    ("DEFAULT_APP_MAX_CONNS", "appManager.array.apps.0.maxConnections"),
    ("DEFAULT_APP_ENABLE_CLIENT_MESSAGES", "appManager.array.apps.0.enableClientMessages"),
    ("DEFAULT_APP_ENABLED", "appManager.array.apps.0.enabled"),
    ("DEFAULT_APP_MAX_BACKEND_EVENTS_PER_SEC", "appManager.array.apps.0.maxBackendEventsPerSecond"),
    ("DEFAULT_APP_MAX_CLIENT_EVENTS_PER_SEC", "appManager.array.apps.0.maxClientEventsPerSecond"),
    ("DEFAULT_APP_MAX_READ_REQ_PER_SEC", "appManager.array.apps.0.maxReadRequestsPerSecond"),
    ("DEFAULT_APP_USER_AUTHENTICATION", "appManager.array.apps.0.enableUserAuthentication"),
    ("DEFAULT_APP_WEBHOOKS", "appManager.array.apps.0.webhooks"),
    ("DB_REDIS_HOST", "database.redis.host"),
    ("DB_REDIS_PORT", "database.redis.port"),
    ("DB_REDIS_USERNAME", "database.redis.username"),
    ("DB_REDIS_PASSWORD", "database.redis.password"),
    ("EVENT_MAX_BATCH_SIZE", "eventLimits.maxBatchSize"),
    ("EVENT_MAX_CHANNELS_AT_ONCE", "eventLimits.maxChannelsAtOnce"),
    ("EVENT_MAX_NAME_LENGTH", "eventLimits.maxNameLength"),
    ("EVENT_MAX_SIZE_IN_KB", "eventLimits.maxPayloadInKb"),
    ("HOST", "host"),
    ("PORT", "port"),
    ("PATH_PREFIX", "pathPrefix"),
    ("PRESENCE_MAX_MEMBER_SIZE", "presence.maxMemberSizeInKb"),
    ("PRESENCE_MAX_MEMBERS", "presence.maxMembersPerChannel"),
    ("SHUTDOWN_GRACE_PERIOD", "shutdownGracePeriod"),
    ("SSL_CERT", "ssl.certPath"),
    ("SSL_KEY", "ssl.keyPath"),
    ("USER_AUTHENTICATION_TIMEOUT", "userAuthenticationTimeout"),
    ("WEBHOOKS_BATCHING", "webhooks.batching.enabled"),
];

/// Variable and path. Those of Redis count when Reverb is scaled over it.
const REVERB: &[(&str, &str)] = &[
    ("REVERB_APP_ID", "appManager.array.apps.0.id"),
    ("REVERB_APP_KEY", "appManager.array.apps.0.key"),
    ("REVERB_APP_SECRET", "appManager.array.apps.0.secret"),
    ("REVERB_APP_MAX_CONNECTIONS", "appManager.array.apps.0.maxConnections"),
    ("REVERB_APP_ACTIVITY_TIMEOUT", "activityTimeout"),
    ("REVERB_APP_PING_INTERVAL", "reverb.pingInterval"),
    ("REVERB_APP_ACCEPT_CLIENT_EVENTS_FROM", "reverb.clientEvents"),
    ("REVERB_APP_MAX_MESSAGE_SIZE", "reverb.maxMessageBytes"),
    ("REVERB_MAX_REQUEST_SIZE", "reverb.maxRequestBytes"),
    ("REVERB_SERVER_HOST", "host"),
    ("REVERB_SERVER_PORT", "port"),
    ("REVERB_SERVER_PATH", "pathPrefix"),
];

const REVERB_SCALING: &str = "REVERB_SCALING_ENABLED";
const REVERB_REDIS: &[(&str, &str)] = &[
    ("REVERB_SCALING_CHANNEL", "adapter.redis.prefix"),
    ("REDIS_URL", "adapter.redis.redisPubOptions.url"),
    ("REDIS_HOST", "database.redis.host"),
    ("REDIS_PORT", "database.redis.port"),
    ("REDIS_USERNAME", "database.redis.username"),
    ("REDIS_PASSWORD", "database.redis.password"),
];

/// Reads a `.env` file of the product. What is none of its variables is handed back, as it concerns somebody else.
pub(super) fn read(product: Product, text: &str) -> (Source, Vec<String>) {
    let variables = variables(text);
    let is_scaled = variables.get(REVERB_SCALING).is_some_and(|value| matches!(value.as_str(), "true" | "1"));
    let (mut source, mut others) = (Source::default(), Vec::new());
    if is_scaled && product == Product::Reverb {
        source.put("adapter.driver", REVERB_SCALING, "redis".into());
    }
    for (name, value) in variables.into_iter().filter(|(_, value)| !value.is_empty()) {
        let (short, table, is_own) = match product {
            Product::Reverb => (name.as_str(), REVERB, name.starts_with("REVERB_")),
            _ => (name.strip_prefix("SOKETI_").unwrap_or(&name), SOKETI, name.starts_with("SOKETI_")),
        };
        let redis = if is_scaled { REVERB_REDIS } else { &[] };
        let path = table.iter().chain(redis).find(|(variable, _)| *variable == short).map(|(_, path)| *path);
        match path {
            Some(path) => source.put(path, &name, meant(&value)),
            None if name == REVERB_SCALING => {}
            None if is_own => source.put(&name, &name, value.into()),
            None => others.push(name),
        }
    }
    (source, others)
}

/// Lists and objects are written as JSON; of everything else the reader of the path knows what it is.
fn meant(value: &str) -> Value {
    let json = serde_json::from_str(value).ok().filter(|json: &Value| json.is_array() || json.is_object());
    json.unwrap_or_else(|| value.into())
}
