//! The log: one line per event. `line` says what it looks like, `queue` carries it to where it goes, `rotated` keeps files
//! within bounds.
//!
//! Always holds: lines of libraries below warning are never written, since libraries may log
//! URLs, and URLs hold tokens (D18). What our own events say is up to them. Whoever logs does not wait for a disk or a
//! terminal.

mod line;
mod queue;
mod rotated;

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
};

use serde_json::Value;
use tracing::{
    Event, Level as EventLevel, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    filter::Targets,
    fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter, format::Writer},
    layer::SubscriberExt,
    registry::{LookupSpan, Registry},
    reload::{self, Handle},
};

use crate::config::{Level, Log, LogSwitch, LogTarget, Rotation};
use crate::shard::SOCKET_LINES;
pub use line::Form;
use queue::Queue;
use rotated::Rotated;

/// The crate whose events are ours.
const OURS: &str = env!("CARGO_CRATE_NAME");

/// A log that was started. What it holds back is written when this is dropped.
pub struct Logging {
    /// What is to be logged about the log itself: the file that was named cannot be opened.
    pub warning: Option<String>,
    /// What changes how much is logged.
    pub switch: Arc<LogSwitch>,
    queue: Queue,
}

impl Logging {
    /// Logs from now on as much as `log` says and to where it says; the form of a line stays as it is. Files are opened
    /// again, as they may have been moved away. If one cannot be opened, lines go where they went before.
    pub fn reload(&self, log: &Log) {
        match outputs(&log.target) {
            (outputs, None) => self.queue.redirect(outputs),
            (_, Some((reason, _))) => tracing::warn!("{reason}; lines go where they went before"),
        }
        self.switch.set(log.level);
    }

    /// Writes what waits, for a bounded time.
    pub fn flush(&self) {
        self.queue.flush();
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Starts logging for the whole process; a second call changes nothing.
///
/// If the file cannot be opened, lines go to the console instead and the warning to log is returned (D12).
///
/// # Errors
/// The system gives no thread.
pub fn start(log: &Log) -> io::Result<Logging> {
    let (outputs, unopened) = outputs(&log.target);
    let warning = unopened.map(|(reason, place)| format!("{reason}; logging to {place}"));
    let form = Form::of(log);
    let confess = move |lines: u64| {
        let message = "lines of the log were dropped: it does not keep up";
        form.line("warning", message, [("lines", lines.into())])
    };
    let queue = Queue::start(outputs, Box::new(confess))?;
    // Without `init()` of tracing-subscriber, which would also let in what libraries say through the `log` crate.
    let (subscriber, filter) = subscriber(log, queue.clone());
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(Logging { warning, switch: Arc::new(switch(log, filter)), queue })
}

/// What lines are written to.
type Outputs = Vec<Box<dyn Write + Send>>;

/// A file that cannot be opened: what is to be said of it, and where lines go instead.
type Unopened = (String, &'static str);

fn outputs(target: &LogTarget) -> (Outputs, Option<Unopened>) {
    let console = |to_stdout: bool| -> Box<dyn Write + Send> {
        if to_stdout { Box::new(io::stdout()) } else { Box::new(io::stderr()) }
    };
    let rotated = |rotation: &Rotation| -> io::Result<Box<dyn Write + Send>> {
        Ok(Box::new(Rotated::open(rotation.clone())?))
    };
    let (before, path, file) = match target {
        LogTarget::Console => return (vec![console(false)], None),
        LogTarget::Stdout => return (vec![console(true)], None),
        LogTarget::File(path) => (None, path, open(path).map(|file| Box::new(file) as Box<dyn Write + Send>)),
        LogTarget::Rotated(rotation) => (None, &rotation.file, rotated(rotation)),
        LogTarget::Both(rotation) => (Some(console(true)), &rotation.file, rotated(rotation)),
    };
    match file {
        Ok(file) => (before.into_iter().chain([file]).collect(), None),
        Err(reason) => {
            let place = if before.is_some() { "standard output" } else { "standard error" };
            let reason = format!("cannot open log file {}: {reason}", path.display());
            (vec![before.unwrap_or_else(|| console(false))], Some((reason, place)))
        }
    }
}

/// Opens a log for appending. Mode 0664 before umask, so that a group may rotate it.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o664).open(path)
}

/// What changes which lines are written. Whether clients may be named is not a matter of the level.
fn switch(log: &Log, handle: Handle<Targets, Registry>) -> LogSwitch {
    let names_clients = log.names_clients;
    LogSwitch::new(log.level, move |level| {
        // It fails when another subscriber was there first, whose filter is not ours.
        let _ = handle.reload(filter(level, names_clients));
    })
}

/// Which lines are written.
fn filter(level: Level, names_clients: bool) -> Targets {
    let ours = match level {
        Level::Debug => LevelFilter::DEBUG,
        Level::Info => LevelFilter::INFO,
        Level::Warn => LevelFilter::WARN,
    };
    let sockets = if names_clients { ours } else { LevelFilter::OFF };
    Targets::new().with_target(OURS, ours).with_target(SOCKET_LINES, sockets).with_default(LevelFilter::WARN)
}

/// What writes lines, and what changes which ones.
fn subscriber<W>(log: &Log, writer: W) -> (impl Subscriber + Send + Sync + use<W>, Handle<Targets, Registry>)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(filter(log.level, log.names_clients));
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(writer)
        .event_format(Line(Form::of(log)));
    (tracing_subscriber::registry().with(filter).with(lines), handle)
}

/// The form of a line.
struct Line(Form);

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
        writer.write_str(&self.0.line(level, &fields.message, fields.others))
    }
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

