//! Where a node of several keeps what webhooks have still to tell, when nodes share one database file: each in a file of its
//! own, so that nothing is told by two.
//!
//! Always: a place belongs to one process at a time, by a lock that the system takes back when the process ends, however
//! it ends. Who comes next takes the first free place, and with it what was left there.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The most nodes that may share a file.
const PLACES_MAX: u32 = 1_000;

/// A place that this process has taken. Dropping it gives it up.
#[derive(Debug)]
pub struct OutboxPlace {
    file: PathBuf,
    _lock: File,
}

impl OutboxPlace {
    /// Takes the first free place beside a database file. The very first is that file itself.
    ///
    /// # Errors
    /// The system permits no file there, or a thousand places are taken.
    pub fn take(database: &Path) -> io::Result<Self> {
        for number in 0..PLACES_MAX {
            let lock = beside(database, &format!(".{number}.lock"));
            let lock = File::options().create(true).write(true).truncate(true).mode(0o600).open(lock)?;
            let file = match number {
                0 => database.to_owned(),
                _ => beside(database, &format!(".outbox-{number}")),
            };
            match lock.try_lock() {
                Ok(()) => return Ok(Self { file, _lock: lock }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Err(io::Error::other("too many nodes share one database file"))
    }

    /// The database file of the outbox.
    pub fn file(&self) -> &Path {
        &self.file
    }
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_takes_a_place_of_its_own_and_the_next_what_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("apps.sqlite");
        let (one, other) = (OutboxPlace::take(&database).unwrap(), OutboxPlace::take(&database).unwrap());
        assert_eq!((one.file(), other.file().ends_with("apps.sqlite.outbox-1")), (&*database, true));
        drop(one);
        assert_eq!(OutboxPlace::take(&database).unwrap().file(), database);
    }
}
