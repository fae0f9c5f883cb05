//! Where a client command finds its server, and how an app key and a user tag are spelled in a URL.
//!
//! What was typed beats the variables of clients (clap sees to that), which beat the server's own variables, which beat its
//! configuration file, which beats the defaults. This is not the reader of the configuration: a client needs a few of the
//! settings and takes no offence at the rest. Always true: a URL that leaves this module holds no user name and no password,
//! so it may be printed through [`shown`].

use std::fs;
use std::path::{Path, PathBuf};

use jsonc_parser::{JsonObject, JsonValue, ParseOptions};
use url::Url;

use super::{Failure, zone};
use crate::config::read;

const PUBLIC_PORT: u16 = 8001;
const PRIVATE_PORT: u16 = 8002;
const ACCOUNT: &str = "account";

/// Files tried when none was named; the server tries the same ones.
const FILES: [&str; 2] = ["./config.json", "./default.json"];

/// What a client takes from the settings of the server. One that is missing, empty or no string is `None`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ServerSettings {
    listen: Option<String>,
    api_listen: Option<String>,
    auth_account: Option<String>,
    /// The public listener speaks TLS.
    has_certificate: bool,
    /// The private one does so as well, if there is a certificate.
    is_private_too: bool,
}

impl ServerSettings {
    /// What the environment says as it would to the server, and else the named file, or without one the first of the usual
    /// ones that exists.
    ///
    /// # Errors
    /// `Configuration` when the named file cannot be used. One that merely lies in the working directory may be
    /// unreadable for this user or be somebody else's: then it is passed over, with a note on stderr.
    pub(super) fn find(named: Option<&Path>) -> Result<Self, Failure> {
        Ok(Self::of_file(named)?.under(&read::environment()))
    }

    fn of_file(named: Option<&Path>) -> Result<Self, Failure> {
        if let Some(path) = named {
            return Self::read(path)
                .map_err(|reason| unusable(path, &reason))
                .map_err(Failure::Configuration);
        }
        let Some(path) = usual_file() else { return Ok(Self::default()) };
        Ok(Self::read(&path).unwrap_or_else(|reason| {
            super::tell(&format!("gusher: {}; going on without it", unusable(&path, &reason)));
            Self::default()
        }))
    }

    fn read(path: &Path) -> Result<Self, String> {
        Self::parse(&fs::read_to_string(path).map_err(|error| error.to_string())?)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let parsed = jsonc_parser::parse_to_value(text, &ParseOptions::default());
        let Some(JsonValue::Object(members)) = parsed.map_err(|error| error.to_string())? else {
            return Err("it is no JSON object".to_owned());
        };
        let text = |object: &JsonObject<'_>, name: &str| {
            filled(object.get_string(name).map(|text| text.as_ref())).map(str::to_owned)
        };
        let tls = members.get_object("tls");
        let has =
            |object: Option<&JsonObject<'_>>, name: &str| object.and_then(|it| text(it, name)).is_some();
        Ok(Self {
            listen: text(&members, "listen"),
            api_listen: text(&members, "api_listen"),
            auth_account: text(&members, "auth_account"),
            has_certificate: has(tls, "cert_file")
                || has(tls.and_then(|tls| tls.get_object("acme")), "domains"),
            is_private_too: tls.and_then(|tls| tls.get_boolean("private")) == Some(true),
        })
    }

    /// These settings where the variables say nothing.
    fn under(self, variables: &[(String, String)]) -> Self {
        let value = |name: &str| {
            let found = variables.iter().find(|(known, _)| known == name);
            filled(found.map(|(_, value)| value.as_str())).map(str::to_owned)
        };
        let has = |name: &str| value(name).is_some();
        Self {
            listen: value("GUSHER_LISTEN").or(self.listen),
            // A master has another name for it, and no other listener.
            api_listen: value("GUSHER_API_LISTEN")
                .or_else(|| value("GUSHER_MASTER_API_LISTEN"))
                .or(self.api_listen),
            auth_account: value("GUSHER_AUTH_ACCOUNT").or(self.auth_account),
            has_certificate: self.has_certificate
                || has("GUSHER_TLS_CERT_FILE")
                || has("GUSHER_TLS_ACME_DOMAINS"),
            is_private_too: value("GUSHER_TLS_PRIVATE").map_or(self.is_private_too, |is_on| is_on == "true"),
        }
    }

    /// The account to sign in with.
    pub(super) fn account(&self, given: Option<&str>) -> String {
        filled(given).or(self.auth_account.as_deref()).unwrap_or(ACCOUNT).to_owned()
    }

    /// The base of the private API, `http` or `https`.
    ///
    /// # Errors
    /// `Usage` when `given` is no such URL, `Configuration` when what the file says makes none.
    pub(super) fn api_url(&self, given: Option<&str>) -> Result<Url, Failure> {
        match filled(given) {
            Some(text) => parse_base(text, &["http", "https"]).map_err(|reason| usage("--api", &reason)),
            None => self.reachable(
                if self.has_certificate && self.is_private_too { "https" } else { "http" },
                "api_listen",
                self.api_listen.as_deref(),
                PRIVATE_PORT,
            ),
        }
    }

    /// The base of the public listener, `ws` or `wss`.
    ///
    /// # Errors
    /// As for [`ServerSettings::api_url`].
    pub(super) fn public_url(&self, given: Option<&str>) -> Result<Url, Failure> {
        match filled(given) {
            Some(text) => socket_base(text).map_err(|reason| usage("--url", &reason)),
            None => self.reachable(
                if self.has_certificate { "wss" } else { "ws" },
                "listen",
                self.listen.as_deref(),
                PUBLIC_PORT,
            ),
        }
    }

    /// How to reach, from this machine, a server that listens on `[host]:port`.
    fn reachable(&self, scheme: &str, member: &str, listen: Option<&str>, port: u16) -> Result<Url, Failure> {
        let default = format!(":{port}");
        let listen = listen.unwrap_or(&default);
        let (host, port) = listen.rsplit_once(':').unwrap_or((listen, default.trim_start_matches(':')));
        let host = match host {
            "" | "0.0.0.0" => "127.0.0.1",
            "[::]" => "[::1]",
            named => named,
        };
        parse_base(&format!("{scheme}://{host}:{port}"), &[scheme])
            .map_err(|reason| Failure::Configuration(format!("`{member}` of the configuration: {reason}")))
    }
}

