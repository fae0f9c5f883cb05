//! What somebody at a terminal, a script or a service supervisor sees of the program.
//!
//! Long because it is a list of short cases, one for each line that an operator types.

mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use axum::Router;
use axum::routing::post;
use futures_util::StreamExt;
use gusher::config::read::{self, Overlay};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::process::{Directory, FREE_PORTS, Outcome, Process, Serving, hash, run, run_with};
use support::{SUPER, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The exit status for a wrong configuration, `EX_CONFIG` of sysexits.h.
const EX_CONFIG: Option<i32> = Some(78);

/// The example of the Go version's manual, to the byte.
const MANUAL_SAMPLE: &str = r#"{
        "auth_account":"account", //Super Admin 
        "auth_password":"password", //Bcrypt Encoding 
        "environment":"DEBUG", // DEBUG || DEVELOPMENT || PRODUCATION
        "logfile":"./", // "console" or "/homs/user/x.log"
        "listen":":8001",
        "api_listen":":8002",
        "sqlfile":"./appdata.sqlite",
        "max_wait_hook":10,
}
                        
"#;

/// Answers to the questions of `gusher init`, one a line.
fn init(directory: &Directory, answers: &[&str]) -> (Outcome, Value) {
    let outcome = run_with(&mut directory.gusher(&["init"]), &answers.join("\n"));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    (outcome, serde_json::from_str(&directory.read("config.json")).expect("config.json is JSON"))
}

/// `gusher start` with these arguments, which must not succeed.
fn refused(directory: &Directory, words: &[&str]) -> Outcome {
    let outcome = run(&mut directory.gusher(&[&["start"], words].concat()));
    assert_eq!(outcome.stdout, "");
    assert_eq!(outcome.stderr.lines().count(), 1, "one line tells all: {}", outcome.stderr);
    outcome
}

/// A trial run whose log says nothing: what it prints tells that it serves.
fn trial(directory: &Directory, words: &[&str]) -> Process {
    let mut process =
        Process::start(&mut directory.gusher(&[&["start", "--dev"], &FREE_PORTS[..], words].concat()));
    process.prints("curl");
    process
}

/// A server with the app `x` and the default settings of a test.
fn serve(directory: &Directory) -> Serving {
    directory.configure("config.json", &[]);
    let server = directory.serve(&["start"]);
    add(directory, &server, &[]);
    server
}

fn add(directory: &Directory, server: &Serving, more: &[&str]) {
    let words = ["app", "add", "x", "--admin-account", "admin", "--admin-password", "secret"];
    let outcome = run(&mut server.ask(directory, &[&words, more].concat()));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}

/// `gusher listen x alice`, already connected.
fn listening(directory: &Directory, server: &Serving, more: &[&str]) -> Process {
    let mut listener =
        Process::start(&mut server.ask(directory, &[&["listen", "x", "alice"], more].concat()));
    listener.logs("listening as alice");
    listener
}

#[test]
fn a_hash_is_of_account_and_password_from_wherever_it_comes() {
    let directory = Directory::new();
    let typed = run_with(&mut directory.gusher(&["hash", "--account", "root"]), "s3cret\nmore\n");
    let set = run(directory.gusher(&["hash"]).env("GUSHER_ACCOUNT", "root").env("GUSHER_PASSWORD", "s3cret"));
    for outcome in [typed, set] {
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert!(bcrypt::verify("roots3cret", outcome.stdout.trim_end()).expect("a hash"), "{outcome:?}");
    }
    for (input, reason) in [("", "no password"), (&*"x".repeat(70), "longer than 72 bytes")] {
        let outcome = run_with(&mut directory.gusher(&["hash"]), input);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""));
        assert!(outcome.stderr.contains(reason) && !outcome.stderr.contains("xxxx"), "{outcome:?}");
    }
}

