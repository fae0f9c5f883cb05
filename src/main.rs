//! The program: reads the command line, carries it out, and tells an error in one line.

use std::process::ExitCode;

use clap::Parser;
use gusher::cli::{self, Cli, Failure};

fn main() -> ExitCode {
    let Err(failure) = cli::run(&Cli::parse()) else { return ExitCode::SUCCESS };
    if failure != Failure::OutputGone {
        cli::tell(&format!("gusher: {failure}"));
    }
    ExitCode::from(failure.exit_code())
}
