//! How a node finds the server of its bus, proves itself to it and has it proved, and what it does when the server is
//! not what it was: on real servers of each kind.

mod support;

use std::time::Duration;

use gusher::bus::{BusEvent, NotSent};
use gusher::config::BusKind;
use redis::{Value, cmd};
use rustix::process::Signal;
use support::bus_node::{BusNode, connect};
use support::certificates::Certificates;
use support::log::Log;
use support::process::Directory;
use support::real_nodes::until;
use support::servers::{BusServer, Sentinel, free_port};
use support::soon;

/// A password that no line of a log may have in it.
const PASSWORD: &str = "Xsecret";

/// Settings besides those of a server.
fn and<'a>(server: &BusServer, more: &[(&'a str, &str)]) -> Vec<(&'a str, String)> {
    let more = more.iter().map(|(key, value)| (*key, (*value).to_owned()));
    server.settings().into_iter().chain(more).collect()
}

/// Two nodes with these settings hear each other.
async fn reach_each_other(settings: &[(&str, String)]) {
    let mut one = BusNode::join("one", settings).await;
    let mut other = BusNode::join("other", settings).await;
    hear_each_other(&mut one, &mut other).await;
}

async fn hear_each_other(one: &mut BusNode, other: &mut BusNode) {
    for node in [&mut *one, &mut *other] {
        node.bus.follow("s");
        node.settle().await;
    }
    one.says("s", "from one");
    one.hears("from one").await;
    other.hears("from one").await;
    other.says("s", "from the other");
    one.hears("from the other").await;
    other.hears("from the other").await;
}

/// A server that wants a password.
fn guarded(kind: BusKind) -> BusServer {
    BusServer::with(
        kind,
        match kind {
            BusKind::Nats => &["--user", "node", "--pass", PASSWORD],
            BusKind::Redis => &[
                "--user",
                "default",
                "off",
                "--user",
                "node",
                "on",
                ">Xsecret",
                "resetchannels",
                "&s",
                "&own.*",
                "+publish",
                "+subscribe",
                "+unsubscribe",
            ],
        },
    )
}

/// Asks a server of Redis as an administrator does.
async fn administer(port: u16, question: &str) -> Value {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}/?protocol=resp3")).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut words = question.split(' ');
    let mut command = cmd(words.next().unwrap());
    for word in words {
        command.arg(word);
    }
    command.query_async(&mut connection).await.unwrap_or_else(|error| panic!("{question}: {error}"))
}

/// The same, as text.
async fn ask(port: u16, question: &str) -> String {
    format!("{:?}", administer(port, question).await)
}

#[tokio::test]
async fn a_node_proves_itself_by_user_and_password() {
    for kind in BusServer::KINDS {
        let server = guarded(kind);
        reach_each_other(&and(&server, &[("bus.user", "node"), ("bus.password", PASSWORD)])).await;
        let url = server.url().replace("://", &format!("://node:{PASSWORD}@"));
        reach_each_other(&and(&server, &[("bus.url", &url)])).await;
    }
}

#[tokio::test]
async fn an_account_of_nats_needs_no_more_than_what_is_under_the_prefix() {
    let directory = Directory::new();
    let file = directory.path("nats.conf");
    let user =
        r#"{ user: node, password: Xsecret, permissions: { publish: "mine.>", subscribe: "mine.>" } }"#;
    directory.write("nats.conf", &format!("authorization {{ users: [{user}] }}"));
    let server = BusServer::with(BusKind::Nats, &["-c", file.to_str().unwrap()]);
    let account = [("bus.user", "node"), ("bus.password", PASSWORD), ("bus.prefix", "mine")];
    let mut node = BusNode::join("one", &and(&server, &account)).await;
    node.bus.follow("mine.nodes");
    node.says("mine.nodes", "heard");
    node.hears("heard").await;
}

