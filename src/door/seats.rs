//! Who may be on a listener besides sockets: so many at once, each with a seat.
//!
//! Always: who comes waits for nobody that is idle, and not long for anybody that is slow. When no seat is free, the one that has
//! been idle longest yields, then the one whose head or body is slowest in coming; who is at work does not. One address has at
//! most its share, and beyond that makes room for itself. Who gets no seat stands by for one, and is served before only
//! if it asks how the node fares.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::addresses::network;
use super::burst::Burst;
use crate::hub::Hub;

/// From when on a request is slow whose head, or whose body, has not come as a whole.
const SLOW_AFTER: Duration = Duration::from_millis(2_500);

/// How long one that stands by may do so if others want to.
const STAND_BY_MAX: Duration = Duration::from_secs(1);

/// How often those who stand by look whether somebody has become slow.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);

/// One connection or call stands by for this many that have a seat.
const SEATS_PER_STANDBY: usize = 4;

/// How many may stand by where so many may sit.
pub fn standbys_max(seats: usize) -> usize {
    seats.div_ceil(SEATS_PER_STANDBY).max(8)
}

/// What somebody with a seat does. In this order they yield.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Nothing: the last answer is out.
    Idle,
    /// A handshake or the head of a request is on its way.
    Head,
    /// The body of a request is on its way.
    Body,
    /// The node is at work, or answers.
    Work,
}

/// How somebody stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Standby,
    Seated,
    /// Given up, in the middle of this.
    Given(Phase),
}

/// The seats of one listener, or those of the calls on it that HTTP/2 has more of than connections.
#[derive(Debug)]
pub struct Seats {
    hub: Arc<Hub>,
    /// Whose they are, for the log.
    name: &'static str,
    table: Mutex<Table>,
    changed: Notify,
    telling: Burst,
}

impl Seats {
    pub fn new(hub: &Arc<Hub>, name: &'static str, max: usize) -> Arc<Self> {
        let table = Mutex::new(Table::new(max));
        Arc::new(Self {
            hub: Arc::clone(hub),
            name,
            table,
            changed: Notify::new(),
            telling: Burst::default(),
        })
    }

    /// Somebody comes from `address`, if that is to be counted, which may have so many seats; 0 for as many as there are.
    pub fn enter(self: &Arc<Self>, address: Option<IpAddr>, share_max: usize) -> Seat {
        let (id, standing) = self.change(|table, now| table.enter(address.map(network), share_max, now));
        self.hub.metrics.pending_connections.add(1);
        Seat { seats: Arc::clone(self), id, standing }
    }

    /// Returns when one more may enter.
    pub async fn room(&self) {
        loop {
            let changed = self.changed.notified();
            if self.lock().has_room(Instant::now()) {
                return;
            }
            // Somebody may have become slow, of which nobody is told.
            let _ = timeout(LOOK_EVERY, changed).await;
        }
    }

    /// Whether one more may enter now.
    pub fn has_room(&self) -> bool {
        self.lock().has_room(Instant::now())
    }

    /// Seats those who stand by, as far as others have become slow; to be called now and then.
    pub fn look(&self) {
        self.change(Table::seat_standbys);
    }

    /// Returns when all are gone.
    pub async fn empty(&self) {
        loop {
            let changed = self.changed.notified();
            if self.lock().entries.is_empty() {
                return;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing that can panic runs under the lock.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Table, Instant) -> T) -> T {
        let now = Instant::now();
        let mut table = self.lock();
        let result = change(&mut table, now);
        let given = std::mem::take(&mut table.given);
        drop(table);
        self.changed.notify_waiters();
        for reason in &given {
            self.hub.metrics.seats_given_up.add(reason, 1);
        }
        if let Some(reason) = given.first().filter(|_| self.telling.begins()) {
            let of = self.name;
            tracing::warn!(of, reason, "no place is free: idle and slow clients make room for others");
        }
        result
    }
}

/// What somebody has on a listener until it is dropped: a seat, or the prospect of one.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    id: u64,
    standing: watch::Receiver<Standing>,
}

impl Seat {
    /// It is somebody of this address, as a proxy has said.
    pub fn name(&self, address: IpAddr) {
        self.seats.change(|table, now| table.name(self.id, network(address), now));
    }

    pub fn is_seated(&self) -> bool {
        *self.standing.borrow() == Standing::Seated
    }

