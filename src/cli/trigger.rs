//! `gusher trigger`: publishes one event as a backend of Pusher Channels does, with a signed call.

use clap::Args;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::address::{self, ServerSettings};
use super::app::harmless;
use super::place::{AppArgs, PlaceArgs};
use super::trust::TrustArgs;
use super::{Failure, api, print_line, push};
use crate::bench::target::signed;

/// What `gusher trigger` is told. No `Debug`: it holds a secret.
#[derive(Args)]
pub struct TriggerArgs {
    /// Where it is published
    channel: String,
    /// Name of the event
    event: String,
    /// Its data, to the byte; - reads it from stdin
    #[arg(default_value = "{}")]
    data: String,
    /// Not to this socket
    #[arg(long, value_name = "ID")]
    socket_id: Option<String>,
    /// Ask how things are in the channel: subscription_count, user_count, or both with a comma between them
    #[arg(long, value_name = "WHAT")]
    info: Option<String>,
    /// Print the server's answer
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    app: AppArgs,
}

/// Publishes, and prints `published` or what was asked about the channel.
///
/// # Errors
/// `Usage` for an address that is none; `Runtime` when stdin is no text, or as the server says.
pub fn run(args: &TriggerArgs) -> Result<(), Failure> {
    let data = push::text_or_stdin(&args.data)?;
    let mut event = json!({ "name": args.event, "channels": [args.channel], "data": data });
    for (name, value) in [("socket_id", &args.socket_id), ("info", &args.info)] {
        if let Some(value) = value {
            event[name] = value.as_str().into();
        }
    }
    let body = event.to_string();
    let base = args.place.place(&ServerSettings::find(None)?)?.calls()?;
    let mut url = address::append(base.clone(), &["apps", &args.app.app_id, "events"])?;
    let query = signed(url.path(), &args.app.key, &args.app.secret, &body);
    url.set_query(Some(&query));
    let request =
        api::client(&base, &args.trust)?.post(url).header(CONTENT_TYPE, "application/json").body(body);
    let answer = api::exchange(&base, request)?;
    if args.json {
        return print_line(answer.trim_end());
    }
    print_line(&told(&api::decode(&answer)?))
}

/// One line for each channel that the answer tells of.
fn told(answer: &Value) -> String {
    let Some(channels) = answer["channels"].as_object().filter(|channels| !channels.is_empty()) else {
        return "published".to_owned();
    };
    let line = |(channel, info): (&String, &Value)| {
        let info = info.as_object().into_iter().flatten();
        let info: String = info.map(|(name, value)| format!("\t{}={value}", harmless(name))).collect();
        format!("{}{info}", harmless(channel))
    };
    channels.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_told_in_words() {
        assert_eq!(told(&json!({})), "published");
        let answer = json!({ "channels": { "a": { "subscription_count": 2 }, "b": {} } });
        assert_eq!(told(&answer), "a\tsubscription_count=2\nb");
    }
}
