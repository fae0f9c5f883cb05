//! A webhook: who is told what happens in the channels of an app.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::{ChannelName, NoticeKind};

/// The most headers that a webhook adds.
const HEADERS_MAX: usize = 20;

/// Headers that say how a request is written and to whom, and what it holds.
const OWN_HEADERS: [&str; 9] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// How the names of headers begin that prove who sends.
const OWN_PREFIX: &str = "x-pusher-";

/// Somebody who is told what happens in channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where it is told, by `POST`.
    pub url: String,
    /// What; everything when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<BTreeSet<NoticeKind>>,
    /// Of which channels; of all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<ChannelFilter>,
    /// What is sent along.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub headers: IndexMap<String, String>,
    /// Several at once, instead of one in each request.
    #[serde(default)]
    pub batch: bool,
}

/// Some channels, by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelFilter {
    /// How the name begins.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub channel_name_starts_with: String,
    /// How it ends.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub channel_name_ends_with: String,
}

impl Webhook {
    /// Checks that it can be called.
    ///
    /// # Errors
    /// What is wrong, as one sentence that begins with the name of the setting.
    pub fn check(&self) -> Result<(), String> {
        let url = url::Url::parse(&self.url).ok();
        if !url.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
            return Err("webhooks has a url that is no absolute http or https URL".to_owned());
        }
        if self.headers.len() > HEADERS_MAX {
            return Err(format!("webhooks has an entry with more than {HEADERS_MAX} headers"));
        }
        let is_name = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        let is_value = |value: &str| value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        if self.headers.iter().all(|(name, value)| is_name(name) && is_value(value)) {
            Ok(())
        } else {
            Err("webhooks has a header that cannot be sent".to_owned())
        }
    }

    /// Whether one may bring a header of this name; others are set by the server itself, or by nobody.
    pub fn may_set(header: &str) -> bool {
        let header = header.to_ascii_lowercase();
        !OWN_HEADERS.contains(&&*header) && !header.starts_with(OWN_PREFIX)
    }

    /// Whether it is told of this kind of event in this channel.
    pub fn wants(&self, kind: NoticeKind, channel: &ChannelName) -> bool {
        let fits = |filter: &ChannelFilter| {
            channel.as_str().starts_with(&filter.channel_name_starts_with)
                && channel.as_str().ends_with(&filter.channel_name_ends_with)
        };
        self.events.as_ref().is_none_or(|events| events.contains(&kind))
            && self.filter.as_ref().is_none_or(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(json: &str) -> Webhook {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_cannot_be_called_is_refused() {
        assert!(webhook(r#"{"url":"ftp://x"}"#).check().unwrap_err().starts_with("webhooks has a url"));
        assert!(webhook(r#"{"url":"http://x","headers":{"a b":""}}"#).check().is_err());
        assert_eq!(webhook(r#"{"url":"http://x","headers":{"X-A":"b c"}}"#).check(), Ok(()));
    }

    #[test]
    fn a_webhook_chooses_by_kind_and_channel() {
        let channel = ChannelName::parse("private-a-1").unwrap();
        let some = webhook(
            r#"{"url":"http://a","events":["cache_miss"],"filter":{"channel_name_starts_with":"private-"}}"#,
        );
        assert!(some.wants(NoticeKind::CacheMiss, &channel));
        assert!(!some.wants(NoticeKind::ClientEvent, &channel));
        assert!(!some.wants(NoticeKind::CacheMiss, &ChannelName::parse("cache-a").unwrap()));
        assert!(webhook(r#"{"url":"http://a"}"#).wants(NoticeKind::ClientEvent, &channel));
    }
}
