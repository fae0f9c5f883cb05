//! Who attends one presence channel, in the order they joined. Joining and leaving cost the same however many attend.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::model::{Member, NodeId, Roster, SocketId, UserId};

/// Through whom a member attends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sitter {
    /// A socket of this node.
    Socket(SocketId),
    /// Another node, for all sockets that it has.
    Node(NodeId),
}

/// One seat of a member, and what was said there of its user.
#[derive(Debug)]
struct Seat {
    sitter: Sitter,
    info: Arc<str>,
}

/// A member and its seats, oldest first. It is known by what was said at its oldest.
#[derive(Debug)]
struct Attendant {
    user: UserId,
    seats: Vec<Seat>,
}

/// The members of one presence channel.
#[derive(Debug, Default)]
pub struct Attendance {
    in_order: BTreeMap<u64, Attendant>,
    place_of: HashMap<UserId, u64>,
    next_place: u64,
}

impl Attendance {
    /// Takes a seat, or says something else at the same. Whether its member is new.
    pub fn join(&mut self, sitter: Sitter, member: &Member) -> bool {
        let seat = Seat { sitter, info: Arc::clone(&member.info) };
        let place = self.place_of.get(&member.user);
        if let Some(attendant) = place.and_then(|place| self.in_order.get_mut(place)) {
            match attendant.seats.iter_mut().find(|seat| seat.sitter == sitter) {
                Some(taken) => *taken = seat,
                None => attendant.seats.push(seat),
            }
            return false;
        }
        self.place_of.insert(member.user.clone(), self.next_place);
        self.in_order.insert(self.next_place, Attendant { user: member.user.clone(), seats: vec![seat] });
        self.next_place += 1;
        true
    }

    /// Gives a seat up. Whether its member left with it.
    pub fn leave(&mut self, sitter: Sitter, user: &UserId) -> bool {
        let Some(place) = self.place_of.get(user).copied() else { return false };
        let Some(attendant) = self.in_order.get_mut(&place) else { return false };
        attendant.seats.retain(|seat| seat.sitter != sitter);
        if !attendant.seats.is_empty() {
            return false;
        }
        self.in_order.remove(&place);
        self.place_of.remove(user);
        true
    }

    /// What the oldest socket of a user on this node said, if there is one.
    pub fn info_here(&self, user: &UserId) -> Option<Arc<str>> {
        let attendant = self.in_order.get(self.place_of.get(user)?)?;
        let seat = attendant.seats.iter().find(|seat| matches!(seat.sitter, Sitter::Socket(_)))?;
        Some(Arc::clone(&seat.info))
    }

    /// The users who attend, in the order they joined.
    pub fn users(&self) -> impl Iterator<Item = &UserId> {
        self.in_order.values().map(|attendant| &attendant.user)
    }

    /// Whether a user attends.
    pub fn has(&self, user: &UserId) -> bool {
        self.place_of.contains_key(user)
    }

    /// How many users attend.
    pub fn len(&self) -> usize {
        self.in_order.len()
    }

    /// All of them, in the order they joined.
    pub fn roster(&self) -> Roster {
        let known = self.in_order.values().filter_map(|attendant| {
            let oldest = attendant.seats.first()?;
            Some(Member { user: attendant.user.clone(), info: Arc::clone(&oldest.info) })
        });
        known.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(low: u64) -> Sitter {
        Sitter::Socket(SocketId { high: 1, low })
    }

    fn member(user: &str, info: &str) -> Member {
        Member { user: UserId::parse(user).unwrap(), info: info.into() }
    }

    #[test]
    fn a_member_is_known_by_its_oldest_socket() {
        let mut attendance = Attendance::default();
        let (old, new) = (member("u", "old"), member("u", "new"));
        assert!(attendance.join(socket(1), &old));
        assert!(!attendance.join(socket(2), &new));
        assert_eq!(*attendance.roster(), *std::slice::from_ref(&old));
        assert!(!attendance.leave(socket(1), &old.user));
        assert_eq!(*attendance.roster(), *std::slice::from_ref(&new));
        assert!(attendance.leave(socket(2), &new.user));
        assert!(!attendance.leave(socket(2), &new.user));
        assert_eq!(attendance.len(), 0);
    }

    #[test]
    fn members_stand_in_the_order_they_joined() {
        let mut attendance = Attendance::default();
        let members = ["c", "a", "b"].map(|user| member(user, "{}"));
        members.iter().zip(1..).for_each(|(member, low)| assert!(attendance.join(socket(low), member)));
        attendance.leave(socket(1), &members[0].user);
        attendance.join(socket(4), &members[0]);
        assert_eq!(*attendance.roster(), [members[1].clone(), members[2].clone(), members[0].clone()]);
    }
}
