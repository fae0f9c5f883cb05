//! The registered apps, in memory: looking a key up never waits for a disk.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use arc_swap::ArcSwap;

use super::Directory;
use crate::model::{App, AppKey, AppNumber, AppSettings, Refusal};
use crate::store::{Store, StoreError};

/// A registered app and who is online in it.
#[derive(Debug)]
pub struct LiveApp {
    /// What was registered.
    pub app: App,
    settings: ArcSwap<AppSettings>,
    /// This registration of it.
    pub number: AppNumber,
    directory: Mutex<Directory>,
}

impl LiveApp {
    fn new(app: App, settings: AppSettings, number: AppNumber) -> Arc<Self> {
        Arc::new(Self { app, settings: ArcSwap::from_pointee(settings), number, directory: Mutex::default() })
    }

    /// What it allows now.
    pub fn settings(&self) -> Arc<AppSettings> {
        self.settings.load_full()
    }

    /// Who is online, unless the app is gone.
    pub(super) fn open_directory(&self) -> Result<MutexGuard<'_, Directory>, Refusal> {
        let directory = self.directory();
        if directory.is_closed() { Err(Refusal::AppUnknown) } else { Ok(directory) }
    }

    /// Who is online. Held for steps that never wait.
    pub(super) fn directory(&self) -> MutexGuard<'_, Directory> {
        // No code that can panic runs under the lock.
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The apps by what names them.
#[derive(Debug, Default)]
struct Known {
    by_key: HashMap<AppKey, Arc<LiveApp>>,
    by_id: HashMap<String, Arc<LiveApp>>,
}

impl Known {
    fn insert(&mut self, live: &Arc<LiveApp>) {
        self.by_key.insert(live.app.key.clone(), Arc::clone(live));
        self.by_id.insert(live.app.id.clone(), Arc::clone(live));
    }

    fn remove(&mut self, key: &AppKey) -> Option<Arc<LiveApp>> {
        let live = self.by_key.remove(key)?;
        self.by_id.remove(&live.app.id);
        Some(live)
    }
}

/// All apps: the store's, mirrored in memory.
#[derive(Debug)]
pub struct Apps {
    store: Store,
    known: RwLock<Known>,
    next_number: AtomicU32,
    /// Changes go one at a time, so that store and memory agree on their order.
    change: tokio::sync::Mutex<()>,
}

impl Apps {
    /// Loads what the store has.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn load(store: Store) -> Result<Self, StoreError> {
        let apps = store.apps().await?;
        let mut known = Known::default();
        for (number, app) in (0..).map(AppNumber).zip(apps) {
            known.insert(&LiveApp::new(app, AppSettings::default(), number));
        }
        let next_number = AtomicU32::new(known.by_key.len() as u32);
        Ok(Self { store, known: RwLock::new(known), next_number, change: tokio::sync::Mutex::default() })
    }

    /// The app of that key.
    ///
    /// # Errors
    /// [`Refusal::AppUnknown`].
    pub fn find(&self, key: &str) -> Result<Arc<LiveApp>, Refusal> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.by_key.get(key).cloned().ok_or(Refusal::AppUnknown)
    }

    /// The app of that number in signed calls.
    ///
    /// # Errors
    /// [`Refusal::AppUnknown`].
    pub fn find_by_id(&self, id: &str) -> Result<Arc<LiveApp>, Refusal> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.by_id.get(id).cloned().ok_or(Refusal::AppUnknown)
    }

    /// All apps in the order of their registration, as the store has them.
    ///
    /// # Errors
    /// [`Refusal::Internal`] when the store cannot be read.
    pub async fn list(&self) -> Result<Vec<App>, Refusal> {
        self.store.apps().await.map_err(internal)
    }

    /// Adds an app, first to the store.
    ///
    /// # Errors
    /// [`Refusal::AppExists`], or [`Refusal::Internal`] when the store cannot be written.
    pub async fn register(&self, app: App) -> Result<Arc<LiveApp>, Refusal> {
        let _one_at_a_time = self.change.lock().await;
        self.store.insert(&app).await.map_err(|error| match error {
            StoreError::Exists => Refusal::AppExists,
            other => internal(other),
        })?;
        let number = AppNumber(self.next_number.fetch_add(1, Ordering::Relaxed));
        let live = LiveApp::new(app, AppSettings::default(), number);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(&live);
        Ok(live)
    }

    /// Takes an app away, first from the store.
    ///
    /// # Errors
    /// [`Refusal::AppUnknown`], or [`Refusal::Internal`] when the store cannot be written.
    pub async fn unregister(&self, key: &AppKey) -> Result<Arc<LiveApp>, Refusal> {
        let _one_at_a_time = self.change.lock().await;
        self.store.remove(key).await.map_err(internal)?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.remove(key).ok_or(Refusal::AppUnknown)
    }
}

/// The cause goes to the log, not to the caller.
fn internal(error: StoreError) -> Refusal {
    tracing::error!(%error, "the database failed");
    Refusal::Internal
}
