//! `gusher push`: sends one text to the users of an app who are online, and says how many that were.

use std::io::{self, Read};

use clap::Args;
use reqwest::Method;
use serde::Deserialize;

use super::api::{self, Api, ApiArgs};
use super::{Failure, print_line};

/// What `gusher push` is told.
#[derive(Args)]
pub struct PushArgs {
    /// Key of the app
    app: String,
    /// Text to send, to the byte; - reads it from stdin
    content: String,
    /// Only to users whose tag matches this regular expression; unanchored, so write ^alice$ for one user
    #[arg(long, value_name = "REGEX")]
    to: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
}

/// The part of the answer that is told on.
#[derive(Deserialize)]
struct PushAnswer {
    /// Distinct user tags the push was addressed to.
    total: u64,
    /// Sockets it was queued for; a user may have several.
    sockets: u64,
}

/// Pushes and prints a line such as `3 users, 4 sockets`.
///
/// # Errors
/// `Usage` without a password; `Runtime` when stdin is no text, or as the server says.
pub fn run(args: &PushArgs) -> Result<(), Failure> {
    let api = Api::new(&args.api)?;
    let content = text_or_stdin(&args.content)?;
    let mut fields = vec![("content", content.as_str())];
    fields.extend(args.to.as_deref().map(|pattern| ("user_tag", pattern)));
    let body = api.call(Method::POST, &["api", "push", &args.app], &fields)?;
    print_line(&summary(&api::decode(&body)?))
}

/// A text as it was typed, or all of stdin for `-`.
///
/// # Errors
/// `Runtime` when stdin is no text.
pub(super) fn text_or_stdin(typed: &str) -> Result<String, Failure> {
    match typed {
        "-" => read_text(io::stdin().lock()),
        text => Ok(text.to_owned()),
    }
}

fn read_text(mut input: impl Read) -> Result<String, Failure> {
    let mut text = String::new();
    match input.read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) => Err(Failure::Runtime(format!("cannot read the content from stdin: {error}"))),
    }
}

fn summary(answer: &PushAnswer) -> String {
    format!("{}, {}", counted(answer.total, "user"), counted(answer.sockets, "socket"))
}

fn counted(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_told_in_users_and_sockets() {
        let told = |body| summary(&api::decode(body).unwrap());
        assert_eq!(told(r#"{"app_key":"a","total":3,"sockets":4}"#), "3 users, 4 sockets");
        assert_eq!(told(r#"{"total":1,"sockets":1}"#), "1 user, 1 socket");
        assert_eq!(told(r#"{"total":0,"sockets":0}"#), "0 users, 0 sockets");
    }

    #[test]
    fn an_answer_of_another_server_is_an_error() {
        assert!(api::decode::<PushAnswer>("<html>").is_err());
    }

    #[test]
    fn stdin_is_sent_to_the_byte_and_must_be_text() {
        assert_eq!(read_text(&b" a\nb\n"[..]).unwrap(), " a\nb\n");
        assert_eq!(read_text(&b"\xff"[..]).unwrap_err().exit_code(), 1);
    }
}
