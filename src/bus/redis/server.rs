//! The way to a server that carries what this node says to all others: which address, over TLS or not, as whom, and
//! whether the server there is of use.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{MultiplexedConnection, SendError};
use redis::{
    AsyncConnectionConfig, Cmd, ProtocolVersion, PushInfo, RedisConnectionInfo, RedisError, Value,
    from_redis_value,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::address::{Account, Address, Addresses};
use crate::bus::{BusError, tls};
use crate::config::BusConfig;

/// How long one server has until the connection to it is of use, or is not.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// Requests that the client of the library keeps for its connection. More than this node has under way at once, so none
/// waits for a place and they go out in order.
const REQUESTS_MAX: usize = 256;

/// What takes what a server says unasked.
pub(super) type Hear = Arc<dyn Fn(PushInfo) + Send + Sync>;

/// The servers of the configuration.
pub(super) struct Servers {
    addresses: Addresses,
    /// Who this node is where the URL does not say.
    account: Option<Account>,
    tls: Option<TlsConnector>,
}

/// A connection of use. Nothing moves on it unless `driver` is polled, which ends when it breaks.
pub(super) struct Line {
    pub(super) requests: MultiplexedConnection,
    pub(super) driver: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Where it leads.
    pub(super) to: String,
}

/// Why there is no connection, for the operator and without a secret.
#[derive(Debug)]
pub(super) enum Unusable {
    /// A server does not accept this node, and would not if it were asked again.
    Refused(String),
    /// It may be there later.
    Absent(String),
}

impl fmt::Display for Unusable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Refused(reason) | Self::Absent(reason)) = self;
        out.write_str(reason)
    }
}

impl Servers {
    /// Those of the configuration.
    ///
    /// # Errors
    /// The URL is none of ours, or there is nothing to prove the servers by.
    pub(super) fn new(config: &BusConfig) -> Result<Self, BusError> {
        let addresses = Addresses::parse(config.url.reveal())?;
        let tls = match addresses.has_tls {
            true => Some(TlsConnector::from(Arc::new(tls::client_config(config.ca_file.as_deref())?))),
            false => None,
        };
        let has_account = config.user.is_some() || !config.password.reveal().is_empty();
        let account =
            has_account.then(|| Account { user: config.user.clone(), password: config.password.clone() });
        Ok(Self { addresses, account, tls })
    }

    /// Connects to the first server that is of use; asks sentinels for it, where the URL names those.
    ///
    /// # Errors
    /// None is.
    pub(super) async fn connect(&self, hear: &Hear) -> Result<Line, Unusable> {
        let (mut reasons, mut is_refused) = (Vec::new(), false);
        for address in &self.addresses.list {
            let attempt = async {
                match &self.addresses.master {
                    Some(name) => {
                        let master = self.ask_sentinel(address, name).await?;
                        self.open(&master, self.account.as_ref(), hear).await
                    }
                    None => {
                        let account = address.account.as_ref().or(self.account.as_ref());
                        self.open(address, account, hear).await
                    }
                }
            };
            let silent = || Unusable::Absent(format!("{address} does not answer within {CONNECT_WITHIN:?}"));
            match timeout(CONNECT_WITHIN, attempt).await.unwrap_or_else(|_| Err(silent())) {
                Ok(line) => return Ok(line),
                Err(unusable) => {
                    is_refused |= matches!(unusable, Unusable::Refused(_));
                    reasons.push(unusable.to_string());
                }
            }
        }
        let reasons = reasons.join("; ");
        Err(if is_refused { Unusable::Refused(reasons) } else { Unusable::Absent(reasons) })
    }

    /// Opens a connection to a server that reaches all others.
    async fn open(&self, at: &Address, account: Option<&Account>, hear: &Hear) -> Result<Line, Unusable> {
        let hear = Arc::clone(hear);
        let config = AsyncConnectionConfig::new().set_push_sender(move |push: PushInfo| {
            hear(push);
            Ok::<_, SendError>(())
        });
        let mut line = self.dial(at, account, config).await?;
        let standing = line.ask(&what_are_you()).await.map_err(|error| unusable(at, account, &error))?;
        check_standing(&standing).map_err(|reason| Unusable::Absent(format!("{at} {reason}")))?;
        Ok(line)
    }

