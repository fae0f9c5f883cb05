//! Whether the node is short of memory: then it lets nobody in any more, and all else goes on.
//!
//! What counts is what of the process is resident, as the system tells it; the kernel's own buffers for sockets are no part
//! of that. What the allocator keeps though nobody uses it is resident too, so the node is short only if it is so after
//! the allocator was asked to give that back.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::admin::resident_bytes;
use crate::config::Config;
use crate::hub::Hub;

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// While the node is short, the allocator is asked at every so many looks, as that costs time.
const LOOKS_PER_TRIM: u32 = 5;

/// How often the sockets that came and went are counted.
const TRIM_EVERY: Duration = Duration::from_secs(1);

/// Sockets that came or went since the allocator was last asked to give memory back.
const TRIM_AFTER: u64 = 1000;

/// Looks after the memory of a node.
#[derive(Debug)]
pub(super) struct Warden {
    hub: Arc<Hub>,
    /// How much there may be; 0 for no bound.
    bytes_max: AtomicU64,
    /// How often it was looked since the allocator was asked last, while the node is short.
    looks: AtomicU32,
}

impl Warden {
    /// Looks for the first time.
    pub(super) fn new(hub: &Arc<Hub>, config: &Config) -> Arc<Self> {
        let warden = Arc::new(Self {
            hub: Arc::clone(hub),
            bytes_max: AtomicU64::default(),
            looks: AtomicU32::default(),
        });
        warden.change(config);
        warden
    }

    /// Takes over how much there may be, and looks.
    pub(super) fn change(&self, config: &Config) {
        let bytes_max = config.limits.memory_bytes_max.or_else(granted).unwrap_or(0);
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
        self.hub.metrics.memory_bytes_max.set(bytes_max);
        self.look();
    }

    /// Looks for ever.
    pub(super) async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let warden = Arc::clone(&self);
            // To give memory back may take its time.
            let _ = tokio::task::spawn_blocking(move || warden.look()).await;
        }
    }

    fn look(&self) {
        let bytes_max = self.bytes_max.load(Ordering::Relaxed);
        let Some(mut bytes) = resident_bytes() else { return };
        let was_short = self.hub.is_short_of_memory();
        let mut is_short = is_short(was_short, bytes, bytes_max);
        let looks = if is_short { self.looks.fetch_add(1, Ordering::Relaxed) } else { 0 };
        if is_short && looks % LOOKS_PER_TRIM == 0 {
            trim();
            bytes = resident_bytes().unwrap_or(bytes);
            is_short = self::is_short(was_short, bytes, bytes_max);
        }
        if !is_short {
            self.looks.store(0, Ordering::Relaxed);
        }
        if is_short == was_short {
            return;
        }
        self.hub.set_short_of_memory(is_short);
        if is_short {
            tracing::warn!(bytes, bytes_max, "short of memory: no socket is let in");
        } else {
            tracing::info!(bytes, bytes_max, "memory suffices again: sockets are let in");
        }
    }
}

/// Gives memory back to the system after many sockets came or went: the handshake of each passes through buffers
/// that the allocator would otherwise keep for good.
pub(super) async fn trim_after_crowds(hub: Arc<Hub>) {
    let mut is_due = false;
    let mut last = (0, 0);
    loop {
        tokio::time::sleep(TRIM_EVERY).await;
        let now = (hub.metrics.admissions.get(), hub.sockets() as u64);
        if now.0 - last.0 + now.1.abs_diff(last.1) >= TRIM_AFTER {
            last = now;
            is_due = true;
        } else if std::mem::take(&mut is_due) {
            // Once it is quiet again.
            let _ = tokio::task::spawn_blocking(trim).await;
        }
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn trim() {
    // SAFETY: malloc_trim takes no pointer, may be called from any thread at any time, and only returns free
    // memory to the system.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}

/// It is over when a twentieth is free again, so that it does not come and go with each socket.
fn is_short(was_short: bool, bytes: u64, bytes_max: u64) -> bool {
    let end = bytes_max - bytes_max / 20;
    bytes_max > 0 && if was_short { bytes > end } else { bytes >= bytes_max }
}

/// Nine tenths of what the control group of this process may have, if that is bounded.
fn granted() -> Option<u64> {
    let group = fs::read_to_string("/proc/self/cgroup").ok()?;
    let limits = limit_files(&group, Path::new("/sys/fs/cgroup"));
    let bytes = limits.into_iter().filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
    // The first version of control groups says a number without meaning where there is no limit.
    let least: u64 = bytes.filter(|bytes| *bytes < 1 << 50).min()?;
    Some(least / 10 * 9)
}

/// Where the limits of the groups stand that a process is in: its own, and those around it.
fn limit_files(group: &str, mount: &Path) -> Vec<PathBuf> {
    let found = group.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        match (parts.next()?, parts.next()?) {
            ("", path) => Some((mount.to_owned(), "memory.max", path)),
            (kinds, path) if kinds.split(',').any(|kind| kind == "memory") => {
                Some((mount.join("memory"), "memory.limit_in_bytes", path))
            }
            _ => None,
        }
    });
    let Some((root, name, path)) = found else { return Vec::new() };
    let own = Path::new(path.trim_start_matches('/'));
    own.ancestors().map(|group| root.join(group).join(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_at_the_limit_and_ends_a_twentieth_below() {
        for (was_short, bytes, expected) in
            [(false, 99, false), (false, 100, true), (true, 96, true), (true, 95, false)]
        {
            assert_eq!(is_short(was_short, bytes, 100), expected, "{was_short} {bytes}");
        }
        assert!(!is_short(false, u64::MAX, 0) && !is_short(true, 1, 0), "no limit is never reached");
    }

    #[test]
    fn limits_stand_in_the_groups_around_a_process() {
        let mount = Path::new("/m");
        let files = |group: &str| -> Vec<String> {
            limit_files(group, mount).iter().map(|file| file.to_string_lossy().into_owned()).collect()
        };
        assert_eq!(files("0::/\n"), ["/m/memory.max"]);
        assert_eq!(files("0::/a/b\n"), ["/m/a/b/memory.max", "/m/a/memory.max", "/m/memory.max"]);
        let first_version = "5:cpu,cpuacct:/x\n4:memory:/a\n";
        assert_eq!(
            files(first_version),
            ["/m/memory/a/memory.limit_in_bytes", "/m/memory/memory.limit_in_bytes"]
        );
        assert!(files("").is_empty() && files("nonsense\n").is_empty());
    }
}