#[tokio::test]
async fn redis_takes_a_password_without_a_user() {
    let server = BusServer::with(BusKind::Redis, &["--requirepass", PASSWORD]);
    reach_each_other(&and(&server, &[("bus.password", PASSWORD)])).await;
}

#[tokio::test]
async fn a_wrong_password_is_told_to_the_operator_and_shown_nowhere() {
    for kind in BusServer::KINDS {
        let (log, _guard) = Log::here();
        let server = guarded(kind);
        let wrong = and(&server, &[("bus.user", "node"), ("bus.password", "Xwrong")]);
        let told = match kind {
            BusKind::Nats => {
                let _bus = connect(&wrong).await.expect("NATS is tried again");
                until("it is told", async || log.count("bus.password") > 0).await;
                log.text()
            }
            BusKind::Redis => {
                let none = connect(&server.settings()).await.expect_err("there is no password").to_string();
                assert!(none.contains("bus.password"), "{none}");
                connect(&wrong).await.expect_err("it is the wrong one").to_string()
            }
        };
        assert!(told.contains("bus.user") && told.contains("bus.password"), "{told}");
        assert!(!(told + &log.text()).contains("Xwrong"));
    }
}

#[tokio::test]
async fn what_trying_again_cannot_mend_is_said_at_once_and_without_a_secret() {
    for (kind, scheme) in [("nats", "nats"), ("redis", "redis"), ("redis", "rediss-sentinel")] {
        let url = format!("{scheme}://user:{PASSWORD}@host:no-port");
        let error =
            connect(&[("bus.kind", kind), ("bus.url", &url)]).await.expect_err("no such URL").to_string();
        assert!(error.contains("bus.url") && !error.contains(PASSWORD), "{error}");
    }
    for (kind, url) in [("nats", "tls://127.0.0.1"), ("redis", "rediss://127.0.0.1")] {
        for file in ["/no/such/file", "Cargo.toml"] {
            let settings = [("bus.kind", kind), ("bus.url", url), ("bus.ca_file", file)];
            let error = connect(&settings).await.expect_err("no such certificates").to_string();
            assert!(error.contains("bus.ca_file") && error.contains(file), "{error}");
        }
    }
}

