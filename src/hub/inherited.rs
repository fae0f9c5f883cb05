//! What a node that is no member hears of what webhooks are still to be told, and of what they are told meanwhile.
//!
//! Always: what one says counts as it was said last. A member heard all that webhooks were told. Where nobody is one, a node
//! that took another for dead while it was a member knows what webhooks were told since, and the other does not: it outlived it.
//! Where some know better than this node, what they say is all, whoever says otherwise.

use std::collections::{BTreeMap, HashMap};

use super::ledger::Matter;
use crate::model::{AppKey, NodeId};

/// By app and matter, whether it is there.
type Matters = HashMap<(AppKey, Matter), bool>;

/// How a node that answers stands among the others.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// It is a member.
    pub is_settled: bool,
    /// The nodes that it outlived.
    pub outlived: Vec<NodeId>,
}

#[derive(Debug)]
struct Answer {
    standing: Standing,
    owed: Matters,
}

/// What others answered, and were heard to tell.
#[derive(Debug, Default)]
pub struct Inherited {
    answers: BTreeMap<NodeId, Answer>,
    /// What webhooks were told since this node listens.
    told: Matters,
}

/// What is still to be told, after all were heard.
#[derive(Debug)]
pub struct Bequest {
    /// By app: whether something is there.
    pub owed: HashMap<AppKey, Vec<(Matter, bool)>>,
    /// The nodes that were outlived by those who say so.
    pub outlived: Vec<NodeId>,
    /// What this node noted before it listened, and is not named, was told.
    pub is_all: bool,
}

impl Inherited {
    /// A node has said all that is still to be told, as far as it knows.
    pub fn answer(
        &mut self,
        node: NodeId,
        standing: Standing,
        owed: impl Iterator<Item = ((AppKey, Matter), bool)>,
    ) {
        self.answers.insert(node, Answer { standing, owed: owed.collect() });
    }

    /// Webhooks were told. Who has not heard of it may still name it.
    pub fn told(&mut self, app: &AppKey, matter: &Matter, is_there: bool) {
        self.told.insert((app.clone(), matter.clone()), is_there);
    }

    /// What is still to be told, as those say that know it best: the members; or else those that outlived this node, `me`;
    /// or else all that this node and the others did not outlive.
    pub fn sum(self, me: NodeId, outlived: &[NodeId]) -> Bequest {
        let members = self.answers.values().any(|answer| answer.standing.is_settled);
        let outlives = |above: NodeId, node: NodeId| {
            let outlived_by = |of: NodeId| match self.answers.get(&of) {
                Some(answer) => answer.standing.outlived.as_slice(),
                None => outlived,
            };
            outlived_by(above).contains(&node) && !outlived_by(node).contains(&above)
        };
        let is_outlived =
            |node| self.answers.keys().any(|above| outlives(*above, node)) || outlives(me, node);
        let best = self.answers.iter().filter(|(node, answer)| match members {
            true => answer.standing.is_settled,
            false => !is_outlived(**node),
        });
        let best: Vec<(NodeId, &Answer)> = best.map(|(node, answer)| (*node, answer)).collect();
        let above: Vec<_> = best.iter().filter(|(node, _)| members || outlives(*node, me)).copied().collect();
        let is_all = !above.is_empty();
        let outlived = above.iter().flat_map(|(_, answer)| answer.standing.outlived.clone()).collect();
        let mut owed: HashMap<AppKey, Vec<(Matter, bool)>> = HashMap::new();
        let heard = if is_all { above } else { best };
        let heard: Matters = heard.into_iter().flat_map(|(_, answer)| answer.owed.clone()).collect();
        for ((app, matter), is_there) in heard {
            if self.told.get(&(app.clone(), matter.clone())) != Some(&is_there) {
                owed.entry(app).or_default().push((matter, is_there));
            }
        }
        Bequest { owed, outlived, is_all }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ChannelName;

    const ME: NodeId = NodeId(0);
    const ONE: NodeId = NodeId(1);
    const OTHER: NodeId = NodeId(2);
    const THIRD: NodeId = NodeId(3);

    fn room(name: &str) -> (AppKey, Matter) {
        (AppKey::stored("a"), Matter::Channel(ChannelName::parse(name).unwrap()))
    }

    fn member() -> Standing {
        Standing { is_settled: true, ..Standing::default() }
    }

    fn outlived(nodes: &[NodeId]) -> Standing {
        Standing { outlived: nodes.to_vec(), ..Standing::default() }
    }

    /// These nodes answer, each that it owes the channel of its name.
    fn answers<const N: usize>(answers: [(NodeId, Standing, &str); N]) -> Inherited {
        let mut inherited = Inherited::default();
        for (node, standing, name) in answers {
            inherited.answer(node, standing, [(room(name), true)].into_iter());
        }
        inherited
    }

    fn names(inherited: Inherited, outlived: &[NodeId]) -> (Vec<String>, bool) {
        let Bequest { owed, is_all, .. } = inherited.sum(ME, outlived);
        let names = owed.into_values().flatten().map(|(matter, _)| matter.channel().to_string());
        let mut names: Vec<String> = names.collect();
        names.sort();
        (names, is_all)
    }

    #[test]
    fn what_members_say_is_all() {
        let inherited =
            answers([(ONE, member(), "a"), (OTHER, outlived(&[ME]), "b"), (THIRD, member(), "c")]);
        assert_eq!(names(inherited, &[]), (vec!["a".to_owned(), "c".to_owned()], true));
    }

    #[test]
    fn where_none_is_a_member_the_last_that_was_knows_best() {
        let third = || (THIRD, outlived(&[]), "c");
        let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let inherited = answers([(ONE, outlived(&[ME, OTHER]), "a"), (OTHER, outlived(&[ME]), "b"), third()]);
        assert_eq!(names(inherited, &[]), (of(&["a"]), true));
        // This node is the last itself, but for one that was cut off at the same time.
        let inherited = answers([(ONE, outlived(&[]), "a"), (OTHER, outlived(&[]), "b"), third()]);
        assert_eq!(names(inherited, &[ONE, OTHER]), (of(&["c"]), false));
        // Each took the other for dead.
        let inherited = answers([(ONE, outlived(&[ME]), "a"), third()]);
        assert_eq!(names(inherited, &[ONE]), (of(&["a", "c"]), false));
    }

    #[test]
    fn who_becomes_a_member_says_anew_what_it_owes() {
        let mut inherited = answers([(ONE, outlived(&[]), "a")]);
        inherited.answer(ONE, member(), [(room("b"), true)].into_iter());
        assert_eq!(names(inherited, &[]).0, ["b"]);
    }

    #[test]
    fn what_was_told_meanwhile_is_owed_by_nobody() {
        let mut inherited = answers([(ONE, member(), "a"), (OTHER, member(), "a")]);
        let (app, matter) = room("a");
        inherited.told(&app, &matter, true);
        assert_eq!(names(inherited, &[]).0, [""; 0]);
    }
}
