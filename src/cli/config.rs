//! `gusher config`: the settings that a start would go by, the commented file that holds every default, and the reference
//! that is made of it.

use clap::Subcommand;

use super::{Failure, StartArgs, print_line, start};
use crate::config::{DEFAULT_FILE, reference};

/// What can be shown of a configuration.
#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Print the settings that file, environment and flags come to
    #[command(after_help = "\
Examples:
  gusher config show
  gusher config show --config /etc/gusher/config.json
  GUSHER_NODE_SHARDS=4 gusher config show --listen :9001

Takes the flags of gusher start. Secrets are shown as …, so what is printed can be passed on.")]
    Show(StartArgs),
    /// Print the commented configuration file that holds every default
    #[command(after_help = "\
Examples:
  gusher config template
  gusher config template > config.json     then set auth_password, or let gusher init make one")]
    Template,
    /// Print the reference of all settings, as Markdown
    #[command(after_help = "\
Examples:
  gusher config reference
  gusher config reference | less

The same as in docs/configuration.md.")]
    Reference,
}

/// Prints it.
///
/// # Errors
/// `Usage` for flags that contradict each other, `Configuration` with all that is wrong in one line.
pub fn run(command: &ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Show(args) => {
            let read = start::effective(args)?;
            let read = read.map_err(|error| Failure::Configuration(error.to_string()))?;
            print_line(&format!("{:#}", read.settings))
        }
        ConfigCommand::Template => print_line(DEFAULT_FILE.trim_end()),
        ConfigCommand::Reference => print_line(reference().trim_end()),
    }
}
