//! Runs a validator's engine on real threads, sockets and files until it is told to stop.

use crate::{
    application::ChainApplication,
    beacon::{self, Beacon, Committee, Members, Signer, Standing},
    block::ChainBlock,
    engine::{self, Channels, EngineConfig, Finality},
    finalizer::{Watch, finalizer},
    gossip::{self, Outgoing},
    keys::{KeysError, ValidatorKeys},
    ledger::Ledger,
    pacing::Pacing,
    reach,
    seeds::{Scheme, SeedBook},
    votes::{self, Abstention, Memory, Record},
};
use commonware_codec::{Copying, DecodeExt as _, Encode as _};
use commonware_consensus::{marshal, simplex};
use commonware_cryptography::{
    ChaCha20Poly1305, Signer as _,
    ed25519::{PrivateKey, PublicKey},
};
use commonware_p2p::{Address, AddressableManager as _, authenticated::lookup, max_message_size};
use commonware_runtime::{
    Clock as _, Quota, Runner as _, Spawner as _, Storage as _, Supervisor as _, tokio as runtime,
};
use commonware_stream::{
    cups::{self, Cups},
    sake::{self, Sake},
};
use commonware_utils::{NZU32, NZUsize, TryCollect as _, ordered::Map};
use futures::{
    FutureExt as _,
    future::{BoxFuture, Either, Shared, pending, select},
};
use keystead_types::{Block, network_namespace};
use std::{
    any::Any,
    net::SocketAddr,
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};
use tokio::sync::{oneshot, watch};

/// Messages per second and peer on the channels of the engine. A view needs about ten.
const ENGINE_QUOTA: Quota = Quota::per_second(NZU32!(1_024));
/// Messages per second and peer on channels that carry whole blocks.
const BLOCK_QUOTA: Quota = Quota::per_second(NZU32!(64));
/// Transaction batches per second and peer.
const GOSSIP_QUOTA: Quota = Quota::per_second(NZU32!(256));
/// Beacon messages per second and peer: one per block, one more every two seconds, and four at a start.
const BEACON_QUOTA: Quota = Quota::per_second(NZU32!(32));
/// Time between two attempts to reach any peer. A validator that comes back is needed for the quorum if another one has died: until it
/// reaches every peer, views fail whose leader it cannot hear, and each costs a leader timeout.
const DIAL_INTERVAL: Duration = Duration::from_millis(50);
/// Time between two attempts to reach the same peer.
const DIAL_COOLDOWN: Duration = Duration::from_millis(250);
/// Handshakes per second and address; validators of a development network share one. A handshake costs some 0.2 ms.
const HANDSHAKES_PER_ADDRESS: Quota = Quota::per_second(NZU32!(64));
/// Threads of the engine's executor.
const THREADS: usize = 2;
/// File in the engine's folder that shows whether it is the one that the record of votes is about.
const BEGUN: &str = "begun";
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
#[derive(Clone, Debug)]
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
    /// File that says whether every vote of these keys is known. It lies beside the keys, outside of what a person may delete to
    /// repair a node. If votes may be forgotten, the validator follows without signing until they can no longer matter.
    pub vote_record: PathBuf,
    /// Sign at once even so. Right only if every validator stopped at the same moment, so that nobody can pass the views in doubt:
    /// otherwise this validator may vote twice in one view.
    pub trust_votes: bool,
    /// The genesis block.
    pub genesis: Arc<Block>,
    /// Height of the last block that the ledger has made durable. If the engine has handed over more, it begins again
    /// with the oldest block that it keeps.
    pub committed: u64,
    /// Block rate.
    pub pacing: Pacing,
    /// How far ahead of this node's clock a block may be.
    pub drift_max: Duration,
    /// Where the engine keeps with how many other validators it is connected; at most half a second old.
    pub connected: Arc<AtomicUsize>,
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
/// A validator that may have forgotten votes runs without its share first, and again with it once they cannot matter any more.
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
    if config.pacing.leader_timeout <= config.pacing.heartbeat {
        return Err(Error::Pacing {
            leader_ms: config.pacing.leader_timeout.as_millis(),
            heartbeat_ms: config.pacing.heartbeat.as_millis(),
        });
    }
    let validator = Validator {
        peers: peers(&config)?,
        committed: Arc::new(AtomicU64::new(config.committed)),
        record: Record::new(config.vote_record.clone(), config.directory.join(BEGUN)),
        config,
        ledger,
        outgoing,
        shutdown: shutdown.shared(),
    };
    let mut passed = None;
    while let Ended::VotesPassed(floor) = validator.run_once(passed)? {
        passed = Some(floor);
    }
    Ok(())
}

/// Why a run of the engine ended well.
enum Ended {
    /// The process was asked to stop.
    Stopped,
    /// What may have been forgotten lies at or below this view and cannot matter any more.
    VotesPassed(Box<Finality>),
}

