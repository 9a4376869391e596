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
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::watch as channel;

/// Whether workers may stand still for long. Elsewhere one ends with a provider that is killed by reading the end of its input, and who stands still reads nothing.
const CAN_STAY: bool = cfg!(target_os = "linux");
/// Processes of proofs that are remembered at once.
const PROOFS_MAX: usize = 64;
/// How often a worker that stays is looked at although nothing is said to change: somebody else may have let it go on.
const STANDS: Duration = Duration::from_secs(1);

/// What of this program is at work. Its processes do not count as another program's load.
#[derive(Debug, Default)]
pub(super) struct Running {
    order: Option<Worker>,
    check: Option<Worker>,
    proofs: Vec<u32>,
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
        // So many are never at work together: the first ones are gone.
        if self.proofs.len() >= PROOFS_MAX {
            self.proofs.clear();
        }
        self.proofs.push(process);
    }

    /// Whether some worker has something to do.
    pub(super) const fn works(&self) -> bool {
        self.order.is_some() || self.check.is_some() || !self.proofs.is_empty()
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

/// A proof of hardware is made. However that ends, its processes are not remembered: the system gives their numbers to others.
#[derive(Debug)]
pub(in crate::compute::provider) struct Proof<'a>(&'a channel::Sender<Running>);

impl Drop for Proof<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|running| running.proofs.clear());
    }
}

/// A check may have a worker. However it ends, also by being dropped in its middle, none is left behind.
#[derive(Debug)]
pub(crate) struct Checking<'a>(&'a channel::Sender<Running>);

impl Drop for Checking<'_> {
    fn drop(&mut self) {
        self.0.send_if_modified(|running| running.put(Place::Check, None));
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
    /// Says that a proof of hardware is made, until what this gives is dropped.
    pub(in crate::compute::provider) fn proof(&self) -> Proof<'_> {
        Proof(&self.running)
    }

    /// Says that a check runs, until what this gives is dropped.
    pub(crate) fn checking(&self) -> Checking<'_> {
        Checking(&self.running)
    }

    fn course(&self, place: Place, ask: Ask, decision: &Decision, running: &Running) -> Course {
        if self.allows(decision, ask, running.held_beside(place)) {
            Course::Runs
        } else if CAN_STAY && !self.is_on_card(ask.runtime) && running.stays(place, ask, decision) {
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
        let mut pace = Pace::new(stop);
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
                if place == Place::Order {
                    self.stands.fetch_add(1, Ordering::Relaxed);
                }
                self.tell(course);
            }
            let _ = tokio::time::timeout(change, changed(&mut decisions, &mut running)).await;
        }
    }

    /// How often an order's worker began or ceased to stand still for a pause: what ran between two equal answers ran without one.
    pub(in crate::compute::provider) fn stands(&self) -> u32 {
        self.stands.load(Ordering::Relaxed)
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
    frozen: Option<Frozen>,
}

/// A worker that was told to stand still.
struct Frozen {
    process: u32,
    /// Whether it still is to: the thread that tells it may come late.
    holds: Arc<AtomicBool>,
}

impl<'a> Pace<'a> {
    const fn new(stop: &'a Stop) -> Self {
        Self { stop, frozen: None }
    }

    /// Lets the worker work, or stand still; false if it works although it should not. One that was let go on by somebody else is stopped again.
    async fn keep(&mut self, worker: Option<u32>, works: bool) -> bool {
        if self.frozen.as_ref().is_some_and(|frozen| works || Some(frozen.process) != worker) {
            self.go_on();
        }
        let Some(process) = worker.filter(|_| !works) else { return true };
        if self.frozen.is_some() && Freezer::new(Root::new("/"), process, None).stopped().value() != Some(&false) {
            return true;
        }
        let before = self.frozen.take().map(|frozen| frozen.holds);
        let holds = before.unwrap_or_else(|| Arc::new(AtomicBool::new(true)));
        self.frozen = Some(Frozen { process, holds: Arc::clone(&holds) });
        // From here on it goes on when this is dropped, also in the middle of the next line.
        self.stop.set_frozen(true);
        match tokio::task::spawn_blocking(move || freeze(process, &holds)).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => tracing::debug!(process, %error, "a worker cannot be stopped"),
            Err(error) => tracing::debug!(process, %error, "stopping a worker was given up"),
        }
        // Its time counts again.
        self.go_on();
        false
    }

    fn go_on(&mut self) {
        if let Some(Frozen { process, holds }) = self.frozen.take() {
            // First: a stop that comes after the next line takes itself back.
            holds.store(false, Ordering::SeqCst);
            // The worker may have ended.
            let _ = Freezer::new(Root::new("/"), process, None).thaw();
        }
        self.stop.set_frozen(false);
    }
}

