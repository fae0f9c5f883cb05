//! TLS over a stream that never blocks: rustls does the cryptography and no I/O, this carries its bytes.
//!
//! Always: what was encrypted goes out before anything else, in one order; no more of it waits here than one record has,
//! so who does not read is found as early as without TLS; and nobody is told that the stream is read out before the
//! kernel said so.

use std::fmt;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;

use mio::net::TcpStream;
use rustls::{Connection, Writer};

use super::stream::retry;

/// What may wait here for the kernel, in bytes of plaintext: one whole record. Whoever takes less at a time than that is
/// hardly there.
const WAITING_BYTES_MAX: usize = 16 * 1024;

/// One side of a TLS connection, during its handshake or after it.
pub(super) struct Tls {
    connection: Connection,
    /// The other side said that it sends no more.
    pub has_ended: bool,
    /// Our side of the stream ends as soon as all is out.
    is_finishing: bool,
}

impl fmt::Debug for Tls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    pub fn new(mut connection: Connection) -> Self {
        connection.set_buffer_limit(Some(WAITING_BYTES_MAX));
        Self { connection, has_ended: false, is_finishing: false }
    }

    /// Decrypts what has arrived, as much as there is room for. Less than that means that the kernel has no more, or that
    /// the other side has ended.
    pub fn read(&mut self, tcp: &mut TcpStream, into: &mut [u8]) -> io::Result<usize> {
        let (mut filled, mut is_drained) = (0, false);
        while filled < into.len() {
            match self.connection.reader().read(&mut into[filled..]) {
                Ok(0) => break,
                Ok(length) => filled += length,
                // The stream ended without a word; frames know themselves whether they are whole.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
                Err(error) if error.kind() == ErrorKind::WouldBlock && is_drained && filled > 0 => break,
                Err(error) if error.kind() == ErrorKind::WouldBlock => match self.decrypt(tcp) {
                    Ok(drained) => is_drained = drained,
                    Err(error) if error.kind() == ErrorKind::WouldBlock && filled > 0 => break,
                    Err(error) => return Err(error),
                },
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Takes what the kernel has, at most a few records, and answers what TLS itself is asked. Whether the kernel had no
    /// more than that.
    fn decrypt(&mut self, tcp: &mut TcpStream) -> io::Result<bool> {
        let mut source = Source { tcp, is_drained: false };
        self.connection.read_tls(&mut source)?;
        let is_drained = source.is_drained;
        match self.connection.process_new_packets() {
            Ok(state) => self.has_ended = state.peer_has_closed(),
            Err(error) => {
                // The other side is told by an alert, unless it does not even read that.
                let _ = self.send_on(tcp);
                return Err(io::Error::new(ErrorKind::InvalidData, error));
            }
        }
        self.send_on(tcp)?;
        Ok(is_drained)
    }

    /// Encrypts and sends what is taken; the rest of that is sent on later.
    pub fn write(&mut self, tcp: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
        self.send(tcp, bytes.len(), |writer, taken| writer.write(&bytes[taken..]))
    }

    /// The same of several pieces. What fits into one record becomes one.
    pub fn write_vectored(&mut self, tcp: &mut TcpStream, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let length = pieces.iter().map(|piece| piece.len()).sum();
        self.send(tcp, length, |writer, taken| writer.write_vectored(&behind(pieces, taken)))
    }

    /// `encrypt` hands over what comes behind so many bytes.
    fn send(
        &mut self,
        tcp: &mut TcpStream,
        length: usize,
        encrypt: impl Fn(&mut Writer<'_>, usize) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut taken = 0;
        while self.send_on(tcp)? && taken < length {
            match encrypt(&mut self.connection.writer(), taken)? {
                // The handshake is not over, and what it may keep until then is kept.
                0 => break,
                more => taken += more,
            }
        }
        if taken == 0 && length > 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    /// Sends what is encrypted, as far as the kernel takes it. Whether that was all.
    pub fn send_on(&mut self, tcp: &mut TcpStream) -> io::Result<bool> {
        while self.connection.wants_write() {
            match retry(|| self.connection.write_tls(tcp)) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        if std::mem::take(&mut self.is_finishing) {
            // An error means that the other side is gone, which the next read says as well.
            let _ = tcp.shutdown(Shutdown::Write);
        }
        Ok(true)
    }

    /// Says behind all that waits that nothing more comes, and ends our side when that is out.
    pub fn finish(&mut self, tcp: &mut TcpStream) {
        self.connection.send_close_notify();
        self.is_finishing = true;
        // A broken stream is found by the next read.
        let _ = self.send_on(tcp);
    }
}

/// The stream as rustls reads it.
struct Source<'s> {
    tcp: &'s mut TcpStream,
    /// The kernel had less than there was room for.
    is_drained: bool,
}

impl Read for Source<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = retry(|| self.tcp.read(into))?;
        self.is_drained = length < into.len();
        Ok(length)
    }
}

/// What of some pieces lies behind so many bytes.
fn behind<'p>(pieces: &[IoSlice<'p>], mut taken: usize) -> Vec<IoSlice<'p>> {
    let mut rest = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let mut piece = *piece;
        let skipped = taken.min(piece.len());
        piece.advance(skipped);
        taken -= skipped;
        if !piece.is_empty() {
            rest.push(piece);
        }
    }
    rest
}
