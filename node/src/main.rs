//! The one binary: validator, provider, customer and verifier of Keystead.
//!
//! # Design
//! `cli` says what can be asked, one module in `commands` answers each question, `chain` joins execution, state and
//! mempool into the ledger that the engine drives. Errors carry context on their way up and end in one line for the
//! person who typed the command.

mod certificate;
#[cfg(feature = "validator")]
mod chain;
mod cli;
mod client;
mod commands;
mod compute;
#[cfg(feature = "validator")]
mod dev;
mod digits;
#[cfg(feature = "validator")]
mod follow;
#[cfg(feature = "validator")]
mod network;
#[cfg(feature = "validator")]
mod snapshot;
#[cfg(feature = "validator")]
mod state_folder;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match commands::dispatch(cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            cli::print_error(&error);
            ExitCode::FAILURE
        }
    }
}