#[test]
fn gu_001_init_without_answers_writes_every_default() {
    let directory = Directory::new();
    let (_, mut config) = init(&directory, &[]);
    let hash = config.as_object_mut().unwrap().shift_remove("auth_password").unwrap();
    assert!(bcrypt::verify("accountpassword", hash.as_str().unwrap()).unwrap());
    let defaults = json!({
        "auth_account": "account",
        "environment": "DEBUG",
        "logfile": "console",
        "listen": ":8001",
        "api_listen": ":8002",
        "sqlfile": "./appdata.sqlite",
        "max_wait_hook": 100,
    });
    assert_eq!(config, defaults);
}

#[test]
fn gu_002_each_answer_of_init_lands_in_its_field() {
    let answers = [":1", "10.0.0.1:2", "root", "pass", "a.sqlite", "a.log", "DEVELOPMENT", "3"];
    let (_, config) = init(&Directory::new(), &answers);
    let fields = [
        "listen",
        "api_listen",
        "auth_account",
        "auth_password",
        "sqlfile",
        "logfile",
        "environment",
        "max_wait_hook",
    ];
    for (field, answer) in fields.into_iter().zip(answers) {
        match field {
            "auth_password" => assert!(bcrypt::verify("rootpass", config[field].as_str().unwrap()).unwrap()),
            "max_wait_hook" => assert_eq!(config[field], 3),
            _ => assert_eq!(config[field], answer),
        }
    }
}

#[test]
fn gu_003_init_accepts_only_known_environments() {
    for (answer, accepted) in [("foo", "DEBUG"), ("PRODUCTION", "PRODUCTION")] {
        let (_, config) = init(&Directory::new(), &["", "", "", "", "", "", answer]);
        assert_eq!(config["environment"], accepted, "{answer}");
    }
}

#[test]
fn gu_004_init_accepts_only_numbers_of_hook_workers() {
    for (answer, accepted) in [("abc", 100), ("7", 7)] {
        let (_, config) = init(&Directory::new(), &["", "", "", "", "", "", "", answer]);
        assert_eq!(config["max_wait_hook"], accepted, "{answer}");
    }
}

#[test]
fn gu_005_init_writes_the_hash_and_never_the_password() {
    let directory = Directory::new();
    let (_, config) = init(&directory, &["", "", "root", "xyzzy"]);
    assert!(bcrypt::verify("rootxyzzy", config["auth_password"].as_str().unwrap()).unwrap());
    assert!(!directory.read("config.json").contains("xyzzy"));
}

