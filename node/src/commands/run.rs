//! `keystead run`: one job on somebody else's machine, checked and paid.

use crate::{cli::Run, compute::customer};
use eyre::Result;
use std::process::ExitCode;

pub(crate) fn run(options: &Run) -> Result<ExitCode> {
    super::wait_for("run", Box::pin(customer::run(options)))
}
