//! The registered apps, in memory: looking a key up never waits for a disk.
//!
//! Long because a quarter of it is tests, and the rest one subject: an app from its registration until it is gone.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use arc_swap::ArcSwap;

use super::Directory;
use super::policy::Policy;
use crate::feed::Feed;
use crate::metrics::{AppMetrics, Counter};
use crate::model::{
    Admin, App, AppKey, AppNumber, AppRate, AppSecret, AppSettings, Hash, KeyPair, Refusal, Registered,
};
use crate::store::{Store, StoreError, new_identity};

/// A registered app and who is online in it.
#[derive(Debug)]
pub struct LiveApp {
    /// What was registered.
    pub app: App,
    policy: ArcSwap<Policy>,
    /// This registration of it.
    pub number: AppNumber,
    /// What is counted of it.
    pub metrics: AppMetrics,
    /// What happens in it on this node, for those who look on.
    pub feed: Arc<Feed>,
    directory: Mutex<Directory>,
}

impl LiveApp {
    fn new(app: App, settings: AppSettings, number: AppNumber) -> Arc<Self> {
        Arc::new(Self {
            app,
            policy: ArcSwap::from_pointee(Policy::new(settings)),
            number,
            metrics: AppMetrics::default(),
            feed: Arc::default(),
            directory: Mutex::default(),
        })
    }

    /// What it allows now.
    pub fn settings(&self) -> Arc<AppSettings> {
        Arc::clone(&self.policy.load().settings)
    }

    /// It allows something else from now on. One change at a time: two at once might forget one of them.
    fn set(&self, settings: AppSettings) {
        let policy = self.policy.load().changed(settings);
        self.policy.store(Arc::new(policy));
    }

    /// Whether it is in use at all.
    pub(super) fn is_enabled(&self) -> bool {
        self.policy.load().settings.enabled
    }

    /// Frames that one socket may send in a second.
    pub fn allows_frames(&self) -> u32 {
        self.policy.load().settings.max_frames_per_second
    }

    /// Takes `count` of what the app allows within a second on this node; what is refused is counted.
    ///
    /// # Errors
    /// [`Refusal::RateExceeded`].
    pub fn take(&self, rate: AppRate, count: usize) -> Result<(), Refusal> {
        let taken = self.policy.load().take(rate, count);
        taken.inspect_err(|_| self.metrics.exceeded.of(rate).add(count as u64))
    }

    /// What signs for it now: its own key and secret first, then the additional ones. No key is there twice, unless
    /// in another case.
    pub fn key_pairs(&self) -> Vec<KeyPair> {
        let own = KeyPair { key: self.app.key.as_str().to_owned(), secret: self.app.secret.clone() };
        let settings = self.settings();
        std::iter::once(own).chain(settings.additional_keys.iter().cloned()).collect()
    }

    /// The secret that goes with one of its keys.
    pub fn secret(&self, key: &str) -> Option<AppSecret> {
        self.key_pairs().into_iter().find(|pair| pair.key == key).map(|pair| pair.secret)
    }

    /// Its sockets on this node.
    pub fn sockets_here(&self) -> usize {
        self.directory().sockets_here()
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
    /// Asked after `by_key`: what a file of the Go version brings may be the additional key of another app.
    by_additional_key: HashMap<String, Arc<LiveApp>>,
    by_id: HashMap<String, Arc<LiveApp>>,
}

impl Known {
    fn insert(&mut self, live: &Arc<LiveApp>) {
        self.by_key.insert(live.app.key.clone(), Arc::clone(live));
        self.by_id.insert(live.app.id.clone(), Arc::clone(live));
        self.insert_additional_keys(live);
    }

    fn remove(&mut self, key: &AppKey) -> Option<Arc<LiveApp>> {
        let live = self.by_key.remove(key)?;
        self.by_id.remove(&live.app.id);
        self.remove_additional_keys(&live);
        Some(live)
    }

    /// Finds everything anew, after several apps changed at once: what one of them gave up another may have.
    fn index(&mut self) {
        self.by_id.clear();
        self.by_additional_key.clear();
        for live in self.by_key.values().cloned().collect::<Vec<_>>() {
            self.by_id.insert(live.app.id.clone(), Arc::clone(&live));
            self.insert_additional_keys(&live);
        }
    }

