//! The certificate of the listeners: read from two files, and read again when they change.
//!
//! Always: who connects sees one certificate and the key that belongs to it; files that cannot be used leave the one before
//! in place; no error shows what is in them. Sockets that are open go on as they are.

use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, ServerConfig};
use rustls::{CertificateError, Error, InconsistentKeys, RootCertStore};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What is spoken over TLS here.
const ALPN: &[u8] = b"http/1.1";

/// Why a certificate cannot be used, in one line that says what to do.
#[derive(Debug)]
pub struct CertificateUnusable(String);

impl fmt::Display for CertificateUnusable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for CertificateUnusable {}

/// A certificate and its key, as those who connect now are shown it.
#[derive(Debug)]
pub struct Certificate {
    cert_file: PathBuf,
    key_file: PathBuf,
    config: ArcSwap<ServerConfig>,
    /// The files as they were when they were last read.
    seen: Mutex<[Option<Stamp>; 2]>,
    asked: Notify,
}

/// By what a changed file is known, if links in its path lead to another one included.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    number: u64,
}

impl Certificate {
    /// Reads both files.
    ///
    /// # Errors
    /// One cannot be read or is not what it should be, or they do not belong together.
    pub fn load(cert_file: &Path, key_file: &Path) -> Result<Self, CertificateUnusable> {
        // Before they are read: what changes meanwhile is then seen the next time.
        let seen = [stamp(cert_file), stamp(key_file)];
        let config = configure(cert_file, key_file)?;
        Ok(Self {
            cert_file: cert_file.to_owned(),
            key_file: key_file.to_owned(),
            config: ArcSwap::from_pointee(config),
            seen: Mutex::new(seen),
            asked: Notify::new(),
        })
    }

    /// Reads the files again at once, and says in the log what came of it.
    pub fn reload(&self) {
        self.asked.notify_one();
    }

    /// Reads the files again whenever they change or [`Certificate::reload`] asks for it. Never returns.
    pub async fn watch(self: Arc<Self>) {
        loop {
            let is_asked = timeout(LOOK_EVERY, self.asked.notified()).await.is_ok();
            let certificate = Arc::clone(&self);
            // A look that panicked, of which none is known, was in vain; the next one is not.
            let _ = tokio::task::spawn_blocking(move || certificate.look(is_asked)).await;
        }
    }

    /// What makes handshakes, with the certificate of this moment.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.config.load_full().into()
    }

    fn look(&self, is_asked: bool) {
        let found = [stamp(&self.cert_file), stamp(&self.key_file)];
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == found && !is_asked {
            return;
        }
        *seen = found;
        match configure(&self.cert_file, &self.key_file) {
            Ok(config) => {
                self.config.store(Arc::new(config));
                tracing::info!(cert_file = %self.cert_file.display(), "the certificate was read again");
            }
            Err(reason) => tracing::warn!("{reason}; the one before stays in use"),
        }
    }
}

fn stamp(file: &Path) -> Option<Stamp> {
    let metadata: Metadata = fs::metadata(file).ok()?;
    Some(Stamp { modified: metadata.modified().ok(), bytes: metadata.len(), number: metadata.ino() })
}

/// TLS 1.2 and 1.3. Sessions are resumed by tickets, which clients keep: here nothing is remembered of them but the keys
/// of the tickets, and those change every few hours and with the certificate.
fn configure(cert_file: &Path, key_file: &Path) -> Result<ServerConfig, CertificateUnusable> {
    let unusable = |reason: String| {
        CertificateUnusable(format!(
            "cannot use the certificate {} with the key {}: {reason}: set tls.cert_file and tls.key_file to PEM files \
             that belong together",
            cert_file.display(),
            key_file.display()
        ))
    };
    let chain = certificates(cert_file).map_err(unusable)?;
    let key = key(key_file).map_err(unusable)?;
    let provider = Arc::new(default_provider());
    if let Some(what) = chain.first().and_then(|leaf| out_of_date(leaf, &provider)) {
        tracing::warn!(cert_file = %cert_file.display(), "the certificate {what}: clients will not connect");
    }
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.and_then(|config| config.with_no_client_auth().with_single_cert(chain, key));
    let mut config = config.map_err(|error| unusable(in_words(&error)))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Ticketer::new().map_err(|error| unusable(in_words(&error)))?;
    Ok(config)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(file)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => Err(format!("{} holds no certificate in PEM", file.display())),
    }
}

fn key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let pem = read(file)?;
    PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| format!("{} holds no private key in PEM without a passphrase", file.display()))
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error: io::Error| format!("cannot read {}: {error}", file.display()))
}

fn in_words(error: &Error) -> String {
    match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            "the key is not that of the file's first certificate".to_owned()
        }
        other => other.to_string(),
    }
}

/// What is wrong with the dates of a certificate. They are the first thing that a verification looks at, so it may know no
/// root.
fn out_of_date(leaf: &CertificateDer<'_>, provider: &CryptoProvider) -> Option<&'static str> {
    let leaf = ParsedCertificate::try_from(leaf).ok()?;
    let (nobody, now) = (RootCertStore::empty(), UnixTime::now());
    let algorithms = provider.signature_verification_algorithms.all;
    match verify_server_cert_signed_by_trust_anchor(&leaf, &nobody, &[], now, algorithms) {
        Err(Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => Some("has expired"),
        Err(Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        )) => Some("is not valid yet"),
        _ => None,
    }
}
