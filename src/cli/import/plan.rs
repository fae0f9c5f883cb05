//! What another server's configuration comes to here: settings of the node, apps, and what has no equivalent.

use serde_json::{Map, Value};

use super::Product;
use super::node::node_settings;
use super::source::{APPS, Source};
use super::{defaults, webhooks};
use crate::model::{App, AppKey, AppSecret, AppSettings};

/// All of it. No `Debug`: it holds secrets.
pub(super) struct Plan {
    /// Members of our configuration file.
    pub(super) settings: Map<String, Value>,
    pub(super) apps: Vec<PlannedApp>,
    /// Whether its apps are kept elsewhere, so that none were to be found.
    pub(super) is_of_elsewhere: bool,
    /// What is not taken over, or not as it was: a line each, without values.
    pub(super) left: Vec<String>,
}

/// An app to be added.
pub(super) struct PlannedApp {
    pub(super) key: String,
    /// None when the server has to make one up.
    pub(super) id: Option<String>,
    /// As the id.
    pub(super) secret: Option<String>,
    pub(super) settings: Map<String, Value>,
}

/// How a value is read.
#[derive(Clone, Copy)]
enum Kind {
    Truth,
    Count,
    /// Of 1024 bytes.
    Kibibytes,
    List,
}

/// Member of an app there, setting of an app here.
const APP_SETTINGS: &[(&str, &str, Kind)] = &[
    ("enabled", "enabled", Kind::Truth),
    ("maxconnections", "max_connections", Kind::Count),
    ("enableclientmessages", "client_events", Kind::Truth),
    ("enableuserauthentication", "authorized_connections", Kind::Truth),
    ("enablewatchlistevents", "watchlists", Kind::Truth),
    ("maxclienteventspersecond", "max_client_events_per_second", Kind::Count),
    ("maxpresencemembersperchannel", "max_presence_members", Kind::Count),
    ("maxpresencemembersizeinkb", "max_user_info_bytes", Kind::Kibibytes),
    ("maxchannelnamelength", "max_channel_name_length", Kind::Count),
    ("maxeventchannelsatonce", "max_channels_per_event", Kind::Count),
    ("maxeventnamelength", "max_event_name_length", Kind::Count),
    ("maxeventpayloadinkb", "max_event_bytes", Kind::Kibibytes),
    ("maxeventbatchsize", "max_batch_events", Kind::Count),
    ("allowedorigins", "allowed_origins", Kind::List),
];

/// What is a matter of the whole server there and of each app here.
const COMMON_SETTINGS: &[(&str, &str, Kind)] = &[
    ("channellimits.maxnamelength", "max_channel_name_length", Kind::Count),
    ("channellimits.cachettl", "cache_ttl", Kind::Count),
    ("eventlimits.maxchannelsatonce", "max_channels_per_event", Kind::Count),
    ("eventlimits.maxnamelength", "max_event_name_length", Kind::Count),
    ("eventlimits.maxpayloadinkb", "max_event_bytes", Kind::Kibibytes),
    ("eventlimits.maxbatchsize", "max_batch_events", Kind::Count),
    ("presence.maxmembersperchannel", "max_presence_members", Kind::Count),
    ("presence.maxmembersizeinkb", "max_user_info_bytes", Kind::Kibibytes),
    ("activitytimeout", "activity_timeout", Kind::Count),
];

/// Plans it; takes what it understands out of `source` and names the rest.
pub(super) fn plan(product: Product, mut source: Source) -> Plan {
    let mut left = Vec::new();
    let settings = node_settings(product, &mut source, &mut left);
    let common = common_settings(product, &mut source, &mut left);
    let is_batched = taken(&mut source, "webhooks.batching.enabled", truth, &mut left).unwrap_or(false);
    let apps = (source.apps().into_iter())
        .filter_map(|at| planned_app(&format!("{APPS}.{at}"), &common, is_batched, &mut source, &mut left))
        .collect();
    let elsewhere =
        source.text("appmanager.driver").filter(|driver| !matches!(&**driver, "array" | "memory"));
    let is_of_elsewhere = elsewhere.is_some();
    if let Some(driver) = elsewhere {
        left.push(format!("apps are kept in {driver}, not in this file: add them with gusher app add"));
    }
    left.extend(source.left().into_iter().map(|path| format!("{path}: nothing here is like it")));
    Plan { settings, apps, is_of_elsewhere, left }
}

