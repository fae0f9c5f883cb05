//! The line before the connect hooks: so many exchanges at once on the node, and of each app so many that others find a place.
//!
//! Always holds: no more places are taken than there are; who takes the next one is of the app that has the fewest, and of two
//! like these of the one that has waited longer for its turn. What is kept of an app goes with the last of its clients.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::model::AppNumber;

/// One in so many places is left to apps that have fewer than their share, and one where there are [`FEW`] or more.
const RESERVE: usize = 8;

/// Of fewer places none is left.
const FEW: usize = 4;

#[derive(Debug)]
pub(super) struct Line {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    places: usize,
    free: usize,
    apps: HashMap<AppNumber, App>,
    turns: u64,
}

/// What one app has.
#[derive(Debug, Default)]
struct App {
    held: usize,
    last_turn: u64,
    waiting: VecDeque<oneshot::Sender<()>>,
}

/// A place in the line or, once it is granted, an exchange that may go on until this is dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    line: &'a Line,
    app: AppNumber,
    granted: oneshot::Receiver<()>,
    is_held: bool,
}

impl Line {
    pub(super) fn new(places: usize) -> Self {
        let state = State { places, free: places, apps: HashMap::new(), turns: 0 };
        Self { state: Mutex::new(state) }
    }

    /// Waits for a place, for so long. None when there was none.
    pub(super) async fn stand(&self, app: AppNumber, time_max: Duration) -> Option<Place<'_>> {
        let (grant, granted) = oneshot::channel();
        let mut place = Place { line: self, app, granted, is_held: false };
        {
            let mut state = self.state();
            state.apps.entry(app).or_default().waiting.push_back(grant);
            state.serve();
        }
        match timeout(time_max, &mut place.granted).await {
            Ok(Ok(())) => {
                place.is_held = true;
                Some(place)
            }
            _ => None,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.line.state();
        // Who grants a place holds the lock, so it is clear by now whether there was time to take it.
        self.granted.close();
        let is_held = self.is_held || self.granted.try_recv().is_ok();
        state.leave(self.app, is_held);
        state.serve();
    }
}

impl State {
    fn leave(&mut self, number: AppNumber, is_held: bool) {
        let Some(app) = self.apps.get_mut(&number) else { return };
        app.held -= usize::from(is_held);
        self.free += usize::from(is_held);
        app.waiting.retain(|grant| !grant.is_closed());
        if app.held == 0 && app.waiting.is_empty() {
            self.apps.remove(&number);
        }
    }

    /// Gives free places to those whose turn it is.
    fn serve(&mut self) {
        while self.free > 0 {
            // As if there were one app more: it will find its share free.
            let share = (self.places / (self.apps.len() + 1)).max(1);
            let reserve = if self.places < FEW { 0 } else { (self.places / RESERVE).max(1) };
            let is_spare = self.free > reserve;
            let may_have = |app: &&mut App| !app.waiting.is_empty() && (is_spare || app.held < share);
            let next = self.apps.values_mut().filter(may_have).min_by_key(|app| (app.held, app.last_turn));
            let Some(app) = next else { return };
            let Some(grant) = app.waiting.pop_front() else { return };
            if grant.send(()).is_ok() {
                self.turns += 1;
                app.last_turn = self.turns;
                app.held += 1;
                self.free -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;
    use tokio::task::unconstrained;

    use super::*;

    const NEVER: Duration = Duration::from_secs(3600);

    /// A place that is there at once, or none.
    fn now(line: &Line, app: u32) -> Option<Place<'_>> {
        pin!(unconstrained(line.stand(AppNumber(app), NEVER))).now_or_never().flatten()
    }

    fn all(line: &Line, app: u32) -> Vec<Place<'_>> {
        std::iter::from_fn(|| now(line, app)).collect()
    }

    #[tokio::test]
    async fn one_app_leaves_places_to_others_and_no_more_are_taken_than_there_are() {
        let line = Line::new(10);
        let [sick, second, third] = [1, 2, 3].map(|app| all(&line, app));
        assert_eq!([sick.len(), second.len(), third.len()], [9, 1, 0]);
        drop(sick);
        assert_eq!(all(&line, 3).len(), 8, "all but what is left to others");
    }

    #[tokio::test]
    async fn of_few_places_one_app_may_have_all() {
        for places in 1..FEW {
            assert_eq!(all(&Line::new(places), 1).len(), places);
        }
    }

    #[tokio::test]
    async fn two_sick_apps_come_to_leave_a_place_to_a_third() {
        let line = Line::new(10);
        let mut sick: VecDeque<_> = all(&line, 1).into_iter().chain(all(&line, 2)).collect();
        for round in 0..40 {
            // One of their exchanges ends, and both have clients that wait.
            sick.pop_front();
            for app in [1 + round % 2, 2 - round % 2] {
                sick.extend(all(&line, app));
            }
            assert!(round < 10 || now(&line, 3).is_some(), "in round {round}");
        }
    }

    #[tokio::test]
    async fn a_place_that_is_free_again_goes_to_the_app_that_has_the_fewest() {
        let line = Line::new(8);
        let (mut first, _second) = (all(&line, 1), [now(&line, 2), now(&line, 3)]);
        let mut more = pin!(unconstrained(line.stand(AppNumber(1), NEVER)));
        let mut another = pin!(unconstrained(line.stand(AppNumber(2), NEVER)));
        assert!((&mut more).now_or_never().is_none() && (&mut another).now_or_never().is_none());
        first.truncate(5);
        let another = (&mut another).now_or_never();
        assert!(another.is_some(), "it has fewer");
        assert!((&mut more).now_or_never().is_none());
    }

    #[tokio::test]
    async fn who_has_waited_too_long_or_left_keeps_no_place() {
        let line = Line::new(1);
        let held = now(&line, 1);
        assert!(line.stand(AppNumber(1), Duration::ZERO).await.is_none());
        {
            let mut gone = pin!(line.stand(AppNumber(2), NEVER));
            assert!((&mut gone).now_or_never().is_none());
            drop(held);
            // Granted, and dropped before it was taken.
        }
        assert!(now(&line, 1).is_some());
        assert!(line.state().apps.is_empty());
    }
}
