//! A certificate and the key that belongs to it, out of PEM.
//!
//! Always: they belong together. No error shows what is in a file.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, InconsistentKeys, RootCertStore};

/// Longer than any time that a certificate can name.
const FOR_EVER: Duration = Duration::from_secs(1 << 40);

/// A certificate, those between it and its root, and its key.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) key: Arc<CertifiedKey>,
    /// When it is good; none for one whose dates cannot be read.
    pub(super) life: Option<Life>,
}

impl Pair {
    /// Reads it from two files.
    ///
    /// # Errors
    /// Why not, as the end of a sentence.
    pub(super) fn read(cert_file: &Path, key_file: &Path) -> Result<Self, String> {
        let chain = certificates(&read(cert_file)?)
            .ok_or_else(|| format!("{} holds no certificate in PEM", cert_file.display()))?;
        let key = key(&read(key_file)?).ok_or_else(|| {
            format!("{} holds no private key in PEM without a passphrase", key_file.display())
        })?;
        Self::of(chain, key)
    }

    /// Reads it from one text.
    ///
    /// # Errors
    /// Why not, as the end of a sentence.
    pub(super) fn parse(pem: &[u8]) -> Result<Self, String> {
        let chain = certificates(pem).ok_or("there is no certificate in PEM")?;
        Self::of(chain, key(pem).ok_or("there is no private key in PEM")?)
    }

    fn of(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, String> {
        let provider = default_provider();
        let life = chain.first().and_then(|leaf| Life::of(leaf, &provider));
        let key = CertifiedKey::from_der(chain, key, &provider).map_err(|error| in_words(&error))?;
        Ok(Self { key: Arc::new(key), life })
    }
}

fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    chain.ok().filter(|chain| !chain.is_empty())
}

fn key(pem: &[u8]) -> Option<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(pem).ok()
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
}

/// What TLS has against something, for people.
pub(super) fn in_words(error: &Error) -> String {
    match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            "the key is not that of the file's first certificate".to_owned()
        }
        other => other.to_string(),
    }
}

/// From when until when a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) begins: SystemTime,
    pub(super) ends: SystemTime,
}

impl Life {
    /// A verification looks at the dates first, and says which they are when the time is none of theirs. So it may know no
    /// root, and is asked about the beginning and the end of all times.
    fn of(leaf: &CertificateDer<'_>, provider: &CryptoProvider) -> Option<Self> {
        let leaf = ParsedCertificate::try_from(leaf).ok()?;
        let (nobody, algorithms) = (RootCertStore::empty(), provider.signature_verification_algorithms.all);
        let refusal_at = |time| {
            let time = UnixTime::since_unix_epoch(time);
            match verify_server_cert_signed_by_trust_anchor(&leaf, &nobody, &[], time, algorithms) {
                Err(Error::InvalidCertificate(error)) => Some(error),
                _ => None,
            }
        };
        let moment = |time: UnixTime| SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs());
        let begins = match refusal_at(Duration::ZERO)? {
            CertificateError::NotValidYetContext { not_before, .. } => moment(not_before),
            _ => SystemTime::UNIX_EPOCH,
        };
        match refusal_at(FOR_EVER)? {
            CertificateError::ExpiredContext { not_after, .. } => {
                Some(Self { begins, ends: moment(not_after) })
            }
            _ => None,
        }
    }

    /// What is wrong with it now.
    pub(super) fn fault(self, now: SystemTime) -> Option<&'static str> {
        match now {
            _ if now > self.ends => Some("has expired"),
            _ if now < self.begins => Some("is not valid yet"),
            _ => None,
        }
    }

    /// When a third of it is left.
    pub(super) fn renewal(self) -> SystemTime {
        self.ends - self.ends.duration_since(self.begins).unwrap_or_default() / 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn pair(from: i32, until: i32) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["a.example.org".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
        let pem = params.self_signed(&key).unwrap().pem() + &key.serialize_pem();
        Pair::parse(pem.as_bytes()).unwrap()
    }

    #[test]
    fn the_life_of_a_certificate_is_read_to_the_second() {
        let day = Duration::from_secs(86_400);
        let epoch = SystemTime::UNIX_EPOCH;
        let life = pair(1970, 1973).life.unwrap();
        assert_eq!((life.begins, life.ends), (epoch, epoch + 1096 * day));
        let life = pair(2020, 2023).life.unwrap();
        assert_eq!((life.begins, life.ends), (epoch + 18_262 * day, epoch + 19_358 * day));
        assert_eq!(life.renewal(), life.ends - 1096 * day / 3);
        assert_eq!(life.fault(life.begins - day), Some("is not valid yet"));
        assert_eq!((life.fault(life.begins), life.fault(life.ends)), (None, None));
        assert_eq!(life.fault(life.ends + day), Some("has expired"));
        assert!(pair(2020, 4096).life.unwrap().fault(SystemTime::now()).is_none());
    }

    #[test]
    fn what_does_not_belong_together_is_no_pair() {
        let key = KeyPair::generate().unwrap().serialize_pem();
        let other = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["a.example.org".to_owned()]).unwrap();
        let certificate = params.self_signed(&other).unwrap().pem();
        assert!(Pair::parse((certificate.clone() + &key).as_bytes()).unwrap_err().contains("is not that of"));
        for text in [certificate, key, String::new()] {
            assert!(Pair::parse(text.as_bytes()).unwrap_err().contains("there is no"));
        }
    }
}
