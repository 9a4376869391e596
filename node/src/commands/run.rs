//! `keystead run`: one job on somebody else's machine, checked and paid.

use crate::{cli::Run, compute::customer};
use eyre::{Context as _, Result};
use std::process::ExitCode;
use tokio::runtime::Builder;

pub(crate) fn run(options: &Run) -> Result<ExitCode> {
    let runtime = Builder::new_multi_thread().enable_all().thread_name("run").build();
    runtime.wrap_err("cannot start the runtime")?.block_on(Box::pin(customer::run(options)))
}
