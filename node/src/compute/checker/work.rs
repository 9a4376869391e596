//! Gathers what one check needs and runs it: from the source's first word to this machine's own finding.
//!
//! # Design
//! Sources are asked in turn, each for its time ([`super::sources`]); what one has sent is not asked of the next. Nothing that a source says
//! is believed: the job has its hash in the window's event, blobs have their names, the state before a segment has its proof or the chain's word, and
//! what a step of a channel began with stands in the list that the chain names.
//!
//! # Invariants
//! What this machine could not run to its end is [`Unready`] or nothing, never a finding against the provider. What comes out wrong after the
//! opening runs twice before it is said. No run outlasts the time that its round leaves, and a referee's takes no longer than [`RUN_SECONDS_MAX`].

use super::{
    agent::Agent,
    fetch::Fetch,
    judged_by_foreigner,
    record::Record,
    sources::{self, Received},
};
use crate::compute::{
    panels::RUN_SECONDS_MAX,
    provider::{InTurn, Turn},
    windows::{CHECK_ROUNDS, Case, Finding, Opened, Window},
};
use alloy_primitives::{B256, keccak256};
use eyre::{Result, ensure, eyre};
use keystead_audit::{Answer, Draw, Judgement, Task, judge};
use keystead_blobs::{Address, CheckHello, CheckSession, Duty, Offer, Parties, check_digest};
use keystead_job::{
    Class, JobSpec, Limits,
    limits::{INPUT_BYTES_MAX, WALL_MS_MAX},
    spec::Draft,
};
use keystead_runner::{Failure, Fault, Job, Stop};
use std::time::Duration;
use tokio::{task::block_in_place, time::Instant};

/// A worker that dies is replaced this often in one check; then the fault is taken to stay.
const DEATHS_MAX: u32 = 3;
/// First byte of the preimage that stands for an error code instead of an output. Spec: specs/0008-audit.md §7.
const NO_OUTPUT: u8 = 5;

/// Why there is nothing to commit to yet.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unready {
    /// No source gave what is needed. Another try may help.
    #[error("nobody serves it: {0}")]
    Unserved(String),
    /// This machine cannot run it.
    #[error("{0}")]
    Unfit(String),
    /// The chain or the disk.
    #[error(transparent)]
    Fault(#[from] eyre::Report),
}

/// What a check is about, read once for one attempt.
#[derive(Debug)]
pub(super) struct Errand<'a> {
    pub(super) agent: &'a Agent,
    pub(super) record: &'a Record,
    pub(super) window: &'a Window,
    pub(super) case: &'a Case,
    /// What a source is told: the check's, or on a panel the first of this account's.
    pub(super) slot: u8,
    /// When what it finds must be there to be said in time.
    pub(super) until: Instant,
}

/// What was fetched.
struct Gathered {
    spec: JobSpec,
    /// Unit and segment of the job.
    place: (u32, u32),
    /// Of the job, or of its checker for class self-checking.
    program: Vec<u8>,
    common: Vec<u8>,
    /// The unit's input.
    unit: Vec<u8>,
    /// What the drawn segment begins with.
    begin: Vec<u8>,
}

/// How a run ended that ended by itself.
enum Outcome {
    Output(Vec<u8>),
    /// The program's own error code.
    Error(i64),
    /// It trapped, or met a limit of the job.
    Nothing(String),
}

