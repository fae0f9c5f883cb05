//! The apps in an SQLite file of the original's own schema (spec 1.5).
//!
//! The table `appdata` is never altered: the Go version reads all its columns by position and fails on NULL, so a
//! file written here stays readable by it. What we add goes into tables of our own: in `gusher_app` every app has the
//! id and the secret of its signed calls, in `gusher_settings` those that were ever set have their settings. An app that
//! the Go version registered has no identity until the file is opened here; one that it unregistered leaves its rows
//! there, which are removed then.

use std::path::Path;

use sqlx::SqliteConnection;
use tokio::sync::Mutex;

use super::sqlite_file::SqliteFile;
use super::{AppRow, NodeRow, StoreError, new_identity, settings};
use crate::model::{App, AppKey};

/// The columns have no types, as in the original.
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS appdata (\
    app_key PRIMARY KEY, auth_account, auth_password, connect_hook, request_ip, timestamp, date)";

const IDENTITY_SCHEMA: &str = "CREATE TABLE IF NOT EXISTS gusher_app (\
    app_key PRIMARY KEY, app_id UNIQUE NOT NULL, app_secret NOT NULL)";

const SETTINGS_SCHEMA: &str =
    "CREATE TABLE IF NOT EXISTS gusher_settings (app_key PRIMARY KEY NOT NULL, settings NOT NULL)";

/// Older versions may have left NULLs, and timestamps as text.
const SELECT: &str = "SELECT \
    CAST(appdata.app_key AS TEXT), CAST(app_id AS TEXT), CAST(app_secret AS TEXT), \
    COALESCE(CAST(auth_account AS TEXT), ''), COALESCE(CAST(auth_password AS TEXT), ''), \
    COALESCE(CAST(connect_hook AS TEXT), ''), COALESCE(CAST(request_ip AS TEXT), ''), \
    COALESCE(CAST(timestamp AS INTEGER), 0), COALESCE(CAST(date AS TEXT), '') \
    FROM appdata JOIN gusher_app ON gusher_app.app_key = CAST(appdata.app_key AS TEXT) \
    WHERE ?1 IS NULL OR gusher_app.app_key = ?1 ORDER BY appdata.rowid";

const SELECT_WITHOUT_IDENTITY: &str = "SELECT DISTINCT CAST(app_key AS TEXT) FROM appdata \
    WHERE app_key IS NOT NULL AND CAST(app_key AS TEXT) NOT IN (SELECT app_key FROM gusher_app) ORDER BY rowid";

const DELETE_IDENTITY_WITHOUT_APP: &str = "DELETE FROM gusher_app WHERE app_key NOT IN \
    (SELECT CAST(app_key AS TEXT) FROM appdata WHERE app_key IS NOT NULL)";

const DELETE_SETTINGS_WITHOUT_APP: &str = "DELETE FROM gusher_settings WHERE app_key NOT IN \
    (SELECT CAST(app_key AS TEXT) FROM appdata WHERE app_key IS NOT NULL)";

const INSERT: &str = "INSERT INTO appdata \
    (app_key, auth_account, auth_password, connect_hook, request_ip, timestamp, date) VALUES (?, ?, ?, ?, ?, ?, ?)";

const INSERT_IDENTITY: &str = "INSERT INTO gusher_app (app_key, app_id, app_secret) VALUES (?, ?, ?)";

const SELECT_SETTINGS: &str = "SELECT CAST(app_key AS TEXT), CAST(settings AS TEXT) FROM gusher_settings \
    WHERE ?1 IS NULL OR app_key = ?1";

/// One row if there is such an app, whether it was ever set or not.
const SELECT_TO_CHANGE: &str = "SELECT CAST(settings AS TEXT) \
    FROM appdata LEFT JOIN gusher_settings ON gusher_settings.app_key = CAST(appdata.app_key AS TEXT) \
    WHERE CAST(appdata.app_key AS TEXT) = ?";