    fn insert_additional_keys(&mut self, live: &Arc<LiveApp>) {
        for pair in &live.settings().additional_keys {
            self.by_additional_key.entry(pair.key.clone()).or_insert_with(|| Arc::clone(live));
        }
    }

    fn remove_additional_keys(&mut self, live: &LiveApp) {
        self.by_additional_key.retain(|_, other| other.number != live.number);
    }

    fn by_any_key(&self, key: &str) -> Option<&Arc<LiveApp>> {
        self.by_key.get(key).or_else(|| self.by_additional_key.get(key))
    }

    /// Whether an app could be registered.
    fn check_new(&self, app: &App) -> Result<(), Refusal> {
        if self.by_any_key(app.key.as_str()).is_some() {
            return Err(Refusal::AppExists);
        }
        if self.by_id.contains_key(&app.id) { Err(Refusal::AppIdTaken) } else { Ok(()) }
    }

    /// Whether an app could have these additional keys.
    fn check_additional_keys(&self, live: &LiveApp, pairs: &[KeyPair]) -> Result<(), Refusal> {
        let mut seen = HashSet::from([live.app.key.as_str()]);
        let is_others = |key: &str| self.by_any_key(key).is_some_and(|owner| owner.number != live.number);
        let are_free = pairs.iter().all(|pair| seen.insert(&pair.key) && !is_others(&pair.key));
        if are_free { Ok(()) } else { Err(Refusal::KeyTaken) }
    }
}

/// An app after it was read again.
#[derive(Debug)]
pub struct Reread {
    /// As it was known, if it is gone or was registered anew.
    pub gone: Option<Arc<LiveApp>>,
    /// As it is, if it is there.
    pub live: Option<Arc<LiveApp>>,
}

/// All apps: the store's, mirrored in memory.
#[derive(Debug)]
pub struct Apps {
    store: Store,
    known: RwLock<Known>,
    next_number: AtomicU32,
    /// Set where apps need not be registered: how many there may be at once.
    unregistered_max: Option<usize>,
    /// Times that the store failed.
    pub failures: Counter,
    /// Changes go one at a time, so that store and memory agree on their order.
    change: tokio::sync::Mutex<()>,
}

impl Apps {
    /// Loads what the store has.
    ///
    /// # Errors
    /// The store cannot be read, or has broken settings.
    pub async fn load(store: Store) -> Result<Self, StoreError> {
        let apps = store.apps(None).await?;
        let mut settings = store.settings(None).await?;
        let mut known = Known::default();
        for (number, app) in (0..).map(AppNumber).zip(apps) {
            let settings = settings.remove(app.key.as_str()).unwrap_or_default();
            known.insert(&LiveApp::new(app, settings, number));
        }
        for live in known.by_key.values() {
            if known.check_additional_keys(live, &live.settings().additional_keys).is_err() {
                tracing::warn!(app = %live.app.key, "an additional key belongs to another app, too");
            }
        }
        let next_number = AtomicU32::new(known.by_key.len() as u32);
        Ok(Self {
            store,
            known: RwLock::new(known),
            next_number,
            unregistered_max: None,
            change: tokio::sync::Mutex::default(),
            failures: Counter::default(),
        })
    }

    /// From now on apps need not be registered, and none is: at most so many are there at once, each while somebody uses
    /// it (see [`Apps::make`]).
    pub fn without_registration(mut self, apps_max: usize) -> Self {
        self.unregistered_max = Some(apps_max);
        self
    }

    /// Whether apps need to be registered.
    pub fn need_registration(&self) -> bool {
        self.unregistered_max.is_none()
    }

