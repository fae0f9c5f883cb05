//! What of the store other nodes may have changed, until this node has read it again. The store may be away for a while;
//! whoever hears of changes never waits for it.

use std::sync::Mutex;

use indexmap::IndexSet;
use tokio::sync::Notify;

use super::link::lock;
use crate::model::AppKey;

/// When more apps than that wait to be read again, all are.
const APPS_MAX: usize = 1_000;

/// What of the store other nodes may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stale {
    /// This app.
    App(AppKey),
    /// Any: nobody could be heard for a while.
    AnyApp,
}

/// What is still to be read again, each once.
#[derive(Debug, Default)]
pub struct Stales {
    noted: Mutex<Noted>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Noted {
    apps: IndexSet<AppKey>,
    any: bool,
    /// Something was taken and is being read.
    is_busy: bool,
}

impl Stales {
    /// Notes what is to be read again.
    pub fn note(&self, stale: Stale) {
        let mut noted = lock(&self.noted);
        match stale {
            Stale::App(app) => drop(noted.apps.insert(app)),
            Stale::AnyApp => noted.any = true,
        }
        if noted.apps.len() > APPS_MAX {
            noted.apps.clear();
            noted.any = true;
        }
        self.news.notify_one();
    }

    /// Waits for something to read again, and takes it. What was taken before has been read.
    pub async fn next(&self) -> Stale {
        loop {
            if let Some(stale) = self.take() {
                return stale;
            }
            self.news.notified().await;
        }
    }

    /// Whether all was read again.
    pub fn is_empty(&self) -> bool {
        let noted = lock(&self.noted);
        !noted.any && noted.apps.is_empty() && !noted.is_busy
    }

    fn take(&self) -> Option<Stale> {
        let mut noted = lock(&self.noted);
        // Single ones first and in turn: one whose settings are broken keeps none of the others from being read.
        let stale = match noted.apps.shift_remove_index(0) {
            Some(app) => Some(Stale::App(app)),
            None => std::mem::take(&mut noted.any).then_some(Stale::AnyApp),
        };
        noted.is_busy = stale.is_some();
        stale
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(number: usize) -> Stale {
        Stale::App(AppKey::stored(&number.to_string()))
    }

    #[test]
    fn each_app_is_taken_once_and_until_then_something_is_left() {
        let stales = Stales::default();
        assert!(stales.is_empty());
        (0..3).for_each(|_| stales.note(app(7)));
        assert_eq!(stales.take(), Some(app(7)));
        assert!(!stales.is_empty(), "it is being read");
        assert_eq!(stales.take(), None);
        assert!(stales.is_empty());
    }

    #[test]
    fn what_cannot_be_read_waits_behind_all_others() {
        let stales = Stales::default();
        [Stale::AnyApp, app(1), app(2)].into_iter().for_each(|stale| stales.note(stale));
        assert_eq!(stales.take(), Some(app(1)));
        stales.note(app(1));
        assert_eq!([stales.take(), stales.take()], [Some(app(2)), Some(app(1))]);
        assert_eq!([stales.take(), stales.take()], [Some(Stale::AnyApp), None]);
    }

    #[test]
    fn too_many_apps_are_all_apps() {
        let stales = Stales::default();
        (0..=APPS_MAX).for_each(|number| stales.note(app(number)));
        assert_eq!((stales.take(), stales.take()), (Some(Stale::AnyApp), None));
    }
}
