//! `keystead provide`: earns with this machine.

use crate::{cli::Provide, compute::provider};
use eyre::Result;
use std::process::ExitCode;

pub(crate) fn run(options: &Provide) -> Result<ExitCode> {
    super::wait_for("provide", Box::pin(provider::run(options)))
}
