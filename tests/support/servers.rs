//! Servers of others that nodes need, as processes of the test: on free ports, killed at its end.

use std::process::Command;

use rustix::process::Signal;

use super::process::Process;

/// Where Debian puts servers, which is not in everybody's path.
const ALSO_IN: &str = "/usr/sbin";

/// A NATS server.
pub struct Nats {
    process: Process,
    port: u16,
}

impl Nats {
    /// Starts one.
    pub fn start() -> Self {
        Self::on("-1")
    }

    /// Kills it, and returns what starts it again where it was.
    pub fn kill(self) -> impl FnOnce() -> Self {
        let port = self.port;
        self.process.signal(Signal::KILL);
        self.process.ended();
        move || Self::on(&port.to_string())
    }

    /// The settings of a node that is to use it.
    pub fn settings(&self) -> [(&'static str, String); 2] {
        [("bus.kind", "nats".to_owned()), ("bus.url", self.url())]
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    fn on(port: &str) -> Self {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("nats-server");
        command.args(["-a", "127.0.0.1", "-p", port]).env("PATH", format!("{path}:{ALSO_IN}"));
        let mut process = Process::start(&mut command);
        let line = process.logs("Listening for client connections on");
        let port = line.rsplit(':').next().and_then(|port| port.trim().parse().ok());
        Self { process, port: port.unwrap_or_else(|| panic!("no port in {line}")) }
    }
}
