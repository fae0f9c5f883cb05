//! What must survive a restart: the registered apps and their settings, and what webhooks have still to tell. Nothing here
//! is on the way of a publication.
//!
//! The store is SQLite. A second kind would become a second file here that passes the same tests.

mod identity;
mod outbox;
mod outbox_place;
mod settings;
mod sqlite;

pub use identity::new_identity;
pub use outbox::{Entry, Lane, Outbox, Waiting};
pub use outbox_place::OutboxPlace;
pub use sqlite::Store;

/// Why the store could not do as asked.
#[derive(Debug)]
pub enum StoreError {
    /// An app of this key or of this id is stored already.
    Exists,
    /// The database failed.
    Failed(sqlx::Error),
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
            StoreError::Failed(error) => write!(out, "{error}"),
            StoreError::Settings { app, reason } => write!(out, "the settings of the app {app:?} {reason}"),
            StoreError::Randomness(error) => write!(out, "no randomness for the secret of an app: {error}"),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let taken = error.as_database_error().is_some_and(|error| error.is_unique_violation());
        if taken { StoreError::Exists } else { StoreError::Failed(error) }
    }
}

impl From<getrandom::Error> for StoreError {
    fn from(error: getrandom::Error) -> Self {
        StoreError::Randomness(error)
    }
}
