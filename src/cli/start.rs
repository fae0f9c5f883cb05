//! `gusher start`: reads the settings, serves, and stops when told to.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::app::shell_word;
use super::first_app::FirstApp;
use super::log::{self, Logging};
use super::{Failure, StartArgs};
use crate::config::read::{self, DEV_PASSWORD, Effective, Overlay};
use crate::config::{Config, ConfigError};
use crate::model::App;
use crate::node::{Node, StartError};

/// What a path segment holds as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The variable whose absence leaves a trial run with its known password.
const PASSWORD_VARIABLE: &str = "GUSHER_AUTH_PASSWORD";

/// The exit status of a process that a second signal ended: 128 and the number of SIGINT.
const INTERRUPTED: i32 = 130;

/// Serves until a signal says stop.
///
/// # Errors
/// The settings are wrong, or the node cannot start.
pub fn run(args: &StartArgs) -> Result<(), Failure> {
    let config = settings(args)?;
    let named = FirstApp::find(variable)?;
    let first = named.or_else(|| args.dev.then(FirstApp::demo)).map(|app| app.into_app(&config));
    serve(&config, first.as_ref(), |node| {
        tracing::info!(listen = told(node.public), api_listen = told(node.private), "listening");
        if let (Some(app), true) = (&first, args.dev) {
            // Nobody may be reading; then there is nobody to be told what to type.
            let _ = std::io::stdout().write_all(invitation(node, &config, app).as_bytes());
        }
    })
}

/// An address that a node listens on.
pub(super) fn told(address: Option<SocketAddr>) -> String {
    address.map(|address| address.to_string()).unwrap_or_default()
}

/// Runs a node until a signal says stop. It listens when `announce` is called.
pub(super) fn serve(
    config: &Config,
    first: Option<&App>,
    announce: impl FnOnce(&Node),
) -> Result<(), Failure> {
    let logging = log::start(&config.log)?;
    for warning in config.warnings.iter().chain(&logging.warning) {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(until_stopped(config, first, announce, &logging));
    // Whoever did not finish within the grace time is not waited for.
    runtime.shutdown_background();
    served
}

/// What file, environment and flags come to.
///
/// # Errors
/// `Usage` for flags that contradict each other, `Configuration` with all that is wrong in one line.
fn settings(args: &StartArgs) -> Result<Config, Failure> {
    let read = effective(args)?.map_err(|error: ConfigError| Failure::Configuration(error.to_string()))?;
    Ok(read.config)
}

/// What file, environment and flags come to, or what is wrong with them.
///
/// # Errors
/// `Usage` for flags that contradict each other.
pub(super) fn effective(args: &StartArgs) -> Result<Result<Effective, ConfigError>, Failure> {
    let mut flags = Overlay::default();
    let texts = [
        ("listen", args.listen.clone()),
        ("api_listen", args.api_listen.clone()),
        ("sqlfile", args.sqlfile.as_ref().map(|file| file.to_string_lossy().into_owned())),
        ("logfile", args.logfile.clone()),
        ("environment", args.environment.clone()),
        ("max_wait_hook", args.max_wait_hook.map(|number| number.to_string())),
    ];
    for (key, value) in texts {
        value.into_iter().for_each(|value| flags.set(key, value));
    }
    Ok(match (args.dev, &args.config) {
        (true, Some(_)) => {
            return Err(Failure::Usage("--dev takes no --config: it runs without one".to_owned()));
        }
        (true, None) => read::effective_dev(read::environment(), &flags),
        (false, file) => read::effective(file.as_deref(), read::environment(), &flags),
    })
}

/// A variable of the environment, unless it is empty.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

async fn until_stopped(
    config: &Config,
    first: Option<&App>,
    announce: impl FnOnce(&Node),
    logging: &Logging,
) -> Result<(), Failure> {
    // Before anything else, so that a signal during the start is not lost.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let node = Node::start(config, first).await.map_err(failed)?;
    announce(&node);
    tokio::select! {
        () = either(&mut terminate, &mut interrupt) => {}
        () = reload_when_told(config, &node) => {}
    }
    tracing::info!("stopping");
    tokio::select! {
        () = node.stop() => Ok(()),
        () = either(&mut terminate, &mut interrupt) => {
            logging.flush();
            std::process::exit(INTERRUPTED)
        }
    }
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

/// Has the certificate read again at each SIGHUP. Without one the signal keeps its meaning: the terminal is gone, and so is
/// what was started in it.
async fn reload_when_told(config: &Config, node: &Node) {
    let hangup = config.tls.as_ref().map(|_| signal(SignalKind::hangup()));
    match hangup {
        Some(Ok(mut hangup)) => {
            while hangup.recv().await.is_some() {
                node.reload();
            }
        }
        Some(Err(error)) => tracing::warn!(%error, "SIGHUP cannot be heard: files are read when they change"),
        None => {}
    }
    std::future::pending().await
}

fn failed(error: StartError) -> Failure {
    Failure::Runtime(error.to_string())
}

/// What to type next; each line works as it stands. A password that somebody chose is known here by its hash alone, so
/// curl is left to ask for it.
fn invitation(node: &Node, config: &Config, app: &App) -> String {
    let account = &config.admin.account;
    let gusher = std::env::args().next().unwrap_or_else(|| "gusher".to_owned());
    let gusher =
        if Path::new(&gusher).is_absolute() || gusher.contains('/') { gusher } else { "gusher".to_owned() };
    let user = match variable(PASSWORD_VARIABLE) {
        Some(_) => account.clone(),
        None => format!("{account}:{DEV_PASSWORD}"),
    };
    let (Some(public), Some(private)) = (node.public, node.private) else { return String::new() };
    let (ws, scheme) = if config.tls.is_some() { ("wss", "https") } else { ("ws", "http") };
    let api = if config.tls.as_ref().is_some_and(|tls| tls.is_private_too) { "https" } else { "http" };
    format!(
        "Gusher runs, and forgets everything when it stops. In another terminal, receive:\n\
         \n  {gusher} listen {key} alice --url {ws}://{public}\n\
         \nand in a third one, publish to her:\n\
         \n  curl -u {user} -d content=hello -d user_tag='^alice$' {api}://{private}/api/push/{segment}\n\
         \nOr use any Pusher SDK; its backend's .env:\n\
         \n  PUSHER_APP_ID={id}\n  PUSHER_APP_KEY={key}\n  PUSHER_APP_SECRET={secret}\n  \
         PUSHER_HOST={host}\n  PUSHER_PORT={port}\n  PUSHER_SCHEME={scheme}\n\n",
        key = shell_word(app.key.as_str()),
        user = shell_word(&user),
        segment = utf8_percent_encode(app.key.as_str(), SEGMENT),
        id = app.id,
        secret = shell_word(&app.secret.0),
        host = public.ip(),
        port = public.port(),
    )
}
