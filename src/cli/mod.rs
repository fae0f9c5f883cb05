//! The command line: what may be typed, and which code carries it out.
//!
//! Here are the command table, the ways a command can fail, and the exit codes. `init`, `hash`, `start`, `slave` and `master` belong
//! to the server; `check`, `doctor` and `config` look at what a start would meet; `healthcheck`, `listen`, `push`, `app` and those below
//! it in the table are clients of a running one and speak to it over the network like anybody else.
//! Always true: a command returns its error instead of printing it, and no secret is ever printed.

use std::fmt;
use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::config::RoleName;

mod address;
mod api;
pub mod app;
pub mod bench;
pub mod check;
pub mod config;
pub mod doctor;
pub mod env;
mod finding;
mod first_app;
pub mod hash;
pub mod healthcheck;
pub mod import;
pub mod init;
mod known_password;
pub mod listen;
pub mod log;
pub mod log_level;
mod place;
pub mod push;
pub mod role;
mod service;
pub mod settings;
pub mod shell;
mod stage;
pub mod start;
pub mod tail;
pub mod trigger;
mod trust;
mod zone;

/// Everything that may be typed after `gusher`.
#[derive(Parser)]
#[command(
    name = "gusher",
    version,
    about = "A realtime push server: backends publish over HTTP, browsers and apps receive over WebSocket",
    disable_version_flag = true,
    after_help = ROOT_EXAMPLES
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// Print the name and the version
    // clap's own flag knows only the capital letter.
    #[arg(long, short = 'V', visible_short_alias = 'v', action = ArgAction::Version)]
    pub version: (),
}

const ROOT_EXAMPLES: &str = "\
Examples:
  gusher init                        write ./config.json, answering eight questions
  gusher start                       serve what it says
  gusher app add demo --admin-account backend --admin-password secret
  gusher listen demo alice           receive, in one terminal
  gusher push demo hello             publish, in another

push and app ask the private API: give them the password of the super admin (or, for push and
app remove, of the app's admin) in GUSHER_PASSWORD.";

/// The commands, in the order in which a newcomer needs them.
#[derive(Subcommand)]
pub enum Command {
    /// Ask eight questions and write ./config.json
    #[command(after_help = "\
Examples:
  gusher init
  gusher init </dev/null             take every default")]
    Init,
    /// Print the hash of a password, as the configuration holds it
    #[command(after_help = "\
Examples:
  gusher hash                        reads the password from stdin; a terminal shows it
  GUSHER_AUTH_PASSWORD=\"$(pass show gusher | gusher hash --account root)\"

It is of the account directly followed by the password, so it is good for this account alone.")]
    Hash(hash::HashArgs),
    /// Serve until told to stop
    #[command(after_help = "\
Examples:
  gusher start
  gusher start --config /etc/gusher/config.json
  gusher start --dev --listen 127.0.0.1:9001

With PUSHER_APP_ID, PUSHER_APP_KEY and PUSHER_APP_SECRET in the environment, that app is
registered unless it is there.")]
    Start(StartArgs),
    /// Serve the clients of Gusher Cluster, one of many nodes
    #[command(
        visible_alias = "sl",
        after_help = "\
Examples:
  gusher slave
  gusher slave --env-file slave.env

It is set up by the variables of the original: GUSHER_NATS_ADDR, GUSHER_PUBLIC_PEM_FILE and
GUSHER_API_LISTEN are needed, docs/cluster.md has all of them."
    )]
    Slave(role::RoleArgs),
    /// Serve the backends of Gusher Cluster, one of many nodes
    #[command(
        visible_alias = "ma",
        after_help = "\
Examples:
  gusher master
  gusher master --env-file master.env

It is set up by the variables of the original: GUSHER_NATS_ADDR and GUSHER_MASTER_API_LISTEN are
needed, and GUSHER_MASTER_TOKEN, which backends show as bearer. docs/cluster.md has all of them."
    )]
    Master(role::RoleArgs),
    /// Receive as one user of an app, one message per line
    #[command(after_help = "\
Examples:
  gusher listen demo alice
  gusher listen demo alice --count 1
  gusher listen wss://push.example.com/ws/demo alice --token \"$TOKEN\"

A message that holds line breaks itself takes as many lines. Ends with status 0 on Ctrl-C and
after --count messages, with 1 when the server refuses or closes.")]
    Listen(listen::ListenArgs),
    /// Send a text to the users of an app who are online
    #[command(after_help = "\
