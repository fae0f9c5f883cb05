//! TLS on the listeners, for calls and for live sockets of all dialects, with real handshakes and certificates that are
//! made while the test runs.

mod support;

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gusher::config::read::{self, Overlay};
use gusher::node::Node;
use rustix::process::Signal;
use rustls::HandshakeKind;
use rustls::pki_types::CertificateDer;
use rustls::version::{TLS12, TLS13};
use serde_json::json;
use support::cluster::{ClusterClient, KEY_SETTING};
use support::process::{Directory, FREE_PORTS, LISTENING, Process, Serving, run};
use support::pusher::{self, PusherClient, trigger};
use support::raw::{Raw, frame, upgrade};
use support::tls::{Authority, RawTls, shake_hands};
use support::{Client, Server, send, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

/// A node with TLS on both listeners, and the app `x`.
async fn secure(settings: &[(&str, &str)]) -> Server {
    let server = Server::secure(settings).await;
    server.register("x").await;
    server
}

fn authority(server: &Server) -> &Authority {
    server.authority.as_ref().expect("it has TLS")
}

/// How many handshakes have failed.
fn failures(server: &Server) -> u64 {
    server.node.metrics().tls_failures.get()
}

async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    soon(what, async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn sockets_of_gusher_come_over_tls() {
    let server = secure(&[]).await;
    let (mut one, mut two) = (server.connect("x", "a").await, server.connect("x", "b").await);
    assert_eq!(server.push("x", "to all").await.json()["sockets"], 2);
    server.push_to("x", "^b$", "to b").await;
    assert_eq!(one.text().await, "to all");
    assert_eq!((two.text().await, two.text().await), ("to all".into(), "to b".into()));
    one.settle().await;
    one.close().await;
    server.until_online("x", &["b"]).await;
}

#[tokio::test]
async fn sockets_of_pusher_channels_come_over_tls() {
    let server = Server::secure(&[]).await;
    // For an app that takes nothing else, TLS with the node itself is TLS.
    pusher::register(&server, json!({ "tls_only": true, "client_events": true })).await;
    let (mut one, mut two) = (PusherClient::connect(&server).await, PusherClient::connect(&server).await);
    one.subscribe("private-c").await;
    two.subscribe("private-c").await;
    assert_eq!(trigger(&server, "private-c", "e", "hello").await.status, 200);
    assert_eq!(one.until("e").await["data"], "hello");
    two.say(json!({ "event": "client-e", "channel": "private-c", "data": "from two" })).await;
    assert_eq!(one.until("client-e").await["data"], "from two");
}

#[tokio::test]
async fn sockets_of_gusher_cluster_come_over_tls() {
    let server = Server::secure(&[KEY_SETTING]).await;
    server.register("app").await;
    let mut client = ClusterClient::connect(&server, "u", &["c"]).await;
    client.subscribe("c").await;
    support::cluster::publish(&server, "c", "e", json!(1)).await;
    assert_eq!(client.next().await["data"], 1);
}

#[tokio::test]
async fn what_a_trusted_proxy_says_of_its_client_counts_more_than_its_own_tls() {
    let server = Server::secure(&[("trusted_proxies", "127.0.0.1")]).await;
    pusher::register(&server, json!({ "tls_only": true })).await;
    let code = async |proto: &str| {
        let mut raw = RawTls::connect(authority(&server), server.public()).await;
        raw.send(upgrade("", "").replace("/ws//", "/app/key").replace("Host: x", proto)).await;
        assert!(raw.head().await.starts_with("HTTP/1.1 101"));
        String::from_utf8(raw.frame().await.1).unwrap()
    };
    assert!(code("Host: x").await.contains("connection_established"));
    assert!(code("Host: x\r\nX-Forwarded-Proto: https").await.contains("connection_established"));
    assert!(code("Host: x\r\nX-Forwarded-Proto: http").await.contains("4000"));
}

#[tokio::test]
async fn the_private_listener_stays_plain_unless_it_is_asked_for() {
    let authority = Authority::new();
    let mut flags = Overlay::default();
    let tls = authority.settings();
    let usual = [("listen", "127.0.0.1:0"), ("api_listen", "127.0.0.1:0")];
    tls.iter()
        .map(|(key, value)| (*key, value.as_str()))
        .chain(usual)
        .for_each(|(key, value)| flags.set(key, value));
    let node = Node::start(&read::dev([], &flags).unwrap(), None).await.expect("the node starts");
    assert!(shake_hands(authority.client(), node.public.unwrap()).await.is_ok());
    let private = node.private.unwrap();
    let answer = send(reqwest::Client::new().get(format!("http://{private}/healthz"))).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, "ok"));
}

