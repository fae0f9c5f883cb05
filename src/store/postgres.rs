//! The apps in a PostgreSQL database that nodes on many hosts share, in tables of our own: `gusher_apps`, and
//! `gusher_schema` with their version.
//!
//! One connection serves, since it is asked a few times an hour. Each call is one transaction on it. Always: a
//! connection on which something failed, or whose answer was not waited for, is dropped, and with it what was not
//! committed; the next call makes a new one. Whoever waits for the connection waits within the time of the call. Nothing
//! is left with the server between two transactions, so a pooler such as PgBouncer may stand before it.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, PgConnection};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout};

use super::{AppRow, NodeRow, StoreError, settings};
use crate::config::{PostgresConfig, PostgresTls};
use crate::model::{App, AppKey};

/// How long a call may take, be it that the server is away or that it is slow.
const CALL_TIME_MAX: Duration = Duration::from_secs(5);

/// How long a connection that was not used for a while may take to show that it lives. Where something on the way has
/// forgotten it, nobody says so.
const WAKE_TIME_MAX: Duration = Duration::from_secs(1);

/// When a call has waited for the server in vain, others that were waiting behind it are refused at once, for so long.
const QUIET_TIME: Duration = Duration::from_secs(1);

/// The server gives up by itself a little sooner than we do.
const BEGIN: &str = "BEGIN; SET LOCAL statement_timeout = 4000";

/// What brings the tables from one version to the next. They only ever add, so that nodes of the version before go on
/// while others are replaced.
const MIGRATIONS: [&str; 1] = ["CREATE TABLE gusher_apps (\
    app_key text CONSTRAINT gusher_apps_app_key PRIMARY KEY, \
    app_id text NOT NULL CONSTRAINT gusher_apps_app_id UNIQUE, \
    app_secret text NOT NULL, \
    admin_account text NOT NULL, \
    admin_hash text NOT NULL, \
    connect_hook text NOT NULL, \
    request_ip text NOT NULL, \
    registered_ms bigint NOT NULL, \
    registered_date text NOT NULL, \
    settings text NOT NULL DEFAULT '{}', \
    ordinal bigint GENERATED ALWAYS AS IDENTITY)"];

/// Asked first, since whoever may not make tables may still use them.
const MAY_MAKE: &str = "SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)";
const HAS_SCHEMA: &str = "SELECT to_regclass('gusher_schema') IS NOT NULL";

const SCHEMA: &str =
    "CREATE TABLE gusher_schema (version integer NOT NULL); INSERT INTO gusher_schema VALUES (0)";

/// Whose tables are made or changed waits for others who do the same. The number is ours alone.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7453010386)";

const SELECT: &str = "SELECT app_key, app_id, app_secret, admin_account, admin_hash, connect_hook, request_ip, \
    registered_ms, registered_date FROM gusher_apps WHERE $1 IS NULL OR app_key = $1 ORDER BY ordinal";

const INSERT: &str = "INSERT INTO gusher_apps (app_key, app_id, app_secret, admin_account, admin_hash, \
    connect_hook, request_ip, registered_ms, registered_date) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

const SELECT_SETTINGS: &str =
    "SELECT app_key, settings FROM gusher_apps WHERE settings <> '{}' AND ($1 IS NULL OR app_key = $1)";

const SELECT_TO_CHANGE: &str = "SELECT settings FROM gusher_apps WHERE app_key = $1 FOR UPDATE";

const SAVE_SETTINGS: &str = "UPDATE gusher_apps SET settings = $2 WHERE app_key = $1";

const DELETE: &str = "DELETE FROM gusher_apps WHERE app_key = $1";

/// Not one of the migrations: a node whose user may make no tables does without.
const NODES_SCHEMA: &str = "CREATE TABLE gusher_nodes (\
    id text PRIMARY KEY, name text NOT NULL, beat bigint NOT NULL, seen timestamptz NOT NULL)";

const HAS_NODES: &str = "SELECT to_regclass('gusher_nodes') IS NOT NULL";

const BEAT: &str = "INSERT INTO gusher_nodes AS node (id, name, beat, seen) VALUES ($1, $2, 1, now()) \
    ON CONFLICT (id) DO UPDATE SET beat = node.beat + 1, seen = now()";

const FORGET_NODES: &str = "DELETE FROM gusher_nodes WHERE id = $1 OR seen NOT BETWEEN now() - interval '1 hour' AND now() + interval '1 hour'";

const SELECT_NODES: &str = "SELECT id, name, beat, extract(epoch FROM now() - seen)::bigint \
    FROM gusher_nodes ORDER BY name, id";

