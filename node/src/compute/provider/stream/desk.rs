//! All channels of this provider: who may come with one, and the actor of each.

use super::{
    actor::{Actor, Stand, Visit},
    places::{CHANNELS_MAX, Place, Room, room},
    record::{Record, Records},
};
use crate::compute::{channels::Channels, checker::source::signer, provider::book::Book};
use alloy_primitives::{Address, B256};
use eyre::{Context as _, Result, eyre};
use keystead_blobs::{
    BLOB_BYTES_MAX, BlobStore, Capacity, DiskStore, Durability, Hello, NodeId, Parties, Refusal, RefusalCode,
    stream::{FromCustomer, Link, Streams, stream_digest},
};
use keystead_contracts::storage::channel::Status;
use keystead_job::JobSpec;
use keystead_payment::{Payee, Policy, Price};
use std::{
    collections::BTreeMap,
    num::{NonZeroU32, NonZeroU128},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

/// Connections that wait for an actor; the newest is the one that counts.
const VISITS_MAX: usize = 4;
/// How long the actors may take to report what is done when the process stops.
const END_MAX: Duration = Duration::from_secs(10);
/// Longest time of one window: a lease's work, its delivery and its check.
const WINDOW: Duration = Duration::from_secs(600);

/// What this provider asks of channels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// Wei for a unit.
    pub(crate) price_wei: u128,
    /// How long the watcher may be away.
    pub(crate) watch: Duration,
    /// Bytes that all channels may keep.
    pub(crate) store_bytes_max: u64,
}

/// What all channels share.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(super) book: Arc<Book>,
    pub(super) channels: Channels,
    pub(super) records: Records,
    node: NodeId,
    terms: Terms,
    seats: Mutex<BTreeMap<B256, Seat>>,
    /// One newcomer at a time: two hellos for one channel must not both make its record, nor take the last place twice.
    admission: Mutex<()>,
    tasks: Mutex<JoinSet<()>>,
}

/// What is known about a channel outside its actor.
#[derive(Clone, Debug)]
struct Seat {
    visits: mpsc::Sender<Visit>,
    store: Arc<dyn BlobStore>,
    signer: Address,
    job: B256,
    customer: Address,
    stand: watch::Receiver<Stand>,
    /// Set when this channel is to give way; its actor takes it back if there is work again.
    dismissed: Arc<AtomicBool>,
}

impl Seat {
    /// The channel's blobs, for its one job.
    fn store_for(self, hello: &Hello) -> Result<Arc<dyn BlobStore>, Refusal> {
        if JobSpec::decode(&hello.job).is_ok_and(|spec| spec.hash() == self.job) {
            Ok(self.store)
        } else {
            Err(Refusal::new(RefusalCode::WrongJob, "the channel had another job before"))
        }
    }
}

impl Desk {
    /// Opens the folder and takes up every channel that is not over.
    pub(crate) async fn open(book: Arc<Book>, node: NodeId, folder: &Path, terms: Terms) -> Result<Arc<Self>> {
        let records = Records::open(folder)?;
        let channels = Channels { account: Arc::clone(&book.market.account) };
        let (seats, admission, tasks) = (Mutex::default(), Mutex::default(), Mutex::default());
        let desk = Arc::new(Self { book, channels, records, node, terms, seats, admission, tasks });
        for record in desk.records.all()? {
            desk.resume(record).await?;
        }
        Ok(desk)
    }

    async fn resume(self: &Arc<Self>, record: Record) -> Result<()> {
        let (terms, standing) = self.channels.look(record.channel).await?;
        let spec = record.spec()?;
        let policy = self.policy(record.price_wei).ok_or_else(|| eyre!("a channel's file has no price"))?;
        let payee = Payee::resume(terms, policy, &record.payee)
            .wrap_err_with(|| format!("the vouchers of channel {} cannot be trusted", record.channel))?;
        tracing::info!(channel = %record.channel, earned = payee.earned(), "channel taken up again");
        self.seat(record, spec, payee, terms.signer, standing)
    }

