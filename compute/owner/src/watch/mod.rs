//! Watches the machine and its owner, and says within a second what changes; changed preferences within 200 ms.
//!
//! # Design
//! [`Watcher::step`] looks once and decides; [`run`] calls it from a thread of its own and sleeps between. Signs of a person and the control file
//! are looked at four times a second while something runs, twice while something may run and nothing does, and once a second otherwise;
//! everything else every ten seconds. Work that begins rings the [`Bell`], so that there is a look at its begin. A step that changes
//! nothing costs some system calls, so watching does not need a core's attention. Whether the preferences' file has changed is asked ten times a second, which
//! costs one call; they are read once they have stood still for [`SETTLE`]: an editor writes a file in pieces, and half of one is not the owner's word. A
//! file that cannot be used changes nothing: what it said before holds, and that is said. Only where nothing was ever read nothing runs.

mod machine;
mod presence;

pub use machine::{MachineClock, MachineProbe};
pub use presence::Presence;

use crate::{
    control::{Control, Stamp},
    decide::{
        CHECK_MAX, Cpu, Decision, Gpu, Memory, Now, Reason, Signals, Transfers, Wishes, decide, keeps_preferences,
        refuse,
    },
    preferences::{self, Preferences},
    probe::activity::Sign,
    reading::Reading,
    traffic::{Damaged, Traffic},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

/// Time between two looks for a person while something runs: a quarter of the second that the owner may wait.
pub const LOOK_RUNNING: Duration = Duration::from_millis(250);
/// The same while something may run and nothing runs or moves: half of that second, for what begins without a word.
pub const LOOK_RESTING: Duration = Duration::from_millis(500);
/// The same while nothing may run: the owner waits for nothing.
pub const LOOK_PAUSED: Duration = Duration::from_secs(1);
/// Time between two looks at the preferences' file: half of the 200 ms in which they take effect.
pub const LOOK_PREFERENCES: Duration = Duration::from_millis(100);
/// How long a changed file stands still before it is read: with the look before it 150 of those 200 ms.
pub const SETTLE: Duration = Duration::from_millis(50);

/// A day, ms.
const DAY_MS: i64 = 86_400_000;

/// What the watcher asks the machine. Tests script it.
pub trait Probe {
    /// Signs of a person now; cheap, as it is asked four times a second.
    fn signs(&mut self) -> Reading<Vec<Sign>>;

    /// How long ago a terminal was last used, as far as files tell.
    fn before(&mut self, now: Now) -> Option<Duration>;

    /// Reads everything else into `signals`, every ten seconds; presence and what comes from [`Facts`] stay as they are.
    fn refresh(&mut self, preferences: &Preferences, facts: &Facts, now: Now, signals: &mut Signals);
}

/// Where the time comes from.
pub trait Clock {
    /// Now.
    fn now(&self) -> Now;
}

/// What only the provider itself knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Our process and its workers: their load is not somebody else's.
    pub own_processes: Vec<u32>,
    /// Our workers: what they swap is bounded.
    pub workers: Vec<u32>,
    /// What we moved over the network since this program began, bytes.
    pub moved_bytes: u64,
    /// Whether a worker of ours has something to do.
    pub works: bool,
    /// What we store of others' work, bytes; none if nobody counted yet.
    pub disk_ours_bytes: Option<u64>,
}

/// The stamp of the preferences' file; none if there is none.
type Changed = Option<Stamp>;

/// Looks, decides, and remembers what it has to.
pub struct Watcher<P, C> {
    probe: P,
    clock: C,
    facts: Box<dyn FnMut() -> Facts + Send>,
    control: Control,
    stamp: Option<Option<Stamp>>,
    wishes: Result<Wishes, String>,
    folder: PathBuf,
    path: PathBuf,
    /// What the preferences' file was when it was read last, and what it was at the last look; none outside: never yet.
    changed: Option<Changed>,
    looked: Option<Changed>,
    /// Those that hold; an error where none were ever read.
    preferences: Result<Preferences, String>,
    /// Why the file of now cannot be used, so that those from before hold.
    unusable: Option<String>,
    traffic: Result<Traffic, Damaged>,
    presence: Presence,
    memory: Memory,
    signals: Signals,
    started_ms: u64,
    refreshed_ms: Option<u64>,
    /// What was moved up to the last look.
    moved_bytes: u64,
    /// At the last look nothing of ours ran or moved.
    rests: bool,
}

