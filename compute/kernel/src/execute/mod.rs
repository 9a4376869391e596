//! Running a program: whole, or only the workgroups that somebody wants to see.
//!
//! # Design
//! Invocations of a workgroup run one after another, each to its end or to the next barrier; when all wait at the same barrier they go on. So
//! a kernel without races gives what any device gives, and one with races gives at least the same bytes each time.

pub(crate) mod half;
mod machine;
pub(crate) mod scalar;

use crate::program::Program;
use keystead_job::limits::{INPUT_BYTES_MAX, LOOP_ITERATIONS_MAX, OUTPUT_BYTES_MAX};
use machine::{Machine, Marks};
use std::collections::BTreeSet;

/// Registers of all invocations that live at once, words (64 MiB): with barriers that is a whole workgroup.
pub const REGISTER_WORDS_MAX: u64 = 1 << 24;
/// Steps that a run may take if nothing else is said: some minutes of one core.
pub const STEPS_DEFAULT: u64 = 20_000_000_000;

/// Why a run has no result. The same on every machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An invocation entered loop bodies more often than the job allows: the job's fault.
    #[error("limit hit: loop_iterations limit={limit} workgroup={workgroup:?}")]
    LoopIterations {
        /// The job's limit.
        limit: u32,
        /// The workgroup in which it happened.
        workgroup: [u32; 3],
    },
    /// More steps than [`Dispatch::steps_max`]: too long for the interpreter, nobody's fault.
    #[error("too long for the interpreter: steps_max={max}")]
    Steps {
        /// The limit.
        max: u64,
    },
    /// Invocations of one workgroup wait at different barriers, or some have ended: undefined in WGSL.
    #[error("a barrier that not all invocations reach: workgroup={workgroup:?}")]
    UnevenBarrier {
        /// The workgroup in which it happened.
        workgroup: [u32; 3],
    },
    /// More memory than a run may use.
    #[error("too large: {what} words={got} max={max}")]
    TooLarge {
        /// Which memory.
        what: &'static str,
        /// Words asked for.
        got: u64,
        /// Words allowed.
        max: u64,
    },
    /// A workgroup that the dispatch does not have.
    #[error("no such workgroup: {workgroup:?} of {workgroups:?}")]
    NoSuchWorkgroup {
        /// The one asked for.
        workgroup: [u32; 3],
        /// How many there are along each axis.
        workgroups: [u32; 3],
    },
}

/// Inputs and limits of one unit. Inputs are whole little-endian words; an empty one is bound as a single zero.
#[derive(Clone, Copy, Debug)]
pub struct Dispatch<'a> {
    /// Binding 0.
    pub common: &'a [u32],
    /// Binding 1.
    pub unit: &'a [u32],
    /// Length of binding 2, which is zero at the beginning.
    pub output_words: usize,
    /// Workgroups along x, y, z.
    pub workgroups: [u32; 3],
    /// Entries into loop bodies of one invocation: specs/0003-job.md §7.
    pub loop_iterations_max: u32,
    /// Operations of all invocations together (a moved word counts like an operation). Bounds the time.
    pub steps_max: u64,
}

impl Default for Dispatch<'_> {
    fn default() -> Self {
        Self {
            common: &[],
            unit: &[],
            output_words: 0,
            workgroups: [1; 3],
            loop_iterations_max: LOOP_ITERATIONS_MAX,
            steps_max: STEPS_DEFAULT,
        }
    }
}

impl Dispatch<'_> {
    /// How many workgroups there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.workgroups.iter().fold(1, |product: u64, &size| product.saturating_mul(u64::from(size)))
    }

    /// The workgroup with this number, counted along x first; `None` from [`Self::count`] on.
    #[must_use]
    pub fn workgroup(&self, index: u64) -> Option<[u32; 3]> {
        let [x, y, _] = self.workgroups.map(u64::from);
        if index >= self.count() {
            return None;
        }
        let row = index.checked_div(x)?;
        let id = [index.checked_rem(x)?, row.checked_rem(y)?, row.checked_div(y)?];
        // LOSSY: each is below the number of workgroups along its axis.
        #[allow(clippy::cast_possible_truncation)]
        let id = id.map(|part| part as u32);
        Some(id)
    }

    fn check(&self) -> Result<(), Error> {
        let parts = [
            ("common input", self.common.len(), INPUT_BYTES_MAX),
            ("unit input", self.unit.len(), INPUT_BYTES_MAX),
            ("output", self.output_words, OUTPUT_BYTES_MAX),
        ];
        for (what, words, bytes_max) in parts {
            within(what, words as u64, bytes_max.div_ceil(4))?;
        }
        Ok(())
    }
}

