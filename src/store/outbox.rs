//! What webhooks have still to tell, in a table of our own beside the apps: what is added here is told even if the
//! process dies before.
//!
//! The journal is SQLite's write-ahead log. A commit has reached the kernel when [`Outbox::add`] returns, so the end
//! of the process, even by SIGKILL, loses nothing; a power failure may lose the last moments (`synchronous=NORMAL`),
//! but never the soundness of the file. Where the file system allows no such log, SQLite stays with its old journal,
//! and every commit is synchronized. Either way other connections and processes read and write the file as before.
//! Two nodes on one file would both tell what waits in it.
//!
//! A file in which nothing ever waited stays of the kind that the Go version makes: table and log come with the first
//! event.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::StoreError;
use super::held::Held;
use super::sqlite_file::{BUSY_TIME_MAX, SqliteFile};
use crate::metrics::Counter;
use crate::model::{AppKey, ChannelName};

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS gusher_outbox (\
    id INTEGER PRIMARY KEY AUTOINCREMENT, app_key TEXT NOT NULL, url TEXT NOT NULL, lane INTEGER NOT NULL, \
    time_ms INTEGER NOT NULL, event TEXT NOT NULL)";

/// Within equal columns an index is in the order of the ids.
const INDEX: &str = "CREATE INDEX IF NOT EXISTS gusher_outbox_lane ON gusher_outbox (app_key, url, lane)";

const HAS_TABLE: &str = "SELECT COUNT(*) FROM sqlite_schema WHERE name = 'gusher_outbox'";

const COUNT: &str = "SELECT app_key, url, COUNT(*) FROM gusher_outbox GROUP BY app_key, url";

const INSERT: &str = "INSERT INTO gusher_outbox (app_key, url, lane, time_ms, event) VALUES (?, ?, ?, ?, ?)";

const PAGE: &str = "SELECT id, time_ms, event FROM gusher_outbox \
    WHERE app_key = ? AND url = ? AND lane = ? ORDER BY id LIMIT ?";

const DELETE: &str = "DELETE FROM gusher_outbox WHERE id IN (SELECT value FROM json_each(?))";

const DELETE_LANE: &str = "DELETE FROM gusher_outbox WHERE app_key = ? AND url = ? AND lane = ?";

const LANES: &str = "SELECT DISTINCT app_key, url, lane FROM gusher_outbox";

const WAITING: &str = "SELECT url, COUNT(*) FROM gusher_outbox WHERE app_key = ? GROUP BY url";

/// The pause before the journal is changed again, while another process uses the file.
const JOURNAL_PAUSE: Duration = Duration::from_millis(20);

/// How often events that find no room make us count anew.
const RECOUNT_EVERY: Duration = Duration::from_secs(1);

/// Lanes of one webhook: what one of them waits for holds up a part of the channels only.
const LANES_OF_A_WEBHOOK: u32 = 4;

/// What is told in order: some channels of an app, to one URL. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lane {
    /// The app.
    pub app: AppKey,
    /// Where it is told.
    pub url: Arc<str>,
    /// Which of the lanes to there.
    number: u8,
}

impl Lane {
    /// The lane of a channel. It is the same in every process: what waits in a file stays in order.
    pub fn of(app: &AppKey, url: &Arc<str>, channel: &ChannelName) -> Self {
        // FNV-1a, folded: the lowest bits alone know too little of each byte.
        let hash = channel
            .as_str()
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let number = ((hash ^ (hash >> 16)) % LANES_OF_A_WEBHOOK) as u8;
        Self { app: app.clone(), url: Arc::clone(url), number }
    }
}

/// An event on its way in.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where it is told, and behind what.
    pub lane: Lane,
    /// When it happened, Unix time in milliseconds.
    pub time_ms: i64,
    /// What is told, in JSON.
    pub event: Arc<str>,
}

/// An event that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its number. Later events have greater ones.
    pub id: i64,
    /// When it happened, Unix time in milliseconds.
    pub time_ms: i64,
    /// What is told, in JSON.
    pub event: String,
}

/// The events that wait, on a connection of their own.
#[derive(Debug)]
pub struct Outbox {
    open: Mutex<Open>,
    /// How many wait, to be looked at while the database is busy.
    waiting: Arc<Counter>,
}

#[derive(Debug)]
struct Open {
    file: SqliteFile,
    /// Whether there is a table. Until then nothing waits.
    is_prepared: bool,
    /// As far as this process knows, how many wait.
    held: Held,
    recounted: Option<Instant>,
    waiting: Arc<Counter>,
}