    /// The app of that key; made, where apps need not be registered and it is not there. It is in memory alone, nobody
    /// administers it, and no signed call finds it.
    ///
    /// # Errors
    /// [`Refusal::AppUnknown`] where apps need to be registered, or none can be called that; [`Refusal::Overloaded`] when
    /// there are as many as there may be; [`Refusal::Internal`] when the system gives no randomness.
    pub fn make(&self, key: &str) -> Result<Arc<LiveApp>, Refusal> {
        let apps_max = self.unregistered_max.ok_or(Refusal::AppUnknown)?;
        if let Ok(live) = self.find(key) {
            return Ok(live);
        }
        let key = AppKey::parse(key).map_err(|_| Refusal::AppUnknown)?;
        // A secret that nobody knows: none that somebody might guess.
        let (id, secret) = new_identity().map_err(|_| Refusal::Internal)?;
        let app = App {
            key: key.clone(),
            id,
            secret: AppSecret(secret),
            admin: Admin { account: String::new(), hash: Hash(String::new()) },
            connect_hook: String::new(),
            request_ip: String::new(),
            registered: Registered { timestamp_ms: 0, date: String::new() },
        };
        let mut known = self.known_to_change();
        if let Some(live) = known.by_key.get(&key) {
            return Ok(Arc::clone(live));
        }
        if known.by_key.len() >= apps_max {
            return Err(Refusal::Overloaded);
        }
        let number = AppNumber(self.next_number.fetch_add(1, Ordering::Relaxed));
        let live = LiveApp::new(app, AppSettings::default(), number);
        known.by_key.insert(key, Arc::clone(&live));
        Ok(live)
    }

    /// Forgets the apps that were made and that nobody uses: no socket anywhere, nothing kept, nothing to be done for
    /// them, and no request under way.
    pub fn forget_unused(&self) {
        if self.need_registration() {
            return;
        }
        let mut known = self.known_to_change();
        // Whoever uses an app holds it. While this lock is held nobody can get hold of one anew.
        let is_used = |live: &Arc<LiveApp>| Arc::strong_count(live) > 1 || live.directory().all_sockets() > 0;
        known.by_key.retain(|_, live| is_used(live));
        if known.by_key.capacity() > 1024 && known.by_key.len() < known.by_key.capacity() / 4 {
            known.by_key.shrink_to_fit();
        }
    }

    /// The app of that key.
    ///
    /// # Errors
    /// [`Refusal::AppUnknown`].
    pub fn find(&self, key: &str) -> Result<Arc<LiveApp>, Refusal> {
        self.known().by_key.get(key).cloned().ok_or(Refusal::AppUnknown)
    }

    /// The app that has this key, be it its own or an additional one.
    ///
    /// # Errors
    /// [`Refusal::AppUnknown`].
    pub fn find_by_any_key(&self, key: &str) -> Result<Arc<LiveApp>, Refusal> {
        self.known().by_any_key(key).cloned().ok_or(Refusal::AppUnknown)
    }

    /// The app of that number in signed calls.
    ///
    /// # Errors
    /// [`Refusal::AppUnknown`].
    pub fn find_by_id(&self, id: &str) -> Result<Arc<LiveApp>, Refusal> {
        self.known().by_id.get(id).cloned().ok_or(Refusal::AppUnknown)
    }