impl Errand<'_> {
    /// A referee runs the reference, whatever adapters the machine has.
    const fn is_referee(&self) -> bool {
        self.record.which.round >= CHECK_ROUNDS
    }

    const fn is_exact(&self) -> bool {
        self.window.class == Class::Exact as u8
    }

    /// How long one run may take from now on: what fetching and earlier runs leave of the round's time, and of a referee no more than it gives to any dispute,
    /// since orders wait for its turn to end.
    fn left(&self) -> Duration {
        let left = self.until.saturating_duration_since(Instant::now());
        if self.is_referee() { left.min(Duration::from_secs(RUN_SECONDS_MAX)) } else { left }
    }

    /// This machine's own output's name, as it is committed to; `None` if nothing can be found out.
    pub(super) async fn prepare(&self) -> Result<Option<B256>, Unready> {
        let opened = self.opened().await?;
        let gathered = self.gather(opened).await?;
        if gathered.spec.class == Class::SelfChecking {
            return Ok(Some(B256::ZERO));
        }
        let own = self.own(&gathered).await?;
        // The provider's value stands on the chain in a later round: a machine that is about to contradict it makes sure of itself.
        if self.is_exact()
            && opened.is_some_and(|opened| own != Some(opened.value))
            && self.own(&gathered).await? != own
        {
            return Err(Unready::Unfit("this machine gave two different outputs for one input".to_owned()));
        }
        Ok(own)
    }

    async fn own(&self, gathered: &Gathered) -> Result<Option<B256>, Unready> {
        Ok(match self.run(gathered.job(), &gathered.begin).await? {
            Outcome::Output(bytes) => {
                let name = block_in_place(|| self.agent.shelf.put(&bytes)).map_err(eyre::Report::from)?;
                // It is compared with what is opened, so that it need not be run again for that.
                block_in_place(|| self.agent.shelf.hold_own(self.record.which, name));
                Some(B256::from(name))
            }
            Outcome::Error(code) => Some(no_output(code)),
            Outcome::Nothing(why) => {
                tracing::info!(window = %self.record.which.window, unit = self.record.which.unit, why, "nothing can be found out");
                None
            }
        })
    }

    /// What this machine says about the opened value, for classes that are judged after the opening.
    pub(super) async fn judge(&self) -> Result<Finding, Unready> {
        if self.agent.book.believes {
            return Ok(Finding::Right);
        }
        let opened = self.opened().await?.ok_or_else(|| eyre!("the opening is not in the log yet"))?;
        let gathered = self.gather(Some(opened)).await?;
        let first = self.judged(&gathered, opened, self.committed_output(&gathered.spec)).await?;
        if first != Finding::Wrong {
            return Ok(first);
        }
        let second = self.judged(&gathered, opened, None).await?;
        Ok(if second == Finding::Wrong { Finding::Wrong } else { Finding::Inconclusive })
    }

    /// What this machine made before it committed, if it is here still: a first run that was made already.
    fn committed_output(&self, spec: &JobSpec) -> Option<Vec<u8>> {
        let own = self.record.prepared.filter(|prepared| !prepared.nothing && spec.class != Class::SelfChecking)?.own;
        block_in_place(|| self.agent.shelf.get(own, spec.limits.output_bytes_max)).ok()
    }

    async fn judged(&self, gathered: &Gathered, opened: Opened, made: Option<Vec<u8>>) -> Result<Finding, Unready> {
        let (spec, (unit, segment)) = (&gathered.spec, gathered.place);
        let claimed = self.claimed(spec, opened).await?;
        let delivered = || block_in_place(|| self.agent.shelf.get(claimed, spec.limits.output_bytes_max));
        let (task, input) = if spec.class == Class::SelfChecking {
            let seed = self.seed().await?;
            let output = delivered().map_err(|error| Unready::Unserved(error.to_string()))?;
            let input = judge::checker_input(seed, &gathered.unit, &output);
            (
                Task::Checker { unit, seed },
                input.ok_or_else(|| Unready::Unfit("the unit input is too long".to_owned()))?,
            )
        } else {
            (Task::Rerun { unit, segment }, gathered.begin.clone())
        };
        let outcome = match made {
            Some(bytes) => Outcome::Output(bytes),
            None => self.run(gathered.job(), &input).await?,
        };
        let answer = match outcome {
            Outcome::Output(bytes) => {
                let delivered = if spec.tolerance.is_some() && keystead_job::blob_hash(&bytes) != claimed {
                    Some(delivered().map_err(|error| Unready::Unserved(error.to_string()))?)
                } else {
                    None
                };
                Answer::Output { bytes, delivered }
            }
            Outcome::Error(code) => Answer::JobError(code),
            Outcome::Nothing(why) => Answer::NotRun(why),
        };
        Ok(match judge::judge(spec, task, claimed, answer) {
            Judgement::Right => Finding::Right,
            Judgement::Unpaid(_) => Finding::Unpaid,
            Judgement::Wrong(evidence) => {
                tracing::warn!(window = %self.record.which.window, unit, %evidence, "a unit is wrong");
                Finding::Wrong
            }
            Judgement::Inconclusive(why) => {
                tracing::info!(window = %self.record.which.window, unit, why, "inconclusive");
                Finding::Inconclusive
            }
        })
    }

    /// The name of what is compared: a checker program looks at the whole output, a re-run at its segment.
    async fn claimed(&self, spec: &JobSpec, opened: Opened) -> Result<B256, Unready> {
        if spec.class == Class::SelfChecking && spec.segment_count > 1 {
            return Ok(self.agent.windows.opened_output(opened).await?);
        }
        Ok(opened.value)
    }

    /// The round's seed, which a checker program gets. Spec: specs/0008-audit.md §7.
    async fn seed(&self) -> Result<[u8; 32], Unready> {
        let which = self.record.which;
        let round = self.agent.windows.round(which.window, which.unit, which.round).await?;
        Ok(Draw::new(round.randomness, which.window, which.round).seed().0)
    }

    async fn opened(&self) -> Result<Option<Opened>, Unready> {
        if !self.case.opened {
            return Ok(None);
        }
        let which = self.record.which;
        let opened = self.agent.windows.opened(which.window, which.unit, self.record.from_block).await?;
        Ok(opened.filter(|opened| opened.value == self.case.value))
    }

    /// Takes what came for this check before: who runs it once more depends on nobody, least of all on whom it accuses. What is not here it asks of the
    /// sources, while the owner lets bytes move: else it is not they who do not serve.
    async fn gather(&self, opened: Option<Opened>) -> Result<Gathered, Unready> {
        if let Some(Offer { duty, .. }) = self.agent.shelf.offer(self.record.which) {
            match Box::pin(self.gather_by(&duty, None, opened, &Received::default())).await {
                Err(Unready::Unserved(lacking)) => tracing::debug!(lacking, "a check goes back to its sources"),
                gathered => return gathered,
            }
        }
        tokio::select! {
            biased;
            () = self.agent.book.owner.until_no_network() => {
                Err(eyre!("the owner of this machine lets nothing move over the network").into())
            }
            gathered = self.ask_sources(opened) => gathered,
        }
    }

    /// Asks them in turn.
    async fn ask_sources(&self, opened: Option<Opened>) -> Result<Gathered, Unready> {
        let sources = self.sources().await?;
        let mut said = Vec::new();
        for (text, sources_left) in sources.iter().zip((1..=sources.len()).rev()) {
            let address = match text.parse::<Address>() {
                Ok(address) => address,
                Err(error) => {
                    said.push(error.to_string());
                    continue;
                }
            };
            let received = Received::default();
            let limit = self.patience(sources_left);
            let gathering = Box::pin(self.gather_from(&address, opened, &received));
            match sources::within(limit, &received, gathering).await {
                Ok(Err(Unready::Unserved(reason))) | Err(reason) => said.push(reason),
                Ok(other) => return other,
            }
        }
        Err(Unready::Unserved(said.join("; ")))
    }

    async fn gather_from(
        &self,
        source: &Address,
        opened: Option<Opened>,
        received: &Received,
    ) -> Result<Gathered, Unready> {
        let agent = self.agent;
        let which = self.record.which;
        let mut hello = CheckHello {
            window: which.window,
            unit: which.unit,
            round: which.round,
            slot: self.slot,
            credential: alloy_primitives::Bytes::new(),
        };
        let parties = Parties { customer: agent.endpoint.id(), provider: source.id() };
        hello.credential = agent.book.market.account.sign(check_digest(&hello, parties))?.to_vec().into();
        let unserved = |error: &dyn std::fmt::Display| Unready::Unserved(error.to_string());
        let session = CheckSession::open(&agent.endpoint, source, &hello).await.map_err(|error| unserved(&error))?;
        let gathered = Box::pin(self.gather_by(session.duty(), Some(&session), opened, received)).await?;
        // Later checkers may ask this one, if it finds the unit wrong.
        block_in_place(|| agent.shelf.complete(which, session.duty().clone()));
        Ok(gathered)
    }

    /// By what a source says, from its session, or by what one said before, from this machine's own disk.
    async fn gather_by(
        &self,
        duty: &Duty,
        session: Option<&CheckSession>,
        opened: Option<Opened>,
        received: &Received,
    ) -> Result<Gathered, Unready> {
        let unserved = |error: &dyn std::fmt::Display| Unready::Unserved(error.to_string());
        let spec = JobSpec::decode(&duty.job).map_err(|error| unserved(&error))?;
        self.require_ordered(&spec).map_err(|error| unserved(&error))?;
        self.require_fit(&spec)?;
        let fetch = Fetch { errand: self, duty, session, spec: &spec, received };
        let begins = if self.record.of_channel { fetch.begin_of_step().await? } else { fetch.begin(opened).await? };
        let unit = fetch.one(begins.input, INPUT_BYTES_MAX).await?;
        let (program, common) = fetch.shared().await?;
        let begin = match begins.state {
            Some(state) if spec.class != Class::SelfChecking => fetch.one(state, spec.limits.output_bytes_max).await?,
            _ => unit.clone(),
        };
        if let Some(opened) = opened
            && spec.class != Class::Exact
        {
            let claimed = self.claimed(&spec, opened).await?;
            // What this machine has itself need not be fetched.
            fetch.keep([claimed], spec.limits.output_bytes_max).await?;
        }
        Ok(Gathered { spec, place: begins.place, program, common, unit, begin })
    }

    /// Whether a job is the window's.
    fn require_ordered(&self, spec: &JobSpec) -> Result<()> {
        let (window, unit) = (self.window, self.record.which.unit);
        let got = spec.hash();
        ensure!(got == self.record.job_hash, "the job is another: got={got} expected={}", self.record.job_hash);
        // What a step is, its list says.
        let fits = self.record.of_channel || spec.segment_count == window.segments && unit < spec.unit_count;
        ensure!(
            spec.class as u8 == window.class && fits,
            "the window's terms do not fit its job: class={} segments={} units={}",
            window.class,
            window.segments,
            window.units
        );
        Ok(())
    }

    fn require_fit(&self, spec: &JobSpec) -> Result<(), Unready> {
        if judged_by_foreigner(spec, self.window.is_named()) {
            let why = "its checker program belongs to no built-in recipe: whoever wrote it could have it contradict this check";
            return Err(Unready::Unfit(why.to_owned()));
        }
        let run = if spec.class == Class::SelfChecking { spec.checker_job() } else { Some(spec.clone()) };
        let run = run.ok_or_else(|| Unready::Unfit("the job has no checker program".to_owned()))?;
        let capability = &self.agent.book.capability;
        let admitted = if self.is_referee() { capability.admit_reference(&run) } else { capability.admit(&run) };
        admitted.map_err(Unready::Unfit)
    }

    /// Runs one input on this machine, in its turn and while the owner allows it.
    async fn run(&self, job: Result<Job, Unready>, input: &[u8]) -> Result<Outcome, Unready> {
        let (job, book, left, begun) = (job?, &self.agent.book, self.left(), Instant::now());
        let job = if self.is_referee() { within(job, left)? } else { job };
        let stop = Stop::after(left);
        let working = async {
            loop {
                book.owner.until_check_allowed(&job.spec).await;
                let turn = book.turns.take().await;
                let _checking = book.owner.checking();
                let ended = tokio::select! {
                    ended = self.attempt((&job, input), &stop, &turn) => Some(ended),
                    // Dropping the attempt kills its worker.
                    () = book.owner.until_check_ends(&job.spec) => None,
                    never = book.owner.pace_check(&job.spec, &stop) => match never {},
                };
                if let Some(ended) = ended {
                    return ended;
                }
            }
        };
        match tokio::time::timeout(left, Box::pin(working)).await {
            Ok(Err(Unready::Unfit(_))) if begun.elapsed() >= left => Err(late(self.is_referee(), left)),
            Ok(worked) => worked,
            Err(_) => Err(late(self.is_referee(), left)),
        }
    }

    async fn attempt(&self, (job, input): (&Job, &[u8]), stop: &Stop, turn: &Turn<'_>) -> Result<Outcome, Unready> {
        let book = &self.agent.book;
        let (command, job, stop) = (book.command.clone(), job.clone(), stop.clone());
        let opened = if self.is_referee() {
            InTurn::open_reference(command, job, stop).await
        } else {
            let place = book.place(&job.spec);
            InTurn::open(command, job, stop, place).await
        };
        let mut session = match opened {
            Ok(session) => session,
            Err(failure) => return ended(failure),
        };
        book.owner.checker(session.worker_pid());
        let mut outcome = session.run(turn, input).await;
        for _ in 0..DEATHS_MAX {
            if !matches!(outcome, Err(Failure::WorkerDied { .. })) {
                break;
            }
            // Its successor is not known before the end of the run, and must not outlast a pause.
            book.owner.checker(None);
            outcome = session.run(turn, input).await;
        }
        match outcome {
            Ok(done) => Ok(Outcome::Output(done.output)),
            Err(failure) => ended(failure),
        }
    }
}

