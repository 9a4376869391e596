//! The customer's sample check: a state machine from a delivery to a verdict.
//!
//! # Design
//! [`Check`] says what to run next and takes the answers; it never waits and never runs anything. A caller with a blocking way to run
//! a task uses [`Check::run`]; an asynchronous one drives [`Check::pending`] and [`Check::record`].
//!
//! # Invariants
//! - The first wrong unit ends the check: *rejected*, whatever else failed.
//! - A unit that could not be re-run never rejects; it makes the verdict *inconclusive* if no unit is wrong.
//! - *Accepted* means: the commitment opens to the delivered names and every sampled unit was judged right.

use crate::{
    draw::{Draw, PPM},
    judge::{self, Answer, Evidence, Judgement, Task, judge},
    sample::{SampleRule, Seed, draw},
    tolerance::Deviation,
};
use keystead_job::{
    B256, Class, JobSpec,
    commitment::{Secret, Tree},
    trace::Trace,
};
use std::borrow::Cow;

/// What the provider delivered for a job, as the customer holds it.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The job that was ordered; the customer's own, trusted.
    pub spec: &'a JobSpec,
    /// How many units the commitment is about, from the first on: all of the job, or fewer of an order that was stopped. From the chain; trusted.
    pub units: u32,
    /// The commitment as recorded on chain, before the delivery; trusted once its block is proved.
    pub commitment: B256,
    /// The secret that the provider revealed; hostile.
    pub secret: &'a Secret,
    /// Blob names of the outputs in unit order; hostile. The caller has the bytes and has checked each against its name.
    pub output_hashes: &'a [B256],
    /// The states of each unit, in unit order; hostile. Empty for a job of one segment.
    pub traces: &'a [Trace],
}

/// Runs tasks; the caller decides where.
pub trait Rerun {
    /// Runs one task from the customer's own inputs, or from a state that the provider delivered and whose name was checked. A re-run
    /// must not return the provider's bytes.
    fn rerun(&mut self, task: Task) -> Answer;
}

impl<F: FnMut(Task) -> Answer> Rerun for F {
    fn rerun(&mut self, task: Task) -> Answer {
        self(task)
    }
}

/// Why a delivery is not what was ordered. Each but [`Rejection::Doubtful`] is evidence, not suspicion.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Rejection {
    /// Another number of outputs than units that were committed to.
    #[error("wrong number of outputs: got={got} expected={expected}")]
    OutputCount {
        /// Outputs delivered.
        got: usize,
        /// Units that were committed to.
        expected: u32,
    },
    /// The delivered names and secret do not open the recorded commitment.
    #[error("delivery does not open the commitment: got={got} expected={expected}")]
    Commitment {
        /// The root recomputed from the delivery.
        got: B256,
        /// The root on chain.
        expected: B256,
    },
    /// The traces are not those of the job's units: another number of units or segments, or a last state that is not the output.
    #[error("the states of unit {unit} are not those of its output")]
    Trace {
        /// The first unit concerned.
        unit: u32,
    },
    /// A unit is wrong.
    #[error("unit {unit} is wrong (segment {segment}): {evidence}")]
    Unit {
        /// The unit.
        unit: u32,
        /// The segment that was looked at; 0 for a checker program, which looks at the whole unit.
        segment: u32,
        /// Why.
        evidence: Evidence,
    },
    /// A unit lies outside the tolerance that was ordered, but an honest machine may have given it.
    #[error(
        "unit {unit} is outside the tolerance (segment {segment}): element {} is {}, a re-run gives {}",
        .deviation.element, .deviation.got, .deviation.expected
    )]
    Doubtful {
        /// The unit.
        unit: u32,
        /// The segment that was looked at.
        segment: u32,
        /// The worst element.
        deviation: Deviation,
    },
}

/// Why the check could decide nothing. Never held against the provider.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// No check exists for this class.
    #[error("results of class {0} cannot be checked")]
    Class(Class),
    /// Units that could not be re-run; the first one is named.
    #[error("could not re-run {count} units, first unit {unit}: {reason}")]
    NotRun {
        /// Sampled units that could not be re-run.
        count: u32,
        /// The first of them.
        unit: u32,
        /// What the re-run said.
        reason: String,
    },
}

