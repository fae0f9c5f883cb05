//! What a service manager such as systemd hears of the program, and hands over to it.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::Signal;
use serde_json::json;
use support::process::{Directory, Process, Serving, run};

/// The address of a port that was free a moment ago.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

#[test]
fn two_processes_overlap_on_one_port_and_no_connect_is_refused() {
    let directory = Directory::new();
    let (public, private) = (free_address(), free_address());
    let members = |reuse_port: bool| {
        [
            ("listen", json!(public.to_string())),
            ("api_listen", json!(private.to_string())),
            ("sqlfile", json!(":memory:")),
            ("node", json!({ "bcrypt_cost": 4, "reuse_port": reuse_port })),
        ]
    };
    directory.configure("config.json", &members(true));
    directory.configure("alone.json", &members(false));
    let former = directory.serve(&["start"]);
    // Both have to agree to it.
    let outcome = run(&mut directory.gusher(&["start", "--config", "alone.json"]));
    assert!(outcome.code == Some(1) && outcome.stderr.contains("the port is in use"), "{outcome:?}");
    let is_over = Arc::new(AtomicBool::new(false));
    let watcher = {
        let is_over = Arc::clone(&is_over);
        thread::spawn(move || {
            let mut connects = 0;
            while !is_over.load(Ordering::Relaxed) {
                let stream = TcpStream::connect(public);
                assert!(stream.is_ok(), "connect {connects}: {stream:?}");
                connects += 1;
                #[allow(
                    clippy::disallowed_methods,
                    reason = "each port of ours rests for a minute, and there are not endlessly many"
                )]
                thread::sleep(Duration::from_millis(1));
            }
            connects
        })
    };
    let later = directory.serve(&["start"]);
    assert_eq!(former.stop().code, Some(0));
    let mut answer = String::new();
    let mut stream = TcpStream::connect(public).expect("the later one listens");
    stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").expect("the stream takes it");
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.ends_with("ready"), "{answer}");
    is_over.store(true, Ordering::Relaxed);
    assert!(watcher.join().expect("no connect is refused") > 0);
    assert_eq!(later.stop().code, Some(0));
}

/// The manager's ear.
struct Ear(UnixDatagram);

impl Ear {
    fn new(directory: &Directory) -> Self {
        let ear = UnixDatagram::bind(directory.path("notify")).expect("a socket");
        ear.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
        Self(ear)
    }

    /// The next message.
    fn hears(&self) -> String {
        let mut message = [0; 1024];
        let length = self.0.recv(&mut message).expect("a message within ten seconds");
        String::from_utf8_lossy(&message[..length]).into_owned()
    }
}

/// `gusher start` with these descriptors as its third and following ones, under these names.
fn start_on(directory: &Directory, names: &str, sockets: &[OwnedFd]) -> Command {
    let mut redirects = String::new();
    for (number, socket) in (3..).zip(sockets) {
        fcntl_setfd(socket, FdFlags::empty()).expect("it may be inherited");
        redirects += &format!(" {number}<&{}", socket.as_raw_fd());
    }
    // bash, as sh need not know descriptors of two digits; the number of the process stays the same.
    let gusher = env!("CARGO_BIN_EXE_gusher");
    let line = format!("exec bash -c 'exec{redirects}; LISTEN_PID=$$ exec \"{gusher}\" start'");
    let mut command = directory.shell(&line);
    command.env("LISTEN_FDS", sockets.len().to_string()).env("LISTEN_FDNAMES", names);
    command
}

/// A listener far from the numbers that the program is to find its sockets under.
fn far(listener: impl Into<OwnedFd>) -> OwnedFd {
    rustix::io::fcntl_dupfd_cloexec(listener.into(), 20).expect("a descriptor")
}

#[test]
fn the_manager_is_told_of_start_reload_and_stop() {
    let directory = Directory::new();
    let ear = Ear::new(&directory);
    directory.configure("config.json", &[("sqlfile", json!(":memory:"))]);
    let mut command = directory.gusher(&["start"]);
    command.env("NOTIFY_SOCKET", directory.path("notify"));
    let server = Serving::new(Process::start(&mut command));
    assert_eq!(ear.hears(), "READY=1\n");
    assert!(TcpStream::connect(server.public).is_ok());
    for text in [None, Some("{")] {
        // One that succeeds, and one that does not.
        text.into_iter().for_each(|text| directory.write("config.json", text));
        server.process.signal(Signal::HUP);
        let reloading = ear.hears();
        let since =
            reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").map(|time| time.trim().parse::<u64>());
        assert!(matches!(since, Some(Ok(1..))), "{reloading}");
        assert_eq!(ear.hears(), "READY=1\n");
    }
    server.process.signal(Signal::TERM);
    assert_eq!(ear.hears(), "STOPPING=1\n");
    assert_eq!(server.process.ended().code, Some(0));
}

