//! `keystead bond`: what stands behind an account's work.

use crate::{cli::Bond, compute::bond};
use eyre::{Context as _, Result};
use std::process::ExitCode;
use tokio::runtime::Builder;

pub(crate) fn run(options: &Bond) -> Result<ExitCode> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.wrap_err("cannot start the runtime")?.block_on(Box::pin(bond::run(options)))
}
