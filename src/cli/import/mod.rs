//! `gusher import`: from the configuration of soketi, Sockudo or Reverb to apps and settings here.
//!
//! Always true: what the file says is taken over or named as left, so nothing is lost in silence; secrets are sent to the
//! server and written into the file that was asked for, and printed only if that is asked for.

mod defaults;
mod node;
mod plan;
mod source;
mod variables;
mod webhooks;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use reqwest::Method;
use serde_json::Value;

use self::plan::{Plan, PlannedApp, plan};
use self::source::Source;
use super::api::{Api, ApiArgs};
use super::app::{harmless, shell_word};
use super::{Failure, one_line, print_line, tell};

/// A longer file is none of theirs.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What `gusher import` is told. No `Debug`: it holds a password.
#[derive(Args)]
pub struct ImportArgs {
    /// Whose configuration it is
    #[arg(value_enum)]
    product: Product,
    /// The file: JSON of soketi or Sockudo, or the .env of soketi or Reverb
    file: PathBuf,
    /// Print the commands and settings and change nothing
    #[arg(long, conflicts_with = "output")]
    dry_run: bool,
    /// Show secrets in what --dry-run prints
    #[arg(long, requires = "dry_run")]
    secrets: bool,
    /// Write the settings into this new file and add no apps
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Account with which the apps' backends will sign in to the private API [default: yours]
    #[arg(long, value_name = "NAME", requires = "admin_password")]
    admin_account: Option<String>,
    /// Its password
    #[arg(long, env = "GUSHER_ADMIN_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    admin_password: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
}

/// Whose configuration is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Product {
    Soketi,
    Sockudo,
    Reverb,
}

/// Adds the apps and prints the settings; names what is left.
///
/// # Errors
/// `Usage` without a password; `Runtime` when the file is none of theirs or has no apps, and when not all apps could be
/// added.
pub fn run(args: &ImportArgs) -> Result<(), Failure> {
    let (source, others) = read(args.product, &args.file)?;
    let plan = plan(args.product, source);
    if !others.is_empty() {
        tell(&format!(
            "passed over, as they are variables of other programs: {}",
            one_line(&others.join(", "))
        ));
    }
    plan.left.iter().for_each(|line| tell(&format!("not taken over: {}", one_line(line))));
    if plan.apps.is_empty() && !plan.is_of_elsewhere {
        return Err(Failure::Runtime(format!(
            "no apps found in {}: is it of {}?",
            args.file.display(),
            args.product.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
        )));
    }
    match &args.output {
        Some(output) => write(output, &plan),
        None if args.dry_run => print(args, &plan),
        None => add(args, &plan),
    }
}

fn read(product: Product, file: &Path) -> Result<(Source, Vec<String>), Failure> {
    let unusable =
        |reason: String| Failure::Runtime(format!("cannot use {}: {}", file.display(), one_line(&reason)));
    let length = fs::metadata(file).map_err(|error| unusable(error.to_string()))?.len();
    if length > FILE_BYTES_MAX {
        return Err(unusable("it is larger than 16 MiB".to_owned()));
    }
    let text = fs::read_to_string(file).map_err(|error| unusable(error.to_string()))?;
    let is_json = text.trim_start().starts_with('{');
    match product {
        Product::Soketi | Product::Reverb if !is_json => Ok(variables::read(product, &text)),
        Product::Soketi => Source::json(&text).map(|source| (source, Vec::new())).map_err(unusable),
        Product::Reverb => Err(unusable("of Reverb the .env file is read".to_owned())),
        Product::Sockudo if !is_json => Err(unusable(
            "of Sockudo the JSON form is read; of TOML it is made with: python3 -c \
             'import json,sys,tomllib; print(json.dumps(tomllib.load(sys.stdin.buffer)))' < config.toml"
                .to_owned(),
        )),
        Product::Sockudo => Source::json(&text).map(|source| (source, Vec::new())).map_err(unusable),
    }
}

/// Writes a new file that only its owner may read: it may hold the password of the bus.
fn write(output: &Path, plan: &Plan) -> Result<(), Failure> {
    let unwritable = |error| Failure::Runtime(format!("cannot write {}: {error}", output.display()));
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(output).map_err(unwritable)?;
    writeln!(file, "{:#}", Value::from(plan.settings.clone())).map_err(unwritable)?;
    print_line(&format!(
        "{} written; give it auth_password (gusher init makes one), start it, and import again without --output to add {} apps",
        output.display(),
        plan.apps.len()
    ))
}

