//! The apps in an SQLite file of the original's own schema (spec 1.5).
//!
//! The table `appdata` is never altered: the Go version reads all its columns by position and fails on NULL, so a
//! file written here stays readable by it. What we add goes into tables of our own: in `gusher_app` every app has the
//! id and the secret of its signed calls. An app that the Go version registered has none until the file is opened
//! here; one that it unregistered leaves its rows there, which are removed then.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};
use tokio::sync::Mutex;

use super::{StoreError, new_identity, settings};
use crate::model::{Admin, App, AppKey, AppSecret, Hash, Registered};

/// The columns have no types, as in the original.
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS appdata (\
    app_key PRIMARY KEY, auth_account, auth_password, connect_hook, request_ip, timestamp, date)";

const IDENTITY_SCHEMA: &str = "CREATE TABLE IF NOT EXISTS gusher_app (\
    app_key PRIMARY KEY, app_id UNIQUE NOT NULL, app_secret NOT NULL)";

/// Older versions may have left NULLs, and timestamps as text.
const SELECT: &str = "SELECT \
    CAST(appdata.app_key AS TEXT), CAST(app_id AS TEXT), CAST(app_secret AS TEXT), \
    COALESCE(CAST(auth_account AS TEXT), ''), COALESCE(CAST(auth_password AS TEXT), ''), \
    COALESCE(CAST(connect_hook AS TEXT), ''), COALESCE(CAST(request_ip AS TEXT), ''), \
    COALESCE(CAST(timestamp AS INTEGER), 0), COALESCE(CAST(date AS TEXT), '') \
    FROM appdata JOIN gusher_app ON gusher_app.app_key = CAST(appdata.app_key AS TEXT) ORDER BY appdata.rowid";

const SELECT_WITHOUT_IDENTITY: &str = "SELECT DISTINCT CAST(app_key AS TEXT) FROM appdata \
    WHERE app_key IS NOT NULL AND CAST(app_key AS TEXT) NOT IN (SELECT app_key FROM gusher_app) ORDER BY rowid";

const DELETE_IDENTITY_WITHOUT_APP: &str = "DELETE FROM gusher_app WHERE app_key NOT IN \
    (SELECT CAST(app_key AS TEXT) FROM appdata WHERE app_key IS NOT NULL)";

const INSERT: &str = "INSERT INTO appdata \
    (app_key, auth_account, auth_password, connect_hook, request_ip, timestamp, date) VALUES (?, ?, ?, ?, ?, ?, ?)";

const INSERT_IDENTITY: &str = "INSERT INTO gusher_app (app_key, app_id, app_secret) VALUES (?, ?, ?)";

/// An open database. One connection serves: it is asked a few times an hour.
#[derive(Debug)]
pub struct Store {
    pub(super) connection: Mutex<SqliteConnection>,
}

impl Store {
    /// Opens the database file, which is made if it is not there.
    ///
    /// # Errors
    /// The file cannot be opened or is no database.
    pub async fn open(file: &Path) -> Result<Self, StoreError> {
        Self::connect(SqliteConnectOptions::new().filename(file).create_if_missing(true)).await
    }

    /// Opens a database that lives in memory and goes with the process.
    ///
    /// # Errors
    /// SQLite cannot be started.
    pub async fn in_memory() -> Result<Self, StoreError> {
        Self::connect(SqliteConnectOptions::new().in_memory(true)).await
    }

    async fn connect(options: SqliteConnectOptions) -> Result<Self, StoreError> {
        let mut connection = options.disable_statement_logging().connect().await?;
        sqlx::query(SCHEMA).execute(&mut connection).await?;
        complete_identities(&mut connection).await?;
        settings::prepare(&mut connection).await?;
        Ok(Self { connection: Mutex::new(connection) })
    }

