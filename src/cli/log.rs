//! The log: one line per event, `time="..." level=info msg="..." key=value` (section 1.4).
//!
//! Always holds: an event is exactly one line, whatever its values hold, since quotes and everything unprintable in them
//! are escaped; so nobody can forge a line. Lines of libraries below warning are never written, since libraries may log
//! URLs, and URLs hold tokens (D18). What our own events say is up to them.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use jiff::{Timestamp, tz::TimeZone};
use tracing::{
    Event, Level as EventLevel, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    filter::Targets,
    fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter, format::Writer, writer::BoxMakeWriter},
    layer::SubscriberExt,
    registry::LookupSpan,
};

use crate::config::{Level, Log, LogTarget};

/// The crate whose events are ours.
const OURS: &str = env!("CARGO_CRATE_NAME");

/// Starts logging for the whole process; a second call changes nothing.
///
/// If the file cannot be opened, lines go to standard error and the warning to log is returned (D12).
pub fn start(log: &Log) -> Option<String> {
    let (writer, warning) = match &log.target {
        LogTarget::Console => (console(), None),
        LogTarget::File(path) => match open(path) {
            Ok(file) => (BoxMakeWriter::new(file), None),
            Err(reason) => {
                let warning =
                    format!("cannot open log file {}: {reason}; logging to standard error", path.display());
                (console(), Some(warning))
            }
        },
    };
    // Without `init()` of tracing-subscriber, which would also let in what libraries say through the `log` crate.
    let _ = tracing::subscriber::set_global_default(subscriber(log.level, writer));
    warning
}

fn console() -> BoxMakeWriter {
    BoxMakeWriter::new(io::stderr)
}

/// Opens a log for appending. Mode 0664 before umask, so that a group may rotate it.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o664).open(path)
}

fn subscriber<W>(level: Level, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let ours = match level {
        Level::Debug => LevelFilter::DEBUG,
        Level::Info => LevelFilter::INFO,
        Level::Warn => LevelFilter::WARN,
    };
    let filter = Targets::new().with_target(OURS, ours).with_default(LevelFilter::WARN);
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(writer).event_format(Line);
    tracing_subscriber::registry().with(filter).with(lines)
}

/// The form of a line.
struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = level_name(event.metadata().level());
        write!(writer, "time=\"{}\" level={level} msg={}{}", now(), quoted(&fields.message), fields.others)?;
        writeln!(writer)
    }
}

/// The local time as RFC 3339, to the millisecond.
fn now() -> String {
    Timestamp::now().to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
}

fn level_name(level: &EventLevel) -> &'static str {
    match *level {
        EventLevel::ERROR => "error",
        EventLevel::WARN => "warning",
        EventLevel::INFO => "info",
        EventLevel::DEBUG => "debug",
        EventLevel::TRACE => "trace",
    }
}

/// What an event says: its message, and all other fields already as ` key=value`.
#[derive(Default)]
struct Fields {
    message: String,
    others: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name => {
                self.others.push(' ');
                self.others.push_str(name);
                self.others.push('=');
                push_value(&mut self.others, value);
            }
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// Adds a value, in quotes only if it would else not be seen as one value.
fn push_value(line: &mut String, value: &str) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/@^+:$%&*,;?!#|~".contains(&byte);
    if !value.is_empty() && value.bytes().all(plain) {
        line.push_str(value);
    } else {
        line.push_str(&quoted(value));
    }
}

/// `text` in quotes, with quotes, backslashes and all that is not printable escaped.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for char in text.chars() {
        match char {
            '\'' => quoted.push(char),
            _ => quoted.extend(char.escape_debug()),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing::{debug, error, info, subscriber::with_default, warn};

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged by `speak` at `level`, without the times, which are checked.
    fn logged(level: Level, speak: impl FnOnce()) -> String {
        let memory = Memory::default();
        let writer = memory.clone();
        with_default(subscriber(level, move || writer.clone()), speak);
        let text = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
        text.split_inclusive('\n').map(without_time).collect()
    }

    fn without_time(line: &str) -> &str {
        let (time, rest) = line.strip_prefix("time=\"").unwrap().split_once("\" ").unwrap();
        let time: Timestamp = time.parse().unwrap_or_else(|_| panic!("{time} is no RFC 3339"));
        assert!(Timestamp::now().as_second() - time.as_second() <= 60, "the offset fits the local time");
        rest
    }

    #[test]
    fn a_line_has_time_level_message_and_fields() {
        let text = logged(Level::Debug, || {
            info!(app = "a1", total = 3, tag = %"two words", empty = "", error = ?Some("x"), "don't \"panic\"");
            error!("bad");
        });
        let expected =
            r#"level=info msg="don't \"panic\"" app=a1 total=3 tag="two words" empty="" error="Some(\"x\")""#;
        assert_eq!(text, format!("{expected}\nlevel=error msg=\"bad\"\n"));
    }

    #[test]
    fn a_line_cannot_be_forged() {
        let evil = "a\nlevel=error\r\u{1b}[2J\0\u{85}\u{2028}\u{202e}\\\"b=c";
        let text = logged(Level::Debug, || info!(tag = evil, "{evil}"));
        let escaped = r#""a\nlevel=error\r\u{1b}[2J\0\u{85}\u{2028}\u{202e}\\\"b=c""#;
        assert_eq!(text, format!("level=info msg={escaped} tag={escaped}\n"));
    }

    fn speak() {
        debug!("d");
        info!("i");
        warn!("w");
    }

    const D: &str = "level=debug msg=\"d\"\n";
    const I: &str = "level=info msg=\"i\"\n";
    const W: &str = "level=warning msg=\"w\"\n";

    #[test]
    fn gu_012_in_production_only_warnings_are_written() {
        assert_eq!(logged(Level::Warn, speak), W);
        assert_eq!(logged(Level::Info, speak), [I, W].concat());
    }

    #[test]
    fn gu_013_debug_lines_are_written_at_level_debug() {
        assert_eq!(logged(Level::Debug, speak), [D, I, W].concat());
    }

    #[test]
    fn libraries_are_heard_only_from_warning_on() {
        let text = logged(Level::Debug, || {
            info!(target: "reqwest::connect", "http://hook/?token=secret");
            warn!(target: "hyper", "w");
        });
        assert_eq!(text, "level=warning msg=\"w\"\n");
    }

    #[test]
    fn gu_014_a_file_is_appended_to_and_a_directory_is_not_opened() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.log");
        std::fs::write(&path, "before\n").unwrap();
        with_default(subscriber(Level::Info, open(&path).unwrap()), || info!("after"));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("before\ntime=") && text.ends_with("msg=\"after\"\n"), "{text}");

        let log = Log { level: Level::Warn, target: LogTarget::File(directory.path().into()) };
        let warning = start(&log).unwrap();
        assert!(warning.contains("standard error") && warning.contains(&*directory.path().to_string_lossy()));
    }
}
