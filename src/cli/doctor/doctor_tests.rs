use super::*;
use crate::cli::finding::Level;

/// What is found on a machine with these files below /proc.
fn found(files: &[(&str, &str)]) -> Vec<Finding> {
    let root = tempfile::tempdir().unwrap();
    for (file, text) in files {
        let file = root.path().join("proc").join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    findings(&Machine(root.path()))
}

fn limits(hard: &str) -> String {
    format!(
        "Limit                     Soft Limit           Hard Limit           Units\nMax open files            1024                 {hard}                 files\n"
    )
}

/// The level of one subject among what is found.
fn level(subject: &str, files: &[(&str, &str)]) -> Option<Level> {
    let findings = found(files);
    let finding = findings.iter().find(|finding| finding.subject == subject)?;
    assert_eq!(
        finding.level == Level::Ok,
        finding.mend.is_none(),
        "only what is not well is mended: {finding:?}"
    );
    Some(finding.level)
}

#[test]
fn descriptors_are_judged_by_the_hard_limit() {
    for (hard, expected) in
        [("512", Level::Fail), ("4096", Level::Warn), ("1048576", Level::Ok), ("unlimited", Level::Ok)]
    {
        assert_eq!(level("descriptors", &[("self/limits", &limits(hard))]), Some(expected), "{hard}");
    }
}

#[test]
fn switches_of_the_kernel_are_read_and_mended_by_sysctl() {
    let small = found(&[("sys/net/core/somaxconn", "128\n"), ("sys/net/ipv4/tcp_max_syn_backlog", "128\n")]);
    for (subject, command) in [
        ("net.core.somaxconn", "sysctl -w net.core.somaxconn=4096"),
        ("net.ipv4.tcp_max_syn_backlog", "sysctl -w net.ipv4.tcp_max_syn_backlog=1024"),
    ] {
        let finding = small.iter().find(|finding| finding.subject == subject).unwrap();
        assert_eq!((finding.level, finding.mend.as_deref()), (Level::Warn, Some(command)));
    }
    assert_eq!(level("net.core.somaxconn", &[("sys/net/core/somaxconn", "4096\n")]), Some(Level::Ok));
}

#[test]
fn local_ports_are_counted() {
    const FILE: &str = "sys/net/ipv4/ip_local_port_range";
    const SUBJECT: &str = "net.ipv4.ip_local_port_range";
    assert_eq!(level(SUBJECT, &[(FILE, "32768\t60999\n")]), Some(Level::Ok));
    assert_eq!(level(SUBJECT, &[(FILE, "32768\t33000\n")]), Some(Level::Warn));
    // Whatever a strange kernel says must not stop the rest.
    for text in ["", "1", "2 1", "a b", "0 18446744073709551614"] {
        found(&[(FILE, text)]);
    }
}

#[test]
fn memory_is_what_is_available() {
    let level = |available: u64| {
        let text = format!("MemTotal:  8000000 kB\nMemFree: 1 kB\nMemAvailable:  {available} kB\n");
        level("memory", &[("meminfo", &text)])
    };
    assert_eq!(level(1_024), Some(Level::Fail));
    assert_eq!(level(100 * 1_024), Some(Level::Warn));
    assert_eq!(level(4_000_000), Some(Level::Ok));
}

#[test]
fn a_firewall_counts_where_there_is_one() {
    const SUBJECT: &str = "net.netfilter.nf_conntrack_max";
    let level = |max: &str, count: &str| {
        let limits = limits("100000");
        level(
            SUBJECT,
            &[
                ("self/limits", &limits),
                ("sys/net/netfilter/nf_conntrack_max", max),
                ("sys/net/netfilter/nf_conntrack_count", count),
            ],
        )
    };
    assert_eq!(level("262144", "10"), Some(Level::Ok));
    assert_eq!(level("65536", "10"), Some(Level::Warn));
    assert_eq!(level("262144", "220000"), Some(Level::Warn));
    assert_eq!(level("262144", "262000"), Some(Level::Fail));
    assert!(found(&[]).iter().all(|finding| finding.subject != SUBJECT));
}

#[test]
fn io_uring_may_be_forbidden() {
    const SUBJECT: &str = "kernel.io_uring_disabled";
    assert_eq!(level(SUBJECT, &[("sys/kernel/io_uring_disabled", "2\n")]), Some(Level::Warn));
    assert_eq!(level(SUBJECT, &[("sys/kernel/io_uring_disabled", "0\n")]), Some(Level::Ok));
}

#[test]
fn a_machine_that_tells_nothing_is_no_failure() {
    let findings = found(&[]);
    assert_eq!(findings.len(), 6);
    assert_eq!(finding::failures(&findings), 0);
}

#[test]
fn the_clock_must_be_kept() {
    let kept = |is_kept, error_max_us| super::kept(Some(Clock { is_kept, error_max_us })).level;
    assert_eq!(kept(true, 5_000), Level::Ok);
    assert_eq!(kept(false, 5_000), Level::Warn);
    assert_eq!(kept(true, 700_000_000), Level::Fail);
    assert_eq!(super::kept(None).level, Level::Warn);
}

#[cfg(target_os = "linux")]
#[test]
fn the_kernel_tells_of_its_clock() {
    assert!(clock::ask().is_some());
}