fn common_settings(product: Product, source: &mut Source, left: &mut Vec<String>) -> Map<String, Value> {
    let mut common = defaults::of_apps(product);
    if let Some(seconds) = source.take("reverb.pinginterval") {
        let name = source.name("reverb.pinginterval");
        if source.says("activitytimeout") {
            left.push(format!("{name}: activity_timeout is both here, and is taken from the other"));
        } else {
            set(&mut common, "activity_timeout", read(Kind::Count, seconds), &name, left);
        }
    }
    for (path, setting, kind) in COMMON_SETTINGS {
        if let Some(value) = source.take(path) {
            set(&mut common, setting, read(*kind, value), &source.name(path), left);
        }
    }
    // It bounds calls alone there, which hold one event each.
    const REQUEST: &str = "reverb.maxrequestbytes";
    if let Some(value) = source.take(REQUEST) {
        let (bytes, name) = (number(&value), source.name(REQUEST));
        set(&mut common, "max_body_bytes", bytes.map(Value::from), &name, left);
        if let Some(bytes) = bytes {
            set(&mut common, "max_event_bytes", Some(bytes.into()), &name, left);
        }
    }
    if let Some(time) = taken(source, "userauthenticationtimeout", number, left) {
        let seconds = if product == Product::Soketi { time.saturating_add(999) / 1_000 } else { time };
        let name = source.name("userauthenticationtimeout");
        set(&mut common, "authorization_timeout", Some(seconds.into()), &name, left);
    }
    match source.text("reverb.clientevents").as_deref() {
        None | Some("members") => {}
        Some("none") => set(&mut common, "client_events", Some(false.into()), "", left),
        Some(_) => left.push(
            "REVERB_APP_ACCEPT_CLIENT_EVENTS_FROM: here events are accepted from subscribers of the channel alone".to_owned(),
        ),
    }
    common
}

fn planned_app(
    path: &str,
    common: &Map<String, Value>,
    is_batched: bool,
    source: &mut Source,
    left: &mut Vec<String>,
) -> Option<PlannedApp> {
    let (id, key, secret) = ["id", "key", "secret"].map(|name| source.text(&format!("{path}.{name}"))).into();
    let Some(key) = key.filter(|key| AppKey::parse(key).is_ok()) else {
        left.push(format!("{path}: an app without a key that apps may have here"));
        return None;
    };
    let id = id.filter(|id| {
        let is_fit = App::is_acceptable_id(id);
        if !is_fit {
            left.push(format!(
                "app {key}: its id is not 1 to 64 letters, digits, - and _, so it gets another; see gusher app list --secrets"
            ));
        }
        is_fit
    });
    let secret = secret.filter(|secret| {
        let is_fit = AppSecret(secret.clone()).is_acceptable();
        if !is_fit {
            left.push(format!(
                "app {key}: its secret is not 8 to 128 printable characters, so it gets another"
            ));
        }
        is_fit
    });
    let mut settings = common.clone();
    for (name, setting, kind) in APP_SETTINGS {
        let place = format!("{path}.{name}");
        if let Some(value) = source.take(&place) {
            match (*setting, number(&value)) {
                ("max_connections", Some(..0)) => {}
                ("max_client_events_per_second", Some(..0)) => {
                    settings.insert((*setting).to_owned(), defaults::CLIENT_EVENTS_MAX.into());
                }
                _ => set(
                    &mut settings,
                    setting,
                    read(*kind, value),
                    &format!("app {key}: {}", source.short_name(&place)),
                    left,
                ),
            }
        }
    }
    rates(path, &key, &mut settings, source, left);
    if let Some(told) = source.take(&format!("{path}.webhooks")) {
        let webhooks = webhooks::taken_over(&told, is_batched, &key, left);
        set(&mut settings, "webhooks", Some(webhooks), &format!("app {key}: webhooks"), left);
    }
    Some(PlannedApp { key, id, secret, settings })
}

