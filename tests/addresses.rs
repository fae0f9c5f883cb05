//! What one address may do, and who it is when proxies stand between.

mod support;

use std::net::Ipv4Addr;

use gusher::config::read::{self, Overlay};
use reqwest::Method;
use serde_json::json;
use support::proxied::{BEHIND, Caller, from_proxy, version_1, version_2, version_2_with};
use support::tls::Authority;
use support::{ADMIN, Answer, Client, SUPER, Server, cluster, exchange, pusher, send, soon};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{client_async_tls_with_config, connect_async};

/// What an app's list of users is answered with, asked for as somebody.
async fn ask(server: &Server, who: (&str, &str)) -> Answer {
    server.call_as(Some(who), Method::GET, "/api/x/listonlineuser").await
}

async fn status(server: &Server, who: (&str, &str)) -> u16 {
    ask(server, who).await.status.as_u16()
}

/// Whether the figures of a node have this line.
async fn tells(server: &Server, line: &str) -> bool {
    let text = send(server.call(Method::GET, "/metrics")).await.text;
    text.lines().any(|own| own == line)
}

/// A node whose figures anybody may read, with an app.
async fn serve(settings: &[(&str, &str)]) -> Server {
    let server = Server::with(&[&[("metrics.public", "true")], settings].concat()).await;
    server.register("x").await;
    server
}

