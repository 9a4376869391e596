//! `keystead canary`: secrets for units that are wrong on purpose, and orders with them at a rate.

use crate::{
    cli::{Canary, CanaryNew},
    compute::canary::{CanaryFile, keep},
};
use eyre::Result;
use std::process::ExitCode;

pub(crate) fn run(command: &Canary) -> Result<ExitCode> {
    match command {
        Canary::New(options) => new(options),
        Canary::Keep(options) => super::wait_for("canary", Box::pin(keep::run(options))),
    }
}

fn new(options: &CanaryNew) -> Result<ExitCode> {
    let CanaryNew { customer, out } = options;
    CanaryFile::create(out, *customer)?;
    say(&format!("A new secret for canaries of {customer} is in {}.", out.display()));
    say(
        "Its customer orders with `keystead run --audit --canary FILE --provider ADDRESS`, or has `keystead canary keep` order; that provider runs with `keystead provide --canaries FILE`.",
    );
    Ok(ExitCode::SUCCESS)
}

#[allow(clippy::print_stdout, reason = "the answer to the command")]
fn say(line: &str) {
    println!("{line}");
}
