//! The work of one order: its units, one after the other, in this machine's worker.

use super::{
    super::{
        book::Book,
        canary::Candidates,
        fault::Piece,
        machine::Tenure,
        record::{Cause, Failed},
        said,
        turns::{InTurn, Turn},
    },
    Course,
    stint::Stint,
    stop::Until,
};
use crate::compute::{
    canary::{Deal, choice::needs_reference},
    market::Order,
};
use alloy_primitives::B256;
use eyre::{Result, eyre};
use keystead_blobs::{Hash, Note, NoteKind};
use keystead_job::{limits::INPUT_BYTES_MAX, trace::Trace};
use keystead_runner::{Done, Failure, Fault, Job, Said, Session, Stop};
use std::{
    convert::Infallible,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};
use tokio::task::block_in_place;

/// The customer is told of a pause so soon after the one before.
const PAUSES_EACH: Duration = Duration::from_secs(1);
/// What a second run of one segment may take beside its own time.
const RERUN_EXTRA: Duration = Duration::from_secs(60);
/// A worker that dies is replaced this often in one run; then the fault is taken to stay.
const DEATHS_MAX: u32 = 3;
/// What segments took is taken in at once when they took so long together: many are too short to be measured alone.
const LEARNED: Duration = Duration::from_secs(1);

/// How the work of one stint ended.
enum Ended {
    /// All is done; the engine's name.
    Done(String),
    /// The order has failed.
    Failed,
    /// Whoever waits has the machine now, and the rest is done after that.
    GivesWay,
    /// The owner has no room for this order now, and has some for others.
    HeldBack,
}

/// Segments that ran, and what they took.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ran {
    segments: u32,
    took: Duration,
}

impl Course {
    /// Runs the units that have no output yet.
    pub(super) async fn run(&self, book: &Book, order: &Order) -> Result<()> {
        let waited = tokio::time::timeout(until_due(book, order).await?, self.tenure(book)).await;
        let Ok(_machine) = waited else {
            return Err(eyre!("the machine was not free before the deadline"));
        };
        let _runs = Until::runs(self);
        let until_due = until_due(book, order).await?;
        let stop = Stop::after(until_due);
        let candidates = self.candidates(book, order).await?;
        let begin = Instant::now();
        let stint = Stint::begin(until_due);
        // The deadline counts also while the owner has the machine.
        let working = self.work_while_allowed(book, &candidates, stint, stop);
        let Ok(worked) = tokio::time::timeout(until_due, working).await else {
            return Err(eyre!("the run did not end before the deadline"));
        };
        book.save(&self.record())?;
        match worked? {
            Ended::Done(_) if self.is_stopped() && !self.held().outputs => {
                let done = self.record().prefix();
                tracing::info!(order = %order.id, done, units = order.units, "run ended: the customer stopped the order");
            }
            Ended::Done(engine) => {
                let ms = begin.elapsed().as_millis();
                tracing::info!(order = %order.id, units = order.units, ms, engine, "run finished");
            }
            Ended::GivesWay => {
                let (done, waiting) = (self.record().done(), book.machine.waiting());
                self.tell(NoteKind::GivesWay, u64::try_from(waiting).unwrap_or(u64::MAX), "");
                tracing::info!(order = %order.id, done, waiting, "the stint of an order is over: it goes on after whoever waits");
            }
            Ended::HeldBack => {
                tracing::info!(order = %order.id, "the order waits for the owner; others may have the machine")
            }
            Ended::Failed => {}
        }
        Ok(())
    }

    /// Works, but not while the owner has the machine.
    async fn work_while_allowed(
        &self,
        book: &Book,
        candidates: &Candidates,
        stint: Stint,
        stop: Stop,
    ) -> Result<Ended> {
        let mut is_paused = false;
        loop {
            if !is_paused && !book.owner.is_allowed(&self.spec) {
                self.tell(NoteKind::Paused, 0, &book.owner.why_not(&self.spec));
                is_paused = true;
            }
            tokio::select! {
                biased;
                () = book.owner.until_allowed(&self.spec) => {}
                () = book.owner.until_held_back(&self.spec) => return Ok(Ended::HeldBack),
            }
            if std::mem::take(&mut is_paused) {
                self.tell(NoteKind::Resumed, 0, "");
            }
            let _held = book.owner.hold(&self.spec);
            let said_paused = AtomicBool::new(false);
            let ended = tokio::select! {
                ended = self.work(book, candidates, stint, stop.clone()) => Some(ended),
                // Dropping the work kills its worker. If that may stay in memory, it is the pace that holds it.
                () = book.owner.until_ends(&self.spec) => None,
                never = book.owner.pace_order(&self.spec, &stop) => match never {},
                never = self.tell_pauses(book, &said_paused) => match never {},
            };
            match ended {
                Some(ended) => return ended,
                None => {
                    let why = book.owner.why_not(&self.spec);
                    if !said_paused.load(Ordering::Relaxed) {
                        self.tell(NoteKind::Paused, 0, &why);
                    }
                    is_paused = true;
                    tracing::info!(order = %self.order, why, "run paused for the owner; it goes on later");
                }
            }
        }
    }

