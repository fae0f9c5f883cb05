//! Between bytes and model: pure functions, one directory per dialect.

pub mod form;
