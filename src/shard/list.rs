//! A list: sockets that receive the same pushes, and the log of what they were not all sent yet.
//!
//! A push is appended to the log once. A walk visits the members in laps; whoever is visited gets all that was
//! appended since its last visit, joined, so that many pushes become one write. Always:
//! - `members[unvisited..]` were visited in this lap, or joined during it; the walk goes down to 0;
//! - when a lap ends every member has seen the log up to `lap_end`, and so much of it is forgotten;
//! - a member never sees what was appended before it joined.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::forms::Forms;
use super::outbox::Frames;

/// Names a socket within its shard.
pub type Slot = u32;

/// Counts the frames of a log; wraps, and is only compared within one log's length.
type Sequence = u32;

#[derive(Clone, Copy, Debug)]
struct Member {
    slot: Slot,
    /// All frames before this one were handed to it.
    seen: Sequence,
}

/// Sockets that receive the same pushes.
#[derive(Debug, Default)]
pub struct List {
    members: Vec<Member>,
    log: Log,
    unvisited: usize,
    lap_end: Sequence,
    /// Laps begun; wraps.
    laps: u32,
}

impl List {
    /// Adds a socket; it gets what is appended from now on. Returns its place, which [`List::remove`] asks for.
    pub fn join(&mut self, slot: Slot) -> u32 {
        self.members.push(Member { slot, seen: self.log.end() });
        self.members.len() as u32 - 1
    }

    /// Takes the socket at `place` out. Up to two others get a new place, which `moved` is told.
    ///
    /// The hole is moved to the border between unvisited and visited first, so that nobody crosses it unseen.
    pub fn remove(&mut self, place: u32, mut moved: impl FnMut(Slot, u32)) {
        let mut hole = place as usize;
        if hole < self.unvisited {
            self.unvisited -= 1;
            if hole != self.unvisited {
                self.members.swap(hole, self.unvisited);
                moved(self.members[hole].slot, hole as u32);
            }
            hole = self.unvisited;
        }
        self.members.swap_remove(hole);
        if let Some(member) = self.members.get(hole) {
            moved(member.slot, hole as u32);
        }
        if self.members.capacity() > 64 && self.members.len() < self.members.capacity() / 4 {
            self.members.shrink_to(self.members.len() * 2);
        }
    }

    /// All who are in it.
    pub fn slots(&self) -> impl ExactSizeIterator<Item = Slot> {
        self.members.iter().map(|member| member.slot)
    }

    /// Whether nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Appends a frame that everybody now in the list is to get.
    pub fn append(&mut self, forms: Forms) {
        self.log.append(forms);
    }

    /// Lets the member at `place` pass over all that it has not seen.
    pub fn skip(&mut self, place: u32) {
        self.members[place as usize].seen = self.log.end();
    }

    /// What the log holds, in bytes.
    pub fn behind_bytes(&self) -> usize {
        self.log.bytes
    }

    /// How many laps have begun so far; wraps.
    pub fn laps(&self) -> u32 {
        self.laps
    }

    /// The next member that has not seen everything, and what it has not seen, in the form that it `deflates` or not; it
    /// counts as seen from here on. `None` when all have seen all.
    pub fn next(&mut self, deflates: impl Fn(Slot) -> bool) -> Option<(Slot, Frames)> {
        loop {
            if self.unvisited == 0 {
                self.log.forget(self.lap_end);
                self.lap_end = self.log.end();
                self.unvisited = self.members.len();
                if self.members.is_empty() {
                    self.log.forget(self.lap_end);
                }
                if self.log.is_empty() {
                    self.unvisited = 0;
                    return None;
                }
                self.laps = self.laps.wrapping_add(1);
            }
            self.unvisited -= 1;
            let slot = self.members[self.unvisited].slot;
            if let Some(frames) = self.catch_up(self.unvisited as u32, deflates(slot)) {
                return Some((slot, frames));
            }
        }
    }

    /// What the member at `place` has not seen; it counts as seen from here on.
    pub fn catch_up(&mut self, place: u32, deflates: bool) -> Option<Frames> {
        let member = &mut self.members[place as usize];
        let frames = self.log.since(member.seen, deflates)?;
        member.seen = self.log.end();
        Some(frames)
    }
}

/// Frames that not everybody was sent yet.
#[derive(Debug, Default)]
struct Log {
    frames: VecDeque<Forms>,
    first: Sequence,
    bytes: usize,
    /// The frames from a sequence to the end as one piece, plain and deflated: members visited together need the same.
    joined: [Option<(Sequence, Bytes)>; 2],
}

impl Log {
    fn end(&self) -> Sequence {
        self.first.wrapping_add(self.frames.len() as Sequence)
    }

    fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    fn append(&mut self, forms: Forms) {
        self.bytes += forms.bytes();
        self.frames.push_back(forms);
        self.joined = [None, None];
    }

