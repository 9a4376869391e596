//! `keystead node`: one validator, from its folder, until it is told to stop.
//!
//! # Design
//! The engine has its own runtime on its own thread; JSON-RPC has another, so that neither starves the other. Both end
//! when the signal comes; the engine's end decides the exit code.

use crate::{
    chain::{Chain, Submissions},
    cli::Node,
    digits::{hex_array, hex_bytes},
    network::{Folder, VOTE_RECORD},
};
use eyre::{Context as _, Result, eyre};
use keystead_consensus::{Gossip, Pacing, Peer, RunConfig, ValidatorKeys};
use keystead_mempool::{Limits, Pool};
use keystead_rpc::{Context, Network, ServerLimits, ValidatorInfo};
use keystead_state::{Error as StateError, Options, Store};
use std::{
    path::Path,
    process::ExitCode,
    sync::{Arc, Mutex, atomic::AtomicUsize},
    thread,
    time::Duration,
};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Threads of the RPC runtime; its blocking work has lanes of its own.
const RPC_THREADS: usize = 2;
/// Longest interval under load of a validator that is alone: a full block takes it about so long.
const INTERVAL_MAX_ALONE: Duration = Duration::from_millis(250);
/// How long the upkeep waits for a block before it looks whether the node stops.
const UPKEEP_WAIT: Duration = Duration::from_millis(250);

pub(crate) fn run(options: &Node) -> Result<ExitCode> {
    let folder = Folder::read(&options.dir)?;
    let data = folder.root.join("data");
    let directory = data.join("state");
    let trie_bytes = options.trie_memory.saturating_mul(1 << 20);
    let memory = Options { history: options.history, trie_bytes, ..Options::default() };
    let store = Store::open_early(&directory, &folder.genesis, memory).map_err(|error| unusable(error, &directory))?;
    let keys = keys(&folder)?;
    let network_key = keys.network_key()?;
    let spec = folder.genesis.spec;
    let pool = Arc::new(Mutex::new(Pool::new(Limits::default(), spec.chain_id, spec.gas_limit)));
    let (gossip, outgoing) = Gossip::new();
    let (submissions, inbox) = Submissions::new(store.clone(), spec, Arc::clone(&pool), gossip);
    let (stop, stopped) = watch::channel(false);
    let worker = submissions.clone();
    thread::Builder::new().name("gossip".to_owned()).spawn(move || worker.work(&inbox))?;
    let (kept, ending) = (store.clone(), stopped.clone());
    let upkeep = thread::Builder::new().name("upkeep".to_owned()).spawn(move || keep_up(&kept, &ending))?;
    let runtime = Builder::new_multi_thread().worker_threads(RPC_THREADS).enable_all().thread_name("rpc").build()?;
    let connected = Arc::<AtomicUsize>::default();
    let rpc = Context {
        store: store.clone(),
        pool: Arc::clone(&pool),
        spec,
        submit: Arc::new(submissions.clone()),
        network: Network { network_key, validators: validators(&folder)? },
        connected: Arc::clone(&connected),
        client_version: format!(
            "keystead/v{}/{}-{}",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::OS,
            std::env::consts::ARCH
        ),
        dev: None,
    };
    let server = start_rpc(&runtime, rpc, &folder, stopped.clone())?;
    let stop = Arc::new(stop);
    let ended = Arc::clone(&stop);
    runtime.spawn(wait_for_signal(stop));
    // From here on RPC answers; no vote is signed before the state is known to be that of the head.
    if let Err(error) = store.warm() {
        let _ = ended.send(true);
        runtime.shutdown_timeout(Duration::from_secs(2));
        return Err(unusable(error, &directory));
    }
    let head = store.head();
    tracing::info!(
        chain = spec.chain_id,
        head = head.number,
        rpc = %format!("http://{}", folder.config.rpc_listen),
        p2p = %folder.config.p2p_listen,
        "validator starts"
    );
    let chain = Chain::new(store.clone(), spec, pool, folder.config.fee_recipient, submissions);
    let config = RunConfig { connected, ..engine_config(options, &folder, &store, keys)? };
    let result = keystead_consensus::run(config, Arc::new(chain), outgoing, Box::pin(until_stopped(stopped)));
    runtime.block_on(async {
        server.abort();
        let _ = server.await;
    });
    runtime.shutdown_timeout(Duration::from_secs(2));
    // The engine may have ended without a signal.
    let _ = ended.send(true);
    if upkeep.join().is_err() {
        tracing::error!("the upkeep of the store panicked");
    }
    result.map_err(|error| stopped_by(error, &data))?;
    tracing::info!(head = store.head().number, "validator stopped");
    Ok(ExitCode::SUCCESS)
}

/// Does after each block what its commit left for later, until the node stops.
pub(super) fn keep_up(store: &Store, stopped: &watch::Receiver<bool>) {
    let mut next = store.head().number;
    while !*stopped.borrow() {
        if !store.wait_for(next, UPKEEP_WAIT) {
            // A development chain may have gone back.
            next = next.min(store.head().number.saturating_add(1));
            continue;
        }
        next = store.head().number.saturating_add(1);
        if let Err(error) = store.upkeep() {
            // Commits go on and do the most urgent part themselves; if the disk is broken, they say so and stop the node.
            tracing::error!(%error, "upkeep of the store failed: it is not tried again before a restart");
            return;
        }
    }
}

