//! Between bytes and model: pure functions, one directory per dialect. Only here are close codes, HTTP statuses
//! and the texts of answers known.

pub mod form;
pub mod gusher;

use crate::model::{Dialect, Parting, Push};

/// What a socket of `dialect` reads for a push.
pub fn encode(dialect: Dialect, push: &Push) -> &str {
    match dialect {
        Dialect::Gusher => gusher::socket::encode(push),
    }
}

/// The close code and reason that tell a socket of `dialect` why it is closed.
pub fn close(dialect: Dialect, parting: Parting) -> (u16, &'static str) {
    match dialect {
        Dialect::Gusher => gusher::socket::close(parting),
    }
}
