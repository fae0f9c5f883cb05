//! Threads of their own for work that takes time: bounded in number, and with fair turns between those it is done for.
//!
//! Always: nobody who adds work waits; work that goes on takes its next turn behind all other lines, so one line delays
//! another by one turn at most; nothing here shares a thread with the async runtime or with its pool of blocking tasks.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, io, thread};

use tokio::sync::oneshot;

/// How long a turn should take.
pub const TURN: Duration = Duration::from_millis(5);

/// How long work rests that cannot go on now.
const REST: Duration = Duration::from_millis(2);

/// What waits in one line; one more is refused.
const LINE_MAX: usize = 256;

/// What is to be done with work after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It goes on behind the others.
    Again,
    /// It cannot go on now, and is asked again a little later.
    Later,
    /// It is done.
    Done,
}

/// Work in turns.
pub trait Work: Send {
    /// Works for about [`TURN`].
    fn turn(&mut self) -> Turn;
}

/// The threads, and the lines that wait for them. Dropping it ends the threads, and what waits.
pub struct Turns(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    news: Condvar,
}

/// A line, by the app that its work is done for, by number. What an app's backends ask for and what other nodes publish to it
/// wait in two lines: however much is asked for, publications have every other turn of the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Line {
    /// Calls.
    Calls(u32),
    /// Publications of other nodes.
    Publications(u32),
}

#[derive(Default)]
struct State {
    lines: HashMap<Line, VecDeque<Box<dyn Work>>>,
    /// The lines with work, in the order of their turns, each once.
    order: VecDeque<Line>,
    /// What rests, and until when.
    resting: VecDeque<(Instant, Line, Box<dyn Work>)>,
    is_closed: bool,
}

impl Turns {
    /// No thread serves it yet.
    pub fn new() -> Self {
        Self(Arc::default())
    }

    /// Adds threads that serve it.
    ///
    /// # Errors
    /// The system gives none.
    pub fn serve(&self, name: &str, threads: usize) -> io::Result<()> {
        for _ in 0..threads {
            let shared = Arc::clone(&self.0);
            thread::Builder::new().name(name.to_owned()).spawn(move || shared.serve())?;
        }
        Ok(())
    }

    /// Adds work to a line.
    pub fn add(&self, line: Line, work: Box<dyn Work>) {
        self.0.state().add(line, work);
        self.0.news.notify_one();
    }

    /// Adds work to a line, unless too much waits in it. Whether it was added.
    pub fn try_add(&self, line: Line, work: Box<dyn Work>) -> bool {
        let mut state = self.0.state();
        if state.lines.get(&line).is_some_and(|waiting| waiting.len() >= LINE_MAX) {
            return false;
        }
        state.add(line, work);
        drop(state);
        self.0.news.notify_one();
        true
    }

    /// Runs something as one turn of a line. None when the threads have ended. It is not begun when the caller has left.
    pub async fn run<T: Send + 'static>(
        &self,
        line: Line,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.add(line, Box::new(Once(Some((work, answer)))));
        answered.await.ok()
    }

    /// Works on the caller's thread as long as there is something to do now: where no threads serve.
    pub fn work_off(&self) {
        loop {
            let next = self.0.state().next();
            let Some((line, work)) = next else { return };
            self.0.work(line, work);
        }
    }
}

impl Default for Turns {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Turns")
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.is_closed = true;
        // What is dropped with it may want this lock.
        let (lines, resting) = (std::mem::take(&mut state.lines), std::mem::take(&mut state.resting));
        state.order.clear();
        drop(state);
        drop((lines, resting));
        self.0.news.notify_all();
    }
}

