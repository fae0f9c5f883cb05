//! `gusher check`: would a node start with this configuration? Tries each thing that a start needs and leaves no trace.
//!
//! Each trial is the function by which the node itself does it, so it fails where the node would, with the same words;
//! a new kind of database or of bus is thereby tried too. What must not be left behind is the one exception: an SQLite
//! file that is not there yet is not made, only its directory is looked at, nor are tables in a PostgreSQL database.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rustix::fs::{Access, Mode, OFlags, access, open, unlink};
use rustix::io::Errno;
use tokio::time::timeout;

use super::finding::{self, Finding};
use super::first_app::FirstApp;
use super::{Failure, StartArgs, block_on, known_password, start};
use crate::bus::{self, BusEvent};
use crate::config::{
    AcmeConfig, BusConfig, CertificateSource, Config, ConfigError, Database, Limits, ListenAddress,
    LogTarget, TlsConfig,
};
use crate::model::App;
use crate::node;

/// The app that the environment names.
const FIRST_APP: &str = "first app";

/// Nodes that share a file have outboxes of their own beside it: so many are looked at.
const OUTBOXES_LOOKED_AT: u32 = 16;

/// How long a bus may take to answer, at the least.
const BUS_TIME_MIN: Duration = Duration::from_secs(1);

/// What `gusher check` is told.
#[derive(Args)]
pub struct CheckArgs {
    #[command(flatten)]
    start: StartArgs,
    /// A node with this configuration runs: do not expect its ports to be free
    #[arg(long)]
    running: bool,
    /// Print JSON instead of lines
    #[arg(long)]
    json: bool,
}

/// Tries everything and prints one line for each thing.
///
/// # Errors
/// `Configuration` when it is unusable, `Runtime` when something else does not work; both after all was told.
pub fn run(args: &CheckArgs) -> Result<(), Failure> {
    let config = match start::effective(&args.start)? {
        Ok(effective) => effective.config,
        Err(error) => return unusable(&faults(&error), args.json),
    };
    let first = match FirstApp::find(start::variable) {
        Err(Failure::Configuration(fault)) => {
            return unusable(&[Finding::fail(FIRST_APP, fault)], args.json);
        }
        found => found?.map(|app| app.into_app(&config)),
    };
    let findings = block_on(async { Ok(trials(&config, first.as_ref(), args.running).await) })?;
    finding::print(&findings, args.json)?;
    match finding::failures(&findings) {
        0 => Ok(()),
        1 => Err(Failure::Runtime("one thing does not work".to_owned())),
        number => Err(Failure::Runtime(format!("{number} things do not work"))),
    }
}

fn unusable(findings: &[Finding], as_json: bool) -> Result<(), Failure> {
    finding::print(findings, as_json)?;
    Err(Failure::Configuration("the configuration cannot be used".to_owned()))
}

/// One finding for each fault.
fn faults(error: &ConfigError) -> Vec<Finding> {
    match error {
        ConfigError::Invalid { findings, .. } => {
            findings.iter().map(|fault| Finding::fail("configuration", fault)).collect()
        }
        whole => vec![Finding::fail("configuration", whole.to_string())],
    }
}

/// Whether others use the database, of whom a node without a bus would not know.
async fn other_nodes(config: &Config, is_running: bool) -> Option<Finding> {
    const SUBJECT: &str = "other nodes";
    if config.bus.is_some() || !matches!(node::is_new(config).await, Ok(false)) {
        return None;
    }
    let nodes = node::open_store(config).await.ok()?.nodes().await.ok()?;
    let recent: Vec<_> = nodes.iter().filter(|node| node::is_recent(node)).collect();
    if recent.len() <= usize::from(is_running) {
        return Some(Finding::ok(SUBJECT, "no other process uses the database"));
    }
    let names = recent.iter().map(|node| format!("{} {} s ago", node.name, node.age_seconds));
    Some(Finding::warn(
        SUBJECT,
        format!(
            "the database is used by {}, and no bus is set: nodes that do not hear each other contradict each other; set \
             bus.url for all, or stop the others{}",
            names.collect::<Vec<_>>().join(", "),
            if is_running { "" } else { "; say --running if that is the node that this checks" },
        ),
    ))
}