/// Stops a worker as long as that holds. Blocks.
fn freeze(process: u32, holds: &AtomicBool) -> io::Result<()> {
    if !holds.load(Ordering::SeqCst) {
        return Ok(());
    }
    let freezer = Freezer::new(Root::new("/"), process, None);
    freezer.freeze()?;
    if !holds.load(Ordering::SeqCst) {
        // The worker may have ended.
        let _ = freezer.thaw();
    }
    Ok(())
}

impl Drop for Pace<'_> {
    fn drop(&mut self) {
        self.go_on();
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::unwrap_used)] // A test: a panic is a failure.
mod tests {
    use super::*;
    use keystead_owner::decide::{Bounds, refuse};
    #[cfg(target_os = "linux")]
    use std::{
        os::unix::process::CommandExt as _,
        process::{Child, Command},
        sync::mpsc,
        task::{Context, Waker},
        thread,
    };

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
    fn processes_of_jobs_and_of_a_proof_are_ours() {
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

    #[test]
    fn proofs_that_are_over_are_no_processes_of_ours() {
        let running = channel::Sender::new(Running::default());
        {
            let _proof = Proof(&running);
            running.send_modify(|running| running.proves(3));
            assert_eq!(running.borrow().processes(), [3]);
        }
        assert!(running.borrow().processes().is_empty());
    }

    #[test]
    fn a_check_that_is_dropped_in_its_middle_leaves_no_worker_behind() {
        let running = channel::Sender::new(Running::default());
        running.send_modify(|running| {
            running.put(Place::Order, Some(1));
            running.put(Place::Check, Some(2));
        });
        drop(Checking(&running));
        assert_eq!(running.borrow().processes(), [1]);
    }

    /// A process that leads its group, as a worker does; it ends with this.
    #[cfg(target_os = "linux")]
    struct Sleeper(Child);

    #[cfg(target_os = "linux")]
    impl Sleeper {
        fn start() -> Self {
            Self(Command::new("sleep").arg("600").process_group(0).spawn().unwrap())
        }

        fn freezer(&self) -> Freezer {
            Freezer::new(Root::new("/"), self.0.id(), None)
        }

        fn wait_until(&self, stands_still: bool) {
            let begin = Instant::now();
            while self.freezer().stopped().value() != Some(&stands_still) {
                assert!(begin.elapsed() < Duration::from_secs(30), "the system does not do what it was told");
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    #[cfg(target_os = "linux")]
    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn who_is_to_stand_still_is_stopped_again_if_somebody_lets_it_go_on_and_goes_on_with_its_pace() {
        let worker = Sleeper::start();
        let (stop, process) = (Stop::new(), Some(worker.0.id()));
        let mut pace = Pace::new(&stop);
        assert!(pace.keep(process, false).await);
        worker.wait_until(true);
        worker.freezer().thaw().unwrap();
        worker.wait_until(false);
        assert!(pace.keep(process, false).await);
        worker.wait_until(true);
        assert!(pace.keep(process, true).await);
        worker.wait_until(false);
        assert!(pace.keep(process, false).await);
        worker.wait_until(true);
        drop(pace);
        worker.wait_until(false);
    }

    /// The next lease of a map has the same worker, and nobody would let it go on.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_stop_that_comes_after_the_end_of_its_pace_does_not_last() {
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        let worker = Sleeper::start();
        let stop = Stop::new();
        runtime.block_on(async {
            let (release, held) = mpsc::channel::<()>();
            let busy = tokio::task::spawn_blocking(move || held.recv());
            let mut pace = Pace::new(&stop);
            {
                let mut keeping = Box::pin(pace.keep(Some(worker.0.id()), false));
                assert!(keeping.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            }
            drop(pace);
            release.send(()).unwrap();
            busy.await.unwrap().unwrap();
            // There is one thread, and the stop came first.
            tokio::task::spawn_blocking(|| ()).await.unwrap();
        });
        assert_eq!(worker.freezer().stopped().value(), Some(&false));
    }
}
