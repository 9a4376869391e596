//! `keystead import`: the blocks of a foreign Ethereum chain into a folder, and JSON-RPC over it.
//!
//! # Design
//! Blocks that the folder has are skipped, so a command that was cut off goes on where it stopped. A chain that was
//! imported has no committee and gets no further blocks: its last one is `latest`, `safe` and `finalized`, and a
//! transaction that is sent waits in the pool.

use super::node::{until_stopped, wait_for_signal};
use crate::cli::Import;
use eyre::{Context as _, Result, eyre};
use keystead_import::Importer;
use keystead_mempool::{Limits, Pool};
use keystead_rpc::{Context, Network, ServerLimits, Submit, SubmitError};
use keystead_state::{Options, Store};
use keystead_types::{B256, Block, ChainSpec, Genesis, Recovered, StateView as _};
use std::{
    fs::{self, File},
    io::BufReader,
    net::SocketAddr,
    path::Path,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{net::TcpListener, runtime::Builder, sync::watch};

/// Committed states that stay readable: each keeps its overwritten values on disk. Foreign chains that are imported from
/// files are shorter.
const STATES_MAX: usize = 4_096;
/// Blocks after which a long import says how far it is.
const PROGRESS_BLOCKS: u64 = 1_000;
/// Threads of the RPC runtime; its blocking work has lanes of its own.
const RPC_THREADS: usize = 2;

pub(crate) fn run(options: &Import) -> Result<ExitCode> {
    let json = fs::read_to_string(&options.genesis)
        .wrap_err_with(|| format!("cannot read the genesis file {}", options.genesis.display()))?;
    let genesis = Genesis::ethereum_from_json(&json)
        .wrap_err_with(|| format!("cannot use the genesis file {}", options.genesis.display()))?;
    let folder = options.out.join("state");
    let store = Store::open(&folder, &genesis, Options { recent_states: STATES_MAX, ..Options::default() })
        .wrap_err_with(|| format!("cannot open the state in {}", folder.display()))?;
    if let Some(chain) = &options.chain {
        import(&store, &genesis, chain)?;
    }
    show(&store);
    if let Some(address) = options.serve {
        serve(&store, genesis.spec, address)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn import(store: &Store, genesis: &Genesis, path: &Path) -> Result<()> {
    let file = File::open(path).wrap_err_with(|| format!("cannot read the chain {}", path.display()))?;
    let progress = |block: &Block| {
        if block.number().checked_rem(PROGRESS_BLOCKS) == Some(0) {
            tracing::info!(number = block.number(), "importing");
        }
    };
    let importer = Importer::new(store.clone(), genesis)?;
    importer.import_file(BufReader::new(file), progress).wrap_err_with(|| format!("stopped in {}", path.display()))
}

#[allow(clippy::print_stdout, reason = "the answer to the command")]
fn show(store: &Store) {
    let head = store.head();
    println!("head {} {} state root {}", head.number, head.hash, head.state_root);
}

/// Answers JSON-RPC until a signal comes.
fn serve(store: &Store, spec: ChainSpec, address: SocketAddr) -> Result<()> {
    let head = store.header(store.head().number)?.ok_or_else(|| eyre!("the store lacks its head"))?;
    let pool = Arc::new(Mutex::new(Pool::new(Limits::default(), spec.chain_id, head.gas_limit)));
    let base_fee = spec.next_base_fee(&head);
    let context = Context {
        store: store.clone(),
        pool: Arc::clone(&pool),
        spec,
        submit: Arc::new(Waiting { store: store.clone(), pool, base_fee, arrivals: watch::Sender::new(()) }),
        network: Network { network_key: [0; 96], validators: Vec::new() },
        connected: Arc::default(),
        client_version: format!("keystead/v{}/import", env!("CARGO_PKG_VERSION")),
        dev: None,
    };
    let runtime = Builder::new_multi_thread().worker_threads(RPC_THREADS).enable_all().thread_name("rpc").build()?;
    let (stop, stopped) = watch::channel(false);
    runtime.spawn(wait_for_signal(std::sync::Arc::new(stop)));
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await.wrap_err_with(|| {
            format!("cannot listen for JSON-RPC on {address}: stop the other program or choose another --serve")
        })?;
        tracing::info!(rpc = %format!("http://{}", listener.local_addr()?), "serving an imported chain");
        keystead_rpc::serve(context, listener, ServerLimits::default(), until_stopped(stopped)).await?;
        Ok(())
    })
}

/// Takes transactions into the pool, where they stay: there is no next block.
struct Waiting {
    store: Store,
    pool: Arc<Mutex<Pool>>,
    /// Base fee of the block that does not come.
    base_fee: u64,
    arrivals: watch::Sender<()>,
}

impl Submit for Waiting {
    fn submit(&self, transaction: Recovered) -> Result<B256, SubmitError> {
        let hash = *transaction.tx_hash();
        let account = self.store.latest().account(&transaction.signer());
        let account = account.map_err(|error| SubmitError::Unavailable(error.to_string()))?.unwrap_or_default();
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.insert(Arc::new(transaction), &account, self.base_fee)?;
        self.arrivals.send_replace(());
        Ok(hash)
    }

    fn arrivals(&self) -> watch::Receiver<()> {
        self.arrivals.subscribe()
    }
}
