//! The workers of this program: what runs, what share of the time it works, and what stands still in memory while the owner has the machine.
//!
//! # Design
//! A worker that stands still was stopped by signals to its process group: it goes on where it was, and the time does not count as its unit's. A moment of each
//! second is the owner's share of time; a whole pause is `memory.keep_paused`. Only what is known to stand still stays: a job whose worker is not known
//! yet, or does not stop, ends at once as without that wish. Its worker is killed, as it is when the order is over, the customer cancels, memory is short or
//! this process ends: a process that stands still can be killed like any other.
//!
//! # Invariants
//! At most two workers stay: that of the order which has the machine, and that of one check. Both keep the memory that they were given.

use super::{super::ask::Ask, Owner};
use keystead_job::Runtime;
use keystead_owner::{
    decide::{Cpu, Decision, throttle},
    priority::{self, Freezer},
    probe::Root,
};
use keystead_runner::Stop;
use std::{
    convert::Infallible,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};
use tokio::sync::watch as channel;

/// Processes of proofs that are remembered at once.
const PROOFS_MAX: usize = 64;
/// How often a worker that stays is looked at although nothing is said to change.
const STANDS: Duration = Duration::from_secs(1);

/// What of this program is at work. Its processes do not count as another program's load.
#[derive(Debug, Default)]
pub(super) struct Running {
    order: Option<Worker>,
    check: Option<Worker>,
    proofs: Vec<u32>,
    /// A proof is under way.
    proving: bool,
    /// Memory of the order or lease that has the machine, bytes.
    pub(super) held_bytes: u64,
}

/// Whose worker it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The order or lease that has the machine.
    Order,
    /// A check beside it.
    Check,
}

/// The worker of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Worker {
    process: u32,
    /// It was told to stand still, and the system says that it cannot.
    is_unstoppable: bool,
}

impl Running {
    const fn worker(&self, place: Place) -> Option<Worker> {
        match place {
            Place::Order => self.order,
            Place::Check => self.check,
        }
    }

    const fn place(&mut self, place: Place) -> &mut Option<Worker> {
        match place {
            Place::Order => &mut self.order,
            Place::Check => &mut self.check,
        }
    }

    /// Puts a worker into its place; whether that is news.
    pub(super) fn put(&mut self, place: Place, process: Option<u32>) -> bool {
        let worker = self.place(place);
        let is_new = worker.map(|worker| worker.process) != process;
        if is_new {
            *worker = process.map(|process| Worker { process, is_unstoppable: false });
        }
        is_new
    }

    /// A worker does not stop; whether that is news, and still of interest.
    const fn does_not_stop(&mut self, place: Place, process: u32) -> bool {
        match self.place(place) {
            Some(worker) if worker.process == process => !std::mem::replace(&mut worker.is_unstoppable, true),
            _ => false,
        }
    }

    /// Remembers a process of a proof.
    pub(super) fn proves(&mut self, process: u32) {
        // Those of earlier proofs are gone; a few numbers too many do no harm.
        if self.proofs.len() >= PROOFS_MAX {
            self.proofs.clear();
        }
        self.proofs.push(process);
        self.proving = true;
    }

    /// The proof is over, and its workers have ended.
    pub(super) const fn proof_ended(&mut self) {
        self.proving = false;
    }

    /// Whether some worker has something to do.
    pub(super) const fn works(&self) -> bool {
        self.order.is_some() || self.check.is_some() || self.proving
    }

    /// All processes but this one.
    pub(super) fn processes(&self) -> Vec<u32> {
        let jobs = [self.order, self.check].into_iter().flatten().map(|worker| worker.process);
        jobs.chain(self.proofs.iter().copied()).collect()
    }

    /// Memory of others that a job has beside its own, bytes.
    const fn held_beside(&self, place: Place) -> u64 {
        match place {
            Place::Order => 0,
            Place::Check => self.held_bytes,
        }
    }

    /// Whether the worker of a paused job stays in memory under this decision.
    fn stays(&self, place: Place, ask: Ask, decision: &Decision) -> bool {
        let stops = self.worker(place).is_some_and(|worker| !worker.is_unstoppable);
        stops && !decision.evict && ask.fits(&decision.bounds, self.held_beside(place))
    }
}

