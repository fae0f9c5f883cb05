//! Who attends one presence channel, in the order they joined. Joining and leaving cost the same however many attend.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::model::{Member, Roster, SocketId, UserId};

/// One socket of a member, and what it said of its user.
#[derive(Debug)]
struct Seat {
    socket: SocketId,
    info: Arc<str>,
}

/// A member and its sockets, oldest first. It is known by what its oldest socket said.
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
    /// Seats a socket. Whether its member is new.
    pub fn join(&mut self, socket: SocketId, member: &Member) -> bool {
        let seat = Seat { socket, info: Arc::clone(&member.info) };
        let place = self.place_of.get(&member.user);
        if let Some(attendant) = place.and_then(|place| self.in_order.get_mut(place)) {
            attendant.seats.push(seat);
            return false;
        }
        self.place_of.insert(member.user.clone(), self.next_place);
        self.in_order.insert(self.next_place, Attendant { user: member.user.clone(), seats: vec![seat] });
        self.next_place += 1;
        true
    }

    /// Takes a socket's seat. Whether its member left with it.
    pub fn leave(&mut self, socket: SocketId, user: &UserId) -> bool {
        let Some(place) = self.place_of.get(user).copied() else { return false };
        let Some(attendant) = self.in_order.get_mut(&place) else { return false };
        attendant.seats.retain(|seat| seat.socket != socket);
        if !attendant.seats.is_empty() {
            return false;
        }
        self.in_order.remove(&place);
        self.place_of.remove(user);
        true
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

    fn socket(low: u64) -> SocketId {
        SocketId { high: 1, low }
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
