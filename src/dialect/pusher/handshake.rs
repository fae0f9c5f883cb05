//! How a socket at `/app/{key}` begins: the protocol version it asks for, and the reasons to turn it away
//! (pusher-channels 1, 11).

use url::Url;

use crate::model::{AppRate, AppSettings, SocketId};

/// The newest protocol version; who names none speaks it.
const PROTOCOL_NEWEST: u8 = 7;

/// What is remembered of a socket that speaks this dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its public name, part of what permissions sign.
    pub socket_id: SocketId,
    /// The protocol version, 4 to 7.
    pub protocol: u8,
    /// The library at the other end.
    pub client: ClientKind,
}

/// The client libraries that need something of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// Any that does not.
    Other,
    /// `pusher-dotnet-client`.
    Dotnet,
    /// `java-client`.
    Java,
}

/// Why the server closes a socket (pusher-channels 11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// The code of the close frame. Never 4300 or more: one library would not come back for good.
    pub code: u16,
    /// The same in words; as long as the foreign text in it.
    pub message: String,
    /// The same as one word for figures, as other dialects have it.
    pub reason: &'static str,
}

impl Closing {
    /// No app has this key.
    pub fn app_unknown(app_key: &str) -> Self {
        let message =
            format!("App key {app_key} not in this cluster. Did you forget to specify the cluster?");
        Self { code: 4001, message, reason: "app_unknown" }
    }

    /// Nothing is at this path.
    pub fn path_unknown() -> Self {
        Self::new(4005, "Path not found", "path_unknown")
    }

    /// The app is switched off.
    pub fn app_disabled() -> Self {
        Self::new(4003, "App is disabled", "app_disabled")
    }

    /// The app has as many sockets as it may have.
    pub fn over_quota() -> Self {
        Self::new(4004, "App is over its connection quota", "app_full")
    }

    /// The app takes sockets over TLS only.
    pub fn tls_only() -> Self {
        Self::new(4000, "App takes TLS connections only", "tls_only")
    }

    /// The page that connects is not from where the app's pages are.
    pub fn origin_not_allowed() -> Self {
        Self::new(4009, "Origin not allowed", "origin_not_allowed")
    }

    /// The protocol version is no integer.
    pub fn protocol_malformed() -> Self {
        Self::new(4006, "Invalid version string format", "protocol_unsupported")
    }

    /// The protocol version is not spoken here.
    pub fn protocol_unsupported() -> Self {
        Self::new(4007, "Unsupported protocol version", "protocol_unsupported")
    }

    /// No protocol version is named, and this node demands one.
    pub fn protocol_missing() -> Self {
        Self::new(4008, "No protocol version supplied", "protocol_unsupported")
    }

    /// The node has as many sockets as it may have.
    pub fn over_capacity() -> Self {
        Self::new(4100, "Over capacity", "overloaded")
    }

    /// The address opens sockets faster than it may.
    pub fn address_too_fast() -> Self {
        Self::new(4100, "Too many connects from this address", "connects_exceeded")
    }

    /// The address has as many sockets as it may have.
    pub fn address_full() -> Self {
        Self::new(4100, "This address has as many sockets as it may have", "address_full")
    }

    /// The node stops; another one is there.
    pub fn reconnect() -> Self {
        Self::new(4200, "Please reconnect immediately", "draining")
    }

    /// The node stops; it, or its like, will be there in a moment.
    pub fn reconnect_later() -> Self {
        Self::new(4100, "Server restarts, please reconnect", "draining")
    }

    /// The app has let in as many sockets within a second as it may.
    pub fn too_many_connects() -> Self {
        Self::new(4100, "App is over its rate of connections", AppRate::Connects.excess())
    }

    /// The node is short of memory.
    pub fn memory_short() -> Self {
        Self::new(4100, "Over capacity", "memory_short")
    }

    fn new(code: u16, message: &str, reason: &'static str) -> Self {
        Self { code, message: message.to_owned(), reason }
    }
}

/// Reads the protocol version and the library from the query of the upgrade (pusher-channels 1.1). Without a version it
/// is the newest, unless `is_strict`.
///
/// # Errors
/// 4006 when the version is no integer, 4007 when it is another one than 4 to 7, 4008 when it is missing and must not be.
pub fn protocol(query: Option<&str>, is_strict: bool) -> Result<(u8, ClientKind), Closing> {
    let value = |name| {
        let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        pairs.find_map(|(found, value)| (found == name).then_some(value))
    };
    let version = match value("protocol") {
        None if is_strict => return Err(Closing::protocol_missing()),
        None => PROTOCOL_NEWEST,
        Some(text) if !is_integer(&text) => return Err(Closing::protocol_malformed()),
        Some(text) => text
            .parse()
            .ok()
            .filter(|version| (4..=PROTOCOL_NEWEST).contains(version))
            .ok_or_else(Closing::protocol_unsupported)?,
    };
    let client = match value("client").as_deref() {
        Some("pusher-dotnet-client") => ClientKind::Dotnet,
        Some("java-client") => ClientKind::Java,
        _ => ClientKind::Other,
    };
    Ok((version, client))
}

/// Whether a text is an integer, of any length.
pub(super) fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether an app takes sockets of this `Origin` (pusher-channels 1.2). Who names none is no browser.
pub fn is_origin_allowed(settings: &AppSettings, origin: Option<&str>) -> bool {
    let allowed = &settings.allowed_origins;
    let Some(origin) = origin else { return !settings.require_origin };
    let host = Url::parse(origin).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    let fits = |entry: &String| match entry.strip_prefix("*.") {
        _ if entry == "*" => true,
        Some(domain) => {
            host.len() > domain.len() + 1
                && host.to_ascii_lowercase().ends_with(&format!(".{}", domain.to_ascii_lowercase()))
        }
        None if entry.contains("://") => entry.trim_end_matches('/').eq_ignore_ascii_case(origin),
        None => !host.is_empty() && entry.eq_ignore_ascii_case(&host),
    };
    allowed.is_empty() || allowed.iter().any(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pc_016_an_origin_is_known_by_host_by_domain_or_whole() {
        let allowed = ["example.com", "*.example.org", "http://localhost:3000"].map(String::from).to_vec();
        let settings = AppSettings { allowed_origins: allowed, ..AppSettings::default() };
        for good in [
            "https://example.com",
            "http://EXAMPLE.com:8080",
            "https://a.b.example.org",
            "http://localhost:3000",
        ] {
            assert!(is_origin_allowed(&settings, Some(good)), "{good}");
        }
        for bad in [
            "https://evil.com",
            "https://example.org",
            "https://badexample.org",
            "http://localhost:3001",
            "null",
        ] {
            assert!(!is_origin_allowed(&settings, Some(bad)), "{bad}");
        }
        assert!(is_origin_allowed(&settings, None));
        assert!(!is_origin_allowed(&AppSettings { require_origin: true, ..settings }, None));
        assert!(is_origin_allowed(&AppSettings::default(), Some("https://anything")));
    }
}
