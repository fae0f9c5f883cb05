//! `gusher slave` and `gusher master`: the real programs, set up as the original is, over a real NATS server.

mod support;

use std::future::Future;
use std::time::Duration;

use gusher::config::BusKind;
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use support::cluster::{ClusterClient, PUBLIC_KEY_FILE, token, token_for};
use support::process::{Directory, Outcome, Process, hash, run};
use support::proxied::{BEHIND, Caller, version_1, version_2};
use support::roles::{MASTER_TOKEN, Role, master_variables, slave_variables};
use support::servers::BusServer;
use support::tls::Authority;
use support::{Client, SUPER, send, soon};

/// A role that must not start: one line says why, and its status is 1.
fn refused(directory: &Directory, words: &[&str], variables: &[(&str, &str)]) -> String {
    let Outcome { code, stdout, stderr } = run(directory.gusher(words).envs(variables.iter().copied()));
    assert_eq!(code, Some(1), "{stderr}");
    let complaint: Vec<&str> = stderr.lines().filter(|line| line.starts_with("gusher: ")).collect();
    assert_eq!((complaint.len(), stderr.lines().count()), (1, 1), "{stderr}");
    assert!(!stdout.contains("\"msg\":\"gusher\""), "{stdout}");
    stderr
}

fn without<'a>(variables: &[(&'static str, &'a str)], name: &str) -> Vec<(&'static str, &'a str)> {
    variables.iter().copied().filter(|(variable, _)| *variable != name).collect()
}

