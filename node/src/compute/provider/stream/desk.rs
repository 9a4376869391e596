//! All channels of this provider: who may come with one, and the actor of each, which [`keep`] keeps alive.

mod keep;

use super::{
    actor::{Actor, Kept, Stand, Visit},
    blobs::{Beside, Portioned},
    bond::Promises,
    places::{CHANNELS_MAX, Place, Room, room},
    record::{Record, Records},
    shelf::Shelf,
    terms::{self, Terms},
    window::{Origin, PaidWindow},
};
use crate::compute::{
    amount::kst,
    channels::{Agreed, Channels},
    checker::source::signer,
    market::Taken,
    provider::{book::Book, offering::unlisted, portion::Portion},
    worth::{Prices, Worth},
};
use alloy_primitives::{Address, B256, U256};
use eyre::{Context as _, Result, eyre};
use keystead_blobs::{
    BLOB_BYTES_MAX, BlobStore, Capacity, DiskStore, Durability, Hello, NodeId, Parties, Refusal, RefusalCode,
    stream::{FromCustomer, Link, Streams, stream_digest},
};
use keystead_contracts::storage::channel::Status;
use keystead_job::JobSpec;
use keystead_market::Currency;
use keystead_payment::{Payee, Policy, Standing};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinSet, block_in_place},
    time::sleep,
};

/// Connections that wait for an actor; the newest is the one that counts.
const VISITS_MAX: usize = 4;
/// How long the actors may take to report what is done when the process stops.
const END_MAX: Duration = Duration::from_secs(10);

/// What all channels share.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(super) book: Arc<Book>,
    pub(super) channels: Channels,
    pub(super) records: Records,
    pub(super) promises: Promises,
    node: NodeId,
    pub(super) terms: Terms,
    seats: Mutex<BTreeMap<B256, Seat>>,
    /// One newcomer at a time: two hellos for one channel must not both make its record, nor take the last place twice.
    admission: Mutex<()>,
    tasks: Mutex<JoinSet<()>>,
}

/// What is known about a channel outside its actor.
#[derive(Clone, Debug)]
struct Seat {
    visits: mpsc::Sender<Visit>,
    store: Arc<DiskStore>,
    /// The same, as the customer sees it.
    served: Arc<Portioned>,
    /// Of an audited channel.
    shelf: Option<Arc<Shelf>>,
    signer: Address,
    job: B256,
    customer: Address,
    stand: watch::Receiver<Stand>,
    /// Set when this channel is to give way; its actor takes it back if there is work again.
    dismissed: Arc<AtomicBool>,
}

/// How a channel's windows are audited, and how often now.
#[derive(Debug)]
struct Audit {
    agreed: Agreed,
    rate_ppm: u32,
}

/// What a channel's actor begins with.
struct Ready {
    record: Record,
    spec: JobSpec,
    payee: Payee,
    standing: Standing,
}