#[test]
fn gu_006_init_keeps_the_old_file_and_lets_nobody_else_read_the_new_one() {
    let directory = Directory::new();
    directory.write("config.json", "old");
    init(&directory, &[]);
    let mode = fs::metadata(directory.path("config.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(directory.read("config.json.bak"), "old");
}

#[test]
fn gu_007_init_never_shows_the_password_and_ends_with_success() {
    let (outcome, _) = init(&Directory::new(), &["", "", "root", "xyzzy"]);
    assert!(!outcome.stdout.contains("xyzzy") && !outcome.stderr.contains("xyzzy"), "{outcome:?}");
    assert!(outcome.stdout.lines().last().unwrap().contains("Scuess"));
}

#[test]
fn what_init_writes_starts() {
    let directory = Directory::new();
    init(&directory, &["127.0.0.1:0", "127.0.0.1:0"]);
    let server = Serving::new(Process::start(directory.gusher(&["start"]).env("GUSHER_LOG_FORMAT", "text")));
    let apps = run(&mut server.ask(&directory, &["app", "list"]));
    assert_eq!((apps.code, apps.stdout.contains("no apps")), (Some(0), true), "{apps:?}");
}

#[test]
fn gu_008_the_sample_of_the_manual_means_its_ports() {
    let sample = MANUAL_SAMPLE.replace("\"password\"", &format!("{:?}", hash("account", "password")));
    let config = read::parse(Path::new("config.json"), sample.as_bytes(), [], &Overlay::default()).unwrap();
    assert_eq!((config.listen.to_string(), config.api_listen.to_string()), (":8001".into(), ":8002".into()));
}

#[test]
fn gu_008_the_sample_of_the_manual_starts() {
    let directory = Directory::new();
    let sample = MANUAL_SAMPLE.replace("\"password\"", &format!("{:?}", hash("account", "password")));
    directory.write("config.json", &sample);
    let server = directory.serve(&[&["start"], &FREE_PORTS[..]].concat());
    add(&directory, &server, &[]);
    assert!(directory.path("appdata.sqlite").is_file());
}

#[test]
fn gu_009_three_flags_name_the_configuration() {
    let directory = Directory::new();
    directory.configure("there.json", &[]);
    for flag in ["--config", "--conf", "-c"] {
        directory.serve(&["start", flag, "there.json"]);
    }
}

#[test]
fn without_a_flag_config_json_comes_before_default_json() {
    let directory = Directory::new();
    directory.configure("default.json", &[("sqlfile", json!("default.sqlite"))]);
    directory.serve(&["start"]);
    assert!(directory.path("default.sqlite").is_file());
    directory.configure("config.json", &[("sqlfile", json!("config.sqlite"))]);
    directory.serve(&["start"]);
    assert!(directory.path("config.sqlite").is_file());
}

#[test]
fn gu_010_start_without_a_configuration_points_to_init() {
    for words in [&[][..], &["--config", "nowhere.json"]] {
        let outcome = refused(&Directory::new(), words);
        assert_eq!(outcome.code, EX_CONFIG);
        assert!(outcome.stderr.contains("gusher init"), "{}", outcome.stderr);
    }
}

#[test]
fn gu_011_a_plain_password_in_the_configuration_is_refused_and_not_shown() {
    let directory = Directory::new();
    directory.configure("config.json", &[("auth_password", json!("xyzzy"))]);
    let outcome = refused(&directory, &[]);
    assert_eq!(outcome.code, EX_CONFIG);
    assert!(outcome.stderr.contains("must be a bcrypt hash"), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("xyzzy"));
}

#[test]
fn what_to_type_next_works_where_a_trial_run_listens_on_all_addresses() {
    for (any, loopback) in [("0.0.0.0:0", "127.0.0.1"), ("[::]:0", "[::1]")] {
        let directory = Directory::new();
        let words = ["start", "--dev", "--listen", any, "--api-listen", any];
        let mut server = Process::start(&mut directory.gusher(&words));
        let line = server.prints("gusher listen");
        assert!(line.contains(&format!("ws://{loopback}:")), "{line}");
        server.logs("the super admin has the default password");
        server.signal(Signal::TERM);
        server.ended();
    }
}

#[test]
fn the_default_password_is_warned_of_by_all_who_see_it() {
    let directory = Directory::new();
    let made = run(&mut directory.gusher(&["init"]));
    assert_eq!((made.code, made.stderr.lines().count()), (Some(0), 1), "{made:?}");
    assert!(made.stderr.contains("default password"), "{made:?}");
    for words in [&["check", "--listen", "127.0.0.1:0", "--api-listen", "0.0.0.0:0"][..], &["doctor"]] {
        let outcome = run(&mut directory.gusher(words));
        assert!(outcome.stdout.contains("warn  auth_password: "), "{words:?}: {outcome:?}");
    }
    let local =
        run(&mut directory.gusher(&["check", "--listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0"]));
    assert!(!local.stdout.contains("auth_password"), "{local:?}");
}

#[test]
fn gu_012_in_production_warnings_are_logged_and_nothing_below() {
    for environment in ["PRODUCATION", "PRODUCTION"] {
        let directory = Directory::new();
        // A log file that cannot be opened is worth a warning.
        let server = trial(&directory, &["--environment", environment, "--logfile", "./"]);
        server.signal(Signal::TERM);
        let outcome = server.ended();
        assert!(outcome.stdout.contains("listening"), "a person sees that it serves: {}", outcome.stdout);
        assert!(outcome.stderr.contains("level=warning"), "{}", outcome.stderr);
        assert!(!outcome.stderr.contains("level=info"), "{}", outcome.stderr);
    }
}

#[tokio::test]
async fn gu_013_in_debug_debug_lines_are_logged() {
    let directory = Directory::new();
    directory.configure("config.json", &[("environment", json!("DEBUG"))]);
    let mut server = directory.serve(&["start"]);
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|gone| gone.local_addr()).unwrap();
    add(&directory, &server, &["--connect-hook", &format!("http://{nobody}")]);
    let outcome = run(&mut server.ask(&directory, &["listen", "x", "alice"]));
    assert_eq!(outcome.code, Some(1));
    server.process.logs("level=debug");
}

#[test]
fn gu_014_a_log_file_is_appended_to() {
    let directory = Directory::new();
    directory.write("gusher.log", "before\n");
    let server = trial(&directory, &["--logfile", "gusher.log"]);
    server.signal(Signal::TERM);
    assert_eq!(server.ended().stderr, "");
    let log = directory.read("gusher.log");
    assert!(log.starts_with("before\n") && log.contains("msg=\"listening\""), "{log}");
}

#[test]
fn gu_014_a_directory_as_log_file_means_stderr_and_a_warning() {
    let directory = Directory::new();
    directory.configure("config.json", &[("logfile", json!("./"))]);
    let outcome = directory.serve(&["start"]).stop();
    assert_eq!(outcome.code, Some(0));
    let warning = outcome.stderr.lines().find(|line| line.contains("level=warning")).unwrap_or_default();
    assert!(warning.contains("./"), "{}", outcome.stderr);
}

#[test]
fn lines_are_json_where_nobody_looks_on() {
    let directory = Directory::new();
    let words = [&["start", "--dev"], &FREE_PORTS[..]].concat();
    let mut server = Process::start(directory.gusher(&words).env_remove("GUSHER_LOG_FORMAT"));
    let line: Value = serde_json::from_str(&server.logs(r#""msg":"listening""#)).expect("JSON");
    assert_eq!(line["level"], "info");
}

#[test]
#[cfg(target_os = "linux")]
fn lines_are_pretty_on_a_terminal() {
    let directory = Directory::new();
    let words = [env!("CARGO_BIN_EXE_gusher"), "start", "--dev", &FREE_PORTS.join(" ")].join(" ");
    // It gives the command a terminal, and hands on what is shown there. A trial run ends with its terminal.
    let mut server = Process::start(&mut directory.shell(&format!("exec script -qec '{words}' /dev/null")));
    let line = server.prints("listening");
    assert!(line.contains("\x1b[32mINFO ") && !line.contains("msg="), "{line}");
}

#[tokio::test]
async fn gu_018_hooks_work_without_a_number_of_hook_workers() {
    let hook = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", hook.local_addr().unwrap());
    tokio::spawn(async { axum::serve(hook, Router::new().route("/", post(async || "alice"))).await });
    for members in [&[][..], &[("max_wait_hook", json!(0))]] {
        let directory = Directory::new();
        directory.configure("config.json", members);
        let server = directory.serve(&["start"]);
        add(&directory, &server, &["--connect-hook", &url]);
        server.connect("x", "alice").await;
    }
}

#[tokio::test]
async fn hooks_are_asked_through_the_proxy_of_the_environment_where_a_setting_says_so() {
    let hook = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = format!("http://{}", hook.local_addr().unwrap());
    tokio::spawn(async { axum::serve(hook, Router::new().route("/", post(async || "alice"))).await });
    let nobody = "http://127.0.0.1:1";
    for (uses_proxy, proxy, url) in [(false, nobody, &*here), (true, &*here, "http://backend.invalid/")] {
        let directory = Directory::new();
        let node = json!({ "bcrypt_cost": 4, "use_proxy": uses_proxy });
        directory.configure("config.json", &[("node", node)]);
        let mut command = directory.gusher(&["start"]);
        let server = Serving::new(Process::start(command.env("HTTP_PROXY", proxy).env("http_proxy", proxy)));
        add(&directory, &server, &["--connect-hook", url]);
        server.connect("x", "alice").await;
    }
}

#[test]
fn a_port_in_use_is_told_with_its_address_and_its_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for setting in ["listen", "api_listen"] {
        let directory = Directory::new();
        directory.configure("config.json", &[(setting, json!(address))]);
        let outcome = run(&mut directory.gusher(&["start"]));
        assert_eq!(outcome.code, Some(1));
        let told = outcome.stderr.lines().last().unwrap();
        assert!(told.contains(&address) && told.contains(&format!(" {setting} ")), "{told}");
    }
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_one() {
    let directory = Directory::new();
    directory.configure("config.json", &[("lisen", json!(":1")), ("limits", json!({ "ping_second": 1 }))]);
    let outcome = refused(&directory, &[]);
    assert_eq!(outcome.code, EX_CONFIG);
    for near in ["did you mean `listen`?", "did you mean `ping_seconds` in `limits`?"] {
        assert!(outcome.stderr.contains(near), "{}", outcome.stderr);
    }
}

#[test]
fn flags_beat_the_environment_and_that_beats_the_file() {
    let directory = Directory::new();
    directory.configure("config.json", &[("sqlfile", json!("file.sqlite"))]);
    let start = |words: &[&str], variable: &str| {
        let mut command = directory.gusher(&[&["start"], words].concat());
        drop(Serving::new(Process::start(command.env("GUSHER_SQLFILE", variable))));
        ["file", "environment", "flag"].map(|name| directory.path(&format!("{name}.sqlite")).exists())
    };
    assert_eq!(start(&[], ""), [true, false, false], "an empty variable is none");
    assert_eq!(start(&[], "environment.sqlite"), [true, true, false]);
    fs::remove_file(directory.path("environment.sqlite")).unwrap();
    assert_eq!(start(&["--sqlfile", "flag.sqlite"], "environment.sqlite"), [true, false, true]);
}

#[test]
fn a_trial_run_prints_two_lines_that_work_as_they_stand() {
    let directory = Directory::new();
    let mut server = Process::start(&mut directory.gusher(&[&["start", "--dev"], &FREE_PORTS[..]].concat()));
    let listen = server.prints(" listen ");
    let publish = server.prints("curl ");
    let mut listener = Process::start(&mut directory.shell(&listen));
    listener.logs("listening");
    let published = run(&mut directory.shell(&publish));
    assert_eq!(published.code, Some(0), "{published:?}");
    assert!(published.stdout.contains("\"user_tag\":\"^alice$\""), "{published:?}");
    assert_eq!(listener.prints(""), "hello");
    assert_eq!(fs::read_dir(directory.path("")).unwrap().count(), 0, "nothing is kept");
}

/// Sets the variables that name a first app.
fn name_app<'a>(command: &'a mut Command, id: &str, key: &str, secret: &str) -> &'a mut Command {
    command.env("PUSHER_APP_ID", id).env("PUSHER_APP_KEY", key).env("PUSHER_APP_SECRET", secret)
}

#[test]
fn the_app_that_the_environment_names_is_registered_once() {
    let directory = Directory::new();
    directory.configure("config.json", &[]);
    let start = |id: &str, key: &str, secret: &str| {
        Process::start(name_app(&mut directory.gusher(&["start"]), id, key, secret))
    };
    for _ in 0..2 {
        let server = Serving::new(start("7", "chat", "first-secret"));
        let listed = run(&mut server.ask(&directory, &["app", "list", "--secrets"])).stdout;
        assert_eq!(listed.lines().count(), 2, "{listed}");
        assert!(listed.contains("chat") && listed.contains("  7   first-secret"), "{listed}");
        assert_eq!(server.stop().code, Some(0));
    }
    for (id, key, secret, reason) in [
        ("7", "chat", "other-secret", "the app \"chat\" is there with another id or secret"),
        ("8", "chat", "first-secret", "the app \"chat\" is there with another id or secret"),
        ("7", "talk", "first-secret", "cannot add the app \"talk\": another app has the id 7"),
    ] {
        let outcome = start(id, key, secret).ended();
        assert_eq!((outcome.code, outcome.stderr.lines().count()), (Some(1), 1), "{outcome:?}");
        assert!(outcome.stderr.contains(reason) && !outcome.stderr.contains(secret), "{outcome:?}");
    }
}

#[test]
fn a_first_app_is_named_wholly_or_not_at_all() {
    let directory = Directory::new();
    directory.configure("config.json", &[]);
    for (id, key, secret, reason) in [
        ("7", "chat", "", "PUSHER_APP_SECRET is not set"),
        ("a.b", "chat", "first-secret", "PUSHER_APP_ID is not"),
    ] {
        let outcome = run(name_app(&mut directory.gusher(&["start"]), id, key, secret));
        assert_eq!((outcome.code, outcome.stderr.lines().count()), (EX_CONFIG, 1), "{outcome:?}");
        assert!(outcome.stderr.contains(reason), "{outcome:?}");
    }
}

#[test]
fn a_trial_run_has_the_named_app_in_place_of_the_demo() {
    let directory = Directory::new();
    let mut command = directory.gusher(&[&["start", "--dev"], &FREE_PORTS[..]].concat());
    let mut server = Process::start(name_app(&mut command, "7", "my chat", "first-secret"));
    let listen = server.prints(" listen ");
    let publish = server.prints("curl ");
    for line in ["PUSHER_APP_ID=7", "PUSHER_APP_KEY='my chat'", "PUSHER_APP_SECRET=first-secret"] {
        server.prints(line);
    }
    let mut listener = Process::start(&mut directory.shell(&listen));
    listener.logs("listening");
    let published = run(&mut directory.shell(&publish));
    assert!(published.stdout.contains("\"sockets\":1"), "{published:?}");
    let demo = run(&mut directory.shell(&publish.replace("my%20chat", "demo")));
    assert!(demo.stdout.contains("app_key does not exist"), "{demo:?}");
}

#[test]
fn a_trial_run_with_a_password_of_its_own_lets_curl_ask_for_it() {
    let directory = Directory::new();
    let mut command = directory.gusher(&[&["start", "--dev"], &FREE_PORTS[..]].concat());
    command.env("GUSHER_AUTH_PASSWORD", hash("account", "swordfish"));
    let mut server = Process::start(&mut command);
    let publish = server.prints("curl ");
    assert!(publish.contains("curl -u account -d "), "{publish}");
    let given = publish.replace("-u account ", "-u account:swordfish ");
    let published = run(&mut directory.shell(&given));
    assert!(published.stdout.contains("\"sockets\":0"), "{published:?}");
}

#[test]
fn apps_are_added_listed_and_removed() {
    let directory = Directory::new();
    let server = serve(&directory);
    let listed = run(&mut server.ask(&directory, &["app", "list"]));
    assert!(listed.stdout.lines().any(|row| row.starts_with("x ") && row.contains("admin")), "{listed:?}");
    let twice = run(&mut server
        .ask(&directory, &["app", "add", "x", "--admin-account", "admin", "--admin-password", "secret"]));
    assert_eq!(twice.code, Some(1));
    assert!(twice.stderr.contains("409") && twice.stderr.contains("app_key repeat"), "{twice:?}");
    let removed = run(&mut server.ask(&directory, &["app", "remove", "x"]));
    assert_eq!((removed.code, removed.stdout.as_str()), (Some(0), "app x removed\n"));
    let again = run(&mut server.ask(&directory, &["app", "remove", "x"]));
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("app_key does not exist"), "{again:?}");
}

