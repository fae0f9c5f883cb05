//! The listeners of a node's role, the door behind them, and what it needs of the configuration: certificate, keys, super
//! admin.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{StartError, system};
use crate::admin::Monitor;
use crate::config::{Config, ListenAddress, Role, TlsConfig};
use crate::dialect::cluster::token::{KeysInvalid, Verifier};
use crate::door::{
    Certificate, CredentialSettings, Credentials, Door, DoorLimits, DoorParts, DoorSettings, SuperAdmin,
};
use crate::hook::{ConnectHook, ConnectHookLimits, Webhooks};
use crate::hub::Hub;
use crate::model::pattern::PatternLimits;
use crate::model::{Admin, Hash};
use crate::net::stream;

/// The public listener and the private one, as far as the role has them.
pub(super) async fn listeners(
    config: &Config,
) -> Result<(Option<TcpListener>, Option<TcpListener>), StartError> {
    let open = async |address, key| {
        bind(address, config.role.word_for(key), config.node.send_buffer_bytes).await.map(Some)
    };
    let public = match config.role {
        Role::Master(_) => None,
        Role::Whole | Role::Slave => open(&config.listen, "listen").await?,
    };
    let private = match config.role {
        Role::Slave => None,
        Role::Whole | Role::Master(_) => open(&config.api_listen, "api_listen").await?,
    };
    Ok((public, private))
}

pub(super) fn address(listener: Option<&TcpListener>) -> Result<Option<SocketAddr>, StartError> {
    listener.map(TcpListener::local_addr).transpose().map_err(system)
}

