//! The nouns of the product and their invariants: no I/O, no locks, no clock.

pub mod pattern;
