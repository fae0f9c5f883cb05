//! What a proxy says in front of everything else, by the PROXY protocol. From the proxies that are trusted it is demanded,
//! as what it says decides who the client is; from all others it is no request and no handshake.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::Door;
use super::connection::stop_asked;
use crate::net::proxy_protocol::{self as protocol, Told, Version};

impl Door {
    /// What the proxy at the other end tells until `deadline`, if it tells it as it should.
    pub(super) async fn introduced(
        &self,
        stream: &mut TcpStream,
        deadline: Instant,
        mut stopping: watch::Receiver<bool>,
    ) -> Option<Told> {
        let outcome = tokio::select! {
            outcome = timeout_at(deadline, read(stream)) => outcome,
            () = stop_asked(&mut stopping) => return None,
        };
        let reason = match outcome {
            Ok(Ok(told)) => return Some(told),
            // Who goes before it has said anything may have looked whether somebody listens.
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return None,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it takes too long".to_owned(),
        };
        self.hub.metrics.address_refusals.add("proxy_header", 1);
        tracing::debug!(reason, "a trusted proxy sends no header of the PROXY protocol");
        None
    }
}

/// Reads a header and not a byte more.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Told> {
    let mut start = [0; protocol::START_BYTES];
    stream.read_exact(&mut start).await?;
    let told = match protocol::version(&start)? {
        Version::Two => {
            let mut fixed = [0; protocol::FIXED_BYTES];
            stream.read_exact(&mut fixed).await?;
            let mut rest = vec![0; protocol::rest_bytes(fixed)?];
            stream.read_exact(&mut rest).await?;
            protocol::two(fixed, &rest)
        }
        Version::One => {
            let mut line = start.to_vec();
            while !line.ends_with(b"\n") && line.len() < protocol::LINE_BYTES_MAX {
                line.push(stream.read_u8().await?);
            }
            protocol::one(&line)
        }
    };
    Ok(told?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_follows_a_header_is_left_to_others() {
        let two = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\0\0\x01\x0a\0\0\x02\0\x07\0\x08";
        for header in [&two[..], b"PROXY TCP4 10.0.0.1 10.0.0.2 7 8\r\n"] {
            let bytes = [header, b"GET /"].concat();
            let mut left = &bytes[..];
            assert_eq!(read(&mut left).await.unwrap().client, Some("10.0.0.1:7".parse().unwrap()));
            assert_eq!(left, b"GET /");
        }
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_read_no_further() {
        let bytes = [&b"PROXY TCP4 "[..], &[b'1'; 300]].concat();
        let mut left = &bytes[..];
        assert_eq!(read(&mut left).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(left.len(), bytes.len() - protocol::LINE_BYTES_MAX);
    }
}