/// What becomes of a job at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    /// It runs.
    Runs,
    /// It stands still in memory.
    Stays,
    /// Its worker is killed.
    Ends,
}

impl Owner {
    fn course(&self, place: Place, ask: Ask, decision: &Decision, running: &Running) -> Course {
        if self.allows(decision, ask, running.held_beside(place)) {
            Course::Runs
        } else if !self.is_on_card(ask.runtime) && running.stays(place, ask, decision) {
            Course::Stays
        } else {
            Course::Ends
        }
    }

    /// Waits until an order's run must end, since it may neither run nor stay in memory. A worker that is not known does not stay.
    pub(in crate::compute::provider) async fn until_ends(&self, ask: impl Into<Ask>) {
        self.until_place_ends(Place::Order, ask.into()).await;
    }

    /// As [`Self::until_ends`], for a check.
    pub(crate) async fn until_check_ends(&self, ask: impl Into<Ask>) {
        self.until_place_ends(Place::Check, ask.into()).await;
    }

    async fn until_place_ends(&self, place: Place, ask: Ask) {
        let ends = |decision: &Decision, running: &Running| self.course(place, ask, decision, running) == Course::Ends;
        super::until_both(self.decisions.clone(), self.running.subscribe(), ends).await;
    }

    /// Keeps the worker of a lease to its share of processors and of time, as long as it is awaited: it stands still for a part of each second.
    pub(in crate::compute::provider) async fn pace_lease(&self, runtime: Runtime, stop: &Stop) -> Infallible {
        self.pace(Place::Order, runtime, None, stop).await
    }

    /// The same for an order, whose worker also stands still while it is paused and stays.
    pub(in crate::compute::provider) async fn pace_order(&self, ask: impl Into<Ask>, stop: &Stop) -> Infallible {
        let ask = ask.into();
        self.pace(Place::Order, ask.runtime, Some(ask), stop).await
    }

    /// As [`Self::pace_order`], for a check.
    pub(crate) async fn pace_check(&self, ask: impl Into<Ask>, stop: &Stop) -> Infallible {
        let ask = ask.into();
        self.pace(Place::Check, ask.runtime, Some(ask), stop).await
    }

    async fn pace(&self, place: Place, runtime: Runtime, kept: Option<Ask>, stop: &Stop) -> Infallible {
        let (mut decisions, mut running) = (self.decisions.clone(), self.running.subscribe());
        let mut pace = Pace { stop, frozen: None };
        let begin = Instant::now();
        let (mut confined, mut stood) = (None, false);
        loop {
            let (worker, threads, course) = {
                let (decision, running) = (decisions.borrow_and_update(), running.borrow_and_update());
                let threads = match decision.cpu {
                    Cpu::Run { threads, .. } => Some(threads),
                    Cpu::Pause => None,
                };
                let course = kept.map(|ask| self.course(place, ask, &decision, &running));
                (running.worker(place).map(|worker| worker.process), threads, course)
            };
            let stands = course == Some(Course::Stays);
            if let (Some(process), Some(threads)) = (worker, threads)
                && confined != Some((process, threads))
                && !self.dedicated.load(Ordering::Relaxed)
            {
                confined = Some((process, threads));
                let report = priority::confine(&Root::new("/"), process, threads);
                tracing::debug!(process, threads, %report, "worker confined to its processors");
            }
            let steady_ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
            let (works, change) = throttle(self.time_percent(runtime), steady_ms);
            let (works, change) = if stands { (false, STANDS) } else { (works, change) };
            if !pace.keep(worker, works).await
                && stands
                && let Some(process) = worker
            {
                // Whoever waits for its end is told: it cannot stay.
                self.running.send_if_modified(|running| running.does_not_stop(place, process));
                continue;
            }
            if std::mem::replace(&mut stood, stands) != stands {
                self.tell(course);
            }
            let _ = tokio::time::timeout(change, changed(&mut decisions, &mut running)).await;
        }
    }

    fn tell(&self, course: Option<Course>) {
        match course {
            Some(Course::Stays) => {
                tracing::info!(why = self.headline(), "work paused for the owner; it stays in memory");
            }
            Some(Course::Runs) => tracing::info!("work goes on where it was paused"),
            // Whoever ends it says so.
            Some(Course::Ends) | None => {}
        }
    }
}

