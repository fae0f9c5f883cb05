//! Connections as a proxy makes them, that says by the PROXY protocol for whom.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::{http1, http2};
use hyper::header::{AUTHORIZATION, HOST};
use hyper_util::rt::{TokioExecutor, TokioIo};
use reqwest::Method;
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use super::soon;
use super::tls::Authority;

/// What has a node expect the header of a proxy at 127.0.0.2, and of nobody else.
pub const BEHIND: [(&str, &str); 2] = [("trusted_proxies", "127.0.0.2"), ("proxy_protocol", "trusted")];

/// A connection of that proxy's.
pub async fn from_proxy(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a descriptor");
    socket.bind("127.0.0.2:0".parse().expect("an address")).expect("all of 127/8 is here");
    soon("a connection", socket.connect(address)).await.expect("the listener accepts")
}

/// A header of version 1 for a client, at its port 4711.
pub fn version_1(client: Ipv4Addr) -> Vec<u8> {
    format!("PROXY TCP4 {client} 127.0.0.1 4711 80\r\n").into_bytes()
}

/// The same in version 2.
pub fn version_2(client: Ipv4Addr) -> Vec<u8> {
    version_2_with(1, client, &[])
}

/// A header of version 2 with this command, and what is told beside the addresses.
pub fn version_2_with(command: u8, client: Ipv4Addr, beside: &[u8]) -> Vec<u8> {
    let length = 12 + u8::try_from(beside.len()).expect("a short text");
    let (from, ports) = (client.octets(), [0x12, 0x67, 0, 80]);
    let addresses = [&from[..], &[127, 0, 0, 1], &ports].concat();
    [b"\r\n\r\n\0\r\nQUIT\n", &[0x20 | command, 0x11, 0, length][..], &addresses, beside].concat()
}

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

/// A client of HTTP over TLS behind the proxy.
pub struct Caller(Sender);

impl Caller {
    /// Connects with `header`, and agrees by TLS on `protocol`: `h2` or `http/1.1`.
    pub async fn connect(authority: &Authority, address: SocketAddr, header: &[u8], protocol: &str) -> Self {
        let mut stream = from_proxy(address).await;
        stream.write_all(header).await.expect("it takes bytes");
        let mut config = (*authority.client()).clone();
        config.alpn_protocols = vec![protocol.into()];
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let stream = soon("a handshake", handshake).await.expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
        let stream = TokioIo::new(stream);
        if protocol == "h2" {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.expect("HTTP/2");
            tokio::spawn(connection);
            return Self(Sender::Two(sender));
        }
        let (sender, connection) = http1::handshake(stream).await.expect("HTTP/1.1");
        tokio::spawn(connection);
        Self(Sender::One(sender))
    }

    /// What a call of somebody's is answered: status and body. It claims to come from 1.1.1.1.
    pub async fn call(&mut self, method: Method, path: &str, who: (&str, &str)) -> (u16, String) {
        let request = Request::builder().method(method).header("X-Forwarded-For", "1.1.1.1");
        let credentials = BASE64_STANDARD.encode(format!("{}:{}", who.0, who.1));
        let request = request.header(AUTHORIZATION, format!("Basic {credentials}"));
        let body = Full::default();
        let answer = match &mut self.0 {
            Sender::One(sender) => {
                let request = request.uri(path).header(HOST, "x").body(body).expect("a request");
                soon("an answer", sender.send_request(request)).await
            }
            Sender::Two(sender) => {
                let request = request.uri(format!("https://x{path}")).body(body).expect("a request");
                soon("an answer", sender.send_request(request)).await
            }
        };
        let answer = answer.expect("an answer");
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8(bytes.to_vec()).expect("text"))
    }
}
