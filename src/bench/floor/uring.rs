//! One write to many streams through `io_uring`, in batches.

use std::io;
use std::net::TcpStream;

#[cfg(target_os = "linux")]
pub(super) use linux::Ring;

#[cfg(target_os = "linux")]
mod linux {
    use std::io::Write;
    use std::os::fd::AsRawFd;

    use io_uring::{IoUring, opcode, types};

    use super::{TcpStream, io};

    /// How many sends one system call takes along.
    const BATCH: u32 = 256;

    /// A ring, which holds what it sends.
    pub(in super::super) struct Ring {
        ring: IoUring,
        bytes: Vec<u8>,
    }

    impl Ring {
        /// # Errors
        /// The kernel does not permit it, as in many containers.
        pub fn new() -> io::Result<Self> {
            Ok(Self { ring: IoUring::new(BATCH)?, bytes: Vec::new() })
        }

        /// Writes all of `bytes` to every stream, waiting for those that are full.
        ///
        /// # Errors
        /// A stream is gone.
        pub fn write(&mut self, streams: &[TcpStream], bytes: &[u8]) -> io::Result<()> {
            self.bytes.clear();
            self.bytes.extend_from_slice(bytes);
            streams.chunks(BATCH as usize).try_for_each(|batch| self.write_batch(batch))
        }

        fn write_batch(&mut self, batch: &[TcpStream]) -> io::Result<()> {
            let length = u32::try_from(self.bytes.len()).map_err(io::Error::other)?;
            for (place, stream) in batch.iter().enumerate() {
                let send = opcode::Send::new(types::Fd(stream.as_raw_fd()), self.bytes.as_ptr(), length)
                    .flags(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
                    .build()
                    .user_data(place as u64);
                // SAFETY: the bytes belong to this ring and are not touched before all sends of the batch are
                // complete, which the loop below waits for. A send that may not wait is complete once it is submitted,
                // so none is under way either if that loop is left with an error.
                unsafe { self.ring.submission().push(&send) }.map_err(io::Error::other)?;
            }
            let mut missing = batch.len();
            while missing > 0 {
                match self.ring.submit_and_wait(missing) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    outcome => drop(outcome?),
                }
                for done in self.ring.completion() {
                    missing -= 1;
                    let sent = match done.result() {
                        sent @ 0.. => sent.unsigned_abs() as usize,
                        error if error == -libc::EAGAIN => 0,
                        error => return Err(io::Error::from_raw_os_error(-error)),
                    };
                    let mut stream = &batch[done.user_data() as usize];
                    stream.write_all(&self.bytes[sent..])?;
                }
            }
            Ok(())
        }
    }
}

/// Where there is none.
#[cfg(not(target_os = "linux"))]
pub(super) struct Ring;

#[cfg(not(target_os = "linux"))]
impl Ring {
    pub fn new() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn write(&mut self, _streams: &[TcpStream], _bytes: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