#[tokio::test]
async fn calls_on_one_connection_follow_each_other_over_tls() {
    let server = secure(&[]).await;
    let mut raw = RawTls::connect(authority(&server), server.private()).await;
    for _ in 0..3 {
        raw.send("GET /version HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(raw.head().await.starts_with("HTTP/1.1 200"));
        let version = env!("CARGO_PKG_VERSION").as_bytes();
        assert_eq!(soon("the body", raw.take(version.len())).await, version);
    }
    raw.send("GET /version HTTP/1.0\r\nHost: x\r\n\r\n").await;
    assert!(raw.head().await.starts_with("HTTP/1.0 200"));
    raw.take(env!("CARGO_PKG_VERSION").len()).await;
    raw.ended().await;
}

#[tokio::test]
async fn both_versions_are_spoken_and_sessions_resumed() {
    let server = secure(&[]).await;
    for version in [&TLS12, &TLS13] {
        let client = authority(&server).client_of(&[version]);
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut stream = shake_hands(Arc::clone(&client), server.public()).await.expect("a handshake");
            stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            // Only who reads sees the tickets.
            soon("the answer", stream.read_to_string(&mut answer)).await.expect("an orderly end");
            assert!(answer.ends_with("ok"), "{answer}");
            let connection = stream.get_ref().1;
            assert_eq!(connection.protocol_version(), Some(version.version));
            assert_eq!(connection.handshake_kind(), Some(kind));
        }
    }
}

#[tokio::test]
async fn http_1_1_is_agreed_on_alone_where_http2_is_switched_off() {
    let server = secure(&[("limits.http2_streams_max", "0")]).await;
    let offering = |protocols: &[&str]| {
        let mut config = (*authority(&server).client()).clone();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    };
    let stream = shake_hands(offering(&["h2", "http/1.1"]), server.public()).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert!(shake_hands(offering(&["h2"]), server.public()).await.is_err());
}

#[tokio::test]
async fn a_long_push_arrives_whole_and_in_order_at_many_tls_sockets() {
    let settings = [
        ("limits.body_bytes_max", "4194304"),
        ("limits.outbox_bytes_max", "67108864"),
        ("node.send_buffer_bytes", "16384"),
    ];
    let server = secure(&settings).await;
    let mut clients = Vec::new();
    for number in 0..16 {
        clients.push(server.connect("x", &format!("u{number}")).await);
    }
    let long = |letter: &str| letter.repeat(1 << 20);
    for letter in ["a", "b", "c"] {
        assert_eq!(server.push("x", "before").await.json()["sockets"], 16);
        assert_eq!(server.push("x", &long(letter)).await.status, 200);
    }
    for client in &mut clients {
        for letter in ["a", "b", "c"] {
            assert_eq!(client.text().await, "before");
            assert!(client.text().await == long(letter), "{letter} is whole");
        }
        client.settle().await;
    }
    assert_eq!(server.count(|shard| shard.slow_cuts.get()), 0);
}

#[tokio::test]
async fn a_tls_client_that_does_not_read_is_cut_and_holds_up_nobody() {
    let server = secure(&[("limits.outbox_bytes_max", "4096"), ("node.send_buffer_bytes", "4096")]).await;
    let mut slow = Client::connect_narrow(&server, "x", "slow").await;
    let mut healthy = server.connect("x", "healthy").await;
    let mut pushes = 0;
    while server.count(|shard| shard.slow_cuts.get()) == 0 {
        let content = format!("{pushes:05000}");
        let asked = Instant::now();
        assert_eq!(server.push("x", &content).await.status, 200);
        assert!(asked.elapsed() < Duration::from_secs(1));
        assert_eq!(healthy.text().await, content);
        pushes += 1;
        assert!(pushes < 1000, "nobody was cut");
    }
    server.until_online("x", &["healthy"]).await;
    let mut received = 0;
    loop {
        match slow.next().await {
            Message::Text(text) => assert_eq!(text.as_str(), format!("{received:05000}")),
            Message::Close(Some(close)) => break assert_eq!(u16::from(close.code), 1013),
            other => panic!("expected a text or a close, got {other:?}"),
        }
        received += 1;
    }
    assert!(received < pushes);
    server.still_serves().await;
}

#[tokio::test]
async fn a_tls_client_that_takes_nothing_is_cut_when_its_time_is_over() {
    let settings = [("limits.write_stall_seconds_max", "1"), ("node.send_buffer_bytes", "4096")];
    let server = secure(&settings).await;
    let _slow = Client::connect_narrow(&server, "x", "slow").await;
    server.push("x", &"m".repeat(500_000)).await;
    server.until_online("x", &[]).await;
    assert_eq!(server.count(|shard| shard.slow_cuts.get()), 1);
}

