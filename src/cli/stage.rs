//! Which server `gusher bench` measures, how it is reached, and how its figures are told.

use std::net::{SocketAddr, ToSocketAddrs};

use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};
use rustls::pki_types::ServerName;

use super::api::{Api, ApiArgs};
use super::place::AppArgs;
use super::{Failure, print_line};
use crate::bench::Fault;
use crate::bench::figures::Figures;
use crate::bench::process::Servers;
use crate::bench::scenario::Stage;
use crate::bench::target::{Dialect, Endpoint, Target};

/// What every scenario is told.
#[derive(Args)]
pub(super) struct StageArgs {
    /// Host of the server, for sockets and calls
    #[arg(long, env = "PUSHER_HOST", value_name = "HOST", default_value = "127.0.0.1")]
    host: String,
    /// Its port
    #[arg(long, env = "PUSHER_PORT", value_name = "PORT", default_value = "8001")]
    port: u16,
    /// Speak TLS, which needs --ca; in the environment https or http
    #[arg(long, env = "PUSHER_SCHEME", value_parser = is_https)]
    tls: bool,
    #[command(flatten)]
    app: AppArgs,
    /// The node that is published to, where several are to their clients as one [default: host and port]
    #[arg(long, value_name = "HOST:PORT", value_parser = node)]
    publish_to: Option<(String, u16)>,
    /// What is spoken: Pusher's protocol, or Gusher's own sockets and private API
    #[arg(long, value_enum, default_value_t = Speech::Pusher)]
    dialect: Speech,
    #[command(flatten)]
    api: ApiArgs,
    /// A process of the server; may be given several times
    #[arg(long, value_name = "PID")]
    pid: Vec<u32>,
    #[command(flatten)]
    told: ToldArgs,
}

/// How connects are made and the figures told.
#[derive(Args)]
pub(super) struct ToldArgs {
    /// Connects under way at once
    #[arg(long, value_name = "N", default_value = "64", value_parser = at_least_one())]
    pub(super) in_flight: usize,
    /// Print one line of JSON and no table
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Speech {
    Pusher,
    Gusher,
}

impl StageArgs {
    /// Sets the stage, measures, and prints.
    pub(super) fn tell(&self, measure: impl FnOnce(&Stage) -> Result<Figures, Fault>) -> Result<(), Failure> {
        let stage = Stage {
            target: self.target()?,
            servers: Servers::new(self.pid.clone()).map_err(failed)?,
            in_flight_max: self.told.in_flight,
        };
        self.told.print(&measure(&stage).map_err(failed)?)
    }

    fn target(&self) -> Result<Target, Failure> {
        let sockets = self.endpoint(&self.host, self.port, self.tls)?;
        if self.dialect == Speech::Pusher {
            let (app_id, key, secret) =
                (self.app.app_id.clone(), self.app.key.clone(), self.app.secret.clone());
            let dialect = Dialect::Pusher { app_id, key, secret };
            let calls = match &self.publish_to {
                Some((host, port)) => self.endpoint(host, *port, self.tls)?,
                None => sockets.clone(),
            };
            return Ok(Target { sockets, calls, dialect });
        }
        let (base, account, password) = Api::new(&self.api)?.into_parts();
        let Some(host) = base.host_str() else {
            return Err(Failure::Usage("--api: must have a host".to_owned()));
        };
        let port = base.port_or_known_default().unwrap_or_default();
        let calls = self.endpoint(host, port, base.scheme() == "https")?;
        let dialect = Dialect::Gusher { key: self.app.key.clone(), account, password };
        Ok(Target { sockets, calls, dialect })
    }

    fn endpoint(&self, host: &str, port: u16, is_secure: bool) -> Result<Endpoint, Failure> {
        let address = resolve(host, port)?;
        if !is_secure {
            return Ok(Endpoint::plain(address));
        }
        let Some(client) = self.api.trust.client()? else {
            return Err(Failure::Usage("TLS needs --ca FILE: the certificates to trust".to_owned()));
        };
        let name = ServerName::try_from(bare(host).to_owned());
        let name = name.map_err(|_| Failure::Usage(format!("{host} is no name that can be proved")))?;
        Ok(Endpoint { address, tls: Some((client, name)) })
    }
}

/// Whether a scheme is that of TLS. A flag without a value is `true`.
fn is_https(text: &str) -> Result<bool, String> {
    match text {
        "https" | "true" => Ok(true),
        "http" | "false" | "" => Ok(false),
        _ => Err("must be http or https".to_owned()),
    }
}

fn node(text: &str) -> Result<(String, u16), String> {
    let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
    parts.ok_or_else(|| "must be HOST:PORT".to_owned())
}

/// The first address of a host. Sockets are opened by the thousand, so this is done once.
fn resolve(host: &str, port: u16) -> Result<SocketAddr, Failure> {
    let unknown = |reason: &str| Failure::Runtime(format!("there is no address for {host}: {reason}"));
    let mut found = (bare(host), port).to_socket_addrs().map_err(|error| unknown(&error.to_string()))?;
    found.next().ok_or_else(|| unknown("its name has none"))
}

/// A host without the brackets that an IPv6 address has in a URL.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

impl ToldArgs {
    pub(super) fn print(&self, figures: &Figures) -> Result<(), Failure> {
        print(figures, self.json)
    }
}

pub(super) fn print(figures: &Figures, is_json_alone: bool) -> Result<(), Failure> {
    if !is_json_alone {
        print_line(&figures.table())?;
    }
    print_line(&figures.json())
}

pub(super) fn failed(fault: Fault) -> Failure {
    Failure::Runtime(fault.0)
}

pub(super) fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=10_000_000)
}