/// Waits until one of both has changed.
async fn changed<A, B>(first: &mut channel::Receiver<A>, second: &mut channel::Receiver<B>) {
    tokio::select! {
        _ = first.changed() => {}
        _ = second.changed() => {}
    }
}

/// A worker that works for a part of the time. What stands still goes on when this is dropped.
struct Pace<'a> {
    stop: &'a Stop,
    frozen: Option<u32>,
}

impl Pace<'_> {
    /// Lets the worker work, or stand still; false if it works although it should not.
    async fn keep(&mut self, worker: Option<u32>, works: bool) -> bool {
        if self.frozen.is_some() && (works || self.frozen != worker) {
            self.go_on();
        }
        if works || self.frozen.is_some() {
            return true;
        }
        let Some(process) = worker else { return true };
        // From here on it goes on when this is dropped, also in the middle of the next line.
        self.frozen = Some(process);
        self.stop.set_frozen(true);
        let freezing = tokio::task::spawn_blocking(move || Freezer::new(Root::new("/"), process, None).freeze());
        match freezing.await {
            Ok(Ok(_)) => return true,
            Ok(Err(error)) => tracing::debug!(process, %error, "a worker cannot be stopped"),
            Err(error) => tracing::debug!(process, %error, "stopping a worker was given up"),
        }
        // Its time counts again.
        self.go_on();
        false
    }

    fn go_on(&mut self) {
        if let Some(process) = self.frozen.take() {
            // The worker may have ended.
            let _ = Freezer::new(Root::new("/"), process, None).thaw();
        }
        self.stop.set_frozen(false);
    }
}

impl Drop for Pace<'_> {
    fn drop(&mut self) {
        self.go_on();
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // A test: a panic is a failure.
mod tests {
    use super::*;
    use keystead_owner::decide::{Bounds, refuse};

    const MIB: u64 = 1 << 20;

    /// A pause in which work may stay, with so much memory for jobs.
    fn pause(memory_bytes: u64) -> Decision {
        let paused = refuse("");
        let bounds = Bounds { memory_bytes: Some(memory_bytes), ..paused.bounds };
        Decision { evict: false, bounds, ..paused }
    }

    #[test]
    fn a_worker_stays_that_is_known_stops_and_has_room() {
        let ask = Ask { runtime: Runtime::Wasm1, needed_bytes: 3 * MIB };
        let mut running = Running::default();
        let stays = |running: &Running, decision: &Decision| running.stays(Place::Order, ask, decision);
        assert!(!stays(&running, &pause(3 * MIB)), "one that nobody knows cannot be stopped");
        assert!(running.put(Place::Order, Some(7)) && !running.put(Place::Order, Some(7)));
        assert!(stays(&running, &pause(3 * MIB)));
        assert!(!stays(&running, &pause(3 * MIB - 1)), "the share of memory while somebody is there counts");
        assert!(!stays(&running, &Decision { evict: true, ..pause(3 * MIB) }));
        assert!(!running.does_not_stop(Place::Order, 8), "another one");
        assert!(running.does_not_stop(Place::Order, 7) && !running.does_not_stop(Place::Order, 7));
        assert!(!stays(&running, &pause(3 * MIB)));
        assert!(running.put(Place::Order, Some(9)) && stays(&running, &pause(3 * MIB)), "its successor may");
    }

    #[test]
    fn a_check_stays_beside_what_the_order_holds() {
        let ask = Ask { runtime: Runtime::Wasm1, needed_bytes: 3 * MIB };
        let mut running = Running { held_bytes: MIB, ..Running::default() };
        assert!(running.put(Place::Check, Some(7)));
        assert!(running.stays(Place::Check, ask, &pause(4 * MIB)));
        assert!(!running.stays(Place::Check, ask, &pause(4 * MIB - 1)));
        assert!(!running.stays(Place::Order, ask, &pause(4 * MIB)), "the order has no worker");
    }

    #[test]
    fn processes_of_jobs_and_of_the_last_proofs_are_ours() {
        let mut running = Running::default();
        running.put(Place::Order, Some(1));
        running.put(Place::Check, Some(2));
        for process in 100..100 + 64 {
            running.proves(process);
        }
        assert_eq!(running.processes().len(), 2 + PROOFS_MAX);
        running.proves(3);
        running.put(Place::Check, None);
        assert_eq!(running.processes(), [1, 3]);
    }
}
