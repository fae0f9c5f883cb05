//! Mailbox and message: the only way into a shard.
//!
//! Anybody may post, from any thread, without waiting for the shard: the lock is held for one push or one swap.
//! A shard that sleeps in its poll is woken by the first message after it announced that it would sleep.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::{FollowNumber, LiveApp, Place};
use crate::dialect::Session;
use crate::model::{AppNumber, Parting, PermissionChange, Push, UserId};
use crate::net::stream::Stream;

/// What a waiting message weighs besides the data it shares, in bytes: roughly what it occupies.
const MESSAGE_BYTES: usize = 128;

/// Room for so many messages is kept when a mailbox is emptied.
const KEPT_MESSAGES: usize = 1024;

/// Names a socket from the moment it is admitted, unique within the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketNumber(pub u64);

/// A socket that was admitted and whose stream is still with the door: it already belongs to its app, so that a
/// push accepted after the client saw the answer of its upgrade is never missed.
#[derive(Debug)]
pub struct Arrival {
    /// Its name.
    pub number: SocketNumber,
    /// The app it is a socket of.
    pub app: Arc<LiveApp>,
    /// What it speaks, and as whom.
    pub session: Session,
    /// It agreed on deflated messages.
    pub deflates: bool,
    /// What it takes of its address, if sockets of addresses are counted.
    pub place: Option<Place>,
}

/// What a shard is told.
#[derive(Debug)]
pub enum Message {
    /// Make room for a socket: it receives pushes from here on.
    Expect(Arrival),
    /// Its upgrade was answered; here is the stream, and what the client sent ahead.
    Open(SocketNumber, Stream, Bytes),
    /// Its upgrade failed.
    Abandon(SocketNumber),
    /// Deliver this.
    Push(Arc<Push>),
    /// Close the sockets that are signed in as this user.
    CloseUser(AppNumber, UserId),
    /// Change what the sockets whose token names this user may subscribe to.
    Permit(AppNumber, UserId, Arc<PermissionChange>),
    /// The bus follows all that this node had asked for up to this number.
    Followed(FollowNumber),
    /// The app is switched off: close its sockets.
    DisableApp(AppNumber),
    /// The app is gone: close its sockets.
    CloseApp(AppNumber),
    /// The node is cut off from the others: close every socket that is there in so much time.
    Leave(Duration),
    /// The node stops: close every socket in so much time, for that reason, then end.
    Drain(Duration, Parting),
}

impl Message {
    fn weight_bytes(&self) -> usize {
        MESSAGE_BYTES
            + match self {
                Message::Push(push) => push.data_bytes(),
                Message::Open(_, _, ahead) => ahead.len(),
                _ => 0,
            }
    }
}

/// Into a shard.
#[derive(Debug)]
pub struct Mailbox {
    waiting: Mutex<VecDeque<Message>>,
    /// The weight of what waits.
    waiting_bytes: AtomicUsize,
    /// The shard sleeps, or is about to.
    asleep: AtomicBool,
    waker: mio::Waker,
}

impl Mailbox {
    /// An empty mailbox of the shard that `waker` wakes.
    pub fn new(waker: mio::Waker) -> Self {
        Self {
            waiting: Mutex::default(),
            waiting_bytes: AtomicUsize::new(0),
            asleep: AtomicBool::new(false),
            waker,
        }
    }

    /// Adds a message behind all that wait.
    pub fn post(&self, message: Message) {
        self.waiting_bytes.fetch_add(message.weight_bytes(), Ordering::Relaxed);
        self.lock().push_back(message);
        if self.asleep.swap(false, Ordering::SeqCst) {
            // It fails only when the shard is gone, and then nobody is left to be told.
            let _ = self.waker.wake();
        }
    }

    /// Wakes the shard, or has it go on without sleeping, though there is no mail for it.
    pub fn nudge(&self) {
        // It fails only when the shard is gone.
        let _ = self.waker.wake();
    }

    /// How much waits, in bytes; what a publisher is refused by.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes.load(Ordering::Relaxed)
    }

    /// Moves all that waits into `into`, which must be empty. A mailbox that once held many does not keep their
    /// memory.
    pub fn take(&self, into: &mut VecDeque<Message>) {
        debug_assert!(into.is_empty(), "mail is carried out in order");
        into.shrink_to(KEPT_MESSAGES);
        std::mem::swap(&mut *self.lock(), into);
    }

    /// The shard has carried out `message`, so it waits no longer.
    pub fn done(&self, message: &Message) {
        self.waiting_bytes.fetch_sub(message.weight_bytes(), Ordering::Relaxed);
    }

    /// Announces that the shard will sleep. False when mail is there, and then it must not.
    ///
    /// The flag is stored before the look: a message posted after the look finds the flag and wakes the shard.
    pub fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        let empty = self.lock().is_empty();
        if !empty {
            self.asleep.store(false, Ordering::SeqCst);
        }
        empty
    }

    /// The shard is up again and looks into its mailbox by itself.
    pub fn wake_up(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Message>> {
        // No code that can panic runs under the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
