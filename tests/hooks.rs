//! The connect hook: what a backend is asked before a socket is admitted, what its answers mean, and what a client
//! is told and is not told.

mod support;

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use gusher::config::read::{self, Overlay};
use reqwest::Method;
use support::hook::{Hook, RawHook};
use support::raw::{Raw, frame, upgrade};
use support::{Client, Server, soon};

/// What became of a connect.
type Connected = Result<Client, (u16, String)>;

/// A server whose app `x` asks `hook`.
async fn asking(hook: &Hook, settings: &[(&str, &str)]) -> Server {
    let server = Server::with(settings).await;
    server.register_hooked("x", &hook.url()).await;
    server
}

/// The status and the text that refused the user `A:1` with the token `secret`.
async fn refusal(server: &Server) -> (u16, String) {
    server.try_connect("x", "A:1?token=secret").await.err().expect("refused")
}

/// How a refusal reads, whole: no URL, no token, no tag, nothing of the hook's own words.
fn words(status: u16, text: &str) -> (u16, String) {
    (status, format!("{text}\n"))
}

#[tokio::test]
async fn gu_074_a_hook_that_answers_the_tag_admits() {
    let hook = Hook::answering(200, "A:1").await;
    let server = asking(&hook, &[]).await;
    server.connect("x", "A:1?token=a%20b%26c%3D%C3%A9").await.settle().await;
    let asked = hook.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!((&asked[0].method, asked[0].target.as_str()), (&Method::POST, "/hook"));
    assert_eq!(asked[0].header("content-type"), "application/x-www-form-urlencoded");
    assert_eq!(asked[0].body, "token=a+b%26c%3D%C3%A9");
}

#[tokio::test]
async fn gu_074_names_of_headers_leave_in_the_usual_case() {
    let backend = RawHook::start(|_| 403).await;
    let server = Server::start().await;
    server.register_hooked("x", &backend.url()).await;
    refusal(&server).await;
    let mut names = backend.until_asked(1).await[0].names();
    names.sort();
    assert_eq!(names.join(", "), "Accept, Content-Length, Content-Type, Host");
}

#[tokio::test]
async fn gu_074_the_decoded_tag_is_what_counts() {
    let hook = Hook::answering(201, "张 x").await;
    let server = asking(&hook, &[]).await;
    let _client = server.connect("x", "%E5%BC%A0%20x").await;
    assert_eq!(server.online("x").await, ["张 x"]);
}

#[tokio::test]
async fn gu_075_another_answer_refuses_and_is_not_passed_on() {
    let hook = Hook::answering(200, "B:2 is who you are").await;
    let server = asking(&hook, &[]).await;
    assert_eq!(refusal(&server).await, words(403, "connect hook refused"));
    assert!(server.online("x").await.is_empty());
}

#[tokio::test]
async fn gu_076_a_newline_behind_the_tag_refuses() {
    for answer in ["A:1\n", " A:1", "a:1", "A:1\0", ""] {
        let hook = Hook::answering(200, answer).await;
        let server = asking(&hook, &[]).await;
        assert_eq!(refusal(&server).await, words(403, "connect hook refused"), "{answer:?}");
    }
}

#[tokio::test]
async fn gu_077_a_status_that_is_no_success_is_a_failure() {
    for status in [400, 404, 500, 503] {
        let hook = Hook::answering(status, "A:1").await;
        let server = asking(&hook, &[]).await;
        assert_eq!(refusal(&server).await, words(502, "connect hook error"), "{status}");
    }
}