    /// Waits until every channel is over; for an owner who wants to finish.
    pub(crate) async fn finished(&self) {
        while !self.seats().is_empty() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Lets every actor report what is done and take what comes for it, for a bounded time. The book says that this process stops.
    pub(crate) async fn stop(&self) -> usize {
        let mut tasks = std::mem::take(&mut *self.tasks());
        let ended = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(END_MAX, ended).await.is_err() {
            tracing::warn!("some channels did not come to rest in time; their files are whole");
        }
        tasks.abort_all();
        self.seats().len()
    }

    pub(super) fn forget(&self, channel: B256) {
        self.seats().remove(&channel);
        if let Err(error) = self.records.forget(channel) {
            tracing::warn!(error = format!("{error:#}"), "a channel that is over stays on disk");
        }
    }

    fn seats(&self) -> MutexGuard<'_, BTreeMap<B256, Seat>> {
        // No code panics while it holds these locks.
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn policy(&self, price_wei: u128) -> Option<Policy> {
        Some(Policy {
            account: self.book.market.account.address(),
            token: Address::ZERO,
            price: Price {
                per_unit: NonZeroU128::new(price_wei)?,
                units_max: NonZeroU32::new(keystead_lease::STEPS_MAX)?,
            },
            window: WINDOW,
            audit: Duration::ZERO,
            budget: keystead_payment::Budget::default(),
            watch: self.terms.watch,
        })
    }

    /// Starts a channel's actor.
    fn seat(
        self: &Arc<Self>,
        record: Record,
        spec: JobSpec,
        payee: Payee,
        signer: Address,
        standing: keystead_payment::Standing,
    ) -> Result<()> {
        let share = self.terms.store_bytes_max.checked_div(CHANNELS_MAX as u64).unwrap_or_default();
        let capacity = Capacity { blob_bytes_max: BLOB_BYTES_MAX, total_bytes_max: share };
        let folder = self.records.folder(record.channel).join("blobs");
        let store: Arc<dyn BlobStore> = Arc::new(
            DiskStore::open(&folder, capacity, Durability::Lazy).wrap_err("cannot keep the blobs of a channel")?,
        );
        let (visits, visitors) = mpsc::channel(VISITS_MAX);
        let (stand_in, stand) = watch::channel(Stand::default());
        let dismissed: Arc<AtomicBool> = Arc::default();
        let (job, customer) = (spec.hash(), record.customer);
        let seat =
            Seat { visits, store: Arc::clone(&store), signer, job, customer, stand, dismissed: Arc::clone(&dismissed) };
        self.seats().insert(record.channel, seat);
        let told = (stand_in, dismissed);
        let actor = Actor::new(Arc::clone(self), record, spec, payee, store, (visitors, told), standing);
        self.tasks().spawn(actor.run());
        Ok(())
    }

    /// A channel that nobody came with before.
    async fn welcome(
        self: &Arc<Self>,
        channel: B256,
        hello: &Hello,
        customer: NodeId,
    ) -> Result<Arc<dyn BlobStore>, Refusal> {
        let no = |code, reason: &str| Err(Refusal::new(code, reason));
        let (terms, standing) = match self.channels.look(channel).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(error = format!("{error:#}"), "cannot look at a channel");
                // The customer's node may be ahead of ours by a block.
                return no(RefusalCode::ChainUnavailable, "the provider's node does not know this channel yet");
            }
        };
        self.check_credential(channel, hello, customer, terms.signer)?;
        // From here on nothing waits.
        let _turn = self.admission.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seat) = self.seats().get(&channel).cloned() {
            return seat.store_for(hello);
        }
        if terms.audited {
            return no(RefusalCode::Unsupported, "channels with audit are not served as streams");
        }
        if standing.status != Status::Open {
            return no(RefusalCode::NotAssigned, &format!("the channel is {:?}", standing.status));
        }
        if let Some(reason) = self.make_room(terms.customer).refusal() {
            return no(RefusalCode::Busy, &reason);
        }
        let spec =
            JobSpec::decode(&hello.job).map_err(|error| Refusal::new(RefusalCode::WrongJob, &error.to_string()))?;
        self.book.capability.admit(&spec).map_err(|reason| Refusal::new(RefusalCode::Unsupported, &reason))?;
        let price_wei = self.terms.price_wei.div_ceil(u128::from(spec.segment_count.max(1)));
        let internal = || Refusal::new(RefusalCode::Internal, "the provider cannot take channels now");
        let policy = self.policy(price_wei).ok_or_else(internal)?;
        let joined = Payee::join(terms, policy, &standing)
            .map_err(|refusal| Refusal::new(RefusalCode::NotAssigned, &refusal.to_string()))?;
        let record = Record::new(channel, terms.customer, &spec, price_wei, joined.record());
        let fault = |error: eyre::Report| {
            tracing::warn!(error = format!("{error:#}"), "a channel was not taken");
            internal()
        };
        tokio::task::block_in_place(|| self.records.save(&record)).map_err(fault)?;
        tracing::info!(%channel, customer = %terms.customer, deposit = standing.deposit, "channel taken");
        self.seat(record, spec, joined.saved(), terms.signer, standing).map_err(fault)?;
        let seat = self.seats().get(&channel).cloned();
        seat.map(|seat| seat.store).ok_or_else(internal)
    }

    /// Whether a newcomer has a place; if somebody is to give way for it, that one is told.
    fn make_room(&self, newcomer: Address) -> Room {
        let seats = self.seats();
        let place = |(channel, seat): (&B256, &Seat)| {
            let stand = *seat.stand.borrow();
            let ends = stand.ends || seat.dismissed.load(Ordering::Relaxed);
            let idle = stand.idle_since.map(|since| since.elapsed());
            Place { channel: *channel, customer: seat.customer, idle, ends }
        };
        let places: Vec<Place> = seats.iter().map(place).collect();
        let found = room(&places, newcomer);
        if let Room::GivesWay(channel) = found
            && let Some(seat) = seats.get(&channel)
        {
            tracing::info!(%channel, "an idle channel gives way to another customer");
            seat.dismissed.store(true, Ordering::Relaxed);
        }
        found
    }

    fn check_credential(
        &self,
        channel: B256,
        hello: &Hello,
        customer: NodeId,
        expected: Address,
    ) -> Result<(), Refusal> {
        let parties = Parties { customer, provider: self.node };
        if signer(&hello.credential, stream_digest(channel, parties)) == Some(expected) {
            return Ok(());
        }
        Err(Refusal::new(RefusalCode::NotTheCustomer, "the credential is not signed by the channel's signer"))
    }
}