    /// All of them, in no order.
    pub fn all(&self) -> Vec<Arc<LiveApp>> {
        self.known().by_key.values().cloned().collect()
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// All apps in the order of their registration, as the store has them.
    ///
    /// # Errors
    /// [`Refusal::Internal`] when the store cannot be read.
    pub async fn list(&self) -> Result<Vec<App>, Refusal> {
        self.store.apps(None).await.map_err(|error| self.failed(error))
    }

    /// Adds an app, first to the store; while its id is taken, with the next of `spare_ids` instead.
    ///
    /// # Errors
    /// [`Refusal::AppExists`] when its key is a key of another app, [`Refusal::AppIdTaken`] when there is no spare id
    /// any more, [`Refusal::Internal`] when the store cannot be written.
    pub async fn register(
        &self,
        mut app: App,
        spare_ids: impl IntoIterator<Item = String>,
    ) -> Result<Arc<LiveApp>, Refusal> {
        let mut spare_ids = spare_ids.into_iter();
        let _one_at_a_time = self.change.lock().await;
        loop {
            let free = self.known().check_new(&app);
            let inserted = match free {
                Ok(()) => self.store.insert(&app).await.map_err(|error| self.failed(error)),
                taken => taken,
            };
            match inserted {
                Err(Refusal::AppIdTaken) => app.id = spare_ids.next().ok_or(Refusal::AppIdTaken)?,
                inserted => break inserted?,
            }
        }
        let number = AppNumber(self.next_number.fetch_add(1, Ordering::Relaxed));
        let live = LiveApp::new(app, AppSettings::default(), number);
        self.known_to_change().insert(&live);
        Ok(live)
    }

    /// Changes the settings of an app, first in the store. `change` makes the new ones of the present ones; no other
    /// change comes in between.
    ///
    /// # Errors
    /// Those of `change`; [`Refusal::AppUnknown`]; [`Refusal::ParametersInvalid`] when a setting breaks its rule;
    /// [`Refusal::KeyTaken`]; [`Refusal::Internal`] when the store cannot be written. Then nothing has changed.
    pub async fn configure(
        &self,
        key: &str,
        change: impl FnOnce(&AppSettings) -> Result<AppSettings, Refusal>,
    ) -> Result<Arc<LiveApp>, Refusal> {
        let _one_at_a_time = self.change.lock().await;
        let live = self.find(key)?;
        let before = live.settings();
        let settings = change(&before)?;
        settings.check().map_err(Refusal::ParametersInvalid)?;
        self.known().check_additional_keys(&live, &settings.additional_keys)?;
        let saved = self.store.save_settings(&live.app.key, &before, &settings).await;
        saved.map_err(|error| self.failed(error))?;
        let mut known = self.known_to_change();
        known.remove_additional_keys(&live);
        live.set(settings);
        known.insert_additional_keys(&live);
        drop(known);
        Ok(live)
    }

    /// Reads an app again that another node may have changed in the store, or all of them.
    ///
    /// # Errors
    /// The store cannot be read, or has broken settings.
    pub async fn reread(&self, only: Option<&AppKey>) -> Result<Vec<Reread>, StoreError> {
        if !self.need_registration() {
            return Ok(Vec::new());
        }
        let _one_at_a_time = self.change.lock().await;
        let stored = self.store.apps(only).await?.into_iter().map(|app| (app.key.clone(), app));
        let mut stored: HashMap<AppKey, App> = stored.collect();
        let mut settings = self.store.settings(only).await?;
        let mut known = self.known_to_change();
        let keys: HashSet<AppKey> = match only {
            Some(key) => HashSet::from([key.clone()]),
            None => stored.keys().chain(known.by_key.keys()).cloned().collect(),
        };
        let reread = keys.into_iter().map(|key| {
            let settings = settings.remove(key.as_str()).unwrap_or_default();
            self.replace(&mut known.by_key, &key, stored.remove(&key), settings)
        });
        let reread = reread.collect();
        known.index();
        Ok(reread)
    }

    /// Makes an app in memory what it is in the store.
    fn replace(
        &self,
        by_key: &mut HashMap<AppKey, Arc<LiveApp>>,
        key: &AppKey,
        app: Option<App>,
        settings: AppSettings,
    ) -> Reread {
        let is_same = |live: &LiveApp, app: &App| {
            live.app.id == app.id && live.app.registered.timestamp_ms == app.registered.timestamp_ms
        };
        match (by_key.remove(key), app) {
            (Some(live), Some(app)) if is_same(&live, &app) => {
                live.set(settings);
                by_key.insert(key.clone(), Arc::clone(&live));
                Reread { gone: None, live: Some(live) }
            }
            (gone, app) => {
                let live = app.map(|app| {
                    let number = AppNumber(self.next_number.fetch_add(1, Ordering::Relaxed));
                    LiveApp::new(app, settings, number)
                });
                by_key.extend(live.iter().map(|live| (key.clone(), Arc::clone(live))));
                Reread { gone, live }
            }
        }
    }

    /// Takes an app away, first from the store.
    ///
    /// # Errors
    /// [`Refusal::AppUnknown`], or [`Refusal::Internal`] when the store cannot be written.
    pub async fn unregister(&self, key: &AppKey) -> Result<Arc<LiveApp>, Refusal> {
        let _one_at_a_time = self.change.lock().await;
        self.store.remove(key).await.map_err(|error| self.failed(error))?;
        self.known_to_change().remove(key).ok_or(Refusal::AppUnknown)
    }

    /// What the store refused; the cause of a failure goes to the log, not to the caller.
    fn failed(&self, error: StoreError) -> Refusal {
        match error {
            // Another node was quicker.
            StoreError::Exists => Refusal::AppExists,
            StoreError::IdTaken => Refusal::AppIdTaken,
            StoreError::Unknown => Refusal::AppUnknown,
            error => {
                self.failures.add(1);
                tracing::error!(%error, "the database failed");
                Refusal::Internal
            }
        }
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_to_change(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(key: &str, id: &str) -> App {
        App {
            key: AppKey::parse(key).unwrap(),
            id: id.into(),
            secret: AppSecret(format!("secret of {key}")),
            admin: Admin { account: "admin".into(), hash: Hash(String::new()) },
            connect_hook: String::new(),
            request_ip: String::new(),
            registered: Registered { timestamp_ms: 0, date: String::new() },
        }
    }

    /// The apps `a` and `b` with the ids 1 and 2.
    async fn apps() -> Apps {
        let apps = Apps::load(Store::in_memory().await.unwrap()).await.unwrap();
        for (key, id) in [("a", "1"), ("b", "2")] {
            apps.register(app(key, id), []).await.unwrap();
        }
        apps
    }

    /// Gives an app these additional keys.
    async fn give(apps: &Apps, app: &str, keys: &[&str]) -> Result<Arc<LiveApp>, Refusal> {
        let pair = |key: &&str| KeyPair { key: (*key).to_owned(), secret: AppSecret("a-secret".into()) };
        let additional_keys = keys.iter().map(pair).collect();
        apps.configure(app, |now| Ok(AppSettings { additional_keys, ..now.clone() })).await
    }

    fn found(apps: &Apps, key: &str) -> Option<String> {
        apps.find_by_any_key(key).ok().map(|live| live.app.key.to_string())
    }

    #[tokio::test]
    async fn a_made_up_id_that_is_taken_is_replaced_and_a_chosen_one_refused() {
        let apps = apps().await;
        assert_eq!(apps.register(app("c", "1"), []).await.err(), Some(Refusal::AppIdTaken));
        let made_up = ["2", "3", "4"].map(str::to_owned);
        assert_eq!(apps.register(app("c", "1"), made_up).await.unwrap().app.id, "3");
        assert_eq!(apps.register(app("c", "5"), []).await.err(), Some(Refusal::AppExists));
    }

    #[tokio::test]
    async fn an_app_that_nobody_registered_is_there_while_somebody_uses_it() {
        let apps = Apps::load(Store::in_memory().await.unwrap()).await.unwrap();
        assert_eq!(apps.make("a").err(), Some(Refusal::AppUnknown));
        let apps = apps.without_registration(2);
        let used = apps.make("a").unwrap();
        assert_eq!(apps.make("a").unwrap().number, used.number);
        assert!(apps.find_by_id(&used.app.id).is_err());
        drop(apps.make("b").unwrap());
        assert_eq!(apps.make("c").err(), Some(Refusal::Overloaded));
        for unfit in ["", "x/y", "x\ny"] {
            assert_eq!(apps.make(unfit).err(), Some(Refusal::AppUnknown), "{unfit:?}");
        }
        apps.forget_unused();
        assert_eq!((found(&apps, "a"), found(&apps, "b")), (Some("a".into()), None));
        assert!(apps.make("c").is_ok());
        assert_eq!(apps.reread(None).await.unwrap().len(), 0, "the store has a say in none of them");
        let former = used.number;
        drop(used);
        apps.forget_unused();
        assert!(apps.all().is_empty());
        assert_ne!(apps.make("a").unwrap().number, former);
    }

    #[tokio::test]
    async fn an_additional_key_finds_its_app_while_it_has_it() {
        let apps = apps().await;
        let live = give(&apps, "a", &["x", "y"]).await.unwrap();
        assert_eq!((found(&apps, "a"), found(&apps, "x")), (Some("a".into()), Some("a".into())));
        assert_eq!(apps.find("x").err(), Some(Refusal::AppUnknown));
        assert_eq!(live.secret("a"), Some(AppSecret("secret of a".into())));
        assert_eq!(live.secret("y"), Some(AppSecret("a-secret".into())));
        assert_eq!(live.secret("b"), None);
        give(&apps, "a", &["y"]).await.unwrap();
        assert_eq!((found(&apps, "x"), found(&apps, "y")), (None, Some("a".into())));
        apps.unregister(&live.app.key).await.unwrap();
        assert_eq!((found(&apps, "a"), found(&apps, "y")), (None, None));
    }

    #[tokio::test]
    async fn a_key_belongs_to_one_app_and_once() {
        let apps = apps().await;
        give(&apps, "b", &["x"]).await.unwrap();
        for keys in [&["a"][..], &["b"], &["x"], &["z", "z"]] {
            assert_eq!(give(&apps, "a", keys).await.err(), Some(Refusal::KeyTaken), "{keys:?}");
        }
        assert_eq!(apps.register(app("x", "3"), []).await.err(), Some(Refusal::AppExists));
        assert_eq!(apps.find("a").unwrap().settings().additional_keys, []);
    }

    #[tokio::test]
    async fn a_refused_change_changes_nothing() {
        let apps = apps().await;
        let bad = apps.configure("a", |now| Ok(AppSettings { cache_ttl: 0, ..now.clone() })).await;
        assert!(matches!(bad, Err(Refusal::ParametersInvalid(_))));
        assert_eq!(*apps.find("a").unwrap().settings(), AppSettings::default());
        let unknown = apps.configure("c", |now| Ok(now.clone())).await;
        assert_eq!(unknown.err(), Some(Refusal::AppUnknown));
    }

    #[tokio::test]
    async fn what_one_app_gave_up_in_the_store_is_found_with_the_one_that_has_it_now() {
        let apps = apps().await;
        give(&apps, "a", &["x"]).await.unwrap();
        // As another node does it; whichever is read again first.
        for (old, new) in [("a", "c"), ("c", "d"), ("d", "e"), ("e", "f")] {
            let before = AppSettings::default();
            let additional_keys = apps.find(old).unwrap().settings().additional_keys.clone();
            apps.store.remove(&AppKey::stored(old)).await.unwrap();
            apps.store.insert(&app(new, "1")).await.unwrap();
            let after = AppSettings { additional_keys, ..AppSettings::default() };
            apps.store.save_settings(&AppKey::stored(new), &before, &after).await.unwrap();
            apps.reread(None).await.unwrap();
            assert_eq!((found(&apps, old), found(&apps, "x")), (None, Some(new.into())));
            assert_eq!(apps.find_by_id("1").unwrap().app.key.as_str(), new);
        }
        assert_eq!(apps.find_by_id("2").unwrap().app.key.as_str(), "b");
    }

    #[tokio::test]
    async fn whoever_was_slower_than_another_node_is_told_what_is_taken() {
        let apps = apps().await;
        apps.store.insert(&app("c", "3")).await.unwrap();
        assert_eq!(apps.register(app("c", "4"), []).await.err(), Some(Refusal::AppExists));
        assert_eq!(apps.register(app("d", "3"), []).await.err(), Some(Refusal::AppIdTaken));
        let made_up = ["3", "1", "4"].map(str::to_owned);
        assert_eq!(apps.register(app("d", "3"), made_up).await.unwrap().app.id, "4");
        apps.store.remove(&AppKey::stored("b")).await.unwrap();
        assert_eq!(give(&apps, "b", &["x"]).await.err(), Some(Refusal::AppUnknown));
        assert_eq!(apps.failures.get(), 0);
    }

    #[tokio::test]
    async fn settings_survive_a_restart_and_the_key_of_an_app_beats_an_additional_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gusher.db");
        let apps = Apps::load(Store::open(&file).await.unwrap()).await.unwrap();
        apps.register(app("a", "1"), []).await.unwrap();
        give(&apps, "a", &["x", "y"]).await.unwrap();
        // Another program has registered it meanwhile.
        apps.store.insert(&app("x", "3")).await.unwrap();
        drop(apps);
        let apps = Apps::load(Store::open(&file).await.unwrap()).await.unwrap();
        assert_eq!((found(&apps, "x"), found(&apps, "y")), (Some("x".into()), Some("a".into())));
    }
}
