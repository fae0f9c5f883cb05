//! The commands that speak to a running node for an operator: `env`, `trigger` and `tail`.

mod support;

use std::process::Command;

use serde_json::{Value, json};
use support::process::{Directory, Process, Serving, run, run_with};

const SECRET: &str = "a-shared-secret";

/// A node with the app `x`, whose id is 77.
fn serve(directory: &Directory) -> Serving {
    directory.configure("config.json", &[]);
    let server = directory.serve(&["start"]);
    let words = ["app", "add", "x", "--admin-account", "a", "--admin-password", "b", "--app-id", "77"];
    let mut add = server.ask(directory, &words);
    assert_eq!(run(add.env("GUSHER_APP_SECRET", SECRET)).code, Some(0));
    server
}

/// One of our commands as a backend of the app runs it.
fn signed(directory: &Directory, server: &Serving, words: &[&str]) -> Command {
    let mut command = directory.gusher(words);
    command
        .env("PUSHER_HOST", "127.0.0.1")
        .env("PUSHER_PORT", server.public.port().to_string())
        .env("PUSHER_APP_ID", "77")
        .env("PUSHER_APP_KEY", "x")
        .env("PUSHER_APP_SECRET", SECRET);
    command
}

/// `gusher tail` of the app `x`, already subscribed to the last of the channels.
fn tail(directory: &Directory, server: &Serving, channels: &[&str], more: &[&str]) -> Process {
    let mut process =
        Process::start(&mut signed(directory, server, &[&["tail", "x"], channels, more].concat()));
    process.logs(&format!("subscribed to {}", channels.last().expect("a channel")));
    process
}

#[test]
fn what_is_triggered_is_tailed_one_line_each() {
    let directory = Directory::new();
    let server = serve(&directory);
    let listener = tail(&directory, &server, &["news", "private-x"], &["--count", "3"]);
    let plain = run(&mut signed(&directory, &server, &["trigger", "news", "e", "{\"a\":1}"]));
    assert_eq!((plain.code, plain.stdout.as_str()), (Some(0), "published\n"), "{plain:?}");
    let piped = run_with(&mut signed(&directory, &server, &["trigger", "private-x", "e", "-"]), "two\nlines");
    assert_eq!(piped.code, Some(0), "{piped:?}");
    let mut last = signed(&directory, &server, &["trigger", "news", "e", "--info", "subscription_count"]);
    assert_eq!(run(&mut last).stdout, "news\tsubscription_count=1\n");
    let outcome = listener.ended();
    let lines = "news\te\t{\"a\":1}\nprivate-x\te\ttwo\\nlines\nnews\te\t{}\n";
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), lines), "{outcome:?}");
}

#[test]
fn a_member_that_joins_is_tailed_as_json() {
    let directory = Directory::new();
    let server = serve(&directory);
    let mut watcher = tail(&directory, &server, &["presence-room"], &["--json"]);
    let _member = tail(&directory, &server, &["presence-room"], &["--user-id", "bob"]);
    let line: Value = serde_json::from_str(&watcher.prints("member_added")).expect("JSON");
    assert_eq!(line["channel"], "presence-room");
    assert!(line["data"].as_str().is_some_and(|data| data.contains("\"bob\"")), "{line}");
}

#[test]
fn what_cannot_be_signed_or_is_refused_is_told_without_the_secret() {
    let directory = Directory::new();
    let server = serve(&directory);
    let unsigned =
        run(signed(&directory, &server, &["tail", "x", "private-x"]).env_remove("PUSHER_APP_SECRET"));
    assert_eq!(unsigned.code, Some(2), "{unsigned:?}");
    assert!(unsigned.stderr.contains("PUSHER_APP_SECRET"), "{unsigned:?}");
    for words in [&["tail", "x", "private-x"][..], &["trigger", "news", "e"]] {
        let outcome = run(signed(&directory, &server, words).env("PUSHER_APP_SECRET", "another-secret"));
        assert_eq!((outcome.code, outcome.stderr.lines().count()), (Some(1), 1), "{outcome:?}");
        assert!(!outcome.stderr.contains("another-secret"), "{outcome:?}");
    }
    let nobody = run(&mut signed(&directory, &server, &["tail", "y", "news"]));
    assert!(nobody.code == Some(1) && nobody.stderr.contains("4001"), "{nobody:?}");
}

#[test]
fn env_tells_what_points_an_sdk_here() {
    let directory = Directory::new();
    let server = serve(&directory);
    let host = server.public.ip().to_string();
    let port = server.public.port().to_string();
    for (sdk, parts) in [
        ("laravel", ["PUSHER_APP_ID=77\n", "PUSHER_HOST=127.0.0.1\n", "VITE_PUSHER_APP_KEY="]),
        ("reverb", ["REVERB_APP_ID=77\n", "REVERB_SCHEME=http\n", "BROADCAST_CONNECTION=reverb"]),
        ("node", ["appId: \"77\"", "host: \"127.0.0.1\"", "useTLS: false"]),
        ("python", ["app_id=\"77\"", "host=\"127.0.0.1\"", "ssl=False"]),
        ("ruby", ["app_id: \"77\"", "host: \"127.0.0.1\"", "use_tls: false"]),
        ("go", ["AppID:  \"77\"", "Host:   \"127.0.0.1:", "Secure: false"]),
    ] {
        let words = ["env", sdk, "x", "--host", &host, "--port", &port];
        let outcome = run(&mut server.ask(&directory, &words));
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        for part in parts.into_iter().chain([SECRET, port.as_str()]) {
            assert!(outcome.stdout.contains(part), "{sdk} lacks {part}: {}", outcome.stdout);
        }
    }
    let unknown = run(&mut server.ask(&directory, &["env", "node", "y"]));
    assert!(unknown.code == Some(1) && unknown.stderr.contains("no app"), "{unknown:?}");
}

#[test]
fn env_asks_nobody_when_everything_is_given() {
    let directory = Directory::new();
    let words = ["env", "laravel", "--app-id", "7", "--key", "k", "--secret", "a b$c", "--scheme", "https"];
    let outcome = run(&mut directory.gusher(&words));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(
        outcome.stdout.contains("PUSHER_APP_SECRET=\"a b\\$c\"\nPUSHER_HOST=127.0.0.1\nPUSHER_PORT=443\n")
    );
    let nothing = run(&mut directory.gusher(&["env", "laravel"]));
    assert_eq!(nothing.code, Some(2), "{nothing:?}");
}

#[test]
fn what_env_prints_is_what_trigger_reads() {
    let directory = Directory::new();
    let server = serve(&directory);
    let port = server.public.port().to_string();
    let lines = run(&mut server.ask(&directory, &["env", "laravel", "x", "--port", &port])).stdout;
    directory.write(".env", &lines);
    let line = format!("set -a; . ./.env; {} trigger news e --json", env!("CARGO_BIN_EXE_gusher"));
    let outcome = run(&mut directory.shell(&line));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(serde_json::from_str::<Value>(&outcome.stdout).expect("JSON"), json!({}));
}
