//! What a person can type after `keystead canary`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What `keystead canary` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Canary {
    /// Make the file of a new secret, which its customer (`keystead run --canary`) and a provider that it is, or pays (`keystead provide --canaries`),
    /// both need. Who else has it can tell the wrong units from the others.
    New(CanaryNew),
}

/// Options of `keystead canary new`.
#[derive(Args, Debug)]
pub(crate) struct CanaryNew {
    /// Account whose orders will have canaries.
    #[arg(long, value_name = "ADDRESS", value_parser = super::values::address)]
    pub(crate) customer: keystead_types::Address,
    /// File to make, readable by its owner only; it must not exist.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}
