//! The settings of the apps: one row for each app that was ever set, holding one JSON object.
//!
//! Only what differs from its default is written, so a default that changes in a later version reaches all who never
//! chose. A setting that this version does not know is left in its row and told of in the log: it was written by
//! a newer version, which finds it again. A row that makes no sense otherwise is an error, since an app that forgot
//! its limits would be open to what they keep out.

use std::collections::HashMap;

use serde_json::{Map, Value};
use sqlx::{Connection, SqliteConnection};

use super::{Store, StoreError};
use crate::model::{AppKey, AppSettings, SettingFault};

const SCHEMA: &str =
    "CREATE TABLE IF NOT EXISTS gusher_settings (app_key PRIMARY KEY NOT NULL, settings NOT NULL)";

const DELETE_WITHOUT_APP: &str = "DELETE FROM gusher_settings WHERE app_key NOT IN \
    (SELECT CAST(app_key AS TEXT) FROM appdata WHERE app_key IS NOT NULL)";

const SELECT: &str = "SELECT CAST(app_key AS TEXT), CAST(settings AS TEXT) FROM gusher_settings";

/// `json_patch` (RFC 7396) replaces members one by one and takes away those that are null.
const SAVE: &str = "INSERT INTO gusher_settings (app_key, settings) VALUES (?1, json_patch('{}', ?2)) \
    ON CONFLICT (app_key) DO UPDATE SET settings = json_patch(settings, ?2)";

/// Makes the table, and takes the rows away whose app is gone.
pub(super) async fn prepare(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let mut transaction = connection.begin().await?;
    sqlx::query(SCHEMA).execute(&mut *transaction).await?;
    sqlx::query(DELETE_WITHOUT_APP).execute(&mut *transaction).await?;
    Ok(transaction.commit().await?)
}

impl Store {
    /// The settings of all apps that were ever set, by the key of the app.
    ///
    /// # Errors
    /// [`StoreError::Settings`] when a row is broken; the database failed.
    pub async fn settings(&self) -> Result<HashMap<String, AppSettings>, StoreError> {
        let rows: Vec<(String, String)> =
            sqlx::query_as(SELECT).fetch_all(&mut *self.connection.lock().await).await?;
        let read = |(app, text): (String, String)| match read(&text) {
            Ok((settings, unknown)) => {
                for setting in unknown {
                    tracing::warn!(app, setting, "a setting of a newer version has no effect");
                }
                Ok((app, settings))
            }
            Err(reason) => Err(StoreError::Settings { app, reason }),
        };
        rows.into_iter().map(read).collect()
    }

    /// Keeps the settings of an app, which is stored.
    ///
    /// # Errors
    /// The database failed.
    pub async fn save_settings(&self, key: &AppKey, settings: &AppSettings) -> Result<(), StoreError> {
        let patch = Value::Object(patch(settings)).to_string();
        let mut connection = self.connection.lock().await;
        sqlx::query(SAVE).bind(key.as_str()).bind(patch).execute(&mut *connection).await?;
        Ok(())
    }
}

/// Every setting that we know: with its value, or null when that is the default.
fn patch(settings: &AppSettings) -> Map<String, Value> {
    let defaults = AppSettings::default().members();
    let differing = |(name, value): (String, Value)| {
        let value = if defaults.get(&name) == Some(&value) { Value::Null } else { value };
        (name, value)
    };
    settings.members().into_iter().map(differing).collect()
}

