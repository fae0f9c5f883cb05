//! Servers of others that nodes need, as processes of the test: on free ports, killed at its end.

use std::net::TcpListener;
use std::process::Command;

use gusher::config::BusKind;
use rustix::process::Signal;

use super::process::{Directory, Process};

/// Where Debian puts servers, which is not in everybody's path.
const ALSO_IN: &str = "/usr/sbin";

/// A server that carries messages between nodes.
pub struct BusServer {
    kind: BusKind,
    /// Where it listens.
    pub port: u16,
    arguments: Vec<String>,
    has_tls: bool,
    directory: Directory,
    process: Option<Process>,
}

impl BusServer {
    /// Every kind that there is.
    pub const KINDS: [BusKind; 2] = [BusKind::Nats, BusKind::Redis];

    /// Starts one.
    pub fn start(kind: BusKind) -> Self {
        Self::with(kind, &[])
    }

    /// Starts one with these arguments besides.
    pub fn with(kind: BusKind, arguments: &[&str]) -> Self {
        Self::new(kind, false, arguments)
    }

    /// Starts one that speaks TLS alone, and proves itself by a certificate and a key in PEM.
    pub fn with_tls(kind: BusKind, certificate: &str, key: &str) -> Self {
        Self::new(
            kind,
            true,
            &match kind {
                BusKind::Nats => ["--tls", "--tlscert", certificate, "--tlskey", key].to_vec(),
                BusKind::Redis => {
                    let files = ["--tls-cert-file", certificate, "--tls-key-file", key];
                    // It wants to know whom to trust also if it asks nobody for a certificate.
                    [&files[..], &["--tls-ca-cert-file", certificate, "--tls-auth-clients", "no"]].concat()
                }
            },
        )
    }

    fn new(kind: BusKind, has_tls: bool, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let (port, directory) = (free_port(), Directory::new());
        let mut server = Self { kind, port, arguments, has_tls, directory, process: None };
        server.restart();
        server
    }

    /// Kills it.
    pub fn kill(&mut self) {
        let process = self.process.take().expect("it runs");
        process.signal(Signal::KILL);
        process.ended();
    }

    /// Starts it again where it was.
    pub fn restart(&mut self) {
        let port = self.port.to_string();
        let mut process = match self.kind {
            BusKind::Nats => self.run("nats-server", &["-a", "127.0.0.1", "-p", &port]),
            BusKind::Redis => {
                let listen: &[_] = if self.has_tls { &["--port", "0", "--tls-port"] } else { &["--port"] };
                let keep_nothing = ["--save", "", "--appendonly", "no"];
                let arguments = [listen, &[&port, "--bind", "127.0.0.1"], &keep_nothing].concat();
                self.run("redis-server", &arguments)
            }
        };
        // Each says so where it says everything.
        match self.kind {
            BusKind::Nats => process.logs("Server is ready"),
            BusKind::Redis => process.prints("Ready to accept connections"),
        };
        self.process = Some(process);
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Process {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(program);
        command.env("PATH", format!("{path}:{ALSO_IN}")).current_dir(self.directory.path("."));
        Process::start(command.args(arguments).args(&self.arguments))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("it runs").signal(signal);
    }

    /// The settings of a node that is to use it.
    pub fn settings(&self) -> [(&'static str, String); 2] {
        let kind = match self.kind {
            BusKind::Nats => "nats",
            BusKind::Redis => "redis",
        };
        [("bus.kind", kind.to_owned()), ("bus.url", self.url())]
    }

    /// Where it is.
    pub fn url(&self) -> String {
        let scheme = match (self.kind, self.has_tls) {
            (BusKind::Nats, false) => "nats",
            (BusKind::Nats, true) => "tls",
            (BusKind::Redis, false) => "redis",
            (BusKind::Redis, true) => "rediss",
        };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }
}

/// Sentinels watch over servers of Redis; this is one.
pub struct Sentinel {
    /// Where it listens.
    pub port: u16,
    _directory: Directory,
    _process: Process,
}

impl Sentinel {
    /// Starts one that watches over the server on this port, and calls it `the-master`.
    pub fn start(master: u16) -> Self {
        let (port, directory) = (free_port(), Directory::new());
        let lines = [
            format!("port {port}"),
            "bind 127.0.0.1".to_owned(),
            format!("sentinel monitor the-master 127.0.0.1 {master} 1"),
            "sentinel down-after-milliseconds the-master 300".to_owned(),
            "sentinel failover-timeout the-master 2000".to_owned(),
        ];
        // It writes into this file what it finds out.
        directory.write("sentinel.conf", &lines.join("\n"));
        let mut command = Command::new("redis-server");
        command.current_dir(directory.path("."));
        let mut process = Process::start(command.args(["sentinel.conf", "--sentinel"]));
        process.prints("+monitor");
        Self { port, _directory: directory, _process: process }
    }
}

/// A port that nobody listens on. It is below those that the system gives out by itself, so a server that is killed finds
/// it free when it is started again.
pub fn free_port() -> u16 {
    loop {
        let mut random = [0; 2];
        getrandom::fill(&mut random).expect("the system has randomness");
        let port = 10_000 + u16::from_ne_bytes(random) % 20_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
