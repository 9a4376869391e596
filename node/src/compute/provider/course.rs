//! The course of one order: a task that asks the chain where the order stands and does the next step, until it is over.

mod run;
mod stint;
mod stop;

pub(super) use run::millis;

use super::{
    book::Book,
    payout,
    portion::Portion,
    record::{Cause, Failed, Record},
    window::Attendance,
};
use crate::compute::{
    lifecycle::{Held, ProviderStep, provider_step, waits_for_window},
    market::Order,
};
use alloy_primitives::{Address, B256, U256};
use eyre::{Result, ensure, eyre};
use keystead_blobs::{Hash, Note, NoteKind, Notes};
use keystead_job::{JobSpec, hash_list};
use keystead_market::Currency;
use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, time::sleep};

/// How often the chain is asked while there is nothing to do.
const POLL: Duration = Duration::from_millis(500);
/// The same for an order whose customer has brought nothing yet: many of them must not keep the node busy.
const POLL_WAITING: Duration = Duration::from_secs(4);
/// How long after something failed it is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// What a session needs to know; it changes by watch.
#[derive(Clone, Debug, Default)]
pub(super) struct Stage {
    /// Segments finished, of all units.
    pub(super) done: u32,
    /// Set once the commitment is on the chain.
    pub(super) committed: Option<B256>,
    /// Set once the run has failed.
    pub(super) failed: Option<Failed>,
}

/// Why a cancellation changes nothing. The customer is told in these words.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum TooLate {
    /// No unit is left to be done.
    #[error("the work is done: it is delivered, and paid by the rules of the market")]
    Done,
    /// The chain has the lease, or will.
    #[error(
        "the order is leased: its customer can stop it on the chain (Market.stop), and pays for the units that are done"
    )]
    Leased,
}

/// One order.
#[derive(Debug)]
pub(super) struct Course {
    order: U256,
    pub(super) spec: JobSpec,
    record: Mutex<Record>,
    /// True once the order was let go because its inputs did not come. Changes only while the record is locked.
    gone: AtomicBool,
    /// The chain has its lease, or was asked for it. Set only while the record is locked.
    leased: AtomicBool,
    /// The customer stopped it, says the chain: no further unit is begun.
    stopped: AtomicBool,
    /// A unit is under way.
    at_work: AtomicBool,
    /// It has the machine.
    runs: AtomicBool,
    /// Unit inputs that are being fetched.
    coming: Mutex<Vec<B256>>,
    pub(super) stage: watch::Sender<Stage>,
    /// Of an audited order.
    pub(super) attendance: tokio::sync::Mutex<Attendance>,
    /// What of the outputs the customer may fetch.
    pub(super) portion: Portion,
    /// Rings when a session changed the record.
    bell: tokio::sync::Notify,
    /// What the customer is told of it.
    pub(super) notes: Notes,
}

impl Course {
    pub(super) fn new(record: Record, portion: Portion) -> Result<Self> {
        let stage = Stage { done: record.done(), committed: None, failed: record.failed.clone() };
        let spec = record.spec()?;
        let (order, stage) = (record.order, watch::Sender::new(stage));
        let (record, coming) = (Mutex::new(record), Mutex::default());
        let (attendance, bell, gone, notes) = Default::default();
        let (leased, stopped, at_work, runs) = Default::default();
        Ok(Self {
            order,
            spec,
            record,
            gone,
            leased,
            stopped,
            at_work,
            runs,
            coming,
            stage,
            attendance,
            portion,
            bell,
            notes,
        })
    }

    /// Tells the customer, if it is there, or when it comes.
    pub(super) fn tell(&self, kind: NoteKind, number: u64, words: &str) {
        self.notes.say(Note::now(kind, number, words));
    }

    pub(super) fn record(&self) -> Record {
        self.locked().clone()
    }

    fn locked(&self) -> MutexGuard<'_, Record> {
        // No code panics while it holds this lock.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every blob that this order counts on, now or soon.
    pub(super) fn blobs(&self) -> Vec<Hash> {
        let coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut blobs = self.record().blobs();
        blobs.extend(coming.into_iter().map(Hash::from));
        blobs
    }

    /// These unit inputs are about to be fetched.
    pub(super) fn inputs_are_coming(&self, book: &Book, units: &[B256]) {
        let _shelf = book.shelf();
        *self.coming.lock().unwrap_or_else(PoisonError::into_inner) = units.to_vec();
    }

    /// The customer's inputs are here; `units` are the names of the unit inputs.
    ///
    /// # Errors
    /// The order was let go meanwhile, or the disk.
    pub(super) fn inputs_arrived(&self, book: &Book, units: Vec<B256>) -> Result<()> {
        {
            let mut record = self.locked();
            ensure!(!self.gone.load(Ordering::Relaxed), "order {} was let go: its inputs came too late", self.order);
            record.receive(units, self.spec.segment_count);
        }
        book.save(&self.record())?;
        self.bell.notify_one();
        Ok(())
    }