/// Says what a person can do when the state cannot be used.
fn unusable(error: StateError, directory: &Path) -> eyre::Report {
    let shown = directory.display();
    let advice = match &error {
        StateError::Io(_) => format!(
            "cannot open the state in {shown}: make sure that the disk has free space and works, then start again; \
             nothing final is lost"
        ),
        StateError::Store(_) | StateError::Corrupt(_) => format!(
            "cannot use the state in {shown}: make sure that the disk has free space and works, and start again; \
             if that does not help, delete this folder: the validator makes it anew from its own blocks and those \
             of the other validators; nothing final is lost"
        ),
        _ => format!("cannot open the state in {shown}"),
    };
    eyre::Report::new(error).wrap_err(advice)
}

/// What to say when the engine ended by an error.
fn stopped_by(error: keystead_consensus::Error, data: &Path) -> eyre::Report {
    use keystead_consensus::Error;
    let advice = match &error {
        Error::Fatal(_) => format!(
            "the validator stopped and signs nothing any more; nothing final is lost: make sure that the disk under {} \
             has free space and works, then start again",
            data.display()
        ),
        Error::Engine { .. } => format!(
            "the validator stopped and signs nothing any more; nothing final is lost: make sure that the disk under \
             {data} has free space and works, then start again; if the files in {engine} are damaged, delete that \
             folder: the validator then signs again once the others have made blocks without it",
            data = data.display(),
            engine = data.join("engine").display()
        ),
        Error::Keys(_) | Error::Validators(_) | Error::Pacing { .. } => "the validator cannot start".to_owned(),
    };
    eyre::Report::new(error).wrap_err(advice)
}

fn keys(folder: &Folder) -> Result<ValidatorKeys> {
    let participants: Vec<[u8; 32]> = folder
        .network
        .validators
        .iter()
        .map(|validator| hex_array(&validator.public_key, "a public key in network.json"))
        .collect::<Result<_>>()?;
    let keys = ValidatorKeys::new(
        &hex_bytes(&folder.keys.private_key, "private_key in keys.json")?,
        &hex_bytes(&folder.keys.share, "share in keys.json")?,
        &hex_bytes(&folder.network.sharing, "sharing in network.json")?,
        &participants,
    )?;
    let expected: [u8; 96] = hex_array(&folder.network.network_key, "network_key in network.json")?;
    if keys.network_key()? != expected {
        return Err(eyre!("network.json contradicts itself: network_key is not that of sharing"));
    }
    Ok(keys)
}

fn validators(folder: &Folder) -> Result<Vec<ValidatorInfo>> {
    let entries = folder.network.validators.iter();
    entries
        .map(|validator| {
            let public_key = hex_array(&validator.public_key, "a public key in network.json")?;
            Ok(ValidatorInfo { public_key, p2p_address: validator.p2p_address.to_string() })
        })
        .collect()
}

fn engine_config(options: &Node, folder: &Folder, store: &Store, keys: ValidatorKeys) -> Result<RunConfig> {
    let peers = folder.network.validators.iter().map(|validator| {
        let public_key = hex_array(&validator.public_key, "a public key in network.json")?;
        Ok(Peer { public_key, address: validator.p2p_address })
    });
    Ok(RunConfig {
        chain_id: folder.network.chain_id,
        keys,
        validators: peers.collect::<Result<_>>()?,
        listen: folder.config.p2p_listen,
        directory: folder.root.join("data").join("engine"),
        vote_record: folder.root.join(VOTE_RECORD),
        trust_votes: options.trust_votes,
        genesis: store.genesis(),
        committed: store.head().number,
        pacing: pacing(folder),
        drift_max: Duration::from_millis(folder.genesis.spec.drift_ms_max),
        connected: Arc::default(),
    })
}

/// The block rate. A validator that is alone need not leave time for others to vote and to check.
fn pacing(folder: &Folder) -> Pacing {
    let pacing = Pacing { interval_min: Duration::from_millis(folder.config.block_interval_ms), ..Pacing::default() };
    match folder.network.validators.len() {
        1 => Pacing { interval_max: INTERVAL_MAX_ALONE.max(pacing.interval_min), ..pacing },
        _ => pacing,
    }
}

fn start_rpc(
    runtime: &Runtime,
    context: Context,
    folder: &Folder,
    stopped: watch::Receiver<bool>,
) -> Result<tokio::task::JoinHandle<()>> {
    let address = folder.config.rpc_listen;
    let listener = runtime.block_on(TcpListener::bind(address)).wrap_err_with(|| {
        format!("cannot listen for JSON-RPC on {address}: stop the other program or change rpc_listen in config.toml")
    })?;
    // Bound and released: the engine binds it again and would otherwise end without saying which port is taken.
    std::net::TcpListener::bind(folder.config.p2p_listen).wrap_err_with(|| {
        format!(
            "cannot listen for validators on {}: stop the other program or change p2p_listen in config.toml",
            folder.config.p2p_listen
        )
    })?;
    Ok(runtime.spawn(async move {
        if let Err(error) =
            keystead_rpc::serve(context, listener, ServerLimits::default(), until_stopped(stopped)).await
        {
            tracing::error!(%error, "the JSON-RPC server ended");
        }
    }))
}

pub(super) async fn until_stopped(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone: the process is ending.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

pub(super) async fn wait_for_signal(stop: Arc<watch::Sender<bool>>) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        tracing::error!("cannot listen for signals: stop this process with SIGKILL, nothing is lost");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => tracing::info!("interrupted: stopping"),
        _ = terminate.recv() => tracing::info!("asked to stop: stopping"),
    }
    let _ = stop.send(true);
}
