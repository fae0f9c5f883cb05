//! `gusher app`: adds, lists, sets and removes apps through the private API.
//!
//! Passwords and their hashes stay out of everything printed here; only `app list --json` hands on the server's
//! answer as it is, hashes and secrets included. `app list --secrets` shows what signed calls are made with.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Deserialize;
use url::Url;

use super::api::{self, Api, ApiArgs};
use super::settings::{self, SetArgs, ShowArgs};
use super::{Failure, print_line};

/// What can be done with apps.
#[derive(Subcommand)]
pub enum AppCommand {
    /// Register an app
    #[command(after_help = "\
Examples:
  gusher app add demo --admin-account backend --admin-password secret
  gusher app add demo --admin-account backend --admin-password secret \\
      --connect-hook https://backend.example.com/gusher
  gusher app add demo --admin-account backend --admin-password secret \\
      --app-id 3 --app-secret 7ad3773142a6692b25b8

With a connect hook the server asks there about the token of everybody who wants to listen.
Id and secret are for signed calls; the server makes them up unless you bring your own.")]
    Add(AddArgs),
    /// Show the apps, oldest first
    #[command(after_help = "\
Examples:
  gusher app list
  gusher app list --secrets          with the id and the secret for signed calls
  gusher app list --json             all that the server tells, password hashes included")]
    List(ListArgs),
    /// Change settings of an app while it is in use
    #[command(after_help = settings::SET_HELP)]
    Set(SetArgs),
    /// Show the settings of an app
    #[command(after_help = "\
Examples:
  gusher app show demo
  gusher app show demo --json        all that the server tells, secrets included")]
    Show(ShowArgs),
    /// Unregister an app and close its sockets
    #[command(after_help = "\
Examples:
  gusher app remove demo")]
    Remove(RemoveArgs),
}

/// What `gusher app add` is told. No `Debug`: it holds a password and a secret.
#[derive(Args)]
pub struct AddArgs {
    /// Key of the new app
    app: String,
    /// Account with which the app's backend will sign in
    #[arg(long, value_name = "NAME")]
    admin_account: String,
    /// Its password
    #[arg(long, env = "GUSHER_ADMIN_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    admin_password: String,
    /// URL to ask before letting a socket in
    #[arg(long, value_name = "URL")]
    connect_hook: Option<String>,
    /// Id in signed calls, 1 to 64 letters, digits, - and _
    #[arg(long, value_name = "DIGITS")]
    app_id: Option<String>,
    /// Secret that signs calls, 8 to 128 characters
    #[arg(long, env = "GUSHER_APP_SECRET", value_name = "SECRET", hide_env_values = true)]
    app_secret: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
}

/// What `gusher app list` is told.
#[derive(Args)]
pub struct ListArgs {
    /// Print the server's answer instead of a table
    #[arg(long)]
    json: bool,
    /// Show the apps' ids and secrets too
    #[arg(long, conflicts_with = "json")]
    secrets: bool,
    #[command(flatten)]
    api: ApiArgs,
}

/// What `gusher app remove` is told.
#[derive(Args)]
pub struct RemoveArgs {
    /// Key of the app
    app: String,
    #[command(flatten)]
    api: ApiArgs,
}

/// Asks the server and prints what it answered.
///
/// # Errors
/// `Usage` without a password; `Runtime` as the server says.
pub fn run(command: &AppCommand) -> Result<(), Failure> {
    match command {
        AppCommand::Add(args) => add(args),
        AppCommand::List(args) => list(args),
        AppCommand::Set(args) => settings::set(args),
        AppCommand::Show(args) => settings::show(args),
        AppCommand::Remove(args) => remove(args),
    }
}

fn add(args: &AddArgs) -> Result<(), Failure> {
    let mut fields = vec![
        ("app_key", args.app.as_str()),
        ("auth_account", args.admin_account.as_str()),
        ("auth_password", args.admin_password.as_str()),
    ];
    let optional =
        [("connect_hook", &args.connect_hook), ("app_id", &args.app_id), ("app_secret", &args.app_secret)];
    fields.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))));
    Api::new(&args.api)?.call(Method::POST, &["api", "register"], &fields)?;
    print_line(&next_steps(&args.app, args.connect_hook.is_some()))
}

/// What an app is known by in signed calls: its id and its secret.
///
/// # Errors
/// `Usage` without a password; `Runtime` as the server says, and when it has no such app or does not tell.
pub(super) fn identity(app: &str, args: &ApiArgs) -> Result<(String, String), Failure> {
    let body = Api::new(args)?.call(Method::GET, &["api", "app-list"], &[])?;
    let row = api::decode::<AppList>(&body)?.data.into_iter().find(|row| row.app_key == app);
    match row {
        None => Err(Failure::Runtime(format!("there is no app {app:?}; add it with: gusher app add"))),
        Some(row) if row.app_id.is_empty() => {
            Err(Failure::Runtime("this server is too old to tell the id and the secret of an app".to_owned()))
        }
        Some(row) => Ok((row.app_id, row.app_secret)),
    }
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let body = Api::new(&args.api)?.call(Method::GET, &["api", "app-list"], &[])?;
    if args.json {
        return print_line(body.trim_end());
    }
    let list: AppList = api::decode(&body)?;
    print_line(&table(&list.data, args.secrets))
}

