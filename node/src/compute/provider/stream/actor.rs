//! The one task that owns a channel: hears the customer, hands out the work, reports, takes vouchers, claims.

mod audit;
mod notes;
mod pay;
mod still;

use self::{audit::Audit, notes::Teller};
use super::{
    blobs::Portioned,
    chain::Outlook,
    desk::Desk,
    held::{Held, Waiting, Working},
    record::{Record, Reported},
    shelf::Shelf,
    work::{Work, Worked},
};
use crate::compute::{provider::turns::InTurn, random};
use alloy_primitives::{B256, Bytes};
use eyre::Result;
use keystead_blobs::{
    BlobStore as _, DiskStore, Hash, SessionError,
    stream::{End, EndCode, FromCustomer, FromProvider, LeaseOffer, Link, WindowReport, pack},
};
use keystead_job::{
    JobSpec, Step,
    commitment::{Secret, Tree},
    step::{audited_root, encode_list},
};
use keystead_market::Currency;
use keystead_payment::{Payee, Release, Standing, payee::Refusal, watch};
use keystead_runner::Stop;
use std::{
    collections::BTreeMap,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot, watch as signals},
    task::block_in_place,
    time::{Instant, interval},
};

/// How often the actor looks around when nothing happens.
const TICK: Duration = Duration::from_millis(250);
/// How often it says that it lives while it holds a lease.
const BEAT: Duration = Duration::from_secs(2);
/// A customer that is away for longer has no more work.
const ABSENCE_MAX: Duration = Duration::from_secs(600);
/// A worker without a lease is kept warm for so long.
const WARM: Duration = Duration::from_secs(30);
/// How long a transaction's effect may take to be seen before it is sent again.
const EFFECT_MAX: Duration = Duration::from_secs(10);
/// A customer that is there and neither pays nor refuses a report for so long will not do so any more.
const UNPAID_MAX: Duration = Duration::from_secs(600);

/// A connection that was let in; its place among the sessions is free once this is dropped.
#[derive(Debug)]
pub(super) struct Visit {
    link: Link<FromCustomer>,
    _place: oneshot::Sender<()>,
}

impl Visit {
    pub(super) fn new(link: Link<FromCustomer>) -> (Self, oneshot::Receiver<()>) {
        let (place, gone) = oneshot::channel();
        (Self { link, _place: place }, gone)
    }
}

/// Where a channel stands, for whoever gives places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stand {
    /// Since when it has neither lease nor report; `None` while it has one.
    pub(super) idle_since: Option<Instant>,
    /// It takes no further lease.
    pub(super) ends: bool,
}

/// A channel's task.
#[derive(Debug)]
pub(super) struct Actor {
    desk: Arc<Desk>,
    record: Record,
    spec: JobSpec,
    payee: Payee,
    store: Arc<DiskStore>,
    /// The same, as the customer sees it.
    served: Arc<Portioned>,
    visitors: mpsc::Receiver<Visit>,
    stand: signals::Sender<Stand>,
    /// Somebody else needs this place.
    dismissed: Arc<AtomicBool>,
    outlook: Outlook,
    /// Of an audited channel.
    audit: Option<Audit>,
    visit: Option<Visit>,
    held: Held,
    /// States that leases ended with here and that go on: segments done and name, by unit.
    made: BTreeMap<u32, (u32, B256)>,
    engine: Option<InTurn>,
    stop: Stop,
    drains: bool,
    /// A voucher that could not be taken yet: the node did not answer, or the disk was full.
    untaken: Option<(u64, Bytes)>,
    /// Since when there is no visitor, and no lease.
    absent_since: Instant,
    idle_since: Instant,
    /// When it looked around last.
    looked: Instant,
    /// When a transaction was sent last.
    acted: Option<Instant>,
    /// The channel is final, and what it gave is taken home.
    is_taken: bool,
    /// What went wrong in the last look around.
    trouble: String,
    teller: Teller,
}

/// What a channel has on the disk.
pub(super) struct Kept {
    pub(super) store: Arc<DiskStore>,
    /// The same, as the customer sees it.
    pub(super) served: Arc<Portioned>,
    /// Of an audited channel.
    pub(super) shelf: Option<Arc<Shelf>>,
}

