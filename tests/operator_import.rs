//! Apps and settings of other servers, taken over by `gusher import`.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use support::process::{Directory, Outcome, Serving, run};

/// `gusher import --dry-run` of a file with this content.
fn dry(product: &str, text: &str, more: &[&str]) -> Outcome {
    let directory = Directory::new();
    directory.write("theirs", text);
    let outcome = run(&mut directory.gusher(&[&["import", product, "theirs", "--dry-run"], more].concat()));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    outcome
}

/// The settings at the end of what a dry run prints.
fn settings(outcome: &Outcome) -> Value {
    let start = outcome.stdout.find("\n{\n").or_else(|| outcome.stdout.starts_with('{').then_some(0));
    serde_json::from_str(&outcome.stdout[start.expect("settings")..]).expect("JSON")
}

fn shown(directory: &Directory, server: &Serving, app: &str) -> Value {
    let outcome = run(&mut server.ask(directory, &["app", "show", app, "--json"]));
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"))
}

const SOKETI: &str = r#"{
    "debug": false, "host": "0.0.0.0", "port": 6001, "shutdownGracePeriod": 3500,
    "adapter.driver": "redis", "database.redis.host": "redis", "database.redis.password": "hidden-one",
    "presence": {"maxMembersPerChannel": "50", "maxMemberSizeInKb": 2},
    "metrics": {"enabled": true},
    "appManager.array.apps": [
        {"id": "7", "key": "one", "secret": "hidden-secret", "maxConnections": 200, "enableClientMessages": true,
         "enabled": true, "maxBackendEventsPerSecond": -1, "maxClientEventsPerSecond": 5, "maxReadRequestsPerSecond": 9,
         "webhooks": [{"url": "http://127.0.0.1:9/?token=hidden-two", "event_types": ["client_event", "strange"],
                       "filter": {"channel_name_starts_with": "private-"}, "lambda_function": "f"}]},
        {"id": "not-a-number", "key": "two", "secret": "short", "maxConnections": -1}
    ]
}"#;

#[test]
fn apps_of_soketi_are_added_with_their_settings() {
    let directory = Directory::new();
    directory.configure("config.json", &[]);
    let server = directory.serve(&["start"]);
    directory.write("soketi.json", SOKETI);
    let outcome = run(&mut server.ask(&directory, &["import", "soketi", "soketi.json"]));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stdout.contains("app one added\napp two added\n"), "{outcome:?}");

    let one = shown(&directory, &server, "one");
    for (name, value) in [
        ("max_connections", json!(200)),
        ("client_events", json!(true)),
        ("max_client_events_per_second", json!(5)),
        ("max_presence_members", json!(50)),
        ("max_user_info_bytes", json!(2048)),
    ] {
        assert_eq!(one[name], value, "{name}");
    }
    assert_eq!(one["webhooks"][0]["events"], json!(["client_event"]));
    assert_eq!(one["webhooks"][0]["filter"], json!({ "channel_name_starts_with": "private-" }));
    assert_eq!(shown(&directory, &server, "two")["max_connections"], Value::Null);
    let list = run(&mut server.ask(&directory, &["app", "list", "--secrets"])).stdout;
    let is_one = |line: &str| line.starts_with("one ") && line.split_whitespace().rev().nth(1) == Some("7");
    assert!(list.lines().any(|line| is_one(line) && line.ends_with(" hidden-secret")), "{list}");

    let again = run(&mut server.ask(&directory, &["import", "soketi", "soketi.json"]));
    assert_eq!(again.code, Some(1), "they are there already: {again:?}");
}

#[test]
fn what_has_no_equivalent_is_named_and_no_secret_shown() {
    let outcome = dry("soketi", SOKETI, &[]);
    for part in [
        "metrics.enabled: nothing here is like it",
        "app one: maxreadrequestspersecond: max_calls_per_second here would bound what is published, too",
        "app one: webhooks.0: events of the type strange",
        "app one: webhooks.0.lambda_function",
        "app two: its id is not 1 to 18 digits",
        "app two: its secret is not 8 to 128",
    ] {
        assert!(outcome.stderr.contains(&format!("not taken over: {part}")), "{part}: {}", outcome.stderr);
    }
    assert_eq!(outcome.stderr.lines().count(), 6, "and nothing else: {}", outcome.stderr);
    assert!(!outcome.stdout.contains("hidden") && !outcome.stderr.contains("hidden"), "{outcome:?}");
    let expected = json!({
        "listen": ":6001", "environment": "PRODUCTION", "drain": { "seconds": 4 },
        "bus": { "kind": "redis", "url": "redis://redis:6379", "password": "…" },
    });
    assert_eq!(settings(&outcome), expected);
}

#[test]
fn a_dry_run_prints_commands_that_can_be_typed() {
    let outcome = dry("soketi", SOKETI, &["--secrets"]);
    let first = "GUSHER_APP_SECRET=hidden-secret gusher app add one --admin-account account --app-id 7\n";
    assert!(outcome.stdout.starts_with(first), "{outcome:?}");
    assert!(outcome.stdout.contains("gusher app set two 'max_presence_members=50'"), "{outcome:?}");
}

