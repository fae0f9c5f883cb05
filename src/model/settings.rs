//! The settings of an app: what can be changed while it is in use. They are stored and told under the names of their
//! fields.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{AppKey, AppRate, AppSecret, Webhook};

/// The most of anything in a second.
const RATE_MAX: u32 = 1_000_000;

/// As many frames as a client sends at most that is no flood: so many subscribe to all that they may and leave again.
const FRAMES_PER_SECOND: u32 = 5_000;

/// The most webhooks of an app.
const WEBHOOKS_MAX: usize = 20;

/// The most origins that an app names.
const ORIGINS_MAX: usize = 100;

/// A host name has at most 253 characters; a scheme and a port come to that.
const ORIGIN_BYTES_MAX: usize = 300;

/// The most further key pairs of an app.
const KEYS_MAX: usize = 10;

/// What an app allows, and its limits (pusher-channels 16.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AppSettings {
    /// Whether it is in use at all: sockets are closed with 4003 and signed calls refused with 403 while it is not.
    pub enabled: bool,
    /// Clients may send events to each other.
    pub client_events: bool,
    /// Subscribers are told how many they are.
    pub subscription_count: bool,
    /// Users are told which of those they watch come and go.
    pub watchlists: bool,
    /// Sockets that neither sign in nor subscribe to a private channel are closed after `authorization_timeout`.
    pub authorized_connections: bool,
    /// In seconds.
    pub authorization_timeout: u32,
    /// Where pages may come from: `example.com`, `*.example.com`, `https://example.com:8080`. Empty, or with a `*`
    /// among them: anywhere.
    pub allowed_origins: Vec<String>,
    /// A client must name its origin, which only browsers do.
    pub require_origin: bool,
    /// Sockets must come over TLS.
    pub tls_only: bool,
    /// Clients that offer it are sent, and may send, deflated messages (RFC 7692).
    pub compression: bool,
    /// Sockets at once; no bound but the node's when absent.
    pub max_connections: Option<u32>,
    /// How long a client may be silent before it is asked whether it lives, in seconds.
    pub activity_timeout: u32,
    /// How long it may stay silent after that, in seconds.
    pub pong_timeout: u32,
    /// The longest name of a channel, in characters.
    pub max_channel_name_length: u32,
    /// Channels of one event.
    pub max_channels_per_event: u32,
    /// Events of one batch.
    pub max_batch_events: u32,
    /// The longest name of an event, in characters.
    pub max_event_name_length: u32,
    /// The longest data of an event, in bytes.
    pub max_event_bytes: u32,
    /// The longest body of a signed call, in bytes.
    pub max_body_bytes: u32,
    /// How far the clock of a backend may be off, in seconds.
    pub max_timestamp_skew: u32,
    /// The longest id of a member of a presence channel, in characters.
    pub max_member_id_length: u32,
    /// The longest id of a user that signs in, in characters.
    pub max_user_id_length: u32,
    /// Members of one presence channel.
    pub max_presence_members: u32,
    /// The longest `user_info` of a member, in bytes of JSON.
    pub max_user_info_bytes: u32,
    /// Users that one user may watch.
    pub max_watchlist_ids: u32,
    /// Events that one socket may send in a second.
    pub max_client_events_per_second: u32,
    /// Frames that one socket may send in a second, client events included.
    #[serde(deserialize_with = "frames_per_second")]
    pub max_frames_per_second: u32,
    /// How often in a second one socket may come back into one presence channel that it has left.
    pub max_presence_rejoins_per_second: u32,
    /// Sockets that may ask one node in a second to be let in; no bound when absent.
    pub max_connects_per_second: Option<u32>,
    /// Calls that its backends may make to one node in a second; no bound when absent.
    pub max_calls_per_second: Option<u32>,
    /// What its backends may publish on one node in a second, once for each channel; no bound when absent.
    pub max_publications_per_second: Option<u32>,
    /// How long a cache channel keeps its event, in seconds.
    pub cache_ttl: u32,
    /// How long webhooks wait with telling that a channel or a member is gone, in seconds.
    pub webhook_grace: u32,
    /// How long a webhook that fails is tried again, in seconds.
    pub webhook_retry_span: u32,
    /// Key pairs that are good besides the app's own, while one replaces the other.
    pub additional_keys: Vec<KeyPair>,
    /// Who is told what happens in channels.
    pub webhooks: Vec<Webhook>,
}

/// A key and the secret that goes with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyPair {
    /// Who signs.
    pub key: String,
    /// With what.
    pub secret: AppSecret,
}

/// Why a setting cannot be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingFault {
    /// Nothing is set under this name.
    Unknown,
    /// Its values look otherwise: the end of a sentence that begins with the name. It may repeat a part of the value.
    Value(String),
}

