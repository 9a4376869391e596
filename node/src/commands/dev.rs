//! `keystead dev`: a chain of one process for tests of contracts and applications.
//!
//! # Design
//! The ledger, store, pool and RPC server of a validator, without the engine: `crate::dev` makes the blocks. The genesis
//! has the contracts of every chain of ours. What shapes a chain that is kept stands beside it, and holds at later starts.

use super::{
    init::{self, WEI_PER_KST},
    node::{keep_up, until_stopped, wait_for_signal},
};
use crate::{
    chain::Submissions,
    cli::Dev as Options,
    dev::{Accounts, Producer, Start},
};
use alloy_primitives::{U256, hex};
use eyre::{Context as _, Result, ensure};
use keystead_consensus::Gossip;
use keystead_mempool::{Limits, Pool};
use keystead_rpc::{Context, Mining, Network, ServerLimits};
use keystead_state::{History, Options as StoreOptions, Purpose, Store};
use keystead_types::{ChainSpec, Genesis, GenesisAccount};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{net::TcpListener, runtime::Builder, sync::watch};

/// Threads of the RPC runtime; its blocking work has lanes of its own.
const RPC_THREADS: usize = 2;
/// Time that a request may take: long enough for the most blocks that one call makes.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);
/// Blocks that a subscriber may be behind: one call can make a hundred thousand at once.
const SUBSCRIPTION_LAG_MAX: u64 = 1 << 20;
/// Nobody waits for a head that no transaction asks for.
const HEAD_AGE_MAX: Duration = Duration::from_secs(1 << 32);
/// Name of the file beside a chain that is kept.
const SHAPE_FILE: &str = "dev.json";

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let temporary = if options.data.is_none() { Some(tempfile::tempdir()?) } else { None };
    let folder: PathBuf = match (&options.data, &temporary) {
        (Some(folder), _) => folder.clone(),
        (None, temporary) => temporary.as_ref().map(|folder| folder.path().to_owned()).unwrap_or_default(),
    };
    let shape = Shape::in_folder(&folder, options)?;
    let accounts = Accounts::derive(&shape.mnemonic, shape.accounts)?;
    let (genesis, spec) = (shape.genesis(&accounts), shape.spec());
    let store_options =
        StoreOptions { history: History::Archive, purpose: Purpose::Development, ..StoreOptions::default() };
    let store = Store::open(&folder.join("state"), &genesis, store_options)
        .wrap_err_with(|| format!("cannot open the chain in {}", folder.display()))?;
    let limits = Limits { takes_any_chain: true, ..Limits::default() };
    let pool = Arc::new(Mutex::new(Pool::new(limits, spec.chain_id, spec.gas_limit)));
    // Nobody is at the other end of either: there is one process.
    let (submissions, _inbox) = Submissions::new(store.clone(), spec, Arc::clone(&pool), Gossip::new().0);
    let start = start(options, &shape);
    let producer = Producer::new(store.clone(), spec, Arc::clone(&pool), submissions, accounts.clone(), start)?;
    let producer = Arc::new(producer);
    let context = Context {
        store: store.clone(),
        pool,
        spec,
        submit: Arc::clone(&producer) as Arc<_>,
        network: Network { network_key: [0; 96], validators: Vec::new() },
        connected: Arc::default(),
        client_version: client_version(),
        dev: Some(Arc::clone(&producer) as Arc<_>),
    };
    let (stop, stopped) = watch::channel(false);
    let stop = Arc::new(stop);
    let (kept, ending) = (store, stopped.clone());
    let upkeep = thread::Builder::new().name("upkeep".to_owned()).spawn(move || keep_up(&kept, &ending))?;
    let (pacer, ending) = (Arc::clone(&producer), stopped.clone());
    let pacer = thread::Builder::new().name("dev".to_owned()).spawn(move || pacer.keep_pace(&ending))?;
    let served = serve(options, &shape, &accounts, context, &stop, stopped);
    // The server may have ended without a signal.
    let _ = stop.send(true);
    for (what, thread) in [("upkeep", upkeep), ("dev", pacer)] {
        if thread.join().is_err() {
            tracing::error!("the thread {what} panicked");
        }
    }
    served?;
    Ok(ExitCode::SUCCESS)
}