impl Actor {
    pub(super) fn new(
        desk: Arc<Desk>,
        record: Record,
        spec: JobSpec,
        payee: Payee,
        Kept { store, served, shelf }: Kept,
        (visitors, (stand, dismissed)): (mpsc::Receiver<Visit>, (signals::Sender<Stand>, Arc<AtomicBool>)),
        standing: Standing,
    ) -> Self {
        let outlook = Outlook::watch(desk.channels.clone(), record.channel, Some(standing));
        let held = match &record.reported {
            Some(reported) => {
                Held::Reported(Waiting { lease: reported.lease, last: Vec::new(), since: Instant::now() })
            }
            None => Held::Nothing,
        };
        let now = Instant::now();
        let audit = shelf.map(|shelf| Audit::new(shelf, &payee, &standing));
        let (made, engine, visit) = (BTreeMap::new(), None, None);
        let (drains, absent_since, idle_since, acted) = (false, now, now, None);
        Self {
            desk,
            record,
            spec,
            payee,
            store,
            served,
            visitors,
            stand,
            dismissed,
            outlook,
            audit,
            visit,
            held,
            made,
            engine,
            stop: Stop::new(),
            drains,
            untaken: None,
            absent_since,
            idle_since,
            looked: now,
            acted,
            is_taken: false,
            trouble: String::new(),
            teller: Teller::default(),
        }
    }

    /// Until the channel is over or the process stops.
    pub(super) async fn run(mut self) {
        let mut stopping = self.desk.book.stopping.subscribe();
        let mut tick = interval(TICK);
        self.sweep();
        self.note_delivery();
        loop {
            if *stopping.borrow_and_update() && self.is_at_rest() {
                break;
            }
            tokio::select! {
                visit = self.visitors.recv() => match visit {
                    Some(visit) => self.greet(visit).await,
                    None => break,
                },
                message = next(&mut self.visit) => self.hear(message).await,
                worked = self.held.worked() => self.worked(worked).await,
                _ = tick.tick() => if self.look_around().await {
                    return self.desk.forget(self.record.channel);
                },
                _ = stopping.changed() => self.halt(EndCode::Stopping),
            }
        }
        if let Some(visit) = self.visit.take() {
            visit.link.shut_down();
        }
        block_in_place(|| self.served.save());
    }

    fn stops(&self) -> bool {
        *self.desk.book.stopping.borrow()
    }

    const fn is_at_rest(&self) -> bool {
        match self.held {
            Held::Nothing => true,
            Held::Working(_) => false,
            Held::Reported(_) => self.visit.is_none(),
        }
    }

    fn halt(&self, why: EndCode) {
        if let Held::Working(working) = &self.held {
            working.halt(why);
        }
    }

    /// A newer connection takes over.
    async fn greet(&mut self, visit: Visit) {
        if let Some(older) = self.visit.replace(visit) {
            older.link.supersede();
        }
        self.teller.begin();
        self.say(FromProvider::Accepted { holding: self.held.lease() }).await;
        if matches!(self.held, Held::Reported(_)) {
            self.send_report().await;
        }
        if self.drains {
            self.say(FromProvider::Draining { reason: keystead_blobs::Reason::default() }).await;
        }
    }

    async fn say(&mut self, message: FromProvider) {
        let Some(visit) = &mut self.visit else { return };
        if let Err(error) = visit.link.say(&message).await {
            tracing::debug!(channel = %self.record.channel, %error, "the customer does not hear");
            self.part();
        }
    }

    fn part(&mut self) {
        self.visit = None;
        self.absent_since = Instant::now();
    }

    async fn give_back(&mut self, lease: u64, end: End) {
        tracing::info!(channel = %self.record.channel, lease, code = %end.code, reason = %end.reason, "lease given back");
        self.say(FromProvider::GivenBack { lease, end }).await;
    }

    async fn hear(&mut self, message: Result<FromCustomer, SessionError>) {
        let outcome = match message {
            Ok(FromCustomer::Lease(offer)) => self.begin(offer).await,
            Ok(FromCustomer::Voucher { lease, signed }) => {
                self.untaken = Some((lease, signed));
                self.take().await
            }
            Ok(FromCustomer::Refuse { lease, code, reason }) => {
                tracing::info!(channel = %self.record.channel, lease, %code, %reason, "report refused");
                self.refused(lease, code)
            }
            Ok(FromCustomer::Cancel { lease }) => {
                if self.held.lease() == Some(lease) {
                    self.halt(EndCode::Cancelled);
                }
                Ok(())
            }
            Ok(FromCustomer::Bye) => {
                self.part();
                self.end()
            }
            Ok(FromCustomer::Hello(_)) => {
                if let Some(visit) = self.visit.take() {
                    visit.link.accuse();
                }
                Ok(())
            }
            Err(error) => {
                tracing::debug!(channel = %self.record.channel, %error, "connection lost");
                self.part();
                Ok(())
            }
        };
        if let Err(error) = outcome {
            tracing::warn!(channel = %self.record.channel, error = format!("{error:#}"), "a channel stumbles");
        }
    }

