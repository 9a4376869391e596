//! What a person can type.

mod bench;
mod bond;
mod canary;
mod events;
mod map;
mod market;
mod proof;
mod recipe;
mod run;
mod service;
mod statement;
pub(crate) mod values;

pub(crate) use self::{map::Map, run::Run};
pub(crate) use bench::{Asset, Bench, BenchLoad, BenchPeak, Recipients};
pub(crate) use bond::{Bond, BondCall};
pub(crate) use canary::{Canary, CanaryKeep, CanaryNew};
pub(crate) use events::EventsFile;
pub(crate) use market::{Claims, Demands, Hardware, Offers, TOKENS_MAX, TokenPrice, WhyNot};
pub(crate) use proof::{PROVE_SECONDS_MAX, Prove, ProveWhen, Proving};
pub(crate) use recipe::{Recipe, RecipeCheck, RecipeClass, RecipeNew, RecipeRuntime};
pub(crate) use service::{Service, ServiceSystem};
pub(crate) use statement::Statement;

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

/// A shared computer that nobody has to trust: ledger, compute market, proofs.
#[derive(Debug, Parser)]
#[command(name = "keystead", version, about, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to log: `error`, `warn`, `info`, `debug`, or a filter such as `keystead=debug`.
    #[arg(long, env = "KEYSTEAD_LOG", default_value = "info", global = true, value_name = "FILTER")]
    pub(crate) log: String,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t = LogFormat::Text, global = true)]
    pub(crate) log_format: LogFormat,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Form of the log lines on standard error.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make the files of a new development network: genesis, network key, one folder per validator.
    #[cfg(feature = "validator")]
    Init(Init),
    /// Run a validator from its folder until it is stopped (Ctrl-C or SIGTERM).
    #[cfg(feature = "validator")]
    Node(Node),
    /// Follow a network without being a validator: take its blocks from nodes, check certificates, execute, answer JSON-RPC.
    ///
    /// No source is trusted: whatever the network key does not prove is refused, and another source is asked.
    #[cfg(feature = "validator")]
    Follow(Follow),
    /// Import the blocks of an Ethereum chain from a file, every rule checked but seals, and answer JSON-RPC from them.
    ///
    /// The same command goes on where it was cut off.
    #[cfg(feature = "validator")]
    Import(Import),
    /// Run a chain of one process for the tests of contracts and applications: a block for each transaction, funded accounts
    /// with public keys, and the helpers that Hardhat, Foundry and viem know.
    #[cfg(feature = "validator")]
    Dev(Dev),
    /// Look at the data folder of a stopped validator or follower.
    #[cfg(feature = "validator")]
    #[command(subcommand)]
    Db(Db),
    /// Make a snapshot of a node's state, or load one as the beginning of a follower.
    #[cfg(feature = "validator")]
    #[command(subcommand)]
    Snapshot(Snapshot),
    /// Check a proof bundle or a certificate offline, and with `--results` whether the outputs in a folder are those that it proves.
    ///
    /// Exit code 0: proved, and with `--results` every output is equal. 1: proved false. 2: not proved; then no file is looked at. 3: no usable file,
    /// folder or key. 4: proved, but an output in the folder is another, or missing. 5: proved, but there is nothing to compare, or only what its customer says.
    Verify(Verify),
    /// Earn with this machine: register it as a provider, run the jobs that customers order, be paid.
    Provide(Provide),
    /// Write the file by which the system starts the provider: systemd, launchd, or on Windows a scheduled task at logon or a service.
    Service(Service),
    /// Show what this machine can prove about its hardware, or check what a provider has published.
    ///
    /// Each device fills its memory with a chain of matrix products and shows that the work was done and the words are there; see
    /// specs/0010-capability.md. Without `--verify` nothing leaves this machine.
    ///
    /// Exit code 0: proved. 1: not proved, or not any more, or it cannot be checked now.
    Prove(Prove),
    /// Show or change what stands behind this account's work: bond for audited orders, and seats from which checkers are drawn.
    Bond(Bond),
    /// Make the secret of units that are wrong on purpose, by which a customer sees who of the drawn checkers looks, or order such units at a rate.
    #[command(subcommand)]
    Canary(Canary),
    /// Run a job on a provider's machine, check a sample of its result, pay for it.
    ///
    /// Where the order stands is kept in the folder of the result: after a crash the same command goes on with the same order. Ctrl-C cancels an order that
    /// nobody leased, and stops one that is leased: what is done of it is paid, and kept as `outputs.pack`; once more leaves at once.
    ///
    /// Exit code 0: the result is right as far as the sample shows, and paid. 1: rejected, refunded, stopped, failed or not begun. 2: the
    /// command line is wrong. 3: undecided: the order is not over and the same command goes on with it, or the result could not be
    /// checked on this machine.
    Run(Box<Run>),
    /// Say what an account earned, paid and still has to get, so that it adds up to the wei.
    Statement(Statement),
    /// Say which providers would take a job, for how much, and why the others would not: for each filter how many fall, and the cheapest change that
    /// brings one in. Orders nothing.
    ///
    /// It is about an order that you check alone. An audit (`run --audit`, `map --audit`) costs more, by fees of checks, a deposit and gas; those commands say
    /// so before anything is paid, and leave out providers whose bond is too small for what you ask.
    ///
    /// Exit code 0: somebody would take it. 1: nobody, or the question makes no sense.
    WhyNot(WhyNot),
    /// List all providers: what each claims, what others proved of it, what it costs, whether it takes orders.
    Offers(Offers),
    /// List, show, make and check recipes.
    #[command(subcommand)]
    Recipe(Recipe),
    /// Run a job of many units on many providers at once, each paid through a payment channel as it delivers.
    ///
    /// What is done, promised and paid is kept in the folder of the result: after a crash, or Ctrl-C, the same command goes on where it
    /// stopped. It also takes back what lies in channels that providers did not close.
    ///
    /// Exit code 0: every unit is done. 1: it failed, or could not begin. 2: the command line is wrong. 3: stopped, or kept from its
    /// end: the same command goes on.
    Map(Box<Map>),
    /// One job in a process of its own, started by the commands that run jobs.
    #[command(hide = true, disable_help_flag = true)]
    Worker(Worker),
    /// Measure a running network.
    #[command(subcommand)]
    Bench(Bench),
    /// Print a completion script for a shell.
    Completions(Completions),
}