#[test]
fn settings_of_an_app_are_set_and_shown() {
    let directory = Directory::new();
    let server = serve(&directory);
    let ask = |words: &[&str]| run(&mut server.ask(&directory, &[&["app"], words].concat()));
    let set = ask(&["set", "x", "max_connections=7", "allowed_origins=[\"example.com\"]"]);
    let shown = "SETTING          VALUE\nallowed_origins  [\"example.com\"]\nmax_connections  7\n";
    assert_eq!((set.code, set.stdout.as_str()), (Some(0), shown), "{set:?}");
    let keys = r#"additional_keys=[{"key":"x2","secret":"hidden-secret"}]"#;
    let reset = ask(&["set", "x", "max_connections=", keys]);
    assert!(reset.stdout.contains("max_connections  null") && !reset.stdout.contains("hidden"), "{reset:?}");
    let table = ask(&["show", "x"]).stdout;
    assert!(table.lines().any(|row| row.split_whitespace().eq(["activity_timeout", "120"])), "{table}");
    assert!(table.contains("x2") && !table.contains("hidden"), "{table}");
    assert!(ask(&["show", "x", "--json"]).stdout.contains("hidden-secret"));
    for (words, code, text) in [
        (&["set", "x", "max_conections=7"][..], 1, "did you mean max_connections?"),
        (&["set", "x", "enabled=no"], 1, "enabled is not true or false"),
        (&["set", "x", "enabled"], 2, "NAME=VALUE"),
        (&["show", "y"], 1, "app_key does not exist"),
    ] {
        let outcome = ask(words);
        assert_eq!((outcome.code, outcome.stderr.lines().count()), (Some(code), 1), "{outcome:?}");
        assert!(outcome.stderr.contains(text), "{outcome:?}");
    }
}