#[tokio::test]
async fn gu_078_a_silent_hook_is_given_five_seconds() {
    let hook = Hook::held(|_| "A:1".into_response()).await;
    let server = asking(&hook, &[]).await;
    let begun = Instant::now();
    assert_eq!(refusal(&server).await, words(504, "connect hook timeout"));
    assert!((4..=6).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    hook.until_abandoned(1).await;
    server.still_serves().await;
}

#[test]
fn gu_078_the_defaults_are_five_seconds_for_the_answer_and_the_line() {
    let config = read::dev([], &Overlay::default()).expect("the defaults are valid");
    assert_eq!(config.limits.hook_time_max, Duration::from_secs(5));
    assert_eq!(config.limits.hook_wait_max, Duration::from_secs(5));
    assert_eq!(config.max_wait_hook, 10);
    assert_eq!(config.limits.hook_answer_bytes_max, 4096);
}

#[tokio::test]
async fn gu_078_an_answer_that_begins_in_time_must_end_in_time() {
    let hook = Hook::scripted(|_| unending("A:1", futures_util::stream::pending())).await;
    let server = asking(&hook, &[("limits.hook_seconds_max", "1")]).await;
    assert_eq!(refusal(&server).await, words(504, "connect hook timeout"));
}

/// A response whose body begins with `first` and goes on with `rest`.
fn unending(
    first: &'static str,
    rest: impl futures_util::Stream<Item = Result<&'static str, std::io::Error>> + Send + 'static,
) -> Response {
    use futures_util::StreamExt;
    let first = futures_util::stream::once(async move { Ok(first) });
    axum::body::Body::from_stream(first.chain(rest)).into_response()
}

#[tokio::test]
async fn gu_079_a_hook_that_is_not_there_is_a_failure() {
    // Bound and not listening, so that nobody else takes the port meanwhile.
    let reserved = tokio::net::TcpSocket::new_v4().expect("a descriptor");
    reserved.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let server = Server::start().await;
    server.register_hooked("x", &format!("http://{}/", reserved.local_addr().expect("an address"))).await;
    assert_eq!(refusal(&server).await, words(502, "connect hook error"));
    server.still_serves().await;
}

#[tokio::test]
async fn gu_080_without_a_token_the_hook_gets_an_empty_one() {
    let hook = Hook::answering(200, "A:1").await;
    let server = asking(&hook, &[]).await;
    let _clients = [server.connect("x", "A:1").await, server.connect("x", "A:1?other=1").await];
    assert!(hook.asked().iter().all(|asked| asked.body == "token="));
}

#[tokio::test]
async fn gu_081_the_query_of_the_hooks_url_arrives_unchanged() {
    let hook = Hook::answering(200, "A:1").await;
    let server = Server::start().await;
    server.register_hooked("x", &format!("{}?k=a+b%2Fc&k=2#part", hook.url())).await;
    let _client = server.connect("x", "A:1?token=t").await;
    assert_eq!(hook.asked()[0].target, "/hook?k=a+b%2Fc&k=2");
}

#[tokio::test]
async fn gu_081_the_password_of_the_hooks_url_becomes_basic_authentication() {
    let hook = Hook::answering(200, "A:1").await;
    let server = Server::start().await;
    server.register_hooked("x", &format!("http://user:pass@{}/hook", hook.address)).await;
    let _client = server.connect("x", "A:1").await;
    assert_eq!(hook.asked()[0].header("authorization"), "Basic dXNlcjpwYXNz");
}

#[tokio::test]
async fn gu_082_no_more_exchanges_at_once_than_max_wait_hook() {
    let hook = Hook::held(|_| "A:1".into_response()).await;
    let server = asking(&hook, &[("max_wait_hook", "2")]).await;
    let connects = async {
        futures_util::join!(
            connect(&server),
            connect(&server),
            connect(&server),
            connect(&server),
            connect(&server),
            connect(&server),
        )
    };
    let answers = async {
        for answered in 0..6 {
            hook.until_asked((answered + 2).min(6)).await;
            hook.release(1);
        }
    };
    let (clients, ()) = futures_util::join!(connects, answers);
    assert_eq!(hook.most_at_once(), 2);
    assert_eq!(server.push("x", "all in").await.json()["sockets"], 6);
    drop(clients);
}

async fn connect(server: &Server) -> Client {
    server.connect("x", "A:1").await
}

#[tokio::test]
async fn gu_083_a_hook_in_progress_delays_nobody_else() {
    let hook = Hook::held(|_| "A:1".into_response()).await;
    let server = asking(&hook, &[("max_wait_hook", "1")]).await;
    let others = async {
        hook.until_asked(1).await;
        server.still_serves().await;
        hook.release(1);
    };
    let (client, ()) = futures_util::join!(server.connect("x", "A:1"), others);
    client.close().await;
}

#[tokio::test]
async fn d11_who_waits_in_line_too_long_is_told_so() {
    for (wait_seconds, least) in [("0", Duration::ZERO), ("1", Duration::from_secs(1))] {
        let hook = Hook::held(|_| "A:1".into_response()).await;
        let settings = [("max_wait_hook", "1"), ("limits.hook_wait_seconds_max", wait_seconds)];
        let server = asking(&hook, &settings).await;
        let second = async {
            hook.until_asked(1).await;
            let begun = Instant::now();
            assert_eq!(refusal(&server).await, words(503, "connect hook busy"));
            assert!(begun.elapsed() >= least);
            hook.release(2);
        };
        let (_first, ()) = futures_util::join!(connect(&server), second);
        let _third = connect(&server).await;
    }
}

#[tokio::test]
async fn d20_no_more_of_an_answer_is_read_than_four_kibibytes() {
    let endless = || futures_util::stream::repeat_with(|| Ok("and so on "));
    let hook = Hook::scripted(move |_| unending("A:1", endless())).await;
    let server = asking(&hook, &[]).await;
    assert_eq!(refusal(&server).await, words(403, "connect hook refused"));
    server.still_serves().await;
}

#[tokio::test]
async fn d20_the_longest_tag_fits_into_an_answer() {
    let tag = "t".repeat(1024);
    let hook = Hook::answering(200, &tag).await;
    let server = asking(&hook, &[]).await;
    server.connect("x", &tag).await.settle().await;
}

#[tokio::test]
async fn d21_redirects_that_repeat_the_post_are_followed() {
    let hook = Hook::scripted(|asked| match asked.target.as_str() {
        "/hook" => Redirect::temporary("/second").into_response(),
        "/second" => Redirect::permanent("/third").into_response(),
        "/third" => Redirect::temporary("/fourth").into_response(),
        _ => "A:1".into_response(),
    })
    .await;
    let server = asking(&hook, &[]).await;
    let _client = server.connect("x", "A:1?token=t").await;
    let asked = hook.asked();
    assert_eq!(
        asked.iter().map(|asked| &*asked.target).collect::<Vec<_>>(),
        ["/hook", "/second", "/third", "/fourth"]
    );
    assert!(asked.iter().all(|asked| asked.method == Method::POST && asked.body == "token=t"));
    assert!(asked.iter().all(|asked| asked.header("content-type") == "application/x-www-form-urlencoded"));
}

#[tokio::test]
async fn d21_no_more_than_three_redirects_are_followed() {
    let hook = Hook::scripted(|_| Redirect::temporary("/hook").into_response()).await;
    let server = asking(&hook, &[]).await;
    assert_eq!(refusal(&server).await, words(502, "connect hook error"));
    assert_eq!(hook.asked().len(), 4);
}

#[tokio::test]
async fn d21_a_redirect_that_would_change_the_request_is_a_failure() {
    for status in [300, 301, 302, 303, 304] {
        let status = StatusCode::from_u16(status).expect("a status");
        let hook = Hook::scripted(move |_| (status, [("location", "/second")], "A:1").into_response()).await;
        let server = asking(&hook, &[]).await;
        assert_eq!(refusal(&server).await, words(502, "connect hook error"), "{status}");
        assert_eq!(hook.asked().len(), 1);
    }
}

#[tokio::test]
async fn d21_a_redirect_to_nowhere_is_a_failure() {
    for location in ["", "http://", "file:///etc/passwd", "ftp://127.0.0.1/", "http://127.0.0.1:1/"] {
        let hook = Hook::scripted(move |_| {
            (StatusCode::TEMPORARY_REDIRECT, [("location", location)], "A:1").into_response()
        })
        .await;
        let server = asking(&hook, &[]).await;
        assert_eq!(refusal(&server).await, words(502, "connect hook error"), "{location:?}");
    }
}

#[tokio::test]
async fn d22_a_hook_that_speaks_no_http_is_a_failure() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let server = Server::start().await;
    server.register_hooked("x", &format!("http://{}/", listener.local_addr().expect("an address"))).await;
    let gibberish = async {
        let (mut stream, _) = listener.accept().await.expect("it is asked");
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"\0\xffA:1\r\n\r\n").await;
    };
    let (refused, ()) = futures_util::join!(refusal(&server), gibberish);
    assert_eq!(refused, words(502, "connect hook error"));
}

