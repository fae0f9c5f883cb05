//! What is kept of ACME: the account, the certificate with its key, and the challenges that are under way.
//!
//! Always: each file is whole, its owner's alone, and named by what it is for, so another authority or other domains never
//! find it. Nodes may share the directory: then each of them answers the challenges of all.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::config::AcmeConfig;

/// A digest, in bytes.
pub(super) const DIGEST_BYTES: usize = 32;

/// The directory of `tls.acme.cache`.
#[derive(Debug)]
pub(super) struct Cache {
    directory: PathBuf,
    account: String,
    certificate: String,
    domains: Vec<String>,
}

impl Cache {
    /// That of these settings; touches nothing yet.
    pub(super) fn of(config: &AcmeConfig) -> Self {
        let mut domains = config.domains.clone();
        domains.sort();
        let words = [&[config.directory.clone()][..], &domains].concat();
        Self {
            directory: config.cache.clone(),
            account: format!("account-{}.json", mark(&words[..1])),
            certificate: format!("certificate-{}.pem", mark(&words)),
            domains,
        }
    }

    /// The directory, for people.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The account, if there is one.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn account(&self) -> io::Result<Option<Vec<u8>>> {
        self.read(&self.account)
    }

    /// Keeps the account.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn keep_account(&self, json: &[u8]) -> io::Result<()> {
        self.write(&self.account, json)
    }

    /// The certificate and its key, if there are any.
    ///
    /// # Errors
    /// They cannot be read.
    pub(super) fn certificate(&self) -> io::Result<Option<Vec<u8>>> {
        self.read(&self.certificate)
    }

    /// Keeps them.
    ///
    /// # Errors
    /// They cannot be written.
    pub(super) fn keep_certificate(&self, pem: &str) -> io::Result<()> {
        self.write(&self.certificate, pem.as_bytes())
    }

    /// The digest that answers the challenge of a domain, if one of ours is under way. It is asked for by whoever connects,
    /// so what is no domain of ours touches no file.
    pub(super) fn challenge(&self, domain: &str) -> Option<[u8; DIGEST_BYTES]> {
        let domain = self.domains.iter().find(|ours| ours.eq_ignore_ascii_case(domain))?;
        self.read(&challenge(domain)).ok()??.try_into().ok()
    }

    /// Answers the challenge of a domain until what is returned is dropped.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn answer(&self, domain: &str, digest: &[u8]) -> io::Result<Answer> {
        let name = challenge(domain);
        self.write(&name, digest)?;
        Ok(Answer(self.directory.join(name)))
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.directory.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Who reads meanwhile, or after a crash, sees all of it or what was there before.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let whole = self.directory.join(name);
        // Another node may write the same at the same time.
        let part = self.directory.join(format!("{name}.{:016x}", getrandom::u64()?));
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&part, &whole)
        })();
        if written.is_err() {
            // It may not have been made.
            let _ = fs::remove_file(&part);
        }
        written
    }
}

/// A challenge that is answered.
#[derive(Debug)]
pub(super) struct Answer(PathBuf);

impl Drop for Answer {
    fn drop(&mut self) {
        // One that stays is answered in vain.
        let _ = fs::remove_file(&self.0);
    }
}

fn challenge(domain: &str) -> String {
    format!("challenge-{domain}")
}

/// Names what these words are about.
fn mark(words: &[String]) -> String {
    hex::encode(&Sha256::digest(words.join(" "))[..8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn cache(directory: &Path, authority: &str, domains: &[&str]) -> Cache {
        Cache::of(&AcmeConfig {
            domains: domains.iter().map(|&name| name.to_owned()).collect(),
            email: None,
            directory: authority.to_owned(),
            ca_file: None,
            cache: directory.join("acme"),
            uses_proxy: false,
        })
    }

    #[test]
    fn what_is_kept_is_for_one_authority_and_these_domains_and_its_owners_alone() {
        let place = tempfile::tempdir().unwrap();
        let ours = cache(place.path(), "https://one", &["a", "b"]);
        assert_eq!((ours.account().unwrap(), ours.certificate().unwrap()), (None, None));
        ours.keep_account(b"account").unwrap();
        ours.keep_certificate("before").unwrap();
        ours.keep_certificate("now").unwrap();
        let same = cache(place.path(), "https://one", &["b", "a"]);
        assert_eq!(same.certificate().unwrap().unwrap(), b"now");
        let more = cache(place.path(), "https://one", &["a", "b", "c"]);
        assert_eq!(
            (more.account().unwrap().unwrap(), more.certificate().unwrap()),
            (b"account".to_vec(), None)
        );
        let other = cache(place.path(), "https://two", &["a", "b"]);
        assert_eq!((other.account().unwrap(), other.certificate().unwrap()), (None, None));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(ours.directory()), 0o700);
        let files: Vec<_> =
            fs::read_dir(ours.directory()).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(files.len() == 2 && files.iter().all(|file| mode(file) == 0o600), "{files:?}");
    }

    #[test]
    fn a_challenge_is_answered_for_a_domain_of_ours_until_it_is_over() {
        let place = tempfile::tempdir().unwrap();
        let ours = cache(place.path(), "https://one", &["a.org"]);
        let shared = cache(place.path(), "https://one", &["a.org"]);
        let answer = ours.answer("a.org", &[7; DIGEST_BYTES]).unwrap();
        assert_eq!(shared.challenge("A.org"), Some([7; DIGEST_BYTES]));
        for foreign in ["b.org", "", "a.org/../a.org", "../secret"] {
            assert_eq!(shared.challenge(foreign), None);
        }
        drop(answer);
        assert_eq!(shared.challenge("a.org"), None);
    }
}