/// What outlives one run of the engine.
#[derive(Clone)]
struct Validator {
    config: RunConfig,
    peers: Map<PublicKey, Address>,
    /// Height of the last durable block.
    committed: Arc<AtomicU64>,
    record: Record,
    ledger: Arc<dyn Ledger>,
    outgoing: Outgoing,
    shutdown: Shared<BoxFuture<'static, ()>>,
}

impl Validator {
    /// Runs the engine until it ends; `passed` ends the abstention of the run before.
    fn run_once(&self, passed: Option<Box<Finality>>) -> Result<Ended, Error> {
        let runner = runtime::Runner::new(
            runtime::Config::new()
                .with_storage_directory(self.config.directory.clone())
                .with_worker_threads(THREADS)
                .with_tcp_nodelay(Some(true)),
        );
        // The engine panics where its journals fail. The runner then ends all its tasks and passes the panic on.
        let ended = catch_unwind(AssertUnwindSafe(|| runner.start(|context| supervise(context, self.clone(), passed))));
        ended.unwrap_or_else(|panic| Err(self.engine_error(panic_text(&*panic))))
    }

    fn engine_error(&self, reason: String) -> Error {
        Error::Engine { reason, directory: self.config.directory.clone() }
    }

    /// What this validator knows of its votes: the view up to which it signs nothing, or nothing that it may rely on.
    async fn recall(&self, context: &runtime::Context) -> Result<Result<Option<Finality>, String>, String> {
        if self.config.trust_votes {
            tracing::warn!("told to sign although votes may be forgotten");
            return self.keep(None).map(|()| Ok(None));
        }
        let memory = votes::recall(context, engine::VOTES, engine::PAGE_BYTES, &self.record).await?;
        Ok(match memory {
            Memory::Doubtful { reason } => Err(reason),
            Memory::Whole { floor: None } => Ok(None),
            Memory::Whole { floor: Some(bytes) } => Finality::decode(Copying(bytes.as_slice()))
                .map(Some)
                .map_err(|_| "the record of votes is damaged".to_owned()),
        })
    }

    /// Ends an abstention: removes the votes below the floor, damaged as they may be, and writes the floor down. Until that is done the
    /// record says that there is a doubt.
    async fn pass(&self, context: &runtime::Context, floor: &Finality) -> Result<(), String> {
        remove(context, engine::VOTES).await?;
        self.keep(Some(floor))
    }

    fn keep(&self, floor: Option<&Finality>) -> Result<(), String> {
        let floor = floor.map(|floor| floor.encode());
        self.record
            .keep(floor.as_deref())
            .map_err(|error| format!("cannot write {}: {error}", self.config.vote_record.display()))
    }
}

