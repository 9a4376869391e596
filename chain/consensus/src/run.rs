//! Runs a validator's engine on real threads, sockets and files until it is told to stop.

use crate::{
    application::ChainApplication,
    block::ChainBlock,
    engine::{self, Channels, EngineConfig},
    finalizer::finalizer,
    gossip::{self, Outgoing},
    keys::{KeysError, ValidatorKeys},
    ledger::Ledger,
    pacing::Pacing,
    seeds::{Scheme, SeedBook},
};
use commonware_codec::{Copying, DecodeExt as _};
use commonware_consensus::{marshal, simplex};
use commonware_cryptography::{
    ChaCha20Poly1305, Signer as _,
    ed25519::{PrivateKey, PublicKey},
};
use commonware_p2p::{Address, AddressableManager as _, authenticated::lookup, max_message_size};
use commonware_runtime::{Quota, Runner as _, Spawner as _, Supervisor as _, tokio as runtime};
use commonware_stream::{
    cups::{self, Cups},
    sake::{self, Sake},
};
use commonware_utils::{NZU32, NZUsize, TryCollect as _, ordered::Map};
use futures::future::{BoxFuture, Either, select};
use keystead_types::{Block, network_namespace};
use std::{
    any::Any,
    net::SocketAddr,
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::oneshot;

/// Messages per second and peer on the channels of the engine. A view needs about ten.
const ENGINE_QUOTA: Quota = Quota::per_second(NZU32!(1_024));
/// Messages per second and peer on channels that carry whole blocks.
const BLOCK_QUOTA: Quota = Quota::per_second(NZU32!(64));
/// Transaction batches per second and peer.
const GOSSIP_QUOTA: Quota = Quota::per_second(NZU32!(256));
/// Threads of the engine's executor.
const THREADS: usize = 2;
/// How long shutdown waits for the engine's tasks.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Another validator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its ed25519 public key.
    pub public_key: [u8; 32],
    /// Where it listens.
    pub address: SocketAddr,
}

/// What [`run`] needs.
#[derive(Debug)]
pub struct RunConfig {
    /// EIP-155 chain id: separates this network's signatures from all others.
    pub chain_id: u64,
    /// This validator's keys.
    pub keys: ValidatorKeys,
    /// Every validator of the committee, this one included.
    pub validators: Vec<Peer>,
    /// Where to listen for the others.
    pub listen: SocketAddr,
    /// Folder for the engine's journals; must outlive restarts and belong to this process alone.
    pub directory: PathBuf,
    /// The genesis block.
    pub genesis: Arc<Block>,
    /// Height of the last block that the ledger has made durable. If the engine has handed over more, it begins again
    /// with the oldest block that it keeps.
    pub committed: u64,
    /// Block rate.
    pub pacing: Pacing,
    /// How far ahead of this node's clock a block may be.
    pub drift_max: Duration,
}

/// Why the engine stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key material cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// A validator is listed twice, or a key on the list is malformed.
    #[error("the list of validators is malformed: {0}")]
    Validators(&'static str),
    /// Timeouts that the engine cannot work with.
    #[error("the leader timeout must be longer than the heartbeat: leader_ms={leader_ms} heartbeat_ms={heartbeat_ms}")]
    Pacing {
        /// Leader timeout in milliseconds.
        leader_ms: u128,
        /// Heartbeat in milliseconds.
        heartbeat_ms: u128,
    },
    /// The ledger broke, or the engine contradicts it: the node must not sign any more.
    #[error("stopped to be safe: {0}")]
    Fatal(String),
    /// The engine's own journals could not be opened, read or written, or the engine contradicts itself.
    #[error("the engine stopped: {reason}: journals={}", directory.display())]
    Engine {
        /// What the engine said last.
        reason: String,
        /// Folder of its journals.
        directory: PathBuf,
    },
}

/// Where anything that must stop the node reports; the first report wins.
#[derive(Clone)]
pub(crate) struct Fatal {
    sender: Arc<Mutex<Option<oneshot::Sender<String>>>>,
}

impl Fatal {
    fn new() -> (Self, oneshot::Receiver<String>) {
        let (sender, receiver) = oneshot::channel();
        (Self { sender: Arc::new(Mutex::new(Some(sender))) }, receiver)
    }

    pub(crate) fn raise(&self, reason: String) {
        tracing::error!(%reason, "stopping: this node is not sure of its state");
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sender) = sender {
            // The receiver is gone only while the engine already stops.
            let _ = sender.send(reason);
        }
    }
}

/// Runs the engine on the calling thread until `shutdown` ends or something fatal happens. When it returns, every task
/// of the engine has ended and nothing is signed any more.
///
/// # Errors
/// [`Error`]. After [`Error::Fatal`] and [`Error::Engine`] the process must end; what was not committed is delivered
/// again after a restart.
pub fn run(
    config: RunConfig,
    ledger: Arc<dyn Ledger>,
    outgoing: Outgoing,
    shutdown: BoxFuture<'static, ()>,
) -> Result<(), Error> {
    let peers = peers(&config)?;
    if config.pacing.leader_timeout <= config.pacing.heartbeat {
        return Err(Error::Pacing {
            leader_ms: config.pacing.leader_timeout.as_millis(),
            heartbeat_ms: config.pacing.heartbeat.as_millis(),
        });
    }
    let runner = runtime::Runner::new(
        runtime::Config::new()
            .with_storage_directory(config.directory.clone())
            .with_worker_threads(THREADS)
            .with_tcp_nodelay(Some(true)),
    );
    let directory = config.directory.clone();
    // The engine panics where its journals fail. The runner then ends all its tasks and passes the panic on.
    let ended = catch_unwind(AssertUnwindSafe(|| {
        runner.start(|context| supervise(context, config, peers, ledger, outgoing, shutdown))
    }));
    ended.unwrap_or_else(|panic| Err(Error::Engine { reason: panic_text(&*panic), directory }))
}