    pub(super) const fn order(&self) -> U256 {
        self.order
    }

    pub(super) fn customer(&self) -> Address {
        self.locked().customer
    }

    /// The customer came from this node. That is kept if a canary may hang on it, and the first time counts.
    pub(super) fn met(&self, book: &Book, node: B256) -> Result<()> {
        {
            let mut record = self.locked();
            if record.node.is_some() || !book.canaries.knows(record.customer) {
                return Ok(());
            }
            record.node = Some(node);
        }
        book.save(&self.record())
    }

    /// Whether it has the machine now.
    pub(super) fn runs(&self) -> bool {
        self.runs.load(Ordering::Relaxed)
    }

    /// Whether the customer's inputs are still missing, and nothing was decided.
    pub(super) fn is_waiting(&self) -> bool {
        let record = self.locked();
        record.inputs.is_empty() && record.failed.is_none()
    }

    /// Lets a waiting order go; false if it does not wait any more. Whoever talks about it is told.
    pub(super) fn let_go(&self) -> bool {
        {
            let record = self.locked();
            if !record.inputs.is_empty() || record.failed.is_some() {
                return false;
            }
            self.gone.store(true, Ordering::Relaxed);
        }
        self.bell.notify_one();
        true
    }

    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// The order will not be delivered; says so on the chain as soon as that is possible.
    pub(super) fn fail(&self, book: &Book, failed: Failed) {
        let first = self.locked().fail(&failed);
        if first {
            self.failing(book, failed);
        }
    }

    /// What follows once the record says that it failed.
    fn failing(&self, book: &Book, failed: Failed) {
        let record = self.record();
        tracing::warn!(order = %record.order, reason = %failed.reason, "the order will not be delivered");
        if let Err(error) = book.save(&record) {
            tracing::warn!(%error, "cannot save an order's state");
        }
        self.stage.send_modify(|stage| stage.failed = Some(failed));
        self.bell.notify_one();
    }

    fn held(&self) -> Held {
        let record = self.locked();
        Held {
            inputs: !record.inputs.is_empty(),
            outputs: record.part.is_none() && record.all_outputs().is_some(),
            part: record.prefix() > 0,
            failed: record.failed.is_some(),
        }
    }