#[test]
fn push_reaches_listeners_and_says_how_many() {
    let directory = Directory::new();
    let server = serve(&directory);
    let listener = listening(&directory, &server, &["--count", "3"]);
    let to_all = run(&mut server.ask(&directory, &["push", "x", "one"]));
    let to_her = run(&mut server.ask(&directory, &["push", "x", "two", "--to", "^alice$"]));
    let to_him = run(&mut server.ask(&directory, &["push", "x", "not for her", "--to", "^bob$"]));
    let piped = run_with(&mut server.ask(&directory, &["push", "x", "-"]), "three\nlines\n");
    assert_eq!([to_all, to_her, piped].map(|pushed| pushed.stdout), ["1 user, 1 socket\n"; 3]);
    assert_eq!(to_him.stdout, "0 users, 0 sockets\n");
    let heard = listener.ended();
    assert_eq!((heard.code, heard.stdout.as_str()), (Some(0), "one\ntwo\nthree\nlines\n\n"));
}

#[test]
fn a_wrong_password_is_told_and_not_repeated() {
    let directory = Directory::new();
    let server = serve(&directory);
    let words = ["push", "x", "hello", "--password", "xyzzy"];
    for words in [&words[..], &["app", "list", "--password", "xyzzy"]] {
        let outcome = run(&mut server.ask(&directory, words));
        assert_eq!(outcome.code, Some(1));
        assert!(outcome.stderr.contains("401") && outcome.stderr.contains("Not authorized"), "{outcome:?}");
        assert!(!outcome.stderr.contains("xyzzy"), "{outcome:?}");
    }
    let without = run(server.ask(&directory, &["app", "list"]).env_remove("GUSHER_PASSWORD"));
    assert_eq!(without.code, Some(2));
    assert!(without.stderr.contains("GUSHER_PASSWORD"), "{without:?}");
}

