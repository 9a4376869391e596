//! `keystead provide`: earns with this machine.

use crate::{cli::Provide, compute::provider};
use eyre::{Context as _, Result};
use std::process::ExitCode;
use tokio::runtime::Builder;

pub(crate) fn run(options: &Provide) -> Result<ExitCode> {
    let runtime = Builder::new_multi_thread().enable_all().thread_name("provide").build();
    runtime.wrap_err("cannot start the runtime")?.block_on(Box::pin(provider::run(options)))
}