/// Options of `keystead init`.
#[derive(Args, Debug)]
pub(crate) struct Init {
    /// How many validators.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=128))]
    pub(crate) validators: u32,
    /// Folder to make; it must not exist or be empty.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// EIP-155 chain id.
    #[arg(long, default_value_t = keystead_types::ChainSpec::DEVELOPMENT_CHAIN_ID)]
    pub(crate) chain_id: u64,
    /// Address that the validators listen on for each other and are reached at.
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: IpAddr,
    /// Address that they listen on for JSON-RPC. Everybody who reaches it may send transactions and ask anything.
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) rpc_host: IpAddr,
    /// First port for connections between validators; the others follow. 0 picks free ports.
    #[arg(long, default_value_t = 30_500)]
    pub(crate) p2p_port: u16,
    /// First port for JSON-RPC; the others follow. 0 picks free ports.
    #[arg(long, default_value_t = 8_545)]
    pub(crate) rpc_port: u16,
    /// Give this account 10,000 KST in addition to the ten well-known test accounts. May be repeated.
    #[arg(long, value_name = "ADDRESS", value_parser = values::address)]
    pub(crate) fund: Vec<keystead_types::Address>,
    /// Shortest time between blocks under load, in milliseconds.
    #[arg(long, default_value_t = 200, value_name = "MS", value_parser = clap::value_parser!(u64).range(20..=10_000))]
    pub(crate) interval: u64,
}

/// Options of `keystead node`.
#[derive(Args, Debug)]
pub(crate) struct Node {
    /// The validator's folder, as `keystead init` made it.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Sign at once even if votes may be forgotten (a damaged or deleted engine folder). Use it only if all validators stopped at
    /// the same moment and none can go on: otherwise this validator may vote twice in one view.
    #[arg(long)]
    pub(crate) trust_votes: bool,
    /// Blocks whose states can be asked for, or `archive` for all. 100,000 are 5.5 hours at 200 ms a block.
    #[arg(long, value_name = "BLOCKS", default_value = "100000", value_parser = parse_history)]
    pub(crate) history: keystead_state::History,
    /// Memory for the branches of the account trie, at most 30 GiB; an account takes some 110 bytes. Above it, accounts that no
    /// recent block has touched cost some 50 us more when a block changes them.
    #[arg(long, default_value_t = 2_048, value_name = "MIB", value_parser = clap::value_parser!(u64).range(16..=30 << 10))]
    pub(crate) trie_memory: u64,
}

