//! Sends on many streams in one system call, through `io_uring` where the kernel permits it.
//!
//! Always: when a call returns, nothing of it is under way any more, so what was to be sent may be freed; and a ring that
//! failed once is never asked again.

use std::io;
use std::os::fd::RawFd;

#[cfg(target_os = "linux")]
use io_uring::{IoUring, Probe, opcode, types};

/// A ring, made for one thread at a time.
pub struct Ring {
    #[cfg(target_os = "linux")]
    ring: Option<Box<IoUring>>,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Ring").finish_non_exhaustive()
    }
}

#[cfg(target_os = "linux")]
impl Ring {
    /// A ring for up to `sends_max` sends at once.
    ///
    /// # Errors
    /// The kernel does not permit it, as in many containers, or is too old to send this way.
    pub fn new(sends_max: u32) -> io::Result<Self> {
        let ring = IoUring::new(sends_max)?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        if !probe.is_supported(opcode::Send::CODE) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Self { ring: Some(Box::new(ring)) })
    }

    /// Writes to each stream as much as the kernel takes at once. `done` is told, in any order, the place of a send in
    /// `sends` and how many bytes were taken, or what a `send()` would have said. A send of which it is told nothing was
    /// not made: there were too many, or the ring has failed.
    ///
    /// # Errors
    /// The ring has failed, now or before.
    pub fn send<'a>(
        &mut self,
        sends: impl Iterator<Item = (RawFd, &'a [u8])>,
        mut done: impl FnMut(usize, io::Result<usize>),
    ) -> io::Result<()> {
        let ring = self.ring.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let mut under_way = 0;
        for (place, (stream, bytes)) in sends.enumerate() {
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let send = opcode::Send::new(types::Fd(stream), bytes.as_ptr(), length)
                .flags(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
                .build()
                .user_data(place as u64);
            // SAFETY: the bytes are borrowed until this call returns, and by then the kernel reads none of them: each
            // send that was submitted is complete, since the loop below waits for it, and those that were not never will
            // be, since a ring that fails is closed.
            if unsafe { ring.submission().push(&send) }.is_err() {
                break;
            }
            under_way += 1;
        }
        let mut outcome = Ok(());
        while under_way > 0 && outcome.is_ok() {
            match ring.submit_and_wait(under_way) {
                Err(error) if !is_passing(&error) => outcome = Err(error),
                _ => {}
            }
            for completion in ring.completion() {
                under_way -= 1;
                let result = completion.result();
                let written = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
                done(completion.user_data() as usize, written);
            }
        }
        if outcome.is_err() {
            self.ring = None;
        }
        outcome
    }
}

/// Whether it may go on as soon as what is complete is taken.
#[cfg(target_os = "linux")]
fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY))
}

#[cfg(not(target_os = "linux"))]
impl Ring {
    /// There is none.
    ///
    /// # Errors
    /// Always.
    pub fn new(_sends_max: u32) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// There is none.
    ///
    /// # Errors
    /// Always.
    pub fn send<'a>(
        &mut self,
        _sends: impl Iterator<Item = (RawFd, &'a [u8])>,
        _done: impl FnMut(usize, io::Result<usize>),
    ) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Sends these bytes to those streams; what became of each.
    fn send(ring: &mut Ring, streams: &[&UnixStream], bytes: &[u8]) -> Vec<Option<io::Result<usize>>> {
        let mut results: Vec<_> = streams.iter().map(|_| None).collect();
        let sends = streams.iter().map(|stream| (stream.as_raw_fd(), bytes));
        ring.send(sends, |place, written| results[place] = Some(written)).unwrap();
        results
    }

    fn written(result: &Option<io::Result<usize>>) -> usize {
        *result.as_ref().expect("it was made").as_ref().expect("it was taken")
    }

    #[test]
    fn each_stream_takes_what_it_can() {
        let Ok(mut ring) = Ring::new(4) else { return eprintln!("skipped: the kernel permits no io_uring") };
        let ((healthy, mut reader), (full, _unread), (gone, closed)) =
            (UnixStream::pair().unwrap(), UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        drop(closed);
        let much = vec![7; 8 << 20];
        let taken = written(&send(&mut ring, &[&full], &much)[0]);
        assert!((1..much.len()).contains(&taken), "a part: {taken}");
        let results = send(&mut ring, &[&healthy, &full, &gone], b"hello");
        assert_eq!(written(&results[0]), 5);
        let kind = |result: &Option<io::Result<usize>>| result.as_ref().unwrap().as_ref().unwrap_err().kind();
        assert_eq!(kind(&results[1]), io::ErrorKind::WouldBlock);
        assert_eq!(kind(&results[2]), io::ErrorKind::BrokenPipe);
        let mut heard = [0; 5];
        reader.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"hello");
    }

    #[test]
    fn of_too_many_the_rest_is_not_made() {
        let Ok(mut ring) = Ring::new(2) else { return eprintln!("skipped: the kernel permits no io_uring") };
        let (stream, _reader) = UnixStream::pair().unwrap();
        let results = send(&mut ring, &[&stream; 3], b"x");
        assert!(results[0].is_some() && results[1].is_some() && results[2].is_none());
        assert_eq!(written(&send(&mut ring, &[&stream], b"x")[0]), 1);
    }
}
