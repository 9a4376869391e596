//! Options of `keystead run`.

use super::{Demands, EventsFile, WalletOptions, market, parse_pair, values};
use crate::compute::customer::audit::options::AuditOptions;
use clap::Args;
use std::path::PathBuf;

/// Options of `keystead run`.
#[derive(Args, Debug)]
pub(crate) struct Run {
    /// The recipe: what to compute. A name of `keystead recipe list`, or a recipe's folder, such as `./my-recipe`.
    pub(crate) recipe: String,
    /// An input of the recipe, as NAME=FILE. Repeat it for every input.
    #[arg(long, value_name = "NAME=FILE", value_parser = parse_pair)]
    pub(crate) input: Vec<(String, String)>,
    /// A parameter of the recipe, as NAME=VALUE. May be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    pub(crate) set: Vec<(String, String)>,
    /// Folder to make for the result; it must not exist or be empty. If it holds an order that is under way, that one goes on.
    #[arg(long, value_name = "DIR", default_value = "result")]
    pub(crate) out: PathBuf,
    /// Keep the outputs of the units, too, in `outputs.pack` beside the result: what `keystead verify --results` compares with the certificate.
    #[arg(long)]
    pub(crate) keep_outputs: bool,
    /// JSON-RPC address of a node.
    #[arg(long, value_name = "URL", env = "KEYSTEAD_RPC", default_value = "http://127.0.0.1:8545")]
    pub(crate) rpc: String,
    /// Folder of the wallet; it is made on the first start.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) wallet: WalletOptions,
    /// Order from this provider only [default: the one that costs least, all in all].
    #[arg(long, value_name = "ADDRESS", value_parser = values::address)]
    pub(crate) provider: Option<keystead_types::Address>,
    /// Pay in this ERC-20 instead of KST, named by its contract. Gas, and the deposit of an audit, stay in KST.
    #[arg(long, value_name = "ADDRESS", value_parser = market::parse_token)]
    pub(crate) token: Option<keystead_types::Address>,
    /// Most to pay for the whole job, in wei, or in the smallest units of --token.
    #[arg(long, value_name = "WEI", allow_negative_numbers = true,
        value_parser = values::amount::<keystead_types::U256>)]
    pub(crate) max_price: Option<keystead_types::U256>,
    #[command(flatten)]
    pub(crate) demands: Demands,
    /// Providers to order from, one after the other, until one of them does the job, 1 to 64; the money comes back before
    /// each next order.
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) attempts: u32,
    /// Time to reach the provider before it takes the order, in seconds; then the order is cancelled.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) reach_seconds: u32,
    /// Units to run again as a check, at least [default: 10].
    #[arg(long, value_name = "UNITS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) sample: Option<u32>,
    /// Share of the units to run again as a check, in percent, at least [default: 3].
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) sample_rate: Option<u32>,
    /// Draw the sample from this seed instead of a new one. A provider that knows it beforehand can cheat in the other units.
    #[arg(long, value_name = "HEX", hide = true)]
    pub(crate) sample_seed: Option<keystead_types::B256>,
    #[command(flatten)]
    pub(crate) audit: AuditOptions,
    /// Time for the provider to take the order, in seconds, 1 to 86400; then it is refunded.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) lease_seconds: u32,
    /// Time for the provider to deliver, in seconds, 1 to 604800; then it is refunded [default: 1800 and twenty times as long as the plan says that the work
    /// takes, at most 3600; 3600 of a provider of which nothing is known].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=604_800))]
    pub(crate) deliver_seconds: Option<u32>,
    /// Time to check the delivery, in seconds, 1 to 259200; then the provider is paid.
    #[arg(long, value_name = "SECONDS", default_value_t = 1_800, value_parser = clap::value_parser!(u32).range(1..=259_200))]
    pub(crate) check_seconds: u32,
    #[command(flatten)]
    pub(crate) told: EventsFile,
}
