//! An SQLite database as each user of it holds it: by one connection.
//!
//! Always: a connection on which anything failed, or whose answer was not waited for, is closed, and the next session opens a
//! new one. SQLite ends some transactions by itself when they fail (a full disk, an I/O error), and what the driver believes
//! of the connection would be wrong from then on. What writes takes the lock for writing when it begins, so it waits for
//! others there and is not refused halfway. A file is made for this user alone, as it holds secrets; what SQLite makes
//! beside it has the same mode.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqliteConnection};

use super::StoreError;

/// How long another process may hold the file before a call fails.
pub(super) const BUSY_TIME_MAX: Duration = Duration::from_secs(5);

/// For its owner, and nobody else.
const FILE_MODE: u32 = 0o600;

/// A database, between two sessions.
#[derive(Debug)]
pub(super) struct SqliteFile {
    options: SqliteConnectOptions,
    idle: Option<SqliteConnection>,
    /// A database in memory is there as long as somebody is connected to it.
    _anchor: Option<SqliteConnection>,
}

/// A connection in use. Unless it is given back it is closed, and what was not committed has not happened.
pub(super) struct Session<'a> {
    pub connection: SqliteConnection,
    idle: &'a mut Option<SqliteConnection>,
}

impl SqliteFile {
    /// Opens a file, which is made if it is not there.
    pub async fn open(file: &Path) -> Result<Self, StoreError> {
        make(file)?;
        let options = quiet(SqliteConnectOptions::new().filename(file));
        Ok(Self { idle: Some(options.connect().await?), options, _anchor: None })
    }

    /// Makes a database in memory.
    pub async fn in_memory() -> Result<Self, StoreError> {
        let options = quiet("sqlite::memory:".parse()?);
        let anchor = options.connect().await?;
        Ok(Self { idle: Some(options.connect().await?), options, _anchor: Some(anchor) })
    }

    /// Commits of further connections reach the kernel, and not the disk at once. For write-ahead logs alone.
    pub fn relax(&mut self) {
        self.options = self.options.clone().synchronous(SqliteSynchronous::Normal);
        self.idle = None;
    }

    /// Begins to read, or what is no transaction.
    pub async fn read(&mut self) -> Result<Session<'_>, StoreError> {
        let connection = match self.idle.take() {
            Some(connection) => connection,
            None => self.options.connect().await?,
        };
        Ok(Session { connection, idle: &mut self.idle })
    }

    /// Begins a transaction that may write.
    pub async fn write(&mut self) -> Result<Session<'_>, StoreError> {
        let mut session = self.read().await?;
        // Not the driver's own: it would count transactions, and could not know of those that SQLite has ended.
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut session.connection).await?;
        Ok(session)
    }
}

impl Session<'_> {
    /// Ends what was no transaction.
    pub fn done(self) {
        *self.idle = Some(self.connection);
    }

    /// Ends a transaction.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        sqlx::raw_sql("COMMIT").execute(&mut self.connection).await?;
        self.done();
        Ok(())
    }
}

fn quiet(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options.disable_statement_logging().busy_timeout(BUSY_TIME_MAX)
}

/// Makes a file if it is not there: an empty one is an empty database.
fn make(file: &Path) -> Result<(), StoreError> {
    let made = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(file);
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(StoreError::Failed(sqlx::Error::Io(error)))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn a_connection_on_which_a_transaction_failed_is_not_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gusher.db");
        for mut file in [SqliteFile::open(&path).await.unwrap(), SqliteFile::in_memory().await.unwrap()] {
            let mut session = file.write().await.unwrap();
            sqlx::raw_sql("CREATE TABLE t (x)").execute(&mut session.connection).await.unwrap();
            session.commit().await.unwrap();
            // As on a full disk, SQLite ends the transaction by itself.
            let mut session = file.write().await.unwrap();
            sqlx::raw_sql("PRAGMA max_page_count = 3").execute(&mut session.connection).await.unwrap();
            let filling = sqlx::raw_sql("INSERT INTO t VALUES (1), (zeroblob(100000))");
            let error = filling.execute(&mut session.connection).await.unwrap_err();
            assert!(error.to_string().contains("full"), "{error}");
            drop(session);
            let mut session = file.write().await.unwrap();
            sqlx::raw_sql("INSERT INTO t VALUES (2)").execute(&mut session.connection).await.unwrap();
            session.commit().await.unwrap();
            let mut session = file.read().await.unwrap();
            let rows: Vec<i64> =
                sqlx::query_scalar("SELECT x FROM t").fetch_all(&mut session.connection).await.unwrap();
            assert_eq!(rows, [2]);
        }
    }

    #[tokio::test]
    async fn files_are_made_for_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = SqliteFile::open(&folder.path().join("gusher.db")).await.unwrap();
        let mut session = file.read().await.unwrap();
        let wal = sqlx::raw_sql("PRAGMA journal_mode = WAL; CREATE TABLE t (x)");
        wal.execute(&mut session.connection).await.unwrap();
        let mut modes = Vec::new();
        for entry in folder.path().read_dir().unwrap() {
            modes.push(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777);
        }
        assert_eq!(modes, [0o600; 3], "the file, its log and the index of that");
    }
}
