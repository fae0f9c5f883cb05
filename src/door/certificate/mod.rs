//! The certificate of the listeners: read from two files, and read again when they change; or ordered from an authority, and
//! ordered again when a third of its life is left.
//!
//! Always: who connects sees one certificate and the key that belongs to it; what cannot be used, or had, leaves the one
//! before in place; no error shows what is in a file. Sockets that are open go on as they are. Before an ordered one is
//! there, nobody gets through a handshake but the authority.

mod authority;
mod cache;
mod client;
mod files;
mod ordered;
mod pair;
mod shown;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use crate::config::{CertificateSource, TlsConfig};
use crate::hub::Hub;
use files::Files;
use ordered::Ordered;
use shown::Shown;
pub(super) use shown::{CHALLENGE, HTTP_2};

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
    source: Source,
    shown: Shown,
    asked: Notify,
}

/// Where it comes from.
#[derive(Debug)]
enum Source {
    Files(Arc<Files>),
    Ordered(Box<Ordered>),
}

impl Certificate {
    /// Reads the files; or, of one that is ordered, what was kept. Asks no authority yet.
    ///
    /// # Errors
    /// A file cannot be read or is not what it should be, or certificate and key do not belong together.
    pub fn open(tls: &TlsConfig, offers_http2: bool) -> Result<Self, CertificateUnusable> {
        let unusable = |error: rustls::Error| CertificateUnusable(format!("TLS cannot be used: {error}"));
        let (source, shown, pair) = match &tls.source {
            CertificateSource::Files { cert_file, key_file } => {
                let files = Files::of(cert_file, key_file);
                let pair = files.read().map_err(CertificateUnusable)?;
                (Source::Files(files.into()), Shown::new(offers_http2, None).map_err(unusable)?, Some(pair))
            }
            CertificateSource::Acme(config) => {
                let ordered = Ordered::of(config).map_err(CertificateUnusable)?;
                let pair = ordered.kept().map_err(CertificateUnusable)?;
                let shown = Shown::new(offers_http2, Some(ordered.cache())).map_err(unusable)?;
                (Source::Ordered(ordered.into()), shown, pair)
            }
        };
        pair.iter().try_for_each(|pair| shown.show(pair)).map_err(unusable)?;
        Ok(Self { source, shown, asked: Notify::new() })
    }

    /// Whether there is one: one that is ordered may be still to come.
    pub fn is_there(&self) -> bool {
        self.shown.is_there()
    }

    /// What is wrong with the dates of the one that is shown, as in `has expired`.
    pub fn fault(&self) -> Option<&'static str> {
        self.shown.life()?.fault(SystemTime::now())
    }

    /// Returns when there is one.
    pub async fn there(&self) {
        self.shown.there().await;
    }

    /// Has the files read again at once; has one that is due, and could not be had, ordered at once. The log says what came
    /// of it.
    pub fn reload(&self) {
        self.asked.notify_one();
    }

    /// Keeps it fresh: reads files again when they change, orders what is due, and does either when
    /// [`Certificate::reload`] asks for it. Never returns.
    pub async fn keep(self: Arc<Self>, hub: Arc<Hub>) {
        self.tell_end(&hub);
        loop {
            match &self.source {
                Source::Files(files) => files.look(&self.shown, &self.asked).await,
                Source::Ordered(ordered) => ordered.look(&self.shown, &self.asked, &hub.metrics).await,
            }
            self.tell_end(&hub);
        }
    }

    /// What makes handshakes, with the certificate of this moment.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.shown.acceptor()
    }

    fn tell_end(&self, hub: &Hub) {
        let end = self.shown.life().and_then(|life| life.ends.duration_since(SystemTime::UNIX_EPOCH).ok());
        hub.metrics.certificate_end_s.set(end.map_or(0, |end| end.as_secs()));
    }
}