Examples:
  gusher push demo hello
  gusher push demo '{\"price\":3}' --to '^alice$'
  printf %s \"$TEXT\" | gusher push demo -")]
    Push(push::PushArgs),
    /// Add, list, set or remove apps
    #[command(
        subcommand,
        after_help = "\
Examples:
  gusher app add demo --admin-account backend --admin-password secret
  gusher app list
  gusher app set demo max_connections=500
  gusher app remove demo"
    )]
    App(app::AppCommand),
    /// Measure a server, or the kernel alone
    #[command(
        subcommand,
        after_help = "\
Examples:
  gusher bench fanout --pid \"$(pidof gusher)\"
  gusher bench fanout --subscribers 10000 --rate 2 --floor send --rounds 3
  gusher bench floor --way send,uring,ten

Server and app are those of PUSHER_HOST, PUSHER_PORT, PUSHER_APP_ID, PUSHER_APP_KEY and
PUSHER_APP_SECRET, else those of `gusher start --dev`. What it costs the server is known of
the processes named with --pid."
    )]
    Bench(bench::BenchCommand),
    /// Try whether a node would start with this configuration
    #[command(after_help = "\
Examples:
  gusher check
  gusher check --config /etc/gusher/config.json
  gusher check --running --json          while the node runs, for a program

Takes the flags of gusher start. Changes nothing: a database that is not there is not made. Exit
status 0 when it would start, 78 when the configuration cannot be used, 1 when something else
does not work.")]
    Check(check::CheckArgs),
    /// Look whether this machine is fit for many sockets
    #[command(after_help = "\
Examples:
  gusher doctor
  gusher doctor --json

Exit status 1 when something has to be mended first; what could only be better is a warning.")]
    Doctor(doctor::DoctorArgs),
    /// Ask a running node whether it lives, for a supervisor
    #[command(after_help = "\
Examples:
  gusher healthcheck
  gusher healthcheck --config /etc/gusher/config.json
  gusher healthcheck --ready --api http://10.0.0.5:8002

Exit status 0 when the node says that it is well, 1 when it says anything else or nothing within
three seconds.")]
    Healthcheck(healthcheck::HealthcheckArgs),
    /// Show the settings that count, or the file of all defaults
    #[command(
        subcommand,
        after_help = "\
Examples:
  gusher config show
  gusher config template > config.json"
    )]
    Config(config::ConfigCommand),
    /// Show how much a running node logs, or change it
    #[command(after_help = "\
Examples:
  gusher log-level
  gusher log-level debug
  gusher log-level info --api http://10.0.0.5:8002

What is set holds until it is set again, or the node reads its configuration again (SIGHUP) or is
started again: then the setting `environment` counts.")]
    LogLevel(log_level::LogLevelArgs),
    /// Print what points an SDK at this server, for one app
    #[command(after_help = "\
Examples:
  gusher env laravel demo >> .env
  gusher env node demo --host push.example.com --scheme https
  gusher env python --app-id 1 --key demo --secret demo-secret

Id and secret are asked of the private API, unless --app-id, --key and --secret, or PUSHER_APP_ID,
PUSHER_APP_KEY and PUSHER_APP_SECRET, give them. Host and port are those of the configuration
unless you say where clients find the server.")]
    Env(env::EnvArgs),
    /// Publish an event through the signed API of Pusher Channels
    #[command(after_help = "\
Examples:
  gusher trigger news update '{\"price\":3}'
  gusher trigger news update --info subscription_count
  printf %s \"$DATA\" | gusher trigger news update -

Server and app are those of PUSHER_HOST, PUSHER_PORT, PUSHER_SCHEME, PUSHER_APP_ID, PUSHER_APP_KEY
and PUSHER_APP_SECRET, else those of `gusher start --dev`.")]
    Trigger(trigger::TriggerArgs),
    /// Receive what happens in channels, one event per line
    #[command(after_help = "\
Examples:
  gusher tail demo news
  gusher tail demo news prices --count 10 --json
  gusher tail demo private-orders presence-room

A line has the channel, the event and its data, with tabs between them. Ends with status 0 on Ctrl-C
and after --count events, with 1 when the server refuses or closes.")]
    Tail(tail::TailArgs),
    /// Take over apps and settings from soketi, Sockudo or Reverb
    #[command(after_help = "\
Examples:
  gusher import soketi config.json --dry-run
  gusher import sockudo config.json --output gusher.json
  gusher import reverb .env --api http://127.0.0.1:8002

Adds the apps to a running node and prints the settings for the configuration file; with --output
writes those and adds nothing. Everything that has no equivalent is named.")]
    Import(import::ImportArgs),
    /// Print what a shell needs to complete these commands
    #[command(after_help = "\