    async fn begin(&mut self, offer: LeaseOffer) -> Result<()> {
        let lease = offer.number;
        let steps = offer.items.iter().fold(0_u32, |sum, item| sum.saturating_add(item.count));
        let ends = |item: &keystead_blobs::stream::Item| item.first.saturating_add(item.count);
        let fits = offer.items.iter().all(|i| i.unit < self.spec.unit_count && ends(i) <= self.spec.segment_count);
        let refusal = if !matches!(self.held, Held::Nothing) {
            Some((EndCode::Fault, "another lease is held".to_owned()))
        } else if self.stops() {
            Some((EndCode::Stopping, String::new()))
        } else if self.record.ends {
            Some((EndCode::Owner, "this channel ends".to_owned()))
        } else if self.drains {
            Some((EndCode::Owner, self.desk.book.owner.why_not(&self.spec)))
        } else if !fits {
            Some((EndCode::Input, "there is no such step in this job".to_owned()))
        } else if let Some(reason) = self.held_up() {
            Some((EndCode::Fault, reason))
        } else if let Some(reason) = self.too_thin(steps).await {
            self.end()?;
            Some((EndCode::Owner, reason))
        } else {
            self.may_begin(steps).await.err().map(|reason| (EndCode::Fault, reason))
        };
        if let Some((code, reason)) = refusal {
            self.give_back(lease, End::new(code, &reason)).await;
            return Ok(());
        }
        self.note_promise();
        let Some(visit) = &self.visit else { return Ok(()) };
        let (halt, halted) = signals::channel(None);
        let (done, steps_done) = signals::channel(0);
        let work = Work {
            desk: Arc::clone(&self.desk),
            channel: self.record.channel,
            spec: self.spec.clone(),
            store: self.store.clone(),
            shelf: self.audit.as_ref().map(|audit| Arc::clone(&audit.shelf)),
            source: visit.link.source(),
            offer: offer.clone(),
            is_first: self.payee.earned() == 0,
            made: self.made.clone(),
            halt: halted,
            done,
            stop: self.stop.clone(),
            engine: self.engine.take(),
            notes: self.teller.notes(),
        };
        let task = tokio::spawn(work.run());
        let now = Instant::now();
        self.held = Held::Working(Working { offer, halt, done: steps_done, task, received: now, beaten: now });
        Ok(())
    }

    /// Whether a window of so many steps can be paid. A deposit that looks too small may just have been topped up.
    async fn may_begin(&mut self, steps: u32) -> Result<(), String> {
        let unknown = "the provider's node does not say where the channel stands";
        if let Err(error) = self.follow_rate().await {
            tracing::debug!(channel = %self.record.channel, error = format!("{error:#}"), "the rate of checks is not known");
        }
        let standing = match self.outlook.standing() {
            Some(standing) => standing,
            // This process stood still: a customer that comes back has work before the chain was asked again.
            None => self.desk.channels.look(self.record.channel).await.map_err(|_| unknown)?.1,
        };
        match self.payee.begin(steps, &standing) {
            Err(Refusal::DepositTooSmall { .. }) => {
                let looked = self.desk.channels.look(self.record.channel).await;
                let (_, standing) = looked.map_err(|_| unknown)?;
                self.payee.begin(steps, &standing).map_err(|refusal| refusal.to_string())
            }
            other => other.map_err(|refusal| refusal.to_string()),
        }
    }

    /// A lease was run as far as it goes.
    async fn worked(&mut self, worked: Option<Worked>) {
        let Held::Working(working) = std::mem::replace(&mut self.held, Held::Nothing) else { return };
        self.idle_since = Instant::now();
        self.tell_notes().await;
        let lease = working.offer.number;
        let mut worked =
            worked.unwrap_or_else(|| Worked::nothing(End::new(EndCode::Fault, "the provider has a fault")));
        // The owner who came back gets the memory, too.
        let keeps_engine = !matches!(worked.end.code, EndCode::Owner | EndCode::Stopping);
        self.engine = worked.engine.take().filter(|_| keeps_engine);
        if worked.names.is_empty() {
            // Where something went wrong here, half of a step may be on the disk.
            if worked.end.code == EndCode::Fault {
                self.sweep();
            } else {
                self.discard([working.offer.pack]);
            }
            return self.give_back(lease, worked.end).await;
        }
        match self.report(&working, worked) {
            Ok(()) => {
                // Not before: a state may have the bytes of the pack, and is needed from here on.
                self.discard([working.offer.pack]);
                self.send_report().await;
            }
            Err(error) => {
                self.sweep();
                tracing::warn!(lease, error = format!("{error:#}"), "a window cannot be reported");
                self.give_back(lease, End::new(EndCode::Fault, "the window cannot be reported")).await;
            }
        }
    }

