//! The other process of the floor: accepts streams, and writes frames into them.
//!
//! Before that it has with each the conversation that a server has, whatever is said: the kernel acknowledges what it
//! receives at other times, and on another's account, where both sides have spoken.

use std::io::{BufRead, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use socket2::SockRef;

use super::{Plan, Way};
use crate::bench::clock::{now_ns, sleep_until};
use crate::bench::flow::Pace;
use crate::bench::process::require_descriptors;
use crate::bench::stamp::Stamp;
use crate::bench::target::{channel, delivery};
use crate::bench::{Fault, Outcome, PATIENCE};
use crate::net::ring::Ring;
use crate::net::stream;
use crate::net::websocket::text;

/// How many sends one system call takes along.
const BATCH: u32 = 256;

/// As Gusher's own by default.
const SEND_BUFFER_BYTES: usize = 65_536;

/// Is the other process. What goes wrong is told on `output`, where it is awaited.
///
/// # Errors
/// `output` is closed: nobody awaits anything.
pub fn serve(plan: &Plan, input: &mut dyn BufRead, output: &mut dyn Write) -> Outcome<()> {
    match carry_out(plan, input, output) {
        Ok(()) => Ok(()),
        Err(fault) => tell(output, &fault.0),
    }
}

fn carry_out(plan: &Plan, input: &mut dyn BufRead, output: &mut dyn Write) -> Outcome<()> {
    require_descriptors(plan.sockets)?;
    let mut outlet = Outlet::new(plan.way)?;
    let listener = listen().map_err(|error| Fault::because("cannot listen", error))?;
    let port = listener.local_addr().map_err(|error| Fault::because("cannot listen", error))?.port();
    tell(output, &port.to_string())?;
    let streams: Vec<TcpStream> = (0..plan.sockets)
        .map(|_| {
            let (stream, _) = listener.accept()?;
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            converse(&stream)?;
            Ok(stream)
        })
        .collect::<std::io::Result<_>>()
        .map_err(|error| Fault::because("cannot accept a stream", error))?;
    tell(output, "ready")?;
    let mut line = String::new();
    if heard(input.read_line(&mut line))? == 0 {
        return Ok(());
    }
    send(plan, &mut outlet, &streams)?;
    tell(output, "sent")?;
    // The streams stay open until everybody has read.
    heard(input.read_line(&mut line)).map(|_| ())
}

/// Lets somebody connect and subscribe: two questions, each small enough to come at once, and their answers.
fn converse(mut stream: &TcpStream) -> std::io::Result<()> {
    let mut question = [0; 4096];
    let greeting = text(br#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.1\"}"}"#);
    let subscribed = text(br#"{"event":"pusher_internal:subscription_succeeded","data":"{}"}"#);
    for answer in
        [[&b"HTTP/1.1 101 Switching Protocols\r\n\r\n"[..], &greeting].concat(), subscribed.to_vec()]
    {
        if stream.read(&mut question)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        stream.write_all(&answer)?;
    }
    Ok(())
}

fn listen() -> std::io::Result<TcpListener> {
    let listener = stream::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), SEND_BUFFER_BYTES, false)?;
    listener.set_nonblocking(false)?;
    SockRef::from(&listener).set_read_timeout(Some(PATIENCE))?;
    Ok(listener)
}

fn tell(output: &mut dyn Write, line: &str) -> Outcome<()> {
    let told = writeln!(output, "{line}").and_then(|()| output.flush());
    told.map_err(|error| Fault::because("nobody listens", error))
}

fn heard(length: std::io::Result<usize>) -> Outcome<usize> {
    length.map_err(|error| Fault::because("cannot hear", error))
}

fn send(plan: &Plan, outlet: &mut Outlet, streams: &[TcpStream]) -> Outcome<()> {
    let (began_ns, name) = (now_ns(), channel(0));
    let step = plan.way.messages_per_write();
    for first in (0..plan.messages).step_by(step as usize) {
        if let Pace::PerSecond(rate) = plan.pace {
            sleep_until(began_ns + (f64::from(first) * 1e9 / rate) as u64);
        }
        let sent_ns = now_ns();
        let frame = |number| {
            let data = Stamp { sent_ns, lane: 0, number }.data(plan.data_bytes);
            text(delivery(&name, &data).as_bytes())
        };
        let frames: Vec<_> = (first..plan.messages.min(first + step)).map(frame).collect();
        outlet.write(streams, &frames.concat()).map_err(|error| Fault::because("cannot send", error))?;
    }
    Ok(())
}

enum Outlet {
    Plain,
    Ring(Ring),
}

impl Outlet {
    fn new(way: Way) -> Outcome<Self> {
        match way {
            Way::Send | Way::Ten => Ok(Outlet::Plain),
            Way::Uring => {
                let ring = Ring::new(BATCH);
                ring.map(Outlet::Ring).map_err(|error| Fault::because("there is no io_uring for us", error))
            }
        }
    }

    fn write(&mut self, streams: &[TcpStream], bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Outlet::Plain => streams.iter().try_for_each(|mut stream| stream.write_all(bytes)),
            Outlet::Ring(ring) => {
                streams.chunks(BATCH as usize).try_for_each(|batch| write_batch(ring, batch, bytes))
            }
        }
    }
}

/// Writes all of `bytes` to every stream, waiting for those that are full.
fn write_batch(ring: &mut Ring, batch: &[TcpStream], bytes: &[u8]) -> std::io::Result<()> {
    let mut rests = vec![bytes; batch.len()];
    let mut failed = Ok(());
    let sends = batch.iter().map(|stream| (stream.as_raw_fd(), bytes));
    ring.send(sends, |place, written| match written {
        Ok(length) => rests[place] = &bytes[length..],
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(error) => failed = Err(error),
    })?;
    failed?;
    batch.iter().zip(rests).try_for_each(|(mut stream, rest)| stream.write_all(rest))
}
