//! What an operator does before and beside a running node: checks, looks at the machine, and asks for help.

mod support;

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use gusher::config::BusKind;
use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use support::certificates::Certificates;
use support::postgres::Postgres;
use support::process::{Directory, Outcome, run};
use support::servers::BusServer;

/// `gusher check` with these arguments, as a program reads it.
fn check(directory: &Directory, words: &[&str]) -> (Outcome, Value) {
    let outcome = run(&mut directory.gusher(&[&["check", "--json"], words].concat()));
    let told = serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"));
    (outcome, told)
}

/// The level and the text of what was found about a subject.
fn found<'a>(told: &'a Value, subject: &str) -> Vec<(&'a str, &'a str)> {
    let findings = told["findings"].as_array().expect("a list");
    let text = |finding: &'a Value, member: &str| finding[member].as_str().expect("a text");
    let of_it = findings.iter().filter(|finding| finding["subject"] == subject);
    of_it.map(|finding| (text(finding, "level"), text(finding, "text"))).collect()
}

#[test]
fn a_good_configuration_passes_and_nothing_is_left_behind() {
    let directory = Directory::new();
    directory.configure("config.json", &[("sqlfile", json!("apps.sqlite"))]);
    let outcome = run(&mut directory.gusher(&["check"]));
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{outcome:?}");
    for subject in ["configuration", "listen", "api_listen", "database", "logfile", "limits.sockets_max"] {
        let line = format!("ok    {subject}: ");
        assert!(outcome.stdout.lines().any(|told| told.starts_with(&line)), "{subject}: {outcome:?}");
    }
    assert!(!directory.path("apps.sqlite").exists());
}

#[test]
fn all_that_is_wrong_with_a_configuration_is_told_at_once() {
    let directory = Directory::new();
    let members = [("auth_password", json!("xyzzy")), ("listne", json!(":1")), ("max_wait_hook", json!("a"))];
    directory.configure("config.json", &members);
    let (outcome, told) = check(&directory, &[]);
    assert_eq!((outcome.code, &told["is_fine"]), (Some(78), &json!(false)));
    let findings = found(&told, "configuration");
    assert_eq!(findings.len(), 3, "{findings:?}");
    for part in ["must be a bcrypt hash", "did you mean `listen`?", "max_wait_hook must be a whole number"] {
        assert!(findings.iter().any(|(level, text)| *level == "fail" && text.contains(part)), "{findings:?}");
    }
    assert!(!outcome.stdout.contains("xyzzy") && !outcome.stderr.contains("xyzzy"));
}

#[test]
fn without_a_configuration_check_points_to_init() {
    let (outcome, told) = check(&Directory::new(), &[]);
    assert_eq!(outcome.code, Some(78));
    assert!(found(&told, "configuration")[0].1.contains("gusher init"), "{told}");
}

#[test]
fn everything_that_does_not_work_is_told_at_once() {
    let directory = Directory::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    directory.write(
        "apps.sqlite",
        "this is no database, and long enough to be seen to be none: ".repeat(20).as_str(),
    );
    directory.write("keys.pem", "no keys");
    directory.configure(
        "config.json",
        &[
            ("listen", json!(address)),
            ("sqlfile", json!("apps.sqlite")),
            ("cluster", json!({ "public_pem_file": "keys.pem" })),
            ("limits", json!({ "sockets_max": 1000 })),
            ("bus", json!({ "kind": "nats", "url": "nats://me:xyzzy@127.0.0.1:1", "join_seconds_max": 1 })),
            ("logfile", json!("./")),
        ],
    );
    let line = format!("ulimit -n 256; exec {} check --json", env!("CARGO_BIN_EXE_gusher"));
    let outcome = run(&mut directory.shell(&line));
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    let told: Value = serde_json::from_str(&outcome.stdout).unwrap();
    for (subject, level, part) in [
        ("listen", "fail", "the port is in use"),
        ("api_listen", "ok", "can be listened on"),
        ("database", "fail", "set sqlfile"),
        ("cluster.public_pem_file", "fail", "keys.pem"),
        ("limits.sockets_max", "fail", "1000 sockets are wanted"),
        ("bus", "fail", "nats cannot be reached within 1 s: 127.0.0.1:1: Connection refused"),
        ("logfile", "warn", "is a directory"),
    ] {
        let findings = found(&told, subject);
        assert!(findings.len() == 1 && findings[0].0 == level, "{subject}: {findings:?}");
        assert!(findings[0].1.contains(part), "{subject}: {findings:?}");
    }
    assert!(!outcome.stdout.contains("xyzzy") && !outcome.stderr.contains("xyzzy"));
}