impl Outbox {
    /// Opens the database file, which is made if it is not there. At most `waiting_max` events wait in it.
    ///
    /// # Errors
    /// The file cannot be opened or is no database.
    pub async fn open(file: &Path, waiting_max: usize) -> Result<Self, StoreError> {
        Self::on(SqliteFile::open(file).await?, waiting_max).await
    }

    /// Opens a database that lives in memory and goes with the process.
    ///
    /// # Errors
    /// SQLite cannot be started.
    pub async fn in_memory(waiting_max: usize) -> Result<Self, StoreError> {
        Self::on(SqliteFile::in_memory().await?, waiting_max).await
    }

    async fn on(file: SqliteFile, waiting_max: usize) -> Result<Self, StoreError> {
        let (held, waiting) = (Held::new(waiting_max), Arc::<Counter>::default());
        let mut open =
            Open { file, is_prepared: false, held, recounted: None, waiting: Arc::clone(&waiting) };
        if open.has_table().await? {
            open.prepare().await?;
        }
        Ok(Self { open: Mutex::new(open), waiting })
    }

    /// How many events wait, as far as this process knows.
    pub fn waiting_now(&self) -> u64 {
        self.waiting.get()
    }

    /// Adds events, all in one transaction, and says of each whether there was room for it.
    ///
    /// # Errors
    /// The database failed, and none was added.
    pub async fn add(&self, entries: &[Entry]) -> Result<Vec<bool>, StoreError> {
        let mut open = self.open.lock().await;
        if !open.is_prepared {
            open.prepare().await?;
        }
        let mut taken = open.take(entries);
        if taken.contains(&false) && open.may_recount() {
            // Somebody else may have emptied the table.
            if let Err(error) = open.recount().await {
                // The next try counts the same entries, and may count anew.
                fitting(entries, &taken).for_each(|entry| open.held.remove(&entry.lane, 1));
                open.recounted = None;
                return Err(error);
            }
            taken = open.take(entries);
        }
        if let Err(error) = open.insert(fitting(entries, &taken)).await {
            fitting(entries, &taken).for_each(|entry| open.held.remove(&entry.lane, 1));
            return Err(error);
        }
        open.show();
        Ok(taken)
    }

    /// The first events of a lane: at most `rows_max`, and no more once they are `bytes_max` long together.
    ///
    /// # Errors
    /// The database failed.
    pub async fn page(
        &self,
        lane: &Lane,
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Waiting>, StoreError> {
        let mut open = self.open.lock().await;
        let mut session = open.file.read().await?;
        let query = sqlx::query(PAGE).bind(lane.app.as_str()).bind(&*lane.url).bind(lane.number);
        let rows_max = i64::try_from(rows_max).unwrap_or(i64::MAX);
        let (mut page, mut bytes) = (Vec::new(), 0);
        {
            let mut rows = query.bind(rows_max).fetch(&mut session.connection);
            while bytes < bytes_max
                && let Some(row) = rows.try_next().await?
            {
                let (id, time_ms, event) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
                let waiting = Waiting { id, time_ms, event };
                bytes += waiting.event.len();
                page.push(waiting);
            }
        }
        session.done();
        Ok(page)
    }

    /// Takes events of a lane away; they need not be there.
    ///
    /// # Errors
    /// The database failed.
    pub async fn remove(&self, lane: &Lane, ids: &[i64]) -> Result<(), StoreError> {
        let ids: Vec<_> = ids.iter().map(i64::to_string).collect();
        let statement = sqlx::query(DELETE).bind(format!("[{}]", ids.join(",")));
        self.open.lock().await.delete(lane, statement).await?;
        Ok(())
    }

    /// Takes all events of a lane away, and says how many.
    ///
    /// # Errors
    /// The database failed.
    pub async fn remove_lane(&self, lane: &Lane) -> Result<u64, StoreError> {
        let statement = sqlx::query(DELETE_LANE).bind(lane.app.as_str()).bind(&*lane.url).bind(lane.number);
        self.open.lock().await.delete(lane, statement).await
    }

    /// The lanes in which anything waits.
    ///
    /// # Errors
    /// The database failed.
    pub async fn lanes(&self) -> Result<Vec<Lane>, StoreError> {
        let lane = |row: &SqliteRow| {
            let url: &str = row.try_get(1)?;
            Ok(Lane { app: AppKey::stored(row.try_get(0)?), url: url.into(), number: row.try_get(2)? })
        };
        let mut open = self.open.lock().await;
        if !open.is_prepared {
            return Ok(Vec::new());
        }
        let mut session = open.file.read().await?;
        let rows = sqlx::query(LANES).fetch_all(&mut session.connection).await?;
        session.done();
        Ok(rows.iter().map(lane).collect::<Result<_, sqlx::Error>>()?)
    }

    /// How many events of an app wait for each URL; an URL for which none waits need not be named.
    ///
    /// # Errors
    /// The database failed.
    pub async fn waiting(&self, app: &AppKey) -> Result<Vec<(String, u64)>, StoreError> {
        let mut open = self.open.lock().await;
        if !open.is_prepared {
            return Ok(Vec::new());
        }
        let mut session = open.file.read().await?;
        let query = sqlx::query_as(WAITING).bind(app.as_str());
        let rows = query.fetch_all(&mut session.connection).await?;
        session.done();
        Ok(rows)
    }
}

impl Open {
    async fn has_table(&mut self) -> Result<bool, StoreError> {
        let mut session = self.file.read().await?;
        let tables: i64 = sqlx::query_scalar(HAS_TABLE).fetch_one(&mut session.connection).await?;
        session.done();
        Ok(tables > 0)
    }

