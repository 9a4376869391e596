//! The verdict on one unit, or on one segment of it: what a re-run or a checker program's answer means for what was delivered.
//!
//! # Design
//! One place decides for all who judge: the customer's sample check, a drawn checker, a referee. The judge says what it needs run
//! ([`Task`]), the caller runs it where it likes and brings the answer; a caller that cannot run it says so, and that is never
//! evidence. Spec: specs/0003-job.md §9.

use crate::tolerance::{Comparison, Deviation, compare};
use keystead_job::{B256, Class, JobSpec, blob_hash};

/// First bytes of a checker program's input: the seed.
pub const CHECKER_SEED_BYTES: usize = 32;

/// What is to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// The job's program: on the unit input for segment 0, on the state before the segment otherwise.
    Rerun {
        /// The unit.
        unit: u32,
        /// The segment.
        segment: u32,
    },
    /// The job's checker program, on [`checker_input`].
    Checker {
        /// The unit.
        unit: u32,
        /// What nobody knew before the commitment.
        seed: [u8; CHECKER_SEED_BYTES],
    },
}

impl Task {
    /// The unit that the task is about.
    #[must_use]
    pub const fn unit(&self) -> u32 {
        match self {
            Self::Rerun { unit, .. } | Self::Checker { unit, .. } => *unit,
        }
    }

    /// The same of another unit.
    pub(crate) const fn of(self, unit: u32) -> Self {
        match self {
            Self::Rerun { segment, .. } => Self::Rerun { unit, segment },
            Self::Checker { seed, .. } => Self::Checker { unit, seed },
        }
    }
}

/// What running a task gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The program ended with these bytes.
    Output {
        /// The output of the run.
        bytes: Vec<u8>,
        /// What the provider delivered for the same segment; needed for class *tolerance* only, and checked against its name.
        delivered: Option<Vec<u8>>,
    },
    /// The program ended with its own error code: deterministic, the same on every machine.
    JobError(i64),
    /// It could not be run to its end here: own fault, time, memory, missing device, limits that differ between engines.
    NotRun(String),
}

impl Answer {
    /// An output where the delivered bytes are not needed.
    #[must_use]
    pub const fn output(bytes: Vec<u8>) -> Self {
        Self::Output { bytes, delivered: None }
    }
}

/// The verdict on a unit.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// What was delivered is what was ordered.
    Right,
    /// Beyond the tolerance that was ordered, within the sound bound: not paid, not punished.
    Unpaid(Deviation),
    /// No honest machine delivers this.
    Wrong(Evidence),
    /// Nothing was found out.
    Inconclusive(String),
}

/// Why a unit is wrong.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Evidence {
    /// A re-run gave other bytes where equal ones are due.
    #[error("delivered {got}, the program gives {expected}")]
    Differs {
        /// Blob name of the re-run's output.
        expected: B256,
        /// Blob name that was delivered.
        got: B256,
    },
    /// The program ends with its own error here, so no output exists, but one was delivered.
    #[error("delivered {got}, the program ends with error code {code}")]
    NoOutput {
        /// The program's error code.
        code: i64,
        /// Blob name that was delivered.
        got: B256,
    },
    /// Elements lie beyond the sound bound.
    #[error(
        "element {} is {}, a re-run gives {}: {} elements lie beyond the sound bound, {} may",
        .0.element, .0.got, .0.expected, .0.outliers, .0.allowed
    )]
    Beyond(Deviation),
    /// The output has another length, or is no array of the declared elements.
    #[error("delivered {got_bytes} bytes, a re-run gives {expected_bytes}")]
    Shape {
        /// Bytes delivered.
        got_bytes: usize,
        /// Bytes of the re-run's output.
        expected_bytes: usize,
    },
    /// The job's own checker program says so.
    #[error("the job's checker program says that it is wrong")]
    Checker,
}

/// What must be run to judge a unit of this job; `None` for classes without a check. `segment` and `seed` come from a draw.
#[must_use]
pub fn task(spec: &JobSpec, unit: u32, segment: u32, seed: [u8; CHECKER_SEED_BYTES]) -> Option<Task> {
    match spec.class {
        Class::Exact | Class::Tolerance => Some(Task::Rerun { unit, segment }),
        Class::SelfChecking => Some(Task::Checker { unit, seed }),
        Class::Statistical | Class::Opaque => None,
    }
}

/// The unit input of a checker program: `seed || le32(length of unit) || unit || output`; `None` if the unit input is longer than
/// 2^32 - 1 bytes, which no job has.
#[must_use]
pub fn checker_input(seed: [u8; CHECKER_SEED_BYTES], unit: &[u8], output: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(unit.len()).ok()?;
    Some([&seed[..], &length.to_le_bytes(), unit, output].concat())
}

/// Judges. `delivered` is the blob name that the provider committed to for the task's segment: hostile until this says *right*.
#[must_use]
pub fn judge(spec: &JobSpec, task: Task, delivered: B256, answer: Answer) -> Judgement {
    match (task, answer) {
        (_, Answer::NotRun(reason)) => Judgement::Inconclusive(reason),
        (Task::Checker { .. }, Answer::JobError(code)) => {
            Judgement::Inconclusive(format!("the checker program ended with error code {code}"))
        }
        (Task::Rerun { .. }, Answer::JobError(code)) => Judgement::Wrong(Evidence::NoOutput { code, got: delivered }),
        (Task::Checker { .. }, Answer::Output { bytes, .. }) => match bytes[..] {
            [0] => Judgement::Right,
            [1] => Judgement::Wrong(Evidence::Checker),
            _ => Judgement::Inconclusive(format!("the checker program gave no verdict: bytes={}", bytes.len())),
        },
        (Task::Rerun { .. }, Answer::Output { bytes, delivered: given }) => {
            let expected = blob_hash(&bytes);
            match spec.tolerance {
                // Equal bytes are within every tolerance, and nobody needs the delivered bytes then.
                _ if expected == delivered => Judgement::Right,
                None => Judgement::Wrong(Evidence::Differs { expected, got: delivered }),
                Some(tolerance) => match given {
                    Some(given) if blob_hash(&given) == delivered => weigh(compare(&tolerance, &given, &bytes)),
                    Some(_) => {
                        Judgement::Inconclusive("the bytes to compare with are not the delivered ones".to_owned())
                    }
                    None => Judgement::Inconclusive("the delivered bytes are not here".to_owned()),
                },
            }
        }
    }
}

const fn weigh(comparison: Comparison) -> Judgement {
    match comparison {
        Comparison::Agree { .. } => Judgement::Right,
        Comparison::Doubtful(deviation) => Judgement::Unpaid(deviation),
        Comparison::Differ(deviation) => Judgement::Wrong(Evidence::Beyond(deviation)),
        Comparison::Shape { got_bytes, expected_bytes } => {
            Judgement::Wrong(Evidence::Shape { got_bytes, expected_bytes })
        }
    }
}