#[test]
fn a_bus_that_answers_passes_and_one_that_does_not_know_us_fails() {
    for (kind, protected) in [
        (BusKind::Nats, &["--user", "me", "--pass", "right"][..]),
        (BusKind::Redis, &["--requirepass", "right"]),
    ] {
        let directory = Directory::new();
        let (open, closed) = (BusServer::start(kind), BusServer::with(kind, protected));
        for (server, expected, status) in [(&open, "ok", 0), (&closed, "fail", 1)] {
            let name = if kind == BusKind::Nats { "nats" } else { "redis" };
            let bus = json!({ "kind": name, "url": server.url(), "join_seconds_max": 5 });
            directory.configure("config.json", &[("bus", bus)]);
            let (outcome, told) = check(&directory, &[]);
            assert_eq!(outcome.code, Some(status), "{outcome:?}");
            assert_eq!(found(&told, "bus")[0].0, expected, "{told}");
        }
    }
}

#[test]
fn a_certificate_passes_with_its_own_key_alone() {
    let (mine, others) = (Certificates::new(), Certificates::new());
    for (key, level, status) in [(mine.key(), "ok", 0), (others.key(), "fail", 1)] {
        let directory = Directory::new();
        let tls = json!({ "cert_file": mine.server(), "key_file": key });
        directory.configure("config.json", &[("tls", tls)]);
        let (outcome, told) = check(&directory, &[]);
        assert_eq!((outcome.code, found(&told, "tls.cert_file")[0].0), (Some(status), level), "{told}");
    }
}

#[test]
fn a_certificate_that_has_expired_is_a_warning() {
    let directory = Directory::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["a.example.org".to_owned()]).unwrap();
    (params.not_before, params.not_after) =
        (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2021, 1, 1));
    directory.write("c.pem", &params.self_signed(&key).unwrap().pem());
    directory.write("k.pem", &key.serialize_pem());
    directory.configure("config.json", &[("tls", json!({ "cert_file": "c.pem", "key_file": "k.pem" }))]);
    let (outcome, told) = check(&directory, &[]);
    let (level, text) = found(&told, "tls.cert_file")[0];
    assert!(outcome.code == Some(0) && level == "warn" && text.contains("has expired"), "{told}");
}

#[test]
fn a_database_where_no_files_can_be_made_fails_even_for_root() {
    let directory = Directory::new();
    directory.configure("config.json", &[("sqlfile", json!("/proc/apps.sqlite"))]);
    let (outcome, told) = check(&directory, &[]);
    let (level, text) = found(&told, "database")[0];
    assert!(outcome.code == Some(1) && level == "fail" && text.contains("/proc"), "{told}");
}

