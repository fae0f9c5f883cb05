//! What every kind of store promises (`src/store/mod.rs`), on each of them: an SQLite file, SQLite in memory, and a real
//! PostgreSQL server.

// Long because each promise is a short case of its own, and all kinds of store share what makes and breaks them.

mod support;

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use gusher::config::read::{self, Overlay};
use gusher::model::{Admin, App, AppKey, AppSecret, AppSettings, ChannelName, Hash, Registered};
use gusher::store::{Entry, Lane, Outbox, Store, StoreError};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, SqliteConnection};
use support::postgres::{self, Postgres};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// A database that stores can be opened on.
enum Database {
    File(TempDir),
    Memory,
    Postgres(String),
}

impl Database {
    async fn of_each_kind() -> [Self; 3] {
        let [file, postgres] = Self::that_stay().await;
        [file, Self::Memory, postgres]
    }

    /// Those that outlive a store.
    async fn that_stay() -> [Self; 2] {
        let folder = tempfile::tempdir().expect("a folder");
        [Self::File(folder), Self::Postgres(Postgres::shared().database().await)]
    }

    async fn open(&self) -> Store {
        match self {
            Self::File(folder) => Store::open(&folder.path().join("apps.sqlite")).await.expect("it opens"),
            Self::Memory => Store::in_memory().await.expect("it opens"),
            Self::Postgres(url) => connect(url).await.expect("it connects"),
        }
    }

    /// Writes the object of the settings of an app, as somebody else may.
    async fn write_settings(&self, app: &str, object: &str) {
        match self {
            Self::File(folder) => {
                let insert = "INSERT OR REPLACE INTO gusher_settings VALUES (?, ?)";
                let query = sqlx::query(insert).bind(app).bind(object);
                query.execute(&mut open_file(folder).await).await.unwrap();
            }
            Self::Memory => unreachable!("nobody else gets at it"),
            Self::Postgres(url) => {
                let update = "UPDATE gusher_apps SET settings = $2 WHERE app_key = $1";
                let query = sqlx::query(update).bind(app).bind(object);
                query.execute(&mut postgres::connect(url).await).await.unwrap();
            }
        }
    }

    /// That object as it is.
    async fn read_settings(&self, app: &str) -> String {
        match self {
            Self::File(folder) => {
                let select = "SELECT CAST(settings AS TEXT) FROM gusher_settings WHERE app_key = ?";
                let query = sqlx::query_scalar(select).bind(app);
                query.fetch_one(&mut open_file(folder).await).await.unwrap()
            }
            Self::Memory => unreachable!("nobody else gets at it"),
            Self::Postgres(url) => {
                let query = sqlx::query_scalar("SELECT settings FROM gusher_apps WHERE app_key = $1");
                query.bind(app).fetch_one(&mut postgres::connect(url).await).await.unwrap()
            }
        }
    }
}

/// A file system of its own, of 256 KiB.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// Mounts it. Where that is not permitted the test is skipped, aloud.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=256k", "gusher-test"]).arg(folder.path());
        if mount.output().is_ok_and(|done| done.status.success()) {
            return Some(Self(folder));
        }
        // Past the harness, which keeps to itself what a test prints that passes.
        std::io::stderr().write_all(b"skipped: a full disk: this user may mount nothing\n").expect("stderr");
        None
    }

    fn fill(&self) {
        let mut filler = File::create(self.0.path().join("filler")).expect("a file");
        while filler.write(&[1; 512]).is_ok() {}
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.path().join("filler")).expect("it is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: connections may end a moment later.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// An event of an app with so much in it.
fn event(app: &str, bytes: usize) -> Entry {
    let channel = ChannelName::parse("c").expect("a channel");
    let lane = Lane::of(&AppKey::stored(app), &"http://named.example".into(), &channel);
    Entry { lane, time_ms: 1, event: "x".repeat(bytes).into() }
}

/// Something on the way to a server that may forget connections: they stay open, and nothing passes any more.
struct Way {
    url: String,
    forgotten: Arc<Semaphore>,
}

impl Way {
    async fn to(url: &str) -> Self {
        let server =
            url.split('@').nth(1).and_then(|rest| rest.split('/').next()).expect("a host").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let here = listener.local_addr().expect("an address").to_string();
        let forgotten = Arc::new(Semaphore::new(0));
        let forgets = Arc::clone(&forgotten);
        let url = url.replace(&server, &here);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (forgets, server) = (Arc::clone(&forgets), server.clone());
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(server).await.expect("the server accepts");
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        permit = forgets.acquire() => {
                            permit.expect("it stays open").forget();
                            std::future::pending::<()>().await;
                        }
                    }
                });
            }
        });
        Self { url, forgotten }
    }

    /// Forgets the one connection that there is.
    fn forget(&self) {
        self.forgotten.add_permits(1);
    }
}

