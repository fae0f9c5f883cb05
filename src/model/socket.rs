//! The public name of a socket.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Names a socket to its client and to backends: two random numbers, written with a dot between them (pusher-channels
/// 1.3). In Gusher Cluster they are the halves of a UUID and written as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SocketId {
    /// Before the dot.
    pub high: u64,
    /// After it.
    pub low: u64,
}

impl SocketId {
    /// Reads digits, a dot and digits. A number that does not fit names no socket of ours, and is `u64::MAX`.
    pub fn parse(text: &str) -> Option<Self> {
        let (high, low) = text.split_once('.')?;
        let number = |digits: &str| {
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| digits.parse().unwrap_or(u64::MAX))
        };
        Some(Self { high: number(high)?, low: number(low)? })
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.high, self.low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_two_numbers() {
        assert_eq!(SocketId::parse("12.34"), Some(SocketId { high: 12, low: 34 }));
        assert_eq!(SocketId { high: 12, low: 34 }.to_string(), "12.34");
        assert!(SocketId::parse("99999999999999999999999.1").is_some());
        for bad in ["", ".", "1", "1.", ".1", "1.2.3", "+1.2", "1.a", "1 .2"] {
            assert_eq!(SocketId::parse(bad), None, "{bad:?}");
        }
    }
}