#[test]
fn an_app_that_is_there_with_another_secret_fails_as_a_start_does() {
    let directory = Directory::new();
    directory.configure("config.json", &[("sqlfile", json!("apps.sqlite"))]);
    let server = directory.serve(&["start"]);
    let add = ["app", "add", "k", "--admin-account", "a", "--admin-password", "p", "--app-id", "5"];
    let added = run(&mut server.ask(&directory, &[&add[..], &["--app-secret", "long-enough"]].concat()));
    assert_eq!(added.code, Some(0), "{added:?}");
    assert_eq!(server.stop().code, Some(0));
    for (id, key, secret, status, part) in [
        ("5", "k", "long-enough", 0, "it is registered"),
        ("6", "other", "long-enough", 0, "a start registers it"),
        ("5", "k", "another-one", 1, "is there with another id or secret"),
        ("5", "other", "long-enough", 1, "another app has the id 5"),
    ] {
        let mut command = directory.gusher(&["check"]);
        command.env("PUSHER_APP_ID", id).env("PUSHER_APP_KEY", key).env("PUSHER_APP_SECRET", secret);
        let outcome = run(&mut command);
        assert!(outcome.code == Some(status) && outcome.stdout.contains(part), "{part}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_user_who_may_make_no_tables_in_an_empty_database_fails() {
    let url = Postgres::shared().database().await;
    let mut server = support::postgres::connect(&url).await;
    for line in ["REVOKE CREATE ON SCHEMA public FROM PUBLIC", "CREATE ROLE reader LOGIN PASSWORD 'Xreader'"]
    {
        sqlx::query(line).execute(&mut server).await.unwrap();
    }
    let (user, password) = Postgres::USER;
    let reader = url.replace(&format!("{user}:{password}@"), "reader:Xreader@");
    let directory = Directory::new();
    directory.configure("config.json", &[("store", json!({ "url": reader }))]);
    let (outcome, told) = check(&directory, &[]);
    let (level, text) = found(&told, "store.url")[0];
    assert!(outcome.code == Some(1) && level == "fail" && text.contains("grant it CREATE"), "{told}");
}

#[tokio::test]
async fn a_postgresql_server_is_tried_and_left_as_it_is() {
    let url = Postgres::shared().database().await;
    let wrong = url.replace(Postgres::USER.1, "Xwrong");
    for (url, level, status) in [(&url, "ok", 0), (&wrong, "fail", 1), (&url, "ok", 0)] {
        let directory = Directory::new();
        directory.configure("config.json", &[("store", json!({ "url": url }))]);
        let (outcome, told) = check(&directory, &[]);
        let findings = found(&told, "store.url");
        assert_eq!((outcome.code, findings[0].0), (Some(status), level), "{told}");
        assert!(level == "fail" || findings[0].1.contains("not there yet"), "{told}");
        assert_eq!(found(&told, "database")[0].0, "ok", "its file is for webhooks");
        assert!(!outcome.stdout.contains(Postgres::USER.1) && !outcome.stdout.contains("Xwrong"));
    }
}

#[tokio::test]
async fn two_nodes_on_one_database_without_a_bus_say_that_they_contradict_each_other() {
    let directory = Directory::new();
    directory.configure("config.json", &[("sqlfile", json!("apps.sqlite"))]);
    let (one, other) = (directory.serve(&["start"]), directory.serve(&["start"]));
    // They look every ten seconds. At the third time each has found the other alive at the second.
    let options = SqliteConnectOptions::new().filename(directory.path("apps.sqlite"));
    let mut database = options.connect().await.expect("it is there");
    let looks = "SELECT CASE COUNT(*) WHEN 2 THEN MIN(beat) ELSE 0 END FROM gusher_nodes";
    while sqlx::query_scalar::<_, i64>(looks).fetch_one(&mut database).await.unwrap_or(0) < 3 {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let (_, told) = check(&directory, &["--running"]);
    let (level, text) = found(&told, "other nodes")[0];
    assert_eq!(level, "warn", "{told}");
    for node in [one, other] {
        assert!(text.contains(&format!("process {} on ", node.process.id())), "{text}");
        let outcome = node.stop();
        let said = "another process uses this database, and there is no bus";
        assert!(outcome.code == Some(0) && outcome.stderr.contains(said), "{outcome:?}");
    }
    let (outcome, told) = check(&directory, &[]);
    assert_eq!(
        (outcome.code, found(&told, "other nodes")[0].0),
        (Some(0), "ok"),
        "who stops takes its leave"
    );
}

#[test]
fn a_node_that_runs_can_be_checked_too() {
    let directory = Directory::new();
    directory.configure("config.json", &[]);
    let server = directory.serve(&["start"]);
    let listen = ["--listen", &server.public.to_string(), "--api-listen", &server.private.to_string()];
    assert_eq!(check(&directory, &listen).0.code, Some(1), "its ports are taken");
    assert_eq!(check(&directory, &[&["--running"], &listen[..]].concat()).0.code, Some(0));
}

#[test]
fn a_node_is_asked_for_its_health_at_the_address_of_its_settings() {
    let (directory, keys) = (Directory::new(), Certificates::new());
    directory.configure("plain.json", &[]);
    let tls = json!({ "cert_file": keys.server(), "key_file": keys.key(), "private": true });
    directory.configure("tls.json", &[("tls", tls)]);
    for file in ["plain.json", "tls.json"] {
        let server = directory.serve(&["start", "--config", file]);
        for (flags, said) in [(&[][..], "ok\n"), (&["--ready"], "ready\n")] {
            let mut asked = directory.gusher(&[&["healthcheck", "--config", file], flags].concat());
            // The port is a free one, which the file does not tell.
            let outcome = run(asked.env("GUSHER_API_LISTEN", server.private.to_string()));
            assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), said), "{file}: {outcome:?}");
        }
    }
}

