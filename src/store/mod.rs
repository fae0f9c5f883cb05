//! What must survive a restart: the registered apps and their settings, and what webhooks have still to tell. Nothing here
//! is on the way of a publication.
//!
//! The apps are in an SQLite file ([`Store::Sqlite`]), or in a PostgreSQL database that nodes on many hosts share
//! ([`Store::Postgres`]). Both keep the same promises, and pass the same tests (`tests/store_contract.rs`):
//!
//! 1. An app is there with its settings or not at all, whatever fails meanwhile; the same for each change.
//! 2. No two apps have one key, and no two one id, however many nodes register at once.
//! 3. A change of settings changes those that differ and no others: two nodes that change different ones at once lose
//!    nothing.
//! 4. What was changed through one store is seen by whoever asks another on the same database next.
//! 5. A call ends in bounded time. After a failure the next one starts afresh.

mod held;
mod identity;
mod outbox;
mod outbox_place;
mod postgres;
mod settings;
mod sqlite;
mod sqlite_file;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

pub use held::has_room;
pub use identity::new_identity;
pub use outbox::{Entry, Lane, Outbox, Waiting};
pub use outbox_place::OutboxPlace;
use postgres::Postgres;
use sqlite::Sqlite;

use crate::config::PostgresConfig;
use crate::model::{Admin, App, AppKey, AppSecret, AppSettings, Hash, Registered};

/// The apps and their settings, on disk or on a server.
#[derive(Debug)]
pub enum Store {
    /// An SQLite database of this node, or of the nodes on this host.
    Sqlite(Box<Sqlite>),
    /// A PostgreSQL database.
    Postgres(Box<Postgres>),
}

impl Store {
    /// Opens an SQLite file, which is made if it is not there.
    ///
    /// # Errors
    /// The file cannot be opened or is no database.
    pub async fn open(file: &Path) -> Result<Self, StoreError> {
        Sqlite::open(file).await.map(|store| Self::Sqlite(Box::new(store)))
    }

    /// Opens an SQLite database that lives in memory and goes with the process.
    ///
    /// # Errors
    /// SQLite cannot be started.
    pub async fn in_memory() -> Result<Self, StoreError> {
        Sqlite::in_memory().await.map(|store| Self::Sqlite(Box::new(store)))
    }

    /// Connects to a PostgreSQL database, where our tables are made if they are not there.
    ///
    /// # Errors
    /// It cannot be reached or does not let us in, `ca_file` cannot be read, or a newer version made the tables.
    pub async fn connect(config: &PostgresConfig) -> Result<Self, StoreError> {
        Postgres::connect(config).await.map(|store| Self::Postgres(Box::new(store)))
    }

    /// Whether our tables are in a PostgreSQL database, which is left as it is.
    ///
    /// # Errors
    /// It cannot be reached or does not let us in, or `ca_file` cannot be read.
    pub async fn is_on_server(config: &PostgresConfig) -> Result<bool, StoreError> {
        Postgres::is_there(config).await
    }

    /// Whether our tables may be made in a PostgreSQL database, which is left as it is.
    ///
    /// # Errors
    /// As for [`Store::is_on_server`].
    pub async fn may_make_on_server(config: &PostgresConfig) -> Result<bool, StoreError> {
        Postgres::may_make(config).await
    }

    /// The app of a key, or all apps in the order of their registration.
    ///
    /// # Errors
    /// The database failed.
    pub async fn apps(&self, only: Option<&AppKey>) -> Result<Vec<App>, StoreError> {
        let rows = match self {
            Self::Sqlite(store) => store.apps(only).await?,
            Self::Postgres(store) => store.apps(only).await?,
        };
        Ok(rows.into_iter().map(app).collect())
    }

