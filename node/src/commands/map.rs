//! `keystead map`: one job of many units on many machines, paid as they deliver.

use crate::{cli::Map, compute::map};
use eyre::{Context as _, Result};
use std::process::ExitCode;
use tokio::runtime::Builder;

pub(crate) fn run(mut options: Box<Map>) -> Result<ExitCode> {
    options.input.append(&mut options.named_input);
    let runtime = Builder::new_multi_thread().enable_all().thread_name("map").build();
    runtime.wrap_err("cannot start the runtime")?.block_on(Box::pin(map::run(&options)))
}