impl Default for AppSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            client_events: true,
            subscription_count: false,
            watchlists: false,
            authorized_connections: false,
            authorization_timeout: 30,
            allowed_origins: Vec::new(),
            require_origin: false,
            tls_only: false,
            compression: false,
            max_connections: None,
            activity_timeout: 120,
            pong_timeout: 30,
            max_channel_name_length: 200,
            max_channels_per_event: 100,
            max_batch_events: 10,
            max_event_name_length: 200,
            max_event_bytes: 10_240,
            max_body_bytes: 1_048_576,
            max_timestamp_skew: 600,
            max_member_id_length: 128,
            max_user_id_length: 200,
            max_presence_members: 100,
            max_user_info_bytes: 1_024,
            max_watchlist_ids: 100,
            max_client_events_per_second: 10,
            max_frames_per_second: FRAMES_PER_SECOND,
            max_presence_rejoins_per_second: 3,
            max_connects_per_second: None,
            max_calls_per_second: None,
            max_publications_per_second: None,
            cache_ttl: 1_800,
            webhook_grace: 3,
            webhook_retry_span: 300,
            additional_keys: Vec::new(),
            webhooks: Vec::new(),
        }
    }
}

/// Before there was a default, `null` was stored where nothing was set.
fn frames_per_second<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(FRAMES_PER_SECOND))
}

