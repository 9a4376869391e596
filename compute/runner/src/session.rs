//! The parent side: one job, one warm worker, unit after unit, with deadlines and a stop.
//!
//! # Design
//! A session starts its worker when it opens, keeps it while units succeed or fail cleanly, and replaces it when it was killed or died: the next
//! unit simply starts a new one and prepares the job again. Dropping a session, or the future of a running unit, kills the worker.

use crate::{
    failure::{Failure, Limit},
    isolation::Isolation,
    machine::Promise,
    message::{Done, Engine, Reply, Request, Words},
    process::{Worker, WorkerCommand},
    report::SelfTest,
    said::{Hear, SAID_MAX, Said},
};
use bytes::Bytes;
use keystead_job::{JobSpec, blob_hash, limits::INPUT_BYTES_MAX};
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, time::Instant};

/// Time to check and compile a program: cranelift needs some seconds for the largest module allowed.
const PREPARE_MS_MAX: u64 = 60_000;
/// Time for a self-test, with the slow start of a graphics driver.
const PROBE_MAX: Duration = Duration::from_secs(120);
/// Adapters of a self-test: all that are used.
// LOSSY: 16 of them.
#[allow(clippy::cast_possible_truncation)]
const ADAPTERS_MAX: u8 = crate::cards::CARDS_MAX as u8;
/// Time to move one input or output over a pipe; 144 MiB take well under a second.
const TRANSFER_MS_MAX: u64 = 30_000;
/// What a worker may take beside the job's declared memory, bytes, where a control group can bound it: compiler, engine or driver, and the bytes on
/// their way.
const BESIDE_BYTES: u64 = 2 << 30;
/// Copies of a job's declared memory that `wgsl/1` may hold at once: in the frame, in the driver's staging and buffers, on the way back.
const COPIES: u64 = 3;

/// Workgroups of one request for a sample: their ids fill a quarter of a frame's header at most.
pub const WORKGROUPS_ASKED_MAX: usize = 1_024;

/// A job with the bytes that all its units share.
#[derive(Clone, Debug)]
pub struct Job {
    /// What is computed under which limits.
    pub spec: JobSpec,
    /// The program; its hash is checked against the spec.
    pub program: Bytes,
    /// The common input; its hash is checked against the spec.
    pub common: Bytes,
}

impl Job {
    fn check(&self) -> Result<(), Failure> {
        let sizes = [
            (Limit::ProgramBytes, self.program.len(), self.spec.runtime.program_bytes_max()),
            (Limit::InputBytes, self.common.len(), INPUT_BYTES_MAX),
        ];
        for (which, got, limit) in sizes {
            within(which, got, limit)?;
        }
        let blobs =
            [("program", &self.program, self.spec.program_hash), ("common", &self.common, self.spec.common_hash)];
        for (what, bytes, expected) in blobs {
            let got = blob_hash(bytes);
            if got != expected {
                return Err(Failure::provider(format_args!("{what} is not the job's: got={got} expected={expected}")));
            }
        }
        Ok(())
    }
}

const fn within(which: Limit, got: usize, limit: u64) -> Result<(), Failure> {
    let got = got as u64;
    if got <= limit { Ok(()) } else { Err(Failure::LimitHit { which, limit, got: Some(got) }) }
}

/// Ends sessions from outside: the owner came back, the customer cancelled, the job's time is over. Clones stop together.
#[derive(Clone, Debug)]
pub struct Stop {
    asked: Arc<watch::Sender<Option<&'static str>>>,
    frozen: Arc<watch::Sender<bool>>,
    deadline: Option<Instant>,
}

impl Default for Stop {
    fn default() -> Self {
        let (asked, frozen) = (Arc::new(watch::Sender::new(None)), Arc::new(watch::Sender::new(false)));
        Self { asked, frozen, deadline: None }
    }
}

impl Stop {
    /// Stops only when asked.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops when asked, and at the latest after `whole`: the deadline of a whole job.
    #[must_use]
    pub fn after(whole: Duration) -> Self {
        Self { deadline: Instant::now().checked_add(whole), ..Self::default() }
    }

    /// Asks everything that holds a clone to stop now; running units are killed and fail as `Aborted`.
    pub fn stop(&self, why: &'static str) {
        self.asked.send_replace(Some(why));
    }

    /// Says that the workers of all holders stand still now, or go on: time in which they stand still does not count as a unit's wall time. It does
    /// count for the deadline of the whole job.
    pub fn set_frozen(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }

