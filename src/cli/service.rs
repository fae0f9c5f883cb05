//! The service manager, such as systemd, if one has started this process: what it hands over (sd_listen_fds(3)) and what it
//! is told (sd_notify(3)).
//!
//! Always: without one, nothing is handed over and nobody is told; one that cannot be told holds up nothing.

use std::net::TcpListener;
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::timeout;

use super::Failure;
use crate::node::Inherited;

/// How often a start that takes long says so; a service manager waits 90 s without a word.
const EXTEND_EVERY: Duration = Duration::from_secs(20);

/// The listeners that were handed over, by their names `public` and `private`. To be asked once.
///
/// # Errors
/// `Runtime`: one has another name, or there are two of one name: nobody would serve it.
pub(super) fn listeners() -> Result<Inherited, Failure> {
    let unusable =
        |reason: String| Failure::Runtime(format!("cannot take over what was handed over: {reason}"));
    let mut inherited = Inherited::default();
    let count = sd_notify::listen_fds().map_err(|error| unusable(error.to_string()))?.len();
    if count == 0 {
        // What there is of names is about the sockets of another process.
        return Ok(inherited);
    }
    let handed = sd_notify::listen_fds_with_names().map_err(|error| unusable(error.to_string()))?;
    for (number, name) in handed {
        // SAFETY: the number is of a descriptor that is open, as was just looked at, and that belongs to this process by
        // LISTEN_PID alone: it was opened before the program began, so nothing in it owns it, and this is asked once.
        let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
        let place = match name.as_str() {
            "public" => &mut inherited.public,
            "private" => &mut inherited.private,
            _ => {
                let name = name.escape_debug();
                return Err(unusable(format!(
                    "a socket is called `{name:.80}`: call it public or private (FileDescriptorName=)"
                )));
            }
        };
        if place.replace(TcpListener::from(descriptor)).is_some() {
            return Err(unusable(format!("two sockets are called {name}: one of each is served")));
        }
    }
    Ok(inherited)
}

/// Waits for what a start waits for, and has whoever waits for the start go on waiting as long.
pub(super) async fn while_starting(coming: impl Future<Output = ()>) {
    let mut coming = std::pin::pin!(coming);
    while timeout(EXTEND_EVERY, &mut coming).await.is_err() {
        tell(&[NotifyState::ExtendTimeoutUsec((3 * EXTEND_EVERY).as_micros() as u32)]);
    }
}

/// Listeners are open, and who connects is served.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is being read again, until [`ready`].
pub(super) fn reloading() {
    let now = NotifyState::monotonic_usec_now();
    tell(&[NotifyState::Reloading].into_iter().chain(now).collect::<Vec<_>>());
}

/// The node stops.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told how it goes");
    }
}