/// A database on a server.
#[derive(Debug)]
pub struct Postgres {
    options: PgConnectOptions,
    place: Mutex<Place>,
}

/// Where the connection is between two calls.
#[derive(Debug, Default)]
struct Place {
    idle: Option<PgConnection>,
    /// No call is tried before that.
    quiet_until: Option<Instant>,
}

/// A transaction. Unless it is committed nothing has happened.
struct Session<'a> {
    place: MutexGuard<'a, Place>,
    connection: PgConnection,
}

impl Postgres {
    pub(super) async fn connect(config: &PostgresConfig) -> Result<Self, StoreError> {
        let store = Self { options: options(config)?, place: Mutex::default() };
        in_time(store.migrate()).await?;
        Ok(store)
    }

    /// Whether [`Postgres::connect`] would find its tables.
    pub(super) async fn is_there(config: &PostgresConfig) -> Result<bool, StoreError> {
        let store = Self { options: options(config)?, place: Mutex::default() };
        in_time(async {
            let mut session = store.begin().await?;
            let asked = sqlx::query_scalar(HAS_SCHEMA).persistent(false);
            Ok(asked.fetch_one(&mut session.connection).await?)
        })
        .await
    }

    /// Whether [`Postgres::connect`] may make its tables.
    pub(super) async fn may_make(config: &PostgresConfig) -> Result<bool, StoreError> {
        let store = Self { options: options(config)?, place: Mutex::default() };
        in_time(async {
            let mut session = store.begin().await?;
            let asked = sqlx::query_scalar(MAY_MAKE).persistent(false);
            Ok(asked.fetch_one(&mut session.connection).await?)
        })
        .await
    }

    pub(super) async fn apps(&self, only: Option<&AppKey>) -> Result<Vec<AppRow>, StoreError> {
        in_time(async {
            let mut session = self.begin().await?;
            let query = sqlx::query_as(SELECT).persistent(false).bind(only.map(AppKey::as_str));
            let rows = query.fetch_all(&mut session.connection).await?;
            session.commit().await?;
            Ok(rows)
        })
        .await
    }

    pub(super) async fn insert(&self, app: &App) -> Result<(), StoreError> {
        in_time(async {
            let mut session = self.begin().await?;
            sqlx::query(INSERT)
                .persistent(false)
                .bind(app.key.as_str())
                .bind(&app.id)
                .bind(&app.secret.0)
                .bind(&app.admin.account)
                .bind(&app.admin.hash.0)
                .bind(&app.connect_hook)
                .bind(&app.request_ip)
                .bind(app.registered.timestamp_ms)
                .bind(&app.registered.date)
                .execute(&mut session.connection)
                .await?;
            session.commit().await
        })
        .await
    }

    pub(super) async fn remove(&self, key: &AppKey) -> Result<(), StoreError> {
        in_time(async {
            let mut session = self.begin().await?;
            let query = sqlx::query(DELETE).persistent(false).bind(key.as_str());
            query.execute(&mut session.connection).await?;
            session.commit().await
        })
        .await
    }

    pub(super) async fn settings(&self, only: Option<&AppKey>) -> Result<Vec<(String, String)>, StoreError> {
        in_time(async {
            let mut session = self.begin().await?;
            let query = sqlx::query_as(SELECT_SETTINGS).persistent(false).bind(only.map(AppKey::as_str));
            let rows = query.fetch_all(&mut session.connection).await?;
            session.commit().await?;
            Ok(rows)
        })
        .await
    }

    pub(super) async fn save_settings(
        &self,
        key: &AppKey,
        change: settings::Change,
    ) -> Result<(), StoreError> {
        in_time(async {
            let mut session = self.begin().await?;
            let query = sqlx::query_scalar(SELECT_TO_CHANGE).persistent(false).bind(key.as_str());
            let text: Option<String> = query.fetch_optional(&mut session.connection).await?;
            let text = change.apply(key, &text.ok_or(StoreError::Unknown)?)?;
            sqlx::query(SAVE_SETTINGS)
                .persistent(false)
                .bind(key.as_str())
                .bind(text)
                .execute(&mut session.connection)
                .await?;
            session.commit().await
        })
        .await
    }

    pub(super) async fn beat(&self, id: &str, name: &str) -> Result<(), StoreError> {
        in_time(async {
            let mut session = self.begin().await?;
            let connection = &mut session.connection;
            sqlx::raw_sql(LOCK).execute(&mut *connection).await?;
            if !sqlx::query_scalar(HAS_NODES).persistent(false).fetch_one(&mut *connection).await? {
                sqlx::raw_sql(NODES_SCHEMA).execute(&mut *connection).await?;
            }
            sqlx::query(FORGET_NODES).persistent(false).bind("").execute(&mut *connection).await?;
            sqlx::query(BEAT).persistent(false).bind(id).bind(name).execute(&mut *connection).await?;
            session.commit().await
        })
        .await
    }

