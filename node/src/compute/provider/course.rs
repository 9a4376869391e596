//! The course of one order: a task that asks the chain where the order stands and does the next step, until it is over.

use super::{
    book::Book,
    canary::Candidates,
    payout,
    portion::Portion,
    record::{Cause, Failed, Record},
    turns::InTurn,
    window::Attendance,
};
use crate::compute::{
    canary::{Deal, choice::needs_reference},
    lifecycle::{Held, ProviderStep, provider_step, waits_for_window},
    market::Order,
};
use alloy_primitives::{Address, B256, U256};
use eyre::{Context as _, Result, ensure, eyre};
use keystead_blobs::Hash;
use keystead_job::{JobSpec, hash_list, limits::INPUT_BYTES_MAX, trace::Trace};
use keystead_market::Currency;
use keystead_runner::{Failure, Fault, Job, Session, Stop};
use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::block_in_place, time::sleep};

/// How often the chain is asked while there is nothing to do.
const POLL: Duration = Duration::from_millis(500);
/// The same for an order whose customer has brought nothing yet: many of them must not keep the node busy.
const POLL_WAITING: Duration = Duration::from_secs(4);
/// How long after something failed it is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// What a second run of one segment may take beside its own time.
const RERUN_EXTRA: Duration = Duration::from_secs(60);
/// A worker that dies is replaced this often in one run; then the fault is taken to stay.
const DEATHS_MAX: u32 = 3;

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

/// A customer cancelled what has no unit left to be done.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the work is done: it is delivered, and paid by the rules of the market")]
pub(super) struct TooLate;

/// One order.
#[derive(Debug)]
pub(super) struct Course {
    order: U256,
    pub(super) spec: JobSpec,
    record: Mutex<Record>,
    /// True once the order was let go because its inputs did not come. Changes only while the record is locked.
    gone: AtomicBool,
    /// Unit inputs that are being fetched.
    coming: Mutex<Vec<B256>>,
    pub(super) stage: watch::Sender<Stage>,
    /// Of an audited order.
    pub(super) attendance: tokio::sync::Mutex<Attendance>,
    /// What of the outputs the customer may fetch.
    pub(super) portion: Portion,
    /// Rings when a session changed the record.
    bell: tokio::sync::Notify,
}

