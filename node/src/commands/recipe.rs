//! `keystead recipe`: what there is to order, and making and checking one's own.

use crate::{cli::Recipe, compute::recipe};
use eyre::{Context as _, Result};
use std::process::ExitCode;
use tokio::runtime::Builder;

pub(crate) fn run(command: &Recipe) -> Result<ExitCode> {
    match command {
        Recipe::List => recipe::list(),
        Recipe::Show(options) => recipe::show(&options.recipe)?,
        Recipe::New(options) => recipe::new(options)?,
        Recipe::Check(options) => {
            let runtime = Builder::new_multi_thread().enable_all().thread_name("recipe").build();
            return runtime.wrap_err("cannot start the runtime")?.block_on(Box::pin(recipe::check(options)));
        }
    }
    Ok(ExitCode::SUCCESS)
}