async fn open_file(folder: &TempDir) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(folder.path().join("apps.sqlite"));
    options.connect().await.expect("a database")
}

async fn connect(url: &str) -> Result<Store, StoreError> {
    connect_trusting(url, "").await
}

async fn connect_trusting(url: &str, ca_file: &str) -> Result<Store, StoreError> {
    let mut flags = Overlay::default();
    flags.set("store.url", url);
    flags.set("store.ca_file", ca_file);
    let config = read::dev([], &flags).expect("the settings are valid").store;
    Store::connect(&config.expect("there is a server")).await
}

fn key(app: &str) -> AppKey {
    AppKey::parse(app).expect("a key")
}

fn app(name: &str, id: &str) -> App {
    App {
        key: key(name),
        id: id.into(),
        secret: AppSecret(format!("secret of {name}")),
        admin: Admin { account: "admin é".into(), hash: Hash("$2a$05$x".into()) },
        connect_hook: "http://localhost/hook?'".into(),
        request_ip: "127.0.0.1:7".into(),
        registered: Registered { timestamp_ms: 1_440_473_952_104, date: "2015/08/25 11:39:12".into() },
    }
}

/// The keys of all apps, in order, and their ids.
async fn apps(store: &Store) -> Vec<(String, String)> {
    let apps = store.apps(None).await.expect("the apps");
    apps.into_iter().map(|app| (app.key.to_string(), app.id)).collect()
}

fn told(apps: &[(&str, &str)]) -> Vec<(String, String)> {
    apps.iter().map(|(key, id)| (key.to_string(), id.to_string())).collect()
}

async fn settings(store: &Store, app: &str) -> Option<AppSettings> {
    store.settings(Some(&key(app))).await.expect("the settings").remove(app)
}

/// Changes the settings of an app, as one does who knows them.
async fn configure(store: &Store, app: &str, after: &AppSettings) -> Result<(), StoreError> {
    let before = settings(store, app).await.unwrap_or_default();
    store.save_settings(&key(app), &before, after).await
}

#[tokio::test]
async fn an_app_comes_back_as_it_was_added() {
    for database in Database::of_each_kind().await {
        let store = database.open().await;
        store.insert(&app("a", "1")).await.unwrap();
        let [back] = &store.apps(None).await.unwrap()[..] else { panic!("one app") };
        assert_eq!(format!("{back:?}"), format!("{:?}", app("a", "1")));
        // What does not print.
        assert_eq!((&*back.secret.0, &*back.admin.hash.0), ("secret of a", "$2a$05$x"));
    }
}

