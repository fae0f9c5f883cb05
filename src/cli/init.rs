//! `gusher init`: eight questions, one configuration file.
//!
//! Scripts pipe their answers in, so number and order of the questions never change (section 1.3).
//!
//! Always holds: what was typed as password is neither echoed nor written; the file is complete or not there, and nobody
//! else may read it.

use std::{
    fs::{self, OpenOptions},
    io::{self, BufRead, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use serde::Serialize;

use super::hash::hash;
use super::known_password;
use crate::config::read::DEV_PASSWORD;
use crate::config::{ListenAddress, MAX_WAIT_HOOK_MAX};

/// The file that is made, and its name while it is being written.
const FILE: &str = "config.json";
const DRAFT: &str = "config.json.new";

const HOOK_WORKERS: i64 = 100;
const ENVIRONMENTS: [&str; 3] = ["DEBUG", "DEVELOPMENT", "PRODUCTION"];

/// Shown for a password and for its hash; of one length, so that it does not tell how long the password is.
const MASK: &str = "********";

/// The file that is written, in the order of the manual's sample.
#[derive(Clone, Serialize)]
struct Settings {
    auth_account: String,
    auth_password: String,
    environment: String,
    logfile: String,
    listen: String,
    api_listen: String,
    sqlfile: String,
    max_wait_hook: i64,
}

/// Asks the eight questions and writes `config.json` into `directory` with mode 0600; an old one becomes
/// `config.json.bak` (D31). The end of input counts as empty lines, and an empty line means the default.
///
/// # Errors
/// `InvalidInput` for an address that is none, or if account and password together are longer than bcrypt can look at: the
/// status to exit with is then 78. A script could not answer a repeated question, so there is no second try. A directory
/// that cannot be written fails before the first question.
///
/// Returns a warning, if the default password was taken where other hosts may reach the API.
pub fn run(
    input: &mut dyn BufRead,
    read_hidden: Option<ReadHidden>,
    output: &mut dyn Write,
    directory: &Path,
) -> io::Result<Option<String>> {
    write_draft(&directory.join(DRAFT), "")?;
    let written = ask_and_write(Dialogue { input, read_hidden, output, is_known: false }, directory);
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(directory.join(DRAFT));
    }
    written
}

fn ask_and_write(mut dialogue: Dialogue<'_>, directory: &Path) -> io::Result<Option<String>> {
    if directory.join(FILE).exists() {
        let text = "is there already: the new one replaces it, and the old one becomes";
        writeln!(dialogue.output, "{FILE} {text} {FILE}.bak")?;
    }
    let settings = dialogue.ask_all()?;
    let text = serde_json::to_string_pretty(&settings)?;
    replace(directory, &text)?;
    let address: Option<ListenAddress> = settings.api_listen.parse().ok();
    let risk = address.filter(|address| dialogue.is_known && known_password::is_reachable(address));
    let shown = Settings { auth_password: MASK.to_owned(), ..settings };
    writeln!(dialogue.output, "{}\nScuess", serde_json::to_string_pretty(&shown)?)?;
    Ok(risk.as_ref().map(known_password::text))
}

/// Reads one line that the terminal does not show.
pub type ReadHidden = fn() -> io::Result<String>;

/// Whoever answers, and where the questions go.
struct Dialogue<'a> {
    input: &'a mut dyn BufRead,
    /// Reads the password, where a person types it.
    read_hidden: Option<ReadHidden>,
    output: &'a mut dyn Write,
    /// The password is the default, which everybody knows.
    is_known: bool,
}