impl<P: Probe, C: Clock> Watcher<P, C> {
    /// Watches with the preferences of a file (defaults if it does not exist) and the control file of a data folder. `facts` is called at every
    /// step and should only copy. `jitter_ms` as in [`Memory::new`].
    pub fn new(
        probe: P,
        clock: C,
        folder: &Path,
        preferences: &Path,
        jitter_ms: u64,
        facts: impl FnMut() -> Facts + Send + 'static,
    ) -> Self {
        let started_ms = clock.now().steady_ms;
        Self {
            probe,
            clock,
            facts: Box::new(facts),
            control: Control::new(folder),
            stamp: None,
            wishes: Ok(Wishes::default()),
            folder: folder.to_owned(),
            path: preferences.to_owned(),
            changed: None,
            looked: None,
            preferences: Err("not read yet".to_owned()),
            unusable: None,
            traffic: Traffic::open(folder),
            presence: Presence::default(),
            memory: Memory::new(jitter_ms),
            signals: Signals::default(),
            started_ms,
            refreshed_ms: None,
            moved_bytes: 0,
            rests: false,
        }
    }

    /// Looks once and decides.
    pub fn step(&mut self) -> Decision {
        let now = self.clock.now();
        self.look_at_wishes();
        let settled = self.look_at_preferences();
        let mut decision = self.decide(now);
        if let (Ok(_), Some(error)) = (&self.preferences, &self.unusable) {
            keeps_preferences(&mut decision, error);
        }
        if !settled {
            decision.next_check = decision.next_check.min(SETTLE);
        }
        decision
    }

    fn decide(&mut self, now: Now) -> Decision {
        let due = self.refreshed_ms.is_none_or(|last| {
            let passed = now.steady_ms.checked_sub(last);
            passed.is_none_or(|passed| u128::from(passed) >= CHECK_MAX.as_millis())
        });
        let facts = (self.facts)();
        self.rests = !facts.works && facts.moved_bytes == self.moved_bytes;
        self.moved_bytes = facts.moved_bytes;
        let moved = self.learn_traffic(&facts, now, due);
        if due {
            self.refreshed_ms = Some(now.steady_ms);
        }
        let (wishes, preferences) = match (&self.wishes, &self.preferences) {
            (Ok(wishes), Ok(preferences)) => (wishes, preferences),
            (Err(error), _) | (_, Err(error)) => return refuse(error),
        };
        self.signals.transferred_bytes = match moved {
            Ok(bytes) => bytes,
            Err(damaged) => return refuse(&damaged.to_string()),
        };
        if due {
            self.probe.refresh(preferences, &facts, now, &mut self.signals);
        }
        let signs = self.probe.signs();
        let before = if self.presence.is_new() { self.probe.before(now) } else { None };
        self.signals.idle = self.presence.look(&signs, before, now);
        self.signals.disk_ours_bytes = facts
            .disk_ours_bytes
            .map_or_else(Reading::default, |bytes| Reading::known(bytes, "blobs of the data folder"));
        self.signals.since_start = Duration::from_millis(now.steady_ms.saturating_sub(self.started_ms));
        decide(&mut self.memory, preferences, &self.signals, wishes, now)
    }

    /// How long to sleep after the last step, which decided so: as [`wait_after`] says, or up to [`LOOK_RESTING`] while nothing of ours runs or moves.
    #[must_use]
    pub fn wait_after(&self, decision: &Decision) -> Duration {
        let wait = wait_after(decision);
        if self.rests && wait == LOOK_RUNNING { decision.next_check.min(LOOK_RESTING).max(wait) } else { wait }
    }

