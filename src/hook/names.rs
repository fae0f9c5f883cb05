//! Resolves the host names of hooks and webhooks, without a thread. The system's own function blocks one for as long as a name
//! server is silent, whatever time-out its caller has: a few dozen such names would take every thread that passwords and
//! patterns need, too.
//!
//! Always holds: a lookup ends with its future, or after [`LOOKUP_TIME_MAX`]. So there are never more of them than
//! exchanges that may be under way.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name as DnsName, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::time::timeout;

/// How long a name may take.
const LOOKUP_TIME_MAX: Duration = Duration::from_secs(4);

/// How long one question to name servers may take; then they are asked again. Less than half of the above.
const QUESTION_TIME_MAX: Duration = Duration::from_millis(1900);

/// How often it is looked whether the files have changed.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What says how names are resolved.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Resolves names as the system's files say, and as they say it when they have changed.
#[derive(Clone, Default)]
pub(super) struct Names(Arc<Mutex<Current>>);

#[derive(Default)]
struct Current {
    sources: Option<Sources>,
    /// When each file was changed last, as far as it was there.
    changed: [Option<SystemTime>; 2],
    looked: Option<Instant>,
}

#[derive(Clone)]
struct Sources {
    hosts: Arc<Hosts>,
    resolver: TokioResolver,
}

impl Names {
    /// The addresses of a name, without ports. For one that the file of hosts has, no server is asked, for either kind of
    /// address, as the system does it.
    pub(super) async fn addresses(&self, name: &str) -> Result<Vec<SocketAddr>, Fault> {
        let Sources { hosts, resolver } = self.sources()?;
        let mut found = in_hosts(&hosts, name);
        if found.is_empty() {
            found.extend(timeout(LOOKUP_TIME_MAX, resolver.lookup_ip(name)).await??.iter());
        }
        Ok(found.into_iter().map(|address| SocketAddr::new(address, 0)).collect())
    }

    /// The sources of this moment. The files are short and of this machine, and are looked at rarely.
    fn sources(&self) -> Result<Sources, Fault> {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY) {
            current.looked = Some(Instant::now());
            let changed = changed();
            if current.sources.is_none() || current.changed != changed {
                let hosts = Hosts::from_system().unwrap_or_default();
                current.sources = Some(Sources { hosts: Arc::new(hosts), resolver: resolver()? });
                current.changed = changed;
            }
        }
        current.sources.clone().ok_or_else(|| "no resolver can be made".into())
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let names = self.clone();
        Box::pin(async move { Ok(Box::new(names.addresses(name.as_str()).await?.into_iter()) as Addrs) })
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Names")
    }
}

fn changed() -> [Option<SystemTime>; 2] {
    FILES.map(|file| fs::metadata(file).and_then(|file| file.modified()).ok())
}

fn in_hosts(hosts: &Hosts, name: &str) -> Vec<IpAddr> {
    let Ok(name) = DnsName::from_utf8(name) else { return Vec::new() };
    let of_type = |kind| hosts.lookup_static_host(&Query::query(name.clone(), kind));
    let found = [RecordType::A, RecordType::AAAA].into_iter().filter_map(of_type);
    found
        .flat_map(|found| {
            found.answers().iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>()
        })
        .collect()
}

fn resolver() -> Result<TokioResolver, Fault> {
    let mut builder = TokioResolver::builder_tokio().unwrap_or_else(|_| {
        // A file that is absent, or names no server, means the one of this machine (resolv.conf(5)).
        let here = NameServerConfig::udp_and_tcp(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![here]);
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    });
    let options = builder.options_mut();
    options.timeout = options.timeout.min(QUESTION_TIME_MAX);
    // Connections to both kinds of address are tried, the second a moment after the first (RFC 8305).
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    Ok(builder.build()?)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::sync::mpsc;

    use super::*;

    /// Names that a server on this machine knows.
    fn of_server(port: u16) -> Names {
        let mut server = NameServerConfig::udp(IpAddr::V4(Ipv4Addr::LOCALHOST));
        server.connections.iter_mut().for_each(|connection| connection.port = port);
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let mut hosts = Hosts::default();
        hosts.read_hosts_conf(&b"192.0.2.7 backend other\n"[..]).expect("lines");
        let sources = Sources { hosts: Arc::new(hosts), resolver: builder.build().expect("a resolver") };
        let names = Names::default();
        *names.0.lock().expect("no test panics under the lock") =
            Current { sources: Some(sources), changed: changed(), looked: Some(Instant::now()) };
        names
    }

    /// A runtime whose only thread for what blocks is taken, until the sender is dropped.
    fn without_a_thread(work: impl Future<Output = ()>) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build();
        let runtime = runtime.expect("a runtime");
        let (hold, held) = mpsc::channel::<()>();
        runtime.spawn_blocking(move || held.recv());
        runtime.block_on(work);
        drop(hold);
    }

    #[test]
    fn a_name_of_this_machine_is_found_without_a_thread_that_may_block() {
        without_a_thread(async {
            let found = Names::default().addresses("localhost").await;
            let found = found.expect("addresses");
            assert!(!found.is_empty() && found.iter().all(|address| address.ip().is_loopback()), "{found:?}");
        });
    }

    #[tokio::test]
    async fn no_server_is_asked_for_a_name_that_the_file_of_hosts_has() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
        server.set_nonblocking(true).expect("a switch");
        let names = of_server(server.local_addr().expect("an address").port());
        for name in ["backend", "OTHER"] {
            assert_eq!(names.addresses(name).await.expect("an address"), ["192.0.2.7:0".parse().unwrap()]);
        }
        assert!(server.recv(&mut [0; 512]).is_err());
    }

    #[test]
    fn names_of_a_silent_server_end_with_those_who_ask() {
        let silent = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let names = of_server(silent.local_addr().expect("an address").port());
        without_a_thread(async {
            let asked = (0..100).map(|number| {
                let names = names.clone();
                async move { names.addresses(&format!("host{number}.example")).await.is_err() }
            });
            let asked = futures_util::future::join_all(asked).await;
            assert!(asked.iter().all(|&failed| failed));
            let asked = tokio::spawn(async move { names.addresses("one.example").await.is_ok() });
            tokio::task::yield_now().await;
            asked.abort();
            assert!(asked.await.expect_err("it was aborted").is_cancelled());
        });
    }
}
