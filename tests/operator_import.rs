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
        {"id": "not a word", "key": "two", "secret": "short", "maxConnections": -1}
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
        "cors.origin: unless it is said",
        "app one: maxReadRequestsPerSecond: max_calls_per_second here would bound what is published, too",
        "app one: webhooks.0: events of the type strange",
        "app one: webhooks.0.lambda_function",
        "app two: its id is not 1 to 64 letters, digits, - and _",
        "app two: its secret is not 8 to 128",
    ] {
        assert!(outcome.stderr.contains(&format!("not taken over: {part}")), "{part}: {}", outcome.stderr);
    }
    let lines = outcome.stderr.lines().filter(|line| line.starts_with("not taken over: ")).count();
    assert_eq!(lines, 7, "and nothing else: {}", outcome.stderr);
    assert!(!outcome.stdout.contains("hidden") && !outcome.stderr.contains("hidden"), "{outcome:?}");
    let expected = json!({
        "listen": ":6001", "environment": "PRODUCTION", "drain": { "seconds": 4 },
        "pusher": { "message_bytes_max": 262_144 },
        "bus": { "kind": "redis", "url": "redis://redis:6379", "password": "…" },
    });
    assert_eq!(settings(&outcome), expected);
}

#[test]
fn a_dry_run_prints_commands_that_run_as_they_stand() {
    let outcome = dry("soketi", SOKETI, &["--secrets"]);
    let first = "GUSHER_ADMIN_PASSWORD=\"${GUSHER_ADMIN_PASSWORD:?}\" GUSHER_APP_SECRET=hidden-secret \
                 gusher app add one --admin-account account --app-id 7\n";
    assert!(outcome.stdout.starts_with(first), "{outcome:?}");
    assert!(outcome.stderr.contains("GUSHER_ADMIN_PASSWORD the one with which"), "{outcome:?}");

    let directory = Directory::new();
    directory.configure("config.json", &[]);
    let server = directory.serve(&["start"]);
    let commands = outcome.stdout.split("\n{\n").next().unwrap();
    let line = format!("gusher() {{ '{}' \"$@\"; }}\nset -e\n{commands}", env!("CARGO_BIN_EXE_gusher"));
    let typed = |password: Option<&str>| {
        let mut shell = directory.shell(&line);
        shell.envs(password.map(|password| ("GUSHER_ADMIN_PASSWORD", password)));
        shell.env("GUSHER_API", format!("http://{}", server.private)).env("GUSHER_PASSWORD", "password");
        run(&mut shell)
    };
    let without = typed(None);
    assert!(without.code != Some(0) && without.stderr.contains("GUSHER_ADMIN_PASSWORD"), "{without:?}");
    assert_eq!(typed(Some("xyzzy")).code, Some(0));
    assert_eq!(shown(&directory, &server, "one")["max_connections"], 200);
}

#[test]
fn an_app_of_which_nothing_is_said_does_as_it_did() {
    let apps = r#"{"appManager.array.apps": [{"id": "1", "key": "k", "secret": "long-enough"}]}"#;
    let reverb = "REVERB_APP_ID=1\nREVERB_APP_KEY=k\nREVERB_APP_SECRET=long-enough\n";
    for (product, text, listen, expected) in [
        (
            "soketi",
            apps,
            ":6001",
            &[
                ("client_events", json!(false)),
                ("max_client_events_per_second", json!(1_000_000)),
                ("cache_ttl", json!(3_600)),
                ("max_event_bytes", json!(102_400)),
                ("max_user_info_bytes", json!(2_048)),
                ("activity_timeout", json!(30)),
            ][..],
        ),
        (
            "sockudo",
            apps,
            ":6001",
            &[
                ("client_events", json!(false)),
                ("cache_ttl", json!(3_600)),
                ("max_event_bytes", json!(102_400)),
            ],
        ),
        (
            "reverb",
            reverb,
            ":8080",
            &[
                ("client_events", json!(true)),
                ("activity_timeout", json!(30)),
                ("max_presence_members", json!(1_000_000)),
            ],
        ),
    ] {
        assert_eq!(settings(&dry(product, text, &[]))["listen"], listen, "{product}");
        let directory = Directory::new();
        directory.configure("config.json", &[]);
        let server = directory.serve(&["start"]);
        directory.write("theirs", text);
        let outcome = run(&mut server.ask(&directory, &["import", product, "theirs"]));
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        let app = shown(&directory, &server, "k");
        for (name, value) in expected {
            assert_eq!(app[name], *value, "{product}: {name}");
        }
    }
}

#[test]
fn what_is_said_goes_before_what_was_usual_there() {
    let outcome = dry(
        "soketi",
        r#"{"channelLimits.cacheTtl": 60, "appManager.array.apps": [
            {"id": "1", "key": "k", "secret": "long-enough", "enableClientMessages": true, "maxEventPayloadInKb": 1}]}"#,
        &[],
    );
    for part in ["cache_ttl=60", "client_events=true", "max_event_bytes=1024"] {
        assert!(outcome.stdout.contains(part), "{part}: {outcome:?}");
    }
}

