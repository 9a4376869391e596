//! The list of a window's steps: what each run of an audited channel began with.
//!
//! # Design
//! The input of a later step of a unit is a state that another provider may have made, so it stands in no list of the job. Customer and provider know it from
//! the lease; the list that names it is bound into the window's root, which both vouch for, and its name is on the chain. So a checker that fetches it from
//! either runs what both agreed on. Spec: specs/0009-channel.md section 6.

use alloy_primitives::{B256, keccak256};

/// Bytes of a step in a list.
pub const STEP_BYTES: usize = 40;

/// One run of a job's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The unit.
    pub unit: u32,
    /// Its segment.
    pub segment: u32,
    /// Name of the unit input, or of the state before the segment.
    pub input: B256,
}

/// A list of steps that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the list of steps has another length: got_bytes={got_bytes} expected_bytes={expected_bytes}")]
pub struct ListError {
    /// Its length.
    pub got_bytes: usize,
    /// What it must be.
    pub expected_bytes: usize,
}

/// The root that a voucher of an audited channel carries: of the commitment over the results, and the name of the list.
#[must_use]
pub fn audited_root(commitment: B256, list: B256) -> B256 {
    keccak256([commitment.0, list.0].concat())
}

impl Step {
    const fn to_bytes(self) -> [u8; STEP_BYTES] {
        let mut bytes = [0; STEP_BYTES];
        let (head, input) = bytes.split_at_mut(8);
        let (unit, segment) = head.split_at_mut(4);
        unit.copy_from_slice(&self.unit.to_be_bytes());
        segment.copy_from_slice(&self.segment.to_be_bytes());
        input.copy_from_slice(self.input.as_slice());
        bytes
    }
}

/// The list of a window's steps: a blob, whose name is on the chain.
#[must_use]
pub fn encode_list(steps: &[Step]) -> Vec<u8> {
    steps.iter().flat_map(|step| step.to_bytes()).collect()
}

/// Reads such a list of so many steps.
///
/// # Errors
/// [`ListError`]: another length.
pub fn parse_list(bytes: &[u8], count: u32) -> Result<Vec<Step>, ListError> {
    let expected_bytes = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(STEP_BYTES);
    if bytes.len() != expected_bytes {
        return Err(ListError { got_bytes: bytes.len(), expected_bytes });
    }
    let word = |bytes: &[u8]| bytes.iter().fold(0_u32, |word, byte| (word << 8) | u32::from(*byte));
    let step = |bytes: &[u8]| {
        let (head, input) = bytes.split_at(8);
        let (unit, segment) = head.split_at(4);
        Step { unit: word(unit), segment: word(segment), input: B256::from_slice(input) }
    };
    Ok(bytes.chunks_exact(STEP_BYTES).map(step).collect())
}

// A test: a panic is a failure.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const fn step() -> Step {
        Step { unit: 0x0102_0304, segment: 0x0506_0708, input: B256::repeat_byte(9) }
    }

    #[test]
    fn a_list_is_the_numbers_and_names_one_after_the_other() {
        let mut bytes = vec![1, 2, 3, 4, 5, 6, 7, 8];
        bytes.extend([9; 32]);
        assert_eq!(encode_list(&[step()]), bytes);
        let (commitment, list) = (B256::repeat_byte(1), B256::repeat_byte(2));
        assert_eq!(audited_root(commitment, list), keccak256([[1; 32], [2; 32]].concat()));
        assert_ne!(audited_root(list, commitment), audited_root(commitment, list));
    }

    #[test]
    fn a_list_of_steps_reads_back_and_another_length_is_refused() {
        let steps = [step(), Step { unit: 0, segment: u32::MAX, input: B256::ZERO }];
        let bytes = encode_list(&steps);
        assert_eq!((bytes.len(), parse_list(&bytes, 2).unwrap()), (80, steps.to_vec()));
        for (bytes, count) in [(&bytes[..], 1), (&bytes[..], 3), (&bytes[..79], 2), (&[][..], 1)] {
            assert!(parse_list(bytes, count).is_err());
        }
        assert_eq!(parse_list(&[], 0).unwrap(), []);
    }
}