    pub(super) async fn leave(&self, id: &str) -> Result<(), StoreError> {
        in_time(async {
            let mut session = self.begin().await?;
            let query = sqlx::query(FORGET_NODES).persistent(false).bind(id);
            query.execute(&mut session.connection).await?;
            session.commit().await
        })
        .await
    }

    pub(super) async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        in_time(async {
            let mut session = self.begin().await?;
            let connection = &mut session.connection;
            let is_there =
                sqlx::query_scalar(HAS_NODES).persistent(false).fetch_one(&mut *connection).await?;
            let rows = match is_there {
                true => sqlx::query_as(SELECT_NODES).persistent(false).fetch_all(&mut *connection).await?,
                false => Vec::new(),
            };
            session.commit().await?;
            Ok(rows)
        })
        .await
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        let mut session = self.begin().await?;
        let connection = &mut session.connection;
        sqlx::raw_sql(LOCK).execute(&mut *connection).await?;
        if !sqlx::query_scalar(HAS_SCHEMA).persistent(false).fetch_one(&mut *connection).await? {
            sqlx::raw_sql(SCHEMA).execute(&mut *connection).await?;
        }
        let version = sqlx::query_scalar("SELECT version FROM gusher_schema").persistent(false);
        let found: i32 = version.fetch_one(&mut *connection).await?;
        let known = MIGRATIONS.len();
        let missing = usize::try_from(found).ok().and_then(|found| MIGRATIONS.get(found..));
        for migration in missing.ok_or(StoreError::Newer { found, known })? {
            sqlx::raw_sql(*migration).execute(&mut *connection).await?;
            let next = "UPDATE gusher_schema SET version = version + 1";
            sqlx::raw_sql(next).execute(&mut *connection).await?;
        }
        session.commit().await
    }

    /// Begins a transaction, on the connection that is there or on a new one.
    async fn begin(&self) -> Result<Session<'_>, StoreError> {
        let mut place = self.place.lock().await;
        if place.quiet_until.is_some_and(|until| Instant::now() < until) {
            return Err(StoreError::Silent);
        }
        // It stays so only if we are given up while we wait.
        place.quiet_until = Some(Instant::now() + CALL_TIME_MAX + QUIET_TIME);
        let connection = match place.idle.take() {
            Some(connection) => timeout(WAKE_TIME_MAX, begun(connection)).await.ok().and_then(Result::ok),
            None => None,
        };
        let connection = match connection {
            Some(connection) => Ok(connection),
            None => self.connect_anew().await,
        };
        place.quiet_until = None;
        Ok(Session { place, connection: connection? })
    }

    async fn connect_anew(&self) -> Result<PgConnection, sqlx::Error> {
        begun(self.options.connect().await?).await
    }
}

impl Session<'_> {
    async fn commit(mut self) -> Result<(), StoreError> {
        sqlx::raw_sql("COMMIT").execute(&mut self.connection).await?;
        self.place.idle = Some(self.connection);
        Ok(())
    }
}

async fn begun(mut connection: PgConnection) -> Result<PgConnection, sqlx::Error> {
    sqlx::raw_sql(BEGIN).execute(&mut connection).await?;
    Ok(connection)
}

async fn in_time<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(CALL_TIME_MAX, call).await.unwrap_or(Err(StoreError::Silent))
}

fn options(config: &PostgresConfig) -> Result<PgConnectOptions, StoreError> {
    let mode = match config.tls.unwrap_or(PostgresTls::Prefer) {
        PostgresTls::Disable => PgSslMode::Disable,
        PostgresTls::Prefer => PgSslMode::Prefer,
        PostgresTls::Require => PgSslMode::Require,
        PostgresTls::VerifyCa => PgSslMode::VerifyCa,
        PostgresTls::VerifyFull => PgSslMode::VerifyFull,
    };
    let options = PgConnectOptions::new_without_pgpass()
        .host(&config.host)
        .port(config.port)
        .database(&config.database)
        .username(&config.user)
        .password(config.password.reveal())
        .ssl_mode(mode)
        .application_name("gusher")
        // A pooler would not know it.
        .extra_float_digits(None)
        .disable_statement_logging();
    let Some(file) = &config.ca_file else { return Ok(options) };
    let pem = std::fs::read(file).map_err(|error| StoreError::Certificates(file.clone(), error))?;
    Ok(options.ssl_root_cert_from_pem(pem))
}
