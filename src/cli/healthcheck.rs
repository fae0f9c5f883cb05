//! `gusher healthcheck`: asks a running node whether it lives, or is ready, as container engines and other supervisors want to
//! know it. The image has no other program that could ask.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::address::{self, ServerSettings};
use super::{Failure, api, one_line, print_line};

/// For the whole exchange: longer than a node needs to find that a shard does not turn (2 s), and as long as a supervisor
/// commonly waits.
const TIMEOUT: Duration = Duration::from_secs(3);

/// What `gusher healthcheck` is told.
#[derive(Args)]
pub struct HealthcheckArgs {
    /// Ask whether clients and backends should be sent there, instead of whether it lives
    #[arg(long)]
    ready: bool,
    /// Base of the listener to ask [default: http://127.0.0.1:8002]
    #[arg(long, env = "GUSHER_API", value_name = "URL")]
    api: Option<String>,
    /// Server configuration to take the address from [default: ./config.json, if there is one]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Prints the node's own word for being well.
///
/// # Errors
/// `Runtime` when it is not well, or does not answer within three seconds.
pub fn run(args: &HealthcheckArgs) -> Result<(), Failure> {
    // A file that is passed over may be the one of this node, and at the address of the defaults is another.
    let file = args.config.clone().or_else(address::usual_file);
    let base = ServerSettings::find(file.as_deref())?.api_url(args.api.as_deref())?;
    let path = if args.ready { "readyz" } else { "livez" };
    let request = api::anonymous_client()?.get(address::append(base.clone(), &[path])?).timeout(TIMEOUT);
    print_line(&one_line(&api::exchange(&base, request)?))
}
