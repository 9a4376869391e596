//! Sees to it that somebody watches for the owner: without a watcher all work stops, a new one is started, and where none lasts the program ends.
//!
//! # Design
//! The watcher's thread beats at each step. [`guard`] looks at it four times a second, from a thread of its own that reads no file and waits for nothing
//! else: a thread that ended (by a panic, for one) is seen at the next look, one that stands still after [`SILENT_LOOKS_MAX`]. Then the decision is that
//! nothing runs, and a new watcher is started after half a second, and after twice as long each time that one is lost again. A thread cannot be ended from outside: one that stands
//! still is told to end at its next wait, and what it decides until then counts for nothing. If it comes there, and the next one lasts for a minute, it stood before a slow disk, which must
//! not end the program in the end: its loss is forgotten. Looks are counted, not time: a machine that slept, or a process that was stopped, misses none.
//!
//! # Invariants
//! A decision of a watcher that was given up is never published: both are done under the lock of the channel of decisions.

use super::{PREFERENCES_FILE, STATUS_FILE, pace::Running, rates, tell};
use crate::compute::stores::Stores;
use keystead_blobs::Meter;
use keystead_owner::{
    control::Control,
    decide::{Decision, Mode, unwatched},
    probe::Root,
    watch::{self, Bell, Facts, MachineClock, MachineProbe, Watcher},
};
use keystead_runner::WorkerCommand;
use std::{
    io,
    path::{Path, PathBuf},
    process,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};
use tokio::sync::watch as channel;

/// Time between two looks at the watcher: a quarter of the second in which work stops.
const LOOK: Duration = Duration::from_millis(250);
/// A watcher that gave no sign in so many looks, 10 s, stands still. It gives one a second at least, but it also writes the decision to a disk, which may
/// be busy for seconds.
const SILENT_LOOKS_MAX: u32 = 40;
/// Looks from a loss to the first new start, half a second; twice as many each time that the new one is lost.
const WAIT_LOOKS: u32 = 2;
/// New starts before the program ends; the pauses before them are 15.5 s in all.
const STARTS_MAX: u32 = 5;
/// A watcher that lasts for so many looks, ten minutes, makes earlier losses forgotten.
const STEADY_LOOKS: u32 = 2_400;
/// A watcher that lasts for so many looks, a minute, shows that one that woke meanwhile was only slow.
const RECOVERED_LOOKS: u32 = 240;
/// Looks between two marks of what was moved: a little more than the 10 s after which the watcher puts its count on the disk.
const MARK_LOOKS: u32 = 44;
/// How long the end of this program waits for a watcher that may stand still, and how often it looks.
const END_MAX: Duration = Duration::from_secs(2);
const END_LOOK: Duration = Duration::from_millis(5);
/// After the owner has gone, work begins again up to this much later, so that machines of one room do not all start at once.
const JITTER_MS_MAX: u64 = 20_000;

/// Rings the watcher of now.
#[derive(Clone, Debug, Default)]
pub(super) struct Ring(Arc<Mutex<Bell>>);

impl Ring {
    /// Lets the watcher look now.
    pub(super) fn look(&self) {
        self.bell().look();
    }

    fn bell(&self) -> Bell {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A bell for a new watcher; the one before is told to end.
    fn renew(&self) -> Bell {
        let bell = Bell::default();
        let before = std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), bell.clone());
        before.stop();
        bell
    }
}

/// What a watcher looks at, and where its decisions go.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) folder: PathBuf,
    pub(super) meter: Meter,
    pub(super) running: Arc<channel::Sender<Running>>,
    pub(super) stores: Stores,
    pub(super) command: WorkerCommand,
    pub(super) dedicated: Arc<AtomicBool>,
    pub(super) ring: Ring,
    /// While this file exists, a watcher ends by a panic: `--fault-watcher`.
    pub(super) fault: Option<PathBuf>,
}