    /// Adds an app.
    ///
    /// # Errors
    /// [`StoreError::Exists`], [`StoreError::IdTaken`]; the database failed.
    pub async fn insert(&self, app: &App) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(store) => store.insert(app).await,
            Self::Postgres(store) => store.insert(app).await,
        }
    }

    /// Takes an app away, with its settings; it need not be there.
    ///
    /// # Errors
    /// The database failed.
    pub async fn remove(&self, key: &AppKey) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(store) => store.remove(key).await,
            Self::Postgres(store) => store.remove(key).await,
        }
    }

    /// The settings of an app, or of all that were ever set, by the key of the app.
    ///
    /// # Errors
    /// [`StoreError::Settings`] when they are broken; the database failed.
    pub async fn settings(&self, only: Option<&AppKey>) -> Result<HashMap<String, AppSettings>, StoreError> {
        settings::read_all(match self {
            Self::Sqlite(store) => store.settings(only).await?,
            Self::Postgres(store) => store.settings(only).await?,
        })
    }

    /// Keeps those settings of an app that are not as they were `before`.
    ///
    /// # Errors
    /// [`StoreError::Unknown`]; [`StoreError::Settings`] when what is stored is broken; the database failed.
    pub async fn save_settings(
        &self,
        key: &AppKey,
        before: &AppSettings,
        settings: &AppSettings,
    ) -> Result<(), StoreError> {
        let change = settings::Change::new(before, settings);
        match self {
            Self::Sqlite(store) => store.save_settings(key, change).await,
            Self::Postgres(store) => store.save_settings(key, change).await,
        }
    }

    /// Says that a process uses the database.
    ///
    /// # Errors
    /// The database failed, or lets this user make no table.
    pub async fn beat(&self, id: &str, name: &str) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(store) => store.beat(id, name).await,
            Self::Postgres(store) => store.beat(id, name).await,
        }
    }

    /// Takes back what [`Store::beat`] said.
    ///
    /// # Errors
    /// The database failed.
    pub async fn leave(&self, id: &str) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(store) => store.leave(id).await,
            Self::Postgres(store) => store.leave(id).await,
        }
    }

    /// Who has said that it uses the database, and has not left. Who died is among them for an hour.
    ///
    /// # Errors
    /// The database failed.
    pub async fn nodes(&self) -> Result<Vec<StoreNode>, StoreError> {
        let rows = match self {
            Self::Sqlite(store) => store.nodes().await?,
            Self::Postgres(store) => store.nodes().await?,
        };
        let node = |(id, name, beat, age_seconds)| StoreNode { id, name, beat, age_seconds };
        Ok(rows.into_iter().map(node).collect())
    }
}

/// A node as it is selected: its id, its name, how often it has written here, and how many seconds ago it did so last.
type NodeRow = (String, String, i64, i64);

/// A process that uses the database, as it says itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreNode {
    /// Drawn by lot at its start.
    pub id: String,
    /// Host and process.
    pub name: String,
    /// How often it has said so.
    pub beat: i64,
    /// How long ago it did so last, in seconds by the clock of the database.
    pub age_seconds: i64,
}

/// An app as it is selected: key, id, secret, account and hash of the admin, connect hook, address and time of the
/// registration, its date.
type AppRow = (String, String, String, String, String, String, String, i64, String);

fn app(row: AppRow) -> App {
    let (key, id, secret, account, hash, connect_hook, request_ip, timestamp_ms, date) = row;
    App {
        key: AppKey::stored(&key),
        id,
        secret: AppSecret(secret),
        admin: Admin { account, hash: Hash(hash) },
        connect_hook,
        request_ip,
        registered: Registered { timestamp_ms, date },
    }
}

/// Why the store could not do as asked. None shows a secret.
#[derive(Debug)]
pub enum StoreError {
    /// An app of this key is stored already.
    Exists,
    /// Another app has this id.
    IdTaken,
    /// There is no such app any more.
    Unknown,
    /// The database failed.
    Failed(sqlx::Error),
    /// The database did not answer in time, or did not a moment ago.
    Silent,
    /// A newer version made the tables.
    Newer {
        /// The version of the tables.
        found: i32,
        /// The newest that we know.
        known: usize,
    },
    /// The certificates to trust cannot be read.
    Certificates(PathBuf, std::io::Error),
    /// The settings of an app are not as we write them.
    Settings {
        /// The key of the app.
        app: String,
        /// What is wrong with them; holds none of their values.
        reason: String,
    },
    /// The system has no randomness to give to an app that needs an identity.
    Randomness(getrandom::Error),
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StoreError::Exists => out.write_str("the app exists already"),
            StoreError::IdTaken => out.write_str("another app has this id"),
            StoreError::Unknown => out.write_str("the app is not there any more"),
            StoreError::Failed(error) => match error.as_database_error() {
                // The driver adds where in its source the server found it.
                Some(error) => out.write_str(error.message()),
                None => write!(out, "{error}"),
            },
            StoreError::Silent => out.write_str("it does not answer in time"),
            StoreError::Newer { found, known } => {
                write!(out, "its tables are of version {found}, and this Gusher knows {known}")
            }
            StoreError::Certificates(file, error) => write!(out, "{}: {error}", file.display()),
            StoreError::Settings { app, reason } => write!(out, "the settings of the app {app:?} {reason}"),
            StoreError::Randomness(error) => write!(out, "no randomness for the secret of an app: {error}"),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error() {
            // SQLite names the column, PostgreSQL the constraint, which is named after it.
            Some(taken) if taken.is_unique_violation() => {
                let what = taken.constraint().unwrap_or(taken.message());
                if what.contains("app_id") { StoreError::IdTaken } else { StoreError::Exists }
            }
            _ => StoreError::Failed(error),
        }
    }
}

impl From<getrandom::Error> for StoreError {
    fn from(error: getrandom::Error) -> Self {
        StoreError::Randomness(error)
    }
}