impl Course {
    pub(super) fn new(record: Record, portion: Portion) -> Result<Self> {
        let stage = Stage { done: record.done(), committed: None, failed: record.failed.clone() };
        let spec = record.spec()?;
        let (order, stage) = (record.order, watch::Sender::new(stage));
        let (record, coming) = (Mutex::new(record), Mutex::default());
        let (attendance, bell, gone) = Default::default();
        Ok(Self { order, spec, record, gone, coming, stage, attendance, portion, bell })
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

    /// The customer wants it no longer: nothing more is done. What is done already, all of it, is delivered all the same, and paid: otherwise a customer
    /// would have work for nothing by asking for it until its end.
    ///
    /// # Errors
    /// Why it goes on.
    pub(super) fn cancel(&self, book: &Book) -> Result<(), TooLate> {
        let reason = "the customer cancelled".to_owned();
        let failed = Failed { cause: Cause::Cancelled, unit: None, reason };
        let first = {
            let mut record = self.locked();
            if record.failed.is_none() && record.all_outputs().is_some() {
                return Err(TooLate);
            }
            record.fail(&failed)
        };
        if first {
            self.failing(book, failed);
        }
        Ok(())
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
            outputs: record.all_outputs().is_some(),
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
            ProviderStep::Lease => {
                book.market.lease(id).await?;
                let escrow = book.offering.money(order.currency).show(order.escrow_wei);
                tracing::info!(order = %id, units = order.units, escrow, "order leased");
            }
            ProviderStep::Run => self.run(book, order).await?,
            ProviderStep::Commit => {
                let commitment = self.commitment()?;
                book.save(&self.record())?;
                book.market.commit(id, commitment).await?;
                tracing::info!(order = %id, %commitment, "result committed");
            }
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
                book.save_from_earnings(withdrawn).await;
            }
            let (paid, withdrawn) = (money.show(order.escrow_wei), money.show(withdrawn));
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

    /// Runs the units that have no output yet.
    async fn run(&self, book: &Book, order: &Order) -> Result<()> {
        let _machine = book.machine.acquire().await.wrap_err("the machine is no longer shared")?;
        let (_, now) = book.market.account.head().await?;
        let stop = Stop::after(Duration::from_secs(order.stand.deliver_by.saturating_sub(now)));
        let candidates = self.candidates(book, order).await?;
        let begin = Instant::now();
        let until_due = Duration::from_secs(order.stand.deliver_by.saturating_sub(now));
        // While the owner has the machine nothing runs; the deadline still counts.
        let working = async {
            loop {
                book.owner.until_allowed(&self.spec).await;
                let _memory = book.owner.hold(&self.spec);
                let ended = tokio::select! {
                    ended = self.work(book, &candidates, stop.clone()) => Some(ended),
                    // Dropping the work kills its worker.
                    () = book.owner.until_forbidden(&self.spec) => None,
                    never = book.owner.pace(self.spec.runtime, &stop) => match never {},
                };
                book.owner.worker(None);
                match ended {
                    Some(ended) => return ended,
                    None => {
                        let why = book.owner.why_not(&self.spec);
                        tracing::info!(order = %order.id, why, "run paused for the owner; it goes on later");
                    }
                }
            }
        };
        let Ok(worked) = tokio::time::timeout(until_due, working).await else {
            return Err(eyre!("the run did not end before the deadline"));
        };
        book.save(&self.record())?;
        if let Some(engine) = worked? {
            tracing::info!(order = %order.id, units = order.units, ms = begin.elapsed().as_millis(), engine, "run finished");
        }
        Ok(())
    }

    /// Runs what is missing; the engine's name when all is done, nothing when the order has failed.
    async fn work(&self, book: &Book, candidates: &Candidates, stop: Stop) -> Result<Option<String>> {
        let job = self.job(book)?;
        let mut session = match InTurn::open(book.command.clone(), job, stop.clone()).await {
            Ok(session) => session,
            Err(failure) => return self.failed(book, failure, None).map(|()| None),
        };
        let mut worker = session.worker_pid();
        book.owner.worker(worker);
        tracing::info!(order = %self.order, "run begins");
        let (mut saved, mut deaths) = (Instant::now(), 0_u32);
        while let Some((unit, name)) = self.next_run() {
            let input = block_in_place(|| book.store.get(Hash::from(name), INPUT_BYTES_MAX))?;
            // Checks wait for the end of a unit, and the next unit for the end of a check.
            let turn = book.turns.take().await;
            let mut outcome = session.run(&turn, &input).await;
            while matches!(outcome, Err(Failure::WorkerDied { .. })) && deaths < DEATHS_MAX {
                deaths = deaths.saturating_add(1);
                outcome = session.run(&turn, &input).await;
            }
            if session.worker_pid() != worker {
                // One that died was replaced.
                worker = session.worker_pid();
                book.owner.worker(worker);
            }
            drop(turn);
            match outcome {
                Ok(done) if candidates.concern(unit) => {
                    let made = (unit, &input[..], &done.output[..]);
                    let wrong = Box::pin(self.canary(book, candidates, made, stop.clone())).await?;
                    self.finished(book, unit, wrong.as_deref().unwrap_or(&done.output))?;
                }
                Ok(done) => self.finished(book, unit, &done.output)?,
                Err(failure) => return self.failed(book, failure, Some(unit)).map(|()| None),
            }
            // What a crash loses is computed again, equal.
            if saved.elapsed() >= book.owner.checkpoint() {
                book.save(&self.record())?;
                saved = Instant::now();
            }
        }
        Ok(self.locked().failed.is_none().then(|| session.engine().to_owned()))
    }

    /// What may be the order's canary; nothing in orders of customers of whom this provider has no file.
    async fn candidates(&self, book: &Book, order: &Order) -> Result<Candidates> {
        let node = self.locked().node.filter(|_| book.canaries.knows(order.customer));
        let Some(node) = node else { return Ok(Candidates::default()) };
        let Some(terms) = book.market.audit_terms(order).await? else { return Ok(Candidates::default()) };
        let account = &book.market.account;
        let (chain_id, provider, job) = (account.chain_id(), account.address(), order.job_hash);
        let deal = Deal { chain_id, customer: order.customer, provider, job, node };
        Ok(book.canaries.candidates(&deal, &self.spec, &terms))
    }

    /// The altered output of a unit that may be the canary, if it is. Where machines may differ it is made of the reference's output, as the customer's is;
    /// a machine that cannot run that delivers the unit as it should be.
    async fn canary(
        &self,
        book: &Book,
        candidates: &Candidates,
        (unit, input, output): (u32, &[u8], &[u8]),
        stop: Stop,
    ) -> Result<Option<Vec<u8>>> {
        let reference = if needs_reference(&self.spec) {
            match self.on_reference(book, input, stop).await? {
                Ok(output) => Some(output),
                Err(failure) => {
                    tracing::warn!(order = %self.order, unit, %failure, "this unit is no canary: the reference does not run it here");
                    return Ok(None);
                }
            }
        } else {
            None
        };
        let wrong = candidates.alter(&self.spec, unit, reference.as_deref().unwrap_or(output));
        if wrong.is_some() {
            tracing::info!(order = %self.order, unit, "this unit is the canary of its customer: delivered wrong on purpose");
        }
        Ok(wrong)
    }

    /// One unit on the reference; the outer error is a stop, after which it is run again.
    async fn on_reference(&self, book: &Book, input: &[u8], stop: Stop) -> Result<Result<Vec<u8>, Failure>> {
        let turn = book.turns.take().await;
        let ran = match InTurn::open_reference(book.command.clone(), self.job(book)?, stop).await {
            Ok(mut session) => session.run(&turn, input).await,
            Err(failure) => Err(failure),
        };
        match ran {
            Err(Failure::Aborted { why }) => Err(eyre!("the run stopped: {why}")),
            ran => Ok(ran.map(|done| done.output)),
        }
    }

    /// The first unit that is not finished, and what its next segment reads: the unit input, or the state so far. `None` when all are, or
    /// when the order has failed.
    fn next_run(&self) -> Option<(u32, B256)> {
        let record = self.locked();
        let unit = record.outputs.iter().position(Option::is_none).filter(|_| record.failed.is_none())?;
        let state = record.states.get(unit).and_then(|states| states.last());
        let name = state.or_else(|| record.inputs.get(unit))?;
        Some((u32::try_from(unit).ok()?, *name))
    }

    /// Runs one segment of a finished unit again, on what it read then: does this machine still say the same? The run is not begun yet.
    pub(super) fn second_run(
        &self,
        book: &Book,
        unit: u32,
        segment: u32,
    ) -> Result<impl Future<Output = Result<bool, Failure>> + Send + use<>> {
        let (read, wrote) = {
            let record = self.locked();
            let states = record.states.get(unit as usize);
            let state = |segment: u32| states.and_then(|states| states.get(segment as usize)).copied();
            let begin = segment.checked_sub(1).and_then(state).or_else(|| record.inputs.get(unit as usize).copied());
            let output = record.outputs.get(unit as usize).copied().flatten();
            (begin, state(segment).or(output))
        };
        let (read, wrote) = read.zip(wrote).ok_or_else(|| eyre!("unit {unit} is not finished"))?;
        let input = block_in_place(|| book.store.get(Hash::from(read), INPUT_BYTES_MAX))?;
        let limit = Duration::from_millis(self.spec.limits.wall_ms_max).saturating_add(RERUN_EXTRA);
        let (command, job, stop) = (book.command.clone(), self.job(book)?, Stop::after(limit));
        let (fault, spec) = (book.fault, self.spec.clone());
        Ok(async move {
            let outcome = Session::open(command, job, stop).await?.run(&input).await?;
            let wrong = fault.and_then(|fault| fault.alter_again(&spec, unit, &outcome.output));
            Ok(keystead_job::blob_hash(wrong.as_deref().unwrap_or(&outcome.output)) == wrote)
        })
    }

    fn job(&self, book: &Book) -> Result<Job> {
        let spec = self.spec.clone();
        let get = |name: B256, max| block_in_place(|| book.store.get(Hash::from(name), max));
        let program = get(spec.program_hash, spec.runtime.program_bytes_max())?;
        let common = get(spec.common_hash, INPUT_BYTES_MAX)?;
        Ok(Job { spec, program: program.into(), common: common.into() })
    }

    fn finished(&self, book: &Book, unit: u32, output: &[u8]) -> Result<()> {
        let wrong = book.fault.and_then(|fault| fault.alter(&self.spec, unit, output));
        let output = wrong.as_deref().unwrap_or(output);
        let done = block_in_place(|| self.keep(book, unit, output))?;
        self.stage.send_modify(|stage| stage.done = done);
        Ok(())
    }

    /// Stores what a segment gave, and with the last one the lists that the result root names; how many segments are finished.
    fn keep(&self, book: &Book, unit: u32, state: &[u8]) -> Result<u32> {
        let _shelf = book.shelf();
        let name = book.store.put(state)?;
        let (done, result) = {
            let mut record = self.locked();
            record.keep(unit, name.into(), self.spec.segment_count);
            (record.done(), record.result())
        };
        if let Some((names, traces)) = result {
            for list in traces.iter().map(Trace::states).chain([&names[..]]) {
                let list: Vec<Hash> = list.iter().copied().map(Hash::from).collect();
                book.store.put(&keystead_blobs::hash::encode_list(&list))?;
            }
        }
        Ok(done)
    }

    /// What follows from a failure: the job's own fault ends the order, a stop does not.
    fn failed(&self, book: &Book, failure: Failure, unit: Option<u32>) -> Result<()> {
        if let Failure::Aborted { why } = failure {
            return Err(eyre!("the run stopped: {why}"));
        }
        let cause = match (failure.fault(), unit) {
            (Fault::Job, Some(_)) | (Fault::Undecided, Some(_)) => Cause::Unit,
            (Fault::Job, None) => Cause::Program,
            _ => Cause::Machine,
        };
        self.fail(book, Failed { cause, unit, reason: failure.to_string() });
        Ok(())
    }
}
