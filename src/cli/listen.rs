//! `gusher listen`: one socket of one user; what it receives goes to stdout, what happens to it to stderr.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt;
use tokio::net::TcpStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};
use url::Url;

use super::address::{self, ServerSettings};
use super::trust::TrustArgs;
use super::{Failure, api, block_on, one_line, print_line, tell};

/// A connect may wait 5 s for its turn at the app's hook and 5 s for the hook's answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long to try to part politely.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connected socket.
pub(super) type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What `gusher listen` is told. No `Debug`: it holds a token.
#[derive(Args)]
pub struct ListenArgs {
    /// Key of the app, or a URL to which the tag is appended, such as ws://127.0.0.1:8001/ws/demo
    #[arg(value_name = "URL-or-APP")]
    target: String,
    /// Tag of the user to receive as
    tag: String,
    /// Token that the app's connect hook will be asked about
    #[arg(long, env = "GUSHER_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// End after this many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Base of the public listener, when the first argument is an app [default: ws://127.0.0.1:8001]
    #[arg(long, env = "GUSHER_URL", value_name = "URL")]
    url: Option<String>,
    /// Server configuration to take the address from [default: ./config.json, if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
}

/// Connects and prints messages until interrupted, until `--count` is reached, or until the server ends it.
///
/// # Errors
/// `Usage` and `Configuration` for an address that is none; `Runtime` when the server cannot be reached, refuses or
/// closes.
pub fn run(args: &ListenArgs) -> Result<(), Failure> {
    let url = socket_url(args)?;
    let connector = args.trust.client()?.map(Connector::Rustls);
    block_on(async {
        let mut stream = connect(&url, connector).await?;
        // Before it says that it listens: whoever reads that may interrupt it at once.
        let interrupt = signal(SignalKind::interrupt())?;
        tell(&format!("listening as {} on {}", one_line(&args.tag), address::shown(&url)));
        let ending = receive(&mut stream, args.count, interrupt).await;
        // Answers the server's close, or says ours. Whether it arrives changes nothing any more.
        let _ = timeout(CLOSE_TIMEOUT, stream.close(None)).await;
        ending
    })
}

fn socket_url(args: &ListenArgs) -> Result<Url, Failure> {
    let mut url = if args.target.contains("://") {
        let base = address::socket_base(&args.target).map_err(Failure::Usage)?;
        address::append(base, &[&args.tag])?
    } else {
        let base = ServerSettings::find(args.config.as_deref())?.public_url(args.url.as_deref())?;
        address::append(base, &["ws", &args.target, &args.tag])?
    };
    if let Some(token) = &args.token {
        url.query_pairs_mut().append_pair("token", token);
    }
    Ok(url)
}

/// Connects. Without a connector, TLS trusts the roots of the web.
///
/// # Errors
/// `Runtime` when the server cannot be reached, or refuses.
pub(super) async fn connect(url: &Url, connector: Option<Connector>) -> Result<Stream, Failure> {
    let connected = connect_async_tls_with_config(url.as_str(), None, false, connector);
    match timeout(CONNECT_TIMEOUT, connected).await {
        Ok(Ok((stream, _response))) => Ok(stream),
        Ok(Err(error)) => Err(not_connected(url, error)),
        Err(_) => {
            let text =
                format!("{} did not answer within {} s", address::shown(url), CONNECT_TIMEOUT.as_secs());
            Err(Failure::Runtime(text))
        }
    }
}

fn not_connected(url: &Url, error: Error) -> Failure {
    match error {
        Error::Http(response) => {
            let body = response.body().as_deref().unwrap_or_default();
            api::refusal(response.status(), &String::from_utf8_lossy(body))
        }
        Error::Io(error) => {
            let reason = api::explain_tls(error.to_string());
            Failure::Runtime(format!("cannot reach {}: {reason}", address::shown(url)))
        }
        other => {
            let reason = api::explain_tls(other.to_string());
            Failure::Runtime(format!("cannot connect to {}: {reason}", address::shown(url)))
        }
    }
}

async fn receive(stream: &mut Stream, count: Option<u64>, mut interrupt: Signal) -> Result<(), Failure> {
    let mut received = 0;
    while count != Some(received) {
        let Some(text) = next(stream, &mut interrupt).await? else { return Ok(()) };
        print_line(&text)?;
        received += 1;
    }
    Ok(())
}

/// The next message, none once it is interrupted. Reading also answers the server's pings: the stream does that by itself,
/// but only while it is being read.
///
/// # Errors
/// `Runtime` when the server closes or the connection is lost.
pub(super) async fn next(stream: &mut Stream, interrupt: &mut Signal) -> Result<Option<String>, Failure> {
    loop {
        let message = tokio::select! {
            message = stream.next() => message,
            _ = interrupt.recv() => return Ok(None),
        };
        match message {
            Some(Ok(Message::Text(text))) => return Ok(Some(text.to_string())),
            Some(Ok(Message::Binary(bytes))) => {
                return Ok(Some(String::from_utf8_lossy(&bytes).into_owned()));
            }
            Some(Ok(Message::Close(frame))) => return Err(closed(frame.as_ref())),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(Failure::Runtime(format!("connection lost: {error}"))),
            None => return Err(closed(None)),
        }
    }
}

fn closed(frame: Option<&CloseFrame>) -> Failure {
    let why = frame.map(|frame| format!(": {} {}", u16::from(frame.code), one_line(&frame.reason)));
    Failure::Runtime(format!("closed by the server{}", why.as_deref().unwrap_or_default().trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        listen: ListenArgs,
    }

    fn parse(words: &[&str]) -> Result<ListenArgs, clap::Error> {
        Line::try_parse_from([&["x"], words].concat()).map(|line| line.listen)
    }

    fn url(words: &[&str]) -> String {
        socket_url(&parse(words).unwrap()).unwrap().into()
    }

    #[test]
    fn an_app_is_looked_for_under_the_base() {
        assert_eq!(url(&["demo", "A:1", "--url", "ws://h:9/in"]), "ws://h:9/in/ws/demo/A:1");
    }

    #[test]
    fn a_url_gets_the_tag_appended() {
        assert_eq!(url(&["wss://h/ws/demo", "a/b"]), "wss://h/ws/demo/a%2Fb");
        assert_eq!(url(&["http://h/ws/demo/", "a"]), "ws://h/ws/demo/a");
    }

    #[test]
    fn the_token_travels_in_the_query_and_is_not_shown() {
        let args = parse(&["ws://h/ws/demo", "a", "--token", "t &1"]).unwrap();
        let url = socket_url(&args).unwrap();
        assert_eq!(url.as_str(), "ws://h/ws/demo/a?token=t+%261");
        assert_eq!(address::shown(&url), "ws://h/ws/demo/a");
    }

    #[test]
    fn count_is_a_number_above_zero() {
        assert_eq!(parse(&["demo", "a", "--count", "2"]).unwrap().count, Some(2));
        assert!(parse(&["demo", "a", "--count", "0"]).is_err());
    }

    #[test]
    fn a_close_is_told_with_code_and_reason() {
        let frame = CloseFrame { code: 4001.into(), reason: "app removed\n".into() };
        assert_eq!(closed(Some(&frame)).to_string(), "closed by the server: 4001 app removed");
        assert_eq!(closed(None).to_string(), "closed by the server");
    }
}
