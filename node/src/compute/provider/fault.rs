//! A provider that is wrong on purpose, so that a test can see who notices.
//!
//! # Design
//! One unit of every order, and one step of every lease, is altered, drawn from a seed and the job's or lease's name: whoever repeats the order meets the same fault. The
//! alteration is that of a canary ([`crate::compute::canary::wrong`]), always at the beginning, and always one that every check finds. Of a unit with several segments each is altered, or one alone: then every state
//! from it on is another than it should be, and the segments after it do right what they begin with.

use crate::compute::canary::wrong::{Off, wrong};
use alloy_primitives::{B256, keccak256};
use keystead_job::JobSpec;

/// Where an output is altered: at its beginning.
const PLACE: u64 = 0;

/// Which unit of a job comes out wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    seed: u64,
    /// The unit comes out wrong again when it is run again, as on a machine that is wrong and sure of itself.
    stays: bool,
    /// Of a channel's leases only the first has a wrong step.
    once: bool,
    /// Of an order's unit only this segment is wrong.
    segment: Option<u32>,
}

/// Which segment of which unit of an order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) unit: u32,
    pub(super) segment: u32,
}

impl Fault {
    pub(super) const fn new(seed: u64) -> Self {
        Self { seed, stays: false, once: false, segment: None }
    }

    pub(super) const fn staying(self, stays: bool) -> Self {
        Self { stays, ..self }
    }

    pub(super) const fn once(self, once: bool) -> Self {
        Self { once, ..self }
    }

    pub(super) const fn in_segment(self, segment: Option<u32>) -> Self {
        Self { segment, ..self }
    }

    /// The altered output of a second run, if it is altered, too.
    pub(super) fn alter_again(self, spec: &JobSpec, piece: Piece, output: &[u8]) -> Option<Vec<u8>> {
        self.alter(spec, piece, output).filter(|_| self.stays)
    }

    /// The altered output, if this is the unit of this job, and one of its segments that are meant. Never equal to `output`.
    pub(super) fn alter(self, spec: &JobSpec, piece: Piece, output: &[u8]) -> Option<Vec<u8>> {
        let is_meant = self.unit(spec) == piece.unit && self.segment.is_none_or(|only| only == piece.segment);
        is_meant.then(|| wrong(spec, output, PLACE, Off::Much))
    }

    /// The same for one step of every lease: the altered state, if this is the one.
    pub(super) fn alter_step(self, spec: &JobSpec, lease: B256, step: Step, output: &[u8]) -> Option<Vec<u8>> {
        let is_meant = step.is_first_lease || !self.once;
        (is_meant && self.drawn(lease, step.count) == step.index).then(|| wrong(spec, output, PLACE, Off::Much))
    }

    /// The altered state of a second run of a step, if it is altered, too; of any step, since which one it was is known by its state.
    pub(super) fn alter_step_again(self, spec: &JobSpec, output: &[u8]) -> Option<Vec<u8>> {
        self.stays.then(|| wrong(spec, output, PLACE, Off::Much))
    }

    /// The first 64 bits of a hash, reduced: uneven by less than 2^-32.
    fn drawn(self, of: B256, count: u32) -> u32 {
        let hash = keccak256([self.seed.to_be_bytes().as_slice(), of.as_slice()].concat());
        let word = hash.iter().take(8).fold(0_u64, |word, &byte| (word << 8) | u64::from(byte));
        let index = word.checked_rem(u64::from(count)).unwrap_or_default();
        u32::try_from(index).unwrap_or_default()
    }

    fn unit(self, spec: &JobSpec) -> u32 {
        self.drawn(spec.hash(), spec.unit_count)
    }
}

/// Which step of a lease, and of how many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) index: u32,
    pub(super) count: u32,
    /// Nothing of the channel was paid before.
    pub(super) is_first_lease: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::samples;
    use keystead_job::Class;

    #[test]
    fn one_unit_is_wrong_in_all_of_its_segments_or_in_the_one_that_was_named() {
        let spec = samples::spec(Class::Exact, 4, 8);
        let fault = Fault::new(7).in_segment(Some(3));
        let unit = fault.unit(&spec);
        let altered = |fault: Fault, unit, segment| fault.alter(&spec, Piece { unit, segment }, b"state").is_some();
        let segments = |fault, unit| (0..8).filter(|segment| altered(fault, unit, *segment)).collect::<Vec<_>>();
        assert_eq!(segments(fault, unit), [3]);
        assert_eq!(segments(fault.in_segment(None), unit).len(), 8);
        assert!((0..4).filter(|other| *other != unit).all(|other| segments(fault, other).is_empty()));
        let piece = Piece { unit, segment: 3 };
        assert!(fault.alter_again(&spec, piece, b"state").is_none());
        assert!(fault.staying(true).alter_again(&spec, piece, b"state").is_some());
    }
}