#[tokio::test]
async fn what_a_client_sends_with_its_upgrade_is_heard() {
    let server = secure(&[]).await;
    let mut raw = RawTls::connect(authority(&server), server.public()).await;
    // More than one record, and more than the door reads ahead.
    let pings = (0..300_u16).flat_map(|number| frame(0x89, &[&number.to_be_bytes()[..], &[7; 100]].concat()));
    raw.send([upgrade("x", "a").into_bytes(), pings.collect()].concat()).await;
    assert!(raw.head().await.starts_with("HTTP/1.1 101"));
    for number in 0..300_u16 {
        let (first, payload) = raw.frame().await;
        assert_eq!((first, &payload[..2]), (0x8a, &number.to_be_bytes()[..]));
    }
}

#[tokio::test]
async fn a_client_may_change_its_keys() {
    let server = secure(&[]).await;
    let mut raw = RawTls::connect(authority(&server), server.public()).await;
    raw.send(upgrade("x", "a")).await;
    raw.head().await;
    for number in 0..3 {
        raw.stream.get_mut().1.refresh_traffic_keys().expect("TLS 1.3");
        raw.send(frame(0x89, &[number])).await;
        assert_eq!(raw.frame().await, (0x8a, vec![number]));
    }
    server.push("x", "after").await;
    assert_eq!(raw.frame().await, (0x81, b"after".to_vec()));
}

#[tokio::test]
async fn a_stream_that_is_no_tls_any_more_ends_its_socket() {
    let server = secure(&[]).await;
    let mut raw = RawTls::connect(authority(&server), server.public()).await;
    raw.send(upgrade("x", "a")).await;
    raw.head().await;
    raw.stream
        .get_mut()
        .0
        .write_all(&[
            23, 3, 3, 0, 32, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7,
            8, 9, 0, 1, 2,
        ])
        .await
        .unwrap();
    // An alert says why.
    let error = soon("the end", raw.stream.read_to_end(&mut Vec::new())).await.unwrap_err();
    assert!(error.to_string().contains("alert"), "{error}");
    server.until_online("x", &[]).await;
    server.still_serves().await;
}

#[tokio::test]
async fn a_client_that_ends_without_a_word_is_gone() {
    let server = secure(&[]).await;
    let mut raws = Vec::new();
    for tag in ["a", "b"] {
        let mut raw = RawTls::connect(authority(&server), server.public()).await;
        raw.send(upgrade("x", tag)).await;
        raw.head().await;
        raws.push(raw);
    }
    let mut told = raws.pop().unwrap();
    drop(raws);
    server.until_online("x", &["b"]).await;
    // A client that says it sends no more, behind a last ping, but does not end its stream.
    let (tcp, connection) = told.stream.get_mut();
    std::io::Write::write_all(&mut connection.writer(), &frame(0x89, b"last")).unwrap();
    connection.send_close_notify();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    tcp.write_all(&bytes).await.unwrap();
    server.until_online("x", &[]).await;
}

#[tokio::test]
async fn plain_bytes_at_a_tls_port_cost_one_connection() {
    let server = secure(&[]).await;
    for address in [server.public(), server.private()] {
        let before = failures(&server);
        let mut raw = Raw::connect(address).await;
        raw.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let mut answer = Vec::new();
        // Whether the end is orderly depends on what was read of the request.
        let _ = soon("the end", raw.stream.read_to_end(&mut answer)).await;
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
        until("a failure", async || failures(&server) == before + 1).await;
    }
    server.still_serves().await;
}

#[tokio::test]
async fn tls_at_a_plain_port_costs_one_connection() {
    let server = Server::plain(&[]).await;
    assert!(shake_hands(Authority::new().client(), server.public()).await.is_err());
    server.still_serves().await;
}

#[tokio::test]
async fn a_client_that_stalls_in_its_handshake_is_cut() {
    let server = secure(&[("limits.head_seconds_max", "1")]).await;
    let (mut silent, mut hesitant) =
        (Raw::connect(server.public()).await, Raw::connect(server.public()).await);
    hesitant.send([22, 3, 1, 2, 0, 1, 0]).await;
    let mut stalled = RawTls::connect(authority(&server), server.public()).await;
    silent.ended().await;
    let _ = soon("the end", hesitant.stream.read_to_end(&mut Vec::new())).await;
    assert_eq!(failures(&server), 2);
    // The time for the head of a request is the same time.
    assert!(stalled.head().await.starts_with("HTTP/1.1 408"));
    stalled.ended().await;
}

