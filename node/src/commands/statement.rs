//! `keystead statement`: an account's money, line by line.

use crate::{cli::Statement, compute::statement};
use eyre::{Context as _, Result};
use std::process::ExitCode;
use tokio::runtime::Builder;

pub(crate) fn run(options: &Statement) -> Result<ExitCode> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().thread_name("statement").build();
    runtime.wrap_err("cannot start the runtime")?.block_on(Box::pin(statement::run(options)))
}