Examples:
  gusher completions bash > /etc/bash_completion.d/gusher
  gusher completions zsh > \"${fpath[1]}/_gusher\"
  gusher completions fish > ~/.config/fish/completions/gusher.fish
  gusher completions powershell >> $PROFILE")]
    Completions(shell::CompletionsArgs),
    /// Print a manual page
    #[command(after_help = "\
Examples:
  gusher man | man -l -
  gusher man app add | man -l -
  gusher man --dir /usr/local/share/man/man1     a page for each command")]
    Man(shell::ManArgs),
}

/// How to start the server. A flag beats the configuration file.
#[derive(Args)]
pub struct StartArgs {
    /// Configuration file [default: ./config.json, else ./default.json]
    #[arg(long, visible_alias = "conf", short = 'c', value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Run without a configuration file, with settings for trying things out
    #[arg(long)]
    pub dev: bool,
    /// Address of the public listener (websockets), as HOST:PORT or :PORT
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Address of the private listener (the API), as HOST:PORT or :PORT
    #[arg(long, value_name = "ADDRESS")]
    pub api_listen: Option<String>,
    /// Database file
    #[arg(long, value_name = "FILE")]
    pub sqlfile: Option<PathBuf>,
    /// Log file, or the word console for stderr
    #[arg(long, value_name = "FILE")]
    pub logfile: Option<String>,
    /// How much is logged: DEBUG, DEVELOPMENT or PRODUCTION
    #[arg(long, value_name = "NAME")]
    pub environment: Option<String>,
    /// Connect-hook requests that may be in flight at once
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub max_wait_hook: Option<i64>,
}

/// Why a command ended without having done its work; each variant has its own exit code.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// It was asked well and did not work: nobody there, refused, closed.
    Runtime(String),
    /// It was asked wrongly.
    Usage(String),
    /// The configuration file cannot be used.
    Configuration(String),
    /// Whoever read our stdout has gone (`gusher listen demo a | head -1`). Nobody is left to be told anything.
    OutputGone,
}

impl Failure {
    /// The exit status: 1 runtime, 2 usage, 78 configuration (`EX_CONFIG` of sysexits.h), 0 when the reader left.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Runtime(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Configuration(_) => 78,
            Failure::OutputGone => 0,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Runtime(text) | Failure::Usage(text) | Failure::Configuration(text) => {
                formatter.write_str(text)
            }
            Failure::OutputGone => formatter.write_str("nobody reads the output"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::OutputGone,
            _ => Failure::Runtime(error.to_string()),
        }
    }
}

/// Carries out one command.
///
/// # Errors
/// The reason in words fit for one line on stderr; see [`Failure`] for what the variants mean.
pub fn run(cli: &Cli) -> Result<(), Failure> {
    match &cli.command {
        Command::Init => {
            let typed: Option<init::ReadHidden> =
                io::stdin().is_terminal().then_some(rpassword::read_password as _);
            let written = init::run(&mut io::stdin().lock(), typed, &mut io::stdout(), Path::new("."));
            match written {
                Ok(warning) => {
                    warning.into_iter().for_each(|warning| tell(&format!("gusher: WARNING: {warning}")));
                    Ok(())
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    Err(Failure::Configuration(error.to_string()))
                }
                Err(error) => Err(Failure::from(error)),
            }
        }
        Command::Hash(args) => hash::run(args),
        Command::Start(args) => start::run(args),
        Command::Slave(args) => role::run(RoleName::Slave, args),
        Command::Master(args) => role::run(RoleName::Master, args),
        Command::Listen(args) => listen::run(args),
        Command::Push(args) => push::run(args),
        Command::App(command) => app::run(command),
        Command::Bench(command) => bench::run(command),
        Command::Check(args) => check::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Healthcheck(args) => healthcheck::run(args),
        Command::Config(command) => config::run(command),
        Command::LogLevel(args) => log_level::run(args),
        Command::Env(args) => env::run(args),
        Command::Trigger(args) => trigger::run(args),
        Command::Tail(args) => tail::run(args),
        Command::Import(args) => import::run(args),
        Command::Completions(args) => shell::completions(args),
        Command::Man(args) => shell::man(args),
    }
}

/// Runs a client command's one piece of waiting. One thread is plenty for one socket or one request.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

/// Writes one line to stdout and flushes it, so that a reader on a pipe has it at once.
fn print_line(line: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(line.as_bytes())?;
    stdout.write_all(b"\n")?;
    Ok(stdout.flush()?)
}