    fn since(&mut self, seen: Sequence, deflates: bool) -> Option<Frames> {
        let count = self.end().wrapping_sub(seen);
        match count {
            0 => return None,
            1 => {
                return self
                    .frames
                    .back()
                    .map(|forms| Frames { bytes: forms.frame(deflates).clone(), count });
            }
            _ => {}
        }
        let piece = &mut self.joined[usize::from(deflates)];
        if let Some((from, bytes)) = piece
            && *from == seen
        {
            return Some(Frames { bytes: bytes.clone(), count });
        }
        let unseen =
            self.frames.range(self.frames.len() - count as usize..).map(|forms| forms.frame(deflates));
        let mut joined = BytesMut::with_capacity(unseen.clone().map(Bytes::len).sum());
        unseen.for_each(|frame| joined.extend_from_slice(frame));
        let bytes = joined.freeze();
        *piece = Some((seen, bytes.clone()));
        Some(Frames { bytes, count })
    }

    fn forget(&mut self, until: Sequence) {
        for forms in self.frames.drain(..until.wrapping_sub(self.first) as usize) {
            self.bytes -= forms.bytes();
        }
        self.first = until;
        if self.frames.is_empty() {
            self.joined = [None, None];
            self.frames.shrink_to(16);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Join,
        Leave(usize),
        Append,
        Walk(usize),
        CatchUp(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => Just(Step::Join),
            2 => any::<usize>().prop_map(Step::Leave),
            3 => Just(Step::Append),
            4 => (0usize..5).prop_map(Step::Walk),
            1 => any::<usize>().prop_map(Step::CatchUp),
        ];
        prop::collection::vec(step, 0..200)
    }

    /// The list under test beside what each member is owed: the numbers of the frames, in order.
    #[derive(Default)]
    struct Pair {
        list: List,
        places: BTreeMap<Slot, u32>,
        owed: BTreeMap<Slot, Vec<u8>>,
        appended: u8,
        joined: Slot,
    }

    impl Pair {
        fn hand(&mut self, given: Option<(Slot, Frames)>) {
            let Some((slot, frames)) = given else { return };
            let owed = std::mem::take(self.owed.get_mut(&slot).unwrap());
            assert_eq!(frames.bytes, owed);
            assert_eq!(frames.count as usize, owed.len());
        }

        fn pick(&self, choice: usize) -> Option<Slot> {
            self.places.keys().nth(choice % self.places.len().max(1)).copied()
        }

        fn run(&mut self, step: Step) {
            match step {
                Step::Join => {
                    self.joined += 1;
                    self.places.insert(self.joined, self.list.join(self.joined));
                    self.owed.insert(self.joined, Vec::new());
                }
                Step::Leave(choice) => {
                    let Some(slot) = self.pick(choice) else { return };
                    let place = self.places.remove(&slot).unwrap();
                    self.owed.remove(&slot);
                    let places = &mut self.places;
                    self.list.remove(place, |slot, place| {
                        places.insert(slot, place);
                    });
                }
                Step::Append => {
                    self.appended = self.appended.wrapping_add(1);
                    self.list.append(Bytes::copy_from_slice(&[self.appended]).into());
                    self.owed.values_mut().for_each(|owed| owed.push(self.appended));
                }
                Step::Walk(visits) => {
                    for _ in 0..visits {
                        let given = self.list.next(|_| false);
                        self.hand(given);
                    }
                }
                Step::CatchUp(choice) => {
                    let Some(slot) = self.pick(choice) else { return };
                    let given = self.list.catch_up(self.places[&slot], false);
                    self.hand(given.map(|frames| (slot, frames)));
                }
            }
        }
    }

    proptest! {
        /// Whatever happens in whatever order: everybody gets exactly what was appended while it was a member,
        /// in order and once, and a finished walk leaves no log behind.
        #[test]
        fn everybody_gets_everything_once_and_in_order(steps in steps()) {
            let mut pair = Pair::default();
            steps.into_iter().for_each(|step| pair.run(step));
            while let Some(given) = pair.list.next(|_| false) {
                pair.hand(Some(given));
            }
            prop_assert!(pair.owed.values().all(Vec::is_empty));
            prop_assert_eq!(pair.list.behind_bytes(), 0);
        }
    }

    #[test]
    fn pushes_between_two_visits_become_one_piece_shared_by_all() {
        let mut list = List::default();
        for slot in 0..3 {
            list.join(slot);
        }
        ["a", "b", "c"].into_iter().for_each(|text| list.append(Bytes::from_static(text.as_bytes()).into()));
        let (_, first) = list.next(|_| false).unwrap();
        let (_, second) = list.next(|_| false).unwrap();
        assert_eq!((&first.bytes[..], first.count), (&b"abc"[..], 3));
        assert_eq!(first.bytes.as_ptr(), second.bytes.as_ptr());
    }
}