    /// All apps in the order of their registration.
    ///
    /// # Errors
    /// The database failed.
    pub async fn apps(&self) -> Result<Vec<App>, StoreError> {
        let rows = sqlx::query(SELECT).fetch_all(&mut *self.connection.lock().await).await?;
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    /// Adds an app.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when its key or its id is taken.
    pub async fn insert(&self, app: &App) -> Result<(), StoreError> {
        let mut connection = self.connection.lock().await;
        let mut transaction = connection.begin().await?;
        sqlx::query(INSERT)
            .bind(app.key.as_str())
            .bind(&app.admin.account)
            .bind(&app.admin.hash.0)
            .bind(&app.connect_hook)
            .bind(&app.request_ip)
            .bind(app.registered.timestamp_ms)
            .bind(&app.registered.date)
            .execute(&mut *transaction)
            .await?;
        insert_identity(&mut transaction, app.key.as_str(), &app.id, &app.secret.0).await?;
        Ok(transaction.commit().await?)
    }

    /// Takes an app away; it need not be there.
    ///
    /// # Errors
    /// The database failed.
    pub async fn remove(&self, key: &AppKey) -> Result<(), StoreError> {
        let mut connection = self.connection.lock().await;
        let mut transaction = connection.begin().await?;
        let statements = [
            "DELETE FROM appdata WHERE app_key = ?",
            "DELETE FROM gusher_app WHERE app_key = ?",
            "DELETE FROM gusher_settings WHERE app_key = ?",
        ];
        for statement in statements {
            sqlx::query(statement).bind(key.as_str()).execute(&mut *transaction).await?;
        }
        Ok(transaction.commit().await?)
    }
}

/// Gives an identity to every app that has none, and takes those away whose app is gone: all of it or nothing.
async fn complete_identities(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let mut transaction = connection.begin().await?;
    sqlx::query(IDENTITY_SCHEMA).execute(&mut *transaction).await?;
    sqlx::query(DELETE_IDENTITY_WITHOUT_APP).execute(&mut *transaction).await?;
    let keys: Vec<String> = sqlx::query_scalar(SELECT_WITHOUT_IDENTITY).fetch_all(&mut *transaction).await?;
    for key in keys {
        while let Err(error) = give_identity(&mut transaction, &key).await {
            // The only thing that can be taken is the id, and the next one is another.
            if !matches!(error, StoreError::Exists) {
                return Err(error);
            }
        }
    }
    Ok(transaction.commit().await?)
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

fn read(row: &SqliteRow) -> Result<App, sqlx::Error> {
    Ok(App {
        key: AppKey::stored(row.try_get(0)?),
        id: row.try_get(1)?,
        secret: AppSecret(row.try_get(2)?),
        admin: Admin { account: row.try_get(3)?, hash: Hash(row.try_get(4)?) },
        connect_hook: row.try_get(5)?,
        request_ip: row.try_get(6)?,
        registered: Registered { timestamp_ms: row.try_get(7)?, date: row.try_get(8)? },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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

    async fn execute(store: &Store, statement: &'static str) {
        sqlx::query(statement).execute(&mut *store.connection.lock().await).await.unwrap();
    }

    /// What the Go version reads, as SQL would write it.
    async fn appdata(store: &Store) -> Vec<String> {
        let all = "SELECT quote(app_key) || quote(auth_account) || quote(auth_password) || quote(connect_hook) \
            || quote(request_ip) || quote(timestamp) || quote(date) FROM appdata ORDER BY rowid";
        let mut rows: Vec<String> =
            sqlx::query_scalar(all).fetch_all(&mut *store.connection.lock().await).await.unwrap();
        let schema = "SELECT sql FROM sqlite_schema WHERE name = 'appdata'";
        rows.push(sqlx::query_scalar(schema).fetch_one(&mut *store.connection.lock().await).await.unwrap());
        rows
    }

    async fn identities(store: &Store) -> Vec<(String, String, String)> {
        let all = "SELECT app_key, app_id, app_secret FROM gusher_app ORDER BY app_key";
        sqlx::query_as(all).fetch_all(&mut *store.connection.lock().await).await.unwrap()
    }

    #[tokio::test]
    async fn apps_come_back_in_the_order_they_were_added() {
        let store = Store::in_memory().await.unwrap();
        for (key, id) in [("b", "1"), ("a", "2"), ("c", "3")] {
            store.insert(&app(key, id)).await.unwrap();
        }
        store.remove(&app("b", "1").key).await.unwrap();
        let apps = store.apps().await.unwrap();
        let told: Vec<_> = apps.iter().map(|app| (app.key.as_str(), &*app.id, &*app.secret.0)).collect();
        assert_eq!(told, [("a", "2", "secret of a"), ("c", "3", "secret of c")]);
    }

    #[tokio::test]
    async fn a_taken_key_or_id_leaves_nothing_behind() {
        let store = Store::in_memory().await.unwrap();
        store.insert(&app("a", "1")).await.unwrap();
        let before = (appdata(&store).await, identities(&store).await);
        for taken in [app("a", "2"), app("b", "1")] {
            assert!(matches!(store.insert(&taken).await, Err(StoreError::Exists)));
        }
        assert_eq!((appdata(&store).await, identities(&store).await), before);
    }

    #[tokio::test]
    async fn a_removed_app_leaves_its_id_to_others() {
        let store = Store::in_memory().await.unwrap();
        store.insert(&app("a", "1")).await.unwrap();
        store.remove(&app("a", "1").key).await.unwrap();
        assert_eq!(identities(&store).await, []);
        store.insert(&app("b", "1")).await.unwrap();
    }

    #[tokio::test]
    async fn an_old_app_gets_an_identity_once_and_appdata_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gusher.db");
        let store = Store::open(&file).await.unwrap();
        execute(&store, OLD).await;
        let before = appdata(&store).await;
        drop(store);

        let store = Store::open(&file).await.unwrap();
        let given = identities(&store).await;
        assert_eq!(given.len(), 1);
        assert_eq!((&*given[0].0, given[0].2.len()), ("old", 32));
        drop(store);

        let store = Store::open(&file).await.unwrap();
        assert_eq!(identities(&store).await, given);
        assert_eq!(appdata(&store).await, before);
    }

    #[tokio::test]
    async fn an_app_that_was_removed_elsewhere_loses_its_identity() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gusher.db");
        let store = Store::open(&file).await.unwrap();
        store.insert(&app("a", "1")).await.unwrap();
        execute(&store, "DELETE FROM appdata").await;
        drop(store);
        assert_eq!(identities(&Store::open(&file).await.unwrap()).await, []);
    }

    #[tokio::test]
    async fn rows_with_nulls_and_text_timestamps_are_read() {
        let store = Store::in_memory().await.unwrap();
        execute(&store, OLD).await;
        execute(&store, "INSERT INTO appdata (app_key) VALUES (NULL)").await;
        complete_identities(&mut *store.connection.lock().await).await.unwrap();
        let apps = store.apps().await.unwrap();
        assert_eq!(apps.len(), 1);
        assert_eq!(apps[0].connect_hook, "");
        assert_eq!(apps[0].registered.timestamp_ms, 1_440_473_952_104);
    }
}