/// The life of one watcher.
#[derive(Clone, Debug, Default)]
pub(super) struct Life {
    beats: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

impl Stage {
    /// A watcher that counts what is moved from here on. `moved_bytes`: what was moved when the count on the disk was right.
    pub(super) fn watcher(&self, life: &Life, moved_bytes: u64) -> Watcher<MachineProbe, MachineClock> {
        let (running, meter, stores) = (Arc::clone(&self.running), self.meter.clone(), self.stores.clone());
        let (beats, fault) = (Arc::clone(&life.beats), self.fault.clone());
        let facts = move || {
            beats.fetch_add(1, Ordering::Relaxed);
            if fault.as_deref().is_some_and(Path::exists) {
                std::panic::panic_any("--fault-watcher");
            }
            let (workers, works) = {
                let running = running.borrow();
                (running.processes(), running.works())
            };
            let own_processes = workers.iter().copied().chain([process::id()]).collect();
            let moved_bytes = meter.moved().total_bytes().saturating_sub(moved_bytes);
            let disk_ours_bytes = Some(stores.held_bytes());
            Facts { own_processes, workers, moved_bytes, works, disk_ours_bytes }
        };
        let probe = MachineProbe::new(Root::new("/"), &self.folder);
        let jitter_ms = u64::from(process::id()).wrapping_mul(2_654_435_761) % JITTER_MS_MAX;
        let preferences = self.folder.join(PREFERENCES_FILE);
        Watcher::new(probe, MachineClock::default(), &self.folder, &preferences, jitter_ms, facts)
    }

    /// Lets a decision hold from now on, if it is not that of a watcher that was given up; whether it does.
    fn put(&self, decisions: &channel::Sender<Decision>, decision: &Decision, life: Option<&Life>) -> bool {
        // The guard reads no file: a disk that stands still must not keep it from ending the work.
        let always =
            life.is_some() && Control::new(&self.folder).read().is_ok_and(|wishes| wishes.compute == Mode::Always);
        // The work ends at once: the owner does not wait until it is on the disk that it does.
        decisions.send_if_modified(|held| {
            if life.is_some_and(|life| life.is_over.load(Ordering::Relaxed)) {
                return false;
            }
            self.dedicated.store(always, Ordering::Relaxed);
            self.meter.set(rates(decision));
            self.command.limit_swap(decision.bounds.swap_bytes);
            held.clone_from(decision);
            true
        })
    }

    fn status(&self) -> PathBuf {
        self.folder.join(STATUS_FILE)
    }
}

/// Starts the thread of a watcher, which is made there.
pub(super) fn start(
    stage: &Arc<Stage>,
    decisions: &Arc<channel::Sender<Decision>>,
    life: &Life,
    make: impl FnOnce() -> Watcher<MachineProbe, MachineClock> + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let bell = stage.ring.renew();
    let (stage, decisions, life) = (Arc::clone(stage), Arc::clone(decisions), life.clone());
    let body = move || {
        let mut watcher = make();
        watch::run(&mut watcher, &bell, |decision| {
            if stage.put(&decisions, decision, Some(&life)) {
                tell(&stage.status(), decision);
            }
        });
    };
    thread::Builder::new().name("owner".to_owned()).spawn(body)
}

/// Looks at a watcher until it is dropped.
#[derive(Debug)]
pub(super) struct Guard {
    /// Dropped to stop it.
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Guard {
    /// Guards a watcher that was started. The channel says why nobody watches and nobody will, or closes.
    pub(super) fn start(
        stage: Arc<Stage>,
        decisions: Arc<channel::Sender<Decision>>,
        watching: (Life, JoinHandle<()>),
    ) -> io::Result<(Self, channel::Receiver<Option<String>>)> {
        let (stop, stopped) = mpsc::channel();
        let (lost, told) = channel::channel(None);
        let (rules, marks, standing) = (Rules::default(), Marks::default(), Vec::new());
        let post = Post { stage, decisions, watching: Some(watching), standing, rules, marks };
        let thread =
            thread::Builder::new().name("owner-guard".to_owned()).spawn(move || guard(post, &stopped, &lost))?;
        Ok((Self { stop: Some(stop), thread: Some(thread) }, told))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // It ends at once, and gives the watcher some time.
            let _ = thread.join();
        }
    }
}

/// What the guard has before it.
struct Post {
    stage: Arc<Stage>,
    decisions: Arc<channel::Sender<Decision>>,
    /// None while there is no watcher.
    watching: Option<(Life, JoinHandle<()>)>,
    /// Watchers that were given up and still stand: as many as were started at most, and those of hours in which others lasted.
    standing: Vec<JoinHandle<()>>,
    rules: Rules,
    marks: Marks,
}

fn guard(mut post: Post, stopped: &mpsc::Receiver<()>, lost: &channel::Sender<Option<String>>) {
    let mut beats = 0;
    while stopped.recv_timeout(LOOK) == Err(mpsc::RecvTimeoutError::Timeout) {
        post.marks.look(post.stage.meter.moved().total_bytes());
        post.forget_who_woke();
        match post.rules.look(post.found(&mut beats)) {
            Act::Nothing => {}
            Act::Stop(loss) => post.stop(loss),
            Act::Start => post.start(),
            Act::GiveUp(loss) => {
                let why = format!("{}, and {STARTS_MAX} new ones did not last", loss.words());
                post.give_up();
                post.say(&format!("{why}; the program ends"));
                lost.send_replace(Some(why));
                // The program ends on its own; what holds until then is that nothing runs.
                let _ = stopped.recv();
                return;
            }
        }
    }
    post.end();
}

impl Post {
    /// How the watcher is now. `beats`: its sign at the last look.
    fn found(&self, beats: &mut u64) -> Found {
        let Some((life, thread)) = &self.watching else { return Found::Ended };
        let before = std::mem::replace(beats, life.beats.load(Ordering::Relaxed));
        match (thread.is_finished(), before == *beats) {
            (true, _) => Found::Ended,
            (false, true) => Found::Silent,
            (false, false) => Found::Beats,
        }
    }

