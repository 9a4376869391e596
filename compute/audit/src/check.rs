//! The customer's sample check: a state machine from a delivery to a verdict.
//!
//! # Design
//! [`Check`] says which unit to run next and takes the answers; it never waits and never runs anything. A caller with a blocking way to run
//! a unit uses [`Check::run`]; an asynchronous one drives [`Check::pending`] and [`Check::record`].
//!
//! # Invariants
//! - The first wrong unit ends the check: *rejected*, whatever else failed.
//! - A unit that could not be re-run never rejects; it makes the verdict *inconclusive* if no unit is wrong.
//! - *Accepted* means: the commitment opens to the delivered names and every sampled unit re-ran to the same bytes.

use crate::sample::{SampleRule, Seed, draw};
use keystead_job::{
    B256, Class, JobSpec, blob_hash,
    commitment::{Secret, Tree},
};

/// What the provider delivered for a job, as the customer holds it.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The job that was ordered; the customer's own, trusted.
    pub spec: &'a JobSpec,
    /// The commitment as recorded on chain, before the delivery; trusted once its block is proved.
    pub commitment: B256,
    /// The secret that the provider revealed; hostile.
    pub secret: &'a Secret,
    /// Blob names of the outputs in unit order; hostile. The caller has the bytes and has checked each against its name.
    pub output_hashes: &'a [B256],
}

/// What running a unit again gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The output's bytes.
    Output(Vec<u8>),
    /// The program ended with its own error code: deterministic, the same on every machine.
    JobError(i64),
    /// The unit could not be run to its end here: own fault, time, memory, missing device, limits that differ between engines.
    NotRun(String),
}

/// Runs units again; the caller decides where.
pub trait Rerun {
    /// Runs one unit from the customer's own inputs. Must not return the provider's bytes.
    fn rerun(&mut self, unit: u32) -> Answer;
}

impl<F: FnMut(u32) -> Answer> Rerun for F {
    fn rerun(&mut self, unit: u32) -> Answer {
        self(unit)
    }
}

/// Why a delivery is not what was ordered. Each is evidence, not suspicion.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Another number of outputs than units.
    #[error("wrong number of outputs: got={got} expected={expected}")]
    OutputCount {
        /// Outputs delivered.
        got: usize,
        /// Units of the job.
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
    /// A unit re-ran to another output.
    #[error("unit {unit} is wrong: got={got} expected={expected}")]
    Unit {
        /// The unit.
        unit: u32,
        /// Blob name of the re-run's output.
        expected: B256,
        /// Blob name that was delivered.
        got: B256,
    },
    /// The program ends this unit with its own error, so no output exists, but one was delivered.
    #[error("unit {unit} has an output where the program ends with an error: got={got} code={code}")]
    UnitHasNoOutput {
        /// The unit.
        unit: u32,
        /// The program's error code.
        code: i64,
        /// Blob name that was delivered.
        got: B256,
    },
}

/// Why the check could decide nothing. Never held against the provider.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Equal hashes mean nothing for this class.
    #[error("jobs of class {0} cannot be checked by equal hashes")]
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every sampled unit is right: pay.
    Accepted,
    /// The delivery is wrong: reject, with this evidence.
    Rejected(Rejection),
    /// Nothing was found out: check again, or let the deadline pay.
    Inconclusive(Why),
}

/// A verdict with the numbers that say how much it is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What follows.
    pub verdict: Verdict,
    /// Units of the job.
    pub unit_count: u32,
    /// Units drawn for the sample.
    pub sampled: u32,
    /// Units re-run and equal.
    pub equal: u32,
    /// The rule's rate, parts per million.
    pub rate_ppm: u32,
}

/// An answer that was not asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("answer for a unit that is not the pending one: got={got} pending={pending:?}")]
pub struct NotPending {
    /// The unit answered.
    pub got: u32,
    /// The unit that the check waits for; none if it is decided.
    pub pending: Option<u32>,
}

/// A running check.
#[derive(Debug)]
pub struct Check<'a> {
    output_hashes: &'a [B256],
    rule: SampleRule,
    unit_count: u32,
    sample: Vec<u32>,
    answered: usize,
    equal: u32,
    not_run: Option<Why>,
    /// Decided before the sample was used up.
    decided: Option<Verdict>,
}