/// Lets streams in.
#[derive(Debug)]
pub(crate) struct Door(pub(crate) Arc<Desk>);

impl Streams for Door {
    async fn greet(&self, customer: NodeId, hello: &Hello) -> Result<Arc<dyn BlobStore>, Refusal> {
        let desk = &self.0;
        let channel = B256::from(hello.order);
        let known = desk.seats().get(&channel).cloned();
        if let Some(seat) = known {
            desk.check_credential(channel, hello, customer, seat.signer)?;
            return seat.store_for(hello);
        }
        if *desk.book.stopping.borrow() {
            return Err(Refusal::new(RefusalCode::Busy, "the provider is stopping"));
        }
        if let Some(reason) = desk.book.owner.refusal() {
            return Err(Refusal::new(RefusalCode::Busy, &reason));
        }
        desk.welcome(channel, hello, customer).await
    }

    async fn conduct(&self, hello: Hello, link: Link<FromCustomer>) {
        let channel = B256::from(hello.order);
        let seat = self.0.seats().get(&channel).cloned();
        let Some(seat) = seat else { return };
        let (visit, gone) = Visit::new(link);
        if seat.visits.send(visit).await.is_ok() {
            // The link lives in the actor; this place among the sessions is held until it is dropped there.
            let _ = gone.await;
        }
    }
}