#[tokio::test]
async fn who_looks_whether_a_port_is_open_fails_in_no_handshake() {
    let server = secure(&[]).await;
    for _ in 0..3 {
        let mut raw = Raw::connect(server.public()).await;
        raw.stream.shutdown().await.expect("a live stream");
        let _ = soon("the end", raw.stream.read_to_end(&mut Vec::new())).await;
    }
    Raw::connect(server.public()).await.reset();
    // One that says something wrong is behind them.
    let mut wrong = Raw::connect(server.public()).await;
    wrong.send("GET / HTTP/1.1\r\n\r\n").await;
    let _ = soon("the end", wrong.stream.read_to_end(&mut Vec::new())).await;
    assert_eq!(failures(&server), 1);
}

#[tokio::test]
async fn handshakes_are_bounded_in_number() {
    let server = secure(&[("limits.pending_connections_max", "2"), ("limits.head_seconds_max", "1")]).await;
    let _silent = [Raw::connect(server.public()).await, Raw::connect(server.public()).await];
    let asked = Instant::now();
    // It stands by until one of the others is cut.
    let client = server.connect("x", "a").await;
    assert!(asked.elapsed() > Duration::from_millis(500));
    client.close().await;
}

#[tokio::test]
async fn a_stop_is_told_and_the_stream_ended_in_order() {
    let server = secure(&[]).await;
    let mut raw = RawTls::connect(authority(&server), server.public()).await;
    raw.send(upgrade("x", "a")).await;
    raw.head().await;
    let _stalled = Raw::connect(server.public()).await;
    server.push("x", "last").await;
    let stopping = tokio::spawn(server.stop());
    assert_eq!(raw.frame().await, (0x81, b"last".to_vec()));
    let (first, payload) = raw.frame().await;
    assert_eq!((first, &payload[..2]), (0x88, &1001_u16.to_be_bytes()[..]));
    // It would be an error without a close_notify.
    raw.ended().await;
    drop(raw);
    stopping.await.expect("it stops");
}

/// What is shown to who connects now.
async fn shown(server: &Server) -> CertificateDer<'static> {
    let stream = shake_hands(authority(server).client(), server.public()).await.expect("a handshake");
    stream.get_ref().1.peer_certificates().expect("a certificate")[0].clone().into_owned()
}

#[tokio::test]
async fn a_new_certificate_is_taken_up_and_sockets_go_on() {
    let server = secure(&[]).await;
    let mut client = server.connect("x", "a").await;
    let former = shown(&server).await;
    let issued = authority(&server).issue();
    assert_ne!(former, issued);
    until("the new certificate", async || shown(&server).await == issued).await;
    server.push("x", "still here").await;
    assert_eq!(client.text().await, "still here");
    client.settle().await;
}

#[tokio::test]
async fn a_broken_certificate_leaves_the_one_before_in_use() {
    let directory = Directory::new();
    let authority = Authority::new();
    let tls = json!({ "cert_file": authority.cert_file(), "key_file": authority.key_file() });
    directory.configure("config.json", &[("tls", tls), ("sqlfile", json!(":memory:"))]);
    let mut serving = directory.serve(&["start"]);
    fs::write(authority.cert_file(), "not a certificate").unwrap();
    let line = serving.process.logs("the one before stays in use");
    assert!(line.contains("cert.pem holds no certificate in PEM"), "{line}");
    assert!(shake_hands(authority.client(), serving.public).await.is_ok());
    // One that is good again is taken up at once by whom it is told.
    let issued = authority.issue();
    serving.process.signal(Signal::HUP);
    serving.process.logs("the certificate was read again");
    let stream = shake_hands(authority.client(), serving.public).await.expect("a handshake");
    let now = stream.get_ref().1.peer_certificates().expect("a certificate")[0].clone().into_owned();
    assert_eq!(now, issued);
    drop(stream);
    assert_eq!(serving.stop().code, Some(0));
}