    /// Whether there is a seat at last. Returns when that is known.
    pub async fn seated(&self) -> bool {
        let mut standing = self.standing.clone();
        standing.wait_for(|it| *it != Standing::Standby).await.is_ok_and(|it| *it == Standing::Seated)
    }

    /// Returns when it has to make room for another, and says in the middle of what.
    pub async fn given_up(&self) -> Phase {
        let mut standing = self.standing.clone();
        let given = standing.wait_for(|it| matches!(it, Standing::Given(_))).await.map(|it| *it);
        match given {
            Ok(Standing::Given(phase)) => phase,
            _ => std::future::pending().await,
        }
    }

    /// It does something else from now on.
    pub fn turn_to(&self, phase: Phase) {
        let mut table = self.seats.lock();
        table.turn_to(self.id, phase, Instant::now());
        let may_yield = phase == Phase::Idle && !table.standbys.is_empty();
        drop(table);
        if may_yield {
            self.seats.look();
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.hub.metrics.pending_connections.subtract(1);
        self.seats.change(|table, now| {
            table.remove(self.id);
            table.seat_standbys(now);
        });
    }
}

type Key = (Phase, u64);

#[derive(Debug)]
struct Table {
    max: usize,
    /// How many seats one address may have; 0 for all.
    share_max: usize,
    entries: HashMap<u64, Entry>,
    /// Numbers those who come, and what they do, in order.
    last: u64,
    seated: usize,
    standbys: BTreeSet<u64>,
    /// Those with a seat that may have to yield, in order.
    yielding: BTreeMap<Key, u64>,
    addresses: HashMap<IpAddr, Held>,
    /// Why seats were given up that nobody was told of yet.
    given: Vec<&'static str>,
}

#[derive(Debug)]
struct Entry {
    key: Key,
    since: Instant,
    address: Option<IpAddr>,
    standing: watch::Sender<Standing>,
}

/// What one address has.
#[derive(Debug, Default)]
struct Held {
    seated: usize,
    yielding: BTreeMap<Key, u64>,
}

impl Table {
    fn new(max: usize) -> Self {
        Self {
            max,
            share_max: 0,
            entries: HashMap::new(),
            last: 0,
            seated: 0,
            standbys: BTreeSet::new(),
            yielding: BTreeMap::new(),
            addresses: HashMap::new(),
            given: Vec::new(),
        }
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn enter(
        &mut self,
        address: Option<IpAddr>,
        share_max: usize,
        now: Instant,
    ) -> (u64, watch::Receiver<Standing>) {
        self.share_max = share_max;
        let (id, (standing, seen)) = (self.number(), watch::channel(Standing::Standby));
        self.entries.insert(id, Entry { key: (Phase::Head, id), since: now, address, standing });
        self.standbys.insert(id);
        self.bound_standbys(id, now);
        (id, seen)
    }

    fn has_room(&self, now: Instant) -> bool {
        self.seated < self.max
            || self.standbys.len() < standbys_max(self.max)
            || self.first_yielding(&self.yielding, now).is_some()
            || self.longest_standby(now).is_some()
    }

    fn longest_standby(&self, now: Instant) -> Option<u64> {
        let id = *self.standbys.first()?;
        self.entries.get(&id).filter(|entry| now - entry.since >= STAND_BY_MAX).map(|_| id)
    }

    /// Seats who stands by, in the order they came, as far as that is possible.
    fn seat_standbys(&mut self, now: Instant) {
        let standbys: Vec<u64> = self.standbys.iter().copied().collect();
        for id in standbys {
            self.take_seat(id, now);
        }
    }

    /// Gives a seat to who stands by: a free one, or that of somebody who yields.
    fn take_seat(&mut self, id: u64, now: Instant) -> bool {
        let Some(entry) = self.entries.get(&id) else { return false };
        let held = entry.address.and_then(|address| self.addresses.get(&address));
        let over = held.filter(|held| self.share_max > 0 && held.seated >= self.share_max);
        if over.is_some() || self.seated >= self.max {
            let among = over.map_or(&self.yielding, |held| &held.yielding);
            let Some(yielding) = self.first_yielding(among, now) else { return false };
            let is_idle = self.entries.get(&yielding).is_some_and(|entry| entry.key.0 == Phase::Idle);
            self.give_up(yielding, if is_idle { "idle" } else { "slow" });
        }
        self.standbys.remove(&id);
        self.seated += 1;
        if let Some(Entry { address, standing, .. }) = self.entries.get(&id) {
            standing.send_replace(Standing::Seated);
            if let Some(address) = address {
                self.addresses.entry(*address).or_default().seated += 1;
            }
        }
        self.list(id);
        true
    }

    fn first_yielding(&self, among: &BTreeMap<Key, u64>, now: Instant) -> Option<u64> {
        [Phase::Idle, Phase::Head, Phase::Body].into_iter().find_map(|phase| {
            let (_, id) = among.range((phase, 0)..=(phase, u64::MAX)).next()?;
            let since = self.entries.get(id)?.since;
            (phase == Phase::Idle || now - since >= SLOW_AFTER).then_some(*id)
        })
    }

    fn turn_to(&mut self, id: u64, phase: Phase, now: Instant) {
        let number = self.number();
        if self.entries.get(&id).is_none_or(|entry| entry.key.0 == phase) {
            return;
        }
        self.strike_out(id);
        if let Some(entry) = self.entries.get_mut(&id) {
            (entry.key, entry.since) = ((phase, number), now);
        }
        if !self.standbys.contains(&id) {
            self.list(id);
        }
    }

    fn name(&mut self, id: u64, address: IpAddr, now: Instant) {
        if !self.entries.contains_key(&id) {
            return;
        }
        self.stand_up(id);
        self.standbys.insert(id);
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.address = Some(address);
            entry.standing.send_replace(Standing::Standby);
        }
        self.bound_standbys(id, now);
    }