/// The settings of a row and the names that mean nothing to us; else what is wrong, as the end of a sentence that
/// begins with the settings.
fn read(text: &str) -> Result<(AppSettings, Vec<String>), String> {
    let members: Map<String, Value> =
        serde_json::from_str(text).map_err(|_| "are no JSON object".to_owned())?;
    let (mut settings, mut unknown) = (AppSettings::default(), Vec::new());
    for (name, value) in members {
        match settings.set(&name, value) {
            Ok(()) => {}
            Err(SettingFault::Unknown) => unknown.push(name),
            Err(SettingFault::Value(_)) => return Err(format!("have a broken {name}")),
        }
    }
    settings.check().map_err(|fault| format!("break a rule: {fault}"))?;
    Ok((settings, unknown))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store that has the app `x`, as the Go version would have written it.
    async fn store() -> Store {
        let store = Store::in_memory().await.unwrap();
        execute(&store, "INSERT INTO appdata (app_key) VALUES ('x')").await;
        store
    }

    async fn execute(store: &Store, statement: &'static str) {
        sqlx::query(statement).execute(&mut *store.connection.lock().await).await.unwrap();
    }

    async fn row(store: &Store) -> String {
        let all = "SELECT settings FROM gusher_settings WHERE app_key = 'x'";
        sqlx::query_scalar(all).fetch_one(&mut *store.connection.lock().await).await.unwrap()
    }

    async fn save(store: &Store, settings: &AppSettings) {
        store.save_settings(&AppKey::stored("x"), settings).await.unwrap();
    }

    #[tokio::test]
    async fn settings_come_back_and_defaults_are_not_written() {
        let store = store().await;
        assert!(store.settings().await.unwrap().is_empty());
        let mut settings = AppSettings { cache_ttl: 60, max_connections: Some(3), ..AppSettings::default() };
        save(&store, &settings).await;
        assert_eq!(store.settings().await.unwrap()["x"], settings);
        settings.max_connections = None;
        save(&store, &settings).await;
        assert_eq!(row(&store).await, r#"{"cache_ttl":60}"#);
        assert_eq!(store.settings().await.unwrap()["x"], settings);
    }

    #[tokio::test]
    async fn a_setting_of_a_newer_version_stays_in_its_row() {
        let store = store().await;
        execute(&store, r#"INSERT INTO gusher_settings VALUES ('x', '{"colour":"red","cache_ttl":60}')"#)
            .await;
        assert_eq!(store.settings().await.unwrap()["x"].cache_ttl, 60);
        save(&store, &AppSettings { enabled: false, ..AppSettings::default() }).await;
        assert_eq!(row(&store).await, r#"{"colour":"red","enabled":false}"#);
    }

    #[tokio::test]
    async fn a_broken_row_is_an_error_that_names_the_app_and_no_value() {
        for (settings, reason) in [
            ("", "are no JSON object"),
            ("[1]", "are no JSON object"),
            (r#"{"cache_ttl":"hidden"}"#, "have a broken cache_ttl"),
            (r#"{"additional_keys":["hidden"]}"#, "have a broken additional_keys"),
            (r#"{"cache_ttl":0}"#, "break a rule: cache_ttl is not between 1 and 604800"),
        ] {
            let store = store().await;
            let insert = "INSERT INTO gusher_settings VALUES ('x', ?)";
            sqlx::query(insert).bind(settings).execute(&mut *store.connection.lock().await).await.unwrap();
            let error = store.settings().await.unwrap_err().to_string();
            assert_eq!(error, format!(r#"the settings of the app "x" {reason}"#));
        }
    }

    #[tokio::test]
    async fn settings_go_with_their_app() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gusher.db");
        let store = Store::open(&file).await.unwrap();
        execute(&store, "INSERT INTO appdata (app_key) VALUES ('x'), ('y')").await;
        for key in ["x", "y"] {
            let settings = AppSettings { enabled: false, ..AppSettings::default() };
            store.save_settings(&AppKey::stored(key), &settings).await.unwrap();
        }
        store.remove(&AppKey::stored("x")).await.unwrap();
        assert_eq!(store.settings().await.unwrap().into_keys().collect::<Vec<_>>(), ["y"]);
        execute(&store, "DELETE FROM appdata").await;
        drop(store);
        assert!(Store::open(&file).await.unwrap().settings().await.unwrap().is_empty());
    }
}