/// Answers JSON-RPC until a signal comes.
fn serve(
    options: &Options,
    shape: &Shape,
    accounts: &Accounts,
    context: Context,
    stop: &Arc<watch::Sender<bool>>,
    stopped: watch::Receiver<bool>,
) -> Result<()> {
    let runtime = Builder::new_multi_thread().worker_threads(RPC_THREADS).enable_all().thread_name("rpc").build()?;
    runtime.spawn(wait_for_signal(Arc::clone(stop)));
    let limits = ServerLimits {
        request_timeout: REQUEST_TIMEOUT,
        subscription_lag_max: SUBSCRIPTION_LAG_MAX,
        head_age_max: HEAD_AGE_MAX,
        ..ServerLimits::default()
    };
    let address = SocketAddr::new(options.host, options.http_port);
    let served = runtime.block_on(async {
        let listener = TcpListener::bind(address).await.wrap_err_with(|| {
            format!("cannot listen on {address}: stop the other program or choose another --http-port")
        })?;
        let address = listener.local_addr()?;
        if !options.quiet {
            show(shape, accounts);
        }
        announce(address);
        keystead_rpc::serve(context, listener, limits, until_stopped(stopped)).await?;
        Ok(())
    });
    runtime.shutdown_timeout(Duration::from_secs(2));
    served
}

/// What the first block is made with.
fn start(options: &Options, shape: &Shape) -> Start {
    let interval = options.block_time.map(Duration::from_secs);
    let mining = Mining { automine: interval.is_none() && !options.no_mining, interval };
    Start { mining, gas_limit: shape.gas_limit, impersonates_all: options.auto_impersonate }
}

/// Suites ask by this name whether they may use the helpers, and look for the name of the node whose helpers these are.
fn client_version() -> String {
    format!(
        "anvil-compatible/keystead/v{}/{}-{}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

/// What makes a chain the chain that it is.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Shape {
    chain_id: u64,
    /// Of the genesis block, in Unix seconds.
    timestamp: u64,
    gas_limit: u64,
    base_fee: u64,
    mnemonic: String,
    accounts: u32,
    /// Whole KST for each account.
    balance: u64,
}

impl Shape {
    fn of(options: &Options) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).wrap_err("the clock stands before 1970")?.as_secs();
        Ok(Self {
            chain_id: options.chain_id,
            timestamp: options.timestamp.unwrap_or(now),
            gas_limit: options.gas_limit,
            base_fee: options.base_fee,
            mnemonic: options.mnemonic.clone(),
            accounts: options.accounts,
            balance: options.balance,
        })
    }

    /// The shape of the chain in a folder; a new one gets that of the options.
    fn in_folder(folder: &Path, options: &Options) -> Result<Self> {
        let path = folder.join(SHAPE_FILE);
        let given = Self::of(options)?;
        if path.try_exists()? {
            let text = fs::read_to_string(&path).wrap_err_with(|| format!("cannot read {}", path.display()))?;
            let kept: Self = serde_json::from_str(&text)
                .wrap_err_with(|| format!("{} is not the file of a development chain", path.display()))?;
            if (Self { timestamp: kept.timestamp, ..given }) != kept {
                tracing::warn!(file = %path.display(), "the chain was made with other options, which hold");
            }
            return Ok(kept);
        }
        if folder.is_dir() {
            let empty = fs::read_dir(folder)?.next().is_none();
            ensure!(empty, "{} holds something else: choose another folder for --data", folder.display());
        }
        fs::create_dir_all(folder).wrap_err_with(|| format!("cannot make {}", folder.display()))?;
        fs::write(&path, serde_json::to_string_pretty(&given)?)
            .wrap_err_with(|| format!("cannot write {}", path.display()))?;
        Ok(given)
    }

    const fn spec(&self) -> ChainSpec {
        ChainSpec {
            gas_limit: self.gas_limit,
            base_fee_initial: self.base_fee,
            code_sends: true,
            ..ChainSpec::keystead(self.chain_id)
        }
    }

    fn genesis(&self, accounts: &Accounts) -> Genesis {
        let balance = U256::from(self.balance).saturating_mul(U256::from(WEI_PER_KST));
        let funded = accounts.addresses().map(|address| (address, GenesisAccount { balance, ..Default::default() }));
        let accounts: BTreeMap<_, _> = funded.chain(init::contracts()).collect();
        Genesis { spec: self.spec(), timestamp: self.timestamp, accounts, header: None }
    }
}

