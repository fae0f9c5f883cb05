//! Clients that are idle, that are slow to ask, or that do not read what they asked for: they keep the places of a listener from
//! nobody.

mod support;

use std::net::{Ipv4Addr, SocketAddr};

use support::proxied::{BEHIND, from_proxy, version_1};
use support::raw::Raw;
use support::tls::Authority;
use support::{Server, soon};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

/// Many of them, which are answered with more than the kernel has room for.
const REQUESTS: usize = 10_000;

const SETTINGS: [(&str, &str); 2] =
    [("limits.pending_connections_max", "2"), ("limits.write_stall_seconds_max", "1")];

/// A connection with little room for what comes.
async fn narrow(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a descriptor");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    soon("a connection", socket.connect(address)).await.expect("the listener accepts")
}

/// The same over TLS, where nothing but HTTP/1.1 is offered.
async fn narrow_tls(authority: &Authority, address: SocketAddr) -> impl AsyncRead + AsyncWrite + Unpin {
    let connector = TlsConnector::from(authority.client());
    let name = "127.0.0.1".try_into().expect("a name");
    soon("a handshake", connector.connect(name, narrow(address).await)).await.expect("a handshake")
}

/// Asks and asks and never reads, until the connection is reset.
async fn ask_only(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let requests = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".repeat(REQUESTS);
    soon("the end", async { while stream.write_all(requests.as_bytes()).await.is_ok() {} }).await;
}

#[tokio::test]
async fn who_reads_no_answer_loses_the_place() {
    let server = Server::plain(&SETTINGS).await;
    let (public, private) = (server.public(), server.private());
    let hogs = [narrow(public).await, narrow(public).await, narrow(private).await, narrow(private).await];
    futures_util::future::join_all(hogs.map(ask_only)).await;
    assert_eq!(server.node.metrics().unread_answers.get(), 4);
    server.still_serves().await;
}

#[tokio::test]
async fn who_reads_no_answer_over_tls_loses_the_place() {
    let server = Server::secure(&SETTINGS).await;
    let authority = server.authority.as_ref().expect("it has TLS");
    let (public, private) = (server.public(), server.private());
    for address in [public, private] {
        let hogs = [narrow_tls(authority, address).await, narrow_tls(authority, address).await];
        futures_util::future::join_all(hogs.map(ask_only)).await;
    }
    assert_eq!(server.node.metrics().unread_answers.get(), 4);
    server.still_serves().await;
}

#[tokio::test]
async fn who_reads_slowly_is_told_everything() {
    let server = Server::plain(&SETTINGS).await;
    let mut stream = narrow(server.public()).await;
    let requests = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".repeat(REQUESTS);
    let (mut answers, mut asking) = stream.split();
    let asked = asking.write_all(requests.as_bytes());
    let read = async {
        let (mut told, mut count) = (Vec::new(), 0);
        while count < REQUESTS {
            assert!(tokio::io::AsyncReadExt::read_buf(&mut answers, &mut told).await.expect("bytes") > 0);
            count += told.windows(6).filter(|six| six == b"\r\n\r\nok").count();
            let kept = told.len().saturating_sub(5);
            told.drain(..kept);
        }
    };
    let (asked, ()) = soon("all answers", async { tokio::join!(asked, read) }).await;
    asked.expect("the stream takes it");
    assert_eq!(server.node.metrics().unread_answers.get(), 0);
}

/// A node with few places that waits long for what is slow.
async fn with_few_places() -> Server {
    let patient = [("limits.head_seconds_max", "300"), ("limits.body_seconds_max", "3600")];
    Server::plain(&[&[("limits.pending_connections_max", "4")][..], &patient].concat()).await
}

const NOTHING: &str = "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n";

/// How often somebody had to make room for another, by the reason.
fn given_up(server: &Server, reason: &str) -> u64 {
    let all = server.node.metrics().seats_given_up.all();
    all.into_iter().find(|(known, _)| *known == reason).expect("a known reason").1
}

#[tokio::test]
async fn who_is_idle_makes_room_for_who_comes() {
    let server = with_few_places().await;
    for address in [server.public(), server.private()] {
        let mut idle = Vec::new();
        for _ in 0..12 {
            let mut raw = Raw::connect(address).await;
            raw.send(NOTHING).await;
            assert_eq!(raw.response().await.0, 404);
            idle.push(raw);
        }
        let mut youngest = idle.split_off(8);
        for raw in &mut idle {
            raw.ended().await;
        }
        for raw in &mut youngest {
            raw.send(NOTHING).await;
            assert_eq!(raw.response().await.0, 404, "who came last is kept");
        }
    }
    assert_eq!(given_up(&server, "idle"), 16);
}

#[tokio::test]
async fn who_watches_the_node_is_answered_while_all_places_are_taken() {
    let server = with_few_places().await;
    for address in [server.public(), server.private()] {
        let mut slow = Vec::new();
        for _ in 0..4 {
            let mut raw = Raw::connect(address).await;
            raw.send("GET /nothing HTTP/1.1\r\n").await;
            slow.push(raw);
        }
        for path in ["/livez", "/readyz", "/up", "/healthz", "/version"] {
            let mut probe = Raw::connect(address).await;
            probe.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
            assert_eq!(probe.response().await.0, 200, "{path}");
        }
    }
}

#[tokio::test]
async fn who_is_slow_to_ask_makes_room_and_is_told_so() {
    let server = with_few_places().await;
    let head = "GET /nothing HTTP/1.1\r\nHost: x\r\n";
    let body = "POST /api/register HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YWNjb3VudDpwYXNzd29yZA==\r\n\
                Content-Length: 9\r\n\r\nhalf";
    for (address, beginning) in [(server.public(), head), (server.private(), body)] {
        let mut slow = Vec::new();
        for _ in 0..4 {
            let mut raw = Raw::connect(address).await;
            raw.send(beginning).await;
            slow.push(raw);
        }
        let mut quick = Raw::connect(address).await;
        quick.send(NOTHING).await;
        assert_eq!(quick.response().await.0, 404);
        assert_eq!(slow[0].response().await.0, 408, "the one who came first");
    }
    assert_eq!(given_up(&server, "slow"), 2);
}

#[tokio::test]
async fn one_address_has_its_share_of_the_places_and_no_more() {
    let settings = [("addresses.connections_max", "2"), ("limits.head_seconds_max", "300")];
    let server = Server::plain(&[&settings[..], &BEHIND].concat()).await;
    let connect = async |client: [u8; 4], beginning: &str| {
        let mut raw = Raw::over(from_proxy(server.public()).await);
        raw.send([&version_1(Ipv4Addr::from(client)), beginning.as_bytes()].concat()).await;
        raw
    };
    let [mut first, _second] = [connect([9; 4], "GET /").await, connect([9; 4], "GET /").await];
    let mut third = connect([9; 4], NOTHING).await;
    // Somebody else is answered at once, and so is who watches the node.
    assert_eq!(connect([8; 4], NOTHING).await.response().await.0, 404);
    let probe = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(connect([9; 4], probe).await.response().await.0, 200);
    assert_eq!(given_up(&server, "slow"), 0);
    // The third gets the place of the first when that has been slow for long.
    assert_eq!(third.response().await.0, 404);
    assert_eq!(first.response().await.0, 408);
}