    /// Asks a sentinel where the master is.
    async fn ask_sentinel(&self, sentinel: &Address, name: &str) -> Result<Address, Unusable> {
        let account = sentinel.account.as_ref();
        let mut line = self.dial(sentinel, account, AsyncConnectionConfig::new()).await?;
        let mut question = redis::cmd("SENTINEL");
        let answer = line.ask(question.arg("GET-MASTER-ADDR-BY-NAME").arg(name)).await;
        let answer = answer.map_err(|error| unusable(sentinel, account, &error))?;
        let answer: Option<(String, u16)> = from_redis_value(answer)
            .map_err(|_| Unusable::Absent(format!("{sentinel} does not answer as a sentinel does")))?;
        let (host, port) = answer
            .ok_or_else(|| Unusable::Absent(format!("the sentinel {sentinel} knows no master {name:?}")))?;
        Ok(Address { host, port, account: None })
    }

    /// Connects to an address and signs in.
    async fn dial(
        &self,
        to: &Address,
        account: Option<&Account>,
        config: AsyncConnectionConfig,
    ) -> Result<Line, Unusable> {
        let absent = |error: &dyn fmt::Display| Unusable::Absent(format!("{to}: {error}"));
        let stream = TcpStream::connect((&*to.host, to.port)).await.map_err(|error| absent(&error))?;
        stream.set_nodelay(true).map_err(|error| absent(&error))?;
        let signed_in = match &self.tls {
            Some(tls) => {
                let name = ServerName::try_from(to.host.clone()).map_err(|error| absent(&error))?;
                let stream = tls.connect(name, stream).await.map_err(|error| absent(&error))?;
                sign_in(stream, account, config).await
            }
            None => sign_in(stream, account, config).await,
        };
        let (requests, driver) = signed_in.map_err(|error| unusable(to, account, &error))?;
        Ok(Line { requests, driver, to: to.to_string() })
    }
}

impl Line {
    /// Waits for one answer.
    async fn ask(&mut self, question: &Cmd) -> Result<Value, RedisError> {
        let answer = tokio::select! {
            answer = self.requests.send_packed_command(question) => answer?,
            () = &mut self.driver => return Err(RedisError::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset))),
        };
        answer.extract_error()
    }
}

/// Begins to speak RESP3, in which answers and what is heard unasked come over one connection.
async fn sign_in<Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: Stream,
    account: Option<&Account>,
    config: AsyncConnectionConfig,
) -> Result<(MultiplexedConnection, Pin<Box<dyn Future<Output = ()> + Send>>), RedisError> {
    let mut info = RedisConnectionInfo::default()
        .set_protocol(ProtocolVersion::RESP3)
        .set_lib_name("gusher", env!("CARGO_PKG_VERSION"));
    if let Some(account) = account {
        info = info.set_password(account.password.reveal());
        if let Some(user) = &account.user {
            info = info.set_username(user);
        }
    }
    // Whoever asks knows how long to wait.
    let config = config.set_response_timeout(None).set_pipeline_buffer_size(REQUESTS_MAX);
    let (requests, driver) = MultiplexedConnection::new_with_config(&info, stream, config).await?;
    Ok((requests, Box::pin(driver)))
}

/// Asks a server what it is. It changes nothing, and needs no permission.
pub(super) fn what_are_you() -> Cmd {
    let mut question = redis::cmd("HELLO");
    question.arg(3);
    question
}

/// Whether what is published on a server reaches the subscribers of all others, as it says of itself in its answer to
/// HELLO; else why not, as the end of a sentence.
pub(super) fn check_standing(hello: &Value) -> Result<(), &'static str> {
    let said = |wanted: &str| {
        let entries = hello.as_map_iter()?;
        let (_, value) = entries.into_iter().find(|(key, _)| text(key) == Some(wanted))?;
        text(value)
    };
    match (said("mode"), said("role")) {
        // In a Redis Cluster every server hands on what is published.
        (Some("cluster"), _) => Ok(()),
        (Some("sentinel"), _) => Err("is a sentinel: bus.url must then begin with redis-sentinel://"),
        (_, Some("replica" | "slave")) => Err("is a replica, which hands nothing on to its master"),
        _ => Ok(()),
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// What an error of a server means. Of its words only the first is repeated, the others may be anything.
fn unusable(at: &Address, account: Option<&Account>, error: &RedisError) -> Unusable {
    match (error.code(), account) {
        (Some("WRONGPASS"), _) => Unusable::Refused(format!(
            "{at} does not accept this user and password (WRONGPASS): see bus.user and bus.password"
        )),
        (Some("NOAUTH"), None) => Unusable::Refused(format!(
            "{at} wants a password (NOAUTH): give bus.password, and bus.user if it is not the default user"
        )),
        (Some(code), _) => Unusable::Absent(format!("{at} answers {code}")),
        (None, _) => Unusable::Absent(format!("{at}: {error}")),
    }
}
