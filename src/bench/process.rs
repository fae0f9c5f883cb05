//! What other processes cost: processor time and resident memory, as Linux tells under `/proc`, and how many
//! descriptors this one may hold.

use std::collections::HashMap;
use std::fs;

use super::{Fault, Outcome};
use crate::net::descriptors;

/// Descriptors for all that is not a socket under test.
const SPARE_DESCRIPTORS: u64 = 64;

/// The processes of a server. None at all is allowed: then nothing is known of what it costs.
#[derive(Clone, Debug, Default)]
pub struct Servers(Vec<u32>);

/// Processor time per thread, in nanoseconds.
#[derive(Debug)]
pub struct Spent(HashMap<String, u64>);

impl Servers {
    /// The processes with these numbers.
    ///
    /// # Errors
    /// One of them does not exist, or is somebody else's.
    pub fn new(pids: Vec<u32>) -> Outcome<Self> {
        let servers = Self(pids);
        servers.spent()?;
        servers.resident_bytes()?;
        Ok(servers)
    }

    /// This process.
    pub fn own() -> Self {
        Self(vec![std::process::id()])
    }

    /// What every thread has spent so far; `None` when no process is known.
    ///
    /// # Errors
    /// A process has ended.
    pub fn spent(&self) -> Outcome<Option<Spent>> {
        let mut threads = HashMap::new();
        for pid in &self.0 {
            let folder = format!("/proc/{pid}/task");
            let unknown = |reason| Fault::because(&format!("cannot look at process {pid}"), reason);
            for thread in fs::read_dir(&folder).map_err(unknown)? {
                let name = thread.map_err(unknown)?.file_name().to_string_lossy().into_owned();
                // A thread may end between the two looks.
                let Ok(line) = fs::read_to_string(format!("{folder}/{name}/schedstat")) else { continue };
                let spent = line.split(' ').next().and_then(|word| word.parse().ok());
                threads.insert(name, spent.unwrap_or_default());
            }
        }
        Ok((!self.0.is_empty()).then_some(Spent(threads)))
    }

    /// What is spent since `before`, user and system, in nanoseconds. What a thread spent that has ended since is not
    /// known.
    ///
    /// # Errors
    /// A process has ended.
    pub fn spent_since(&self, before: &Option<Spent>) -> Outcome<Option<u64>> {
        let (Some(before), Some(after)) = (before, self.spent()?) else { return Ok(None) };
        let since = |(name, spent): (&String, &u64)| spent - before.0.get(name).unwrap_or(&0).min(spent);
        Ok(Some(after.0.iter().map(since).sum()))
    }

    /// Resident memory in bytes; `None` when no process is known.
    ///
    /// # Errors
    /// A process has ended.
    pub fn resident_bytes(&self) -> Outcome<Option<u64>> {
        let mut kilobytes = 0;
        for pid in &self.0 {
            let unknown = |reason: &str| Fault(format!("cannot tell the memory of process {pid}: {reason}"));
            let status = fs::read_to_string(format!("/proc/{pid}/status"))
                .map_err(|error| unknown(&error.to_string()))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let number = line.and_then(|line| line.trim_end_matches("kB").trim().parse::<u64>().ok());
            kilobytes += number.ok_or_else(|| unknown("it has none"))?;
        }
        Ok((!self.0.is_empty()).then_some(kilobytes * 1024))
    }
}

/// Makes sure that this process may open `sockets` sockets.
///
/// # Errors
/// It may not; says how many it may.
pub fn require_descriptors(sockets: usize) -> Outcome<()> {
    let allowed = descriptors::raise_limit();
    let needed = sockets as u64 + SPARE_DESCRIPTORS;
    if needed <= allowed {
        descriptors::make_room(needed);
        return Ok(());
    }
    Err(Fault(format!(
        "{sockets} sockets are too many: this process may hold {allowed} descriptors (ulimit -n), so ask for at most {}",
        allowed.saturating_sub(SPARE_DESCRIPTORS)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_and_memory_of_a_process_are_known() {
        let own = Servers::own();
        let before = own.spent().unwrap();
        let sum: u64 = (0..2_000_000_u64).map(std::hint::black_box).sum();
        assert!(own.spent_since(&before).unwrap().is_some(), "{sum}");
        assert!(own.resident_bytes().unwrap().unwrap() > 100_000);
    }

    #[test]
    fn without_a_process_nothing_is_known_and_a_missing_one_is_named() {
        let none = Servers::new(vec![]).unwrap();
        assert_eq!(none.spent_since(&none.spent().unwrap()), Ok(None));
        assert_eq!(none.resident_bytes(), Ok(None));
        assert!(Servers::new(vec![u32::MAX]).unwrap_err().0.contains("process 4294967295"));
    }

    #[test]
    fn too_many_sockets_are_refused_with_the_number_that_is_possible() {
        assert_eq!(require_descriptors(1), Ok(()));
        let refused = require_descriptors(usize::MAX / 2).unwrap_err().0;
        assert!(refused.contains("ulimit -n"), "{refused}");
    }
}