    /// Seats one, or lets it stand by. Of too many that stand by, one goes: who has for long, else this one, which has come
    /// without asking for room.
    fn bound_standbys(&mut self, id: u64, now: Instant) {
        if !self.take_seat(id, now) && self.standbys.len() > standbys_max(self.max) {
            let longest = self.longest_standby(now).unwrap_or(id);
            self.give_up(longest, "standby");
        }
    }

    /// Puts one with a seat among those that may have to yield, if it may.
    fn list(&mut self, id: u64) {
        let Some(Entry { key, address, .. }) = self.entries.get(&id) else { return };
        if key.0 != Phase::Work {
            self.yielding.insert(*key, id);
            let held = address.and_then(|address| self.addresses.get_mut(&address));
            held.map(|held| held.yielding.insert(*key, id));
        }
    }

    fn strike_out(&mut self, id: u64) {
        let Some(Entry { key, address, .. }) = self.entries.get(&id) else { return };
        self.yielding.remove(key);
        address.and_then(|address| self.addresses.get_mut(&address)).map(|held| held.yielding.remove(key));
    }

    /// Takes the seat away, or the prospect of one.
    fn stand_up(&mut self, id: u64) {
        let Some(address) = self.entries.get(&id).map(|entry| entry.address) else { return };
        if self.standbys.remove(&id) {
            return;
        }
        self.strike_out(id);
        self.seated -= 1;
        if let Some(address) = address
            && let Some(held) = self.addresses.get_mut(&address)
        {
            held.seated -= 1;
            if held.seated == 0 {
                self.addresses.remove(&address);
            }
        }
    }

    fn remove(&mut self, id: u64) {
        self.stand_up(id);
        self.entries.remove(&id);
    }

