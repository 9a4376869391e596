//! Format and lints, the same for a developer and for CI.

use crate::process::{cargo, run as run_command};
use eyre::Result;
use std::path::Path;

pub(crate) fn run(root: &Path) -> Result<()> {
    run_in(root, &["fmt", "--all", "--check"])?;
    run_in(root, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

/// The provider's and customer's side must build without the engine.
pub(crate) fn provider_side(root: &Path) -> Result<()> {
    run_in(root, &["check", "--package", "keystead", "--no-default-features"])
}

fn run_in(root: &Path, arguments: &[&str]) -> Result<()> {
    run_command(cargo().args(arguments).current_dir(root))
}
