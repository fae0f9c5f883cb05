//! How a server of the bus proves who it is: by the certificates that the system trusts, and by those of `bus.ca_file`.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::BusError;

/// What a client needs for TLS with such servers.
///
/// # Errors
/// The file is no file of certificates, or there is nothing to trust.
pub(super) fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, BusError> {
    let mut roots = RootCertStore::empty();
    // Some of what a system has may be unreadable; the others do.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = ca_file {
        add(&mut roots, file)
            .map_err(|reason| BusError(format!("cannot use bus.ca_file {}: {reason}", file.display())))?;
    }
    if roots.is_empty() {
        let reason = "the system has no certificates to prove servers by: name some in bus.ca_file";
        return Err(BusError(reason.to_owned()));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| BusError(format!("cannot use TLS: {error}")))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Trusts the certificates of a file.
fn add(roots: &mut RootCertStore, file: &Path) -> Result<(), String> {
    let text = fs::read(file).map_err(|error| error.to_string())?;
    let mut is_empty = true;
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| format!("it is no PEM: {error}"))?;
        roots.add(certificate).map_err(|error| error.to_string())?;
        is_empty = false;
    }
    if is_empty { Err("there is no certificate in it".to_owned()) } else { Ok(()) }
}
