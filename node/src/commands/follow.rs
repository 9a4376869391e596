//! `keystead follow`: a full node outside of the committee, until it is told to stop.
//!
//! # Design
//! One runtime fetches blocks and answers JSON-RPC; blocks are executed on a thread of their own. The end of that thread ends the
//! node: after a signal, or because going on would be wrong.

use super::node::{keep_up, until_stopped, wait_for_signal};
use crate::{
    chain::{Chain, Submissions},
    cli::Follow,
    digits::hex_array,
    follow::{Ended, Executor, Fetcher, Folder, Forwarder, Sources, Trust, fetch_genesis},
    snapshot,
};
use eyre::{Context as _, Result, eyre};
use keystead_consensus::Gossip;
use keystead_mempool::{Limits, Pool};
use keystead_proof::{Line, NetworkKey};
use keystead_rpc::{Context, Network, ServerLimits};
use keystead_state::{Error as StateError, LoadError, Options, Store};
use keystead_types::Address;
use std::{
    path::Path,
    process::ExitCode,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::{mpsc, watch},
    task::JoinHandle,
};

/// Threads of the runtime: answers, and blocks that come in. What takes time has threads of its own.
const THREADS: usize = 4;
/// Batches of proven blocks that wait to be executed; with the largest blocks each is some 16 MiB.
const PROVEN_MAX: usize = 4;

pub(crate) fn run(options: &Follow) -> Result<ExitCode> {
    let sources = Sources::new(&options.from)?;
    let key = hex_array(&options.network_key, "--network-key")?;
    let key = NetworkKey::from_bytes(&key).wrap_err("--network-key is not usable")?;
    let runtime = Builder::new_multi_thread().worker_threads(THREADS).enable_all().thread_name("follow").build()?;
    let folder = open_folder(options, &key, &sources, &runtime)?;
    let store = open_store(&folder, options)?;
    let spec = folder.genesis.spec;
    let (stop, stopped) = watch::channel(false);
    let stop = Arc::new(stop);
    runtime.spawn(wait_for_signal(Arc::clone(&stop)));
    let (kept, ending) = (store.clone(), stopped.clone());
    let upkeep = thread::Builder::new().name("upkeep".to_owned()).spawn(move || keep_up(&kept, &ending))?;

    let pool = Arc::new(Mutex::new(Pool::new(Limits::default(), spec.chain_id, spec.gas_limit)));
    // Nobody is at the other end: transactions go to the sources.
    let (gossip, _outgoing) = Gossip::new();
    let (submissions, _inbox) = Submissions::new(store.clone(), spec, Arc::clone(&pool), gossip);
    let submit = Forwarder::new(sources.clone(), submissions.clone(), runtime.handle().clone());
    let rpc = Context {
        store: store.clone(),
        pool: Arc::clone(&pool),
        spec,
        submit: Arc::new(submit),
        network: Network { network_key: *key.as_bytes(), validators: Vec::new() },
        connected: Arc::default(),
        client_version: client_version(),
        dev: None,
    };
    let server = serve(&runtime, rpc, options, stopped.clone())?;

    let head = store.head();
    tracing::info!(chain = spec.chain_id, head = head.number, sources = sources.count(), "follower starts");
    let (proven, blocks) = mpsc::channel(PROVEN_MAX);
    let trust = Trust { chain_id: spec.chain_id, key };
    let fetcher = Fetcher::new(sources.clone(), trust, Line::new(head.number, head.hash), proven);
    let fetching = runtime.spawn(async move {
        tokio::select! {
            ended = fetcher.run() => Some(ended),
            () = until_stopped(stopped) => None,
        }
    });
    // A follower proposes nothing, so nobody is paid.
    let chain = Chain::new(store.clone(), spec, pool, Address::ZERO, submissions);
    let executor = Executor::new(chain, store.clone(), sources)?;
    let executing = thread::Builder::new().name("execute".to_owned()).spawn(move || executor.run(blocks))?;

    let result = executing.join().map_err(|_panic| eyre!("the thread that executes blocks panicked"));
    let _ = stop.send(true);
    let ended = runtime.block_on(async {
        server.abort();
        let _ = server.await;
        fetching.await
    });
    runtime.shutdown_timeout(Duration::from_secs(2));
    if upkeep.join().is_err() {
        tracing::error!("the upkeep of the store panicked");
    }
    result?.wrap_err_with(|| stopped_by(&options.data))?;
    if let Ok(Some(Ended::Split(reason))) = ended {
        return Err(split(&reason, store.head().number));
    }
    tracing::info!(head = store.head().number, "follower stopped");
    Ok(ExitCode::SUCCESS)
}