    fn give_up(&mut self, id: u64, reason: &'static str) {
        self.given.push(reason);
        self.stand_up(id);
        if let Some(entry) = self.entries.remove(&id) {
            entry.standing.send_replace(Standing::Given(entry.key.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Option<IpAddr> {
        Some([10, 0, 0, last].into())
    }

    /// A table of so many seats, and a moment.
    fn table(max: usize) -> (Table, Instant) {
        (Table::new(max), Instant::now())
    }

    fn stands(seen: &watch::Receiver<Standing>) -> Standing {
        *seen.borrow()
    }

    #[test]
    fn who_has_been_idle_longest_yields_first_and_who_is_at_work_does_not() {
        let (mut table, now) = table(3);
        let [(one, one_seen), (two, two_seen), (three, three_seen)] =
            [1, 2, 3].map(|last| table.enter(address(last), 0, now));
        table.turn_to(two, Phase::Idle, now);
        table.turn_to(one, Phase::Work, now);
        table.turn_to(one, Phase::Idle, now);
        table.turn_to(three, Phase::Work, now);
        let next = table.enter(address(4), 0, now).1;
        assert_eq!((stands(&two_seen), stands(&next)), (Standing::Given(Phase::Idle), Standing::Seated));
        table.enter(address(4), 0, now);
        assert_eq!(
            (stands(&one_seen), stands(&three_seen)),
            (Standing::Given(Phase::Idle), Standing::Seated)
        );
        assert_eq!(table.given, ["idle", "idle"]);
    }

    #[test]
    fn who_is_slow_yields_to_who_stands_by() {
        let (mut table, now) = table(2);
        let (body, body_seen) = table.enter(address(1), 0, now);
        let (_, head_seen) = table.enter(address(2), 0, now);
        table.turn_to(body, Phase::Body, now);
        let waits = [(); 2].map(|()| {
            let (id, seen) = table.enter(address(3), 0, now);
            table.turn_to(id, Phase::Work, now);
            seen
        });
        assert_eq!(waits.each_ref().map(stands), [Standing::Standby; 2], "nobody is slow yet");
        table.seat_standbys(now + SLOW_AFTER);
        assert_eq!([stands(&head_seen), stands(&body_seen)], [Phase::Head, Phase::Body].map(Standing::Given));
        assert_eq!(waits.each_ref().map(stands), [Standing::Seated; 2]);
    }

    #[test]
    fn one_address_makes_room_for_itself_beyond_its_share() {
        let (mut table, now) = table(10);
        let (own, own_seen) = table.enter(address(1), 2, now);
        table.enter(address(1), 2, now);
        let (other, other_seen) = table.enter(address(2), 2, now);
        table.turn_to(other, Phase::Idle, now);
        let third = table.enter(address(1), 2, now).1;
        assert_eq!(stands(&third), Standing::Standby, "though seats are free");
        table.turn_to(own, Phase::Idle, now);
        table.seat_standbys(now);
        assert_eq!((stands(&own_seen), stands(&third)), (Standing::Given(Phase::Idle), Standing::Seated));
        assert_eq!(stands(&other_seen), Standing::Seated);
        let uncounted = [(); 3].map(|()| table.enter(None, 2, now).1);
        assert_eq!(uncounted.each_ref().map(stands), [Standing::Seated; 3]);
    }

    #[test]
    fn who_is_named_by_a_proxy_counts_as_that_address() {
        let (mut table, now) = table(10);
        let named = [(); 3].map(|()| {
            let (id, seen) = table.enter(None, 2, now);
            table.name(id, address(1).unwrap(), now);
            seen
        });
        assert_eq!(named.each_ref().map(stands), [Standing::Seated, Standing::Seated, Standing::Standby]);
        assert_eq!(table.seated, 2);
    }

    #[test]
    fn one_client_behind_a_proxy_has_no_more_connections_stand_by_than_others() {
        let (mut table, now) = table(4);
        for _ in 0..1_000 {
            let (id, _) = table.enter(None, 1, now);
            let client: IpAddr = [10, 0, 0, 1].into();
            table.name(id, client, now);
        }
        assert!(table.standbys.len() <= standbys_max(4) && table.seated <= 4);
        assert_eq!(table.entries.len(), table.standbys.len() + table.seated);
    }

    #[test]
    fn who_stands_by_too_long_makes_room_for_the_next() {
        let (mut table, now) = table(1);
        let (one, _one) = table.enter(address(1), 0, now);
        table.turn_to(one, Phase::Work, now);
        let waits: Vec<_> = (0..standbys_max(1)).map(|_| table.enter(address(2), 0, now).1).collect();
        assert!(!table.has_room(now) && table.has_room(now + STAND_BY_MAX));
        let last = table.enter(address(3), 0, now + STAND_BY_MAX).1;
        assert_eq!(
            [stands(&waits[0]), stands(&waits[1]), stands(&last)],
            [Standing::Given(Phase::Head), Standing::Standby, Standing::Standby]
        );
        table.remove(one);
        table.seat_standbys(now);
        assert_eq!(stands(&waits[1]), Standing::Seated, "in the order they came");
    }

    #[test]
    fn nothing_is_left_of_who_is_gone() {
        let (mut table, now) = table(2);
        let ids: Vec<_> = (0..9).map(|last| table.enter(address(last % 3), 1, now).0).collect();
        for (number, id) in ids.iter().enumerate() {
            table.turn_to(*id, [Phase::Idle, Phase::Work, Phase::Body][number % 3], now);
        }
        ids.into_iter().for_each(|id| table.remove(id));
        assert!(table.entries.is_empty() && table.standbys.is_empty() && table.yielding.is_empty());
        assert!(table.addresses.is_empty() && table.seated == 0);
    }
}
