//! The options of `keystead statement`.

use clap::Args;

/// Options of `keystead statement`.
#[derive(Args, Debug)]
pub(crate) struct Statement {
    /// Whose money: an address, 0x and 40 hex digits.
    #[arg(value_parser = super::values::address)]
    pub(crate) account: keystead_types::Address,
    /// JSON-RPC address of a node. It is believed: certificates prove single orders.
    #[arg(long, value_name = "URL", env = "KEYSTEAD_RPC", default_value = "http://127.0.0.1:8545")]
    pub(crate) rpc: String,
    /// First block [default: the first there is, or a million blocks before the last].
    #[arg(long, value_name = "BLOCK")]
    pub(crate) from_block: Option<u64>,
    /// Last block [default: the newest].
    #[arg(long, value_name = "BLOCK")]
    pub(crate) to_block: Option<u64>,
    /// Print everything as JSON, amounts in wei; those of a token in its smallest units.
    #[arg(long)]
    pub(crate) json: bool,
}
