//! Runs the steps of one lease, one after the other, until all are done or somebody wants it to stop.

use super::{bond::Load, desk::Desk, shelf::Shelf};
use crate::compute::{
    amount::kst,
    provider::{course::millis, fault, said, turns::InTurn, window},
};
use alloy_primitives::{B256, U256};
use keystead_blobs::{
    BlobStore, Hash, Note, NoteKind, Notes, Want,
    stream::{End, EndCode, LeaseOffer, Source, pack},
};
use keystead_job::{JobSpec, Runtime, Step, blob_hash, limits::INPUT_BYTES_MAX};
use keystead_runner::{Failure, Fault, Job, Said, Stop};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::block_in_place, time::sleep};

/// A worker that dies is replaced this often in one lease; then the fault is taken to stay.
const DEATHS_MAX: u32 = 3;
/// Bytes of the last states that a report may carry; its head takes less than the rest.
const STATES_BYTES_MAX: u64 = 1 << 27;
/// How often a lease that waits for the bond looks whether it is free.
const BOND_POLL: Duration = Duration::from_secs(1);

/// One lease to run.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) desk: Arc<Desk>,
    pub(super) channel: B256,
    pub(super) spec: JobSpec,
    pub(super) store: Arc<dyn BlobStore>,
    /// Of an audited channel.
    pub(super) shelf: Option<Arc<Shelf>>,
    pub(super) source: Source,
    pub(super) offer: LeaseOffer,
    /// Nothing of the channel was paid before.
    pub(super) is_first: bool,
    /// The states that this channel's leases ended with here: segments done and name, by unit.
    pub(super) made: BTreeMap<u32, (u32, B256)>,
    /// Why to stop, once somebody says so.
    pub(super) halt: watch::Receiver<Option<EndCode>>,
    /// Steps done.
    pub(super) done: watch::Sender<u32>,
    /// Through which the owner's pace holds the workers of this channel.
    pub(super) stop: Stop,
    /// A worker that is warm from the lease before.
    pub(super) engine: Option<InTurn>,
    /// Where it says what happens.
    pub(super) notes: Arc<Notes>,
}

/// What came of a lease.
#[derive(Debug)]
pub(super) struct Worked {
    /// States after the steps that were done, in order.
    pub(super) names: Vec<B256>,
    /// In an audited channel those steps, and what each began with.
    pub(super) steps: Vec<Step>,
    /// Unit, segments done and bytes of the last state of each item of which a step was done.
    pub(super) last: Vec<(u32, u32, Vec<u8>)>,
    pub(super) end: End,
    pub(super) engine: Option<InTurn>,
}

/// A step that was done, and is on the disk where it must be.
struct Kept {
    /// In an audited channel what it began with.
    input: Option<B256>,
    /// Of what it ended with.
    name: B256,
    output: Vec<u8>,
}

impl Worked {
    /// No step was done.
    pub(super) const fn nothing(end: End) -> Self {
        Self { names: Vec::new(), steps: Vec::new(), last: Vec::new(), end, engine: None }
    }
}

impl Work {
    /// Never fails: what does not work is the end's reason.
    pub(super) async fn run(mut self) -> Worked {
        let mut engine = self.engine.take();
        let mut worked = Worked::nothing(End::new(EndCode::Done, ""));
        if let Err(end) = self.work(&mut engine, &mut worked).await {
            worked.end = end;
        }
        worked.engine = engine;
        worked
    }

    /// Tells the customer.
    fn tell(&self, kind: NoteKind, number: u64, words: &str) {
        self.notes.say(self.note(kind, number, words));
    }

    fn note(&self, kind: NoteKind, number: u64, words: &str) -> Note {
        Note::now(kind, number, words).of_lease(self.offer.number)
    }

