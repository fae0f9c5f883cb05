//! Where a PostgreSQL server is and how it is spoken to, written as a URL.
//!
//! Only text is looked at here: a host is resolved, and a file read, by whoever connects. No error repeats a part of the
//! URL that may be a secret.

use std::{fmt, path::PathBuf};

use percent_encoding::percent_decode_str;
use url::Url;

use super::Secret;

/// Where PostgreSQL listens unless somebody says otherwise.
const PORT: u16 = 5432;

/// A database on a PostgreSQL server, and who we are to it. Prints as `host:port/database`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresConfig {
    /// A name, an address, or the directory of a socket, which begins with a slash.
    pub host: String,
    /// The port; in a directory, a part of the socket's name.
    pub port: u16,
    /// The name of the database.
    pub database: String,
    /// Who this node is to the server.
    pub user: String,
    /// The proof of that; empty where the server asks for none.
    pub password: Secret,
    /// How the connection is protected, if that was said; else as PostgreSQL's own clients do without a word of it.
    pub tls: Option<PostgresTls>,
    /// A file of certificates that are trusted besides the public ones. That it can be read is not certain.
    pub ca_file: Option<PathBuf>,
}

/// How a connection to PostgreSQL is protected: the values of `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostgresTls {
    /// Not at all.
    Disable,
    /// By TLS if the server has it, whoever it is.
    Prefer,
    /// By TLS, whoever the server is.
    Require,
    /// By TLS, and the server's certificate is trusted.
    VerifyCa,
    /// By TLS, and the server's certificate is trusted and names the host.
    VerifyFull,
}

impl PostgresConfig {
    /// The server of the settings `store.url` and `store.ca_file`, if there is one. Who names certificates wants the server
    /// to prove who it is.
    ///
    /// # Errors
    /// One finding, which begins with the name of the setting.
    pub(super) fn parse(url: &str, ca_file: &str) -> Result<Option<Self>, String> {
        if url.is_empty() {
            let is_alone = !ca_file.is_empty();
            return if is_alone {
                Err("store.ca_file is of no use without store.url".into())
            } else {
                Ok(None)
            };
        }
        let mut config = Self::from_url(url).map_err(|reason| format!("store.url {reason}"))?;
        if !ca_file.is_empty() {
            let tls = *config.tls.get_or_insert(PostgresTls::VerifyFull);
            if !matches!(tls, PostgresTls::VerifyCa | PostgresTls::VerifyFull) {
                return Err("store.ca_file is of no use unless sslmode is verify-full or verify-ca".into());
            }
            config.ca_file = Some(ca_file.into());
        }
        Ok(Some(config))
    }

    /// Else why the text is no such URL, as the end of a sentence that begins with the setting's name.
    fn from_url(text: &str) -> Result<Self, String> {
        let wrong = || "must be a URL such as postgres://user:password@host:5432/database".to_owned();
        let url = Url::parse(text).map_err(|_| wrong())?;
        let decoded = |part: &str| {
            let decoded = percent_decode_str(part).decode_utf8().map_err(|_| wrong())?;
            Ok::<_, String>(decoded.into_owned())
        };
        let host = url.host_str().unwrap_or_default();
        let mut config = Self {
            host: decoded(host.trim_start_matches('[').trim_end_matches(']'))?,
            port: url.port().unwrap_or(PORT),
            database: decoded(url.path().trim_start_matches('/'))?,
            user: decoded(url.username())?,
            password: Secret::new(decoded(url.password().unwrap_or_default())?),
            tls: None,
            ca_file: None,
        };
        url.query_pairs().try_for_each(|(name, value)| config.set(&name, &value))?;
        let is_complete = [&config.host, &config.database, &config.user].iter().all(|part| !part.is_empty());
        if matches!(url.scheme(), "postgres" | "postgresql") && is_complete {
            Ok(config)
        } else {
            Err(wrong())
        }
    }

    fn set(&mut self, parameter: &str, value: &str) -> Result<(), String> {
        match (parameter, PostgresTls::parse(value)) {
            ("host", _) => self.host = value.to_owned(),
            ("sslmode", Some(tls)) => self.tls = Some(tls),
            ("sslmode", None) => {
                let modes = "disable, prefer, require, verify-ca or verify-full";
                return Err(format!("has an sslmode that is not {modes}"));
            }
            _ => return Err("has a parameter that is neither sslmode nor host".to_owned()),
        }
        Ok(())
    }
}

impl PostgresTls {
    fn parse(mode: &str) -> Option<Self> {
        Some(match mode {
            "disable" => Self::Disable,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => return None,
        })
    }
}

impl fmt::Display for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            host if host.contains(':') => write!(f, "[{host}]:{}/{}", self.port, self.database),
            host => write!(f, "{host}:{}/{}", self.port, self.database),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str, ca_file: &str) -> PostgresConfig {
        PostgresConfig::parse(url, ca_file).unwrap_or_else(|error| panic!("{url}: {error}")).unwrap()
    }

    #[test]
    fn a_url_names_a_server_and_prints_without_its_secret() {
        let config = parse("postgres://me:p%40ss@db.example:6000/apps?sslmode=require", "");
        assert_eq!((&*config.user, config.password.reveal(), &*config.database), ("me", "p@ss", "apps"));
        assert_eq!(
            (&*config.host, config.port, config.tls),
            ("db.example", 6000, Some(PostgresTls::Require))
        );
        assert_eq!(config.to_string(), "db.example:6000/apps");
        assert!(!format!("{config:?}").contains("p@ss"));
    }

    #[test]
    fn what_a_url_leaves_out_has_a_default_and_no_url_means_no_server() {
        let config = parse("postgresql://me@[::1]/apps", "");
        assert_eq!((config.port, config.password.reveal(), config.tls), (5432, "", None));
        assert_eq!(config.to_string(), "[::1]:5432/apps");
        assert_eq!(parse("postgres://me@h/apps?host=/run/postgresql", "").host, "/run/postgresql");
        assert_eq!(parse("postgres://me@%2Frun%2Fpostgresql/apps", "").host, "/run/postgresql");
        assert_eq!(PostgresConfig::parse("", ""), Ok(None));
    }

    #[test]
    fn what_is_no_such_url_is_refused_without_a_word_of_it() {
        for url in [
            "Xsecret",
            "mysql://me:Xsecret@host/apps",
            "postgres://:Xsecret@host/apps",
            "postgres://me:Xsecret@host",
            "postgres://me:Xsecret@/apps",
            "postgres://me:Xsecret@host:port/apps",
            "postgres://me:Xsecret@host/apps?sslmode=Xsecret",
            "postgres://me@host/apps?pasword=Xsecret",
            "postgres://me:Xsecret%ff@host/apps",
        ] {
            let error = PostgresConfig::parse(url, "").unwrap_err();
            assert!(error.starts_with("store.url ") && !error.contains("Xsecret"), "{url}: {error}");
        }
    }

    #[test]
    fn who_names_certificates_wants_them_looked_at() {
        let config = parse("postgres://me@host/apps", "/ca.pem");
        assert_eq!((config.tls, config.ca_file), (Some(PostgresTls::VerifyFull), Some("/ca.pem".into())));
        let config = parse("postgres://me@host/apps?sslmode=verify-ca", "/ca.pem");
        assert_eq!(config.tls, Some(PostgresTls::VerifyCa));
        for url in ["", "postgres://me@host/apps?sslmode=disable", "postgres://me@host/apps?sslmode=require"]
        {
            let error = PostgresConfig::parse(url, "/ca.pem").unwrap_err();
            assert!(error.starts_with("store.ca_file is of no use"), "{error}");
        }
    }
}