const fn within(what: &'static str, got: u64, max: u64) -> Result<(), Error> {
    if got <= max { Ok(()) } else { Err(Error::TooLarge { what, got, max }) }
}

/// What some workgroups of a dispatch wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The whole output as if the other workgroups had done nothing.
    pub output: Vec<u32>,
    /// Operations of all invocations together, see [`Dispatch::steps_max`]. Equal on every host for one version of this crate only.
    pub steps: u64,
    marks: Marks,
}

impl Sample {
    /// Index and value of every output word that these workgroups alone determine: written by them, and not by an atomic operation to which
    /// other workgroups may have added. In ascending order.
    pub fn comparable(&self) -> impl Iterator<Item = (usize, u32)> + '_ {
        self.output.iter().copied().enumerate().filter(|(at, _)| self.marks.is_comparable(*at))
    }

    /// Output words that atomic operations changed: a sample says nothing about them.
    #[must_use]
    pub fn combined_words(&self) -> u64 {
        self.marks.combined()
    }
}

impl Program {
    /// Runs the whole dispatch and gives the output, `output_words` words.
    ///
    /// # Errors
    /// [`Error`]; the time is bounded by [`Dispatch::steps_max`].
    pub fn run(&self, dispatch: &Dispatch<'_>) -> Result<Vec<u32>, Error> {
        Ok(self.run_all(dispatch, scalar::Reference)?.output)
    }

    /// Runs these workgroups only, each once, in the order given.
    ///
    /// # Errors
    /// [`Error`]; [`Error::NoSuchWorkgroup`] before anything runs.
    pub fn run_workgroups(&self, dispatch: &Dispatch<'_>, workgroups: &[[u32; 3]]) -> Result<Sample, Error> {
        self.run_some(dispatch, workgroups, scalar::Reference)
    }

    pub(crate) fn run_all(
        &self,
        dispatch: &Dispatch<'_>,
        arithmetic: impl scalar::Arithmetic,
    ) -> Result<Sample, Error> {
        let mut machine = self.machine(dispatch, arithmetic, Marks::none())?;
        let [x, y, z] = dispatch.workgroups;
        for z in 0..z {
            for y in 0..y {
                for x in 0..x {
                    machine.workgroup([x, y, z])?;
                }
            }
        }
        Ok(machine.finish())
    }

    pub(crate) fn run_some(
        &self,
        dispatch: &Dispatch<'_>,
        workgroups: &[[u32; 3]],
        arithmetic: impl scalar::Arithmetic,
    ) -> Result<Sample, Error> {
        for &workgroup in workgroups {
            if workgroup.iter().zip(dispatch.workgroups).any(|(&at, count)| at >= count) {
                return Err(Error::NoSuchWorkgroup { workgroup, workgroups: dispatch.workgroups });
            }
        }
        let mut machine = self.machine(dispatch, arithmetic, Marks::new(dispatch.output_words))?;
        let mut done = BTreeSet::new();
        for &workgroup in workgroups {
            if done.insert(workgroup) {
                machine.workgroup(workgroup)?;
            }
        }
        Ok(machine.finish())
    }

    fn machine<'a, A: scalar::Arithmetic>(
        &'a self,
        dispatch: &Dispatch<'a>,
        arithmetic: A,
        marks: Marks,
    ) -> Result<Machine<'a, A>, Error> {
        dispatch.check()?;
        let lanes = if self.has_barriers {
            self.workgroup_size.iter().fold(1, |product: u64, &size| product.saturating_mul(u64::from(size)))
        } else {
            1
        };
        let words = lanes.saturating_mul(self.registers() as u64);
        within("registers of a workgroup", words, REGISTER_WORDS_MAX)?;
        Ok(Machine::new(self, dispatch, arithmetic, marks, lanes))
    }
}