    /// Tells the customer of pauses that keep the work in memory, and of their ends; `said`: whether it was told of one that goes on.
    async fn tell_pauses(&self, book: &Book, said: &AtomicBool) -> Infallible {
        loop {
            book.owner.until_forbidden(&self.spec).await;
            self.tell(NoteKind::Paused, 0, &book.owner.why_not(&self.spec));
            said.store(true, Ordering::Relaxed);
            book.owner.until_allowed(&self.spec).await;
            self.tell(NoteKind::Resumed, 0, "");
            said.store(false, Ordering::Relaxed);
            // An owner who comes and goes fills no queue.
            tokio::time::sleep(PAUSES_EACH).await;
        }
    }

    /// Waits for the machine. An order that may not run although others may, as for its memory or the graphics card, keeps none of them from it.
    async fn tenure<'a>(&self, book: &'a Book) -> Tenure<'a> {
        loop {
            book.owner.until_not_held_back(&self.spec).await;
            if let Some(before) = book.machine.before() {
                self.tell(NoteKind::Waiting, before, "");
            }
            let machine = book.machine.take().await;
            if !book.owner.is_held_back(&self.spec) {
                return machine;
            }
        }
    }

    /// Runs what is missing, or as much of it as its stint has time for.
    async fn work(&self, book: &Book, candidates: &Candidates, stint: Stint, stop: Stop) -> Result<Ended> {
        let (job, opened) = (self.job(book)?, Instant::now());
        let mut session = match InTurn::open(book.command.clone(), job, stop.clone(), book.place(&self.spec)).await {
            Ok(session) => session,
            Err(failure) => return self.failed(book, failure, None).map(|()| Ended::Failed),
        };
        let mut worker = session.worker_pid();
        book.owner.worker(worker);
        tracing::info!(order = %self.order, "run begins");
        self.tell(NoteKind::Prepared, millis(opened.elapsed()), session.engine());
        let (mut saved, mut deaths, mut ran) = (Instant::now(), 0_u32, Ran::default());
        let before = self.locked().done();
        while let Some((unit, name)) = self.next_run() {
            if self.gives_way(book, stint, before) {
                return Ok(Ended::GivesWay);
            }
            let _at_work = Until::at_work(self);
            let input = block_in_place(|| book.store.get(Hash::from(name), INPUT_BYTES_MAX))?;
            // Checks wait for the end of a unit, and the next unit for the end of a check.
            let turn = book.turns.take().await;
            let (begun, stands) = (Instant::now(), book.owner.stands());
            let outcome = self.run_next(book, &mut session, (unit, &input[..]), &turn, &mut deaths).await;
            let took_ms = millis(begun.elapsed());
            if session.worker_pid() != worker {
                // One that died was replaced.
                worker = session.worker_pid();
                book.owner.worker(worker);
            }
            drop(turn);
            if let Some(Ran { segments, took }) = ran.add(begun.elapsed(), book.owner.stands() != stands) {
                book.learn(&self.spec, segments, took);
            }
            match outcome {
                Ok(done) if candidates.concern(unit) => {
                    let made = (unit, &input[..], &done.output[..]);
                    // The reference has a worker of its own, which nobody could hold: while it runs, nothing stays.
                    book.owner.worker(None);
                    let wrong = Box::pin(self.canary(book, candidates, made, stop.clone())).await?;
                    book.owner.worker(worker);
                    self.finished(book, unit, wrong.as_deref().unwrap_or(&done.output))?;
                }
                Ok(done) => self.finished(book, unit, &done.output)?,
                Err(failure) => return self.failed(book, failure, Some(unit)).map(|()| Ended::Failed),
            }
            self.notes.say_sparingly(Note::now(NoteKind::Finished, took_ms, "").of_unit(unit));
            // What a crash loses is computed again, equal.
            if saved.elapsed() >= book.owner.checkpoint() {
                book.save(&self.record())?;
                self.tell(NoteKind::Saved, self.locked().done().into(), "");
                saved = Instant::now();
            }
        }
        let has_failed = self.locked().failed.is_some();
        Ok(if has_failed { Ended::Failed } else { Ended::Done(session.engine().to_owned()) })
    }

    /// Runs a unit's next segment, and again if its worker ends, as long as that happened seldom in this run.
    async fn run_next(
        &self,
        book: &Book,
        session: &mut InTurn,
        (unit, input): (u32, &[u8]),
        turn: &Turn<'_>,
        deaths: &mut u32,
    ) -> Result<Done, Failure> {
        self.notes.say_sparingly(Note::now(NoteKind::Began, self.segments_of(unit), "").of_unit(unit));
        let mut hear = |words: Said| self.notes.say(said::note(&words).of_unit(unit));
        let mut outcome = session.run_heard(turn, input, &mut hear).await;
        while let Err(Failure::WorkerDied { status, .. }) = &outcome
            && *deaths < DEATHS_MAX
        {
            *deaths = deaths.saturating_add(1);
            let words = format!("{status}; the unit runs again");
            self.notes.say(Note::now(NoteKind::WorkerEnded, (*deaths).into(), &words).of_unit(unit));
            // Its successor is not known before the end of the run, and must not outlast a pause.
            book.owner.worker(None);
            outcome = session.run_heard(turn, input, &mut hear).await;
        }
        outcome
    }

    /// Whether whoever waits has the machine now. An order that its customer stopped has no time for that.
    fn gives_way(&self, book: &Book, stint: Stint, before: u32) -> bool {
        let (waiting, switch) = (book.machine.waiting(), book.owner.switch());
        if waiting == 0 || !stint.has_lasted(switch) || self.is_stopped() {
            return false;
        }
        let done = self.locked().done();
        let all = self.spec.unit_count.saturating_mul(self.spec.segment_count);
        stint.is_over(switch, (done.saturating_sub(before), all.saturating_sub(done)), (waiting, book.waits()))
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

    /// The first unit that is not finished, and what its next segment reads: the unit input, or the state so far. `None` when all are, when
    /// the order has failed, or when it was stopped and this unit is not one to be finished.
    fn next_run(&self) -> Option<(u32, B256)> {
        let record = self.locked();
        let unit = record.outputs.iter().position(Option::is_none).filter(|_| record.failed.is_none())?;
        let state = record.states.get(unit).and_then(|states| states.last());
        // The very first unit is done all the same: of nothing at all there is nothing to be paid.
        if self.is_stopped() && unit > 0 && state.is_none() {
            return None;
        }
        let name = state.or_else(|| record.inputs.get(unit))?;
        Some((u32::try_from(unit).ok()?, *name))
    }

    /// Segments of a unit that are done.
    fn segments_of(&self, unit: u32) -> u64 {
        let states = self.locked().states.get(unit as usize).map_or(0, Vec::len);
        u64::try_from(states).unwrap_or(u64::MAX)
    }

    /// Runs one segment of a finished unit again, on what it read then: does this machine still say the same? The run is not begun yet.
    pub(in crate::compute::provider) fn second_run(
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
        let (fault, spec, place) = (book.fault, self.spec.clone(), book.place(&self.spec));
        Ok(async move {
            let outcome = Session::open_at(command, job, stop, place).await?.run(&input).await?;
            let wrong = fault.and_then(|fault| fault.alter_again(&spec, Piece { unit, segment }, &outcome.output));
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
        let segment = self.locked().states.get(unit as usize).map_or(0, Vec::len);
        let piece = Piece { unit, segment: u32::try_from(segment).unwrap_or(u32::MAX) };
        let wrong = book.fault.and_then(|fault| fault.alter(&self.spec, piece, output));
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
            put_lists(book, &names, &traces)?;
        }
        Ok(done)
    }

    /// What follows from a failure: the job's own fault ends the order, a stop does not.
    fn failed(&self, book: &Book, failure: Failure, unit: Option<u32>) -> Result<()> {
        if let Failure::Aborted { why } = failure {
            return Err(eyre!("the run stopped: {why}"));
        }
        if self.is_stopped() && self.locked().prefix() > 0 {
            tracing::warn!(order = %self.order, ?unit, %failure, "the unit under way failed when the order was stopped: those before it are delivered");
            return Ok(());
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

/// As a note counts it.
pub(in crate::compute::provider) fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

/// How much time is left to deliver an order.
async fn until_due(book: &Book, order: &Order) -> Result<Duration> {
    let (_, now) = book.market.account.head().await?;
    Ok(Duration::from_secs(order.stand.deliver_by.saturating_sub(now)))
}

impl Ran {
    /// One more ran; gives what is to be taken in now, if so. A segment in whose middle its worker was paused says nothing: a pause is no work.
    fn add(&mut self, took: Duration, was_paused: bool) -> Option<Self> {
        if !was_paused {
            self.took = self.took.saturating_add(took);
            self.segments = self.segments.saturating_add(1);
        }
        (self.took >= LEARNED).then(|| std::mem::take(self))
    }
}

/// Stores the lists that a result root names; to be called while the shelf is held.
pub(super) fn put_lists(book: &Book, names: &[B256], traces: &[Trace]) -> Result<()> {
    for list in traces.iter().map(Trace::states).chain([names]) {
        let list: Vec<Hash> = list.iter().copied().map(Hash::from).collect();
        book.store.put(&keystead_blobs::hash::encode_list(&list))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_taken_in_together_and_one_that_was_paused_is_not() {
        let mut ran = Ran::default();
        let half = Duration::from_millis(500);
        assert_eq!(ran.add(half, false), None);
        assert_eq!(ran.add(Duration::from_secs(3_600), true), None, "the owner had the machine for an hour");
        assert_eq!(ran.add(half, false), Some(Ran { segments: 2, took: LEARNED }));
        assert_eq!(ran, Ran::default());
    }
}