/// Options of `keystead follow`.
#[derive(Args, Debug)]
pub(crate) struct Follow {
    /// JSON-RPC address of a node to take blocks from and to send transactions to. Repeat it: if one lies or is silent, the
    /// others are asked.
    #[arg(long, value_name = "URL", required = true)]
    pub(crate) from: Vec<String>,
    /// The network key that you trust: 96 bytes in hex.
    #[arg(long, value_name = "HEX", env = "KEYSTEAD_NETWORK_KEY")]
    pub(crate) network_key: String,
    /// The network's genesis file [default: a source gives it, and the first certified block proves it]. A copy is kept.
    #[arg(long, value_name = "FILE")]
    pub(crate) genesis: Option<PathBuf>,
    /// Start from this snapshot instead of the genesis, on the first start.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) snapshot: Option<PathBuf>,
    /// Folder of the follower; it is made on the first start.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Answer JSON-RPC on this address, over HTTP and WebSocket.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8545")]
    pub(crate) serve: SocketAddr,
    /// Blocks whose states can be asked for, or `archive` for all from the first block that the follower has.
    #[arg(long, value_name = "BLOCKS", default_value = "100000", value_parser = parse_history)]
    pub(crate) history: keystead_state::History,
}

/// Options of `keystead import`.
#[derive(Args, Debug)]
pub(crate) struct Import {
    /// The chain's genesis file, as geth reads it: forks, blob schedule, accounts.
    #[arg(long, value_name = "FILE")]
    pub(crate) genesis: PathBuf,
    /// Its blocks from block 1 on, RLP one after the other, as `geth export` writes them. Without it nothing is added.
    #[arg(long, value_name = "FILE")]
    pub(crate) chain: Option<PathBuf>,
    /// Folder of the imported chain; it is made if it does not exist.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Then answer JSON-RPC on this address until Ctrl-C or SIGTERM. The last block is latest, safe and finalized.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) serve: Option<SocketAddr>,
}

/// Options of `keystead dev`.
#[derive(Args, Debug)]
pub(crate) struct Dev {
    /// Port for JSON-RPC over HTTP and WebSocket. 0 takes a free one.
    #[arg(long, short = 'p', visible_alias = "port", default_value_t = 8_545, value_name = "PORT")]
    pub(crate) http_port: u16,
    /// Address to listen on. Everybody who reaches it can take all money and change everything.
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    pub(crate) host: IpAddr,
    /// EIP-155 chain id.
    #[arg(long, default_value_t = 31_337, value_name = "ID")]
    pub(crate) chain_id: u64,
    /// How many accounts get money.
    #[arg(long, short, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000), value_name = "COUNT")]
    pub(crate) accounts: u32,
    /// How much each of them gets, in whole KST.
    #[arg(long, default_value_t = 10_000, value_name = "KST")]
    pub(crate) balance: u64,
    /// The words that the accounts' keys are derived from.
    #[arg(long, short, default_value = crate::compute::wallet::TEST_MNEMONIC, value_name = "WORDS")]
    pub(crate) mnemonic: String,
    /// Gas limit of the blocks.
    #[arg(long, default_value_t = 150_000_000, value_parser = clap::value_parser!(u64).range(21_000..=1_000_000_000_000), value_name = "GAS")]
    pub(crate) gas_limit: u64,
    /// Base fee of the first block, in wei per gas.
    #[arg(long, default_value_t = 1_000_000_000, visible_alias = "block-base-fee-per-gas", value_name = "WEI")]
    pub(crate) base_fee: u64,
    /// Time of the genesis block, in Unix seconds [default: now].
    #[arg(long, value_parser = clap::value_parser!(u64).range(0..=1_000_000_000_000), value_name = "SECONDS")]
    pub(crate) timestamp: Option<u64>,
    /// Make a block every so many seconds instead of one for each transaction.
    #[arg(long, short, value_parser = clap::value_parser!(u64).range(1..=31_536_000), value_name = "SECONDS")]
    pub(crate) block_time: Option<u64>,
    /// Make blocks only when they are asked for.
    #[arg(long, visible_alias = "no-mine", conflicts_with = "block_time")]
    pub(crate) no_mining: bool,
    /// Let every account send without a signature.
    #[arg(long)]
    pub(crate) auto_impersonate: bool,
    /// Keep the chain in this folder, and go on with it at the next start [default: a temporary folder].
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Print nothing but the address.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

fn parse_history(text: &str) -> Result<keystead_state::History, String> {
    match text {
        "archive" => Ok(keystead_state::History::Archive),
        blocks => blocks
            .parse()
            .map(keystead_state::History::Blocks)
            .map_err(|_| "write a number of blocks, or archive".to_owned()),
    }
}

/// What `keystead db` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Db {
    /// Print tables, sizes, the window of old states and the sealed files.
    Stats(DbFolder),
    /// Recompute every root, hash and index. Exit code 0: no damage, 1: damage, which is named.
    Verify(DbFolder),
    /// Drop old states, and sealed blocks with their receipts and logs. Headers stay.
    Prune(DbPrune),
}

