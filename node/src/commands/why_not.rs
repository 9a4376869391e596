//! `keystead why-not` and `keystead offers`: questions about the market that cost nothing.

use crate::{
    cli::{Offers, WhyNot},
    compute::{customer, matching},
};
use eyre::{Context as _, Result};
use std::process::ExitCode;
use tokio::runtime::{Builder, Runtime};

pub(crate) fn run(options: &WhyNot) -> Result<ExitCode> {
    runtime()?.block_on(Box::pin(customer::why_not(options)))
}

pub(crate) fn run_offers(options: &Offers) -> Result<ExitCode> {
    runtime()?.block_on(Box::pin(matching::list(options)))
}

fn runtime() -> Result<Runtime> {
    Builder::new_multi_thread().enable_all().thread_name("ask").build().wrap_err("cannot start the runtime")
}