/// What follows from a check.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Every sampled unit is right: pay.
    Accepted,
    /// The delivery is wrong: reject, with this evidence.
    Rejected(Rejection),
    /// Nothing was found out: check again, or let the deadline pay.
    Inconclusive(Why),
}

/// A verdict with the numbers that say how much it is worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// What follows.
    pub verdict: Verdict,
    /// Units that were committed to: all of the job, or its first ones.
    pub unit_count: u32,
    /// Units drawn for the sample.
    pub sampled: u32,
    /// Units judged right.
    pub right: u32,
    /// The rule's rate, parts per million; all for class self-checking.
    pub rate_ppm: u32,
}

/// An answer that was not asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("answer for a task that is not the pending one: got={got:?} pending={pending:?}")]
pub struct NotPending {
    /// The task answered.
    pub got: Task,
    /// The task that the check waits for; none if it is decided.
    pub pending: Option<Task>,
}

/// A running check.
#[derive(Debug)]
pub struct Check<'a> {
    delivery: Delivery<'a>,
    rate_ppm: u32,
    /// In the order in which they are to be run.
    tasks: Vec<Task>,
    answered: usize,
    right: u32,
    not_run: Option<Why>,
    /// Decided before the sample was used up.
    decided: Option<Verdict>,
}

impl<'a> Check<'a> {
    /// Opens the commitment and draws the sample. `seed` must have been chosen after the commitment was recorded.
    /// Costs three hashes a unit of the job.
    #[must_use]
    pub fn new(delivery: Delivery<'a>, rule: SampleRule, seed: Seed) -> Self {
        let spec = delivery.spec;
        // What a checker program says costs little, so it is asked about every unit.
        let rule = if spec.class == Class::SelfChecking { SampleRule { rate_ppm: PPM, ..rule } } else { rule };
        let segments = Draw::new(B256::new(seed.0), spec.hash(), 0);
        let task = |unit| judge::task(spec, unit, segments.segment(unit, spec.segment_count), seed.0);
        let sample = draw(seed, delivery.units, rule.size(delivery.units));
        Self {
            delivery,
            rate_ppm: rule.rate_ppm,
            tasks: sample.into_iter().filter_map(task).collect(),
            answered: 0,
            right: 0,
            not_run: None,
            decided: before_running(delivery),
        }
    }

    /// Passes over a unit of which the caller knows already that it is wrong, a canary (specs/0008-audit.md §12): it is in no sample and held against
    /// nobody. To be called before anything is answered. A sample of it alone looks at the next unit instead.
    #[must_use]
    pub fn without(mut self, unit: u32) -> Self {
        let alone = matches!(self.tasks[..], [task] if task.unit() == unit);
        let next = unit.saturating_add(1).checked_rem(self.delivery.units).filter(|next| *next != unit);
        match (alone, next) {
            (true, Some(next)) => self.tasks.iter_mut().for_each(|task| *task = task.of(next)),
            _ => self.tasks.retain(|task| task.unit() != unit),
        }
        self
    }

    /// What to run next; `None` once there is a verdict.
    #[must_use]
    pub fn pending(&self) -> Option<Task> {
        if self.decided.is_some() { None } else { self.tasks.get(self.answered).copied() }
    }

    /// All tasks, in the order in which they are to be run.
    #[must_use]
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// How many tasks there are in all, and how many are answered.
    #[must_use]
    pub const fn progress(&self) -> (usize, usize) {
        (self.answered, self.tasks.len())
    }

    /// The blob that a task starts from, if it is not the customer's own unit input: the state before its segment.
    #[must_use]
    pub fn state_before(&self, task: Task) -> Option<B256> {
        let Task::Rerun { unit, segment } = task else { return None };
        let before = segment.checked_sub(1)?;
        self.delivery.traces.get(unit as usize)?.states().get(before as usize).copied()
    }

    /// The blob name that the provider committed to for a task: the output, or the state after the task's segment.
    #[must_use]
    pub fn claimed(&self, task: Task) -> Option<B256> {
        let unit = task.unit() as usize;
        match (task, self.delivery.traces.get(unit)) {
            (Task::Rerun { segment, .. }, Some(trace)) => trace.states().get(segment as usize).copied(),
            _ => self.delivery.output_hashes.get(unit).copied(),
        }
    }