/// Whose data folder.
#[derive(Args, Debug)]
pub(crate) struct DbFolder {
    /// The validator's folder, as `keystead init` made it, or a follower's.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

/// Options of `keystead db prune`.
#[derive(Args, Debug)]
pub(crate) struct DbPrune {
    #[command(flatten)]
    pub(crate) folder: DbFolder,
    /// Height of the oldest state to keep; files that end below it are dropped.
    #[arg(long, value_name = "HEIGHT")]
    pub(crate) below: u64,
}

/// What `keystead snapshot` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Snapshot {
    /// Write the whole state after a certified block, in chunks, with what proves it.
    Make(SnapshotMake),
    /// Make the folder of a follower from a snapshot. What was cut off goes on; nothing is used before its root is certified.
    Load(SnapshotLoad),
}

/// Options of `keystead snapshot make`.
#[derive(Args, Debug)]
pub(crate) struct SnapshotMake {
    /// Folder of a stopped validator or follower.
    #[arg(long, value_name = "DIR", required_unless_present = "from")]
    pub(crate) data: Option<PathBuf>,
    /// JSON-RPC address of a running node instead.
    #[arg(long, value_name = "URL", conflicts_with = "data", requires = "network_key")]
    pub(crate) from: Option<String>,
    /// The network key that you trust, for --from: 96 bytes in hex.
    #[arg(long, value_name = "HEX", env = "KEYSTEAD_NETWORK_KEY")]
    pub(crate) network_key: Option<String>,
    /// Folder to make; it must not exist or be empty.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: PathBuf,
    /// Take the newest block with a certificate at or below this height [default: the newest of all].
    #[arg(long, value_name = "HEIGHT")]
    pub(crate) at: Option<u64>,
}

/// Options of `keystead snapshot load`.
#[derive(Args, Debug)]
pub(crate) struct SnapshotLoad {
    /// The snapshot.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) from: PathBuf,
    /// Folder of the follower; it is made if it does not exist.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// The network key that you trust: 96 bytes in hex.
    #[arg(long, value_name = "HEX", env = "KEYSTEAD_NETWORK_KEY")]
    pub(crate) network_key: String,
}

/// Options of `keystead verify`.
#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// The bundle, as `keystead_getProof` or a job's `certificate.json` holds it; `-` reads standard input.
    pub(crate) file: PathBuf,
    /// The network key that you trust: 96 bytes in hex, `network_key` in the `network.json` of whoever runs the network.
    #[arg(long, value_name = "HEX", env = "KEYSTEAD_NETWORK_KEY")]
    pub(crate) network_key: Option<String>,
    /// Oldest block that may prove a claim about now, in seconds [default: 10 for such claims].
    #[arg(long, value_name = "SECONDS")]
    pub(crate) max_age: Option<u64>,
    /// Folder of the result: compare the outputs in it with those that the certificate proves. `keystead map` leaves them, and
    /// `keystead run --keep-outputs`; files that a recipe made of them are not compared.
    #[arg(long, value_name = "DIR")]
    pub(crate) results: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which key pays and is paid.
#[derive(Args, Debug)]
pub(crate) struct WalletOptions {
    /// File with a private key in hex, readable by its owner only.
    #[arg(long, value_name = "FILE", conflicts_with = "dev_account", global = true)]
    pub(crate) key: Option<PathBuf>,
    /// Use one of the ten well-known test accounts of a development network, 0 to 9. Their keys are public.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=9), global = true)]
    pub(crate) dev_account: Option<u32>,
    /// Refuse any chain but this.
    #[arg(long, value_name = "ID", global = true)]
    pub(crate) chain_id: Option<u64>,
}

