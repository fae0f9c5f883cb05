//! `gusher tail`: a client of Pusher Channels; what happens in its channels goes to stdout, what happens to it to stderr.

use clap::Args;
use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tokio_tungstenite::Connector;
use tokio_tungstenite::tungstenite::Message;
use url::Url;

use super::address::{self, ServerSettings};
use super::listen::{self, CLOSE_TIMEOUT, Stream};
use super::place::{DEMO_KEY, DEMO_SECRET, PlaceArgs};
use super::trust::TrustArgs;
use super::{Failure, block_on, one_line, print_line, tell};
use crate::dialect::signature::hmac_hex;

/// What `gusher tail` is told. No `Debug`: it holds a secret.
#[derive(Args)]
pub struct TailArgs {
    /// Key of the app
    app: String,
    /// Channels to subscribe to
    #[arg(required = true, value_name = "CHANNEL")]
    channels: Vec<String>,
    /// Secret of the app, which signs for private and presence channels; that of a trial run is known
    #[arg(long, env = "PUSHER_APP_SECRET", value_name = "SECRET", hide_env_values = true)]
    secret: Option<String>,
    /// Who to be in presence channels
    #[arg(long, value_name = "ID", default_value = "gusher-tail")]
    user_id: String,
    /// End after this many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Print each event as it came, as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    trust: TrustArgs,
}

/// What a message of the server asks of us.
#[derive(Debug, PartialEq)]
enum Step {
    /// Subscribe, as the socket of this id.
    Subscribe(String),
    /// Say this.
    Say(Value),
    /// Tell whoever watches.
    Tell(String),
    /// Print this event.
    Print,
    /// Nothing.
    Pass,
}

/// Subscribes and prints events until interrupted, until `--count` is reached, or until the server ends it.
///
/// # Errors
/// `Usage` for a channel that needs a secret without one; `Runtime` when the server cannot be reached, refuses or
/// closes.
pub fn run(args: &TailArgs) -> Result<(), Failure> {
    if let Some(channel) =
        args.channels.iter().find(|channel| needs_secret(channel) && secret(args).is_none())
    {
        let channel = one_line(channel);
        return Err(Failure::Usage(format!(
            "{channel} needs a signature: give the app's secret in PUSHER_APP_SECRET or with --secret"
        )));
    }
    let url = socket_url(args)?;
    let connector = args.trust.client()?.map(Connector::Rustls);
    block_on(async {
        let mut stream = listen::connect(&url, connector).await?;
        let ending = follow(args, &mut stream).await;
        // Answers the server's close, or says ours. Whether it arrives changes nothing any more.
        let _ = timeout(CLOSE_TIMEOUT, stream.close(None)).await;
        ending
    })
}

fn socket_url(args: &TailArgs) -> Result<Url, Failure> {
    let base = args.place.place(&ServerSettings::find(None)?)?.sockets()?;
    let mut url = address::append(base, &["app", &args.app])?;
    let query = concat!("protocol=7&client=gusher&version=", env!("CARGO_PKG_VERSION"));
    url.set_query(Some(query));
    Ok(url)
}

async fn follow(args: &TailArgs, stream: &mut Stream) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut printed = 0;
    while args.count != Some(printed) {
        let Some(text) = listen::next(stream, &mut interrupt).await? else { return Ok(()) };
        let message: Value = serde_json::from_str(&text).map_err(|error| {
            Failure::Runtime(format!("the server does not speak Pusher's protocol: {error}"))
        })?;
        match step(&message)? {
            Step::Subscribe(socket_id) => {
                for channel in &args.channels {
                    say(stream, &subscription(args, &socket_id, channel)).await?;
                }
            }
            Step::Say(answer) => say(stream, &answer).await?,
            Step::Tell(line) => tell(&line),
            Step::Print if args.json => {
                print_line(&message.to_string())?;
                printed += 1;
            }
            Step::Print => {
                print_line(&line(&message))?;
                printed += 1;
            }
            Step::Pass => {}
        }
    }
    Ok(())
}

async fn say(stream: &mut Stream, message: &Value) -> Result<(), Failure> {
    let sent = stream.send(Message::text(message.to_string())).await;
    sent.map_err(|error| Failure::Runtime(format!("connection lost: {error}")))
}

