//! What a provider shows of its work to the audit: the proof of one unit, with openings of one segment; and how a checker reads it.
//!
//! # Invariants
//! [`Work::proof`] shows one unit and, of a unit of several segments, two states and the output's name: nothing of other units.
//! [`state_before`] believes nothing but the window's commitment.
//!
//! Spec: specs/0003-job.md §4, specs/0005-transfer.md §8, specs/0008-audit.md §7.

use crate::compute::windows::Proof;
use alloy_primitives::B256;
use alloy_sol_types::SolValue as _;
use eyre::{Context as _, Result, ensure, eyre};
use keystead_job::{
    commitment::{Secret, Tree, UnitProof},
    trace::{self, Opening, Trace},
};

/// A finished run: what its commitment was made of.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) secret: Secret,
    /// Blob names of the outputs.
    pub(crate) outputs: Vec<B256>,
    /// States of each unit; empty for a job of one segment.
    pub(crate) traces: Vec<Trace>,
}

/// Which of the openings of a proof are filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// The segment and the state before it: for the contract.
    Both,
    /// The state after the segment alone: for a checker that has the next one to run.
    After,
}

impl Work {
    /// The tree under the commitment.
    pub(crate) fn tree(&self) -> Result<Tree> {
        let results = self.traces.iter().map(Trace::result).collect::<Vec<_>>();
        let results = if self.traces.is_empty() { &self.outputs } else { &results };
        Ok(Tree::new(&self.secret, results)?)
    }

    /// The proof of a unit, opened at a segment.
    pub(crate) fn proof(&self, unit: u32, segment: u32, shown: Shown) -> Result<Proof> {
        let UnitProof { salt, result, siblings, .. } = self.tree()?.proof(unit)?;
        let mut proof = Proof {
            salt,
            result,
            siblings,
            output: B256::ZERO,
            trace: B256::ZERO,
            state: B256::ZERO,
            stateSiblings: Vec::new(),
            before: B256::ZERO,
            beforeSiblings: Vec::new(),
        };
        let Some(trace) = self.traces.get(unit as usize) else { return Ok(proof) };
        let opening = trace.open(segment)?;
        (proof.output, proof.trace) = (trace.output(), trace.root());
        (proof.state, proof.stateSiblings) = (opening.state, opening.siblings);
        if let (Shown::Both, Some(before)) = (shown, segment.checked_sub(1)) {
            let opening = trace.open(before)?;
            (proof.before, proof.beforeSiblings) = (opening.state, opening.siblings);
        }
        Ok(proof)
    }

    /// What a checker of a later segment is told: where it begins. Empty for the first segment.
    pub(crate) fn before(&self, unit: u32, segment: u32) -> Result<Vec<u8>> {
        let Some(before) = segment.checked_sub(1) else { return Ok(Vec::new()) };
        Ok(self.proof(unit, before, Shown::After)?.abi_encode())
    }
}

/// A unit's place under a window's commitment, from the chain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) commitment: B256,
    pub(crate) units: u32,
    pub(crate) segments: u32,
    pub(crate) unit: u32,
    pub(crate) segment: u32,
}

/// The state before a segment, as the provider committed to it.
///
/// # Errors
/// The bytes are no proof, or one of something else: the checker has no state to begin from.
pub(crate) fn state_before(bytes: &[u8], place: Place) -> Result<B256> {
    let Place { commitment, units, segments, unit, segment } = place;
    let before = segment.checked_sub(1).ok_or_else(|| eyre!("the first segment begins with the input"))?;
    let proof = Proof::abi_decode(bytes).wrap_err("the state before the segment is not shown")?;
    let unit_proof = UnitProof { unit, salt: proof.salt, result: proof.result, siblings: proof.siblings };
    unit_proof.verify(commitment, units)?;
    let result = trace::result(segments, proof.output, proof.trace);
    ensure!(
        result == proof.result,
        "the trace is not that of the unit's result: got={result} expected={}",
        proof.result
    );
    let opening = Opening { segment: before, state: proof.state, siblings: proof.stateSiblings };
    opening.verify(proof.trace, segments)?;
    Ok(proof.state)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use keystead_job::blob_hash;

    fn work(units: u32, segments: u32) -> Work {
        let state = |unit: u32, segment: u32| blob_hash(&[unit.to_be_bytes(), segment.to_be_bytes()].concat());
        let states = |unit| (0..segments).map(|segment| state(unit, segment)).collect::<Vec<_>>();
        let traces: Vec<Trace> = (0..units).map(|unit| Trace::new(states(unit)).unwrap()).collect();
        let outputs = traces.iter().map(Trace::output).collect();
        Work { secret: Secret::new([9; 32]), outputs, traces: if segments == 1 { Vec::new() } else { traces } }
    }

    #[test]
    fn the_state_before_a_segment_is_believed_only_under_the_commitment_and_at_its_place() {
        let work = work(5, 7);
        let commitment = work.tree().unwrap().root();
        let place = Place { commitment, units: 5, segments: 7, unit: 3, segment: 6 };
        let bytes = work.before(3, 6).unwrap();
        assert!(bytes.len() <= keystead_blobs::BEFORE_BYTES_MAX, "{}", bytes.len());
        assert_eq!(state_before(&bytes, place).unwrap(), work.traces[3].states()[5]);
        for other in [
            Place { unit: 2, ..place },
            Place { segment: 5, ..place },
            Place { segment: 0, ..place },
            Place { segments: 16, ..place },
            // Five and six units have trees of the same shape at this place; the count comes from the chain.
            Place { units: 9, ..place },
            Place { commitment: B256::repeat_byte(1), ..place },
        ] {
            assert!(state_before(&bytes, other).is_err(), "{other:?}");
        }
        assert!(state_before(&[], place).is_err());
        assert!(work.before(3, 0).unwrap().is_empty());
    }

    #[test]
    fn a_proof_opens_the_segment_and_the_one_before_it() {
        let work = work(4, 3);
        let proof = work.proof(1, 2, Shown::Both).unwrap();
        assert_eq!((proof.before, proof.state), (work.traces[1].states()[1], work.traces[1].output()));
        let first = work.proof(1, 0, Shown::Both).unwrap();
        assert!(first.before.is_zero() && first.beforeSiblings.is_empty());
        let single = super::tests::work(4, 1).proof(2, 0, Shown::Both).unwrap();
        assert!(single.trace.is_zero() && single.state.is_zero());
        assert!(work.proof(4, 0, Shown::Both).is_err());
    }

    #[test]
    fn the_largest_proof_fits_the_protocol() {
        // 65,536 units of 16 segments, and the deepest trace of one unit, are the two ends of what a job may have.
        for (units, segments) in [(65_536, 2), (2, 65_536)] {
            let bytes = work(units, segments).before(0, 1).unwrap();
            assert!(bytes.len() <= keystead_blobs::BEFORE_BYTES_MAX, "{units} {segments}: {}", bytes.len());
        }
    }
}