#[test]
fn the_admin_of_an_app_pushes_and_does_not_list() {
    let directory = Directory::new();
    let server = serve(&directory);
    let ask = |words: &[&str]| {
        run(server.ask(&directory, words).env("GUSHER_ACCOUNT", "admin").env("GUSHER_PASSWORD", "secret"))
    };
    assert_eq!(ask(&["push", "x", "hello"]).code, Some(0));
    assert_eq!(ask(&["app", "list"]).code, Some(1));
}

#[test]
fn client_commands_find_the_server_in_its_configuration() {
    let directory = Directory::new();
    let server = serve(&directory);
    let addresses =
        [("listen", json!(server.public.to_string())), ("api_listen", json!(server.private.to_string()))];
    directory.configure("config.json", &addresses);
    let mut listener = Process::start(&mut directory.gusher(&["listen", "x", "alice"]));
    listener.logs("listening as alice");
    let pushed = run(directory.gusher(&["push", "x", "hello"]).env("GUSHER_PASSWORD", SUPER.1));
    assert_eq!((pushed.code, pushed.stdout.as_str()), (Some(0), "1 user, 1 socket\n"), "{pushed:?}");
    assert_eq!(listener.prints(""), "hello");
}

#[test]
fn listen_ends_well_when_interrupted() {
    let directory = Directory::new();
    let server = serve(&directory);
    let listener = listening(&directory, &server, &[]);
    listener.signal(Signal::INT);
    assert_eq!(listener.ended().code, Some(0));
}