impl Shared {
    fn serve(&self) {
        let mut state = self.state();
        while !state.is_closed {
            if let Some((line, work)) = state.next() {
                drop(state);
                self.work(line, work);
                state = self.state();
                continue;
            }
            state = match state.resting.front() {
                None => self.news.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(_) => self.news.wait_timeout(state, REST).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }

    fn work(&self, line: Line, mut work: Box<dyn Work>) {
        match work.turn() {
            Turn::Again => self.state().add(line, work),
            Turn::Later => self.state().resting.push_back((Instant::now() + REST, line, work)),
            Turn::Done => drop(work),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No work runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, line: Line, work: Box<dyn Work>) {
        if self.is_closed {
            return;
        }
        let waiting = self.lines.entry(line).or_default();
        if waiting.is_empty() {
            self.order.push_back(line);
        }
        waiting.push_back(work);
    }

    /// Takes the next work. If more waits in its line, that waits behind the other lines.
    fn next(&mut self) -> Option<(Line, Box<dyn Work>)> {
        if self.resting.front().is_some_and(|(until, ..)| *until <= Instant::now())
            && let Some((_, line, work)) = self.resting.pop_front()
        {
            self.add(line, work);
        }
        let line = self.order.pop_front()?;
        let waiting = self.lines.get_mut(&line)?;
        let work = waiting.pop_front()?;
        if waiting.is_empty() {
            self.lines.remove(&line);
        } else {
            self.order.push_back(line);
        }
        Some((line, work))
    }
}

/// Something that is done in one turn, for somebody who waits for it.
struct Once<F, T>(Option<(F, oneshot::Sender<T>)>);

impl<T: Send, F: FnOnce() -> T + Send> Work for Once<F, T> {
    fn turn(&mut self) -> Turn {
        if let Some((work, answer)) = self.0.take()
            && !answer.is_closed()
        {
            // It fails when the caller has left meanwhile.
            let _ = answer.send(work());
        }
        Turn::Done
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Takes so many turns, and says each.
    struct Steps(u32, &'static str, mpsc::Sender<&'static str>);

    impl Work for Steps {
        fn turn(&mut self) -> Turn {
            self.2.send(self.1).unwrap();
            self.0 -= 1;
            if self.0 == 0 { Turn::Done } else { Turn::Again }
        }
    }

    #[test]
    fn a_line_with_much_work_delays_another_by_one_turn() {
        let (turns, (said, heard)) = (Turns::new(), mpsc::channel());
        (0..3).for_each(|_| turns.add(Line::Calls(1), Box::new(Steps(2, "much", said.clone()))));
        turns.add(Line::Calls(2), Box::new(Steps(2, "little", said)));
        turns.work_off();
        let order: Vec<_> = heard.iter_after(turns).collect();
        assert_eq!(order[..4], ["much", "little", "much", "little"]);
        assert_eq!(order.len(), 8);
    }

    trait IterAfter {
        fn iter_after(self, turns: Turns) -> mpsc::IntoIter<&'static str>;
    }

    impl IterAfter for mpsc::Receiver<&'static str> {
        /// All that was said once nobody can say more.
        fn iter_after(self, turns: Turns) -> mpsc::IntoIter<&'static str> {
            drop(turns);
            self.into_iter()
        }
    }

    #[test]
    fn a_line_is_bounded_and_takes_more_once_it_was_served() {
        let (turns, (said, _heard)) = (Turns::new(), mpsc::channel());
        let add = |app| turns.try_add(Line::Calls(app), Box::new(Steps(1, "", said.clone())));
        assert!((0..LINE_MAX).all(|_| add(1)));
        assert!(!add(1));
        assert!(add(2), "another line has room of its own");
        turns.work_off();
        assert!(turns.try_add(Line::Calls(1), Box::new(Steps(1, "", said.clone()))));
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_not_begun() {
        let turns = Turns::new();
        let (begun, has_begun) = mpsc::channel();
        let mut left = Box::pin(turns.run(Line::Calls(1), move || begun.send(()).unwrap()));
        assert!(futures_util::poll!(&mut left).is_pending());
        drop(left);
        turns.serve("test", 2).unwrap();
        assert_eq!(turns.run(Line::Calls(1), || 7).await, Some(7));
        assert!(has_begun.try_recv().is_err());
    }
}
