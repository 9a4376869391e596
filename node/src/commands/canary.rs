//! `keystead canary`: secrets for units that are wrong on purpose.

use crate::{
    cli::{Canary, CanaryNew},
    compute::canary::CanaryFile,
};
use eyre::Result;
use std::process::ExitCode;

pub(crate) fn run(command: &Canary) -> Result<ExitCode> {
    let Canary::New(CanaryNew { customer, out }) = command;
    CanaryFile::create(out, *customer)?;
    say(&format!("A new secret for canaries of {customer} is in {}.", out.display()));
    say(
        "Its customer orders with `keystead run --audit --canary FILE --provider ADDRESS`, that provider runs with `keystead provide --canaries FILE`.",
    );
    Ok(ExitCode::SUCCESS)
}

#[allow(clippy::print_stdout, reason = "the answer to the command")]
fn say(line: &str) {
    println!("{line}");
}
