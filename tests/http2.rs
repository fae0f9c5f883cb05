//! HTTP/2 over TLS: calls of all kinds, many at once, within the limits of HTTP/1.1; and sockets as ever.

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use reqwest::Method;
use support::console::{Browser, Feed};
use support::tls::{Authority, shake_hands};
use support::{SUPER, Server, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

/// [`SUPER`] in basic auth.
const BASIC: &str = "Basic YWNjb3VudDpwYXNzd29yZA==";

/// A node with TLS on both listeners, and the app `x`.
async fn secure(settings: &[(&str, &str)]) -> Server {
    let server = Server::secure(settings).await;
    server.register("x").await;
    server
}

/// A stream on which HTTP/2 is agreed on.
async fn agreed(server: &Server, address: std::net::SocketAddr) -> TlsStream<TcpStream> {
    let authority: &Authority = server.authority.as_ref().expect("it has TLS");
    let mut config = (*authority.client()).clone();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = shake_hands(Arc::new(config), address).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    stream
}

/// A connection, and how it ends.
async fn connect(
    server: &Server,
    address: std::net::SocketAddr,
) -> (SendRequest<Full<Bytes>>, JoinHandle<hyper::Result<()>>) {
    let stream = agreed(server, address).await;
    let (sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    (sender, tokio::spawn(connection))
}

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(format!("https://127.0.0.1{path}")).body(Full::default()).expect("a request")
}

async fn text(response: hyper::Response<hyper::body::Incoming>) -> String {
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[tokio::test]
async fn calls_are_answered_over_http2_on_both_listeners() {
    let server = secure(&[]).await;
    let mut client = server.connect("x", "a").await;
    let push = server.call(Method::POST, "/api/push/x").basic_auth(SUPER.0, Some(SUPER.1));
    let answer = push.form(&[("content", "hello")]).send().await.expect("an answer");
    assert_eq!((answer.version(), answer.status()), (Version::HTTP_2, StatusCode::OK));
    assert_eq!(client.text().await, "hello");
    let answer = server.public_call(Method::GET, "/healthz").send().await.expect("an answer");
    assert_eq!((answer.version(), answer.text().await.expect("a body").as_str()), (Version::HTTP_2, "ok"));
}

#[tokio::test]
async fn sockets_come_over_http_1_1_and_none_over_http2() {
    let server = secure(&[]).await;
    let (mut sender, _connection) = connect(&server, server.public()).await;
    let answer = soon("an answer", sender.send_request(get("/ws/x/a"))).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    // A client that offers nothing, and one that offers HTTP/1.1 alone.
    server.connect("x", "a").await.settle().await;
    let mut config = (*server.authority.as_ref().expect("it has TLS").client()).clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = shake_hands(Arc::new(config), server.public()).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[tokio::test]
async fn http2_is_not_offered_where_it_is_switched_off() {
    let server = secure(&[("limits.http2_streams_max", "0")]).await;
    let answer = server.public_call(Method::GET, "/healthz").send().await.expect("an answer");
    assert_eq!(answer.version(), Version::HTTP_11);
}

#[tokio::test]
async fn heads_and_bodies_are_as_bounded_as_over_http_1_1() {
    let settings = [("limits.body_bytes_max", "1024"), ("limits.headers_max", "8")];
    let server = secure(&settings).await;
    let (mut sender, _connection) = connect(&server, server.private()).await;
    let mut ask = async |request: Request<Full<Bytes>>| {
        soon("an answer", sender.send_request(request)).await.expect("an answer").status()
    };
    let mut long = get("/healthz");
    long.headers_mut().insert("x-long", "l".repeat(17_000).parse().expect("a header"));
    assert_eq!(ask(long).await, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let mut many = get("/healthz");
    (0..9).for_each(|number| {
        many.headers_mut().insert(
            hyper::header::HeaderName::from_bytes(format!("x-{number}").as_bytes()).expect("a name"),
            "v".parse().expect("a header"),
        );
    });
    assert_eq!(ask(many).await, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let body = Full::new(Bytes::from(vec![b'b'; 5_000]));
    let register = Request::post("https://127.0.0.1/api/register").header("authorization", BASIC);
    assert_eq!(ask(register.body(body).expect("a request")).await, StatusCode::PAYLOAD_TOO_LARGE);
    // The connection has outlived all of it.
    assert_eq!(ask(get("/healthz")).await, StatusCode::OK);
}

#[tokio::test]
async fn calls_are_as_bounded_as_connections() {
    let settings = [("limits.pending_connections_max", "2"), ("limits.body_seconds_max", "1")];
    let server = Server::secure(&settings).await;
    // Bodies that do not come hold two places, so a third call waits until they are given up.
    let never = || {
        let request = Request::post("https://127.0.0.1/api/register");
        let request = request.header("authorization", BASIC);
        request.body(Never).expect("a request")
    };
    let stream = agreed(&server, server.private()).await;
    let (mut sender, connection) =
        http2::handshake::<_, _, Never>(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::spawn(connection);
    let slow = [sender.send_request(never()), sender.send_request(never())].map(tokio::spawn);
    let asked = tokio::time::Instant::now();
    let third = soon("an answer", sender.send_request(never())).await.expect("an answer");
    assert_eq!(third.status(), StatusCode::REQUEST_TIMEOUT);
    assert!(asked.elapsed() > Duration::from_millis(1_500), "it waited for a place");
    for answer in slow {
        assert_eq!(answer.await.unwrap().expect("an answer").status(), StatusCode::REQUEST_TIMEOUT);
    }
}

/// Asks for the feed of the app `x`.
fn feed(browser: &Browser) -> Request<Full<Bytes>> {
    let mut request = get("/console/api/apps/x/feed");
    request.headers_mut().insert("cookie", browser.cookie.parse().expect("a header"));
    request
}

#[tokio::test]
async fn calls_that_are_slow_yield_and_who_watches_the_node_is_answered() {
    let settings = [("limits.pending_connections_max", "2"), ("limits.body_seconds_max", "3600")];
    let server = Server::secure(&settings).await;
    let ask = |path: &str| Request::post(format!("https://127.0.0.1{path}")).header("authorization", BASIC);
    let stream = agreed(&server, server.private()).await;
    let (mut sender, connection) =
        http2::handshake::<_, _, Never>(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::spawn(connection);
    let mut send = |request| sender.send_request(request);
    let slow = [(); 2].map(|()| tokio::spawn(send(ask("/api/register").body(Never).expect("a request"))));
    let (mut other, _connection) = connect(&server, server.private()).await;
    let told = soon("a probe", other.send_request(get("/livez"))).await.expect("an answer");
    assert_eq!(told.status(), StatusCode::OK);
    let third = get("/nothing");
    assert_eq!(
        soon("an answer", other.send_request(third)).await.expect("one").status(),
        StatusCode::NOT_FOUND
    );
    let [first, second] = slow;
    let (cut, _) = futures_util::future::select(first, second).await.factor_first();
    assert_eq!(cut.unwrap().expect("an answer").status(), StatusCode::REQUEST_TIMEOUT);
}

#[tokio::test]
async fn an_answer_that_flows_keeps_its_connection_and_its_place() {
    let settings = [("limits.pending_connections_max", "2"), ("limits.idle_seconds_max", "1")];
    let server = secure(&settings).await;
    let browser = Browser::super_admin(&server).await;
    let (mut sender, connection) = connect(&server, server.private()).await;
    let mut first = sender.send_request(feed(&browser)).await.expect("an answer").into_body();
    // The one that has signed in is idle and yields; this one is not.
    for _ in 0..4 {
        let (mut next, _connection) = connect(&server, server.private()).await;
        let answer = soon("an answer", next.send_request(get("/nothing"))).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    }
    let ended = tokio::time::timeout(Duration::from_secs(4), connection).await;
    assert!(ended.is_err(), "it is not idle");
    server.push("x", "seen").await;
    let mut shown = String::new();
    while !shown.contains("seen") {
        let frame = soon("the feed", first.frame()).await.expect("it goes on").expect("it is sound");
        shown += &String::from_utf8_lossy(&frame.into_data().expect("data"));
    }
}

#[tokio::test]
async fn feeds_that_nobody_reads_do_not_keep_a_new_session_out() {
    let settings = [("limits.write_stall_seconds_max", "1"), ("console.watchers_max", "8")];
    let server = secure(&settings).await;
    let browser = Browser::super_admin(&server).await;
    let stream = agreed(&server, server.private()).await;
    let mut narrow = http2::Builder::new(TokioExecutor::new());
    // The first word of a feed is longer.
    narrow.initial_stream_window_size(1);
    let (mut sender, connection) =
        narrow.handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let mut unread = Vec::new();
    for _ in 0..8 {
        unread.push(sender.send_request(feed(&browser)).await.expect("an answer"));
    }
    assert_eq!(server.node.metrics().feed_watchers.get(), 8);
    assert_eq!(browser.delete(&server, "/session").await.status, 204);
    let _ = soon("the end", connection).await.unwrap();
    assert_eq!(server.node.metrics().unread_answers.get(), 1);
    soon("feeds that are over", async {
        while server.node.metrics().feed_watchers.get() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let browser = Browser::super_admin(&server).await;
    Feed::watch(&server, &browser, "x").await;
}

/// A body that never comes.
struct Never;

impl hyper::body::Body for Never {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_asked_is_ended() {
    let settings = [("limits.head_seconds_max", "1"), ("limits.idle_seconds_max", "1")];
    let server = secure(&settings).await;
    // One that asks nothing at all, with and without a word.
    let mut silent = agreed(&server, server.public()).await;
    let (_sender, connection) = connect(&server, server.public()).await;
    soon("the end", connection).await.unwrap().expect("an orderly end");
    let _ = soon("the end", silent.read_to_end(&mut Vec::new())).await;
    assert_eq!(server.node.metrics().slow_heads.get(), 2);
    // One that has asked.
    let (mut sender, connection) = connect(&server, server.public()).await;
    let answer = sender.send_request(get("/healthz")).await.expect("an answer");
    assert_eq!(text(answer).await, "ok");
    soon("the end", connection).await.unwrap().expect("an orderly end");
    assert_eq!(server.node.metrics().slow_heads.get(), 2);
}

#[tokio::test]
async fn a_client_that_resets_as_fast_as_it_asks_is_cut() {
    let server = secure(&[]).await;
    let (mut reading, mut stream) = tokio::io::split(agreed(&server, server.public()).await);
    let cut = tokio::spawn(async move { reading.read_to_end(&mut Vec::new()).await });
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .expect("the stream takes it");
    // GET / of https, each with its reset (RFC 9113 sections 6.2, 6.4), in few writes.
    let one = |stream: u32| {
        let number = stream.to_be_bytes();
        let head = [&[0, 0, 3, 1, 5][..], &number, &[0x82, 0x84, 0x87]].concat();
        [head, [&[0, 0, 4, 3, 0][..], &number, &8_u32.to_be_bytes()].concat()].concat()
    };
    let flood: Vec<u8> = (0..2_000).flat_map(|number| one(2 * number + 1)).collect();
    // It may be cut while it writes.
    let _ = soon("sending", stream.write_all(&flood)).await;
    // Long before it is idle for too long. Whether the end is orderly depends on what was read of the flood.
    let _ = soon("the end", cut).await.unwrap();
    server.still_serves().await;
}

#[tokio::test]
async fn a_stop_lets_calls_finish_and_ends_connections() {
    let server = secure(&[]).await;
    let (mut sender, connection) = connect(&server, server.private()).await;
    let answer = sender.send_request(get("/healthz")).await.expect("an answer");
    assert_eq!(text(answer).await, "ok");
    server.stop().await;
    soon("the end", connection).await.unwrap().expect("an orderly end");
}
