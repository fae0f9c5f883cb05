//! `gusher slave` and `gusher master`: the two roles of Gusher Cluster, set up by the environment as the original is (spec
//! 2.1).
//!
//! Always true: a variable that is set already beats the one of the file; what is printed at the start holds no secret.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::start::{self, Serving};
use super::{Failure, log, tell};
use crate::config::read::{self, Overlay};
use crate::config::{BusConfig, Config, LogTarget, Role, RoleName};
use crate::node::Node;

/// How to start a role.
#[derive(Args)]
pub struct RoleArgs {
    /// File of variables, NAME=value on each line; those that are set already win
    #[arg(long, short = 'e', value_name = "FILE")]
    pub env_file: Option<PathBuf>,
    /// Log everything
    #[arg(long, short = 'd')]
    pub debug: bool,
}

/// Serves until a signal says stop.
///
/// # Errors
/// `Runtime`, whatever it is: as the original, a role ends with status 1 when it cannot start.
pub fn run(name: RoleName, args: &RoleArgs) -> Result<(), Failure> {
    let config = settings(name, args)?;
    let reread = || settings(name, args);
    let serving = Serving { config: &config, first: None, reread: Some(&reread) };
    start::serve(&serving, |node| announce(name, &config, node)).map_err(|failure| match failure {
        Failure::Runtime(reason) => Failure::Runtime(name.in_its_words(reason)),
        other => other,
    })
}

fn settings(name: RoleName, args: &RoleArgs) -> Result<Config, Failure> {
    let mut flags = Overlay::default();
    if args.debug {
        flags.set("environment", "DEBUG");
    }
    let environment = environment(args.env_file.as_deref())?;
    let config = read::role(name, environment, &flags);
    config.map_err(|error| Failure::Runtime(error.to_string()))
}

/// The variables of this process, and behind them those of the file.
fn environment(file: Option<&Path>) -> Result<Vec<(String, String)>, Failure> {
    let mut variables = read::environment();
    let Some(file) = file else { return Ok(variables) };
    let set: HashSet<String> = variables.iter().map(|(name, _)| name.clone()).collect();
    let unusable = |reason: &str| Failure::Runtime(format!("cannot use {}: {reason}", file.display()));
    let lines = dotenvy::from_path_iter(file).map_err(|error| match error {
        dotenvy::Error::Io(error) => unusable(&error.to_string()),
        _ => unusable("it cannot be read"),
    })?;
    for line in lines {
        // What stands in the line may be a secret.
        let (name, value) = line.map_err(|_| unusable("it must hold NAME=value on each line"))?;
        if !set.contains(&name) {
            variables.push((name, value));
        }
    }
    Ok(variables)
}

/// Says what serves where, on standard output and in the form of the log, which may go there, too.
fn announce(name: RoleName, config: &Config, node: &Node) {
    let (role, address) = match name {
        RoleName::Slave => ("slave", node.public),
        RoleName::Master => ("master", node.private),
    };
    let mut fields = vec![
        ("role", role.into()),
        ("version", env!("CARGO_PKG_VERSION").into()),
        ("listen", start::told(address).into()),
    ];
    fields.extend(shown(config));
    // Nobody may be reading.
    let banner = log::Form::of(&config.log).line("info", "gusher", fields);
    let _ = std::io::stdout().lock().write_all(banner.as_bytes());
    tracing::debug!(role, listen = start::told(address), "listening");
    let is_local = address.is_some_and(|address| address.ip().is_loopback());
    if config.role.is_open() && !is_local {
        let warning = "anybody who reaches this address may publish and see who is there: \
                       set GUSHER_MASTER_TOKEN, or listen on 127.0.0.1";
        tracing::warn!("{warning}");
        // Loudly: the log may go to a file that nobody looks at today.
        tell(&format!("gusher: WARNING: {warning}"));
    }
}

/// The settings that matter to this role.
fn shown(config: &Config) -> Vec<(&'static str, Value)> {
    let key_file = config.cluster.public_pem_file.as_deref().unwrap_or(Path::new(""));
    let mut settings = vec![
        ("nats", config.bus.as_ref().map(servers).unwrap_or_default().into()),
        ("public_pem_file", key_file.to_string_lossy().into()),
    ];
    match &config.role {
        Role::Master(access) => {
            let mut ways = Vec::new();
            ways.extend(access.token.as_ref().map(|_| "bearer token"));
            ways.extend((!config.admin.password_hash.reveal().is_empty()).then_some("super admin"));
            ways.extend(access.is_open.then_some("everybody"));
            settings.push(("access", ways.join(", ").into()));
        }
        Role::Whole | Role::Slave => {
            settings.push(("message_bytes_max", config.cluster.message_bytes_max.into()));
        }
    }
    let log_file = match &config.log.target {
        LogTarget::Rotated(rotation) | LogTarget::Both(rotation) => Some(&rotation.file),
        LogTarget::File(file) => Some(file),
        LogTarget::Console | LogTarget::Stdout => None,
    };
    settings.extend(log_file.map(|file| ("log_file", file.to_string_lossy().into())));
    settings
}

/// Where NATS is, without what a URL may hold besides.
fn servers(bus: &BusConfig) -> String {
    let bare = |url: &str| {
        let (scheme, rest) = url.trim().split_once("://").unwrap_or(("nats", url.trim()));
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        format!("{scheme}://{}", host.split(['/', '?', '#']).next().unwrap_or_default())
    };
    bus.url.reveal().split(',').map(bare).collect::<Vec<_>>().join(",")
}
