//! A connected, non-blocking stream of bytes, plain or under TLS, and how its listener is made.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, RawFd};

use mio::event::Source;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::Connection;
use socket2::{Domain, Protocol, Socket, Type};

use super::tls::Tls;

/// How many connections the kernel may hold ready for us.
pub const BACKLOG: i32 = 4096;

/// Opens a listener whose connections inherit a bounded kernel send buffer and send small frames at once.
///
/// Set on the listener, these options cost nothing per connection. An IPv6 wildcard address also takes IPv4. With
/// `reuses_port` other processes of the same user may listen there as well, if they say so, too; the kernel spreads who
/// comes over all of them.
///
/// # Errors
/// Whatever the kernel says, first of all that the address is in use.
pub fn listen(address: SocketAddr, send_buffer_bytes: usize, reuses_port: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    if reuses_port {
        socket.set_reuse_port(true)?;
    }
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(send_buffer_bytes)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Takes over a listener that somebody else has opened, and gives it the options of [`listen`].
///
/// # Errors
/// It is no TCP socket that listens, or the kernel refuses an option.
pub fn take_over(listener: TcpListener, send_buffer_bytes: usize) -> io::Result<TcpListener> {
    let socket = Socket::from(listener);
    let is_tcp = socket.r#type()? == Type::STREAM && socket.local_addr()?.as_socket().is_some();
    if !is_tcp || !socket.is_listener()? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it does not listen for TCP"));
    }
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(send_buffer_bytes)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// The bytes under a socket. Never blocks: what cannot be done now is [`io::ErrorKind::WouldBlock`].
#[derive(Debug)]
pub struct Stream {
    tcp: TcpStream,
    /// Without it the stream is plain.
    tls: Option<Box<Tls>>,
}

impl From<TcpStream> for Stream {
    fn from(tcp: TcpStream) -> Self {
        Self { tcp, tls: None }
    }
}

impl Stream {
    /// Takes over a connected stream.
    ///
    /// # Errors
    /// The kernel refused to make it non-blocking.
    pub fn new(stream: std::net::TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(TcpStream::from_std(stream).into())
    }

    /// The same stream, under TLS. What `connection` has decrypted so far is not read again: whoever made the handshake
    /// takes it out before.
    pub fn under(self, connection: Connection) -> Self {
        Self { tls: Some(Box::new(Tls::new(connection))), ..self }
    }

    /// What carries it, for its options.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Reads what has arrived. Zero means that the other side sends no more; less than there is room for, that nothing
    /// more is there, unless [`Stream::has_ended`].
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there; anything else ends the stream.
    pub fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => retry(|| self.tcp.read(into)),
            Some(tls) => tls.read(&mut self.tcp, into),
        }
    }

    /// Whether the other side said that it sends no more: then only reading on until zero tells that all was read, as the
    /// kernel may have nothing to report.
    pub fn has_ended(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.has_ended)
    }

    /// Writes as much as is taken: by the kernel, or, up to one record, by TLS on the way there. If it is less than all,
    /// the kernel will say when it takes more; so it does for what TLS keeps, which [`Stream::send_on`] then sends.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is taken; anything else ends the stream.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => retry(|| self.tcp.write(bytes)),
            Some(tls) => tls.write(&mut self.tcp, bytes),
        }
    }

    /// Writes as much of several pieces, in their order, as is taken.
    ///
    /// # Errors
    /// As [`Stream::write`].
    pub fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut self.tls {
            None => retry(|| self.tcp.write_vectored(pieces)),
            Some(tls) => tls.write_vectored(&mut self.tcp, pieces),
        }
    }

    /// Sends what TLS keeps, as far as the kernel takes it now.
    ///
    /// # Errors
    /// The stream is broken.
    pub fn send_on(&mut self) -> io::Result<()> {
        self.tls.as_mut().map_or(Ok(()), |tls| tls.send_on(&mut self.tcp).map(drop))
    }

    /// What the kernel knows a plain stream by, as long as it lives. One under TLS must not be written to past it.
    #[inline]
    pub fn descriptor(&self) -> Option<RawFd> {
        self.tls.is_none().then(|| self.tcp.as_raw_fd())
    }

    /// Tells the other side that nothing more comes; under TLS behind what is kept.
    pub fn finish(&mut self) {
        match &mut self.tls {
            // An error means that the other side is gone, which the next read says as well.
            None => drop(self.tcp.shutdown(Shutdown::Write)),
            Some(tls) => tls.finish(&mut self.tcp),
        }
    }

    /// Asks `registry` to report, once per change, that the stream can be read or written.
    ///
    /// # Errors
    /// Whatever the kernel says.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.tcp.register(registry, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Asks it to report nothing more.
    ///
    /// # Errors
    /// The stream is not registered there.
    pub fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.tcp.deregister(registry)
    }
}

/// A signal that interrupts a call is no event of the stream.
#[inline]
pub(super) fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_stream_pays_one_pointer_for_tls() {
        let pointer = size_of::<usize>();
        assert_eq!(size_of::<Option<Stream>>(), size_of::<TcpStream>().next_multiple_of(pointer) + pointer);
    }
}