/// Binds the first address that `address` stands for and that can be bound.
///
/// # Errors
/// None can be, and what to do about it.
pub(crate) async fn bind(
    address: &ListenAddress,
    key: &str,
    send_buffer_bytes: usize,
) -> Result<TcpListener, StartError> {
    let failed = |error: io::Error| {
        let what = if error.kind() == io::ErrorKind::AddrInUse {
            "the port is in use".to_owned()
        } else {
            error.to_string()
        };
        StartError(format!(
            "cannot listen on {address}: {what}: stop what uses it or set {key} to another address"
        ))
    };
    let candidates: Vec<SocketAddr> = match address.host() {
        // Every address of both families; of IPv4 alone where there is no IPv6.
        None => vec![([0; 16], address.port()).into(), ([0; 4], address.port()).into()],
        Some(host) => tokio::net::lookup_host((host, address.port())).await.map_err(failed)?.collect(),
    };
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for candidate in candidates {
        match stream::listen(candidate, send_buffer_bytes).and_then(TcpListener::from_std) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(failed(error)),
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

pub(super) fn door(
    config: &Config,
    hub: &Arc<Hub>,
    webhooks: &Arc<Webhooks>,
    monitor: Monitor,
    tokens: Option<Verifier>,
) -> Result<Arc<Door>, StartError> {
    let limits = &config.limits;
    let hook = ConnectHook::new(ConnectHookLimits {
        exchanges_max: config.max_wait_hook,
        exchange_time_max: limits.hook_time_max,
        wait_max: limits.hook_wait_max,
        answer_bytes_max: limits.hook_answer_bytes_max,
    });
    let credentials = Credentials::new(CredentialSettings {
        bcrypt_cost: config.node.bcrypt_cost,
        memory: config.node.credential_life,
        computations_max: thread::available_parallelism().map_or(1, usize::from),
    });
    let door_limits = DoorLimits {
        head_bytes_max: limits.head_bytes_max,
        headers_max: limits.headers_max,
        head_time_max: limits.head_time_max,
        idle_time_max: limits.idle_time_max,
        body_bytes_max: limits.body_bytes_max,
        body_time_max: limits.body_time_max,
        connections_max: limits.pending_connections_max,
        pattern: PatternLimits {
            pattern_bytes_max: limits.pattern_bytes_max,
            compiled_bytes_max: limits.pattern_compiled_bytes_max,
        },
    };
    let hook = hook.map_err(|error| StartError(format!("cannot set up TLS for hooks: {error}")))?;
    let credentials =
        credentials.map_err(|error| StartError(format!("the system gives no randomness: {error}")))?;
    let settings = DoorSettings {
        limits: door_limits,
        trusted_proxies: config.trusted_proxies.clone(),
        strict_protocol: config.pusher.strict_protocol,
        path_prefix: config.pusher.path_prefix.clone(),
        close_at_expiry: config.cluster.close_at_expiry,
        only_cluster: config.role.is_of_cluster(),
    };
    if tokens.is_none() {
        let word = config.role.word_for("cluster.public_pem_file");
        match config.role {
            // It may have been told why.
            Role::Master(_) if config.cluster.public_pem_file.is_some() => {}
            Role::Master(_) => tracing::warn!("without {word} no tokens are decoded"),
            _ => tracing::info!("without {word} no tokens of Gusher Cluster are believed"),
        }
    }
    let admin = super_admin(config);
    let (hub, webhooks) = (Arc::clone(hub), Arc::clone(webhooks));
    Ok(Door::new(DoorParts { hub, hook, webhooks, monitor, credentials, admin, tokens }, settings))
}

/// Serves the listeners that there are, the public one first, each until it is told to stop.
pub(super) fn serve(
    config: &Config,
    door: &Arc<Door>,
    certificate: Option<&Arc<Certificate>>,
    [(public, stopping), (private, over)]: [(Option<TcpListener>, &watch::Sender<bool>); 2],
) -> Vec<JoinHandle<()>> {
    let is_private_too = config.tls.as_ref().is_some_and(|tls| tls.is_private_too);
    let with_tls = [
        (public, door.public(), certificate, stopping),
        (private, door.private(), certificate.filter(|_| is_private_too), over),
    ];
    let serve = |(listener, routes, certificate, end): (Option<_>, _, Option<&Arc<Certificate>>, _)| {
        let (door, certificate) = (Arc::clone(door), certificate.cloned());
        let end = watch::Sender::<bool>::subscribe(end);
        let served = door.serve(listener?, routes, certificate, end, config.drain.time_max);
        Some(tokio::spawn(served))
    };
    with_tls.into_iter().filter_map(serve).collect()
}

/// What the listeners show.
///
/// # Errors
/// A file cannot be read or they do not belong together, and what to do about it.
pub(crate) fn certificate(tls: &TlsConfig) -> Result<Arc<Certificate>, StartError> {
    let loaded = Certificate::load(&tls.cert_file, &tls.key_file);
    loaded.map(Arc::new).map_err(|error| StartError(error.to_string()))
}

fn super_admin(config: &Config) -> SuperAdmin {
    let admin = Admin {
        account: config.admin.account.clone(),
        hash: Hash(config.admin.password_hash.reveal().to_owned()),
    };
    match &config.role {
        Role::Whole | Role::Slave => admin.into(),
        Role::Master(access) => {
            SuperAdmin { admin, token: access.token.clone(), is_everybody: access.is_open }
        }
    }
}

/// What tells good tokens from bad ones, by the keys in the file that the configuration names. A master does without
/// (spec 2.1).
///
/// # Errors
/// The file is of no use, and what to do about it.
pub(crate) fn verifier(config: &Config) -> Result<Option<Verifier>, StartError> {
    let (cluster, word) = (&config.cluster, config.role.word_for("cluster.public_pem_file"));
    let Some(file) = &cluster.public_pem_file else { return Ok(None) };
    let unusable = |reason: &dyn fmt::Display| {
        let file = file.display();
        format!("cannot use the public key file {file}: {reason}: set {word} to RSA public keys in PEM")
    };
    let read = std::fs::read_to_string(file).map_err(|error| unusable(&error)).and_then(|pem| {
        Verifier::new(&pem, &cluster.algorithms).map_err(|KeysInvalid(reason)| unusable(&reason))
    });
    match (read, &config.role) {
        (Ok(verifier), _) => Ok(Some(verifier)),
        (Err(reason), Role::Master(_)) => {
            tracing::warn!("{reason}; without it no tokens are decoded");
            Ok(None)
        }
        (Err(reason), _) => Err(StartError(reason)),
    }
}