/// Writes one line to stderr. When stderr is closed the line is lost, and nothing else changes.
pub fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// A server's words, made fit for one line on a terminal: no control characters, at most 300 characters.
fn one_line(text: &str) -> String {
    text.trim().chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// Every command of the tree with the words that reach it.
    fn all_commands(command: &clap::Command, path: &str) -> Vec<(String, clap::Command)> {
        let mut found = vec![(path.to_owned(), command.clone())];
        for child in command.get_subcommands() {
            found.extend(all_commands(child, &format!("{path} {}", child.get_name())));
        }
        found
    }

    fn start_args(words: &[&str]) -> StartArgs {
        match Cli::try_parse_from([&["gusher", "start"], words].concat()).map(|cli| cli.command) {
            Ok(Command::Start(args)) => args,
            _ => panic!("{words:?} is no start"),
        }
    }

    #[test]
    fn the_command_table_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_help_shows_an_example_that_begins_with_the_command() {
        for (path, mut command) in all_commands(&Cli::command(), "gusher") {
            let help = command.render_long_help().to_string();
            let examples = help.split_once("Examples:\n").map_or("", |(_, examples)| examples);
            assert!(examples.contains(&format!("  {path}")), "`{path} --help` has no example:\n{help}");
        }
    }

    #[test]
    fn help_never_shows_a_secret_of_the_environment() {
        for (path, command) in all_commands(&Cli::command(), "gusher") {
            for arg in command.get_arguments() {
                let name = arg.get_env().unwrap_or_default().to_string_lossy();
                let secret = ["PASSWORD", "TOKEN", "SECRET"].iter().any(|word| name.contains(word));
                assert!(!secret || arg.is_hide_env_values_set(), "`{path} --help` shows the value of {name}");
            }
        }
    }

    #[test]
    fn a_start_takes_no_offence_at_the_variables_of_other_commands() {
        for (path, command) in all_commands(&Cli::command(), "gusher") {
            for name in command.get_arguments().filter_map(clap::Arg::get_env) {
                let variable = (name.to_string_lossy().into_owned(), "x".to_owned());
                let config = crate::config::read::dev([variable], &Default::default()).unwrap();
                assert_eq!(config.warnings, [""; 0], "`{path}` reads it");
            }
        }
    }

    #[test]
    fn gc_004_the_roles_have_two_names_each() {
        for (words, is_slave) in [(["slave", "sl"], true), (["master", "ma"], false)] {
            for word in words {
                let cli = Cli::try_parse_from(["gusher", word, "-e", "a.env", "-d"]);
                let args = match cli.map(|cli| cli.command) {
                    Ok(Command::Slave(args)) if is_slave => args,
                    Ok(Command::Master(args)) if !is_slave => args,
                    _ => panic!("{word} is no role"),
                };
                assert_eq!((args.env_file.as_deref(), args.debug), (Some(Path::new("a.env")), true));
            }
        }
    }

    #[test]
    fn version_has_three_spellings() {
        for flag in ["--version", "-V", "-v"] {
            let Err(answer) = Cli::try_parse_from(["gusher", flag]) else {
                panic!("{flag} did not stop parsing")
            };
            assert_eq!(answer.to_string(), concat!("gusher ", env!("CARGO_PKG_VERSION"), "\n"), "{flag}");
            assert_eq!(answer.exit_code(), 0, "{flag}");
        }
    }

    #[test]
    fn gu_009_the_configuration_flag_has_three_spellings() {
        for flag in ["--config", "--conf", "-c"] {
            assert_eq!(
                start_args(&[flag, "there.json"]).config.as_deref(),
                Some(Path::new("there.json")),
                "{flag}"
            );
        }
    }

    #[test]
    fn start_accepts_every_setting_as_a_flag() {
        let args = start_args(&[
            "--dev",
            "--listen",
            ":1",
            "--api-listen",
            ":2",
            "--sqlfile",
            "s",
            "--logfile",
            "l",
            "--environment",
            "e",
            "--max-wait-hook",
            "-1",
        ]);
        assert!(args.dev);
        assert_eq!((args.listen.as_deref(), args.api_listen.as_deref()), (Some(":1"), Some(":2")));
        assert_eq!((args.sqlfile, args.logfile.as_deref()), (Some(PathBuf::from("s")), Some("l")));
        assert_eq!((args.environment.as_deref(), args.max_wait_hook), (Some("e"), Some(-1)));
    }

    #[test]
    fn a_reader_that_left_is_no_error() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.exit_code(), failure), (0, Failure::OutputGone));
    }

    #[test]
    fn a_server_s_words_become_one_harmless_line() {
        assert_eq!(one_line(" no\u{1b}[31m\nway\r\n"), "no [31m way");
        assert_eq!(one_line(&"x".repeat(1000)).len(), 300);
    }
}
