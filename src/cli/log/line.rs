//! What a line of the log looks like: pretty for people at a terminal, as text `time="..." level=info msg="..." key=value`
//! (section 1.4), or as JSON with the same members (section 2.1).
//!
//! Always holds: an event is exactly one line, whatever its values hold, since quotes and everything unprintable in them are
//! escaped; so nobody can forge a line, nor command a terminal.

use std::env;
use std::io::{self, IsTerminal};

use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Map, Value};

use crate::config::{Log, LogFormat, LogTarget};

/// The form of all lines of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people: the time of day, and everything after it in columns and, perhaps, colours.
    Pretty {
        /// Whether the terminal is told of colours.
        has_colours: bool,
    },
    /// `key=value`.
    Text,
    /// One JSON object.
    Json,
}

impl Form {
    /// That of a log. What is to be fitting for its place is pretty on a terminal, text in the file that the original wrote
    /// as well, and JSON everywhere else, where programs read it.
    pub fn of(log: &Log) -> Self {
        // https://no-color.org
        let has_colours = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let fitting = |is_terminal| if is_terminal { Self::Pretty { has_colours } } else { Self::Json };
        match (log.format, &log.target) {
            (LogFormat::Pretty, target) => Self::Pretty { has_colours: has_colours && shows_colours(target) },
            (LogFormat::Text, _) | (LogFormat::Auto, LogTarget::File(_)) => Self::Text,
            (LogFormat::Json, _) | (LogFormat::Auto, LogTarget::Rotated(_) | LogTarget::Both(_)) => {
                Self::Json
            }
            (LogFormat::Auto, target @ (LogTarget::Console | LogTarget::Stdout)) => {
                fitting(shows_colours(target))
            }
        }
    }

    /// A line with its end, as it is written to the log.
    pub fn line(
        self,
        level: &str,
        message: &str,
        fields: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> String {
        match self {
            Self::Pretty { has_colours } => pretty(has_colours, level, message, fields),
            Self::Text => {
                let mut line =
                    format!("time=\"{}\" level={level} msg={}", now(DATE_AND_TIME), quoted(message));
                for (name, value) in fields {
                    line.push(' ');
                    line.push_str(name);
                    line.push('=');
                    push_value(&mut line, &value);
                }
                line + "\n"
            }
            Self::Json => {
                let head =
                    [("time", now(DATE_AND_TIME).into()), ("level", level.into()), ("msg", message.into())];
                let members = head.into_iter().chain(fields).map(|(name, value)| (name.to_owned(), value));
                printable(&Value::Object(members.collect::<Map<_, _>>()).to_string()) + "\n"
            }
        }
    }
}

/// Whether lines go to a terminal and nowhere else.
fn shows_colours(target: &LogTarget) -> bool {
    match target {
        LogTarget::Console => io::stderr().is_terminal(),
        LogTarget::Stdout => io::stdout().is_terminal(),
        LogTarget::File(_) | LogTarget::Rotated(_) | LogTarget::Both(_) => false,
    }
}

/// The local time as RFC 3339, to the millisecond.
const DATE_AND_TIME: &str = "%Y-%m-%dT%H:%M:%S%.3f%:z";

/// Whoever looks on knows the day.
const TIME_OF_DAY: &str = "%H:%M:%S%.3f";

fn now(form: &str) -> String {
    Timestamp::now().to_zoned_datetime(TimeZone::system()).strftime(form).to_string()
}

/// `12:34:56.789 INFO  message  name=value`.
fn pretty(
    has_colours: bool,
    level: &str,
    message: &str,
    fields: impl IntoIterator<Item = (&'static str, Value)>,
) -> String {
    let (dim, bold, plain) = if has_colours { ("\x1b[2m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
    let colour = match level {
        _ if !has_colours => "",
        "error" => "\x1b[31m",
        "warning" => "\x1b[33m",
        "info" => "\x1b[32m",
        _ => "\x1b[34m",
    };
    let word = if level == "warning" { "WARN".to_owned() } else { level.to_uppercase() };
    let message = escaped(message);
    let mut line =
        format!("{dim}{}{plain} {colour}{word:<5}{plain} {bold}{message}{plain}", now(TIME_OF_DAY));
    for (name, value) in fields {
        line.push_str(&format!("  {dim}{name}={plain}"));
        push_value(&mut line, &value);
    }
    line + "\n"
}

/// JSON with everything unprintable escaped that JSON itself would let stand.
fn printable(json: &str) -> String {
    let mut printable = String::with_capacity(json.len());
    for char in json.chars() {
        if char == '\u{7f}' || (!char.is_ascii() && char.escape_debug().len() > 1) {
            let mut units = [0; 2];
            let units = char.encode_utf16(&mut units);
            units.iter().for_each(|unit| printable.push_str(&format!("\\u{unit:04x}")));
        } else {
            printable.push(char);
        }
    }
    printable
}

/// Adds a value, in quotes only if it would else not be seen as one value.
fn push_value(line: &mut String, value: &Value) {
    let Value::String(value) = value else { return line.push_str(&value.to_string()) };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/@^+:$%&*,;?!#|~".contains(&byte);
    if !value.is_empty() && value.bytes().all(plain) {
        line.push_str(value);
    } else {
        line.push_str(&quoted(value));
    }
}

/// `text` in quotes, with all escaped that is not printable or would end the quotes.
fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

/// `text` with quotes, backslashes and all that is not printable escaped.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\'' => escaped.push(char),
            _ => escaped.extend(char.escape_debug()),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_shown_the_time_of_day_and_columns() {
        let fields = [("app", "a1".into()), ("total", 3.into()), ("tag", "two words".into())];
        let line = Form::Pretty { has_colours: false }.line("warning", "a \"b\"\n\u{1b}[2J", fields);
        let (time, rest) = line.split_once(' ').unwrap();
        assert_eq!((time.len(), time.matches(':').count()), ("12:34:56.789".len(), 2));
        assert_eq!(rest, "WARN  a \\\"b\\\"\\n\\u{1b}[2J  app=a1  total=3  tag=\"two words\"\n");
        let coloured = Form::Pretty { has_colours: true }.line("error", "bad", []);
        assert!(coloured.contains("\x1b[31mERROR\x1b[0m \x1b[1mbad\x1b[0m"), "{coloured:?}");
    }

    #[test]
    fn what_fits_is_found_by_where_lines_go() {
        let form = |format, target| {
            Form::of(&Log { level: crate::config::Level::Info, target, format, names_clients: false })
        };
        let file = || LogTarget::File("x.log".into());
        assert_eq!(form(LogFormat::Auto, file()), Form::Text);
        assert_eq!(form(LogFormat::Json, file()), Form::Json);
        assert_eq!(form(LogFormat::Text, LogTarget::Console), Form::Text);
        assert_eq!(form(LogFormat::Pretty, file()), Form::Pretty { has_colours: false });
    }
}
