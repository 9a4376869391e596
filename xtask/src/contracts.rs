//! Builds the Solidity artifacts, or checks that the committed ones are what the sources give.

use crate::{process::run as run_command, tools};
use eyre::Result;
use std::{path::Path, process::Command};

/// What to do with the artifacts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Write,
    Check,
}

pub(crate) fn run(root: &Path, mode: Mode) -> Result<()> {
    let folder = root.join("contracts");
    tools::npm_packages(&folder)?;
    let mut build = Command::new("node");
    build.arg("build.mjs").current_dir(&folder);
    if mode == Mode::Check {
        build.arg("--check");
    }
    run_command(&mut build)
}
