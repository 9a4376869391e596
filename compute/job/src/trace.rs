//! What a unit of several segments commits to: the state after each segment, so that a checker can run a single one again.
//!
//! # Design
//! A unit's *result* is what stands in the commitment's leaf. With one segment it is the output's blob name. With more it binds
//! that name and the *trace*, a tree over the blob names of all states: opening segment `s` and the one before it is enough to
//! check `program(common, state before) = state after`, and two traces that differ are bisected to the first segment in which
//! they do. Spec: specs/0003-job.md §4.

use crate::{
    limits::SEGMENT_COUNT_MAX,
    merkle::{self, hash},
};
use alloy_primitives::B256;
use serde::{Deserialize, Serialize};

const LEAF: u8 = 2;
const INNER: u8 = 3;
const RESULT: u8 = 4;

/// Why a trace could not be built or an opening does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No state, or more than a unit can have.
    #[error("segment count out of range: got={got} min=1 max={SEGMENT_COUNT_MAX}")]
    SegmentCount {
        /// States given.
        got: usize,
    },
    /// The segment does not exist in this job.
    #[error("no such segment: segment={segment} segment_count={segment_count}")]
    NoSuchSegment {
        /// The index asked for.
        segment: u32,
        /// Segments of a unit.
        segment_count: u32,
    },
    /// The path has another length than the tree's shape asks for.
    #[error("opening has the wrong length: segment={segment} got={got} expected={expected}")]
    PathLength {
        /// The segment opened.
        segment: u32,
        /// Siblings given.
        got: usize,
        /// Siblings needed.
        expected: usize,
    },
    /// The path leads to another root.
    #[error("opening does not lead to the trace: segment={segment} got={got} expected={expected}")]
    RootMismatch {
        /// The segment opened.
        segment: u32,
        /// The root that the path leads to.
        got: B256,
        /// The committed trace.
        expected: B256,
    },
}

/// The states of one unit, in the order of its segments.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Never empty.
    levels: Vec<Vec<B256>>,
    states: Vec<B256>,
}

impl Trace {
    /// Builds the tree over the blob names of the states after each segment; the last is the unit's output.
    ///
    /// # Errors
    /// [`Error::SegmentCount`] if there is none or more than [`SEGMENT_COUNT_MAX`].
    pub fn new(states: Vec<B256>) -> Result<Self, Error> {
        if states.is_empty() || states.len() > SEGMENT_COUNT_MAX as usize {
            return Err(Error::SegmentCount { got: states.len() });
        }
        let leaves = (0..).zip(&states).map(|(segment, state)| leaf(segment, *state)).collect();
        Ok(Self { levels: merkle::levels(leaves, INNER), states })
    }

    /// The root of the tree.
    #[must_use]
    pub fn root(&self) -> B256 {
        self.levels.last().and_then(|level| level.first()).copied().unwrap_or_default()
    }

    /// The unit's output.
    #[must_use]
    pub fn output(&self) -> B256 {
        self.states.last().copied().unwrap_or_default()
    }

    /// Blob names of the states, in order.
    #[must_use]
    pub fn states(&self) -> &[B256] {
        &self.states
    }

    /// What the commitment's leaf holds for this unit.
    #[must_use]
    pub fn result(&self) -> B256 {
        // LOSSY: the constructor allows at most SEGMENT_COUNT_MAX states.
        #[allow(clippy::cast_possible_truncation)]
        result(self.states.len() as u32, self.output(), self.root())
    }

    /// Opens one segment and nothing else.
    ///
    /// # Errors
    /// [`Error::NoSuchSegment`].
    pub fn open(&self, segment: u32) -> Result<Opening, Error> {
        let Some(state) = self.states.get(segment as usize) else {
            // LOSSY: the constructor allows at most SEGMENT_COUNT_MAX states.
            #[allow(clippy::cast_possible_truncation)]
            return Err(Error::NoSuchSegment { segment, segment_count: self.states.len() as u32 });
        };
        Ok(Opening { segment, state: *state, siblings: merkle::siblings(&self.levels, segment) })
    }
}

/// Names whose list is the job's result root (specs/0003-job.md §5): the outputs, and with more than one segment, for each unit, the
/// blob that lists its states. `traces` is empty for one segment.
#[must_use]
pub fn result_names(outputs: &[B256], traces: &[Trace]) -> Vec<B256> {
    let lists = traces.iter().map(|trace| crate::hash_list(trace.states()));
    outputs.iter().copied().chain(lists).collect()
}