    /// Runs until the order is over or the process stops.
    pub(super) async fn drive(&self, book: &Book) {
        let mut stopping = book.stopping.subscribe();
        let steps = async {
            while !self.advance(book).await.unwrap_or_else(|error| {
                tracing::warn!(order = %self.order, error = format!("{error:#}"), "trying again");
                false
            }) {}
        };
        tokio::select! {
            // The order is over and its file is gone.
            () = steps => return,
            // Dropping a running unit kills its worker.
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
        if self.is_gone() {
            return;
        }
        if let Err(error) = book.save(&self.record()) {
            tracing::debug!(%error, "the last save failed");
        }
        self.portion.save();
    }

    /// One step; true when the order is over.
    async fn advance(&self, book: &Book) -> Result<bool> {
        if self.is_gone() {
            return Ok(true);
        }
        let id = self.order;
        let step = self.step(book).await;
        let doing = step.as_ref().ok().map(|(step, _)| *step);
        let outcome = match step {
            // The window goes on without its order: who does not open a unit is convicted.
            Ok((step, order)) if self.is_attended(step, book, &order).await => {
                sleep(POLL).await;
                Ok(())
            }
            Ok((ProviderStep::TakePayout | ProviderStep::Close, order)) => {
                self.conclude(book, &order).await?;
                book.close(id);
                return Ok(true);
            }
            Ok((step, order)) => self.act(book, step, &order).await,
            Err(error) => Err(error),
        };
        if outcome.is_err() {
            // What it was is for this machine's log: it may name files and addresses here.
            let words = doing.map_or_else(
                || "the provider's node does not answer".to_owned(),
                |step| format!("a step failed on the provider's side: {step:?}"),
            );
            self.notes.say_sparingly(Note::now(NoteKind::Retry, 0, &words));
            sleep(RETRY).await;
        }
        outcome.map(|()| false)
    }

    /// Whether the order's end must wait for its window's. Attends to the window as well; what fails there is tried again.
    async fn is_attended(&self, step: ProviderStep, book: &Book, order: &Order) -> bool {
        if !order.audited || order.commitment.is_zero() {
            return false;
        }
        let over = self.attend(book).await.unwrap_or_else(|error| {
            tracing::debug!(order = %self.order, error = format!("{error:#}"), "window: trying again");
            false
        });
        !over && waits_for_window(step)
    }

    /// Whether the bond for an order's audit is no longer there; then the order is declined.
    async fn cannot_bond(&self, book: &Book, order: &Order) -> Result<bool> {
        let Some(terms) = book.market.audit_terms(order).await? else { return Ok(false) };
        let Some(reason) = super::window::refusal(&terms, order.units, book.free_bond_wei().await?) else {
            return Ok(false);
        };
        self.fail(book, Failed { cause: Cause::Terms, unit: None, reason });
        Ok(true)
    }

    /// Whether the order pays in what is not listed, or too little: since its customer came, the owner may have listed other prices. Then it is declined.
    fn is_underpaid(&self, book: &Book, order: &Order) -> bool {
        let Some(reason) = book.offering.refusal(&self.spec, order) else { return false };
        self.fail(book, Failed { cause: Cause::Terms, unit: None, reason });
        true
    }

    async fn step(&self, book: &Book) -> Result<(ProviderStep, Order)> {
        let order = book.market.order(self.order).await?;
        let (_, now) = book.market.account.head().await?;
        self.heed(book, &order.stand)?;
        Ok((provider_step(&order.stand, self.held(), now), order))
    }

    async fn act(&self, book: &Book, step: ProviderStep, order: &Order) -> Result<()> {
        let id = order.id;
        match step {
            ProviderStep::AwaitInputs => {
                // Until the bell rings only the end of the order can come.
                let _ = tokio::time::timeout(POLL_WAITING, self.bell.notified()).await;
            }
            ProviderStep::AwaitDecision => {
                // The bell only shortens the wait.
                let _ = tokio::time::timeout(POLL, self.bell.notified()).await;
            }
            ProviderStep::Lease if self.is_underpaid(book, order) || self.cannot_bond(book, order).await? => {}
            // Cancelled in the moment before.
            ProviderStep::Lease if !self.leases() => {}
            ProviderStep::Lease => {
                book.market.lease(id).await?;
                let escrow = book.offering.money(order.currency).show(order.escrow_wei);
                tracing::info!(order = %id, units = order.units, escrow, "order leased");
            }
            ProviderStep::Run => Box::pin(self.run_until_stopped(book, order)).await?,
            ProviderStep::Commit => {
                let commitment = self.commitment()?;
                book.save(&self.record())?;
                book.market.commit(id, commitment).await?;
                tracing::info!(order = %id, %commitment, "result committed");
            }
            ProviderStep::CommitPart => self.commit_part(book, order).await?,
            ProviderStep::Deliver => {
                self.stage.send_modify(|stage| stage.committed = Some(order.commitment));
                book.market.deliver(id, self.result_root()?).await?;
                tracing::info!(order = %id, "result delivered");
            }
            ProviderStep::Abandon => {
                book.market.abandon(id).await?;
                tracing::info!(order = %id, "order abandoned, the customer has its money back");
            }
            ProviderStep::Decline => {
                book.market.decline(id).await?;
                tracing::info!(order = %id, "order declined, the customer has its money back");
            }
            ProviderStep::Settle => {
                book.market.settle(id).await?;
            }
            ProviderStep::TakePayout | ProviderStep::Close => {}
        }
        // After a restart in the check window the customer may still come for its outputs.
        if step == ProviderStep::AwaitDecision && self.stage.borrow().committed.is_none() {
            self.stage.send_modify(|stage| stage.committed = Some(order.commitment));
        }
        Ok(())
    }

    async fn conclude(&self, book: &Book, order: &Order) -> Result<()> {
        if order.status().is_paid() {
            let (money, withdrawn) = (book.offering.money(order.currency), payout::take(book, order).await?);
            // The bond is one in KST.
            if order.currency == Currency::KST {
                book.save_from_earnings().await;
            }
            let (paid, withdrawn) = (money.show(order.paid_wei()), money.show(withdrawn));
            tracing::info!(order = %order.id, paid, withdrawn, "order paid");
        } else {
            tracing::info!(order = %order.id, status = ?order.status(), "order closed without payment");
            let reason = format!("the order is {:?}", order.status()).to_lowercase();
            self.stage.send_modify(|stage| {
                stage.failed.get_or_insert(Failed { cause: Cause::Cancelled, unit: None, reason });
            });
        }
        Ok(())
    }

    fn result_root(&self) -> Result<B256> {
        let (names, _) = self.record().result().ok_or_else(|| eyre!("outputs are missing"))?;
        Ok(hash_list(&names))
    }

    fn commitment(&self) -> Result<B256> {
        Ok(self.record().work()?.tree()?.root())
    }
}
