//! A certificate out of two files, which are read again when they change.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::pair::{Pair, in_words};
use super::shown::Shown;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The files, and how they were when they were last read.
#[derive(Debug)]
pub(super) struct Files {
    cert_file: PathBuf,
    key_file: PathBuf,
    seen: Mutex<[Option<Stamp>; 2]>,
}

/// By what a changed file is known, if links in its path lead to another one included.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    number: u64,
}

impl Files {
    /// These; reads nothing yet.
    pub(super) fn of(cert_file: &Path, key_file: &Path) -> Self {
        Self { cert_file: cert_file.to_owned(), key_file: key_file.to_owned(), seen: Mutex::default() }
    }

    /// Reads them.
    ///
    /// # Errors
    /// What is wrong with them, and what to do.
    pub(super) fn read(&self) -> Result<Pair, String> {
        let (cert_file, key_file) = (self.cert_file.display(), self.key_file.display());
        // Before they are read: what changes meanwhile is then seen the next time.
        self.is_changed();
        let pair = Pair::read(&self.cert_file, &self.key_file).map_err(|reason| {
            format!(
                "cannot use the certificate {cert_file} with the key {key_file}: {reason}: set tls.cert_file and \
                 tls.key_file to PEM files that belong together"
            )
        })?;
        if let Some(what) = pair.life.and_then(|life| life.fault(SystemTime::now())) {
            tracing::warn!(%cert_file, "the certificate {what}: clients will not connect");
        }
        Ok(pair)
    }

    /// Waits for the next time to look, or until it is asked for, and reads the files if they have changed or it is.
    pub(super) async fn look(self: &Arc<Self>, shown: &Shown, asked: &Notify) {
        let is_asked = timeout(LOOK_EVERY, asked.notified()).await.is_ok();
        let files = Arc::clone(self);
        let looked = spawn_blocking(move || (files.is_changed() || is_asked).then(|| files.read())).await;
        // A look that panicked, of which none is known, was in vain; the next one is not.
        let Ok(Some(pair)) = looked else { return };
        match pair.and_then(|pair| shown.show(&pair).map_err(|error| in_words(&error))) {
            Ok(()) => tracing::info!(cert_file = %self.cert_file.display(), "the certificate was read again"),
            Err(reason) => tracing::warn!("{reason}; the one before stays in use"),
        }
    }

    /// Whether they are others than when this was last asked.
    fn is_changed(&self) -> bool {
        let now = [stamp(&self.cert_file), stamp(&self.key_file)];
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *seen, now);
        before != *seen
    }
}

fn stamp(file: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(file).ok()?;
    Some(Stamp { modified: metadata.modified().ok(), bytes: metadata.len(), number: metadata.ino() })
}