    /// Puts a report on the disk.
    fn report(&mut self, working: &Working, worked: Worked) -> Result<()> {
        let Worked { names, steps, last, end, .. } = worked;
        let secret = random::word()?;
        let root = self.root(Tree::new(&Secret::new(secret.0), &names)?.root(), &steps)?;
        let bytes = pack::encode(&last.iter().map(|(_, _, state)| state.as_slice()).collect::<Vec<_>>());
        let pack_bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let pack = block_in_place(|| self.store.put(&bytes))?;
        if self.audit.is_some() {
            // Whoever pays for this report has it announced, and then all of it must be here.
            block_in_place(|| self.store.settle())?;
        }
        // A window may be shorter than the lease that it began as.
        let count = u32::try_from(names.len()).unwrap_or(u32::MAX);
        let before = self.keep();
        self.payee.shorten(count)?;
        let draft = self.payee.report(root)?;
        let lease = working.offer.number;
        self.record.payee = draft.record().to_vec().into();
        let reported = Reported::new(lease, secret, names, (pack.into(), pack_bytes), &end, working.is_in_time());
        self.record.reported = Some(reported.with_steps(&steps));
        self.save_or(before)?;
        draft.saved();
        let last = last.iter().map(|(unit, done, state)| (*unit, *done, keystead_job::blob_hash(state))).collect();
        self.held = Held::Reported(Waiting { lease, last, since: Instant::now() });
        self.note_delivery();
        Ok(())
    }

    /// The root of a report over this commitment; in an audited channel over the list of its steps as well, which checkers will ask for.
    fn root(&self, commitment: B256, steps: &[Step]) -> Result<B256> {
        if !self.payee.terms().audited {
            return Ok(commitment);
        }
        let list = block_in_place(|| self.store.put(&encode_list(steps)))?;
        Ok(audited_root(commitment, list.into()))
    }

    async fn send_report(&mut self) {
        let (Some(reported), Some(report)) = (&self.record.reported, self.payee.reported()) else { return };
        let message = WindowReport {
            lease: reported.lease,
            report: report.to_bytes().into(),
            secret: reported.secret,
            names: reported.names.clone(),
            pack: reported.pack,
            pack_bytes: reported.pack_bytes,
            end: reported.end(),
        };
        if let Some(visit) = &self.visit {
            visit.link.offer(message.names.iter().chain([&message.pack]).copied().map(Hash::from));
        }
        self.say(FromProvider::Report(message)).await;
    }

    /// There will be no more work: what was earned is claimed, and the channel closed.
    fn end(&mut self) -> Result<()> {
        self.record.ends = true;
        self.halt(EndCode::Cancelled);
        block_in_place(|| self.desk.records.save(&self.record))
    }

    /// What time brings; true when the channel is over.
    async fn look_around(&mut self) -> bool {
        self.look_for_a_standstill();
        self.tell_stand();
        self.tell_owner().await;
        self.tell_notes().await;
        let mut beat = None;
        if let Held::Working(working) = &mut self.held {
            if working.is_due() {
                working.halt(EndCode::Deadline);
            }
            if working.beaten.elapsed() >= BEAT {
                working.beaten = Instant::now();
                beat = Some(FromProvider::Beat { lease: working.offer.number, done: *working.done.borrow() });
            }
        }
        if let Some(beat) = beat {
            self.say(beat).await;
        }
        let is_idle = matches!(self.held, Held::Nothing);
        if is_idle && (self.drains || self.idle_since.elapsed() > WARM) {
            self.engine = None;
        }
        if self.untaken.is_some()
            && let Err(error) = self.take().await
        {
            tracing::warn!(channel = %self.record.channel, error = format!("{error:#}"), "a voucher is not taken, trying again");
        }
        let is_unpaid = matches!(&self.held, Held::Reported(waiting) if waiting.since.elapsed() > UNPAID_MAX);
        if is_unpaid || (self.visit.is_none() && self.absent_since.elapsed() > ABSENCE_MAX) {
            self.record.ends = true;
        }
        // What is wrong with a window keeps no claim back: that one has a deadline.
        let windows = self.look_at_windows().await;
        let looked = windows.and(self.watch().await);
        let trouble = looked.as_ref().err().map(|error| format!("{error:#}")).unwrap_or_default();
        if !trouble.is_empty() && trouble != self.trouble {
            tracing::warn!(channel = %self.record.channel, error = trouble, "cannot settle a channel, trying again");
        }
        self.trouble = trouble;
        looked.unwrap_or(false)
    }