#[tokio::test]
async fn a_server_is_proved_by_the_certificates_of_a_file() {
    let certificates = Certificates::new();
    for kind in BusServer::KINDS {
        let server = BusServer::with_tls(kind, &certificates.server(), &certificates.key());
        reach_each_other(&and(&server, &[("bus.ca_file", &certificates.authority())])).await;
    }
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_not_used() {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    for kind in BusServer::KINDS {
        let (log, _guard) = Log::here();
        let server = BusServer::with_tls(kind, &certificates.server(), &certificates.key());
        let settings = and(&server, &[("bus.ca_file", &others.authority())]);
        let (bus, _events) = connect(&settings).await.expect("it is tried again");
        until("it is told", async || log.count("tried again") == 1).await;
        assert!(!bus.is_up());
    }
}

#[tokio::test]
async fn of_several_servers_one_that_lives_is_used() {
    for kind in BusServer::KINDS {
        let server = BusServer::start(kind);
        let scheme = server.url().split(':').next().unwrap().to_owned();
        let urls = format!("{scheme}://127.0.0.1:{},{}", free_port(), server.url());
        reach_each_other(&and(&server, &[("bus.url", &urls)])).await;
    }
}

#[tokio::test]
async fn a_server_that_stands_still_is_told_as_an_outage() {
    for kind in BusServer::KINDS {
        let server = BusServer::start(kind);
        let mut node = BusNode::join("one", &server.settings()).await;
        node.bus.follow("s");
        node.settle().await;
        server.signal(Signal::STOP);
        assert_eq!(node.next().await, BusEvent::Down);
        server.signal(Signal::CONT);
        assert_eq!(node.next().await, BusEvent::Up);
        node.says("s", "again");
        node.hears("again").await;
    }
}

#[tokio::test]
async fn what_waits_for_a_server_that_stands_still_is_bounded() {
    for kind in BusServer::KINDS {
        let server = BusServer::start(kind);
        let mut node = BusNode::join("one", &and(&server, &[("bus.buffer_bytes_max", "65536")])).await;
        server.signal(Signal::STOP);
        let full = async {
            while node.bus.send("s", vec![0; 8_192].into()) != Err(NotSent::Full) {
                tokio::task::yield_now().await;
            }
        };
        soon("it is full", full).await;
        assert_eq!(node.next().await, BusEvent::Down);
        server.signal(Signal::CONT);
        assert_eq!(node.next().await, BusEvent::Up);
        // There is room again.
        node.settle().await;
    }
}

#[tokio::test]
async fn a_bus_that_is_closed_or_dropped_leaves_the_server() {
    let server = BusServer::start(BusKind::Redis);
    let clients = async || ask(server.port, "CLIENT LIST").await.matches(" addr=").count();
    let alone = clients().await;
    let closed = BusNode::join("closed", &server.settings()).await;
    let dropped = BusNode::join("dropped", &server.settings()).await;
    assert_eq!(clients().await, alone + 2);
    closed.bus.close().await;
    drop(dropped);
    until("both are gone", async || clients().await == alone).await;
}

#[tokio::test]
async fn a_node_that_redis_cuts_off_for_slowness_hears_of_an_outage() {
    let (log, _guard) = Log::here();
    let server =
        BusServer::with(BusKind::Redis, &["--client-output-buffer-limit", "pubsub", "64kb", "64kb", "0"]);
    let mut node = BusNode::join("one", &server.settings()).await;
    node.bus.follow("s");
    node.settle().await;
    // While a script runs nobody reads, so the server has all of it on its hands.
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let script = "for i = 1, 100 do redis.call('PUBLISH', 's', string.rep('x', 10000)) end";
    let () = cmd("EVAL").arg(script).arg(0).query_async(&mut connection).await.unwrap();
    let mut event = node.next().await;
    while let BusEvent::Frame(_) = event {
        event = node.next().await;
    }
    assert_eq!(event, BusEvent::Down);
    assert_eq!(node.next().await, BusEvent::Up);
    assert!(log.count("client-output-buffer-limit") > 0, "{}", log.text());
    node.says("s", "again");
    node.hears("again").await;
}

#[tokio::test]
async fn a_node_that_redis_forbids_to_follow_is_not_silently_deaf() {
    let (log, _guard) = Log::here();
    let server = BusServer::with(
        BusKind::Redis,
        &["--user", "node", "on", "nopass", "resetchannels", "&own.*", "+@all"],
    );
    let mut node =
        BusNode::join("one", &and(&server, &[("bus.user", "node"), ("bus.password", "any")])).await;
    node.settle().await;
    node.bus.follow("s");
    assert_eq!(node.next().await, BusEvent::Down);
    assert!(log.count("NOPERM") > 0, "{}", log.text());
}

#[tokio::test]
async fn a_replica_is_passed_over_and_left() {
    let master = BusServer::start(BusKind::Redis);
    let (port, other_port) = (master.port.to_string(), free_port());
    let mut other = BusServer::with(BusKind::Redis, &["--replicaof", "127.0.0.1", &port]);
    until("it is a replica", async || ask(other.port, "ROLE").await.contains("connected")).await;
    let urls = format!("{},127.0.0.1:{other_port},127.0.0.1:{}", other.url(), master.port);
    let settings = [("bus.kind", "redis".to_owned()), ("bus.url", urls)];
    let mut one = BusNode::join("one", &settings).await;
    let mut two = BusNode::join("two", &and(&master, &[])).await;
    hear_each_other(&mut one, &mut two).await;
    // They change places.
    administer(other.port, "REPLICAOF NO ONE").await;
    administer(master.port, &format!("REPLICAOF 127.0.0.1 {}", other.port)).await;
    one.is_cut_off_and_back().await;
    let mut three = BusNode::join("three", &and(&other, &[])).await;
    three.bus.follow("t");
    three.settle().await;
    one.says("t", "here");
    three.hears("here").await;
    other.kill();
}

#[tokio::test]
async fn nodes_follow_the_master_that_sentinels_choose() {
    let mut master = BusServer::start(BusKind::Redis);
    let replica = BusServer::with(BusKind::Redis, &["--replicaof", "127.0.0.1", &master.port.to_string()]);
    let sentinel = Sentinel::start(master.port);
    let url = format!("redis-sentinel://127.0.0.1:{},127.0.0.1:{}/the-master", free_port(), sentinel.port);
    let settings = [("bus.kind", "redis".to_owned()), ("bus.url", url)];
    let mut one = BusNode::join("one", &settings).await;
    let mut other = BusNode::join("other", &settings).await;
    hear_each_other(&mut one, &mut other).await;
    let known = || ask(sentinel.port, "SENTINEL REPLICAS the-master");
    until("the sentinel knows the replica", async || {
        let known = known().await;
        known.contains(&replica.port.to_string()) && known.contains("\"ok\"")
    })
    .await;
    master.kill();
    one.is_cut_off_and_back().await;
    other.is_cut_off_and_back().await;
    hear_each_other(&mut one, &mut other).await;
}

#[tokio::test]
async fn an_operator_who_mistakes_a_sentinel_or_its_master_is_told() {
    let (log, _guard) = Log::here();
    let master = BusServer::start(BusKind::Redis);
    let sentinel = Sentinel::start(master.port);
    for (scheme, path, told) in [
        ("redis", "", "must then begin with redis-sentinel://"),
        ("redis-sentinel", "/other", "knows no master \"other\""),
    ] {
        let url = format!("{scheme}://127.0.0.1:{}{path}", sentinel.port);
        let (bus, _events) =
            connect(&[("bus.kind", "redis"), ("bus.url", &url)]).await.expect("it is tried again");
        until("it is told", async || log.count(told) == 1).await;
        assert!(!bus.is_up());
    }
}

/// The servers of a Redis Cluster that share all slots.
async fn redis_cluster() -> Vec<BusServer> {
    let mut servers = Vec::new();
    for slots in ["0 5460", "5461 10922", "10923 16383"] {
        let cluster_port = free_port().to_string();
        let arguments = ["--cluster-enabled", "yes", "--cluster-port", &cluster_port];
        let server = BusServer::with(BusKind::Redis, &arguments);
        administer(server.port, &format!("CLUSTER ADDSLOTSRANGE {slots}")).await;
        let first: &BusServer = servers.first().unwrap_or(&server);
        administer(first.port, &format!("CLUSTER MEET 127.0.0.1 {} {cluster_port}", server.port)).await;
        servers.push(server);
    }
    for server in &servers {
        until("the cluster is whole", async || {
            let info = ask(server.port, "CLUSTER INFO").await;
            info.contains("cluster_state:ok") && info.contains("cluster_size:3")
        })
        .await;
    }
    servers
}

#[tokio::test]
async fn every_server_of_a_redis_cluster_reaches_all_nodes() {
    let mut servers = redis_cluster().await;
    let seeds = |first: usize| {
        let ports = (0..3).map(|number| format!("127.0.0.1:{}", servers[(first + number) % 3].port));
        format!("redis://{}", ports.collect::<Vec<_>>().join(","))
    };
    let settings = [0, 1].map(|first| [("bus.kind", "redis".to_owned()), ("bus.url", seeds(first))]);
    let mut one = BusNode::join("one", &settings[0]).await;
    let mut other = BusNode::join("other", &settings[1]).await;
    hear_each_other(&mut one, &mut other).await;
    // The node on the first goes to the second; to the others that makes no difference.
    servers[0].kill();
    one.is_cut_off_and_back().await;
    hear_each_other(&mut one, &mut other).await;
    tokio::time::timeout(Duration::from_millis(1), other.next()).await.expect_err("nothing happened to it");
}