    /// Nobody watches: nothing runs.
    fn stop(&mut self, loss: Loss) {
        self.give_up();
        let (starts, wait) = (self.rules.starts, LOOK.saturating_mul(self.rules.wait.unwrap_or(0)));
        self.say(&format!(
            "{}; a new one starts in {} ms, the {starts}. of {STARTS_MAX}",
            loss.words(),
            wait.as_millis()
        ));
    }

    /// From here on nothing that the watcher decides counts.
    fn give_up(&mut self) {
        if let Some((life, thread)) = self.watching.take() {
            life.is_over.store(true, Ordering::Relaxed);
            if !thread.is_finished() {
                self.standing.push(thread);
            }
        }
        // It ends at its next wait, if it still comes there.
        self.stage.ring.renew();
    }

    /// Who was given up for standing still and came to its end was slow, not lost.
    fn forget_who_woke(&mut self) {
        if self.rules.steady < RECOVERED_LOOKS {
            return;
        }
        let before = self.standing.len();
        self.standing.retain(|thread| !thread.is_finished());
        for _ in self.standing.len()..before {
            self.rules.forget();
        }
    }

    fn say(&self, why: &str) {
        let decision = unwatched(why);
        self.stage.put(&self.decisions, &decision, None);
        tracing::error!("nobody watches for the owner: {why}");
        tell(&self.stage.status(), &decision);
    }

    fn start(&mut self) {
        let life = Life::default();
        let (stage, own, moved_bytes) = (Arc::clone(&self.stage), life.clone(), self.marks.older);
        match start(&self.stage, &self.decisions, &life, move || stage.watcher(&own, moved_bytes)) {
            Ok(thread) => self.watching = Some((life, thread)),
            // The next look finds that there is none.
            Err(error) => tracing::warn!(%error, "cannot start the thread that watches for the owner"),
        }
    }

    /// The program ends: the watcher puts its count on the disk, if it can.
    fn end(&mut self) {
        self.stage.ring.bell().stop();
        let Some((_, thread)) = self.watching.take() else { return };
        let mut waited = Duration::ZERO;
        while !thread.is_finished() && waited < END_MAX {
            thread::sleep(END_LOOK);
            waited = waited.saturating_add(END_LOOK);
        }
    }
}

/// What was moved at some looks: the count of a new watcher begins with one that the lost watcher had on the disk for certain. What came after may be
/// counted twice, rather than never.
#[derive(Debug, Default)]
struct Marks {
    older: u64,
    newer: u64,
    looks: u32,
}

impl Marks {
    const fn look(&mut self, moved_bytes: u64) {
        self.looks = self.looks.saturating_add(1);
        if self.looks >= MARK_LOOKS.saturating_add(SILENT_LOOKS_MAX) {
            (self.older, self.newer, self.looks) = (self.newer, moved_bytes, 0);
        }
    }
}

/// What a look finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// A sign of life since the last look.
    Beats,
    /// None.
    Silent,
    /// The thread is over, or there is none.
    Ended,
}

/// How a watcher was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    Ended,
    StandsStill,
}

impl Loss {
    const fn words(self) -> &'static str {
        match self {
            Self::Ended => "the watcher ended unexpectedly",
            Self::StandsStill => "the watcher gave no sign for 10 s",
        }
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Nothing,
    /// Nothing may run: the watcher is lost.
    Stop(Loss),
    /// A new watcher.
    Start,
    /// No more watchers.
    GiveUp(Loss),
}

/// When a watcher is lost, and when there is a new one.
#[derive(Debug, Default)]
struct Rules {
    /// Looks without a sign.
    silent: u32,
    /// Looks since the last loss.
    steady: u32,
    /// New starts since a watcher lasted.
    starts: u32,
    /// Looks until the new start, while there is no watcher.
    wait: Option<u32>,
}

