//! `gusher start`: reads the settings, serves, and stops when told to.

use std::io::Write;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Failure, StartArgs, log};
use crate::config::read::{self, Overlay};
use crate::config::{Config, ConfigError};
use crate::model::{Admin, App, AppKey, AppSecret, Hash, Registered};
use crate::node::{Node, StartError};

/// The app that a trial run begins with.
const DEMO_APP: &str = "demo";

/// What it is named and signed with in signed calls: known to everybody, like the password of a trial run.
const DEMO_ID: &str = "1";
const DEMO_SECRET: &str = "demo-secret";

/// The exit status of a process that a second signal ended: 128 and the number of SIGINT.
const INTERRUPTED: i32 = 130;

/// Serves until a signal says stop.
///
/// # Errors
/// The settings are wrong, or the node cannot start.
pub fn run(args: &StartArgs) -> Result<(), Failure> {
    let config = settings(args)?;
    let warning = log::start(&config.log);
    for warning in config.warnings.iter().chain(&warning) {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serve(&config, args.dev));
    // Whoever did not finish within the grace time is not waited for.
    runtime.shutdown_background();
    served
}

fn settings(args: &StartArgs) -> Result<Config, Failure> {
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
    let config = match (args.dev, &args.config) {
        (true, Some(_)) => {
            return Err(Failure::Usage("--dev takes no --config: it runs without one".to_owned()));
        }
        (true, None) => read::dev(read::environment(), &flags),
        (false, file) => read::load(file.as_deref(), read::environment(), &flags),
    };
    config.map_err(|error: ConfigError| Failure::Configuration(error.to_string()))
}

async fn serve(config: &Config, is_trial: bool) -> Result<(), Failure> {
    // Before anything else, so that a signal during the start is not lost.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let node = Node::start(config).await.map_err(failed)?;
    if is_trial {
        node.add_app(demo_app(config)).await.map_err(failed)?;
    }
    tracing::info!(listen = %node.public, api_listen = %node.private, "listening");
    if is_trial {
        // Nobody may be reading; then there is nobody to be told what to type.
        let _ = std::io::stdout().write_all(invitation(&node, config).as_bytes());
    }
    either(&mut terminate, &mut interrupt).await;
    tracing::info!("stopping");
    tokio::select! {
        () = node.stop() => Ok(()),
        () = either(&mut terminate, &mut interrupt) => std::process::exit(INTERRUPTED),
    }
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

fn failed(error: StartError) -> Failure {
    Failure::Runtime(error.to_string())
}

/// Without a connect hook, and administered by whoever administers the node.
fn demo_app(config: &Config) -> App {
    App {
        key: AppKey::stored(DEMO_APP),
        id: DEMO_ID.to_owned(),
        secret: AppSecret(DEMO_SECRET.to_owned()),
        admin: Admin {
            account: config.admin.account.clone(),
            hash: Hash(config.admin.password_hash.reveal().to_owned()),
        },
        connect_hook: String::new(),
        request_ip: String::new(),
        registered: Registered::at(&Timestamp::now().to_zoned_datetime(TimeZone::system())),
    }
}

/// What to type next; each line works as it stands.
fn invitation(node: &Node, config: &Config) -> String {
    let gusher = std::env::args().next().unwrap_or_else(|| "gusher".to_owned());
    let gusher =
        if Path::new(&gusher).is_absolute() || gusher.contains('/') { gusher } else { "gusher".to_owned() };
    let (public, private, account) = (node.public, node.private, &config.admin.account);
    format!(
        "Gusher runs, and forgets everything when it stops. In another terminal, receive:\n\
         \n  {gusher} listen {DEMO_APP} alice --url ws://{public}\n\
         \nand in a third one, publish to her:\n\
         \n  curl -u {account}:password -d content=hello -d user_tag='^alice$' http://{private}/api/push/{DEMO_APP}\n\
         \nOr use any Pusher SDK; its backend's .env:\n\
         \n  PUSHER_APP_ID={DEMO_ID}\n  PUSHER_APP_KEY={DEMO_APP}\n  PUSHER_APP_SECRET={DEMO_SECRET}\n  \
         PUSHER_HOST={host}\n  PUSHER_PORT={port}\n  PUSHER_SCHEME=http\n\n",
        host = public.ip(),
        port = public.port(),
    )
}