/// # Errors
/// `Runtime` when the server says that something is wrong.
fn step(message: &Value) -> Result<Step, Failure> {
    let channel = message["channel"].as_str();
    Ok(match (message["event"].as_str().unwrap_or_default(), channel) {
        ("pusher:connection_established", _) => {
            let data = inner(&message["data"]);
            let Some(socket_id) = data["socket_id"].as_str() else {
                return Err(Failure::Runtime("the server gives no socket_id".to_owned()));
            };
            Step::Subscribe(socket_id.to_owned())
        }
        ("pusher:ping", _) => Step::Say(json!({ "event": "pusher:pong", "data": {} })),
        ("pusher:error", _) => return Err(refused("refused", &message["data"])),
        ("pusher:subscription_error", Some(channel)) => {
            return Err(refused(&format!("no subscription to {}", one_line(channel)), &message["data"]));
        }
        ("pusher_internal:subscription_succeeded", Some(channel)) => {
            Step::Tell(format!("subscribed to {}", one_line(channel)))
        }
        (_, Some(_)) => Step::Print,
        (_, None) => Step::Pass,
    })
}

fn refused(what: &str, data: &Value) -> Failure {
    let data = inner(data);
    let words = ["code", "status", "type", "message", "error"].iter().filter_map(|name| match &data[*name] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    });
    Failure::Runtime(one_line(&format!("{what}: {}", words.collect::<Vec<_>>().join(" "))))
}

/// Data is JSON, or a text that is JSON.
fn inner(data: &Value) -> Value {
    data.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| data.clone())
}

fn subscription(args: &TailArgs, socket_id: &str, channel: &str) -> Value {
    let mut data = json!({ "channel": channel });
    if let Some(secret) = secret(args).filter(|_| needs_secret(channel)) {
        let mut text = format!("{socket_id}:{channel}");
        if channel.starts_with("presence-") {
            let member = json!({ "user_id": args.user_id }).to_string();
            text = format!("{text}:{member}");
            data["channel_data"] = member.into();
        }
        data["auth"] = format!("{}:{}", args.app, hmac_hex(secret, &text)).into();
    }
    json!({ "event": "pusher:subscribe", "data": data })
}

fn secret(args: &TailArgs) -> Option<&str> {
    secret_of(&args.app, args.secret.as_deref())
}

/// What signs for an app: what was told, or what everybody knows of that of a trial run.
fn secret_of<'a>(app: &str, told: Option<&'a str>) -> Option<&'a str> {
    let told = told.filter(|secret| !secret.is_empty());
    told.or_else(|| (app == DEMO_KEY).then_some(DEMO_SECRET))
}

fn needs_secret(channel: &str) -> bool {
    channel.starts_with("private-") || channel.starts_with("presence-")
}

/// Channel, event and data. An event is one line whatever is in it, so control characters are escaped.
fn line(message: &Value) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let escaped = |value: &Value| -> String {
        let escape = |letter: char| {
            if letter.is_control() { letter.escape_default().to_string() } else { letter.into() }
        };
        text(value).chars().map(escape).collect()
    };
    format!("{}\t{}\t{}", escaped(&message["channel"]), escaped(&message["event"]), escaped(&message["data"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let message = json!({ "event": "e", "channel": "c", "data": "two\nlines\u{1b}" });
        assert_eq!(line(&message), "c\te\ttwo\\nlines\\u{1b}");
        assert_eq!(line(&json!({ "event": "e", "channel": "c", "data": { "a": 1 } })), "c\te\t{\"a\":1}");
    }

    #[test]
    fn the_app_of_a_trial_run_needs_no_secret_told() {
        for told in [None, Some("")] {
            assert_eq!((secret_of("demo", told), secret_of("x", told)), (Some("demo-secret"), None));
        }
        assert_eq!(secret_of("demo", Some("own")), Some("own"));
    }

    #[test]
    fn what_the_server_says_is_understood() {
        let greeting = json!({ "event": "pusher:connection_established", "data": "{\"socket_id\":\"1.2\"}" });
        assert_eq!(step(&greeting), Ok(Step::Subscribe("1.2".into())));
        assert_eq!(step(&json!({ "event": "pusher:pong" })), Ok(Step::Pass));
        assert_eq!(step(&json!({ "event": "x", "channel": "c" })), Ok(Step::Print));
        let error = json!({ "event": "pusher:error", "data": { "code": 4001, "message": "no app" } });
        assert_eq!(step(&error).unwrap_err().to_string(), "refused: 4001 no app");
    }
}