/// Options of `keystead provide`.
#[derive(Args, Debug)]
pub(crate) struct Provide {
    /// Folder for keys, state and blobs; it is made on the first start.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// JSON-RPC address of a node.
    #[arg(long, value_name = "URL", env = "KEYSTEAD_RPC", default_value = "http://127.0.0.1:8545")]
    pub(crate) rpc: String,
    #[command(flatten)]
    pub(crate) wallet: WalletOptions,
    /// Price of one unit, in wei (1 KST = 10^18 wei), 1 to 10^24. In tokens: --token-price.
    #[arg(long, value_name = "WEI", default_value_t = 1_000_000_000_000_000, allow_negative_numbers = true,
        value_parser = values::wei::<u128>)]
    pub(crate) price: u128,
    #[command(flatten)]
    pub(crate) claims: Claims,
    /// UDP address to listen on for customers. Port 0 takes a free one.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// Address that customers are told to dial, if it is not the one listened on. May be repeated.
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) advertise: Vec<SocketAddr>,
    /// Most to keep of customers' inputs and outputs, in MiB, 1 to 16777216.
    #[arg(long, value_name = "MIB", default_value_t = 16_384, value_parser = clap::value_parser!(u64).range(1..=16_777_216))]
    pub(crate) store: u64,
    /// When to prove this machine's hardware to checkers whom the network draws: `auto` before the first order and whenever the network asks, if
    /// there is anybody who could check it; `always`; `never`.
    #[arg(long, value_name = "WHEN", default_value = "auto", overrides_with = "prove")]
    pub(crate) prove: ProveWhen,
    #[command(flatten)]
    pub(crate) proving: Proving,
    /// Whether work may run: `auto` as the preferences in `owner.toml` say, `always` on a machine that is for nothing else, `never`. Kept in
    /// the folder [default: what was said last, `auto` at first].
    #[arg(long, value_name = "MODE")]
    pub(crate) compute: Option<OwnerMode>,
    /// Tell the provider of this folder to compute nothing, for so many minutes (up to 525600) or until `--resume`.
    #[arg(long, value_name = "MINUTES", num_args = 0..=1, default_missing_value = "0", group = "wish",
        allow_negative_numbers = true, value_parser = values::pause_minutes)]
    pub(crate) pause: Option<u32>,
    /// Tell the provider of this folder to go on: ends a pause, and takes `--finish` back.
    #[arg(long, group = "wish")]
    pub(crate) resume: bool,
    /// Tell the provider of this folder to take no order and to stop when the open ones are over.
    #[arg(long, group = "wish")]
    pub(crate) finish: bool,
    /// Print what may run now in the provider of this folder, and why not, as JSON.
    #[arg(long, group = "wish")]
    pub(crate) status: bool,
    /// Do not work unless workers are confined by this layer (docs/sandbox.md names them). May be repeated.
    #[arg(long, value_name = "LAYER")]
    pub(crate) require_layer: Vec<keystead_runner::Layer>,
    /// Leave out this layer of the workers' confinement, for a driver that cannot live with it. May be repeated.
    #[arg(long, value_name = "LAYER")]
    pub(crate) without_layer: Vec<keystead_runner::Layer>,
    /// Let workers read this file or folder too: a graphics driver in an unusual place. May be repeated.
    #[arg(long, value_name = "PATH")]
    pub(crate) worker_reads: Vec<PathBuf>,
    /// Let workers load this Vulkan driver alone, named by its description (a `.json`), since they inherit no variable that names one. --worker-reads names the
    /// other files that it needs.
    #[arg(long, value_name = "FILE")]
    pub(crate) vulkan_driver: Option<PathBuf>,
    /// On a machine without a Vulkan, Metal or DX12 adapter, offer `wgsl/1` on the interpreter: right, hundreds of times slower than a driver, shown as what it
    /// is, and for orders of those alone who ask for it (`--hardware interpreter`). Changes nothing where an adapter runs it.
    #[arg(long)]
    pub(crate) interpreter: bool,
    /// Do not check other providers' work, although this account has seats (`keystead bond seat`) or private orders name it. Without seats only such orders are
    /// checked.
    #[arg(long)]
    pub(crate) no_check: bool,
    /// Put so much of what this provider earns into its bond, in percent: so one begins without money, and takes audited orders and
    /// seats later. The first 100 KST become a seat.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) bond_from_earnings: u8,
    /// How long this provider may be switched off without losing what customers of `keystead map` owe it, in seconds, 1 to 2592000: their
    /// channels must leave it so much time to claim.
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600, value_parser = clap::value_parser!(u32).range(1..=2_592_000))]
    pub(crate) watch_seconds: u32,
    /// Take no channel of `keystead map --audit` in which announcing, opening and claiming a full window costs more gas than so many percent of its
    /// pay, 1 to 100, and end one whose windows cost more than twice that together, from the seventeenth on [default: take it, and say so above 100].
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) window_gas: Option<u8>,
    /// Deliver one wrong unit in audited orders of the customer that made this file, if it ordered one (`keystead canary new`): it catches checkers that
    /// do not look, and is not paid. Give none but a customer's that you are, or that pays you. May be repeated, 16 times at most.
    #[arg(long, value_name = "FILE")]
    pub(crate) canaries: Vec<PathBuf>,
    /// Deliver one wrong unit in every order and lease, drawn from this seed: shows whether customers notice. Costs the pay of what they do.
    #[arg(long, value_name = "SEED", hide = true)]
    pub(crate) fault_seed: Option<u64>,
    /// With --fault-seed: the unit comes out wrong again when it is run again, so that this provider appeals.
    #[arg(long, hide = true, requires = "fault_seed")]
    pub(crate) fault_stays: bool,
    /// With --fault-seed: of the leases of a channel only the first has a wrong step.
    #[arg(long, hide = true, requires = "fault_seed")]
    pub(crate) fault_once: bool,
    /// With --fault-seed: of the unit of an order this segment, counted from 0, is wrong, and so its states are from there on. A unit of fewer segments is right.
    #[arg(long, value_name = "SEGMENT", hide = true, requires = "fault_seed")]
    pub(crate) fault_segment: Option<u32>,
    /// Give customers of orders outputs, and nothing of the states between segments: shows whether they search for what is wrong in public.
    #[arg(long, hide = true)]
    pub(crate) withhold_states: bool,
    /// Give checkers nothing, or nothing from some moment on: shows whether customers and other checkers give them what they need.
    #[arg(long, value_enum, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "always", hide = true)]
    pub(crate) refuse_checkers: Option<RefuseCheckers>,
    /// As a checker, find right whatever a provider opened, without a look: shows whether canaries catch it.
    #[arg(long, hide = true)]
    pub(crate) believe_providers: bool,
    /// While the file `fault-watcher` is in the folder, what watches for the owner ends: shows that work ends with it.
    #[arg(long, hide = true)]
    pub(crate) fault_watcher: bool,
}

