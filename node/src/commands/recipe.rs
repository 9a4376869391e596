//! `keystead recipe`: what there is to order, and making and checking one's own.

use crate::{cli::Recipe, compute::recipe};
use eyre::Result;
use std::process::ExitCode;

pub(crate) fn run(command: &Recipe) -> Result<ExitCode> {
    match command {
        Recipe::List => recipe::list(),
        Recipe::Show(options) => recipe::show(&options.recipe)?,
        Recipe::New(options) => recipe::new(options)?,
        Recipe::Check(options) => return super::wait_for("recipe", Box::pin(recipe::check(options))),
    }
    Ok(ExitCode::SUCCESS)
}