#[tokio::test]
async fn d23_nobody_is_asked_about_a_request_that_cannot_succeed() {
    let hook = Hook::answering(200, "A:1").await;
    let server = asking(&hook, &[]).await;
    assert_eq!(server.try_connect("y", "A:1").await.err().map(|(status, _)| status), Some(404));
    let mut raw = Raw::connect(server.public()).await;
    raw.send("GET /ws/x/A:1 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(raw.response().await.0, 400);
    assert!(hook.asked().is_empty());
}

#[tokio::test]
async fn d23_a_client_that_leaves_cancels_its_hook() {
    let hook = Hook::held(|_| "A:1".into_response()).await;
    let server = asking(&hook, &[("max_wait_hook", "1")]).await;
    for leaves in [|raw: Raw| drop(raw), Raw::reset] {
        let abandoned = hook.asked().len();
        let mut raw = Raw::connect(server.public()).await;
        raw.send(upgrade("x", "A:1")).await;
        hook.until_asked(abandoned + 1).await;
        leaves(raw);
        hook.until_abandoned(abandoned + 1).await;
    }
    hook.release(1);
    let _next = connect(&server).await;
    assert_eq!(server.online("x").await, ["A:1"]);
}

#[tokio::test]
async fn d23_a_client_that_leaves_the_line_is_not_asked_about() {
    let hook = Hook::held(|_| "A:1".into_response()).await;
    let server = asking(&hook, &[("max_wait_hook", "1")]).await;
    let rest = async {
        hook.until_asked(1).await;
        let mut waiting = Raw::connect(server.public()).await;
        waiting.send(upgrade("x", "A:1")).await;
        waiting.is_quiet().await;
        drop(waiting);
        server.still_serves().await;
        hook.release(2);
    };
    let (_first, ()) = futures_util::join!(connect(&server), rest);
    let _last = connect(&server).await;
    assert_eq!(hook.asked().len(), 2);
}

#[tokio::test]
async fn what_a_client_sends_ahead_of_its_hooks_answer_is_kept() {
    let hook = Hook::held(|_| "A:1".into_response()).await;
    let server = asking(&hook, &[]).await;
    let mut raw = Raw::connect(server.public()).await;
    raw.send(upgrade("x", "A:1")).await;
    hook.until_asked(1).await;
    raw.send(frame(0x89, b"early")).await;
    raw.is_quiet().await;
    hook.release(1);
    assert_eq!(raw.response().await.0, 101);
    assert_eq!(raw.frame().await, (0x8a, b"early".to_vec()));
}

#[tokio::test]
async fn an_app_that_goes_while_its_hook_is_asked_admits_nobody() {
    let hook = Hook::held(|_| "A:1".into_response()).await;
    let server = asking(&hook, &[]).await;
    let goes = async {
        hook.until_asked(1).await;
        server.unregister("x").await;
        server.register_hooked("x", &hook.url()).await;
        hook.release(1);
    };
    let (connected, ()): (Connected, ()) = futures_util::join!(server.try_connect("x", "A:1"), goes);
    assert_eq!(connected.err().map(|(status, _)| status), Some(404));
    assert!(server.online("x").await.is_empty());
}

#[tokio::test]
async fn a_hook_that_answers_while_the_node_stops_admits_nobody() {
    let hook = Hook::held(|_| "A:1".into_response()).await;
    let server = asking(&hook, &[]).await;
    let mut raw = Raw::connect(server.public()).await;
    raw.send(upgrade("x", "A:1")).await;
    hook.until_asked(1).await;
    let public = server.public();
    let stopping = tokio::spawn(server.stop());
    soon("the listener closes", async { while tokio::net::TcpStream::connect(public).await.is_ok() {} })
        .await;
    hook.release(1);
    assert_eq!(raw.response().await, words(503, "server stops"));
    raw.ended().await;
    drop(raw);
    stopping.await.expect("it stops");
}

#[tokio::test]
async fn a_slow_backend_of_one_app_keeps_out_no_clients_of_another() {
    let slow = Hook::held(|_| "A:1".into_response()).await;
    let server = asking(&slow, &[("max_wait_hook", "4"), ("limits.hook_wait_seconds_max", "60")]).await;
    let quick = Hook::answering(200, "A:1").await;
    server.register_hooked("y", &quick.url()).await;
    let crowd = futures_util::future::join_all((0..6).map(|_| connect(&server)));
    let others = async {
        slow.until_asked(3).await;
        for _ in 0..4 {
            server.connect("y", "A:1").await.settle().await;
        }
        assert_eq!(slow.asked().len(), 3, "those of the other app wait meanwhile");
        slow.release(6);
    };
    let (crowd, ()) = futures_util::join!(crowd, others);
    assert_eq!(crowd.len(), 6);
}

/// Answers a question on a connection that is kept.
async fn answer_one(stream: &mut tokio::net::TcpStream) {
    read_question(stream).await;
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nA:1";
    tokio::io::AsyncWriteExt::write_all(stream, answer).await.expect("it is heard");
}

async fn read_question(stream: &mut tokio::net::TcpStream) {
    let mut question = Vec::new();
    while !question.ends_with(b"token=t") {
        let read = tokio::io::AsyncReadExt::read_buf(stream, &mut question).await;
        assert_ne!(read.expect("a question"), 0, "a whole question");
    }
}

#[tokio::test]
async fn a_question_is_asked_once_more_where_the_backend_closed_the_kept_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let server = Server::start().await;
    server.register_hooked("x", &format!("http://{}/", listener.local_addr().expect("an address"))).await;
    let backend = async {
        let (mut first, _) = listener.accept().await.expect("it is asked");
        answer_one(&mut first).await;
        // What looks kept is closed when it is used again.
        read_question(&mut first).await;
        drop(first);
        let (mut second, _) = listener.accept().await.expect("it is asked again");
        answer_one(&mut second).await;
        second
    };
    let clients = async {
        let first = server.connect("x", "A:1?token=t").await;
        (first, server.connect("x", "A:1?token=t").await)
    };
    let _ = futures_util::join!(clients, backend);
}
