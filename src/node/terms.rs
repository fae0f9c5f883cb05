//! The terms of the doors, by the configuration. Made when a node starts, and again when it is told to reload.

use std::fmt;

use super::StartError;
use crate::config::{Config, Role};
use crate::dialect::cluster::token::{KeysInvalid, Verifier};
use crate::door::{DoorLimits, SuperAdmin, Terms, ThrottleLimits};
use crate::model::{Admin, Hash};

/// The terms of a node that starts. A master does without keys (spec 2.1).
///
/// # Errors
/// The file of keys cannot be used.
pub(super) fn first(config: &Config) -> Result<Terms, StartError> {
    match (verifier(config), &config.role) {
        (Err(reason), Role::Master(_)) => {
            tracing::warn!("{reason}; without it no tokens are decoded");
            Ok(with(config, None))
        }
        (tokens, _) => Ok(with(config, tokens?)),
    }
}

/// Says in the log what is not served for want of keys.
pub(super) fn tell_of_keys(config: &Config, terms: &Terms) {
    let word = config.role.word_for("cluster.public_pem_file");
    match config.role {
        _ if terms.tokens.is_some() => {}
        // It has been told why.
        Role::Master(_) if config.cluster.public_pem_file.is_some() => {}
        Role::Master(_) => tracing::warn!("without {word} no tokens are decoded"),
        _ => tracing::info!("without {word} no tokens of Gusher Cluster are believed"),
    }
}

/// The terms of a node that runs.
///
/// # Errors
/// The file of keys cannot be used, in whatever role.
pub(super) fn of(config: &Config) -> Result<Terms, StartError> {
    Ok(with(config, verifier(config)?))
}

fn with(config: &Config, tokens: Option<Verifier>) -> Terms {
    let limits = &config.limits;
    Terms {
        admin: super_admin(config),
        is_password_known: config.admin.is_known,
        tokens,
        limits: DoorLimits {
            head_bytes_max: limits.head_bytes_max,
            headers_max: limits.headers_max,
            head_time_max: limits.head_time_max,
            idle_time_max: limits.idle_time_max,
            body_bytes_max: limits.body_bytes_max,
            body_time_max: limits.body_time_max,
        },
        sign_ins: ThrottleLimits {
            failures_max: config.addresses.failed_sign_ins_max,
            window: config.addresses.failed_sign_ins_time,
        },
        cors_origins: config.cors_origins.clone(),
        trusted_proxies: config.trusted_proxies.clone(),
        proxy_protocol: config.proxy_protocol,
        api_allow: config.api_allow.clone(),
        addresses: config.addresses.clone(),
        strict_protocol: config.pusher.strict_protocol,
        path_prefix: config.pusher.path_prefix.clone(),
        close_at_expiry: config.cluster.close_at_expiry,
    }
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

/// What tells good tokens from bad ones, by the keys in the file that the configuration names.
///
/// # Errors
/// The file is of no use, and what to do about it.
pub(crate) fn verifier(config: &Config) -> Result<Option<Verifier>, StartError> {
    let (cluster, word) = (&config.cluster, config.role.word_for("cluster.public_pem_file"));
    let Some(file) = &cluster.public_pem_file else { return Ok(None) };
    let unusable = |reason: &dyn fmt::Display| {
        let file = file.display();
        StartError(format!(
            "cannot use the public key file {file}: {reason}: set {word} to RSA public keys in PEM"
        ))
    };
    let pem = std::fs::read_to_string(file).map_err(|error| unusable(&error))?;
    let verifier = Verifier::new(&pem, &cluster.algorithms);
    verifier.map(Some).map_err(|KeysInvalid(reason)| unusable(&reason))
}
