//! A connection that does not wait for ever until its client takes what it is told.
//!
//! Always: as long as bytes leave, however few, the client has time; what is only read is not looked at.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::Door;

/// A stream whose client may take nothing for so long while something waits for it
/// ([`super::DoorSettings::stall_time_max`]). Then it is reset.
pub struct Patient {
    stream: TcpStream,
    door: Arc<Door>,
    /// While something waits, until when it may.
    waiting: Option<Pin<Box<Sleep>>>,
    is_over: bool,
    is_heard: bool,
}

impl Patient {
    pub fn new(stream: TcpStream, door: Arc<Door>) -> Self {
        Self { stream, door, waiting: None, is_over: false, is_heard: false }
    }

    /// Whether anything has come.
    pub fn is_heard(&self) -> bool {
        self.is_heard
    }

    /// The stream by itself.
    pub fn into_inner(self) -> TcpStream {
        self.stream
    }

    /// # Errors
    /// The time is over. What the kernel still holds for the client goes with the stream.
    fn bound(&mut self, written: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        if !self.is_over {
            let time_max = self.door.settings.stall_time_max;
            ready!(self.waiting.get_or_insert_with(|| Box::pin(sleep(time_max))).as_mut().poll(cx));
            self.is_over = true;
            self.door.hub.metrics.unread_answers.add(1);
            // If that fails, the kernel gives up by itself.
            let _ = self.stream.set_zero_linger();
        }
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.is_heard |= buffer.filled().len() > before;
        read
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.bound(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.bound(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Nothing waits in a TCP stream itself.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.is_over {
            // Nobody is there to hear of the end.
            true => Poll::Ready(Err(ErrorKind::TimedOut.into())),
            false => Pin::new(&mut self.stream).poll_shutdown(cx),
        }
    }
}
