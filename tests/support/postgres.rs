//! PostgreSQL servers of the tests: on free ports, each with a folder of its own, killed and removed at the end.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use rustix::process::{Signal, geteuid};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

use super::process::{Process, run};
use super::servers::free_port;

/// Where Debian puts PostgreSQL, each version in a folder of its own.
const POSTGRES_IN: &str = "/usr/lib/postgresql";

/// Whose processes PostgreSQL's are when the tests are run by root, as which it refuses to run.
const NOBODY: u32 = 65_534;

/// Kills the server of the folder `$1` and removes the folder, when whoever started this lets go of its input or ends, in
/// whatever way.
const WARDEN: &str = r#"read -r _
[ -e "$1/data/postmaster.pid" ] && kill -QUIT "$(head -n 1 "$1/data/postmaster.pid")"
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    [ -e "$1/data/postmaster.pid" ] || break
    sleep 0.1
done
rm -rf "$1""#;

/// A PostgreSQL server with a folder of its own. It does not wait for the disk, and asks for a password.
pub struct Postgres {
    folder: PathBuf,
    port: u16,
    /// Locked only so that all tests may share it.
    process: Mutex<Option<Process>>,
    warden: Child,
}

impl Postgres {
    /// The user that may do everything, and his password.
    pub const USER: (&str, &str) = ("gusher", "Xpostgrespassword");

    /// The server of all tests of this process; it ends with the process.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Starts one that a test has for itself.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts one that speaks TLS, with a certificate for `localhost`. The second is a file with what to trust.
    pub fn start_with_tls() -> (Self, PathBuf) {
        let server = Self::with(&["-c", "ssl=on"]);
        let certificate = server.folder.join("data/server.crt");
        (server, certificate)
    }

    /// The address of a new, empty database.
    pub async fn database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut server = connect(&self.url("postgres")).await;
        let create = format!("CREATE DATABASE {name}");
        sqlx::query(AssertSqlSafe(create)).execute(&mut server).await.expect("a database");
        server.close().await.expect("it ends in order");
        self.url(&name)
    }

    /// The address of a database of that name.
    pub fn url(&self, database: &str) -> String {
        let (user, password) = Self::USER;
        format!("postgres://{user}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// Kills it at once.
    pub fn kill(&mut self) {
        let process = self.process.get_mut().expect("nobody panicked").take().expect("it runs");
        process.signal(Signal::QUIT);
        process.ended();
    }

    /// Halts it: nobody who comes is answered. Who is connected goes on.
    pub fn halt(&self) {
        self.process.lock().expect("nobody panicked").as_ref().expect("it runs").signal(Signal::STOP);
    }

    /// Starts it again where it was.
    pub fn start_again(&mut self) {
        self.process = Mutex::new(Some(serve(&self.folder, self.port, &[])));
    }

    fn with(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder").keep();
        if geteuid().is_root() {
            chown(&folder, Some(NOBODY), Some(NOBODY)).expect("root may");
        }
        let mut warden = Command::new("sh");
        as_nobody(warden.args(["-c", WARDEN, "warden"]).arg(&folder));
        let warden = warden.stdin(Stdio::piped()).spawn().expect("a shell");
        let data = folder.join("data");
        fs::write(folder.join("password"), Self::USER.1).expect("the folder takes it");
        let words = ["-U", Self::USER.0, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"];
        let mut initdb = program("initdb");
        initdb.args(words).arg("--pwfile").arg(folder.join("password")).arg("-D").arg(&data);
        let made = run(&mut initdb);
        assert_eq!(made.code, Some(0), "{}{}", made.stdout, made.stderr);
        if !options.is_empty() {
            certify(&data);
        }
        let port = free_port();
        Self { process: Mutex::new(Some(serve(&folder, port, options))), folder, port, warden }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // It may have been halted.
        if let Ok(Some(process)) = self.process.get_mut() {
            process.signal(Signal::CONT);
        }
        drop(self.warden.stdin.take());
        let _ = self.warden.wait();
    }
}

/// Connects to a database.
pub async fn connect(url: &str) -> PgConnection {
    url.parse::<PgConnectOptions>().expect("a URL").connect().await.expect("the server lets us in")
}

/// Runs the server of a folder, and waits until it is there.
fn serve(folder: &Path, port: u16, options: &[&str]) -> Process {
    let settings = [
        "fsync=off",
        "full_page_writes=off",
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "shared_buffers=16MB",
        "dynamic_shared_memory_type=mmap",
        "lc_messages=C",
    ];
    let mut server = program("postgres");
    server.arg("-D").arg(folder.join("data")).args(["-p", &port.to_string()]).args(options);
    for setting in settings {
        server.args(["-c", setting]);
    }
    let mut process = Process::start(&mut server);
    process.logs("database system is ready to accept connections");
    process
}

/// Makes a certificate that signs itself, and the key that only the server may read.
fn certify(data: &Path) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    for (name, text) in [("server.crt", made.cert.pem()), ("server.key", made.signing_key.serialize_pem())] {
        let file = data.join(name);
        fs::write(&file, text).expect("the folder takes it");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");
        if geteuid().is_root() {
            chown(&file, Some(NOBODY), Some(NOBODY)).expect("root may");
        }
    }
}

/// One of PostgreSQL's programs, from the path or of Debian's newest version.
fn program(name: &str) -> Command {
    let versions = fs::read_dir(POSTGRES_IN).into_iter().flatten().filter_map(Result::ok);
    let newest = versions
        .filter_map(|version| Some((version.file_name().to_str()?.parse::<u32>().ok()?, version.path())))
        .max();
    let mut command = match newest {
        Some((_, folder)) => Command::new(folder.join("bin").join(name)),
        None => Command::new(name),
    };
    as_nobody(&mut command);
    command
}

fn as_nobody(command: &mut Command) -> &mut Command {
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    // Where we are may be closed to others.
    command.current_dir("/")
}
