//! The door behind a node's listeners, and the certificate that it shows.

use std::sync::Arc;
use std::thread;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{StartError, descriptors, terms};
use crate::admin::Monitor;
use crate::config::{Config, Limits, LogSwitch, TlsConfig};
use crate::door::{Certificate, CredentialSettings, Credentials, Door, DoorParts, DoorSettings, Terms};
use crate::hook::{ConnectHook, ConnectHookLimits, Webhooks};
use crate::hub::Hub;
use crate::model::pattern::PatternLimits;

pub(super) fn door(
    config: &Config,
    hub: &Arc<Hub>,
    webhooks: &Arc<Webhooks>,
    monitor: Monitor,
    log: Arc<LogSwitch>,
    certificate: Option<&Arc<Certificate>>,
    terms: Terms,
) -> Result<Arc<Door>, StartError> {
    let limits = &config.limits;
    let hook = ConnectHook::new(ConnectHookLimits {
        exchanges_max: config.max_wait_hook,
        exchange_time_max: limits.hook_time_max,
        wait_max: limits.hook_wait_max,
        answer_bytes_max: limits.hook_answer_bytes_max,
        uses_proxy: config.node.uses_proxy,
    });
    let checking = CredentialSettings {
        bcrypt_cost: config.node.bcrypt_cost,
        memory: config.node.credential_life,
        computations_max: thread::available_parallelism().map_or(1, usize::from),
    };
    let credentials = Credentials::new(checking, terms.sign_ins);
    let hook = hook.map_err(|error| StartError(format!("cannot set up TLS for hooks: {error}")))?;
    let credentials =
        credentials.map_err(|error| StartError(format!("the system refuses what a node needs: {error}")))?;
    let connections_max = descriptors::share_out(limits).connections_max;
    if connections_max < limits.pending_connections_max {
        tracing::warn!(
            connections_max,
            "the limit on file descriptors is low: a listener has room for fewer connections than \
             limits.pending_connections_max; raise it (ulimit -n, LimitNOFILE=)"
        );
    }
    let settings = DoorSettings {
        connections_max,
        http2_streams_max: limits.http2_streams_max,
        stall_time_max: limits.write_stall_max,
        pattern: PatternLimits {
            pattern_bytes_max: limits.pattern_bytes_max,
            compiled_bytes_max: limits.pattern_compiled_bytes_max,
        },
        only_cluster: config.role.is_of_cluster(),
        console: config.console,
        public: config.listen.to_string(),
        is_public_tls: config.tls.is_some(),
    };
    terms::tell_of_keys(config, &terms);
    let (hub, webhooks) = (Arc::clone(hub), Arc::clone(webhooks));
    let certificate = certificate.cloned();
    let parts = DoorParts { hub, hook, webhooks, monitor, log, credentials, certificate, terms };
    Ok(Door::new(parts, settings))
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
        (public, ("the public listener", door.public()), certificate, stopping),
        (private, ("the private listener", door.private()), certificate.filter(|_| is_private_too), over),
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
pub(crate) fn certificate(tls: &TlsConfig, limits: &Limits) -> Result<Arc<Certificate>, StartError> {
    let opened = Certificate::open(tls, limits.http2_streams_max > 0);
    opened.map(Arc::new).map_err(|error| StartError(error.to_string()))
}
