//! The figures of the process, by the names that all exporters have: as Linux tells them under `/proc`. One that is not
//! told is left out.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::MetricType;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::family::{Family, Value};
use crate::metrics::LOG_LINES_DROPPED;

/// All of them; `started` is when the node was.
pub fn families(started: SystemTime) -> Vec<Family> {
    let cpu = cpu_time().as_secs_f64();
    let since = started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let status = status();
    let gauge = |name, help, amount: Option<u64>| {
        let figures = amount.map(|amount| (Vec::new(), Value::Gauge(amount)));
        Family::new(name, help, MetricType::Gauge, figures.into_iter().collect())
    };
    vec![
        Family::counter(
            "gusher_log_lines_dropped",
            "Lines of the log that were lost: what they are written to was too slow, or took nothing",
            LOG_LINES_DROPPED.get(),
        ),
        Family::new(
            "process_cpu_seconds",
            "Processor time spent, user and system",
            MetricType::Counter,
            vec![(Vec::new(), Value::CounterParts(cpu))],
        ),
        Family::new(
            "process_start_time_seconds",
            "When the node started, in seconds since 1970",
            MetricType::Gauge,
            vec![(Vec::new(), Value::GaugeParts(since))],
        ),
        gauge("process_resident_memory_bytes", "Resident memory", resident_of(&status)),
        gauge(
            "process_virtual_memory_bytes",
            "Address space",
            number(&status, "VmSize:").map(|kib| kib * 1024),
        ),
        gauge("process_threads", "Threads", number(&status, "Threads:")),
        gauge("process_open_fds", "Open descriptors", open_descriptors()),
        gauge("process_max_fds", "Descriptors that may be open", getrlimit(Resource::Nofile).current),
    ]
}

/// Processor time spent, user and system.
pub fn cpu_time() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32)
}

/// Resident memory, in bytes.
pub fn resident_bytes() -> Option<u64> {
    resident_of(&status())
}

fn status() -> String {
    fs::read_to_string("/proc/self/status").unwrap_or_default()
}

fn resident_of(status: &str) -> Option<u64> {
    number(status, "VmRSS:").map(|kib| kib * 1024)
}

/// The number behind a name in `/proc/self/status`.
fn number(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

/// From Linux 6.2 on the size of the directory says how many there are; reading it costs a moment for each of them.
fn open_descriptors() -> Option<u64> {
    let directory = "/proc/self/fd";
    let told = fs::metadata(directory).ok()?.len();
    if told > 0 { Some(told) } else { Some(fs::read_dir(directory).ok()?.count() as u64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_names() {
        let status = "Name:\tgusher\nVmSize:\t  123 kB\nVmRSS:\t   45 kB\nThreads:\t7\n";
        let found = ["VmRSS:", "VmSize:", "Threads:", "VmSwap:"].map(|name| number(status, name));
        assert_eq!(found, [Some(45), Some(123), Some(7), None]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_descriptor_more_is_counted() {
        let before = open_descriptors().unwrap();
        let files: Vec<_> = (0..100).map(|_| fs::File::open("/proc/self/status").unwrap()).collect();
        assert!(open_descriptors().unwrap() >= before + 50, "others may have closed some of theirs");
        drop(files);
    }
}