fn print(args: &ImportArgs, plan: &Plan) -> Result<(), Failure> {
    for app in &plan.apps {
        commands(args, app).iter().try_for_each(|line| print_line(line))?;
    }
    if !plan.apps.is_empty() {
        tell(HOW_TO_RUN);
    }
    print_settings(plan, args.secrets)
}

/// What the printed commands need.
const HOW_TO_RUN: &str = "the commands take your password from GUSHER_PASSWORD, and from GUSHER_ADMIN_PASSWORD the one with \
     which the apps' backends will sign in; what is shown as … has to be filled in, or comes with --secrets";

/// The commands that add one app. Without the admin's password in the environment a shell refuses the first.
fn commands(args: &ImportArgs, app: &PlannedApp) -> Vec<String> {
    let shown = |text: &str| if args.secrets { shell_word(text) } else { "'…'".to_owned() };
    let secret =
        app.secret.as_ref().map(|secret| format!("GUSHER_APP_SECRET={} ", shown(secret))).unwrap_or_default();
    let id = app.id.as_ref().map(|id| format!(" --app-id {id}")).unwrap_or_default();
    let account = shell_word(args.admin_account.as_deref().unwrap_or("account"));
    let key = shell_word(&harmless(&app.key));
    let mut lines = vec![format!(
        "GUSHER_ADMIN_PASSWORD=\"${{GUSHER_ADMIN_PASSWORD:?}}\" {secret}gusher app add {key} --admin-account {account}{id}"
    )];
    if !app.settings.is_empty() {
        let word = |(name, value): (&String, &Value)| match (name.as_str(), args.secrets) {
            // Their headers and addresses may hold secrets.
            ("webhooks", false) => format!(" {name}='…'"),
            _ => format!(" {}", shell_word(&format!("{name}={value}"))),
        };
        lines.push(format!("gusher app set {key}{}", app.settings.iter().map(word).collect::<String>()));
    }
    lines
}

fn print_settings(plan: &Plan, with_secrets: bool) -> Result<(), Failure> {
    if plan.settings.is_empty() {
        return Ok(());
    }
    let mut settings = plan.settings.clone();
    if let Some(bus) = settings.get_mut("bus").and_then(Value::as_object_mut).filter(|_| !with_secrets) {
        for (name, value) in bus.iter_mut().filter(|(name, _)| matches!(name.as_str(), "url" | "password")) {
            let is_open = name == "url" && !value.as_str().is_some_and(|url| url.contains('@'));
            if !is_open {
                *value = "…".into();
            }
        }
    }
    print_line(&format!("{:#}", Value::from(settings)))
}

fn add(args: &ImportArgs, plan: &Plan) -> Result<(), Failure> {
    let api = Api::new(&args.api)?;
    let mut failed = 0;
    for app in &plan.apps {
        match add_one(args, &api, app) {
            Ok(()) => print_line(&format!("app {} added", shell_word(&harmless(&app.key))))?,
            Err(failure) => {
                failed += 1;
                tell(&format!("app {} not added: {failure}", shell_word(&harmless(&app.key))));
            }
        }
    }
    if !plan.settings.is_empty() {
        tell("settings for the configuration file, which needs a restart:");
        print_settings(plan, false)?;
    }
    match failed {
        0 => Ok(()),
        _ => Err(Failure::Runtime(format!("apps not added as a whole: {failed} of {}", plan.apps.len()))),
    }
}

fn add_one(args: &ImportArgs, api: &Api, app: &PlannedApp) -> Result<(), Failure> {
    let (own_account, own_password) = api.credentials();
    let (account, password) = match (&args.admin_account, &args.admin_password) {
        (Some(account), Some(password)) => (account.as_str(), password.as_str()),
        _ => (own_account, own_password),
    };
    let mut fields =
        vec![("app_key", app.key.as_str()), ("auth_account", account), ("auth_password", password)];
    let optional = [("app_id", &app.id), ("app_secret", &app.secret)];
    fields.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))));
    api.call(Method::POST, &["api", "register"], &fields)?;
    if !app.settings.is_empty() {
        let settings = Value::from(app.settings.clone());
        api.call_json(Method::PATCH, &["api", &app.key, "settings"], &settings)?;
    }
    Ok(())
}
