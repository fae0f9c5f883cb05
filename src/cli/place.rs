//! Where a server of Pusher's protocol is and which of its apps signs, as `PUSHER_HOST` and its like say it, else the server's own
//! configuration or a trial run's app.

use clap::{Args, ValueEnum};
use url::Url;

use super::Failure;
use super::address::ServerSettings;

/// The key of the app of a trial run.
pub(super) const DEMO_KEY: &str = "demo";

/// Its secret, which is known to everybody.
pub(super) const DEMO_SECRET: &str = "demo-secret";

/// Which app signs: as every library of Pusher Channels is told, else that of a trial run.
#[derive(Args)]
pub(super) struct AppArgs {
    /// Id of the app
    #[arg(long, env = "PUSHER_APP_ID", value_name = "ID", default_value = "1")]
    pub(super) app_id: String,
    /// Key of the app
    #[arg(long, env = "PUSHER_APP_KEY", value_name = "KEY", default_value = DEMO_KEY)]
    pub(super) key: String,
    /// Secret of the app
    #[arg(
        long,
        env = "PUSHER_APP_SECRET",
        value_name = "SECRET",
        default_value = DEMO_SECRET,
        hide_env_values = true
    )]
    pub(super) secret: String,
}

/// Where clients and backends find the server.
#[derive(Args)]
pub(super) struct PlaceArgs {
    /// Host of the server [default: that of the configuration, else 127.0.0.1]
    #[arg(long, env = "PUSHER_HOST", value_name = "HOST")]
    host: Option<String>,
    /// Its port [default: 443 with https, else that of the configuration, else 8001]
    #[arg(long, env = "PUSHER_PORT", value_name = "PORT")]
    port: Option<u16>,
    /// With TLS or without [default: https on port 443 and for the port of a configuration with TLS, else http]
    #[arg(long, env = "PUSHER_SCHEME", value_enum)]
    scheme: Option<Scheme>,
}

/// With TLS or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Scheme {
    Http,
    Https,
}

/// Where a server is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// An IPv6 address is in brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) has_tls: bool,
}

impl PlaceArgs {
    /// What was said, completed by the server's configuration.
    ///
    /// # Errors
    /// `Configuration` when what they say makes no address.
    pub(super) fn place(&self, server: &ServerSettings) -> Result<Place, Failure> {
        let own = server.public_url(None)?;
        let host = self.host.clone().filter(|host| !host.is_empty());
        let port = match (self.port, self.scheme) {
            (Some(port), _) => port,
            (None, Some(Scheme::Https)) => 443,
            _ => own.port_or_known_default().unwrap_or_default(),
        };
        Ok(Place {
            host: host.unwrap_or_else(|| own.host_str().unwrap_or_default().to_owned()),
            port,
            has_tls: match self.scheme {
                Some(scheme) => scheme == Scheme::Https,
                None => port == 443 || self.port.is_none() && own.scheme() == "wss",
            },
        })
    }
}

impl Place {
    /// `http` or `https`.
    pub(super) fn scheme(&self) -> &'static str {
        if self.has_tls { "https" } else { "http" }
    }

    /// The root of its calls.
    ///
    /// # Errors
    /// `Usage` when the host is none.
    pub(super) fn calls(&self) -> Result<Url, Failure> {
        self.url(self.scheme())
    }

    /// The root of its sockets.
    ///
    /// # Errors
    /// As for [`Place::calls`].
    pub(super) fn sockets(&self) -> Result<Url, Failure> {
        self.url(if self.has_tls { "wss" } else { "ws" })
    }

    fn url(&self, scheme: &str) -> Result<Url, Failure> {
        let text = format!("{scheme}://{}:{}", self.host, self.port);
        let url = Url::parse(&text).ok().filter(|url| url.path() == "/" && url.username().is_empty());
        url.ok_or_else(|| Failure::Usage("--host must be a host name or an address, and no more".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        place: PlaceArgs,
    }

    fn place(words: &[&str]) -> Place {
        let line = Line::try_parse_from([&["x"], words].concat()).unwrap();
        line.place.place(&ServerSettings::default()).unwrap()
    }

    #[test]
    fn tls_and_port_443_come_together_unless_told_otherwise() {
        assert_eq!(place(&[]), Place { host: "127.0.0.1".into(), port: 8001, has_tls: false });
        let https = Place { host: "h".into(), port: 443, has_tls: true };
        assert_eq!(place(&["--host", "h", "--scheme", "https"]), https);
        assert_eq!(place(&["--host", "h", "--port", "443"]), https);
        assert!(!place(&["--port", "443", "--scheme", "http"]).has_tls);
        assert_eq!(
            place(&["--scheme", "https", "--port", "1"]).sockets().unwrap().as_str(),
            "wss://127.0.0.1:1/"
        );
    }

    #[test]
    fn a_server_with_a_certificate_is_called_over_tls_at_its_own_port() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.json");
        std::fs::write(&file, r#"{"listen": ":9", "tls": {"cert_file": "c", "key_file": "k"}}"#).unwrap();
        let file = ServerSettings::find(Some(&file)).unwrap();
        let place = |words: &[&str]| {
            Line::try_parse_from([&["x"], words].concat()).unwrap().place.place(&file).unwrap()
        };
        assert_eq!(place(&[]), Place { host: "127.0.0.1".into(), port: 9, has_tls: true });
        assert!(!place(&["--port", "8080"]).has_tls, "a proxy may stand there");
        assert!(!place(&["--scheme", "http"]).has_tls);
    }

    #[test]
    fn a_host_is_a_host_and_no_more() {
        for host in ["a/b", "u:p@h", ""] {
            let place = Place { host: host.into(), port: 1, has_tls: false };
            assert_eq!(place.calls().map_err(|failure| failure.exit_code()), Err(2), "{host}");
        }
    }
}
