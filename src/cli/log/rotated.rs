//! A file of the log that is set aside when it is full, and what becomes of those set aside (spec 2.1). Names are those of
//! the original: `gusher.log` becomes `gusher-2026-01-31T08-30-00.000.log` by universal time, and with `.gz` behind it when it
//! was compressed.
//!
//! Always holds: a line is never split over two files; only files with such names are deleted; when a file cannot be set
//! aside it is written on.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::open;
use crate::config::Rotation;

/// How the time is written in a name.
const TIME: &str = "%Y-%m-%dT%H-%M-%S%.3f";

/// What a compressed file's name ends with, and one that is being compressed.
const COMPRESSED: &str = ".gz";
const UNFINISHED: &str = ".gz.part";

/// The file that is written now.
pub struct Rotated {
    settings: Rotation,
    file: File,
    bytes: u64,
    /// Held while files set aside are tidied up.
    tidying: Arc<Mutex<()>>,
}

impl Rotated {
    /// Opens the file to append to it, and tidies up what was set aside before.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(settings: Rotation) -> io::Result<Self> {
        let file = open(&settings.file)?;
        let bytes = file.metadata()?.len();
        let rotated = Self { settings, file, bytes, tidying: Arc::default() };
        rotated.tidy_up();
        Ok(rotated)
    }

    /// Sets the file aside and begins a new one. In vain, it is tried again when as much was written once more.
    fn turn(&mut self) {
        let now = Timestamp::now();
        self.bytes = 0;
        if set_aside(&self.settings.file, now).is_ok()
            && let Ok(file) = open(&self.settings.file)
        {
            self.file = file;
            self.tidy_up();
        }
    }

    /// Compressing takes its time, so it is not waited for.
    fn tidy_up(&self) {
        let (settings, tidying) = (self.settings.clone(), Arc::clone(&self.tidying));
        let work = move || {
            let _one_at_a_time = tidying.lock().unwrap_or_else(PoisonError::into_inner);
            tidy(&settings, Timestamp::now());
        };
        // Without a thread it is done the next time.
        let _ = thread::Builder::new().name("log-files".into()).spawn(work);
    }
}

impl Write for Rotated {
    /// Takes a whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.bytes > 0 && self.bytes + line.len() as u64 > self.settings.bytes_max {
            self.turn();
        }
        self.file.write_all(line)?;
        self.bytes += line.len() as u64;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Renames a file after the time, or after the next millisecond of which there is none yet.
fn set_aside(file: &Path, now: Timestamp) -> io::Result<()> {
    const TRIES: i64 = 1_000;
    let names = (0..TRIES).map(|ms| name_aside(file, now + SignedDuration::from_millis(ms)));
    let taken = |name: &PathBuf| name.exists() || with_end(name, COMPRESSED).exists();
    let mut free = names.filter(|name| !taken(name));
    fs::rename(file, free.next().ok_or(io::ErrorKind::AlreadyExists)?)
}

fn name_aside(file: &Path, time: Timestamp) -> PathBuf {
    let (before, after) = around_time(file);
    let time = time.to_zoned_datetime(TimeZone::UTC).strftime(TIME);
    file.with_file_name(format!("{before}{time}{after}"))
}

/// What of a name stands before the time, and what behind it.
fn around_time(file: &Path) -> (String, String) {
    let part = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
    let after = part(file.extension()).map(|after| format!(".{after}")).unwrap_or_default();
    (format!("{}-", part(file.file_stem()).unwrap_or_default()), after)
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut whole = path.as_os_str().to_owned();
    whole.push(end);
    whole.into()
}

/// A file that was set aside.
struct Aside {
    path: PathBuf,
    at: Timestamp,
    is_compressed: bool,
}

/// Deletes what is too old or too much, and compresses the rest if that is wanted. What cannot be done now is tried the
/// next time.
fn tidy(settings: &Rotation, now: Timestamp) {
    let mut aside = all_aside(&settings.file);
    aside.sort_by_key(|file| std::cmp::Reverse(file.at));
    for (place, file) in aside.into_iter().enumerate() {
        let age = now.duration_since(file.at);
        let is_too_old = age > SignedDuration::try_from(settings.age_max).unwrap_or(SignedDuration::MAX);
        if place >= settings.backups_max || is_too_old {
            let _ = fs::remove_file(&file.path);
        } else if settings.compresses && !file.is_compressed {
            let _ = compress(&file.path);
        }
    }
}