/// A unit's result: with one segment the output's blob name, with more `keccak256(0x04 || output || trace)`.
#[must_use]
pub fn result(segment_count: u32, output_hash: B256, trace_root: B256) -> B256 {
    if segment_count == 1 { output_hash } else { hash(&[&[RESULT], output_hash.as_slice(), trace_root.as_slice()]) }
}

fn leaf(segment: u32, state: B256) -> B256 {
    hash(&[&[LEAF], &segment.to_be_bytes(), state.as_slice()])
}

/// Shows which state a trace has after one segment. Hostile until [`Opening::verify`] says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Opening {
    /// Index of the segment.
    pub segment: u32,
    /// Blob name of the state after it.
    pub state: B256,
    /// Siblings from the leaves upwards; levels where the node was carried up have none. At most 16.
    pub siblings: Vec<B256>,
}

impl Opening {
    /// Recomputes the trace's root. `segment_count` must come from the job spec, never from the prover.
    ///
    /// # Errors
    /// [`Error::NoSuchSegment`], [`Error::PathLength`], [`Error::RootMismatch`]; each means that the opening proves nothing.
    pub fn verify(&self, trace_root: B256, segment_count: u32) -> Result<(), Error> {
        let segment = self.segment;
        if segment >= segment_count {
            return Err(Error::NoSuchSegment { segment, segment_count });
        }
        let expected = merkle::sibling_count(segment, segment_count);
        if self.siblings.len() != expected {
            return Err(Error::PathLength { segment, got: self.siblings.len(), expected });
        }
        let got = merkle::climb(leaf(segment, self.state), segment, segment_count, &self.siblings, INNER);
        if got == trace_root { Ok(()) } else { Err(Error::RootMismatch { segment, got, expected: trace_root }) }
    }
}

// A test: a panic is a failure, and numbers are small.
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
mod tests {
    use super::*;
    use crate::blob_hash;

    fn trace(count: u32) -> Trace {
        Trace::new((0..count).map(|segment| blob_hash(&segment.to_be_bytes())).collect()).unwrap()
    }

    #[test]
    fn every_segment_opens_under_its_own_index_and_count_alone() {
        for count in 1..=33 {
            let trace = trace(count);
            for segment in 0..count {
                let opening = trace.open(segment).unwrap();
                assert_eq!(opening.verify(trace.root(), count), Ok(()));
                let moved = Opening { segment: (segment + 1) % count, ..opening.clone() };
                assert!(count == 1 || moved.verify(trace.root(), count).is_err());
                let other = Opening { state: blob_hash(b"other"), ..opening.clone() };
                assert!(matches!(other.verify(trace.root(), count), Err(Error::RootMismatch { .. })));
                let mut longer = opening.clone();
                longer.siblings.push(B256::ZERO);
                assert!(matches!(longer.verify(trace.root(), count), Err(Error::PathLength { .. })));
            }
            let beyond = Opening { segment: count, state: B256::ZERO, siblings: Vec::new() };
            assert_eq!(
                beyond.verify(trace.root(), count),
                Err(Error::NoSuchSegment { segment: count, segment_count: count })
            );
            assert!(trace.open(count).is_err());
        }
    }

    #[test]
    fn a_unit_of_one_segment_results_in_its_output_and_of_more_in_both() {
        let one = trace(1);
        assert_eq!(one.result(), one.output());
        let two = trace(2);
        assert_eq!(two.result(), hash(&[&[4], two.output().as_slice(), two.root().as_slice()]));
        assert_ne!(result(2, two.output(), one.root()), two.result());
        assert_ne!(result(2, one.output(), two.root()), two.result());
    }

    #[test]
    fn the_number_of_states_has_bounds() {
        assert_eq!(Trace::new(Vec::new()).unwrap_err(), Error::SegmentCount { got: 0 });
        let most = SEGMENT_COUNT_MAX as usize;
        assert!(Trace::new(vec![B256::ZERO; most]).is_ok());
        assert_eq!(Trace::new(vec![B256::ZERO; most + 1]).unwrap_err(), Error::SegmentCount { got: most + 1 });
    }
}
