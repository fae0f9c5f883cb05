//! Whom a client command trusts to be the server: the roots of the web, or those that it is told of instead.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::Failure;

/// What is told about trust.
#[derive(Args)]
pub(super) struct TrustArgs {
    /// Certificates in PEM to trust instead of the web's, for a server with an authority of your own
    #[arg(long, env = "GUSHER_CA_FILE", value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl TrustArgs {
    /// The roots to trust and no others; `None` if nothing is said.
    ///
    /// # Errors
    /// `Usage` when the file cannot be read or holds no certificate.
    pub(super) fn roots(&self) -> Result<Option<Vec<CertificateDer<'static>>>, Failure> {
        let Some(file) = self.ca.as_ref().filter(|file| !file.as_os_str().is_empty()) else {
            return Ok(None);
        };
        let unusable = |reason: &dyn std::fmt::Display| {
            Failure::Usage(format!("--ca: cannot use {}: {reason}", file.display()))
        };
        let pem = std::fs::read(file).map_err(|error| unusable(&error))?;
        let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        match roots {
            Ok(roots) if !roots.is_empty() => Ok(Some(roots)),
            _ => Err(unusable(&"it holds no certificates in PEM")),
        }
    }

    /// A client that trusts them. Each of its connections begins anew: none resumes what another has agreed on.
    ///
    /// # Errors
    /// As for [`TrustArgs::roots`].
    pub(super) fn client(&self) -> Result<Option<Arc<ClientConfig>>, Failure> {
        let Some(certificates) = self.roots()? else { return Ok(None) };
        let unusable = |error: rustls::Error| Failure::Usage(format!("--ca: {error}"));
        let mut roots = RootCertStore::empty();
        certificates.into_iter().try_for_each(|root| roots.add(root)).map_err(unusable)?;
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let config = config.with_safe_default_protocol_versions().map_err(unusable)?;
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(Some(Arc::new(config)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_certificates_it_is_asked_wrongly() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        let trust = TrustArgs { ca: Some(file.clone()) };
        assert!(trust.client().unwrap_err().to_string().contains("cannot use"));
        std::fs::write(&file, "nothing").unwrap();
        let failure = trust.client().unwrap_err();
        assert_eq!(failure.exit_code(), 2);
        assert!(failure.to_string().contains("no certificates in PEM"), "{failure}");
    }

    #[test]
    fn an_empty_setting_counts_as_none() {
        for ca in [None, Some(PathBuf::new())] {
            assert!(TrustArgs { ca }.client().unwrap().is_none());
        }
    }
}
