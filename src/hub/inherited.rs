//! What a node that is no member hears of what webhooks are still to be told, and of what they are told meanwhile.
//!
//! Always: what one says counts as it was said last. A member heard all that webhooks were told; others may take for untold
//! what was told before they came, so what a member holds and does not name is known to webhooks, whoever says otherwise.

use std::collections::{BTreeMap, HashMap};

use super::ledger::Matter;
use crate::model::{AppKey, NodeId};

/// By app and matter, whether it is there.
type Matters = HashMap<(AppKey, Matter), bool>;

/// What others answered, and were heard to tell.
#[derive(Debug, Default)]
pub struct Inherited {
    /// By node: what it says is still to be told.
    by_members: BTreeMap<NodeId, Matters>,
    by_others: BTreeMap<NodeId, Matters>,
    /// What webhooks were told since this node listens.
    told: Matters,
}

impl Inherited {
    /// A node has said all that is still to be told, as far as it knows.
    pub fn answer(
        &mut self,
        node: NodeId,
        is_member: bool,
        owed: impl Iterator<Item = ((AppKey, Matter), bool)>,
    ) {
        let (of_its_kind, others) = match is_member {
            true => (&mut self.by_members, &mut self.by_others),
            false => (&mut self.by_others, &mut self.by_members),
        };
        others.remove(&node);
        of_its_kind.insert(node, owed.collect());
    }

    /// Webhooks were told. Who has not heard of it may still name it.
    pub fn told(&mut self, app: &AppKey, matter: &Matter, is_there: bool) {
        self.told.insert((app.clone(), matter.clone()), is_there);
    }

    /// What is still to be told, after all were heard. `holds` says whether a node holds something.
    pub fn sum(self, holds: impl Fn(NodeId, &AppKey, &Matter) -> bool) -> Vec<((AppKey, Matter), bool)> {
        let members: Vec<NodeId> = self.by_members.keys().copied().collect();
        let is_known = |app: &AppKey, matter: &Matter| members.iter().any(|node| holds(*node, app, matter));
        let mut owed: Matters = self.by_others.into_values().flatten().collect();
        owed.retain(|(app, matter), is_there| !(*is_there && is_known(app, matter)));
        owed.extend(self.by_members.into_values().flatten());
        owed.retain(|key, is_there| self.told.get(key) != Some(is_there));
        owed.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ChannelName;

    const MEMBER: NodeId = NodeId(1);
    const OTHER: NodeId = NodeId(2);

    fn room(name: &str) -> (AppKey, Matter) {
        (AppKey::stored("a"), Matter::Channel(ChannelName::parse(name).unwrap()))
    }

    fn names(inherited: Inherited, held: &[&str]) -> Vec<String> {
        let holds =
            |node, _: &AppKey, matter: &Matter| node == MEMBER && held.contains(&matter.channel().as_str());
        let mut names: Vec<String> = inherited
            .sum(holds)
            .into_iter()
            .map(|((_, matter), is_there)| format!("{} {is_there}", matter.channel().as_str()))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_member_holds_and_does_not_owe_is_known() {
        let mut inherited = Inherited::default();
        inherited.answer(OTHER, false, ["known", "owed", "new"].map(|name| (room(name), true)).into_iter());
        inherited.answer(MEMBER, true, [(room("owed"), true), (room("gone"), false)].into_iter());
        assert_eq!(names(inherited, &["known", "owed"]), ["gone false", "new true", "owed true"]);
    }

    #[test]
    fn who_becomes_a_member_says_anew_what_it_owes() {
        let mut inherited = Inherited::default();
        inherited.answer(MEMBER, false, [(room("a"), true), (room("b"), true)].into_iter());
        inherited.answer(MEMBER, true, [(room("b"), true)].into_iter());
        assert_eq!(names(inherited, &[]), ["b true"]);
    }

    #[test]
    fn what_was_told_meanwhile_is_owed_by_nobody() {
        let mut inherited = Inherited::default();
        let ((app, matter), _) = (room("a"), ());
        inherited.told(&app, &matter, true);
        inherited.answer(MEMBER, true, [(room("a"), true)].into_iter());
        inherited.answer(OTHER, false, [(room("a"), true)].into_iter());
        assert!(names(inherited, &[]).is_empty());
    }
}
