//! `gusher start`: reads the settings, serves, and stops when told to.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::app::shell_word;
use super::first_app::FirstApp;
use super::log::{self, Logging};
use super::{Failure, StartArgs, known_password, service, tell};
use crate::config::read::{self, DEV_PASSWORD, Effective, Overlay};
use crate::config::{Config, ConfigError, Level, LogTarget};
use crate::model::App;
use crate::node::{Inherited, Node, StartError};

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
    let reread = || settings(args);
    // A trial run has no file to read again, unless it is one of a certificate.
    let hears_hangup = !args.dev || config.tls.is_some();
    let reread = hears_hangup.then_some(&reread as _);
    serve(&Serving { config: &config, first: first.as_ref(), reread }, |node| {
        tracing::info!(listen = told(node.public), api_listen = told(node.private), "listening");
        if config.log.level == Level::Warn {
            let fields = [("listen", told(node.public).into()), ("api_listen", told(node.private).into())];
            let line = log::Form::of(&config.log).line("info", "listening", fields);
            // The log holds warnings only; a person who starts a node still wants to know. Perhaps nobody reads it.
            let _ = std::io::stdout().write_all(line.as_bytes());
        }
        warn_of_known_password(&config);
        if let (Some(app), true) = (&first, args.dev) {
            // Nobody may be reading; then there is nobody to be told what to type.
            let _ = std::io::stdout().write_all(invitation(node, &config, app).as_bytes());
        }
    })
}

/// In the log, and on standard error where the log goes to a file that nobody may look at today. On a thread of its own, so
/// that bcrypt delays no client.
fn warn_of_known_password(config: &Config) {
    let config = config.clone();
    let warn = move || {
        let Some(warning) = known_password::warning(&config) else { return };
        tracing::warn!("{warning}");
        if config.log.target != LogTarget::Console {
            tell(&format!("gusher: WARNING: {warning}"));
        }
    };
    // Without a thread the node serves on, unwarned.
    let _ = std::thread::Builder::new().name("password".to_owned()).spawn(warn);
}

/// An address that a node listens on.
pub(super) fn told(address: Option<SocketAddr>) -> String {
    address.map(|address| address.to_string()).unwrap_or_default()
}

/// Reads the settings from where they were read at the start.
pub(super) type Reread<'a> = &'a dyn Fn() -> Result<Config, Failure>;

/// What a process that serves is given.
pub(super) struct Serving<'a> {
    /// The settings.
    pub config: &'a Config,
    /// An app that is there before anybody is let in.
    pub first: Option<&'a App>,
    /// Reads the settings again. Without it SIGHUP keeps its meaning: the terminal is gone, and so is what was started in it.
    pub reread: Option<Reread<'a>>,
}

/// Runs a node until a signal says stop. It listens when `announce` is called.
pub(super) fn serve(serving: &Serving<'_>, announce: impl FnOnce(&Node)) -> Result<(), Failure> {
    // Before anything is opened.
    let inherited = service::listeners()?;
    let logging = log::start(&serving.config.log)?;
    for warning in serving.config.warnings.iter().chain(&logging.warning) {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(until_stopped(serving, inherited, announce, &logging));
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
    serving: &Serving<'_>,
    inherited: Inherited,
    announce: impl FnOnce(&Node),
    logging: &Logging,
) -> Result<(), Failure> {
    // Before anything else, so that a signal during the start is not lost.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let hangup = serving.reread.map(|reread| Ok::<_, Failure>((signal(SignalKind::hangup())?, reread)));
    let hangup = hangup.transpose()?;
    let starting = Node::start_on(inherited, serving.config, serving.first, Arc::clone(&logging.switch));
    let node = tokio::select! {
        started = starting => started.map_err(failed)?,
        // It may wait long for a bus or a database. Nobody was let in yet, so there is nobody to be told.
        () = either(&mut terminate, &mut interrupt) => {
            tracing::info!("stopped before it listened");
            return Ok(());
        }
    };
    announce(&node);
    let ready = async {
        service::while_starting(node.certified()).await;
        service::ready();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = either(&mut terminate, &mut interrupt) => {}
        () = reload_when_told(hangup, serving.config, &node, logging) => {}
        () = ready => {}
    }
    tracing::info!("stopping");
    service::stopping();
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

/// Reads the settings again at each SIGHUP, if that is heard. Never returns.
async fn reload_when_told(
    hangup: Option<(Signal, Reread<'_>)>,
    config: &Config,
    node: &Node,
    logging: &Logging,
) {
    if let Some((mut hangup, reread)) = hangup {
        while hangup.recv().await.is_some() {
            if node.is_certified() {
                service::reloading();
            }
            let reloaded = reread().and_then(|later| reload(config, &later, node, logging));
            if let Err(reason) = reloaded {
                tracing::error!("cannot reload: {reason}; nothing is changed");
            }
            // Who is still to say that it is ready says it when it is.
            if node.is_certified() {
                service::ready();
            }
        }
    }
    std::future::pending().await
}

/// Takes over what may change, and names what has to wait.
fn reload(config: &Config, later: &Config, node: &Node, logging: &Logging) -> Result<(), Failure> {
    node.reload(later).map_err(failed)?;
    logging.reload(&later.log);
    tracing::info!("the configuration was read again");
    for warning in &later.warnings {
        tracing::warn!("{warning}");
    }
    if later.role.is_open() && !config.role.is_open() {
        tracing::warn!("this master is open now: anybody who reaches it may publish and see who is there");
    }
    for setting in config.needs_start(later) {
        tracing::warn!("{setting} changed: takes effect at the next start");
    }
    Ok(())
}

fn failed(error: StartError) -> Failure {
    Failure::Runtime(error.to_string())
}

/// Where a client on this machine reaches a listener: one that listens on all addresses is reached on loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
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
    let (Some(public), Some(private)) = (node.public.map(reachable), node.private.map(reachable)) else {
        return String::new();
    };
    let (ws, scheme) = if config.tls.is_some() { ("wss", "https") } else { ("ws", "http") };
    let api = if config.tls.as_ref().is_some_and(|tls| tls.is_private_too) { "https" } else { "http" };
    let console = match config.console.is_enabled {
        true => {
            format!("\nSee it happen in a browser, signed in as {account}:\n\n  {api}://{private}/console\n")
        }
        false => String::new(),
    };
    format!(
        "Gusher runs, and forgets everything when it stops. In another terminal, receive:\n\
         \n  {gusher} listen {key} alice --url {ws}://{public}\n\
         \nand in a third one, publish to her:\n\
         \n  curl -u {user} -d content=hello -d user_tag='^alice$' {api}://{private}/api/push/{segment}\n\
         {console}\
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