#[test]
fn listen_tells_why_it_ended_otherwise() {
    let directory = Directory::new();
    let server = serve(&directory);
    let unknown = run(&mut server.ask(&directory, &["listen", "y", "alice"]));
    assert_eq!(unknown.code, Some(1));
    assert!(
        unknown.stderr.contains("404") && unknown.stderr.contains("app_key does not exist"),
        "{unknown:?}"
    );
    let listener = listening(&directory, &server, &[]);
    run(&mut server.ask(&directory, &["app", "remove", "x"]));
    let closed = listener.ended();
    assert_eq!(closed.code, Some(1));
    assert!(closed.stderr.contains("4001 app unregistered"), "{closed:?}");
}

#[tokio::test]
async fn gu_073_a_signal_closes_sockets_and_ends_well() {
    for signal in [Signal::TERM, Signal::INT] {
        let directory = Directory::new();
        let server = serve(&directory);
        let mut client = server.connect("x", "alice").await;
        server.process.signal(signal);
        assert_eq!(client.closed().await.0, 1001);
        assert!(soon("the end", client.socket.next()).await.is_none());
        drop(client);
        assert_eq!(server.process.ended().code, Some(0), "{signal:?}");
    }
}

#[tokio::test]
async fn gu_073_what_was_pushed_before_a_signal_arrives_before_the_close() {
    let directory = Directory::new();
    let server = serve(&directory);
    let mut client = server.connect("x", "alice").await;
    run(&mut server.ask(&directory, &["push", "x", "last words"]));
    server.process.signal(Signal::TERM);
    assert_eq!(client.text().await, "last words");
    assert_eq!(client.closed().await.0, 1001);
}

/// A client that asks to be let in as alice and then neither reads nor answers.
async fn deaf(server: &Serving) -> TcpStream {
    let mut stream = TcpStream::connect(server.public).await.unwrap();
    let request = "GET /ws/x/alice HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    soon("the upgrade", stream.read_exact(&mut head)).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
    stream
}

#[tokio::test]
async fn gu_073_a_second_signal_ends_a_drain_at_once() {
    let directory = Directory::new();
    let mut server = serve(&directory);
    let _stream = deaf(&server).await;
    server.process.signal(Signal::TERM);
    server.process.logs("msg=\"stopping\"");
    server.process.signal(Signal::TERM);
    let outcome = server.process.ended();
    assert_eq!(outcome.code, Some(130), "{outcome:?}");
    assert!(!outcome.stderr.contains("msg=\"stopped\""), "{outcome:?}");
}

#[tokio::test]
async fn gu_073_who_never_answers_the_close_does_not_hold_up_the_end() {
    let directory = Directory::new();
    directory.configure("config.json", &[("drain", json!({ "seconds": 1 }))]);
    let server = directory.serve(&["start"]);
    add(&directory, &server, &[]);
    let _stream = deaf(&server).await;
    assert_eq!(server.stop().code, Some(0));
}
