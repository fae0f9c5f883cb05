//! The apps that a node begins with: those of its store, and the one that it is given.

use super::StartError;
use crate::config::{Config, Database, PostgresConfig};
use crate::hub::{Apps, Hub};
use crate::model::{App, Refusal};
use crate::store::{Store, StoreError};

/// Opens what apps are kept in.
///
/// # Errors
/// It cannot be used, and what to do about it.
pub(crate) async fn open_store(config: &Config) -> Result<Store, StartError> {
    let opened = match (&config.store, &config.database) {
        (Some(server), _) => Store::connect(server).await,
        (None, Database::File(file)) => Store::open(file).await,
        (None, Database::Memory) => Store::in_memory().await,
    };
    opened.map_err(|error| unusable_store(config, &error))
}

/// Whether [`open_store`] would make what apps are kept in, or its tables.
///
/// # Errors
/// As for [`open_store`].
pub(crate) async fn is_new(config: &Config) -> Result<bool, StartError> {
    match (&config.store, &config.database) {
        (Some(server), _) => {
            let asked = Store::is_on_server(server).await;
            asked.map(|is_there| !is_there).map_err(|error| unusable_server(server, &error))
        }
        (None, Database::File(file)) => Ok(!file.exists()),
        (None, Database::Memory) => Ok(true),
    }
}

/// Whether our tables may be made where they are not; of a file that is another question.
///
/// # Errors
/// As for [`open_store`].
pub(crate) async fn may_make(server: &PostgresConfig) -> Result<bool, StartError> {
    Store::may_make_on_server(server).await.map_err(|error| unusable_server(server, &error))
}

/// Whether an app that [`ensure`] is to make sure of is registered already, as the store tells.
///
/// # Errors
/// Another app has its key or its id, or as for [`open_store`].
pub(crate) async fn is_registered(store: &Store, app: &App, config: &Config) -> Result<bool, StartError> {
    let there = store.apps(None).await.map_err(|error| unusable_store(config, &error))?;
    if let Some(there) = there.iter().find(|there| there.key == app.key) {
        return is_same(there, app).map(|()| true);
    }
    match there.iter().any(|there| there.id == app.id) {
        true => Err(cannot_add(app, &format!("another app has the id {}", app.id))),
        false => Ok(false),
    }
}

/// The apps of the store.
pub(super) async fn load(config: &Config) -> Result<Apps, StartError> {
    let store = open_store(config).await?;
    let apps = Apps::load(store).await.map_err(|error| unusable_store(config, &error))?;
    let is_of_cluster = config.role.is_of_cluster();
    Ok(if is_of_cluster { apps.without_registration(config.cluster.apps_max) } else { apps })
}

/// Makes sure that an app is registered, without asking anybody. One that has the same id and secret stays as it
/// is, whoever administers it.
pub(super) async fn ensure(hub: &Hub, app: &App) -> Result<(), StartError> {
    if is_there(hub, app)? {
        return Ok(());
    }
    let reason = match hub.register(app.clone()).await {
        Ok(_) => return Ok(()),
        // Another node that starts at the same time was quicker.
        Err(Refusal::AppExists) if is_there(hub, app)? => return Ok(()),
        Err(Refusal::AppExists) => "its key is an additional key of another app".to_owned(),
        Err(Refusal::AppIdTaken) => format!("another app has the id {}", app.id),
        Err(_) => "the database failed; the log says why".to_owned(),
    };
    Err(cannot_add(app, &reason))
}

fn cannot_add(app: &App, reason: &str) -> StartError {
    StartError(format!("cannot add the app {:?}: {reason}", app.key.as_str()))
}

/// Whether an app is known, with the same id and secret.
fn is_there(hub: &Hub, app: &App) -> Result<bool, StartError> {
    let Ok(there) = hub.app(app.key.as_str()) else { return Ok(false) };
    is_same(&there.app, app).map(|()| true)
}

/// Whether an app of the same key is the same.
fn is_same(there: &App, app: &App) -> Result<(), StartError> {
    let is_same = there.id == app.id && there.secret == app.secret;
    is_same.then_some(()).ok_or_else(|| {
        StartError(format!(
            "the app {:?} is there with another id or secret: start with those, or with another key",
            app.key.as_str()
        ))
    })
}

fn unusable_store(config: &Config, error: &StoreError) -> StartError {
    match &config.store {
        Some(server) => unusable_server(server, error),
        None => unusable(&config.database, error),
    }
}

/// Why the file or the memory of a node cannot be used, with what to do.
pub(super) fn unusable(database: &Database, error: &StoreError) -> StartError {
    match database {
        Database::File(file) if matches!(error, StoreError::Settings { .. }) => StartError(format!(
            "cannot use the database {}: {error}: mend or delete its row in the table gusher_settings",
            file.display()
        )),
        Database::File(file) => StartError(format!(
            "cannot use the database {}: {error}: set sqlfile to a writable SQLite file",
            file.display()
        )),
        Database::Memory => StartError(format!("cannot make a database in memory: {error}")),
    }
}

fn unusable_server(server: &PostgresConfig, error: &StoreError) -> StartError {
    let remedy = match error {
        StoreError::Settings { .. } => "mend its settings in the table gusher_apps",
        StoreError::Newer { .. } => "start a newer Gusher",
        StoreError::Certificates(..) => "set store.ca_file to a file that can be read",
        _ => "see that it runs and lets this node in, or set store.url to another",
    };
    StartError(format!("cannot use the database {server}: {error}: {remedy}"))
}
