//! Lines on their way to where they are written: a bounded queue and one thread behind it.
//!
//! Always holds: whoever hands over a line does not wait; if the thread does not keep up, lines are dropped, counted, and the
//! number is told in the log. Errors alone are written on the spot, as the process may end with them.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use super::Outputs;
use crate::metrics::LOG_LINES_DROPPED;

/// Lines that may wait. A line is seldom longer than some hundred bytes.
const LINES_MAX: usize = 8_192;

/// How long the end of the process waits for lines to be written.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

/// The line that says how many lines were dropped.
pub type Confession = Box<dyn Fn(u64) -> String + Send>;

enum Item {
    Line(Vec<u8>),
    /// Say when all before this is written.
    Flush(SyncSender<()>),
}

/// The way to the thread that writes. Clones are the same way.
#[derive(Clone)]
pub struct Queue {
    items: SyncSender<Item>,
    dropped: Arc<AtomicU64>,
    outputs: Arc<Mutex<Outputs>>,
}

impl Queue {
    /// Starts the thread that writes each line to all of `outputs`. It ends with the last clone of the queue.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(outputs: Outputs, confess: Confession) -> io::Result<Self> {
        let (items, coming) = sync_channel(LINES_MAX);
        let (outputs, dropped) = (Arc::new(Mutex::new(outputs)), Arc::new(AtomicU64::new(0)));
        let (theirs, lost) = (Arc::clone(&outputs), Arc::clone(&dropped));
        thread::Builder::new()
            .name("log".into())
            .spawn(move || write_all(&coming, &theirs, &lost, &confess))?;
        Ok(Self { items, dropped, outputs })
    }

    /// Waits until what was handed over so far is written; not for ever.
    pub fn flush(&self) {
        let (written, is_written) = sync_channel(1);
        let items = self.items.clone();
        // In a full queue there may be no place for long.
        let ask = move || drop(items.send(Item::Flush(written)));
        if thread::Builder::new().name("log-flush".into()).spawn(ask).is_ok() {
            let _ = is_written.recv_timeout(FLUSH_WITHIN);
        }
    }

    /// Writes to other outputs from now on; what was handed over so far goes to those before.
    pub fn redirect(&self, outputs: Outputs) {
        self.flush();
        *self.outputs.lock().unwrap_or_else(PoisonError::into_inner) = outputs;
    }

    fn take(&self, line: &[u8]) {
        if self.items.try_send(Item::Line(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            LOG_LINES_DROPPED.add(1);
        }
    }
}

fn write_all(coming: &Receiver<Item>, outputs: &Mutex<Outputs>, dropped: &AtomicU64, confess: &Confession) {
    for item in coming {
        match item {
            Item::Line(line) => write(outputs, &line),
            Item::Flush(written) => drop(written.try_send(())),
        }
        if dropped.load(Ordering::Relaxed) > 0 {
            write(outputs, confess(dropped.swap(0, Ordering::Relaxed)).as_bytes());
        }
    }
}

/// An output that takes nothing, such as a full disk, loses the line, which is counted; the others have it, and the next
/// line is tried anew.
fn write(outputs: &Mutex<Outputs>, line: &[u8]) {
    let mut outputs = outputs.lock().unwrap_or_else(PoisonError::into_inner);
    let written = outputs.iter_mut().map(|output| output.write_all(line).and_then(|()| output.flush()));
    LOG_LINES_DROPPED.add(written.filter(Result::is_err).count() as u64);
}

/// Takes one line.
pub struct Line<'a> {
    queue: &'a Queue,
    is_urgent: bool,
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.is_urgent {
            write(&self.queue.outputs, line)
        } else {
            self.queue.take(line)
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { queue: self, is_urgent: false }
    }

    fn make_writer_for(&'a self, about: &Metadata<'_>) -> Line<'a> {
        Line { queue: self, is_urgent: *about.level() == Level::ERROR }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An output that says when it is reached, and writes nothing until it is let go.
    struct Stuck {
        reached: SyncSender<()>,
        gate: Receiver<()>,
        is_free: bool,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if !self.is_free {
                self.reached.send(()).unwrap();
                self.is_free = self.gate.recv().is_ok();
            }
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn whoever_logs_does_not_wait_for_an_output_that_is_stuck_and_what_is_dropped_is_told() {
        let (free, gate) = sync_channel(1);
        let (reached, is_reached) = sync_channel(1);
        let written = Arc::new(Mutex::new(Vec::new()));
        let stuck = Stuck { reached, gate, is_free: false, written: Arc::clone(&written) };
        let queue =
            Queue::start(vec![Box::new(stuck)], Box::new(|lines| format!("dropped {lines}\n"))).unwrap();
        let say = |number: usize| queue.make_writer().write_all(format!("{number}\n").as_bytes()).unwrap();
        say(0);
        is_reached.recv().unwrap();
        (1..=LINES_MAX + 3).for_each(say);
        assert_eq!(queue.dropped.load(Ordering::Relaxed), 3);
        free.send(()).unwrap();
        queue.flush();
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let expected = (1..=LINES_MAX).map(|number| number.to_string());
        let expected: Vec<String> =
            ["0", "dropped 3"].map(str::to_owned).into_iter().chain(expected).collect();
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }
}
