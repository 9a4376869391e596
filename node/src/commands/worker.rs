//! `keystead worker`: the process in which one job runs, without keys, network or environment.

use crate::cli::Worker;
use std::process::ExitCode;

pub(crate) fn run(options: Worker) -> ExitCode {
    ExitCode::from(keystead_runner::worker_main(options.arguments.into_iter()))
}