    /// What the last step knew of the machine.
    pub const fn signals(&self) -> &Signals {
        &self.signals
    }

    fn look_at_wishes(&mut self) {
        let stamp = self.control.stamp();
        if self.stamp == Some(stamp) {
            return;
        }
        // The stamp from before the read: a file that changes meanwhile is read again.
        self.stamp = Some(stamp);
        self.wishes = self.control.read().map_err(|error| error.to_string());
    }

    /// What was moved in the period of the owner's limit; an error only where there is a limit.
    fn learn_traffic(&mut self, facts: &Facts, now: Now, due: bool) -> Result<u64, Damaged> {
        if due && self.traffic.is_err() {
            // The owner may have removed it.
            self.traffic = Traffic::open(&self.folder);
        }
        let today = now.local_ms().div_euclid(DAY_MS);
        if let Ok(traffic) = &mut self.traffic {
            traffic.add(facts.moved_bytes, today);
            if due {
                traffic.save();
            }
        }
        match (&self.traffic, &self.preferences) {
            (Ok(traffic), Ok(preferences)) => Ok(traffic.within(preferences.network.transfer_days, today)),
            (Err(damaged), Ok(preferences)) if preferences.network.transfer_mb_max > 0 => Err(damaged.clone()),
            _ => Ok(0),
        }
    }

    /// Puts on the disk what was moved. For the end: the watcher does so every ten seconds.
    pub fn save(&mut self) {
        if let Ok(traffic) = &mut self.traffic {
            traffic.save();
        }
    }

    /// The stamp of the preferences' file now.
    fn found(&self) -> Changed {
        fs::metadata(&self.path).ok().map(|metadata| Stamp::of(&metadata))
    }

    /// Whether the preferences' file has changed since the last step. One system call.
    #[must_use]
    pub fn sees_new_preferences(&self) -> bool {
        self.looked.is_some_and(|looked| looked != self.found())
    }

    /// Reads the preferences if they have changed; whether they are those of the file now.
    fn look_at_preferences(&mut self) -> bool {
        let found = self.found();
        let stands = self.looked.is_none_or(|before| before == found);
        self.looked = Some(found);
        if !stands {
            return false;
        }
        // A file that is not there is looked for every time, so that one that cannot be reached is not taken for one that does not exist.
        if found.is_some() && self.changed == Some(found) {
            return true;
        }
        self.changed = Some(found);
        let read = match preferences::read(&self.path) {
            Err(preferences::Error::Read(error)) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Preferences::default())
            }
            other => other.map_err(|error| error.to_string()),
        };
        match read {
            Ok(preferences) => (self.preferences, self.unusable) = (Ok(preferences), None),
            // What the owner said before is nearer to the owner's word than nothing, which would end all work for a slip of the pen.
            Err(error) if self.preferences.is_ok() => self.unusable = Some(error),
            Err(error) => self.preferences = Err(error),
        }
        true
    }
}

impl<P, C> std::fmt::Debug for Watcher<P, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher").field("path", &self.path).field("signals", &self.signals).finish_non_exhaustive()
    }
}

/// Ends or wakes a running watcher.
#[derive(Clone, Debug, Default)]
pub struct Bell(Arc<(Mutex<Rung>, Condvar)>);

#[derive(Debug, Default)]
struct Rung {
    stop: bool,
    look: bool,
}

impl Bell {
    /// Ends [`run`] at once.
    pub fn stop(&self) {
        self.ring(|rung| rung.stop = true);
    }

    /// Lets [`run`] look now, for instance because facts have changed.
    pub fn look(&self) {
        self.ring(|rung| rung.look = true);
    }

