//! Certificates that a node orders by itself, from an authority that really looks at its listener.

#[path = "support/acme.rs"]
mod acme;
mod support;

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use acme::AcmeServer;
use gusher::config::Config;
use gusher::config::read::{self, Overlay};
use reqwest::StatusCode;
use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use serde_json::json;
use support::process::{Directory, LISTENING, Process, run};
use support::tls::{Authority, shake_hands_with};
use support::{Server, soon};
use tempfile::TempDir;

fn place() -> TempDir {
    tempfile::tempdir().expect("a directory for the test")
}

/// A node that orders its certificate of this authority and keeps it there; its private listener is plain.
async fn node(authority: &AcmeServer, cache: &Path) -> Server {
    let settings = authority.settings(cache);
    let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    Server::plain(&settings).await
}

/// What such a node is told.
fn config(authority: &AcmeServer, cache: &Path) -> Config {
    let mut flags = Overlay::default();
    let settings = authority.settings(cache).into_iter();
    let ports = ["listen", "api_listen"].map(|key| (key, "127.0.0.1:0".to_owned()));
    settings.chain(ports).for_each(|(key, value)| flags.set(key, value));
    read::dev([], &flags).expect("it is one")
}

/// What is shown to who connects now and trusts the authority.
async fn shown(authority: &AcmeServer, server: &Server) -> std::io::Result<CertificateDer<'static>> {
    let stream = shake_hands_with("localhost", authority.authority.client(), server.public()).await?;
    Ok(stream.get_ref().1.peer_certificates().expect("a certificate")[0].clone().into_owned())
}

async fn ready(server: &Server) -> (StatusCode, String) {
    let answer = server.get("/readyz").await;
    (answer.status, answer.text)
}

async fn certified(server: &Server) {
    soon("a certificate", server.node.certified()).await;
}

/// The kept file whose name begins so.
fn kept(cache: &Path, name: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(cache).expect("the cache is there").map(|entry| entry.expect("readable"));
    let is_meant = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(name);
    entries.filter(is_meant).map(|entry| entry.path()).collect()
}

#[tokio::test]
async fn a_certificate_is_ordered_shown_and_kept() {
    let (authority, place) = (AcmeServer::start().await, place());
    let cache = place.path().join("acme");
    let server = node(&authority, &cache).await;
    // The authority does not look yet.
    assert_eq!(ready(&server).await, (StatusCode::SERVICE_UNAVAILABLE, "no certificate yet".to_owned()));
    assert!(shown(&authority, &server).await.is_err() && !server.node.is_certified());
    authority.looks_at(server.public());
    certified(&server).await;
    assert_eq!(ready(&server).await, (StatusCode::OK, "ready".to_owned()));
    shown(&authority, &server).await.expect("a certificate of this authority for this name");
    for name in ["account-", "certificate-"] {
        let files = kept(&cache, name);
        assert_eq!(files.len(), 1, "{name}");
        assert_eq!(files[0].metadata().expect("readable").permissions().mode() & 0o777, 0o600);
    }
    assert_eq!((kept(&cache, "").len(), authority.issued()), (2, 1));
    let figures = server.get("/metrics").await.text;
    let end = figures.lines().find_map(|line| line.strip_prefix("gusher_certificate_end_timestamp_seconds "));
    // The first of January 4096.
    assert_eq!(end, Some("67090118400"), "{figures}");
}

#[tokio::test]
async fn what_was_kept_is_used_at_once() {
    let (authority, place) = (AcmeServer::start().await, place());
    let first = node(&authority, place.path()).await;
    authority.looks_at(first.public());
    certified(&first).await;
    let issued = shown(&authority, &first).await.expect("a certificate");
    first.stop().await;
    authority.refuses(Some("no more"));
    let second = node(&authority, place.path()).await;
    assert!(second.node.is_certified());
    assert_eq!(shown(&authority, &second).await.expect("a certificate"), issued);
    assert_eq!(second.node.metrics().certificate_failures.get(), 0, "nothing is due, so nothing is ordered");
}