const SAVE_SETTINGS: &str = "INSERT INTO gusher_settings (app_key, settings) VALUES (?1, ?2) \
    ON CONFLICT (app_key) DO UPDATE SET settings = ?2";

const NODES_SCHEMA: &str = "CREATE TABLE IF NOT EXISTS gusher_nodes (\
    id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, beat INTEGER NOT NULL, seen INTEGER NOT NULL)";

const BEAT: &str = "INSERT INTO gusher_nodes (id, name, beat, seen) VALUES (?1, ?2, 1, unixepoch()) \
    ON CONFLICT (id) DO UPDATE SET beat = beat + 1, seen = unixepoch()";

const FORGET_NODES: &str = "DELETE FROM gusher_nodes WHERE id = ? OR abs(unixepoch() - seen) > 3600";

const HAS_NODES: &str = "SELECT COUNT(*) > 0 FROM sqlite_schema WHERE name = 'gusher_nodes'";

const SELECT_NODES: &str = "SELECT id, name, beat, unixepoch() - seen FROM gusher_nodes ORDER BY name, id";

/// An open database. One connection serves: it is asked a few times an hour.
#[derive(Debug)]
pub struct Sqlite {
    file: Mutex<SqliteFile>,
}

impl Sqlite {
    pub(super) async fn open(file: &Path) -> Result<Self, StoreError> {
        Self::prepare(SqliteFile::open(file).await?).await
    }

    pub(super) async fn in_memory() -> Result<Self, StoreError> {
        Self::prepare(SqliteFile::in_memory().await?).await
    }

    /// Makes what is missing: all of it or nothing, also if others do the same at this moment.
    async fn prepare(mut file: SqliteFile) -> Result<Self, StoreError> {
        let mut session = file.write().await?;
        for statement in [SCHEMA, IDENTITY_SCHEMA, SETTINGS_SCHEMA, DELETE_SETTINGS_WITHOUT_APP] {
            sqlx::query(statement).execute(&mut session.connection).await?;
        }
        complete_identities(&mut session.connection).await?;
        session.commit().await?;
        Ok(Self { file: Mutex::new(file) })
    }

    pub(super) async fn apps(&self, only: Option<&AppKey>) -> Result<Vec<AppRow>, StoreError> {
        let mut file = self.file.lock().await;
        let mut session = file.read().await?;
        let query = sqlx::query_as(SELECT).bind(only.map(AppKey::as_str));
        let rows = query.fetch_all(&mut session.connection).await?;
        session.done();
        Ok(rows)
    }

    pub(super) async fn insert(&self, app: &App) -> Result<(), StoreError> {
        let mut file = self.file.lock().await;
        let mut session = file.write().await?;
        sqlx::query(INSERT)
            .bind(app.key.as_str())
            .bind(&app.admin.account)
            .bind(&app.admin.hash.0)
            .bind(&app.connect_hook)
            .bind(&app.request_ip)
            .bind(app.registered.timestamp_ms)
            .bind(&app.registered.date)
            .execute(&mut session.connection)
            .await?;
        insert_identity(&mut session.connection, app.key.as_str(), &app.id, &app.secret.0).await?;
        session.commit().await
    }

    pub(super) async fn remove(&self, key: &AppKey) -> Result<(), StoreError> {
        let mut file = self.file.lock().await;
        let mut session = file.write().await?;
        let statements = [
            "DELETE FROM appdata WHERE app_key = ?",
            "DELETE FROM gusher_app WHERE app_key = ?",
            "DELETE FROM gusher_settings WHERE app_key = ?",
        ];
        for statement in statements {
            sqlx::query(statement).bind(key.as_str()).execute(&mut session.connection).await?;
        }
        session.commit().await
    }

    pub(super) async fn settings(&self, only: Option<&AppKey>) -> Result<Vec<(String, String)>, StoreError> {
        let mut file = self.file.lock().await;
        let mut session = file.read().await?;
        let query = sqlx::query_as(SELECT_SETTINGS).bind(only.map(AppKey::as_str));
        let rows = query.fetch_all(&mut session.connection).await?;
        session.done();
        Ok(rows)
    }