fn all_aside(file: &Path) -> Vec<Aside> {
    let (before, after) = around_time(file);
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let aside = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let (plain, is_compressed) = match name.strip_suffix(COMPRESSED) {
            Some(plain) => (plain, true),
            None => (name.as_str(), false),
        };
        let time = plain.strip_prefix(&before)?.strip_suffix(&after)?;
        let at = TimeZone::UTC.to_timestamp(DateTime::strptime(TIME, time).ok()?).ok()?;
        Some(Aside { path: entry.path(), at, is_compressed })
    });
    aside.collect()
}

/// Leaves the compressed file in place of the other one: whole, or not at all.
fn compress(path: &Path) -> io::Result<()> {
    let unfinished = with_end(path, UNFINISHED);
    let written = (|| {
        let mut encoder = GzEncoder::new(File::create(&unfinished)?, Compression::default());
        io::copy(&mut File::open(path)?, &mut encoder)?;
        encoder.finish()?.sync_all()?;
        fs::rename(&unfinished, with_end(path, COMPRESSED))
    })();
    match written {
        Ok(()) => fs::remove_file(path),
        Err(_) => fs::remove_file(&unfinished).and(written),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Duration;

    use flate2::read::GzDecoder;

    use super::*;

    fn settings(folder: &Path) -> Rotation {
        Rotation {
            file: folder.join("gusher.log"),
            bytes_max: 30,
            backups_max: 3,
            age_max: Duration::from_secs(86_400),
            compresses: false,
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(name).collect();
        names.sort();
        names
    }

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    /// Sets a file with this text aside.
    fn leave(settings: &Rotation, text: &str, time: &str) {
        fs::write(&settings.file, text).unwrap();
        set_aside(&settings.file, at(time)).unwrap();
    }

    #[test]
    fn a_full_file_is_set_aside_and_no_line_is_split_or_lost() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Rotation { backups_max: 100, ..settings(folder.path()) };
        fs::write(&settings.file, "before\n").unwrap();
        let mut log = Rotated::open(settings.clone()).unwrap();
        let lines: Vec<String> = (0..10).map(|number| format!("line {number:05}\n")).collect();
        lines.iter().for_each(|line| log.write_all(line.as_bytes()).unwrap());
        let mut aside = all_aside(&settings.file);
        aside.sort_by_key(|file| file.at);
        let texts: Vec<String> = aside
            .iter()
            .map(|file| &file.path)
            .chain([&settings.file])
            .map(|path| fs::read_to_string(path).unwrap())
            .collect();
        assert_eq!(texts.concat(), format!("before\n{}", lines.concat()));
        assert!(texts.iter().all(|text| text.len() <= 30 && text.ends_with('\n')), "{texts:?}");
        assert!(texts.len() > 4);
        log.write_all("long ".repeat(20).as_bytes()).unwrap();
        assert_eq!(
            fs::read_to_string(&settings.file).unwrap().len(),
            100,
            "a line above the bound has its file"
        );
    }

    #[test]
    fn files_aside_are_kept_by_number_and_age_and_others_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        for (text, time) in [
            ("1", "2026-01-30T11:59:59Z"),
            ("2", "2026-01-31T12:00:01Z"),
            ("3", "2026-01-31T12:00:02Z"),
            ("4", "2026-01-31T12:00:02Z"),
            ("5", "2026-01-31T12:00:03Z"),
        ] {
            leave(&settings, text, time);
        }
        for other in ["gusher-notes.log", "other-2026-01-30T11-59-59.000.log", "gusher-2026.log"] {
            fs::write(folder.path().join(other), "mine").unwrap();
        }
        tidy(&settings, at("2026-01-31T12:00:04Z"));
        let kept = [
            "gusher-2026-01-31T12-00-02.000.log",
            "gusher-2026-01-31T12-00-02.001.log",
            "gusher-2026-01-31T12-00-03.000.log",
            "gusher-2026.log",
            "gusher-notes.log",
            "other-2026-01-30T11-59-59.000.log",
        ];
        assert_eq!(names(folder.path()), kept);
        tidy(&settings, at("2026-02-01T12:00:03Z"));
        assert_eq!(names(folder.path()), kept[2..]);
    }

    #[test]
    fn files_aside_are_compressed_if_that_is_wanted_and_stay_readable() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Rotation { compresses: true, ..settings(folder.path()) };
        leave(&settings, "what was said\n", "2026-01-31T12:00:01Z");
        let now = at("2026-01-31T12:00:04Z");
        tidy(&settings, now);
        tidy(&settings, now);
        assert_eq!(names(folder.path()), ["gusher-2026-01-31T12-00-01.000.log.gz"]);
        let file = File::open(folder.path().join(&names(folder.path())[0])).unwrap();
        let mut text = String::new();
        GzDecoder::new(file).read_to_string(&mut text).unwrap();
        assert_eq!(text, "what was said\n");
    }
}