#[tokio::test]
async fn who_guesses_passwords_has_to_wait_and_the_right_one_waits_too() {
    let server = serve(&[("addresses.failed_sign_ins_max", "3")]).await;
    for guess in ["a", "b", "c"] {
        assert_eq!(status(&server, (ADMIN.0, guess)).await, 401);
    }
    let refused = ask(&server, ADMIN).await;
    assert_eq!(
        (refused.status.as_u16(), &*refused.text),
        (429, "too many failed sign-ins, try again later\n")
    );
    assert!((1..=60).contains(&refused.header("Retry-After").parse::<u32>().unwrap()));
    assert_eq!(refused.header("WWW-Authenticate"), "");
    assert_eq!(status(&server, SUPER).await, 200, "another account");
    assert!(tells(&server, r#"gusher_address_refusals_total{reason="sign_ins_exceeded"} 1"#).await);
    // In the words of Cluster, too.
    let refused = server.call_as(Some(ADMIN), Method::GET, "/v1/apps/x/users").await;
    assert_eq!((refused.status.as_u16(), &*refused.text), (429, "too many failed sign-ins, try again later"));
    assert_ne!(refused.header("Retry-After"), "");
}

#[tokio::test]
async fn an_old_password_holds_up_who_has_it_and_nobody_else() {
    let server = serve(&[("addresses.failed_sign_ins_max", "3")]).await;
    for expected in [401, 401, 401, 429, 429] {
        assert_eq!(status(&server, (ADMIN.0, "old")).await, expected);
    }
    assert_eq!(status(&server, ADMIN).await, 200);
}

#[tokio::test]
async fn guesses_side_by_side_are_counted_like_others() {
    let server = serve(&[("addresses.failed_sign_ins_max", "3"), ("node.bcrypt_cost", "8")]).await;
    let guesses = (0..200).map(|guess| {
        let call = server.call(Method::GET, "/api/x/listonlineuser");
        send(call.basic_auth(ADMIN.0, Some(guess.to_string())))
    });
    let answers = futures_util::future::join_all(guesses).await;
    let looked_at = answers.iter().filter(|answer| answer.status == 401).count();
    assert_eq!(looked_at, 3);
}

#[tokio::test]
async fn wrong_tokens_for_figures_are_counted_too() {
    let token = "0123456789abcdef";
    let settings = [("addresses.failed_sign_ins_max", "3"), ("metrics.token", token)];
    let server = Server::with(&settings).await;
    let scrape = async |token: &str| send(server.call(Method::GET, "/metrics").bearer_auth(token)).await;
    assert_eq!(scrape(token).await.status, 200);
    for guess in ["a", "b", "c"] {
        assert_eq!(scrape(guess).await.status, 401);
    }
    assert_eq!(scrape(token).await.status, 429);
    assert_eq!(server.get("/metrics").await.status, 200, "the super admin shows no token");
}

#[tokio::test]
async fn without_a_limit_everybody_may_fail() {
    let server = serve(&[("addresses.failed_sign_ins_max", "0")]).await;
    for guess in 0..20 {
        assert_eq!(status(&server, (ADMIN.0, &guess.to_string())).await, 401);
    }
    assert_eq!(status(&server, ADMIN).await, 200);
}

// Who it is.

/// Believes whoever tests it.
const TRUSTING: (&str, &str) = ("trusted_proxies", "127.0.0.0/8");

/// What a node keeps as the address of who registers an app, by way of these proxies.
async fn request_ip(server: &Server, forwarded: &[&str]) -> String {
    let fields = [("app_key", "new"), ("auth_account", "a"), ("auth_password", "p")];
    let call = server.call(Method::POST, "/api/register").basic_auth(SUPER.0, Some(SUPER.1)).form(&fields);
    let call = forwarded.iter().fold(call, |call, value| call.header("X-Forwarded-For", *value));
    let answer = send(call).await;
    assert_eq!(server.unregister("new").await.status, 200);
    answer.json()["request_ip"].as_str().expect("a text").to_owned()
}

#[tokio::test]
async fn what_trusted_proxies_forward_is_who_it_is() {
    let server = Server::with(&[TRUSTING]).await;
    assert_eq!(request_ip(&server, &["1.1.1.1, 9.9.9.9"]).await, "9.9.9.9");
    assert_eq!(
        request_ip(&server, &["1.1.1.1", "[2001:db8::1]:4711, 127.0.0.7"]).await,
        "[2001:db8::1]:4711"
    );
    assert!(request_ip(&server, &[]).await.starts_with("127.0.0.1:"));
    assert!(request_ip(&server, &["9.9.9.9, nonsense"]).await.starts_with("127.0.0.1:"));
    let wary = Server::with(&[("trusted_proxies", "10.0.0.0/8")]).await;
    assert!(request_ip(&wary, &["9.9.9.9"]).await.starts_with("127.0.0.1:"));
}

/// A node that expects the header of a proxy.
async fn serve_behind(settings: &[(&str, &str)]) -> Server {
    Server::plain(&[&BEHIND, settings].concat()).await
}

/// Whom the proxy tells of.
const CLIENT: Ipv4Addr = Ipv4Addr::new(9, 9, 9, 9);

/// What registering an app is answered on a connection that begins with `header`.
async fn registered(server: &Server, mut stream: TcpStream, header: &[u8]) -> String {
    // "account:password"
    let request = "POST /api/register?app_key=new&auth_account=a&auth_password=p HTTP/1.1\r\nHost: x\r\n\
                   X-Forwarded-For: 1.1.1.1\r\nConnection: close\r\nContent-Length: 0\r\n\
                   Authorization: Basic YWNjb3VudDpwYXNzd29yZA==\r\n\r\n";
    let answer = exchange(&mut stream, &[header, request.as_bytes()].concat()).await;
    server.unregister("new").await;
    answer
}

#[tokio::test]
async fn trusted_proxies_say_by_their_protocol_who_it_is() {
    let server = serve_behind(&[]).await;
    let beside = version_2_with(1, CLIENT, &[4, 0, 3, 1, 2, 3]);
    for header in [version_2(CLIENT), beside, version_1(CLIENT)] {
        let answer = registered(&server, from_proxy(server.private()).await, &header).await;
        // Who comes through it is not believed as it is: there is a header of HTTP in the request, too.
        assert!(answer.contains(r#""request_ip":"9.9.9.9:4711""#), "{answer}");
    }
}

/// Headers of the PROXY protocol that tell of no client.
fn nameless() -> [Vec<u8>; 4] {
    let version_2 = |head: &[u8], rest: usize| {
        [&b"\r\n\r\n\0\r\nQUIT\n"[..], head, &(rest as u16).to_be_bytes(), &vec![b'/'; rest]].concat()
    };
    let local = version_2_with(0, CLIENT, &[1, 2, 3]);
    [local, b"PROXY UNKNOWN\r\n".to_vec(), version_2(b"\x21\x00", 0), version_2(b"\x21\x31", 216)]
}

#[tokio::test]
async fn who_comes_behind_a_header_that_names_nobody_is_not_believed_about_others() {
    let server = serve_behind(&[("api_allow", "1.1.1.1,127.0.0.1")]).await;
    for header in nameless() {
        // It says that it is for one who may come.
        let refused = registered(&server, from_proxy(server.private()).await, &header).await;
        assert!(refused.starts_with("HTTP/1.1 403 "), "{header:?}: {refused}");
    }
    let server = serve_behind(&[]).await;
    pusher::register(&server, json!({ "tls_only": true })).await;
    for header in nameless() {
        let answer = registered(&server, from_proxy(server.private()).await, &header).await;
        assert!(answer.contains(r#""request_ip":"127.0.0.2:"#), "{header:?}: {answer}");
        let mut request = server.url("ws", server.public(), "/app/key").into_client_request().unwrap();
        request.headers_mut().insert("X-Forwarded-Proto", "https".parse().unwrap());
        let mut socket = try_open_behind(&server, &header, request).await.expect("it is told by a code");
        assert!(socket.text().await.contains("4000"), "{header:?}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_without_a_header_is_cut_and_counted() {
    let server = serve_behind(&[("limits.head_seconds_max", "1")]).await;
    let http = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let begun = b"\r\n\r\n";
    for bytes in [&http[..], &version_2_with(7, CLIENT, &[]), b"PROXY TCP4 nonsense\r\n", begun] {
        let mut stream = from_proxy(server.public()).await;
        assert_eq!(exchange(&mut stream, bytes).await, "");
    }
    let counted = server.node.metrics().address_refusals.all();
    assert!(counted.contains(&("proxy_header", 4)), "{counted:?}");
}

#[tokio::test]
async fn nobody_else_says_anything_by_the_protocol() {
    let server = serve_behind(&[]).await;
    for header in [&version_2(CLIENT)[..], b"PROXY TCP4 9.9.9.9 1.1.1.1 1 2\r\n"] {
        let stream = TcpStream::connect(server.private()).await.expect("it listens");
        let answer = registered(&server, stream, header).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    assert!(request_ip(&server, &[]).await.starts_with("127.0.0.1:"));
}

/// Opens a socket on a connection of the proxy's.
async fn open_behind(server: &Server, header: &[u8], url: String) -> Client {
    try_open_behind(server, header, url).await.expect("it is admitted")
}

async fn try_open_behind(
    server: &Server,
    header: &[u8],
    url: impl IntoClientRequest + Unpin,
) -> Result<Client, tungstenite::Error> {
    let mut stream = from_proxy(server.public()).await;
    stream.write_all(header).await.expect("it takes bytes");
    let connector = server.authority.as_ref().map(Authority::connector);
    let upgrade = client_async_tls_with_config(url, stream, None, connector);
    Ok(Client { socket: soon("the upgrade", upgrade).await?.0 })
}

#[tokio::test]
async fn tls_begins_behind_the_header() {
    let server = Server::secure(&[&BEHIND[..], &[("addresses.sockets_max", "1")]].concat()).await;
    server.register("x").await;
    let url = server.socket_url("x", "a");
    let mut clients = Vec::new();
    for header in [version_1(CLIENT), version_2([8, 8, 8, 8].into())] {
        clients.push(open_behind(&server, &header, url.clone()).await);
        // The address has as many as it may, and not the proxy.
        let refused = try_open_behind(&server, &header, url.clone()).await.err();
        assert!(matches!(refused, Some(tungstenite::Error::Http(answer)) if answer.status() == 503));
    }
    server.push("x", "hello").await;
    for client in &mut clients {
        assert_eq!(client.text().await, "hello");
    }
}

#[tokio::test]
async fn the_header_counts_for_every_call_whichever_http_tls_agrees_on() {
    let server = Server::secure(&[&BEHIND[..], &[("addresses.failed_sign_ins_max", "1")]].concat()).await;
    let authority = server.authority.as_ref().expect("it has TLS");
    let mut last = 0;
    for protocol in ["h2", "http/1.1"] {
        for version in [version_1, version_2] {
            last += 1;
            let header = version([9, 9, 9, last].into());
            let mut caller = Caller::connect(authority, server.private(), &header, protocol).await;
            let path = format!("/api/register?app_key=x{last}&auth_account=a&auth_password=p");
            let (_, app) = caller.call(Method::POST, &path, SUPER).await;
            assert!(app.contains(&format!(r#""request_ip":"9.9.9.{last}:4711""#)), "{protocol}: {app}");
            // Who guesses waits, and nobody else who comes through the proxy.
            let path = format!("/api/x{last}/listonlineuser");
            for (password, expected) in [("guess", 401), ("p", 429)] {
                let (status, text) = caller.call(Method::GET, &path, ("a", password)).await;
                assert_eq!(status, expected, "{protocol}: {text}");
            }
        }
    }
}

#[tokio::test]
async fn the_header_says_whether_the_client_speaks_tls() {
    let server = serve_behind(&[]).await;
    pusher::register(&server, json!({ "tls_only": true })).await;
    let url = server.url("ws", server.public(), "/app/key");
    let mut plain = open_behind(&server, &version_2(CLIENT), url.clone()).await;
    assert!(plain.text().await.contains("4000"));
    let mut secure =
        open_behind(&server, &version_2_with(1, CLIENT, &[0x20, 0, 5, 1, 0, 0, 0, 0]), url).await;
    assert!(secure.text().await.contains("pusher:connection_established"));
}

#[tokio::test]
async fn an_app_that_is_tls_only_takes_no_other_socket_of_gushers_own() {
    let server = Server::plain(&[TRUSTING, cluster::KEY_SETTING]).await;
    server.register("app").await;
    let change = server.call(Method::PATCH, "/api/app/settings").basic_auth(SUPER.0, Some(SUPER.1));
    assert_eq!(send(change.body(r#"{"tls_only":true}"#)).await.status, 200);
    let with_token = format!("/v1/apps/app/ws?token={}", cluster::token("u", &[]));
    for path in ["/ws/app/u", &with_token] {
        let url = server.url("ws", server.public(), path);
        let open = async |proto: &str| {
            let mut request = url.clone().into_client_request().unwrap();
            request.headers_mut().insert("X-Forwarded-Proto", proto.parse().unwrap());
            soon("an answer", connect_async(request)).await
        };
        let Err(tungstenite::Error::Http(refused)) = open("http").await else { panic!("{path} is open") };
        let text = refused.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        assert_eq!((refused.status().as_u16(), &*text), (403, "app takes TLS connections only\n"), "{path}");
        assert!(open("https").await.is_ok(), "{path}");
    }
    let counted = server.node.metrics().sockets_refused.all();
    assert!(counted.contains(&("tls_only", 2)), "{counted:?}");
}

// Who may come.

#[tokio::test]
async fn the_private_listener_is_for_those_who_are_named() {
    let server =
        Server::with(&[("api_allow", "10.0.0.0/8, 2001:db8::/32"), ("trusted_proxies", "127.0.0.1")]).await;
    for path in ["/api/app-list", "/v1/apps", "/apps/1/channels", "/healthz", "/metrics", "/ui", "/none"] {
        let refused = server.get(path).await;
        assert_eq!((refused.status.as_u16(), &*refused.text), (403, "address not allowed\n"), "{path}");
    }
    let health = async |address: &str| {
        send(server.call(Method::GET, "/healthz").header("X-Forwarded-For", address)).await.status.as_u16()
    };
    assert_eq!(
        (health("10.1.2.3").await, health("2001:db8::1").await, health("11.0.0.1").await),
        (200, 200, 403)
    );
    let counted = server.node.metrics().address_refusals.all();
    assert!(counted.contains(&("address_not_allowed", 8)), "{counted:?}");
    assert_eq!(send(server.public_call(Method::GET, "/healthz")).await.status, 200, "the other listener");
}

// What it may do.

#[tokio::test]
async fn calls_are_limited_by_address_on_both_listeners_and_health_is_not() {
    let limits = [("addresses.calls_per_second", "1"), ("addresses.calls_burst", "3"), TRUSTING];
    let server = Server::with(&[("metrics.public", "true"), limits[0], limits[1], limits[2]]).await;
    for _ in 0..3 {
        assert_eq!(server.get("/api/app-list").await.status, 200);
    }
    let refused = server.get("/api/app-list").await;
    assert_eq!((refused.status.as_u16(), &*refused.text), (429, "too many calls from this address\n"));
    assert_eq!(refused.header("Retry-After"), "1");
    assert_eq!(pusher::call(&server, Method::GET, "/apps/77/channels", "").await.status, 429);
    let elsewhere = server.call(Method::GET, "/v1/apps").header("X-Forwarded-For", "9.9.9.9");
    assert_eq!(send(elsewhere.basic_auth(SUPER.0, Some(SUPER.1))).await.status, 200);
    for _ in 0..5 {
        assert_eq!(server.get("/healthz").await.status, 200);
    }
    assert!(tells(&server, r#"gusher_address_refusals_total{reason="calls_exceeded"} 2"#).await);
}

/// Opens a socket as somebody at `address`; else the status of its refusal, and how long to wait.
async fn connect_from(server: &Server, url: String, address: &str) -> Result<Client, (u16, String)> {
    let mut request = url.into_client_request().expect("a request");
    request.headers_mut().insert("X-Forwarded-For", address.parse().expect("a header"));
    match server.open(request).await {
        Ok((socket, _)) => Ok(Client { socket }),
        Err(tungstenite::Error::Http(refused)) => {
            let wait = refused.headers().get("Retry-After").and_then(|wait| wait.to_str().ok());
            Err((refused.status().as_u16(), wait.unwrap_or_default().to_owned()))
        }
        Err(error) => panic!("no HTTP answer: {error}"),
    }
}

/// A node with one app for each dialect, limits of addresses, and trust in whoever tests it.
async fn serve_all(limits: &[(&str, &str)]) -> Server {
    let settings = [TRUSTING, cluster::KEY_SETTING, ("metrics.public", "true")];
    let server = Server::with(&[&settings, limits].concat()).await;
    server.register("app").await;
    pusher::register(&server, json!({})).await;
    server
}

/// The addresses of sockets in the dialects of Gusher, Gusher Cluster and Pusher Channels.
fn urls(server: &Server) -> [String; 3] {
    let cluster = format!("/v1/apps/app/ws?token={}", cluster::token("u", &[]));
    [
        server.socket_url("app", "a"),
        server.url("ws", server.public(), &cluster),
        server.url("ws", server.public(), "/app/key"),
    ]
}

#[tokio::test]
async fn connects_are_limited_by_address_in_the_words_of_each_dialect() {
    let limits = [("addresses.connects_per_second", "1"), ("addresses.connects_burst", "1")];
    let server = serve_all(&limits).await;
    let [gusher, cluster, pusher] = urls(&server);
    for (address, again, url) in [("1.1.1.1", "1.1.1.1", gusher), ("2001:db8::1", "2001:db8::2", cluster)] {
        assert!(connect_from(&server, url.clone(), address).await.is_ok());
        assert_eq!(connect_from(&server, url, again).await.err(), Some((429, "1".to_owned())));
    }
    let mut first = connect_from(&server, pusher.clone(), "3.3.3.3").await.expect("admitted");
    assert!(first.text().await.contains("connection_established"));
    let mut second = connect_from(&server, pusher, "3.3.3.3").await.expect("upgraded");
    assert!(second.text().await.contains("4100"));
    assert_eq!(second.closed().await, (4100, "Too many connects from this address".to_owned()));
    assert!(tells(&server, r#"gusher_connections_refused_total{reason="connects_exceeded"} 3"#).await);
}

#[tokio::test]
async fn sockets_at_once_are_limited_by_address_until_they_are_gone() {
    let server = serve_all(&[("addresses.sockets_max", "2")]).await;
    let [gusher, cluster, pusher] = urls(&server);
    let mut first = connect_from(&server, pusher.clone(), "1.1.1.1").await.expect("admitted");
    let second = connect_from(&server, cluster.clone(), "1.1.1.1").await;
    assert!(first.text().await.contains("connection_established") && second.is_ok());
    for url in [&gusher, &cluster] {
        assert_eq!(connect_from(&server, url.clone(), "1.1.1.1").await.err(), Some((503, "5".to_owned())));
    }
    let mut refused = connect_from(&server, pusher, "1.1.1.1").await.expect("upgraded");
    assert!(refused.text().await.contains("4100"));
    assert!(connect_from(&server, gusher.clone(), "2.2.2.2").await.is_ok(), "another address");
    assert!(tells(&server, r#"gusher_connections_refused_total{reason="address_full"} 3"#).await);
    first.close().await;
    soon("its place is free", async {
        while connect_from(&server, gusher.clone(), "1.1.1.1").await.is_err() {}
    })
    .await;
}

#[tokio::test]
async fn who_was_not_admitted_in_the_end_takes_no_place() {
    let server = serve_all(&[("addresses.sockets_max", "1")]).await;
    for _ in 0..3 {
        let refused = connect_from(&server, server.socket_url("none", "a"), "1.1.1.1").await;
        assert_eq!(refused.err().map(|(status, _)| status), Some(404));
    }
    assert!(connect_from(&server, server.socket_url("app", "a"), "1.1.1.1").await.is_ok());
}

#[tokio::test]
async fn limits_of_addresses_change_while_a_node_runs() {
    let server = serve(&[]).await;
    let reload = |settings: &[(&str, &str)]| {
        let mut flags = Overlay::default();
        settings.iter().for_each(|(key, value)| flags.set(key, *value));
        server.node.reload(&read::dev([], &flags).expect("they are valid")).expect("it takes them over");
    };
    let health = async || send(server.call(Method::GET, "/healthz")).await.status.as_u16();
    // The super admin of a trial run is no longer known: calls are answered with 401, or not looked at.
    reload(&[("addresses.calls_per_second", "1"), ("addresses.calls_burst", "1")]);
    assert_eq!(server.call_as(None, Method::GET, "/v1/apps").await.status, 401);
    assert_eq!(server.call_as(None, Method::GET, "/v1/apps").await.status, 429);
    reload(&[("api_allow", "10.0.0.1")]);
    assert_eq!(health().await, 403);
    reload(&[]);
    assert_eq!(
        (health().await, server.call_as(None, Method::GET, "/v1/apps").await.status.as_u16()),
        (200, 401)
    );
}