/// The follower's folder: as it is, from a snapshot, or with the genesis of a file or of a source.
fn open_folder(options: &Follow, key: &NetworkKey, sources: &Sources, runtime: &Runtime) -> Result<Folder> {
    if let Some(snapshot) = options.snapshot.as_deref().filter(|_| !Folder::has_state(&options.data)) {
        match snapshot::load(snapshot, &options.data, key) {
            Ok(height) => tracing::info!(height, "the snapshot is loaded"),
            // It was loaded to its end before, and the process ended a moment later.
            Err(error) if matches!(error.downcast_ref(), Some(LoadError::Exists { .. })) => {}
            Err(error) => return Err(error),
        }
    }
    if options.genesis.is_none() && !Folder::is_one(&options.data) {
        let json = runtime.block_on(fetch_genesis(sources, *key))?;
        tracing::info!("a source gave the genesis that the first certified block names");
        return Folder::make(&options.data, key, &json, Path::new("genesis.json"));
    }
    Folder::open(&options.data, key, options.genesis.as_deref())
}

fn client_version() -> String {
    let (os, machine) = (std::env::consts::OS, std::env::consts::ARCH);
    format!("keystead/v{}/{os}-{machine}/follow", env!("CARGO_PKG_VERSION"))
}

/// What to say when the network contradicts what is final here.
fn split(reason: &str, head: u64) -> eyre::Report {
    let advice = match head {
        0 => {
            "the follower stopped: the network's first block does not follow this genesis: is the genesis file the right one?"
        }
        _ => {
            "the follower stopped: the network key signed two chains; ask the network's operators, and believe no node meanwhile"
        }
    };
    eyre!(reason.to_owned()).wrap_err(advice)
}

fn stopped_by(data: &Path) -> String {
    format!(
        "the follower stopped; what it has is kept: if the disk under {} is full or broken, repair it and start again",
        data.display()
    )
}

/// Opens the state; the error says what a person can do.
fn open_store(folder: &Folder, options: &Follow) -> Result<Store> {
    let state = folder.state();
    let history = Options { history: options.history, ..Options::default() };
    Store::open(&state, &folder.genesis, history).map_err(|error| {
        let shown = state.display();
        let advice = match &error {
            StateError::Io(_) | StateError::Store(_) | StateError::Corrupt(_) => format!(
                "cannot use the state in {shown}: make sure that the disk has free space and works, and start again; if that does \
                 not help, delete this folder: the follower makes it anew from its sources"
            ),
            _ => format!("cannot open the state in {shown}"),
        };
        eyre::Report::new(error).wrap_err(advice)
    })
}

/// Answers JSON-RPC until the node stops.
fn serve(
    runtime: &Runtime,
    context: Context,
    options: &Follow,
    stopped: watch::Receiver<bool>,
) -> Result<JoinHandle<()>> {
    let address = options.serve;
    let listener = runtime.block_on(TcpListener::bind(address)).wrap_err_with(|| {
        format!("cannot listen for JSON-RPC on {address}: stop the other program or choose another --serve")
    })?;
    tracing::info!(rpc = %format!("http://{}", listener.local_addr()?), "answering JSON-RPC");
    Ok(runtime.spawn(async move {
        if let Err(error) =
            keystead_rpc::serve(context, listener, ServerLimits::default(), until_stopped(stopped)).await
        {
            tracing::error!(%error, "the JSON-RPC server ended");
        }
    }))
}
