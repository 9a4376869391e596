//! `keystead map`: one job of many units on many machines, paid as they deliver.

use crate::{cli::Map, compute::map};
use eyre::Result;
use std::process::ExitCode;

pub(crate) fn run(mut options: Box<Map>) -> Result<ExitCode> {
    options.input.append(&mut options.named_input);
    super::wait_for("map", Box::pin(map::run(&options)))
}