/// Whether others than its owner may read a database, which holds secrets.
fn privacy(file: &Path) -> Option<Finding> {
    const ENDINGS: [&str; 3] = ["", "-wal", "-shm"];
    let beside = |ending: &str| {
        let mut name = file.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let places = (1..=OUTBOXES_LOOKED_AT).map(|number| format!(".outbox-{number}"));
    let bases = std::iter::once(String::new()).chain(places);
    let files = bases.flat_map(|base| ENDINGS.map(|ending| beside(&format!("{base}{ending}"))));
    let open: Vec<String> = files
        .filter(|file| std::fs::metadata(file).is_ok_and(|found| found.permissions().mode() & 0o077 != 0))
        .map(|file| file.display().to_string())
        .collect();
    if open.is_empty() {
        return None;
    }
    let text = "other users of this host may read the database, with passwords and secrets in it";
    Some(Finding::warn("database files", text).mended_by(format!("chmod 600 {}", open.join(" "))))
}

async fn trials(config: &Config, first: Option<&App>, is_running: bool) -> Vec<Finding> {
    let mut findings = vec![Finding::ok("configuration", "every setting is in its range")];
    findings.extend(config.warnings.iter().map(|warning| Finding::warn("configuration", warning)));
    findings.extend(known_password::warning(config).map(|text| Finding::warn("auth_password", text)));
    findings.extend(listeners(config, is_running).await);
    findings.extend(config.tls.as_ref().map(|tls| certificate(tls, config)));
    findings.extend(databases(config).await);
    findings.extend(other_nodes(config, is_running).await);
    if let Some(first) = first {
        findings.extend(first_app(first, config).await);
    }
    findings.push(log(&config.log.target));
    findings.push(cluster_keys(config));
    findings.push(way_out(config));
    if let Some(bus) = &config.bus {
        findings.push(tried_bus(bus).await);
    }
    findings.push(sockets(&config.limits, node::share_out(&config.limits).sockets_max));
    findings
}

/// Both are held until both were tried: one alone may hide that they are in each other's way.
async fn listeners(config: &Config, is_running: bool) -> Vec<Finding> {
    if is_running {
        return vec![Finding::ok("listen", "not tried, as a node runs")];
    }
    let public = node::bind(&config.listen, "listen", &config.node).await;
    let private = node::bind(&config.api_listen, "api_listen", &config.node).await;
    vec![listener("listen", &config.listen, &public), listener("api_listen", &config.api_listen, &private)]
}

fn listener<T>(
    subject: &'static str,
    address: &ListenAddress,
    bound: &Result<T, node::StartError>,
) -> Finding {
    match bound {
        Ok(_) => Finding::ok(subject, format!("{address} can be listened on")),
        Err(error) => Finding::fail(subject, error.to_string()),
    }
}

fn certificate(tls: &TlsConfig, config: &Config) -> Finding {
    let acme = match &tls.source {
        CertificateSource::Files { .. } => None,
        CertificateSource::Acme(acme) => Some(acme),
    };
    let subject = if acme.is_some() { "tls.acme" } else { "tls.cert_file" };
    match (node::certificate(tls, &config.limits), acme) {
        (Err(error), _) => Finding::fail(subject, error.to_string()),
        (Ok(certificate), None) => match certificate.fault() {
            Some(what) => Finding::warn(subject, format!("the certificate {what}: clients will not connect")),
            None => Finding::ok(subject, "certificate and key can be used"),
        },
        (Ok(certificate), Some(acme)) => ordered(acme, certificate.is_there()),
    }
}

/// No authority is asked: it counts orders.
fn ordered(acme: &AcmeConfig, is_kept: bool) -> Finding {
    const SUBJECT: &str = "tls.acme";
    let place = writable_directory(&acme.cache);
    if let Err(reason) = place {
        return Finding::fail(SUBJECT, format!("{reason}: set tls.acme.cache to a directory of this user's"));
    }
    let domains = acme.domains.join(", ");
    Finding::ok(
        SUBJECT,
        match is_kept {
            true => format!("a certificate for {domains} is kept"),
            false => format!("a start orders a certificate: port 443 of {domains} must lead to its listener"),
        },
    )
}

/// Whether files can be made in a directory, or where it is not there yet, it can.
fn writable_directory(directory: &Path) -> Result<(), String> {
    let there = directory.ancestors().find(|place| place.as_os_str().is_empty() || place.exists());
    let there = there.filter(|place| !place.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !there.is_dir() {
        return Err(format!("{} is no directory", there.display()));
    }
    access(there, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| format!("cannot write to {}: {error}", there.display()))
}

/// With the apps on a server, the file is for webhooks alone.
async fn databases(config: &Config) -> Vec<Finding> {
    let apps = if config.store.is_some() { "store.url" } else { "database" };
    let mut findings = vec![store(apps, config).await];
    if let Database::File(file) = &config.database {
        if config.store.is_some() {
            findings.push(file_of("database", file, "set sqlfile to a writable SQLite file"));
        }
        findings.extend(privacy(file));
    }
    findings
}

/// What is there is opened as a start opens it.
async fn store(subject: &'static str, config: &Config) -> Finding {
    let tried = match (node::is_new(config).await, &config.store, &config.database) {
        (Ok(true), None, Database::File(file)) => {
            return new_file(subject, file, "set sqlfile to a writable SQLite file");
        }
        (Ok(true), Some(server), _) => {
            return match node::may_make(server).await {
                Ok(true) => Finding::ok(subject, "the server lets us in; our tables are not there yet"),
                Ok(false) => Finding::fail(
                    subject,
                    "the server lets us in; our tables are not there yet, and this user may not make any: grant it \
                     CREATE on the schema",
                ),
                Err(error) => Finding::fail(subject, error.to_string()),
            };
        }
        (Err(error), ..) => Err(error),
        _ => node::open_store(config).await,
    };
    match tried {
        Ok(_) => Finding::ok(subject, "it opens"),
        Err(error) => Finding::fail(subject, error.to_string()),
    }
}

/// Whether the app that the environment names can be had. Nothing is said of a store that does not open, nor of one that is
/// still to be made.
async fn first_app(app: &App, config: &Config) -> Option<Finding> {
    let Ok(false) = node::is_new(config).await else { return None };
    let store = node::open_store(config).await.ok()?;
    Some(match node::is_registered(&store, app, config).await {
        Ok(true) => Finding::ok(FIRST_APP, "it is registered"),
        Ok(false) => Finding::ok(FIRST_APP, "a start registers it"),
        Err(error) => Finding::fail(FIRST_APP, error.to_string()),
    })
}

/// Without its file a node still starts, and logs to stderr.
fn log(target: &LogTarget) -> Finding {
    const SUBJECT: &str = "logfile";
    const ADVICE: &str = "the log would go to stderr: set logfile to console or to a writable file";
    const ADVICE_ROTATED: &str = "the log would go elsewhere: set log.file to a file in a writable directory";
    let finding = match target {
        LogTarget::Console => return Finding::ok(SUBJECT, "the log goes to stderr"),
        LogTarget::Stdout => return Finding::ok(SUBJECT, "the log goes to stdout"),
        LogTarget::File(file) => file_of(SUBJECT, file, ADVICE),
        LogTarget::Rotated(rotation) | LogTarget::Both(rotation) => {
            file_of("log.file", &rotation.file, ADVICE_ROTATED)
        }
    };
    if finding.level == finding::Level::Fail { Finding::warn(finding.subject, finding.text) } else { finding }
}

/// Whether a file can be written to, or made.
fn file_of(subject: &'static str, file: &Path, advice: &str) -> Finding {
    if file.is_dir() {
        return Finding::fail(subject, format!("{} is a directory: {advice}", file.display()));
    }
    if !file.exists() {
        return new_file(subject, file, advice);
    }
    match access(file, Access::WRITE_OK) {
        Ok(()) => Finding::ok(subject, format!("{} can be written to", file.display())),
        Err(error) => Finding::fail(subject, format!("{}: {error}: {advice}", file.display())),
    }
}

/// Whether a file could be made, without making it: whoever checks may be somebody else than whoever starts.
fn new_file(subject: &'static str, file: &Path, advice: &str) -> Finding {
    let directory = match file.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    };
    match takes_files(directory) {
        Ok(()) => Finding::ok(subject, format!("{} is not there yet and can be made", file.display())),
        Err(error) => {
            let why = format!("cannot make {}: {}: {error}", file.display(), directory.display());
            Finding::fail(subject, format!("{why}: {advice}"))
        }
    }
}

/// Rights are not all: root has them under /proc, too. So a file without a name is made, which goes as it is closed; one with a
/// name for a moment, where there are only such.
fn takes_files(directory: &Path) -> Result<(), Errno> {
    access(directory, Access::WRITE_OK | Access::EXEC_OK)?;
    match open(directory, OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR) {
        Ok(_) => Ok(()),
        Err(_) => {
            let named = directory.join(format!(".gusher-check-{}", std::process::id()));
            let new = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            open(&named, new, Mode::RUSR | Mode::WUSR)?;
            unlink(&named)
        }
    }
}

fn cluster_keys(config: &Config) -> Finding {
    const SUBJECT: &str = "cluster.public_pem_file";
    match node::verifier(config) {
        Ok(Some(_)) => Finding::ok(SUBJECT, "its keys can be used"),
        Ok(None) => Finding::ok(SUBJECT, "not set: no sockets of Gusher Cluster are served"),
        Err(error) => Finding::fail(SUBJECT, error.to_string()),
    }
}

fn way_out(config: &Config) -> Finding {
    const SUBJECT: &str = "node.send";
    match node::way_out(config.node.send) {
        Ok(_) => Finding::ok(SUBJECT, "pushes can leave that way"),
        Err(error) => Finding::fail(SUBJECT, error.to_string()),
    }
}

async fn tried_bus(config: &BusConfig) -> Finding {
    const SUBJECT: &str = "bus";
    let (bus, mut events) = match bus::connect(config).await {
        Ok(connected) => connected,
        Err(error) => return Finding::fail(SUBJECT, error.to_string()),
    };
    let time_max = config.join_time_max.max(BUS_TIME_MIN);
    let up = async {
        while let Some(event) = events.recv().await {
            if matches!(event, BusEvent::Up) {
                return true;
            }
        }
        false
    };
    let finding = match timeout(time_max, up).await {
        Ok(true) => Finding::ok(SUBJECT, format!("{} answers", bus.name())),
        _ => Finding::fail(SUBJECT, absent(bus.name(), config, time_max).await),
    };
    bus.close().await;
    finding
}

/// Why there is no bus: who names servers that cannot be reached need not look at user and password.
async fn absent(name: &str, config: &BusConfig, time_max: Duration) -> String {
    let seconds = time_max.as_secs();
    match bus::unreachable(config).await {
        reasons if reasons.is_empty() => format!(
            "{name} does not let us in within {seconds} s: see that bus.url names it, and that it knows this user and password"
        ),
        reasons => format!(
            "{name} cannot be reached within {seconds} s: {}: see that it runs, and that bus.url names it",
            reasons.join("; ")
        ),
    }
}

fn sockets(limits: &Limits, possible: usize) -> Finding {
    const SUBJECT: &str = "limits.sockets_max";
    match limits.sockets_max {
        Some(wanted) if wanted > possible => Finding::fail(
            SUBJECT,
            format!("{wanted} sockets are wanted and the descriptor limit has room for {possible}"),
        )
        .mended_by(descriptors_for(wanted, limits)),
        Some(wanted) => Finding::ok(SUBJECT, format!("the descriptor limit has room for {wanted} sockets")),
        None => {
            Finding::ok(SUBJECT, format!("not set: the descriptor limit has room for {possible} sockets"))
        }
    }
}

/// The command that lets a shell, and what it starts, hold so many sockets.
fn descriptors_for(sockets: usize, limits: &Limits) -> String {
    let descriptors = node::needed_for(sockets, limits);
    format!("ulimit -n {descriptors}, or LimitNOFILE={descriptors} in the systemd unit")
}

#[cfg(test)]
mod tests {
    use super::finding::Level;
    use super::*;
    use crate::config::read::{self, Overlay};

    #[test]
    fn more_sockets_than_descriptors_fail() {
        let mut limits = read::dev([], &Overlay::default()).unwrap().limits;
        let mut sockets = |wanted, possible| {
            limits.sockets_max = wanted;
            super::sockets(&limits, possible)
        };
        assert_eq!(sockets(Some(10), 10).level, Level::Ok);
        assert_eq!(sockets(None, 10).level, Level::Ok);
        let finding = sockets(Some(11), 10);
        assert_eq!(finding.level, Level::Fail);
        assert!(finding.mend.unwrap().contains("LimitNOFILE=16384"));
    }

    #[test]
    fn a_database_that_others_may_read_is_found_with_what_is_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("apps.sqlite");
        let make = |ending: &str, mode: u32| {
            let path = format!("{}{ending}", file.display());
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        make("", 0o600);
        assert_eq!(privacy(&file), None);
        make("-wal", 0o644);
        make(".outbox-2", 0o640);
        let finding = privacy(&file).unwrap();
        let path = file.display();
        assert_eq!(finding.mend.unwrap(), format!("chmod 600 {path}-wal {path}.outbox-2"));
        assert_eq!(finding.level, Level::Warn);
    }

    #[tokio::test]
    async fn a_database_that_is_not_there_is_not_made() {
        let directory = tempfile::tempdir().unwrap();
        let found = async |file: &Path| {
            let mut flags = Overlay::default();
            flags.set("sqlfile", file.to_str().unwrap());
            databases(&read::dev([], &flags).unwrap()).await.remove(0).level
        };
        let file = directory.path().join("apps.sqlite");
        assert_eq!(found(&file).await, Level::Ok);
        assert!(!file.exists());
        assert_eq!(found(&directory.path().join("nowhere/apps.sqlite")).await, Level::Fail);
    }
}
