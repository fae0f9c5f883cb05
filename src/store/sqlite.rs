//! The apps in an SQLite file of the original's own schema (spec 1.5).
//!
//! The table `appdata` is never altered: the Go version reads all its columns by position and fails on NULL, so a
//! file written here stays readable by it. What we may want to add goes into tables of our own.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions, Row, SqliteConnection};
use tokio::sync::Mutex;

use super::StoreError;
use crate::model::{Admin, App, AppKey, Hash, Registered};

/// The columns have no types, as in the original.
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS appdata (\
    app_key PRIMARY KEY, auth_account, auth_password, connect_hook, request_ip, timestamp, date)";

/// Older versions may have left NULLs, and timestamps as text.
const SELECT: &str = "SELECT \
    CAST(app_key AS TEXT), COALESCE(CAST(auth_account AS TEXT), ''), COALESCE(CAST(auth_password AS TEXT), ''), \
    COALESCE(CAST(connect_hook AS TEXT), ''), COALESCE(CAST(request_ip AS TEXT), ''), \
    COALESCE(CAST(timestamp AS INTEGER), 0), COALESCE(CAST(date AS TEXT), '') \
    FROM appdata WHERE app_key IS NOT NULL ORDER BY rowid";

const INSERT: &str = "INSERT INTO appdata \
    (app_key, auth_account, auth_password, connect_hook, request_ip, timestamp, date) VALUES (?, ?, ?, ?, ?, ?, ?)";

/// An open database. One connection serves: it is asked a few times an hour.
#[derive(Debug)]
pub struct Store {
    connection: Mutex<SqliteConnection>,
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
    /// [`StoreError::Exists`] when its key is taken.
    pub async fn insert(&self, app: &App) -> Result<(), StoreError> {
        sqlx::query(INSERT)
            .bind(app.key.as_str())
            .bind(&app.admin.account)
            .bind(&app.admin.hash.0)
            .bind(&app.connect_hook)
            .bind(&app.request_ip)
            .bind(app.registered.timestamp_ms)
            .bind(&app.registered.date)
            .execute(&mut *self.connection.lock().await)
            .await?;
        Ok(())
    }

    /// Takes an app away; it need not be there.
    ///
    /// # Errors
    /// The database failed.
    pub async fn remove(&self, key: &AppKey) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM appdata WHERE app_key = ?").bind(key.as_str());
        query.execute(&mut *self.connection.lock().await).await?;
        Ok(())
    }
}

fn read(row: &SqliteRow) -> Result<App, sqlx::Error> {
    Ok(App {
        key: AppKey::stored(row.try_get(0)?),
        admin: Admin { account: row.try_get(1)?, hash: Hash(row.try_get(2)?) },
        connect_hook: row.try_get(3)?,
        request_ip: row.try_get(4)?,
        registered: Registered { timestamp_ms: row.try_get(5)?, date: row.try_get(6)? },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(key: &str) -> App {
        App {
            key: AppKey::parse(key).unwrap(),
            admin: Admin { account: "admin".into(), hash: Hash("$2a$05$x".into()) },
            connect_hook: "http://localhost/hook".into(),
            request_ip: "127.0.0.1:7".into(),
            registered: Registered { timestamp_ms: 1_440_473_952_104, date: "2015/08/25 11:39:12".into() },
        }
    }

    #[tokio::test]
    async fn apps_come_back_in_the_order_they_were_added() {
        let store = Store::in_memory().await.unwrap();
        for key in ["b", "a", "c"] {
            store.insert(&app(key)).await.unwrap();
        }
        assert!(matches!(store.insert(&app("a")).await, Err(StoreError::Exists)));
        store.remove(&app("b").key).await.unwrap();
        let keys: Vec<_> = store.apps().await.unwrap().into_iter().map(|app| app.key.to_string()).collect();
        assert_eq!(keys, ["a", "c"]);
    }

    #[tokio::test]
    async fn rows_with_nulls_and_text_timestamps_are_read() {
        let store = Store::in_memory().await.unwrap();
        let old = "INSERT INTO appdata VALUES ('old', 'a', 'h', NULL, NULL, '1440473952104', NULL)";
        sqlx::query(old).execute(&mut *store.connection.lock().await).await.unwrap();
        let apps = store.apps().await.unwrap();
        assert_eq!(apps[0].connect_hook, "");
        assert_eq!(apps[0].registered.timestamp_ms, 1_440_473_952_104);
    }
}
