//! What another server's configuration says of the whole node, as members of our configuration file.

use serde_json::{Map, Value, json};

use super::plan::{number, taken, texts, truth};
use super::source::Source;
use super::{Product, defaults};
use crate::config::Origins;

/// Members of our configuration file.
pub(super) fn node_settings(
    product: Product,
    source: &mut Source,
    left: &mut Vec<String>,
) -> Map<String, Value> {
    let mut settings = Map::new();
    let host = source.text("host").unwrap_or_default();
    let port = source.text("port").unwrap_or_else(|| defaults::port(product).to_owned());
    // The wildcards of others are ours when no host is named.
    let host = if matches!(&*host, "0.0.0.0" | "::") { "" } else { &host };
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    settings.insert("listen".into(), format!("{host}:{port}").into());
    if let Some(debug) = taken(source, "debug", truth, left) {
        settings.insert("environment".into(), if debug { "DEBUG" } else { "PRODUCTION" }.into());
    }
    let mut pusher = Map::new();
    if let Some(prefix) = source.text("pathprefix").map(|prefix| prefix.trim_end_matches('/').to_owned())
        && !prefix.is_empty()
    {
        pusher.insert("path_prefix".into(), format!("/{}", prefix.trim_start_matches('/')).into());
    }
    let bytes =
        taken(source, "websocketmaxpayloadkb", number, left).map(|kibibytes| kibibytes.saturating_mul(1_024));
    let bytes = bytes.or_else(|| taken(source, "reverb.maxmessagebytes", number, left));
    if let Some(bytes) = bytes.or_else(|| defaults::message_bytes(product)) {
        pusher.insert("message_bytes_max".into(), bytes.into());
    }
    if !pusher.is_empty() {
        settings.insert("pusher".into(), pusher.into());
    }
    if let Some(grace) = taken(source, "shutdowngraceperiod", number, left) {
        let seconds = if product == Product::Soketi { grace.saturating_add(999) / 1_000 } else { grace };
        settings.insert("drain".into(), json!({ "seconds": seconds }));
    }
    if let Some(bus) = bus(source, left) {
        settings.insert("bus".into(), bus);
    }
    settings.extend(tls(source, left).map(|tls| ("tls".to_owned(), tls)));
    settings.extend(cors(product, source, left).map(|cors| ("cors".to_owned(), cors)));
    settings
}

/// The files of a certificate and its key.
fn tls(source: &mut Source, left: &mut Vec<String>) -> Option<Value> {
    let is_on = taken(source, "ssl.enabled", truth, left).unwrap_or(true);
    match (source.text("ssl.certpath"), source.text("ssl.keypath")) {
        (None, None) => None,
        _ if !is_on => {
            left.push(format!("{}: TLS is off there", source.name("ssl.enabled")));
            None
        }
        (Some(certificate), Some(key)) => Some(json!({ "cert_file": certificate, "key_file": key })),
        (certificate, _) => {
            let name = source.name(if certificate.is_some() { "ssl.certpath" } else { "ssl.keypath" });
            left.push(format!(
                "{name}: tls.cert_file and tls.key_file go together, and one of them is missing"
            ));
            None
        }
    }
}

/// Whose pages may make calls. That all may is not taken over unless it is said, as here it holds for the private listener
/// as well.
fn cors(product: Product, source: &mut Source, left: &mut Vec<String>) -> Option<Value> {
    const ORIGINS: &str = "cors.origin";
    let Some(told) = source.take(ORIGINS) else {
        if defaults::is_open_to_pages(product) {
            left.push("cors.origin: unless it is said, pages of all origins may make calls there and none here; set cors.origins to * if some do".to_owned());
        }
        return None;
    };
    let name = source.name(ORIGINS);
    let origins = texts(&told).map(|origins| {
        let is_all = origins.split(',').any(|origin| origin.trim() == "*");
        if is_all { "*".to_owned() } else { origins }
    });
    match origins.filter(|origins| origins.parse::<Origins>().is_ok()) {
        Some(origins) => Some(json!({ "origins": origins })),
        None => {
            left.push(format!("{name}: cors.origins takes * or origins such as https://admin.example.com"));
            None
        }
    }
}

/// What carries messages between nodes. What is said of other ways than the chosen one is left, and named as such.
fn bus(source: &mut Source, left: &mut Vec<String>) -> Option<Value> {
    let driver = source.text("adapter.driver")?;
    match driver.as_str() {
        "local" => None,
        "redis" => {
            let (host, port) = (source.text("database.redis.host"), source.text("database.redis.port"));
            let own = format!(
                "redis://{}:{}",
                host.as_deref().unwrap_or("127.0.0.1"),
                port.as_deref().unwrap_or("6379")
            );
            let url = source.text("adapter.redis.redispuboptions.url").unwrap_or(own);
            let mut bus = json!({ "kind": "redis", "url": url });
            credentials(
                &mut bus,
                source.text("database.redis.username"),
                source.text("database.redis.password"),
            );
            prefix(&mut bus, "adapter.redis.prefix", source, left);
            Some(bus)
        }
        "nats" => {
            let servers = taken(source, "adapter.nats.servers", texts, left);
            let servers = servers.unwrap_or_else(|| "127.0.0.1:4222".to_owned());
            let scheme = |server: &str| {
                if server.contains("://") { server.to_owned() } else { format!("nats://{server}") }
            };
            let url = servers.split(',').map(str::trim).map(scheme).collect::<Vec<_>>().join(",");
            let mut bus = json!({ "kind": "nats", "url": url });
            let password = source.text("adapter.nats.pass").or_else(|| source.text("adapter.nats.password"));
            credentials(&mut bus, source.text("adapter.nats.user"), password);
            prefix(&mut bus, "adapter.nats.prefix", source, left);
            Some(bus)
        }
        "cluster" => {
            left.push("adapter.driver cluster: one node uses all cores; for several set bus.kind".to_owned());
            None
        }
        other => {
            left.push(format!(
                "adapter.driver {other}: there are nats and redis here; set bus.kind and bus.url"
            ));
            None
        }
    }
}

fn credentials(bus: &mut Value, user: Option<String>, password: Option<String>) {
    for (name, value) in [("user", user), ("password", password)] {
        if let Some(value) = value {
            bus[name] = value.into();
        }
    }
}

/// What keeps clusters apart; theirs may have other letters than ours.
fn prefix(bus: &mut Value, path: &str, source: &mut Source, left: &mut Vec<String>) {
    let Some(prefix) = source.text(path) else { return };
    let is_of_word = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    if prefix.chars().all(is_of_word) {
        bus["prefix"] = prefix.into();
    } else {
        left.push(format!("{}: bus.prefix is letters, digits, - and _ here", source.name(path)));
    }
}