fn remove(args: &RemoveArgs) -> Result<(), Failure> {
    Api::new(&args.api)?.call(Method::DELETE, &["api", &args.app, "unregister"], &[])?;
    print_line(&format!("app {} removed", shell_word(&args.app)))
}

#[derive(Deserialize)]
struct AppList {
    data: Vec<AppRow>,
}

#[derive(Deserialize)]
struct AppRow {
    app_key: String,
    auth_account: String,
    connect_hook: String,
    date: String,
    /// Older servers tell neither id nor secret.
    #[serde(default)]
    app_id: String,
    #[serde(default)]
    app_secret: String,
}

/// What to type after an app was added, ready to be copied.
fn next_steps(app: &str, hooked: bool) -> String {
    let word = shell_word(app);
    let token = if hooked { " --token TOKEN" } else { "" };
    format!("app {word} added; next:\n  gusher listen {word} alice{token}\n  gusher push {word} hello")
}

/// An aligned table, or the words that there is nothing to show.
fn table(rows: &[AppRow], secrets: bool) -> String {
    if rows.is_empty() {
        return "no apps; add one with: gusher app add".to_owned();
    }
    let mut head = ["APP", "ADMIN", "ADDED", "CONNECT HOOK"].map(str::to_owned).to_vec();
    if secrets {
        head.extend(["ID", "SECRET"].map(str::to_owned));
    }
    let cells: Vec<_> = std::iter::once(head).chain(rows.iter().map(|row| row_cells(row, secrets))).collect();
    cells.iter().map(|row| aligned(row, &cells)).collect::<Vec<_>>().join("\n")
}

/// A row whose cells are as wide as the widest of their column among all rows.
pub(super) fn aligned(row: &[String], all: &[Vec<String>]) -> String {
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let padded = row.iter().enumerate().map(|(column, cell)| format!("{cell:0$}", width(column)));
    padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

fn row_cells(row: &AppRow, secrets: bool) -> Vec<String> {
    let hook =
        if row.connect_hook.is_empty() { "-".to_owned() } else { without_credentials(&row.connect_hook) };
    let mut cells = vec![&row.app_key, &row.auth_account, &row.date, &hook];
    if secrets {
        cells.extend([&row.app_id, &row.app_secret]);
    }
    cells.into_iter().map(|text| harmless(text)).collect()
}

/// Whoever may register or set an app must not be able to write control sequences to an admin's terminal.
pub(super) fn harmless(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

/// A hook's URL may carry the password with which the server signs in there.
pub(super) fn without_credentials(hook: &str) -> String {
    let Ok(mut url) = Url::parse(hook) else { return hook.to_owned() };
    if url.password().is_some() && url.set_password(Some("***")).is_ok() {
        url.into()
    } else {
        hook.to_owned()
    }
}

/// Quotes a word for a POSIX shell where it needs that.
pub(super) fn shell_word(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.:".contains(letter);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(body: &str) -> Vec<AppRow> {
        api::decode::<AppList>(body).unwrap().data
    }

    #[test]
    fn the_table_is_aligned_and_holds_no_hash() {
        let body = r#"{"total":2,"data":[
            {"app_key":"demo","auth_account":"backend","auth_password":"$2a$05$x","connect_hook":"",
             "request_ip":"1.2.3.4:5","date":"2026/01/02 03:04:05","timestamp":"1"},
            {"app_key":"a longer key","auth_account":"b","auth_password":"$2a$05$y","connect_hook":"http://u:p@h/",
             "request_ip":"1.2.3.4:5","date":"2026/01/02 03:04:06","timestamp":"2"}]}"#;
        assert_eq!(
            table(&rows(body), false),
            "APP           ADMIN    ADDED                CONNECT HOOK\n\
             demo          backend  2026/01/02 03:04:05  -\n\
             a longer key  b        2026/01/02 03:04:06  http://u:***@h/"
        );
    }

    #[test]
    fn secrets_are_shown_on_request_only() {
        let body = r#"{"total":1,"data":[{"app_key":"demo","auth_account":"backend","connect_hook":"",
            "date":"2026/01/02 03:04:05","app_id":"3","app_secret":"7ad3773142a6692b25b8"}]}"#;
        assert!(!table(&rows(body), false).contains("7ad3773142a6692b25b8"));
        assert_eq!(
            table(&rows(body), true),
            "APP   ADMIN    ADDED                CONNECT HOOK  ID  SECRET\n\
             demo  backend  2026/01/02 03:04:05  -             3   7ad3773142a6692b25b8"
        );
    }

    #[test]
    fn no_apps_is_said_in_words() {
        assert!(table(&rows(r#"{"total":0,"data":[]}"#), false).starts_with("no apps"));
    }

    #[test]
    fn a_key_cannot_write_to_the_terminal() {
        let row = r#"{"app_key":"\u001b[2J","auth_account":"","connect_hook":"","date":""}"#;
        assert!(table(&rows(&format!(r#"{{"data":[{row}]}}"#)), false).contains("?[2J"));
    }

    #[test]
    fn the_next_steps_can_be_pasted_into_a_shell() {
        assert!(next_steps("demo", false).ends_with("gusher listen demo alice\n  gusher push demo hello"));
        assert!(next_steps("my app's", true).contains(r"gusher listen 'my app'\''s' alice --token TOKEN"));
    }
}