    async fn prepare(&mut self) -> Result<(), StoreError> {
        let mut session = self.file.read().await?;
        let journal = journal(&mut session.connection).await?;
        session.done();
        if journal == "wal" {
            self.file.relax();
        }
        let mut session = self.file.write().await?;
        for statement in [SCHEMA, INDEX] {
            sqlx::query(statement).execute(&mut session.connection).await?;
        }
        session.commit().await?;
        self.recount().await?;
        self.is_prepared = true;
        Ok(())
    }

    /// Whether it is time to count anew: that takes longer, the more events wait.
    fn may_recount(&mut self) -> bool {
        let now = Instant::now();
        let may = self.recounted.is_none_or(|last| now - last >= RECOUNT_EVERY);
        if may {
            self.recounted = Some(now);
        }
        may
    }

    async fn recount(&mut self) -> Result<(), StoreError> {
        let mut session = self.file.read().await?;
        let rows: Vec<(String, String, i64)> =
            sqlx::query_as(COUNT).fetch_all(&mut session.connection).await?;
        session.done();
        let rows = rows.into_iter().map(|(app, url, count)| {
            (AppKey::stored(&app), url.into(), usize::try_from(count).unwrap_or_default())
        });
        self.held.replace(rows);
        self.show();
        Ok(())
    }

    /// Counts events as far as there is room, and says for which.
    fn take(&mut self, entries: &[Entry]) -> Vec<bool> {
        entries.iter().map(|entry| self.held.take(&entry.lane)).collect()
    }

    /// Puts events into the table: all of them or none.
    async fn insert(&mut self, entries: impl Iterator<Item = &Entry>) -> Result<(), StoreError> {
        let mut session = self.file.write().await?;
        for Entry { lane, time_ms, event } in entries {
            sqlx::query(INSERT)
                .bind(lane.app.as_str())
                .bind(&*lane.url)
                .bind(lane.number)
                .bind(time_ms)
                .bind(&**event)
                .execute(&mut session.connection)
                .await?;
        }
        session.commit().await
    }

    /// Lets others see how many wait.
    fn show(&self) {
        self.waiting.set(self.held.total() as u64);
    }

    async fn delete(
        &mut self,
        lane: &Lane,
        statement: sqlx::query::Query<'_, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>,
    ) -> Result<u64, StoreError> {
        let mut session = self.file.write().await?;
        let removed = statement.execute(&mut session.connection).await?.rows_affected();
        session.commit().await?;
        self.held.remove(lane, usize::try_from(removed).unwrap_or(usize::MAX));
        self.show();
        Ok(removed)
    }
}

/// Asks for a write-ahead log, and says which journal there is. SQLite waits for nobody here, so we do.
async fn journal(connection: &mut SqliteConnection) -> Result<String, sqlx::Error> {
    let end = Instant::now() + BUSY_TIME_MAX;
    loop {
        match sqlx::query_scalar("PRAGMA journal_mode = WAL").fetch_one(&mut *connection).await {
            Err(error) if is_busy(&error) && Instant::now() < end => tokio::time::sleep(JOURNAL_PAUSE).await,
            done => return done,
        }
    }
}

/// The entries that found room.
fn fitting<'a>(entries: &'a [Entry], taken: &'a [bool]) -> impl Iterator<Item = &'a Entry> {
    entries.iter().zip(taken).filter(|(_, is_taken)| **is_taken).map(|(entry, _)| entry)
}

/// Whether another connection is in the way (`SQLITE_BUSY`, `SQLITE_LOCKED`, and their extended codes).
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    code.is_some_and(|code| matches!(code & 0xff, 5 | 6))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    fn lane(url: &str, channel: &str) -> Lane {
        Lane::of(&AppKey::stored("x"), &url.into(), &ChannelName::parse(channel).unwrap())
    }

