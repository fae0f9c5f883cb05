//! Where the listeners' certificate comes from: two files, or an authority that is asked for it by ACME (RFC 8555).
//!
//! Only text is looked at here: a file is read, and an authority asked, by whoever serves.

use std::path::PathBuf;

use url::Url;

use super::typed::{TypedAcme, TypedTls};

/// The longest host name (RFC 1035 section 2.3.4), in bytes.
const NAME_BYTES_MAX: usize = 253;

/// What authorities put into one certificate at most.
const DOMAINS_MAX: usize = 100;

/// With what the listeners speak TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// Where the certificate comes from.
    pub source: CertificateSource,
    /// The private listener speaks TLS as well.
    pub is_private_too: bool,
}

/// Where a certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// Two files. That they can be read and belong together is not certain.
    Files {
        /// The certificate and those between it and its root, in PEM.
        cert_file: PathBuf,
        /// Its private key, in PEM.
        key_file: PathBuf,
    },
    /// An authority.
    Acme(AcmeConfig),
}

/// Which certificate is ordered by ACME, and from whom. Its terms of service are agreed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeConfig {
    /// The host names that it is for, in small letters, at least one.
    pub domains: Vec<String>,
    /// Whom the authority may write to.
    pub email: Option<String>,
    /// Where the authority says what it offers; `https`.
    pub directory: String,
    /// A file of certificates that the authority's own server may have besides those of the web.
    pub ca_file: Option<PathBuf>,
    /// The directory in which the account's key and the certificate with its key are kept.
    pub cache: PathBuf,
    /// It is asked through the proxy that the environment names.
    pub uses_proxy: bool,
}

impl TlsConfig {
    /// What was typed under `tls`, if TLS is spoken at all; all that is wrong with it goes to `findings`.
    pub(super) fn read(typed: TypedTls, findings: &mut Vec<String>) -> Option<Self> {
        let mut find = |finding: &str| findings.push(finding.to_owned());
        let names_file = !typed.cert_file.is_empty() || !typed.key_file.is_empty();
        let has_domains = !typed.acme.domains.trim().is_empty();
        if names_file && has_domains {
            find("tls.cert_file and tls.acme.domains exclude each other: there is one certificate");
        }
        match (typed.cert_file.is_empty(), typed.key_file.is_empty()) {
            (true, false) => find("tls.key_file needs tls.cert_file"),
            (false, true) => find("tls.cert_file needs tls.key_file"),
            _ => {}
        }
        if typed.private && !names_file && !has_domains {
            find("tls.private needs tls.cert_file and tls.key_file, or tls.acme.domains");
        }
        let source = if has_domains {
            CertificateSource::Acme(AcmeConfig::read(typed.acme, findings))
        } else if names_file {
            CertificateSource::Files { cert_file: typed.cert_file.into(), key_file: typed.key_file.into() }
        } else {
            return None;
        };
        Some(Self { source, is_private_too: typed.private })
    }
}

impl AcmeConfig {
    fn read(typed: TypedAcme, findings: &mut Vec<String>) -> Self {
        if !typed.accept_terms {
            findings.push(format!(
                "tls.acme.accept_terms must be true: it says that you agree to the terms of service of {}",
                typed.directory
            ));
        }
        let domains: Vec<String> =
            typed.domains.split(',').map(|name| name.trim().to_ascii_lowercase()).collect();
        findings.extend(domains.iter().find_map(|name| Some(format!("tls.acme.domains {}", fault(name)?))));
        if domains.len() > DOMAINS_MAX {
            findings.push(format!("tls.acme.domains must be {DOMAINS_MAX} at most, found {}", domains.len()));
        }
        let is_plain = |letter: char| !letter.is_whitespace() && !letter.is_control();
        let is_address = typed.email.contains('@') && typed.email.chars().all(is_plain);
        if !typed.email.is_empty() && !is_address {
            findings.push("tls.acme.email must be an address such as ops@example.org".to_owned());
        }
        if !Url::parse(&typed.directory).is_ok_and(|url| url.scheme() == "https" && url.has_host()) {
            findings.push("tls.acme.directory must be a URL that begins with https://".to_owned());
        }
        if typed.cache.is_empty() {
            findings.push("tls.acme.cache must be a directory".to_owned());
        }
        Self {
            domains,
            email: Some(typed.email).filter(|email| !email.is_empty()),
            directory: typed.directory,
            ca_file: Some(PathBuf::from(typed.ca_file)).filter(|file| !file.as_os_str().is_empty()),
            cache: typed.cache.into(),
            uses_proxy: false,
        }
    }
}

/// Why no certificate can be ordered for `name`, as the end of a sentence.
fn fault(name: &str) -> Option<String> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.starts_with("*.") {
        return Some(format!(
            "must not hold {name}: a listener cannot prove that all names below one are its own"
        ));
    }
    let is_number =
        name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    let is_name = name.len() <= NAME_BYTES_MAX && name.split('.').all(is_label) && !is_number;
    (!is_name).then(|| {
        format!("must be host names such as push.example.org with commas between them, found {name:?}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::typed::Typed;

    fn read(change: impl FnOnce(&mut TypedTls)) -> (Option<TlsConfig>, Vec<String>) {
        let (mut typed, mut findings) = (Typed::default().tls, Vec::new());
        change(&mut typed);
        (TlsConfig::read(typed, &mut findings), findings)
    }

    #[test]
    fn an_authority_is_asked_when_domains_are_named_and_its_terms_agreed_to() {
        let (tls, findings) = read(|tls| {
            tls.acme.domains = "A.example.org, b.example.org".into();
            tls.acme.accept_terms = true;
        });
        assert!(findings.is_empty(), "{findings:?}");
        let CertificateSource::Acme(acme) = tls.unwrap().source else { panic!("it is ACME") };
        assert_eq!(acme.domains, ["a.example.org", "b.example.org"]);
        assert!(acme.directory.starts_with("https://") && acme.email.is_none() && acme.ca_file.is_none());
        let (_, findings) = read(|tls| tls.acme.domains = "a.example.org".into());
        assert!(findings[0].starts_with("tls.acme.accept_terms must be true"), "{findings:?}");
    }

    #[test]
    fn files_and_an_authority_exclude_each_other() {
        let (_, findings) = read(|tls| {
            (tls.cert_file, tls.key_file) = ("c".into(), "k".into());
            (tls.acme.domains, tls.acme.accept_terms) = ("a.example.org".into(), true);
        });
        assert_eq!(findings.len(), 1);
        assert!(findings[0].contains("exclude each other"), "{findings:?}");
    }

    #[test]
    fn what_no_authority_can_use_is_refused() {
        let found = |change: &dyn Fn(&mut TypedAcme)| {
            let (_, findings) = read(|tls| {
                (tls.acme.domains, tls.acme.accept_terms) = ("a.example.org".into(), true);
                change(&mut tls.acme);
            });
            findings.join("; ")
        };
        for bad in ["*.example.org", "a..b", "a,,b", "10.0.0.1", "::1", "a b", "-a.org", "é.org", "a.org/"] {
            assert!(found(&|acme| acme.domains = bad.into()).contains("tls.acme.domains must"), "{bad}");
        }
        assert!(found(&|acme| acme.email = "nobody".into()).contains("tls.acme.email"));
        assert!(found(&|acme| acme.directory = "http://ca".into()).contains("tls.acme.directory"));
        assert!(found(&|acme| acme.cache = String::new()).contains("tls.acme.cache"));
        assert_eq!(found(&|acme| acme.domains = "localhost".into()), "");
    }
}
