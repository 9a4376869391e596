//! The owner of the machine: what is allowed now, told to the courses; commands of `keystead provide --pause` and its like.
//!
//! # Design
//! A thread watches (`keystead_owner::watch`) and publishes each decision that differs: into a channel that courses wait on, into
//! `owner-status.json` for `--status`, and as a line of the log. Yielding kills the worker, unless the owner wants paused work to stay in memory ([`pace`]): a unit
//! that was running begins again at its last segment, which costs less than a minute and needs no memory while the owner plays. The rates of the network go to the [`Meter`] of this provider's
//! one endpoint, which all its transfers share, and its count of bytes back to the watcher. Without a watcher nothing runs ([`guard`]).

mod guard;
mod pace;

use self::{
    guard::{Guard, Life, Ring, Stage},
    pace::{Place, Running},
};
use super::{
    ask::{Ask, declared_bytes},
    devices, offering, savings,
    self_test::say,
};
use crate::{
    cli::{self, OwnerMode},
    compute::{checker, files, stores::Stores, wallet},
};
use eyre::{Context as _, Result, eyre};
use keystead_blobs::{Meter, Rate, Rates};
use keystead_job::{JobSpec, Runtime};
use keystead_owner::{
    control::{Command, Control},
    decide::{Buffer, Cpu, Decision, Gpu, Mode, Transfers, Wishes},
    preferences::{Preferences, template},
    priority,
    probe::Root,
    report,
};
use keystead_runner::WorkerCommand;
use std::{
    num::NonZeroU64,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::watch as channel;

/// The owner's preferences, in the provider's folder.
pub(super) const PREFERENCES_FILE: &str = "owner.toml";
const STATUS_FILE: &str = "owner-status.json";
/// With `--fault-watcher`: while it exists, nobody watches for the owner.
pub(super) const FAULT_FILE: &str = "fault-watcher";
/// Files of which one at least is in the folder of a provider that was ever started.
const STARTED_FILES: [&str; 3] = [STATUS_FILE, PREFERENCES_FILE, wallet::KEY_FILE];

/// Watches until it is dropped.
#[derive(Debug)]
pub(crate) struct Owner {
    decisions: channel::Receiver<Decision>,
    /// What the transfers of this provider keep to.
    meter: Meter,
    running: Arc<channel::Sender<Running>>,
    /// How often an order's worker began or ceased to stand still for a pause.
    stands: AtomicU32,
    /// Stores that count as this program's.
    stores: Stores,
    /// The machine is dedicated to this work: nothing is lowered.
    dedicated: Arc<AtomicBool>,
    /// Whether jobs of `wgsl/1` run on a graphics card, not on the processor.
    graphics: bool,
    ring: Ring,
    /// Why nobody watches any more and nobody will.
    lost: channel::Receiver<Option<String>>,
    /// Ends the watching when it is dropped; none where nobody watches.
    _guard: Option<Guard>,
}

impl Owner {
    /// Starts watching. The first decision is there when this returns. Workers of `command` keep to the owner's bound of swap space. `fault`: while this file
    /// exists, a watcher ends by a panic.
    pub(super) fn watch(
        folder: &Path,
        graphics: bool,
        stores: Stores,
        command: WorkerCommand,
        fault: Option<PathBuf>,
    ) -> Result<Self> {
        let preferences = folder.join(PREFERENCES_FILE);
        if !preferences.exists()
            && let Err(error) = files::replace(&preferences, template(&Preferences::default()).as_bytes())
        {
            // A full disk, for one: the defaults hold without the file.
            tracing::warn!(error = format!("{error:#}"), "cannot write the owner's preferences, the defaults hold");
        }
        let running = Arc::new(channel::Sender::new(Running::default()));
        let dedicated = Arc::new(AtomicBool::new(false));
        let meter = Meter::default();
        let ring = Ring::default();
        let stage = Arc::new(Stage {
            folder: folder.to_owned(),
            meter: meter.clone(),
            running: Arc::clone(&running),
            stores: stores.clone(),
            command,
            dedicated: Arc::clone(&dedicated),
            ring: ring.clone(),
            fault,
        });
        let life = Life::default();
        let mut watcher = stage.watcher(&life, 0);
        let first = watcher.step();
        meter.set(rates(&first));
        stage.command.limit_swap(first.bounds.swap_bytes);
        let (sender, decisions) = channel::channel(first);
        let sender = Arc::new(sender);
        let thread = guard::start(&stage, &sender, &life, move || watcher);
        let thread = thread.wrap_err("cannot start the thread that watches for the owner")?;
        let guarded = Guard::start(stage, sender, (life, thread));
        let (guard, lost) = guarded.wrap_err("cannot start the thread that sees to the watcher")?;
        let stands = AtomicU32::default();
        Ok(Self { decisions, meter, running, stands, stores, dedicated, graphics, ring, lost, _guard: Some(guard) })
    }

    /// Waits until nobody watches for the owner and nobody will: then nothing runs any more. Why, for a person.
    pub(super) async fn until_lost(&self) -> String {
        let mut lost = self.lost.clone();
        let why = lost.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        why.unwrap_or_else(|| "what sees to the watcher ended unexpectedly".to_owned())
    }

    /// What the endpoint of this provider must be opened with, so that the owner's rates hold.
    pub(super) const fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Waits until bytes may move.
    pub(super) async fn until_network(&self) {
        let _ = self.decisions.clone().wait_for(|decision| decision.network != Transfers::Pause).await;
    }

    /// Waits until none may.
    pub(crate) async fn until_no_network(&self) {
        let _ = self.decisions.clone().wait_for(|decision| decision.network == Transfers::Pause).await;
    }

    /// Whether this may run beside what is held.
    fn allows(&self, decision: &Decision, ask: Ask, held_bytes: u64) -> bool {
        let runs = if self.is_on_card(ask.runtime) { decision.gpu != Gpu::Pause } else { decision.cpu != Cpu::Pause };
        runs && ask.fits(&decision.bounds, held_bytes)
    }

    /// Whether jobs of this runtime run on a graphics card.
    fn is_on_card(&self, runtime: Runtime) -> bool {
        self.graphics && runtime == Runtime::Wgsl1
    }

    /// Whether an order, a lease or a proof may run now.
    pub(super) fn is_allowed(&self, ask: impl Into<Ask>) -> bool {
        self.allows(&self.decisions.borrow(), ask.into(), 0)
    }

    /// Waits until an order, a lease or a proof may run.
    pub(crate) async fn until_allowed(&self, ask: impl Into<Ask>) {
        let ask = ask.into();
        // The watcher lives as long as this.
        let _ = self.decisions.clone().wait_for(|decision| self.allows(decision, ask, 0)).await;
    }

    /// Whether this may not run although others may: it takes too much memory now, or the graphics card, which is the owner's.
    fn holds_back(&self, decision: &Decision, ask: Ask) -> bool {
        decision.cpu != Cpu::Pause && !self.allows(decision, ask, 0)
    }

    /// Whether an order may not run now although others may.
    pub(super) fn is_held_back(&self, ask: impl Into<Ask>) -> bool {
        self.holds_back(&self.decisions.borrow(), ask.into())
    }

    /// Waits until it may not run although others may.
    pub(super) async fn until_held_back(&self, ask: impl Into<Ask>) {
        let ask = ask.into();
        let _ = self.decisions.clone().wait_for(|decision| self.holds_back(decision, ask)).await;
    }

    /// Waits until it may run, or nothing may: then it has its place among all who wait.
    pub(super) async fn until_not_held_back(&self, ask: impl Into<Ask>) {
        let ask = ask.into();
        let _ = self.decisions.clone().wait_for(|decision| !self.holds_back(decision, ask)).await;
    }

    /// Waits until it may not: for a lease or a proof, which never stay in memory, and to tell of it.
    pub(crate) async fn until_forbidden(&self, ask: impl Into<Ask>) {
        let ask = ask.into();
        let _ = self.decisions.clone().wait_for(|decision| !self.allows(decision, ask, 0)).await;
    }

    /// As [`Self::until_allowed`], for a check: whoever has the machine keeps the memory that it has.
    pub(crate) async fn until_check_allowed(&self, ask: impl Into<Ask>) {
        let ask = ask.into();
        let may = |decision: &Decision, running: &Running| self.allows(decision, ask, running.held_bytes);
        until_both(self.decisions.clone(), self.running.subscribe(), may).await;
    }

    /// Says that an order or a lease has the machine and its memory, until what this gives is dropped; then it has no worker any more either. One at a time
    /// has the machine.
    pub(super) fn hold(&self, ask: impl Into<Ask>) -> Held<'_> {
        let bytes = ask.into().needed_bytes;
        self.running.send_modify(|running| running.held_bytes = bytes);
        Held(&self.running)
    }

    /// What one job may declare now, bytes; none without a bound.
    pub(super) fn declared_bytes_now(&self) -> Option<u64> {
        self.decisions.borrow().bounds.memory_bytes.map(declared_bytes)
    }

    /// What one job may declare when the owner gives most.
    pub(super) fn declared_bytes_most(&self) -> Option<u64> {
        self.decisions.borrow().bounds.memory_most_bytes.map(declared_bytes)
    }

    /// Shortest time between two saves of an order's progress.
    pub(super) fn checkpoint(&self) -> Duration {
        self.decisions.borrow().bounds.checkpoint
    }

    /// How much work may wait, if the owner bounds that now.
    pub(super) fn buffer(&self) -> Option<Buffer> {
        self.decisions.borrow().bounds.buffer
    }

    /// How long one order computes before whoever waits has the machine.
    pub(super) fn switch(&self) -> Duration {
        self.decisions.borrow().bounds.switch
    }

    /// Stores that count as this program's.
    pub(crate) const fn stores(&self) -> &Stores {
        &self.stores
    }

    /// Waits until the owner wants this program to end when its work has.
    pub(super) async fn until_finish(&self) {
        let _ = self.decisions.clone().wait_for(|decision| decision.finish).await;
    }

    /// Share of the time in which a job of this runtime may work, percent.
    fn time_percent(&self, runtime: Runtime) -> u8 {
        match (&*self.decisions.borrow(), self.is_on_card(runtime)) {
            (Decision { gpu: Gpu::Run { time_percent, .. }, .. }, true) => *time_percent,
            (Decision { cpu: Cpu::Run { time_percent, .. }, .. }, false) => *time_percent,
            // Then the work ends anyway.
            _ => 100,
        }
    }

    /// Whether the owner wants this program to end when its work has.
    pub(super) fn finishes(&self) -> bool {
        self.decisions.borrow().finish
    }

    /// Why no order is taken now, if none is.
    pub(super) fn refusal(&self) -> Option<String> {
        let decision = self.decisions.borrow();
        // Without a network neither inputs nor outputs could be moved.
        let takes = decision.new_units && decision.network != Transfers::Pause;
        (!takes).then(|| format!("the owner of this machine: {}", report::headline(&decision)))
    }

    /// Why this job does not begin now although others would, if so: it is too large, or the graphics card is the owner's now.
    pub(super) fn refusal_of(&self, spec: &JobSpec) -> Option<String> {
        let (decision, ask) = (self.decisions.borrow(), Ask::from(spec));
        let is_memory = ask.refusal(&decision);
        let refusal = is_memory.or_else(|| self.holds_back(&decision, ask).then(|| report::headline(&decision)))?;
        Some(format!("the owner of this machine: {refusal}"))
    }

    /// Why this job does not run now, for a person.
    pub(super) fn why_not(&self, spec: &JobSpec) -> String {
        self.refusal_of(spec).unwrap_or_else(|| self.headline())
    }

    /// What stands now, for a person.
    pub(super) fn headline(&self) -> String {
        report::headline(&self.decisions.borrow())
    }

    /// Tells apart our own load from other programs', and keeps an order's worker out of the owner's way: of whoever [holds](Self::hold) the machine alone.
    /// `None` when there is none any more, or none that may stay in memory when the owner comes.
    pub(super) fn worker(&self, process: Option<u32>) {
        self.put(Place::Order, process);
    }

    /// As [`Self::worker`], for the worker of a check.
    pub(crate) fn checker(&self, process: Option<u32>) {
        self.put(Place::Check, process);
    }

    fn put(&self, place: Place, process: Option<u32>) {
        let is_new = self.running.send_if_modified(|running| running.put(place, process));
        if let Some(process) = process {
            if is_new {
                // A look at the begin, and more often from now on: the owner may have come since the last one.
                self.ring.look();
            }
            lower(&self.dedicated, process);
        }
    }

    /// Says of further processes that they are ours, as [`Self::worker`] does of one: a proof has one for each device.
    pub(super) fn at_work(&self) -> Arc<dyn Fn(u32) + Send + Sync> {
        let (running, dedicated) = (Arc::clone(&self.running), Arc::clone(&self.dedicated));
        let ring = self.ring.clone();
        Arc::new(move |process| {
            running.send_modify(|running| running.proves(process));
            ring.look();
            lower(&dedicated, process);
        })
    }
}