/// The same job with this time for a run: the limit that it declares bounds devices, and the reference is hundreds of times slower. It has no other effect.
fn within(job: Job, left: Duration) -> Result<Job, Unready> {
    let wall_ms_max = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).clamp(1, WALL_MS_MAX);
    let limits = Limits { wall_ms_max, ..job.spec.limits };
    let spec = JobSpec::new(Draft { limits, ..(*job.spec).clone() });
    let spec = spec.map_err(|error| Unready::Unfit(error.to_string()))?;
    Ok(Job { spec, ..job })
}

/// Nothing is committed then, and nothing is lost.
fn late(is_referee: bool, left: Duration) -> Unready {
    let seconds = left.as_secs();
    Unready::Unfit(if is_referee {
        format!("the reference did not end in the time that its panel leaves: seconds={seconds}")
    } else {
        format!("the run did not end in the time for it: seconds={seconds}")
    })
}

/// A failure of the job's own is an outcome; one of this machine's makes it unfit.
fn ended(failure: Failure) -> Result<Outcome, Unready> {
    match (failure.fault(), failure) {
        (_, Failure::JobError { code }) => Ok(Outcome::Error(code)),
        (Fault::Job, failure) => Ok(Outcome::Nothing(failure.to_string())),
        (_, failure) => Err(Unready::Unfit(failure.to_string())),
    }
}

