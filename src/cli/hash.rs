//! `gusher hash`: what `auth_password` of the configuration holds for an account and a password.

use std::io::{self, IsTerminal};

use clap::Args;

use super::{Failure, print_line};
use crate::model::CREDENTIAL_BYTES_MAX;

/// What each guess of a password costs: 2 to the power of it rounds.
const BCRYPT_COST: u32 = 10;

/// What `gusher hash` is told. No `Debug`: it holds a password.
#[derive(Args)]
pub struct HashArgs {
    /// Account of the super admin
    #[arg(long, env = "GUSHER_ACCOUNT", value_name = "NAME", default_value = "account")]
    account: String,
    /// Its password [default: the first line of stdin]; better in the environment than on the command line, where others can see it
    #[arg(long, env = "GUSHER_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    password: Option<String>,
}

/// Prints the hash.
///
/// # Errors
/// `Usage` without a password, and when account and password are too long; `Runtime` when stdin is no text.
pub fn run(args: &HashArgs) -> Result<(), Failure> {
    let password = match args.password.clone().filter(|password| !password.is_empty()) {
        Some(password) => password,
        None => first_line()?,
    };
    if password.is_empty() {
        return Err(Failure::Usage("no password: set GUSHER_PASSWORD, or write it to stdin".to_owned()));
    }
    print_line(&hash(&args.account, &password).map_err(Failure::Usage)?)
}

/// A person types it where the terminal does not show it.
fn first_line() -> Result<String, Failure> {
    if io::stdin().is_terminal() {
        return Ok(rpassword::prompt_password("Password: ")?);
    }
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// The hash of an account directly followed by its password (spec 1.2).
///
/// # Errors
/// Together they are longer than bcrypt looks (D16), or the system has no randomness; in words that hold neither.
pub(super) fn hash(account: &str, password: &str) -> Result<String, String> {
    let secret = format!("{account}{password}");
    if secret.len() > CREDENTIAL_BYTES_MAX {
        return Err(format!(
            "admin account and password together are longer than {CREDENTIAL_BYTES_MAX} bytes"
        ));
    }
    if secret.contains('\0') {
        return Err("admin account or password holds a NUL character".to_owned());
    }
    bcrypt::hash(secret, BCRYPT_COST).map_err(|error| error.to_string())
}
