//! `gusher doctor`: is this machine fit for many sockets? Reads what the kernel tells under /proc and changes nothing.
//!
//! Each finding says why it matters and, unless it is well, the command that mends it. Transparent huge pages are not asked
//! about: a node has no large areas of memory that would gain or lose by them.

mod clock;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use self::clock::Clock;
use super::finding::{self, Finding};
use super::{Failure, known_password};
use crate::config::read;
use crate::model::AppSettings;
use crate::net::stream::BACKLOG;
use crate::shard::Batch;

/// Fewer descriptors than these are too few to be a push server, and too few to be a large one.
const DESCRIPTORS_LEAST: u64 = 1_024;
const DESCRIPTORS_GOOD: u64 = 65_536;
/// What is recommended to whoever has fewer.
const DESCRIPTORS_ADVISED: u64 = 1_048_576;

/// Half-open connections that come with a burst of reconnecting clients.
const SYN_BACKLOG_GOOD: u64 = 1_024;
/// Ports for connections that this machine opens; the kernel's own default is 28232.
const LOCAL_PORTS_GOOD: u64 = 28_000;

const MIB: u64 = 1 << 20;
const MEMORY_LEAST: u64 = 64 * MIB;
const MEMORY_GOOD: u64 = 256 * MIB;

/// What `gusher doctor` is told.
#[derive(Args)]
pub struct DoctorArgs {
    /// Print JSON instead of lines
    #[arg(long)]
    json: bool,
    /// Look below this directory instead of /, as at the files of another machine
    #[arg(long, value_name = "DIRECTORY")]
    root: Option<PathBuf>,
}

/// Looks at everything and prints one line for each thing.
///
/// # Errors
/// `Runtime` when something is so that a node cannot work well, after all was told. What could only be better is none.
pub fn run(args: &DoctorArgs) -> Result<(), Failure> {
    let findings = match &args.root {
        Some(root) => findings(&Machine(root)),
        None => {
            let mut findings = findings(&Machine(Path::new("/")));
            findings.extend([io_uring(), kept(clock::ask())]);
            findings.extend(known_password());
            findings
        }
    };
    finding::print(&findings, args.json)?;
    match finding::failures(&findings) {
        0 => Ok(()),
        _ => Err(Failure::Runtime("this machine needs to be mended first".to_owned())),
    }
}

/// The default password, in the configuration of this folder and environment. `check` says what else is wrong with it.
fn known_password() -> Option<Finding> {
    let config = read::load(None, read::environment(), &read::Overlay::default()).ok()?;
    known_password::warning(&config).map(|text| Finding::warn("auth_password", text))
}

/// The files of a machine, below its root directory.
struct Machine<'a>(&'a Path);

impl Machine<'_> {
    fn text(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.0.join("proc").join(file)).ok()
    }

    fn numbers(&self, file: &str) -> Option<Vec<u64>> {
        self.text(file)?.split_whitespace().map(|word| word.parse().ok()).collect()
    }

    fn number(&self, file: &str) -> Option<u64> {
        self.numbers(file)?.first().copied()
    }

    /// The soft and the hard limit of descriptors.
    fn descriptors(&self) -> Option<(u64, u64)> {
        let limits = self.text("self/limits")?;
        let mut words =
            limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace();
        let mut limit = || match words.next()? {
            "unlimited" => Some(u64::MAX),
            number => number.parse().ok(),
        };
        Some((limit()?, limit()?))
    }

    /// A line of /proc/meminfo, in bytes.
    fn memory(&self, name: &str) -> Option<u64> {
        let lines = self.text("meminfo")?;
        let value = lines.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        value.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kibibytes| kibibytes * 1_024)
    }
}

fn findings(machine: &Machine<'_>) -> Vec<Finding> {
    let mut findings = vec![
        descriptors(machine),
        backlog(machine),
        syn_backlog(machine),
        local_ports(machine),
        memory(machine),
        io_uring_switch(machine),
    ];
    findings.extend(tracked(machine));
    findings
}

fn unknown(subject: &'static str, file: &str) -> Finding {
    Finding::warn(subject, format!("/proc/{file} does not tell: run this where the node will run"))
}

fn descriptors(machine: &Machine<'_>) -> Finding {
    const SUBJECT: &str = "descriptors";
    let Some((soft, hard)) = machine.descriptors() else { return unknown(SUBJECT, "self/limits") };
    let text =
        format!("{hard} at most ({soft} to begin with); each socket takes one, and a node uses all it may");
    let mend =
        format!("LimitNOFILE={DESCRIPTORS_ADVISED} in the systemd unit, or ulimit -Hn {DESCRIPTORS_ADVISED}");
    match hard {
        ..DESCRIPTORS_LEAST => Finding::fail(SUBJECT, text).mended_by(mend),
        DESCRIPTORS_LEAST..DESCRIPTORS_GOOD => Finding::warn(SUBJECT, text).mended_by(mend),
        _ => Finding::ok(SUBJECT, text),
    }
}

fn backlog(machine: &Machine<'_>) -> Finding {
    at_least(
        machine,
        "net.core.somaxconn",
        u64::from(BACKLOG.unsigned_abs()),
        "connections the kernel holds ready while a burst of clients comes back; more are made to wait for a second",
    )
}

fn syn_backlog(machine: &Machine<'_>) -> Finding {
    at_least(
        machine,
        "net.ipv4.tcp_max_syn_backlog",
        SYN_BACKLOG_GOOD,
        "connections that may be half open while a burst of clients comes back; more are made to try again",
    )
}