/// Starts everything and waits for the first that ends.
async fn supervise(
    context: runtime::Context,
    validator: Validator,
    passed: Option<Box<Finality>>,
) -> Result<Ended, Error> {
    let (fatal, failed) = Fatal::new();
    let broken = |reason| validator.engine_error(reason);
    if let Some(floor) = passed {
        validator.pass(&context, &floor).await.map_err(broken)?;
        tracing::info!(view = floor.proposal.round.view().get(), "the views in doubt have passed: signing again");
    }
    remove(&context, engine::ABSTAINING).await.map_err(broken)?;
    let recalled = validator.recall(&context).await.map_err(broken)?;
    let (watch, passed) = match &recalled {
        Ok(_) => (None, pending().left_future()),
        Err(reason) => {
            let now = context.current().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            let abstention = Abstention::new(u64::try_from(now).unwrap_or(u64::MAX), validator.config.drift_max);
            let (over, passed) = oneshot::channel();
            tracing::warn!(
                %reason,
                "votes may have been forgotten: this validator follows without signing until the others have passed the views in doubt; \
                 if they have all stopped too, see --trust-votes in `keystead node --help`"
            );
            (Some(Watch { abstention, over }), passed.right_future())
        }
    };
    let beacon_newest = validator.ledger.beacon_newest().map_err(|error| Error::Fatal(error.to_string()))?;
    let parts = Parts { floor: recalled.ok(), beacon_newest, watch, fatal };
    let voter = Box::pin(start(context.child("validator"), validator.clone(), parts)).await.map_err(broken)?;
    let stopped = select(Box::pin(failed), voter);
    let asked = select(validator.shutdown.clone(), passed);
    let result = match select(asked, stopped).await {
        Either::Left((Either::Left(_), _)) => Ok(Ended::Stopped),
        Either::Left((Either::Right((Ok(floor), _)), _)) => Ok(Ended::VotesPassed(Box::new(floor))),
        Either::Left((Either::Right((Err(_), _)), _)) => Err(Error::Fatal("the engine was dropped".to_owned())),
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

/// Removes a partition of the engine's files, if it is there.
async fn remove(context: &runtime::Context, partition: &str) -> Result<(), String> {
    match context.remove(partition, None).await {
        Ok(()) | Err(commonware_runtime::Error::PartitionMissing(_)) => Ok(()),
        Err(error) => Err(format!("cannot remove the engine's partition {partition}: {error}")),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked without words").to_owned()
}

/// The validators on the list, by key.
///
/// # Errors
/// [`Error::Validators`] if the list is not the committee.
pub fn peers(config: &RunConfig) -> Result<Map<PublicKey, Address>, Error> {
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

/// What one run of the engine begins with.
struct Parts {
    /// The view up to which nothing is signed, if there is one; without it (`None`) nothing is signed at all.
    floor: Option<Option<Finality>>,
    /// As [`Ledger::beacon_newest`].
    beacon_newest: Option<u64>,
    watch: Option<Watch>,
    fatal: Fatal,
}

async fn start(
    context: runtime::Context,
    validator: Validator,
    parts: Parts,
) -> Result<commonware_runtime::Handle<()>, String> {
    let Validator { config, peers, committed, ledger, outgoing, .. } = validator;
    let Parts { floor, beacon_newest, watch, fatal } = parts;
    let namespace = network_namespace(config.chain_id);
    let (mut network, mut oracle) = lookup::Network::new(context.child("network"), connections(&config));
    oracle.track(0, peers);
    let connected = Arc::clone(&config.connected);
    context.child("reach").spawn(|runtime| reach::watch(runtime, connected));
    let channels = Channels {
        votes: network.register(0, ENGINE_QUOTA),
        certificates: network.register(1, ENGINE_QUOTA),
        resolver: network.register(2, ENGINE_QUOTA),
        backfill: network.register(3, BLOCK_QUOTA),
        broadcast: network.register(4, BLOCK_QUOTA),
    };
    let (gossip_sender, gossip_receiver) = network.register(5, GOSSIP_QUOTA);
    let (participants, sharing) = (config.keys.participants.clone(), config.keys.sharing.clone());
    let partition = if floor.is_some() { engine::VOTES } else { engine::ABSTAINING };
    let scheme = match floor {
        Some(_) => Scheme::signer(&namespace, participants, sharing, config.keys.share.clone())
            .expect("invariant: ValidatorKeys checked that the share is a member's"),
        None => Scheme::verifier(&namespace, participants, sharing),
    };
    let (beacon_sender, beacon_receiver) = network.register(6, BEACON_QUOTA);
    let share = (floor.is_some() && beacon_newest.is_some()).then(|| config.keys.share.clone());
    let on_chain = beacon_newest.unwrap_or_default();
    let (standing, watched) = watch::channel(Standing { committed: committed.load(Ordering::Relaxed), on_chain });
    let signers = Committee::new(config.chain_id, config.keys.sharing.clone());
    let signer = Signer::new(share, config.keys.share.index, signers.clone(), watched.clone());
    let beacon = Beacon::new(signers, on_chain);
    let members = Members { participants: config.keys.participants.clone(), blocker: oracle.clone() };
    let seeds = SeedBook::new(config.chain_id, *config.keys.sharing.public());
    let application = ChainApplication {
        ledger: Arc::clone(&ledger),
        seeds: seeds.clone(),
        beacon: beacon.clone(),
        pacing: config.pacing,
        drift_max: config.drift_max,
        fatal: fatal.clone(),
        work_us: Arc::default(),
    };
    let (finalizer, deliveries) = finalizer(Arc::clone(&ledger), Arc::clone(&committed), standing, watch, fatal);
    let engine_config = EngineConfig {
        me: config.keys.signer.public_key(),
        scheme,
        blocker: oracle.clone(),
        peers: oracle.clone(),
        application,
        seeds,
        pacing: config.pacing,
        genesis: ChainBlock::new(config.genesis),
        committed: committed.load(Ordering::Relaxed),
        floor: floor.flatten(),
        partition,
    };
    let voter = engine::start(context.child("engine"), engine_config, channels, finalizer, deliveries).await?;
    context.child("gossip_out").spawn(|runtime| gossip::send(runtime, outgoing, gossip_sender));
    context.child("gossip_in").spawn(|_| gossip::receive(gossip_receiver, oracle, ledger));
    let (out, peers) = (beacon.clone(), members.clone());
    context.child("beacon_out").spawn(|runtime| beacon::send(runtime, out, signer, peers, watched, beacon_sender));
    context.child("beacon_in").spawn(|runtime| beacon::receive(runtime, beacon, members, beacon_receiver));
    network.start();
    Ok(voter)
}

/// Who connects, from where, and how much one message may hold.
pub fn connections(config: &RunConfig) -> lookup::Config<Cups<Sake<PrivateKey>, ChaCha20Poly1305>> {
    let count = config.validators.len();
    let local = lookup::Config::local(
        handshake(config.keys.signer.clone()),
        &[network_namespace(config.chain_id).as_slice(), b"_P2P"].concat(),
        config.listen,
        // Mailboxes are sized, and their memory taken, by this number.
        NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN),
        message_bytes_max(u32::try_from(count).unwrap_or(u32::MAX)),
        NZUsize!(1024),
    );
    lookup::Config {
        dial_frequency: DIAL_INTERVAL,
        peer_connection_cooldown: DIAL_COOLDOWN,
        allowed_handshake_rate_per_ip: HANDSHAKES_PER_ADDRESS,
        ..local
    }
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
        beacon::MESSAGE_BYTES_MAX,
    ])
}