    fn entries(lane: &Lane, events: &[&str]) -> Vec<Entry> {
        let entry = |event: &&str| Entry { lane: lane.clone(), time_ms: 7, event: (*event).into() };
        events.iter().map(entry).collect()
    }

    async fn page(outbox: &Outbox, lane: &Lane) -> Vec<String> {
        let page = outbox.page(lane, 100, 1 << 20).await.unwrap();
        page.into_iter().map(|waiting| waiting.event).collect()
    }

    #[tokio::test]
    async fn a_lane_is_read_in_order_and_by_pages() {
        let outbox = Outbox::in_memory(100).await.unwrap();
        let (one, other) = (lane("http://a", "c"), lane("http://b", "c"));
        outbox.add(&[entries(&one, &["1", "2", "3"]), entries(&other, &["4"])].concat()).await.unwrap();
        assert_eq!(page(&outbox, &one).await, ["1", "2", "3"]);
        assert_eq!(outbox.page(&one, 2, 100).await.unwrap().len(), 2);
        assert_eq!(outbox.page(&one, 3, 2).await.unwrap().len(), 2, "no more once there are two bytes");
        let first = outbox.page(&one, 1, 1).await.unwrap();
        assert_eq!((first[0].time_ms, &*first[0].event), (7, "1"));
        outbox.remove(&one, &[first[0].id]).await.unwrap();
        assert_eq!(page(&outbox, &one).await, ["2", "3"]);
        assert_eq!(outbox.remove_lane(&one).await.unwrap(), 2);
        assert_eq!(outbox.lanes().await.unwrap(), [other]);
        assert_eq!(outbox.waiting(&AppKey::stored("x")).await.unwrap(), [("http://b".to_owned(), 1)]);
    }

    #[tokio::test]
    async fn what_finds_no_room_is_refused_and_what_goes_makes_room() {
        let outbox = Outbox::in_memory(3).await.unwrap();
        let lane = lane("http://a", "c");
        assert_eq!(outbox.add(&entries(&lane, &["1", "2"])).await.unwrap(), [true, true]);
        assert_eq!(outbox.add(&entries(&lane, &["3", "4"])).await.unwrap(), [true, false]);
        assert_eq!(page(&outbox, &lane).await, ["1", "2", "3"]);
        outbox.remove_lane(&lane).await.unwrap();
        assert_eq!(outbox.add(&entries(&lane, &["5"])).await.unwrap(), [true]);
    }

    #[tokio::test]
    async fn what_another_process_took_away_makes_room_too() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gusher.db");
        let ours = Outbox::open(&file, 2).await.unwrap();
        let lane = lane("http://a", "c");
        ours.add(&entries(&lane, &["1", "2"])).await.unwrap();
        let theirs = Outbox::open(&file, 2).await.unwrap();
        theirs.remove_lane(&lane).await.unwrap();
        assert_eq!(ours.add(&entries(&lane, &["3"])).await.unwrap(), [true]);
    }

    #[tokio::test]
    async fn the_file_outlives_its_connection_and_others_use_it_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gusher.db");
        let store = Store::open(&file).await.unwrap();
        let outbox = Outbox::open(&file, 100).await.unwrap();
        let lane = lane("http://a", "c");
        outbox.add(&entries(&lane, &["1", "2"])).await.unwrap();
        assert_eq!(store.apps(None).await.unwrap().len(), 0);
        store.remove(&AppKey::stored("x")).await.unwrap();
        assert_eq!(Store::open(&file).await.unwrap().apps(None).await.unwrap().len(), 0);
        drop((store, outbox));
        let outbox = Outbox::open(&file, 100).await.unwrap();
        assert_eq!(outbox.lanes().await.unwrap(), std::slice::from_ref(&lane));
        assert_eq!(page(&outbox, &lane).await, ["1", "2"]);
    }

    #[tokio::test]
    async fn a_file_in_which_nothing_waited_has_no_table_of_it() {
        let outbox = Outbox::in_memory(100).await.unwrap();
        assert!(outbox.lanes().await.unwrap().is_empty());
        assert!(outbox.waiting(&AppKey::stored("x")).await.unwrap().is_empty());
        assert!(!outbox.open.lock().await.has_table().await.unwrap());
    }

    #[test]
    fn channels_spread_over_the_lanes() {
        let numbers = (0..100).map(|channel| lane("http://a", &format!("channel-{channel}")).number);
        let used: std::collections::BTreeSet<_> = numbers.collect();
        assert_eq!(used.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
    }
}