#[tokio::test]
async fn our_own_clients_trust_the_authority_that_they_are_told_of() {
    let (directory, authority) = (Directory::new(), Authority::new());
    let mut start = directory.gusher(&[&["start", "--dev"], &FREE_PORTS[..]].concat());
    start
        .env("GUSHER_TLS_CERT_FILE", authority.cert_file())
        .env("GUSHER_TLS_KEY_FILE", authority.key_file())
        .env("GUSHER_TLS_PRIVATE", "true");
    let mut serving = Serving::new(Process::start(&mut start));
    let invitation = serving.process.prints("gusher listen") + &serving.process.prints("curl");
    assert!(invitation.contains("wss://") && invitation.contains("https://"), "{invitation}");
    let (public, private) = (format!("wss://{}", serving.public), format!("https://{}", serving.private));
    let ca = authority.ca_file();
    let told = |words: &[&str]| {
        let mut command = serving.ask(&directory, words);
        command.env("GUSHER_URL", &public).env("GUSHER_API", &private).env("GUSHER_CA_FILE", &ca);
        command
    };
    let mut listening = Process::start(&mut told(&["listen", "demo", "alice", "--count", "1"]));
    listening.logs("listening as alice on wss://");
    let pushed = run(&mut told(&["push", "demo", "hello"]));
    assert_eq!((pushed.code, pushed.stdout.as_str()), (Some(0), "1 user, 1 socket\n"), "{pushed:?}");
    assert_eq!(listening.ended().stdout, "hello\n");
    for words in [&["listen", "demo", "alice"][..], &["push", "demo", "hello"]] {
        // Nobody on the web knows this authority.
        let outcome = run(told(words).env_remove("GUSHER_CA_FILE"));
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(outcome.stderr.to_lowercase().contains("certificate"), "{outcome:?}");
    }
    for (words, variable, url) in [
        (&["listen", "demo", "alice"][..], "GUSHER_URL", public.replace("wss", "ws")),
        (&["push", "demo", "hello"], "GUSHER_API", private.replace("https", "http")),
    ] {
        let outcome = run(told(words).env(variable, url));
        assert!(outcome.stderr.contains("if this port speaks TLS"), "{outcome:?}");
    }
}

#[tokio::test]
async fn our_own_clients_say_where_a_port_does_not_speak_tls() {
    let (directory, authority) = (Directory::new(), Authority::new());
    let mut start = directory.gusher(&[&["start", "--dev"], &FREE_PORTS[..]].concat());
    let serving = Serving::new(Process::start(&mut start));
    for (words, variable, url) in [
        (&["listen", "demo", "alice"][..], "GUSHER_URL", format!("wss://{}", serving.public)),
        (&["push", "demo", "hello"], "GUSHER_API", format!("https://{}", serving.private)),
    ] {
        let mut command = serving.ask(&directory, words);
        let outcome = run(command.env(variable, url).env("GUSHER_CA_FILE", authority.ca_file()));
        assert!(outcome.stderr.contains("does not speak TLS"), "{outcome:?}");
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_stop_the_start_with_one_line() {
    let authority = Authority::new();
    let directory = Directory::new();
    directory.write("empty.pem", "");
    directory.write("foreign.pem", &authority.foreign_key());
    let (cert, key) = (authority.cert_file(), authority.key_file());
    let cases = [
        (cert.clone(), directory.path("foreign.pem"), "the key is not that of the file's first certificate"),
        (cert.clone(), directory.path("empty.pem"), "empty.pem holds no private key in PEM"),
        (key.clone(), key.clone(), "key.pem holds no certificate in PEM"),
        (directory.path("absent.pem"), key.clone(), "cannot read"),
    ];
    for (cert_file, key_file, reason) in cases {
        let tls = json!({ "cert_file": cert_file, "key_file": key_file });
        directory.configure("config.json", &[("tls", tls), ("sqlfile", json!(":memory:"))]);
        let outcome = run(&mut directory.gusher(&["start"]));
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        let line = outcome.stderr.lines().last().unwrap_or_default();
        assert!(line.contains(reason) && line.contains("set tls.cert_file and tls.key_file"), "{line}");
        assert!(!outcome.stderr.contains("PRIVATE KEY"));
    }
}

#[tokio::test]
async fn an_expired_certificate_is_used_with_a_warning() {
    let authority = Authority::new();
    authority.issue_until(2020);
    let directory = Directory::new();
    let tls = json!({ "cert_file": authority.cert_file(), "key_file": authority.key_file() });
    directory.configure("config.json", &[("tls", tls), ("sqlfile", json!(":memory:"))]);
    let mut process = Process::start(&mut directory.gusher(&["start"]));
    assert!(process.logs("has expired").contains("level=warning"));
    process.logs(LISTENING);
    drop(process);
    let fresh = Authority::new();
    let tls = json!({ "cert_file": fresh.cert_file(), "key_file": fresh.key_file() });
    directory.configure("config.json", &[("tls", tls), ("sqlfile", json!(":memory:"))]);
    let outcome = directory.serve(&["start"]).stop();
    assert!(!outcome.stderr.contains("has expired"), "{}", outcome.stderr);
}
