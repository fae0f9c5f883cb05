//! The listeners of a node: bound as the configuration says, or taken over from whoever started the process.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::{StartError, system};
use crate::config::{Config, ListenAddress, NodeSettings, Role};
use crate::net::stream;

/// Listeners that were there before the node: who connects while there is none waits in their backlogs.
#[derive(Debug, Default)]
pub struct Inherited {
    /// For sockets.
    pub public: Option<std::net::TcpListener>,
    /// For backends.
    pub private: Option<std::net::TcpListener>,
}

/// The public listener and the private one, as far as the role has them.
///
/// # Errors
/// One cannot be bound; one that was inherited cannot be used, or the role has no use for it.
pub(super) async fn open(
    inherited: Inherited,
    config: &Config,
) -> Result<(Option<TcpListener>, Option<TcpListener>), StartError> {
    let open = async |inherited: Option<_>, address, key, name| match inherited {
        Some(listener) => take_over(listener, name, config.node.send_buffer_bytes).map(Some),
        None => bind(address, config.role.word_for(key), &config.node).await.map(Some),
    };
    let public = match (&config.role, inherited.public) {
        (Role::Master(_), Some(_)) => return Err(useless("public", "master")),
        (Role::Master(_), None) => None,
        (Role::Whole | Role::Slave, inherited) => open(inherited, &config.listen, "listen", "public").await?,
    };
    let private = match (&config.role, inherited.private) {
        (Role::Slave, Some(_)) => return Err(useless("private", "slave")),
        (Role::Slave, None) => None,
        (Role::Whole | Role::Master(_), inherited) => {
            open(inherited, &config.api_listen, "api_listen", "private").await?
        }
    };
    Ok((public, private))
}

fn useless(name: &str, role: &str) -> StartError {
    StartError(format!("a {role} has no {name} listener: take the socket called {name} out of its unit"))
}

fn take_over(
    listener: std::net::TcpListener,
    name: &str,
    send_buffer_bytes: usize,
) -> Result<TcpListener, StartError> {
    let taken = stream::take_over(listener, send_buffer_bytes).and_then(TcpListener::from_std);
    taken.map_err(|error| {
        StartError(format!(
            "cannot listen on the socket called {name} that was handed over: {error}: hand over a TCP socket that \
             listens (ListenStream=)"
        ))
    })
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
    node: &NodeSettings,
) -> Result<TcpListener, StartError> {
    let failed = |error: io::Error| cannot_listen(address, key, &error);
    let unresolved = |error: io::Error| {
        StartError(format!(
            "cannot listen on {address}: {error}: set {key} to a name that resolves, or an address"
        ))
    };
    let candidates: Vec<SocketAddr> = match address.host() {
        // Every address of both families; of IPv4 alone where there is no IPv6.
        None => vec![([0; 16], address.port()).into(), ([0; 4], address.port()).into()],
        Some(host) => tokio::net::lookup_host((host, address.port())).await.map_err(unresolved)?.collect(),
    };
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for candidate in candidates {
        let listener = stream::listen(candidate, node.send_buffer_bytes, node.reuses_port);
        match listener.and_then(TcpListener::from_std) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(failed(error)),
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

/// Why, and what to do about it.
fn cannot_listen(address: &ListenAddress, key: &str, error: &io::Error) -> StartError {
    /// The first that everybody may listen on, unless the kernel was told otherwise.
    const OPEN_PORT_MIN: u16 = 1_024;
    let reason = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("the port is in use: stop what uses it or set {key} to another address")
        }
        io::ErrorKind::PermissionDenied if address.port() < OPEN_PORT_MIN => format!(
            "{error}: ports below {OPEN_PORT_MIN} need CAP_NET_BIND_SERVICE (AmbientCapabilities= in a systemd unit), \
             or set {key} to another port"
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!("{error}: set {key} to an address of this machine")
        }
        _ => format!("{error}: set {key} to another address"),
    };
    StartError(format!("cannot listen on {address}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_fits_the_reason() {
        let address = "127.0.0.1:80".parse().unwrap();
        for (kind, part, foreign) in [
            (io::ErrorKind::AddrInUse, "stop what uses it", "CAP_NET"),
            (io::ErrorKind::PermissionDenied, "CAP_NET_BIND_SERVICE", "stop what uses it"),
            (io::ErrorKind::AddrNotAvailable, "an address of this machine", "stop what uses it"),
        ] {
            let told = cannot_listen(&address, "listen", &kind.into()).to_string();
            assert!(told.contains(part) && !told.contains(foreign), "{told}");
        }
    }
}