    fn ring(&self, change: impl FnOnce(&mut Rung)) {
        change(&mut self.0.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.1.notify_all();
    }

    /// Waits until somebody rings, at most so long.
    fn wait(&self, time: Duration) -> Woken {
        let rung = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.1.wait_timeout_while(rung, time, |rung| !rung.stop && !rung.look);
        let (mut rung, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let look = std::mem::take(&mut rung.look);
        match (rung.stop, look) {
            (true, _) => Woken::Stop,
            (false, true) => Woken::Look,
            (false, false) => Woken::Time,
        }
    }
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    /// Its time has passed.
    Time,
    /// Somebody wants a look.
    Look,
    /// Somebody wants the end.
    Stop,
}

/// Steps until the bell says stop, and publishes each decision that differs from the one before (and the first). For a thread of its own.
pub fn run<P: Probe, C: Clock>(watcher: &mut Watcher<P, C>, bell: &Bell, mut publish: impl FnMut(&Decision)) {
    let mut last: Option<Decision> = None;
    loop {
        let decision = watcher.step();
        let wait = watcher.wait_after(&decision);
        if last.as_ref().is_none_or(|last| differs(last, &decision)) {
            publish(&decision);
            last = Some(decision);
        }
        if rest(watcher, bell, wait) == Woken::Stop {
            return watcher.save();
        }
    }
}

/// Waits for the next look: so long, or less if somebody rings or the preferences' file changes.
fn rest<P: Probe, C: Clock>(watcher: &Watcher<P, C>, bell: &Bell, mut left: Duration) -> Woken {
    while left > LOOK_PREFERENCES {
        let woken = bell.wait(LOOK_PREFERENCES);
        if woken != Woken::Time {
            return woken;
        }
        if watcher.sees_new_preferences() {
            return Woken::Look;
        }
        left = left.saturating_sub(LOOK_PREFERENCES);
    }
    bell.wait(left)
}

/// How long to sleep after a decision, as if something of ours ran as far as it may: [`LOOK_RUNNING`] or [`LOOK_PAUSED`], or less if time alone changes
/// something earlier.
#[must_use]
pub fn wait_after(decision: &Decision) -> Duration {
    let runs = decision.cpu != Cpu::Pause || decision.gpu != Gpu::Pause || decision.network != Transfers::Pause;
    let look = if runs { LOOK_RUNNING } else { LOOK_PAUSED };
    look.min(decision.next_check.max(Duration::from_millis(1)))
}

/// Whether anything differs that somebody acts on or that changes for people in more than a countdown: the disk's bound and countdowns move all the time.
fn differs(a: &Decision, b: &Decision) -> bool {
    let acted = |decision: &Decision| {
        let flags = (decision.new_units, decision.finish, decision.in_use, decision.evict);
        let bounds = &decision.bounds;
        let memory = (bounds.memory_bytes, bounds.memory_most_bytes, bounds.swap_bytes);
        let bounds = (memory, bounds.checkpoint, bounds.buffer, bounds.switch);
        (decision.cpu, decision.gpu, decision.network, flags, bounds, decision.reasons)
    };
    acted(a) != acted(b) || fault(a) != fault(b)
}

/// What is wrong with the preferences' file, if anything is.
fn fault(decision: &Decision) -> Option<&str> {
    decision.words.iter().find(|words| words.reason == Reason::Preferences).map(|words| words.sentence.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{Bounds, Buffer};

    #[test]
    fn a_bound_that_jobs_keep_to_is_told_and_what_moves_all_the_time_is_not() {
        let before = refuse("x");
        let with = |bounds| Decision { bounds, ..before.clone() };
        let told = [
            Bounds { memory_bytes: Some(1), ..before.bounds },
            Bounds { memory_most_bytes: Some(1), ..before.bounds },
            Bounds { checkpoint: Duration::from_secs(1), ..before.bounds },
            Bounds { swap_bytes: Some(1), ..before.bounds },
            Bounds { buffer: Some(Buffer { low: Duration::ZERO, full: Duration::ZERO }), ..before.bounds },
            Bounds { switch: Duration::from_secs(1), ..before.bounds },
        ];
        assert!(told.into_iter().all(|bounds| differs(&before, &with(bounds))));
        assert!(!differs(&before, &with(Bounds { disk_bytes: Some(1), ..before.bounds })));
        assert!(differs(&before, &refuse("y")), "another fault of the file is news");
    }
}