#[test]
fn a_node_that_is_not_well_is_told_from_one_that_is() {
    let directory = Directory::new();
    let bus = json!({ "kind": "nats", "url": "nats://127.0.0.1:1", "join_seconds_max": 1 });
    directory.configure("config.json", &[("bus", bus)]);
    let server = directory.serve(&["start"]);
    let health = |flags: &[&str]| {
        let outcome = run(&mut server.ask(&directory, &[&["healthcheck"], flags].concat()));
        (outcome.code, outcome.stdout + &outcome.stderr)
    };
    assert_eq!(health(&[]), (Some(0), "ok\n".to_owned()));
    let (code, said) = health(&["--ready"]);
    assert!(code == Some(1) && said.contains("503") && said.contains("nats not connected"), "{said}");
    // It hangs: who connects waits for an answer.
    server.process.signal(Signal::STOP);
    let (code, said) = health(&[]);
    assert!(code == Some(1) && said.contains("it took too long"), "{said}");
    server.process.signal(Signal::CONT);
    let address = server.private;
    assert_eq!(server.stop().code, Some(0));
    let outcome = run(&mut directory.gusher(&["healthcheck", "--api", &format!("http://{address}")]));
    assert!(outcome.code == Some(1) && outcome.stderr.contains("refused"), "{outcome:?}");
    directory.write("config.json", "{");
    assert_eq!(run(&mut directory.gusher(&["healthcheck"])).code, Some(78), "another node may be meant");
}

#[test]
fn half_a_first_app_is_an_unusable_configuration() {
    let directory = Directory::new();
    directory.configure("config.json", &[]);
    let outcome = run(directory.gusher(&["check"]).env("PUSHER_APP_ID", "1"));
    assert_eq!(outcome.code, Some(78), "{outcome:?}");
    assert!(outcome.stdout.contains("PUSHER_APP_KEY"), "{outcome:?}");
}

#[test]
fn doctor_says_why_and_what_mends_it() {
    let directory = Directory::new();
    fs::create_dir_all(directory.path("proc/sys/net/core")).unwrap();
    directory.write("proc/sys/net/core/somaxconn", "128\n");
    let outcome = run(&mut directory.gusher(&["doctor", "--root", "."]));
    assert_eq!(outcome.code, Some(0), "a warning is no failure: {outcome:?}");
    let line = outcome.stdout.lines().find(|line| line.contains("somaxconn")).expect("it is told");
    assert!(line.starts_with("warn  net.core.somaxconn: 128 connections"), "{line}");
    assert!(line.ends_with("mend it with: sysctl -w net.core.somaxconn=4096"), "{line}");

    fs::create_dir_all(directory.path("proc/self")).unwrap();
    directory.write(
        "proc/self/limits",
        "Max open files            64                   64                   files\n",
    );
    let outcome = run(&mut directory.gusher(&["doctor", "--root", ".", "--json"]));
    let told: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((outcome.code, &told["is_fine"]), (Some(1), &json!(false)));
    assert_eq!(found(&told, "descriptors")[0].0, "fail");
}

#[test]
fn doctor_looks_at_the_machine_it_runs_on() {
    let outcome = run(&mut Directory::new().gusher(&["doctor"]));
    for subject in ["descriptors", "memory", "clock", "io_uring"] {
        assert!(outcome.stdout.contains(&format!("  {subject}: ")), "{subject}: {outcome:?}");
    }
}