impl Seat {
    /// The channel's blobs, for its one job.
    fn store_for(self, hello: &Hello) -> Result<Arc<dyn BlobStore>, Refusal> {
        if JobSpec::decode(&hello.job).is_ok_and(|spec| spec.hash() == self.job) {
            Ok(self.served)
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
        let promises = Promises::default();
        let desk = Arc::new(Self { book, channels, records, promises, node, terms, seats, admission, tasks });
        for record in desk.records.all()? {
            desk.resume(record).await?;
        }
        Ok(desk)
    }

    async fn resume(self: &Arc<Self>, record: Record) -> Result<()> {
        let (ready, audit) = self.ready(record).await?;
        tracing::info!(channel = %ready.record.channel, earned = ready.payee.earned(), "channel taken up again");
        self.seat(ready, audit)
    }

    /// A channel as its file and the chain say.
    async fn ready(&self, record: Record) -> Result<(Ready, Option<Audit>)> {
        let (terms, standing) = self.channels.look(record.channel).await?;
        let spec = record.spec()?;
        let audit = if terms.audited { Some(self.audit(record.channel).await?) } else { None };
        let policy = self.policy((record.price_wei, Currency::token(terms.token)), audit.as_ref());
        let policy = policy.ok_or_else(|| eyre!("a channel's file has no price"))?;
        let payee = Payee::resume(terms, policy, &record.payee)
            .wrap_err_with(|| format!("the vouchers of channel {} cannot be trusted", record.channel))?;
        Ok((Ready { record, spec, payee, standing }, audit))
    }

    /// Waits until every channel is over; for an owner who wants to finish.
    pub(crate) async fn finished(&self) {
        while !self.seats().is_empty() {
            sleep(Duration::from_millis(500)).await;
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
        let seat = self.seats().remove(&channel);
        if let Some(seat) = seat {
            // First: what is still sent writes nothing into a folder that goes.
            seat.served.forget();
        }
        self.promises.forget(channel);
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

    /// How a channel is audited, and at which rate now.
    async fn audit(&self, channel: B256) -> Result<Audit> {
        let agreed = self.channels.audit_of(channel).await?;
        let rate_ppm = self.rate_ppm(&agreed).await?;
        Ok(Audit { agreed, rate_ppm })
    }

    /// The rate at which this provider's next window is checked.
    pub(super) async fn rate_ppm(&self, agreed: &Agreed) -> Result<u32> {
        self.book.windows.effective_rate_ppm(self.book.market.account.address(), &agreed.terms).await
    }

    fn policy(&self, price: (u128, Currency), audit: Option<&Audit>) -> Option<Policy> {
        self.policy_at(price, audit.map(|audit| (&audit.agreed, audit.rate_ppm)))
    }

    /// What is asked of a channel with this price of a step in a currency; of an audited one at this rate.
    pub(super) fn policy_at(&self, price: (u128, Currency), audit: Option<(&Agreed, u32)>) -> Option<Policy> {
        self.terms.policy(self.book.market.account.address(), price, audit)
    }

    /// What a step of a job costs in what the chain says that a channel is in, whatever its customer says.
    fn price_of_step(&self, spec: &JobSpec, currency: Currency) -> Result<u128, Refusal> {
        let listed = self.book.offering.price(spec, currency);
        let price = self.terms.price_of_step(spec, currency, listed);
        price.ok_or_else(|| Refusal::new(RefusalCode::Unsupported, &unlisted(currency)))
    }

    /// Takes home what channels in a currency gave, when one is over. A token that does not let it go now keeps no channel's place: the contract goes on
    /// owing it, and it is taken with the next channel in that token, or at the next start.
    pub(super) async fn take_home(&self, channel: B256, currency: Currency) -> Result<()> {
        let taken = match self.channels.take(currency).await? {
            Taken::Out(taken) => taken,
            Taken::Owed(error) => {
                tracing::warn!(
                    %channel,
                    token = %currency.address(),
                    error = format!("{error:#}"),
                    "the token is not paid out now: the contract of channels still owes it"
                );
                U256::ZERO
            }
        };
        tracing::info!(%channel, withdrawn = self.book.offering.money(currency).show(taken), "channel over");
        // The bond is one in KST.
        if currency == Currency::KST {
            self.book.save_from_earnings().await;
        }
        Ok(())
    }

    /// Windows of all channels whose audit is not over.
    pub(crate) fn open_windows(&self) -> usize {
        self.shelves().iter().map(|shelf| shelf.numbers().len()).fold(0, usize::saturating_add)
    }

    /// Openings that are expected of the windows of all channels.
    pub(super) fn openings(&self) -> u64 {
        self.shelves().iter().map(|shelf| shelf.openings()).fold(0, u64::saturating_add)
    }

    /// The window of a channel that the audit calls so.
    pub(crate) fn window(&self, id: B256) -> Option<Arc<PaidWindow>> {
        self.shelves().iter().find_map(|shelf| shelf.find(id))
    }

    fn shelves(&self) -> Vec<Arc<Shelf>> {
        self.seats().values().filter_map(|seat| seat.shelf.clone()).collect()
    }

    /// Opens a channel's folder and starts its actor.
    fn seat(self: &Arc<Self>, ready: Ready, audit: Option<Audit>) -> Result<()> {
        let Ready { record, spec, payee, standing } = &ready;
        let channel = record.channel;
        let share = self.terms.store_bytes_max.checked_div(CHANNELS_MAX as u64).unwrap_or_default();
        let capacity = Capacity { blob_bytes_max: BLOB_BYTES_MAX, total_bytes_max: share };
        let channel_folder = self.records.folder(channel);
        // What a window in the audit needs must be there after a power cut, or the bond is lost.
        let durability = if audit.is_some() { Durability::Settled } else { Durability::Lazy };
        let store = Arc::new(
            DiskStore::open(&channel_folder.join("blobs"), capacity, durability)
                .wrap_err("cannot keep the blobs of a channel")?,
        );
        self.book.owner.stores().add(&store);
        let number = payee.terms().number;
        let origin = Origin { channel, number, spec: spec.clone(), store: store.clone() };
        let last = payee.newest().map_or(standing.window, |signed| signed.voucher.window);
        let shelf = audit.map(|Audit { agreed, .. }| Shelf::open(&channel_folder, agreed, origin, last)).transpose()?;
        let actor = self.sit(ready, store, shelf.map(Arc::new));
        let desk = Arc::clone(self);
        self.tasks().spawn(desk.keep_up(channel, actor));
        Ok(())
    }

    /// A channel's actor, and its seat, in the place of one that it had.
    fn sit(self: &Arc<Self>, ready: Ready, store: Arc<DiskStore>, shelf: Option<Arc<Shelf>>) -> Actor {
        let Ready { record, spec, payee, standing } = ready;
        let (visits, visitors) = mpsc::channel(VISITS_MAX);
        let (stand_in, stand) = watch::channel(Stand::default());
        let dismissed: Arc<AtomicBool> = Arc::default();
        let served = self.seats().get(&record.channel).map(|seat| Arc::clone(&seat.served));
        let served = served.unwrap_or_else(|| {
            let portion = Portion::open(self.records.portion(record.channel));
            Arc::new(Portioned::new(record.channel, store.clone(), portion))
        });
        let seat = Seat {
            visits,
            store: Arc::clone(&store),
            served: Arc::clone(&served),
            shelf: shelf.clone(),
            signer: payee.terms().signer,
            job: spec.hash(),
            customer: record.customer,
            stand,
            dismissed: Arc::clone(&dismissed),
        };
        self.seats().insert(record.channel, seat);
        let told = (stand_in, dismissed);
        let kept = Kept { store, served, shelf };
        Actor::new(Arc::clone(self), record, spec, payee, kept, (visitors, told), standing)
    }

    /// A channel that nobody came with before.
    async fn welcome(
        self: &Arc<Self>,
        channel: B256,
        hello: &Hello,
        customer: NodeId,
    ) -> Result<Arc<dyn BlobStore>, Refusal> {
        let no = |code, reason: &str| Err(Refusal::new(code, reason));
        let (opened, standing) = match self.channels.look(channel).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(error = format!("{error:#}"), "cannot look at a channel");
                // The customer's node may be ahead of ours by a block.
                return no(RefusalCode::ChainUnavailable, "the provider's node does not know this channel yet");
            }
        };
        self.check_credential(channel, hello, customer, opened.signer)?;
        let unknown = |error: eyre::Report| {
            tracing::warn!(error = format!("{error:#}"), "cannot read a channel's audit");
            Refusal::new(RefusalCode::ChainUnavailable, "the provider's node does not answer")
        };
        let audit = if opened.audited { Some(self.audit(channel).await.map_err(unknown)?) } else { None };
        let (bond_wei, gas_wei) = if audit.is_some() { self.means().await.map_err(unknown)? } else { (U256::ZERO, 0) };
        // Who comes with a channel that is over gets no seat, and its record is not asked for.
        let as_customer = if standing.status == Status::Open {
            self.book.market.words_of_customer(opened.customer).await
        } else {
            String::new()
        };
        // From here on nothing waits.
        let _turn = self.admission.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seat) = self.seats().get(&channel).cloned() {
            return seat.store_for(hello);
        }
        if standing.status != Status::Open {
            return no(RefusalCode::NotAssigned, &format!("the channel is {:?}", standing.status));
        }
        if let Some(reason) = self.make_room(opened.customer).refusal() {
            return no(RefusalCode::Busy, &reason);
        }
        let spec =
            JobSpec::decode(&hello.job).map_err(|error| Refusal::new(RefusalCode::WrongJob, &error.to_string()))?;
        self.book.capability.admit_lease(&spec).map_err(|reason| Refusal::new(RefusalCode::Unsupported, &reason))?;
        if let Some(reason) = self.book.owner.refusal_of(&spec) {
            return no(RefusalCode::Busy, &reason);
        }
        let currency = Currency::token(opened.token);
        let price_wei = self.price_of_step(&spec, currency)?;
        let refused = audit.as_ref().and_then(|audit| {
            terms::refusal(&audit.agreed, &spec, price_wei, bond_wei).or_else(|| self.unworthy(audit, &spec, gas_wei))
        });
        if let Some(reason) = refused {
            return no(RefusalCode::Unsupported, &reason);
        }
        let internal = || Refusal::new(RefusalCode::Internal, "the provider cannot take channels now");
        let policy = self.policy((price_wei, currency), audit.as_ref()).ok_or_else(internal)?;
        let joined = Payee::join(opened, policy, &standing)
            .map_err(|refusal| Refusal::new(RefusalCode::NotAssigned, &refusal.to_string()))?;
        let record = Record::new(channel, opened.customer, &spec, price_wei, joined.record());
        let fault = |error: eyre::Report| {
            tracing::warn!(error = format!("{error:#}"), "a channel was not taken");
            internal()
        };
        block_in_place(|| self.records.save(&record)).map_err(fault)?;
        let deposit = self.book.offering.money(currency).show(U256::from(standing.deposit));
        tracing::info!(%channel, customer = %opened.customer, as_customer, deposit, "channel taken");
        self.seat(Ready { record, spec, payee: joined.saved(), standing }, audit).map_err(fault)?;
        let seat = self.seats().get(&channel).cloned();
        seat.map(|seat| -> Arc<dyn BlobStore> { seat.served }).ok_or_else(internal)
    }