/// The file that counts if none is named.
pub(super) fn usual_file() -> Option<PathBuf> {
    FILES.iter().map(PathBuf::from).find(|path| path.exists())
}

/// A base URL for sockets. `http` and `https` are understood too, since that is what people copy from a browser.
///
/// # Errors
/// The reason, without the text itself: it may hold a password.
pub(super) fn socket_base(text: &str) -> Result<Url, String> {
    let mut url = parse_base(text, &["ws", "wss", "http", "https"])?;
    let scheme = if matches!(url.scheme(), "wss" | "https") { "wss" } else { "ws" };
    // The schemes of the web may be exchanged for each other; the URL standard only forbids leaving their circle.
    url.set_scheme(scheme).map_err(|()| "must begin with ws:// or wss://".to_owned())?;
    Ok(url)
}

/// Appends path segments, each percent-encoded as a whole: a `/` in an app key does not become two segments.
///
/// # Errors
/// `Usage` for what no URL path can carry: nothing, `.` and `..`, tabs and line breaks.
pub(super) fn append(mut base: Url, segments: &[&str]) -> Result<Url, Failure> {
    for segment in segments {
        if matches!(*segment, "" | "." | "..") || segment.contains(['\t', '\n', '\r']) {
            return Err(Failure::Usage(format!("{segment:?} cannot be part of a URL")));
        }
    }
    let Ok(mut path) = base.path_segments_mut() else {
        return Err(Failure::Usage("the URL cannot have a path".to_owned()));
    };
    path.pop_if_empty().extend(segments);
    drop(path);
    Ok(base)
}

/// A URL as it may be printed: without its query, where tokens are.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    zone::shown(url.into())
}

fn parse_base(text: &str, schemes: &[&str]) -> Result<Url, String> {
    let mut url = Url::parse(&zone::named(text)).map_err(|error| format!("not a URL ({error})"))?;
    if !schemes.contains(&url.scheme()) {
        return Err(format!("must begin with {}://", schemes.join(":// or ")));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or a password".to_owned());
    }
    url.set_fragment(None);
    Ok(url)
}

