//! `keystead completions SHELL`.

use crate::cli::Cli;
use clap::CommandFactory as _;
use clap_complete::Shell;
use eyre::Result;
use std::process::ExitCode;

pub(crate) fn run(shell: Shell) -> Result<ExitCode> {
    clap_complete::generate(shell, &mut Cli::command(), "keystead", &mut std::io::stdout());
    Ok(ExitCode::SUCCESS)
}