    pub(super) async fn save_settings(
        &self,
        key: &AppKey,
        change: settings::Change,
    ) -> Result<(), StoreError> {
        let mut file = self.file.lock().await;
        // Nobody else writes between what is read here and what is written.
        let mut session = file.write().await?;
        let query = sqlx::query_scalar(SELECT_TO_CHANGE).bind(key.as_str());
        let text: Option<Option<String>> = query.fetch_optional(&mut session.connection).await?;
        let text = text.ok_or(StoreError::Unknown)?;
        let text = change.apply(key, text.as_deref().unwrap_or(settings::NONE))?;
        sqlx::query(SAVE_SETTINGS).bind(key.as_str()).bind(text).execute(&mut session.connection).await?;
        session.commit().await
    }

    pub(super) async fn beat(&self, id: &str, name: &str) -> Result<(), StoreError> {
        let mut file = self.file.lock().await;
        let mut session = file.write().await?;
        sqlx::query(NODES_SCHEMA).execute(&mut session.connection).await?;
        sqlx::query(FORGET_NODES).bind("").execute(&mut session.connection).await?;
        sqlx::query(BEAT).bind(id).bind(name).execute(&mut session.connection).await?;
        session.commit().await
    }

    pub(super) async fn leave(&self, id: &str) -> Result<(), StoreError> {
        let mut file = self.file.lock().await;
        let mut session = file.write().await?;
        sqlx::query(FORGET_NODES).bind(id).execute(&mut session.connection).await?;
        session.commit().await
    }

    pub(super) async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        let mut file = self.file.lock().await;
        let mut session = file.read().await?;
        let rows = match sqlx::query_scalar(HAS_NODES).fetch_one(&mut session.connection).await? {
            true => sqlx::query_as(SELECT_NODES).fetch_all(&mut session.connection).await?,
            false => Vec::new(),
        };
        session.done();
        Ok(rows)
    }
}

/// Gives an identity to every app that has none, and takes those away whose app is gone.
async fn complete_identities(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    sqlx::query(DELETE_IDENTITY_WITHOUT_APP).execute(&mut *connection).await?;
    let keys: Vec<String> = sqlx::query_scalar(SELECT_WITHOUT_IDENTITY).fetch_all(&mut *connection).await?;
    for key in keys {
        while let Err(error) = give_identity(connection, &key).await {
            // The next id is another.
            if !matches!(error, StoreError::IdTaken) {
                return Err(error);
            }
        }
    }
    Ok(())
}

async fn give_identity(connection: &mut SqliteConnection, key: &str) -> Result<(), StoreError> {
    let (id, secret) = new_identity()?;
    insert_identity(connection, key, &id, &secret).await
}