    pub(crate) async fn stopped(&self) -> Failure {
        let mut asked = self.asked.subscribe();
        let asked = asked.wait_for(Option::is_some);
        let late = async {
            match self.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => core::future::pending().await,
            }
        };
        let why = tokio::select! {
            asked = asked => asked.ok().and_then(|why| *why).unwrap_or("stopped"),
            () = late => "the job's deadline has passed",
        };
        Failure::Aborted { why: why.to_owned() }
    }
}

/// A job on a warm worker.
#[derive(Debug)]
pub struct Session {
    command: WorkerCommand,
    job: Job,
    stop: Stop,
    on: Engine,
    engine: String,
    isolation: Isolation,
    /// None while a unit runs and after the worker was lost.
    worker: Option<Worker>,
    /// The memory that this machine gives to the job as long as the session lives.
    _memory: Promise,
}

impl Session {
    /// Starts a worker and prepares the job in it.
    ///
    /// # Errors
    /// [`Failure::KernelRejected`] and [`Failure::LimitHit`] if the program breaks a rule; the others as their docs say.
    pub async fn open(command: WorkerCommand, job: Job, stop: Stop) -> Result<Self, Failure> {
        Self::open_on(command, job, stop, Engine::Best).await
    }

    /// As [`Self::open`], on the adapter with this place in the order of the self-test ([`crate::Tested::place`]); 0 is the best. `wasm/1` has none.
    ///
    /// # Errors
    /// As [`Self::open`]; [`Failure::NoAdapter`] if there are fewer.
    pub async fn open_at(command: WorkerCommand, job: Job, stop: Stop, place: u8) -> Result<Self, Failure> {
        let on = if place == 0 { Engine::Best } else { Engine::Adapter { place } };
        Self::open_on(command, job, stop, on).await
    }

    /// As [`Self::open`], on the reference: kernels of `wgsl/1` are interpreted, whatever adapters the machine has. For referees.
    ///
    /// # Errors
    /// As [`Self::open`]; [`Failure::ProviderFault`] for a kernel that is too large for the interpreter.
    pub async fn open_reference(command: WorkerCommand, job: Job, stop: Stop) -> Result<Self, Failure> {
        Self::open_on(command, job, stop, Engine::Reference).await
    }

    /// As [`Self::open_reference`], as a second vendor's device might compute that rounds, fuses and reorders as WGSL permits. Only for trying a
    /// tolerance before anything is ordered: its outputs are nobody's results.
    ///
    /// # Errors
    /// As [`Self::open_reference`].
    pub async fn open_other_vendor(command: WorkerCommand, job: Job, stop: Stop, seed: u64) -> Result<Self, Failure> {
        Self::open_on(command, job, stop, Engine::OtherVendor { seed }).await
    }

    async fn open_on(command: WorkerCommand, job: Job, stop: Stop, on: Engine) -> Result<Self, Failure> {
        job.check()?;
        let _memory = command.promise(job.spec.limits.memory_bytes_max)?;
        let (engine, isolation) = Default::default();
        let mut session = Self { command, job, stop, on, engine, isolation, worker: None, _memory };
        let worker = session.start().await?;
        session.worker = Some(worker);
        Ok(session)
    }

    /// The engine with its version and configuration, for the result report.
    #[must_use]
    pub fn engine(&self) -> &str {
        &self.engine
    }

    /// What the present or last worker was confined by.
    #[must_use]
    pub const fn isolation(&self) -> &Isolation {
        &self.isolation
    }

    /// The worker's process id; `None` if the last one was lost.
    #[must_use]
    pub fn worker_pid(&self) -> Option<u32> {
        self.worker.as_ref().map(Worker::pid)
    }

    /// Runs one unit. After any failure the session can run further units; a lost worker is replaced first.
    ///
    /// # Errors
    /// See [`Failure`]. The unit's wall time is the job's `wall_ms_max`, counted from the moment the worker has its input.
    pub async fn run(&mut self, unit: &[u8]) -> Result<Done, Failure> {
        self.run_heard(unit, &mut |_: Said| ()).await
    }