    /// What this account could lock, and what a gas costs it now, both in wei.
    async fn means(&self) -> Result<(U256, u128)> {
        Ok((self.book.bond_wei().await?, self.book.market.account.fee_per_gas().await?))
    }

    /// Why a full window of a channel is not worth its gas, if the owner counts that. Who does not reads it.
    fn unworthy(&self, audit: &Audit, spec: &JobSpec, gas_wei: u128) -> Option<String> {
        let prices = Prices { step_wei: audit.agreed.price_wei_per_step, rate_ppm: audit.rate_ppm, gas_wei };
        let window = Worth::of_window(spec, prices);
        let refusal = self.terms.unworthy(&window);
        if refusal.is_none() && window.costs_more_than(100) {
            let (pay, gas) = (kst(U256::from(window.pay_wei)), kst(U256::from(window.cost_wei)));
            tracing::warn!(
                pay,
                gas,
                "a full window of this channel costs more gas than it pays: a higher --price helps, and --window-gas refuses such channels"
            );
        }
        refusal
    }

    /// Whether a newcomer has a place; if somebody is to give way for it, that one is told.
    fn make_room(&self, newcomer: Address) -> Room {
        let seats = self.seats();
        let place = |(channel, seat): (&B256, &Seat)| {
            let stand = *seat.stand.borrow();
            let ends = stand.ends || seat.dismissed.load(Ordering::Relaxed);
            let idle = stand.idle_since.map(|since| since.elapsed());
            let is_audited = seat.shelf.as_ref().is_some_and(|shelf| !shelf.numbers().is_empty());
            Place { channel: *channel, customer: seat.customer, idle, ends, is_audited }
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

impl Beside for Desk {
    /// Only what audited channels have: checkers fetch nothing else.
    fn stores(&self) -> Vec<Arc<dyn BlobStore>> {
        let seats = self.seats();
        let audited = seats.values().filter(|seat| seat.shelf.is_some());
        audited.map(|seat| -> Arc<dyn BlobStore> { seat.store.clone() }).collect()
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
        if let Some(reason) = desk.book.owner.refusal().or_else(|| desk.book.backlog_refusal()) {
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
