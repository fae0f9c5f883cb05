//! Clients that do not read what they asked for: they hold no place of a listener longer than a socket may stall.

mod support;

use std::net::SocketAddr;

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