impl<'a> Check<'a> {
    /// Opens the commitment and draws the sample. `seed` must have been chosen after the commitment was recorded.
    /// Costs three hashes a unit of the job.
    #[must_use]
    pub fn new(delivery: Delivery<'a>, rule: SampleRule, seed: Seed) -> Self {
        let unit_count = delivery.spec.unit_count;
        Self {
            output_hashes: delivery.output_hashes,
            rule,
            unit_count,
            sample: draw(seed, unit_count, rule.size(unit_count)),
            answered: 0,
            equal: 0,
            not_run: None,
            decided: before_running(delivery),
        }
    }

    /// The unit to run next; `None` once there is a verdict.
    #[must_use]
    pub fn pending(&self) -> Option<u32> {
        if self.decided.is_some() { None } else { self.sample.get(self.answered).copied() }
    }

    /// Takes the answer for the pending unit.
    ///
    /// # Errors
    /// [`NotPending`] if another unit was asked for; the answer is not used.
    pub fn record(&mut self, unit: u32, answer: Answer) -> Result<(), NotPending> {
        let pending = self.pending();
        let Some(&got) = self.output_hashes.get(unit as usize).filter(|_| pending == Some(unit)) else {
            return Err(NotPending { got: unit, pending });
        };
        self.answered = self.answered.saturating_add(1);
        match answer {
            Answer::Output(bytes) => {
                let expected = blob_hash(&bytes);
                if expected == got {
                    self.equal = self.equal.saturating_add(1);
                } else {
                    self.decided = Some(Verdict::Rejected(Rejection::Unit { unit, expected, got }));
                }
            }
            Answer::JobError(code) => {
                self.decided = Some(Verdict::Rejected(Rejection::UnitHasNoOutput { unit, code, got }));
            }
            Answer::NotRun(reason) => match &mut self.not_run {
                Some(Why::NotRun { count, .. }) => *count = count.saturating_add(1),
                _ => self.not_run = Some(Why::NotRun { count: 1, unit, reason }),
            },
        }
        Ok(())
    }

    /// The verdict with its numbers; `None` while a unit is pending.
    #[must_use]
    pub fn report(&self) -> Option<Report> {
        if self.pending().is_some() {
            return None;
        }
        let undecided = || self.not_run.clone().map_or(Verdict::Accepted, Verdict::Inconclusive);
        // LOSSY: the sample has at most unit_count (u32) entries.
        #[allow(clippy::cast_possible_truncation)]
        let sampled = self.sample.len() as u32;
        Some(Report {
            verdict: self.decided.clone().unwrap_or_else(undecided),
            unit_count: self.unit_count,
            sampled,
            equal: self.equal,
            rate_ppm: self.rule.rate_ppm,
        })
    }

    /// Runs the check to its verdict with a blocking `rerun`.
    pub fn run(mut self, rerun: &mut impl Rerun) -> Report {
        loop {
            if let Some(report) = self.report() {
                return report;
            }
            if let Some(unit) = self.pending() {
                let answer = rerun.rerun(unit);
                // The pending unit was asked for, so its answer is always taken.
                let _ = self.record(unit, answer);
            }
        }
    }
}

/// What is decided without running anything: class, count, commitment.
fn before_running(delivery: Delivery<'_>) -> Option<Verdict> {
    let Delivery { spec, commitment, secret, output_hashes } = delivery;
    if spec.class != Class::Exact {
        return Some(Verdict::Inconclusive(Why::Class(spec.class)));
    }
    let wrong_count = Verdict::Rejected(Rejection::OutputCount { got: output_hashes.len(), expected: spec.unit_count });
    if u32::try_from(output_hashes.len()) != Ok(spec.unit_count) {
        return Some(wrong_count);
    }
    match Tree::new(secret, output_hashes) {
        Ok(tree) if tree.root() == commitment => None,
        Ok(tree) => Some(Verdict::Rejected(Rejection::Commitment { got: tree.root(), expected: commitment })),
        Err(_) => Some(wrong_count),
    }
}