#[tokio::test]
async fn what_is_due_is_ordered_anew_while_the_old_one_is_shown() {
    let (authority, place) = (AcmeServer::start().await, place());
    // Of its life since 1970 less than a third is left.
    let this_year = 1970 + std::time::UNIX_EPOCH.elapsed().expect("it is later").as_secs() / 31_556_952;
    authority.issues_for((1970, this_year as i32 + 3));
    let first = node(&authority, place.path()).await;
    authority.looks_at(first.public());
    certified(&first).await;
    let due = shown(&authority, &first).await.expect("a certificate");
    first.stop().await;
    authority.issues_for((1975, 4096));
    let server = node(&authority, place.path()).await;
    assert!(server.node.is_certified());
    authority.looks_at(server.public());
    soon("the next certificate", async {
        while shown(&authority, &server).await.expect("one of both") == due {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(authority.issued(), 2);
}

#[tokio::test]
async fn a_refused_order_is_counted_and_tried_again() {
    let (authority, place) = (AcmeServer::start().await, place());
    authority.refuses(Some("too many"));
    let server = node(&authority, place.path()).await;
    authority.looks_at(server.public());
    soon("a failure", async {
        while server.node.metrics().certificate_failures.get() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!server.node.is_certified());
    authority.refuses(None);
    server.node.reload(&config(&authority, place.path())).expect("it is the same");
    certified(&server).await;
}

#[tokio::test]
async fn an_account_that_is_not_known_any_more_is_made_anew() {
    let (authority, place) = (AcmeServer::start().await, place());
    let first = node(&authority, place.path()).await;
    authority.looks_at(first.public());
    certified(&first).await;
    first.stop().await;
    let account = fs::read(&kept(place.path(), "account-")[0]).expect("readable");
    fs::remove_file(&kept(place.path(), "certificate-")[0]).expect("it was kept");
    authority.forgets();
    let second = node(&authority, place.path()).await;
    authority.looks_at(second.public());
    certified(&second).await;
    assert_ne!(fs::read(&kept(place.path(), "account-")[0]).expect("readable"), account);
}

#[tokio::test]
async fn nodes_that_share_a_directory_answer_for_each_other() {
    let (authority, place) = (AcmeServer::start().await, place());
    let (one, two) = (node(&authority, place.path()).await, node(&authority, place.path()).await);
    // What leads to port 443 leads to the second alone.
    authority.looks_at(two.public());
    certified(&one).await;
    certified(&two).await;
    shown(&authority, &one).await.expect("a certificate");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_told_with_what_to_do_and_without_keys() {
    let (authority, directory) = (AcmeServer::start().await, Directory::new());
    configure(&directory, &authority);
    // It comes to a listener that knows nothing of the challenge.
    authority.looks_at(authority.address());
    let mut process = Process::start(&mut directory.gusher(&["start"]));
    process.logs(LISTENING);
    let line = process.logs("no certificate for localhost");
    for words in [
        "could not see that the domains are ours",
        "localhost: ",
        "see that port 443",
        "tried again in 2 min",
    ] {
        assert!(line.contains(words), "{words}: {line}");
    }
    authority.refuses(Some("too many of them"));
    process.signal(Signal::HUP);
    let line = process.logs("no certificate for localhost");
    assert!(line.contains("refuses: too many of them") && line.contains("tried again in 4 min"), "{line}");
    // It waits for a certificate and hears all the same.
    process.signal(Signal::TERM);
    let outcome = process.ended();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let account = fs::read_to_string(&kept(&directory.path("acme"), "account-")[0]).expect("readable");
    let account: serde_json::Value = serde_json::from_str(&account).expect("JSON");
    let key = account["key_pkcs8"].as_str().expect("the account's key");
    assert!(!outcome.stderr.contains(key) && !outcome.stderr.contains("PRIVATE KEY"), "{}", outcome.stderr);
}

fn configure(directory: &Directory, authority: &AcmeServer) {
    let mut acme = json!({ "accept_terms": true });
    for (key, value) in authority.settings(&directory.path("acme")) {
        let name = key.strip_prefix("tls.acme.").expect("a setting of ACME");
        if name != "accept_terms" {
            acme[name] = json!(value);
        }
    }
    directory.configure("config.json", &[("tls", json!({ "acme": acme })), ("sqlfile", json!(":memory:"))]);
}

#[tokio::test]
async fn a_check_orders_nothing_and_tells_what_a_start_would_do() {
    let (authority, directory) = (AcmeServer::start().await, Directory::new());
    configure(&directory, &authority);
    let check = |directory: &Directory| run(&mut directory.gusher(&["check"]));
    let outcome = check(&directory);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stdout.contains("port 443 of localhost must lead to"), "{}", outcome.stdout);
    assert!(authority.issued() == 0 && !directory.path("acme").exists());
    directory.write("acme", "in the way");
    let outcome = check(&directory);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stdout.contains("let tls.acme.cache be a directory"), "{}", outcome.stdout);
}

/// What `go install` is told to build: Let's Encrypt's own authority for tests.
const PEBBLE: &str = "github.com/letsencrypt/pebble/v2/cmd/pebble@v2.10.1";

/// Its program, built once; none, which is told, where Go is missing or cannot get the sources.
fn pebble() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go");
    let mut go = Command::new("go");
    go.args(["install", PEBBLE])
        .env("GOPATH", &path)
        .env("GOFLAGS", "-mod=mod -modcacherw")
        .env("GOBIN", path.join("bin"));
    let reason = match go.output() {
        Ok(built) if built.status.success() => return Some(path.join("bin/pebble")),
        Ok(failed) => String::from_utf8_lossy(&failed.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    let line = format!("SKIPPED: pebble cannot be built with go: {reason}\n");
    // Past the harness, which keeps to itself what a test prints that passes.
    std::io::stderr().write_all(line.as_bytes()).expect("stderr takes it");
    None
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

/// A guest: it refuses some nonces, verifies every signature, and looks at the listener from three places.
#[tokio::test(flavor = "multi_thread")]
async fn pebble_issues_a_certificate() {
    let Some(program) = tokio::task::spawn_blocking(pebble).await.expect("it is built or not") else {
        return;
    };
    let (authority, directory) = (Authority::new(), Directory::new());
    let [acme, management, listen] = [free_address(), free_address(), free_address()];
    let settings = json!({ "pebble": {
        "listenAddress": acme.to_string(),
        "managementListenAddress": management.to_string(),
        "certificate": authority.cert_file(),
        "privateKey": authority.key_file(),
        "httpPort": listen.port(),
        "tlsPort": listen.port(),
    }});
    directory.write("pebble.json", &settings.to_string());
    let mut command = Command::new(program);
    command.arg("-config").arg(directory.path("pebble.json")).env("PEBBLE_VA_NOSLEEP", "1");
    let mut running = Process::start(&mut command);
    running.prints("ACME directory available at");
    soon("pebble", async { while tokio::net::TcpStream::connect(acme).await.is_err() {} }).await;
    let text = |path: PathBuf| path.to_str().expect("a path in UTF-8").to_owned();
    let settings = [
        ("listen", listen.to_string()),
        ("tls.acme.domains", "localhost".to_owned()),
        ("tls.acme.accept_terms", "true".to_owned()),
        ("tls.acme.directory", format!("https://{acme}/dir")),
        ("tls.acme.ca_file", text(authority.ca_file())),
        ("tls.acme.cache", text(directory.path("acme"))),
    ];
    let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let server = Server::plain(&settings).await;
    certified(&server).await;
    let trusting = |pem: &str| {
        let root = reqwest::Certificate::from_pem(pem.as_bytes()).expect("a root");
        reqwest::Client::builder().tls_certs_only([root]).build().expect("a client")
    };
    let ask = async |client: reqwest::Client, url: String| support::send(client.get(url)).await.text;
    let root = ask(trusting(authority.root_pem()), format!("https://{management}/roots/0")).await;
    assert_eq!(ask(trusting(&root), format!("https://localhost:{}/healthz", listen.port())).await, "ok");
}
