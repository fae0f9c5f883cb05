//! The risk of a default: everybody knows the password that `init` and trial runs propose.

use std::net::IpAddr;

use crate::config::read::DEV_PASSWORD;
use crate::config::{Config, ListenAddress};

/// One line, if the super admin has the default password and other hosts may reach the private listener. Costs one
/// verification by bcrypt: some 60 ms of CPU.
pub(super) fn warning(config: &Config) -> Option<String> {
    let secret = format!("{}{DEV_PASSWORD}", config.admin.account);
    let is_known = || bcrypt::verify(secret, config.admin.password_hash.reveal()).unwrap_or(false);
    (is_reachable(&config.api_listen) && is_known()).then(|| text(&config.api_listen))
}

/// What is wrong with the default password behind this address.
pub(super) fn text(address: &ListenAddress) -> String {
    format!(
        "the super admin has the default password, which everybody knows, and other hosts may reach the API at {address}: \
         choose a password (`gusher init`, `gusher hash`), or listen on 127.0.0.1"
    )
}

/// Whether a host other than this one may reach the address.
pub(super) fn is_reachable(address: &ListenAddress) -> bool {
    let is_loopback = |host: &str| {
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
    };
    !address.host().is_some_and(is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_out_of_reach() {
        for (address, expected) in [
            (":8002", true),
            ("0.0.0.0:8002", true),
            ("10.0.0.1:8002", true),
            ("127.0.0.1:8002", false),
            ("[::1]:8002", false),
            ("localhost:8002", false),
        ] {
            assert_eq!(is_reachable(&address.parse().unwrap()), expected, "{address}");
        }
    }
}