#[tokio::test]
async fn apps_come_back_in_the_order_they_were_added_or_one_alone() {
    for database in Database::of_each_kind().await {
        let store = database.open().await;
        for (name, id) in [("b", "1"), ("a", "2"), ("c", "3")] {
            store.insert(&app(name, id)).await.unwrap();
        }
        store.remove(&key("b")).await.unwrap();
        store.insert(&app("b", "4")).await.unwrap();
        assert_eq!(apps(&store).await, told(&[("a", "2"), ("c", "3"), ("b", "4")]));
        let one = store.apps(Some(&key("c"))).await.unwrap();
        assert_eq!(one.iter().map(|app| &*app.id).collect::<Vec<_>>(), ["3"]);
        assert!(store.apps(Some(&key("d"))).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_taken_key_or_id_is_told_apart_and_leaves_nothing_behind() {
    for database in Database::of_each_kind().await {
        let store = database.open().await;
        store.insert(&app("a", "1")).await.unwrap();
        assert!(matches!(store.insert(&app("a", "2")).await, Err(StoreError::Exists)));
        assert!(matches!(store.insert(&app("a", "1")).await, Err(StoreError::Exists)));
        assert!(matches!(store.insert(&app("app_id", "1")).await, Err(StoreError::IdTaken)));
        assert_eq!(apps(&store).await, told(&[("a", "1")]));
        store.insert(&app("b", "2")).await.unwrap();
    }
}

#[tokio::test]
async fn a_removed_app_leaves_its_key_and_its_id_to_others_and_its_settings_to_nobody() {
    for database in Database::of_each_kind().await {
        let store = database.open().await;
        store.insert(&app("a", "1")).await.unwrap();
        configure(&store, "a", &AppSettings { enabled: false, ..AppSettings::default() }).await.unwrap();
        store.remove(&key("a")).await.unwrap();
        store.remove(&key("a")).await.unwrap();
        assert!(store.settings(None).await.unwrap().is_empty());
        store.insert(&app("b", "1")).await.unwrap();
        store.insert(&app("a", "2")).await.unwrap();
        assert_eq!(settings(&store, "a").await.unwrap_or_default(), AppSettings::default());
    }
}

#[tokio::test]
async fn settings_come_back_and_a_default_is_as_if_never_set() {
    for database in Database::of_each_kind().await {
        let store = database.open().await;
        for (name, id) in [("a", "1"), ("b", "2")] {
            store.insert(&app(name, id)).await.unwrap();
        }
        let origins = vec!["é".to_owned(), "a\0b'\\u0000".to_owned()];
        let mut set = AppSettings {
            cache_ttl: 60,
            max_connections: Some(3),
            allowed_origins: origins,
            ..AppSettings::default()
        };
        configure(&store, "a", &set).await.unwrap();
        assert_eq!(settings(&store, "a").await, Some(set.clone()));
        assert_eq!(settings(&store, "b").await.unwrap_or_default(), AppSettings::default());
        set.max_connections = None;
        configure(&store, "a", &set).await.unwrap();
        assert_eq!(store.settings(None).await.unwrap()["a"], set);
        configure(&store, "a", &AppSettings::default()).await.unwrap();
        assert_eq!(settings(&store, "a").await.unwrap_or_default(), AppSettings::default());
    }
}

#[tokio::test]
async fn settings_of_an_app_that_is_gone_are_not_kept() {
    for database in Database::of_each_kind().await {
        let store = database.open().await;
        let set = AppSettings { cache_ttl: 60, ..AppSettings::default() };
        assert!(matches!(configure(&store, "a", &set).await, Err(StoreError::Unknown)));
        store.insert(&app("a", "1")).await.unwrap();
        assert_eq!(settings(&store, "a").await.unwrap_or_default(), AppSettings::default());
    }
}

#[tokio::test]
async fn two_who_change_different_settings_lose_nothing() {
    for database in Database::that_stay().await {
        let (one, other) = (database.open().await, database.open().await);
        one.insert(&app("a", "1")).await.unwrap();
        let before = AppSettings::default();
        let first = AppSettings { cache_ttl: 60, ..AppSettings::default() };
        let second = AppSettings { enabled: false, ..AppSettings::default() };
        let name = key("a");
        let (first, second) = tokio::join!(
            one.save_settings(&name, &before, &first),
            other.save_settings(&name, &before, &second)
        );
        first.and(second).unwrap();
        let both = AppSettings { cache_ttl: 60, enabled: false, ..AppSettings::default() };
        assert_eq!(settings(&one, "a").await, Some(both.clone()));
        assert_eq!(settings(&other, "a").await, Some(both));
    }
}

#[tokio::test]
async fn a_setting_of_a_newer_version_stays_where_it_is() {
    for database in Database::that_stay().await {
        let store = database.open().await;
        store.insert(&app("a", "1")).await.unwrap();
        database.write_settings("a", r#"{"colour":"red","cache_ttl":60}"#).await;
        let read = settings(&store, "a").await.unwrap();
        assert_eq!(read, AppSettings { cache_ttl: 60, ..AppSettings::default() });
        configure(&store, "a", &AppSettings::default()).await.unwrap();
        assert_eq!(database.read_settings("a").await, r#"{"colour":"red"}"#);
    }
}

#[tokio::test]
async fn broken_settings_are_an_error_that_names_the_app_and_no_value() {
    for database in Database::that_stay().await {
        let store = database.open().await;
        store.insert(&app("a", "1")).await.unwrap();
        database.write_settings("a", r#"{"cache_ttl":"hidden"}"#).await;
        let error = store.settings(None).await.unwrap_err().to_string();
        assert_eq!(error, r#"the settings of the app "a" have a broken cache_ttl"#);
        database.write_settings("a", "hidden").await;
        let plain = AppSettings::default();
        let set = AppSettings { cache_ttl: 60, ..AppSettings::default() };
        let error = store.save_settings(&key("a"), &plain, &set).await.unwrap_err().to_string();
        assert_eq!(error, r#"the settings of the app "a" are no JSON object"#);
    }
}

#[tokio::test]
async fn everything_is_there_for_whoever_opens_it_next() {
    for database in Database::that_stay().await {
        let store = database.open().await;
        let set = AppSettings { cache_ttl: 60, ..AppSettings::default() };
        store.insert(&app("a", "1")).await.unwrap();
        configure(&store, "a", &set).await.unwrap();
        let second = database.open().await;
        store.insert(&app("b", "2")).await.unwrap();
        store.remove(&key("a")).await.unwrap();
        store.insert(&app("a", "3")).await.unwrap();
        configure(&store, "b", &set).await.unwrap();
        drop(store);
        for store in [second, database.open().await] {
            assert_eq!(apps(&store).await, told(&[("b", "2"), ("a", "3")]));
            assert_eq!(settings(&store, "b").await.unwrap(), set);
            assert_eq!(settings(&store, "a").await.unwrap_or_default(), AppSettings::default());
        }
    }
}

#[tokio::test]
async fn of_many_who_add_one_app_at_once_one_succeeds() {
    for database in Database::that_stay().await {
        let opened: Vec<Store> = {
            let first = database.open().await;
            let mut opened = vec![first];
            for _ in 0..7 {
                opened.push(database.open().await);
            }
            opened
        };
        let adding = opened.into_iter().map(|store| {
            tokio::spawn(async move {
                match store.insert(&app("a", "1")).await {
                    Ok(()) => 1,
                    Err(StoreError::Exists) => 0,
                    Err(error) => panic!("{error}"),
                }
            })
        });
        let mut added = 0;
        for adding in adding.collect::<Vec<_>>() {
            added += adding.await.unwrap();
        }
        assert_eq!(added, 1);
    }
}

#[tokio::test]
async fn processes_on_one_database_see_each_other_until_they_leave() {
    for database in Database::of_each_kind().await {
        let store = database.open().await;
        assert_eq!(store.nodes().await.unwrap(), []);
        for id in ["a", "b", "a"] {
            store.beat(id, &format!("name of {id}")).await.unwrap();
        }
        let nodes = store.nodes().await.unwrap();
        let seen: Vec<_> = nodes.iter().map(|node| (&*node.id, &*node.name, node.beat)).collect();
        assert_eq!(seen, [("a", "name of a", 2), ("b", "name of b", 1)]);
        assert!(nodes.iter().all(|node| (0..60).contains(&node.age_seconds)), "{nodes:?}");
        store.leave("a").await.unwrap();
        assert_eq!(store.nodes().await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn many_nodes_make_the_tables_of_a_new_file_at_once() {
    for _ in 0..10 {
        let folder = tempfile::tempdir().expect("a folder");
        // As the Go version leaves it: its app needs an identity, so everybody reads and then writes.
        let old = "CREATE TABLE appdata (app_key PRIMARY KEY, auth_account, auth_password, connect_hook, \
            request_ip, timestamp, date); INSERT INTO appdata VALUES ('old', 'a', 'h', '', '', 1, '')";
        let options = SqliteConnectOptions::new().filename(folder.path().join("apps.sqlite"));
        let mut made = options.create_if_missing(true).connect().await.unwrap();
        sqlx::raw_sql(old).execute(&mut made).await.unwrap();
        let opening = (0..8).map(|_| {
            let file = folder.path().join("apps.sqlite");
            tokio::spawn(async move {
                let store = Store::open(&file).await?;
                let outbox = Outbox::open(&file, 100).await?;
                outbox.add(&[event("x", 0)]).await?;
                store.apps(None).await
            })
        });
        let mut ids = HashSet::new();
        for opening in opening.collect::<Vec<_>>() {
            ids.extend(opening.await.unwrap().unwrap().into_iter().map(|app| app.id));
        }
        assert_eq!(ids.len(), 1, "one identity, and the same for all");
    }
}

#[tokio::test]
async fn a_file_whose_disk_was_full_is_used_again() {
    let Some(disk) = SmallDisk::mount() else { return };
    let file = disk.0.path().join("apps.sqlite");
    let store = Store::open(&file).await.unwrap();
    let outbox = Outbox::open(&file, 1_000).await.unwrap();
    store.insert(&app("a", "1")).await.unwrap();
    assert_eq!(outbox.add(&[event("a", 1)]).await.unwrap(), [true]);
    let set = AppSettings { cache_ttl: 60, ..AppSettings::default() };
    let many: Vec<Entry> = (0..100).map(|_| event("a", 2_000)).collect();

    disk.fill();
    for _ in 0..2 {
        outbox.add(&many).await.expect_err("there is no room");
        let origins =
            (0..100).map(|number| format!("https://{number}.{}.example", "x".repeat(200))).collect();
        let long = AppSettings { allowed_origins: origins, ..AppSettings::default() };
        configure(&store, "a", &long).await.expect_err("there is no room");
    }
    // Who reads goes on, as far as the disk lets it.
    disk.empty();
    configure(&store, "a", &set).await.unwrap();
    assert_eq!(settings(&store, "a").await, Some(set));
    assert_eq!(outbox.add(&many[..10]).await.unwrap(), [true; 10]);
    let lane = event("a", 0).lane;
    let waiting = outbox.page(&lane, 1_000, 1 << 20).await.unwrap();
    assert_eq!(waiting.len(), 11, "what failed left nothing behind");
}

#[tokio::test]
async fn a_file_that_another_process_held_too_long_is_used_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("apps.sqlite");
    let store = Store::open(&file).await.unwrap();
    let outbox = Outbox::open(&file, 1_000).await.unwrap();
    outbox.add(&[event("a", 1)]).await.unwrap();
    let mut other = open_file(&folder).await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let first = app("a", "1");
    let entries = [event("a", 1)];
    let (inserted, added) = tokio::join!(store.insert(&first), outbox.add(&entries));
    for error in [inserted.unwrap_err(), added.unwrap_err()] {
        assert_eq!(error.to_string(), "database is locked");
    }
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    store.insert(&app("a", "1")).await.unwrap();
    outbox.add(&[event("a", 1)]).await.unwrap();
    assert_eq!(outbox.waiting(&key("a")).await.unwrap()[0].1, 2);
}

#[tokio::test]
async fn a_connection_that_breaks_within_a_change_leaves_nothing_behind() {
    let url = Postgres::shared().database().await;
    let store = Arc::new(connect(&url).await.unwrap());
    store.insert(&app("a", "1")).await.unwrap();
    let mut other = postgres::connect(&url).await;
    sqlx::raw_sql("BEGIN; UPDATE gusher_apps SET settings = settings").execute(&mut other).await.unwrap();
    let set = AppSettings { cache_ttl: 60, ..AppSettings::default() };
    let (changing, after) = (Arc::clone(&store), set.clone());
    let change =
        tokio::spawn(async move { changing.save_settings(&key("a"), &AppSettings::default(), &after).await });
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
        WHERE datname = current_database() AND application_name = 'gusher' AND wait_event_type = 'Lock'";
    let mut server = postgres::connect(&url).await;
    support::soon("the change waits", async {
        while sqlx::query_scalar::<_, i64>(end).fetch_one(&mut server).await.unwrap() == 0 {}
    })
    .await;
    assert!(matches!(change.await.unwrap(), Err(StoreError::Failed(_))));
    drop(other);
    assert_eq!(settings(&store, "a").await.unwrap_or_default(), AppSettings::default());
    configure(&store, "a", &set).await.unwrap();
    assert_eq!(settings(&store, "a").await, Some(set));
}

#[tokio::test]
async fn many_nodes_make_the_tables_of_a_new_server_at_once() {
    let url = Postgres::shared().database().await;
    let connecting = (0..12).map(|_| {
        let url = url.clone();
        tokio::spawn(async move { connect(&url).await.map(drop) })
    });
    for connecting in connecting.collect::<Vec<_>>() {
        connecting.await.unwrap().unwrap();
    }
    connect(&url).await.unwrap().insert(&app("a", "1")).await.unwrap();
}

#[tokio::test]
async fn tables_of_a_newer_version_are_left_alone() {
    let url = Postgres::shared().database().await;
    connect(&url).await.unwrap();
    let mut server = postgres::connect(&url).await;
    sqlx::query("UPDATE gusher_schema SET version = 1000").execute(&mut server).await.unwrap();
    let error = connect(&url).await.expect_err("it knows better").to_string();
    assert_eq!(error, "its tables are of version 1000, and this Gusher knows 1");
}

#[tokio::test]
async fn whoever_may_not_make_tables_may_use_them() {
    let url = Postgres::shared().database().await;
    connect(&url).await.unwrap();
    let mut server = postgres::connect(&url).await;
    let user = format!("user_of_{}", url.rsplit('/').next().unwrap());
    for statement in [
        format!("CREATE USER {user} PASSWORD 'plain'"),
        format!("GRANT SELECT, INSERT, UPDATE, DELETE ON gusher_apps TO {user}"),
        format!("GRANT SELECT ON gusher_schema TO {user}"),
    ] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut server).await.unwrap();
    }
    let (name, password) = Postgres::USER;
    let store = connect(&url.replace(&format!("{name}:{password}"), &format!("{user}:plain"))).await.unwrap();
    store.insert(&app("a", "1")).await.unwrap();
    assert_eq!(apps(&store).await, told(&[("a", "1")]));
}

#[tokio::test]
async fn a_server_that_was_away_is_used_again() {
    let mut server = Postgres::start();
    let url = server.database().await;
    let store = connect(&url).await.unwrap();
    store.insert(&app("a", "1")).await.unwrap();
    server.kill();
    assert!(matches!(store.insert(&app("b", "2")).await, Err(StoreError::Failed(_))));
    assert!(store.apps(None).await.is_err());
    server.start_again();
    store.insert(&app("b", "2")).await.unwrap();
    assert_eq!(apps(&store).await, told(&[("a", "1"), ("b", "2")]));
    // Between two calls: the connection is found dead and nobody notices.
    server.kill();
    server.start_again();
    assert_eq!(apps(&store).await, told(&[("a", "1"), ("b", "2")]));
}

#[tokio::test]
async fn a_server_that_is_silent_is_waited_for_once_and_not_long() {
    let server = Postgres::start();
    let url = server.database().await;
    let store = connect(&url).await.unwrap();
    // Its own process of the server would go on.
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'gusher'";
    sqlx::raw_sql(end).execute(&mut postgres::connect(&url).await).await.unwrap();
    server.halt();
    let began = Instant::now();
    let (one, other) = (store.apps(None).await, store.apps(None).await);
    assert!(matches!((one, other), (Err(StoreError::Silent), Err(StoreError::Silent))));
    assert!((4..8).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_connection_that_was_forgotten_on_the_way_is_replaced() {
    let url = Postgres::shared().database().await;
    let way = Way::to(&url).await;
    let store = connect(&way.url).await.unwrap();
    store.insert(&app("a", "1")).await.unwrap();
    way.forget();
    let began = Instant::now();
    store.insert(&app("b", "2")).await.unwrap();
    assert!(began.elapsed().as_secs() < 4, "{:?}", began.elapsed());
    assert_eq!(apps(&store).await, told(&[("a", "1"), ("b", "2")]));
}

#[tokio::test]
async fn a_statement_that_waits_for_others_is_given_up() {
    let url = Postgres::shared().database().await;
    let store = connect(&url).await.unwrap();
    store.insert(&app("a", "1")).await.unwrap();
    let mut other = postgres::connect(&url).await;
    sqlx::raw_sql("BEGIN; LOCK TABLE gusher_apps").execute(&mut other).await.unwrap();
    let error = store.insert(&app("b", "2")).await.unwrap_err().to_string();
    assert_eq!(error, "canceling statement due to statement timeout");
    drop(other);
    assert_eq!(apps(&store).await, told(&[("a", "1")]));
}

#[tokio::test]
async fn what_is_wrong_with_a_server_is_said_without_its_secret() {
    let good = Postgres::shared().database().await;
    let (user, password) = Postgres::USER;
    for (url, reason) in [
        (good.replace(password, "Xwrong"), format!("password authentication failed for user \"{user}\"")),
        (Postgres::shared().url("absent"), "database \"absent\" does not exist".to_owned()),
        (format!("{good}?sslmode=require"), "server does not support TLS".to_owned()),
        (format!("postgres://{user}:{password}@127.0.0.1:1/x"), "Connection refused".to_owned()),
    ] {
        let error = connect(&url).await.expect_err("it cannot be used").to_string();
        assert!(error.contains(&reason) && !error.contains('\n'), "{error}");
        assert!(!error.contains("Xwrong") && !error.contains(password), "{error}");
    }
}

#[tokio::test]
async fn a_server_has_to_prove_who_it_is_when_asked_to() {
    let (server, certificate) = Postgres::start_with_tls();
    let certificate = certificate.to_str().unwrap();
    let address = server.url("postgres");
    let localhost = address.replace("127.0.0.1", "localhost");
    // Unasked it need not, and TLS is spoken all the same.
    connect(&format!("{address}?sslmode=require")).await.unwrap();
    let unproven = connect(&format!("{localhost}?sslmode=verify-full")).await.unwrap_err().to_string();
    assert!(unproven.contains("UnknownIssuer"), "{unproven}");
    connect_trusting(&localhost, certificate).await.unwrap();
    let misnamed = connect_trusting(&address, certificate).await.unwrap_err().to_string();
    assert!(misnamed.contains("not valid for name"), "{misnamed}");
    connect_trusting(&format!("{address}?sslmode=verify-ca"), certificate).await.unwrap();
    let unreadable = connect_trusting(&localhost, "/no/such.pem").await.unwrap_err().to_string();
    assert!(unreadable.starts_with("/no/such.pem: "), "{unreadable}");
}
