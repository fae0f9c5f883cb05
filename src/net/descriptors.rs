//! Descriptors: how many this process may hold, and room for them.

use std::io;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit as far as it goes; returns it.
pub fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    // Refused, the old limit stays, and is what counts.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Has the kernel make room for so many descriptors at once, some 8 bytes for each. As it goes along it would double its
/// table every now and then, and each time, with several threads, wait for all cores: tens of milliseconds in which nobody
/// gets a connection.
pub fn make_room(descriptors: u64) {
    let highest = descriptors.min(raise_limit()).saturating_sub(1);
    // Where it cannot be done, the table grows as it goes along.
    let _ = i32::try_from(highest).map(|highest| fcntl_dupfd_cloexec(io::stderr(), highest));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_made_without_holding_anything() {
        let limit = raise_limit();
        assert!(limit > 16);
        make_room(limit.min(4096));
        make_room(0);
        assert_eq!(raise_limit(), limit);
    }
}