    /// Takes the answer for the pending task.
    ///
    /// # Errors
    /// [`NotPending`] if another task was asked for; the answer is not used.
    pub fn record(&mut self, task: Task, answer: Answer) -> Result<(), NotPending> {
        let pending = self.pending();
        let Some(claimed) = self.claimed(task).filter(|_| pending == Some(task)) else {
            return Err(NotPending { got: task, pending });
        };
        self.answered = self.answered.saturating_add(1);
        let unit = task.unit();
        let segment = if let Task::Rerun { segment, .. } = task { segment } else { 0 };
        match judge(self.delivery.spec, task, claimed, answer) {
            Judgement::Right => self.right = self.right.saturating_add(1),
            Judgement::Wrong(evidence) => {
                self.decided = Some(Verdict::Rejected(Rejection::Unit { unit, segment, evidence }));
            }
            Judgement::Unpaid(deviation) => {
                self.decided = Some(Verdict::Rejected(Rejection::Doubtful { unit, segment, deviation }));
            }
            Judgement::Inconclusive(reason) => match &mut self.not_run {
                Some(Why::NotRun { count, .. }) => *count = count.saturating_add(1),
                _ => self.not_run = Some(Why::NotRun { count: 1, unit, reason }),
            },
        }
        Ok(())
    }

    /// The verdict with its numbers; `None` while a task is pending.
    #[must_use]
    pub fn report(&self) -> Option<Report> {
        if self.pending().is_some() {
            return None;
        }
        let undecided = || self.not_run.clone().map_or(Verdict::Accepted, Verdict::Inconclusive);
        // LOSSY: the sample has at most unit_count (u32) entries.
        #[allow(clippy::cast_possible_truncation)]
        let sampled = self.tasks.len() as u32;
        Some(Report {
            verdict: self.decided.clone().unwrap_or_else(undecided),
            unit_count: self.delivery.units,
            sampled,
            right: self.right,
            rate_ppm: self.rate_ppm,
        })
    }

    /// Runs the check to its verdict with a blocking `rerun`.
    pub fn run(mut self, rerun: &mut impl Rerun) -> Report {
        loop {
            if let Some(report) = self.report() {
                return report;
            }
            if let Some(task) = self.pending() {
                let answer = rerun.rerun(task);
                // The pending task was asked for, so its answer is always taken.
                let _ = self.record(task, answer);
            }
        }
    }
}

/// What is decided without running anything: class, count, states, commitment.
fn before_running(delivery: Delivery<'_>) -> Option<Verdict> {
    let Delivery { spec, units, commitment, secret, output_hashes, traces } = delivery;
    if matches!(spec.class, Class::Statistical | Class::Opaque) {
        return Some(Verdict::Inconclusive(Why::Class(spec.class)));
    }
    let wrong_count = Verdict::Rejected(Rejection::OutputCount { got: output_hashes.len(), expected: units });
    if u32::try_from(output_hashes.len()) != Ok(units) {
        return Some(wrong_count);
    }
    let results = match results(spec, output_hashes, traces) {
        Ok(results) => results,
        Err(rejection) => return Some(Verdict::Rejected(rejection)),
    };
    match Tree::new(secret, &results) {
        Ok(tree) if tree.root() == commitment => None,
        Ok(tree) => Some(Verdict::Rejected(Rejection::Commitment { got: tree.root(), expected: commitment })),
        Err(_) => Some(wrong_count),
    }
}

/// What the leaves of the commitment hold, from outputs and traces.
fn results<'a>(spec: &JobSpec, outputs: &'a [B256], traces: &[Trace]) -> Result<Cow<'a, [B256]>, Rejection> {
    if spec.segment_count == 1 {
        return Ok(Cow::Borrowed(outputs));
    }
    let result = |(unit, output): (u32, &B256)| {
        let trace = traces.get(unit as usize);
        let fits =
            |trace: &&Trace| u32::try_from(trace.states().len()) == Ok(spec.segment_count) && trace.output() == *output;
        trace.filter(fits).map(Trace::result).ok_or(Rejection::Trace { unit })
    };
    Ok(Cow::Owned((0..).zip(outputs).map(result).collect::<Result<Vec<B256>, Rejection>>()?))
}
