//! `keystead completions SHELL`.

use crate::cli::Cli;
use clap::CommandFactory as _;
use clap_complete::Shell;
use eyre::Result;
use std::process::ExitCode;

#[allow(clippy::print_stdout, reason = "the answer to the command")]
pub(crate) fn run(shell: Shell) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "keystead", &mut script);
    print!("{}", String::from_utf8_lossy(&script));
    Ok(ExitCode::SUCCESS)
}
