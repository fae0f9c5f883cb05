//! `gusher log-level`: how much a running node logs, asked and changed through the private API.

use clap::Args;
use clap::builder::PossibleValuesParser;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::api::{self, Api, ApiArgs};
use super::{Failure, print_line};
use crate::model::Level;

/// What `gusher log-level` is told.
#[derive(Args)]
pub struct LogLevelArgs {
    /// The level to set; without one it is shown
    #[arg(value_parser = PossibleValuesParser::new(Level::ALL.map(Level::word)))]
    level: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
}

/// The answer to both calls.
#[derive(Deserialize)]
struct LevelAnswer {
    level: String,
}

/// Prints the level as it is then.
///
/// # Errors
/// `Usage` without a password; `Runtime` as the server says.
pub fn run(args: &LogLevelArgs) -> Result<(), Failure> {
    let (api, path) = (Api::new(&args.api)?, ["api", "log-level"]);
    let answer = match &args.level {
        Some(level) => api.call_json(Method::PUT, &path, &json!({ "level": level }))?,
        None => api.call(Method::GET, &path, &[])?,
    };
    print_line(&api::decode::<LevelAnswer>(&answer)?.level)
}
