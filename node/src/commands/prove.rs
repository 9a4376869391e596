//! `keystead prove`: what a machine shows about itself.

use crate::{cli::Prove, compute::touchstone::prove};
use eyre::{Context as _, Result};
use std::process::ExitCode;
use tokio::runtime::Builder;

pub(crate) fn run(options: &Prove) -> Result<ExitCode> {
    let runtime = Builder::new_multi_thread().enable_all().thread_name("prove").build();
    runtime.wrap_err("cannot start the runtime")?.block_on(Box::pin(prove::run(options)))
}
