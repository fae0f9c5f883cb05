//! `gusher env`: what points an SDK at this server, for one app. It prints the app's secret, for that is its purpose.

use clap::{Args, ValueEnum};

use super::address::ServerSettings;
use super::api::ApiArgs;
use super::place::{Place, PlaceArgs};
use super::{Failure, app, print_line};

/// What `gusher env` is told. No `Debug`: it holds a secret.
#[derive(Args)]
pub struct EnvArgs {
    /// The SDK, or what the backend is written in
    #[arg(value_enum)]
    sdk: Sdk,
    /// Key of the app [default: that of --key]
    app: Option<String>,
    /// Id of the app, instead of asking for it
    #[arg(long, env = "PUSHER_APP_ID", value_name = "ID")]
    app_id: Option<String>,
    /// Key of the app, when it is not the first argument
    #[arg(long, env = "PUSHER_APP_KEY", value_name = "KEY")]
    key: Option<String>,
    /// Secret of the app, instead of asking for it
    #[arg(long, env = "PUSHER_APP_SECRET", value_name = "SECRET", hide_env_values = true)]
    secret: Option<String>,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    api: ApiArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum Sdk {
    /// Lines for .env, broadcaster pusher
    Laravel,
    /// Lines for .env, broadcaster reverb
    Reverb,
    /// pusher, from npm
    Node,
    /// pusher, from PyPI
    Python,
    /// pusher, from RubyGems
    Ruby,
    /// pusher-http-go
    Go,
}

/// An app, and where its server is.
struct Target {
    id: String,
    key: String,
    secret: String,
    place: Place,
}

/// Prints it.
///
/// # Errors
/// `Usage` without an app or a password; `Runtime` as the server says.
pub fn run(args: &EnvArgs) -> Result<(), Failure> {
    let place = args.place.place(&ServerSettings::find(args.api.config.as_deref())?)?;
    // Checked before it is written into somebody's file.
    place.calls()?;
    let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
    let named = args.app.clone();
    let Some(key) = named.clone().or_else(|| given(&args.key)) else {
        return Err(Failure::Usage("which app? Give its key".to_owned()));
    };
    // What the environment says is of the app that it names, and of no other.
    let is_given = named.is_none_or(|named| given(&args.key).is_none_or(|key| key == named));
    let (id, secret) = match (given(&args.app_id), given(&args.secret)) {
        (Some(id), Some(secret)) if is_given => (id, secret),
        _ => app::identity(&key, &args.api)?,
    };
    print_line(&text(args.sdk, &Target { id, key, secret, place }))
}

fn text(sdk: Sdk, target: &Target) -> String {
    match sdk {
        Sdk::Laravel => {
            dotenv("PUSHER", "pusher", target) + "\nPUSHER_APP_CLUSTER=mt1\nVITE_PUSHER_APP_CLUSTER=mt1"
        }
        Sdk::Reverb => dotenv("REVERB", "reverb", target),
        Sdk::Node => node(target),
        Sdk::Python => python(target),
        Sdk::Ruby => ruby(target),
        Sdk::Go => go(target),
    }
}

/// Laravel's variables, and those that hand them on to Echo.
fn dotenv(prefix: &str, broadcaster: &str, target: &Target) -> String {
    let Target { id, key, secret, place } = target;
    let own = [
        ("APP_ID", value(id)),
        ("APP_KEY", value(key)),
        ("APP_SECRET", value(secret)),
        ("HOST", value(&place.host)),
        ("PORT", place.port.to_string()),
        ("SCHEME", place.scheme().to_owned()),
    ];
    let mut lines = vec![format!("BROADCAST_CONNECTION={broadcaster}")];
    lines.extend(own.map(|(name, value)| format!("{prefix}_{name}={value}")));
    lines.extend(["APP_KEY", "HOST", "PORT", "SCHEME"].map(|name| {
        // The secret stays out of what a browser gets.
        format!("VITE_{prefix}_{name}=\"${{{prefix}_{name}}}\"")
    }));
    lines.join("\n")
}

/// A value as a `.env` file has it.
fn value(text: &str) -> String {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:[]".contains(&byte))
    {
        return text.to_owned();
    }
    let escape = |letter: char| match letter {
        '"' | '\\' | '$' => format!("\\{letter}"),
        other => other.to_string(),
    };
    format!("\"{}\"", text.chars().map(escape).collect::<String>())
}

/// A text as JavaScript, Python and Go write it.
fn literal(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn node(target: &Target) -> String {
    let Target { id, key, secret, place } = target;
    format!(
        "import Pusher from \"pusher\";\n\n\
         const pusher = new Pusher({{\n  appId: {},\n  key: {},\n  secret: {},\n  host: {},\n  port: \"{}\",\n  useTLS: {},\n}});",
        literal(id),
        literal(key),
        literal(secret),
        literal(&place.host),
        place.port,
        place.has_tls
    )
}

fn python(target: &Target) -> String {
    let Target { id, key, secret, place } = target;
    format!(
        "import pusher\n\n\
         client = pusher.Pusher(\n    app_id={},\n    key={},\n    secret={},\n    host={},\n    port={},\n    ssl={},\n)",
        literal(id),
        literal(key),
        literal(secret),
        literal(&place.host),
        place.port,
        if place.has_tls { "True" } else { "False" }
    )
}

fn ruby(target: &Target) -> String {
    let Target { id, key, secret, place } = target;
    // Between double quotes Ruby would carry out what follows a `#`.
    let literal = |text: &str| literal(text).replace('#', "\\#");
    format!(
        "require \"pusher\"\n\n\
         pusher = Pusher::Client.new(\n  app_id: {},\n  key: {},\n  secret: {},\n  host: {},\n  port: {},\n  scheme: \"{}\",\n  use_tls: {}\n)",
        literal(id),
        literal(key),
        literal(secret),
        literal(&place.host),
        place.port,
        place.scheme(),
        // Without it the library takes TLS and its port for granted, whatever the scheme says.
        place.scheme() == "https"
    )
}

fn go(target: &Target) -> String {
    let Target { id, key, secret, place } = target;
    format!(
        "import \"github.com/pusher/pusher-http-go/v5\"\n\n\
         client := pusher.Client{{\n\tAppID:  {},\n\tKey:    {},\n\tSecret: {},\n\tHost:   {},\n\tSecure: {},\n}}",
        literal(id),
        literal(key),
        literal(secret),
        literal(&format!("{}:{}", place.host, place.port)),
        place.has_tls
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_survives_its_file() {
        assert_eq!(value("7ad3-x_y.z"), "7ad3-x_y.z");
        assert_eq!(value("a $b\"#"), r##""a \$b\"#""##);
    }

    #[test]
    fn a_secret_cannot_become_code() {
        let place = Place { host: "h".into(), port: 1, has_tls: true };
        let target = Target { id: "1".into(), key: "k".into(), secret: "a\"#{b}\\".into(), place };
        assert!(ruby(&target).contains(r##"secret: "a\"\#{b}\\""##), "{}", ruby(&target));
        assert!(node(&target).contains(r##"secret: "a\"#{b}\\","##), "{}", node(&target));
    }
}
