//! What a person can type after `keystead bond`.

use super::WalletOptions;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Options of `keystead bond`.
#[derive(Args, Debug)]
pub(crate) struct Bond {
    /// Folder of the provider (`keystead provide --dir`): its wallet, and what its machine can do.
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) dir: Option<PathBuf>,
    /// JSON-RPC address of a node.
    #[arg(long, value_name = "URL", env = "KEYSTEAD_RPC", default_value = "http://127.0.0.1:8545", global = true)]
    pub(crate) rpc: String,
    #[command(flatten)]
    pub(crate) wallet: WalletOptions,
    #[command(subcommand)]
    pub(crate) call: BondCall,
}

/// What to do with a bond. Amounts are in KST, such as `250` or `0.5`.
#[derive(Debug, Subcommand)]
pub(crate) enum BondCall {
    /// Print it.
    Show,
    /// Deposit KST of the wallet. It is free to be locked behind audited orders, or to be seated.
    Deposit {
        /// How much, in KST.
        #[arg(value_name = "KST", allow_negative_numbers = true, value_parser = parse_kst)]
        amount: keystead_types::U256,
    },
    /// Turn 100 KST of free bond a seat into seats. Each is a chance to be drawn as a checker, from the next epoch (256 blocks) on;
    /// `keystead provide` checks and earns the fees. A check that was begun and not finished costs 10 KST, a wrong one 100 KST.
    Seat {
        /// How many, 1 to 64.
        #[arg(value_parser = clap::value_parser!(u32).range(1..=64))]
        count: u32,
        /// State another hardware class than that of the self-test, which is stated by itself.
        #[arg(long, value_name = "CLASS", hide = true)]
        hardware: Option<u16>,
    },
    /// Give seats up from the next epoch on. Their bond can be taken after 14 days.
    Unseat {
        /// How many, 1 to 65536.
        #[arg(value_parser = clap::value_parser!(u32).range(1..=65_536))]
        count: u32,
    },
    /// Ask free bond back. It can be taken after 14 days; a second request starts the time anew.
    Leave {
        /// How much, in KST.
        #[arg(value_name = "KST", allow_negative_numbers = true, value_parser = parse_kst)]
        amount: keystead_types::U256,
    },
    /// Make the list from which checkers are drawn shorter, by holes that seats left behind 14 days ago or more. Anybody may; a step moves the last seat into
    /// a hole, or cuts a hole off the end, and is a transaction of yours. Where most of the list are holes, `keystead provide` with seats does it by turns.
    Compact {
        /// Most steps to take, 1 to 64.
        #[arg(default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=64))]
        steps: u32,
    },
    /// Take what has waited 14 days into the wallet.
    Withdraw,
}

fn parse_kst(text: &str) -> Result<keystead_types::U256, String> {
    let wrong = || format!("{text} is no amount of KST, such as 250 or 0.5");
    let amount = alloy_primitives::utils::parse_ether(text).map_err(|_| wrong())?;
    if amount.is_zero() || text.starts_with('-') { Err(wrong()) } else { Ok(amount) }
}
