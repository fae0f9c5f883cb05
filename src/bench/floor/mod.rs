//! What the kernel alone costs: a process that does nothing but write equal frames into plain TCP streams, and the same
//! receivers as ever. No server can be cheaper than that with one write per delivery.
//!
//! The process is this program once more, so that its processor time can be told from the receivers'. It says its port
//! on stdout, then that everybody is there; a line on its stdin begins, and the end of its stdin ends it.

pub mod sender;

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::crowd::Crowd;
use super::delivery::{Delivered, Sender, deliver, receive};
use super::flow::{Pace, Published};
use super::process::{Servers, require_descriptors};
use super::receiver::{Conduct, Entry, Wish};
use super::target::{Dialect, Endpoint, Target, channel};
use super::{Fault, Outcome, clock};

/// How a frame leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// One `send()` per stream and message.
    Send,
    /// Batches of sends through `io_uring`.
    Uring,
    /// Ten messages in one write per stream.
    Ten,
}

impl Way {
    /// All of them.
    pub const ALL: [Way; 3] = [Way::Send, Way::Uring, Way::Ten];

    /// How many messages leave in one write.
    fn messages_per_write(self) -> u32 {
        if self == Way::Ten { 10 } else { 1 }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Way::Send => "send",
            Way::Uring => "uring",
            Way::Ten => "ten",
        })
    }
}

/// What is sent to whom.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many streams.
    pub sockets: usize,
    /// How many messages to each.
    pub messages: u32,
    /// How fast; unpaced is as fast as the receivers take it.
    pub pace: Pace,
    /// The length of the data of a message; around it goes what a server of Pusher's protocol puts around it.
    pub data_bytes: usize,
    /// How they leave.
    pub way: Way,
}

/// Measures one plan.
///
/// # Errors
/// A process or its streams cannot be made, or the kernel has no `io_uring` for us.
pub fn run(plan: &Plan, in_flight_max: usize) -> Outcome<Delivered> {
    require_descriptors(plan.sockets)?;
    let mut process = Process::start(plan)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, process.port()?));
    let nobody = Dialect::Pusher { app_id: String::new(), key: String::new(), secret: String::new() };
    let endpoint = Endpoint::plain(address);
    let target = Target { sockets: endpoint.clone(), calls: endpoint, dialect: nobody };
    let mut crowd = Crowd::new(&target, 1, in_flight_max)?;
    let entry = Entry::Subscribed(channel(0));
    let wish = Wish { group: 0, channel: 0, lanes: 1, entry, conduct: Conduct::Read };
    let arrivals = crowd.open(&mut std::iter::repeat_n(wish, plan.sockets), &mut |_| {})?;
    if arrivals.refused > 0 {
        return Err(Fault::because("cannot measure the floor", crowd.complaint().unwrap_or("refused")));
    }
    process.expect("ready")?;
    let servers = Servers::new(vec![process.child.id()])?;
    let messages = plan.messages;
    let sender: Sender<'_> = Box::new(|| process.send(messages));
    deliver(&mut crowd, &servers, vec![sender], std::slice::from_ref(&(0..1)), &mut receive)
}

struct Process {
    child: Child,
    /// Closed, it ends the process.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(plan: &Plan) -> Outcome<Self> {
        let failed = |error| Fault::because("cannot start a process that sends", error);
        let rate = match plan.pace {
            Pace::PerSecond(rate) => rate,
            Pace::Unpaced => 0.0,
        };
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command
            .args(["bench", "floor-sender"])
            .args(["--sockets", &plan.sockets.to_string()])
            .args(["--messages", &plan.messages.to_string()])
            .args(["--rate", &rate.to_string()])
            .args(["--data-bytes", &plan.data_bytes.to_string()])
            .args(["--way", &plan.way.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let output = output.ok_or_else(|| Fault("a process that sends has no stdout".to_owned()))?;
        Ok(Self { child, input, output: BufReader::new(output) })
    }

    fn port(&mut self) -> Outcome<u16> {
        let line = self.line()?;
        line.parse().map_err(|_| Fault(line))
    }

    fn expect(&mut self, word: &str) -> Outcome<()> {
        let line = self.line()?;
        if line == word { Ok(()) } else { Err(Fault(line)) }
    }

    /// What it says next: a word that is expected, or a sentence about what went wrong.
    fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        match self.output.read_line(&mut line) {
            Ok(0) => Err(Fault("the process that sends has ended".to_owned())),
            Ok(_) => Ok(line.trim_end().to_owned()),
            Err(error) => Err(Fault::because("cannot hear the process that sends", error)),
        }
    }

    fn send(&mut self, messages: u32) -> Outcome<Published> {
        let began_ns = clock::now_ns();
        let input = self.input.as_mut().ok_or_else(|| Fault("the process has no stdin".to_owned()))?;
        writeln!(input, "go")
            .map_err(|error| Fault::because("cannot reach the process that sends", error))?;
        self.expect("sent")?;
        let accepted = vec![messages.into()];
        Ok(Published { accepted, began_ns, ended_ns: clock::now_ns(), ..Published::default() })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.input.take());
        // It ends with its input; should it be stuck in a write, that has a limit of its own.
        let _ = self.child.wait();
    }
}