    async fn work(&self, engine: &mut Option<InTurn>, worked: &mut Worked) -> Result<(), End> {
        let book = &self.desk.book;
        tokio::select! {
            () = self.bonded() => {}
            end = self.halted() => {
                let is_late = end.code == EndCode::Deadline;
                let reason = "the provider's bond, or its time to open, is behind other windows until then";
                return Err(if is_late { End::new(end.code, reason) } else { end });
            }
        }
        let inputs = tokio::select! {
            inputs = self.fetch() => inputs?,
            end = self.halted() => return Err(end),
            // Else the customer would be blamed for what does not come.
            () = book.owner.until_no_network() => return Err(End::new(EndCode::Owner, &book.owner.headline())),
        };
        if let Some(before) = book.machine.before() {
            self.tell(NoteKind::Waiting, before, "");
        }
        let _machine = tokio::select! {
            machine = book.machine.take() => machine,
            end = self.halted() => return Err(end),
        };
        let _held = book.owner.hold(&self.spec);
        tokio::select! {
            ended = self.steps(engine, inputs, worked) => ended,
            never = book.owner.pace_lease(self.spec.runtime, &self.stop) => match never {},
        }
    }

    /// Returns once this provider's bond covers the window, and it can be opened beside the others, if it is to be audited.
    async fn bonded(&self) {
        let Some(shelf) = &self.shelf else { return };
        let bond_wei = shelf.bond_wei();
        let steps = self.offer.items.iter().fold(0_u32, |sum, item| sum.saturating_add(item.count));
        let most = window::openings_max(&shelf.agreed.terms);
        let mut is_said = false;
        loop {
            let free_wei = if bond_wei.is_zero() { Ok(U256::ZERO) } else { self.desk.book.free_bond_wei().await };
            let load = Load { open: self.desk.openings(), own: shelf.drawn_of(steps), most };
            match free_wei {
                Ok(free_wei) if self.desk.promises.try_run(self.channel, bond_wei, free_wei, load) => return,
                Ok(free_wei) if !is_said => {
                    is_said = true;
                    self.tell(NoteKind::Waiting, 0, "the bond of the provider is behind other windows");
                    let (asked, free, Load { open, own, most }) = (kst(bond_wei), kst(free_wei), load);
                    tracing::info!(
                        channel = %self.channel, lease = self.offer.number, asked, free, open, own, most,
                        "a lease waits until the bond is free, or fewer windows can have to be opened at once"
                    );
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(error = format!("{error:#}"), "cannot read this account's bond"),
            }
            sleep(BOND_POLL).await;
        }
    }

    /// Returns when somebody wants the work to stop, or the owner the machine.
    async fn halted(&self) -> End {
        let mut halt = self.halt.clone();
        let book = &self.desk.book;
        tokio::select! {
            code = halt.wait_for(Option::is_some) => {
                let code = code.ok().and_then(|code| *code).unwrap_or(EndCode::Stopping);
                End::new(code, "")
            }
            () = book.owner.until_forbidden(&self.spec) => End::new(EndCode::Owner, &book.owner.why_not(&self.spec)),
        }
    }

    /// Brings program, common input and pack here; the input of each item's first step.
    async fn fetch(&self) -> Result<Vec<Vec<u8>>, End> {
        let offer = &self.offer;
        let wants = [
            (self.spec.program_hash, self.spec.runtime.program_bytes_max()),
            (self.spec.common_hash, INPUT_BYTES_MAX),
            (offer.pack, offer.pack_bytes),
        ];
        let wants = wants.map(|(name, bytes_max)| Want { hash: Hash::from(name), bytes_max });
        let input = |reason: &str| End::new(EndCode::Input, reason);
        self.notes.say_sparingly(self.note(NoteKind::Fetching, u64::try_from(wants.len()).unwrap_or(u64::MAX), ""));
        self.source.fetch(wants.to_vec()).await.map_err(|error| match error {
            keystead_blobs::SessionError::Store(error) => {
                tracing::error!(%error, "cannot keep a customer's input: look at the free space of the folder");
                End::new(EndCode::Fault, "the provider cannot keep the inputs")
            }
            error => input(&error.to_string()),
        })?;
        self.fetch_checker().await;
        let bytes = block_in_place(|| self.store.get(offer.pack(), pack::PACK_BYTES_MAX));
        let bytes = bytes.map_err(|error| input(&error.to_string()))?;
        let brought = offer.items.iter().filter(|item| item.given == 0).count();
        let mut parts = pack::decode(&bytes, brought).map_err(|error| input(&error.to_string()))?.into_iter();
        let mut inputs = Vec::with_capacity(offer.items.len());
        for item in &offer.items {
            let given = (item.given == 1).then(|| self.made.get(&item.unit)).flatten();
            let bytes = match (item.given, given) {
                (0, _) => parts.next().map(<[u8]>::to_vec),
                (_, Some((done, name))) if *done == item.first => {
                    block_in_place(|| self.store.get(Hash::from(*name), INPUT_BYTES_MAX)).ok()
                }
                _ => None,
            };
            inputs.push(bytes.ok_or_else(|| input("a state that should be here is not").at_unit(item.unit))?);
        }
        Ok(inputs)
    }

    /// Brings the checker program here, so that checkers find it. Who does not find it asks the customer for it.
    async fn fetch_checker(&self) {
        let checker = self.spec.checker.filter(|_| self.shelf.is_some());
        let Some(checker) = checker else { return };
        let want = Want { hash: Hash::from(checker.program_hash), bytes_max: Runtime::Wasm1.program_bytes_max() };
        if let Err(error) = self.source.fetch(vec![want]).await {
            tracing::debug!(channel = %self.channel, %error, "the checker program is not here");
        }
    }

    async fn steps(&self, engine: &mut Option<InTurn>, inputs: Vec<Vec<u8>>, worked: &mut Worked) -> Result<(), End> {
        let mut kept_bytes = 0_u64;
        let mut deaths = 0;
        for (item, mut state) in self.offer.items.iter().zip(inputs) {
            let mut segments = item.first;
            let end = item.first.saturating_add(item.count);
            let mut stopped = None;
            while segments < end && stopped.is_none() {
                self.notes.say_sparingly(self.note(NoteKind::Began, segments.into(), "").of_unit(item.unit));
                let begun = Instant::now();
                let output = self.step(engine, item.unit, &state, &mut deaths).await;
                let took = self.note(NoteKind::Finished, millis(begun.elapsed()), "").of_unit(item.unit);
                let kept = output.and_then(|output| self.keep_both(&state, self.altered(worked.names.len(), output)));
                match kept {
                    Ok(Kept { input, name, output }) => {
                        self.notes.say_sparingly(took);
                        worked.names.push(name);
                        worked.steps.extend(input.map(|input| Step { unit: item.unit, segment: segments, input }));
                        segments = segments.saturating_add(1);
                        state = output;
                        self.done.send_replace(u32::try_from(worked.names.len()).unwrap_or(u32::MAX));
                    }
                    Err(end) => stopped = Some(end),
                }
            }
            if segments > item.first {
                kept_bytes = kept_bytes.saturating_add(u64::try_from(state.len()).unwrap_or(u64::MAX));
                worked.last.push((item.unit, segments, state));
            }
            if let Some(end) = stopped {
                return Err(end);
            }
            if kept_bytes > STATES_BYTES_MAX {
                return Err(End::new(EndCode::Fault, "the outputs of this lease are too large for one report"));
            }
        }
        Ok(())
    }

    async fn step(
        &self,
        engine: &mut Option<InTurn>,
        unit: u32,
        input: &[u8],
        deaths: &mut u32,
    ) -> Result<Vec<u8>, End> {
        let mut hear = |words: Said| self.notes.say(said::note(&words).of_lease(self.offer.number).of_unit(unit));
        loop {
            let session = match engine {
                Some(session) => session,
                None => {
                    let opened = tokio::select! {
                        opened = self.open() => opened?,
                        end = self.halted() => return Err(end),
                    };
                    engine.insert(opened)
                }
            };
            // Checks wait for the end of a step, and the next step for the end of a check: neither disturbs the other's time.
            let book = &self.desk.book;
            let begins = |session: &InTurn| book.owner.worker(session.worker_pid());
            match book.turns.step(session, input, begins, &mut hear, self.halted()).await? {
                Ok(done) => return Ok(done.output),
                Err(Failure::WorkerDied { status, .. }) if *deaths < DEATHS_MAX => {
                    *deaths = deaths.saturating_add(1);
                    let words = format!("{status}; the step runs again");
                    self.notes.say(self.note(NoteKind::WorkerEnded, (*deaths).into(), &words).of_unit(unit));
                    // The system gives its number to others, and the next turn may be far.
                    book.owner.worker(None);
                }
                Err(failure) => return Err(why(&failure).at_unit(unit)),
            }
        }
    }

    async fn open(&self) -> Result<InTurn, End> {
        let get = |name: B256, max| {
            let bytes = block_in_place(|| self.store.get(Hash::from(name), max));
            bytes.map_err(|error| End::new(EndCode::Input, &error.to_string()))
        };
        let program = get(self.spec.program_hash, self.spec.runtime.program_bytes_max())?;
        let common = get(self.spec.common_hash, INPUT_BYTES_MAX)?;
        let job = Job { spec: self.spec.clone(), program: program.into(), common: common.into() };
        let (book, stop, begun) = (&self.desk.book, self.stop.clone(), Instant::now());
        let opened = InTurn::open(book.command.clone(), job, stop, book.place(&self.spec)).await;
        if let Ok(session) = &opened {
            self.tell(NoteKind::Prepared, millis(begun.elapsed()), session.engine());
        }
        opened.map_err(|failure| {
            let end = why(&failure);
            if end.code == EndCode::Unit { End { code: EndCode::Program, ..end } } else { end }
        })
    }

    /// What a step began with, if it may be asked for, and what it ended with. Neither counts if the disk does not take both.
    fn keep_both(&self, state: &[u8], output: Vec<u8>) -> Result<Kept, End> {
        let input = self.shelf.as_ref().map(|_| self.keep(state)).transpose()?;
        Ok(Kept { input, name: self.keep(&output)?, output })
    }

    /// The name of a state. One that a later segment begins with, or that a check may ask for, is kept.
    fn keep(&self, state: &[u8]) -> Result<B256, End> {
        if self.spec.segment_count == 1 && self.shelf.is_none() {
            return Ok(blob_hash(state));
        }
        let kept = block_in_place(|| self.store.put(state));
        kept.map(B256::from).map_err(|error| {
            tracing::error!(%error, "cannot keep a state: look at the free space of the folder");
            End::new(EndCode::Fault, "the provider cannot keep the states")
        })
    }

    fn altered(&self, index: usize, output: Vec<u8>) -> Vec<u8> {
        let step = fault::Step {
            index: u32::try_from(index).unwrap_or(u32::MAX),
            count: self.offer.items.iter().fold(0, |sum, item| sum.saturating_add(item.count)),
            is_first_lease: self.is_first,
        };
        let fault = self.desk.book.fault;
        fault.and_then(|fault| fault.alter_step(&self.spec, self.channel, step, &output)).unwrap_or(output)
    }
}

/// Whose matter a failure is, as the customer is told.
fn why(failure: &Failure) -> End {
    let code = match (failure, failure.fault()) {
        (Failure::Aborted { .. }, _) | (_, Fault::Provider) => EndCode::Fault,
        (_, Fault::Job | Fault::Undecided) => EndCode::Unit,
    };
    End::new(code, &failure.to_string())
}