/// What backends may do in a second; less than nothing is no limit. Those there count what they publish and what they ask
/// apart; a call here is either, so that both together are what calls may be.
fn rates(
    path: &str,
    key: &str,
    settings: &mut Map<String, Value>,
    source: &mut Source,
    left: &mut Vec<String>,
) {
    let mut limit = |name: &str| {
        let limit = taken(source, &format!("{path}.{name}"), number, left);
        limit.filter(|limit| *limit >= 0)
    };
    let [published, asked] = ["maxbackendeventspersecond", "maxreadrequestspersecond"].map(&mut limit);
    let origin = |name: &str| format!("app {key}: {}", source.short_name(&format!("{path}.{name}")));
    if let Some(published) = published {
        let origin = origin("maxbackendeventspersecond");
        set(settings, "max_publications_per_second", Some(published.into()), &origin, left);
    }
    let origin = origin("maxreadrequestspersecond");
    match (published, asked) {
        (Some(published), Some(asked)) => {
            let calls = published.saturating_add(asked);
            set(settings, "max_calls_per_second", Some(calls.into()), &origin, left);
        }
        (None, Some(_)) => {
            left.push(format!("{origin}: max_calls_per_second here would bound what is published, too"));
        }
        (_, None) => {}
    }
}

/// Takes the value at a path, which must be of the type that `meaning` reads.
pub(super) fn taken<T>(
    source: &mut Source,
    path: &str,
    meaning: impl Fn(&Value) -> Option<T>,
    left: &mut Vec<String>,
) -> Option<T> {
    let value = source.take(path)?;
    let meant = meaning(&value);
    if meant.is_none() {
        left.push(format!("{}: its value is of another type than expected", source.name(path)));
    }
    meant
}

/// Sets it if it may be, and otherwise says why not.
fn set(
    settings: &mut Map<String, Value>,
    name: &str,
    value: Option<Value>,
    origin: &str,
    left: &mut Vec<String>,
) {
    let Some(value) = value else {
        left.push(format!("{origin}: its value is of another type than expected"));
        return;
    };
    let mut tried = AppSettings::default();
    let fault = match tried.set(name, value.clone()) {
        Ok(()) => tried.check().err(),
        Err(_) => Some(format!("{name} has other values")),
    };
    match fault {
        None => drop(settings.insert(name.to_owned(), value)),
        Some(fault) => left.push(format!("{origin}: {fault}")),
    }
}

fn read(kind: Kind, value: Value) -> Option<Value> {
    match kind {
        Kind::Truth => truth(&value).map(Value::from),
        Kind::Count => number(&value).map(Value::from),
        Kind::Kibibytes => kibibytes(&value).map(Value::from),
        Kind::List => value.is_array().then_some(value),
    }
}

/// Numbers may be written as texts.
pub(super) fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// A text, or several with commas between them.
pub(super) fn texts(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let texts: Option<Vec<_>> = items.iter().map(Value::as_str).collect();
            texts.map(|texts| texts.join(","))
        }
        _ => None,
    }
}

/// Bytes of so many kibibytes, which may be a fraction.
fn kibibytes(value: &Value) -> Option<u64> {
    let kibibytes: f64 = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    (0.0..=1e9).contains(&kibibytes).then_some((kibibytes * 1_024.0) as u64)
}

pub(super) fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::Number(number) => Some(number.as_i64() != Some(0)),
        Value::String(text) => match text.as_str() {
            "1" | "true" => Some(true),
            "0" | "false" => Some(false),
            _ => None,
        },
        _ => None,
    }
}