impl Rules {
    fn look(&mut self, found: Found) -> Act {
        if let Some(left) = self.wait.take() {
            let left = left.saturating_sub(1);
            if left == 0 {
                return Act::Start;
            }
            self.wait = Some(left);
            return Act::Nothing;
        }
        self.silent = if found == Found::Silent { self.silent.saturating_add(1) } else { 0 };
        if found == Found::Ended {
            return self.lose(Loss::Ended);
        }
        if self.silent >= SILENT_LOOKS_MAX {
            return self.lose(Loss::StandsStill);
        }
        self.steady = self.steady.saturating_add(1);
        if self.steady >= STEADY_LOOKS {
            self.starts = 0;
        }
        Act::Nothing
    }

    /// One loss was none.
    const fn forget(&mut self) {
        self.starts = self.starts.saturating_sub(1);
    }

    const fn lose(&mut self, loss: Loss) -> Act {
        (self.silent, self.steady) = (0, 0);
        if self.starts >= STARTS_MAX {
            return Act::GiveUp(loss);
        }
        self.wait = Some(WAIT_LOOKS.saturating_mul(2_u32.saturating_pow(self.starts)));
        self.starts = self.starts.saturating_add(1);
        Act::Stop(loss)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)] // A test: a panic is a failure.
mod tests {
    use super::*;
    use keystead_owner::{
        control::Command,
        decide::{Cpu, Reason},
    };
    use std::{fs, time::Instant};

    #[test]
    fn a_watcher_that_ends_or_stands_still_is_lost_and_each_new_start_waits_twice_as_long() {
        let mut rules = Rules::default();
        assert_eq!(rules.look(Found::Beats), Act::Nothing);
        for _ in 1..SILENT_LOOKS_MAX {
            assert_eq!(rules.look(Found::Silent), Act::Nothing);
        }
        assert_eq!(rules.look(Found::Beats), Act::Nothing, "a sign in the last moment");
        for _ in 1..SILENT_LOOKS_MAX {
            assert_eq!(rules.look(Found::Silent), Act::Nothing);
        }
        assert_eq!(rules.look(Found::Silent), Act::Stop(Loss::StandsStill));
        let mut waits = Vec::new();
        let end = loop {
            let mut looks = 1;
            while rules.look(Found::Beats) != Act::Start {
                looks += 1;
            }
            waits.push(looks);
            match rules.look(Found::Ended) {
                Act::Stop(Loss::Ended) => {}
                other => break other,
            }
        };
        assert_eq!((waits, end), (vec![2, 4, 8, 16, 32], Act::GiveUp(Loss::Ended)));
    }

    #[test]
    fn a_watcher_that_lasts_makes_earlier_losses_forgotten() {
        let lose = |rules: &mut Rules| {
            assert_eq!(rules.look(Found::Ended), Act::Stop(Loss::Ended));
            let mut looks = 1;
            while rules.look(Found::Ended) != Act::Start {
                looks += 1;
            }
            looks
        };
        let mut rules = Rules::default();
        assert_eq!((lose(&mut rules), lose(&mut rules)), (2, 4));
        for _ in 1..STEADY_LOOKS {
            rules.look(Found::Beats);
        }
        assert_eq!(lose(&mut rules), 8, "a moment too early");
        for _ in 0..STEADY_LOOKS {
            rules.look(Found::Beats);
        }
        assert_eq!(lose(&mut rules), 2);
    }

    #[test]
    fn a_disk_that_is_slow_again_and_again_never_ends_the_program_and_one_that_hangs_does() {
        let stall = |rules: &mut Rules| {
            let mut act = rules.look(Found::Silent);
            for _ in 1..SILENT_LOOKS_MAX {
                act = rules.look(Found::Silent);
            }
            act
        };
        let mut rules = Rules::default();
        for _ in 0..STARTS_MAX * 4 {
            assert_eq!(stall(&mut rules), Act::Stop(Loss::StandsStill));
            while rules.look(Found::Ended) != Act::Start {}
            // It wakes, and ends as it was told; the next one is well.
            for _ in 0..RECOVERED_LOOKS {
                assert_eq!(rules.look(Found::Beats), Act::Nothing);
            }
            rules.forget();
        }
        for _ in 0..STARTS_MAX {
            assert_eq!(stall(&mut rules), Act::Stop(Loss::StandsStill));
            while rules.look(Found::Ended) != Act::Start {}
        }
        assert_eq!(stall(&mut rules), Act::GiveUp(Loss::StandsStill));
    }

