//! What an operator changes while the program runs: SIGHUP.

mod support;

use std::fs;
use std::net::SocketAddr;

use gusher::config::BusKind;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Method;
use rustix::process::Signal;
use serde_json::json;
use support::cluster::{ClusterClient, PRIVATE_KEY};
use support::process::{Directory, FREE_PORTS, Process, Serving, hash, run};
use support::roles::{MASTER_TOKEN, Role};
use support::servers::BusServer;
use support::{Client, SUPER, send, soon};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite;

const ONE: &str = include_str!("data/cluster/one.public.pem");
const TWO: &str = include_str!("data/cluster/two.public.pem");
const TWO_PRIVATE: &str = include_str!("data/cluster/two.private.pem");

/// What the log says when it is done.
const READ_AGAIN: &str = "the configuration was read again";

fn token(private_key: &str) -> String {
    let key = EncodingKey::from_rsa_pem(private_key.as_bytes()).expect("a key");
    let claims = json!({ "gusher": { "app_key": "x", "user_id": "anna", "channels": ["*"] } });
    jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &key).expect("a token")
}

/// Connects to the app `x` with a token, or says how that was refused.
async fn enter(address: SocketAddr, token: &str) -> Result<ClusterClient, u16> {
    let url = format!("ws://{address}/v1/apps/x/ws?token={token}");
    match soon("the upgrade", connect_async(url)).await {
        Ok((socket, _)) => Ok(ClusterClient { client: Client { socket } }),
        Err(tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("no HTTP answer: {error}"),
    }
}

fn reload(process: &mut Process) {
    process.signal(Signal::HUP);
    process.logs(READ_AGAIN);
}

async fn status_of(server: &Serving, password: &str) -> u16 {
    let url = format!("http://{}/api/app-list", server.private);
    let call = reqwest::Client::new().request(Method::GET, url).basic_auth(SUPER.0, Some(password));
    send(call).await.status.as_u16()
}

#[tokio::test]
async fn keys_of_tokens_are_exchanged_without_a_restart() {
    let directory = Directory::new();
    directory.write("keys.pem", ONE);
    let cluster = ("cluster", json!({ "public_pem_file": "keys.pem" }));
    directory.configure("config.json", &[cluster, ("sqlfile", json!(":memory:"))]);
    let mut server = directory.serve(&["start"]);
    let words = ["app", "add", "x", "--admin-account", "admin", "--admin-password", "secret"];
    assert_eq!(run(&mut server.ask(&directory, &words)).code, Some(0));
    let (one, two) = (token(PRIVATE_KEY), token(TWO_PRIVATE));
    let mut early = enter(server.public, &one).await.expect("it is let in");
    assert_eq!(enter(server.public, &two).await.err(), Some(401));

    // Both for a while, then the new one alone.
    directory.write("keys.pem", &[ONE, TWO].concat());
    reload(&mut server.process);
    assert!(enter(server.public, &one).await.is_ok() && enter(server.public, &two).await.is_ok());
    directory.write("keys.pem", TWO);
    reload(&mut server.process);
    assert_eq!(enter(server.public, &one).await.err(), Some(401));
    assert!(enter(server.public, &two).await.is_ok());
    early.hears_nothing().await;

    directory.write("keys.pem", "no key");
    server.process.signal(Signal::HUP);
    let line = server.process.logs("cannot reload");
    assert!(line.contains("keys.pem") && line.contains("nothing is changed"), "{line}");
    assert!(enter(server.public, &two).await.is_ok());
    early.hears_nothing().await;
}

#[tokio::test]
async fn the_roles_of_gusher_cluster_exchange_their_keys_as_well() {
    let (nats, directory) = (BusServer::start(BusKind::Nats), Directory::new());
    directory.write("keys.pem", ONE);
    directory.write("env", "GUSHER_MASTER_TOKEN=from-the-file\n");
    let keys = directory.path("keys.pem");
    let keys = ("GUSHER_PUBLIC_PEM_FILE", keys.to_str().expect("UTF-8"));
    let mut slave = Role::slave(&directory, &nats, &[keys]);
    let url = nats.url();
    let variables = [("GUSHER_NATS_ADDR", &*url), keys, ("GUSHER_MASTER_API_LISTEN", "127.0.0.1:0")];
    let mut master = Role::start(&directory, &["master", "-e", "env"], &variables);
    let decode = async |master: &Role, bearer: &str, token: &str| {
        let call = master.call(Method::POST, "/v1/auth/decode").bearer_auth(bearer);
        send(call.body(json!({ "jwt": token }).to_string())).await.status.as_u16()
    };
    let (one, two) = (token(PRIVATE_KEY), token(TWO_PRIVATE));
    assert!(enter(slave.address, &one).await.is_ok());
    assert_eq!(decode(&master, "from-the-file", &one).await, 200);

    directory.write("keys.pem", TWO);
    directory.write("env", &format!("GUSHER_MASTER_TOKEN={MASTER_TOKEN}\nGUSHER_NATS_CREDS=other\n"));
    for role in [&mut slave, &mut master] {
        role.process.signal(Signal::HUP);
        role.process.prints(READ_AGAIN);
    }
    master.process.prints("GUSHER_NATS_CREDS changed: takes effect at the next start");
    assert_eq!(enter(slave.address, &one).await.err(), Some(401));
    assert!(enter(slave.address, &two).await.is_ok());
    assert_eq!(decode(&master, "from-the-file", &two).await, 401);
    assert_eq!(decode(&master, MASTER_TOKEN, &one).await, 400);
    assert_eq!(decode(&master, MASTER_TOKEN, &two).await, 200);
}

#[tokio::test]
async fn the_log_says_more_and_goes_to_a_file_that_is_opened_again() {
    let directory = Directory::new();
    let quiet = ("environment", json!("PRODUCTION"));
    directory.configure("config.json", &[]);
    let server = directory.serve(&["start"]);
    directory.configure("config.json", &[quiet, ("logfile", json!("a.log"))]);
    server.process.signal(Signal::HUP);
    let lines = async |name: &str, what: &str| {
        soon(what, async {
            while !fs::read_to_string(directory.path(name)).is_ok_and(|text| text.contains(what)) {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        })
        .await;
        directory.read(name)
    };
    soon("the file", async {
        while !directory.path("a.log").exists() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    fs::rename(directory.path("a.log"), directory.path("b.log")).expect("it can be moved away");
    directory.configure("config.json", &[("environment", json!("DEBUG")), ("logfile", json!("a.log"))]);
    // Not logged, as it is a request like others.
    assert_eq!(status_of(&server, SUPER.1).await, 200);
    server.process.signal(Signal::HUP);
    lines("a.log", READ_AGAIN).await;
    assert_eq!(status_of(&server, SUPER.1).await, 200);
    let text = lines("a.log", "msg=\"request\"").await;
    assert_eq!(text.matches("msg=\"request\"").count(), 1, "{text}");
    assert!(!directory.read("b.log").contains("msg=\"request\""));

    // A file that cannot be opened leaves the log where it was.
    directory.configure("config.json", &[("logfile", json!("./"))]);
    server.process.signal(Signal::HUP);
    lines("a.log", "lines go where they went before").await;
    assert_eq!(server.stop().code, Some(0));
    assert!(directory.read("a.log").contains("msg=\"stopped\""));
}

#[tokio::test]
async fn a_broken_file_changes_nothing_and_what_has_to_wait_is_named() {
    let directory = Directory::new();
    directory.configure("config.json", &[("sqlfile", json!(":memory:"))]);
    let mut server = directory.serve(&["start"]);
    let other = |more: &[(&str, serde_json::Value)]| {
        let password = ("auth_password", json!(hash(SUPER.0, "another")));
        directory.configure("config.json", &[&[password, ("sqlfile", json!(":memory:"))], more].concat());
    };
    for (text, reason) in [
        ("{", "this is no JSON"),
        (r#"{ "auth_password": "clear", "node": { "shards": 99 } }"#, "node.shards must be 0 to 64"),
    ] {
        directory.write("config.json", text);
        server.process.signal(Signal::HUP);
        let line = server.process.logs("cannot reload: ./config.json: ");
        assert!(line.contains(reason) && line.contains("nothing is changed"), "{line}");
        assert!(!line.contains("clear"), "{line}");
        assert_eq!(status_of(&server, SUPER.1).await, 200);
    }
    fs::remove_file(directory.path("config.json")).expect("it is there");
    server.process.signal(Signal::HUP);
    server.process.logs("cannot reload: there is no ./config.json");

    other(&[("api_listen", json!("127.0.0.1:1")), ("limits", json!({ "sockets_max": 7 }))]);
    // As often as one asks.
    for _ in 0..2 {
        reload(&mut server.process);
        server.process.logs("api_listen changed: takes effect at the next start");
        server.process.logs("limits.sockets_max changed: takes effect at the next start");
    }
    assert_eq!(status_of(&server, SUPER.1).await, 401);
    assert_eq!(status_of(&server, "another").await, 200);
    other(&[]);
    reload(&mut server.process);
    let stopped = server.stop();
    assert_eq!(stopped.code, Some(0));
    let after = stopped.stderr.rsplit(READ_AGAIN).next().unwrap_or_default().to_owned();
    assert!(!after.contains("takes effect"), "{after}");
}

#[test]
fn a_trial_run_ends_with_its_terminal() {
    let directory = Directory::new();
    let server = directory.serve(&[&["start", "--dev"], &FREE_PORTS[..]].concat());
    server.process.signal(Signal::HUP);
    let outcome = server.process.ended();
    assert_eq!(outcome.code, None, "{outcome:?}");
}

/// What `gusher log-level` prints.
fn log_level(server: &Serving, directory: &Directory, words: &[&str]) -> String {
    let ended = run(&mut server.ask(directory, &[&["log-level"], words].concat()));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stdout
}

#[tokio::test]
async fn the_log_level_changes_by_a_call_until_the_configuration_is_read_again() {
    let directory = Directory::new();
    directory
        .configure("config.json", &[("environment", json!("DEVELOPMENT")), ("sqlfile", json!(":memory:"))]);
    let mut server = directory.serve(&["start"]);
    assert_eq!(log_level(&server, &directory, &[]), "info\n");
    assert_eq!(log_level(&server, &directory, &["warn"]), "warn\n");
    server.process.logs("how much is logged was changed by a call");
    let url = format!("http://{}/api/log-level", server.private);
    let nobody = reqwest::Client::new().put(&url).body(r#"{"level":"debug"}"#);
    assert_eq!(send(nobody).await.status, 401);
    let wrong = reqwest::Client::new().put(&url).basic_auth(SUPER.0, Some(SUPER.1)).body("debug");
    assert_eq!(send(wrong).await.status, 400);
    assert_eq!(log_level(&server, &directory, &[]), "warn\n");

    // The configuration has the last word: the line about it would not be written at the level that was set.
    reload(&mut server.process);
    assert_eq!(log_level(&server, &directory, &[]), "info\n");
}
