//! Servers of others that nodes need, as processes of the test: on free ports, killed at its end.

use std::process::Command;

use gusher::config::BusKind;
use rustix::process::Signal;

use super::process::Process;

/// Where Debian puts servers, which is not in everybody's path.
const ALSO_IN: &str = "/usr/sbin";

/// A server that carries messages between nodes.
pub struct BusServer {
    kind: BusKind,
    process: Option<Process>,
    port: u16,
}

impl BusServer {
    /// Every kind that there is.
    pub const KINDS: [BusKind; 1] = [BusKind::Nats];

    /// Starts one.
    pub fn start(kind: BusKind) -> Self {
        let (process, port) = match kind {
            BusKind::Nats => nats("-1"),
        };
        Self { kind, process: Some(process), port }
    }

    /// Kills it.
    pub fn kill(&mut self) {
        let process = self.process.take().expect("it runs");
        process.signal(Signal::KILL);
        process.ended();
    }

    /// Starts it again where it was.
    pub fn restart(&mut self) {
        let (process, _) = match self.kind {
            BusKind::Nats => nats(&self.port.to_string()),
        };
        self.process = Some(process);
    }

    /// The settings of a node that is to use it.
    pub fn settings(&self) -> [(&'static str, String); 2] {
        let kind = match self.kind {
            BusKind::Nats => "nats",
        };
        [("bus.kind", kind.to_owned()), ("bus.url", format!("{kind}://127.0.0.1:{}", self.port))]
    }
}

/// Starts a NATS server, and says on which port it is.
fn nats(port: &str) -> (Process, u16) {
    let mut process = Process::start(server("nats-server").args(["-a", "127.0.0.1", "-p", port]));
    let line = process.logs("Listening for client connections on");
    let port = line.rsplit(':').next().and_then(|port| port.trim().parse().ok());
    (process, port.unwrap_or_else(|| panic!("no port in {line}")))
}

/// A server's program, to be given its arguments.
fn server(program: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command.env("PATH", format!("{path}:{ALSO_IN}"));
    command
}