#[test]
fn certificate_origins_and_prefix_are_taken_over() {
    let app = "DEFAULT_APP_KEY=k\n";
    let soketi = "SOKETI_SSL_CERT=/c.pem\nSOKETI_SSL_KEY=/k.pem\nSOKETI_CORS_ALLOWED_ORIGINS='[\"https://a.example\"]'\n\
                  SOKETI_ADAPTER_DRIVER=redis\nSOKETI_ADAPTER_REDIS_PREFIX=mine\n";
    let told = settings(&dry("soketi", &format!("{app}{soketi}"), &[]));
    assert_eq!(told["tls"], json!({ "cert_file": "/c.pem", "key_file": "/k.pem" }));
    assert_eq!(told["cors"], json!({ "origins": "https://a.example" }));
    assert_eq!(told["bus"]["prefix"], "mine");

    let outcome = dry("soketi", &format!("{app}SSL_CERT=/c.pem\nCORS_ALLOWED_ORIGINS=*.a.example\n"), &[]);
    for part in
        ["SSL_CERT: tls.cert_file and tls.key_file go together", "CORS_ALLOWED_ORIGINS: cors.origins takes"]
    {
        assert!(outcome.stderr.contains(&format!("not taken over: {part}")), "{part}: {outcome:?}");
    }

    let sockudo = r#"{"ssl": {"enabled": true, "cert_path": "/c.pem", "key_path": "/k.pem"}, "cors": {"origin": ["*"]},
        "adapter": {"driver": "redis", "redis": {"prefix": "sockudo_adapter:"}},
        "app_manager": {"array": {"apps": [{"key": "k"}]}}}"#;
    let outcome = dry("sockudo", sockudo, &[]);
    assert_eq!(settings(&outcome)["tls"], json!({ "cert_file": "/c.pem", "key_file": "/k.pem" }));
    assert_eq!(settings(&outcome)["cors"], json!({ "origins": "*" }));
    assert_eq!(
        outcome.stderr.lines().next().unwrap(),
        "not taken over: adapter.redis.prefix: bus.prefix is letters, digits, - and _ here"
    );

    let reverb = "REVERB_APP_KEY=k\nREVERB_SCALING_ENABLED=true\nREVERB_SCALING_CHANNEL=push\nREVERB_APP_PING_INTERVAL=45\n\
                  REVERB_MAX_REQUEST_SIZE=20_000\n";
    let outcome = dry("reverb", reverb, &[]);
    assert_eq!(settings(&outcome)["bus"]["prefix"], "push");
    assert!(outcome.stdout.contains("activity_timeout=45"), "{outcome:?}");
    assert!(outcome.stderr.contains("not taken over: REVERB_MAX_REQUEST_SIZE: "), "{outcome:?}");
}

#[test]
fn a_file_without_apps_and_one_with_two_lists_are_refused() {
    let directory = Directory::new();
    directory.write("none", r#"{"port": 6001}"#);
    directory.write(
        "two",
        r#"{"appManager.array.apps": [{"key": "a"}], "appManager": {"array": {"apps": [{"key": "b"}]}}}"#,
    );
    for (file, part) in
        [("none", "no apps found in none: is it of soketi?"), ("two", "\"appManager\".\"array\".\"apps\"")]
    {
        let outcome = run(&mut directory.gusher(&["import", "soketi", file, "--dry-run"]));
        assert!(outcome.code == Some(1) && outcome.stderr.contains(part), "{outcome:?}");
    }
}

#[test]
fn soketi_and_reverb_are_read_from_their_environment() {
    let soketi = "SOKETI_DEFAULT_APP_ID=1\nSOKETI_DEFAULT_APP_KEY=k\nDEFAULT_APP_SECRET='long-enough'\n\
                  SOKETI_PORT=6002\nSOKETI_QUEUE_DRIVER=redis\nMAIL_HOST=x\n";
    let outcome = dry("soketi", soketi, &[]);
    assert!(outcome.stdout.contains("gusher app add k --admin-account account --app-id 1"), "{outcome:?}");
    let expected = json!({ "listen": ":6002", "pusher": { "message_bytes_max": 262_144 } });
    assert_eq!(settings(&outcome), expected);
    assert!(outcome.stderr.contains("not taken over: SOKETI_QUEUE_DRIVER"), "{outcome:?}");
    assert!(outcome.stderr.contains("variables of other programs: MAIL_HOST"), "{outcome:?}");

    let reverb = "REVERB_APP_ID=256\nREVERB_APP_KEY=rk\nREVERB_APP_SECRET=\"long-enough\"\nREVERB_SERVER_HOST=127.0.0.1\n\
                  REVERB_SERVER_PORT=8080\nREVERB_HOST=push.example.com\nREVERB_SCALING_ENABLED=true\n\
                  REDIS_HOST=r\nREDIS_PASSWORD=hidden\nREVERB_APP_MAX_CONNECTIONS=9\n\
                  VITE_REVERB_HOST=\"${REVERB_HOST}\"\n";
    let outcome = dry("reverb", reverb, &[]);
    assert!(
        outcome.stdout.contains("gusher app set rk ") && outcome.stdout.contains("'max_connections=9'"),
        "{outcome:?}"
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
    let left: Vec<_> = outcome.stderr.lines().filter(|line| line.starts_with("not taken over: ")).collect();
    assert!(left.len() == 1 && left[0].contains("cors.origin: unless it is said"), "{outcome:?}");

    let directory = Directory::new();
    directory.write("config.toml", "port = 6001\n");
    let toml = run(&mut directory.gusher(&["import", "sockudo", "config.toml"]));
    assert!(toml.code == Some(1) && toml.stderr.contains("tomllib"), "{toml:?}");
}

#[test]
fn the_written_settings_start_once_they_have_a_password() {
    let directory = Directory::new();
    directory.write(
        "soketi.json",
        r#"{"host": "127.0.0.1", "port": 0, "pathPrefix": "/gateway/", "appManager.array.apps": [{"key": "k"}]}"#,
    );
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
        "shutdownGracePeriod",
        "eventLimits.maxBatchSize",
        "adapter.nats.servers",
        "app k: webhooks",
        "appManager.array.apps.0.maxReadRequestsPerSecond",
        "app k: maxConnections",
        "app k: enabled",
    ] {
        assert!(outcome.stderr.contains(&format!("not taken over: {part}: ")), "{part}: {}", outcome.stderr);
    }
}
