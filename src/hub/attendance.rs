//! Who attends one presence channel, in the order they joined. Joining and leaving cost the same however many attend.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::model::{Member, NodeId, Roster, SocketId, UserId};

/// A member, through whom it attends, and what is said of it.
///
/// Always: what is said when a member is new holds until its last socket is gone, whatever its other sockets say. So
/// older members, newcomers and backends know the same, and nobody has to be told of a change. Where two nodes took a
/// user for new at once, all nodes choose alike among what these say ([`Attendance::learn`]).
#[derive(Debug)]
struct Attendant {
    user: UserId,
    info: Arc<str>,
    sockets: Vec<SocketId>,
    nodes: Vec<(NodeId, Arc<str>)>,
}

/// What follows for a member from what another node tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// It is new.
    New,
    /// Something else is said of it now.
    Changed,
    /// Nothing.
    Known,
}

/// The members of one presence channel.
#[derive(Debug, Default)]
pub struct Attendance {
    in_order: BTreeMap<u64, Attendant>,
    place_of: HashMap<UserId, u64>,
    next_place: u64,
}

impl Attendance {
    /// A socket of this node takes a seat. Whether its member is new.
    pub fn join(&mut self, socket: SocketId, member: &Member) -> bool {
        let (attendant, is_new) = self.attendant(member);
        attendant.sockets.push(socket);
        is_new
    }

    /// Another node has this member.
    pub fn learn(&mut self, node: NodeId, member: &Member) -> Learned {
        let (attendant, is_new) = self.attendant(member);
        attendant.nodes.retain(|(known, _)| *known != node);
        attendant.nodes.push((node, Arc::clone(&member.info)));
        // What this node says of its own sockets counts like the word of any other node: the least of all, on each node.
        let own = (!attendant.sockets.is_empty()).then_some(&attendant.info);
        let said = attendant.nodes.iter().map(|(_, info)| info).chain(own).min();
        match said.filter(|said| **said != attendant.info).cloned() {
            Some(said) => {
                attendant.info = said;
                Learned::Changed
            }
            None if is_new => Learned::New,
            None => Learned::Known,
        }
    }

    fn attendant(&mut self, member: &Member) -> (&mut Attendant, bool) {
        let is_new = !self.place_of.contains_key(&member.user);
        let place = *self.place_of.entry(member.user.clone()).or_insert(self.next_place);
        self.next_place += u64::from(is_new);
        let attendant = self.in_order.entry(place).or_insert_with(|| Attendant {
            user: member.user.clone(),
            info: Arc::clone(&member.info),
            sockets: Vec::new(),
            nodes: Vec::new(),
        });
        (attendant, is_new)
    }

    /// A socket of this node gives its seat up. Whether its member left with it.
    pub fn leave(&mut self, socket: SocketId, user: &UserId) -> bool {
        self.part(user, |attendant| attendant.sockets.retain(|known| *known != socket))
    }

    /// Another node no longer has this member. Whether it left with that.
    pub fn unlearn(&mut self, node: NodeId, user: &UserId) -> bool {
        self.part(user, |attendant| attendant.nodes.retain(|(known, _)| *known != node))
    }

    fn part(&mut self, user: &UserId, give_up: impl FnOnce(&mut Attendant)) -> bool {
        let Some(place) = self.place_of.get(user).copied() else { return false };
        let Some(attendant) = self.in_order.get_mut(&place) else { return false };
        give_up(attendant);
        if !attendant.sockets.is_empty() || !attendant.nodes.is_empty() {
            return false;
        }
        self.in_order.remove(&place);
        self.place_of.remove(user);
        true
    }

    /// What is said of a user.
    pub fn info(&self, user: &UserId) -> Option<Arc<str>> {
        Some(Arc::clone(&self.in_order.get(self.place_of.get(user)?)?.info))
    }

    /// The same of one who has a socket on this node.
    pub fn info_here(&self, user: &UserId) -> Option<Arc<str>> {
        let attendant = self.in_order.get(self.place_of.get(user)?)?;
        (!attendant.sockets.is_empty()).then(|| Arc::clone(&attendant.info))
    }

    /// The users who attend from this place on, in the order they joined: the place, the user, whether through a socket here.
    pub fn from(&self, place: u64) -> impl Iterator<Item = (u64, &UserId, bool)> {
        self.in_order
            .range(place..)
            .map(|(place, attendant)| (*place, &attendant.user, !attendant.sockets.is_empty()))
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
        let member = |attendant: &Attendant| Member {
            user: attendant.user.clone(),
            info: Arc::clone(&attendant.info),
        };
        self.in_order.values().map(member).collect()
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
    fn what_is_said_of_a_member_first_holds_until_it_is_gone() {
        let mut attendance = Attendance::default();
        let (first, second) = (member("u", "z"), member("u", "a"));
        assert!(attendance.join(socket(1), &first));
        assert!(!attendance.join(socket(2), &second));
        assert!(!attendance.leave(socket(1), &first.user));
        assert_eq!(*attendance.roster(), *std::slice::from_ref(&first));
        assert_eq!(attendance.info_here(&first.user), Some(Arc::clone(&first.info)));
        assert!(attendance.leave(socket(2), &second.user));
        assert!(!attendance.leave(socket(2), &second.user));
        assert_eq!(attendance.len(), 0);
        assert!(attendance.join(socket(3), &second));
        assert_eq!(*attendance.roster(), *std::slice::from_ref(&second));
    }

    #[test]
    fn nodes_choose_alike_when_a_user_is_new_on_two_at_once() {
        let (one, other) = (member("u", "one"), member("u", "other"));
        let mut nodes: [Attendance; 3] = Default::default();
        nodes[0].join(socket(1), &one);
        nodes[1].join(socket(1), &other);
        assert_eq!(nodes[2].learn(NodeId(2), &other), Learned::New);
        assert_eq!(nodes[2].learn(NodeId(1), &one), Learned::Changed);
        assert_eq!(nodes[0].learn(NodeId(2), &other), Learned::Known);
        assert_eq!(nodes[1].learn(NodeId(1), &one), Learned::Changed);
        assert_eq!(nodes[2].learn(NodeId(2), &one), Learned::Known);
        assert!(!nodes[1].unlearn(NodeId(1), &one.user) && !nodes[2].unlearn(NodeId(1), &one.user));
        for node in &nodes {
            assert_eq!(*node.roster(), *std::slice::from_ref(&one));
        }
    }

    #[test]
    fn a_member_that_left_and_came_back_unseen_is_what_its_node_says() {
        let mut attendance = Attendance::default();
        assert_eq!(attendance.learn(NodeId(1), &member("u", "a")), Learned::New);
        assert_eq!(attendance.learn(NodeId(1), &member("u", "b")), Learned::Changed);
        assert_eq!(attendance.learn(NodeId(1), &member("u", "b")), Learned::Known);
        assert_eq!(*attendance.roster(), [member("u", "b")]);
        assert!(attendance.unlearn(NodeId(1), &member("u", "").user));
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