#[test]
fn config_show_tells_what_file_environment_and_flags_come_to() {
    let directory = Directory::new();
    let bus = json!({ "kind": "redis", "url": "redis://me:xyzzy@one:6379", "password": "xyzzy" });
    directory.configure("config.json", &[("bus", bus), ("max_wait_hook", json!(7))]);
    let mut command = directory.gusher(&["config", "show", "--listen", ":4321"]);
    let outcome = run(command.env("GUSHER_NODE_SHARDS", "3"));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let shown: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(
        (&shown["listen"], &shown["node"]["shards"], &shown["max_wait_hook"]),
        (&json!(":4321"), &json!(3), &json!(7))
    );
    assert_eq!(shown["auth_password"], "…");
    assert_eq!(
        (&shown["bus"]["url"], &shown["bus"]["password"]),
        (&json!("redis://…@one:6379"), &json!("…"))
    );
    assert!(!outcome.stdout.contains("$2b$") && !outcome.stdout.contains("xyzzy"), "{outcome:?}");
}

#[test]
fn config_show_of_an_unusable_configuration_says_what_is_wrong() {
    let directory = Directory::new();
    directory.configure("config.json", &[("max_wait_hook", json!("a"))]);
    let outcome = run(&mut directory.gusher(&["config", "show"]));
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(78), ""));
    assert!(outcome.stderr.contains("max_wait_hook"), "{outcome:?}");
}

#[test]
fn the_template_is_a_configuration_that_lacks_a_password_alone() {
    let directory = Directory::new();
    let outcome = run(&mut directory.gusher(&["config", "template"]));
    assert!(outcome.stdout.contains("// "), "it explains itself");
    directory.write("config.json", &outcome.stdout);
    let (_, told) = check(&directory, &[]);
    let findings = found(&told, "configuration");
    assert!(findings.len() == 1 && findings[0].1.contains("auth_password"), "{findings:?}");
}

#[test]
fn every_shell_can_complete_every_command() {
    let directory = Directory::new();
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let outcome = run(&mut directory.gusher(&["completions", shell]));
        assert_eq!(outcome.code, Some(0), "{shell}");
        for command in ["listen", "bench", "doctor", "api-listen"] {
            assert!(outcome.stdout.contains(command), "{shell} does not know {command}");
        }
    }
    assert_eq!(run(&mut directory.gusher(&["completions", "csh"])).code, Some(2));
}

#[test]
fn bash_understands_what_it_is_told() {
    let directory = Directory::new();
    directory.write("completions", &run(&mut directory.gusher(&["completions", "bash"])).stdout);
    let asked = "bash -c '. ./completions; COMP_WORDS=(gusher doc); COMP_CWORD=1; _gusher gusher doc gusher; \
                 echo ${COMPREPLY[*]}'";
    let outcome = run(&mut directory.shell(asked));
    assert_eq!(outcome.stdout, "doctor\n", "{outcome:?}");
}

#[test]
fn every_command_has_a_manual_page() {
    let directory = Directory::new();
    let page = run(&mut directory.gusher(&["man", "app", "add"]));
    assert!(page.stdout.contains(".TH") && page.stdout.contains("admin\\-account"), "{page:?}");
    let unknown = run(&mut directory.gusher(&["man", "fly"]));
    assert_eq!((unknown.code, unknown.stderr.lines().count()), (Some(2), 1));

    assert_eq!(run(&mut directory.gusher(&["man", "--dir", "pages"])).code, Some(0));
    for page in ["gusher.1", "gusher-start.1", "gusher-app-add.1", "gusher-doctor.1"] {
        assert!(directory.read(&format!("pages/{page}")).contains(".TH"), "{page}");
    }
}

#[test]
fn a_manual_page_shows_no_secret_of_the_environment() {
    let directory = Directory::new();
    let outcome = run(directory.gusher(&["man", "push"]).env("GUSHER_PASSWORD", "xyzzy"));
    assert!(outcome.stdout.contains("GUSHER_PASSWORD") && !outcome.stdout.contains("xyzzy"), "{outcome:?}");
}
