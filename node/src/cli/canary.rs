//! What a person can type after `keystead canary`.

use super::{WalletOptions, values};
use clap::{Args, Subcommand};
use keystead_types::U256;
use std::path::PathBuf;

/// What `keystead canary` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Canary {
    /// Make the file of a new secret, which its customer (`keystead run --canary`) and a provider that it is, or pays (`keystead provide --canaries`),
    /// both need. Who else has it can tell the wrong units from the others.
    New(CanaryNew),
    /// Order canaries at a rate: count the checks of everybody on the chain, and whenever too few canaries were told among them, order a job of a file
    /// with one. It runs until it is stopped.
    ///
    /// How far it has come is kept in its folder: after a crash the same command goes on with the same order. Ctrl-C, or SIGTERM: it begins no order any
    /// more, and asks the one under way to stop, as Ctrl-C does with `keystead run`; once more leaves that one to the next `keystead canary keep`.
    ///
    /// Exit code 0: stopped with nothing under way, or with --once seen to. 1: failed, after three orders in a row came to nothing, or not begun. 2: the
    /// command line is wrong. 3: stopped with an order under way: the same command goes on with it. 4: what is left of --max-total is not enough.
    Keep(Box<CanaryKeep>),
}

/// Options of `keystead canary new`.
#[derive(Args, Debug)]
pub(crate) struct CanaryNew {
    /// Account whose orders will have canaries.
    #[arg(long, value_name = "ADDRESS", value_parser = values::address)]
    pub(crate) customer: keystead_types::Address,
    /// File to make, readable by its owner only; it must not exist.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

/// Options of `keystead canary keep`.
#[derive(Args, Debug)]
pub(crate) struct CanaryKeep {
    /// The secret, of this wallet's account (`keystead canary new`). The providers that --jobs names have the same file.
    #[arg(long, value_name = "FILE")]
    pub(crate) canary: PathBuf,
    /// Orders to draw from, one a line, in the arguments of `keystead run`: a recipe, its inputs, `--audit`, `--provider`, and what else it takes; not where
    /// the result goes, who pays, and how much at most. Words may be quoted, `#` begins a comment. Write down the orders that this account usually has:
    /// what looks like no other order is known for a canary.
    #[arg(long, value_name = "FILE")]
    pub(crate) jobs: PathBuf,
    /// Folder of the wallet, of what was counted and spent, and of the orders' results; it is made on the first start.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Canaries in a hundred checks, 0.0001 to 100, such as 0.5.
    #[arg(long, value_name = "PERCENT", default_value = "1", allow_negative_numbers = true, value_parser = values::percent_ppm)]
    pub(crate) rate: u32,
    /// Most that all orders of this folder may cost together, in wei, as --max-price counts: without gas, and without the bond of an
    /// accusation, which counts for the orders after it.
    #[arg(long, value_name = "WEI", allow_negative_numbers = true, value_parser = values::wei::<U256>)]
    pub(crate) max_total: U256,
    /// Most that one order may cost, in wei, with its deposit for checks and what telling its canary may take [default: what is left of --max-total].
    #[arg(long, value_name = "WEI", allow_negative_numbers = true, value_parser = values::wei::<U256>)]
    pub(crate) max_price: Option<U256>,
    /// An order comes up to so long after it is due, by chance, so that nobody knows it for a canary by its time, in seconds, 0 to 86400.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u32).range(0..=86_400))]
    pub(crate) spread_seconds: u32,
    /// End when one order is over, or at once if none is due.
    #[arg(long)]
    pub(crate) once: bool,
    /// JSON-RPC address of a node.
    #[arg(long, value_name = "URL", env = "KEYSTEAD_RPC", default_value = "http://127.0.0.1:8545")]
    pub(crate) rpc: String,
    #[command(flatten)]
    pub(crate) wallet: WalletOptions,
}
