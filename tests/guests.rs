//! The official SDKs as guests: each tries, step by step and with its own means, what its users rely on.
//!
//! The programs are in `tests/guests`, which says how to run one by hand. Here each gets a node of its own, and that is
//! restarted when the guest asks for it. A guest whose toolchain is missing is skipped, aloud.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;
use support::process::Directory;
use support::{SUPER, Server, send};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

const GUESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests");

/// How many may run at once: their patience is not meant to be spent on each other.
static SEATS: Semaphore = Semaphore::const_new(2);

/// When a guest that prints nothing has failed. Its waits are short; what it needs may be slow to install.
const SILENCE_MAX: Duration = Duration::from_secs(600);

/// What a guest ends with when something that it needs is not here.
const SKIPPED: i32 = 77;

macro_rules! guests {
    ($($test:ident: $sdk:literal,)+) => {
        const INVITED: &[&str] = &[$($sdk),+];

        $(#[tokio::test]
        async fn $test() {
            visit($sdk).await;
        })+
    };
}

guests! {
    asyncpusher: "asyncpusher",
    laravel_echo: "laravel-echo",
    php_webhooks: "php-webhooks",
    pusher_http_go: "pusher-http-go",
    pusher_http_java: "pusher-http-java",
    pusher_http_node: "pusher-http-node",
    pusher_http_node_suite: "pusher-http-node-suite",
    pusher_http_python: "pusher-http-python",
    pusher_java_client: "pusher-java-client",
    pusher_js: "pusher-js",
    pusher_js_chromium: "pusher-js-chromium",
    pysher: "pysher",
}

#[test]
fn every_guest_is_invited() {
    let entries = fs::read_dir(GUESTS).expect("the guests are there").map(|entry| entry.expect("readable"));
    let present: BTreeSet<String> = entries
        .filter(|entry| entry.path().is_dir() && entry.file_name() != "setup")
        // They are the guests of `tests/metrics.rs`, `tests/openapi.rs` and `tests/console_browser.rs`.
        .filter(|entry| !["prometheus", "openapi", "console"].iter().any(|other| entry.file_name() == *other))
        .map(|entry| entry.file_name().into_string().expect("a name in UTF-8"))
        .collect();
    assert_eq!(present, INVITED.iter().map(|&sdk| sdk.to_owned()).collect());
}

/// Runs a guest against a node of its own.
async fn visit(sdk: &str) {
    let _seat = SEATS.acquire().await.expect("the seats are never taken away");
    let directory = Directory::new();
    let webhooks = free_address();
    let mut server = serve(&directory, "127.0.0.1:0").await;
    prepare(&server, webhooks).await;
    let address = server.public();
    let mut guest = Guest::start(sdk, address, webhooks);
    let mut heard = String::new();
    while let Some(line) = guest.line(&heard).await {
        heard.push_str(&format!("{line}\n"));
        if line == "RESTART" {
            server.stop().await;
            server = serve(&directory, &address.to_string()).await;
        }
    }
    match guest.process.wait().expect("the process is ours").code() {
        Some(0) => {}
        // Past the harness, which keeps to itself what a test prints that passes.
        Some(SKIPPED) => std::io::stderr().write_all(heard.as_bytes()).expect("stderr takes it"),
        other => panic!("{sdk} ended with {other:?}:\n{heard}"),
    }
    server.stop().await;
}

/// A node that remembers its apps in this directory, so that clients find theirs again after a restart.
async fn serve(directory: &Directory, listen: &str) -> Server {
    let database = directory.path("gusher.db");
    Server::with(&[("listen", listen), ("sqlfile", database.to_str().expect("a path in UTF-8"))]).await
}

/// Registers the app that guests expect, with the settings that they expect.
async fn prepare(server: &Server, webhooks: SocketAddr) {
    let fields = [
        ("app_key", "demo"),
        ("auth_account", "admin"),
        ("auth_password", "secret"),
        ("app_id", "1"),
        ("app_secret", "demo-secret"),
    ];
    let answer = server.post("/api/register", &fields).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let settings = json!({
        "client_events": true,
        "subscription_count": true,
        "watchlists": true,
        "webhooks": [{ "url": format!("http://{webhooks}/") }],
    });
    let call = server.call(Method::PATCH, "/api/demo/settings").basic_auth(SUPER.0, Some(SUPER.1));
    let answer = send(call.json(&settings)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
}

/// Where nobody listens, so that a guest can.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound")
}

/// A running guest. It is killed when dropped.
struct Guest {
    sdk: String,
    process: Child,
    lines: UnboundedReceiver<String>,
}

impl Guest {
    fn start(sdk: &str, server: SocketAddr, webhooks: SocketAddr) -> Self {
        let mut command = Command::new(Path::new(GUESTS).join("run"));
        command
            .args([sdk, &server.ip().to_string(), &server.port().to_string()])
            .env("PUSHER_APP_ID", "1")
            .env("PUSHER_APP_KEY", "demo")
            .env("PUSHER_APP_SECRET", "demo-secret")
            .env("GUEST_RESTART", "1")
            .env("GUEST_WEBHOOKS", webhooks.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = command.spawn().expect("tests/guests/run can be run");
        let (sender, lines) = unbounded_channel();
        gather(process.stdout.take().expect("stdout is a pipe"), sender.clone());
        gather(process.stderr.take().expect("stderr is a pipe"), sender);
        Self { sdk: sdk.to_owned(), process, lines }
    }

    /// The next line; none after the last. `heard` is what a silent guest has said before.
    async fn line(&mut self, heard: &str) -> Option<String> {
        tokio::time::timeout(SILENCE_MAX, self.lines.recv())
            .await
            .unwrap_or_else(|_| panic!("{} is silent for {SILENCE_MAX:?}, after:\n{heard}", self.sdk))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Sends what a process writes, line by line, until it ends.
fn gather(stream: impl Read + Send + 'static, lines: UnboundedSender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            if lines.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
}