    fn tell_stand(&mut self) {
        let is_idle = matches!(self.held, Held::Nothing);
        // Who has work again stays; the newcomer asks again, and another one is found.
        self.record.ends |= self.dismissed.swap(false, Ordering::Relaxed) && is_idle;
        let stand = Stand { idle_since: is_idle.then_some(self.idle_since), ends: self.record.ends };
        self.stand.send_if_modified(|now| std::mem::replace(now, stand) != stand);
    }

    async fn tell_owner(&mut self) {
        let owner = &self.desk.book.owner;
        if owner.finishes() && matches!(self.held, Held::Nothing) {
            self.record.ends = true;
        }
        let ends = || self.record.ends.then(|| "this channel ends".to_owned());
        let refusal = owner.refusal().or_else(|| owner.refusal_of(&self.spec)).or_else(ends);
        if refusal.is_some() == self.drains {
            return;
        }
        self.drains = refusal.is_some();
        let message = match refusal {
            Some(reason) => FromProvider::Draining { reason: keystead_blobs::Reason::new(&reason) },
            None => FromProvider::Ready,
        };
        self.say(message).await;
    }

    /// The watcher's step; true when the channel is final.
    async fn watch(&mut self) -> Result<bool> {
        let Some(standing) = self.outlook.standing() else { return Ok(false) };
        if self.acted.is_some_and(|acted| acted.elapsed() < EFFECT_MAX) && !is_final(&standing) {
            return Ok(false);
        }
        let works = matches!(self.held, Held::Working(_));
        // Asked for by the customer, or by an owner who wants to finish.
        let waits = works || self.untaken.is_some();
        let wish = if self.record.ends && !waits { watch::Wish::End } else { watch::Wish::GoOn };
        let releases = self.audit.as_ref().map(|audit| &audit.releases);
        let prospect = self.payee.prospect(|window| releases.map_or(Release::Pending, |all| all.of(window)));
        let prospect = self.without_lost(prospect, &standing);
        let channels = &self.desk.channels;
        let channel = self.record.channel;
        let receipt = match watch::payee(&self.payee, &standing, prospect, wish) {
            watch::PayeeStep::Wait { .. } | watch::PayeeStep::Unknown => return Ok(false),
            watch::PayeeStep::Claim { claim, .. } => channels.claim(&claim).await,
            watch::PayeeStep::ClaimAndClose { claim, .. } => {
                let sent = channels.claim_and_close(&claim).await;
                if sent.is_ok() {
                    tracing::info!(%channel, earned = claim.amount, "channel claimed and closed");
                }
                sent
            }
            watch::PayeeStep::Close => channels.close(channel).await,
            watch::PayeeStep::Late { lost } => {
                tracing::error!(%channel, lost, "the channel's deadline passed before its claim");
                channels.close(channel).await
            }
            watch::PayeeStep::Forget if self.is_taken => return Ok(self.windows_are_over()),
            watch::PayeeStep::Forget => {
                self.desk.take_home(channel, Currency::token(self.payee.terms().token)).await?;
                // Its windows may still be open; nothing else comes.
                (self.is_taken, self.record.ends) = (true, true);
                return Ok(self.windows_are_over());
            }
        };
        self.acted = Some(Instant::now());
        receipt.map(|_| false)
    }
}

pub(super) const fn is_final(standing: &Standing) -> bool {
    use keystead_contracts::storage::channel::Status;
    matches!(standing.status, Status::Closed | Status::Finished | Status::Expired)
}

/// The visitor's next message; never, if there is none.
async fn next(visit: &mut Option<Visit>) -> Result<FromCustomer, SessionError> {
    match visit {
        Some(visit) => visit.link.next().await,
        None => pending().await,
    }
}