/// A switch of the kernel that is a number, the larger the better.
fn at_least(machine: &Machine<'_>, name: &'static str, good: u64, meaning: &str) -> Finding {
    let file = format!("sys/{}", name.replace('.', "/"));
    match machine.number(&file) {
        None => unknown(name, &file),
        Some(number) if number >= good => Finding::ok(name, format!("{number} {meaning}")),
        Some(number) => {
            Finding::warn(name, format!("{number} {meaning}")).mended_by(format!("sysctl -w {name}={good}"))
        }
    }
}

fn local_ports(machine: &Machine<'_>) -> Finding {
    const SUBJECT: &str = "net.ipv4.ip_local_port_range";
    const FILE: &str = "sys/net/ipv4/ip_local_port_range";
    let Some([first, last]) = machine.numbers(FILE).and_then(|ends| <[u64; 2]>::try_from(ends).ok()) else {
        return unknown(SUBJECT, FILE);
    };
    let ports = last.saturating_add(1).saturating_sub(first);
    let text = format!(
        "{ports} ports; a proxy on this machine reaches a listener through so many sockets and no more for each address"
    );
    if ports >= LOCAL_PORTS_GOOD {
        return Finding::ok(SUBJECT, text);
    }
    Finding::warn(SUBJECT, text).mended_by("sysctl -w net.ipv4.ip_local_port_range='10240 65535'")
}

fn memory(machine: &Machine<'_>) -> Finding {
    const SUBJECT: &str = "memory";
    let (Some(total), Some(available)) = (machine.memory("MemTotal"), machine.memory("MemAvailable")) else {
        return unknown(SUBJECT, "meminfo");
    };
    let text = format!(
        "{} of {} MiB are free; each socket takes some KiB of the kernel, and a slow reader as much as limits.outbox_bytes_max",
        available / MIB,
        total / MIB
    );
    let mend = "ps -e -o rss,comm --sort -rss, and stop what is not needed";
    match available {
        ..MEMORY_LEAST => Finding::fail(SUBJECT, text).mended_by(mend),
        MEMORY_LEAST..MEMORY_GOOD => Finding::warn(SUBJECT, text).mended_by(mend),
        _ => Finding::ok(SUBJECT, text),
    }
}

/// The table of a firewall that tracks connections; nothing where there is none.
fn tracked(machine: &Machine<'_>) -> Option<Finding> {
    const SUBJECT: &str = "net.netfilter.nf_conntrack_max";
    let max = machine.number("sys/net/netfilter/nf_conntrack_max")?;
    let count = machine.number("sys/net/netfilter/nf_conntrack_count").unwrap_or_default();
    let sockets = machine.descriptors().map_or(DESCRIPTORS_GOOD, |(_, hard)| hard).min(DESCRIPTORS_ADVISED);
    let text = format!(
        "the firewall tracks {count} of {max} connections at most and drops what is beyond; {sockets} sockets are possible"
    );
    let mend = format!("sysctl -w net.netfilter.nf_conntrack_max={}", sockets.max(max).saturating_mul(2));
    Some(if count >= max - max / 20 {
        Finding::fail(SUBJECT, text).mended_by(mend)
    } else if max < sockets || count >= max - max / 5 {
        Finding::warn(SUBJECT, text).mended_by(mend)
    } else {
        Finding::ok(SUBJECT, text)
    })
}

/// Whether the kernel permits `io_uring` at all. Older ones have no switch.
fn io_uring_switch(machine: &Machine<'_>) -> Finding {
    const SUBJECT: &str = "kernel.io_uring_disabled";
    match machine.number("sys/kernel/io_uring_disabled") {
        None | Some(0) => Finding::ok(SUBJECT, "the kernel permits io_uring"),
        Some(_) => Finding::warn(
            SUBJECT,
            "the kernel forbids io_uring; each delivery costs a system call of its own",
        )
        .mended_by("sysctl -w kernel.io_uring_disabled=0"),
    }
}

/// Whether this process may use it: a container may forbid what the kernel permits.
fn io_uring() -> Finding {
    const SUBJECT: &str = "io_uring";
    match Batch::through_ring() {
        Ok(_) => Finding::ok(SUBJECT, "this process may use it; pushes leave many at a time"),
        Err(error) => Finding::warn(
            SUBJECT,
            format!("this process may not use it ({error}); each delivery costs a system call of its own"),
        )
        .mended_by("docker run --security-opt seccomp=PROFILE, one that permits the three io_uring calls"),
    }
}

fn kept(clock: Option<Clock>) -> Finding {
    const SUBJECT: &str = "clock";
    const MEND: &str = "timedatectl set-ntp true";
    let skew_max_s = AppSettings::default().max_timestamp_skew;
    let matters = format!("signed calls are refused when clocks differ by more than {skew_max_s} s");
    match clock {
        None => Finding::warn(SUBJECT, format!("the kernel does not tell how it is kept; {matters}"))
            .mended_by(MEND),
        Some(Clock { is_kept: false, .. }) => {
            Finding::warn(SUBJECT, format!("nothing keeps it; {matters}")).mended_by(MEND)
        }
        Some(Clock { error_max_us, .. }) if error_max_us / 1_000_000 >= libc::c_long::from(skew_max_s) => {
            Finding::fail(SUBJECT, format!("it may be off by {} s; {matters}", error_max_us / 1_000_000))
                .mended_by(MEND)
        }
        Some(Clock { error_max_us, .. }) => {
            Finding::ok(SUBJECT, format!("kept, off by {} ms at the most; {matters}", error_max_us / 1_000))
        }
    }
}

#[cfg(test)]
#[path = "doctor_tests.rs"]
mod tests;