impl Dialogue<'_> {
    fn ask_all(&mut self) -> io::Result<Settings> {
        let listen = self.ask_address("Public listen address", ":8001")?;
        let api_listen = self.ask_address("API listen address", ":8002")?;
        let auth_account = self.ask_text("Admin account", "account")?;
        let auth_password = self.ask_password(&auth_account)?;
        let sqlfile = self.ask_text("SQLite file", "./appdata.sqlite")?;
        let logfile = self.ask_text("Log file, or console", "console")?;
        let environment = self.ask_environment()?;
        let max_wait_hook = self.ask_hook_workers()?;
        Ok(Settings {
            auth_account,
            auth_password,
            environment,
            logfile,
            listen,
            api_listen,
            sqlfile,
            max_wait_hook,
        })
    }

    /// Takes what a start takes.
    fn ask_address(&mut self, question: &str, default: &str) -> io::Result<String> {
        let answer = self.ask(question, default)?;
        match answer.parse::<ListenAddress>() {
            Ok(_) => self.echo(&answer).map(|()| answer),
            Err(reason) => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{question} {reason}"))),
        }
    }

    fn ask_text(&mut self, question: &str, default: &str) -> io::Result<String> {
        let answer = self.ask(question, default)?;
        self.echo(&answer)?;
        Ok(answer)
    }

    /// Returns the hash of account and password.
    fn ask_password(&mut self, account: &str) -> io::Result<String> {
        self.prompt("Admin password", DEV_PASSWORD)?;
        let line = match self.read_hidden {
            Some(read_hidden) => read_hidden()?,
            None => self.line()?,
        };
        let password = or_default(&line, DEV_PASSWORD);
        self.is_known = password == DEV_PASSWORD;
        self.echo(MASK)?;
        hash(account, &password).map_err(|reason| io::Error::new(io::ErrorKind::InvalidInput, reason))
    }

    fn ask_environment(&mut self) -> io::Result<String> {
        let [default, ..] = ENVIRONMENTS;
        let answer = self.ask(&format!("Environment, one of {}", ENVIRONMENTS.join(", ")), default)?;
        let accepted = if ENVIRONMENTS.contains(&answer.as_str()) { &answer } else { default };
        self.echo(accepted)?;
        Ok(accepted.to_owned())
    }

    /// A number that a start would refuse counts as none.
    fn ask_hook_workers(&mut self) -> io::Result<i64> {
        let answer = self.ask("Number of hook workers", &HOOK_WORKERS.to_string())?;
        let number = answer.parse().ok().filter(|number| (1..=MAX_WAIT_HOOK_MAX).contains(number));
        let accepted = number.unwrap_or(HOOK_WORKERS);
        self.echo(&accepted.to_string())?;
        Ok(accepted)
    }

    /// One question, one line of answer without the blanks around it.
    fn ask(&mut self, question: &str, default: &str) -> io::Result<String> {
        self.prompt(question, default)?;
        Ok(or_default(&self.line()?, default))
    }

    fn prompt(&mut self, question: &str, default: &str) -> io::Result<()> {
        write!(self.output, "{question} [{default}]: ")?;
        self.output.flush()
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.input.read_line(&mut line)?;
        Ok(line)
    }

    /// The prompt ends without a newline and a piped answer brings none, so the echo begins its own line.
    fn echo(&mut self, accepted: &str) -> io::Result<()> {
        writeln!(self.output, "\nInput: {accepted}")
    }
}

fn or_default(line: &str, default: &str) -> String {
    let answer = line.trim();
    if answer.is_empty() { default } else { answer }.to_owned()
}

/// Puts `text` in the place of `config.json`, of which the old content stays as `config.json.bak`.
fn replace(directory: &Path, text: &str) -> io::Result<()> {
    let (file, draft) = (directory.join(FILE), directory.join(DRAFT));
    write_draft(&draft, text)?;
    match fs::rename(&file, directory.join("config.json.bak")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs::rename(&draft, &file),
    }
}

