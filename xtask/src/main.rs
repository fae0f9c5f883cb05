//! The chores of the project, one command each: `cargo xtask test`, `check`, `instructions`, `autobahn`, `ci`.
//!
//! Each chore runs other programs, shows what it runs, and stops at the first that fails, with its exit code. It
//! depends on the standard library alone, so that it is built in a second.

mod instructions;

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

const USAGE: &str = "\
Usage: cargo xtask <chore>

  test          all tests, those in the documentation included
  check         formatting, lints, documentation, licences and banned crates
  instructions  instructions per delivery against benches/instructions.txt; INSTRUCTIONS=rewrite takes the new figure
  autobahn      the Autobahn test suite against examples/echo; AUTOBAHN_RUN names its runner script
  ci            check, test, instructions, autobahn";

/// The groups of Autobahn's cases that concern us: framing, pings, reserved bits, opcodes, fragmentation, UTF-8, closing,
/// limits, automatic fragmentation, compression, and how it is agreed on.
const AUTOBAHN_CASES: &str = r#"["1.*","2.*","3.*","4.*","5.*","6.*","7.*","9.*","10.*","12.*","13.*"]"#;

/// What is tried once more with one `send()` for each socket, where the kernel permits another way by default.
const DELIVERY_TESTS: &[&str] = &[
    "allocations",
    "push",
    "pusher",
    "pusher_messages",
    "sockets",
    "world",
    "world_channels",
    "world_crowds",
];

/// What is tried once more over TLS: essential cases of each dialect.
const TLS_TESTS: &[&str] = &["cluster_sockets", "push", "pusher_messages"];

/// A chore that failed, with the exit code to hand on. What went wrong has been printed by then.
struct Failed(u8);

type Outcome = Result<(), Failed>;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["test"] => test(),
        ["check"] => check(),
        ["autobahn"] => autobahn(),
        ["instructions"] => instructions::check(),
        ["ci"] => {
            check().and_then(|()| test()).and_then(|()| instructions::check()).and_then(|()| autobahn())
        }
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => {
            eprintln!("{USAGE}");
            Err(Failed(2))
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(code)) => ExitCode::from(code),
    }
}

/// All of them, also behind a failure, so that one run names everything that fails.
fn test() -> Outcome {
    let outcomes = [
        run(cargo(&["test", "--workspace", "--all-targets", "--no-fail-fast"])),
        run(again(DELIVERY_TESTS, "TEST_SEND", "send")),
        run(again(TLS_TESTS, "TEST_TLS", "true")),
        // `--all-targets` leaves these out.
        run(cargo(&["test", "--workspace", "--doc"])),
    ];
    outcomes.into_iter().collect()
}

/// Some tests, with a variable in their environment.
fn again(tests: &[&str], variable: &str, value: &str) -> Command {
    let mut command = cargo(&["test", "--no-fail-fast"]);
    tests.iter().for_each(|test| {
        command.args(["--test", test]);
    });
    command.env(variable, value);
    command
}

fn check() -> Outcome {
    run(cargo(&["fmt", "--all", "--", "--check"]))?;
    run(cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    let mut doc = cargo(&["doc", "--workspace", "--no-deps"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    run(doc)?;
    deny()
}

/// Licences and banned crates, where cargo-deny is at hand. Its advisories are left out: they need a database from
/// outside.
fn deny() -> Outcome {
    let installed = cargo(&["deny", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if installed.is_ok_and(|status| status.success()) {
        return run(cargo(&["deny", "check", "--hide-inclusion-graph", "licenses", "bans"]));
    }
    eprintln!("xtask: licences and banned crates are not checked: cargo-deny is not installed");
    Ok(())
}

fn autobahn() -> Outcome {
    let script = env::var_os("AUTOBAHN_RUN")
        .map_or_else(|| root().join("../shared/tools/autobahn/run.sh"), PathBuf::from);
    if !script.is_file() {
        eprintln!("xtask: Autobahn is not run: there is no runner script at {}", script.display());
        return missing();
    }
    run(cargo(&["build", "--example", "echo"]))?;
    let echo = Echo::start()?;
    let mut suite = Command::new("bash");
    suite.arg(script).arg(format!("ws://{}/", echo.address)).env("CASES", AUTOBAHN_CASES);
    // Its last line are the totals.
    run(suite)
}

/// Something to check with is not there: a failure where everything has to be checked.
fn missing() -> Outcome {
    if env::var("CI").as_deref() == Ok("true") { Err(Failed(1)) } else { Ok(()) }
}

/// A running echo server, ended when dropped.
struct Echo {
    process: Child,
    /// Where it listens, `ip:port`.
    address: String,
}

impl Echo {
    fn start() -> Result<Self, Failed> {
        // On Unix cargo becomes the program it runs, so ending the child ends the server.
        let mut command = cargo(&["run", "--quiet", "--example", "echo", "--", "127.0.0.1:0"]);
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed(&command, &error))?;
        let mut echo = Self { process, address: String::new() };
        let mut line = String::new();
        if let Some(stdout) = echo.process.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).map_err(|error| failed(&command, &error))?;
        }
        match line.trim().strip_prefix("ws://") {
            Some(address) => echo.address = address.to_owned(),
            None => {
                return Err(failed(&command, &format!("expected `ws://ADDRESS`, got `{}`", line.trim())));
            }
        }
        Ok(echo)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The cargo that runs us, at the root of the repository.
fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.args(arguments).current_dir(root());
    command
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn run(mut command: Command) -> Outcome {
    eprintln!("$ {}", spelled(&command));
    let status = command.status().map_err(|error| failed(&command, &error))?;
    if status.success() {
        return Ok(());
    }
    eprintln!("xtask: `{}` failed: {status}", spelled(&command));
    // Ended by a signal, it has no code; beyond 255 there is none on Unix.
    Err(Failed(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

fn failed(command: &Command, reason: &dyn std::fmt::Display) -> Failed {
    eprintln!("xtask: `{}`: {reason}", spelled(command));
    Failed(1)
}

/// A command as one would type it, near enough.
fn spelled(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