/// Starts everything and waits for the first that ends.
async fn supervise(
    context: runtime::Context,
    config: RunConfig,
    peers: Map<PublicKey, Address>,
    ledger: Arc<dyn Ledger>,
    outgoing: Outgoing,
    shutdown: BoxFuture<'static, ()>,
) -> Result<(), Error> {
    let (fatal, failed) = Fatal::new();
    let directory = config.directory.clone();
    let voter = Box::pin(start(context.child("validator"), config, peers, ledger, outgoing, fatal))
        .await
        .map_err(|reason| Error::Engine { reason, directory })?;
    let stopped = select(Box::pin(failed), voter);
    let result = match select(shutdown, stopped).await {
        Either::Left(((), _)) => Ok(()),
        Either::Right((Either::Left((reason, _)), _)) => {
            Err(Error::Fatal(reason.unwrap_or_else(|_| "the engine was dropped".to_owned())))
        }
        Either::Right((Either::Right((ended, _)), _)) => {
            Err(Error::Fatal(format!("the engine ended by itself: {ended:?}")))
        }
    };
    if context.stop(0, Some(STOP_TIMEOUT)).await.is_err() {
        tracing::warn!("some tasks of the engine did not stop in time");
    }
    result
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked without words").to_owned()
}

pub(crate) fn peers(config: &RunConfig) -> Result<Map<PublicKey, Address>, Error> {
    if config.validators.len() != config.keys.participants.len() {
        return Err(Error::Validators("its length is not that of the committee"));
    }
    config
        .validators
        .iter()
        .map(|peer| {
            let key = PublicKey::decode(Copying(peer.public_key.as_slice()))
                .map_err(|_| Error::Validators("a public key is malformed"))?;
            Ok((key, Address::from(peer.address)))
        })
        .collect::<Result<Vec<_>, Error>>()?
        .into_iter()
        .try_collect()
        .map_err(|_| Error::Validators("a validator is listed twice"))
}

async fn start(
    context: runtime::Context,
    config: RunConfig,
    peers: Map<PublicKey, Address>,
    ledger: Arc<dyn Ledger>,
    outgoing: Outgoing,
    fatal: Fatal,
) -> Result<commonware_runtime::Handle<()>, String> {
    let namespace = network_namespace(config.chain_id);
    let (mut network, mut oracle) = lookup::Network::new(context.child("network"), connections(&config));
    oracle.track(0, peers);
    let channels = Channels {
        votes: network.register(0, ENGINE_QUOTA),
        certificates: network.register(1, ENGINE_QUOTA),
        resolver: network.register(2, ENGINE_QUOTA),
        backfill: network.register(3, BLOCK_QUOTA),
        broadcast: network.register(4, BLOCK_QUOTA),
    };
    let (gossip_sender, gossip_receiver) = network.register(5, GOSSIP_QUOTA);
    let scheme = Scheme::signer(
        &namespace,
        config.keys.participants.clone(),
        config.keys.sharing.clone(),
        config.keys.share.clone(),
    )
    .expect("invariant: ValidatorKeys checked that the share is a member's");
    let seeds = SeedBook::new(config.chain_id, *config.keys.sharing.public());
    let application = ChainApplication {
        ledger: Arc::clone(&ledger),
        seeds: seeds.clone(),
        pacing: config.pacing,
        drift_max: config.drift_max,
        fatal: fatal.clone(),
        work_us: Arc::default(),
    };
    let (finalizer, deliveries) = finalizer(Arc::clone(&ledger), fatal);
    let engine_config = EngineConfig {
        me: config.keys.signer.public_key(),
        scheme,
        blocker: oracle.clone(),
        peers: oracle.clone(),
        application,
        seeds,
        pacing: config.pacing,
        genesis: ChainBlock::new(config.genesis),
        committed: config.committed,
    };
    let voter = engine::start(context.child("engine"), engine_config, channels, finalizer, deliveries).await?;
    context.child("gossip_out").spawn(|runtime| gossip::send(runtime, outgoing, gossip_sender));
    context.child("gossip_in").spawn(|_| gossip::receive(gossip_receiver, oracle, ledger));
    network.start();
    Ok(voter)
}

/// Who connects, from where, and how much one message may hold.
pub(crate) fn connections(config: &RunConfig) -> lookup::Config<Cups<Sake<PrivateKey>, ChaCha20Poly1305>> {
    let count = config.validators.len();
    lookup::Config::local(
        handshake(config.keys.signer.clone()),
        &[network_namespace(config.chain_id).as_slice(), b"_P2P"].concat(),
        config.listen,
        // Mailboxes are sized, and their memory taken, by this number.
        NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN),
        message_bytes_max(u32::try_from(count).unwrap_or(u32::MAX)),
        NZUsize!(1024),
    )
}

/// How validators prove to each other who they are, and encrypt what they say.
const fn handshake(signer: PrivateKey) -> Cups<Sake<PrivateKey>, ChaCha20Poly1305> {
    Cups::new(
        Sake {
            signer,
            synchrony_bound: Duration::from_secs(5),
            max_handshake_age: Duration::from_secs(10),
            version: sake::Version::V1,
        },
        cups::Version::V1,
    )
}

/// Largest message between validators; all of them must agree on it.
fn message_bytes_max(validators: u32) -> u32 {
    max_message_size(&[
        simplex::max_payload_size::<Scheme, crate::block::Digest>(validators),
        marshal::max_payload_size::<commonware_consensus::marshal::standard::Standard<ChainBlock>, Scheme>(
            validators,
            &(),
        ),
        gossip::GOSSIP_BATCH_BYTES_MAX,
    ])
}
