//! What those who connect are shown: the certificate of this moment, or the answer to an authority's challenge.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::Error;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::cache::{Cache, DIGEST_BYTES};
use super::pair::{Life, Pair};

/// HTTP/2 as TLS calls it (RFC 9113 section 3.2).
pub(in crate::door) const HTTP_2: &[u8] = b"h2";

/// What an authority speaks that looks whether a domain is ours (RFC 8737 section 3).
pub(in crate::door) const CHALLENGE: &[u8] = b"acme-tls/1";

/// What is spoken with all others.
const HTTP_1_1: &[u8] = b"http/1.1";

/// A certificate, once there is one, and how it is shown.
#[derive(Debug)]
pub(super) struct Shown {
    config: ArcSwap<ServerConfig>,
    life: Mutex<Option<Life>>,
    is_there: watch::Sender<bool>,
    protocols: Vec<Vec<u8>>,
    /// Where the answers to challenges are, if there may be any.
    challenges: Option<Arc<Cache>>,
}

impl Shown {
    /// Without a certificate yet.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub(super) fn new(offers_http2: bool, challenges: Option<Arc<Cache>>) -> Result<Self, Error> {
        let protocols =
            [offers_http2.then_some(HTTP_2), Some(HTTP_1_1), challenges.is_some().then_some(CHALLENGE)];
        let protocols: Vec<_> = protocols.into_iter().flatten().map(<[u8]>::to_vec).collect();
        let config = configure(&protocols, Answers { key: None, challenges: challenges.clone() })?;
        Ok(Self {
            config: ArcSwap::from_pointee(config),
            life: Mutex::default(),
            is_there: watch::Sender::new(false),
            protocols,
            challenges,
        })
    }

    /// Shows this one from now on.
    ///
    /// # Errors
    /// TLS cannot be set up; the one before stays.
    pub(super) fn show(&self, pair: &Pair) -> Result<(), Error> {
        let answers = Answers { key: Some(Arc::clone(&pair.key)), challenges: self.challenges.clone() };
        self.config.store(Arc::new(configure(&self.protocols, answers)?));
        *self.life.lock().unwrap_or_else(PoisonError::into_inner) = pair.life;
        self.is_there.send_replace(true);
        Ok(())
    }

    /// When the one that is shown is good.
    pub(super) fn life(&self) -> Option<Life> {
        *self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_there(&self) -> bool {
        *self.is_there.borrow()
    }

    pub(super) async fn there(&self) {
        // The sender is ours, so it is not gone.
        let _ = self.is_there.subscribe().wait_for(|is_there| *is_there).await;
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.config.load_full().into()
    }
}

/// TLS 1.2 and 1.3. Sessions are resumed by tickets, which clients keep: here nothing is remembered of them but the keys
/// of the tickets, and those change every few hours and with the certificate.
fn configure(protocols: &[Vec<u8>], answers: Answers) -> Result<ServerConfig, Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
    let mut config = builder.with_cert_resolver(Arc::new(answers));
    config.alpn_protocols = protocols.to_vec();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Ticketer::new()?;
    Ok(config)
}

/// Who is shown what.
#[derive(Debug)]
struct Answers {
    key: Option<Arc<CertifiedKey>>,
    challenges: Option<Arc<Cache>>,
}

impl ResolvesServerCert for Answers {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // An authority offers this and nothing else.
        let is_challenge = self.challenges.is_some()
            && hello
                .alpn()
                .is_some_and(|mut offered| offered.next() == Some(CHALLENGE) && offered.next().is_none());
        if !is_challenge {
            return self.key.clone();
        }
        let domain = hello.server_name()?;
        // A small file on the disk: asked for by an authority alone, or in vain.
        let digest = self.challenges.as_ref()?.challenge(domain)?;
        answer(domain, &digest)
    }
}

/// The certificate that answers a challenge, signed by nobody (RFC 8737 section 3).
fn answer(domain: &str, digest: &[u8; DIGEST_BYTES]) -> Option<Arc<CertifiedKey>> {
    let key = KeyPair::generate().ok()?;
    let mut params = CertificateParams::new([domain.to_owned()]).ok()?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key).ok()?;
    let key = any_supported_type(&key.into()).ok()?;
    // No pair: that would be looked at, and it holds what nobody may pass over who does not know it.
    Some(Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key)))
}
