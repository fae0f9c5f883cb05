//! A connected, non-blocking stream of bytes, and how its listener is made.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, RawFd};

use mio::event::Source;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

/// How many connections the kernel may hold ready for us.
pub const BACKLOG: i32 = 4096;

/// Opens a listener whose connections inherit a bounded kernel send buffer and send small frames at once.
///
/// Set on the listener, these options cost nothing per connection. An IPv6 wildcard address also takes IPv4.
///
/// # Errors
/// Whatever the kernel says, first of all that the address is in use.
pub fn listen(address: SocketAddr, send_buffer_bytes: usize) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(send_buffer_bytes)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The bytes under a socket. Never blocks: what cannot be done now is [`io::ErrorKind::WouldBlock`].
#[derive(Debug)]
pub struct Stream(mio::net::TcpStream);

impl Stream {
    /// Takes over a connected stream.
    ///
    /// # Errors
    /// The kernel refused to make it non-blocking.
    pub fn new(stream: std::net::TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self(mio::net::TcpStream::from_std(stream)))
    }

    /// Reads what has arrived. Zero means that the other side sends no more.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there; anything else ends the stream.
    pub fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        retry(|| self.0.read(into))
    }

    /// Writes as much as the kernel takes.
    ///
    /// # Errors
    /// `WouldBlock` when it takes nothing; anything else ends the stream.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        retry(|| self.0.write(bytes))
    }

    /// Writes as much of several pieces, in their order, as the kernel takes.
    ///
    /// # Errors
    /// As [`Stream::write`].
    pub fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        retry(|| self.0.write_vectored(pieces))
    }

    /// What the kernel knows it by, as long as it lives.
    pub fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Tells the other side that nothing more comes.
    pub fn finish(&self) {
        // An error means that the other side is gone, which the next read says as well.
        let _ = self.0.shutdown(Shutdown::Write);
    }

    /// Asks `registry` to report, once per change, that the stream can be read or written.
    ///
    /// # Errors
    /// Whatever the kernel says.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.0.register(registry, token, Interest::READABLE | Interest::WRITABLE)
    }
}

/// A signal that interrupts a call is no event of the stream.
fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