impl AppSettings {
    /// All of them by name, in the order of the fields.
    pub fn members(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(members)) => members,
            _ => unreachable!("a struct of numbers, texts and lists is a JSON object"),
        }
    }

    /// Sets one by its name; `null` makes it its default again. Whether the value is in its range is left to
    /// [`AppSettings::check`].
    ///
    /// # Errors
    /// There is no such setting, or its values are of another type; then nothing was set.
    pub fn set(&mut self, name: &str, value: Value) -> Result<(), SettingFault> {
        let default = Self::default().members().remove(name).ok_or(SettingFault::Unknown)?;
        let value = if value.is_null() { default.clone() } else { value };
        let is_list = value.is_array();
        let mut members = self.members();
        members.insert(name.to_owned(), value);
        *self = serde_json::from_value(Value::Object(members)).map_err(|error| {
            SettingFault::Value(match default {
                Value::Bool(_) => "is not true or false".to_owned(),
                Value::Array(_) if is_list => format!("has a fault: {error}"),
                Value::Array(_) => "is not a list".to_owned(),
                _ => format!("is not a whole number from 0 to {}", u32::MAX),
            })
        })?;
        Ok(())
    }

    /// Checks that every limit is in its range, and every key pair and webhook can be used.
    ///
    /// # Errors
    /// What is wrong, as one sentence that begins with the name of the setting.
    pub fn check(&self) -> Result<(), String> {
        let ranges = [
            ("authorization_timeout", self.authorization_timeout, 1..=3_600),
            ("activity_timeout", self.activity_timeout, 1..=3_600),
            ("pong_timeout", self.pong_timeout, 1..=3_600),
            ("max_channel_name_length", self.max_channel_name_length, 1..=1_000),
            ("max_channels_per_event", self.max_channels_per_event, 1..=10_000),
            ("max_batch_events", self.max_batch_events, 1..=10_000),
            ("max_event_name_length", self.max_event_name_length, 1..=1_000),
            ("max_event_bytes", self.max_event_bytes, 1..=1_048_576),
            ("max_body_bytes", self.max_body_bytes, 1_024..=67_108_864),
            ("max_timestamp_skew", self.max_timestamp_skew, 1..=86_400),
            ("max_member_id_length", self.max_member_id_length, 1..=1_000),
            ("max_user_id_length", self.max_user_id_length, 1..=1_000),
            ("max_presence_members", self.max_presence_members, 1..=1_000_000),
            ("max_user_info_bytes", self.max_user_info_bytes, 2..=1_048_576),
            ("max_watchlist_ids", self.max_watchlist_ids, 0..=100_000),
            ("max_client_events_per_second", self.max_client_events_per_second, 1..=RATE_MAX),
            ("cache_ttl", self.cache_ttl, 1..=604_800),
            ("webhook_grace", self.webhook_grace, 0..=60),
            ("webhook_retry_span", self.webhook_retry_span, 0..=300),
        ];
        for (name, value, range) in ranges {
            if !range.contains(&value) {
                return Err(format!("{name} is not between {} and {}", range.start(), range.end()));
            }
        }
        self.check_rates()?;
        self.check_origins()?;
        self.check_keys()?;
        self.webhooks.iter().try_for_each(Webhook::check)?;
        match self.webhooks.len() {
            0..=WEBHOOKS_MAX => Ok(()),
            _ => Err(format!("webhooks has more than {WEBHOOKS_MAX} entries")),
        }
    }

    /// How much of something there may be in a second.
    pub fn rate(&self, rate: AppRate) -> Option<u32> {
        match rate {
            AppRate::Calls => self.max_calls_per_second,
            AppRate::Publications => self.max_publications_per_second,
            AppRate::Connects => self.max_connects_per_second,
            AppRate::Frames => Some(self.max_frames_per_second),
            AppRate::Rejoins => Some(self.max_presence_rejoins_per_second),
        }
    }

    fn check_rates(&self) -> Result<(), String> {
        let is_odd = |rate: &AppRate| self.rate(*rate).is_some_and(|count| !(1..=RATE_MAX).contains(&count));
        match AppRate::ALL.into_iter().find(is_odd) {
            Some(rate) => Err(format!("{} is not between 1 and {RATE_MAX}", rate.setting())),
            None => Ok(()),
        }
    }

    fn check_origins(&self) -> Result<(), String> {
        if self.allowed_origins.len() > ORIGINS_MAX {
            return Err(format!("allowed_origins has more than {ORIGINS_MAX} entries"));
        }
        let is_bounded = |origin: &String| (1..=ORIGIN_BYTES_MAX).contains(&origin.len());
        if self.allowed_origins.iter().all(is_bounded) {
            Ok(())
        } else {
            Err(format!("allowed_origins has an entry that is empty or longer than {ORIGIN_BYTES_MAX} bytes"))
        }
    }

    fn check_keys(&self) -> Result<(), String> {
        if self.additional_keys.len() > KEYS_MAX {
            return Err(format!("additional_keys has more than {KEYS_MAX} entries"));
        }
        self.additional_keys.iter().try_for_each(|pair| {
            AppKey::parse(&pair.key).map_err(|_| "additional_keys has a key that no app may have".to_owned())?;
            if pair.secret.is_acceptable() {
                Ok(())
            } else {
                Err("additional_keys has a secret that is not 8 to 128 printable ASCII characters without blanks"
                    .to_owned())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_in_range_and_survive_being_written() {
        let settings = AppSettings::default();
        assert_eq!(settings.check(), Ok(()));
        let written = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<AppSettings>(&written).unwrap(), settings);
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let settings = AppSettings { activity_timeout: 0, ..AppSettings::default() };
        assert_eq!(settings.check().unwrap_err(), "activity_timeout is not between 1 and 3600");
        let settings = AppSettings { max_calls_per_second: Some(0), ..AppSettings::default() };
        assert_eq!(settings.check().unwrap_err(), "max_calls_per_second is not between 1 and 1000000");
        for origins in [vec![String::new()], vec!["x".repeat(301)], vec!["x".to_owned(); 101]] {
            let settings = AppSettings { allowed_origins: origins, ..AppSettings::default() };
            assert!(settings.check().unwrap_err().starts_with("allowed_origins has"));
        }
    }

    #[test]
    fn a_setting_is_set_by_its_name_and_reset_by_null() {
        let mut settings = AppSettings::default();
        settings.set("enabled", false.into()).unwrap();
        settings.set("max_connections", 7.into()).unwrap();
        assert_eq!((settings.enabled, settings.max_connections), (false, Some(7)));
        settings.set("enabled", Value::Null).unwrap();
        settings.set("max_connections", Value::Null).unwrap();
        assert_eq!(settings, AppSettings::default());
    }

    #[test]
    fn each_rate_is_set_by_its_name() {
        for rate in AppRate::ALL {
            let mut settings = AppSettings::default();
            settings.set(rate.setting(), 7.into()).unwrap();
            let set = AppRate::ALL.map(|other| settings.rate(other));
            let default = AppSettings::default();
            let wanted = |other| if other == rate { Some(7) } else { default.rate(other) };
            assert_eq!(set, AppRate::ALL.map(wanted));
        }
    }

    #[test]
    fn a_value_of_another_type_is_refused_and_nothing_set() {
        let mut settings = AppSettings::default();
        for (name, value, fault) in [
            ("enabled", "true".into(), "is not true or false"),
            ("cache_ttl", (-1).into(), "is not a whole number from 0 to 4294967295"),
            ("cache_ttl", 1.5.into(), "is not a whole number from 0 to 4294967295"),
            ("max_connections", "many".into(), "is not a whole number from 0 to 4294967295"),
            ("allowed_origins", "example.com".into(), "is not a list"),
            ("additional_keys", serde_json::json!([{}]), "has a fault: missing field `key`"),
        ] {
            assert_eq!(settings.set(name, value), Err(SettingFault::Value(fault.to_owned())), "{name}");
        }
        assert_eq!(settings.set("ttl", 1.into()), Err(SettingFault::Unknown));
        assert_eq!(settings, AppSettings::default());
    }

    #[test]
    fn secrets_of_further_keys_do_not_print() {
        let pair: KeyPair = serde_json::from_str(r#"{"key":"k","secret":"long enough"}"#).unwrap();
        assert!(!format!("{pair:?}").contains("long"));
    }
}