async fn insert_identity(
    connection: &mut SqliteConnection,
    key: &str,
    id: &str,
    secret: &str,
) -> Result<(), StoreError> {
    sqlx::query(INSERT_IDENTITY).bind(key).bind(id).bind(secret).execute(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Admin, AppSecret, AppSettings, Hash, Registered};

    const OLD: &str = "INSERT INTO appdata VALUES ('old', 'a', 'h', NULL, NULL, '1440473952104', NULL)";

    fn app(key: &str, id: &str) -> App {
        App {
            key: AppKey::parse(key).unwrap(),
            id: id.into(),
            secret: AppSecret(format!("secret of {key}")),
            admin: Admin { account: "admin".into(), hash: Hash("$2a$05$x".into()) },
            connect_hook: "http://localhost/hook".into(),
            request_ip: "127.0.0.1:7".into(),
            registered: Registered { timestamp_ms: 1_440_473_952_104, date: "2015/08/25 11:39:12".into() },
        }
    }

    async fn execute(store: &Sqlite, statement: &'static str) {
        let mut file = store.file.lock().await;
        let mut session = file.read().await.unwrap();
        sqlx::query(statement).execute(&mut session.connection).await.unwrap();
        session.done();
    }

    async fn rows<T>(store: &Sqlite, query: &'static str) -> Vec<T>
    where
        T: Send + Unpin,
        for<'r> T: sqlx::FromRow<'r, sqlx::sqlite::SqliteRow>,
    {
        let mut file = store.file.lock().await;
        let mut session = file.read().await.unwrap();
        let rows = sqlx::query_as(query).fetch_all(&mut session.connection).await.unwrap();
        session.done();
        rows
    }

    /// What the Go version reads, as SQL would write it.
    async fn appdata(store: &Sqlite) -> Vec<String> {
        let all = "SELECT quote(app_key) || quote(auth_account) || quote(auth_password) || quote(connect_hook) \
            || quote(request_ip) || quote(timestamp) || quote(date) FROM appdata ORDER BY rowid";
        let schema = "SELECT sql FROM sqlite_schema WHERE name = 'appdata'";
        let texts = [rows::<(String,)>(store, all).await, rows(store, schema).await].concat();
        texts.into_iter().map(|(text,)| text).collect()
    }

    async fn identities(store: &Sqlite) -> Vec<(String, String, String)> {
        let all = "SELECT app_key, app_id, app_secret FROM gusher_app ORDER BY app_key";
        rows(store, all).await
    }

    #[tokio::test]
    async fn a_taken_key_or_id_leaves_nothing_behind() {
        let store = Sqlite::in_memory().await.unwrap();
        store.insert(&app("a", "1")).await.unwrap();
        let before = (appdata(&store).await, identities(&store).await);
        assert!(matches!(store.insert(&app("a", "2")).await, Err(StoreError::Exists)));
        assert!(matches!(store.insert(&app("b", "1")).await, Err(StoreError::IdTaken)));
        assert_eq!((appdata(&store).await, identities(&store).await), before);
    }

    #[tokio::test]
    async fn an_old_app_gets_an_identity_once_and_appdata_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gusher.db");
        let store = Sqlite::open(&file).await.unwrap();
        execute(&store, OLD).await;
        let before = appdata(&store).await;
        drop(store);

        let store = Sqlite::open(&file).await.unwrap();
        let given = identities(&store).await;
        assert_eq!(given.len(), 1);
        assert_eq!((&*given[0].0, given[0].2.len()), ("old", 32));
        drop(store);

        let store = Sqlite::open(&file).await.unwrap();
        assert_eq!(identities(&store).await, given);
        assert_eq!(appdata(&store).await, before);
    }

    #[tokio::test]
    async fn an_app_that_was_removed_elsewhere_loses_its_identity_and_its_settings() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gusher.db");
        let store = Sqlite::open(&file).await.unwrap();
        store.insert(&app("a", "1")).await.unwrap();
        let change = settings::Change::new(
            &AppSettings::default(),
            &AppSettings { cache_ttl: 1, ..AppSettings::default() },
        );
        store.save_settings(&app("a", "1").key, change).await.unwrap();
        assert_eq!(store.settings(None).await.unwrap().len(), 1);
        execute(&store, "DELETE FROM appdata").await;
        drop(store);
        let store = Sqlite::open(&file).await.unwrap();
        assert_eq!(identities(&store).await, []);
        assert_eq!(store.settings(None).await.unwrap(), []);
    }

    #[tokio::test]
    async fn rows_with_nulls_and_text_timestamps_are_read() {
        let store = Sqlite::in_memory().await.unwrap();
        execute(&store, OLD).await;
        execute(&store, "INSERT INTO appdata (app_key) VALUES (NULL)").await;
        let store = Sqlite::prepare(store.file.into_inner()).await.unwrap();
        let apps = store.apps(None).await.unwrap();
        assert_eq!(apps.len(), 1);
        let (connect_hook, timestamp_ms) = (&*apps[0].5, apps[0].7);
        assert_eq!((connect_hook, timestamp_ms), ("", 1_440_473_952_104));
    }
}
