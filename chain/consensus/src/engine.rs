//! Wires the engine's parts together over any runtime and any network.

use crate::{
    application::ChainApplication,
    block::{ChainBlock, Digest},
    finalizer::{Deliveries, Finalizer, Marshal},
    pacing::Pacing,
    seeds::{Scheme, SeedBook, SeedTap},
};
use commonware_broadcast::buffered;
use commonware_consensus::{
    marshal::{
        self, Start,
        core::Actor as MarshalActor,
        resolver::p2p as marshal_resolver,
        standard::{Inline, Standard},
    },
    simplex::{
        self,
        config::{ForwardPolicy, SkipPolicy},
        elector::{Random, RandomVersion},
    },
    types::{Epoch, FixedEpocher, ViewDelta},
};
use commonware_cryptography::{Digestible as _, Sha256, certificate::ConstantProvider, ed25519::PublicKey};
use commonware_p2p::{Blocker, Provider, Receiver, Sender};
use commonware_parallel::Sequential;
use commonware_runtime::{Clock, Handle, Metrics, Spawner, Storage, Supervisor, buffer::paged::CacheRef};
use commonware_storage::{archive::prunable, translator::TwoCap};
use commonware_utils::{NZDuration, NZU16, NZU64, NZUsize};
use rand_core::CryptoRng;
use std::{
    num::{NonZeroU64, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

/// One epoch for ever: the committee does not change yet.
const EPOCH_BLOCKS: NonZeroU64 = NZU64!(u64::MAX);
/// Bytes of the journals' read and write buffers.
const BUFFER_BYTES: NonZeroUsize = NZUsize!(64 * 1024);
/// Messages in an actor's mailbox.
const MAILBOX: NonZeroUsize = NZUsize!(1024);
/// Page cache of the journals: 1,024 pages of 4 KiB.
pub(crate) const PAGE_BYTES: std::num::NonZeroU16 = NZU16!(4_096);
const PAGES: NonZeroUsize = NZUsize!(1_024);
/// Views below the finalized one for which votes and certificates are kept.
const VIEWS_RETAINED: ViewDelta = ViewDelta::new(64);
/// Proposals that are kept per peer until they are finalized.
const BROADCASTS_PER_PEER: usize = 16;
/// Blocks that may be delivered and not yet acknowledged.
const PENDING_ACKNOWLEDGEMENTS: NonZeroUsize = NZUsize!(16);
/// Missing blocks that are fetched at the same time.
const REPAIRS: NonZeroUsize = NZUsize!(16);
/// Items per section of the prunable archives.
const SECTION_ITEMS: NonZeroU64 = NZU64!(1_024);

/// Name of the partition that holds this validator's votes.
pub(crate) const VOTES: &str = "simplex";
/// Name of the one that a validator uses meanwhile that abstains: the engine replays own votes only with the key that made them.
pub(crate) const ABSTAINING: &str = "abstaining";
/// Beginning of the names of the marshal's own partitions.
const MARSHAL: &str = "marshal";

/// Views in a row that are skipped at once because their leader is inactive. Leaders are drawn at random, so one dead validator of four leads
/// five views in a row every thousand views or so; with a bound of four, the fifth waited for its leader's timeout again.
const SKIPS_MAX: NonZeroU64 = NZU64!(32);

/// How long one peer is waited for that was asked for a block, before the next is asked: a validator that catches up may have asked
/// one that died. The largest block takes this long at 33 Mbit/s.
const BLOCK_FETCH_TIMEOUT: Duration = Duration::from_secs(1);
/// The same for certificates, which are small.
const CERTIFICATE_FETCH_TIMEOUT: Duration = Duration::from_millis(500);

/// Distance between the leader's, the certification and the skip timeout, which the engine wants in this order.
const TIMEOUT_STEP: Duration = Duration::from_millis(100);

/// A certificate of finality in the engine's own form.
pub(crate) type Finality = simplex::types::Finalization<Scheme, Digest>;

/// One channel's two ends.
pub(crate) type Channel<S, R> = (S, R);

/// The channels that the engine uses.
pub(crate) struct Channels<S, R> {
    pub(crate) votes: Channel<S, R>,
    pub(crate) certificates: Channel<S, R>,
    pub(crate) resolver: Channel<S, R>,
    pub(crate) backfill: Channel<S, R>,
    pub(crate) broadcast: Channel<S, R>,
}

/// What the engine needs to know.
pub(crate) struct EngineConfig<B, M> {
    pub(crate) me: PublicKey,
    pub(crate) scheme: Scheme,
    pub(crate) blocker: B,
    pub(crate) peers: M,
    pub(crate) application: ChainApplication,
    pub(crate) seeds: SeedBook,
    pub(crate) pacing: Pacing,
    pub(crate) genesis: ChainBlock,
    pub(crate) committed: u64,
    /// Nothing is signed in views up to this one's.
    pub(crate) floor: Option<Finality>,
    /// Where the engine keeps votes and certificates of recent views.
    pub(crate) partition: &'static str,
}

/// Starts every actor and returns the handle of the voter: when it ends, the engine has stopped.
///
/// # Errors
/// A sentence: the engine's own files cannot be opened.
pub(crate) async fn start<E, B, M, S, R>(
    context: E,
    config: EngineConfig<B, M>,
    channels: Channels<S, R>,
    finalizer: Finalizer,
    deliveries: Deliveries,
) -> Result<Handle<()>, String>
where
    E: Clock + CryptoRng + Spawner + Storage + Metrics + Supervisor,
    B: Blocker<PublicKey = PublicKey>,
    M: Provider<PublicKey = PublicKey>,
    S: Sender<PublicKey = PublicKey>,
    R: Receiver<PublicKey = PublicKey>,
{
    let page_cache = CacheRef::new(PAGE_BYTES, PAGES);
    let (buffer_engine, buffer) = buffered::Engine::new(
        context.child("broadcast"),
        buffered::Config {
            public_key: config.me.clone(),
            mailbox_size: MAILBOX,
            deque_size: BROADCASTS_PER_PEER,
            priority: true,
            codec_config: (),
            peer_provider: config.peers.clone(),
            strategy: Sequential,
        },
    );
    buffer_engine.start(channels.broadcast);
    let resolver = marshal_resolver::init(
        context.child("marshal_resolver"),
        marshal_resolver::Config {
            public_key: config.me.clone(),
            peer_provider: config.peers.clone(),
            blocker: config.blocker.clone(),
            mailbox_size: MAILBOX,
            fetch_timeout: NZDuration!(BLOCK_FETCH_TIMEOUT),
            fetch_retry_delay: Duration::from_millis(100),
            priority_requests: false,
            priority_responses: false,
        },
        channels.backfill,
    );
    let (marshal_actor, marshal) = marshal(&context, &config, &page_cache).await?;
    let inline = Inline::new(
        context.child("application"),
        config.application.clone(),
        marshal.clone(),
        FixedEpocher::new(EPOCH_BLOCKS),
    );
    marshal_actor.start(finalizer, buffer, resolver);
    context.child("finalizer").spawn(|runtime| deliveries.run(runtime, marshal));
    let reporter = SeedTap { inner: inline.clone(), book: config.seeds.clone() };
    let engine = simplex::Engine::new(context.child("simplex"), simplex_config(config, inline, reporter, page_cache));
    Ok(engine.start(channels.votes, channels.certificates, channels.resolver))
}

type MarshalOf<E> = MarshalActor<
    E,
    Standard<ChainBlock>,
    ConstantProvider<Scheme, Epoch>,
    prunable::Archive<TwoCap, E, Digest, Finality>,
    prunable::Archive<TwoCap, E, Digest, Arc<ChainBlock>>,
    FixedEpocher,
    Sequential,
>;

/// Opens the archive of final blocks. If it has handed more blocks to the ledger than the ledger holds, which then lost
/// some, it hands over all of them again.
async fn marshal<E, B, M>(
    context: &E,
    config: &EngineConfig<B, M>,
    page_cache: &CacheRef,
) -> Result<(MarshalOf<E>, Marshal), String>
where
    E: Clock + CryptoRng + Spawner + Storage + Metrics + Supervisor,
{
    let (actor, mailbox, delivered) = open_marshal(context.child("archive"), config, page_cache).await?;
    if delivered <= config.committed {
        return Ok((actor, mailbox));
    }
    tracing::warn!(delivered, committed = config.committed, "the ledger lost blocks: handing them over again");
    drop((actor, mailbox));
    context
        .remove(&format!("{MARSHAL}-application-metadata"), None)
        .await
        .map_err(|error| format!("cannot forget which blocks were handed over: {error}"))?;
    let (actor, mailbox, _) = open_marshal(context.child("archive_again"), config, page_cache).await?;
    Ok((actor, mailbox))
}

/// The actor, its mailbox, and the height up to which the ledger acknowledged blocks.
async fn open_marshal<E, B, M>(
    context: E,
    config: &EngineConfig<B, M>,
    page_cache: &CacheRef,
) -> Result<(MarshalOf<E>, Marshal, u64), String>
where
    E: Clock + CryptoRng + Spawner + Storage + Metrics + Supervisor,
{
    let archive = |name: &str| prunable::Config {
        translator: TwoCap,
        metadata_partition: format!("{name}-metadata"),
        key_partition: format!("{name}-key"),
        key_page_cache: page_cache.clone(),
        value_partition: format!("{name}-value"),
        compression: None,
        codec_config: (),
        items_per_section: SECTION_ITEMS,
        key_write_buffer: BUFFER_BYTES,
        value_write_buffer: BUFFER_BYTES,
        replay_buffer: BUFFER_BYTES,
    };
    let finalizations = prunable::Archive::init(context.child("finalizations"), archive("finalizations"))
        .await
        .map_err(|error| format!("cannot open the archive of finalizations: {error}"))?;
    let blocks = prunable::Archive::init(context.child("blocks"), archive("blocks"))
        .await
        .map_err(|error| format!("cannot open the archive of blocks: {error}"))?;
    let (actor, mailbox, floor) = MarshalActor::init(
        context.child("marshal"),
        finalizations,
        blocks,
        marshal::Config {
            provider: ConstantProvider::new(config.scheme.clone()),
            epocher: FixedEpocher::new(EPOCH_BLOCKS),
            start: Start::Genesis(config.genesis.clone().digested()),
            partition_prefix: MARSHAL.to_owned(),
            mailbox_size: MAILBOX,
            view_retention: VIEWS_RETAINED,
            prunable_items_per_section: SECTION_ITEMS,
            page_cache: page_cache.clone(),
            replay_buffer: BUFFER_BYTES,
            key_write_buffer: BUFFER_BYTES,
            value_write_buffer: BUFFER_BYTES,
            block_codec_config: (),
            max_repair: REPAIRS,
            max_pending_acks: PENDING_ACKNOWLEDGEMENTS,
            strategy: Sequential,
        },
    )
    .await;
    let delivered = floor.processed().map_or(0, |processed| processed.height().get());
    Ok((actor, mailbox, delivered))
}

type SimplexConfig<A, B, T> = simplex::Config<Scheme, Random<Sha256>, B, Digest, A, A, SeedTap<T>, Sequential>;

fn simplex_config<A, B, M>(
    config: EngineConfig<B, M>,
    inline: A,
    reporter: SeedTap<A>,
    page_cache: CacheRef,
) -> SimplexConfig<A, B, A>
where
    A: commonware_consensus::CertifiableAutomaton<
            Context = commonware_consensus::simplex::types::Context<Digest, PublicKey>,
            Digest = Digest,
        > + commonware_consensus::Relay<Digest = Digest, PublicKey = PublicKey>
        + commonware_consensus::Reporter<Activity = simplex::types::Activity<Scheme, Digest>>,
    B: Blocker<PublicKey = PublicKey>,
{
    let leader_timeout = config.pacing.leader_timeout;
    let certification_timeout = leader_timeout.saturating_add(TIMEOUT_STEP);
    simplex::Config {
        scheme: config.scheme,
        elector: Random::<Sha256>::new(RandomVersion::V1),
        blocker: config.blocker,
        automaton: inline.clone(),
        relay: inline,
        reporter,
        strategy: Sequential,
        partition: config.partition.to_owned(),
        mailbox_size: MAILBOX,
        epoch: Epoch::zero(),
        floor: config.floor.map_or_else(
            || simplex::config::Floor::Genesis(config.genesis.digest()),
            simplex::config::Floor::Finalized,
        ),
        replay_buffer: BUFFER_BYTES,
        write_buffer: BUFFER_BYTES,
        page_cache,
        leader_timeout,
        certification_timeout,
        timeout_retry: Duration::from_millis(500),
        view_retention: VIEWS_RETAINED,
        skip: SkipPolicy::Enabled {
            timeout: certification_timeout.saturating_add(TIMEOUT_STEP),
            budget: simplex::SkipBudget::Fixed(SKIPS_MAX),
        },
        fetch_timeout: NZDuration!(CERTIFICATE_FETCH_TIMEOUT),
        fetch_retry_delay: Duration::from_millis(200),
        forward: ForwardPolicy::SilentVoters,
        track_historical_votes: false,
    }
}
