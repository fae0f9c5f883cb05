//! `gusher completions` and `gusher man`: both are read off the command table, so they cannot say anything else than
//! `--help`.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Cli, Failure};

/// What `gusher completions` is told.
#[derive(Args)]
pub struct CompletionsArgs {
    /// The shell that is to complete
    #[arg(value_enum)]
    shell: KnownShell,
}

/// The shells that can be helped.
#[derive(Clone, Copy, ValueEnum)]
enum KnownShell {
    Bash,
    Zsh,
    Fish,
    // One word, as it is written by whoever uses it.
    #[value(name = "powershell")]
    PowerShell,
}

/// What `gusher man` is told.
#[derive(Args)]
pub struct ManArgs {
    /// The command whose page is wanted [default: that of gusher itself]
    command: Vec<String>,
    /// Write the pages of all commands into this directory instead
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "command")]
    dir: Option<PathBuf>,
}

/// Prints what the shell has to be told.
///
/// # Errors
/// Stdout cannot be written to.
pub(super) fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let shell = match args.shell {
        KnownShell::Bash => Shell::Bash,
        KnownShell::Zsh => Shell::Zsh,
        KnownShell::Fish => Shell::Fish,
        KnownShell::PowerShell => Shell::PowerShell,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "gusher", &mut script);
    Ok(io::stdout().lock().write_all(&script)?)
}

/// Prints one page, or writes all.
///
/// # Errors
/// `Usage` for a command that does not exist; `Runtime` when a page cannot be written.
pub(super) fn man(args: &ManArgs) -> Result<(), Failure> {
    let mut root = Cli::command().disable_help_subcommand(true);
    // So that each command knows its whole name.
    root.build();
    if let Some(directory) = &args.dir {
        let unwritable = |error: io::Error| {
            Failure::Runtime(format!("cannot write the pages into {}: {error}", directory.display()))
        };
        fs::create_dir_all(directory).map_err(unwritable)?;
        return clap_mangen::generate_to(root, directory).map_err(unwritable);
    }
    let mut page = Vec::new();
    Man::new(find(&root, &args.command)?.clone()).render(&mut page)?;
    Ok(io::stdout().lock().write_all(&page)?)
}

fn find<'a>(root: &'a clap::Command, words: &[String]) -> Result<&'a clap::Command, Failure> {
    words.iter().try_fold(root, |command, word| {
        command
            .find_subcommand(word)
            .ok_or_else(|| Failure::Usage(format!("{} has no command {word:?}", command.get_name())))
    })
}