/// An empty setting counts as none: `GUSHER_API= gusher push ...` means the default.
fn filled(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

fn usage(flag: &str, reason: &str) -> Failure {
    Failure::Usage(format!("{flag}: {reason}"))
}

fn unusable(path: &Path, reason: &str) -> String {
    format!("cannot use {}: {}", path.display(), super::one_line(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> ServerSettings {
        ServerSettings::parse(text).unwrap()
    }

    fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn api_of(listen: &str) -> Result<String, Failure> {
        let file = ServerSettings { api_listen: Some(listen.to_owned()), ..ServerSettings::default() };
        file.api_url(None).map(String::from)
    }

    fn appended(base: &str, segments: &[&str]) -> Result<String, Failure> {
        append(Url::parse(base).unwrap(), segments).map(String::from)
    }

    #[test]
    fn without_file_and_flags_the_defaults_hold() {
        let none = ServerSettings::default();
        assert_eq!(none.api_url(None).unwrap().as_str(), "http://127.0.0.1:8002/");
        assert_eq!(none.public_url(None).unwrap().as_str(), "ws://127.0.0.1:8001/");
        assert_eq!(none.account(None), "account");
    }

    #[test]
    fn the_file_beats_the_defaults_and_flags_beat_the_file() {
        let file = file(r#"{"listen": ":1", "api_listen": "10.0.0.1:2", "auth_account": "root"}"#);
        assert_eq!(file.public_url(None).unwrap().as_str(), "ws://127.0.0.1:1/");
        assert_eq!(file.api_url(None).unwrap().as_str(), "http://10.0.0.1:2/");
        assert_eq!(file.account(None), "root");
        assert_eq!(file.api_url(Some("https://h/x")).unwrap().as_str(), "https://h/x");
        assert_eq!(file.public_url(Some("wss://h")).unwrap().as_str(), "wss://h/");
        assert_eq!(file.account(Some("me")), "me");
    }

    #[test]
    fn the_server_s_variables_beat_the_file_and_an_empty_one_says_nothing() {
        let said =
            variables(&[("GUSHER_LISTEN", ":3"), ("GUSHER_API_LISTEN", ":4"), ("GUSHER_AUTH_ACCOUNT", "me")]);
        let before = || file(r#"{"listen": ":1", "api_listen": ":2", "auth_account": "root"}"#);
        let server = before().under(&said);
        assert_eq!(server.public_url(None).unwrap().as_str(), "ws://127.0.0.1:3/");
        assert_eq!(server.api_url(None).unwrap().as_str(), "http://127.0.0.1:4/");
        assert_eq!((server.account(None), server.account(Some("x"))), ("me".to_owned(), "x".to_owned()));
        let of_master = before().under(&variables(&[("GUSHER_MASTER_API_LISTEN", ":5")]));
        assert_eq!(of_master.api_url(None).unwrap().port(), Some(5));
        let empty: Vec<_> = said.into_iter().map(|(name, _)| (name, String::new())).collect();
        assert_eq!(before().under(&empty), before());
        for certificate in ["GUSHER_TLS_CERT_FILE", "GUSHER_TLS_ACME_DOMAINS"] {
            let said = variables(&[(certificate, "x"), ("GUSHER_TLS_PRIVATE", "true")]);
            let server = ServerSettings::default().under(&said);
            assert_eq!(server.public_url(None).unwrap().scheme(), "wss");
            assert_eq!(server.api_url(None).unwrap().scheme(), "https");
        }
        let both = file(r#"{"tls": {"cert_file": "c.pem", "key_file": "k.pem", "private": true}}"#);
        let server = both.under(&variables(&[("GUSHER_TLS_PRIVATE", "false")]));
        assert_eq!(server.api_url(None).unwrap().scheme(), "http");
    }

    #[test]
    fn what_a_client_reads_are_settings_of_the_server() {
        let said = variables(&[
            ("GUSHER_AUTH_PASSWORD", "$2a$05$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01232"),
            ("GUSHER_LISTEN", ":3"),
            ("GUSHER_API_LISTEN", ":4"),
            ("GUSHER_AUTH_ACCOUNT", "me"),
            ("GUSHER_TLS_ACME_DOMAINS", "a.example.org"),
            ("GUSHER_TLS_ACME_ACCEPT_TERMS", "true"),
            ("GUSHER_TLS_PRIVATE", "true"),
        ]);
        let server = ServerSettings::default().under(&said);
        let config = read::parse(Path::new("config.json"), b"{}", said, &read::Overlay::default()).unwrap();
        assert_eq!(config.warnings, [""; 0]);
        assert_eq!(server.listen, Some(config.listen.to_string()));
        assert_eq!(server.api_listen, Some(config.api_listen.to_string()));
        assert_eq!(server.auth_account, Some(config.admin.account));
        assert!(server.has_certificate && server.is_private_too);
        assert!(config.tls.is_some_and(|tls| tls.is_private_too));
    }

    #[test]
    fn a_server_with_a_certificate_is_spoken_to_over_tls() {
        let public = file(r#"{"tls": {"cert_file": "c.pem", "key_file": "k.pem"}}"#);
        assert_eq!(public.public_url(None).unwrap().as_str(), "wss://127.0.0.1:8001/");
        assert_eq!(public.api_url(None).unwrap().as_str(), "http://127.0.0.1:8002/");
        let both = file(r#"{"tls": {"cert_file": "c.pem", "key_file": "k.pem", "private": true}}"#);
        assert_eq!(both.api_url(None).unwrap().as_str(), "https://127.0.0.1:8002/");
        let ordered = file(r#"{"tls": {"acme": {"domains": "a.example.org"}}}"#);
        assert_eq!(ordered.public_url(None).unwrap().as_str(), "wss://127.0.0.1:8001/");
        let neither = file(r#"{"tls": {"cert_file": "", "private": true}}"#);
        assert_eq!(neither.public_url(None).unwrap().as_str(), "ws://127.0.0.1:8001/");
        assert_eq!(neither.api_url(None).unwrap().as_str(), "http://127.0.0.1:8002/");
    }

    #[test]
    fn an_empty_setting_counts_as_none() {
        let file = file(r#"{"listen": "", "api_listen": 7, "auth_account": null}"#);
        assert_eq!(file, ServerSettings::default());
        assert_eq!(file.api_url(Some("")).unwrap().as_str(), "http://127.0.0.1:8002/");
        assert_eq!(file.account(Some("")), "account");
    }

    #[test]
    fn remarks_and_a_last_comma_are_read_over() {
        let text = "{\n\"auth_account\": \"root\", // the admin\n\"api_listen\": \":9\",\n}";
        assert_eq!(file(text).account(None), "root");
        assert_eq!(file(text).api_url(None).unwrap().port(), Some(9));
    }

    #[test]
    fn a_listen_address_becomes_one_that_can_be_dialled() {
        assert_eq!(api_of("0.0.0.0:5").unwrap(), "http://127.0.0.1:5/");
        assert_eq!(api_of("[::]:5").unwrap(), "http://[::1]:5/");
        assert_eq!(api_of("push.example.com:5").unwrap(), "http://push.example.com:5/");
        assert_eq!(api_of("push.example.com").unwrap(), "http://push.example.com:8002/");
        assert!(matches!(api_of(":http"), Err(Failure::Configuration(_))));
    }

    #[test]
    fn a_named_file_must_be_usable() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        assert!(matches!(ServerSettings::find(Some(&path)), Err(Failure::Configuration(_))));
        fs::write(&path, "[]").unwrap();
        assert!(matches!(ServerSettings::find(Some(&path)), Err(Failure::Configuration(_))));
        fs::write(&path, r#"{"auth_account": "root"}"#).unwrap();
        assert_eq!(ServerSettings::find(Some(&path)).unwrap().account(None), "root");
    }

    #[test]
    fn the_scheme_must_fit() {
        let none = ServerSettings::default();
        for text in ["ws://h", "localhost:8002", "/x", "file:///x"] {
            assert!(matches!(none.api_url(Some(text)), Err(Failure::Usage(_))), "{text}");
        }
        assert_eq!(none.public_url(Some("https://h/p")).unwrap().as_str(), "wss://h/p");
        assert_eq!(none.public_url(Some("http://h")).unwrap().as_str(), "ws://h/");
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_repeated() {
        let none = ServerSettings::default();
        let failures = [none.api_url(Some("http://me:hidden@h")), none.public_url(Some("ws://me:hidden@h"))];
        for failure in failures {
            let text = failure.unwrap_err().to_string();
            assert!(text.contains("password") && !text.contains("hidden"), "{text}");
        }
    }

    #[test]
    fn app_and_tag_are_one_segment_each() {
        assert_eq!(appended("ws://h", &["ws", "a/b", "张 x+y"]).unwrap(), "ws://h/ws/a%2Fb/%E5%BC%A0%20x+y");
        assert_eq!(appended("ws://h/in/", &["50%", "a?b#c\\d"]).unwrap(), "ws://h/in/50%25/a%3Fb%23c%5Cd");
        assert_eq!(appended("ws://h/ws?k=v", &["a"]).unwrap(), "ws://h/ws/a?k=v");
    }

    #[test]
    fn what_no_path_can_carry_is_refused() {
        for segment in ["", ".", "..", "a\nb", "a\tb"] {
            assert!(matches!(appended("ws://h", &["ws", segment]), Err(Failure::Usage(_))), "{segment:?}");
        }
    }

    #[test]
    fn what_is_shown_holds_no_token() {
        assert_eq!(shown(&Url::parse("ws://h/ws/a/b?token=hidden").unwrap()), "ws://h/ws/a/b");
    }
}
