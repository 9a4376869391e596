//! Options of `keystead bench`.

use clap::{Args, Subcommand};

/// What `keystead bench` can measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Send plain transfers at a fixed rate and print latency and throughput as JSON.
    Load(BenchLoad),
    /// Send transfers as fast as a node takes them and print throughput and its cost as JSON. Works with any Ethereum node
    /// that funds the well-known test accounts.
    Peak(BenchPeak),
}

/// Options of `keystead bench load`.
#[derive(Args, Debug)]
pub(crate) struct BenchLoad {
    /// JSON-RPC address of a node; repeat it to spread the load.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8545")]
    pub(crate) rpc: Vec<String>,
    /// Transactions per second.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) rate: u64,
    /// For how long, in seconds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(crate) seconds: u64,
    /// Accounts to send from; each is given 1 KST by the first test account.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=5_000))]
    pub(crate) senders: u64,
    /// Send an accepted transaction again, to the next node, if it is in no block after so long: what died with a node comes back.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) resend_seconds: Option<u64>,
}

/// What is transferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Asset {
    /// The chain's own currency.
    Coin,
    /// OpenZeppelin's ERC-20, deployed first.
    Token,
}

/// To whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Recipients {
    /// Accounts that nobody has used: each transfer makes one.
    Fresh,
    /// A thousand accounts that exist and hold some already.
    Known,
}

/// Options of `keystead bench peak`.
#[derive(Args, Debug)]
pub(crate) struct BenchPeak {
    /// JSON-RPC address of a node; repeat it to spread the load.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8545")]
    pub(crate) rpc: Vec<String>,
    /// Process whose processor time is counted; repeat it for several nodes.
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Vec<u32>,
    /// Transactions to send, all signed beforehand.
    #[arg(long, default_value_t = 80_000, value_parser = clap::value_parser!(u64).range(1..=2_000_000))]
    pub(crate) transactions: u64,
    /// Accounts to send from; each is funded by the first test account.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=500))]
    pub(crate) senders: u64,
    /// What is transferred.
    #[arg(long, value_enum, default_value_t = Asset::Coin)]
    pub(crate) asset: Asset,
    /// To whom.
    #[arg(long, value_enum, default_value_t = Recipients::Fresh)]
    pub(crate) recipients: Recipients,
    /// Connections, each with senders of its own.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) connections: u32,
    /// Transactions in one request.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) batch: u32,
    /// Attempts per second, whether or not the node keeps up [default: as fast as it answers].
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) rate: Option<u64>,
}
