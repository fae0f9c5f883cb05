//! The real program as its users run it: a process in a directory of its own, with an empty environment.
//!
//! What it writes is gathered by threads, so it is never held up by a full pipe. Every wait blocks the calling thread,
//! has the harness's time-out, and says on failure what was heard so far.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::connect_async;

use super::{Client, PATIENCE, SUPER, soon};

/// Options of `gusher start` that let the system choose the ports.
pub const FREE_PORTS: [&str; 4] = ["--listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0"];

/// What the log line holds that tells the addresses.
pub const LISTENING: &str = "msg=\"listening\"";

/// An empty directory to run programs in. It is removed at the end.
pub struct Directory(TempDir);

impl Directory {
    /// A new one.
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory for the test"))
    }

    /// Where a file of that name is, or would be.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The text of a file.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Writes a file.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    /// Writes a configuration with free ports, administered by [`SUPER`], and with `members` added or replaced.
    pub fn configure(&self, name: &str, members: &[(&str, Value)]) {
        let mut config = json!({
            "auth_account": SUPER.0,
            "auth_password": hash(SUPER.0, SUPER.1),
            "listen": "127.0.0.1:0",
            "api_listen": "127.0.0.1:0",
            "node": { "bcrypt_cost": 4 },
            // Lines are looked for, where no terminal is.
            "log": { "format": "text" },
        });
        members.iter().for_each(|(name, value)| config[*name] = value.clone());
        self.write(name, &config.to_string());
    }

    /// Our program with these arguments, to be started here.
    pub fn gusher(&self, words: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_gusher"), words);
        // There is no file to say it.
        if words.contains(&"--dev") {
            command.env("GUSHER_LOG_FORMAT", "text");
        }
        command
    }

    /// A line as somebody would type it, to be run here.
    pub fn shell(&self, line: &str) -> Command {
        self.command("sh", &["-c", line])
    }

    /// Starts our program with these arguments and waits until it listens.
    pub fn serve(&self, words: &[&str]) -> Serving {
        Serving::new(Process::start(&mut self.gusher(words)))
    }

    fn command(&self, program: &str, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(words).current_dir(self.0.path()).env_clear();
        // A shell has to find what it is told to run.
        command.envs(env::var_os("PATH").map(|path| ("PATH", path)));
        command
    }
}

/// What a configuration holds in place of a password; cheap to verify.
pub fn hash(account: &str, password: &str) -> String {
    bcrypt::hash(format!("{account}{password}"), 4).expect("a hash")
}

/// A command from its start to its end, without any input.
pub fn run(command: &mut Command) -> Outcome {
    Process::start(command).ended()
}

/// A command from its start to its end, fed with `input`.
pub fn run_with(command: &mut Command, input: &str) -> Outcome {
    let mut process = Process::spawn(command.stdin(Stdio::piped()));
    let mut stdin = process.child.stdin.take().expect("stdin is a pipe");
    stdin.write_all(input.as_bytes()).expect("it reads its input");
    drop(stdin);
    process.ended()
}

/// How a process ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit status; none when a signal killed it.
    pub code: Option<i32>,
    /// All it printed.
    pub stdout: String,
    /// All it logged or complained of.
    pub stderr: String,
}

/// A running process. It is killed when dropped.
pub struct Process {
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

impl Process {
    /// Starts a command without any input.
    pub fn start(command: &mut Command) -> Self {
        Self::spawn(command.stdin(Stdio::null()))
    }

    fn spawn(command: &mut Command) -> Self {
        let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = Lines::of(child.stdout.take().expect("stdout is a pipe"));
        let stderr = Lines::of(child.stderr.take().expect("stderr is a pipe"));
        Self { child, stdout, stderr }
    }

    /// Waits for the next line on stdout that contains `what`.
    pub fn prints(&mut self, what: &str) -> String {
        self.stdout.until(what)
    }

    /// Waits for the next line on stderr that contains `what`.
    pub fn logs(&mut self, what: &str) -> String {
        self.stderr.until(what)
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the process is there");
    }

    /// How much memory it occupies now, in bytes; as Linux tells it.
    pub fn resident_bytes(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("its status");
        let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix(" kB"));
        kibibytes.and_then(|number| number.trim().parse::<usize>().ok()).expect("a number") * 1024
    }

    /// Waits for the end.
    pub fn ended(mut self) -> Outcome {
        // Both pipes end with the process, and unlike it they can be waited for with a time-out.
        let (stdout, stderr) = (self.stdout.all(), self.stderr.all());
        let status = self.child.wait().expect("the process is ours");
        Outcome { code: status.code(), stdout, stderr }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that listens.
pub struct Serving {
    /// The process itself.
    pub process: Process,
    /// Where sockets connect.
    pub public: SocketAddr,
    /// Where backends call.
    pub private: SocketAddr,
}

impl Serving {
    /// Waits until `process` listens, and takes its addresses from what it says on stderr.
    pub fn new(mut process: Process) -> Self {
        let line = process.logs(LISTENING);
        Self::announced(process, &line)
    }

    /// A process that listens where this line of its log says.
    pub fn announced(process: Process, line: &str) -> Self {
        let address = |key: &str| {
            let value = line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
            value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {key} in {line}"))
        };
        Self { public: address("listen"), private: address("api_listen"), process }
    }

    /// One of our client commands, directed at this server and signed in as [`SUPER`].
    pub fn ask(&self, directory: &Directory, words: &[&str]) -> Command {
        let mut command = directory.gusher(words);
        command
            .env("GUSHER_API", format!("http://{}", self.private))
            .env("GUSHER_URL", format!("ws://{}", self.public))
            .env("GUSHER_PASSWORD", SUPER.1);
        command
    }

    /// Connects as a user of an app.
    pub async fn connect(&self, app: &str, tag: &str) -> Client {
        let url = format!("ws://{}/ws/{app}/{tag}", self.public);
        let (socket, _) = soon("the upgrade", connect_async(url)).await.expect("it is let in");
        Client { socket }
    }

    /// Asks the server to stop as a service supervisor does, and waits for its end.
    pub fn stop(self) -> Outcome {
        self.process.signal(Signal::TERM);
        self.process.ended()
    }
}

/// What a process has written to one of its streams, and what it is about to write.
struct Lines {
    heard: String,
    coming: Receiver<String>,
}

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Self {
        let (sender, coming) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
            }
        });
        Self { heard: String::new(), coming }
    }

    fn until(&mut self, what: &str) -> String {
        loop {
            match self.next() {
                Some(line) if line.contains(what) => return line,
                Some(_) => {}
                None => panic!("it ended without {what:?}, after:\n{}", self.heard),
            }
        }
    }

    fn all(&mut self) -> String {
        while self.next().is_some() {}
        std::mem::take(&mut self.heard)
    }

    fn next(&mut self) -> Option<String> {
        match self.coming.recv_timeout(PATIENCE) {
            Ok(line) => {
                self.heard.push_str(&line);
                self.heard.push('\n');
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("silent for {PATIENCE:?}, after:\n{}", self.heard),
        }
    }
}