/// What an event says: its message, and all other fields.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name => self.others.push((name, value.into())),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.others.push((field.name(), value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.others.push((field.name(), value.into()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.others.push((field.name(), value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.others.push((field.name(), value.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogFormat;
    use jiff::Timestamp;
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

    fn log_at(level: Level, format: LogFormat) -> Log {
        Log { level, target: LogTarget::Console, format, names_clients: false }
    }

    fn written(log: &Log, speak: impl FnOnce()) -> String {
        let memory = Memory::default();
        let writer = memory.clone();
        with_default(subscriber(log, move || writer.clone()).0, speak);
        let bytes = memory.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    /// What is logged by `speak` at `level`, without the times, which are checked.
    fn logged(level: Level, speak: impl FnOnce()) -> String {
        let text = written(&log_at(level, LogFormat::Text), speak);
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

    #[test]
    fn a_line_of_json_is_one_object_with_typed_members_that_cannot_be_forged() {
        let evil = "a\n\r\u{1b}\0\u{7f}\u{85}\u{2028}\u{202e}\\\"";
        let text = written(&log_at(Level::Info, LogFormat::Json), || {
            info!(app = "a1", total = 3, dur = 0.5, open = true, below = -1, tag = evil, "said {evil}");
        });
        assert!(text.ends_with("}\n") && text.lines().count() == 1, "{text}");
        assert!(text.trim_end().chars().all(|char| char.escape_debug().len() == 1 || "\"\\".contains(char)));
        let line: Value = serde_json::from_str(&text).unwrap();
        assert!(line["time"].as_str().unwrap().parse::<Timestamp>().is_ok());
        let object = line.as_object().unwrap();
        let names: Vec<_> = object.keys().map(String::as_str).collect();
        assert_eq!(names, ["time", "level", "msg", "app", "total", "dur", "open", "below", "tag"]);
        assert_eq!((&line["level"], &line["total"], &line["tag"]), (&"info".into(), &3.into(), &evil.into()));
        assert_eq!((&line["dur"], &line["open"], &line["below"]), (&0.5.into(), &true.into(), &(-1).into()));
        assert_eq!(line["msg"], format!("said {evil}"));
    }

    #[test]
    fn lines_about_single_sockets_are_left_out_unless_clients_may_be_named() {
        let speak = || info!(target: SOCKET_LINES, user_id = "anna", "connect");
        let mut log = log_at(Level::Info, LogFormat::Text);
        assert_eq!(written(&log, speak), "");
        log.names_clients = true;
        assert!(written(&log, speak).ends_with("msg=\"connect\" user_id=anna\n"));
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
    fn the_level_changes_while_lines_are_written() {
        let (log, memory) = (log_at(Level::Warn, LogFormat::Text), Memory::default());
        let writer = memory.clone();
        let (subscriber, filter) = subscriber(&log, move || writer.clone());
        let switch = switch(&log, filter);
        with_default(subscriber, || {
            for level in [Level::Warn, Level::Debug, Level::Info] {
                switch.set(level);
                assert_eq!(switch.level(), level);
                speak();
            }
        });
        let text = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
        let lines: String = text.split_inclusive('\n').map(without_time).collect();
        assert_eq!(lines, [W, D, I, W, I, W].concat());
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
        let file = open(&path).unwrap();
        with_default(subscriber(&log_at(Level::Info, LogFormat::Text), file).0, || info!("after"));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("before\ntime=") && text.ends_with("msg=\"after\"\n"), "{text}");

        let target = LogTarget::File(directory.path().into());
        let warning = start(&Log { target, ..log_at(Level::Warn, LogFormat::Text) }).unwrap().warning.clone();
        let warning = warning.unwrap();
        assert!(warning.contains("standard error") && warning.contains(&*directory.path().to_string_lossy()));
    }
}