    /// As [`Self::run`]; `hear` is told at once what the program says: at most 64 lines, then how many were left out. It must not wait for anything. A unit whose worker was
    /// lost says its lines again when it runs again.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_heard(&mut self, unit: &[u8], hear: &mut Hear<'_>) -> Result<Done, Failure> {
        self.ask(&Request::Unit, unit, self.job.spec.limits.output_bytes_max, hear).await
    }

    /// Runs only these workgroups of a unit (each once, at most [`WORKGROUPS_ASKED_MAX`]) and gives the output words that they alone determine.
    ///
    /// # Errors
    /// As [`Self::run`]; [`Failure::ProviderFault`] if the session was not opened by [`Self::open_reference`] (or runs on the interpreter anyway),
    /// if there are too many workgroups, or if the dispatch does not have one of them.
    pub async fn run_workgroups(&mut self, unit: &[u8], workgroups: &[[u32; 3]]) -> Result<Words, Failure> {
        let (got, max) = (workgroups.len(), WORKGROUPS_ASKED_MAX);
        if got > max {
            return Err(Failure::provider(format_args!("too many workgroups at once: got={got} max={max}")));
        }
        // A pair of index and word for each word of the output.
        let answer = self.job.spec.limits.output_bytes_max.saturating_mul(2);
        let done = self.ask(&Request::Workgroups(workgroups.to_vec()), unit, answer, &mut |_: Said| ()).await?;
        Words::decode(&done.output).ok_or_else(|| Failure::provider("the worker's words are not whole pairs"))
    }

    async fn ask(
        &mut self,
        request: &Request,
        unit: &[u8],
        answer_bytes_max: u64,
        hear: &mut Hear<'_>,
    ) -> Result<Done, Failure> {
        within(Limit::InputBytes, unit.len(), INPUT_BYTES_MAX)?;
        let mut worker = match self.worker.take() {
            Some(worker) => worker,
            None => self.start().await?,
        };
        // The worker is a local now: if this future is dropped, the worker is killed.
        let outcome = tokio::select! {
            biased;
            aborted = self.stop.stopped() => Err(aborted),
            outcome = run_unit(&mut worker, &self.job.spec, (request, unit), answer_bytes_max, &self.stop, hear) => outcome,
        };
        if outcome.as_ref().map_or_else(Failure::leaves_worker_usable, |_| true) {
            self.worker = Some(worker);
        }
        outcome
    }

    async fn start(&mut self) -> Result<Worker, Failure> {
        let (worker, engine) = tokio::select! {
            biased;
            aborted = self.stop.stopped() => Err(aborted),
            started = begin(&self.command, &self.job, self.on) => started,
        }?;
        self.engine = engine;
        self.isolation = worker.isolation().clone();
        Ok(worker)
    }
}

async fn begin(command: &WorkerCommand, job: &Job, engine: Engine) -> Result<(Worker, String), Failure> {
    let mut worker = Worker::start(command, job.spec.runtime).await?;
    let declared = job.spec.limits.memory_bytes_max;
    worker.limit_memory(declared.saturating_mul(COPIES).saturating_add(BESIDE_BYTES))?;
    worker.limit_swap(command.swap_bytes());
    // LOSSY: a program has at most 16 MiB, checked before.
    #[allow(clippy::cast_possible_truncation)]
    let request = Request::Begin { spec: job.spec.encode(), program_bytes: job.program.len() as u32, engine };
    sent(worker.send(&request, &[&job.program, &job.common])).await?;
    match timed(PREPARE_MS_MAX, Limit::PrepareMs, worker.receive(0)).await?.0 {
        Reply::Begun { engine } => Ok((worker, crate::failure::cleaned(&engine))),
        other => Err(unexpected(&other)),
    }
}

async fn run_unit(
    worker: &mut Worker,
    spec: &JobSpec,
    (request, unit): (&Request, &[u8]),
    answer_bytes_max: u64,
    stop: &Stop,
    hear: &mut Hear<'_>,
) -> Result<Done, Failure> {
    // Whoever stands still does not read, and that is no fault of its.
    awake(TRANSFER_MS_MAX, unread(), stop, worker.send(request, &[unit])).await?;
    // LOSSY: an output has at most 64 MiB by the job spec's bounds, its words with their indices twice as much.
    #[allow(clippy::cast_possible_truncation)]
    let output_max = answer_bytes_max as u32;
    let wall_ms = spec.limits.wall_ms_max;
    let late = Failure::LimitHit { which: Limit::WallMs, limit: wall_ms, got: None };
    match awake(wall_ms, late, stop, answered(worker, output_max, hear)).await? {
        (Reply::Done(usage), output) => Ok(Done { output, usage }),
        (other, _) => Err(unexpected(&other)),
    }
}