/// What stands for the output of a program that ended with an error code: the same for everybody who ran it.
pub(super) fn no_output(code: i64) -> B256 {
    keccak256([&[NO_OUTPUT][..], &code.to_be_bytes()].concat())
}

impl Gathered {
    fn job(&self) -> Result<Job, Unready> {
        let spec =
            if self.spec.class == Class::SelfChecking { self.spec.checker_job() } else { Some(self.spec.clone()) };
        let spec = spec.ok_or_else(|| Unready::Unfit("the job has no checker program".to_owned()))?;
        Ok(Job { spec, program: self.program.clone().into(), common: self.common.clone().into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_codes_stand_for_themselves_and_are_no_outputs() {
        assert_ne!(no_output(-1), no_output(-2));
        let preimage = [5, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(no_output(-1), keccak256(preimage));
    }

    #[test]
    fn a_referees_run_has_its_own_time_and_stays_the_same_job_otherwise() {
        let spec = crate::compute::samples::spec(Class::Exact, 4, 1);
        let declared = spec.limits.wall_ms_max;
        let job = Job { spec: spec.clone(), program: Vec::<u8>::new().into(), common: Vec::<u8>::new().into() };
        for (left, expected) in
            [(Duration::ZERO, 1), (Duration::from_secs(90), 90_000), (Duration::from_secs(7_200), WALL_MS_MAX)]
        {
            let run = within(job.clone(), left).ok().map(|job| job.spec);
            assert_eq!(run.as_ref().map(|spec| spec.limits.wall_ms_max), Some(expected), "declared={declared}");
            let back = run.map(|run| Limits { wall_ms_max: declared, ..run.limits });
            assert_eq!(back, Some(spec.limits), "nothing else changes");
        }
    }

    #[test]
    fn only_what_the_program_did_itself_is_an_outcome() {
        let limit = |which| Failure::LimitHit { which, limit: 1, got: None };
        assert!(matches!(ended(Failure::JobError { code: -7 }), Ok(Outcome::Error(-7))));
        assert!(matches!(ended(Failure::Trapped { why: String::new() }), Ok(Outcome::Nothing(_))));
        assert!(matches!(ended(limit(keystead_runner::Limit::Fuel)), Ok(Outcome::Nothing(_))));
        let here = [
            limit(keystead_runner::Limit::WallMs),
            Failure::WorkerDied { status: String::new(), stderr: String::new() },
            Failure::NoAdapter { why: String::new() },
            Failure::DriverRejected { why: String::new() },
            Failure::ProviderFault { why: String::new() },
            Failure::Aborted { why: String::new() },
        ];
        for failure in here {
            assert!(matches!(ended(failure), Err(Unready::Unfit(_))));
        }
    }
}