/// Asks until it is so.
async fn until<Asked: Future<Output = bool>>(what: &str, is_so: impl Fn() -> Asked) {
    soon(what, async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[test]
fn gc_001_what_a_role_needs_is_named_when_it_is_missing() {
    let directory = Directory::new();
    let (slave, master) = (slave_variables("nats://n"), master_variables("nats://n"));
    for (word, variables, missing) in [
        ("slave", &slave, "GUSHER_API_LISTEN"),
        ("slave", &slave, "GUSHER_NATS_ADDR"),
        ("master", &master, "GUSHER_MASTER_API_LISTEN"),
        ("master", &master, "GUSHER_NATS_ADDR"),
    ] {
        let told = refused(&directory, &[word], &without(variables, missing));
        assert!(told.contains(&format!("{missing} is not set")), "{told}");
        let told = refused(&directory, &[word], &[&variables[..], &[(missing, "")]].concat());
        assert!(told.contains(missing), "an empty one is not set: {told}");
    }
}

#[test]
fn a_port_that_is_in_use_is_told_by_the_variable_that_names_it() {
    let directory = Directory::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let alone = [("GUSHER_NATS_ADDR", "nats://127.0.0.1:1"), ("GUSHER_BUS_JOIN_SECONDS_MAX", "1")];
    for (word, variables, listen) in [
        ("slave", slave_variables(""), "GUSHER_API_LISTEN"),
        ("master", master_variables(""), "GUSHER_MASTER_API_LISTEN"),
    ] {
        let told = refused(&directory, &[word], &[&variables[..], &alone, &[(listen, &address)]].concat());
        assert!(told.contains("the port is in use") && told.contains(&format!("set {listen} to")), "{told}");
    }
}

#[test]
fn gc_002_a_slave_without_a_key_that_can_be_read_does_not_start() {
    let directory = Directory::new();
    let variables = slave_variables("nats://127.0.0.1:1");
    let told = refused(&directory, &["slave"], &without(&variables, "GUSHER_PUBLIC_PEM_FILE"));
    assert!(told.contains("GUSHER_PUBLIC_PEM_FILE is not set"), "{told}");
    directory.write("no.pem", "-----BEGIN PUBLIC KEY-----\nXnokey\n-----END PUBLIC KEY-----\n");
    for file in ["absent.pem", "no.pem", "."] {
        let variables = [&variables[..], &[("GUSHER_PUBLIC_PEM_FILE", file)]].concat();
        let told = refused(&directory, &["slave"], &variables);
        assert!(
            told.contains(&format!("key file {file}:")) && told.contains("set GUSHER_PUBLIC_PEM_FILE"),
            "{told}"
        );
        assert!(!told.contains("Xnokey"), "{told}");
    }
}

#[test]
fn what_nats_is_told_wrongly_is_called_by_its_variable() {
    let directory = Directory::new();
    let told = refused(&directory, &["slave"], &slave_variables("nats://u:Xsecret@ no host"));
    assert!(told.contains("GUSHER_NATS_ADDR must be URLs") && !told.contains("Xsecret"), "{told}");
    let creds =
        [&slave_variables("nats://127.0.0.1:1")[..], &[("GUSHER_NATS_CREDS", "absent.creds")]].concat();
    let told = refused(&directory, &["slave"], &creds);
    assert!(told.contains("absent.creds"), "{told}");
}

#[tokio::test]
async fn a_role_tells_how_it_fares_and_shows_its_figures_to_who_has_the_token() {
    let (directory, nats) = (Directory::new(), BusServer::start(BusKind::Nats));
    let more = [("GUSHER_METRICS_TOKEN", "Xtoken-for-figures")];
    for role in [Role::slave(&directory, &nats, &more), Role::master(&directory, &nats, &more)] {
        for path in ["/healthz", "/livez", "/readyz", "/up"] {
            assert_eq!(role.get(path).await.status, 200, "{path}");
        }
        let shown = async |token| send(role.call(Method::GET, "/metrics").bearer_auth(token)).await;
        assert_eq!(role.get("/metrics").await.status, 401);
        assert_eq!(shown("Xanother-for-figures").await.status, 401);
        let figures = shown("Xtoken-for-figures").await;
        assert_eq!(figures.status, 200);
        assert!(figures.text.contains("gusher_bus_up 1\n"), "{}", figures.text);
        assert!(figures.text.contains("gusher_apps_refused_total 0\n"), "{}", figures.text);
    }
}

#[tokio::test]
async fn a_master_without_a_key_serves_but_decodes_no_tokens() {
    let (directory, nats) = (Directory::new(), BusServer::start(BusKind::Nats));
    for (file, status) in [("", 404), ("absent.pem", 404), (PUBLIC_KEY_FILE, 200)] {
        let master = Role::master(&directory, &nats, &[("GUSHER_PUBLIC_PEM_FILE", file)]);
        let body = json!({ "jwt": token("u", &["*"]) });
        assert_eq!(master.post("/v1/auth/decode", body).await.status, status, "{file}");
        assert_eq!(master.ask("/v1/stats").await["apps"], 0);
    }
}

#[tokio::test]
async fn gc_003_a_file_of_variables_is_read_and_what_is_set_already_wins() {
    let (directory, nats) = (Directory::new(), BusServer::start(BusKind::Nats));
    let file = format!(
        "# as the original has it\nexport GUSHER_NATS_ADDR={}\nGUSHER_PUBLIC_PEM_FILE=\"{PUBLIC_KEY_FILE}\"\n\
         GUSHER_API_LISTEN=nowhere\n\nGUSHER_RECEIVE_MAX_MESSAGE_SIZE=many\n",
        nats.url()
    );
    directory.write("slave.env", &file);
    for words in [["slave", "-e", "slave.env"], ["sl", "--env-file", "slave.env"]] {
        let told = refused(&directory, &words, &[]);
        assert!(told.contains("GUSHER_API_LISTEN must be"), "{told}");
        let slave = Role::start(&directory, &words, &[("GUSHER_API_LISTEN", "127.0.0.1:0")]);
        assert_eq!(slave.get("/healthz").await.text, "ok");
        assert!(
            slave.banner.contains("\"message_bytes_max\":10240"),
            "no number is the default: {}",
            slave.banner
        );
    }
    directory.write("broken.env", "GUSHER_MASTER_TOKEN 'Xsecret\n");
    for file in ["absent.env", "broken.env"] {
        let told = refused(&directory, &["master", "-e", file], &[]);
        assert!(told.contains(file) && !told.contains("Xsecret"), "{told}");
    }
}

#[tokio::test]
async fn gc_004_every_name_of_a_role_starts_it() {
    let (directory, nats) = (Directory::new(), BusServer::start(BusKind::Nats));
    let url = nats.url();
    let (slave, master) = (slave_variables(&url), master_variables(&url));
    for (word, variables, role) in [
        ("slave", &slave, "slave"),
        ("sl", &slave, "slave"),
        ("master", &master, "master"),
        ("ma", &master, "master"),
    ] {
        let started = Role::start(&directory, &[word, "--debug"], variables);
        let banner: Value = serde_json::from_str(&started.banner).unwrap();
        assert_eq!((&banner["role"], &banner["version"]), (&json!(role), &json!(env!("CARGO_PKG_VERSION"))));
        let outcome = started.stop();
        assert_eq!((outcome.code, &*outcome.stderr), (Some(0), ""));
        assert!(outcome.stdout.contains("\"level\":\"debug\""), "{}", outcome.stdout);
    }
}

#[tokio::test]
async fn what_is_printed_at_the_start_holds_no_secret() {
    let (directory, nats) = (Directory::new(), BusServer::start(BusKind::Nats));
    let url = nats.url().replace("nats://", "nats://Xuser:Xpassword@");
    let hash = hash(SUPER.0, SUPER.1);
    let more = [("GUSHER_NATS_ADDR", url.as_str()), ("GUSHER_AUTH_PASSWORD", &hash)];
    let master = Role::master(&directory, &nats, &more);
    let banner: Value = serde_json::from_str(&master.banner).unwrap();
    assert_eq!(banner["nats"], nats.url());
    assert_eq!(banner["access"], "bearer token, super admin");
    let outcome = master.stop();
    for secret in ["Xuser", "Xpassword", MASTER_TOKEN, &hash] {
        assert!(!outcome.stdout.contains(secret) && !outcome.stderr.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn gc_005_both_roles_say_that_they_live_are_ready_and_which_version_they_are() {
    let (directory, nats) = (Directory::new(), BusServer::start(BusKind::Nats));
    for role in [Role::slave(&directory, &nats, &[]), Role::master(&directory, &nats, &[])] {
        for (path, text) in
            [("/healthz", "ok"), ("/readyz", "ready"), ("/version", env!("CARGO_PKG_VERSION"))]
        {
            let answer = role.get(path).await;
            assert_eq!((answer.status.as_u16(), &*answer.text), (200, text), "{path}");
            assert!(answer.header("content-type").starts_with("text/plain"));
            assert_eq!(send(role.call(Method::HEAD, path)).await.status, 200, "{path}");
        }
    }
}

#[tokio::test]
async fn gc_008_the_page_is_on_the_listener_of_backends_alone() {
    let (directory, nats) = (Directory::new(), BusServer::start(BusKind::Nats));
    let (slave, master) = (Role::slave(&directory, &nats, &[]), Role::master(&directory, &nats, &[]));
    assert_eq!(slave.get("/ui").await.status, 404);
    let page = master.get("/ui").await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"));
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    assert!(page.text.contains("/v1/stats") && !page.text.contains("http"), "{}", page.text);
    assert_eq!(send(master.call(Method::HEAD, "/ui")).await.status, 200);
}

#[tokio::test]
async fn gc_009_the_log_goes_where_it_is_sent_in_the_form_that_is_asked_for() {
    let (directory, nats) = (Directory::new(), BusServer::start(BusKind::Nats));
    let to_both = [("GUSHER_LOG_OUTPUT", "both"), ("GUSHER_LOG_FILE", "both.log")];
    let slave = Role::slave(&directory, &nats, &to_both);
    assert_eq!(slave.get("/healthz?token=Xtoken").await.status, 200);
    let outcome = slave.stop();
    let file = directory.read("both.log");
    for text in [&outcome.stdout, &file] {
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        assert!(lines.iter().all(|line| line["time"].is_string() && line["level"].is_string()));
        let request = lines.iter().find(|line| line["msg"] == "request").expect("the request");
        assert_eq!((&request["method"], &request["path"]), (&json!("GET"), &json!("/healthz")));
        assert_eq!(request["status"], 200);
        assert!(request["remote"].as_str().is_some_and(|remote| remote.contains(':')), "{request}");
        assert!(request["dur"].as_f64().is_some_and(|ms| (0.0..10_000.0).contains(&ms)), "{request}");
        assert!(lines.last().is_some_and(|line| line["msg"] == "stopped"), "{text}");
    }
    assert_eq!(outcome.stdout.lines().filter(|line| line.contains("\"msg\":\"gusher\"")).count(), 1);
    let to_file =
        [("GUSHER_LOG_OUTPUT", "file"), ("GUSHER_LOG_FILE", "text.log"), ("GUSHER_LOG_FORMAT", "text")];
    let master = Role::master(&directory, &nats, &to_file);
    assert_eq!(master.get("/v1/stats?a=b").await.status, 401);
    let outcome = master.stop();
    assert!(
        outcome.stdout.starts_with("time=\"") && outcome.stdout.lines().count() == 1,
        "{}",
        outcome.stdout
    );
    let text = directory.read("text.log");
    let request = text.lines().find(|line| line.contains("msg=\"request\"")).expect("the request");
    assert!(
        request.contains(" level=info ") && request.contains(" method=GET path=/v1/stats status=401 remote=")
    );
}

#[tokio::test]
async fn the_log_names_the_client_whom_a_trusted_proxy_names() {
    let (directory, nats) = (Directory::new(), BusServer::start(BusKind::Nats));
    let slave = Role::slave(&directory, &nats, &[("GUSHER_TRUSTED_PROXIES", "127.0.0.1")]);
    let call = slave.call(Method::GET, "/healthz").header("X-Forwarded-For", "1.1.1.1, 9.9.9.9");
    assert_eq!(send(call).await.status, 200);
    let stdout = slave.stop().stdout;
    let request = stdout.lines().find(|line| line.contains(r#""msg":"request""#)).expect("the request");
    assert!(request.contains(r#""remote":"9.9.9.9""#), "{request}");
}

#[tokio::test]
async fn the_log_names_the_client_whom_a_header_before_tls_names() {
    let (directory, nats, authority) = (Directory::new(), BusServer::start(BusKind::Nats), Authority::new());
    let [(_, certificate), (_, key)] = authority.settings();
    let slave = Role::slave(
        &directory,
        &nats,
        &[
            ("GUSHER_TRUSTED_PROXIES", BEHIND[0].1),
            ("GUSHER_PROXY_PROTOCOL", BEHIND[1].1),
            ("GUSHER_TLS_CERT_FILE", &certificate),
            ("GUSHER_TLS_KEY_FILE", &key),
        ],
    );
    for (protocol, header) in [
        ("h2", version_1([9, 9, 9, 1].into())),
        ("h2", version_2([9, 9, 9, 2].into())),
        ("http/1.1", version_1([9, 9, 9, 3].into())),
        ("http/1.1", version_2([9, 9, 9, 4].into())),
    ] {
        let mut caller = Caller::connect(&authority, slave.address, &header, protocol).await;
        assert_eq!(caller.call(Method::GET, "/healthz", ("", "")).await.0, 200);
    }
    let stdout = slave.stop().stdout;
    let lines = stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect(line));
    let remotes: Vec<_> =
        lines.filter(|line| line["msg"] == "request").map(|line| line["remote"].clone()).collect();
    assert_eq!(remotes, ["9.9.9.1:4711", "9.9.9.2:4711", "9.9.9.3:4711", "9.9.9.4:4711"]);
}

#[tokio::test]
async fn a_log_that_is_full_is_set_aside_under_gusher_start_too() {
    let directory = Directory::new();
    let log =
        json!({ "output": "file", "file": "g.log", "format": "json", "max_size_mb": 1, "compress": true });
    directory.configure("config.json", &[("log", log)]);
    std::fs::write(directory.path("g.log"), vec![b'\n'; 1 << 20]).unwrap();
    let process = Process::start(&mut directory.gusher(&["start"]));
    let is_aside = || {
        std::fs::read_dir(directory.path("")).unwrap().any(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.starts_with("g-") && name.ends_with(".log.gz")
        })
    };
    until("the full file is compressed", async || is_aside()).await;
    until("it listens", async || directory.read("g.log").contains("\"msg\":\"listening\"")).await;
    process.signal(Signal::TERM);
    let outcome = process.ended();
    assert_eq!((outcome.code, &*outcome.stderr, &*outcome.stdout), (Some(0), "", ""));
    assert!(directory.read("g.log").lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
}

#[tokio::test]
async fn gc_010_of_a_socket_the_log_tells_who_came_and_went_and_no_token() {
    let (directory, nats) = (Directory::new(), BusServer::start(BusKind::Nats));
    let (slave, master) = (Role::slave(&directory, &nats, &[]), Role::master(&directory, &nats, &[]));
    let shown = token("anna", &["*"]);
    let mut client = slave.connect("app", &shown).await.unwrap();
    let id = client.id().await;
    assert_eq!(slave.connect("app", &format!("{shown}x")).await.err().unwrap().0, 401);
    client.client.close().await;
    assert_eq!(master.post("/v1/auth/decode", json!({ "jwt": shown })).await.status, 200);
    let (one, other) = (slave.stop(), master.stop());
    for what in ["connect", "disconnect"] {
        let lines = one.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let told: Vec<Value> = lines.filter(|line| line["msg"] == what).collect();
        assert_eq!(told.len(), 1, "{}", one.stdout);
        assert_eq!((&told[0]["socket_id"], &told[0]["user_id"]), (&json!(id), &json!("anna")));
    }
    for text in [one.stdout, one.stderr, other.stdout, other.stderr] {
        for secret in shown.split('.').chain([MASTER_TOKEN]) {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
    }
}

#[tokio::test]
async fn a_master_reaches_the_clients_of_a_slave_in_apps_that_nobody_registered() {
    let (directory, nats) = (Directory::new(), BusServer::start(BusKind::Nats));
    let (slave, master) = (Role::slave(&directory, &nats, &[]), Role::master(&directory, &nats, &[]));
    let other_slave = Role::slave(&directory, &nats, &[]);
    let shown = token_for("chat", "anna", &["news", "room-*"]);
    let auth = send(slave.call(Method::POST, "/v1/auth").body(json!({ "jwt": shown }).to_string())).await;
    assert_eq!((auth.status.as_u16(), auth.json()), (200, json!({ "token": shown })));
    let mut client = slave.connect("chat", &shown).await.unwrap();
    client.subscribe("news").await;
    let mut stranger = other_slave.connect("else", &token_for("else", "anna", &["*"])).await.unwrap();
    stranger.subscribe("news").await;
    until("the master knows", async || master.ask("/v1/stats").await["connections"] == 2).await;
    let rows = json!([
        { "app": "chat", "connections": 1, "users": 1 },
        { "app": "else", "connections": 1, "users": 1 },
    ]);
    assert_eq!(master.ask("/v1/apps").await, rows);
    until("who is there is known", async || {
        master.ask("/v1/apps/chat/channels/news/users").await == json!(["anna"])
            && master.ask("/v1/apps/else/channels").await == json!(["news"])
    })
    .await;
    assert_eq!(master.ask("/v1/apps/nobody/users").await, json!([]));
    let event = json!({ "event": "e", "data": { "n": 1 } });
    let answer = master.post("/v1/apps/chat/channels/news/messages", event.clone()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(client.next().await, json!({ "channel": "news", "event": "e", "data": { "n": 1 } }));
    assert_eq!(master.post("/v1/apps/chat/users/anna/messages", json!({ "data": 2 })).await.status, 200);
    assert_eq!(client.next().await, json!(2));
    let matching = json!({ "channel_pattern": "^ne", "event": "e", "data": 3 });
    let answer = master.post("/v1/apps/chat/messages", matching).await;
    assert_eq!(answer.json()["total"], 1);
    assert_eq!(client.next().await["data"], 3);
    stranger.hears_nothing().await;
    let answer = master.post("/v1/apps/unheard-of/channels/news/messages", event).await;
    assert_eq!(answer.status, 200, "nobody is there, and that is no error");
    client.client.close().await;
    until("she is gone", async || master.ask("/v1/apps").await.as_array().unwrap().len() == 1).await;
}

#[tokio::test]
async fn a_master_also_reaches_the_apps_of_gusher_start() {
    let (directory, nats) = (Directory::new(), BusServer::start(BusKind::Nats));
    let bus = json!({ "kind": "nats", "url": nats.url() });
    let cluster = json!({ "public_pem_file": PUBLIC_KEY_FILE });
    directory.configure("config.json", &[("bus", bus), ("cluster", cluster)]);
    let node = directory.serve(&["start"]);
    let master = Role::master(&directory, &nats, &[]);
    let words = ["app", "add", "chat", "--admin-account", "a", "--admin-password", "b"];
    assert_eq!(run(&mut node.ask(&directory, &words)).code, Some(0));
    let url = format!("ws://{}/v1/apps/chat/ws?token={}", node.public, token_for("chat", "anna", &["*"]));
    let (socket, _) = soon("the upgrade", tokio_tungstenite::connect_async(url)).await.unwrap();
    let mut client = ClusterClient { client: Client { socket } };
    client.subscribe("c").await;
    until("the master knows", async || master.ask("/v1/apps/chat/channels/c/users").await == json!(["anna"]))
        .await;
    let event = json!({ "event": "e", "data": 1 });
    assert_eq!(master.post("/v1/apps/chat/channels/c/messages", event).await.status, 200);
    assert_eq!(client.next().await["data"], 1);
    assert_eq!(run(&mut node.ask(&directory, &["app", "remove", "chat"])).code, Some(0));
    assert_eq!(client.client.closed().await.0, 4001);
    until("she is gone", async || master.ask("/v1/stats").await["connections"] == 0).await;
}

#[tokio::test]
async fn gc_035_the_variable_of_the_original_bounds_what_a_client_sends() {
    let (directory, nats) = (Directory::new(), BusServer::start(BusKind::Nats));
    let slave = Role::slave(&directory, &nats, &[("GUSHER_RECEIVE_MAX_MESSAGE_SIZE", "512")]);
    let ping = |bytes: usize| {
        let empty = json!({ "event": "gusher.ping", "data": "" }).to_string().len();
        json!({ "event": "gusher.ping", "data": "x".repeat(bytes - empty) }).to_string()
    };
    let mut client = slave.connect("app", &token("u", &["*"])).await.unwrap();
    client.say(&ping(512)).await;
    assert_eq!(client.next().await["event"], "gusher.pong_succeeded");
    client.say(&ping(513)).await;
    assert_eq!(client.client.closed().await.0, 1009);
}

#[tokio::test]
async fn gc_077_a_slave_that_is_told_to_stop_closes_its_sockets_with_1001() {
    let (directory, nats) = (Directory::new(), BusServer::start(BusKind::Nats));
    let (slave, master) = (Role::slave(&directory, &nats, &[]), Role::master(&directory, &nats, &[]));
    let mut client: ClusterClient = slave.connect("app", &token("u", &["*"])).await.unwrap();
    client.subscribe("c").await;
    slave.process.signal(Signal::TERM);
    assert_eq!(client.client.closed().await.0, 1001);
    drop(client);
    assert_eq!(slave.process.ended().code, Some(0));
    until("the master knows", async || master.ask("/v1/stats").await["connections"] == 0).await;
    assert_eq!(master.stop().code, Some(0));
}

#[tokio::test]
async fn gc_079_a_master_is_closed_unless_it_is_open_on_purpose_and_says_so() {
    let (directory, nats) = (Directory::new(), BusServer::start(BusKind::Nats));
    let url = nats.url();
    let bare = without(&master_variables(&url), "GUSHER_MASTER_TOKEN");
    let told = refused(&directory, &["master"], &bare);
    assert!(told.contains("set GUSHER_MASTER_TOKEN"), "{told}");

    let publish = async |master: &Role, shown: Option<&str>| {
        let call = master.call(Method::POST, "/v1/apps/app/channels/c/messages");
        let call = call.body(r#"{"event":"e","data":1}"#);
        send(match shown {
            Some(authorization) => call.header("Authorization", authorization),
            None => call,
        })
        .await
    };
    for (listen, is_warned) in [(":0", true), ("127.0.0.1:0", false)] {
        let open = [("GUSHER_MASTER_API_LISTEN", listen), ("GUSHER_MASTER_OPEN", "true")];
        let master = Role::start(&directory, &["master"], &[&bare[..], &open].concat());
        assert_eq!(publish(&master, None).await.status, 200, "{listen}");
        let outcome = master.stop();
        assert_eq!(outcome.stderr.contains("WARNING"), is_warned, "{}", outcome.stderr);
        assert_eq!(outcome.stdout.contains("\"level\":\"warning\""), is_warned, "{}", outcome.stdout);
    }

    let master = Role::master(&directory, &nats, &[("GUSHER_MASTER_OPEN", "true")]);
    let bearer = format!("bEARER {MASTER_TOKEN}");
    assert_eq!(publish(&master, Some(&bearer)).await.status, 200);
    for wrong in [None, Some("Bearer "), Some("Bearer Xmaster-toke"), Some(MASTER_TOKEN), Some("Basic Og==")]
    {
        let answer = publish(&master, wrong).await;
        assert_eq!(answer.status, 401, "{wrong:?}");
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"Restricted\"");
    }
    for path in ["/v1/stats", "/v1/apps", "/v1/apps/app/users", "/v1/apps/app/channels/c/users/count"] {
        assert_eq!(master.get(path).await.status, 401, "{path}");
    }
    let hash = hash(SUPER.0, SUPER.1);
    let admin = [&bare[..], &[("GUSHER_AUTH_PASSWORD", &*hash)]].concat();
    let master = Role::start(&directory, &["master"], &admin);
    let stats = |password| send(master.call(Method::GET, "/v1/stats").basic_auth(SUPER.0, Some(password)));
    assert_eq!(stats(SUPER.1).await.status, 200);
    let answer = stats("wrong").await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("www-authenticate")),
        (401, "Basic realm=\"Restricted\"")
    );
}

#[tokio::test]
async fn a_role_serves_its_own_dialect_and_nothing_else() {
    let (directory, nats) = (Directory::new(), BusServer::start(BusKind::Nats));
    let (slave, master) = (Role::slave(&directory, &nats, &[]), Role::master(&directory, &nats, &[]));
    // Also in an app that is there.
    let _client = slave.connect("app", &token("u", &["*"])).await.unwrap();
    for path in
        ["/ws/app/u", "/app/app?protocol=7", "/apps/1/channels", "/channels", "/v1/stats", "/v1/apps", "/x"]
    {
        assert_eq!(slave.get(path).await.status, 404, "{path}");
        let upgrade = format!("ws://{}{path}", slave.address);
        let refused = tokio_tungstenite::connect_async(upgrade).await.expect_err("no upgrade");
        assert!(refused.to_string().contains("404"), "{path}: {refused}");
    }
    for path in ["/api/app-list", "/api/app/settings", "/apps/1/channels", "/v1/apps/app/ws", "/app/app"] {
        let answer = send(master.call(Method::GET, path).bearer_auth(MASTER_TOKEN)).await;
        assert_eq!((answer.status.as_u16(), &*answer.text), (404, "404 page not found\n"), "{path}");
    }
    assert_eq!(send(master.call(Method::POST, "/v1/auth").bearer_auth(MASTER_TOKEN)).await.status, 404);
    assert_eq!(send(slave.call(Method::DELETE, "/v1/auth")).await.status, 405);
}

#[tokio::test]
async fn one_app_more_than_there_may_be_is_refused_until_one_is_given_up() {
    let (directory, nats) = (Directory::new(), BusServer::start(BusKind::Nats));
    let few = [("GUSHER_CLUSTER_APPS_MAX", "1")];
    let (slave, master) = (Role::slave(&directory, &nats, &few), Role::master(&directory, &nats, &few));
    let _client = slave.connect("one", &token_for("one", "u", &["*"])).await.unwrap();
    assert!(slave.connect("one", &token_for("one", "v", &["*"])).await.is_ok());
    assert_eq!(slave.connect("two", &token_for("two", "u", &["*"])).await.err().unwrap().0, 503);
    until("the master knows", async || master.ask("/v1/stats").await["apps"] == 1).await;
    let event = json!({ "event": "e", "data": 1 });
    assert_eq!(master.post("/v1/apps/two/channels/c/messages", event.clone()).await.status, 503);
    assert_eq!(master.post("/v1/apps/one/channels/c/messages", event).await.status, 200);
    let stats = send(master.call(Method::GET, "/v1/stats").bearer_auth(MASTER_TOKEN)).await;
    assert_eq!(stats.header("x-gusher-partial"), "true", "there may be others");
    let outcome = slave.stop();
    assert!(outcome.stdout.contains("cluster.apps_max"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("\"apps_refused\":1"), "{}", outcome.stdout);
}

#[tokio::test]
async fn e22_while_the_bus_is_down_answers_about_who_is_there_say_that_they_may_be_a_part() {
    let (directory, mut nats) = (Directory::new(), BusServer::start(BusKind::Nats));
    let master = Role::master(&directory, &nats, &[]);
    let paths = [
        "/v1/stats",
        "/v1/apps",
        "/v1/apps/app/users",
        "/v1/apps/app/users/count",
        "/v1/apps/app/channels",
        "/v1/apps/app/channels/count",
        "/v1/apps/app/channels/c/users",
        "/v1/apps/app/channels/c/users/count",
    ];
    let marks = async || {
        let mut marks = Vec::new();
        for path in paths {
            let answer = send(master.call(Method::GET, path).bearer_auth(MASTER_TOKEN)).await;
            assert_eq!(answer.status, 200, "{path}");
            marks.push(answer.header("x-gusher-partial").to_owned());
        }
        marks
    };
    assert_eq!(marks().await, [""; 8]);
    nats.kill();
    until("it is not ready", async || master.get("/readyz").await.status == 503).await;
    assert_eq!(marks().await, ["true"; 8]);
    assert_eq!(master.get("/v1/stats").await.header("x-gusher-partial"), "");
    nats.restart();
    until("it is ready", async || master.get("/readyz").await.status == 200).await;
    assert_eq!(marks().await, [""; 8]);
}