#[test]
fn a_start_that_waits_for_others_can_be_stopped() {
    let directory = Directory::new();
    let bus = json!({ "kind": "nats", "url": "nats://127.0.0.1:1", "join_seconds_max": 300 });
    directory.configure("config.json", &[("bus", bus)]);
    for signal in [Signal::TERM, Signal::INT] {
        let mut process = Process::start(&mut directory.gusher(&["start"]));
        process.logs("there is no NATS to use");
        process.signal(signal);
        let outcome = process.ended();
        assert!(
            outcome.code == Some(0) && outcome.stderr.contains("stopped before it listened"),
            "{outcome:?}"
        );
    }
}

#[test]
fn a_manager_that_is_not_there_holds_up_nothing() {
    let directory = Directory::new();
    directory.configure("config.json", &[("sqlfile", json!(":memory:"))]);
    let mut command = directory.gusher(&["start"]);
    command.env("NOTIFY_SOCKET", directory.path("nobody"));
    let mut server = Serving::new(Process::start(&mut command));
    server.process.logs("the service manager cannot be told how it goes");
    assert_eq!(server.stop().code, Some(0));
}

#[tokio::test]
async fn listeners_that_are_handed_over_are_served_and_outlive_the_process() {
    let directory = Directory::new();
    directory.configure("config.json", &[("sqlfile", json!(":memory:"))]);
    let [public, private] = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").expect("a listener"));
    let addresses = [&public, &private].map(|listener| listener.local_addr().expect("an address"));
    let sockets = [far(private), far(public)];
    for _ in 0..2 {
        // Nobody serves it yet, and all the same it is answered in the end.
        let waiting = reqwest::get(format!("http://{}/healthz", addresses[0]));
        let waiting = tokio::spawn(waiting);
        let mut command = start_on(&directory, "private:public", &sockets);
        let server = tokio::task::spawn_blocking(move || Serving::new(Process::start(&mut command)));
        let server = server.await.expect("it starts");
        assert_eq!([server.public, server.private], addresses);
        let answer = waiting.await.expect("no panic").expect("an answer");
        assert_eq!(answer.text().await.expect("a body"), "ok");
        let stopped = tokio::task::spawn_blocking(move || server.stop()).await.expect("it stops");
        assert_eq!(stopped.code, Some(0), "{stopped:?}");
        // Between two processes nobody is refused.
        assert!(TcpStream::connect(addresses[0]).is_ok());
    }
}

#[test]
fn one_listener_may_be_handed_over_and_the_other_bound() {
    let directory = Directory::new();
    directory.configure("config.json", &[("sqlfile", json!(":memory:"))]);
    let public = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = public.local_addr().expect("an address");
    let server = Serving::new(Process::start(&mut start_on(&directory, "public", &[far(public)])));
    assert_eq!(server.public, address);
    assert!(server.private != address && TcpStream::connect(server.private).is_ok());
    assert_eq!(server.stop().code, Some(0));
}

#[test]
fn what_cannot_be_served_stops_the_start_with_one_line() {
    let directory = Directory::new();
    directory.configure("config.json", &[("sqlfile", json!(":memory:"))]);
    let listener = || far(TcpListener::bind("127.0.0.1:0").expect("a listener"));
    let connected = || {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        far(TcpStream::connect(listener.local_addr().expect("an address")).expect("a stream"))
    };
    let local = far(UnixListener::bind(directory.path("unix")).expect("a listener"));
    for (names, sockets, reason) in [
        ("gusher.socket", vec![listener()], "a socket is called `gusher.socket`: call it public or private"),
        ("public:public", vec![listener(), listener()], "two sockets are called public"),
        ("public", vec![connected()], "the socket called public that was handed over: it does not listen"),
        ("private", vec![local], "the socket called private that was handed over: it does not listen"),
        ("public", vec![listener(), listener()], "LISTEN_FDNAMES"),
    ] {
        let outcome = run(&mut start_on(&directory, names, &sockets));
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        let line = outcome.stderr.lines().last().unwrap_or_default();
        assert!(line.contains(reason), "{line}");
    }
}

#[test]
fn what_was_handed_to_another_process_is_left_alone() {
    let directory = Directory::new();
    directory.configure("config.json", &[("sqlfile", json!(":memory:"))]);
    let mut command = directory.gusher(&["start"]);
    command.envs([("LISTEN_PID", "1"), ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "public:private")]);
    let server = Serving::new(Process::start(&mut command));
    assert!(TcpStream::connect(server.public).is_ok());
    assert_eq!(server.stop().code, Some(0));
}
