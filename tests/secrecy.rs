//! Whatever is asked of the server, its log tells what happened and gives no secret away.

mod support;

use std::future::pending;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::response::Redirect;
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use reqwest::{Client as Http, Method, RequestBuilder};
use support::cluster;
use support::process::{Directory, FREE_PORTS, LISTENING, Outcome, Process, Serving, hash};
use support::{Answer, SUPER, send, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

const SUPER_PASSWORD: &str = "Xsuperpassword";
const APP_PASSWORD: &str = "Xapppassword";
const WRONG_PASSWORD: &str = "Xwrongpassword";
const CREDENTIALS: &str = "Xcredentials";
const TOKEN: &str = "Xtoken";
const HOOK_PASSWORD: &str = "Xhookpassword";
const HOOK_KEY: &str = "Xhookkey";
const HOOK_ANSWER: &str = "Xhookanswer";
const CONTENT: &str = "Xcontent";
const TAG: &str = "Xusertag";
const KEY_SECRET: &str = "Xadditionalsecret";
const HEADER: &str = "Xheader";
const SAID: &str = "Xsaidbyclient";

const SECRETS: [&str; 13] = [
    SUPER_PASSWORD,
    APP_PASSWORD,
    WRONG_PASSWORD,
    CREDENTIALS,
    TOKEN,
    HOOK_PASSWORD,
    HOOK_KEY,
    HOOK_ANSWER,
    CONTENT,
    TAG,
    SAID,
    KEY_SECRET,
    HEADER,
];

/// What every bcrypt hash begins with.
const HASHES: [&str; 3] = ["$2a$", "$2b$", "$2y$"];

#[tokio::test]
async fn gu_084_the_log_tells_what_happened_and_no_secret() {
    let directory = Directory::new();
    let walk = Walk::start(&directory);
    walk.sign_in_wrongly().await;
    walk.register().await;
    walk.register_wrongly().await;
    walk.configure().await;
    walk.connect_and_publish().await;
    walk.publish_wrongly().await;
    walk.break_the_protocol().await;
    walk.ask_hooks_that_fail().await;
    walk.send_what_is_no_request().await;
    let words = walk.use_the_console().await;
    walk.list_and_unregister().await;
    let outcome = walk.server.stop();
    assert_eq!(outcome.code, Some(0));
    let log = directory.read("gusher.log");
    tells_requests(&log);
    assert!(log.contains("level=debug"), "{log}");
    keeps_secrets(&log);
    for word in words {
        assert!(!log.contains(&word), "{word}");
    }
    let Outcome { stdout, stderr, .. } = outcome;
    keeps_secrets(&stdout);
    assert_eq!(stderr, "");
}

#[tokio::test]
async fn gc_010_tokens_are_in_no_line_of_the_log() {
    let directory = Directory::new();
    let cluster = serde_json::json!({ "public_pem_file": cluster::PUBLIC_KEY_FILE });
    directory.configure("config.json", &[("environment", "DEBUG".into()), ("cluster", cluster)]);
    let server = directory.serve(&["start"]);
    let good = cluster::token("u", &["*"]);
    let bad = format!("{good}Xtail");
    let fields = [("app_key", "app"), ("auth_account", "a"), ("auth_password", "b")];
    let register = Http::new().post(format!("http://{}/api/register", server.private)).form(&fields);
    assert_eq!(send(register.basic_auth(SUPER.0, Some(SUPER.1))).await.status, 200);
    for (token, status) in [(&good, 101), (&bad, 401)] {
        let body = format!(r#"{{"jwt":"{token}"}}"#);
        send(Http::new().post(format!("http://{}/v1/auth", server.public)).body(body.clone())).await;
        let decode = Http::new().post(format!("http://{}/v1/auth/decode", server.private)).body(body);
        send(decode.basic_auth(SUPER.0, Some(SUPER.1))).await;
        let url = format!("ws://{}/v1/apps/app/ws?token={token}", server.public);
        let answered = match tokio_tungstenite::connect_async(url).await {
            Ok((_, response)) => response.status(),
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => response.status(),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(answered.as_u16(), status);
    }
    let outcome = server.stop();
    assert!(outcome.stderr.contains("/v1/auth/decode"), "{}", outcome.stderr);
    for part in good.split('.').chain(["Xtail"]) {
        assert!(!outcome.stderr.contains(part) && !outcome.stdout.contains(part), "{part}");
    }
}

#[test]
fn a_secret_is_recognized_however_it_is_written() {
    let headers = ["a", "ab", "abc"].map(|account| STANDARD.encode(format!("{account}:{TOKEN}")));
    let bytes = format!("{:?}", format!("token={TOKEN}&x").as_bytes());
    for text in headers.iter().chain([&bytes, &format!("token={TOKEN}")]) {
        assert!(forms(TOKEN).iter().any(|form| text.contains(form)), "{text}");
    }
}

fn keeps_secrets(text: &str) {
    for form in SECRETS.into_iter().flat_map(forms).chain(HASHES.map(String::from)) {
        let told = text.lines().find(|line| line.contains(&form));
        assert!(told.is_none(), "{form}: {}", told.unwrap_or_default());
    }
}

/// A secret as it is, as it looks inside anything that is encoded with base64, and as a list of bytes.
fn forms(secret: &str) -> Vec<String> {
    let base64 = (0..3).map(|before| {
        let encoded = STANDARD.encode([&b"   "[..before], secret.as_bytes()].concat());
        // The first and the last characters also depend on what stands around.
        let whole = (before * 8).div_ceil(6)..(before + secret.len()) * 8 / 6;
        encoded[whole].to_owned()
    });
    let bytes = format!("{:?}", secret.as_bytes());
    let bytes = bytes.trim_matches(['[', ']']).to_owned();
    base64.chain([secret.to_owned(), bytes]).collect()
}

/// Each route has left its line, with what became of the request.
fn tells_requests(log: &str) {
    let expected = [
        ("POST", "/api/register", 200),
        ("POST", "/api/register", 400),
        ("POST", "/api/register", 401),
        ("POST", "/api/register", 409),
        ("GET", "/api/app-list", 200),
        ("GET", "/api/{app_key}/listonlineuser", 200),
        ("PATCH", "/api/{app_key}/settings", 200),
        ("PATCH", "/api/{app_key}/settings", 400),
        ("GET", "/api/{app_key}/settings", 200),
        ("POST", "/api/push/{app_key}", 200),
        ("POST", "/api/push/{app_key}", 400),
        ("GET", "/api/push/{app_key}", 405),
        ("DELETE", "/api/{app_key}/unregister", 200),
        ("POST", "/console/api/session", 200),
        ("POST", "/console/api/session", 401),
        ("POST", "/console/api/apps", 201),
        ("POST", "/console/api/apps/{app_key}/events", 200),
        ("GET", "", 404),
        ("GET", "/ws/{app_key}/{user_tag}", 101),
        ("GET", "/ws/{app_key}/{user_tag}", 400),
        ("GET", "/ws/{app_key}/{user_tag}", 403),
        ("GET", "/ws/{app_key}/{user_tag}", 502),
        ("GET", "/ws/{app_key}/{user_tag}", 504),
    ];
    for (method, route, status) in expected {
        let told = log.lines().filter(|line| line.contains("msg=\"request\"")).any(|line| {
            let parts = [format!("method={method} "), format!("status={status} ")];
            let routes = [format!("route={route} "), format!("route=\"{route}\" ")];
            parts.iter().all(|part| line.contains(part)) && routes.iter().any(|route| line.contains(route))
        });
        assert!(told, "{method} {route} {status} is missing in\n{log}");
    }
}

/// A server in DEBUG, and all that is done to it.
struct Walk {
    server: Serving,
    http: Http,
}

impl Walk {
    fn start(directory: &Directory) -> Self {
        let words = ["start", "--dev", "--environment", "DEBUG", "--logfile", "gusher.log"];
        let mut command = directory.gusher(&[&words, &FREE_PORTS[..]].concat());
        command
            .env("GUSHER_AUTH_PASSWORD", hash("account", SUPER_PASSWORD))
            .env("GUSHER_NODE_BCRYPT_COST", "4")
            .env("GUSHER_LIMITS_HOOK_SECONDS_MAX", "1");
        let mut process = Process::start(&mut command);
        process.prints("curl");
        // Nobody waits for the log, so the line may be there a moment later.
        let begun = Instant::now();
        let line = loop {
            let log = directory.read("gusher.log");
            if let Some(line) = log.lines().find(|line| line.contains(LISTENING)) {
                break line.to_owned();
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "it listens: {log}");
            std::thread::yield_now();
        };
        Self { server: Serving::announced(process, &line), http: Http::new() }
    }

    /// A call of the private API without credentials.
    fn call(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.server.private))
    }

    /// A form call as the super admin, which must be answered with `status`.
    async fn post(&self, path: &str, fields: &[(&str, &str)], status: u16) -> Answer {
        let call = self.call(Method::POST, path).basic_auth("account", Some(SUPER_PASSWORD));
        answered(call.form(fields), status).await
    }

    async fn add(&self, app: &str, hook: &str, status: u16) {
        let fields = [
            ("app_key", app),
            ("auth_account", "admin"),
            ("auth_password", APP_PASSWORD),
            ("connect_hook", hook),
        ];
        self.post("/api/register", &fields, status).await;
    }

    async fn sign_in_wrongly(&self) {
        let header = |value: String| self.call(Method::POST, "/api/register").header("Authorization", value);
        let encoded = STANDARD.encode(CREDENTIALS);
        let without_colon =
            [format!("Basic {encoded}"), format!("Basic {CREDENTIALS}!"), CREDENTIALS.to_owned()];
        for value in without_colon
            .into_iter()
            .chain([format!("Bearer {CREDENTIALS}"), format!("Digest x=\"{encoded}\"")])
        {
            answered(header(value), 401).await;
        }
        for account in ["account", "admin", WRONG_PASSWORD] {
            let call = self.call(Method::POST, "/api/register").basic_auth(account, Some(WRONG_PASSWORD));
            answered(call, 401).await;
        }
    }

    async fn register(&self) {
        self.add("x", "", 200).await;
        let json = format!(r#"{{"app_key":"y","auth_account":"admin","auth_password":"{APP_PASSWORD}"}}"#);
        let call = self.call(Method::POST, "/api/register").basic_auth("account", Some(SUPER_PASSWORD));
        answered(call.header("Content-Type", "application/json").body(json), 200).await;
    }

    async fn register_wrongly(&self) {
        self.add("x", "", 409).await;
        self.add("", "", 400).await;
        self.add("z", &format!("ftp://admin:{HOOK_PASSWORD}@localhost/{HOOK_KEY}"), 400).await;
        self.add("z", &format!("{HOOK_KEY}:{HOOK_PASSWORD}"), 400).await;
        let long = APP_PASSWORD.repeat(6);
        let fields = [("app_key", "z"), ("auth_account", "admin"), ("auth_password", &long)];
        self.post("/api/register", &fields, 400).await;
        let broken = format!("{{\"auth_password\":\"{APP_PASSWORD}");
        let call = self.call(Method::POST, "/api/register").basic_auth("account", Some(SUPER_PASSWORD));
        answered(call.header("Content-Type", "application/json").body(broken), 400).await;
    }

    async fn configure(&self) {
        let call = |method, body: &str| {
            let call = self.call(method, "/api/x/settings").basic_auth("account", Some(SUPER_PASSWORD));
            call.body(body.to_owned())
        };
        let keys = format!(r#""additional_keys":[{{"key":"x2","secret":"{KEY_SECRET}"}}]"#);
        answered(call(Method::PATCH, &format!("{{{keys}}}")), 200).await;
        for body in [
            format!(r#"{{"additional_keys":["{KEY_SECRET}"]}}"#),
            format!("{{{keys}"),
            format!(r#"{{"{HEADER}":1}}"#),
        ] {
            answered(call(Method::PATCH, &body), 400).await;
        }
        answered(call(Method::GET, ""), 200).await;
        // What follows is about sockets and hooks, not about these.
        answered(call(Method::PATCH, r#"{"additional_keys":null}"#), 200).await;
    }

    async fn connect_and_publish(&self) {
        let mut client = self.server.connect("x", &format!("{TAG}?token={TOKEN}")).await;
        client.send(Message::text(SAID)).await;
        self.post("/api/push/x", &[("content", CONTENT)], 200).await;
        self.post("/api/push/x", &[("content", CONTENT), ("user_tag", &format!("^{TAG}$"))], 200).await;
        self.post(&format!("/api/push/x?content={CONTENT}&user_tag={TAG}"), &[], 200).await;
        for _ in 0..3 {
            assert_eq!(client.text().await, CONTENT);
        }
        let close = CloseFrame { code: 4000.into(), reason: SAID.into() };
        client.send(Message::Close(Some(close))).await;
        while let Some(Ok(_)) = soon("the close", client.socket.next()).await {}
    }

    async fn publish_wrongly(&self) {
        self.post("/api/push/nowhere", &[("content", CONTENT)], 404).await;
        self.post("/api/push/x", &[("user_tag", TAG)], 400).await;
        self.post("/api/push/x", &[("content", CONTENT), ("user_tag", &format!("({TAG}"))], 400).await;
        let admin = |path: &str| self.call(Method::POST, path).basic_auth("admin", Some(APP_PASSWORD));
        answered(admin("/api/register").form(&[("content", CONTENT)]), 401).await;
        let urlencoded = admin("/api/push/x").header("Content-Type", "application/x-www-form-urlencoded");
        answered(urlencoded.body(format!("content={CONTENT}%FF")), 400).await;
        let multipart = admin("/api/push/x").header("Content-Type", "multipart/form-data; boundary=b");
        answered(multipart.body(format!("--b\r\n{CONTENT}")), 400).await;
        answered(self.call(Method::GET, &format!("/api/push/x?content={CONTENT}")), 405).await;
    }

    async fn break_the_protocol(&self) {
        let mut too_big = self.server.connect("x", TAG).await;
        too_big.send(Message::text(SAID.repeat(100))).await;
        assert_eq!(too_big.closed().await.0, 1009);
        // Not masked, as no client may send it.
        let frame = [&[0x81, SAID.len() as u8][..], SAID.as_bytes()].concat();
        let mut stream = TcpStream::connect(self.server.public).await.unwrap();
        stream.write_all(upgrade(&format!("/ws/x/{TAG}?token={TOKEN}")).as_bytes()).await.unwrap();
        stream.write_all(&frame).await.unwrap();
        assert!(ended(stream).await.starts_with("HTTP/1.1 101"));
    }

    async fn ask_hooks_that_fail(&self) {
        let hooks = hooks().await;
        let nobody = TcpListener::bind("127.0.0.1:0").and_then(|gone| gone.local_addr()).unwrap();
        let at = |scheme: &str, address: SocketAddr, path: &str| {
            format!("{scheme}://admin:{HOOK_PASSWORD}@{address}/{path}?key={HOOK_KEY}")
        };
        let cases = [
            ("right", at("http", hooks, "right"), 101),
            ("wrong", at("http", hooks, "wrong"), 403),
            ("blanks", at("http", hooks, "blanks"), 403),
            ("long", at("http", hooks, "long"), 403),
            ("failing", at("http", hooks, "failing"), 502),
            ("moved", at("http", hooks, "moved"), 502),
            ("circle", at("http", hooks, "circle"), 502),
            ("silent", at("http", hooks, "silent"), 504),
            ("plain", at("https", hooks, "right"), 502),
            ("nobody", at("http", nobody, "right"), 502),
        ];
        for (app, hook, status) in cases {
            self.add(app, &hook, 200).await;
            let mut stream = TcpStream::connect(self.server.public).await.unwrap();
            stream.write_all(upgrade(&format!("/ws/{app}/{TAG}?token={TOKEN}")).as_bytes()).await.unwrap();
            let mut head = [0; 12];
            soon("an answer", stream.read_exact(&mut head)).await.unwrap();
            assert_eq!(head, *format!("HTTP/1.1 {status}").as_bytes(), "{app}");
        }
    }

    async fn send_what_is_no_request(&self) {
        answered(self.call(Method::GET, &format!("/{TOKEN}?token={TOKEN}")), 404).await;
        let public = |path: String| self.http.get(format!("http://{}{path}", self.server.public));
        answered(public(format!("/ws/x/{TAG}?token={TOKEN}")), 400).await;
        answered(public(format!("/ws/x/{TAG}%00?token={TOKEN}")), 400).await;
        answered(public(format!("/ws/nowhere/{TAG}?token={TOKEN}")), 404).await;
        for raw in [
            format!("{TOKEN}\r\n\r\n"),
            format!("GET /{TOKEN} HTTP/1.1\r\nAuthorization {CREDENTIALS}\r\n\r\n"),
            format!("GET /{TOKEN} HTTP/1.1\r\nAuthorization: {}\r\n\r\n", CREDENTIALS.repeat(2000)),
        ] {
            let mut stream = TcpStream::connect(self.server.private).await.unwrap();
            // The server may hang up before it has read all.
            let _ = stream.write_all(raw.as_bytes()).await;
            drop(ended(stream).await);
        }
    }

    /// Signs in, rightly and wrongly, and does what has to do with secrets; returns the words of the session and of a new pair
    /// of keys.
    async fn use_the_console(&self) -> Vec<String> {
        let url = |path: &str| format!("http://{}/console/api{path}", self.server.private);
        let sign_in = async |password: &str| {
            let body = serde_json::json!({ "account": "account", "password": password }).to_string();
            send(self.http.post(url("/session")).header("Content-Type", "application/json").body(body)).await
        };
        assert_eq!(sign_in(WRONG_PASSWORD).await.status, 401);
        let session = sign_in(SUPER_PASSWORD).await;
        let (cookie, csrf) = (session.header("set-cookie").to_owned(), session.json()["csrf"].clone());
        let word = cookie.split(['=', ';']).nth(1).expect("a word").to_owned();
        let csrf = csrf.as_str().expect("a token").to_owned();
        let post = async |path: &str, body: serde_json::Value| {
            let call = self.http.post(url(path)).header("Cookie", format!("gusher_console={word}"));
            send(call.header("X-CSRF-Token", &csrf).body(body.to_string())).await
        };
        let app = serde_json::json!({ "app_key": "console", "account": "a", "password": APP_PASSWORD });
        assert_eq!(post("/apps", app).await.status, 201);
        let pair = post("/apps/console/rotate", serde_json::json!({})).await.json();
        let event = serde_json::json!({ "target": "everyone", "data": CONTENT });
        assert_eq!(post("/apps/console/events", event).await.status, 200);
        let pair = ["key", "secret"].map(|name| pair[name].as_str().expect("a pair").to_owned());
        [word, csrf].into_iter().chain(pair).collect()
    }

    async fn list_and_unregister(&self) {
        let _client = self.server.connect("x", TAG).await;
        let call = |method, path| self.call(method, path).basic_auth("account", Some(SUPER_PASSWORD));
        let list = answered(call(Method::GET, "/api/app-list"), 200).await;
        assert!(list.text.contains(HOOK_KEY), "the list is where such things are told");
        let online = answered(call(Method::GET, "/api/x/listonlineuser"), 200).await;
        assert!(online.text.contains(TAG));
        answered(call(Method::DELETE, "/api/x/unregister"), 200).await;
        answered(call(Method::DELETE, "/api/x/unregister"), 404).await;
    }
}

/// A backend with one hook for each way to answer.
async fn hooks() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let routes = Router::new()
        .route("/right", post(async || TAG))
        .route("/wrong", post(async || HOOK_ANSWER))
        .route("/blanks", post(async || format!("{TAG}\n")))
        .route("/long", post(async || HOOK_ANSWER.repeat(1000)))
        .route("/failing", post(async || (StatusCode::INTERNAL_SERVER_ERROR, HOOK_ANSWER)))
        .route("/moved", post(async || Redirect::to(&format!("/right?key={HOOK_KEY}"))))
        .route("/circle", post(async || Redirect::temporary(&format!("/circle?key={HOOK_KEY}"))))
        .route("/silent", post(pending::<()>));
    tokio::spawn(async { axum::serve(listener, routes).await });
    address
}

fn upgrade(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
}

/// What comes until the server ends the stream.
async fn ended(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end as well.
    let _ = soon("the end", stream.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn answered(call: RequestBuilder, status: u16) -> Answer {
    let answer = send(call).await;
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
    answer
}