    #[test]
    fn a_watcher_that_woke_after_it_was_given_up_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let stage = Arc::new(stage(folder.path()));
        let (decisions, _kept) = channel::channel(unwatched("x"));
        let (wake, asleep) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            let _ = asleep.recv();
        });
        let rules = Rules { starts: 2, steady: RECOVERED_LOOKS, ..Rules::default() };
        let (watching, standing) = (Some((Life::default(), thread)), Vec::new());
        let mut post =
            Post { stage, decisions: Arc::new(decisions), watching, standing, rules, marks: Marks::default() };
        post.give_up();
        post.forget_who_woke();
        assert_eq!((post.standing.len(), post.rules.starts), (1, 2), "it still stands");
        drop(wake);
        until("it ends", || post.standing.iter().all(JoinHandle::is_finished));
        post.rules.steady = RECOVERED_LOOKS - 1;
        post.forget_who_woke();
        assert_eq!((post.standing.len(), post.rules.starts), (1, 2), "the next one may be as slow");
        post.rules.steady = RECOVERED_LOOKS;
        post.forget_who_woke();
        assert_eq!((post.standing.len(), post.rules.starts), (0, 1));
    }

    #[test]
    fn what_was_moved_since_the_last_sure_count_is_counted_again_and_nothing_is_left_out() {
        let mut marks = Marks::default();
        let every = u64::from(MARK_LOOKS + SILENT_LOOKS_MAX);
        for look in 1..=every * 3 {
            marks.look(look);
            // The watcher was silent for as long as that is not noticed, and wrote its count some time before.
            assert!(marks.older + every <= look || marks.older == 0, "{look}: {marks:?}");
        }
        assert_eq!((marks.older, marks.newer), (every * 2, every * 3));
    }

    fn stage(folder: &Path) -> Stage {
        Stage {
            folder: folder.to_owned(),
            meter: Meter::default(),
            running: Arc::new(channel::Sender::new(Running::default())),
            stores: Stores::default(),
            command: WorkerCommand::current_exe().unwrap(),
            dedicated: Arc::default(),
            ring: Ring::default(),
            fault: Some(folder.join("fault-watcher")),
        }
    }

    /// A stage in a folder, its decisions, and a watcher on it that is guarded.
    fn scene(folder: &Path) -> (Arc<Stage>, channel::Receiver<Decision>, Guard, channel::Receiver<Option<String>>) {
        // This machine is somebody's: only what the owner says counts here.
        Control::new(folder).send(Command::Compute(Mode::Always), 0).unwrap();
        let stage = Arc::new(stage(folder));
        let life = Life::default();
        let mut watcher = stage.watcher(&life, 0);
        let (sender, decisions) = channel::channel(watcher.step());
        let sender = Arc::new(sender);
        let thread = start(&stage, &sender, &life, move || watcher).unwrap();
        let (guard, lost) = Guard::start(Arc::clone(&stage), sender, (life, thread)).unwrap();
        (stage, decisions, guard, lost)
    }

    fn until(what: &str, holds: impl Fn() -> bool) -> Duration {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
            thread::sleep(Duration::from_millis(5));
        }
        begun.elapsed()
    }

    #[test]
    fn a_watcher_that_panics_ends_the_work_and_a_new_one_lets_it_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let (stage, decisions, guard, lost) = scene(folder.path());
        let runs = || decisions.borrow().cpu != Cpu::Pause;
        until("the work may run", runs);
        let fault = stage.fault.clone().unwrap();
        fs::write(&fault, "").unwrap();
        stage.ring.look();
        until("the work stops", || !runs());
        let why = keystead_owner::report::headline(&decisions.borrow());
        assert!(decisions.borrow().reasons.holds(Reason::Unwatched), "{why}");
        assert!(why.contains("nobody watches for the owner: the watcher ended unexpectedly"), "{why}");
        let status = || fs::read_to_string(folder.path().join(STATUS_FILE)).unwrap_or_default();
        until("the status says so", || status().contains("\"unwatched\""));
        fs::remove_file(&fault).unwrap();
        until("the work goes on", runs);
        until("the status says that it does", || status().contains("may work"));
        assert!(lost.borrow().is_none());
        drop(guard);
    }

    #[test]
    fn what_a_watcher_that_was_given_up_decides_counts_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (stage, decisions, guard, _lost) = scene(folder.path());
        until("the work may run", || decisions.borrow().cpu != Cpu::Pause);
        drop(guard);
        let works = decisions.borrow().clone();
        let (sender, decisions) = channel::channel(unwatched("x"));
        let life = Life::default();
        life.is_over.store(true, Ordering::Relaxed);
        assert!(!stage.put(&sender, &works, Some(&life)) && decisions.borrow().cpu == Cpu::Pause);
        assert!(stage.put(&sender, &works, Some(&Life::default())) && decisions.borrow().cpu != Cpu::Pause);
    }
}