/// The answer, after whatever the program says before it.
async fn answered(worker: &mut Worker, payload_max: u32, hear: &mut Hear<'_>) -> Result<(Reply, Vec<u8>), Failure> {
    for _ in 0..=SAID_MAX {
        match worker.receive(payload_max).await? {
            (Reply::Said(said), _) => hear(said),
            answer => return Ok(answer),
        }
    }
    Err(Failure::provider(format_args!("the worker says more of a run than it may: max={SAID_MAX}")))
}

pub(crate) async fn sent(sending: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::time::timeout(Duration::from_millis(TRANSFER_MS_MAX), sending).await.unwrap_or_else(|_| Err(unread()))
}

fn unread() -> Failure {
    Failure::provider(format_args!("the worker does not read: waited_ms={TRANSFER_MS_MAX}"))
}

pub(crate) async fn timed<T>(
    ms: u64,
    which: Limit,
    answer: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let late = Failure::LimitHit { which, limit: ms, got: None };
    tokio::time::timeout(Duration::from_millis(ms), answer).await.unwrap_or(Err(late))
}

/// As [`timed`], for a unit's time, in which the time that its worker stands still does not count, be it for hours.
async fn awake<T>(
    ms: u64,
    late: Failure,
    stop: &Stop,
    answer: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let mut frozen = stop.frozen.subscribe();
    let mut left = Duration::from_millis(ms);
    tokio::pin!(answer);
    loop {
        let (stands, since) = (*frozen.borrow_and_update(), Instant::now());
        tokio::select! {
            biased;
            answer = &mut answer => return answer,
            () = tokio::time::sleep(left), if !stands => return Err(late),
            // The sender lives in `stop`.
            _ = frozen.changed() => {}
        }
        if !stands {
            left = left.saturating_sub(since.elapsed());
        }
    }
}

pub(crate) fn unexpected(reply: &Reply) -> Failure {
    Failure::provider(format_args!("the worker answered out of turn: {reply:?}"))
}

/// Runs a runtime's self-test in a fresh worker.
///
/// # Errors
/// [`Failure::NoAdapter`] if there is no device for `wgsl/1`; others if the machine or its driver fails.
pub async fn probe(command: &WorkerCommand, runtime: keystead_job::Runtime) -> Result<SelfTest, Failure> {
    match probe_of(command, runtime, ADAPTERS_MAX).await {
        Err(failure) if runtime == keystead_job::Runtime::Wgsl1 && !matches!(failure, Failure::NoAdapter { .. }) => {
            // A driver may take the whole process with it: then its card must not keep the best one from work.
            tracing::warn!(%failure, "the self-test of all graphics cards failed: the best one is tested alone");
            probe_of(command, runtime, 1).await
        }
        tested => tested,
    }
}

async fn probe_of(command: &WorkerCommand, runtime: keystead_job::Runtime, adapters: u8) -> Result<SelfTest, Failure> {
    let mut worker = Worker::start(command, runtime).await?;
    sent(worker.send(&Request::Probe { adapters }, &[])).await?;
    let late = || Failure::provider(format_args!("the self-test did not end: waited_ms={}", PROBE_MAX.as_millis()));
    let answer = tokio::time::timeout(PROBE_MAX, worker.receive(0)).await.unwrap_or_else(|_| Err(late()))?;
    match answer.0 {
        Reply::SelfTest(report) => {
            let isolation = worker.isolation().clone();
            Ok(SelfTest { isolation, memory_bytes_max: command.memory_bytes_max(), ..*report })
        }
        other => Err(unexpected(&other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_in_which_a_worker_stands_still_does_not_count_as_wall_time() {
        let stop = Stop::new();
        let sleeps = |ms| async move {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Ok(())
        };
        let late = || Failure::LimitHit { which: Limit::WallMs, limit: 100, got: None };
        assert_eq!(awake(100, late(), &stop, sleeps(90)).await, Ok(()));
        assert_eq!(awake(100, late(), &stop, sleeps(110)).await, Err(late()));
        // Frozen from 60 to 560 and from 580 to 680: 100 ms of work have passed at 700.
        for (answer, expected) in [(690, Ok(())), (710, Err(late()))] {
            let begin = Instant::now();
            let owner = async {
                for (at, frozen) in [(60, true), (560, false), (580, true), (680, false)] {
                    tokio::time::sleep_until(begin + Duration::from_millis(at)).await;
                    stop.set_frozen(frozen);
                }
            };
            let (outcome, ()) = tokio::join!(awake(100, late(), &stop, sleeps(answer)), owner);
            assert_eq!(outcome, expected, "{answer}");
        }
    }
}
