//! The registered apps in an SQLite file that the Go version wrote, or could go on with.

mod support;

use std::path::Path;

use bcrypt::Version;
use reqwest::Method;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Row, SqliteConnection};
use support::{ADMIN, Server};
use tempfile::TempDir;

/// As the Go version makes it.
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS appdata \
    (app_key PRIMARY KEY, auth_account, auth_password, connect_hook, request_ip, timestamp, date)";

/// A published test vector of bcrypt: the account `U*` with the password `U`.
const OLD_HASH: &str = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

/// A place for a database, and its file there.
fn place() -> (TempDir, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("appdata.sqlite").to_str().expect("a path in UTF-8").to_owned();
    (directory, file)
}

async fn serve(file: &str) -> Server {
    Server::with(&[("sqlfile", file)]).await
}

async fn open(file: &str) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(Path::new(file)).create_if_missing(true);
    options.connect().await.expect("a database")
}

/// The one column of all rows, as text.
async fn texts(database: &mut SqliteConnection, query: &str) -> Vec<String> {
    let rows = sqlx::query(AssertSqlSafe(query)).fetch_all(database).await.expect("a result");
    rows.iter().map(|row| row.get_unchecked::<String, _>(0)).collect()
}

/// Writes a file with two apps as the Go version does, whose admins are `U*`:`U` and [`ADMIN`].
async fn write_as_go_does(file: &str) {
    let mut database = open(file).await;
    sqlx::query(SCHEMA).execute(&mut database).await.unwrap();
    let secret = format!("{}{}", ADMIN.0, ADMIN.1);
    let hash = bcrypt::hash_with_result(secret, 5).unwrap().format_for_version(Version::TwoA);
    for (key, account, hash) in [("zebra", "U*", OLD_HASH), ("ant", ADMIN.0, hash.as_str())] {
        sqlx::query("INSERT INTO appdata VALUES (?, ?, ?, '', '127.0.0.1:50040', ?, '2015/08/25 11:39:12')")
            .bind(key)
            .bind(account)
            .bind(hash)
            .bind(1_440_473_952_104_i64)
            .execute(&mut database)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn gu_015_the_apps_of_an_old_file_are_listed_as_they_are() {
    let (_directory, file) = place();
    write_as_go_does(&file).await;
    let list = serve(&file).await.get("/api/app-list").await.json();
    assert_eq!(list["total"], 2);
    assert_eq!([&list["data"][0]["app_key"], &list["data"][1]["app_key"]], ["zebra", "ant"]);
    let expected = format!(
        r#"{{"app_key":"zebra","auth_account":"U*","auth_password":"{OLD_HASH}","connect_hook":"","request_ip":"127.0.0.1:50040","date":"2015/08/25 11:39:12","timestamp":"1440473952104"}}"#
    );
    // What follows is ours: the identity that each app has in signed calls.
    assert!(list["data"][0].to_string().starts_with(expected.trim_end_matches('}')));
}

#[tokio::test]
async fn gu_015_the_apps_of_an_old_file_authenticate_and_can_be_pushed_to() {
    let (_directory, file) = place();
    write_as_go_does(&file).await;
    let server = serve(&file).await;
    for (app, who) in [("zebra", ("U*", "U")), ("ant", ADMIN)] {
        let mut client = server.connect(app, "a").await;
        let path = format!("/api/push/{app}?content=hello");
        assert_eq!(server.call_as(Some((who.0, "wrong")), Method::POST, &path).await.status, 401);
        assert_eq!(server.call_as(Some(who), Method::POST, &path).await.json()["total"], 1);
        assert_eq!(client.text().await, "hello");
    }
}

#[tokio::test]
async fn gu_015_a_password_that_was_cut_at_72_bytes_still_opens() {
    let (_directory, file) = place();
    write_as_go_does(&file).await;
    let (account, password) = ("boss", "p".repeat(100));
    let hash = bcrypt::hash_with_result(format!("{account}{password}"), 5).unwrap();
    sqlx::query("UPDATE appdata SET auth_account = ?, auth_password = ? WHERE app_key = 'ant'")
        .bind(account)
        .bind(hash.format_for_version(Version::TwoA))
        .execute(&mut open(&file).await)
        .await
        .unwrap();
    let server = serve(&file).await;
    let answer = server.call_as(Some((account, &password)), Method::GET, "/api/ant/listonlineuser").await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn an_old_app_whose_name_holds_a_slash_can_be_removed() {
    let (_directory, file) = place();
    write_as_go_does(&file).await;
    sqlx::query("UPDATE appdata SET app_key = 'a/b' WHERE app_key = 'ant'")
        .execute(&mut open(&file).await)
        .await
        .unwrap();
    let server = serve(&file).await;
    assert_eq!(server.call_as(Some(("x", "y")), Method::DELETE, "/api/a%2Fb/unregister").await.status, 401);
    assert_eq!(server.unregister("a%2Fb").await.status, 200);
    assert_eq!(server.get("/api/app-list").await.json()["total"], 1);
}

#[tokio::test]
async fn gu_015_an_old_file_keeps_its_schema_when_apps_come_and_go() {
    let (_directory, file) = place();
    write_as_go_does(&file).await;
    let server = serve(&file).await;
    server.register("new").await;
    server.unregister("zebra").await;
    server.stop().await;
    let mut database = open(&file).await;
    assert_eq!(texts(&mut database, "SELECT app_key FROM appdata ORDER BY rowid").await, ["ant", "new"]);
    let made = SCHEMA.replace("IF NOT EXISTS ", "");
    assert_eq!(texts(&mut database, "SELECT sql FROM sqlite_master WHERE name = 'appdata'").await, [made]);
}

#[tokio::test]
async fn gu_016_a_new_file_has_the_columns_that_the_go_version_reads() {
    let (_directory, file) = place();
    let server = serve(&file).await;
    server.register("x").await;
    server.stop().await;
    let mut database = open(&file).await;
    let columns = texts(&mut database, "SELECT name || type FROM pragma_table_info('appdata')").await;
    let expected =
        ["app_key", "auth_account", "auth_password", "connect_hook", "request_ip", "timestamp", "date"];
    assert_eq!(columns, expected);
    let indexes = texts(&mut database, "SELECT origin FROM pragma_index_list('appdata')").await;
    assert_eq!(indexes, ["pk"]);
}

#[tokio::test]
async fn gu_016_values_are_stored_as_the_go_version_stores_them() {
    let (_directory, file) = place();
    let server = serve(&file).await;
    server.register("x").await;
    server.stop().await;
    let mut database = open(&file).await;
    let kinds = "SELECT typeof(app_key) || typeof(auth_account) || typeof(auth_password) || typeof(connect_hook) \
        || typeof(request_ip) || typeof(date) || typeof(timestamp) FROM appdata";
    assert_eq!(texts(&mut database, kinds).await, ["texttexttexttexttexttextinteger"]);
    // The date is the timestamp in local time, which is nowhere more than 14 hours from UTC.
    let time = "SELECT date GLOB '[0-9][0-9][0-9][0-9]/[0-9][0-9]/[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9]' \
        AND abs(unixepoch(replace(date, '/', '-')) - timestamp / 1000) <= 14 * 3600 \
        AND abs(unixepoch('now') - timestamp / 1000) < 600 FROM appdata";
    assert_eq!(texts(&mut database, &format!("SELECT CAST(({time}) AS TEXT)")).await, ["1"]);
}

#[tokio::test]
async fn gu_016_the_file_is_of_the_kind_that_the_go_version_makes() {
    let (directory, file) = place();
    let server = serve(&file).await;
    server.register("x").await;
    server.stop().await;
    let mut database = open(&file).await;
    assert_eq!(texts(&mut database, "SELECT * FROM pragma_journal_mode").await, ["delete"]);
    let version = "SELECT CAST(user_version AS TEXT) FROM pragma_user_version";
    assert_eq!(texts(&mut database, version).await, ["0"]);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no other file is left beside it");
}

#[tokio::test]
async fn gu_017_apps_survive_a_restart() {
    let (_directory, file) = place();
    let server = serve(&file).await;
    server.register("x").await;
    server.register_hooked("hooked", "http://127.0.0.1:9/hook").await;
    let before = server.get("/api/app-list").await.text;
    server.stop().await;
    let server = serve(&file).await;
    assert_eq!(server.get("/api/app-list").await.text, before);
    let answer = server.call_as(Some(ADMIN), Method::POST, "/api/push/x?content=hello").await;
    assert_eq!(answer.json()["total"], 0);
}

#[tokio::test]
async fn gu_017_an_unregistered_app_stays_away_after_a_restart() {
    let (_directory, file) = place();
    let server = serve(&file).await;
    server.register("x").await;
    server.unregister("x").await;
    server.stop().await;
    let server = serve(&file).await;
    assert_eq!(server.get("/api/app-list").await.json()["total"], 0);
    assert_eq!(server.try_connect("x", "a").await.err().map(|(status, _)| status), Some(404));
}