#[test]
fn soketi_and_reverb_are_read_from_their_environment() {
    let soketi = "SOKETI_DEFAULT_APP_ID=1\nSOKETI_DEFAULT_APP_KEY=k\nDEFAULT_APP_SECRET='long-enough'\n\
                  SOKETI_PORT=6002\nSOKETI_QUEUE_DRIVER=redis\nMAIL_HOST=x\n";
    let outcome = dry("soketi", soketi, &[]);
    assert!(outcome.stdout.contains("gusher app add k --admin-account account --app-id 1"), "{outcome:?}");
    assert_eq!(settings(&outcome), json!({ "listen": ":6002" }));
    assert!(outcome.stderr.contains("not taken over: SOKETI_QUEUE_DRIVER"), "{outcome:?}");
    assert!(outcome.stderr.contains("variables of other programs: MAIL_HOST"), "{outcome:?}");

    let reverb = "REVERB_APP_ID=256\nREVERB_APP_KEY=rk\nREVERB_APP_SECRET=\"long-enough\"\nREVERB_SERVER_HOST=127.0.0.1\n\
                  REVERB_SERVER_PORT=8080\nREVERB_HOST=push.example.com\nREVERB_SCALING_ENABLED=true\n\
                  REDIS_HOST=r\nREDIS_PASSWORD=hidden\nREVERB_APP_MAX_CONNECTIONS=9\n\
                  VITE_REVERB_HOST=\"${REVERB_HOST}\"\n";
    let outcome = dry("reverb", reverb, &[]);
    assert!(
        outcome.stdout.contains("gusher app set rk max_connections=9")
            || outcome.stdout.contains("'max_connections=9'")
    );
    let bus = json!({ "kind": "redis", "url": "redis://r:6379", "password": "…" });
    assert_eq!(settings(&outcome), json!({ "listen": "127.0.0.1:8080", "bus": bus }));
    assert!(outcome.stderr.contains("not taken over: REVERB_HOST"), "{outcome:?}");
}

#[test]
fn sockudo_is_read_from_json_and_its_toml_is_sent_through_a_converter() {
    let sockudo = r#"{"port": 6001, "adapter": {"driver": "nats", "nats": {"servers": ["nats://n1:4222", "n2:4222"]}},
        "websocket_max_payload_kb": 64, "activity_timeout": 100, "shutdown_grace_period": 10, "ssl": {"enabled": false},
        "app_manager": {"driver": "memory", "array": {"apps": [{"id": "9", "key": "s", "secret": "long-enough",
            "max_connections": "100", "max_backend_events_per_second": 50, "max_read_requests_per_second": "20",
            "enable_watchlist_events": true, "allowed_origins": ["https://*.example.com"]}]}}}"#;
    let outcome = dry("sockudo", sockudo, &[]);
    let expected = json!({
        "listen": ":6001", "pusher": { "message_bytes_max": 65536 }, "drain": { "seconds": 10 },
        "bus": { "kind": "nats", "url": "nats://n1:4222,nats://n2:4222" },
    });
    assert_eq!(settings(&outcome), expected);
    for part in [
        "max_connections=100",
        "max_publications_per_second=50",
        "max_calls_per_second=70",
        "watchlists=true",
        "activity_timeout=100",
        "allowed_origins=",
    ] {
        assert!(outcome.stdout.contains(part), "{part}: {outcome:?}");
    }
    assert_eq!(outcome.stderr, "not taken over: ssl.enabled: nothing here is like it\n");

    let directory = Directory::new();
    directory.write("config.toml", "port = 6001\n");
    let toml = run(&mut directory.gusher(&["import", "sockudo", "config.toml"]));
    assert!(toml.code == Some(1) && toml.stderr.contains("tomllib"), "{toml:?}");
}

#[test]
fn the_written_settings_start_once_they_have_a_password() {
    let directory = Directory::new();
    directory.write("soketi.json", r#"{"host": "127.0.0.1", "port": 0, "pathPrefix": "/gateway/"}"#);
    let words = ["import", "soketi", "soketi.json", "--output", "config.json"];
    let outcome = run(&mut directory.gusher(&words));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let mode = fs::metadata(directory.path("config.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = run(&mut directory.gusher(&words));
    assert_eq!(again.code, Some(1), "no file is overwritten: {again:?}");

    let mut config: Value = serde_json::from_str(&directory.read("config.json")).unwrap();
    config["auth_password"] = support::process::hash("account", "password").into();
    directory.write("config.json", &config.to_string());
    let check = run(&mut directory.gusher(&["check", "--api-listen", "127.0.0.1:0"]));
    assert_eq!(check.code, Some(0), "{check:?}");
}

#[test]
fn values_of_another_type_are_named_and_stop_nothing() {
    let strange = r#"{"port": 6001, "debug": "maybe", "shutdownGracePeriod": [1], "eventLimits.maxBatchSize": "many",
        "adapter.driver": "nats", "adapter.nats.servers": 7, "appManager.array.apps.4000000000.key": "far",
        "appManager.array.apps": [{"id": 5, "key": "k", "secret": "long-enough", "webhooks": "x",
            "maxReadRequestsPerSecond": "few", "maxConnections": 9223372036854775807, "enabled": "perhaps"}, 3, {}]}"#;
    let outcome = dry("soketi", strange, &[]);
    assert!(outcome.stdout.contains("gusher app add k --admin-account account --app-id 5\n"), "{outcome:?}");
    for part in [
        "debug",
        "shutdowngraceperiod",
        "eventlimits.maxbatchsize",
        "adapter.nats.servers",
        "app k: webhooks",
        "appmanager.array.apps.0.maxreadrequestspersecond",
        "app k: maxconnections",
        "app k: enabled",
    ] {
        assert!(outcome.stderr.contains(&format!("not taken over: {part}: ")), "{part}: {}", outcome.stderr);
    }
}
