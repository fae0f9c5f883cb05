//! The order in which publications of other nodes arrive. What a node sent over a connection that broke may come after what
//! it sent over the next one: each publication bears a number, and one that comes late is dropped, as others are that were
//! on their way when the connection broke.
//!
//! Always: numbers of one node grow in the order in which it accepted what they stand for.

use crate::model::NodeId;

/// So many nodes are kept in mind, the newest ones; one that is forgotten counts as new.
const NODES_MAX: usize = 32;

/// The last number of each node, on one channel or for one app.
#[derive(Debug, Default)]
pub struct Arrivals(Vec<(NodeId, u64)>);

impl Arrivals {
    /// A publication of a node has arrived. Whether a later one came before it.
    pub fn is_late(&mut self, node: NodeId, number: u64) -> bool {
        if let Some((_, last)) = self.0.iter_mut().find(|(of, _)| *of == node) {
            let is_late = number <= *last;
            *last = number.max(*last);
            return is_late;
        }
        if self.0.len() == NODES_MAX {
            self.0.remove(0);
        }
        self.0.push((node, number));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_after_a_later_one_of_its_node_is_late() {
        let mut arrivals = Arrivals::default();
        let late = [(1, 5), (2, 1), (1, 7), (1, 6), (1, 7), (1, 8), (2, 2)]
            .map(|(node, number)| arrivals.is_late(NodeId(node), number));
        assert_eq!(late, [false, false, false, true, true, false, false]);
    }

    #[test]
    fn a_bounded_number_of_nodes_is_kept_in_mind() {
        let mut arrivals = Arrivals::default();
        (0..1_000).for_each(|node| assert!(!arrivals.is_late(NodeId(node), 1)));
        assert_eq!(arrivals.0.len(), NODES_MAX);
        assert!(arrivals.is_late(NodeId(999), 1));
    }
}
