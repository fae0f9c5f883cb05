//! Where the servers are, as `bus.url` says it.

use std::fmt;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::bus::BusError;
use crate::config::Secret;

/// What is said of a URL that is none of ours; the URL itself may hold a password.
const FORMS: &str = "bus.url must be redis://host:6379, several of that with commas between them, or \
                     redis-sentinel://host:26379,host2:26379/NAME-OF-MASTER; with TLS, rediss:// and rediss-sentinel://";

/// All that a URL says.
#[derive(Debug)]
pub(super) struct Addresses {
    /// In the order in which they are to be tried, at least one.
    pub(super) list: Vec<Address>,
    /// They speak TLS.
    pub(super) has_tls: bool,
    /// They are sentinels, to be asked where the master of this name is.
    pub(super) master: Option<String>,
}

/// One server.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    /// Whom the URL itself says this node is there.
    pub(super) account: Option<Account>,
}

/// Who a node is to a server.
#[derive(Clone, Debug)]
pub(super) struct Account {
    /// None is the default user.
    pub(super) user: Option<String>,
    pub(super) password: Secret,
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(out, "[{}]:{}", self.host, self.port),
            false => write!(out, "{}:{}", self.host, self.port),
        }
    }
}

impl Addresses {
    /// Reads `redis://host:6379`, `redis-sentinel://host:26379/master` and the like. What is behind a comma is a URL of
    /// the same kind, or goes on where the scheme of the first ends.
    ///
    /// # Errors
    /// It is nothing of that.
    pub(super) fn parse(text: &str) -> Result<Self, BusError> {
        Self::read(text).ok_or_else(|| BusError(FORMS.to_owned()))
    }

    fn read(text: &str) -> Option<Self> {
        let (scheme, _) = text.trim_start().split_once("://")?;
        let (has_tls, default_port) = match scheme {
            "redis" => (false, 6379),
            "rediss" => (true, 6379),
            "redis-sentinel" => (false, 26379),
            "rediss-sentinel" => (true, 26379),
            _ => return None,
        };
        let mut list = Vec::new();
        let mut path = None;
        for part in text.split(',').map(str::trim) {
            let url = if part.contains("://") { part.to_owned() } else { format!("{scheme}://{part}") };
            let url = Url::parse(&url).ok().filter(|url| url.scheme() == scheme)?;
            if url.query().is_some() || url.fragment().is_some() {
                return None;
            }
            list.push(Address::read(&url, default_port)?);
            let of_this = url.path().trim_matches('/');
            if !of_this.is_empty() && *path.get_or_insert(decoded(of_this)?) != decoded(of_this)? {
                return None;
            }
        }
        let master = if scheme.ends_with("-sentinel") {
            Some(path?)
        } else if path.is_none_or(|path| path.parse::<u32>().is_ok()) {
            // Publishing knows no databases: the number of one says nothing.
            None
        } else {
            return None;
        };
        Some(Self { list, has_tls, master })
    }
}

impl Address {
    fn read(url: &Url, default_port: u16) -> Option<Self> {
        let host = match url.host()? {
            Host::Domain("") => return None,
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let account = match (url.username(), url.password()) {
            ("", None) => None,
            // A lone word before the @ could be either; Redis knows passwords without a user, but no user without one.
            (_, None) => return None,
            (user, Some(password)) => Some(Account {
                user: Some(decoded(user)?).filter(|user| !user.is_empty()),
                password: Secret::new(decoded(password)?),
            }),
        };
        Some(Self { host, port: url.port().unwrap_or(default_port), account })
    }
}

fn decoded(text: &str) -> Option<String> {
    Some(percent_decode_str(text).decode_utf8().ok()?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The servers, whether they speak TLS, and the name of the master.
    fn read(text: &str) -> (Vec<String>, bool, Option<String>) {
        let addresses = Addresses::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        (addresses.list.iter().map(Address::to_string).collect(), addresses.has_tls, addresses.master)
    }

    fn servers(list: &[&str]) -> Vec<String> {
        list.iter().map(|server| (*server).to_owned()).collect()
    }

    #[test]
    fn a_url_names_one_server_or_several() {
        assert_eq!(read("redis://a"), (servers(&["a:6379"]), false, None));
        assert_eq!(read("rediss://a:1/0"), (servers(&["a:1"]), true, None));
        assert_eq!(
            read("redis://[::1]:7, redis://127.0.0.1"),
            (servers(&["[::1]:7", "127.0.0.1:6379"]), false, None)
        );
        assert_eq!(read("redis://a:1,b,c:3/2"), (servers(&["a:1", "b:6379", "c:3"]), false, None));
    }

    #[test]
    fn a_url_of_sentinels_names_the_master() {
        let two = servers(&["a:26379", "b:5"]);
        assert_eq!(
            read("redis-sentinel://a,b:5/my-master"),
            (two.clone(), false, Some("my-master".to_owned()))
        );
        assert_eq!(
            read("rediss-sentinel://a/m%20m,rediss-sentinel://b:5/m%20m"),
            (two, true, Some("m m".to_owned()))
        );
    }

    #[test]
    fn an_account_in_the_url_is_decoded_and_not_shown() {
        let addresses = Addresses::parse("redis://us%40er:p%2Css@a,:only@b,c").unwrap();
        let account = |at: usize| addresses.list[at].account.as_ref();
        let of_a = account(0).unwrap();
        assert_eq!((of_a.user.as_deref(), of_a.password.reveal()), (Some("us@er"), "p,ss"));
        let of_b = account(1).unwrap();
        assert_eq!((of_b.user.as_deref(), of_b.password.reveal()), (None, "only"));
        assert!(account(2).is_none());
        assert!(!format!("{addresses:?} {}", addresses.list[0]).contains("p,ss"));
    }

    #[test]
    fn what_is_no_such_url_is_refused_without_showing_it() {
        for bad in [
            "a:6379",
            "http://a",
            "redis://",
            "redis://a:no-port",
            "redis://a/name",
            "redis://a/1,b/2",
            "redis://a,rediss://b",
            "redis-sentinel://a",
            "redis-sentinel://a/m,b/n",
            "redis://lone@a",
            "redis://u:Xsecret@a?db=1",
            "redis://u:Xsecret@a,,b",
            "redis://u:%ff@a",
        ] {
            let error = Addresses::parse(bad).expect_err(bad).to_string();
            assert!(error.contains("bus.url") && !error.contains("Xsecret"), "{error}");
        }
    }
}