/// Which checkers a provider refuses on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RefuseCheckers {
    /// All.
    Always,
    /// Of a unit that it has opened.
    Opened,
    /// Of a unit that is in a round after the first, whenever they were drawn.
    Later,
}

/// Whether a provider's work may run.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum OwnerMode {
    /// Whatever the preferences say; heat and a pause still count.
    Always,
    /// As the preferences say.
    Auto,
    /// Not at all.
    Never,
}

/// Arguments of `keystead worker`.
#[derive(Args, Debug)]
pub(crate) struct Worker {
    /// Passed on as they are.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<std::ffi::OsString>,
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| "write NAME=VALUE".to_owned())?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Options of `keystead completions`.
#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// The shell to complete for.
    pub(crate) shell: clap_complete::Shell,
}

/// Shows an error and its causes on standard error.
#[allow(clippy::print_stderr, reason = "the last word of the program")]
pub(crate) fn print_error(error: &eyre::Report) {
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn no_two_options_of_a_command_have_the_same_name() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_wallet_of_a_bond_is_named_before_or_after_what_to_do() {
        let [before, after] = [["--dir", "d", "show"], ["show", "--dir", "d"]].map(|words| {
            let line = ["keystead", "bond"].into_iter().chain(words);
            match Cli::try_parse_from(line).map(|cli| cli.command) {
                Ok(Command::Bond(bond)) => Some((bond.dir, bond.rpc)),
                _ => None,
            }
        });
        assert!(before.as_ref().is_some_and(|(dir, _)| dir.as_deref() == Some(std::path::Path::new("d"))));
        assert_eq!(before, after);
    }
}
