//! On which terms a door lets in: what of it may change while it is open.
//!
//! Always: a request is dealt with on the terms of one moment as far as it asks for them at once; sockets that are open go
//! on as they are.

use std::time::Duration;

use super::{SuperAdmin, ThrottleLimits};
use crate::config::{AddressLimits, Networks, Origins};
use crate::dialect::cluster::token::Verifier;

/// All of them.
#[derive(Debug)]
pub struct Terms {
    /// Who may do everything.
    pub admin: SuperAdmin,
    /// Everybody knows the password of that account.
    pub is_password_known: bool,
    /// What tells good tokens from bad ones; without it no sockets of Gusher Cluster are served.
    pub tokens: Option<Verifier>,
    /// What bounds HTTP.
    pub limits: DoorLimits,
    /// Whose pages may make calls from within browsers.
    pub cors_origins: Origins,
    /// Who is believed about how a request came to them.
    pub trusted_proxies: Networks,
    /// They say it by the PROXY protocol, before anything else.
    pub proxy_protocol: bool,
    /// Who may come to the private listener; if there are none, everybody.
    pub api_allow: Networks,
    /// What one address may do.
    pub addresses: AddressLimits,
    /// How often somebody may fail to sign in.
    pub sign_ins: ThrottleLimits,
    /// Sockets of the Pusher dialect must name their protocol version.
    pub strict_protocol: bool,
    /// Where the Pusher dialect is served besides the root, such as `/ws-gateway`; empty: nowhere.
    pub path_prefix: String,
    /// Sockets of Gusher Cluster are closed when their tokens expire.
    pub close_at_expiry: bool,
}

/// What bounds HTTP.
#[derive(Clone, Copy, Debug)]
pub struct DoorLimits {
    /// A request's line and headers, in bytes.
    pub head_bytes_max: usize,
    /// A request's headers.
    pub headers_max: usize,
    /// From accepting a connection to having its first request's head.
    pub head_time_max: Duration,
    /// How long a connection may idle between requests.
    pub idle_time_max: Duration,
    /// A request's body, in bytes.
    pub body_bytes_max: usize,
    /// From a request's head to the end of its body.
    pub body_time_max: Duration,
}