#[allow(clippy::print_stdout, reason = "the answer to the command")]
fn show(shape: &Shape, accounts: &Accounts) {
    println!("Keystead v{} development chain\n", env!("CARGO_PKG_VERSION"));
    println!("Available Accounts\n==================");
    for (index, address) in accounts.addresses().enumerate() {
        println!("({index}) {address} ({} KST)", shape.balance);
    }
    println!("\nPrivate Keys\n==================");
    for (index, key) in accounts.keys().enumerate() {
        println!("({index}) {}", hex::encode_prefixed(key));
    }
    println!("\nWARNING: everybody knows these keys. Whatever is sent to these accounts on a real chain is lost.\n");
    println!("Mnemonic   {}", shape.mnemonic);
    println!("Chain ID   {}", shape.chain_id);
    println!("Base Fee   {}", shape.base_fee);
    println!("Gas Limit  {}", shape.gas_limit);
    println!("Genesis    {}\n", shape.timestamp);
}

/// In the words that programs which start such a node wait for.
#[allow(clippy::print_stdout, reason = "the answer to the command")]
fn announce(address: SocketAddr) {
    println!("Listening on {address}");
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser as _;

    fn options(arguments: &[&str]) -> Options {
        let cli = Cli::parse_from(["keystead", "dev"].iter().chain(arguments));
        match cli.command {
            Command::Dev(options) => options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_chain_that_is_kept_keeps_its_shape() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("chain");
        let first = Shape::in_folder(&data, &options(&["--accounts", "2", "--chain-id", "7"])).unwrap();
        let second = Shape::in_folder(&data, &options(&["--timestamp", "5"])).unwrap();
        assert_eq!(first, second);
        assert_eq!((second.accounts, second.spec().chain_id, second.gas_limit), (2, 7, 150_000_000));
        assert!(Shape::in_folder(folder.path(), &options(&[])).is_err(), "a folder with something else in it");
    }

    #[test]
    fn the_first_account_is_the_one_that_every_tool_knows() {
        let shape = Shape::of(&options(&[])).unwrap();
        let accounts = Accounts::derive(&shape.mnemonic, shape.accounts).unwrap();
        let first = accounts.addresses().next().unwrap();
        assert_eq!(first.to_string(), "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
        let genesis = shape.genesis(&accounts);
        assert_eq!(genesis.accounts[&first].balance, U256::from(10_000) * U256::from(WEI_PER_KST));
        assert!(Accounts::derive("no words", 1).is_err());
    }

    #[test]
    fn blocks_come_in_one_of_three_ways() {
        let mining = |arguments: &[&str]| {
            let options = options(arguments);
            start(&options, &Shape::of(&options).unwrap()).mining
        };
        assert_eq!(mining(&[]), Mining { automine: true, interval: None });
        assert_eq!(mining(&["--no-mining"]), Mining { automine: false, interval: None });
        let interval = Some(Duration::from_secs(3));
        assert_eq!(mining(&["--block-time", "3"]), Mining { automine: false, interval });
        assert!(Cli::try_parse_from(["keystead", "dev", "--no-mining", "--block-time", "3"]).is_err());
    }
}
