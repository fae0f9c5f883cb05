//! What no well-behaved client sends: too much, too slowly, malformed, or half of it before it disappears. Each is
//! refused in its own way, and the server goes on serving.

mod support;

use std::net::SocketAddr;

use reqwest::Method;
use support::raw::{Raw, frame, long_header, upgrade};
use support::{ADMIN, Client, SUPER, Server, send, soon};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

/// A server with the app `x`.
async fn with_app(settings: &[(&str, &str)]) -> Server {
    let server = Server::with(settings).await;
    server.register("x").await;
    server
}

/// Both listeners, each with a path that it knows.
fn listeners(server: &Server) -> [(SocketAddr, &'static str); 2] {
    [(server.public(), "/ws/x/a"), (server.private(), "/api/app-list")]
}

/// The status that answers some bytes on a fresh connection, which then ends.
async fn status_of(address: SocketAddr, request: impl AsRef<[u8]>) -> u16 {
    let mut raw = Raw::connect(address).await;
    raw.send(request).await;
    let (status, _) = raw.response().await;
    raw.ended().await;
    status
}

/// The head of a push to the app `x` with a body of `length` bytes, as the super admin.
fn push_head(length: usize) -> String {
    format!(
        "POST /api/push/x HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YWNjb3VudDpwYXNzd29yZA==\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n"
    )
}

#[tokio::test]
async fn a_head_of_more_than_sixteen_kibibytes_is_refused_and_counted() {
    let server = with_app(&[]).await;
    for (address, path) in listeners(&server) {
        for length in [16_384, 20_000, 300_000] {
            let pad = "p".repeat(length);
            let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nPad: {pad}\r\n\r\n");
            assert_eq!(status_of(address, head).await, 431, "{length}");
        }
        let path = format!("{path}?{}", "q".repeat(16_384));
        assert_eq!(status_of(address, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await, 431);
        let fits = format!("GET /nothing HTTP/1.1\r\nHost: x\r\nPad: {}\r\n\r\n", "p".repeat(15_000));
        let mut raw = Raw::connect(address).await;
        raw.send(fits).await;
        assert_eq!(raw.response().await.0, 404);
    }
    assert!(server.node.metrics().refusals.all().contains(&(431, 8)));
    server.still_serves().await;
}

#[tokio::test]
async fn more_than_sixty_four_headers_are_refused() {
    let server = with_app(&[]).await;
    for (address, _) in listeners(&server) {
        let head = |headers| {
            format!(
                "GET /nothing HTTP/1.1\r\nHost: x\r\n{}Connection: close\r\n\r\n",
                "A: b\r\n".repeat(headers)
            )
        };
        assert_eq!(status_of(address, head(62)).await, 404);
        assert_eq!(status_of(address, head(63)).await, 431);
    }
    server.still_serves().await;
}

#[tokio::test]
async fn a_head_that_does_not_come_in_time_is_answered_and_counted() {
    let server = with_app(&[("limits.head_seconds_max", "1")]).await;
    let mut late = Vec::new();
    for (address, _) in listeners(&server) {
        for beginning in ["", "\r\n", "GET /ws/x/a HTTP/1.1\r\nHost: "] {
            let mut raw = Raw::connect(address).await;
            raw.send(beginning).await;
            late.push(raw);
        }
    }
    for raw in &mut late {
        assert_eq!(raw.response().await.0, 408);
        raw.ended().await;
    }
    assert_eq!(server.node.metrics().slow_heads.get(), 6);
    server.still_serves().await;
}

#[tokio::test]
async fn a_head_that_trickles_in_is_not_given_more_time() {
    let server = with_app(&[("limits.head_seconds_max", "1")]).await;
    let mut raw = Raw::connect(server.public()).await;
    let (mut read, mut write) = raw.stream.split();
    let mut first = [0];
    let trickle = async {
        while write.write_all(b"G").await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = trickle => panic!("it was not answered"),
        readable = read.peek(&mut first) => assert!(readable.is_ok()),
    }
    assert_eq!(raw.response().await.0, 408);
    server.still_serves().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_in_time_is_refused() {
    let server = with_app(&[("limits.body_seconds_max", "1")]).await;
    let begun = push_head(100) + "content=half";
    assert_eq!(status_of(server.private(), begun).await, 408);
    server.still_serves().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let server = with_app(&[("limits.body_bytes_max", "1024")]).await;
    let mut raw = Raw::connect(server.private()).await;
    raw.send(push_head(1_025) + &"c".repeat(1_025)).await;
    assert_eq!(raw.response().await.0, 413);
    assert_eq!(status_of(server.private(), push_head(9_000_000) + &"c".repeat(9_000)).await, 413);
    server.still_serves().await;
}

#[tokio::test]
async fn half_open_connections_wait_for_a_place_and_are_not_lost() {
    let server = with_app(&[("limits.pending_connections_max", "2")]).await;
    let idle = Raw::connect(server.public()).await;
    let mut half = Raw::connect(server.public()).await;
    half.send("GET /ws/x/half HTTP/1.1\r\n").await;
    let mut waiting = Vec::new();
    for number in 0..5 {
        let mut raw = Raw::connect(server.public()).await;
        raw.send([upgrade("x", &number.to_string()).as_bytes(), &frame(0x89, b"ping")].concat()).await;
        waiting.push(raw);
    }
    waiting[0].is_quiet().await;
    assert!(server.online("x").await.is_empty(), "the other listener serves, and none of them got in");
    drop(idle);
    for raw in &mut waiting {
        assert_eq!(raw.response().await.0, 101);
        assert_eq!(raw.frame().await, (0x8a, b"ping".to_vec()));
    }
    drop(half);
    server.still_serves().await;
}

#[tokio::test]
async fn half_open_connections_on_the_private_listener_wait_as_well() {
    // The other place is taken by the connection that the harness keeps alive, which is idle and yields.
    let server = with_app(&[("limits.pending_connections_max", "2")]).await;
    let mut half = Raw::connect(server.private()).await;
    half.send("GET /nothing HTTP/1.1\r\n").await;
    let mut waiting = Raw::connect(server.private()).await;
    let mut further = Raw::connect(server.private()).await;
    further.send("GET /nothing HTTP/1.1\r\nHost: x\r\n").await;
    waiting.send("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(waiting.response().await.0, 404);
    drop((half, waiting));
    server.still_serves().await;
}

#[tokio::test]
async fn a_request_that_does_not_say_which_host_it_is_for_is_refused() {
    let server = with_app(&[]).await;
    for (address, _) in listeners(&server) {
        for (hosts, status) in [("", 400), ("Host: a\r\nHost: a\r\n", 400), ("Host: a\r\n", 404)] {
            let head = format!("GET /nothing HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n");
            assert_eq!(status_of(address, head).await, status, "{hosts:?}");
        }
        // HTTP/1.0 had none.
        assert_eq!(status_of(address, "GET /nothing HTTP/1.0\r\n\r\n").await, 404);
    }
}

#[tokio::test]
async fn a_body_that_is_compressed_is_refused() {
    let server = with_app(&[]).await;
    for (encoding, status) in [("gzip", 415), ("identity, br", 415), ("identity", 200)] {
        let push = server.call(Method::POST, "/api/push/x").basic_auth(SUPER.0, Some(SUPER.1));
        let answer = send(push.header("Content-Encoding", encoding).form(&[("content", "c")])).await;
        assert_eq!(answer.status, status, "{encoding}: {}", answer.text);
    }
}

#[tokio::test]
async fn an_answer_says_whether_the_connection_goes_on() {
    let server = with_app(&[("limits.body_bytes_max", "1024")]).await;
    let says_close = async |raw: &mut Raw, status: u16| {
        let (told, head, _) = raw.whole_response().await;
        assert_eq!(told, status, "{head}");
        head.to_ascii_lowercase().contains("connection: close")
    };
    let nobody = |more: &str| format!("POST /api/push/x HTTP/1.1\r\nHost: x\r\n{more}\r\n\r\n");
    // What is not read of a request ends the connection.
    for (head, status) in [
        (push_head(1_025), 413),
        (nobody("Content-Length: 9\r\nExpect: 100-continue"), 401),
        (nobody("Content-Length: 9"), 401),
    ] {
        let mut raw = Raw::connect(server.private()).await;
        raw.send(&head).await;
        assert!(says_close(&mut raw, status).await, "{head}");
        raw.ended().await;
    }
    // What is there already is read, though nobody wanted it.
    let mut raw = Raw::connect(server.private()).await;
    for _ in 0..2 {
        raw.send(nobody("Content-Length: 9") + "content=c").await;
        assert!(!says_close(&mut raw, 401).await);
    }
}

#[tokio::test]
async fn malformed_requests_are_refused() {
    let server = with_app(&[]).await;
    let malformed: &[&[u8]] = &[
        b"\0\x01\x02\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET  / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: \0\r\n\r\n",
        b"GET / HTTP/1.1\r\nA : b\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ];
    for (address, _) in listeners(&server) {
        for request in malformed {
            let status = status_of(address, request).await;
            assert_eq!(status, 400, "{:?}", String::from_utf8_lossy(request));
        }
    }
    server.still_serves().await;
}

#[tokio::test]
async fn paths_that_are_no_utf_8_are_unknown() {
    let server = with_app(&[]).await;
    let (public, private) = (server.public(), server.private());
    let paths = [
        (public, "/ws/x/%FF"),
        (public, "/ws/%C3%28/a"),
        (public, "/ws/x/a%2Fb"),
        (public, "/ws/x/%2e%2e"),
        (private, "/api/%FF/listonlineuser"),
        (private, "/api/%ED%A0%80/listonlineuser"),
    ];
    for (address, path) in paths {
        let request = upgrade("x", "a").replacen("/ws/x/a", path, 1);
        let mut raw = Raw::connect(address).await;
        raw.send(request).await;
        assert_eq!(raw.response().await.0, 404, "{path}");
    }
    for (address, path) in [(public, &b"/ws/x/\xff"[..]), (private, b"/api/\xff/listonlineuser")] {
        let status =
            status_of(address, [b"GET ", path, b" HTTP/1.1\r\nConnection: close\r\n\r\n"].concat()).await;
        assert!([400, 404].contains(&status), "{status}");
    }
    server.still_serves().await;
}

#[tokio::test]
async fn a_broken_chunked_body_is_refused() {
    let server = with_app(&[]).await;
    let head = push_head(0).replace("Content-Length: 0", "Transfer-Encoding: chunked");
    for body in ["zz\r\nhello\r\n", "5\r\nhello!!\r\n", "fffffffffffffffff\r\n"] {
        assert_eq!(status_of(server.private(), format!("{head}{body}")).await, 400, "{body:?}");
    }
    server.still_serves().await;
}

/// What a socket is told that sends `bytes`: a close code, behind which the stream ends.
async fn close_code_of(server: &Server, bytes: impl AsRef<[u8]>) -> u16 {
    let mut raw = Raw::socket(server, "x", "a").await;
    raw.send(bytes).await;
    raw.close_code().await
}

#[tokio::test]
async fn frames_against_the_protocol_close_with_1002() {
    let server = with_app(&[]).await;
    let unmasked = vec![0x81, 2, b'h', b'i'];
    let wrong = [
        ("unmasked", unmasked),
        ("first reserved bit", frame(0xc1, b"hi")),
        ("second reserved bit", frame(0xa1, b"hi")),
        ("third reserved bit", frame(0x91, b"hi")),
        ("reserved opcode", frame(0x83, b"hi")),
        ("reserved control opcode", frame(0x8b, b"")),
        ("control frame in fragments", frame(0x09, b"hi")),
        ("long control frame", vec![0x89, 0x80 | 126, 0, 126, 0, 0, 0, 0]),
        ("continuation of nothing", frame(0x80, b"hi")),
        ("message in a message", [frame(0x01, b"h"), frame(0x81, b"i")].concat()),
        ("close of one byte", frame(0x88, b"1")),
        ("close code that nobody may send", frame(0x88, &1005_u16.to_be_bytes())),
        ("length in too many bytes", vec![0x82, 0x80 | 126, 0, 5, 0, 0, 0, 0]),
        ("a request", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
    ];
    for (what, bytes) in &wrong {
        assert_eq!(close_code_of(&server, bytes).await, 1002, "{what}");
    }
    assert_eq!(server.count(|shard| shard.violations.get()), wrong.len() as u64);
    server.until_online("x", &[]).await;
    server.still_serves().await;
}

#[tokio::test]
async fn text_that_is_no_utf_8_closes_with_1007() {
    let server = with_app(&[]).await;
    assert_eq!(close_code_of(&server, frame(0x81, b"\xff")).await, 1007);
    assert_eq!(close_code_of(&server, frame(0x01, b"\xed\xa0")).await, 1007);
    assert_eq!(close_code_of(&server, frame(0x88, b"\x03\xe8\xff")).await, 1007);
    server.still_serves().await;
}

#[tokio::test]
async fn a_huge_frame_is_refused_by_its_header_alone() {
    let server = with_app(&[]).await;
    for length in [1 << 20, u64::from(u32::MAX), (1 << 63) - 1] {
        let mut raw = Raw::socket(&server, "x", "a").await;
        raw.send(long_header(length)).await;
        assert_eq!(raw.close_code().await, 1009);
    }
    server.still_serves().await;
}

#[tokio::test]
async fn who_keeps_sending_a_huge_frame_still_sees_the_close() {
    let server = with_app(&[]).await;
    let mut raw = Raw::socket(&server, "x", "a").await;
    raw.send(long_header(1 << 20)).await;
    raw.send(vec![0; 1 << 20]).await;
    assert_eq!(raw.close_code().await, 1009);
    server.still_serves().await;
}

#[tokio::test]
async fn fragments_and_single_bytes_are_understood() {
    let server = with_app(&[]).await;
    let mut raw = Raw::socket(&server, "x", "a").await;
    let message = [
        frame(0x01, b"one "),
        frame(0x00, b""),
        frame(0x89, b"amid"),
        frame(0x80, b"two"),
        frame(0x89, b"end"),
    ];
    for byte in message.concat() {
        raw.send([byte]).await;
    }
    assert_eq!(raw.frame().await, (0x8a, b"amid".to_vec()));
    assert_eq!(raw.frame().await, (0x8a, b"end".to_vec()));
    server.still_serves().await;
}

#[tokio::test]
async fn fragments_that_are_too_much_together_close_with_1009() {
    let server = with_app(&[]).await;
    let fragments = [vec![frame(0x02, &[7; 100])], vec![frame(0x00, &[7; 100]); 4]].concat().concat();
    let mut raw = Raw::socket(&server, "x", "a").await;
    raw.send([&fragments[..], &frame(0x89, b"500"), &frame(0x00, &[7; 12]), &frame(0x89, b"512")].concat())
        .await;
    assert_eq!(raw.frame().await, (0x8a, b"500".to_vec()));
    assert_eq!(raw.frame().await, (0x8a, b"512".to_vec()));
    raw.send(frame(0x80, &[7])).await;
    assert_eq!(raw.close_code().await, 1009);
    server.still_serves().await;
}

#[tokio::test]
async fn frames_right_behind_the_upgrade_are_understood() {
    let server = with_app(&[]).await;
    let mut raw = Raw::connect(server.public()).await;
    let ping = frame(0x89, b"ahead");
    let (whole, half) = ([&ping[..], &frame(0x82, &[7; 100])].concat(), &ping[..3]);
    raw.send([upgrade("x", "a").as_bytes(), &whole, half].concat()).await;
    assert_eq!(raw.response().await.0, 101);
    assert_eq!(raw.frame().await, (0x8a, b"ahead".to_vec()));
    raw.send(&ping[3..]).await;
    assert_eq!(raw.frame().await, (0x8a, b"ahead".to_vec()));
    server.still_serves().await;
}

#[tokio::test]
async fn a_request_ahead_of_the_upgrade_is_answered_first() {
    let server = with_app(&[]).await;
    let mut raw = Raw::connect(server.public()).await;
    let plain = "GET /ws/x/a HTTP/1.1\r\nHost: x\r\n\r\nGET /nothing HTTP/1.1\r\nHost: x\r\n\r\n";
    raw.send([plain.as_bytes(), upgrade("x", "a").as_bytes(), &frame(0x89, b"ahead")].concat()).await;
    assert_eq!(raw.response().await.0, 400);
    assert_eq!(raw.response().await.0, 404);
    assert_eq!(raw.response().await.0, 101);
    assert_eq!(raw.frame().await, (0x8a, b"ahead".to_vec()));
    server.still_serves().await;
}

#[tokio::test]
async fn more_sockets_than_allowed_are_refused_until_one_leaves() {
    let server = with_app(&[("limits.sockets_max", "1")]).await;
    let first = server.connect("x", "a").await;
    let (status, text) = server.try_connect("x", "b").await.err().expect("refused");
    assert_eq!((status, text.as_str()), (503, "server overloaded\n"));
    assert_eq!(server.online("x").await, ["a"]);
    first.close().await;
    server.until_online("x", &[]).await;
    server.still_serves().await;
}

#[tokio::test]
async fn clients_that_disappear_leave_nothing_behind() {
    let server = with_app(&[]).await;
    let halves = [
        Vec::new(),
        b"GET /ws/x/a HTTP/1.1\r\n".to_vec(),
        push_head(1_000).into(),
        (push_head(1_000) + "content=half").into(),
        upgrade("x", "a").into(),
        [upgrade("x", "a").as_bytes(), &frame(0x89, b"half")[..5]].concat(),
    ];
    for (address, _) in listeners(&server) {
        for bytes in &halves {
            let mut raw = Raw::connect(address).await;
            raw.send(bytes).await;
            raw.reset();
        }
    }
    server.until_online("x", &[]).await;
    server.still_serves().await;
}

#[tokio::test]
async fn sockets_that_disappear_leave_nothing_behind() {
    let server = with_app(&[]).await;
    let half = frame(0x89, b"half")[..4].to_vec();
    for bytes in [Vec::new(), half, long_header(512), frame(0x01, b"begun"), frame(0x88, b"")] {
        for disappears in [|raw: Raw| drop(raw), Raw::reset] {
            let mut raw = Raw::socket(&server, "x", "a").await;
            raw.send(&bytes).await;
            disappears(raw);
            server.until_online("x", &[]).await;
        }
    }
    soon("every socket gone", async {
        while server.count(|shard| shard.sockets.get()) > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    server.still_serves().await;
}

#[tokio::test]
async fn a_socket_that_disappears_with_a_full_outbox_leaves_nothing_behind() {
    let server = with_app(&[("node.send_buffer_bytes", "4096")]).await;
    let slow = Client::connect_narrow(&server, "x", "slow").await;
    let mut other = server.connect("x", "other").await;
    for _ in 0..100 {
        server.push("x", &"m".repeat(5_000)).await;
        other.text().await;
    }
    assert_eq!(server.online("x").await, ["other", "slow"]);
    let tokio_tungstenite::MaybeTlsStream::Plain(stream) = slow.socket.into_inner() else { unreachable!() };
    stream.set_zero_linger().expect("a live stream");
    drop(stream);
    server.until_online("x", &["other"]).await;
    other.send(Message::text("still here")).await;
    other.settle().await;
    server.still_serves().await;
}

#[tokio::test]
async fn an_admin_who_disappears_in_the_middle_of_a_call_does_no_harm() {
    let server = with_app(&[]).await;
    let mut client = server.connect("x", "a").await;
    let mut raw = Raw::connect(server.private()).await;
    raw.send(push_head(12) + "content=gone").await;
    raw.reset();
    let call = server.call(Method::POST, "/api/push/x").basic_auth(ADMIN.0, Some(ADMIN.1));
    assert_eq!(send(call.form(&[("content", "here")])).await.status, 200);
    let first = client.text().await;
    assert!(first == "here" || (first == "gone" && client.text().await == "here"));
    assert_eq!(SUPER, ("account", "password"), "what push_head has in base64");
    server.still_serves().await;
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    let server = with_app(&[]).await;
    // More than the kernel holds between two ends, so that it cannot all be under way when the answer is.
    let long = "b".repeat(30_000_000);
    let stranger = push_head(long.len()).replace("YWNj", "bm9i");
    assert_eq!(status_of(server.private(), stranger + &long).await, 401);
    assert_eq!(status_of(server.private(), push_head(long.len()) + &long).await, 413);
    for (address, path) in listeners(&server) {
        assert_eq!(
            status_of(address, format!("GET {path} HTTP/1.1\r\nHost: x\r\nPad: {long}\r\n\r\n")).await,
            431
        );
    }
    server.still_serves().await;
}
