//! How many events wait, of each app and for each of its webhooks, and which may still come: nobody takes the room of
//! others.

use std::collections::HashMap;
use std::sync::Arc;

use super::Lane;
use crate::model::AppKey;

/// How much may be held by one, as a multiple of what is free. So one alone gets eight ninths of all room and leaves the rest
/// to others; of several each gets less, and all of them together never everything.
const SHARE: usize = 8;

/// Whether somebody who holds so much may have one more, while so much is free.
pub fn has_room(holds: usize, free: usize) -> bool {
    holds < SHARE.saturating_mul(free)
}

/// What waits in a table of a certain size.
#[derive(Debug)]
pub(super) struct Held {
    max: usize,
    total: usize,
    of_apps: HashMap<AppKey, HashMap<Arc<str>, usize>>,
}

impl Held {
    pub fn new(max: usize) -> Self {
        Self { max, total: 0, of_apps: HashMap::new() }
    }

    pub fn total(&self) -> usize {
        self.total
    }

    /// So many wait for each of these webhooks, whether there is room or not.
    pub fn replace(&mut self, rows: impl IntoIterator<Item = (AppKey, Arc<str>, usize)>) {
        *self = Self::new(self.max);
        for (app, url, count) in rows {
            self.total += count;
            *self.of_apps.entry(app).or_default().entry(url).or_default() += count;
        }
    }

    /// Counts one more, if there is room for it. Where a webhook has none its app may have for another, and where an app has
    /// none, other apps have.
    pub fn take(&mut self, lane: &Lane) -> bool {
        let urls = self.of_apps.get(&lane.app);
        let of_app: usize = urls.map_or(0, |urls| urls.values().sum());
        let of_url = urls.and_then(|urls| urls.get(&lane.url)).copied().unwrap_or(0);
        let may = has_room(of_app + of_url, self.max.saturating_sub(self.total));
        if may {
            self.total += 1;
            *self.of_apps.entry(lane.app.clone()).or_default().entry(Arc::clone(&lane.url)).or_default() += 1;
        }
        may
    }

    /// So many of a lane wait no more.
    pub fn remove(&mut self, lane: &Lane, count: usize) {
        let Some(urls) = self.of_apps.get_mut(&lane.app) else { return };
        let Some(of_url) = urls.get_mut(&lane.url) else { return };
        let gone = count.min(*of_url);
        *of_url -= gone;
        self.total -= gone;
        if *of_url == 0 {
            urls.remove(&lane.url);
        }
        if urls.is_empty() {
            self.of_apps.remove(&lane.app);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ChannelName;

    fn lane(app: &str, url: &str) -> Lane {
        Lane::of(&AppKey::stored(app), &url.into(), &ChannelName::parse("c").unwrap())
    }

    /// Fills up what one may have, and says how much that is.
    fn flood(held: &mut Held, app: &str, url: &str) -> usize {
        (0..).take_while(|_| held.take(&lane(app, url))).count()
    }

    #[test]
    fn nobody_takes_the_room_of_others() {
        let mut held = Held::new(10_000);
        let all = flood(&mut held, "greedy", "one");
        assert!((7_900..=8_100).contains(&all), "{all}");
        assert!((0..100).all(|_| held.take(&lane("modest", "one"))), "another app has room");
        assert!((0..100).all(|_| held.take(&lane("greedy", "other"))), "and another webhook of the app");
        let second = flood(&mut held, "greedy too", "one");
        assert!(second > 1_000, "{second}");
        assert!((0..100).all(|_| held.take(&lane("late", "one"))));
        assert!(held.total() < 10_000);
    }

    #[test]
    fn what_goes_makes_room() {
        let mut held = Held::new(100);
        let all = flood(&mut held, "x", "one");
        assert!(!held.take(&lane("x", "one")));
        held.remove(&lane("x", "one"), all + 1);
        assert_eq!((held.total(), held.of_apps.len()), (0, 0));
        assert_eq!(flood(&mut held, "x", "one"), all);
        assert_eq!(flood(&mut Held::new(1), "x", "one"), 1, "and a small table can be filled");
    }
}
