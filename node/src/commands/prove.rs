//! `keystead prove`: what a machine shows about itself.

use crate::{cli::Prove, compute::touchstone::prove};
use eyre::Result;
use std::process::ExitCode;

pub(crate) fn run(options: &Prove) -> Result<ExitCode> {
    super::wait_for("prove", Box::pin(prove::run(options)))
}