/// Writes a new file that only its owner may read. Whatever is in the way, a link perhaps, is removed and not followed.
fn write_draft(draft: &Path, text: &str) -> io::Result<()> {
    match fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read;
    use serde_json::{Value, json};
    use std::os::unix::fs::PermissionsExt;

    /// What `run` printed, and the file it wrote in a directory of its own.
    fn init(answers: &str) -> (String, Value) {
        let directory = tempfile::tempdir().unwrap();
        let output = init_in(directory.path(), answers).unwrap();
        let text = fs::read_to_string(directory.path().join("config.json")).unwrap();
        (output, serde_json::from_str(&text).unwrap())
    }

    fn init_in(directory: &Path, answers: &str) -> io::Result<String> {
        let mut output = Vec::new();
        run(&mut answers.as_bytes(), None, &mut output, directory)?;
        Ok(String::from_utf8(output).unwrap())
    }

    /// Takes the hash out of `settings`, which must be one of `secret`.
    fn check_hash(settings: &mut Value, secret: &str) {
        let hash = settings["auth_password"].take();
        let hash = hash.as_str().unwrap();
        assert!(hash.starts_with("$2b$10$") && bcrypt::verify(secret, hash).unwrap(), "{hash}");
    }

    #[test]
    fn gu_001_without_answers_all_defaults_are_written() {
        let (_, mut settings) = init("");
        check_hash(&mut settings, "accountpassword");
        let defaults = json!({
            "auth_account": "account", "auth_password": null, "environment": "DEBUG", "logfile": "console",
            "listen": ":8001", "api_listen": ":8002", "sqlfile": "./appdata.sqlite", "max_wait_hook": 100,
        });
        assert_eq!(settings, defaults);
    }

    #[test]
    fn gu_002_each_answer_lands_in_its_field() {
        let (_, mut settings) = init(":1\n :2 \nboss\nse cret\nx.db\nx.log\nDEVELOPMENT\r\n7\n");
        check_hash(&mut settings, "bossse cret");
        let expected = json!({
            "auth_account": "boss", "auth_password": null, "environment": "DEVELOPMENT", "logfile": "x.log",
            "listen": ":1", "api_listen": ":2", "sqlfile": "x.db", "max_wait_hook": 7,
        });
        assert_eq!(settings, expected);
    }

    #[test]
    fn gu_003_only_known_environments_are_accepted() {
        for (answer, accepted) in
            [("foo", "DEBUG"), ("PRODUCTION", "PRODUCTION"), ("DEVELOPMENT", "DEVELOPMENT")]
        {
            assert_eq!(init(&format!("\n\n\n\n\n\n{answer}\n")).1["environment"], accepted);
        }
    }

    #[test]
    fn gu_004_only_possible_numbers_of_hook_workers_are_accepted() {
        for (answer, accepted) in [("abc", 100), ("7", 7), ("0", 100), ("99999999999999999999", 100)] {
            assert_eq!(init(&format!("{}{answer}", "\n".repeat(7))).1["max_wait_hook"], accepted);
        }
    }

    #[test]
    fn gu_005_the_hash_and_not_the_password_is_written() {
        let (_, mut settings) = init("\n\nboss\nswordfish\n");
        assert!(!settings.to_string().contains("swordfish"));
        check_hash(&mut settings, "bossswordfish");
    }

    #[test]
    fn gu_007_the_password_is_never_shown_and_the_last_line_tells_success() {
        let (output, _) = init("\n\nboss\nswordfish\n");
        assert!(!output.contains("swordfish"));
        assert!(!output.contains("$2b$"), "not even its hash is shown");
        assert!(output.lines().last().unwrap().contains("Scuess"));
    }

    #[test]
    fn a_person_types_the_password_where_the_terminal_does_not_show_it() {
        let directory = tempfile::tempdir().unwrap();
        let hidden: ReadHidden = || Ok("swordfish".to_owned());
        let mut output = Vec::new();
        run(&mut "\n\nboss\nx.db\n".as_bytes(), Some(hidden), &mut output, directory.path()).unwrap();
        let text = fs::read_to_string(directory.path().join(FILE)).unwrap();
        let mut settings: Value = serde_json::from_str(&text).unwrap();
        check_hash(&mut settings, "bossswordfish");
        assert_eq!(settings["sqlfile"], "x.db");
    }

    #[test]
    fn the_default_password_within_reach_of_others_is_warned_of() {
        let warning = |answers: &str| {
            let directory = tempfile::tempdir().unwrap();
            run(&mut answers.as_bytes(), None, &mut Vec::new(), directory.path()).unwrap()
        };
        assert!(warning("").unwrap().contains(":8002"));
        assert_eq!(warning("\n127.0.0.1:8002\n"), None);
        assert_eq!(warning("\n\n\nswordfish\n"), None);
    }

    #[test]
    fn every_answer_is_echoed_on_its_own_line() {
        let (output, _) = init(":1\n\nboss\nswordfish\n\n\nfoo\nabc\n");
        let echoes: Vec<&str> = output.lines().filter_map(|line| line.strip_prefix("Input: ")).collect();
        assert_eq!(echoes, [":1", ":8002", "boss", MASK, "./appdata.sqlite", "console", "DEBUG", "100"]);
    }

    #[test]
    fn gu_006_the_file_is_private_and_the_old_one_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("config.json"), "old").unwrap();
        fs::write(path("config.json.new"), "left over").unwrap();
        let output = init_in(directory.path(), "").unwrap();
        assert!(output.starts_with("config.json is there already"), "{output}");
        assert_eq!(fs::read_to_string(path("config.json.bak")).unwrap(), "old");
        assert_eq!(fs::metadata(path("config.json")).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!path("config.json.new").exists());
    }

    #[test]
    fn too_long_a_password_is_refused_and_nothing_is_touched() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("config.json"), "old").unwrap();
        let answers = |bytes: usize| format!("\n\na\n{}\n", "p".repeat(bytes));
        let error = init_in(directory.path(), &answers(72)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("72 bytes"));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        init_in(directory.path(), &answers(71)).unwrap();
    }

    #[test]
    fn an_address_that_a_start_would_refuse_is_refused_at_once() {
        let directory = tempfile::tempdir().unwrap();
        for answers in ["foo\n", ":1\n:x\n"] {
            let error = init_in(directory.path(), answers).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains("listen address must be [host]:port"), "{error}");
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_cannot_be_written_fails_before_the_first_question() {
        let mut output = Vec::new();
        assert!(run(&mut "".as_bytes(), None, &mut output, Path::new("/proc")).is_err());
        assert!(output.is_empty());
    }

    #[test]
    fn what_is_written_is_a_configuration() {
        let directory = tempfile::tempdir().unwrap();
        init_in(directory.path(), "").unwrap();
        let file = directory.path().join("config.json");
        let config = read::load(Some(&file), [], &read::Overlay::default()).unwrap();
        assert_eq!((config.max_wait_hook, config.warnings.len()), (100, 0));
    }
}
