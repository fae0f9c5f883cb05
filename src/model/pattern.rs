//! User patterns.
