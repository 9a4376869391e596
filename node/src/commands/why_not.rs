//! `keystead why-not` and `keystead offers`: questions about the market that cost nothing.

use crate::{
    cli::{Offers, WhyNot},
    compute::{customer, matching},
};
use eyre::Result;
use std::process::ExitCode;

pub(crate) fn run(options: &WhyNot) -> Result<ExitCode> {
    super::wait_for("ask", Box::pin(customer::why_not(options)))
}

pub(crate) fn run_offers(options: &Offers) -> Result<ExitCode> {
    super::wait_for("ask", Box::pin(matching::list(options)))
}
