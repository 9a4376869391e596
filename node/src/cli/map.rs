//! Options of `keystead map`.

use super::{Demands, WalletOptions, market, parse_pair, values};
use crate::compute::customer::audit::options::MapAuditOptions;
use clap::Args;
use std::path::PathBuf;

/// Options of `keystead map`.
#[derive(Args, Debug)]
pub(crate) struct Map {
    /// The recipe: what to compute.
    pub(crate) recipe: String,
    /// Inputs of the recipe, each as NAME=FILE.
    #[arg(value_name = "NAME=FILE", value_parser = parse_pair)]
    pub(crate) input: Vec<(String, String)>,
    /// The same, as `keystead run` takes it. May be repeated.
    #[arg(long = "input", value_name = "NAME=FILE", value_parser = parse_pair)]
    pub(crate) named_input: Vec<(String, String)>,
    /// A parameter of the recipe, as NAME=VALUE. May be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    pub(crate) set: Vec<(String, String)>,
    /// Folder to make for the result; it must not exist or be empty. If it holds a map that is under way, that one goes on.
    #[arg(long, value_name = "DIR", default_value = "result")]
    pub(crate) out: PathBuf,
    /// JSON-RPC address of a node.
    #[arg(long, value_name = "URL", env = "KEYSTEAD_RPC", default_value = "http://127.0.0.1:8545")]
    pub(crate) rpc: String,
    /// Folder of the wallet; it is made on the first start.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) wallet: WalletOptions,
    /// How many providers work at once; who fails is replaced.
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) providers: u32,
    /// Use this provider, and only those that are named so [default: the best of the plan]. May be repeated.
    #[arg(long, value_name = "ADDRESS", value_parser = values::address)]
    pub(crate) provider: Vec<keystead_types::Address>,
    /// Pay in this ERC-20 instead of KST, named by its contract, through channels in it. Gas stays in KST. Not with --audit, whose fees are in KST.
    #[arg(long, value_name = "ADDRESS", value_parser = market::parse_token)]
    pub(crate) token: Option<keystead_types::Address>,
    /// What the plan goes by, if nobody is named; where a provider stands, and how its orders ended, is asked of those that are named, too.
    #[command(flatten)]
    pub(crate) demands: Demands,
    /// Most to promise for the whole job, in wei, or in the smallest units of --token. With --audit what is taken for checks counts too, of which most comes back.
    #[arg(long, value_name = "WEI", allow_negative_numbers = true, value_parser = values::wei::<u128>)]
    pub(crate) max_price: Option<u128>,
    /// What becomes of the outputs: `recipe` (the recipe's own files), `concat` (one file, in order), `sum-u32`, `sum-u64`, `sum-f32`,
    /// `sum-f64` (the outputs as arrays of little-endian numbers, added element by element in order), a file `.wasm` (a program of
    /// specs/0003-job.md section 6: its common input is the result so far, its unit input a pack of outputs), or else a command for `sh`,
    /// which reads the outputs one after the other and writes the result.
    #[arg(long, value_name = "HOW", default_value = "recipe")]
    pub(crate) reduce: String,
    /// Steps of each provider to run again as a check before its sample is only a share, at least [default: 10].
    #[arg(long, value_name = "STEPS")]
    pub(crate) sample: Option<u32>,
    /// Share of the steps to run again as a check, in percent, at least [default: 3].
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) sample_rate: Option<u32>,
    #[command(flatten)]
    pub(crate) audit: MapAuditOptions,
    /// Longest time of one window by a provider's own pace, in seconds, 1 to 3600: what is lost when it dies [default: 60; 300 with --audit].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub(crate) window_seconds: Option<u32>,
    /// How long a provider with work may be silent before somebody else gets it, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(4..=3_600))]
    pub(crate) silence_seconds: u32,
    /// Time that a provider has to claim what it earned once its channel is to be closed, in seconds. Providers ask for at least their own
    /// `--watch-seconds`. With --audit it is longer by itself, by default about 8 hours: windows must be over before they are claimed.
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600, value_parser = clap::value_parser!(u32).range(1..=2_592_000))]
    pub(crate) challenge_seconds: u32,
    /// How long channels last at most, in seconds. What is not finished by then needs new ones. With --audit at least twice the time to claim.
    #[arg(long, value_name = "SECONDS", default_value_t = 604_800, value_parser = clap::value_parser!(u32).range(1_200..=31_536_000))]
    pub(crate) life_seconds: u32,
    /// Write every event to this file, one JSON object a line, or to standard output (-). A file is appended to, by one process at a time: one that goes on with
    /// the map tells nothing twice. What events there are: specs/0011-stream.md section 10.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) events: Option<PathBuf>,
    /// Show all that providers say of their side, not only why nothing moves. `provider.log` in the folder has it in any case.
    #[arg(long, short)]
    pub(crate) verbose: bool,
}