/// Memory and worker of whoever has the machine. However its work ends, also by being dropped in its middle, neither is left behind; and who only waits for
/// the machine has nothing to take back, or it would be somebody else's.
#[derive(Debug)]
pub(super) struct Held<'a>(&'a channel::Sender<Running>);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|running| {
            running.put(Place::Order, None);
            running.held_bytes = 0;
        });
    }
}

/// Waits until two that change hold together; returns also when one of them will change no more.
async fn until_both<A, B>(
    mut first: channel::Receiver<A>,
    mut second: channel::Receiver<B>,
    holds: impl Fn(&A, &B) -> bool,
) {
    loop {
        let met = holds(&first.borrow_and_update(), &second.borrow_and_update());
        if met {
            return;
        }
        let changed = tokio::select! {
            biased;
            changed = first.changed() => changed,
            changed = second.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

/// Keeps a worker out of the owner's way, unless the machine is dedicated to it.
fn lower(dedicated: &AtomicBool, process: u32) {
    if !dedicated.load(Ordering::Relaxed) {
        // Not inside of the macro: that reads its fields only if somebody wants the line.
        let report = priority::lower(&Root::new("/"), process);
        tracing::debug!(process, %report, "worker lowered");
    }
}

/// How fast bytes may move.
fn rates(decision: &Decision) -> Rates {
    let rate = |most: Option<u64>| most.and_then(NonZeroU64::new).map_or(Rate::Unlimited, Rate::BytesPerSecond);
    match decision.network {
        Transfers::Run { upload_max, download_max } => Rates { upload: rate(upload_max), download: rate(download_max) },
        Transfers::Pause => Rates { upload: Rate::Paused, download: Rate::Paused },
    }
}

fn tell(status: &Path, decision: &Decision) {
    tracing::info!(reasons = decision.reasons.bits(), "owner: {}", report::headline(decision));
    let written = serde_json::to_vec_pretty(&report::to_json(decision))
        .wrap_err("cannot write the decision")
        .and_then(|json| files::replace(status, &json));
    if let Err(error) = written {
        tracing::warn!(error = format!("{error:#}"), "cannot write {}", status.display());
    }
}

/// Carries out `--pause`, `--resume`, `--finish`, `--status` and `--compute`; `None` if nothing of it was asked for but a start.
pub(super) fn command(options: &cli::Provide) -> Result<Option<ExitCode>> {
    let control = Control::new(&options.dir);
    if let Some(mode) = options.compute {
        wallet::own_folder(&options.dir)?;
        control.send(Command::Compute(mode.into()), unix_ms())?;
    }
    let command = match (options.pause, options.resume, options.finish) {
        (Some(minutes), ..) => {
            let duration = (minutes > 0).then(|| Duration::from_secs(u64::from(minutes).saturating_mul(60)));
            Command::Pause { duration }
        }
        (_, true, _) => Command::Resume,
        (.., true) => Command::Finish,
        _ if options.status => return status(&options.dir).map(Some),
        _ => return Ok(None),
    };
    let folder = &options.dir;
    if !STARTED_FILES.iter().any(|file| folder.join(file).exists()) {
        return Err(eyre!("there is no provider in {}: give the folder of a provider with --dir", folder.display()));
    }
    let wishes = control.send(command, unix_ms())?;
    say(&words(&wishes, folder));
    Ok(Some(ExitCode::SUCCESS))
}

fn words(wishes: &Wishes, folder: &Path) -> String {
    let resume = format!("`keystead provide --dir {} --resume`", folder.display());
    match (wishes.pause, wishes.finish) {
        (Some(pause), _) => match pause.until_unix_ms {
            Some(until) => {
                format!("Paused for {} min; {resume} ends it.", until.saturating_sub(pause.made_unix_ms) / 60_000)
            }
            None => format!("Paused until {resume}."),
        },
        (None, true) => "No new orders; the provider stops when the open ones are over.".to_owned(),
        (None, false) => "Works as the preferences say.".to_owned(),
    }
}

fn status(folder: &Path) -> Result<ExitCode> {
    let path: PathBuf = folder.join(STATUS_FILE);
    let Some(text) = files::read(&path)? else {
        return Err(eyre!("{} has no status: start the provider with this folder first", folder.display()));
    };
    let mut whole: serde_json::Value =
        serde_json::from_str(&text).wrap_err_with(|| format!("{} is damaged", path.display()))?;
    let checks = checker::status(&folder.join(super::CHECKER_FOLDER))?;
    let devices = offering::kept(folder).map(|record| devices::shown(&record));
    if let Some(fields) = whole.as_object_mut() {
        let more = [("checker", checks), ("devices", devices), ("savings", savings::status(folder)?)];
        fields.extend(more.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    }
    say(&serde_json::to_string_pretty(&whole)?);
    Ok(ExitCode::SUCCESS)
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl From<OwnerMode> for Mode {
    fn from(mode: OwnerMode) -> Self {
        match mode {
            OwnerMode::Always => Self::Always,
            OwnerMode::Auto => Self::Auto,
            OwnerMode::Never => Self::Never,
        }
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // A test: a panic is a failure.
mod tests {
    use super::*;
    use std::{
        pin::pin,
        task::{Context, Waker},
    };

    #[test]
    fn whoever_had_the_machine_leaves_neither_memory_nor_a_worker_behind() {
        let running = channel::Sender::new(Running::default());
        running.send_modify(|running| {
            running.put(Place::Order, Some(1));
            running.put(Place::Check, Some(2));
            running.held_bytes = 7;
        });
        drop(Held(&running));
        assert_eq!((running.borrow().held_bytes, running.borrow().processes()), (0, vec![2]));
    }

    /// The owner of a machine with a graphics card. Nobody watches.
    fn owner(first: Decision) -> (channel::Sender<Decision>, Owner) {
        let (sender, decisions) = channel::channel(first);
        let owner = Owner {
            decisions,
            meter: Meter::default(),
            running: Arc::new(channel::Sender::new(Running::default())),
            stands: AtomicU32::default(),
            stores: Stores::default(),
            dedicated: Arc::default(),
            graphics: true,
            ring: Ring::default(),
            lost: channel::channel(None).1,
            _guard: None,
        };
        (sender, owner)
    }

    /// Looks once.
    fn is_ready(future: impl Future<Output = ()>) -> bool {
        let mut future = pin!(future);
        future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn what_the_owner_keeps_from_one_job_keeps_no_other_from_the_machine() {
        let paused = keystead_owner::decide::refuse("");
        let works = Decision { cpu: Cpu::Run { threads: 1, time_percent: 100 }, ..paused.clone() };
        let (decide, owner) = owner(works.clone());
        // Somebody is there: the processors work, the card is left alone.
        let (on_card, on_processor) = (Runtime::Wgsl1, Runtime::Wasm1);
        assert!(owner.is_held_back(on_card) && !owner.is_held_back(on_processor));
        assert!(!owner.is_allowed(on_card) && owner.is_allowed(on_processor));
        assert!(is_ready(owner.until_held_back(on_card)) && !is_ready(owner.until_not_held_back(on_card)));
        let spec = |class| crate::compute::samples::spec(class, 1, 1);
        let (card, processor) = (spec(keystead_job::Class::Tolerance), spec(keystead_job::Class::Exact));
        assert!(owner.refusal_of(&card).is_some() && owner.refusal_of(&processor).is_none());
        // So much memory is not there now.
        let bounds = keystead_owner::decide::Bounds { memory_bytes: Some(1), ..works.bounds };
        decide.send_replace(Decision { bounds, ..works });
        assert!(owner.is_held_back(&processor) && owner.refusal_of(&processor).is_some());
        // While nothing runs, each has the place in which it came.
        decide.send_replace(paused);
        assert!(is_ready(owner.until_not_held_back(on_card)) && !owner.is_held_back(&processor));
        assert!(!is_ready(owner.until_held_back(on_card)) && !is_ready(owner.until_allowed(on_card)));
    }

    #[test]
    fn something_works_while_there_is_a_worker_or_a_proof_under_way() {
        let mut running = Running::default();
        assert!(!running.works());
        for place in [Place::Order, Place::Check] {
            running.put(place, Some(1));
            assert!(running.works());
            running.put(place, None);
            assert!(!running.works());
        }
        running.proves(7);
        assert!(running.works());
    }

    #[test]
    fn who_waits_for_room_is_told_of_both_the_bound_and_what_is_held() {
        let (bound, held) = (channel::Sender::new(3_u64), channel::Sender::new(2_u64));
        let fits = |bound: &u64, held: &u64| *held + 2 <= *bound;
        let full = |bound: &u64, held: &u64| !fits(bound, held);
        let mut context = Context::from_waker(Waker::noop());
        let mut waiting = pin!(until_both(bound.subscribe(), held.subscribe(), fits));
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        held.send_replace(1);
        assert!(waiting.as_mut().poll(&mut context).is_ready());
        let mut waiting = pin!(until_both(bound.subscribe(), held.subscribe(), full));
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        bound.send_replace(2);
        assert!(waiting.as_mut().poll(&mut context).is_ready());
    }
}
